//! Work: what goes to the store and to the dead letters in one go.
//!
//! In: what `intake` made of some records. Out: one attempt to make it safe ([`Work::attempt`]).
//! Promises: what was done in an attempt that failed half-way is remembered, rows are idempotent,
//! so attempts may be repeated until one succeeds.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use metrics::counter;
use weir_models::metric::{SINK_DEAD_LETTERS, SINK_STORED};
use weir_models::topic::{Topic, TopicNames};

use crate::commit::Ticket;
use crate::consume::{Partition, ProduceError, Producer, RETRIED, Record};
use crate::decode::Poison;
use crate::fault::{self, Point};
use crate::live::Live;
use crate::status::{Part, Status};
use crate::store::{Batch, Store};

/// A record that cannot be taken.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) partition: Partition,
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) reason: String,
    pub(super) label: &'static str,
    /// How often it was sent again before.
    pub(super) retried: u32,
}

impl DeadLetter {
    /// The record, which is `poison`.
    pub(super) fn of(record: Record, poison: &Poison) -> Self {
        Self {
            partition: record.partition,
            offset: record.offset,
            reason: poison.to_string(),
            label: poison.label(),
            key: record.key,
            value: record.value,
            retried: record.retried,
        }
    }
}

/// What goes to the store in one go.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) ticket: Ticket,
    /// Records that were taken for it, duplicates and dead letters included.
    pub(super) records: usize,
    /// Bytes of their keys and values.
    pub(super) bytes: usize,
    /// What was taken since the ledger was told: first offset and the one after the last.
    pub(super) taken: BTreeMap<Partition, (i64, i64)>,
    pub(super) batch: Batch,
    pub(super) dead: VecDeque<DeadLetter>,
    /// Told to whoever watches once all is stored.
    pub(super) live: Vec<Live>,
    /// Newest receive time at a gateway, microseconds since the Unix epoch.
    pub(super) received_us: Option<i64>,
    stored: bool,
}

impl Work {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { ticket, ..Self::default() }
    }

    /// Notes that a record was taken for it.
    pub(super) fn took(&mut self, record: &Record) {
        self.records += 1;
        self.bytes += record.bytes();
        let next = record.offset + 1;
        self.taken.entry(record.partition).or_insert((record.offset, next)).1 = next;
    }

    /// Tries to make all of it safe; says whether it is.
    pub(super) async fn attempt(
        &mut self,
        store: &dyn Store,
        producer: &dyn Producer,
        names: &TopicNames,
        status: &Status,
    ) -> bool {
        if !self.stored {
            fault::passed(Point::StoreBefore);
            if !self.batch.is_empty()
                && let Err(error) = store.write(&self.batch).await
            {
                status.problem(Part::Store, error.to_string());
                return false;
            }
            fault::passed(Point::StoreAfter);
            self.stored = true;
            self.count_rows();
            status.fine(Part::Store);
        }
        while let Some(letter) = self.dead.front() {
            if let Err(error) = send(letter, producer, names).await {
                status.problem(Part::DeadLetters, error.to_string());
                return false;
            }
            counter!(SINK_DEAD_LETTERS.name, "reason" => letter.label).increment(1);
            self.dead.pop_front();
            status.fine(Part::DeadLetters);
        }
        true
    }

    fn count_rows(&self) {
        for (table, rows) in [
            ("readings", self.batch.readings.len()),
            ("logs", self.batch.logs.len()),
            ("alerts", self.batch.alerts.len()),
            ("devices", self.batch.devices.len()),
            ("agents", self.batch.agents.len()),
            ("losses", self.batch.losses.len()),
            ("feedback", self.batch.feedback.len()),
        ] {
            if rows > 0 {
                counter!(SINK_STORED.name, "table" => table).increment(rows as u64);
            }
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.readings.is_empty()
            && self.logs.is_empty()
            && self.alerts.is_empty()
            && self.devices.is_empty()
            && self.agents.is_empty()
            && self.losses.is_empty()
            && self.audits.is_empty()
            && self.feedback.is_empty()
    }
}

/// Sends a dead letter. One that Kafka refuses is sent without its value, and given up if that
/// does not help: it must not hold up its partition for ever.
async fn send(
    letter: &DeadLetter,
    producer: &dyn Producer,
    names: &TopicNames,
) -> Result<(), ProduceError> {
    let topic = names.name(letter.partition.topic);
    let (partition, offset) = (letter.partition.number.to_string(), letter.offset.to_string());
    let retried = letter.retried.to_string();
    let mut headers = vec![
        ("reason", letter.reason.as_bytes()),
        ("topic", topic.as_bytes()),
        ("partition", partition.as_bytes()),
        ("offset", offset.as_bytes()),
    ];
    if letter.retried > 0 {
        headers.push((RETRIED, retried.as_bytes()));
    }
    let key = letter.key.as_deref().unwrap_or_default();
    for value in [letter.value.as_deref(), None] {
        match producer.send(Topic::Dlq, key, value, &headers).await {
            Ok(()) => {
                let reason = &letter.reason;
                tracing::warn!(%topic, partition, offset, reason, "sent to the dead letters");
                return Ok(());
            }
            Err(error @ ProduceError::Retry(_)) => return Err(error),
            Err(error @ ProduceError::Refused(_)) => {
                let whole = value.is_some();
                tracing::error!(%topic, partition, offset, whole, %error, "dead letter refused");
            }
        }
    }
    Ok(())
}
