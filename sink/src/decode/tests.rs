#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::consume::Partition;
use crate::store::Batch;

const EVENT: &str = r#"{"agent":"gw-1","stream":"0000000000000007","seq":3,"site":"plant-a",
    "device":"pump-1","ts_us":5,"received_us":6"#;

fn record(topic: Topic, key: &str, value: Option<&str>) -> Record {
    Record {
        partition: Partition { topic, number: 0 },
        offset: 0,
        ts_ms: 0,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        retried: 0,
        by: None,
        again: None,
    }
}

fn decoded(record: &Record) -> Result<Decoded, Poison> {
    decode(record, &mut Reader::default())
}

#[track_caller]
fn poison(topic: Topic, key: &str, value: Option<&str>, expected: &str) {
    match decoded(&record(topic, key, value)) {
        Err(poison) => assert!(
            poison.to_string().contains(expected),
            "`{poison}` does not contain `{expected}`"
        ),
        Ok(taken) => panic!("taken: {taken:?}"),
    }
}

fn reading() -> String {
    format!(r#"{EVENT},"values":{{"t":{{"v":1.5,"unit":"C"}},"p":{{"v":2}}}}}}"#)
}

fn log() -> String {
    format!(r#"{EVENT},"host":"web","message":"m"}}"#)
}

#[test]
fn a_record_that_is_not_what_the_topic_carries_is_poison() {
    poison(Topic::Readings, "", None, "no value");
    poison(Topic::Logs, "", Some("{"), "EOF");
    poison(Topic::Logs, "", Some(&reading()), "another kind");
    poison(Topic::Readings, "", Some(&log()), "another kind");
    poison(Topic::Alerts, "", Some("{}"), "missing field");
    poison(Topic::Agents, "", Some("[]"), "invalid");
}

#[test]
fn what_cannot_be_a_primary_key_is_poison() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for (from, to, expected) in [
        ("\"seq\":3", "\"seq\":0", "seq 0"),
        ("\"seq\":3", "\"seq\":9223372036854775808", "do not name"),
        ("0000000000000007", "0", "stream 0000000000000000"),
        ("plant-a", "", "site has 0 bytes"),
        ("pump-1", &long, "device has 257 bytes"),
        ("\"t\"", &format!("\"{long}\""), "metric has 257 bytes"),
    ] {
        poison(Topic::Readings, "", Some(&reading().replace(from, to)), expected);
    }
}

#[test]
fn a_device_is_named_by_its_key() {
    let value = r#"{"site":"a","device":"b"}"#;
    poison(Topic::Metadata, "a/c", Some(value), "expected `a/b`");
    poison(Topic::Metadata, "ab", None, "site/device");
    let deleted = decoded(&record(Topic::Metadata, "a/b", None)).unwrap();
    let Decoded::Device(change) = deleted else {
        panic!("{deleted:?}");
    };
    assert_eq!((&*change.site, &*change.device, change.record), ("a", "b", None));
    assert!(matches!(
        decoded(&record(Topic::Metadata, "a/b", Some(value))).unwrap(),
        Decoded::Device(DeviceChange { record: Some(_), .. })
    ));
}

#[test]
fn feedback_is_of_the_alert_that_its_key_names() {
    let value = r#"{"alert_id":"a1","site":"plant","device":"pump","metric":"temp","fired_us":5,
        "verdict":"false","given_us":9}"#;
    poison(Topic::Feedback, "a2", Some(value), "expected `a1`");
    poison(Topic::Feedback, "a1", Some(&value.replace("false", "perhaps")), "unknown variant");
    poison(Topic::Feedback, "a1", Some(&value.replace("plant", "")), "site has 0 bytes");
    let long = |field: &str, n| {
        value.replace(
            "\"metric\":\"temp\"",
            &format!("\"metric\":\"temp\",\"{field}\":\"{}\"", "x".repeat(n)),
        )
    };
    poison(Topic::Feedback, "a1", Some(&long("note", 2_001)), "`note` has more than 2000 bytes");
    poison(Topic::Feedback, "a1", Some(&long("by", 257)), "by has 257 bytes");
    poison(Topic::Feedback, "a1", Some(&value.replace("pump", &"x".repeat(257))), "device has 257");
    poison(Topic::Feedback, "a1", Some(&value.replace("temp", &"x".repeat(257))), "metric has 257");
    decoded(&record(Topic::Feedback, "a1", Some(&long("note", 2_000)))).unwrap();
    // Ahead of Kafka's clock: believed by five minutes, else it is when it came, whenever that is read.
    for (given_us, believed_us) in [(301_000_000, 301_000_000), (301_000_001, 1_000_000)] {
        let ahead = value.replace("\"given_us\":9", &format!("\"given_us\":{given_us}"));
        let record = Record { ts_ms: 1_000, ..record(Topic::Feedback, "a1", Some(&ahead)) };
        let Decoded::Feedback(feedback) = decoded(&record).unwrap() else { panic!("{ahead}") };
        assert_eq!(feedback.given_us, believed_us);
    }
    let taken = decoded(&record(Topic::Feedback, "a1", Some(value))).unwrap();
    let Decoded::Feedback(feedback) = &taken else { panic!("{taken:?}") };
    assert_eq!((feedback.verdict.as_str(), feedback.given_us), ("false", 9));
    assert_eq!(taken.event_id(), None);
    assert_eq!(decoded(&record(Topic::Feedback, "a1", None)).unwrap(), Decoded::Ignored);
}

#[test]
fn a_reading_becomes_a_row_for_each_metric_and_a_log_one() {
    let mut batch = Batch::default();
    for (topic, json) in [(Topic::Readings, reading()), (Topic::Logs, log())] {
        match decoded(&record(topic, "", Some(&json))).unwrap() {
            Decoded::Event(event) => add_event(&event, &mut batch),
            other => panic!("{other:?}"),
        }
    }
    let metrics: Vec<_> = batch
        .readings
        .iter()
        .map(|row| (&*row.key.metric, row.value, row.unit.as_deref(), row.id.seq))
        .collect();
    assert_eq!(metrics, [("p", 2.0, None, 3), ("t", 1.5, Some("C"), 3)]);
    let line = batch.lines().next().unwrap();
    assert_eq!((line.host(), &*line.event.device), ("web", "pump-1"));
}

#[test]
fn a_host_that_is_too_long_for_a_key_is_cut_at_a_character() {
    let json = log().replace("web", &"é".repeat(200));
    let mut batch = Batch::default();
    if let Decoded::Event(event) = decoded(&record(Topic::Logs, "", Some(&json))).unwrap() {
        add_event(&event, &mut batch);
    }
    assert_eq!(batch.lines().next().unwrap().host(), "é".repeat(128));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(
        topic in 0..Topic::ALL.len(),
        key in proptest::collection::vec(any::<u8>(), 0..20),
        value in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut record = record(Topic::ALL[topic], "", None);
        record.key = Some(key.into());
        record.value = Some(value.into());
        let _ = decoded(&record);
    }
}
