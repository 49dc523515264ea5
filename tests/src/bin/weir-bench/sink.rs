//! A whole sink: from a filled topic of Kafka into Cassandra, beside the engine of the DataStax connector.
//!
//! In: the path of a release build of `weir-sink`, how many events. Out: for each run rows a second between the
//! first and the last write, CPU seconds per million rows (the start included), peak memory, and what is missing
//! from the table. Both read the same events as JSON from as many partitions and write one row for each into the same
//! table of one Cassandra node; ours also drops duplicates and writes the archive. What is measured begins when
//! the node is warm: with its Java still being compiled, that would be the figure. Without the peer it can be several
//! instances of ours that share the work: their rows and CPU seconds together, the memory of the largest.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_tests::cassandra::Cassandra;
use weir_tests::kafka::Kafka;
use weir_tests::line::metric;
use weir_tests::services::{self, unique};
use weir_tests::{Launch, free_port};

use crate::connect;
use crate::measure::{create_topics, mib};

/// Messages handed to the producer together.
const CHUNK: usize = 20_000;
/// How often it is looked what was written: the rate of a run of a second is right to 2 %.
const LOOK: Duration = Duration::from_millis(20);
/// So many lines are written by each first, and not counted.
const WARM_UP: usize = 500_000;
/// A run that takes longer has failed.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);
const START: Duration = Duration::from_secs(60);

/// What is done in each run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Events.
    pub(crate) events: usize,
    /// Hosts that write them, in turn.
    pub(crate) hosts: usize,
    /// Partitions of the topic that has them.
    pub(crate) partitions: i32,
    /// Sinks that share them.
    pub(crate) instances: usize,
    /// Seconds after which ours closes an object of the archive.
    pub(crate) close_after_s: u64,
}

/// What one run gave.
pub(crate) struct Figures {
    /// Who ran.
    pub(crate) name: &'static str,
    /// Rows written, by the clock, from the first write to the last one.
    pub(crate) rows_a_second: f64,
    /// From the start of the process until its offsets were committed.
    pub(crate) seconds: f64,
    /// Seconds of CPU of the process for a million rows.
    pub(crate) cpu_s_per_million: f64,
    /// The most memory at any time.
    pub(crate) peak_mib: f64,
    /// Rows that are not in the table.
    pub(crate) missing: i64,
}

/// Runs both `rounds` times, in turn.
pub(crate) fn sink(sink: &Path, work: Work, rounds: usize, with_peer: bool) {
    let (kafka, cassandra) = (services::kafka(), services::cassandra());
    let Work { events, hosts, partitions, instances, .. } = work;
    println!(
        "{events} log lines of {hosts} hosts, partitions {partitions}, sinks {instances}, one Cassandra node"
    );
    println!("              rows/s   s with start   CPU s per M   peak MiB   missing");
    let mut runs = Vec::new();
    let warm_up = Work { events: WARM_UP, ..work };
    ours(sink, kafka, cassandra, warm_up);
    if with_peer {
        connect::run(sink, kafka, cassandra, warm_up);
    }
    for _ in 0..rounds {
        runs.push(ours(sink, kafka, cassandra, work));
        show(&runs);
        if with_peer {
            runs.push(connect::run(sink, kafka, cassandra, work));
            show(&runs);
        }
    }
    let of = |name: &str| runs.iter().filter(|run| run.name == name).collect::<Vec<_>>();
    let (weir, peer) = (of("weir"), of(connect::NAME));
    if !peer.is_empty() {
        let least = |runs: &[&Figures], of: fn(&Figures) -> f64| {
            runs.iter().map(|run| of(run)).fold(f64::INFINITY, f64::min)
        };
        let ratio = |of: fn(&Figures) -> f64| least(&weir, of) / least(&peer, of);
        println!(
            "weir / {}: rows a second {:.1}, CPU {:.3}, memory {:.2} (the best of each)",
            connect::NAME,
            1.0 / ratio(|run| 1.0 / run.rows_a_second),
            ratio(|run| run.cpu_s_per_million),
            ratio(|run| run.peak_mib),
        );
    }
}

fn show(runs: &[Figures]) {
    let Some(run) = runs.last() else { return };
    println!(
        "{:<12}{:>8.0}{:>15.1}{:>14.2}{:>11.0}{:>10}",
        run.name, run.rows_a_second, run.seconds, run.cpu_s_per_million, run.peak_mib, run.missing
    );
}

