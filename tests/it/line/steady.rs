//! A steady load over HTTP, from senders that keep every line until it is acknowledged.
//!
//! Each line is there once in the world, so what arrives can be held against what was acknowledged.
//! A request without an answer is sent again, as any good sender would: its lines may then be there
//! more than once, as events of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use weir_tests::cassandra::Row;
use weir_tests::kafka::Kafka;
use weir_tests::line::Line;
use weir_tests::{http, wait_until};

/// Lines in a request.
const BATCH: u64 = 50;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// A sender that is not heard for so long gives up, and fails the test.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The configuration of an agent that takes such a load.
pub(crate) fn agent_config(kafka: &Kafka, prefix: &str, http: u16, status: u16) -> String {
    let brokers: Vec<&str> = kafka.bootstrap.split(',').collect();
    format!(
        r#"
        [agent]
        id = "gateway"
        site = "plant"
        data_dir = "data"
        [kafka]
        brokers = {brokers:?}
        topic_prefix = "{prefix}."
        [[source.http]]
        listen = "127.0.0.1:{http}"
        [source.http.fields]
        device = "device"
        time = "ts"
        values = "data"
        [status]
        listen = "127.0.0.1:{status}"
        "#
    )
}

/// Senders at work.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    senders: Vec<JoinHandle<Sent>>,
}

/// What was acknowledged.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) lines: Vec<String>,
    /// Requests that had to be sent again.
    pub(crate) repeated: u64,
}

impl Steady {
    /// Starts `senders` of them: each turns between line protocol, JSON readings and JSON without
    /// a number, which becomes a log line.
    pub(crate) fn start(line: &Line, senders: u64) -> Self {
        Self::to(&[line.input("/v1/write?precision=s"), line.input("/v1/events")], senders)
    }

    /// The same to an agent's addresses for line protocol and for JSON.
    pub(crate) fn to(urls: &[String; 2], senders: u64) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let spawn = |sender| {
            let (stop, acknowledged, urls) =
                (Arc::clone(&stop), Arc::clone(&acknowledged), urls.clone());
            std::thread::spawn(move || send(sender, &urls, &stop, &acknowledged))
        };
        let senders = (0..senders).map(spawn).collect();
        Self { stop, acknowledged, senders }
    }

    /// Lines acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` lines are acknowledged.
    #[track_caller]
    pub(crate) fn wait_more(&self, more: u64) {
        let until = self.acknowledged() + more;
        wait_until("lines to be acknowledged", GIVE_UP, || {
            let now = self.acknowledged();
            if now >= until { Ok(()) } else { Err(format!("{now}, expected {until}")) }
        });
    }

    /// Ends them: every line that was begun is acknowledged.
    #[track_caller]
    pub(crate) fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        for sender in self.senders {
            let sent = sender.join().unwrap();
            all.lines.extend(sent.lines);
            all.repeated += sent.repeated;
        }
        all
    }
}

fn send(sender: u64, urls: &[String; 2], stop: &AtomicBool, acknowledged: &AtomicU64) -> Sent {
    let mut sent = Sent::default();
    let mut batches = (sender..).map(|turn| (turn % 3, turn));
    while !stop.load(Ordering::Relaxed) {
        let (kind, turn) = batches.next().unwrap();
        let lines: Vec<String> =
            (0..BATCH).map(|n| content(kind, sender, (turn - sender) * BATCH + n)).collect();
        let (url, body) = (&urls[kind.min(1) as usize], lines.join("\n"));
        let begun = Instant::now();
        // No answer, or one that says to try again.
        while !is_acknowledged(url, &body) {
            sent.repeated += 1;
            assert!(begun.elapsed() < GIVE_UP, "not acknowledged after {GIVE_UP:?}");
            sleep(PAUSE);
        }
        acknowledged.fetch_add(BATCH, Ordering::Relaxed);
        sent.lines.extend(lines);
    }
    sent
}

fn content(kind: u64, sender: u64, n: u64) -> String {
    let device = format!("d{sender}-{}", n % 7);
    let ts_s = 1_780_000_000 + n;
    match kind {
        0 => format!("load,device={device} value={n} {ts_s}"),
        1 => format!(
            r#"{{"device":"{device}","ts":{ts_s},"data":{{"n":{n},"even":{}}}}}"#,
            n.is_multiple_of(2)
        ),
        _ => format!(r#"{{"device":"{device}","note":"line {n}"}}"#),
    }
}

fn is_acknowledged(url: &str, body: &str) -> bool {
    match http::try_post(url, "application/json", body.as_bytes()) {
        Err(_) => false,
        Ok(answer) => {
            let try_again = answer.status == 503 || answer.status == 429;
            let taken = (200..300).contains(&answer.status);
            assert!(taken || try_again, "{url} answered {} {}", answer.status, answer.text());
            taken
        }
    }
}

impl Sent {
    /// Fails unless every line is among the events at least once, and no event is of another line.
    /// Gives the number of events that a repeated request made.
    #[track_caller]
    pub(crate) fn check<'a>(&self, events: impl Iterator<Item = &'a Row>) -> usize {
        let mut times: BTreeMap<&str, usize> =
            self.lines.iter().map(|line| (line.as_str(), 0)).collect();
        assert_eq!(times.len(), self.lines.len(), "a line was made twice");
        for event in events {
            let raw = event["raw"].as_str().unwrap();
            *times.get_mut(raw).unwrap_or_else(|| panic!("nobody sent {raw}")) += 1;
        }
        let lost: Vec<_> = times.iter().filter(|(_, times)| **times == 0).collect();
        let some = &lost[..lost.len().min(5)];
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged lines lost: {some:?}",
            lost.len(),
            times.len()
        );
        times.values().map(|times| times - 1).sum()
    }
}
