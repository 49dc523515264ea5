//! Cost of a log line: `cargo bench -p weir-models --bench logs`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_models::logs::{DEFAULT_TEMPLATES, LogLine, LogScorer, LogScorerConfig, Miner, Orders};

const AUTH_LOG: &str = include_str!("../../fixtures/syslog/auth.rfc3164.log");

/// The messages of a real log: behind stamp, host and tag.
fn messages() -> Vec<&'static str> {
    AUTH_LOG
        .lines()
        .filter_map(|line| line.get(16..)?.split_once(": ").map(|(_, message)| message))
        .collect()
}

/// A word of letters for a number.
fn letters(mut i: u32) -> String {
    let mut word = String::from("w");
    while i > 0 {
        word.push(char::from(b'a' + (i % 26) as u8));
        i /= 26;
    }
    word
}

fn logs(c: &mut Criterion) {
    let messages = messages();
    let mut group = c.benchmark_group("logs");
    group.throughput(Throughput::Elements(messages.len() as u64));
    group.bench_function("learn", |b| {
        let mut miner = Miner::new(DEFAULT_TEMPLATES);
        b.iter(|| {
            for message in &messages {
                black_box(miner.learn(message));
            }
        });
    });
    group.bench_function("flood", |b| {
        // No two lines alike, the most work there is.
        let words: Vec<String> = (0..4500_u32).map(letters).collect();
        let line = |i: usize| {
            (1..9).map(|n| words[(i * n * 7919) % 4500].as_str()).collect::<Vec<_>>().join(" ")
        };
        let lines: Vec<String> = (0..messages.len()).map(line).collect();
        let mut miner = Miner::new(DEFAULT_TEMPLATES);
        b.iter(|| {
            for line in &lines {
                black_box(miner.learn(line));
            }
        });
    });
    group.bench_function("score", |b| {
        let mut miner = Miner::new(DEFAULT_TEMPLATES);
        let ids: Vec<u64> = messages.iter().map(|m| miner.learn(m).id).collect();
        let mut scorer = LogScorer::new(LogScorerConfig::default());
        let mut orders = Orders::default();
        let mut ts_us = 0;
        b.iter(|| {
            for id in &ids {
                ts_us += 1_000_000;
                let line = LogLine {
                    ts_us,
                    template: *id,
                    is_new: false,
                    severity: Some(6),
                    order: orders.update(*id % 7, *id),
                };
                black_box(scorer.update(line));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, logs);
criterion_main!(benches);
