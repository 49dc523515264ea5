//! The writing side of one lane: builders for each topic and partition, closed together as one
//! group.
//!
//! In: events. Out: groups in the lane's log. Events wait in memory until [`LaneWriter::flush`];
//! if that fails they wait on and nothing of them is lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use weir_models::event::{Clock, Loss};
use weir_models::ident::{EventId, Stream};
use weir_models::wire::{BatchBuilder, Compressor, partition_for};

use super::checkpoint::Checkpoint;
use super::identity::{Found, Identity, State, boot};
use super::log::{FrameHead, GaveWay, GroupBuilder, Log, Lost, clear_way};
use super::reader::{LaneReader, PARTITIONS_MAX, packed};
use super::{Lane, LaneStats, MAY_DROP, SpoolError, WhenFull, clock_byte};

/// A batch is closed at this many bytes before compression: one bad byte on disk costs a batch.
const BATCH_BYTES: usize = 256 << 10;
/// A batch is closed at this many records.
const BATCH_RECORDS: u32 = 1_000;
/// Idle builders that keep their memory.
const SPARE_BUILDERS: usize = 8;

#[derive(Debug)]
pub(super) struct LaneWriter {
    log: Log,
    identity: Identity,
    /// As it is stored.
    state: State,
    state_path: PathBuf,
    /// The ordinal of the next event.
    next: u64,
    /// The ordinal after the last one that Kafka has acknowledged.
    acknowledged: Arc<AtomicU64>,
    topics: Vec<TopicBuilders>,
    spare: Vec<BatchBuilder>,
    /// Batches that are closed and not written yet.
    group: GroupBuilder,
    /// Bytes in open builders, before compression.
    open_bytes: usize,
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

/// One event as the lane takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) partitions: u32,
    pub(super) key: &'a [u8],
    pub(super) ts_ms: i64,
    pub(super) clock: Clock,
    pub(super) when_full: WhenFull,
}

/// The place of a builder in [`TopicBuilders`].
fn slot(partition: u32, when_full: WhenFull) -> usize {
    2 * partition as usize + usize::from(when_full == WhenFull::DropLowest)
}

impl LaneWriter {
    pub(super) fn open(
        dir: &Path,
        lane: Lane,
        segment_bytes: u64,
        losses: &Arc<Notify>,
    ) -> Result<(LaneWriter, LaneReader), SpoolError> {
        let [state_path, checkpoint_path, state_draft] =
            ["stream", "checkpoint", "stream.draft"].map(|name| dir.join(name));
        clear_way(dir, true).map_err(|error| SpoolError::writing(dir, error))?;
        for path in [&state_path, &checkpoint_path, &state_draft] {
            clear_way(path, false).map_err(|error| SpoolError::writing(path, error))?;
        }
        let stored = State::read(&state_path);
        if let Some(state) = stored {
            // The log cuts its tail as it opens. Should this process be killed then, the next one
            // must not take the shorter lane for a whole one and give its numbers out twice.
            let unsure = State { boot: [0; 16], closed_at: None, ..state };
            unsure.write(&state_path).map_err(|error| SpoolError::writing(&state_path, error))?;
        }
        let mut log = Log::open(dir, segment_bytes)?;
        #[cfg(test)]
        if super::log::faults::killed() {
            return Err(SpoolError::Config("killed".into()));
        }
        log.tell_losses(Arc::clone(losses));
        let checkpoint = Checkpoint::open(&checkpoint_path)
            .map_err(|error| SpoolError::writing(&checkpoint_path, error))?;
        let found = Found {
            tag: log.tag(),
            next: log.next_ordinal(),
            newest: log.newest_base(),
            torn_bytes: log.torn_bytes(),
            checkpoint: checkpoint.ordinal(),
            boot: boot(),
        };
        log.raise_next(checkpoint.ordinal());
        // A power cut may have brought back what was deleted.
        log.delete_below(checkpoint.ordinal());
        let kept = stored.filter(|state| state.continues(found));
        let identity = match kept {
            Some(state) => state.identity,
            None => Identity::draw(log.next_ordinal()).map_err(|error| {
                SpoolError::writing(&state_path, io::Error::other(error.to_string()))
            })?,
        };
        // On disk before the first event can be published under it.
        let newest = log.newest_base();
        let state = State { identity, boot: found.boot, closed_at: None, newest };
        state.write(&state_path).map_err(|error| SpoolError::writing(&state_path, error))?;
        log.set_tag(identity.tag());
        let stream = identity.stream;
        tracing::info!(?lane, %stream, kept = kept.is_some(), next_seq = identity.seq(log.next_ordinal()), "lane opened");
        let acknowledged = Arc::new(AtomicU64::new(checkpoint.ordinal()));
        let reader = LaneReader::new(
            lane,
            log.reader(),
            checkpoint,
            checkpoint_path,
            Arc::clone(&acknowledged),
        );
        let writer = LaneWriter {
            next: log.next_ordinal(),
            log,
            state,
            identity,
            state_path,
            acknowledged,
            topics: Vec::new(),
            spare: Vec::new(),
            group: GroupBuilder::default(),
            open_bytes: 0,
        };
        Ok((writer, reader))
    }

