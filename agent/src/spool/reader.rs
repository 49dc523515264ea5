//! The reading side of one strand of a lane, for the publisher; runs beside the writer, in another
//! task.
//!
//! In: the strand's log. Out: groups of ready batches, in order, from the checkpoint on. Promises:
//! nothing is forgotten before [`LaneReader::acknowledge`]; after a restart reading begins at the
//! first group that was not acknowledged.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_models::event::Clock;
use weir_models::ident::Stream;

use super::checkpoint::Checkpoint;
use super::identity::Identity;
use super::log::{self, LogReader};
use super::progress::Progress;
use super::{Lane, SpoolError, Strand, clock_of, mark};
use crate::clock::Mark;

/// Groups of a strand that may be under way to Kafka at a time.
pub(crate) const GROUPS_IN_FLIGHT_MAX: usize = 4;

/// The end of a group in its strand. Positions of one strand rise, over all its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

/// Events of one flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where the group ends; acknowledged once Kafka has all its frames.
    pub end: Position,
    /// The stream of all events in it.
    pub stream: Stream,
    /// Number of its first event.
    pub first_seq: u64,
    /// Number of its last event.
    pub last_seq: u64,
    /// The batches. Damaged ones are left out and counted, so there may be none; the group is to
    /// be acknowledged all the same.
    pub frames: Vec<Frame>,
}

/// One record batch, ready to be stamped and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// The number of partitions that the partition was reckoned with; 0 if it is not known.
    pub partitions: u32,
    /// How far the clock could be trusted when its events were taken.
    pub clock: Clock,
    /// By which its stamps can be corrected; none where they are trusted, or were made by an earlier
    /// version.
    pub mark: Option<Mark>,
    /// Smallest number in it.
    pub first_seq: u64,
    /// Largest number in it. Frames of one group interleave.
    pub last_seq: u64,
    /// Events in it.
    pub records: u32,
    /// A Kafka record batch, format v2 (`weir_models::wire`).
    pub batch: Bytes,
}

/// Reads one strand of a lane and moves its checkpoint.
#[derive(Debug)]
pub struct LaneReader {
    strand: Strand,
    log: LogReader,
    checkpoint: Checkpoint,
    checkpoint_path: PathBuf,
    progress: Arc<Progress>,
    /// Ends and receive stamps of the groups that were given and not acknowledged, in order.
    given: VecDeque<(u64, i64)>,
    /// The readers of later strands; in the oldest one's reader only.
    later: Option<mpsc::Receiver<LaneReader>>,
}

impl LaneReader {
    pub(super) fn new(
        strand: Strand,
        log: LogReader,
        checkpoint: Checkpoint,
        checkpoint_path: PathBuf,
        progress: Arc<Progress>,
    ) -> Self {
        let (given, later) = (VecDeque::new(), None);
        let mut reader =
            LaneReader { strand, log, checkpoint, checkpoint_path, progress, given, later };
        reader.rewind();
        // What may have been sent before must not give way: the sequences of what follows it hang on
        // it. And it tells since when the strand waits.
        for _ in 0..GROUPS_IN_FLIGHT_MAX {
            // What cannot be read now will be tried again.
            if !reader.next_group().is_ok_and(|group| group.is_some()) {
                break;
            }
        }
        reader.rewind();
        reader
    }

    /// It is the oldest of its lane, and has the readers of the others.
    pub(super) fn precedes(&mut self, later: mpsc::Receiver<LaneReader>) {
        self.later = Some(later);
    }

    /// The readers of the strands that come after this one, those that are there and each that will
    /// be. Only the readers that [`Spool::open`](super::Spool::open) answers have it, once.
    pub fn later(&mut self) -> Option<mpsc::Receiver<LaneReader>> {
        self.later.take()
    }

    /// The strand it reads.
    #[must_use]
    pub fn strand(&self) -> Strand {
        self.strand
    }

