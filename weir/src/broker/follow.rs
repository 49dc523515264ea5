//! Compacted topics: followed from their beginning, and rewritten when they have grown.
//!
//! In: a topic with one partition. Out: every record, then each change; and a log that holds about
//! one record a key. Rewriting appends the newest record of each key again, with its own time and author and
//! the offset at which it was new, and deletes what lies before: readers that see a record twice take it as the
//! same news. A record that comes meanwhile stays the newest of its key. A topic whose newest records alone are many
//! is rewritten when it has doubled.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_agent::publish::Followed;
use weir_agent::spool::log::{LogError, LogReader};
use weir_models::topic::Topic;
use weir_models::wire::{BatchView, MAX_RAW_BYTES, Records, WireError};
use weir_sink::consume::{BY, author};

use super::publish::batch_of;
use super::{Broker, COMPACT_ABOVE_BYTES, Partition, SEGMENT_BYTES};

/// Records that a follower may have told before they are taken.
pub(super) const TOLD_MAX: usize = 1_000;

/// Header of a record that was written again: the offset at which it was new.
const AGAIN: &str = "again";
/// Records that are written again at a time; who appends waits so long.
const AGAIN_AT_ONCE: usize = 256;

/// A record as the log has it.
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) ts_ms: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// Who changed a device, on the topic of metadata.
    pub(super) by: Option<Box<str>>,
    /// The offset at which it was new, where it was written again.
    pub(super) again: Option<u64>,
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
            let header = |wanted: &str| {
                let mut headers = record.headers.iter();
                headers.find(|(name, _)| *name == wanted).and_then(|(_, value)| *value)
            };
            let again = header(AGAIN).and_then(|value| std::str::from_utf8(value).ok());
            out.push(Stored {
                offset,
                ts_ms: record.ts_ms,
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
                by: author(header(BY)),
                again: again.and_then(|offset| offset.parse().ok()),
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

    pub(super) fn compact(&self, topic: Topic) -> Result<(), LogError> {
        let Some(partition) = self.partition(topic, 0) else { return Ok(()) };
        if partition.lock().bytes() <= partition.due_above.load(Relaxed) {
            return Ok(());
        }
        let rewritten = self.rewrite(topic, partition);
        let bytes = partition.lock().bytes();
        let due_above = match rewritten {
            Ok(()) => COMPACT_ABOVE_BYTES.max(2 * bytes),
            // What failed has left copies: not again and again.
            Err(_) => bytes + SEGMENT_BYTES,
        };
        partition.due_above.store(due_above, Relaxed);
        rewritten
    }

    /// Writes the newest record of each key again, and gives back what lies before.
    pub(super) fn rewrite(&self, topic: Topic, partition: &Partition) -> Result<(), LogError> {
        let begin = partition.lock().next_ordinal();
        let mut newest: BTreeMap<Bytes, Stored> = BTreeMap::new();
        let mut reader = partition.reader();
        let mut catch_up = |newest: &mut BTreeMap<Bytes, Stored>| {
            while let Some(records) = next_records(&mut reader, 0)? {
                let keyed = records
                    .into_iter()
                    .map(|mut record| (record.key.take().unwrap_or_default(), record));
                newest.extend(keyed);
            }
            Ok::<_, LogError>(())
        };
        catch_up(&mut newest)?;
        let keys: Vec<Bytes> = newest.keys().cloned().collect();
        for keys in keys.chunks(AGAIN_AT_ONCE) {
            let mut log = partition.lock();
            // What came meanwhile is newer and stays; what is written again must not come behind it.
            catch_up(&mut newest)?;
            for key in keys {
                let Some(record) = newest.get(key).filter(|record| record.offset < begin) else {
                    continue;
                };
                let again = record.again.unwrap_or(record.offset).to_string();
                let by = record.by.as_deref().map(|by| (BY, by.as_bytes()));
                let headers: Vec<_> = by.into_iter().chain([(AGAIN, again.as_bytes())]).collect();
                // A deletion is told once more: a follower may have been away when it was new.
                let batch = batch_of(record.ts_ms, key, record.value.as_deref(), &headers);
                partition.append_to(&mut log, self.names.name(topic), 0, 1, &batch)?;
            }
        }
        let mut log = partition.lock();
        log.sync(0)?;
        log.delete_below(begin);
        Ok(())
    }
}
