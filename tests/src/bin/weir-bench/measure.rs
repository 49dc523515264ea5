//! One run of one contender.
//!
//! In: who, the task, the load. Out: its figures. CPU time is user and system time of its process from the
//! first byte sent until Kafka has everything, so that other load on the machine disturbs little.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_tests::kafka::Kafka;
use weir_tests::line::metric;
use weir_tests::services::{self, unique};

use crate::contender::{Contender, Input, Place, contender};
use crate::figures::Figures;
use crate::load::{Arrived, Load};

/// Between the start and the first message: what is read then is the idle memory.
const IDLE: Duration = Duration::from_secs(5);
/// How long nothing may arrive before a run counts as ended.
pub(crate) const STALLED: Duration = Duration::from_secs(30);
/// How often it is looked what has arrived.
const LOOK: Duration = Duration::from_millis(50);
pub(crate) const PARTITIONS: i32 = 4;

/// How messages come.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// From where.
    pub(crate) input: Input,
    /// Messages a second; none: as fast as they are taken.
    pub(crate) rate: Option<f64>,
}

/// Runs it once.
pub(crate) fn measure(name: &str, task: Task, load: &Load, agent: &Path) -> Figures {
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("bench"));
    let place = Place { agent, bootstrap: &kafka.bootstrap, prefix: &prefix, events: load.events };
    let Contender { name, launch, port, file, topic, looks_up, metrics } =
        contender(name, task.input, &place);
    create_topics(kafka, &prefix, PARTITIONS);
    if !topic.ends_with(".logs") {
        kafka.create_topic(&topic, PARTITIONS);
    }
    let mut program = launch.start();
    if task.input == Input::Udp {
        program.wait_line("agent is running", Duration::from_secs(30));
    }
    if task.input == Input::Tcp {
        program.wait("the port", Duration::from_secs(30), |_| {
            std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())
        });
    }
    std::thread::sleep(IDLE);
    let (idle_bytes, cpu_before) = (program.rss_bytes(), program.cpu_seconds());
    let wakes_before = wake_ups(program.pid());

    let began = Instant::now();
    match task.input {
        Input::Tcp => load.send(port, task.rate),
        // Datagrams cannot be held back: without a rate they would measure the kernel's buffer.
        Input::Udp => load.send_datagrams(port, task.rate.expect("a rate for datagrams")),
        Input::File => load.append(&mut OpenOptions::new().append(true).open(&file).unwrap()),
    }
    let wakes = wake_ups(program.pid()) - wakes_before;
    let dropped = || {
        let dropped = metrics.as_ref().map(|url| metric(url, "weir_agent_dropped_datagrams_total"));
        dropped.map_or(0.0, |dropped| dropped.unwrap_or(0.0))
    };
    let changed = arrived_at(kafka, &topic, load.events, STALLED);
    let seconds = changed.duration_since(began).as_secs_f64();
    let cpu_s = program.cpu_seconds() - cpu_before;
    let peak_bytes = program.rss_peak_bytes();
    let (dropped, load_average) = (dropped(), load_average());
    program.term(Duration::from_secs(60));
    let mut arrived = Arrived::of(load.events);
    kafka.for_each_payload(&topic, |payload| arrived.count(payload));
    let Arrived { distinct, double, not_looked_up, .. } = arrived;
    // Whoever has not done the work must not be in the table.
    assert!(!looks_up || not_looked_up == 0, "{name}: {not_looked_up} hosts were not looked up");
    Figures {
        name,
        cpu_s_per_million: cpu_s / (distinct.max(1) as f64 / 1e6),
        events_a_second: distinct as f64 / seconds,
        idle_mib: mib(idle_bytes),
        peak_mib: mib(peak_bytes),
        wake_ups_per_1000: wakes as f64 / (load.events as f64 / 1e3),
        missing: load.events - distinct,
        double,
        dropped,
        load_average,
    }
}

/// The topics that our agent writes to.
pub(crate) fn create_topics(kafka: &Kafka, prefix: &str, partitions: i32) {
    for topic in ["readings", "logs", "alerts"] {
        kafka.create_topic(&format!("{prefix}{topic}"), partitions);
    }
}

/// Waits until a topic holds so many events, or none has come for `stalled`: when the last one came.
pub(crate) fn arrived_at(kafka: &Kafka, topic: &str, events: usize, stalled: Duration) -> Instant {
    let (mut there, mut changed) = (0, Instant::now());
    while there < events as i64 && changed.elapsed() < stalled {
        let now = kafka.count(topic);
        if now > there {
            (there, changed) = (now, Instant::now());
        }
        std::thread::sleep(LOOK);
    }
    changed
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How often the threads of a program have waited for something so far.
fn wake_ups(pid: u32) -> u64 {
    let of_thread = |status: String| {
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter_map(of_thread)
        .sum()
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
