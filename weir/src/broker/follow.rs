//! Compacted topics: followed from their beginning, and rewritten when they have grown.
//!
//! In: a topic with one partition. Out: every record, then each change; and a log that holds about
//! one record a key. Rewriting appends the newest record of each key again and deletes what lies
//! before: readers that see a record twice take it as the same news.

use std::collections::BTreeMap;
use std::sync::Weak;

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_agent::publish::Followed;
use weir_agent::spool::log::{LogError, LogReader};
use weir_models::topic::Topic;
use weir_models::wire::{BatchView, MAX_RAW_BYTES, Records, WireError};
use weir_sink::consume::{BY, author};

use super::{Broker, COMPACT_ABOVE_BYTES};

/// Records that a follower may have told before they are taken.
pub(super) const TOLD_MAX: usize = 1_000;

/// A record as the log has it.
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) ts_ms: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// Who changed a device, on the topic of metadata.
    pub(super) by: Option<Box<str>>,
}

/// The records of the next group from `from` on; none when there is no further group. A batch that
/// is damaged is passed over: the log counts it.
pub(super) fn next_records(
    reader: &mut LogReader,
    from: u64,
) -> Result<Option<Vec<Stored>>, LogError> {
    let Some(group) = reader.next_group()? else { return Ok(None) };
    let mut out = Vec::new();
    for frame in group.frames {
        let read = BatchView::parse(&frame.batch)
            .and_then(|(batch, _)| batch.records(MAX_RAW_BYTES))
            .and_then(|records| unpack(&records, frame.head.first, from, &mut out));
        if let Err(error) = read {
            tracing::error!(%error, topic = %frame.head.topic, offset = frame.head.first,
                "an unreadable batch is passed over");
        }
    }
    Ok(Some(out))
}

/// Appends the records from offset `from` on; the first one has the offset `first`.
fn unpack(
    records: &Records<'_>,
    first: u64,
    from: u64,
    out: &mut Vec<Stored>,
) -> Result<(), WireError> {
    for (offset, record) in (first..).zip(records.iter()) {
        let record = record?;
        if offset >= from {
            out.push(Stored {
                offset,
                ts_ms: record.ts_ms,
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
                by: record
                    .headers
                    .iter()
                    .find(|(name, _)| *name == BY)
                    .and_then(|(_, value)| author(*value)),
            });
        }
    }
    Ok(())
}

/// Tells all records of a topic and then each change.
pub(super) async fn follow(broker: Weak<Broker>, topic: Topic, told: mpsc::Sender<Followed>) {
    let Some((mut reader, mut end)) = broker.upgrade().and_then(|broker| {
        let partition = broker.partition(topic, 0)?;
        Some((partition.reader(), partition.end.subscribe()))
    }) else {
        return;
    };
    loop {
        match next_records(&mut reader, 0) {
            Ok(Some(records)) => {
                for record in records {
                    let key = record.key.unwrap_or_default();
                    if told.send(Followed::Record { key, value: record.value }).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, ?topic, "cannot follow the topic"),
        }
        if told.send(Followed::InStep).await.is_err() {
            return;
        }
        // In step means "as of now", so it is told again while nothing changes.
        let again = tokio::time::sleep(std::time::Duration::from_secs(5));
        tokio::select! {
            changed = end.changed() => if changed.is_err() { return },
            () = again => {}
            () = told.closed() => return,
        }
    }
}

impl Broker {
    /// Rewrites the compacted topics that have grown. One that cannot be rewritten stays as it is.
    pub(super) fn compact_grown(&self) {
        for topic in Topic::ALL.into_iter().filter(|topic| topic.compacted()) {
            if let Err(error) = self.compact(topic) {
                tracing::error!(%error, ?topic, "cannot rewrite the topic");
            }
        }
    }

    fn compact(&self, topic: Topic) -> Result<(), LogError> {
        let Some(partition) = self.partition(topic, 0) else { return Ok(()) };
        if partition.lock().bytes() <= COMPACT_ABOVE_BYTES {
            return Ok(());
        }
        let begin = partition.lock().next_ordinal();
        let mut newest: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        let mut reader = partition.reader();
        while let Some(records) = next_records(&mut reader, 0)? {
            for record in records {
                newest.insert(record.key.unwrap_or_default(), record.value);
            }
        }
        for (key, value) in &newest {
            // A deletion is told once more: a follower may have been away when it was new.
            if let Err(error) = self.append_record(topic, key, value.as_deref(), &[]) {
                tracing::error!(error, ?topic, "cannot rewrite the topic, it stays as it is");
                return Ok(());
            }
        }
        let mut log = partition.lock();
        log.sync(0)?;
        log.delete_below(begin);
        Ok(())
    }
}
