//! Intake: what becomes of each record: rows, archive rows, dead letters.
//!
//! In: records of the partitions that are ours, in the order of their offsets. Out: rows and dead letters
//! added to a [`Work`], and [`Closed`] archive objects. No IO; it uses the processor and runs
//! on a blocking thread. Promises: each record is accounted for once, in order; a duplicate goes
//! nowhere; an object ends with the duplicate memory as it was at its end. Memory is bounded: beside some open objects
//! that are written as their rows come those of further partitions wait packed, and when all together hold more than their
//! budget, the largest are closed first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parquet::errors::ParquetError;
use tokio::time::Instant;
use weir_models::event::Reader;
use weir_models::metric::{SINK_CONSUMED, SINK_DUPLICATES};
use weir_models::topic::{Topic, TopicNames};

use super::work::{DeadLetter, Work};
use crate::archive::{CloseAt, Open, Row, RowBody, Sealed};
use crate::consume::{Partition, Record};
use crate::decode::dedupe::Dedupe;
use crate::decode::{Decoded, add_event, decode};
use crate::live::Live;

/// Memory a row takes for each byte of its JSON, roughly: text twice (raw and message) and the
/// structures around it.
const ROW_BYTES_PER_JSON_BYTE: usize = 2;
const ROW_BYTES: usize = 512;

/// So many objects are written as their rows come; those of further partitions wait packed.
const WRITTEN_MAX: usize = 8;

/// An end in a partition: everything before `next` is accounted for.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) partition: Partition,
    pub(super) next: i64,
    /// Path of the partition's last object, this one included.
    pub(super) note: String,
    /// None when there was nothing to keep.
    pub(super) object: Option<Arc<Sealed>>,
}

struct Lane {
    dedupe: Option<Dedupe>,
    open: Option<Open>,
    /// The last object of the partition.
    note: String,
    /// Below this everything was taken.
    next: Option<i64>,
    /// Below this the partition's objects account for everything.
    from: Option<i64>,
    /// Offsets since then that never came.
    skipped: u64,
    /// Since when something was taken that no end accounts for.
    since: Option<Instant>,
}

/// The wall clock at one moment, in both of its forms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) ms: i64,
}

/// How a record is taken.
#[derive(Clone, Copy, Debug)]
struct How {
    /// Somebody looks at what comes.
    watched: bool,
    /// An object that begins with it waits packed.
    packed: bool,
    now: Now,
}

/// The state of all partitions that are ours.
pub(super) struct Intake {
    names: TopicNames,
    close: CloseAt,
    memory_bytes_max: usize,
    lanes: BTreeMap<Partition, Lane>,
    reader: Reader,
}

impl Intake {
    pub(super) fn new(names: TopicNames, close: CloseAt, memory_bytes_max: usize) -> Self {
        Self { names, close, memory_bytes_max, lanes: BTreeMap::new(), reader: Reader::default() }
    }

    /// A partition is ours. `dedupe` is its duplicate memory, none where nothing is archived; `note`
    /// the path of its last object and `from` where that ends; `next` the first offset to take where it
    /// is known.
    pub(super) fn assign(
        &mut self,
        partition: Partition,
        dedupe: Option<Dedupe>,
        note: String,
        from: Option<i64>,
        next: Option<i64>,
    ) {
        let lane = Lane { dedupe, open: None, note, next, from, skipped: 0, since: None };
        self.lanes.insert(partition, lane);
    }

    pub(super) fn revoke(&mut self, partition: Partition) {
        self.lanes.remove(&partition);
    }

