//! Queries answer what is stored, within the asked bounds.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::store::StoreError;

const ALL: &str = "from=0&to=1970-01-01T00:00:10Z";
const SERIES: &str = "site=hall&device=press&metric=temp";

#[track_caller]
fn items(server: &Server, path: &str, field: &str) -> Vec<Value> {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    let items = json["items"].as_array().unwrap();
    items.iter().map(|item| item.pointer(field).unwrap_or(&Value::Null).clone()).collect()
}

#[test]
fn readings_are_half_open_and_in_order() {
    let server = Server::start(rows());
    let json = server.get(&format!("/v1/readings?{SERIES}&from=1000000&to=3000000")).json();
    assert_eq!(
        json["points"][1],
        json!({"ts_us": 2_000_000, "value": 90.0, "score": 1.8, "stream": "0000000000000007", "seq": 2})
    );
    assert_eq!(
        (&json["n"], &json["anomalies_n"], &json["truncated"]),
        (&json!(2), &json!(1), &json!(false))
    );
}

#[test]
fn a_limit_tells_where_to_go_on() {
    let server = Server::start(rows());
    let json = server.get(&format!("/v1/readings?{SERIES}&{ALL}&limit=2")).json();
    assert_eq!(
        (&json["n"], &json["truncated"], &json["next_from_us"]),
        (&json!(2), &json!(true), &json!(3_000_000))
    );
}

#[test]
fn a_plot_has_every_value_while_they_are_few_and_bins_when_many() {
    let mut rows = rows();
    // More than two pages, with equal times across the edge of the page.
    rows.readings = (0..45_000)
        .map(|i| {
            let at = 1_000_000 + i64::try_from(i / 3).unwrap() * 100;
            reading(at, i, i as f64, (i == 30_001).then_some(3.0))
        })
        .collect();
    let server = Server::start(rows);
    let json = server.get(&format!("/v1/readings?{SERIES}&{ALL}&max_points=100")).json();
    let bins = json["bins"].as_array().unwrap();
    let n: u64 = bins.iter().map(|bin| bin["n"].as_u64().unwrap()).sum();
    assert_eq!((n, &json["n"], &json["truncated"]), (45_000, &json!(45_000), &json!(false)));
    assert!(bins.len() <= 100 && json["points"].as_array().unwrap().is_empty());
    assert_eq!(json["anomalies"][0]["seq"], 30_001);
    assert_eq!(json["anomalies_n"], 1);
    let few =
        server.get(&format!("/v1/readings?{SERIES}&from=1000000&to=1001000&max_points=100")).json();
    assert_eq!((few["points"].as_array().unwrap().len(), &few["bin_us"]), (30, &Value::Null));
}

#[test]
fn a_plot_of_days_has_whole_minutes_and_misses_nothing() {
    const STEP_US: i64 = 10_000_000;
    let mut rows = rows();
    let all: Vec<_> = (0..26_000u64)
        .map(|i| {
            let score = (i % 4_999 == 17 || i % 7_001 == 3).then_some(1.5 + (i % 10) as f32);
            reading(i64::try_from(i).unwrap() * STEP_US + 7, i, (i * 7_919 % 1_000) as f64, score)
        })
        .collect();
    rows.readings.clone_from(&all);
    let server = Server::start(rows);
    // Neither begin nor end is one of a minute.
    for (from, to) in [(95_000_007, 250_000_000_008_i64), (60_000_000, 240_000_000_000)] {
        let query = format!("/v1/readings?{SERIES}&from={from}&to={to}&max_points=500");
        let json = server.get(&query).json();
        let within: Vec<_> = all.iter().filter(|r| from <= r.ts_us && r.ts_us < to).collect();
        let bin_us = json["bin_us"].as_i64().unwrap();
        assert_eq!(bin_us % 60_000_000, 0);
        let bins = json["bins"].as_array().unwrap();
        assert!((400..=500).contains(&bins.len()), "{}", bins.len());
        assert_eq!(json["n"], within.len());
        for bin in bins {
            let ts_us = bin["ts_us"].as_i64().unwrap();
            assert_eq!(ts_us % 60_000_000, 0);
            let of_it: Vec<_> =
                within.iter().filter(|r| ts_us <= r.ts_us && r.ts_us < ts_us + bin_us).collect();
            let values = || of_it.iter().map(|row| row.value);
            let expected = json!({
                "ts_us": ts_us, "n": of_it.len(), "min": values().fold(f64::MAX, f64::min),
                "max": values().fold(f64::MIN, f64::max),
                "mean": values().sum::<f64>() / of_it.len() as f64,
                "score": of_it.iter().filter_map(|row| row.score).reduce(f32::max),
            });
            assert_eq!(*bin, expected);
        }
        let scored = within.iter().filter(|row| row.score.is_some());
        assert_eq!(json["anomalies_n"], scored.clone().count());
        // None of them share a bin here.
        let seqs: Vec<_> = scored.map(|row| json!(row.id.seq)).collect();
        let told = json["anomalies"].as_array().unwrap().iter().map(|point| point["seq"].clone());
        assert_eq!(told.collect::<Vec<_>>(), seqs);
    }
    let limits = super::super::Limits { scan_rows_max: 20_000, ..Default::default() };
    let rows = Batch { readings: all, ..Batch::default() };
    let server = Server::start_with(rows, |api| api.limits(limits));
    server.store.hot.store(true, Relaxed);
    let query = format!("/v1/readings?{SERIES}&from=0&to=260000000000&max_points=500");
    let json = server.get(&query).json();
    // It stops at the end of the second day, for there the rows have become too many.
    assert_eq!(
        (&json["truncated"], &json["next_from_us"]),
        (&json!(true), &json!(172_800_000_000_i64))
    );
    assert_eq!(json["n"], 17_280);
}

