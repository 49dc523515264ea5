//! Feedback on alerts: what is taken, what is refused, where it shows.

use serde_json::Value;
use weir_models::topic::Topic;

use super::{Server, rows};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[test]
fn what_a_person_says_goes_to_kafka_under_the_alert() {
    let server = Server::start(rows());
    // Fired at second 2.
    for query in ["site=hall&fired_us=2000000", "site=hall&fired_us=1970-01-01T00:00:02Z"] {
        let body = r#"{"verdict":"false","note":"a door\nwas open","by":"eva"}"#;
        let path = format!("/v1/alerts/a2/feedback?{query}");
        let answer = server.request("POST", &path, JSON, body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        let (topic, key, value) = server.producer.sent.lock().unwrap().pop().unwrap();
        assert_eq!((topic, &*key), (Topic::Feedback, &b"a2"[..]));
        let said: Value = serde_json::from_slice(&value.unwrap()).unwrap();
        assert_eq!(said, serde_json::from_str::<Value>(&answer.text).unwrap());
        assert_eq!(said["verdict"], "false");
        assert_eq!(said["note"], "a door\nwas open");
        let of = (&said["site"], &said["device"], &said["metric"], &said["fired_us"]);
        assert_eq!(of, (&"hall".into(), &"press".into(), &"temp".into(), &2_000_000.into()));
        assert!(said["given_us"].as_i64().unwrap() > 1_700_000_000_000_000);
    }
}

#[test]
fn the_last_word_is_later_than_what_is_stored_though_a_clock_was_ahead() {
    let mut rows = rows();
    let ahead_us = weir_models::time::now_us() + 120_000_000;
    rows.feedback[0].given_us = ahead_us;
    let server = Server::start(rows);
    let path = "/v1/alerts/a1/feedback?site=hall&fired_us=1000000";
    let answer = server.request("POST", path, JSON, r#"{"verdict":"true"}"#);
    let said: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(said["given_us"], ahead_us + 1);
}

#[test]
fn it_shows_beside_the_alert() {
    let server = Server::start(rows());
    let answer = server.get("/v1/alerts?site=hall&from=0&to=9000000");
    let page: Value = serde_json::from_str(&answer.text).unwrap();
    let [second, first] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(second.get("feedback"), None);
    assert_eq!(second["data"]["alert_id"], "a2");
    assert_eq!(first["feedback"]["verdict"], "expected");
    assert_eq!(first["feedback"]["by"], "the night shift");
    // A page that the alert is not on does not have it either.
    let answer = server.get("/v1/alerts?site=hall&from=2000000&to=9000000");
    assert!(!answer.text.contains("night shift"), "{}", answer.text);
}

#[test]
fn what_cannot_be_used_is_refused_and_nothing_is_sent() {
    let server = Server::start(rows());
    let long = format!(r#"{{"verdict":"true","note":"{}"}}"#, "x".repeat(2_001));
    let named = format!(r#"{{"verdict":"true","by":"{}"}}"#, "x".repeat(257));
    let good = r#"{"verdict":"true"}"#;
    let here = "site=hall&fired_us=2000000";
    let cases: [(&str, &str, &str, u16, &str); 10] = [
        ("a2", here, "{}", 400, "missing field `verdict`"),
        ("a2", here, r#"{"verdict":"maybe"}"#, 400, "unknown variant"),
        ("a2", here, r#"{"verdict":"true","more":1}"#, 400, "unknown field"),
        ("a2", here, &long, 400, "`note` cannot be used"),
        ("a2", here, &named, 400, "`by` cannot be used"),
        ("a2", "", good, 400, "missing field `site`"),
        ("a2", "site=hall&device=press", good, 400, "only one of"),
        ("a2", "site=hall&fired_us=2000001", good, 404, "no such alert"),
        // Without a time it is looked for in the last 30 days.
        ("a2", "site=hall&device=press&metric=temp", good, 404, "no such alert"),
        ("a3", here, good, 404, "no such alert"),
    ];
    for (id, query, body, status, why) in cases {
        let path = format!("/v1/alerts/{id}/feedback?{query}");
        let answer = server.request("POST", &path, JSON, body);
        assert_eq!(answer.status, status, "{query} {body}: {}", answer.text);
        assert!(answer.text.contains(why), "{query} {body}: {}", answer.text);
    }
    let odd = server.request("POST", "/v1/alerts/%ff/feedback?site=hall", JSON, good);
    odd.is_problem(400, "bad-parameter");
    let path = format!("/v1/alerts/a2/feedback?{here}");
    assert_eq!(server.request("POST", &path, &[], good).status, 415);
    assert_eq!(server.get(&path).status, 405);
    assert!(server.producer.sent.lock().unwrap().is_empty());
}
