//! Steps: what the loop does between two waits: take records in, start writes, close objects, commit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::abortable;
use metrics::{counter, gauge};
use parquet::errors::ParquetError;
use tokio::time::Instant;
use weir_models::metric::{
    SINK_ARCHIVE_BYTES, SINK_ARCHIVE_ERRORS, SINK_ARCHIVE_OBJECTS, SINK_ARCHIVED, SINK_COMMITS,
    SINK_DELAY, SINK_STORE_ERRORS,
};
use weir_models::time::now_us;

use super::intake::{Closed, Intake, Now};
use super::work::Work;
use super::{PutDone, Run, SinkError};
use crate::archive::{Archive, Sealed};
use crate::consume::{ConsumeError, Partition, Record};
use crate::fault::{self, Point};
use crate::status::{Part, Status};

/// Objects on their way to the archive at once, over all partitions.
const PUTS_MAX: usize = 4;
/// Shortest time between two commits.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// Time between two commits when only topics that are not archived moved.
const COMMIT_SLOWLY_EVERY: Duration = Duration::from_secs(1);

fn now() -> Now {
    Now { instant: Instant::now(), ms: now_us() / 1_000 }
}

impl Run {
    /// Runs something on the intake, and on the work being gathered, on a blocking thread: decoding
    /// and compressing take longer than a task may hold up others.
    pub(super) async fn with_intake(
        &mut self,
        act: impl FnOnce(&mut Intake, &mut Work) -> Result<Vec<Closed>, ParquetError> + Send + 'static,
    ) -> Result<Vec<Closed>, SinkError> {
        let Some(mut intake) = self.intake.take() else {
            return Ok(Vec::new());
        };
        let mut work = std::mem::take(&mut self.gathering);
        let (intake, work, closed) = tokio::task::spawn_blocking(move || {
            let closed = act(&mut intake, &mut work);
            (intake, work, closed)
        })
        .await?;
        self.intake = Some(intake);
        self.gathering = work;
        Ok(closed?)
    }

