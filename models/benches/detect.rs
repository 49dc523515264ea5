//! Cost of a reading: `cargo bench -p weir-models --bench detect`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_models::detect::group::{CHANNELS_MAX, Group};
use weir_models::detect::stuck::Stuck;
use weir_models::detect::{Suite, SuiteConfig, physical};

/// A daily swing at five minutes with noise from a fixed generator.
fn readings(n: usize) -> Vec<(i64, f64)> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    (0..n)
        .map(|i| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let noise = (x >> 11) as f64 / (1u64 << 53) as f64;
            (
                i as i64 * 300_000_000,
                10.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin() + noise,
            )
        })
        .collect()
}

fn suite(c: &mut Criterion) {
    let readings = readings(10_000);
    let mut warm = Suite::new(&SuiteConfig::default());
    for (ts_us, value) in &readings {
        warm.update(*ts_us, *value);
    }
    let mut group = c.benchmark_group("suite");
    group.throughput(Throughput::Elements(readings.len() as u64));
    group.bench_function("update", |b| {
        b.iter_batched_ref(
            || warm.clone(),
            |suite| {
                for (ts_us, value) in &readings {
                    black_box(suite.update(*ts_us, *value));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();

    let mut bytes = Vec::new();
    warm.snapshot(&mut bytes);
    c.bench_function("snapshot", |b| {
        b.iter(|| {
            bytes.clear();
            warm.snapshot(&mut bytes);
            black_box(&bytes);
        });
    });
    let mut restored = Suite::new(&SuiteConfig::default());
    c.bench_function("restore", |b| b.iter(|| black_box(restored.restore(&bytes))));
}

/// What rules cost where nobody has set one.
fn defaults(c: &mut Criterion) {
    let readings = readings(10_000);
    let mut group = c.benchmark_group("defaults");
    group.throughput(Throughput::Elements(readings.len() as u64));
    group.bench_function("update", |b| {
        let mut stuck = Stuck::default();
        b.iter(|| {
            for (ts_us, value) in &readings {
                black_box(stuck.update(*ts_us, *value));
                black_box(physical::beyond("temp", black_box(Some("°C")), *value));
            }
        });
    });
    group.finish();
}

/// Metrics of one device together: two, eight, and as many as there may be.
fn group(c: &mut Criterion) {
    let readings = readings(10_000);
    let mut benches = c.benchmark_group("group");
    for n in [2, 8, CHANNELS_MAX] {
        let row = |at: usize| (0..n).map(|k| readings[(at + 997 * k) % 10_000].1).collect();
        let rows: Vec<Vec<f64>> = (0..2_000).map(row).collect();
        let mut group = Group::default();
        benches.throughput(Throughput::Elements(rows.len() as u64));
        benches.bench_function(n.to_string(), |b| {
            b.iter(|| {
                for row in &rows {
                    black_box(group.update(row));
                }
            });
        });
    }
    benches.finish();
}

criterion_group!(benches, suite, defaults, group);
criterion_main!(benches);
