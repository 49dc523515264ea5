//! A long outage: what the agent takes of memory and disk while Kafka is away, and after.
//!
//! In: for how many minutes Kafka is away. Out: a line a minute, and at the end the greatest memory and
//! whether everything has arrived once. All the time messages come at a gateway's pace.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use weir_tests::Program;
use weir_tests::line::metric;
use weir_tests::services::{Private, unique};

use crate::contender::{Contender, Input, Place, contender};
use crate::load::{Arrived, Lines};
use crate::measure::{PARTITIONS, arrived_at, create_topics, mib};

/// Messages a second.
const RATE: f64 = 5_000.0;
/// With Kafka before and after the outage.
const BESIDE: Duration = Duration::from_secs(60);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(10);
/// How long nothing may arrive, once Kafka is back, before it counts as lost.
const STALLED: Duration = Duration::from_secs(60);
/// More than an outage of an hour takes of disk.
const SPOOL: &str = "[spool]\nmax_bytes = 4294967296\n";

/// Runs it once.
pub(crate) fn outage(agent: &Path, minutes: u64) {
    let service = Private::kafka(&[]);
    let kafka = service.as_kafka();
    let prefix = format!("{}.", unique("outage"));
    let away = Duration::from_secs(60 * minutes);
    let events = ((2 * BESIDE + away).as_secs_f64() * RATE) as usize;
    let place = Place { agent, bootstrap: &kafka.bootstrap, prefix: &prefix, events };
    let Contender { launch, port, topic, metrics, .. } = contender("weir", Input::Tcp, &place);
    let config = launch.dir().join("agent.toml");
    let config = std::fs::read_to_string(config).unwrap() + SPOOL;
    create_topics(&kafka, &prefix, PARTITIONS);
    let mut program = launch.file("agent.toml", config).start();
    program.wait("the port", Duration::from_secs(30), |_| {
        TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())
    });
    println!("Kafka away for {minutes} minutes, {RATE} events a second, {events} events");
    println!("minute    Kafka   memory MiB      waiting   disk MiB   CPU s");
    let sender = spawn(move || send(port, events));
    let mut scene = Scene { program, metrics: metrics.unwrap(), began: Instant::now(), most: 0 };
    scene.watch("there", BESIDE);
    service.node(1, "stop");
    scene.watch("away", away);
    service.node(1, "start");
    let back = Instant::now();
    scene.watch("back", BESIDE);
    sender.join().expect("the sender");
    let changed = arrived_at(&kafka, &topic, events, STALLED);
    let caught_up_s = changed.duration_since(back).as_secs_f64();
    scene.row("back");
    let (cpu_s, most) = (scene.program.cpu_seconds(), scene.program.rss_peak_bytes());
    scene.program.term(Duration::from_secs(60));
    let mut arrived = Arrived::of(events);
    kafka.for_each_payload(&topic, |payload| arrived.count(payload));
    println!(
        "peak {:.1} MiB, {:.2} CPU s per million, all in Kafka {caught_up_s:.0} s after it was back, missing {}, double {}",
        mib(most),
        cpu_s / (events as f64 / 1e6),
        events - arrived.distinct,
        arrived.double
    );
}

struct Scene {
    program: Program,
    metrics: String,
    began: Instant,
    /// The most memory since the last row, in bytes.
    most: u64,
}

impl Scene {
    /// Looks on for so long; a row a minute.
    fn watch(&mut self, kafka: &str, time: Duration) {
        let end = Instant::now() + time;
        let mut row_at = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            sleep(LOOK);
            self.most = self.most.max(self.program.rss_bytes());
            if Instant::now() >= row_at.min(end) {
                row_at += Duration::from_secs(60);
                self.row(kafka);
            }
        }
    }

    fn row(&mut self, kafka: &str) {
        self.most = self.most.max(self.program.rss_bytes());
        let of = |name| metric(&self.metrics, name).unwrap_or(f64::NAN);
        println!(
            "{:>6.1}{kafka:>9}{:>13.1}{:>13.0}{:>11.1}{:>8.1}",
            self.began.elapsed().as_secs_f64() / 60.0,
            mib(self.most),
            of("weir_agent_spool_waiting_events"),
            mib(of("weir_agent_spool_bytes") as u64),
            self.program.cpu_seconds()
        );
        self.most = 0;
    }
}

fn send(port: u16, events: usize) {
    let lines = Lines::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (began, mut sent, mut text) = (Instant::now(), 0, String::new());
    while sent < events {
        let due = ((began.elapsed().as_secs_f64() * RATE) as usize).min(events);
        text.clear();
        (sent..due).for_each(|i| lines.write(i, &mut text));
        stream.write_all(text.as_bytes()).unwrap();
        sent = due;
        sleep(TICK);
    }
}
