#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::FileExt as _;

use async_trait::async_trait;
use tempfile::TempDir;
use weir_models::event::Body;
use weir_models::ident::Stream;
use weir_models::wire::{BatchView, MAX_RAW_BYTES};

use super::*;
use crate::publish::{Begun, Delivery, Followed, PublishError, TransportStatus};
use crate::source::Raw;
use crate::spool::{Group, LaneReader, Strand};
use crate::tap::Wants;

/// Kafka was never reached.
pub(in crate::pipeline) struct Away;

#[async_trait]
impl Transport for Away {
    fn partitions(&self, _: &str) -> Option<u32> {
        None
    }

    async fn begin(&self, _: Strand, _: &[u8]) -> Result<Begun, PublishError> {
        Err(PublishError::Failed("away".into()))
    }

    async fn publish(&self, _: Strand, _: u64, _: Arc<Group>) -> Result<Delivery, PublishError> {
        Err(PublishError::Failed("away".into()))
    }

    async fn send(&self, _: &str, _: &[u8], _: &[u8]) -> Result<(), PublishError> {
        Err(PublishError::Failed("away".into()))
    }

    fn follow(&self, _: &str) -> mpsc::Receiver<Followed> {
        mpsc::channel(1).1
    }

    fn status(&self) -> TransportStatus {
        TransportStatus::default()
    }
}

const CONFIG: &str = r#"
[agent]
site = "plant"
id = "gw"
[kafka]
brokers = ["localhost:1"]
[spool]
max_bytes = 4194304
segment_bytes = 65536
zstd_level = 0
flush_ms = 1
[source.stdin]
format = "text"
when_full = "drop_lowest"
"#;

/// A worker that runs, and what it takes to talk to it.
struct Running {
    readers: [LaneReader; 4],
    inputs: mpsc::Sender<Input>,
    ask: mpsc::Sender<oneshot::Sender<Report>>,
    swaps: mpsc::Sender<Swap>,
    flushed: watch::Receiver<u64>,
    taps: Arc<Taps>,
    _stop: watch::Sender<bool>,
}

fn start(dir: &TempDir) -> Running {
    start_with(dir, CONFIG)
}

fn start_with(dir: &TempDir, config: &str) -> Running {
    let config = Config::parse("agent.toml", config).unwrap();
    let agent: Arc<str> = "gw".into();
    let (spool, readers) = Spool::open(&dir.path().join("spool"), &config.spool).unwrap();
    let table = Arc::new(Table::open(&dir.path().join("metadata.redb")).unwrap());
    let taps = Arc::new(Taps::default());
    let shared = Shared {
        table,
        transport: Arc::new(Away),
        names: TopicNames::new("weir."),
        counters: Arc::default(),
        clock: crate::clock::GatewayClock::right(),
        taps: taps.clone(),
    };
    let parser = Parser::new(&agent, &config).unwrap();
    let (flushed_tx, flushed) = watch::channel(0);
    let mut worker = Worker::new(&agent, &config, parser, spool, flushed_tx, shared);
    let (inputs, received) = mpsc::channel(64);
    let (ask, asked) = mpsc::channel(4);
    let (swaps, swapped) = mpsc::channel(1);
    let (ended, _) = oneshot::channel();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        worker.run(received, asked, swapped, mpsc::channel(1).1, ended, stopped).await
    });
    Running { readers, inputs, ask, swaps, flushed, taps, _stop: stop }
}

/// An input of one line.
fn line(bytes: usize) -> Input {
    let source = Source { name: "stdin".into(), index: 0, format: Format::Text };
    let raw = Raw { bytes: vec![b'x'; bytes].into(), received_us: now_us(), cut: false };
    Input {
        source: Arc::new(source),
        peer: None,
        labels: Vec::new(),
        items: vec![raw],
        lost: 0,
        done: None,
        is_awaited: false,
        room: None,
    }
}

impl Running {
    /// Sends a line and waits until the spool has it.
    async fn send(&self, bytes: usize) {
        self.send_as(bytes, false).await;
    }

