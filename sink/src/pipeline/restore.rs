//! Restore: a partition becomes ours or is let go.
//!
//! In: assignments and revocations. Out: the partition's state, with the duplicate memory exactly as
//! it was at the committed offset: the committed note is the path of an object, its manifest holds
//! the memory. Promises: no record of the partition is taken before the memory is there; nothing of
//! it is on its way to the archive any more when its revocation is answered: the next owner writes under the same names. A put
//! that takes too long is given up, of a request that the store has already it may still see the end.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use weir_models::metric::SINK_PARTITIONS;

use super::{Held, LettingGo, PutDone, Restored, Run, SinkError};
use crate::archive::Archive;
use crate::backoff::Backoff;
use crate::consume::{Committed, Partition};
use crate::decode::dedupe::{Bounds, Dedupe};
use crate::fault::{self, Point};
use crate::status::{Part, Status};

/// How long a revocation waits for an object that is on its way. Less than the consumer keeps the partition back for.
const PUT_WITHIN: Duration = Duration::from_secs(20);

/// How long a memory may take to be read before that is told.
const READ_WITHIN: Duration = Duration::from_secs(30);

impl Run {
    pub(super) fn assigned(&mut self, partition: Partition, committed: Option<Committed>) {
        self.last_epoch += 1;
        let epoch = self.last_epoch;
        self.epochs.insert(partition, epoch);
        self.ledger.revoke(partition);
        self.closed.remove(&partition);
        self.show_partitions();
        tracing::info!(
            topic = partition.topic.suffix(),
            partition = partition.number,
            offset = committed.as_ref().map(|committed| committed.offset),
            "partition assigned"
        );
        let next = committed.as_ref().map(|committed| committed.offset);
        match committed {
            Some(committed) if partition.topic.is_data() && !committed.note.is_empty() => {
                let (archive, status) = (self.archive.clone(), Arc::clone(&self.status));
                let bounds = self.settings.dedupe;
                let reading = self.restoring.spawn(async move {
                    let (dedupe, from) = read_memory(&archive, &committed, bounds, &status).await;
                    Restored { partition, epoch, committed, dedupe, from }
                });
                let records = Vec::new();
                self.held.insert(partition, Held { records, reading });
            }
            _ => {
                let dedupe = partition.topic.is_data();
                let dedupe = dedupe.then(|| Dedupe::new(self.settings.dedupe));
                if let Some(intake) = &mut self.intake {
                    intake.assign(partition, dedupe, String::new(), next, next);
                }
            }
        }
    }

    /// The duplicate memory of a partition is there: its records go on.
    pub(super) async fn restored(&mut self, restored: Restored) -> Result<(), SinkError> {
        fault::passed(Point::Restored);
        let Restored { partition, epoch, committed, dedupe, from } = restored;
        if self.epochs.get(&partition) != Some(&epoch) {
            return Ok(());
        }
        if let Some(intake) = &mut self.intake {
            let next = Some(committed.offset);
            intake.assign(partition, Some(dedupe), committed.note, Some(from), next);
        }
        match self.held.remove(&partition) {
            Some(held) => self.take(held.records).await,
            None => Ok(()),
        }
    }

    pub(super) fn revoked(&mut self, partitions: Vec<Partition>, done: oneshot::Sender<()>) {
        fault::passed(Point::HandoverBefore);
        for &partition in &partitions {
            tracing::info!(
                topic = partition.topic.suffix(),
                partition = partition.number,
                "partition revoked"
            );
            self.epochs.remove(&partition);
            if let Some(held) = self.held.remove(&partition) {
                held.reading.abort();
            }
            self.closed.remove(&partition);
            self.ledger.revoke(partition);
            if let Some(intake) = &mut self.intake {
                intake.revoke(partition);
            }
        }
        self.show_partitions();
        let until = Instant::now() + PUT_WITHIN;
        self.letting_go.push(LettingGo { partitions, done, until });
        self.answer_let_go();
    }

    /// Answers the revocations of which nothing is on its way any more.
    fn answer_let_go(&mut self) {
        let waiting = std::mem::take(&mut self.letting_go);
        for letting_go in waiting {
            let busy = letting_go.partitions.iter();
            if busy.clone().any(|partition| self.putting.contains_key(partition)) {
                self.letting_go.push(letting_go);
            } else if letting_go.done.send(()).is_err() {
                tracing::warn!("the group did not wait for the partitions to be let go");
            } else {
                fault::passed(Point::HandoverAfter);
            }
        }
    }

    /// Gives up the objects for which a revocation has waited long enough. It is answered when they have ended.
    pub(super) fn give_up_puts(&mut self) {
        let now = Instant::now();
        let late = self.letting_go.iter().filter(|letting_go| letting_go.until <= now);
        for partition in late.flat_map(|letting_go| &letting_go.partitions) {
            let Some(put) = self.putting.get(partition).filter(|put| !put.is_aborted()) else {
                continue;
            };
            tracing::warn!(
                topic = partition.topic.suffix(),
                partition = partition.number,
                "an object takes too long to be archived and is given up: the next owner of its partition writes it"
            );
            put.abort();
        }
    }

    /// An attempt to write an object has ended.
    pub(super) fn put_ended(&mut self, done: PutDone) {
        self.putting.remove(&done.partition);
        match done.written {
            Some(true) => self.archive_backoff.worked(),
            Some(false) => self.archive_backoff.failed(Instant::now()),
            None => {}
        }
        if self.epochs.get(&done.partition) == Some(&done.epoch) {
            if done.written == Some(true) {
                self.ledger.archived(done.partition, done.next);
                self.drop_written(done.partition);
            }
        } else {
            self.answer_let_go();
        }
    }

    fn show_partitions(&self) {
        gauge!(SINK_PARTITIONS.name).set(self.epochs.len() as f64);
    }
}

/// Reads the memory back, and where the last object ends; goes on until the archive answers.
async fn read_memory(
    archive: &Archive,
    committed: &Committed,
    bounds: Bounds,
    status: &Status,
) -> (Dedupe, i64) {
    let mut backoff = Backoff::default();
    loop {
        let mut reading = std::pin::pin!(archive.manifest(&committed.note));
        let read = match timeout(READ_WITHIN, &mut reading).await {
            Ok(read) => read,
            Err(_) => {
                // No partition goes on meanwhile.
                let object = &committed.note;
                let slow =
                    format!("the manifest of `{object}` is not read yet; the sink waits for it");
                status.problem(Part::Archive, slow);
                reading.await
            }
        };
        let manifest = match read {
            Ok(manifest) => manifest,
            Err(error) => {
                status.problem(Part::Archive, error.to_string());
                backoff.failed(Instant::now());
                sleep_until(backoff.until(Instant::now())).await;
                continue;
            }
        };
        status.fine(Part::Archive);
        // A memory from beyond the offset would drop records as duplicates that nobody has stored:
        // better to have a resent one twice than a new one not at all.
        let found = manifest.filter(|manifest| manifest.next_offset <= committed.offset);
        return if let Some(manifest) = found {
            (Dedupe::restore(bounds, &manifest.dedupe), manifest.next_offset)
        } else {
            tracing::error!(
                object = committed.note,
                offset = committed.offset,
                "the archive has no manifest for the committed offset; the partition goes on \
                 without a memory, what an agent sends again now is archived twice"
            );
            (Dedupe::new(bounds), committed.offset)
        };
    }
}
