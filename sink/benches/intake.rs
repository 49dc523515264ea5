//! What an event costs the sink before the store is asked: JSON to event to rows, and to the archive.
//!
//! `cargo bench -p weir-sink --bench intake`: first the bytes of an archived event, then times for the 4,500 real
//! lines of `fixtures/syslog/auth.rfc3164.log`, made into events as an agent writes them (raw line included, two
//! fields of metadata), drawn out to 100,000. One thread does all of it, so the rate is that of a core.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tokio::time::Instant;
use weir_models::event::{Event, Reader};
use weir_models::topic::Topic;
use weir_sink::archive::{Open, Row, RowBody};
use weir_sink::consume::{Partition, Record};
use weir_sink::decode::dedupe::{Bounds, Dedupe};
use weir_sink::decode::{Decoded, add_event, decode};
use weir_sink::store::Batch;

const EVENTS: usize = 100_000;
const LOGS: Partition = Partition { topic: Topic::Logs, number: 0 };
/// 2026-11-22T00:00:00Z in milliseconds since the Unix epoch.
const BEGIN_MS: i64 = 1_795_305_600_000;

fn records() -> Vec<Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/syslog/auth.rfc3164.log");
    let text = std::fs::read_to_string(path).unwrap();
    let record = |(n, line): (usize, &str)| {
        let (host, message) = line.get(16..).unwrap().split_once(' ').unwrap();
        let ts_ms = BEGIN_MS + n as i64;
        let device = format!("{host}-{}", n % 50);
        let event = json!({
            "agent": "gw-17", "stream": "bcb4a7ab1f683e35", "seq": n + 1, "site": "plant", "device": device,
            "ts_us": ts_ms * 1_000, "received_us": ts_ms * 1_000 + 700, "clock": "synced", "source": "syslog",
            "dialect": "rfc3164", "parse": "ok", "meta": {"class": "gateway", "line": "4"}, "meta_state": "hit",
            "meta_age_s": 10, "facility": 10, "severity": 6, "host": device, "app": "sshd",
            "template": "78767fcf6ee401c6", "score": 0.25, "message": message, "raw": line,
        });
        Record {
            partition: LOGS,
            offset: n as i64,
            ts_ms,
            key: None,
            value: Some(Bytes::from(event.to_string())),
            retried: 0,
            by: None,
            again: None,
        }
    };
    text.lines().cycle().take(EVENTS).enumerate().map(record).collect()
}

fn event(record: &Record, reader: &mut Reader) -> Arc<Event> {
    match decode(record, reader).unwrap() {
        Decoded::Event(event) => event,
        other => unreachable!("{other:?}"),
    }
}

/// As the pipeline takes them.
fn rows(records: &[Record]) -> Batch {
    let (mut reader, mut dedupe) = (Reader::default(), Dedupe::new(Bounds::default()));
    let mut batch = Batch::default();
    for record in records {
        let event = event(record, &mut reader);
        if dedupe.takes(event.id, false, record.ts_ms, record.ts_ms) {
            add_event(&event, &mut batch);
        }
    }
    batch
}

/// An object of all of them; its size in bytes.
fn archived(records: &[Record], events: Vec<Arc<Event>>) -> usize {
    let name = "weir.logs".into();
    let mut open = Open::new(LOGS, &name, 0, BEGIN_MS, Instant::now());
    for (record, event) in records.iter().zip(events) {
        let (offset, kafka_ms) = (record.offset, record.ts_ms);
        let row = Row { offset, kafka_ms, body: RowBody::Event(event) };
        open.push(row, record.bytes()).unwrap();
    }
    let memory = Dedupe::new(Bounds::default()).snapshot();
    open.seal(EVENTS as i64, memory).unwrap().data.len()
}

fn intake(criterion: &mut Criterion) {
    let records = records();
    let json: usize = records.iter().map(|record| record.value.as_ref().unwrap().len()).sum();
    let mut reader = Reader::default();
    let events: Vec<_> = records.iter().map(|record| event(record, &mut reader)).collect();
    let object = archived(&records, events.clone());
    println!(
        "{} bytes of JSON an event, {:.1} in the archive",
        json / EVENTS,
        object as f64 / EVENTS as f64
    );

    let mut group = criterion.benchmark_group("intake");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    let by_itself = |record: &Record| Event::from_json(record.value.as_ref().unwrap()).unwrap();
    group.bench_function("JSON to event, each by itself", |b| {
        b.iter(|| records.iter().map(by_itself).for_each(|event| drop(black_box(event))));
    });
    group.bench_function("JSON to event", |b| {
        let mut reader = Reader::default();
        b.iter(|| records.iter().for_each(|record| drop(black_box(event(record, &mut reader)))));
    });
    group.bench_function("JSON to rows, duplicates dropped", |b| {
        b.iter(|| black_box(rows(&records)));
    });
    group.bench_function("event to archive", |b| {
        b.iter_batched(
            || events.clone(),
            |events| archived(&records, events),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, intake);
criterion_main!(benches);
