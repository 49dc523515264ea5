//! The embedded broker: topics as segmented logs of Kafka record batches on disk.
//!
//! In: the agent's flush groups and the sink's single records. Out: records by partition and
//! offset, for one consumer group of one member. It is the spool's own log
//! ([`weir_agent::spool::log`]) with offsets for ordinals, so the same code recovers it. Promises:
//! what was acknowledged is synced; offsets rise by one for each record; a committed offset
//! survives a kill and a power cut. Records that the group has committed are deleted segment by
//! segment; compacted topics are rewritten with the newest record of each key. It has no network:
//! agent and sink live in the same process.

mod consume;
mod follow;
mod positions;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use weir_agent::spool::log::{FrameHead, GroupBuilder, Log, LogError, LogReader};
use weir_models::topic::{Topic, TopicNames};

use positions::{Positions, PositionsError};

pub use consume::Member;
pub use publish::Embedded;

/// Segment size; space is given back in such pieces.
const SEGMENT_BYTES: u64 = 8 << 20;
/// How often what was appended is synced; an acknowledgement waits for it.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Partitions of each data topic: enough for the order of keys to matter as it does on a cluster.
const PARTITIONS: u32 = 4;
/// A compacted topic above this size is rewritten: then there are whole segments to give back.
const COMPACT_ABOVE_BYTES: u64 = 2 * SEGMENT_BYTES;

/// The broker cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder cannot be made.
    #[error("cannot make `{0}`: {1}; set the data folder to one that this user may write")]
    Folder(PathBuf, std::io::Error),
    /// A log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The committed positions cannot be read.
    #[error(transparent)]
    Positions(#[from] PositionsError),
}

/// A partition.
#[derive(Debug)]
struct Partition {
    log: Mutex<Log>,
    /// Offset after the last record appended, told to the readers.
    end: watch::Sender<u64>,
    /// Offset after the last record synced, told to those who wait for an acknowledgement.
    synced: watch::Sender<u64>,
    /// Size above which it is rewritten next, where its topic is compacted.
    due_above: AtomicU64,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    names: TopicNames,
    topics: BTreeMap<Topic, Vec<Partition>>,
    positions: Mutex<Positions>,
}

/// A place of an append, to wait for until it is synced.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    topic: Topic,
    partition: u32,
    end: u64,
}

impl Broker {
    /// Opens all topics under `dir`, or begins them, and starts to sync them.
    ///
    /// # Errors
    /// Folders or files that cannot be read or written; never because of what is in them.
    pub fn open(dir: &Path, names: TopicNames) -> Result<Arc<Self>, OpenError> {
        let positions = Positions::open(&dir.join("positions.json"))?;
        let mut topics = BTreeMap::new();
        for topic in Topic::ALL {
            let count = if topic.is_data() { PARTITIONS } else { 1 };
            let partitions = (0..count).map(|number| {
                let path = dir.join("topics").join(format!("{}-{number}", topic.suffix()));
                std::fs::create_dir_all(&path)
                    .map_err(|error| OpenError::Folder(path.clone(), error))?;
                let mut log = Log::open(&path, SEGMENT_BYTES)?;
                // Records are read before they are synced: a power cut may take what was committed
                // already, and what comes in its place must not lie below the committed offset.
                log.raise_next(positions.next(topic, number));
                Ok(Partition::new(log))
            });
            topics.insert(topic, partitions.collect::<Result<_, OpenError>>()?);
        }
        let broker = Arc::new(Self { names, topics, positions: Mutex::new(positions) });
        broker.compact_grown();
        let syncing = Arc::downgrade(&broker);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SYNC_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(broker) = syncing.upgrade() else { return };
                // A sync may take long on a slow disk.
                let _ = tokio::task::spawn_blocking(move || {
                    broker.sync();
                    broker.compact_grown();
                })
                .await;
            }
        });
        Ok(broker)
    }

    fn partition(&self, topic: Topic, number: u32) -> Option<&Partition> {
        self.topics.get(&topic)?.get(usize::try_from(number).ok()?)
    }

    /// Appends one batch of so many records.
    fn append(
        &self,
        topic: Topic,
        number: u32,
        records: u32,
        batch: &[u8],
    ) -> Result<Ticket, LogError> {
        // Topics and partitions are fixed when the broker opens, and callers ask how many there are.
        let Some(partition) = self.partition(topic, number) else {
            unreachable!("partition {number} of {topic:?}")
        };
        let end = partition.append(self.names.name(topic), number, records, batch)?;
        Ok(Ticket { topic, partition: number, end })
    }

    /// Waits until everything up to the tickets is on the disk.
    async fn synced(&self, tickets: &[Ticket]) {
        for ticket in tickets {
            if let Some(partition) = self.partition(ticket.topic, ticket.partition) {
                let mut synced = partition.synced.subscribe();
                // The sender lives in `self`, so this ends by the condition alone.
                let _ = synced.wait_for(|synced| *synced >= ticket.end).await;
            }
        }
    }

    fn sync(&self) {
        for partition in self.topics.values().flatten() {
            partition.sync();
        }
    }

    /// Gives back the space of a data topic below the committed offset.
    fn delete_below(&self, topic: Topic, number: u32, offset: u64) {
        if let Some(partition) = self.partition(topic, number).filter(|_| topic.is_data()) {
            partition.lock().delete_below(offset);
        }
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.topics.values().flatten().map(|partition| partition.lock().bytes()).sum()
    }

    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partition {
    fn new(log: Log) -> Self {
        let end = log.next_ordinal();
        let (log, due_above) = (Mutex::new(log), AtomicU64::new(COMPACT_ABOVE_BYTES));
        Self { log, end: watch::Sender::new(end), synced: watch::Sender::new(end), due_above }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> LogReader {
        self.lock().reader()
    }

    /// Answers the offset after the last record.
    fn append(
        &self,
        topic: &Arc<str>,
        number: u32,
        records: u32,
        batch: &[u8],
    ) -> Result<u64, LogError> {
        self.append_to(&mut self.lock(), topic, number, records, batch)
    }

    /// Appends to the log that is held.
    fn append_to(
        &self,
        log: &mut Log,
        topic: &Arc<str>,
        number: u32,
        records: u32,
        batch: &[u8],
    ) -> Result<u64, LogError> {
        let first = log.next_ordinal();
        let end = first + u64::from(records);
        let head = FrameHead {
            topic: topic.clone(),
            partition: number,
            flags: 0,
            first,
            last: end - 1,
            records,
        };
        let mut group = GroupBuilder::default();
        group.frame(&head, |out| out.extend_from_slice(batch));
        log.append(&group)?;
        self.end.send_replace(end);
        Ok(end)
    }

    fn sync(&self) {
        let mut log = self.lock();
        let end = log.next_ordinal();
        if *self.synced.borrow() >= end {
            return;
        }
        match log.sync(0) {
            Ok(()) => drop(self.synced.send_replace(end)),
            // Whoever waits for it goes on waiting: nothing is acknowledged that is not safe.
            Err(error) => tracing::error!(%error, "cannot sync a topic"),
        }
    }
}
