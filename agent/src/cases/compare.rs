//! What was expected beside what came.
//!
//! In: a test and what came of it. Out: the differences. Pure. Only what the test names is compared: of an event the fields that
//! are written down, of a table (`meta`, `values`, `sd`) the entries.

use serde_json::{Value, json};
use weir_models::time::{parse_rfc3339, rfc3339};

use super::file::{Case, Expected};
use super::stages::Came;

/// Fields that are not to be there.
pub(super) const ABSENT: &str = "absent";
/// The fields of an event that a test can name.
pub(super) const EVENT_FIELDS: &[&str] = &[
    "agent",
    "site",
    "device",
    "ts",
    "ts_us",
    "ts_rule",
    "received",
    "received_us",
    "clock",
    "source",
    "dialect",
    "parse",
    "parse_reason",
    "meta",
    "meta_state",
    "meta_age_s",
    "facility",
    "severity",
    "host",
    "app",
    "procid",
    "msgid",
    "template",
    "sd",
    "score",
    "message",
    "values",
    "raw",
    "raw_b64",
    "lane",
    "kafka_topic",
    "kafka_key",
    ABSENT,
];
/// The fields of an alert, likewise.
pub(super) const ALERT_FIELDS: &[&str] = &[
    "state",
    "kind",
    "agent",
    "site",
    "device",
    "metric",
    "fired",
    "fired_us",
    "resolved",
    "resolved_us",
    "score",
    "threshold",
    "model",
    "why",
    "baseline",
    "last_values",
    "message",
    "recent",
    "lane",
    "kafka_topic",
    "kafka_key",
    ABSENT,
];
/// Times as text, and the fields they are made of.
pub(super) const TIMES: [(&str, &str); 4] = [
    ("ts", "ts_us"),
    ("received", "received_us"),
    ("fired", "fired_us"),
    ("resolved", "resolved_us"),
];

/// Something that is not as expected.
#[derive(Debug)]
pub(super) struct Difference {
    /// The line in the file of the tests.
    pub(super) line: usize,
    /// Of which event or alert, or of the test.
    pub(super) of: String,
    pub(super) field: String,
    /// `null` for nothing.
    pub(super) expected: Value,
    pub(super) got: Value,
}

/// What is not as the test expects it.
pub(super) fn differences(case: &Case, came: &Came) -> Vec<Difference> {
    let mut found = Vec::new();
    for (what, count, expected, all) in [
        ("event", case.events, &case.event, &came.events),
        ("alert", case.alerts, &case.alert, &came.alerts),
    ] {
        // Who describes some and does not say how many there are describes all.
        let count = count.or((!expected.is_empty()).then_some(expected.len()));
        if let Some(count) = count.filter(|count| *count != all.len()) {
            let field = format!("number of {what}s");
            found.push(of_test(case, field, count.into(), all.len().into()));
        }
        for (at, (expected, got)) in expected.iter().zip(all).enumerate() {
            of_record(expected, format!("{what} {}", at + 1), got, &mut found);
        }
    }
    let mut took = Vec::new();
    if let Some(filtered) = &case.filtered {
        let got = json!(came.filtered);
        compare("filtered", filtered, Some(&got), &mut took);
    }
    found
        .extend(took.into_iter().map(|(field, expected, got)| of_test(case, field, expected, got)));
    found
}

fn of_test(case: &Case, field: String, expected: Value, got: Value) -> Difference {
    Difference { line: case.line, of: "test".into(), field, expected, got }
}

fn of_record(expected: &Expected, of: String, got: &Value, found: &mut Vec<Difference>) {
    let mut fields = Vec::new();
    for (name, value) in &expected.fields {
        if name == ABSENT {
            for name in texts(value).unwrap_or_default() {
                if let Some(there) = got.get(name) {
                    fields.push((name.to_owned(), Value::Null, there.clone()));
                }
            }
            continue;
        }
        let mut value = value.clone();
        if TIMES.iter().any(|(time, _)| time == name)
            && let Some(Ok(us)) = value.as_str().map(parse_rfc3339)
        {
            value = rfc3339(us).into();
        }
        compare(name, &value, got.get(name), &mut fields);
    }
    let line = expected.line;
    let one = |(field, expected, got)| Difference { line, of: of.clone(), field, expected, got };
    found.extend(fields.into_iter().map(one));
}

/// The texts in a list, or the one that stands alone; none where there is none, or something else.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().map(Value::as_str).collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty())
}

/// Adds what differs at `path` and below.
fn compare(
    path: &str,
    expected: &Value,
    got: Option<&Value>,
    found: &mut Vec<(String, Value, Value)>,
) {
    let is_same = match (expected, got) {
        (Value::Object(entries), Some(Value::Object(there))) => {
            for (name, value) in entries {
                compare(&format!("{path}.{name}"), value, there.get(name), found);
            }
            true
        }
        // The value of a metric, whatever unit and score it has.
        (Value::Number(_), Some(Value::Object(there))) => {
            return compare(path, expected, there.get("v").or(Some(&Value::Null)), found);
        }
        (Value::Number(expected), Some(Value::Number(got))) => expected.as_f64() == got.as_f64(),
        (expected, got) => got == Some(expected),
    };
    if !is_same {
        found.push((path.to_owned(), expected.clone(), got.cloned().unwrap_or_default()));
    }
}
