#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use tokio::time::Instant;
use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::event::{Body, Clock, Event, Log, Loss, MetaState, ParseState, RawBytes, Value};
use weir_models::ident::{EventId, Stream};
use weir_models::topic::Topic;

use super::*;
use crate::consume::Partition;

mod prune;

const HOUR_MS: i64 = 3_600_000;

fn partition(topic: Topic) -> Partition {
    Partition { topic, number: 3 }
}

fn event(seq: u64, body: Body) -> RowBody {
    RowBody::Event(Arc::new(Event {
        agent: "gw-1".into(),
        id: EventId { stream: Stream(7), seq },
        site: "plant-a".into(),
        device: "pump-1".into(),
        ts_us: 1_594_598_735_772_776,
        received_us: 1_594_598_735_800_000,
        clock: Clock::Corrected,
        source: "udp".into(),
        dialect: "rfc3164".into(),
        parse: ParseState::Partial,
        parse_reason: Some("no year".into()),
        meta: Arc::new(BTreeMap::from([("line".into(), "4".into())]).into()),
        meta_state: MetaState::Stale,
        meta_age_s: Some(12),
        raw: Some(RawBytes(bytes::Bytes::from_static(b"\xff\x00"))),
        body,
    }))
}

fn alert(seq: u64) -> RowBody {
    let data = AlertData {
        alert_id: "a1".into(),
        state: AlertState::Firing,
        kind: AlertKind::Reading,
        agent: "gw-1".into(),
        stream: Stream(9),
        seq,
        site: "plant-a".into(),
        device: "pump-1".into(),
        metric: "t".into(),
        fired_us: 5,
        resolved_us: None,
        score: 2.0,
        threshold: 1.0,
        model: Model { name: "m".into(), version: "1".into() },
        why: "level".into(),
        baseline: None,
        last_values: Vec::new(),
        message: None,
        cause_stream: Stream(7),
        cause_seq: 3,
        recent: None,
        rank: None,
    };
    let alert = Alert::new("/weir/agent/gw-1", 5, data);
    let mut json = Vec::new();
    alert.write_json(&mut json);
    RowBody::Alert(Arc::new(alert), json.into())
}

fn sealed(topic: Topic, bodies: Vec<RowBody>, first_offset: i64) -> Sealed {
    let kafka_ms = 10 * HOUR_MS;
    let name: Arc<str> = format!("weir.{}", topic.suffix()).into();
    let mut open = Open::new(partition(topic), &name, first_offset, kafka_ms, Instant::now());
    let mut offset = first_offset;
    for body in bodies {
        let row = Row { offset, kafka_ms, body };
        open.push(row, 100).unwrap();
        offset += 1;
    }
    open.seal(offset + 5, Snapshot::default()).unwrap()
}

#[tokio::test]
async fn folder_and_memory_pass_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    conformance::all(|name| Archive::local(&folder.path().join(name)).unwrap(), 3).await;
    let memory = |_: &str| Archive::new(Arc::new(object_store::memory::InMemory::new()));
    conformance::all(memory, 1).await;
}

