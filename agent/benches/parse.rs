//! Messages a second on one core, with `syslog_loose` as the baseline in the same run.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_agent::parse::{Limits, Readable, Zone, json, line, syslog};

const RECEIVED_US: i64 = 1_781_524_800_000_000;

const SYSLOG: [(&str, &str); 5] = [
    (
        "rfc3164",
        "<38>Mar 27 13:06:56 ip-10-77-20-248 sshd[1291]: Failed password for invalid user admin from 10.0.0.1 port 52220",
    ),
    (
        "rfc3164_file",
        "Mar 27 13:06:56 ip-10-77-20-248 sshd[1291]: Failed password for invalid user admin from 10.0.0.1 port 52220",
    ),
    (
        "iso",
        "<38>2023-08-17T16:55:35.689651+02:00 mono endlessh[34256]: ACCEPT host=::ffff:124.222.66.99 port=43202 fd=5 n=1/4096",
    ),
    (
        "rfc5424_sd",
        "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"][examplePriority@32473 class=\"high\"] An application event log entry",
    ),
    (
        "cisco",
        "<189>123: rtr1: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)",
    ),
];

fn parse(bytes: &[u8], zone: &Zone, limits: &Limits) {
    let text = Readable::new(bytes, limits);
    black_box(syslog::parse(&text, RECEIVED_US, zone, limits));
}

fn syslog_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("syslog");
    group.throughput(Throughput::Elements(1));
    let limits = Limits::default();
    let berlin: Zone = "Europe/Berlin".parse().unwrap_or(Zone::UTC);
    for (name, message) in SYSLOG {
        group.bench_with_input(BenchmarkId::new("weir", name), message, |b, message| {
            b.iter(|| parse(black_box(message.as_bytes()), &Zone::UTC, &limits));
        });
        group.bench_with_input(BenchmarkId::new("syslog_loose", name), message, |b, message| {
            // A datagram is bytes: both begin there.
            b.iter(|| {
                let text = std::str::from_utf8(black_box(message.as_bytes())).unwrap_or_default();
                syslog_loose::parse_message_with_year_tz(
                    text,
                    |_| 2026,
                    Some(chrono::Utc),
                    syslog_loose::Variant::Either,
                )
            });
        });
    }
    group.bench_with_input(
        BenchmarkId::new("weir", "rfc3164_iana_zone"),
        SYSLOG[0].1,
        |b, message| {
            b.iter(|| parse(black_box(message.as_bytes()), &berlin, &limits));
        },
    );
    group.finish();
}

fn readings(c: &mut Criterion) {
    let mut group = c.benchmark_group("reading");
    group.throughput(Throughput::Elements(1));
    let limits = Limits::default();
    let fields = json::Fields {
        device: Some("device_id".to_owned()),
        time: Some("ts".to_owned()),
        values: Some("data".to_owned()),
        ..json::Fields::default()
    };
    let payload = br#"{"data":{"co":0.004532068199369834,"humidity":58.20000076293945,"light":true,"lpg":0.007171643599248804,"motion":false,"smoke":0.019048703779119838,"temp":27.0},"device_id":"5e:44:3b:f3:79:c8","ts":1594598735.7727768}"#;
    group.bench_function("json", |b| {
        b.iter(|| json::parse(black_box(payload), &fields, &Zone::UTC, &limits))
    });
    let text = b"weather,location=us-midwest,host=d1 temperature=82.5,humidity=71i,ok=t 1465839830100400200";
    let rule = line::LineFields { device: Some("host".to_owned()), ..line::LineFields::default() };
    group.bench_function("line", |b| b.iter(|| line::parse(black_box(text), &rule, &limits)));
    group.finish();
}

criterion_group!(benches, syslog_messages, readings);
criterion_main!(benches);