    /// Takes records in. Records of partitions that are not ours are left out.
    pub(super) fn take(
        &mut self,
        records: Vec<Record>,
        work: &mut Work,
        watched: bool,
        now: Now,
    ) -> Result<Vec<Closed>, ParquetError> {
        let mut closed = Vec::new();
        let mut consumed: BTreeMap<Topic, u64> = BTreeMap::new();
        let mut written = self.lanes.values().filter(|lane| lane.is_written()).count();
        for record in records {
            let partition = record.partition;
            let Some(lane) = self.lanes.get_mut(&partition) else {
                continue;
            };
            if lane.next.is_some_and(|next| record.offset < next) {
                continue;
            }
            *consumed.entry(partition.topic).or_insert(0) += 1;
            if lane.open.as_ref().is_some_and(|open| open.ends_before(record.ts_ms)) {
                closed.extend(lane.close(partition)?);
            }
            let (was_written, packed) = (lane.is_written(), written >= WRITTEN_MAX);
            let how = How { watched, packed, now };
            lane.take(record, &self.names, &mut self.reader, work, how)?;
            written += usize::from(!was_written && lane.is_written());
            if lane.open.as_ref().is_some_and(|open| open.full(self.close)) {
                closed.extend(lane.close(partition)?);
            }
        }
        for (topic, records) in consumed {
            counter!(SINK_CONSUMED.name, "topic" => topic.suffix()).increment(records);
        }
        closed.extend(self.close_due(now.instant)?);
        Ok(closed)
    }

    /// Closes what is due by age or size, and the largest while the budget is exceeded.
    pub(super) fn close_due(&mut self, now: Instant) -> Result<Vec<Closed>, ParquetError> {
        let mut closed = Vec::new();
        for (&partition, lane) in &mut self.lanes {
            let open_due = lane.open.as_ref().is_some_and(|open| open.due(now, self.close));
            if open_due || lane.waits_longer_than(self.close.age, now) {
                closed.extend(lane.close(partition)?);
            }
        }
        while self.memory_bytes() > self.memory_bytes_max {
            let largest = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.memory_bytes());
            let Some((&partition, lane)) = largest else {
                break;
            };
            closed.extend(lane.close(partition)?);
        }
        Ok(closed)
    }

    /// Closes everything.
    pub(super) fn close_all(&mut self) -> Result<Vec<Closed>, ParquetError> {
        let mut closed = Vec::new();
        for (&partition, lane) in &mut self.lanes {
            closed.extend(lane.close(partition)?);
        }
        Ok(closed)
    }

    /// Whether [`Intake::close_due`] would close anything.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.lanes.values().any(|lane| {
            let open = lane.open.as_ref();
            open.is_some_and(|open| open.due(now, self.close))
                || lane.waits_longer_than(self.close.age, now)
        })
    }

    /// About how many bytes all open objects hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.lanes.values().map(Lane::memory_bytes).sum()
    }
}

impl Lane {
    fn take(
        &mut self,
        record: Record,
        names: &TopicNames,
        reader: &mut Reader,
        work: &mut Work,
        how: How,
    ) -> Result<(), ParquetError> {
        let How { watched, packed, now } = how;
        let partition = record.partition;
        let next = record.offset + 1;
        let expected = self.next.replace(next).unwrap_or(record.offset);
        self.skipped += u64::try_from(record.offset - expected).unwrap_or(0);
        self.from.get_or_insert(record.offset);
        self.since.get_or_insert(now.instant);
        work.took(&record);
        let decoded = match decode(&record, reader) {
            Ok(decoded) => decoded,
            Err(poison) => {
                work.dead.push_back(DeadLetter::of(record, &poison));
                return Ok(());
            }
        };
        if let (Some(dedupe), Some(id)) = (&mut self.dedupe, decoded.event_id())
            && !dedupe.takes(id, record.retried > 0, record.ts_ms, now.ms)
        {
            counter!(SINK_DUPLICATES.name, "topic" => partition.topic.suffix()).increment(1);
            return Ok(());
        }
        let json = record.value.unwrap_or_default();
        let row_bytes = ROW_BYTES + ROW_BYTES_PER_JSON_BYTE * json.len();
        let (body, live) = match decoded {
            Decoded::Event(event) => {
                add_event(&event, &mut work.batch);
                work.received_us = work.received_us.max(Some(event.received_us));
                (RowBody::Event(Arc::clone(&event)), Live::Event(event))
            }
            Decoded::Alert(alert) => {
                work.batch.alerts.push((*alert).clone());
                (RowBody::Alert(Arc::clone(&alert), json), Live::Alert(alert))
            }
            Decoded::Device(change) => {
                work.batch.devices.push(change);
                return Ok(());
            }
            Decoded::Agent(status) => {
                work.batch.agents.push(status);
                return Ok(());
            }
            Decoded::Feedback(feedback) => {
                work.batch.feedback.push(feedback);
                return Ok(());
            }
            Decoded::Ignored => return Ok(()),
        };
        if watched {
            work.live.push(live);
        }
        let (offset, kafka_ms) = (record.offset, record.ts_ms);
        let row = Row { offset, kafka_ms, body };
        let name = names.name(partition.topic);
        self.open
            .get_or_insert_with(|| {
                let open = Open::new(partition, name, offset, kafka_ms, now.instant);
                if packed { open.packed() } else { open }
            })
            .push(row, row_bytes)
    }