#[test]
fn a_plot_of_a_long_time_with_few_values_has_the_values() {
    let mut rows = rows();
    rows.readings =
        (0..300).map(|i| reading(i * 3_600_000_000, i.unsigned_abs(), 1.0, None)).collect();
    let server = Server::start(rows);
    let query = format!("/v1/readings?{SERIES}&from=0&to=9000000000000000&max_points=500");
    let json = server.get(&query).json();
    assert_eq!((json["points"].as_array().unwrap().len(), &json["bin_us"]), (300, &Value::Null));
}

#[test]
fn a_plot_stops_at_the_most_rows_and_tells() {
    let mut rows = rows();
    rows.readings = (0..50_000).map(|i| reading(i, i.unsigned_abs(), 1.0, None)).collect();
    let limits = super::super::Limits { scan_rows_max: 20_000, ..Default::default() };
    let server = Server::start_with(rows, |api| api.limits(limits));
    let json = server.get(&format!("/v1/readings?{SERIES}&{ALL}&max_points=100")).json();
    assert_eq!(
        (&json["n"], &json["truncated"], &json["next_from_us"]),
        (&json!(20_000), &json!(true), &json!(20_000))
    );
}

#[test]
fn values_of_one_time_are_all_in_a_plot() {
    let mut rows = rows();
    rows.readings = (0..30_000).map(|i| reading(1_000_000, i, 1.0, None)).collect();
    let server = Server::start(rows);
    let json = server.get(&format!("/v1/readings?{SERIES}&{ALL}&max_points=100")).json();
    assert_eq!((&json["n"], &json["truncated"]), (&json!(30_000), &json!(false)));
}

#[test]
fn rollups_are_whole_windows() {
    let server = Server::start(rows());
    let path = format!("/v1/rollups?{SERIES}&from=1500000&to=2500000&step=1m");
    let json = server.get(&path).json();
    assert_eq!(
        (&json["from_us"], &json["to_us"], &json["step_us"]),
        (&json!(0), &json!(60_000_000), &json!(60_000_000))
    );
    let windows = json["windows"].as_array().unwrap();
    let points = server.get(&format!("/v1/readings?{SERIES}&from=0&to=60000000")).json();
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0]["n"], points["n"]);
    assert_eq!(windows[0]["anomalies_n"], points["anomalies_n"]);
    assert_eq!(windows[0]["last"], points["points"].as_array().unwrap().last().unwrap()["value"]);
    for (more, detail) in
        [("&step=7m", "7m"), ("&step=1m&from=0&to=3000060000000", "50001 windows")]
    {
        let answer = server.get(&format!("/v1/rollups?{SERIES}{more}"));
        assert_eq!(answer.status, 400, "{more}");
        let problem = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(problem.contains(detail), "{problem}");
    }
}