fn ours(sink: &Path, kafka: &Kafka, cassandra: &Cassandra, work: Work) -> Figures {
    let Work { events, .. } = work;
    let name = unique("bench");
    let topic = format!("{name}.logs");
    create_topics(kafka, &format!("{name}."), work.partitions);
    fill(kafka, &topic, work);
    let home = migrated(sink, config(&name, kafka, cassandra, free_port(), work));
    let began = Instant::now();
    // All in one folder, so that they share the archive.
    let start = |number: usize| {
        let (port, file) = (free_port(), format!("sink-{number}.toml"));
        let launch = home.clone().file(&file, config(&name, kafka, cassandra, port, work));
        let program = launch.args(["run", "-c", &file]).start();
        (program, format!("http://127.0.0.1:{port}/metrics"))
    };
    let (mut programs, metrics): (Vec<_>, Vec<_>) = (0..work.instances).map(start).unzip();
    let of_one = |url: &String| metric(url, "weir_sink_stored_rows_total{table=\"logs\"");
    let stored = || metrics.iter().map(of_one).sum::<Result<f64, _>>();
    let (mut first, mut last) = (None, (Instant::now(), 0.0));
    programs[0].wait("all rows", LONGEST, |_| {
        let rows = stored()?;
        if rows > 0.0 && first.is_none() {
            first = Some((Instant::now(), rows));
        }
        if rows > last.1 {
            last = (Instant::now(), rows);
        }
        std::thread::sleep(LOOK);
        if rows < events as f64 { Err(format!("{rows} rows")) } else { Ok(()) }
    });
    let topics = [topic];
    programs[0].wait("all of it to be committed", LONGEST, |_| {
        match kafka.uncommitted(&name, &topics) {
            0 => Ok(()),
            left => Err(format!("{left} records are not")),
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let cpu_s: f64 = programs.iter().map(|program| program.cpu_seconds()).sum();
    let peak = programs.iter().map(|program| program.rss_peak_bytes()).max();
    for mut program in programs {
        program.term(START);
    }
    let (from, rows) = first.unwrap();
    Figures {
        name: "weir",
        rows_a_second: (last.1 - rows) / (last.0 - from).as_secs_f64(),
        seconds,
        cpu_s_per_million: cpu_s / (events as f64 / 1e6),
        peak_mib: peak.map_or(0.0, mib),
        missing: events as i64 - count(cassandra, &name),
    }
}

/// A sink whose tables are there.
pub(crate) fn migrated(sink: &Path, config: String) -> Launch {
    let launch = Launch::at("weir-sink", sink.into()).file("sink.toml", config);
    launch.clone().args(["migrate", "-c", "sink.toml"]).run(START).ok();
    launch
}

/// Puts the events of the last while, one each millisecond, into a topic.
pub(crate) fn fill(kafka: &Kafka, topic: &str, work: Work) {
    let Work { events, hosts, .. } = work;
    let now_us = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as usize;
    let begin_us = now_us - events * 1_000;
    let message = |i| {
        let host = format!("dev-{}", i % hosts);
        (format!("bench/{host}"), event(i, &host, begin_us + i * 1_000))
    };
    for from in (0..events).step_by(CHUNK) {
        let chunk: Vec<_> = (from..events.min(from + CHUNK)).map(message).collect();
        kafka.send(topic, &chunk);
    }
}

/// The rows of the lines' table of a keyspace, a part of the ring at a time: a node does not count millions in one answer.
pub(crate) fn count(cassandra: &Cassandra, keyspace: &str) -> i64 {
    const PARTS: i64 = 64;
    let bound = |place: i64| (place - PARTS / 2).saturating_mul(i64::MAX / (PARTS / 2) + 1);
    let part = |place: i64| {
        let (from, to) = (bound(place), bound(place + 1));
        let token = "token(site, host, bucket)";
        let rows = cassandra.cql(&format!(
            "SELECT count(*) AS rows FROM {keyspace}.logs WHERE {token} > {from} AND {token} <= {to}"
        ));
        rows[0]["rows"].as_i64().unwrap()
    };
    (0..PARTS).map(part).sum()
}

/// What line `i` says.
fn message(i: usize) -> String {
    format!("Failed password for root from 203.0.113.{} port 4242 ssh2", i % 250)
}

/// As the agent writes it.
fn event(i: usize, host: &str, ts_us: usize) -> String {
    let (message, seq) = (message(i), i + 1);
    format!(
        "{{\"agent\":\"gw-17\",\"stream\":\"bcb4a7ab1f683e35\",\"seq\":{seq},\"site\":\"bench\",\"device\":\"{host}\",\
         \"ts_us\":{ts_us},\"received_us\":{ts_us},\"clock\":\"synced\",\"source\":\"syslog\",\"dialect\":\"rfc5424\",\
         \"parse\":\"ok\",\"meta\":{{\"class\":\"class-1\",\"critical\":\"1\"}},\"meta_state\":\"hit\",\"meta_age_s\":10,\
         \"facility\":10,\"severity\":4,\"host\":\"{host}\",\"app\":\"sshd\",\"procid\":\"3323\",\
         \"template\":\"78767fcf6ee401c6\",\"score\":0.0,\"message\":\"{message}\",\
         \"raw\":\"<84>1 2026-11-21T10:00:29.323Z {host} sshd 3323 - - {message}\"}}"
    )
}

pub(crate) fn config(
    name: &str,
    kafka: &Kafka,
    cassandra: &Cassandra,
    port: u16,
    work: Work,
) -> String {
    let Work { partitions, close_after_s, .. } = work;
    format!(
        "kafka = {{ brokers = [\"{}\"], topic_prefix = \"{name}.\" }}\n\
         consume = {{ group = \"{name}\" }}\n\
         topics = {{ partitions = {partitions} }}\n\
         archive = {{ path = \"archive\", close_after_s = {close_after_s} }}\n\
         http = {{ listen = \"127.0.0.1:{port}\" }}\n\
         [store.cassandra]\ncontact_points = {:?}\nkeyspace = \"{name}\"\nlocal_datacenter = \"dc1\"\n\
         replication = {{ dc1 = 1 }}\n",
        kafka.bootstrap, cassandra.contact_points
    )
}