    pub(super) fn stream(&self) -> Stream {
        self.identity.stream
    }

    pub(super) fn append(
        &mut self,
        compressor: &mut Compressor,
        place: Place<'_>,
        write: impl FnOnce(EventId, &mut Vec<u8>),
    ) -> EventId {
        let ordinal = self.next;
        let id = EventId { stream: self.identity.stream, seq: self.identity.seq(ordinal) };
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
            self.seal(compressor, place.clock, at, other);
        }
        if is_recounted {
            self.seal(compressor, place.clock, at, slot);
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
            self.seal(compressor, place.clock, at, slot);
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
    fn seal(&mut self, compressor: &mut Compressor, clock: Clock, topic: usize, slot: usize) {
        let builders = &mut self.topics[topic];
        let Some(mut open) = builders.open.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let may_drop = if slot % 2 == 1 { MAY_DROP } else { 0 };
        let head = FrameHead {
            topic: Arc::clone(&builders.topic),
            partition: packed(slot as u32 / 2, open.partitions),
            flags: clock_byte(clock) | may_drop,
            first: open.first,
            last: open.last,
            records: open.builder.count(),
        };
        self.open_bytes -= open.builder.raw_bytes();
        self.group.frame(&head, |out| open.builder.finish(compressor, out));
        if self.spare.len() < SPARE_BUILDERS {
            self.spare.push(open.builder);
        }
    }

    /// Closes all batches into the group.
    pub(super) fn seal_all(&mut self, compressor: &mut Compressor, clock: Clock) {
        for topic in 0..self.topics.len() {
            for slot in 0..self.topics[topic].open.len() {
                self.seal(compressor, clock, topic, slot);
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
        self.log.append(&self.group)?;
        self.group.clear();
        if self.state.newest != self.log.newest_base() {
            let state = State { newest: self.log.newest_base(), ..self.state };
            // The events are in the log, and that is what counts. Where the state lags behind, the
            // next process takes the stream for one whose end it does not know.
            match state.write(&self.state_path) {
                Ok(()) => self.state = state,
                Err(error) => {
                    tracing::warn!(path = %self.state_path.display(), %error, "state of the lane not stored")
                }
            }
        }
        Ok(())
    }

    /// Gives back the disk that holds nothing Kafka still has to get.
    pub(super) fn reclaim(&mut self) {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        if let Err(error) = self.log.reclaim(acknowledged) {
            tracing::warn!(%error, "segments could not be given back");
        }
    }

    /// Gives up the oldest events that may give way. `None` if there are none.
    pub(super) fn give_way(&mut self) -> Result<Option<GaveWay>, SpoolError> {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        Ok(self.log.give_way(acknowledged, |head| head.flags & MAY_DROP != 0)?)
    }

    /// What was lost and not taken before.
    pub(super) fn take_losses(&self) -> impl Iterator<Item = Loss> {
        self.log.take_lost().into_iter().map(|lost| loss_of(&lost))
    }

    pub(super) fn losses_are_told(&self) {
        self.log.lost_are_told();
    }

    /// Syncs what Kafka does not have yet.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        Ok(self.log.sync(acknowledged)?)
    }

    /// Syncs everything and notes the clean end, so that the stream may go on after a reboot.
    pub(super) fn close(&mut self) -> Result<(), SpoolError> {
        self.log.sync(0)?;
        let closed_at = Some(self.log.next_ordinal());
        let newest = self.log.newest_base();
        let state = State { identity: self.identity, boot: boot(), closed_at, newest };
        state.write(&self.state_path).map_err(|error| SpoolError::writing(&self.state_path, error))
    }

    pub(super) fn pending_events(&self) -> u64 {
        self.next - self.log.next_ordinal()
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        let group = if self.group.is_empty() { 0 } else { self.group.encoded_bytes() };
        (self.open_bytes + group) as u64
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub(super) fn stats(&self) -> LaneStats {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        LaneStats {
            waiting_events: self.log.next_ordinal().saturating_sub(acknowledged),
            disk_bytes: self.log.bytes(),
            written_bytes: self.log.written_bytes(),
            bad_frames: self.log.bad_frames(),
            skipped_events: self.log.skipped(),
            dropped_events: self.log.dropped(),
            torn_bytes: self.log.torn_bytes(),
        }
    }
}

/// A loss as its marker tells it. What lies before the stream's begin was in another stream, of
/// which nothing is left.
pub(super) fn loss_of(lost: &Lost) -> Loss {
    let identity = Identity::from_tag(lost.tag);
    let range = (identity.base <= lost.first)
        .then(|| (identity.stream, identity.seq(lost.first), identity.seq(lost.last)));
    Loss { count: lost.count, range, reason: lost.cause.reason().into() }
}
