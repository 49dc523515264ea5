//! Instructions of parts and of the whole, counted by callgrind: they do not depend on what else the
//! machine does. `cargo dev bench instructions` runs this and compares with what is stored.

#![allow(missing_docs, unreachable_pub, reason = "gungraun's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the main function of gungraun ends by `exit`")]

mod scene;

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use scene::devices::{SITE, enricher, table};
use scene::lines::{self, FEW, RECEIVED_US, Traffic, host, log_lines, reading_lines};
use scene::stages::Stages;
use tempfile::TempDir;
use weir_agent::enrich::Enricher;
use weir_agent::parse::{Limits, Readable, Zone, json, line, syslog};
use weir_agent::source::Format;
use weir_agent::source::framing::{Frame, Framer, Framing};
use weir_models::event::Event;
use weir_models::wire::{BatchBuilder, Codec, Compressor};

/// What each function does so many times: divide by it.
const TIMES: usize = 1_000;
/// Ten times as many take minutes to store below callgrind.
const DEVICES: usize = 10_000;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// Parses one message before, so that what is done once is not counted.
fn message(text: &'static str, zone_name: &str) -> (&'static [u8], Zone) {
    let zone = zone(zone_name);
    parse_syslog_times(text.as_bytes(), &zone, 1);
    (text.as_bytes(), zone)
}

fn parse_syslog_times(bytes: &[u8], zone: &Zone, times: usize) {
    let limits = Limits::default();
    for _ in 0..times {
        let text = Readable::new(black_box(bytes), &limits);
        black_box(syslog::parse(&text, RECEIVED_US, zone, &limits));
    }
}

