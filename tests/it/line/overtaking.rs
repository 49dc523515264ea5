//! Kafka is back after an outage, on a line that takes its time: what comes now is there at once, the
//! backlog goes on beside it, and in the end everything is there once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::line::{Line, SITE, metric};
use weir_tests::services::{self, Private};
use weir_tests::{http, wait_until};

use super::arrived::Arrived;
use super::steady::Steady;
use super::{ARRIVE, SOON, report};

/// Longer than a lane waits before live data overtakes, 30 s by default.
const OUTAGE_S: f64 = 31.0;
/// The backlog: several times what the quota lets through at first, 7,000 to 9,000.
const BACKLOG: u64 = 32_000;
/// What the line takes, a second.
const LINE_BYTES_PER_S: &str = "producer_byte_rate=30000";
/// Live data: so many readings, so often.
const LIVE: u64 = 30;
const LIVE_EVERY: Duration = Duration::from_millis(500);

/// Sends readings of one device, numbered from `first` on, a second apart.
fn send_live(line: &Line, first: u64) -> u64 {
    let reading = |n: u64| format!("live,device=pump value={n} {}\n", 1_790_000_000 + n);
    let lines: String = (first..first + LIVE).map(reading).collect();
    let answer = http::post(&line.input("/v1/write?precision=s"), "text/plain", lines.as_bytes());
    assert_eq!(answer.status, 204);
    first + LIVE
}

fn waiting(line: &Line) -> f64 {
    metric(&line.agent_status("/metrics"), "weir_agent_spool_waiting_events").unwrap()
}

/// When Kafka has taken each event, by its own clock, milliseconds.
struct Taken {
    backlog: Vec<i64>,
    live: Vec<i64>,
}

impl Taken {
    /// Live are readings of the device from this number on.
    fn read(line: &Line, first_live: u64) -> Self {
        let topics = ["readings", "logs"].map(|topic| line.kafka.read(&line.topic(topic)));
        let (mut backlog, mut live) = (Vec::new(), Vec::new());
        for message in topics.iter().flatten() {
            let event = message.json();
            let n = event["values"]["live"]["v"].as_f64();
            let is_live = n.is_some_and(|n| n >= first_live as f64);
            if is_live { &mut live } else { &mut backlog }.push(message.timestamp_ms.unwrap());
        }
        Self { backlog, live }
    }

    /// So much of the backlog came with the first live reading or after it, and so many live ones before
    /// the end of the backlog.
    fn beside(&self) -> (usize, usize) {
        let first_live = self.live.iter().min().unwrap();
        let end = self.backlog.iter().max().unwrap();
        let left = self.backlog.iter().filter(|at_ms| *at_ms >= first_live).count();
        (left, self.live.iter().filter(|at_ms| *at_ms <= end).count())
    }
}

/// The newest value as the sink tells it.
fn latest(line: &Line) -> Value {
    let answer = http::get_json(&line.api(&format!("/v1/latest?site={SITE}")));
    let items = answer["items"].as_array().unwrap();
    items
        .iter()
        .find(|item| item["device"] == "pump")
        .map_or(Value::Null, |item| item["value"].clone())
}

fn configure(kafka: &Private, what: &str, setting: &str) {
    let of_all = ["--entity-type", what, "--entity-default", "--alter", "--add-config", setting];
    let class = ["kafka.admin.ConfigCommand", "--bootstrap-server", "{}"];
    kafka.script("tool", &[&class[..], &of_all].concat());
}

#[test]
fn live_data_overtakes_the_backlog_of_an_outage() {
    let kafka = Private::kafka(&[]);
    let mut line = Line::start("overtaking", &kafka.as_kafka(), services::cassandra());
    let begun = Instant::now();
    configure(&kafka, "clients", LINE_BYTES_PER_S);
    configure(&kafka, "brokers", "log.message.timestamp.type=LogAppendTime");
    kafka.node(1, "kill");
    let load = Steady::start(&line, 2);
    load.wait_more(BACKLOG);
    let sent = load.stop();
    assert_eq!(sent.repeated, 0, "the agent has refused input");
    // Of the same device, before the outage ends: to be overtaken, and not to come back as the latest.
    let backlog_of_pump = send_live(&line, 0);
    let metrics = line.agent_status("/metrics");
    wait_until("a long outage", Duration::from_secs(120), || {
        match metric(&metrics, "weir_agent_spool_oldest_seconds{lane=\"readings\"") {
            Ok(seconds) if seconds > OUTAGE_S => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
    kafka.node(1, "start");

    let mut next = backlog_of_pump;
    // Until little more waits than what has just come.
    while waiting(&line) > 3.0 * LIVE as f64 {
        let sent_at = Instant::now();
        next = send_live(&line, next);
        assert!(begun.elapsed() < 3 * ARRIVE, "{} wait", waiting(&line));
        sleep(LIVE_EVERY.saturating_sub(sent_at.elapsed()));
    }
    let last = Value::from((next - 1) as f64);
    wait_until("the last value at the sink", SOON, || match latest(&line) {
        value if value == last => Ok(()),
        other => Err(other.to_string()),
    });
    line.settle(ARRIVE);
    assert_eq!(latest(&line), last, "an old value took the place of a newer one");

    let all = Arrived::read(&line);
    all.check();
    let (pump, others): (Vec<_>, Vec<_>) =
        all.events().partition(|event| event["device"] == "pump");
    assert_eq!(pump.len() as u64, next);
    assert_eq!(sent.check(others.into_iter()), 0, "events there twice");
    let taken = Taken::read(&line, backlog_of_pump);
    let ((left, live), backlog) = (taken.beside(), taken.backlog.len());
    let what = format!(
        "live data came with {left} of {backlog} events of the backlog left, which took as long as {live} live ones"
    );
    assert!(left > backlog / 2 && left >= 5 * live, "{what}");
    report("live_data_overtakes_the_backlog_of_an_outage", &what, begun);
}
