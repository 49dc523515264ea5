//! Lanes of a real spool against brokers in the process: whatever they answer, every record is in the
//! log once and in order, or in the dead letter file.

mod broker;
mod overtaking;
mod restart;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use weir_models::ident::EventId;
use weir_models::wire::partition_for;

use super::peer::settings;
use super::*;
use crate::publish::order::seq;
use crate::publish::{DeadLetters, Lanes, publish_lane};
use crate::spool::{Lane, LaneReader, Spool, SpoolConfig};
use broker::{Act, Brokers};

const TOPIC: &str = "t.readings";
const LANE: Lane = Lane::Readings;
const SOON: Duration = Duration::from_secs(60);

/// An agent's publishing side.
struct Agent {
    folder: TempDir,
    spool: Option<Spool>,
    reader: Option<LaneReader>,
    /// The number of partitions that events are spooled for.
    reckoned: u32,
    direct: Arc<Direct>,
    flushed: watch::Sender<u64>,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

fn open(folder: &Path) -> (Spool, LaneReader) {
    let (spool, readers) = Spool::open(&folder.join("spool"), &SpoolConfig::default()).unwrap();
    (spool, readers.into_iter().find(|reader| reader.lane() == LANE).unwrap())
}

fn direct(address: &str, folder: &Path) -> Arc<Direct> {
    let mut settings = settings(address);
    settings.request_timeout = Duration::from_secs(3);
    Arc::new(Direct::over(settings, Some(folder)))
}

impl Agent {
    fn new(brokers: &Brokers, reckoned: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spool, reader) = open(folder.path());
        let direct = direct(&brokers.address, folder.path());
        let (flushed, _) = watch::channel(0);
        let (spool, reader) = (Some(spool), Some(reader));
        Self { folder, spool, reader, reckoned, direct, flushed, running: None }
    }

    /// One group of so many records.
    fn spool(&mut self, records: usize) {
        self.spool_with(records, "");
    }

    /// One group whose last record has this text.
    fn spool_with(&mut self, records: usize, text: &str) {
        // As the pipeline: event times go up and down, the receive time does not.
        self.spool_at(weir_models::time::now_us() / 1_000, records, text);
    }

    /// The same, received then.
    fn spool_at(&mut self, now_ms: i64, records: usize, text: &str) {
        let spool = self.spool.as_mut().unwrap();
        for n in 0..records {
            let key = format!("plant/pump-{}", n % 29);
            let text = if n + 1 == records { text } else { "" };
            let topic = TOPIC.into();
            spool.append(LANE, &topic, self.reckoned, key.as_bytes(), now_ms, |id, out| {
                let EventId { stream, seq } = id;
                let json = format!("{{\"stream\":\"{stream}\",\"seq\":{seq},\"v\":\"{text}\"}}");
                out.extend_from_slice(json.as_bytes());
            });
        }
        spool.flush().unwrap();
        self.flushed.send_modify(|flushes| *flushes += 1);
    }

    fn start(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let lanes = Lanes {
            clock: crate::clock::GatewayClock::right(),
            transport: self.direct.clone(),
            dead: Arc::new(DeadLetters::new(self.folder.path())),
            flushed: self.flushed.subscribe(),
            published: Arc::default(),
        };
        let lane = tokio::spawn(publish_lane(self.reader.take().unwrap(), lanes, stopped));
        self.running = Some((stop, lane));
    }

    fn waiting(&self) -> u64 {
        self.spool.as_ref().unwrap().stats(LANE).waiting_events
    }

    /// What the pipeline does with losses: each gets a marker, for which the checkpoint waits.
    fn tell_losses(&mut self) {
        let losses = self.spool.as_ref().unwrap().take_losses();
        for _ in losses {
            self.spool_with(1, "marker");
            self.spool.as_ref().unwrap().losses_are_told();
        }
    }

