//! The writing side of one lane: builders for each topic and partition, closed together as one
//! group, and the strands that the groups go to.
//!
//! In: events. Out: groups in the newest strand. Events wait in memory until [`LaneWriter::flush`];
//! if that fails they wait on and nothing of them is lost.
//!
//! When a lane is far behind and Kafka takes its events again, the next group begins a new strand, so
//! that what comes now need not wait for the backlog: see decision 8.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use weir_models::event::Clock;
use weir_models::ident::{EventId, Stream};
use weir_models::wire::{BatchBuilder, Compressor, partition_for};

use super::log::{FrameHead, GroupBuilder};
use super::reader::{LaneReader, PARTITIONS_MAX, packed};
use super::strand::{StrandWriter, StreamState};
use super::{
    Lane, LaneStats, MAY_DROP, SpoolConfig, SpoolError, Strand, WhenFull, clock_byte, folders, mark,
};
use crate::clock::Mark;

/// A batch is closed at this many bytes before compression: one bad byte on disk costs a batch.
const BATCH_BYTES: usize = 256 << 10;
/// A batch is closed at this many records.
const BATCH_RECORDS: u32 = 1_000;
/// Idle builders that keep their memory.
const SPARE_BUILDERS: usize = 8;
/// Strands of a lane at most: each is a folder, a producer id, and an entry in the sink's memory.
const STRANDS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct LaneWriter {
    spool: PathBuf,
    segment_bytes: u64,
    losses: Arc<Notify>,
    /// Backlogs, oldest first.
    older: VecDeque<StrandWriter>,
    /// The one that is written to.
    newest: StrandWriter,
    /// Where the readers of new strands go.
    readers: mpsc::Sender<LaneReader>,
    overtaking: Overtaking,
    /// The ordinal of the next event.
    next: u64,
    topics: Vec<TopicBuilders>,
    spare: Vec<BatchBuilder>,
    /// Batches that are closed and not written yet.
    group: GroupBuilder,
    /// Bytes in open builders, before compression.
    open_bytes: usize,
    /// Counters of strands that are gone.
    gone: LaneStats,
}

/// When a new strand begins.
#[derive(Debug)]
struct Overtaking {
    /// How far behind the lane has to be; none if nothing overtakes in it.
    after_ms: Option<i64>,
    /// How far the newest strand was acknowledged when the last group began.
    acknowledged: u64,
    /// When the last one was begun, or tried.
    tried_ms: Option<i64>,
}

#[derive(Debug)]
struct TopicBuilders {
    topic: Arc<str>,
    /// By partition and [`WhenFull`], so that what may give way can be told apart: see [`slot`].
    open: Vec<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    /// The number of partitions that all its records were placed with.
    partitions: u32,
    first: u64,
    last: u64,
}

/// How the events of a batch are stamped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamped {
    pub(super) clock: Clock,
    /// By which stamps that are not trusted can be corrected.
    pub(super) mark: Option<Mark>,
}

/// One event as the lane takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) partitions: u32,
    pub(super) key: &'a [u8],
    pub(super) ts_ms: i64,
    pub(super) stamped: Stamped,
    pub(super) when_full: WhenFull,
}

/// The place of a builder in [`TopicBuilders`].
fn slot(partition: u32, when_full: WhenFull) -> usize {
    2 * partition as usize + usize::from(when_full == WhenFull::DropLowest)
}

