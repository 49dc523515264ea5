//! Sealed readings: how many bytes a reading takes, of real and of made series, and what encoding and
//! decoding cost.
//!
//! `cargo bench -p weir-sink --bench sealed`: first a table of bytes, then times for a day at 1 Hz.
//! Made series say so in their name; everything else is in `fixtures/sensors`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_models::ident::Stream;
use weir_sink::store::Point;
use weir_sink::store::sealed::{Part, Stamps, decode, encode};

type Series = Vec<(String, Vec<Point>)>;

fn point(ts_us: i64, seq: u64, value: f64) -> Point {
    Point { ts_us, value, score: None, stream: Stream(7), seq }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sensors")
}

/// The boards of the IoT fixture: by device its metrics. Stamps are microseconds.
fn boards() -> BTreeMap<String, Series> {
    let text = std::fs::read_to_string(fixtures().join("iot-mqtt.ndjson")).unwrap();
    let mut boards: BTreeMap<String, BTreeMap<String, Vec<Point>>> = BTreeMap::new();
    for (seq, line) in (1u64..).zip(text.lines()) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let ts_us = (json["ts"].as_f64().unwrap() * 1e6).round() as i64;
        let board = boards.entry(json["device"].as_str().unwrap().into()).or_default();
        for (metric, value) in json["data"].as_object().unwrap() {
            let value = value.as_f64().or_else(|| value.as_bool().map(f64::from)).unwrap();
            board.entry(metric.clone()).or_default().push(point(ts_us, seq, value));
        }
    }
    boards.into_iter().map(|(name, metrics)| (name, metrics.into_iter().collect())).collect()
}

/// A NAB file: `timestamp,value`, regular stamps.
fn nab(name: &str) -> Series {
    let text = std::fs::read_to_string(fixtures().join("nab").join(name)).unwrap();
    let row = |(seq, line): (u64, &str)| {
        let (stamp, value) = line.split_once(',').unwrap();
        let ts_us = weir_models::time::parse_rfc3339(&format!("{}Z", stamp.replace(' ', "T")));
        point(ts_us.unwrap(), seq, value.parse().unwrap())
    };
    vec![("value".into(), (1u64..).zip(text.lines().skip(1)).map(row).collect())]
}

/// A day at 1 Hz of `metrics` metrics: a slow wave in steps of 0.1 with noise, stamps in milliseconds
/// that jitter by 8 ms.
fn day(metrics: usize) -> Series {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let stamps: Vec<i64> =
        (0..86_400).map(|s| s * 1_000_000 + (random() % 8) as i64 * 1_000).collect();
    (0..metrics)
        .map(|metric| {
            let value = |s: usize, noise: u64| {
                let wave = (s as f64 / 13_000.0).sin() * 50.0;
                ((wave + (noise % 5) as f64).round() + 200.0) / 10.0
            };
            let points = (0usize..)
                .zip(&stamps)
                .map(|(s, &ts_us)| point(ts_us, s as u64 + 1, value(s, random())));
            (format!("m{metric}"), points.collect())
        })
        .collect()
}

fn values_of(part: &Part) -> (usize, usize, usize) {
    let readings = part.episodes.iter().map(|episode| episode.n).sum();
    let bodies = part.episodes.iter().map(|episode| episode.body.len()).sum();
    let rolls = part.episodes.iter().map(|e| e.minutes.len() + e.hours.len()).sum();
    (readings, bodies, rolls)
}

fn sizes() {
    println!(
        "| series | readings | stamps and values, B a reading | rollups |\n| --- | --- | --- | --- |"
    );
    let mut all: Vec<(String, Series)> =
        boards().into_iter().map(|(name, series)| (format!("{name}, 7 metrics"), series)).collect();
    for name in ["machine_temperature_system_failure.csv", "ec2_cpu_utilization_5f5533.csv"] {
        all.push((name.into(), nab(name)));
    }
    all.push(("made: a day at 1 Hz, one metric".into(), day(1)));
    all.push(("made: a day at 1 Hz, seven metrics".into(), day(7)));
    for (name, series) in all {
        let part = encode(&series).unwrap();
        let (readings, bodies, rolls) = values_of(&part);
        let each = |bytes: usize| bytes as f64 / readings as f64;
        let whole = each(part.stamps.len() + bodies);
        println!("| {name} | {readings} | {whole:.2} | {:.2} |", each(rolls));
    }
}

fn times(bench: &mut Criterion) {
    sizes();
    let series = day(7);
    let part = encode(&series).unwrap();
    let readings = values_of(&part).0 as u64;
    let mut group = bench.benchmark_group("sealed");
    group.throughput(Throughput::Elements(readings)).sample_size(10);
    group.bench_function("encode a day of seven metrics", |b| {
        b.iter(|| encode(black_box(&series)).unwrap());
    });
    group.throughput(Throughput::Elements(readings / 7));
    group.bench_function("decode a day of one metric", |b| {
        b.iter(|| {
            let stamps = Stamps::decode(black_box(&part.stamps)).unwrap();
            decode(&stamps, black_box(&part.episodes[0].body)).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, times);
criterion_main!(benches);
