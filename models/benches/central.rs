//! Cost of a central model, a row: `cargo bench -p weir-models --bench central`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_models::central::{
    Band, Expected, FEATURES_MAX, Feature, Forest, Linear, Node, Regressor, Row, Schema, Smoothed,
    Subspace, SubspaceParts, Unit,
};

const ROWS: usize = 4_096;

/// Numbers from -1 to 1 from a fixed generator.
fn noise() -> impl FnMut() -> f64 {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A full tree of `depth`, breadth first, over 16 features.
fn tree(depth: u32, noise: &mut impl FnMut() -> f64) -> Vec<Node> {
    let splits = (1_u16 << depth) - 1;
    let leaves = 1_u16 << depth;
    let mut nodes = Vec::new();
    for at in 0..splits {
        let feature = ((noise() + 1.0) * 8.0) as u16;
        nodes.push(Node::split(feature.min(15), noise() as f32, at + 1));
    }
    nodes.extend((0..leaves).map(|_| Node::leaf(noise() as f32)));
    nodes
}

fn rows(noise: &mut impl FnMut() -> f64) -> Vec<Row> {
    let mut row = || {
        let mut row = [0.0; FEATURES_MAX + 1];
        row.iter_mut().take(16).for_each(|cell| *cell = noise() as f32);
        row
    };
    (0..ROWS).map(|_| row()).collect()
}

fn regressors(c: &mut Criterion) {
    let mut noise = noise();
    let rows = rows(&mut noise);
    let linear = Linear::new(0.1, (0..16).map(|_| noise()).collect()).unwrap();
    let trees: Vec<_> = (0..50).map(|_| tree(8, &mut noise)).collect();
    let forest = Forest::new(&trees, 16).unwrap();
    let mut group = c.benchmark_group("central");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("linear_16", |b| {
        b.iter(|| rows.iter().map(|row| linear.predict(black_box(row))).sum::<f64>());
    });
    group.bench_function("forest_50_x_8", |b| {
        b.iter(|| rows.iter().map(|row| forest.predict(black_box(row))).sum::<f64>());
    });
    let lags = [1, 2, 3, 6, 12, 288].map(Feature::Lag);
    let features: Vec<_> = lags.into_iter().chain((0..24).map(Feature::DayHat)).collect();
    let weights = features.iter().map(|_| noise() * 0.1).collect();
    let regressor = Regressor::Linear(Linear::new(0.1, weights).unwrap());
    let unit = Unit { origin: 0.0, scale: 1.0 };
    let band = Band::new(1.0, 1.0).unwrap();
    let schema = Schema::new(features).unwrap();
    let model = Expected::new(schema, unit, 600_000_000, band, regressor).unwrap();
    let mut course = model.begin();
    let mut ts_us = 0;
    group.bench_function("expected_6_lags_24_hours", |b| {
        b.iter(|| {
            for row in &rows {
                ts_us += 300_000_000;
                black_box(model.judge(&mut course, ts_us, f64::from(row[0])));
            }
        });
    });
    group.finish();
}

fn groups(c: &mut Criterion) {
    let mut noise = noise();
    let n = 8;
    let mut inverse = Vec::new();
    for i in 0..n {
        inverse.extend((0..i).map(|_| noise() * 0.05));
        inverse.push(1.0);
    }
    let mut directions = vec![0.0; 4 * n];
    (0..4).for_each(|k| directions[k * n + k] = 1.0);
    let parts = SubspaceParts {
        metrics: (0..n).map(|i| format!("m{i}").into()).collect(),
        smoothing: 0.1,
        mean: vec![0.0; n],
        scale: vec![1.0; n],
        inverse,
        directions,
        t2_limit: 10.0,
        q_limit: 10.0,
    };
    let model = Subspace::new(parts).unwrap();
    let rows: Vec<[f64; 8]> = (0..ROWS).map(|_| std::array::from_fn(|_| noise())).collect();
    let mut state = Smoothed::default();
    let mut group = c.benchmark_group("central");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("group_8", |b| {
        b.iter(|| {
            for row in &rows {
                black_box(model.update(&mut state, row));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, regressors, groups);
criterion_main!(benches);