fn read(data: &bytes::Bytes) -> Vec<RecordBatch> {
    ParquetRecordBatchReaderBuilder::try_new(data.clone())
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn the_name_follows_from_the_first_record() {
    assert_eq!(
        object_path(partition(Topic::Readings), "weir.readings", 1_200, 1_772_359_200_000),
        "readings/date=2026-03-01/hour=10/weir.readings-3-00000000000000001200.parquet"
    );
    // Kafka says -1 where it has no stamp.
    assert!(object_path(partition(Topic::Logs), "l", 0, -1).contains("date=1969-12-31/hour=23"));
}

#[test]
fn readings_are_read_back_as_they_were() {
    let value = |v, unit: Option<&str>, score| Value { v, unit: unit.map(Into::into), score };
    let values = BTreeMap::from([
        ("p".to_owned(), value(-0.1, None, None)),
        ("t".to_owned(), value(1e300, Some("C"), Some(0.5))),
    ]);
    let range = Some((Stream(8), 1, 3));
    let loss = Loss { count: 3, range, reason: "spool_full".into(), lane: Some("rest".into()) };
    let object = sealed(
        Topic::Readings,
        vec![event(1, Body::Reading(values)), event(2, Body::Loss(loss))],
        40,
    );
    let batch = &read(&object.data)[0];
    let text = |name: &str| batch[name].as_string::<i32>().value(0).to_owned();
    assert_eq!(text("stream"), "0000000000000007");
    assert_eq!((text("clock"), text("parse")), ("corrected".into(), "partial".into()));
    assert_eq!(text("parse_reason"), "no year");
    assert_eq!(batch["raw"].as_binary::<i32>().value(0), b"\xff\x00");
    let stamps = batch["ts_us"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(stamps.value(0), 1_594_598_735_772_776);
    let first = batch["values"].as_list::<i32>().value(0);
    let first = first.as_struct();
    assert_eq!(first["metric"].as_string::<i32>().value(1), "t");
    assert_eq!(&first["v"].as_primitive::<Float64Type>().values()[..], [-0.1, 1e300]);
    assert!(first["unit"].is_null(0));
    assert_eq!(batch["values"].as_list::<i32>().value(1).len(), 0);
    assert!(batch["lost_count"].is_null(0));
    assert_eq!(batch["lost_count"].as_primitive::<Int64Type>().value(1), 3);
    assert_eq!(&batch["offset"].as_primitive::<Int64Type>().values()[..], [40, 41]);
    let meta = batch["meta"].as_map().value(0);
    assert_eq!(meta["value"].as_string::<i32>().value(0), "4");
}

#[tokio::test]
async fn archived_values_come_back_one_by_one() {
    let value = |v| Value { v, ..Value::default() };
    let values = |t| BTreeMap::from([("p".into(), value(-0.1)), ("t".into(), value(t))]);
    let loss = Loss { count: 3, reason: "spool_full".into(), ..Loss::default() };
    let archive = Archive::new(Arc::new(object_store::memory::InMemory::new()));
    let reading = |seq, t| event(seq, Body::Reading(values(t)));
    let first = vec![reading(1, 1.5), event(2, Body::Loss(loss)), reading(3, 2.5)];
    archive.put(&sealed(Topic::Readings, first, 40)).await.unwrap();
    archive.put(&sealed(Topic::Readings, vec![reading(4, 3.5)], 50)).await.unwrap();
    archive.put(&sealed(Topic::Alerts, vec![alert(1)], 0)).await.unwrap();
    let mut found = Vec::new();
    let each = |value: Archived<'_>| {
        assert_eq!((value.site, value.device), ("plant-a", "pump-1"));
        assert_eq!(value.ts_us, 1_594_598_735_772_776);
        found.push((value.metric.to_owned(), value.value));
        found.len() < 5
    };
    archive.each_value(each).await.unwrap();
    let expected = [("p", -0.1), ("t", 1.5), ("p", -0.1), ("t", 2.5), ("p", -0.1)];
    assert_eq!(found, expected.map(|(metric, v)| (metric.to_owned(), v)));
}

#[test]
fn logs_and_alerts_have_their_columns() {
    let log = Log {
        severity: Some(4),
        host: "h".into(),
        sd: BTreeMap::from([("a".into(), BTreeMap::from([("b".into(), "c".into())]))]),
        message: "m\n".into(),
        ..Log::default()
    };
    let batch = &read(&sealed(Topic::Logs, vec![event(1, Body::Log(log))], 0).data)[0];
    assert_eq!(batch["message"].as_string::<i32>().value(0), "m\n");
    assert_eq!(batch["sd"].as_string::<i32>().value(0), r#"{"a":{"b":"c"}}"#);
    assert!(batch["app"].is_null(0));
    let batch = &read(&sealed(Topic::Alerts, vec![alert(1)], 0).data)[0];
    assert_eq!(batch["id"].as_string::<i32>().value(0), "a1/firing");
    let json: serde_json::Value =
        serde_json::from_str(batch["json"].as_string::<i32>().value(0)).unwrap();
    assert_eq!(json["data"]["cause_seq"], 3);
}

fn read_back(topic: Topic, object: &Sealed) -> Vec<Row> {
    let mut found = Vec::new();
    let each = |batch: Vec<Row>| {
        found.extend(batch);
        true
    };
    rows(topic, object.data.clone(), each).unwrap();
    found
}

#[test]
fn alerts_are_read_back_as_they_came() {
    let object = sealed(Topic::Alerts, vec![alert(1), alert(2)], 7);
    let found = read_back(Topic::Alerts, &object);
    assert_eq!(found.iter().map(|row| row.offset).collect::<Vec<_>>(), [7, 8]);
    let RowBody::Alert(_, json) = alert(2) else { return };
    assert!(matches!(&found[1].body, RowBody::Alert(_, found) if *found == json));
}

fn any_name() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[a-zäß\"\\\\ ]{0,6}")
}

prop_compose! {
    fn any_log()(
        levels in (proptest::option::of(0u8..24), proptest::option::of(0u8..8)),
        (host, app, procid, msgid) in (any_name(), any_name(), any_name(), any_name()),
        sd in proptest::collection::btree_map(
            "[a-z]{1,4}", proptest::collection::btree_map("[a-z]{1,4}", ".{0,4}", 0..3), 0..3),
        message in ".{0,12}",
        template in proptest::option::of(any::<u64>()),
        score in proptest::option::of(-1e3f32..1e3),
    ) -> Body {
        let (facility, severity) = levels;
        let template = template.map(weir_models::ident::TemplateId);
        let host = host.unwrap_or_default();
        Body::Log(Log { facility, severity, host, app, procid, msgid, sd, message, template, score })
    }
}

fn any_reading() -> impl Strategy<Value = Body> {
    let value = (-1e12f64..1e12, any_name(), proptest::option::of(0f32..9.0));
    let value = value.prop_map(|(v, unit, score)| Value { v, unit: unit.map(Into::into), score });
    proptest::collection::btree_map("[a-z]{0,4}", value, 0..5).prop_map(Body::Reading)
}

fn any_loss() -> impl Strategy<Value = Body> {
    let range = proptest::option::of((any::<u64>().prop_map(Stream), 1u64..99, 99u64..1 << 62));
    let lane = proptest::option::of("[a-z]{1,9}");
    let loss = (0u64..1 << 60, range, "[a-z_]{0,9}", lane);
    loss.prop_map(|(count, range, reason, lane)| Body::Loss(Loss { count, range, reason, lane }))
}

prop_compose! {
    fn any_event(body: BoxedStrategy<Body>)(
        body in body,
        seq in 1u64..1 << 62,
        (agent, site, device) in (any_name(), any_name(), any_name()),
        (ts_us, received_us) in (any::<i64>(), any::<i64>()),
        states in (0usize..3, 0usize..3, 0usize..3),
        reason in any_name(),
        meta in proptest::collection::btree_map("[a-z]{1,4}", ".{0,4}", 0..3),
        meta_age_s in proptest::option::of(0u64..1 << 60),
        raw in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
    ) -> Event {
        Event {
            agent: agent.unwrap_or_default().into(),
            id: EventId { stream: Stream(seq.rotate_left(9) | 1), seq },
            site: site.unwrap_or_default(),
            device: device.unwrap_or_default(),
            ts_us,
            received_us,
            clock: [Clock::Synced, Clock::Unsynced, Clock::Corrected][states.0],
            source: "s".into(),
            dialect: "d".into(),
            parse: [ParseState::Ok, ParseState::Partial, ParseState::Raw][states.1],
            parse_reason: reason.map(Into::into),
            meta: Arc::new(meta.into()),
            meta_state: [MetaState::Hit, MetaState::Miss, MetaState::Stale][states.2],
            meta_age_s,
            raw: raw.map(|raw| RawBytes(raw.into())),
            body,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_event_is_read_back_as_it_was(
        readings in proptest::collection::vec(
            any_event(prop_oneof![3 => any_reading(), 1 => any_loss()].boxed()), 1..12),
        logs in proptest::collection::vec(
            any_event(prop_oneof![3 => any_log(), 1 => any_loss()].boxed()), 1..12),
    ) {
        for (topic, events) in [(Topic::Readings, readings), (Topic::Logs, logs)] {
            let bodies = events.iter().map(|event| RowBody::Event(Arc::new(event.clone())));
            let object = sealed(topic, bodies.collect(), 40);
            let found = read_back(topic, &object);
            prop_assert_eq!(found.len(), events.len());
            for (at, (row, event)) in found.iter().zip(&events).enumerate() {
                let RowBody::Event(read) = &row.body else { panic!("an alert") };
                prop_assert_eq!(&**read, event);
                prop_assert_eq!((row.offset, row.kafka_ms), (40 + at as i64, 10 * HOUR_MS));
            }
        }
    }
}

#[test]
fn many_rows_are_encoded_in_parts_and_all_there() {
    let rows = 10_000;
    let bodies = (1..=rows).map(|seq| event(seq, Body::Log(Log::default())));
    let object = sealed(Topic::Logs, bodies.collect(), 0);
    let read: usize = read(&object.data).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(read as u64, rows);
    assert_eq!(object.manifest.rows, rows);
    assert_eq!((object.manifest.first_offset, object.manifest.next_offset), (0, 10_005));
    let range = &object.manifest.streams[0];
    assert_eq!((range.first_seq, range.last_seq, range.events), (1, rows, rows));
}

#[test]
fn what_waits_packed_is_the_same_in_less_memory() {
    let name: Arc<str> = "weir.logs".into();
    let new = || Open::new(partition(Topic::Logs), &name, 0, 10 * HOUR_MS, Instant::now());
    let (mut written, mut packed) = (new(), new().packed());
    for seq in 1..=5_000 {
        let message = format!("session {} opened by {}", seq * 7_919, seq % 90);
        let log = Log { host: "pump-1".into(), message, ..Log::default() };
        let body = event(seq, Body::Log(log));
        let row = Row { offset: seq as i64, kafka_ms: 0, body };
        written.push(row.clone(), 600).unwrap();
        packed.push(row, 600).unwrap();
    }
    assert!(packed.is_packed() && !written.is_packed());
    let (written_bytes, packed_bytes) = (written.memory_bytes(), packed.memory_bytes());
    assert!(packed_bytes * 8 < written_bytes, "{packed_bytes} and {written_bytes} bytes");

    let [written, packed] =
        [written, packed].map(|open| open.seal(6_000, Snapshot::default()).unwrap());
    assert_eq!((&packed.path, packed.manifest.rows), (&written.path, 5_000));
    assert_eq!(packed.manifest.streams, written.manifest.streams);
    assert_eq!(read(&packed.data), read(&written.data));
}

#[test]
fn an_object_ends_by_age_count_and_later_hour() {
    let now = Instant::now();
    let at = CloseAt { age: Duration::from_secs(60), rows: 2, bytes: usize::MAX };
    let name: Arc<str> = "weir.logs".into();
    let mut open = Open::new(partition(Topic::Logs), &name, 0, 10 * HOUR_MS, now);
    let push = |open: &mut Open, seq| {
        let row = Row { offset: 0, kafka_ms: 0, body: event(seq, Body::Log(Log::default())) };
        open.push(row, 100).unwrap();
    };
    push(&mut open, 1);
    assert!(!open.due(now, at));
    assert!(open.due(now + Duration::from_secs(60), at));
    push(&mut open, 2);
    assert!(open.due(now, at));
    assert!(!open.ends_before(11 * HOUR_MS - 1));
    assert!(open.ends_before(11 * HOUR_MS));
    assert!(!open.ends_before(0));
}

#[tokio::test]
async fn an_object_written_again_replaces_the_first_and_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::local(folder.path()).unwrap();
    archive.check().await.unwrap();
    let log = |seq| event(seq, Body::Log(Log::default()));
    let long = sealed(Topic::Logs, vec![log(1), log(2)], 40);
    let short = sealed(Topic::Logs, vec![log(1)], 40);
    assert_eq!(long.path, short.path);
    archive.put(&long).await.unwrap();
    archive.put(&short).await.unwrap();
    let manifest = archive.manifest(&short.path).await.unwrap().unwrap();
    assert_eq!(manifest, short.manifest);
    assert_eq!(std::fs::read(folder.path().join(&short.path)).unwrap(), short.data);
    assert_eq!(archive.manifest("logs/none.parquet").await.unwrap(), None);
}

#[test]
fn a_folder_that_is_a_file_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Archive::local(&file.join("below")).unwrap_err().to_string();
    assert!(error.contains("has to be a folder"), "{error}");
}
