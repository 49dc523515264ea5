//! Pipeline: consume → decode → store and archive → commit, for as long as the sink runs.
//!
//! In: a consumer, a producer for dead letters, a store, an archive. Out: nothing but their contents.
//! One loop owns all state; everything that waits (a write to the store, an object on its way to
//! the archive, the duplicate memory being read back) is one attempt in a task of its own, and the
//! loop decides what comes next:
//!
//! ```text
//!  poll ──▶ intake ──▶ gathering ──▶ one write at a time ──▶ ledger ──▶ commit
//!             └──────▶ closed objects, one per partition at a time ──▶ ┘
//! ```
//!
//! Promises: an offset is committed when store and archive both have everything below it (`commit`
//! has the rules); writes to the store keep the order of the records; a store, an archive or a Kafka
//! that is away stops progress, fills bounded memory, and loses nothing: tries go on with growing
//! waits, `/readyz` says what is wrong, the group is not left. A record that nobody can take goes to
//! the dead letters. Told to stop, the sink finishes what it has taken, within a bound. What can go
//! wrong for good: Kafka refuses for a reason that only a change of the configuration helps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::AbortHandle as PutHandle;
use parquet::errors::ParquetError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use weir_models::topic::TopicNames;

use crate::archive::{Archive, CloseAt};
use crate::backoff::Backoff;
use crate::commit::{Ledger, Ticket};
use crate::consume::{Committed, ConsumeError, Consumer, Partition, Polled, Producer, Record};
use crate::decode::dedupe::{Bounds, Dedupe};
use crate::live::Live;
use crate::status::{Part, Status};
use crate::store::Store;

mod intake;
mod restore;
mod steps;
mod work;

use intake::{Closed, Intake};
use work::Work;

/// What of the configuration the pipeline needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of the topics.
    pub topics: TopicNames,
    /// Records that are taken at a time, and that make a write to the store due.
    pub batch_records: usize,
    /// How long rows are gathered before they are written.
    pub gather: Duration,
    /// Bytes of records that are gathered at most while a write runs. The store is written to with less
    /// work a row the more rows of a partition come together, so a backlog fills this.
    pub gather_bytes: usize,
    /// When an archive object is closed.
    pub close: CloseAt,
    /// Memory for archive objects, open and on their way.
    pub archive_memory_bytes: usize,
    /// How much of past streams is remembered.
    pub dedupe: Bounds,
    /// How long a stop may take.
    pub stop_within: Duration,
}

/// The sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Kafka refuses for good.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// Rows could not be written as Parquet: a defect.
    #[error("cannot make an archive object, please report this: {0}")]
    Encode(#[from] ParquetError),
    /// A task ended without an answer: a defect.
    #[error("a part of the pipeline broke down, please report this: {0}")]
    Defect(#[from] JoinError),
}

/// The pipeline, ready to run.
pub struct Sink {
    settings: Settings,
    consumer: Box<dyn Consumer>,
    producer: Arc<dyn Producer>,
    store: Arc<dyn Store>,
    archive: Archive,
    live: broadcast::Sender<Live>,
    status: Arc<Status>,
}

impl Sink {
    /// Puts the pipeline together.
    #[must_use]
    pub fn new(
        settings: Settings,
        consumer: Box<dyn Consumer>,
        producer: Arc<dyn Producer>,
        store: Arc<dyn Store>,
        archive: Archive,
        live: broadcast::Sender<Live>,
        status: Arc<Status>,
    ) -> Self {
        Self { settings, consumer, producer, store, archive, live, status }
    }

    /// Runs until `stop` becomes true or its sender is gone; then finishes what was taken and leaves the
    /// group.
    ///
    /// # Errors
    /// When the sink cannot go on; what was not committed comes again at the next start.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), SinkError> {
        let mut run = Run::new(self, stop);
        let result = run.until_stopped().await;
        // Whoever gets the partitions writes under the same names.
        run.puts.shutdown().await;
        let Run { consumer, .. } = run;
        // Leaving the group waits for the broker, so it is done where waiting is allowed.
        tokio::task::spawn_blocking(move || drop(consumer)).await?;
        result
    }
}

/// An object on its way to the archive.
struct PutDone {
    partition: Partition,
    epoch: u64,
    next: i64,
    /// None when it was given up.
    written: Option<bool>,
}

/// Records that wait for the duplicate memory of their partition.
struct Held {
    records: Vec<Record>,
    reading: AbortHandle,
}

/// The duplicate memory of a partition was read back.
struct Restored {
    partition: Partition,
    epoch: u64,
    committed: Committed,
    dedupe: Dedupe,
    /// Where the partition's last object ends.
    from: i64,
}

/// Partitions that are to be let go, and who waits for it.
struct LettingGo {
    partitions: Vec<Partition>,
    done: oneshot::Sender<()>,
    /// When what is still on its way is given up.
    until: Instant,
}

/// The state of a running pipeline.
struct Run {
    settings: Settings,
    consumer: Box<dyn Consumer>,
    producer: Arc<dyn Producer>,
    store: Arc<dyn Store>,
    archive: Archive,
    live: broadcast::Sender<Live>,
    status: Arc<Status>,
    stop: watch::Receiver<bool>,
    stop_by: Option<Instant>,

    /// None only while it is on the blocking thread.
    intake: Option<Intake>,
    ledger: Ledger,
    /// Rows that wait for their write, and since when.
    gathering: Work,
    gathering_since: Instant,
    last_ticket: Ticket,
    /// The write that runs; at most one, so that the order is kept.
    writing: JoinSet<(Work, bool)>,
    /// The write that failed and is tried again.
    failed: Option<Work>,
    store_backoff: Backoff,