    /// Waits until Kafka has everything.
    async fn drained(&mut self) {
        let deadline = Instant::now() + SOON;
        while self.waiting() > 0 {
            let problem = || self.direct.status().problem;
            assert!(Instant::now() < deadline, "{} wait: {:?}", self.waiting(), problem());
            self.tell_losses();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The process is killed, and another one starts on the same folder.
    async fn killed(&mut self, brokers: &Brokers) {
        if let Some((_stop, lane)) = self.running.take() {
            lane.abort();
            let _ = lane.await;
        }
        (self.spool, self.reader) = (None, None);
        self.direct = direct(&brokers.address, self.folder.path());
        let (spool, reader) = open(self.folder.path());
        (self.spool, self.reader) = (Some(spool), Some(reader));
    }

    fn dead_letters(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("dead-letters.ndjson")).unwrap_or_default()
    }
}

/// What the sink makes of a log: a number that does not rise within a partition is dropped.
fn as_the_sink(logs: &[Vec<String>]) -> Vec<u64> {
    let mut taken = Vec::new();
    for log in logs {
        let mut highest = 0;
        for number in log.iter().map(|value| seq(value.as_bytes()).unwrap()) {
            if number > highest {
                taken.push(number);
                highest = number;
            }
        }
    }
    taken.sort_unstable();
    taken
}

/// Every record came, and in order.
#[track_caller]
fn check_all(brokers: &Brokers, records: u64) {
    let found = as_the_sink(&brokers.logs(TOPIC));
    assert_eq!(found, (1..=records).collect::<Vec<_>>());
}

/// Every record came, in order, in the partition of its key, and none twice.
#[track_caller]
fn check_once(brokers: &Brokers, records: u64) {
    check_all(brokers, records);
    let logs = brokers.logs(TOPIC);
    assert_eq!(logs.iter().map(Vec::len).sum::<usize>() as u64, records, "some came twice");
    let world = brokers.world();
    for (number, partition) in world.topics[TOPIC].iter().enumerate() {
        for (key, _) in &partition.log {
            assert_eq!(partition_for(key, logs.len() as u32), number as u32);
        }
    }
}

/// Publishes some groups while the brokers do that; answers what is left of both.
async fn published(script: &[Act]) -> (Brokers, Agent) {
    let brokers = Brokers::start(1, TOPIC, 4).await;
    let mut agent = Agent::new(&brokers, 4);
    brokers.script(script);
    for records in [40, 3, 2_600, 1, 90, 500] {
        agent.spool(records);
    }
    agent.start();
    agent.drained().await;
    (brokers, agent)
}

const RECORDS: u64 = 40 + 3 + 2_600 + 1 + 90 + 500;

#[tokio::test]
async fn groups_arrive_once_and_in_order() {
    let (brokers, mut agent) = published(&[]).await;
    check_once(&brokers, RECORDS);
    // An idle lane goes on with the same id.
    agent.spool(5);
    agent.drained().await;
    check_once(&brokers, RECORDS + 5);
    assert_eq!(brokers.world().ids, 1);
    assert_eq!(agent.direct.status().problem, None);
    assert_eq!(agent.direct.partitions(TOPIC), Some(4));
}

#[tokio::test]
async fn what_passes_is_sent_again_and_arrives_once() {
    let passing = [3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 45, 56, 72, 74, 75, 89, 100];
    let stubborn = [-1, 17, 29, 31, 33, 34, 35, 44, 54, 58, 12_345];
    let codes = passing.into_iter().chain(stubborn);
    let tests = codes.map(|code| async move {
        let script = [Act::Take, Act::Code(code), Act::Take, Act::Take, Act::Code(code)];
        let (brokers, agent) = published(&script).await;
        if code != 45 {
            check_once(&brokers, RECORDS);
            assert_eq!(brokers.world().ids, 1, "{code}");
        }
        check_all(&brokers, RECORDS);
        assert_eq!(agent.dead_letters(), "", "{code}");
        assert_eq!(agent.direct.status().problem, None, "{code}");
    });
    futures_util::future::join_all(tests).await;
}

#[tokio::test]
async fn a_producer_id_that_is_not_known_any_more_is_replaced() {
    for code in [47, 59, 90] {
        let (brokers, agent) = published(&[Act::Take, Act::Take, Act::Code(code)]).await;
        check_all(&brokers, RECORDS);
        assert_eq!(brokers.world().ids, if code == 59 { 1 } else { 2 }, "{code}");
        assert_eq!(agent.dead_letters(), "");
    }
}

#[tokio::test]
async fn a_lost_connection_loses_and_doubles_nothing() {
    for act in [Act::Close, Act::TakeAndClose] {
        let (brokers, _) = published(&[Act::Take, act, Act::Take, Act::Take, act, act]).await;
        check_once(&brokers, RECORDS);
    }
}

#[tokio::test]
async fn a_late_answer_and_none_lose_and_double_nothing() {
    let (brokers, _) = published(&[Act::Take, Act::Late(300), Act::Take, Act::Silent]).await;
    check_once(&brokers, RECORDS);
}

#[tokio::test]
async fn a_broker_that_wants_a_pause_gets_it() {
    let (brokers, _) = published(&[Act::Throttle(700)]).await;
    check_once(&brokers, RECORDS);
    let came = brokers.world().came.clone();
    assert!(came[1] - came[0] >= Duration::from_millis(700), "{:?}", came[1] - came[0]);
}

#[tokio::test]
async fn a_bad_record_is_put_aside_and_no_other() {
    for code in [2, 10, 18, 32, 76, 87] {
        let brokers = Brokers::start(1, TOPIC, 2).await;
        // No word that a stream may have in its name, which is hexadecimal.
        brokers.world().refuse = Some(("worst".into(), code));
        let mut agent = Agent::new(&brokers, 2);
        agent.spool(10);
        agent.spool_with(300, "worst one");
        agent.spool(70);
        agent.start();
        agent.drained().await;
        // The last one is the marker that tells of the loss.
        let mut expected: Vec<u64> = (1..=381).collect();
        expected.retain(|number| *number != 310);
        assert_eq!(as_the_sink(&brokers.logs(TOPIC)), expected, "{code}");
        let dead = agent.dead_letters();
        assert_eq!(dead.lines().count(), 1, "{dead}");
        assert!(dead.contains("worst one") && dead.contains("\\\"seq\\\":310"), "{dead}");
    }
}

#[tokio::test]
async fn a_record_that_is_put_aside_is_not_forgotten_by_a_kill() {
    let brokers = Brokers::start(1, TOPIC, 1).await;
    brokers.world().refuse = Some(("worst".into(), 10));
    let mut agent = Agent::new(&brokers, 1);
    agent.spool_with(64, "worst");
    agent.spool(64);
    // The whole batch, what follows it, and then some halves; the next answer never comes.
    brokers.script(&[Act::Take, Act::Take, Act::Take, Act::Take, Act::Silent]);
    agent.start();
    let halved = async {
        while brokers.world().requests < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, halved).await.unwrap();
    agent.killed(&brokers).await;
    agent.start();
    agent.drained().await;
    let mut expected: Vec<u64> = (1..=129).collect();
    expected.retain(|number| *number != 64);
    assert_eq!(as_the_sink(&brokers.logs(TOPIC)), expected);
    assert_eq!(agent.dead_letters().lines().count(), 1);
}

#[tokio::test]
async fn frames_for_another_number_of_partitions_come_where_they_belong() {
    for (reckoned, real) in [(4, 2), (4, 7), (1, 3), (6, 1)] {
        let brokers = Brokers::start(1, TOPIC, real).await;
        let mut agent = Agent::new(&brokers, reckoned);
        for records in [1, 900, 30] {
            agent.spool(records);
        }
        agent.start();
        agent.drained().await;
        check_once(&brokers, 931);
    }
}

#[tokio::test]
async fn a_topic_that_grows_is_filled_in_order() {
    let brokers = Brokers::start(1, TOPIC, 2).await;
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(100);
    agent.start();
    agent.drained().await;
    brokers.world().partitions(TOPIC, 5);
    agent.direct.cluster.refresh().await.unwrap();
    assert_eq!(agent.direct.partitions(TOPIC), Some(5));
    // Still reckoned with two, and then with five.
    agent.spool(200);
    agent.reckoned = 5;
    agent.spool(300);
    agent.drained().await;
    check_all(&brokers, 600);
    let logs = brokers.logs(TOPIC);
    assert_eq!(logs.iter().map(Vec::len).sum::<usize>(), 600);
    assert!(logs[2..].iter().all(|log| !log.is_empty()), "the new ones are used");
    assert_eq!(brokers.world().ids, 1);
}

/// Connections stay open, and nothing comes of them any more: those that are made later work.
#[tokio::test]
async fn a_broker_that_no_longer_answers_is_connected_to_anew() {
    let brokers = Brokers::start(1, TOPIC, 4).await;
    let mut agent = Agent::new(&brokers, 4);
    agent.spool(40);
    agent.start();
    agent.drained().await;
    brokers.world().is_deaf = true;
    agent.spool(700);
    problem(&agent, "answer").await;
    brokers.world().is_deaf = false;
    agent.spool(3);
    agent.drained().await;
    check_once(&brokers, 743);
    assert_eq!(agent.direct.status().problem, None);
    assert_eq!(brokers.world().ids, 1, "its sequences go on");
}

#[tokio::test]
async fn a_leader_that_moves_is_followed() {
    let brokers = Brokers::start(3, TOPIC, 4).await;
    let mut agent = Agent::new(&brokers, 4);
    agent.start();
    for round in 0..6 {
        agent.spool(400);
        if round % 2 == 0 {
            agent.drained().await;
        }
        for (at, partition) in brokers.world().topics.get_mut(TOPIC).unwrap().iter_mut().enumerate()
        {
            partition.leader = (round + at as i32) % 3 + 1;
        }
    }
    agent.drained().await;
    check_once(&brokers, 2_400);
    assert_eq!(brokers.world().ids, 1);
}

#[tokio::test]
async fn who_may_not_write_is_told_what_to_do_until_he_may() {
    let brokers = Brokers::start(1, TOPIC, 2).await;
    brokers.world().topic_code = 29;
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(3);
    agent.start();
    problem(&agent, "grant WRITE").await;
    brokers.world().topic_code = 0;
    brokers.script(&[Act::Code(29)]);
    agent.drained().await;
    check_once(&brokers, 3);
    assert_eq!(agent.direct.status().problem, None);
}

#[tokio::test]
async fn a_topic_that_is_missing_is_named_until_it_is_there() {
    let brokers = Brokers::start(1, TOPIC, 0).await;
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(3);
    agent.start();
    problem(&agent, "create the topic").await;
    brokers.world().partitions(TOPIC, 2);
    agent.drained().await;
    check_once(&brokers, 3);
}

#[tokio::test]
async fn a_producer_id_that_is_refused_is_asked_for_again() {
    let brokers = Brokers::start(1, TOPIC, 2).await;
    brokers.world().id_codes.extend([14, 15, 31]);
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(3);
    agent.start();
    problem(&agent, "IDEMPOTENT_WRITE").await;
    agent.drained().await;
    check_once(&brokers, 3);
}

/// Waits until the status tells this.
async fn problem(agent: &Agent, text: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let problem = agent.direct.status().problem.unwrap_or_default();
        if problem.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "the status tells {problem:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_batch_that_fails_first_is_not_overtaken_by_the_next() {
    // The broker does not know us yet, so it would take any sequence.
    let brokers = Brokers::start(1, TOPIC, 1).await;
    let mut agent = Agent::new(&brokers, 1);
    for _ in 0..4 {
        agent.spool(10);
    }
    brokers.script(&[Act::Code(19)]);
    agent.start();
    agent.drained().await;
    check_once(&brokers, 40);
}

#[tokio::test]
async fn single_records_go_past_the_spool() {
    let brokers = Brokers::start(1, "t.agents", 3).await;
    let folder = tempfile::tempdir().unwrap();
    let direct = direct(&brokers.address, folder.path());
    brokers.script(&[Act::Code(6), Act::Close, Act::Take, Act::Code(87)]);
    direct.send("t.agents", b"gateway", b"{}").await.unwrap();
    let key = partition_for(b"gateway", 3) as usize;
    assert_eq!(brokers.logs("t.agents")[key], ["{}"]);
    let refused = direct.send("t.agents", b"gateway", b"{}").await;
    assert!(refused.unwrap_err().to_string().contains("INVALID_RECORD"));
    direct.send("t.agents", b"gateway", b"{}").await.unwrap();
    assert_eq!(direct.status().problem, None);
}