    pub(super) async fn take(&mut self, records: Vec<Record>) -> Result<(), SinkError> {
        if self.stop_by.is_some() {
            return Ok(());
        }
        let mut ours = Vec::with_capacity(records.len());
        for record in records {
            if let Some(held) = self.held.get_mut(&record.partition) {
                held.records.push(record);
            } else if self.epochs.contains_key(&record.partition) {
                ours.push(record);
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        fault::passed(Point::Taken);
        if self.gathering.records == 0 {
            self.gathering_since = Instant::now();
        }
        let watched = self.live.receiver_count() > 0;
        let now = now();
        let closed =
            self.with_intake(move |intake, work| intake.take(ours, work, watched, now)).await?;
        let taken = std::mem::take(&mut self.gathering.taken);
        for (partition, (first, next)) in taken {
            if !self.ledger.knows(partition) {
                self.ledger.assign(partition, first);
            }
            let ticket = self.gathering.ticket;
            self.ledger.took(ticket, partition, first, next);
        }
        self.add_closed(closed);
        Ok(())
    }

    pub(super) async fn close_due(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        if self.intake.as_ref().is_some_and(|intake| intake.is_due(now)) {
            let closed = self.with_intake(move |intake, _| intake.close_due(now)).await?;
            self.add_closed(closed);
        }
        Ok(())
    }

    pub(super) fn add_closed(&mut self, closed: Vec<Closed>) {
        for end in closed {
            let empty = end.object.is_none();
            self.ledger.closed(end.partition, end.next, end.note.clone(), empty);
            if !empty {
                self.closed.entry(end.partition).or_default().push_back(end);
            }
        }
    }

    pub(super) fn start_write(&mut self) {
        let now = Instant::now();
        if !self.writing.is_empty() || !self.store_backoff.ready(now) {
            return;
        }
        let gathered = self.gathering.records >= self.settings.batch_records
            || now >= self.gathering_since + self.settings.gather
            || self.stop_by.is_some();
        let mut work = if let Some(failed) = self.failed.take() {
            failed
        } else if self.gathering.records > 0 && gathered {
            self.last_ticket += 1;
            std::mem::replace(&mut self.gathering, Work::new(self.last_ticket))
        } else {
            return;
        };
        let (store, producer) = (Arc::clone(&self.store), Arc::clone(&self.producer));
        let (names, status) = (self.settings.topics.clone(), Arc::clone(&self.status));
        self.writing.spawn(async move {
            let safe = work.attempt(&*store, &*producer, &names, &status).await;
            (work, safe)
        });
    }

    /// A write has ended.
    pub(super) fn wrote(&mut self, work: Work, safe: bool) {
        if !safe {
            counter!(SINK_STORE_ERRORS.name).increment(1);
            self.store_backoff.failed(Instant::now());
            self.failed = Some(work);
            return;
        }
        self.store_backoff.worked();
        self.ledger.stored(work.ticket);
        if let Some(received_us) = work.received_us {
            gauge!(SINK_DELAY.name).set((now_us() - received_us) as f64 / 1e6);
        }
        for live in work.live {
            // Nobody watching is no error.
            let _ = self.live.send(live);
        }
    }

    /// Starts to write the objects whose turn it is.
    pub(super) fn start_puts(&mut self) {
        if !self.archive_backoff.ready(Instant::now()) {
            return;
        }
        for (&partition, waiting) in &self.closed {
            if self.puts.len() >= PUTS_MAX {
                return;
            }
            let (Some(epoch), Some(front)) = (self.epochs.get(&partition), waiting.front()) else {
                continue;
            };
            let Some(object) = &front.object else {
                continue;
            };
            // An object of an earlier time may still be on its way: never two at once.
            let turn = self.ledger.turn(partition) == Some(front.next);
            if !turn || self.putting.contains_key(&partition) {
                continue;
            }
            let (epoch, next, object) = (*epoch, front.next, Arc::clone(object));
            let (archive, status) = (self.archive.clone(), Arc::clone(&self.status));
            let (attempt, handle) = abortable(async move { put(&archive, &object, &status).await });
            self.putting.insert(partition, handle);
            self.puts.spawn(async move {
                let written = attempt.await.ok();
                PutDone { partition, epoch, next, written }
            });
        }
    }

    /// The front object of the partition is in the archive: its memory is free again.
    pub(super) fn drop_written(&mut self, partition: Partition) {
        if let Some(waiting) = self.closed.get_mut(&partition) {
            waiting.pop_front();
            if waiting.is_empty() {
                self.closed.remove(&partition);
            }
        }
    }

    pub(super) async fn commit_ready(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        let since = now.duration_since(self.committed_at);
        let stopping = self.stop_by.is_some();
        if !self.commit_backoff.ready(now) || (since < COMMIT_EVERY && !stopping) {
            return Ok(());
        }
        let ready = self.ledger.ready();
        let archived = ready.iter().any(|(partition, _)| partition.topic.is_data());
        if ready.is_empty() || (since < COMMIT_SLOWLY_EVERY && !archived && !stopping) {
            return Ok(());
        }
        self.committed_at = now;
        if archived {
            fault::passed(Point::CommitBefore);
        }
        match self.consumer.commit(&ready).await {
            Ok(()) => {
                fault::passed(Point::CommitAfter);
                self.commit_backoff.worked();
                self.ledger.committed(&ready);
                for (partition, _) in &ready {
                    counter!(SINK_COMMITS.name, "topic" => partition.topic.suffix()).increment(1);
                }
                Ok(())
            }
            Err(ConsumeError::Fatal(why)) => Err(ConsumeError::Fatal(why).into()),
            Err(error) => {
                // A partition that was lost is revoked with the next polls; the others are tried again.
                tracing::warn!(%error, "offsets not committed, will try again");
                self.commit_backoff.failed(now);
                Ok(())
            }
        }
    }
}

async fn put(archive: &Archive, object: &Sealed, status: &Status) -> bool {
    match archive.put(object).await {
        Ok(()) => {
            counter!(SINK_ARCHIVE_OBJECTS.name).increment(1);
            counter!(SINK_ARCHIVED.name).increment(object.manifest.rows);
            counter!(SINK_ARCHIVE_BYTES.name).increment(object.manifest.bytes);
            status.fine(Part::Archive);
            true
        }
        Err(error) => {
            counter!(SINK_ARCHIVE_ERRORS.name).increment(1);
            status.problem(Part::Archive, error.to_string());
            false
        }
    }
}
