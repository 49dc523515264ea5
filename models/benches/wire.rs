//! A record batch: gathered, compressed, with its checksum. `cargo bench -p weir-models --bench wire`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_models::wire::{BatchBuilder, BatchView, Codec, Compressor, MAX_RAW_BYTES, partition_for};

const RECORDS: u64 = 700;

/// About 300 bytes of JSON each, 200 KiB in all, as the spool closes batches.
fn values() -> Vec<Vec<u8>> {
    let value = |n: u64| {
        let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (host, pid, port) = (mix >> 54, mix >> 40 & 0x7fff, mix >> 20 & 0xefff);
        let ts_us = 1_760_000_000_000_000 + n * 211;
        format!(
            r#"{{"agent":"gw-17","stream":"c0ffee00c0ffee00","seq":{n},"site":"plant-a","device":"host-{host:04}","ts_us":{ts_us},"clock":"synced","source":"udp","dialect":"rfc3164","severity":4,"app":"sshd","procid":"{pid}","message":"Failed password for root from 10.{}.{}.7 port {port} ssh2"}}"#,
            mix >> 11 & 0xff,
            mix & 0xff,
        )
        .into_bytes()
    };
    (0..RECORDS).map(value).collect()
}

fn encode(
    values: &[Vec<u8>],
    builder: &mut BatchBuilder,
    zstd: &mut Compressor,
    out: &mut Vec<u8>,
) {
    for (n, value) in (0..).zip(values) {
        builder.push_with(1_760_000_000_000 + n, Some(b"plant-a/host-0001"), |out| {
            out.extend_from_slice(value);
        });
    }
    out.clear();
    builder.finish(zstd, out);
}

fn wire(c: &mut Criterion) {
    let values = values();
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(RECORDS));
    let (mut builder, mut out) = (BatchBuilder::new(), Vec::new());
    for (name, codec, level) in
        [("uncompressed", Codec::None, 0), ("zstd_1", Codec::Zstd, 1), ("zstd_3", Codec::Zstd, 3)]
    {
        let mut zstd = Compressor::new(codec, level);
        group.bench_function(name, |b| {
            b.iter(|| {
                encode(&values, &mut builder, &mut zstd, &mut out);
                black_box(&out);
            });
        });
    }
    encode(&values, &mut builder, &mut Compressor::new(Codec::Zstd, 1), &mut out);
    group.bench_function("read", |b| {
        b.iter(|| {
            let batch = BatchView::parse(black_box(&out)).ok();
            batch.and_then(|(batch, _)| Some(batch.records(MAX_RAW_BYTES).ok()?.iter().count()))
        });
    });
    group.finish();
    c.bench_function("partition_for", |b| {
        b.iter(|| partition_for(black_box(b"plant-a/host-0001"), 12));
    });
}

criterion_group!(benches, wire);
criterion_main!(benches);
