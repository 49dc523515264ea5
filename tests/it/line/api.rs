//! What the API answers, held against the rows of the store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_tests::cassandra::Row;
use weir_tests::http;
use weir_tests::line::{Line, SITE};

use super::arrived::{Arrived, Id, id, once, same};

/// Later than any stamp of ours.
const END_US: i64 = 4_000_000_000_000_000;
/// 300 days: one query for log lines may not span more than 10,000 hours.
const SPAN_US: i64 = 300 * 86_400_000_000;

/// Fails unless series, values, newest values, log lines and alerts are those of the store.
#[track_caller]
pub(super) fn check(line: &Line, arrived: &Arrived) {
    let mut series: BTreeMap<(String, String), Vec<&Row>> = BTreeMap::new();
    for row in &arrived.stored_readings {
        series.entry((text(row, "device"), text(row, "metric"))).or_default().push(row);
    }
    let known = list(line, "/v1/series?", SERIES);
    same("the series", &known, &series.keys().map(|(d, m)| json!([d, m]).to_string()).collect());
    for ((device, metric), rows) in &series {
        let name = format!("device={}&metric={}", encoded(device), encoded(metric));
        check_values(line, &name, rows);
    }
    check_latest(line, &series);
    check_logs(line, &arrived.stored_logs);
    let stored = arrived.stored_alerts.iter().map(|row| text(row, "id")).collect();
    let alerts = list(line, &format!("/v1/alerts?from=0&to={END_US}&limit=5000&"), |alert| {
        alert["data"]["alert_id"].as_str().unwrap().to_string()
    });
    same("the alerts", &alerts, &stored);
}

const SERIES: fn(&Value) -> String = |item| json!([item["device"], item["metric"]]).to_string();

#[track_caller]
fn check_values(line: &Line, name: &str, rows: &[&Row]) {
    let query = format!("/v1/readings?site={SITE}&{name}&from=0&to={END_US}&limit=100000");
    let answer = http::get_json(&line.api(&query));
    assert_eq!(answer["truncated"], false, "{name}");
    let point = |point: &Value, id: Id| {
        // A 32-bit number, which JSON writes shorter than CQL does as one of 64 bits.
        let score = point["score"].as_f64().map(|score| score as f32);
        (id, json!([point["ts_us"], point["value"], score]).to_string())
    };
    let points = answer["points"].as_array().unwrap().iter();
    let points = once(name, points.map(|p| point(p, id(p.as_object().unwrap()))));
    let rows = rows.iter().map(|row| point(&Value::Object((*row).clone()), id(row)));
    same(&format!("the values of {name}"), &points, &rows.collect());
}

/// The newest value of each series; of two with one stamp, the one that came last.
#[track_caller]
fn check_latest(line: &Line, series: &BTreeMap<(String, String), Vec<&Row>>) {
    let value = |item: &Value| {
        json!([item["device"], item["metric"], item["ts_us"], item["value"]]).to_string()
    };
    let newest = |rows: &Vec<&Row>| {
        let key = |row: &&&Row| (row["ts_us"].as_i64(), row["seq"].as_i64());
        value(&Value::Object((**rows.iter().max_by_key(key).unwrap()).clone()))
    };
    let expected = series.values().map(newest).collect();
    same("the newest values", &list(line, "/v1/latest?", value), &expected);
}

#[track_caller]
fn check_logs(line: &Line, rows: &[Row]) {
    let mut hosts: BTreeMap<(String, i64), BTreeSet<String>> = BTreeMap::new();
    let text_of = |row: &Value| {
        json!([row["stream"], row["seq"], row["ts_us"], row["app"], row["message"]]).to_string()
    };
    for row in rows {
        let line = text_of(&Value::Object(row.clone()));
        let span = row["ts_us"].as_i64().unwrap().div_euclid(SPAN_US);
        hosts.entry((text(row, "host"), span)).or_default().insert(line);
    }
    for ((host, span), expected) in hosts {
        let (from, to) = (span * SPAN_US, (span + 1) * SPAN_US);
        let range = format!("from={from}&to={to}&limit=10000");
        let query = format!("/v1/logs?host={}&{range}&", encoded(&host));
        same(&format!("the lines of {host}"), &list(line, &query, text_of), &expected);
    }
}

/// All items of a list, each as text; fails when one comes twice.
#[track_caller]
fn list(line: &Line, query: &str, text: impl Fn(&Value) -> String) -> BTreeSet<String> {
    let answer = http::get_json(&line.api(&format!("{query}site={SITE}")));
    assert_eq!(answer["truncated"], false, "{query}");
    let items = answer["items"].as_array().unwrap().iter().map(|item| (text(item), ()));
    once(query, items).into_keys().collect()
}

fn text(row: &Row, key: &str) -> String {
    row[key].as_str().unwrap().to_string()
}

/// For a query: every byte that could mean something there as `%XX`.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
