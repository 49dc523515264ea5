//! What has arrived: Kafka, archive and store read back and held against each other.
//!
//! The archive is the measure: it has to hold what Kafka holds, each event once, without a gap; and
//! the store has to hold what the archive holds, value by value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde_json::{Value, json};
use weir_tests::cassandra::Row;
use weir_tests::kafka::Message;
use weir_tests::line::Line;
use weir_tests::parquet_rows;

/// Stream and number.
pub(super) type Id = (String, i64);

/// Rows of the archive by topic, and of the store by table.
pub(crate) struct Arrived {
    /// What Kafka holds. An event may be there twice: what the sink is to sort out.
    published: BTreeSet<Id>,
    pub(super) readings: Vec<Row>,
    pub(super) logs: Vec<Row>,
    pub(super) alerts: Vec<Row>,
    pub(super) stored_readings: Vec<Row>,
    pub(super) stored_logs: Vec<Row>,
    pub(super) stored_alerts: Vec<Row>,
}

impl Arrived {
    /// Reads all of it, once [`Line::settle`] was called.
    #[track_caller]
    pub(crate) fn read(line: &Line) -> Self {
        let mut published = BTreeSet::new();
        for topic in ["readings", "logs", "alerts"] {
            for message in line.kafka.read(&line.topic(topic)) {
                let record = message.json();
                let event = if topic == "alerts" { &record["data"] } else { &record };
                let stream = event["stream"].as_str().unwrap().to_string();
                published.insert((stream, event["seq"].as_i64().unwrap()));
            }
        }
        let dead = line.kafka.read(&line.topic("dlq"));
        let some: Vec<_> = dead.iter().take(3).map(readable).collect();
        assert!(dead.is_empty(), "{} dead letters, e.g. {some:#?}", dead.len());
        let mut archived: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in parquet_rows(&line.archive()) {
            let topic = row.object.iter().next().unwrap().to_str().unwrap().to_string();
            archived.entry(topic).or_default().push(row.row);
        }
        let mut take = |topic: &str| archived.remove(topic).unwrap_or_default();
        let (readings, logs, alerts) = (take("readings"), take("logs"), take("alerts"));
        assert!(archived.is_empty(), "in the archive, but of no topic: {:?}", archived.keys());
        let table = |table: &str| {
            let select = format!("SELECT * FROM {}.{table}", line.name);
            line.cassandra.cql(&select).into_iter().map(with_stream_in_hex).collect()
        };
        Self {
            published,
            readings,
            logs,
            alerts,
            stored_readings: table("readings"),
            stored_logs: table("logs"),
            stored_alerts: table("alerts"),
        }
    }

    /// Readings and log lines in the archive.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Row> {
        self.readings.iter().chain(&self.logs)
    }

    /// Fails unless every event is in archive and store exactly once and the same.
    #[track_caller]
    pub(crate) fn check(&self) {
        let rows = self.events().chain(&self.alerts);
        let archived = once("the archive", rows.map(|row| (id(row), ())));
        let archived: BTreeSet<Id> = archived.into_keys().collect();
        same("Kafka and the archive", &self.published, &archived);
        check_gaps(&archived);
        for event in self.events() {
            assert_eq!(event["lost_count"], Value::Null, "a loss marker: {event:?}");
        }
        same(
            "the readings in archive and store",
            &once("the archive's readings", self.readings.iter().flat_map(values)),
            &once("the store's readings", self.stored_readings.iter().map(stored_value)),
        );
        same(
            "the log lines in archive and store",
            &once("the archive's lines", self.logs.iter().map(|row| (id(row), log_line(row)))),
            &once("the store's lines", self.stored_logs.iter().map(|r| (id(r), log_line(r)))),
        );
        let text = |row: &Row, key: &str| row[key].as_str().unwrap().to_string();
        let fired: BTreeSet<String> = self.alerts.iter().map(|row| text(row, "alert_id")).collect();
        let stored = self.stored_alerts.iter().map(|row| (text(row, "id"), ()));
        let stored = once("the store's alerts", stored).into_keys().collect();
        same("the alerts in archive and store", &fired, &stored);
    }
}

