//! All stages in a row on one core: from the bytes of a line to JSON in a batch on disk, with metadata,
//! filter, scores and zstd. What sources and publisher cost is not in it.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod scene;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scene::lines::{GATEWAY, log_lines, reading_lines};
use scene::stages::{FLUSH, Stages};
use weir_agent::source::Format;

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(FLUSH as u64));
    for (name, format, lines) in [
        ("logs", Format::Syslog, log_lines(20 * FLUSH, GATEWAY)),
        ("readings", Format::Line, reading_lines(20 * FLUSH)),
    ] {
        let mut stages = Stages::new(format);
        let mut flushes = lines.chunks(FLUSH).cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                if let Some(lines) = flushes.next() {
                    stages.take_all(lines);
                }
                stages.publish();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
