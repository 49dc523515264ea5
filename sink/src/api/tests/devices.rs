//! Devices: versions, patches, history.

use weir_models::topic::Topic;

use super::*;
use crate::access::{Access, Role, TokenConfig, TokenHash};
use crate::consume::ProduceError;

pub(super) const PRESS: &str = "/v1/devices/hall/press";
const JSON: (&str, &str) = ("content-type", "application/json");
const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

impl Server {
    /// The status, the version and the body of an answer.
    fn version(&self, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, Value) {
        let answer = self.raw(method, PRESS, headers, body);
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let (status, body) = (answer.status().as_u16(), answer.into_body());
        (status, tag.unwrap_or_default(), serde_json::from_slice(&body).unwrap())
    }

    /// Stores what was sent, as the pipeline does some time later.
    pub(super) fn consume(&self) {
        let sent = std::mem::take(&mut *self.producer.sent.lock().unwrap());
        let by = std::mem::take(&mut *self.producer.by.lock().unwrap());
        let mut rows = self.store.rows.lock().unwrap();
        for (position, ((topic, key, value), by)) in (1i64..).zip(sent.into_iter().zip(by)) {
            assert_eq!(topic, Topic::Metadata);
            let key = String::from_utf8(key).unwrap();
            let (site, device) = key.split_once('/').unwrap();
            let record: Option<Device> = value.map(|json| serde_json::from_slice(&json).unwrap());
            let ts_us = record.as_ref().map_or_else(now_us, |record| record.updated_us);
            let (site, device, by) = (site.into(), device.into(), by.map(Into::into));
            rows.devices.push(DeviceChange { site, device, record, by, ts_us, position });
        }
    }

    fn sent(&self) -> usize {
        self.producer.sent.lock().unwrap().len()
    }
}

