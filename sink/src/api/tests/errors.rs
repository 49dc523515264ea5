//! What cannot be answered says why and what to do.

use std::time::Duration;

use super::super::Limits;
use super::*;
use crate::consume::ProduceError;
use crate::store::StoreError;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn a_bad_parameter_is_named() {
    let server = Server::start(rows());
    let series = "/v1/readings?site=hall&device=press&metric=temp";
    for (path, named) in [
        ("/v1/readings?site=hall".to_owned(), "device"),
        ("/v1/readings?site=&device=a&metric=b".into(), "site"),
        (format!("{series}&from=yesterday"), "from"),
        (format!("{series}&from=5&to=5"), "from"),
        (format!("{series}&limit=0"), "limit"),
        (format!("{series}&limit=100001"), "limit"),
        (format!("{series}&limit=-1"), "limit"),
        (format!("{series}&max_points=9"), "max_points"),
        (format!("{series}&max_points=100&limit=5"), "max_points"),
        (format!("{series}&metirc=x"), "metirc"),
        ("/v1/logs?site=hall&severity=8".into(), "severity"),
        ("/v1/logs?site=hall&severity=err".into(), "severity"),
        ("/v1/logs?site=hall&q=".into(), "q"),
        (format!("/v1/logs?site=hall&q={}", "x".repeat(1_025)), "q"),
        ("/v1/logs?site=hall&limit=10001".into(), "limit"),
        ("/v1/alerts?site=hall&state=gone".into(), "gone"),
        ("/v1/alerts?site=hall&device=press".into(), "metric"),
        ("/v1/latest".into(), "site"),
        ("/v1/series?device=x".into(), "site"),
        ("/v1/sites?site=x".into(), "site"),
        ("/v1/devices".into(), "site"),
        ("/v1/live?kind=readings".into(), "kind"),
    ] {
        let answer = server.get(&path);
        answer.is_problem(400, "bad-parameter");
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(named),
            "{path}: {}",
            answer.text
        );
    }
}

#[test]
fn a_bad_device_is_refused_before_kafka() {
    let server = Server::start(rows());
    let put = |body: &str| server.request("PUT", "/v1/devices/hall/press", &JSON, body);
    let many: BTreeMap<_, _> = (0..65).map(|i| (format!("k{i}"), "v")).collect();
    for body in [
        "".to_owned(),
        "[1]".into(),
        r#"{"metadata":{}}"#.into(),
        r#"{"meta":{"a":1}}"#.into(),
        r#"{"meta":{"":"x"}}"#.into(),
        r#"{"meta":{"a":"x\ny"}}"#.into(),
        r#"{"aliases":["a","a"]}"#.into(),
        json!({"meta": {"a": "x".repeat(1_025)}}).to_string(),
        json!({ "meta": many }).to_string(),
    ] {
        put(&body).is_problem(400, "bad-body");
    }
    put(&" ".repeat(300_000)).is_problem(413, "bad-body");
    let text = [("content-type", "text/plain")];
    server.request("PUT", "/v1/devices/hall/press", &text, "{}").is_problem(415, "bad-body");
    server
        .request("PUT", "/v1/devices/ha%2Fll/press", &JSON, "{}")
        .is_problem(400, "bad-parameter");
    assert!(server.producer.sent.lock().unwrap().is_empty());
    for bad in ["%FF", "%00"] {
        let path = format!("/v1/devices/hall/{bad}");
        server.get(&path).is_problem(400, "bad-parameter");
    }
    server.get("/v1/devices/hall/other").is_problem(404, "not-found");
}

#[test]
fn unknown_paths_and_methods_are_problems_too() {
    let server = Server::start(Batch::default());
    server.get("/v1/nothing").is_problem(404, "not-found");
    server.request("POST", "/v1/sites", &[], "").is_problem(405, "method-not-allowed");
}

#[test]
fn a_store_or_kafka_that_is_away_is_told_without_its_secrets() {
    let server = Server::start(rows());
    *server.store.fails.lock().unwrap() = Some(|| StoreError::Retry("10.1.1.1 refused".into()));
    let answer = server.get("/v1/sites");
    answer.is_problem(503, "store-unavailable");
    assert!(!answer.text.contains("10.1.1.1"));
    *server.store.fails.lock().unwrap() = Some(|| StoreError::Fatal("schema".into()));
    server.get("/v1/agents").is_problem(500, "store-failed");
    *server.producer.fails.lock().unwrap() = Some(|| ProduceError::Retry("away".into()));
    server
        .request("PUT", "/v1/devices/hall/press", &JSON, "{}")
        .is_problem(503, "kafka-unavailable");
    *server.producer.fails.lock().unwrap() = Some(|| ProduceError::Refused("large".into()));
    server.request("DELETE", "/v1/devices/hall/press", &[], "").is_problem(502, "kafka-refused");
}

#[test]
fn a_slow_store_is_given_up_and_a_crowd_is_turned_away() {
    let limits = Limits { timeout: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(limits));
    *server.store.hangs.lock().unwrap() = true;
    server.get("/v1/sites").is_problem(504, "timeout");

    let none = Limits { requests_max: 0, watchers_max: 0, ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(none));
    server.get("/v1/sites").is_problem(503, "busy");
    let one = Limits { watchers_max: 0, ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(one));
    server.get("/v1/live").is_problem(503, "busy");
    assert_eq!(server.get("/v1/sites").status, 200);
    let none = Limits { searches_max: 0, ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(none));
    let accept = [("accept", "application/x-ndjson")];
    server.request("GET", "/v1/logs?site=hall", &accept, "").is_problem(503, "busy");
    assert_eq!(server.get("/v1/logs?site=hall").status, 200);
}