    /// Ends what was taken so far. Nothing for a topic that is not archived: it has no objects and
    /// follows the store alone.
    fn close(&mut self, partition: Partition) -> Result<Option<Closed>, ParquetError> {
        let (Some(dedupe), Some(next), Some(_)) = (&self.dedupe, self.next, self.since.take())
        else {
            return Ok(None);
        };
        let object = match self.open.take() {
            Some(open) => {
                let skipped = std::mem::take(&mut self.skipped);
                let open = open.accounting(self.from.replace(next), skipped);
                let sealed = open.seal(next, dedupe.snapshot())?;
                self.note.clone_from(&sealed.path);
                Some(Arc::new(sealed))
            }
            None => None,
        };
        Ok(Some(Closed { partition, next, note: self.note.clone(), object }))
    }

    fn waits_longer_than(&self, age: Duration, now: Instant) -> bool {
        self.dedupe.is_some() && self.since.is_some_and(|since| now.duration_since(since) >= age)
    }

    fn memory_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, Open::memory_bytes)
    }

    /// Whether its open object is written as its rows come.
    fn is_written(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.is_packed())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::decode::dedupe::Bounds;

    fn record(number: i32, seq: u64) -> Record {
        let json = serde_json::json!({
            "agent": "gw-17", "stream": "bcb4a7ab1f683e35", "seq": seq, "site": "plant", "device": "pump-1",
            "ts_us": 1, "received_us": 1, "clock": "synced", "source": "syslog", "dialect": "rfc3164", "parse": "ok",
            "meta": {}, "meta_state": "miss", "host": "pump-1", "message": "opened", "raw": "opened",
        });
        let partition = Partition { topic: Topic::Logs, number };
        let value = Some(json.to_string().into());
        Record {
            partition,
            offset: 0,
            ts_ms: 0,
            key: None,
            value,
            retried: 0,
            by: None,
            again: None,
        }
    }

    #[test]
    fn few_objects_are_written_as_they_come_and_all_hold_their_rows() {
        let now = Now { instant: Instant::now(), ms: 0 };
        let close = CloseAt { age: Duration::from_secs(60), rows: 1_000, bytes: usize::MAX };
        let mut intake = Intake::new(TopicNames::default(), close, usize::MAX);
        let (partitions, mut work) = (3 * WRITTEN_MAX as i32, Work::new(1));
        for number in 0..partitions {
            let dedupe = Some(Dedupe::new(Bounds::default()));
            let partition = Partition { topic: Topic::Logs, number };
            intake.assign(partition, dedupe, String::new(), None, None);
        }
        let records = (0..partitions).map(|number| record(number, number as u64 + 1)).collect();
        assert!(intake.take(records, &mut work, false, now).unwrap().is_empty());
        assert!(work.dead.is_empty(), "{:?}", work.dead);
        let written = intake.lanes.values().filter(|lane| lane.is_written()).count();
        assert_eq!(written, WRITTEN_MAX);
        let closed = intake.close_all().unwrap();
        let rows = closed.iter().map(|closed| closed.object.as_ref().unwrap().manifest.rows);
        assert_eq!(rows.collect::<Vec<_>>(), vec![1; 3 * WRITTEN_MAX]);
    }
}