    async fn send_as(&self, bytes: usize, is_awaited: bool) {
        let (done, is_done) = oneshot::channel();
        self.inputs.send(Input { done: Some(done), is_awaited, ..line(bytes) }).await.unwrap();
        is_done.await.unwrap();
    }

    /// Reads the lane `rest` and acknowledges, until a loss marker comes; answers it.
    async fn marker(&mut self) -> Event {
        loop {
            while let Some(group) = self.readers[3].next_group().unwrap() {
                let marker = events(&group).into_iter().find(|e| matches!(e.body, Body::Loss(_)));
                self.readers[3].acknowledge(group.end).unwrap();
                if let Some(marker) = marker {
                    return marker;
                }
            }
            self.flushed.changed().await.unwrap();
        }
    }

    async fn report(&self) -> Report {
        crate::pipeline::report(&self.ask).await.unwrap()
    }
}

fn events(group: &Group) -> Vec<Event> {
    let mut events = Vec::new();
    for frame in &group.frames {
        let (view, _) = BatchView::parse(&frame.batch).unwrap();
        for record in &view.records(MAX_RAW_BYTES).unwrap() {
            events.push(Event::from_json(record.unwrap().value.unwrap()).unwrap());
        }
    }
    events
}

#[track_caller]
fn loss(event: Event) -> (Loss, Stream, u64, u64) {
    let Body::Loss(loss) = event.body else { panic!("not a marker: {event:?}") };
    let (stream, first, last) = loss.range.unwrap();
    assert_eq!((&*event.agent, &*event.source), ("gw", "spool"));
    assert!(loss.lane.is_some(), "{loss:?}");
    assert_eq!(event.id.stream, stream, "a marker is in the stream it tells of");
    (loss, stream, first, last)
}

#[tokio::test]
async fn what_gave_way_in_a_full_spool_is_told_in_its_stream() {
    let dir = TempDir::new().unwrap();
    let mut running = start(&dir);
    let mut sent = 0;
    let lost = loop {
        running.send(20_000).await;
        sent += 1;
        let lost: Vec<_> = running.report().await.lost().collect();
        if !lost.is_empty() {
            break lost;
        }
        assert!(sent < 1_000, "4 MiB take no more than this");
    };
    let (lane, reason, count) = lost[0];
    assert_eq!((lane, reason, lost.len()), ("rest", "spool_full", 1));
    let marker = running.marker().await;
    assert_eq!(marker.id.seq, sent + 1);
    let (loss, _, first, last) = loss(marker);
    assert_eq!((loss.count, first, last, &*loss.reason), (count, 1, count, "spool_full"));
    assert_eq!(running.report().await.waiting(), 0, "the marker lets the checkpoint pass");
}

#[tokio::test]
async fn who_looks_on_and_does_not_read_holds_nothing_up() {
    const LINES: u64 = 60;
    let dir = TempDir::new().unwrap();
    let running = start(&dir);
    let tap = running.taps.tap(Wants::default()).unwrap();
    for _ in 0..LINES {
        running.send(20_000).await;
    }
    assert_eq!(running.report().await.waiting(), LINES);
    let values = |lines: Vec<u8>| -> Vec<serde_json::Value> {
        let text = String::from_utf8(lines).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let seen = values(tap.next().await);
    assert!((2..8).contains(&seen.len()), "{} of 20 or 40 KB each", seen.len());
    let is_next = |(at, line): (usize, &serde_json::Value)| line["seq"] == at as u64 + 1;
    assert!(seen.iter().enumerate().all(is_next));
    // What is missing is told where it is missing.
    running.send(1).await;
    let after = values(tap.next().await);
    assert_eq!(after[0]["left_out"]["no_room"], LINES - seen.len() as u64);
    assert_eq!((&after[1]["seq"], &after[1]["lane"]), (&(LINES + 1).into(), &"rest".into()));
    drop(tap);
    running.send(1).await;
}

#[tokio::test]
async fn damage_is_told_in_its_stream() {
    let dir = TempDir::new().unwrap();
    let running = start(&dir);
    for _ in 0..3 {
        running.send(5_000).await;
    }
    drop(running);
    let path = dir.path().join("spool/3-rest/00000000000000000000.seg");
    // The worker has to be gone with its lock.
    while Spool::open(&dir.path().join("spool"), &Default::default()).is_err() {
        tokio::task::yield_now().await;
    }
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"#", 5_000).unwrap();
    let mut running = start(&dir);
    let (loss, _, first, last) = loss(running.marker().await);
    assert_eq!((loss.count, first, last, &*loss.reason), (1, 1, 1, "spool_damaged"));
    let report = running.report().await;
    assert_eq!(report.lost().collect::<Vec<_>>(), [("rest", "spool_damaged", 1)]);
}