#[library_benchmark(setup = message)]
#[bench::rfc3164(lines::RFC3164, "UTC")]
#[bench::rfc3164_iana_zone(lines::RFC3164, "Europe/Berlin")]
#[bench::file(lines::FILE, "UTC")]
#[bench::iso(lines::ISO, "UTC")]
#[bench::rfc5424(lines::RFC5424, "UTC")]
#[bench::cisco(lines::CISCO, "UTC")]
fn parse_syslog((bytes, zone): (&'static [u8], Zone)) -> Zone {
    parse_syslog_times(bytes, &zone, TIMES);
    zone
}

#[library_benchmark]
fn parse_json() {
    let fields = json::Fields {
        device: Some("device_id".to_owned()),
        time: Some("ts".to_owned()),
        values: Some("data".to_owned()),
        ..json::Fields::default()
    };
    for _ in 0..TIMES {
        let payload = black_box(lines::JSON.as_bytes());
        black_box(json::parse(payload, &fields, &Zone::UTC, &Limits::default()));
    }
}

#[library_benchmark]
fn parse_line() {
    let fields = line::LineFields { device: Some("host".to_owned()), ..Default::default() };
    for _ in 0..TIMES {
        black_box(line::parse(black_box(lines::LINE.as_bytes()), &fields, &Limits::default()));
    }
}

/// The look-up, and the names to look up.
fn look_ups(prefix: &str, memory_entries: usize, step: usize) -> (TempDir, Enricher, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut enricher = enricher(table(folder.path(), DEVICES), memory_entries);
    let names = (1..=TIMES).map(|n| match step {
        1 => host(n),
        _ => format!("{prefix}-{}", n * step % DEVICES),
    });
    let names: Vec<String> = names.collect();
    for name in &names {
        enricher.look_up(SITE, name, RECEIVED_US);
    }
    (folder, enricher, names)
}

#[library_benchmark(setup = look_ups)]
#[bench::memory("host", 4_096, 1)]
#[bench::disk("host", 64, 7_919)]
#[bench::miss("stranger", 64, 7_919)]
fn enrich(
    (folder, mut enricher, names): (TempDir, Enricher, Vec<String>),
) -> (TempDir, Enricher, Vec<String>) {
    for name in &names {
        black_box(enricher.look_up(SITE, black_box(name), RECEIVED_US));
    }
    (folder, enricher, names)
}

/// Events as they are written.
fn values() -> Vec<Bytes> {
    let json = |event: &Event| {
        let mut json = Vec::new();
        event.write_json(&mut json);
        json.into()
    };
    events(Scene::Learning).1.iter().map(json).collect()
}

type Batch = (BatchBuilder, Compressor, Vec<u8>, Vec<Bytes>);

fn batch(codec: Codec) -> Batch {
    let zstd = Compressor::new(codec, 1);
    let mut batch = (BatchBuilder::new(), zstd, Vec::new(), values());
    encode(&mut batch);
    batch
}

fn encode((builder, zstd, out, values): &mut Batch) {
    for (n, value) in (0..).zip(values.iter()) {
        builder.push_with(1_760_000_000_000 + n, Some(b"plant/host-0001"), |out| {
            out.extend_from_slice(value);
        });
    }
    out.clear();
    builder.finish(zstd, out);
}

#[library_benchmark(setup = batch)]
#[bench::uncompressed(Codec::None)]
#[bench::zstd_1(Codec::Zstd)]
fn wire(mut batch: Batch) -> Batch {
    encode(&mut batch);
    batch
}

/// What the stages are given, and what they have seen of it before.
#[derive(Clone, Copy)]
enum Scene {
    /// Log lines in the first hour of a gateway; each host has sent all its texts.
    Learning,
    /// Log lines after it, of fewer hosts.
    Scored,
    /// Readings.
    Readings,
}

/// Stages that have seen such lines before, and the ones to be measured.
fn stages(scene: Scene) -> (Stages, Vec<Bytes>) {
    const BEFORE: usize = 9_000;
    let mut stages = Stages::new(match scene {
        Scene::Readings => Format::Line,
        _ => Format::Syslog,
    });
    let mut lines = match scene {
        Scene::Learning => log_lines(BEFORE + TIMES, FEW),
        Scene::Scored => {
            // The hour passes quickly.
            let hour = Traffic { hosts: 15, step_us: 1_000_000, ..FEW };
            let hour_lines = log_lines(BEFORE, hour);
            let from_us = hour.from_us + BEFORE as i64 * hour.step_us;
            let then = Traffic { from_us, step_us: 13_333, ..hour };
            [hour_lines, log_lines(TIMES, then)].concat()
        }
        Scene::Readings => reading_lines(BEFORE + TIMES),
    };
    let measured = lines.split_off(BEFORE);
    stages.take_all(&lines);
    stages.publish();
    (stages, measured)
}

/// The stages, and what came to them with what is known of its device.
fn events(scene: Scene) -> (Stages, Vec<Event>) {
    let (mut stages, lines) = stages(scene);
    let events = lines.iter().map(|line| *stages.enriched(line)).collect();
    (stages, events)
}

/// The bytes of a connection.
fn stream() -> Framer {
    let mut framer = Framer::new(Framing::Syslog);
    for line in log_lines(TIMES, FEW) {
        framer.buffer().extend_from_slice(&line);
        framer.buffer().extend_from_slice(b"\n");
    }
    framer
}

#[library_benchmark(setup = stream)]
fn frames(mut framer: Framer) -> (Framer, Vec<Frame>) {
    let frames = framer.take();
    (framer, frames)
}

#[library_benchmark(setup = stages)]
#[bench::logs(Scene::Learning)]
#[bench::readings(Scene::Readings)]
fn parse((mut stages, lines): (Stages, Vec<Bytes>)) -> (Stages, Vec<Bytes>) {
    lines.iter().for_each(|line| stages.parse(line));
    (stages, lines)
}

#[library_benchmark(setup = events)]
#[bench::learning(Scene::Learning)]
#[bench::scored(Scene::Scored)]
#[bench::readings(Scene::Readings)]
fn score((mut stages, mut events): (Stages, Vec<Event>)) -> (Stages, Vec<Event>) {
    events.iter_mut().for_each(|event| stages.score(event));
    (stages, events)
}

/// Events, and room for what is written of them.
fn written(scene: Scene) -> (Vec<Event>, Vec<u8>) {
    let (mut stages, mut events) = events(scene);
    events.iter_mut().for_each(|event| stages.score(event));
    (events, Vec::with_capacity(TIMES * 4_096))
}

#[library_benchmark(setup = written)]
#[bench::logs(Scene::Learning)]
#[bench::readings(Scene::Readings)]
fn write_json((events, mut out): (Vec<Event>, Vec<u8>)) -> (Vec<Event>, Vec<u8>) {
    events.iter().for_each(|event| event.write_json(&mut out));
    (events, out)
}

#[library_benchmark(setup = stages)]
#[bench::logs(Scene::Learning)]
#[bench::logs_scored(Scene::Scored)]
#[bench::readings(Scene::Readings)]
fn pipeline((mut stages, lines): (Stages, Vec<Bytes>)) -> (Stages, Vec<Bytes>) {
    stages.take_all(&lines);
    (stages, lines)
}

/// What the publisher reads of it again.
fn filled(scene: Scene) -> Stages {
    let (mut stages, lines) = stages(scene);
    stages.take_all(&lines);
    stages
}

#[library_benchmark(setup = filled)]
#[bench::logs(Scene::Learning)]
fn read_spool(mut stages: Stages) -> Stages {
    stages.publish();
    stages
}

library_benchmark_group!(
    name = agent,
    benchmarks = [
        frames,
        parse_syslog,
        parse_json,
        parse_line,
        parse,
        enrich,
        score,
        write_json,
        wire,
        pipeline,
        read_spool
    ]
);

main!(library_benchmark_groups = agent);
