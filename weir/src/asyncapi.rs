//! `docs/asyncapi.yaml`: the topics and what is on them, for programs.
//!
//! In: the table of topics, and the schemas of the records, which come from the types that the programs
//! read and write. Out: an AsyncAPI 3.0 document. It is kept equal to the code by this test; `cargo dev
//! docs` writes it. That real records are as it says is a test of the whole line (`tests/it/schemas.rs`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use expect_test::expect_file;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema};
use weir_models::alert::Alert;
use weir_models::device::{AgentStatus, Device};
use weir_models::event::Event;
use weir_models::feedback::Feedback;
use weir_models::topic::{DEFAULT_PREFIX, Topic};

mod yaml;

/// A message: name, what it is, type of its content, payload.
struct Message {
    name: &'static str,
    summary: &'static str,
    content: &'static str,
    payload: Value,
    headers: Option<Value>,
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// Who writes a topic and who reads it, its key, its messages.
fn carries(topic: Topic) -> (&'static str, &'static str, Vec<&'static str>) {
    match topic {
        Topic::Readings => {
            ("Written by agents, read by the sink.", "`site/device`", vec!["Reading"])
        }
        Topic::Logs => (
            "Written by agents, read by the sink. Also what could not be parsed.",
            "`site/host`",
            vec!["LogLine", "LossMarker"],
        ),
        Topic::Alerts => (
            "Written by agents, read by the sink and by whoever acts on alerts.",
            "`site/device/metric`",
            vec!["Alert"],
        ),
        Topic::Metadata => (
            "Written by the sink's API, read by agents. The newest record of a key is the truth.",
            "`site/device`",
            vec!["Device", "Deleted"],
        ),
        Topic::Agents => (
            "Written by agents, read by the sink. The newest record of a key is the truth.",
            "the agent",
            vec!["AgentStatus"],
        ),
        Topic::Models => (
            "Written by who trains models, read by agents. The newest record of a key is the truth.",
            "`kind/site/device/metric`",
            vec!["Model", "Deleted"],
        ),
        Topic::Feedback => (
            "Written by the sink's API, read by the sink. The newest record of a key is the truth.",
            "the alert, `alert_id`",
            vec!["Feedback", "Deleted"],
        ),
        Topic::Dlq => (
            "Written by the sink: records that it cannot take, and receipts of those that were sent back.",
            "as the record had it",
            vec!["DeadLetter", "Receipt"],
        ),
    }
}

fn of(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn headers(required: &[&str], properties: Value) -> Option<Value> {
    let mut headers = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        headers["required"] = json!(required);
    }
    Some(headers)
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn messages() -> Vec<Message> {
    let message = |name, summary, content, payload| Message {
        name,
        summary,
        content,
        payload,
        headers: None,
    };
    let json = |name, summary| message(name, summary, JSON, of(name));
    let retried =
        json!({ "retried": text("There if it was a dead letter and was sent back: how often.") });
    let with_retried = |message| Message { headers: headers(&[], retried.clone()), ..message };
    vec![
        with_retried(json("Reading", "Measured values of a device.")),
        with_retried(json("LogLine", "A line of a log, or what could not be parsed.")),
        with_retried(json("LossMarker", "So many events were lost, and why.")),
        with_retried(message(
            "Alert",
            "An alert fires or is resolved; CloudEvents 1.0 in structured mode.",
            "application/cloudevents+json",
            of("Alert"),
        )),
        Message {
            headers: headers(
                &[],
                json!({ "by": text("Who changed it: the name of a token of the API, or a command.") }),
            ),
            ..json("Device", "What is known of a device.")
        },
        json("AgentStatus", "Heartbeat of an agent."),
        json("Feedback", "What a person says of an alert."),
        message(
            "Model",
            "A central model, signed. docs/models.md tells how it is made and taken.",
            BYTES,
            json!({ "type": "string", "format": "binary" }),
        ),
        message(
            "Deleted",
            "No value: what the key names is gone.",
            BYTES,
            json!({ "type": "null" }),
        ),
        Message {
            headers: headers(
                &["reason", "topic", "partition", "offset"],
                json!({
                    "reason": text("Why the sink cannot take it."),
                    "topic": text("The topic that it was on."),
                    "partition": text("Its partition there, in decimal digits."),
                    "offset": text("Its offset there, in decimal digits."),
                    "retried": text("There if it was sent back before: how often."),
                }),
            ),
            ..message(
                "DeadLetter",
                "A record that the sink cannot take, with its key and its bytes.",
                BYTES,
                json!({ "type": ["string", "null"], "format": "binary" }),
            )
        },
        Message {
            headers: headers(
                &["letter"],
                json!({ "letter": text("Partition and offset of the dead letter that was sent back, as in `3/17`.") }),
            ),
            ..message("Receipt", "A dead letter was sent back.", BYTES, json!({ "type": "null" }))
        },
    ]
}

/// AsyncAPI's schemas are JSON Schema draft 7; those of the types are of 2020-12.
fn as_draft_7(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(parts) = map.remove("prefixItems") {
                let count = parts.as_array().unwrap().len();
                map.extend([
                    ("items".to_owned(), parts),
                    ("minItems".to_owned(), count.into()),
                    ("maxItems".to_owned(), count.into()),
                ]);
            }
            if let Some(example) = map.remove("example") {
                map.insert("examples".to_owned(), json!([example]));
            }
            // Beside a reference nothing counts.
            if map.contains_key("$ref")
                && let Some(description) = map.remove("description")
            {
                let reference = std::mem::take(map);
                map.insert("description".to_owned(), description);
                map.insert("allOf".to_owned(), json!([reference]));
            }
            // Links of rustdoc lead nowhere here.
            if let Some(Value::String(text)) = map.get_mut("description") {
                let words: Vec<&str> = text.split_whitespace().collect();
                *text = words.join(" ").replace("[`", "`").replace("`]", "`");
            }
            let is_any = map.get("additionalProperties") == Some(&json!({}));
            assert!(!is_any, "a schema that takes anything: {map:?}");
            map.values_mut().for_each(as_draft_7);
        }
        Value::Array(items) => items.iter_mut().for_each(as_draft_7),
        _ => {}
    }
}

