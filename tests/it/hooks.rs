//! Alertmanagers and webhooks that fail, hang, are away and come back, and a sink that is killed meanwhile: every
//! alert is told, what fires before what is resolved, and neither readiness nor the pipeline minds.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::line::metric;
use weir_tests::python::{code_blocks, python};
use weir_tests::receiver::{Mood, Receiver, Request};
use weir_tests::{Launch, Program, free_port, http, root, services, unique, wait_until};

const SOON: Duration = Duration::from_secs(60);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A sink with hooks, on topics of its own.
struct Site {
    sink: Program,
    name: String,
    http: u16,
    sent: u64,
}

impl Site {
    /// Starts it; `hooks` are tables of its configuration.
    #[track_caller]
    fn start(name: &str, hooks: &str) -> Self {
        let (name, http) = (unique(name), free_port());
        let config = format!(
            "[kafka]\nbrokers = [\"{brokers}\"]\ntopic_prefix = \"{name}.\"\n\
             librdkafka = {{ \"session.timeout.ms\" = \"6000\", \"heartbeat.interval.ms\" = \"1000\" }}\n\
             [consume]\ngroup = \"{name}\"\n[topics]\npartitions = 3\n\
             [store.sqlite]\npath = \"store.sqlite\"\n\
             [archive]\npath = \"archive\"\nclose_after_s = 1\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n{hooks}",
            brokers = services::kafka().bootstrap,
        );
        let launch = Launch::ours("weir-sink").file("sink.toml", &config);
        let launch = launch.file("secret", SECRET).file("token", "s3cret");
        launch.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let sink = launch.args(["run", "-c", "sink.toml"]).start();
        let mut site = Self { sink, name, http, sent: 0 };
        site.wait_ready();
        site
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        let ready = self.url("/readyz");
        self.sink.wait_http(&ready, SOON);
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    fn topic(&self) -> String {
        format!("{}.alerts", self.name)
    }

    /// Sends alerts of these names in a state, each keyed by its series.
    #[track_caller]
    fn send(&mut self, names: &[String], state: &str) {
        let mut messages = Vec::new();
        for name in names {
            self.sent += 1;
            let alert = alert(name, state, self.sent);
            messages.push((format!("plant/{name}/temp"), alert.to_string()));
        }
        services::kafka().send(&self.topic(), &messages);
    }

    /// Waits until a group has committed all alerts.
    #[track_caller]
    fn wait_committed(&mut self, group: &str) {
        let topics = [self.topic()];
        self.sink.wait("all alerts to be committed", SOON, |_| {
            match services::kafka().uncommitted(group, &topics) {
                0 => Ok(()),
                left => Err(format!("{left} of {group} are not")),
            }
        });
    }
}

fn alert(name: &str, state: &str, seq: u64) -> Value {
    let mut data = json!({
        "alert_id": name, "state": state, "kind": "reading", "agent": "gw", "stream": "00000000000000aa",
        "seq": seq, "site": "plant", "device": name, "metric": "temp", "fired_us": 1_700_000_000_000_000_u64,
        "score": 1.5, "threshold": 1.0, "model": {"name": "rule", "version": "1"}, "why": "too hot",
        "message": "95 is above 90", "cause_stream": "00000000000000ab", "cause_seq": seq,
    });
    if state == "resolved" {
        data["resolved_us"] = json!(1_700_000_060_000_000_u64);
    }
    json!({
        "specversion": "1.0", "id": format!("{name}/{state}"), "source": "/weir/agent/gw",
        "type": format!("io.weir.alert.{state}"), "subject": format!("plant/{name}/temp"),
        "time": "2023-11-14T22:13:20Z", "datacontenttype": "application/json", "data": data,
    })
}

fn names(count: std::ops::Range<usize>) -> Vec<String> {
    count.map(|n| format!("oven-{n}")).collect()
}

/// What a webhook was told: its ids.
fn webhook_ids(request: &Request) -> Vec<String> {
    vec![request.header("webhook-id").to_owned()]
}

/// What Alertmanager was told, each alert checked against `postableAlert` of its OpenAPI.
#[track_caller]
fn alertmanager_ids(request: &Request) -> Vec<String> {
    assert_eq!(request.path, "/am/api/v2/alerts");
    assert_eq!(request.header("authorization"), "Bearer s3cret");
    assert_eq!(request.header("content-type"), "application/json");
    let list = request.json();
    let alerts = list.as_array().unwrap().iter();
    alerts
        .map(|alert| {
            let keys: BTreeSet<&str> =
                alert.as_object().unwrap().keys().map(String::as_str).collect();
            let known = ["annotations", "endsAt", "generatorURL", "labels", "startsAt"];
            assert_eq!(keys, BTreeSet::from(known), "{alert}");
            for (name, value) in alert["labels"].as_object().unwrap() {
                assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
                assert!(!value.as_str().unwrap().is_empty(), "{alert}");
            }
            assert!(alert["annotations"].as_object().unwrap().values().all(Value::is_string));
            let name = alert["labels"]["alert_id"].as_str().unwrap();
            let [starts, ends] = ["startsAt", "endsAt"].map(|key| alert[key].as_str().unwrap());
            assert_eq!(starts, "2023-11-14T22:13:20Z");
            let page = format!("https://weir.example.org/#/series/plant/{name}/temp");
            assert_eq!(alert["generatorURL"], page);
            // What was resolved ends at its own end; what fires ends in what is the future.
            let state = if ends == "2023-11-14T22:14:20Z" { "resolved" } else { "firing" };
            format!("{name}/{state}")
        })
        .collect()
}

/// Everything is told, and for each alert what fires first.
#[track_caller]
fn check(told: &[String], names: &[String]) {
    for name in names {
        let at = |state: &str| told.iter().position(|id| *id == format!("{name}/{state}"));
        let (firing, resolved) = (at("firing"), at("resolved"));
        assert!(firing.is_some() && firing < resolved, "{name}: {firing:?} {resolved:?}");
    }
}

/// Both receivers were told of all, in the form of each.
#[track_caller]
fn check_told(webhook: &Receiver, alertmanager: &Receiver, all: &[String]) {
    let told: Vec<String> = webhook.taken().iter().flat_map(webhook_ids).collect();
    check(&told, all);
    let told: Vec<String> = alertmanager.taken().iter().flat_map(alertmanager_ids).collect();
    check(&told, all);
    for request in webhook.taken() {
        assert_eq!(request.path, "/in?a=b");
        assert_eq!(request.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert_eq!(request.json()["id"], request.header("webhook-id"));
    }
}

#[test]
fn every_alert_is_told_through_failures_outages_and_kills() {
    let (mut webhook, mut alertmanager) = (Receiver::start(), Receiver::start());
    let hooks = format!(
        "[hooks]\nexternal_url = \"https://weir.example.org/\"\n\
         [[hooks.webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:{}/in?a=b\"\nsecret = {{ file = \"secret\" }}\ntimeout_s = 2\n\
         [[hooks.alertmanager]]\nname = \"am\"\nurl = \"http://127.0.0.1:{}/am\"\ntoken = {{ file = \"token\" }}\n\
         timeout_s = 2\nrepeat_s = 1\n",
        webhook.port, alertmanager.port
    );
    let mut site = Site::start("hooks", &hooks);
    let (own, hook, am) =
        (site.name.clone(), format!("{}-hooks-hook", site.name), format!("{}-hooks-am", site.name));
    let all = names(0..70);

    site.send(&all[..10], "firing");
    let moods = [Mood::Answers(503), Mood::Hangs, Mood::Answers(401)];
    for (mood, some) in moods.into_iter().zip([10..14, 14..17, 17..20]) {
        webhook.mood(mood);
        alertmanager.mood(mood);
        site.send(&all[some], "firing");
        site.sink.wait("a failing try", SOON, |_| {
            let met = |r: &Receiver| r.requests().iter().any(|request| request.mood == mood);
            let met = [met(&webhook), met(&alertmanager)];
            if met == [true, true] { Ok(()) } else { Err(format!("{met:?}")) }
        });
        // The pipeline goes on, and the sink is ready.
        site.wait_committed(&own);
        site.wait_ready();
    }
    let ready = site.url("/readyz");
    site.sink.wait("both hooks to be told of as wrong", SOON, |_| {
        let said = http::get_json(&ready);
        let warnings = said["warnings"].as_array().cloned().unwrap_or_default();
        let wrong = |w: &Value| w["part"] == "hook" && w["message"].to_string().contains("401");
        let is_so = warnings.len() == 2 && warnings.iter().all(wrong) && said["ready"] == true;
        if is_so { Ok(()) } else { Err(said.to_string()) }
    });
    let failed = metric(&site.url("/metrics"), "weir_sink_hook_failed_tries_total").unwrap();
    let behind = metric(&site.url("/metrics"), "weir_sink_hook_behind_seconds").unwrap();
    assert!(failed >= 4.0 && behind > 0.0, "{failed} {behind}");

    // Away, with a sink that is killed meanwhile and when they are back.
    webhook.leave();
    alertmanager.leave();
    site.send(&all[20..40], "firing");
    site.send(&all[..20], "resolved");
    site.wait_committed(&own);
    site.sink.kill9();
    site.sink.restart();
    site.wait_ready();
    site.send(&all[40..], "firing");
    webhook.mood(Mood::Answers(200));
    alertmanager.mood(Mood::Answers(200));
    webhook.come_back();
    alertmanager.come_back();
    site.sink.wait("some to be told", SOON, |_| {
        let told = [webhook.taken().len(), alertmanager.taken().len()];
        if told.iter().all(|told| *told > 15) { Ok(()) } else { Err(format!("{told:?}")) }
    });
    site.sink.kill9();
    site.send(&all[20..], "resolved");
    site.sink.restart();
    site.wait_ready();
    site.wait_committed(&hook);
    // Nothing fires any more, so Alertmanager's group is at the end, too.
    site.wait_committed(&am);

    check_told(&webhook, &alertmanager, &all);
    for line in site.sink.lines() {
        assert!(!line.text.contains("s3cret") && !line.text.contains("MfKQ9r8G"), "{}", line.text);
    }
    site.sink.wait("no warnings", SOON, |_| match http::get_json(&ready).get("warnings") {
        None => Ok(()),
        Some(warnings) => Err(warnings.to_string()),
    });
}

#[test]
fn what_fires_is_repeated_after_a_kill_and_until_it_is_resolved() {
    let alertmanager = Receiver::start();
    let hooks = format!(
        "[hooks]\nexternal_url = \"https://weir.example.org\"\n\
         [[hooks.alertmanager]]\nurl = \"http://127.0.0.1:{}/am/\"\ntoken = {{ file = \"token\" }}\nrepeat_s = 1\n",
        alertmanager.port
    );
    let mut site = Site::start("repeat", &hooks);
    let group = format!("{}-hooks-127.0.0.1:{}", site.name, alertmanager.port);
    let all = names(0..3);
    site.send(&all, "firing");
    site.send(&all[..1], "resolved");
    let count = |id: &str, from: usize| {
        let told = alertmanager.taken();
        told.iter().skip(from).flat_map(alertmanager_ids).filter(|told| told == id).count()
    };
    let wait_repeated = |from: usize| {
        wait_until("what fires to be repeated", SOON, || {
            let times = ["oven-1/firing", "oven-2/firing"].map(|id| count(id, from));
            if times.iter().all(|times| *times >= 3) { Ok(()) } else { Err(format!("{times:?}")) }
        });
    };
    wait_until("oven-0 to be resolved", SOON, || {
        if count("oven-0/resolved", 0) >= 1 { Ok(()) } else { Err("not yet") }
    });
    // So long that what was told is committed.
    wait_repeated(alertmanager.taken().len());
    site.sink.kill9();
    let before = alertmanager.taken().len();
    site.sink.restart();
    wait_repeated(before);
    assert_eq!(count("oven-0/firing", before), 0, "what was resolved fires again");
    site.send(&all[1..], "resolved");
    site.wait_committed(&group);
    let told = metric(&site.url("/metrics"), "weir_sink_hook_told_alerts_total").unwrap();
    assert_eq!(
        told, 2.0,
        "repetitions are not counted, and nothing was told as new after the kill"
    );
}

#[test]
fn the_python_receiver_takes_what_is_signed_and_nothing_else() {
    let script = code_blocks(&root().join("docs/alerts.md"), "python").remove(0);
    let port = free_port();
    let options = ["--port", &port.to_string(), "--count", "2"];
    let mut receiver = python(&script, &options).env("WEBHOOK_SECRET", SECRET).start();
    let url = format!("http://127.0.0.1:{port}/");
    let forged = alert("oven-0", "firing", 1).to_string();
    wait_until("the receiver to refuse what nobody signed", SOON, || {
        match http::try_post(&url, "application/cloudevents+json", forged.as_bytes()) {
            Ok(answer) if answer.status == 401 => Ok(()),
            Ok(answer) => Err(answer.status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    let hooks = format!("[[hooks.webhook]]\nurl = \"{url}\"\nsecret = {{ file = \"secret\" }}\n");
    let mut site = Site::start("signed", &hooks);
    // A record that comes twice is told once, and so are both states of one alert.
    site.send(&names(0..1), "firing");
    site.sent = 0;
    site.send(&names(0..1), "firing");
    site.send(&names(0..1), "resolved");
    assert!(receiver.wait_exit(SOON).success());
    let lines: Vec<String> = receiver.lines().into_iter().map(|line| line.text).collect();
    let printed: Vec<&String> = lines.iter().filter(|line| line.contains("oven")).collect();
    assert_eq!(printed, ["firing plant/oven-0/temp too hot", "resolved plant/oven-0/temp too hot"]);
}