impl LaneWriter {
    /// Opens all strands of a lane. Answers the reader of the oldest one, which has those of the
    /// others.
    pub(super) fn open(
        spool: &Path,
        lane: Lane,
        config: &SpoolConfig,
        losses: &Arc<Notify>,
    ) -> Result<(LaneWriter, LaneReader), SpoolError> {
        let found =
            folders::strands(spool, lane).map_err(|error| SpoolError::writing(spool, error))?;
        let (readers, later) = mpsc::channel(found.len().max(STRANDS_MAX));
        let mut older = VecDeque::new();
        let mut oldest_reader = None;
        for strand in found {
            let (writer, reader) = StrandWriter::open(spool, strand, config.segment_bytes, losses)?;
            older.push_back(writer);
            match &oldest_reader {
                None => oldest_reader = Some(reader),
                // There is room for all of them.
                Some(_) => drop(readers.try_send(reader)),
            }
        }
        let (Some(newest), Some(mut reader)) = (older.pop_back(), oldest_reader) else {
            return Err(SpoolError::Config(format!("the lane {} has no strand", lane.name())));
        };
        older.iter().for_each(|strand| strand.progress().seal());
        reader.precedes(later);
        let overtakes = lane != Lane::Alerts && config.overtake_s > 0;
        let after_ms = i64::try_from(config.overtake_s.saturating_mul(1_000)).ok();
        let overtaking = Overtaking {
            after_ms: after_ms.filter(|_| overtakes),
            acknowledged: newest.progress().acknowledged(),
            tried_ms: None,
        };
        let writer = LaneWriter {
            spool: spool.to_owned(),
            segment_bytes: config.segment_bytes,
            losses: Arc::clone(losses),
            older,
            next: newest.next_ordinal(),
            newest,
            readers,
            overtaking,
            topics: Vec::new(),
            spare: Vec::new(),
            group: GroupBuilder::default(),
            open_bytes: 0,
            gone: LaneStats::default(),
        };
        Ok((writer, reader))
    }

    /// All strands, oldest first.
    pub(super) fn strands(&self) -> impl Iterator<Item = &StrandWriter> {
        self.older.iter().chain([&self.newest])
    }

    /// The same, to change.
    pub(super) fn strands_mut(&mut self) -> impl Iterator<Item = &mut StrandWriter> {
        self.older.iter_mut().chain([&mut self.newest])
    }

    pub(super) fn append(
        &mut self,
        compressor: &mut Compressor,
        place: Place<'_>,
        write: impl FnOnce(EventId, &mut Vec<u8>),
    ) -> EventId {
        if self.open_bytes == 0 && self.group.is_empty() && self.is_behind(place.ts_ms) {
            self.begin_strand();
        }
        let ordinal = self.next;
        let id = self.newest.id(ordinal);
        let partitions = place.partitions.clamp(1, PARTITIONS_MAX);
        let partition = partition_for(place.key, partitions);
        let at = self.topic(place.topic);
        let open = &mut self.topics[at].open;
        let slot = slot(partition, place.when_full);
        if open.len() <= slot {
            open.resize_with(slot + 1, || None);
        }
        // Batches of one partition never interleave: a number that comes after a higher one is a
        // duplicate to the sink.
        let other = slot ^ 1;
        let is_other_open = open.get(other).is_some_and(Option::is_some);
        let is_recounted = open[slot].as_ref().is_some_and(|open| open.partitions != partitions);
        if is_other_open {
            self.seal(compressor, place.stamped, at, other);
        }
        if is_recounted {
            self.seal(compressor, place.stamped, at, slot);
        }
        let batch = self.topics[at].open[slot].get_or_insert_with(|| {
            let builder = self.spare.pop().unwrap_or_default();
            Open { builder, partitions, first: ordinal, last: ordinal }
        });
        let before = batch.builder.raw_bytes();
        batch.builder.push_with(place.ts_ms, Some(place.key), |out| write(id, out));
        batch.last = ordinal;
        self.next += 1;
        self.open_bytes += batch.builder.raw_bytes() - before;
        if batch.builder.raw_bytes() >= BATCH_BYTES || batch.builder.count() >= BATCH_RECORDS {
            self.seal(compressor, place.stamped, at, slot);
        }
        id
    }

    /// Where the builders of `topic` are.
    fn topic(&mut self, topic: &Arc<str>) -> usize {
        let known =
            self.topics.iter().position(|t| Arc::ptr_eq(&t.topic, topic) || t.topic == *topic);
        known.unwrap_or_else(|| {
            self.topics.push(TopicBuilders { topic: Arc::clone(topic), open: Vec::new() });
            self.topics.len() - 1
        })
    }

    /// Closes one batch into the group.
    fn seal(&mut self, compressor: &mut Compressor, stamped: Stamped, topic: usize, slot: usize) {
        let builders = &mut self.topics[topic];
        let Some(mut open) = builders.open.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let may_drop = if slot % 2 == 1 { MAY_DROP } else { 0 };
        let head = FrameHead {
            topic: Arc::clone(&builders.topic),
            partition: packed(slot as u32 / 2, open.partitions),
            flags: clock_byte(stamped.clock) | may_drop,
            first: open.first,
            last: open.last,
            records: open.builder.count(),
        };
        self.open_bytes -= open.builder.raw_bytes();
        self.group.frame(&head, |out| {
            let start = out.len();
            open.builder.finish(compressor, out);
            if let Some(mark) = stamped.mark {
                mark::put(&mut out[start..], mark);
            }
        });
        if self.spare.len() < SPARE_BUILDERS {
            self.spare.push(open.builder);
        }
    }

