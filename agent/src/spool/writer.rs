//! The writing side of the spool, owned by one task.
//!
//! In: events. Out: one write for each lane and flush.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::Notify;
use weir_models::event::{Clock, Loss};
use weir_models::ident::{EventId, Stream};
use weir_models::time::{DAY_US, SECOND_US};
use weir_models::wire::{Codec, Compressor};

use super::lane::{LaneWriter, Place, Stamped};
use super::log::clear_way;
use super::strand::{StrandWriter, StreamState};
use super::{Lane, LaneReader, LaneStats, SpoolConfig, SpoolError, WhenFull, folders};
use crate::clock::Mark;

/// The spool. See the module for what it promises.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    flush_bytes: u64,
    compressor: Compressor,
    stamped: Stamped,
    when_full: WhenFull,
    losses: Arc<Notify>,
    /// In the order of [`Lane::ALL`].
    lanes: [LaneWriter; 4],
    /// Held while the spool is open.
    _lock: File,
}

/// What waits in memory for the next flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Events.
    pub events: u64,
    /// Bytes, partly compressed.
    pub bytes: u64,
}

impl Spool {
    /// Opens the spool in `dir`, which is made if need be. Answers the writer and one reader for
    /// each lane, in the order of [`Lane::ALL`]: that of its oldest strand, which hands on the readers
    /// of the others ([`LaneReader::later`]).
    ///
    /// # Errors
    /// [`SpoolError::Locked`], [`SpoolError::Config`], or files that cannot be read or written;
    /// never because of what is in them.
    pub fn open(dir: &Path, config: &SpoolConfig) -> Result<(Spool, [LaneReader; 4]), SpoolError> {
        config.check().map_err(SpoolError::Config)?;
        let lock = lock(dir)?;
        let losses = Arc::new(Notify::new());
        folders::sweep(dir);
        let open = |lane: Lane| LaneWriter::open(dir, lane, config, &losses);
        let [alerts, urgent, readings, rest] = Lane::ALL;
        let (alerts, alerts_reader) = open(alerts)?;
        let (urgent, urgent_reader) = open(urgent)?;
        let (readings, readings_reader) = open(readings)?;
        let (rest, rest_reader) = open(rest)?;
        let codec = if config.zstd_level == 0 { Codec::None } else { Codec::Zstd };
        let spool = Spool {
            dir: dir.to_owned(),
            max_bytes: config.max_bytes,
            flush_bytes: config.flush_bytes(),
            compressor: Compressor::new(codec, config.zstd_level),
            stamped: Stamped::default(),
            when_full: WhenFull::Block,
            losses,
            lanes: [alerts, urgent, readings, rest],
            _lock: lock,
        };
        Ok((spool, [alerts_reader, urgent_reader, readings_reader, rest_reader]))
    }

    /// Takes an event: gives it the next number of the lane and has `write` append its JSON to the
    /// batch for `topic` and the partition of `key` (of `partitions`). `ts_ms` is the time stamp
    /// for Kafka, milliseconds since the Unix epoch; it must be a sane one.
    ///
    /// It waits in memory: only [`Spool::flush`] makes it safe.
    pub fn append(
        &mut self,
        lane: Lane,
        topic: &Arc<str>,
        partitions: u32,
        key: &[u8],
        ts_ms: i64,
        write: impl FnOnce(EventId, &mut Vec<u8>),
    ) -> EventId {
        let (stamped, when_full) = (self.stamped, self.when_full);
        let place = Place { topic, partitions, key, ts_ms, stamped, when_full };
        self.lanes[lane as usize].append(&mut self.compressor, place, write)
    }

    /// The state of the clock for all events from now on; synced at first. Batches hold events of
    /// one state only. Those of a clock that is not trusted are marked, to be corrected later.
    pub fn set_clock(&mut self, clock: Clock, now: Mark) {
        let mark = (clock == Clock::Unsynced).then_some(now);
        let new = Stamped { clock, mark };
        if new == self.stamped {
            return;
        }
        // Some of what is pending may have been stamped after the clock was set. Where it was set by
        // years that is easy to tell later; where by less, better no correction than a wrong one.
        let moved_us = self.stamped.mark.map_or(0, |old| old.offset_us.abs_diff(now.offset_us));
        if (SECOND_US.unsigned_abs()..DAY_US.unsigned_abs()).contains(&moved_us) {
            self.stamped.mark = None;
        }
        for lane in &mut self.lanes {
            lane.seal_all(&mut self.compressor, self.stamped);
        }
        self.stamped = new;
    }

