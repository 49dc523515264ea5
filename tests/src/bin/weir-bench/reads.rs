//! What the API answers in: long plots, a year of rollups, the newest values of many devices.
//!
//! In: the path of a release build of `weir-sink`. A real Kafka is filled with 30 days at 1 Hz of one series, a year of
//! readings a minute apart of another, and one reading each of 10,000 devices; the sink writes them to a real Cassandra
//! and seals the days that are over. Out: for each query the median and the longest time of several, over loopback, before
//! the days are sealed and after, and what sealing costs the sink's CPU. All of it is on one machine, which runs nothing else.

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_tests::kafka::Kafka;
use weir_tests::line::metric;
use weir_tests::services::{self, unique};
use weir_tests::{Program, free_port, http};

use crate::measure::{PARTITIONS, create_topics};
use crate::sink::{LONGEST, Work, config, migrated};

const DAY_S: usize = 86_400;
/// Days at 1 Hz.
const FAST_DAYS: usize = 30;
/// Days with a reading a minute.
const SLOW_DAYS: usize = 365;
/// Devices with one reading.
const MANY: usize = 10_000;
/// Readings handed to the producer together.
const CHUNK: usize = 20_000;
/// How often each query is asked.
const TIMES: usize = 20;
/// How long a day is left alone before it is sealed: what is asked before has to fit in.
const SEAL_AFTER_S: u64 = 240;

/// Fills, seals, and asks.
pub(crate) fn reads(sink: &Path) {
    let (kafka, cassandra) = (services::kafka(), services::cassandra());
    let name = unique("bench_reads");
    create_topics(kafka, &format!("{name}."), PARTITIONS);
    let today_s = UNIX_EPOCH.elapsed().unwrap().as_secs() as usize / DAY_S * DAY_S;
    fill(kafka, &format!("{name}.readings"), today_s);
    let port = free_port();
    let work = Work {
        events: 0,
        hosts: 0,
        partitions: PARTITIONS,
        instances: 1,
        close_after_s: 20,
        gather_bytes: 8 << 20,
    };
    let seal = format!("[store.seal]\nafter_s = {SEAL_AFTER_S}\n");
    let config = config(&name, kafka, cassandra, port, work) + &seal;
    let mut program = migrated(sink, config).args(["run", "-c", "sink.toml"]).start();
    let topics = [format!("{name}.readings")];
    program.wait("all of it to be committed", LONGEST, |_| {
        match kafka.uncommitted(&name, &topics) {
            0 => Ok(()),
            left => Err(format!("{left} records are not")),
        }
    });
    let readings = FAST_DAYS * DAY_S + SLOW_DAYS * DAY_S / 60 + MANY;
    println!("{readings} readings are stored");
    println!("{:<62}{:>12}{:>12}{:>12}", "", "median ms", "longest ms", "bytes");
    let site = format!("http://127.0.0.1:{port}");
    ask_all(&site, today_s, "rows");

    let cpu_before = program.cpu_seconds();
    let parts = sealed(&mut program, &site);
    let cpu_s = (program.cpu_seconds() - cpu_before) / (readings as f64 / 1e6);
    println!("sealed as {parts} parts, {cpu_s:.2} s of the sink's CPU a million readings");
    ask_all(&site, today_s, "sealed");
}

/// Waits until each day has a part and no more parts come for a while; how many there are.
fn sealed(program: &mut Program, site: &str) -> f64 {
    const QUIET: Duration = Duration::from_secs(20);
    let url = format!("{site}/metrics");
    let mut last = (0.0, Instant::now());
    program.wait("all days to be sealed", LONGEST, |_| {
        let parts = metric(&url, "weir_sink_sealed_parts_total")?;
        if parts > last.0 {
            last = (parts, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(200));
        let all = parts >= (FAST_DAYS + SLOW_DAYS) as f64;
        if all && last.1.elapsed() > QUIET { Ok(parts) } else { Err(format!("{parts}")) }
    })
}

fn ask_all(site: &str, today_s: usize, of: &str) {
    let us = |s: usize| s * 1_000_000;
    let fast = format!("site=bench&device=boiler&metric=temp&to={}", us(today_s));
    let slow = format!("site=bench&device=weather&metric=temp&to={}", us(today_s));
    let from = |days: usize| us(today_s - days * DAY_S);
    let queries = [
        (
            "30 days at 1 Hz as 1,000 points",
            format!("/v1/readings?{fast}&from={}&max_points=1000", from(FAST_DAYS)),
        ),
        (
            "a day at 1 Hz as values (86,400)",
            format!("/v1/readings?{fast}&from={}&limit=100000", from(1)),
        ),
        (
            "a year of hourly rollups",
            format!("/v1/rollups?{slow}&from={}&step=1h", from(SLOW_DAYS)),
        ),
        ("newest values of 10,000 devices", format!("/v1/latest?site=bench&limit={MANY}")),
    ];
    for (what, query) in queries {
        ask(site, &format!("{what}, {of}"), &query);
    }
}

fn ask(site: &str, what: &str, query: &str) {
    let url = format!("{site}{query}");
    let first = http::try_get(&url).unwrap();
    if first.status != 200 {
        println!("{what:<62}{} {}", first.status, first.text());
        return;
    }
    let time = |_| {
        let began = Instant::now();
        let answer = http::get(&url);
        assert_eq!(answer.text().len(), first.text().len(), "{query}");
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..TIMES).map(time).collect();
    times.sort_by(f64::total_cmp);
    let (median, longest) = (times[TIMES / 2], times[TIMES - 1]);
    println!("{what:<62}{median:>12.1}{longest:>12.1}{:>12}", first.text().len());
}

fn fill(kafka: &Kafka, topic: &str, today_s: usize) {
    let one = |device: &str, n: usize, ts_s: usize| (device.to_owned(), n, ts_s);
    let fast = (0..FAST_DAYS * DAY_S).map(|n| one("boiler", n, today_s - FAST_DAYS * DAY_S + n));
    let slow = (0..SLOW_DAYS * DAY_S / 60)
        .map(|n| one("weather", n, today_s - SLOW_DAYS * DAY_S + n * 60));
    let many = (0..MANY).map(|n| one(&format!("dev-{n}"), n, today_s));
    let mut messages = Vec::with_capacity(CHUNK);
    for (seq, (device, n, ts_s)) in (1u64..).zip(fast.chain(slow).chain(many)) {
        messages.push((format!("bench/{device}"), reading(seq, &device, n, ts_s)));
        if messages.len() == CHUNK {
            kafka.send(topic, &messages);
            messages.clear();
        }
    }
    kafka.send(topic, &messages);
}

/// As the agent writes it. One decimal, slow waves by the hour and the day, and some noise.
fn reading(seq: u64, device: &str, n: usize, ts_s: usize) -> String {
    let of_day = (ts_s % DAY_S) as f64 / DAY_S as f64;
    let noise = (n * 7_919 % 101) as f64 / 50.0;
    let value = 20.0 + 5.0 * (of_day * std::f64::consts::TAU).sin() + noise;
    format!(
        "{{\"agent\":\"gw-17\",\"stream\":\"bcb4a7ab1f683e35\",\"seq\":{seq},\"site\":\"bench\",\"device\":\"{device}\",\
         \"ts_us\":{ts_s}000000,\"received_us\":{ts_s}000700,\"clock\":\"synced\",\"source\":\"http\",\"dialect\":\"json\",\
         \"parse\":\"ok\",\"meta\":{{}},\"meta_state\":\"miss\",\"values\":{{\"temp\":{{\"v\":{value:.1},\"score\":0.0}}}}}}"
    )
}