#[tokio::test]
async fn stages_are_swapped_between_two_events() {
    let dir = TempDir::new().unwrap();
    let mut running = start(&dir);
    running.send(1).await;
    let swap = |rules: &str, keep_raw: bool| {
        let text = CONFIG.replace("when_full", &format!("keep_raw = {keep_raw}\nwhen_full"));
        let config = Config::parse("agent.toml", &format!("{text}{rules}")).unwrap();
        Swap::new(&config, &config.source.settings(), [true; 3]).unwrap()
    };
    let drop_all = "[[filter]]\nname = 'all'\naction = 'drop'\nmessage = 'x'\n";
    for (rules, keep_raw) in [(drop_all, true), ("", false)] {
        let (swap, done) = swap(rules, keep_raw);
        running.swaps.send(swap).await.unwrap();
        done.await.unwrap();
        running.send(2).await;
    }
    let report = running.report().await;
    assert_eq!(report.filtered, [("all".to_owned(), 1)].into(), "the count outlives the rule");
    let mut found = Vec::new();
    while found.len() < 2 {
        match running.readers[3].next_group().unwrap() {
            Some(group) => found.extend(events(&group)),
            None => running.flushed.changed().await.unwrap(),
        }
    }
    let seen: Vec<_> = found.iter().map(|event| (event.id.seq, event.raw.is_some())).collect();
    assert_eq!(seen, [(1, true), (2, false)]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_does_not_wait_for_the_flush_of_the_rest() {
    let config = CONFIG.replace("flush_ms = 1\n", "flush_ms = 1000\n");
    for (is_awaited, expected_ms) in [(true, 25), (false, 1_000)] {
        let dir = TempDir::new().unwrap();
        let running = start_with(&dir, &config);
        let began = tokio::time::Instant::now();
        running.send_as(10, is_awaited).await;
        let took_ms = began.elapsed().as_millis();
        // Timers are a millisecond late.
        assert!((expected_ms..expected_ms + 3).contains(&took_ms), "{is_awaited} {took_ms}");
    }
}

/// How long each answer takes that is asked for beside steady lines, from `after` their begin on.
async fn answers_beside_steady_lines(after: Duration) -> Vec<u128> {
    let dir = TempDir::new().unwrap();
    let running = start_with(&dir, &CONFIG.replace("flush_ms = 1\n", "flush_ms = 200\n"));
    let inputs = running.inputs.clone();
    let steady = tokio::spawn(async move {
        while inputs.send(line(10)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::time::sleep(after).await;
    let mut took_ms = Vec::new();
    for _ in 0..10 {
        let began = tokio::time::Instant::now();
        running.send_as(10, true).await;
        took_ms.push(began.elapsed().as_millis());
    }
    steady.abort();
    took_ms
}

#[tokio::test(start_paused = true)]
async fn beside_steady_lines_only_the_first_answers_wait_for_a_long_look() {
    // A look is half as long as the one before while somebody waits: 200, 100, 50, 25 ms.
    const LONG_LOOKS: usize = 4;
    // From any moment between two looks.
    for later_ms in (0..200).step_by(7) {
        let took_ms = answers_beside_steady_lines(Duration::from_millis(2_000 + later_ms)).await;
        let (first, then) = took_ms.split_at(LONG_LOOKS);
        let is_so = first.iter().all(|ms| *ms <= 230) && then.iter().all(|ms| *ms <= 45);
        assert!(is_so, "{later_ms} ms later: {took_ms:?}");
    }
}