    /// Closes all batches into the group.
    pub(super) fn seal_all(&mut self, compressor: &mut Compressor, stamped: Stamped) {
        for topic in 0..self.topics.len() {
            for slot in 0..self.topics[topic].open.len() {
                self.seal(compressor, stamped, topic, slot);
            }
        }
    }

    /// Bytes that writing the group may take, with a new segment's header; 0 if there is nothing.
    pub(super) fn group_bytes(&self) -> u64 {
        const HEADER_BYTES: u64 = 128;
        if self.group.is_empty() { 0 } else { self.group.encoded_bytes() as u64 + HEADER_BYTES }
    }

    /// Writes the group. If that fails it stays, and the next batches join it.
    pub(super) fn flush(&mut self) -> Result<(), SpoolError> {
        self.newest.append(&self.group)?;
        self.group.clear();
        self.remove_finished();
        Ok(())
    }

    /// Takes away the backlogs that Kafka has.
    fn remove_finished(&mut self) {
        while let Some(at) = self.older.iter().position(StrandWriter::is_finished) {
            let Some(strand) = self.older.remove(at) else { return };
            self.gone.add(LaneStats { disk_bytes: 0, ..strand.stats() });
            strand.remove(&self.spool);
        }
    }

    /// Whether what comes now has to overtake: the newest strand is far behind, and on its way. While
    /// Kafka is away there is nothing to overtake: one strand is enough for the whole outage.
    fn is_behind(&mut self, now_ms: i64) -> bool {
        let Some(after_ms) = self.overtaking.after_ms else { return false };
        let acknowledged = self.newest.progress().acknowledged();
        let moves = acknowledged > self.overtaking.acknowledged;
        self.overtaking.acknowledged = acknowledged;
        let is_late = |since: i64| now_ms.saturating_sub(since) >= after_ms;
        let is_behind = moves
            && self.newest.waiting() > 0
            && self.newest.progress().oldest_ms().is_some_and(is_late)
            && self.overtaking.tried_ms.is_none_or(is_late)
            && self.older.len() + 1 < STRANDS_MAX
            && self.readers.capacity() > 0;
        if is_behind {
            self.overtaking.tried_ms = Some(now_ms);
        }
        is_behind
    }

    /// From now on events go to a new strand.
    fn begin_strand(&mut self) {
        let Strand { lane, number } = self.newest.strand;
        let Some(number) = number.checked_add(1) else { return };
        let strand = Strand { lane, number };
        let opened = StrandWriter::open(&self.spool, strand, self.segment_bytes, &self.losses);
        let (newest, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%strand, %error, "live data goes on behind the backlog");
                return;
            }
        };
        self.next = newest.next_ordinal();
        self.overtaking.acknowledged = newest.progress().acknowledged();
        let backlog = std::mem::replace(&mut self.newest, newest);
        tracing::info!(%strand, backlog = backlog.waiting(), "live data overtakes the backlog");
        backlog.progress().seal();
        self.older.push_back(backlog);
        // Without a reader nobody publishes: it is read after the next start.
        drop(self.readers.try_send(reader));
    }

    pub(super) fn stream(&self) -> Stream {
        self.newest.id(0).stream
    }

    /// The streams that are written or wait, the one that is written first.
    pub(super) fn streams(&self) -> impl Iterator<Item = StreamState> {
        [&self.newest].into_iter().chain(&self.older).map(StrandWriter::stream_state)
    }

    pub(super) fn pending_events(&self) -> u64 {
        self.next - self.newest.next_ordinal()
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        let group = if self.group.is_empty() { 0 } else { self.group.encoded_bytes() };
        (self.open_bytes + group) as u64
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.strands().map(StrandWriter::disk_bytes).sum()
    }

    pub(super) fn stats(&self) -> LaneStats {
        let mut stats = self.gone;
        self.strands().for_each(|strand| stats.add(strand.stats()));
        stats
    }
}
