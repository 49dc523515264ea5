//! Handover: from the thread that polls Kafka to the pipeline.
//!
//! In: changes of the assignment and records, from the polling thread. Out: what
//! [`Consumer::poll`](super::Consumer::poll) answers. Promises: bounded by count and bytes ([`Handover::is_full`]
//! tells the thread to pause); changes come before the records that follow them; when a partition is
//! taken away, its records that still wait here are dropped, so a revocation never stands in line
//! behind records.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Committed, ConsumeError, Partition, Polled, Record};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most records that wait.
    pub(super) records: usize,
    /// Most bytes that wait.
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Polled>,
    records: VecDeque<Record>,
    bytes: usize,
    owned: BTreeSet<Partition>,
    fatal: Option<String>,
}

/// What waits for the pipeline.
#[derive(Debug)]
pub(super) struct Handover {
    bounds: Bounds,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    left: Condvar,
}

impl Handover {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, waiting: Mutex::default(), arrived: Notify::default(), left: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change below leaves the queues whole, so a panic elsewhere does not spoil them.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition is ours.
    pub(super) fn assigned(&self, partition: Partition, committed: Option<Committed>) {
        let mut waiting = self.lock();
        waiting.owned.insert(partition);
        let change = Polled::Assigned(partition, committed);
        waiting.changes.push_back(change);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Partitions are no longer ours; the answer comes when the pipeline has let go of them.
    pub(super) fn revoked(&self, partitions: Vec<Partition>) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        let mut waiting = self.lock();
        for partition in &partitions {
            waiting.owned.remove(partition);
        }
        waiting.records.retain(|record| !partitions.contains(&record.partition));
        waiting.bytes = waiting.records.iter().map(Record::bytes).sum();
        waiting.changes.push_back(Polled::Revoked(partitions, done));
        drop(waiting);
        self.arrived.notify_one();
        answer
    }

    /// A record; the pipeline is woken by [`Handover::wake`].
    pub(super) fn push(&self, record: Record) {
        let mut waiting = self.lock();
        waiting.bytes += record.bytes();
        waiting.records.push_back(record);
    }

    /// Tells the pipeline that there is something.
    pub(super) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn fail(&self, why: String) {
        self.lock().fatal = Some(why);
        self.arrived.notify_one();
    }

