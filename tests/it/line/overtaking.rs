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
/// The backlog: several times what the quota lets through at first, some 7,000.
const BACKLOG: u64 = 24_000;
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

/// The newest reading of the device that Kafka has.
fn newest_in_kafka(line: &Line) -> Option<u64> {
    let messages = line.kafka.read(&line.topic("readings"));
    let events = messages.iter().map(|message| message.json());
    let of_pump = events.filter(|event| event["device"] == "pump");
    of_pump.filter_map(|event| event["values"]["live"]["v"].as_f64()).map(|v| v as u64).max()
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

#[test]
fn live_data_overtakes_the_backlog_of_an_outage() {
    let kafka = Private::kafka(&[]);
    let mut line = Line::start("overtaking", &kafka.as_kafka(), services::cassandra());
    let begun = Instant::now();
    let class = "kafka.admin.ConfigCommand";
    let to_all = ["--alter", "--entity-type", "clients", "--entity-default", "--add-config"];
    let quota = [&[class, "--bootstrap-server", "{}"], &to_all[..], &[LINE_BYTES_PER_S]].concat();
    kafka.script("tool", &quota);
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
    let backlog = waiting(&line);
    kafka.node(1, "start");

    let (mut next, mut arrived) = (backlog_of_pump, None);
    // Until little more waits than what has just come.
    while waiting(&line) > 3.0 * LIVE as f64 {
        let sent_at = Instant::now();
        if arrived.is_none()
            && let Some(newest) = newest_in_kafka(&line).filter(|n| *n >= backlog_of_pump)
        {
            arrived = Some((waiting(&line), next, newest));
        }
        next = send_live(&line, next);
        assert!(begun.elapsed() < 3 * ARRIVE, "{} wait", waiting(&line));
        sleep(LIVE_EVERY.saturating_sub(sent_at.elapsed()));
    }
    let (left, first, newest) = arrived.expect("no live data before the end of the backlog");
    assert!(left > backlog / 2.0, "live data came when {left} of {backlog} were left");
    let live = (next - first) as f64;
    assert!(left >= 5.0 * live, "{left} of the backlog went while {live} came");
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
    let behind = first - 1 - newest;
    let what = format!(
        "live data came with {left} of {backlog} events of the backlog left, {behind} readings behind"
    );
    report("live_data_overtakes_the_backlog_of_an_outage", &what, begun);
}