/// The schema of one type of events: what all have, and what this one has.
fn event(flat: &Value, bodies: &[&str], own: Value, required: &[&str], about: &str) -> Value {
    let mut properties = flat["properties"].as_object().unwrap().clone();
    properties.retain(|name, _| !bodies.contains(&name.as_str()));
    properties.extend(own.as_object().unwrap().clone());
    let mut all = flat["required"].as_array().unwrap().clone();
    all.extend(required.iter().map(|name| json!(name)));
    json!({ "type": "object", "description": about, "required": all, "properties": properties })
}

fn schemas() -> Map<String, Value> {
    let mut list = Vec::new();
    Alert::schemas(&mut list);
    Device::schemas(&mut list);
    AgentStatus::schemas(&mut list);
    Feedback::schemas(&mut list);
    Event::schemas(&mut list);
    for (name, schema) in [
        (Alert::name(), Alert::schema()),
        (Device::name(), Device::schema()),
        (AgentStatus::name(), AgentStatus::schema()),
        (Feedback::name(), Feedback::schema()),
        (Event::name(), Event::schema()),
        ("Log".into(), weir_models::event::Log::schema()),
    ] {
        list.push((name.into_owned(), schema));
    }
    let mut schemas: Map<String, Value> = list
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap()))
        .collect();
    let (flat, log) = (schemas.remove("Event").unwrap(), schemas.remove("Log").unwrap());
    let mut bodies: Vec<&str> =
        log["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    bodies.extend(["values", "lost"]);
    let part = |name: &str| json!({ name: flat["properties"][name] });
    let mut reading = part("values");
    let mut lost = part("lost");
    // There, and not null.
    for (part, name) in [(&mut reading, "values"), (&mut lost, "lost")] {
        let schema = &mut part[name];
        if let Some(only) = schema["oneOf"]
            .as_array()
            .and_then(|any| any.iter().find(|schema| schema["type"] != "null").cloned())
        {
            *schema = only;
        } else {
            schema["type"] = json!("object");
        }
    }
    for (name, own, required, about) in [
        ("Reading", reading, "values", "Measured values of a device."),
        ("LossMarker", lost, "lost", "So many events were lost, and why."),
        (
            "LogLine",
            log["properties"].clone(),
            "message",
            "A line of a log, or what could not be parsed.",
        ),
    ] {
        schemas.insert(name.to_owned(), event(&flat, &bodies, own, &[required], about));
    }
    schemas.values_mut().for_each(as_draft_7);
    schemas
}

fn document() -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    let mut known = Map::new();
    let mut keys: Map<String, Value> = Map::new();
    for topic in Topic::ALL {
        let name = topic.suffix();
        let (about, key, names) = carries(topic);
        let refer = |base: &str, name: &str| json!({ "$ref": format!("#/{base}/messages/{name}") });
        let on = |name: &&str| ((*name).to_owned(), refer("components", name));
        let cleanup = topic.settings().iter().find(|(key, _)| *key == "cleanup.policy").unwrap().1;
        channels.insert(
            name.to_owned(),
            json!({
                "address": format!("{DEFAULT_PREFIX}{name}"),
                "description": format!("{about} Key: {key}."),
                "messages": names.iter().map(on).collect::<Map<_, _>>(),
                "bindings": { "kafka": {
                    "topicConfiguration": { "cleanup.policy": [cleanup] }, "bindingVersion": "0.5.0",
                } },
            }),
        );
        let channel = format!("channels/{name}");
        operations.insert(
            name.to_owned(),
            json!({
                "action": "send",
                "channel": { "$ref": format!("#/{channel}") },
                "summary": about,
                "messages": names.iter().map(|name| refer(&channel, name)).collect::<Vec<_>>(),
            }),
        );
        for name in names {
            let other = |known: &mut Value| *known = text("as the channel says");
            keys.entry(name).and_modify(other).or_insert_with(|| text(key));
        }
    }
    for message in messages() {
        let mut value = json!({
            "name": message.name,
            "summary": message.summary,
            "contentType": message.content,
            "payload": message.payload,
            "bindings": { "kafka": { "key": keys[message.name], "bindingVersion": "0.5.0" } },
        });
        if let Some(headers) = message.headers {
            value["headers"] = headers;
        }
        known.insert(message.name.to_owned(), value);
    }
    assert_eq!(known.len(), keys.len(), "a message on no topic");
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The topics of weir, below the prefix that is configured (weir. by default). Fields may be added: \
                            ignore what you do not know. Records may come twice: docs/records.md and docs/alerts.md tell how to know them.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": JSON,
        "channels": channels,
        "operations": operations,
        "components": { "messages": known, "schemas": schemas() },
    })
}

#[test]
fn generated_asyncapi() {
    let head = "# Made from the code by `cargo dev docs`.\n";
    expect_file!["../../docs/asyncapi.yaml"]
        .assert_eq(&format!("{head}{}", yaml::write(&document())));
}
