//! Gateways without a clock chip: events that came before the clock was set get their right stamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_tests::kafka::{Kafka, Message};
use weir_tests::line::{metric, wait_empty_spool};
use weir_tests::services::{self, Private};
use weir_tests::wrong_clock::WrongClock;
use weir_tests::{Launch, Program, free_port, http, unique, wait_until};

use crate::line::steady::agent_config;
use crate::numbers::{after_the_rule, check_numbers};

const SOON: Duration = Duration::from_secs(60);
const SECOND_US: i64 = 1_000_000;
/// A stamp of the sender's own.
const OWN_US: i64 = 1_790_000_000 * SECOND_US;

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// So many seconds behind is a clock that began in 1970 just now.
fn since_1970_s() -> i64 {
    now_us() / SECOND_US
}

/// An agent, and when it was sent what.
struct Gateway {
    agent: Program,
    http: u16,
    status: u16,
    /// The moment just before each batch of lines was sent, by the batch's name.
    sent: Vec<(String, i64)>,
}

impl Gateway {
    fn start(clock: &WrongClock, kafka: &Kafka, prefix: &str, more: &str) -> Self {
        for topic in ["readings", "logs", "alerts", "agents"] {
            kafka.create_topic(&format!("{prefix}.{topic}"), 3);
        }
        Self::launch(clock, kafka, prefix, more)
    }

    fn launch(clock: &WrongClock, kafka: &Kafka, prefix: &str, more: &str) -> Self {
        let (http, status) = (free_port(), free_port());
        let config = agent_config(kafka, prefix, http, status)
            .replace("[agent]", &format!("[agent]\n{more}"));
        let launch = Launch::ours("weir-agent").file("agent.toml", config);
        let agent = clock.over(launch).args(["run", "-c", "agent.toml"]).start();
        let mut gateway = Self { agent, http, status, sent: Vec::new() };
        gateway.wait_alive();
        gateway
    }

    fn wait_alive(&mut self) {
        self.agent.wait_http(&format!("http://127.0.0.1:{}/healthz", self.status), SOON);
    }