#[test]
fn a_patch_changes_what_it_names_and_gives_the_next_version() {
    let server = Server::start(rows());
    let (status, first, record) = server.version("GET", &[], "");
    assert_eq!((status, &record["meta"]), (200, &json!({"line": "4"})));
    let body = r#"{"meta":{"hall":"B","line":null},"aliases":["10.0.0.7"]}"#;
    let (status, second, record) = server.version("PATCH", &[PATCH, ("if-match", &first)], body);
    assert_eq!((status, &record["meta"]), (202, &json!({"hall": "B"})));
    assert!(second != first && second.starts_with('"'));
    // It shows at once, and after it is stored.
    for _ in 0..2 {
        assert_eq!(server.version("GET", &[], ""), (200, second.clone(), record.clone()));
        assert_eq!(server.raw("GET", PRESS, &[("if-none-match", &second)], "").status(), 304);
        server.consume();
    }
    // What changes nothing sends nothing.
    let same = server.version("PATCH", &[JSON, ("if-match", &second)], r#"{"meta":{"hall":"B"}}"#);
    assert_eq!((same.0, same.1, server.sent()), (200, second, 0));
}

#[test]
fn two_people_do_not_overwrite_each_other() {
    let server = Server::start(rows());
    let (_, seen_by_both, _) = server.version("GET", &[], "");
    let mine = [PATCH, ("if-match", seen_by_both.as_str())];
    assert_eq!(server.version("PATCH", &mine, r#"{"meta":{"hall":"A"}}"#).0, 202);
    // Also while the store does not know of it yet.
    for stored in [false, true] {
        if stored {
            server.consume();
        }
        let sent = server.sent();
        for (method, kind) in [("PATCH", PATCH), ("PUT", JSON), ("DELETE", JSON)] {
            let headers = [kind, ("if-match", seen_by_both.as_str())];
            server.request(method, PRESS, &headers, "{}").is_problem(412, "changed");
        }
        assert_eq!(server.sent(), sent);
    }
    // Who looks again may.
    let (_, now, record) = server.version("GET", &[], "");
    assert_eq!(record["meta"], json!({"hall": "A", "line": "4"}));
    let weak = format!("\"other\", W/{now}");
    assert_eq!(server.version("PUT", &[JSON, ("if-match", &weak)], "{}").0, 202);
    // Without a version the fields are merged, one after the other.
    server.version("PATCH", &[PATCH], r#"{"meta":{"a":"1"}}"#);
    let (_, _, record) = server.version("PATCH", &[PATCH], r#"{"meta":{"b":"2"}}"#);
    assert_eq!(record["meta"], json!({"a": "1", "b": "2"}));
}

#[test]
fn a_record_is_made_only_once_and_only_what_is_there_is_changed() {
    let server = Server::start(rows());
    let new = "/v1/devices/hall/new";
    let once = [JSON, ("if-none-match", "*")];
    server.request("PATCH", new, &[PATCH], "{}").is_problem(404, "not-found");
    server.request("PUT", new, &[JSON, ("if-match", "*")], "{}").is_problem(412, "changed");
    assert_eq!(server.request("PUT", new, &once, "{}").status, 202);
    server.request("PUT", new, &once, "{}").is_problem(412, "changed");
    server.request("PUT", PRESS, &once, "{}").is_problem(412, "changed");
    let odd = [JSON, ("if-none-match", "\"abc\"")];
    server.request("PUT", new, &odd, "{}").is_problem(400, "bad-parameter");
    for name in ["if-match", "if-none-match"] {
        let empty = [JSON, (name, "")];
        server.request("PUT", new, &empty, "{}").is_problem(400, "bad-parameter");
    }
    assert_eq!(server.request("DELETE", new, &[("if-match", "*")], "").status, 202);
    server.get(new).is_problem(404, "not-found");
    server.consume();
    server.get(new).is_problem(404, "not-found");
}

#[test]
fn stamps_rise_however_fast_changes_come() {
    let server = Server::start(rows());
    let far = now_us() + 3_600_000_000;
    let ahead = Device {
        updated_us: far,
        ..server.store.rows.lock().unwrap().devices[0].record.clone().unwrap()
    };
    server.store.rows.lock().unwrap().devices[0].record = Some(ahead);
    // Even when another clock was ahead: agents leave an older stamp aside.
    let mut last = far;
    for n in 0..5 {
        let (_, _, record) =
            server.version("PATCH", &[PATCH], &format!(r#"{{"meta":{{"n":"{n}"}}}}"#));
        let stamp = record["updated_us"].as_i64().unwrap();
        assert!(stamp > last, "{stamp} {last}");
        last = stamp;
    }
}

#[test]
fn a_put_without_a_condition_is_above_the_stored_stamp_and_says_nothing_twice() {
    let server = Server::start(rows());
    let far = now_us() + 3_600_000_000;
    server.store.rows.lock().unwrap().devices[0].record.as_mut().unwrap().updated_us = far;
    let body = r#"{"meta":{"hall":"B"}}"#;
    let (status, _, record) = server.version("PUT", &[JSON], body);
    assert_eq!(status, 202);
    assert!(record["updated_us"].as_i64().unwrap() > far);
    // The same again sends nothing, on its way and stored.
    for _ in 0..2 {
        let sent = server.sent();
        assert_eq!(server.version("PUT", &[JSON], body), (200, tag_of(&record), record.clone()));
        assert_eq!(server.sent(), sent);
        server.consume();
    }
    // A deletion counts although its stamp is in the future, too.
    assert_eq!(server.request("DELETE", PRESS, &[], "").status, 202);
    server.get(PRESS).is_problem(404, "not-found");
}

fn tag_of(record: &Value) -> String {
    crate::registry::tag(&serde_json::from_value(record.clone()).unwrap())
}

#[test]
fn a_change_that_kafka_may_have_is_settled_before_a_version_counts() {
    let server = Server::start(rows());
    let (_, first, _) = server.version("GET", &[], "");
    *server.producer.fails.lock().unwrap() = Some(|| ProduceError::Retry("late".into()));
    let mine = [PATCH, ("if-match", first.as_str())];
    let body = r#"{"meta":{"hall":"A"}}"#;
    assert_eq!(server.version("PATCH", &mine, body).0, 503);
    // While Kafka is away nobody can tell which version there is.
    assert_eq!(server.version("PATCH", &mine, r#"{"meta":{"hall":"B"}}"#).0, 503);
    *server.producer.fails.lock().unwrap() = None;
    // Then the first one counts, and the other one is told so.
    assert_eq!(server.version("PATCH", &mine, r#"{"meta":{"hall":"B"}}"#).0, 412);
    assert_eq!(server.sent(), 1);
    let (_, now, record) = server.version("GET", &[], "");
    assert_eq!(record["meta"]["hall"], "A");
    let mine = [PATCH, ("if-match", now.as_str())];
    assert_eq!(server.version("PATCH", &mine, r#"{"meta":{"hall":"B"}}"#).0, 202);
}

#[test]
fn a_page_of_history_ends_behind_a_few_mebibytes() {
    let server = Server::start(Batch::default());
    let text = "x".repeat(1_000);
    for n in 1..=120 {
        let meta = (0..50).map(|entry| (format!("entry-{entry}"), text.clone())).collect();
        let record =
            Device { site: "hall".into(), device: "press".into(), meta, ..Device::default() };
        let (site, device) = (record.site.clone(), record.device.clone());
        let change =
            DeviceChange { site, device, record: Some(record), by: None, ts_us: n, position: n };
        server.store.rows.lock().unwrap().devices.push(change);
    }
    let (mut stamps, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{PRESS}/history?limit=1000{next}")).json();
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty() && items.len() < 90, "{}", items.len());
        stamps.extend(items.iter().map(|item| item["ts_us"].as_i64().unwrap()));
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(stamps, (1..=120).rev().collect::<Vec<_>>());
}

#[test]
fn a_patch_that_cannot_be_is_refused_before_kafka() {
    let server = Server::start(rows());
    let patch =
        |kind: &str, body: &str| server.request("PATCH", PRESS, &[("content-type", kind)], body);
    patch("text/plain", "{}").is_problem(415, "bad-body");
    patch("application/json-patch+json", "[]").is_problem(415, "bad-body");
    for body in
        ["", "[]", "null", r#"{"site":"x"}"#, r#"{"meta":{"a":1}}"#, r#"{"meta":{"a":"\n"}}"#]
    {
        patch(PATCH.1, body).is_problem(400, "bad-body");
    }
    patch(PATCH.1, &" ".repeat(300_000)).is_problem(413, "bad-body");
    assert_eq!(server.sent(), 0);
}

#[test]
fn history_tells_who_changed_what() {
    let tokens = [("ann", Role::Devices), ("bob", Role::Admin)].map(|(name, role)| TokenConfig {
        name: name.into(),
        role,
        hash: TokenHash::of(&format!("weir_{name}")),
    });
    let access = Access::new(None, &tokens, true);
    let server = Server::start_with(Batch::default(), |api| api.access(access));
    let change = |who: &str, method: &str, body: &str| {
        let token = format!("Bearer weir_{who}");
        let answer =
            server.request(method, PRESS, &[PATCH_OR_JSON, ("authorization", &token)], body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        server.consume();
    };
    change("ann", "PUT", r#"{"meta":{"hall":"A"}}"#);
    change("bob", "PATCH", r#"{"meta":{"hall":"B","line":"4"}}"#);
    change("ann", "DELETE", "");
    let history = format!("{PRESS}/history");
    let all = server.get(&history).json();
    let told: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["by"].as_str().unwrap(),
                item["fields"].to_string(),
                item["record"]["meta"]["hall"].clone(),
            )
        })
        .collect();
    let gone = (r#"["meta.hall","meta.line"]"#).to_owned();
    assert_eq!(
        told,
        [
            ("ann", gone.clone(), Value::Null),
            ("bob", gone, json!("B")),
            ("ann", r#"["meta.hall"]"#.to_owned(), json!("A")),
        ]
    );
    assert_eq!(all["truncated"], false);
    // Page by page it is the same.
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let page = server.get(&format!("{history}?limit=1{next}")).json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(Value::Array(items), all["items"]);
    server.get(&format!("{history}?cursor=x")).is_problem(400, "bad-parameter");
    server.get(&format!("{history}?limit=1001")).is_problem(400, "bad-parameter");
    assert_eq!(server.get("/v1/devices/hall/none/history").json()["items"], json!([]));
}

/// A PUT and a PATCH both take it.
const PATCH_OR_JSON: (&str, &str) = JSON;
