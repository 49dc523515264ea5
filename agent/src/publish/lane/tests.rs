#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use weir_models::wire::{BatchView, MAX_RAW_BYTES};

use super::*;
use crate::publish::{
    Begun, Delivered, Delivery, Followed, PublishError, Refused, TransportStatus,
};
use crate::spool::{Group, Lane, Spool, SpoolConfig};

/// Does with each group in turn what the script says, and keeps what it took. As the contract
/// asks, it takes nothing of an epoch in which something failed.
#[derive(Default)]
struct Scripted {
    epoch: AtomicU64,
    script: Mutex<VecDeque<Act>>,
    taken: Mutex<Vec<String>>,
    /// What it was given at each beginning.
    states: Mutex<Vec<String>>,
    forgotten: Mutex<Vec<u64>>,
    /// Groups of this strand never end.
    stuck: Option<u64>,
}

enum Act {
    FailAtOnce,
    BeginAgain,
    Fail,
    Refuse,
}

fn values(group: &Group) -> Vec<String> {
    let mut out = Vec::new();
    for frame in &group.frames {
        let (batch, _) = BatchView::parse(&frame.batch).unwrap();
        for record in batch.records(MAX_RAW_BYTES).unwrap().iter() {
            out.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    out
}

#[async_trait]
impl Transport for Scripted {
    fn partitions(&self, _: &str) -> Option<u32> {
        None
    }

    /// Counts the beginnings in the state that it asks to store.
    async fn begin(&self, _: Strand, state: &[u8]) -> Result<Begun, PublishError> {
        self.states.lock().unwrap().push(String::from_utf8(state.to_vec()).unwrap());
        let begun = self.states.lock().unwrap().len();
        let state = Some(format!("begun {begun}").into());
        Ok(Begun { epoch: self.epoch.load(Ordering::Relaxed), state })
    }

    async fn publish(
        &self,
        strand: Strand,
        epoch: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError> {
        if self.stuck == Some(strand.number) {
            return Ok(Box::pin(std::future::pending()));
        }
        if epoch != self.epoch.load(Ordering::Relaxed) {
            return Err(PublishError::Failed("another epoch has begun".into()));
        }
        let state = Bytes::from(values(&group).concat());
        let delivered = |refused| Ok(Delivered { refused, state });
        let act = self.script.lock().unwrap().pop_front();
        let end = match act {
            None => {
                self.taken.lock().unwrap().extend(values(&group));
                delivered(Vec::new())
            }
            Some(Act::FailAtOnce) => {
                self.epoch.fetch_add(1, Ordering::Relaxed);
                return Err(PublishError::Failed("no producer".into()));
            }
            Some(Act::BeginAgain) => {
                return Err(PublishError::BeginAgain("a new topic".into()));
            }
            Some(Act::Fail) => {
                self.epoch.fetch_add(1, Ordering::Relaxed);
                Err(PublishError::Failed("no broker".into()))
            }
            Some(Act::Refuse) => delivered(vec![Refused {
                topic: "t".into(),
                key: Bytes::new(),
                value: values(&group).concat().into(),
                id: None,
                reason: "too large".into(),
            }]),
        };
        Ok(Box::pin(async move { end }))
    }

    fn forget(&self, strand: Strand) {
        self.forgotten.lock().unwrap().push(strand.number);
    }

    async fn send(&self, _: &str, _: &[u8], _: &[u8]) -> Result<(), PublishError> {
        Ok(())
    }

    fn follow(&self, _: &str) -> mpsc::Receiver<Followed> {
        mpsc::channel(1).1
    }

    fn status(&self) -> TransportStatus {
        TransportStatus::default()
    }
}

fn fill(dir: &Path, values: &[&str]) -> (Spool, LaneReader) {
    let (mut spool, readers) = Spool::open(dir, &SpoolConfig::default()).unwrap();
    for value in values {
        spool.append(Lane::Rest, &"t".into(), 1, b"k", 0, |_, out| {
            out.extend_from_slice(value.as_bytes());
        });
        spool.flush().unwrap();
    }
    let [.., rest] = readers;
    (spool, rest)
}

/// Publishes until `taken` has arrived, then stops.
async fn run(dir: &Path, reader: LaneReader, transport: &Arc<Scripted>, taken: usize) {
    let (_flush, flushed) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let lanes = Lanes {
        clock: crate::clock::GatewayClock::right(),
        transport: transport.clone(),
        dead: Arc::new(DeadLetters::new(dir)),
        flushed,
        published: Arc::default(),
    };
    let published = lanes.published.clone();
    let lane = tokio::spawn(publish_lane(reader, lanes, stopped));
    while transport.taken.lock().unwrap().len() < taken
        || published.load(Ordering::Relaxed) < taken as u64
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(true).unwrap();
    lane.await.unwrap();
}

/// Three strands with the values `0a` to `0f`, `1a` to `1f` and so on, the first of each acknowledged.
fn three_strands(dir: &Path) -> (Spool, LaneReader) {
    let (mut spool, [.., mut first]) = Spool::open(dir, &SpoolConfig::default()).unwrap();
    let mut later = first.later().unwrap();
    let mut readers = vec![first];
    for minute in 0..3 {
        for letter in 'a'..='f' {
            spool.append(Lane::Rest, &"t".into(), 1, b"k", minute * 60_000, |_, out| {
                out.extend_from_slice(format!("{minute}{letter}").as_bytes());
            });
            spool.flush().unwrap();
        }
        readers.extend(std::iter::from_fn(|| later.try_recv().ok()));
        let newest = readers.last_mut().unwrap();
        let group = newest.next_group().unwrap().unwrap();
        newest.next_group().unwrap();
        newest.acknowledge(group.end).unwrap();
    }
    assert_eq!(readers.len(), 3);
    drop((spool, readers));
    let (spool, [.., reader]) = Spool::open(dir, &SpoolConfig::default()).unwrap();
    (spool, reader)
}

#[tokio::test]
async fn the_newest_strand_goes_beside_the_oldest_and_what_is_between_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, reader) = three_strands(dir.path());
    let values = |strand: u64| ('b'..='f').map(move |letter| format!("{strand}{letter}"));
    let transport = Arc::new(Scripted { stuck: Some(0), ..Scripted::default() });
    run(dir.path(), reader, &transport, 5).await;
    assert_eq!(*transport.taken.lock().unwrap(), values(2).collect::<Vec<_>>());
    assert!(transport.forgotten.lock().unwrap().is_empty());
    drop(spool);

    let (mut spool, [.., reader]) = Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
    let transport = Arc::new(Scripted::default());
    run(dir.path(), reader, &transport, 10).await;
    assert_eq!(*transport.taken.lock().unwrap(), values(0).chain(values(1)).collect::<Vec<_>>());
    assert_eq!(*transport.forgotten.lock().unwrap(), [0u64, 1]);
    spool.flush().unwrap();
    assert_eq!(spool.stats(Lane::Rest).waiting_events, 0);
    assert_eq!(spool.streams(Lane::Rest).count(), 1, "published backlogs are gone");
}

#[tokio::test]
async fn after_a_failure_the_lane_begins_again_at_its_checkpoint_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_spool, reader) = fill(dir.path(), &["a", "b", "c", "d", "e", "f"]);
    let transport = Arc::new(Scripted::default());
    transport.script.lock().unwrap().extend([Act::Fail, Act::FailAtOnce, Act::Fail]);
    run(dir.path(), reader, &transport, 6).await;
    assert_eq!(*transport.taken.lock().unwrap(), ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn what_is_refused_is_kept_aside_and_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, reader) = fill(dir.path(), &["bad", "good"]);
    let transport = Arc::new(Scripted::default());
    transport.script.lock().unwrap().push_back(Act::Refuse);
    run(dir.path(), reader, &transport, 1).await;
    assert_eq!(*transport.taken.lock().unwrap(), ["good"]);
    let dead = std::fs::read_to_string(dir.path().join("dead-letters.ndjson")).unwrap();
    assert!(dead.contains("\"bad\"") && dead.contains("too large"), "{dead}");
    assert_eq!(spool.stats(Lane::Rest).waiting_events, 0);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, reader) = fill(dir.path(), &["a", "b"]);
    drop((spool, reader));
    let (_spool, readers) = Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
    let [.., reader] = readers;
    let transport = Arc::new(Scripted::default());
    run(dir.path(), reader, &transport, 2).await;
    assert_eq!(*transport.taken.lock().unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn what_the_transport_has_to_know_lies_beside_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, reader) = fill(dir.path(), &["a", "b", "c", "d"]);
    let transport = Arc::new(Scripted::default());
    // It fails, begins anew at the transport's wish, and then all goes.
    transport.script.lock().unwrap().extend([Act::FailAtOnce, Act::BeginAgain]);
    run(dir.path(), reader, &transport, 4).await;
    assert_eq!(*transport.taken.lock().unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(*transport.states.lock().unwrap(), ["", "begun 1", "begun 2"]);
    drop(spool);
    let (_spool, readers) = Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
    let [.., reader] = readers;
    assert_eq!(reader.state(), b"d");
}