/// A message with its headers, for a person.
fn readable(message: &Message) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers.iter().map(|(key, value)| format!("{key}: {}", text(value)));
    let payload = text(message.payload.as_deref().unwrap_or_default());
    format!("{} {payload}", headers.collect::<Vec<_>>().join(", "))
}

/// A stream is a signed number in Cassandra, 16 hexadecimal digits elsewhere.
fn with_stream_in_hex(mut row: Row) -> Row {
    if let Some(stream) = row.get("stream").and_then(Value::as_i64) {
        row.insert("stream".into(), json!(format!("{stream:016x}")));
    }
    row
}

pub(super) fn id(row: &Row) -> Id {
    (row["stream"].as_str().unwrap().to_string(), row["seq"].as_i64().unwrap())
}

/// Every metric of a reading of the archive.
fn values(row: &Row) -> Vec<((Id, String), String)> {
    let value = |value: &Value| {
        let metric = value["metric"].as_str().unwrap().to_string();
        let place = [&row["site"], &row["device"], &row["ts_us"]];
        ((id(row), metric), json!([place, value["v"], value["score"]]).to_string())
    };
    row["values"].as_array().unwrap().iter().map(value).collect()
}

/// The same of a row of the store.
fn stored_value(row: &Row) -> ((Id, String), String) {
    let place = [&row["site"], &row["device"], &row["ts_us"]];
    let key = (id(row), row["metric"].as_str().unwrap().to_string());
    (key, json!([place, row["value"], row["score"]]).to_string())
}

/// A log line; the host is the device where the sender has no name.
fn log_line(row: &Row) -> String {
    const KEYS: [&str; 11] = [
        "site", "device", "ts_us", "facility", "severity", "app", "procid", "msgid", "message",
        "template", "score",
    ];
    let host = if row["host"] == "" { &row["device"] } else { &row["host"] };
    json!([host, KEYS.map(|key| &row[key])]).to_string()
}

/// The entries as a map; fails when a key comes twice.
#[track_caller]
pub(super) fn once<K: Ord + Clone + Debug, V>(
    what: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    let mut twice = Vec::new();
    for (key, value) in entries {
        if map.insert(key.clone(), value).is_some() {
            twice.push(key);
        }
    }
    let some = &twice[..twice.len().min(5)];
    assert!(twice.is_empty(), "{what}: {} of {} twice, e.g. {some:?}", twice.len(), map.len());
    map
}

/// Fails unless both hold the same, and shows some of the difference.
#[track_caller]
pub(super) fn same<'a, C, T>(what: &str, left: &'a C, right: &'a C)
where
    &'a C: IntoIterator<Item = T>,
    T: Ord + Debug,
{
    let (a, b): (BTreeSet<T>, BTreeSet<T>) =
        (left.into_iter().collect(), right.into_iter().collect());
    let only = |x: &BTreeSet<T>, y: &BTreeSet<T>| {
        let some: Vec<String> = x.difference(y).take(5).map(|t| format!("{t:?}")).collect();
        (x.difference(y).count(), some)
    };
    let (left, right) = (only(&a, &b), only(&b, &a));
    let numbers = (a.len(), b.len());
    assert!(
        left.0 == 0 && right.0 == 0,
        "{what} differ, {numbers:?} in all; only in the first: {left:?}; only in the second: {right:?}"
    );
}

/// Each stream has to begin with 1 and to go on without a gap.
#[track_caller]
fn check_gaps(ids: &BTreeSet<Id>) {
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    for (stream, seq) in ids {
        let next = next.entry(stream).or_insert(1);
        assert_eq!(seq, next, "a gap in stream {stream}");
        *next += 1;
    }
}