    /// What becomes of all events from now on when the spool is full; [`WhenFull::Block`] at first.
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.when_full = when_full;
    }

    /// Told when [`Spool::take_losses`] has something to answer.
    #[must_use]
    pub fn losses(&self) -> Arc<Notify> {
        Arc::clone(&self.losses)
    }

    /// What was lost in which lane, and was not taken before: damaged on disk, given up for want
    /// of space, refused by Kafka. To be appended to the lane as markers; once they are flushed
    /// [`Spool::losses_are_told`] lets the checkpoint pass. After a crash they are answered again.
    #[must_use]
    pub fn take_losses(&self) -> Vec<(Lane, Loss)> {
        let of = |(lane, writer): (Lane, &LaneWriter)| {
            let losses = writer.strands().flat_map(StrandWriter::take_losses);
            losses.map(|loss| (lane, loss)).collect::<Vec<_>>()
        };
        Lane::ALL.into_iter().zip(&self.lanes).flat_map(of).collect()
    }

    /// What was taken is marked.
    pub fn losses_are_told(&self) {
        let strands = self.lanes.iter().flat_map(LaneWriter::strands);
        strands.for_each(StrandWriter::losses_are_told);
    }

    /// What the next flush will write.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.lanes.iter().fold(Pending::default(), |sum, lane| Pending {
            events: sum.events + lane.pending_events(),
            bytes: sum.bytes + lane.pending_bytes(),
        })
    }

    /// Events of one lane that the next flush will write.
    #[cfg(test)]
    pub(super) fn lanes_pending(&self, lane: Lane) -> u64 {
        self.lanes[lane as usize].pending_events()
    }

    /// Whether so much is pending that it should be flushed before its time.
    #[must_use]
    pub fn flush_due(&self) -> bool {
        self.pending().bytes >= self.flush_bytes
    }

    /// Writes all that is pending, each lane by one write, and shows it to the readers. Only
    /// when this succeeds may the sources be acknowledged.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::NoSpace`] ([`SpoolError::is_full`]), or a write that
    /// failed. What could not be written stays pending: stop taking input, and flush again later.
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        let mut result = Ok(());
        for i in 0..self.lanes.len() {
            self.lanes[i].seal_all(&mut self.compressor, self.stamped);
            // A lane that fails must not hold up the others; the first failure is reported.
            let mut flushed = self.room_for(i).and_then(|()| self.lanes[i].flush());
            if matches!(flushed, Err(SpoolError::NoSpace { .. })) && self.give_way_to(i)? {
                // The disk is smaller than the budget.
                flushed = self.lanes[i].flush();
            }
            result = result.and(flushed);
        }
        result
    }

    /// Checks the budget for the group of a lane, and gives disk back if that helps.
    fn room_for(&mut self, at: usize) -> Result<(), SpoolError> {
        let needed = self.lanes[at].group_bytes();
        if needed == 0 || self.disk_bytes() + needed <= self.max_bytes {
            return Ok(());
        }
        self.strands_mut().for_each(StrandWriter::reclaim);
        loop {
            let used_bytes = self.disk_bytes();
            if used_bytes + needed <= self.max_bytes {
                return Ok(());
            }
            if !self.give_way_to(at)? {
                let (path, max_bytes) = (self.dir.clone(), self.max_bytes);
                return Err(SpoolError::Full { path, used_bytes, max_bytes });
            }
        }
    }

    /// All strands of all lanes.
    fn strands_mut(&mut self) -> impl Iterator<Item = &mut StrandWriter> {
        self.lanes.iter_mut().flat_map(LaneWriter::strands_mut)
    }

    /// Gives up the oldest events of the lowest lane that may give way to events of lane `at`.
    /// Answers whether that freed something.
    fn give_way_to(&mut self, at: usize) -> Result<bool, SpoolError> {
        for writer in self.lanes[at..].iter_mut().rev().flat_map(LaneWriter::strands_mut) {
            if let Some(gave_way) = writer.give_way()? {
                let (count, freed_bytes) = (gave_way.lost.count, gave_way.freed_bytes);
                tracing::warn!(
                    lane = writer.strand.lane.name(),
                    count,
                    freed_bytes,
                    "the spool is full, the oldest events of the lowest lane give way"
                );
                if freed_bytes > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Brings what was flushed and is not yet acknowledged to the disk. To be called every
    /// `sync_ms`; costs nothing if nothing is new.
    ///
    /// # Errors
    /// [`SpoolError`] if the disk refuses; try again.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.strands_mut().try_for_each(StrandWriter::sync)
    }

    /// Flushes, syncs and notes the clean end, so that the streams go on after a reboot.
    ///
    /// # Errors
    /// As [`Spool::flush`] and [`Spool::sync`]. What is pending is then gone with the process; its
    /// sources have not been acknowledged.
    pub fn close(mut self) -> Result<(), SpoolError> {
        let flushed = self.flush();
        self.strands_mut().try_for_each(StrandWriter::close).and(flushed)
    }

    /// The stream that `lane` writes.
    #[must_use]
    pub fn stream(&self, lane: Lane) -> Stream {
        self.lanes[lane as usize].stream()
    }

    /// The streams of `lane` that are written or wait, each the last one of its strand: the one that is
    /// written first, then the backlogs.
    pub fn streams(&self, lane: Lane) -> impl Iterator<Item = StreamState> {
        self.lanes[lane as usize].streams()
    }

    /// The counters of `lane`.
    #[must_use]
    pub fn stats(&self, lane: Lane) -> LaneStats {
        self.lanes[lane as usize].stats()
    }

    /// Bytes on disk, over all lanes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.lanes.iter().map(LaneWriter::disk_bytes).sum()
    }
}

/// Takes the spool for this process; the system gives it back however the process ends.
pub(super) fn lock(dir: &Path) -> Result<File, SpoolError> {
    clear_way(dir, true).map_err(|error| SpoolError::writing(dir, error))?;
    std::fs::create_dir_all(dir).map_err(|error| SpoolError::writing(dir, error))?;
    let path = dir.join("lock");
    clear_way(&path, false).map_err(|error| SpoolError::writing(&path, error))?;
    let file = File::create(&path).map_err(|error| SpoolError::writing(&path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(SpoolError::Locked { path: dir.to_owned() }),
        Err(error) => Err(SpoolError::writing(&path, error.into())),
    }
}
