//! Prints alerts of weir, a line each, once each, and ends after `--count` of them, or never.
//!
//! Put your own action in the place of [`handle`]. An alert is committed after it was handled: when
//! that fails, or the program is killed, it comes again. What cannot be read is skipped with a
//! message.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::io::{self, Write as _};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

/// A record can come twice; so many ids are remembered to notice it.
const REMEMBERED: usize = 10_000;

/// What [`handle`] needs of an alert. Fields that are not known here are left alone.
#[derive(Deserialize)]
struct Alert {
    id: String,
    subject: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    state: State,
    score: f64,
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Firing,
    Resolved,
}

/// Does what is to be done about an alert; an error ends the program, nothing is committed.
fn handle(alert: &Alert) -> io::Result<()> {
    let Alert { subject, data: Data { state, score, why }, .. } = alert;
    let state = match state {
        State::Firing => "firing",
        State::Resolved => "resolved",
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{state} {subject} score {score:.2} {why}")?;
    out.flush()
}

/// The alert in the value of a record, or why there is none.
fn read(value: Option<&[u8]>) -> Result<Alert, String> {
    let value = value.ok_or("no value")?;
    serde_json::from_slice(value).map_err(|error| format!("not an alert: {error}"))
}

/// The ids that came last.
#[derive(Default)]
struct Memory {
    seen: HashSet<String>,
    oldest: VecDeque<String>,
}

impl Memory {
    fn add(&mut self, id: String) {
        self.oldest.push_back(id.clone());
        self.seen.insert(id);
        if self.oldest.len() > REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

struct Options {
    brokers: String,
    topic: String,
    group: String,
    count: u64,
}

impl Options {
    fn from_args() -> Result<Self, String> {
        let mut options = Self {
            brokers: "localhost:9092".into(),
            topic: "weir.alerts".into(),
            group: "alert-printer".into(),
            count: 0,
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--brokers" => options.brokers = value,
                "--topic" => options.topic = value,
                "--group" => options.group = value,
                "--count" => options.count = value.parse().map_err(|e| format!("{value}: {e}"))?,
                _ => return Err(format!("unknown: {name}")),
            }
        }
        Ok(options)
    }
}

async fn run(consumer: &StreamConsumer, count: u64) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut known, mut handled) = (Memory::default(), 0);
    while count == 0 || handled < count {
        let record = tokio::select! {
            record = consumer.recv() => record,
            // Asked to end.
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                eprintln!("Kafka: {error}");
                continue;
            }
        };
        let (topic, partition) = (record.topic(), record.partition());
        let place = format!("{topic} [{partition}] at offset {}", record.offset());
        match read(record.payload()) {
            Ok(alert) if known.seen.contains(&alert.id) => {}
            Ok(alert) => {
                handle(&alert)?;
                handled += 1;
                known.add(alert.id);
            }
            Err(why) => eprintln!("skipped {place}: {why}"),
        }
        // The work is done: only now is the record not to come again.
        if let Err(error) = consumer.commit_message(&record, CommitMode::Sync) {
            // The partition went to another consumer, or Kafka is away.
            eprintln!("{place} is not committed and may come again: {error}");
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::from_args()?;
    // TLS and passwords belong here, too: security.protocol, ssl.ca.location, sasl.mechanism, …
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &options.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&[&options.topic])?;
    run(&consumer, options.count).await
}