#[test]
fn logs_are_filtered_newest_first() {
    let server = Server::start(rows());
    let seqs = |more: &str| items(&server, &format!("/v1/logs?site=hall&{ALL}{more}"), "/seq");
    assert_eq!(seqs(""), [3, 2, 1]);
    assert_eq!(seqs("&q=PASSWORD"), [2, 1]);
    assert_eq!(seqs("&severity=4"), [3, 2]);
    assert_eq!(seqs("&host=other"), [0u8; 0]);
    assert_eq!(seqs("&app=sshd&limit=1"), [3]);
    assert_eq!(server.get(&format!("/v1/logs?site=hall&{ALL}&limit=1")).json()["truncated"], true);
    assert_eq!(seqs("&words=PASSWORD"), [2, 1]);
    assert_eq!(seqs("&words=passwor"), [0u8; 0]);
    for (more, name) in [("&words=%20-", "words"), ("&words=", "words"), ("&before=7", "before")] {
        let answer = server.get(&format!("/v1/logs?site=hall&{ALL}{more}"));
        assert_eq!(answer.status, 400, "{more}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name), "{detail}");
    }
}

#[test]
fn logs_come_in_pages_or_as_they_are_found() {
    let server = Server::start(rows());
    let path = format!("/v1/logs?site=hall&{ALL}");
    let mut seqs = Vec::new();
    let mut before = String::new();
    loop {
        let page = server.get(&format!("{path}&limit=2{before}")).json();
        let items = page["items"].as_array().unwrap().clone();
        seqs.extend(items.iter().map(|item| item["seq"].as_u64().unwrap()));
        let Some(last) = items.last() else {
            break;
        };
        let of = |name: &str| last[name].to_string().replace('"', "");
        before = format!("&before={},{},{}", of("ts_us"), of("stream"), of("seq"));
    }
    assert_eq!(seqs, [3, 2, 1]);
    let accept = [("Accept", "application/x-ndjson")];
    let answer = server.request("GET", &path, &accept, "");
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/x-ndjson"));
    let lines: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let whole = server.get(&path).json();
    assert_eq!(lines, *whole["items"].as_array().unwrap());
    // What fails before the first line is an error as elsewhere.
    *server.store.fails.lock().unwrap() = Some(|| StoreError::Retry("away".into()));
    server.request("GET", &path, &accept, "").is_problem(503, "store-unavailable");
}

#[test]
fn alerts_are_filtered_by_state_and_series() {
    let server = Server::start(rows());
    let ids =
        |more: &str| items(&server, &format!("/v1/alerts?site=hall&{ALL}{more}"), "/data/alert_id");
    assert_eq!(ids(""), ["a2", "a1"]);
    assert_eq!(ids("&state=firing"), ["a2"]);
    assert_eq!(ids("&device=press&metric=temp"), ["a2", "a1"]);
    assert_eq!(ids("&device=press&metric=other"), [""; 0]);
}

#[test]
fn lists_tell_what_there_is() {
    let server = Server::start(rows());
    assert_eq!(items(&server, "/v1/sites", ""), ["hall"]);
    assert_eq!(items(&server, "/v1/series?site=hall", "/last_us"), [3_000_000]);
    assert_eq!(items(&server, "/v1/series?site=hall&device=other", "/metric"), [""; 0]);
    assert_eq!(items(&server, "/v1/latest?site=hall", "/value"), [21.0]);
    assert_eq!(items(&server, "/v1/devices?site=hall", "/meta/line"), ["4"]);
    assert_eq!(items(&server, "/v1/agents", "/silent"), [false, true]);
    assert_eq!(items(&server, "/v1/agents", "/lanes/0/waiting"), [1, 1]);
}

#[test]
fn a_device_is_put_and_deleted_through_kafka() {
    let server = Server::start(rows());
    assert_eq!(server.get("/v1/devices/hall/press").json()["meta"]["line"], "4");
    let body = r#"{"aliases":["10.0.0.7"],"meta":{"hall":"B"},"units":{"temp":"K"}}"#;
    let json = [("content-type", "application/json; charset=utf-8")];
    let before = now_us();
    let answer = server.request("PUT", "/v1/devices/hall/line%2F4", &json, body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(server.request("DELETE", "/v1/devices/hall/press", &[], "").status, 202);
    let sent = server.producer.sent.lock().unwrap();
    let (topic, key, value) = &sent[0];
    assert_eq!(
        (*topic, key.as_slice()),
        (weir_models::topic::Topic::Metadata, b"hall/line/4".as_slice())
    );
    let record: Device = serde_json::from_slice(value.as_ref().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), answer.json());
    assert!(record.updated_us >= before && record.units["temp"] == "K");
    assert_eq!((sent[1].1.as_slice(), &sent[1].2), (b"hall/press".as_slice(), &None));
}

#[test]
fn the_description_lists_every_route_and_is_the_committed_one() {
    let server = Server::start(Batch::default());
    let answer = server.get("/v1/openapi.json");
    let description = answer.json();
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let real = path.replace("{site}", "hall").replace("{device}", "x");
        for method in methods.as_object().unwrap().keys() {
            // A path or method that the router does not know has a title of its own.
            let answer = server.request(
                &method.to_uppercase(),
                &format!("{real}?surely-unknown=1"),
                &[],
                "",
            );
            let known = !answer.text.contains("there is no such path") && answer.status != 405;
            assert!(known, "{method} {path}: {}", answer.text);
        }
    }
    let routed = [
        "/api/v1/label/{name}/values",
        "/api/v1/labels",
        "/api/v1/metadata",
        "/api/v1/query",
        "/api/v1/query_range",
        "/api/v1/series",
        "/api/v1/status/buildinfo",
        "/v1/agents",
        "/v1/alerts",
        "/v1/alerts/{id}/feedback",
        "/v1/archive",
        "/v1/devices",
        "/v1/devices/import",
        "/v1/devices/{site}/{device}",
        "/v1/devices/{site}/{device}/history",
        "/v1/latest",
        "/v1/live",
        "/v1/logs",
        "/v1/logs/summary",
        "/v1/losses",
        "/v1/openapi.json",
        "/v1/readings",
        "/v1/rollups",
        "/v1/series",
        "/v1/sites",
    ];
    assert_eq!(paths.keys().collect::<Vec<_>>(), routed);
    let operations = answer.text.split("\"operationId\": \"").skip(1);
    let mut operations: Vec<_> = operations.map(|text| text.split('"').next()).collect();
    let all = operations.len();
    operations.sort_unstable();
    operations.dedup();
    assert_eq!((all, operations.len()), (32, 32));
    // References lead somewhere.
    for reference in answer.text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
    expect_test::expect_file!["../../../../docs/openapi.json"].assert_eq(&answer.text);
}