    /// A number for each time a partition became ours.
    epochs: BTreeMap<Partition, u64>,
    last_epoch: u64,
    /// Records of partitions whose duplicate memory is still being read.
    held: BTreeMap<Partition, Held>,
    restoring: JoinSet<Restored>,

    closed: BTreeMap<Partition, VecDeque<Closed>>,
    putting: BTreeMap<Partition, PutHandle>,
    puts: JoinSet<PutDone>,
    archive_backoff: Backoff,
    letting_go: Vec<LettingGo>,

    poll_backoff: Backoff,
    commit_backoff: Backoff,
    committed_at: Instant,
}

impl Run {
    fn new(sink: Sink, stop: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let intake = Intake::new(
            sink.settings.topics.clone(),
            sink.settings.close,
            sink.settings.archive_memory_bytes / 2,
        );
        Self {
            settings: sink.settings,
            consumer: sink.consumer,
            producer: sink.producer,
            store: sink.store,
            archive: sink.archive,
            live: sink.live,
            status: sink.status,
            stop,
            stop_by: None,
            intake: Some(intake),
            ledger: Ledger::default(),
            gathering: Work::new(1),
            gathering_since: now,
            last_ticket: 1,
            writing: JoinSet::new(),
            failed: None,
            store_backoff: Backoff::default(),
            epochs: BTreeMap::new(),
            last_epoch: 0,
            held: BTreeMap::new(),
            restoring: JoinSet::new(),
            closed: BTreeMap::new(),
            putting: BTreeMap::new(),
            puts: JoinSet::new(),
            archive_backoff: Backoff::default(),
            letting_go: Vec::new(),
            poll_backoff: Backoff::default(),
            commit_backoff: Backoff::default(),
            committed_at: now,
        }
    }

    async fn until_stopped(&mut self) -> Result<(), SinkError> {
        loop {
            self.status.moved();
            self.close_due().await?;
            self.start_write();
            self.start_puts();
            self.give_up_puts();
            self.commit_ready().await?;
            if let Some(stop_by) = self.stop_by {
                if self.ledger.is_done() && self.gathering.records == 0 {
                    tracing::info!("stopped, everything that was taken is committed");
                    return Ok(());
                }
                if stop_by <= Instant::now() {
                    tracing::warn!("stopped in time; what is not committed comes again");
                    return Ok(());
                }
            }
            self.wait().await?;
        }
    }

    /// Waits for the next thing to happen, at most for one poll.
    async fn wait(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        let (want, wait) = (self.room(), self.poll_wait(now));
        let poll_from = self.poll_backoff.until(now);
        let stopping = self.stop_by.is_some();
        tokio::select! {
            biased;
            // A sender that is gone means stop, too.
            () = async { let _ = self.stop.wait_for(|stop| *stop).await; }, if !stopping => {
                self.begin_stop().await?;
            }
            Some(done) = self.writing.join_next() => {
                let (work, safe) = done?;
                self.wrote(work, safe);
            }
            Some(done) = self.puts.join_next() => self.put_ended(done?),
            Some(done) = self.restoring.join_next() => match done {
                Ok(restored) => self.restored(restored).await?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(error.into()),
            },
            polled = async {
                tokio::time::sleep_until(poll_from).await;
                self.consumer.poll(want, wait).await
            } => self.polled(polled).await?,
            () = tokio::time::sleep(wait) => {}
        }
        Ok(())
    }

    /// How many records there is room for. None while a memory is being read back (records of that
    /// partition would pile up), while the store is behind, or while the archive's budget is used up.
    fn room(&self) -> usize {
        let full = self.gathering.bytes >= self.settings.gather_bytes
            || self.archive_bytes() > self.settings.archive_memory_bytes;
        if full || !self.restoring.is_empty() || self.stop_by.is_some() {
            0
        } else {
            self.settings.batch_records
        }
    }

    fn archive_bytes(&self) -> usize {
        let closed = self.closed.values().flatten();
        let objects = closed.filter_map(|closed| closed.object.as_ref());
        let waiting: usize = objects.map(|object| object.data.len()).sum();
        waiting + self.intake.as_ref().map_or(0, Intake::memory_bytes)
    }

    fn poll_wait(&self, now: Instant) -> Duration {
        let longest = if self.stop_by.is_some() { 20 } else { 100 };
        let longest = Duration::from_millis(longest);
        if self.gathering.records == 0 {
            return longest;
        }
        let gathered = self.gathering_since + self.settings.gather;
        let until = gathered.max(self.store_backoff.until(now));
        let least = Duration::from_millis(1);
        until.saturating_duration_since(now).clamp(least, longest)
    }

    async fn begin_stop(&mut self) -> Result<(), SinkError> {
        tracing::info!("stopping: finishing what was taken");
        self.stop_by = Some(Instant::now() + self.settings.stop_within);
        self.held.clear();
        let closed = self.with_intake(|intake, _| intake.close_all()).await?;
        self.add_closed(closed);
        Ok(())
    }

    async fn polled(&mut self, polled: Result<Vec<Polled>, ConsumeError>) -> Result<(), SinkError> {
        let changes = match polled {
            Ok(changes) => {
                if self.poll_backoff.failing() {
                    self.status.fine(Part::Kafka);
                    self.poll_backoff.worked();
                }
                changes
            }
            Err(ConsumeError::Fatal(why)) => return Err(ConsumeError::Fatal(why).into()),
            Err(error) => {
                self.status.problem(Part::Kafka, error.to_string());
                self.poll_backoff.failed(Instant::now());
                return Ok(());
            }
        };
        for change in changes {
            match change {
                Polled::Assigned(partition, committed) => self.assigned(partition, committed),
                Polled::Revoked(partitions, done) => self.revoked(partitions, done),
                Polled::Records(records) => self.take(records).await?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