    /// The lane it reads.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.strand.lane
    }

    /// The next group that was flushed, `None` if there is none yet.
    ///
    /// # Errors
    /// [`SpoolError`] where a file cannot be read; the place stays, so that it may be tried again.
    /// Damage is no error.
    pub fn next_group(&mut self) -> Result<Option<Group>, SpoolError> {
        let Some(group) = self.log.next_group()? else {
            return Ok(None);
        };
        let identity = Identity::from_tag(group.tag);
        let frame = |frame: log::Frame| {
            let (partition, partitions) = unpacked(frame.head.partition);
            let clock = clock_of(frame.head.flags);
            Frame {
                topic: frame.head.topic,
                partition,
                partitions,
                clock,
                mark: (clock == Clock::Unsynced).then(|| mark::of(&frame.batch)).flatten(),
                first_seq: identity.seq(frame.head.first),
                last_seq: identity.seq(frame.head.last),
                records: frame.head.records,
                batch: frame.batch,
            }
        };
        let group = Group {
            end: Position(group.last + 1),
            stream: identity.stream,
            first_seq: identity.seq(group.first),
            last_seq: identity.seq(group.last),
            frames: group.frames.into_iter().map(frame).collect(),
        };
        if let Some(stamp) = group.oldest_ms() {
            if self.given.is_empty() {
                self.progress.set_oldest_ms(Some(stamp));
            }
            self.given.push_back((group.end.0, stamp));
        }
        Ok(Some(group))
    }

    /// Goes back to the checkpoint: everything that is not acknowledged is read again.
    pub fn rewind(&mut self) {
        self.given.clear();
        self.log.seek(self.checkpoint.ordinal());
    }

    /// Whether Kafka has all of the strand, and nothing more will come: only of one that a later one
    /// has taken the place of. To be asked while nothing is under way.
    ///
    /// # Errors
    /// [`SpoolError`] if the checkpoint cannot be written; it may be tried again.
    pub fn finish(&mut self) -> Result<bool, SpoolError> {
        if !self.progress.is_sealed() || self.log.position() < self.log.end() {
            return Ok(false);
        }
        // What lies at the end may be damaged, so that there is no group to acknowledge; and a loss
        // that was told meanwhile no longer holds the checkpoint.
        let end = self.log.end();
        let state = self.checkpoint.state().to_vec();
        self.acknowledge_with(Position(end), &state)?;
        Ok(self.checkpoint.ordinal() >= end)
    }

    /// Notes that Kafka refuses the event `seq` of `group` for good; before its acknowledgement.
    pub fn refused(&self, group: &Group, seq: u64) {
        let ordinal = (group.end.0 - 1).saturating_sub(group.last_seq.saturating_sub(seq));
        let identity = Identity { stream: group.stream, base: (ordinal + 1).saturating_sub(seq) };
        self.log.refused(identity.tag(), ordinal, ordinal, 1);
    }

    /// What the publisher has to know to go on at the checkpoint; empty without one.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        self.checkpoint.state()
    }

    /// Stores what the publisher has to know to go on at the checkpoint; safe from a killed process
    /// at once. What is larger than about 4,000 bytes is kept until the end of this process only.
    ///
    /// # Errors
    /// [`SpoolError`] if it cannot be written; it may be tried again.
    pub fn keep(&mut self, state: &[u8]) -> Result<(), SpoolError> {
        let failed = |error| SpoolError::writing(&self.checkpoint_path, error);
        self.checkpoint.store(self.checkpoint.ordinal(), state).map_err(failed)
    }

    /// As [`LaneReader::acknowledge_with`], without a state.
    ///
    /// # Errors
    /// [`SpoolError`] if the checkpoint cannot be written; it may be tried again.
    pub fn acknowledge(&mut self, end: Position) -> Result<(), SpoolError> {
        self.acknowledge_with(end, &[])
    }

    /// Notes that Kafka has everything up to `end`, with what the publisher has to know to go on
    /// there, and deletes the segments that hold nothing else. A position below the checkpoint
    /// changes nothing, nor does one behind a loss that is not told yet: the marker that tells it
    /// comes later in the lane, and is acknowledged too.
    ///
    /// # Errors
    /// [`SpoolError`] if the checkpoint cannot be written; it may be tried again.
    pub fn acknowledge_with(&mut self, end: Position, state: &[u8]) -> Result<(), SpoolError> {
        let Position(ordinal) = end;
        if ordinal > self.checkpoint.ordinal() && !self.log.holds(ordinal) {
            let failed = |error| SpoolError::writing(&self.checkpoint_path, error);
            self.checkpoint.store(ordinal, state).map_err(failed)?;
            while self.given.front().is_some_and(|(end, _)| *end <= ordinal) {
                self.given.pop_front();
            }
            self.progress.set_oldest_ms(self.given.front().map(|(_, stamp)| *stamp));
            self.progress.acknowledge(ordinal);
        }
        if self.log.deletable_below(ordinal) {
            // Else a power cut could bring back a checkpoint that lies before what is left.
            self.checkpoint
                .sync()
                .map_err(|error| SpoolError::writing(&self.checkpoint_path, error))?;
            self.log.delete_below(self.checkpoint.ordinal());
        }
        Ok(())
    }
}

impl Group {
    /// When its first events were received, milliseconds since the Unix epoch; none if nothing is left
    /// of it.
    fn oldest_ms(&self) -> Option<i64> {
        // The time stamp of a batch's first record, as it lies in its head.
        const AT: usize = 27;
        let stamp = |frame: &Frame| frame.batch.get(AT..)?.first_chunk().copied();
        self.frames.iter().filter_map(stamp).map(i64::from_be_bytes).min()
    }
}

/// Most partitions of a topic that frames can tell of; a topic has a few hundred at most.
pub(super) const PARTITIONS_MAX: u32 = 0xffff;

/// A partition and the number of partitions it was reckoned with, as a frame has them: the low and
/// the high half. Frames of earlier versions have zero there, which is "not known".
pub(super) fn packed(partition: u32, partitions: u32) -> u32 {
    debug_assert!(partition < partitions && partitions <= PARTITIONS_MAX);
    partitions << 16 | partition
}

/// Partition and number of partitions in a frame.
pub(super) fn unpacked(field: u32) -> (u32, u32) {
    (field & 0xffff, field >> 16)
}
