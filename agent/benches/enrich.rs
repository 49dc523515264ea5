//! Looking a device up: kept in memory, on disk among 100,000, not there.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

mod scene;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use scene::devices::{SITE, enricher, table};
use scene::lines::{RECEIVED_US, host};

const DEVICES: usize = 100_000;

fn enrich(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), DEVICES);
    let mut group = c.benchmark_group("enrich");

    let names: Vec<String> = (0..1_000).map(host).collect();
    let mut warm = enricher(table.clone(), 4_096);
    let mut at = 0;
    group.bench_function("memory", |b| {
        b.iter(|| {
            at = (at + 1) % names.len();
            black_box(warm.look_up(SITE, &names[at], RECEIVED_US))
        });
    });

    // Far apart and more than are kept: each is read from the table.
    let mut cold = enricher(table.clone(), 64);
    let mut at = 0;
    group.bench_function("disk", |b| {
        b.iter(|| {
            at = (at + 7_919) % DEVICES;
            black_box(cold.look_up(SITE, &format!("host-{at}"), RECEIVED_US))
        });
    });

    let mut unknown = 0_u64;
    group.bench_function("miss", |b| {
        b.iter(|| {
            unknown += 1;
            black_box(cold.look_up(SITE, &format!("stranger-{unknown}"), RECEIVED_US))
        });
    });
    group.finish();
}

criterion_group!(benches, enrich);
criterion_main!(benches);