    /// Sends readings and log lines, of which each third has a stamp of its own; they are safe then.
    fn send(&mut self, batch: &str) {
        self.sent.push((batch.into(), now_us()));
        let lines: Vec<String> = (0..60)
            .map(|n| match n % 3 {
                0 => format!(r#"{{"device":"d{}","data":{{"n":{n}}},"batch":"{batch}"}}"#, n % 7),
                1 => format!(
                    r#"{{"device":"d{}","ts":1790000000,"data":{{"n":{n}}},"batch":"{batch}"}}"#,
                    n % 7
                ),
                _ => format!(r#"{{"device":"d{}","note":"line {n}","batch":"{batch}"}}"#, n % 7),
            })
            .collect();
        let url = format!("http://127.0.0.1:{}/v1/events", self.http);
        let answer = http::post(&url, "application/json", lines.join("\n").as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&format!("http://127.0.0.1:{}/metrics", self.status), name).unwrap()
    }

    /// What Kafka has in the end: every event once, numbered without a gap.
    fn arrived(&mut self, kafka: &Kafka, prefix: &str) -> Vec<Message> {
        wait_empty_spool(&mut self.agent, self.status, SOON);
        let messages = kafka.read(&format!("{prefix}."));
        let (kept, dropped) = after_the_rule(&messages);
        check_numbers(&kept);
        assert_eq!(dropped, 0, "records there twice");
        let mut events: Vec<Message> = messages;
        events.retain(|m| m.topic.ends_with(".readings") || m.topic.ends_with(".logs"));
        assert_eq!(events.len(), 60 * self.sent.len());
        events
    }

    /// The events of a batch say this of the clock, and have right stamps unless it was wrong.
    #[track_caller]
    fn check(&self, events: &[Message], batch: &str, clock: &str) {
        let (_, sent_us) = self.sent.iter().find(|(name, _)| name == batch).unwrap();
        let name = format!(r#""batch":"{batch}""#);
        let mut count = 0;
        for message in events {
            let event = message.json();
            if !event["raw"].as_str().unwrap().contains(&name) {
                continue;
            }
            count += 1;
            assert_eq!(event["clock"], clock, "{event}");
            let us = |key: &str| event[key].as_i64().unwrap();
            let (ts_us, received_us) = (us("ts_us"), us("received_us"));
            let has_own = event["raw"].as_str().unwrap().contains("\"ts\"");
            assert_eq!(ts_us, if has_own { OWN_US } else { received_us }, "{event}");
            if clock != "unsynced" {
                let late_us = received_us - sent_us;
                assert!((-SECOND_US..SECOND_US).contains(&late_us), "{late_us} us: {event}");
                assert_eq!(message.timestamp_ms, Some(received_us.div_euclid(1_000)), "{event}");
            }
        }
        assert_eq!(count, 60, "events of the batch {batch}");
    }
}

#[test]
fn stamps_in_the_spool_are_corrected_once_the_clock_is_set() {
    let service = Private::kafka(&[]);
    let kafka = service.as_kafka();
    let prefix = unique("clock");
    let clock = WrongClock::off_by(-since_1970_s());
    let mut gateway = Gateway::start(&clock, &kafka, &prefix, "clock_wait_s = 0");
    service.node(1, "kill");
    gateway.send("first");
    // The next process knows how the clock stood for the one before.
    gateway.agent.kill9();
    gateway.agent.restart();
    gateway.wait_alive();
    gateway.send("after a kill");
    // Somebody sets the clock, and not well; then the time service does.
    clock.set(100 * 86_400 - since_1970_s());
    gateway.send("on the day");
    gateway.send("still in 1970");
    clock.set(0);
    // With the next flush it is known.
    gateway.send("when it is set");
    gateway.send("afterwards");
    service.node(1, "start");

    let events = gateway.arrived(&kafka, &prefix);
    for batch in ["first", "after a kill", "still in 1970"] {
        gateway.check(&events, batch, "corrected");
    }
    // By which clock it was stamped, this one or the one before, nobody can tell.
    gateway.check(&events, "on the day", "unsynced");
    for batch in ["when it is set", "afterwards"] {
        gateway.check(&events, batch, "synced");
    }
    assert_eq!(gateway.metric("weir_agent_corrected_events_total"), 180.0);
}

#[test]
fn kafka_waits_for_the_clock_and_not_for_ever() {
    let kafka = services::kafka();
    let heartbeat_of = |prefix: &str| -> Value {
        wait_until("a heartbeat", SOON, || {
            let beats = kafka.read(&format!("{prefix}.agents"));
            beats.last().map(Message::json).ok_or("none")
        })
    };
    // Kafka is there: a heartbeat says so. The events wait.
    let prefix = unique("clock");
    let clock = WrongClock::off_by(-since_1970_s());
    let mut gateway = Gateway::start(&clock, kafka, &prefix, "heartbeat_s = 1");
    gateway.send("before");
    assert_eq!(heartbeat_of(&prefix)["clock"], "unsynced");
    assert_eq!(gateway.metric("weir_agent_published_events_total"), 0.0);
    clock.set(0);
    let events = gateway.arrived(kafka, &prefix);
    gateway.check(&events, "before", "corrected");
    wait_until("a heartbeat of the clock that is set", SOON, || {
        let clock = heartbeat_of(&prefix)["clock"].clone();
        if clock == "synced" { Ok(()) } else { Err(clock) }
    });

    // Nobody sets the clock: after the wait they go as they are.
    let prefix = unique("clock");
    let clock = WrongClock::off_by(-since_1970_s());
    let mut gateway = Gateway::start(&clock, kafka, &prefix, "clock_wait_s = 1");
    gateway.send("before");
    let events = gateway.arrived(kafka, &prefix);
    gateway.check(&events, "before", "unsynced");
}