    /// Whether to stop reading.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.lock();
        waiting.records.len() >= self.bounds.records || waiting.bytes >= self.bounds.bytes
    }

    /// Whether to go on reading: half of it is gone.
    pub(super) fn is_drained(&self) -> bool {
        self.is_half_empty(&self.lock())
    }

    fn is_half_empty(&self, waiting: &Waiting) -> bool {
        waiting.records.len() <= self.bounds.records / 2 && waiting.bytes <= self.bounds.bytes / 2
    }

    /// Waits until half of it is gone, at most for `patience`.
    pub(super) fn wait_until_drained(&self, patience: Duration) {
        let is_full = |waiting: &mut Waiting| !self.is_half_empty(waiting);
        // How it ended is asked for afterwards; a panic elsewhere leaves the queues whole.
        drop(self.left.wait_timeout_while(self.lock(), patience, is_full));
    }

    /// Whether all of these are ours.
    pub(super) fn owns(&self, mut partitions: impl Iterator<Item = Partition>) -> bool {
        let waiting = self.lock();
        partitions.all(|partition| waiting.owned.contains(&partition))
    }

    /// What waits, at most `max` records; waits for it when there is nothing. May be dropped at any
    /// time: nothing is taken out before it is answered.
    pub(super) async fn take(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Polled>, ConsumeError> {
        let until = Instant::now() + wait;
        loop {
            let taken = self.take_now(max)?;
            if !taken.is_empty() || timeout_at(until, self.arrived.notified()).await.is_err() {
                return Ok(taken);
            }
        }
    }

    fn take_now(&self, max: usize) -> Result<Vec<Polled>, ConsumeError> {
        let mut waiting = self.lock();
        if let Some(why) = &waiting.fatal {
            return Err(ConsumeError::Fatal(why.clone()));
        }
        let mut taken: Vec<Polled> = waiting.changes.drain(..).collect();
        let count = max.min(waiting.records.len());
        if count > 0 {
            let records: Vec<Record> = waiting.records.drain(..count).collect();
            waiting.bytes -= records.iter().map(Record::bytes).sum::<usize>();
            taken.push(Polled::Records(records));
            self.left.notify_one();
        }
        Ok(taken)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use weir_models::topic::Topic;

    const BOUNDS: Bounds = Bounds { records: 1_000, bytes: 1 << 20 };

    fn record(number: i32, offset: i64) -> Record {
        Record {
            partition: partition(number),
            offset,
            ts_ms: 0,
            key: None,
            value: Some(bytes::Bytes::from_static(b"x")),
            retried: 0,
            by: None,
            again: None,
        }
    }

    fn partition(number: i32) -> Partition {
        Partition { topic: Topic::Logs, number }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_overtakes_the_records_of_its_partition() {
        let handover = Handover::new(BOUNDS);
        handover.assigned(partition(0), None);
        handover.assigned(partition(1), None);
        handover.push(record(0, 1));
        handover.push(record(1, 1));
        let mut answer = handover.revoked(vec![partition(0)]);
        let taken = handover.take(10, Duration::ZERO).await.unwrap();
        let [
            Polled::Assigned(..),
            Polled::Assigned(..),
            Polled::Revoked(gone, _),
            Polled::Records(records),
        ] = &taken[..]
        else {
            panic!("{taken:?}");
        };
        assert_eq!(gone, &[partition(0)]);
        assert_eq!(records, &[record(1, 1)]);
        assert!(answer.try_recv().is_err());
        assert!(handover.owns([partition(1)].into_iter()));
        assert!(!handover.owns([partition(1), partition(0)].into_iter()));
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_room_only_changes_come() {
        let handover = Handover::new(BOUNDS);
        handover.push(record(0, 1));
        handover.wake();
        assert!(handover.take(0, Duration::from_secs(1)).await.unwrap().is_empty());
        handover.assigned(partition(1), None);
        let taken = handover.take(0, Duration::from_secs(1)).await.unwrap();
        assert!(matches!(taken[..], [Polled::Assigned(..)]));
        let taken = handover.take(5, Duration::from_secs(1)).await.unwrap();
        assert!(matches!(taken[..], [Polled::Records(_)]));
    }

    #[tokio::test]
    async fn who_fills_it_waits_until_half_of_it_is_gone() {
        let handover = std::sync::Arc::new(Handover::new(BOUNDS));
        for offset in 0..BOUNDS.records {
            handover.push(record(0, i64::try_from(offset).unwrap()));
        }
        handover.wait_until_drained(Duration::from_millis(1));
        assert!(handover.is_full(), "nobody took anything");
        let filling = std::sync::Arc::clone(&handover);
        let filler = std::thread::spawn(move || {
            filling.wait_until_drained(Duration::from_secs(600));
            filling.lock().records.len()
        });
        for _ in 0..4 {
            handover.take(BOUNDS.records / 8, Duration::ZERO).await.unwrap();
        }
        let left = tokio::task::spawn_blocking(|| filler.join().unwrap()).await.unwrap();
        assert_eq!(left, BOUNDS.records / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_full_at_its_bound_and_drained_at_half_of_it() {
        let handover = Handover::new(BOUNDS);
        for offset in 0..BOUNDS.records {
            assert!(!handover.is_full());
            handover.push(record(0, i64::try_from(offset).unwrap()));
        }
        assert!(handover.is_full());
        handover.take(BOUNDS.records / 2 - 1, Duration::ZERO).await.unwrap();
        assert!(!handover.is_drained());
        handover.take(1, Duration::ZERO).await.unwrap();
        assert!(handover.is_drained());
        handover.take(BOUNDS.records, Duration::ZERO).await.unwrap();
        assert_eq!(handover.lock().bytes, 0);
    }
}
