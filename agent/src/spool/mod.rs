//! Keeps events on disk until Kafka has them.
//!
//! In: finished events, by lane, topic and key. Out: groups of ready Kafka record batches, read by
//! the publisher ([`LaneReader`]) and deleted once it has acknowledged them; and what was lost
//! ([`Spool::take_losses`]), to be marked in its stream.
//!
//! Promises: what [`Spool::flush`] has written survives a killed process at once and a power cut
//! from the next [`Spool::sync`] on; it is read in order, exactly once unless the checkpoint was
//! lost. The spool opens on any content of its folder. It takes `max_bytes` of disk and no more,
//! and memory in proportion to what is pending. When it is full, events whose source said
//! [`WhenFull::DropLowest`] give way, the oldest of the lowest lane first, never for a lower lane;
//! all others stay.
//! What can go wrong: the budget or the disk is full and nothing may give way ([`SpoolError::Full`],
//! [`SpoolError::NoSpace`]): what is pending stays in memory and the caller tries again
//! (back-pressure); a damaged frame is left out. What is lost is never silent: it is noted with its
//! numbers, and the checkpoint does not pass it before it was told ([`Spool::losses_are_told`]).
//!
//! A lane is a log, first in, first out. After an outage what comes now would wait behind all that
//! waits already; so a lane that is far behind begins a new log, which is published beside the old one.
//! Each of these is a [`Strand`], with a stream, a checkpoint and a reader of its own. Only the newest
//! is written to; the others are backlogs, which go when Kafka has them (decision 8).
//!
//! Layout of the folder: `lock`; for each strand a folder (`0-alerts`, `1-urgent`, `2-readings`,
//! `3-rest`, and `2-readings.1` for one that has overtaken) with segments (see [`log`]), the file
//! `checkpoint` and the file `stream`. Everything blocks: call it from a thread that may.

pub mod cli;
pub mod log;

mod checkpoint;
mod config;
mod folders;
mod identity;
mod lane;
mod mark;
mod progress;
mod reader;
mod seal;
mod strand;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use config::{SpoolConfig, WhenFull};
pub(crate) use identity::boot;
pub(crate) use reader::GROUPS_IN_FLIGHT_MAX;
pub use reader::{Frame, Group, LaneReader, Position};
pub use strand::StreamState;
use weir_models::event::Clock;
pub use writer::{Pending, Spool};

/// A priority. Each lane has a stream of its own, so that what matters more overtakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Alerts.
    Alerts,
    /// Events that a rule calls urgent.
    Urgent,
    /// Readings.
    Readings,
    /// Everything else.
    Rest,
}

impl Lane {
    /// All lanes, the highest priority first.
    pub const ALL: [Lane; 4] = [Lane::Alerts, Lane::Urgent, Lane::Readings, Lane::Rest];

    /// Its name, as in metrics and folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lane::Alerts => "alerts",
            Lane::Urgent => "urgent",
            Lane::Readings => "readings",
            Lane::Rest => "rest",
        }
    }

    fn folder(self) -> String {
        format!("{}-{}", self as usize, self.name())
    }
}

/// A log of a lane: it has a stream, a checkpoint and a producer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Strand {
    /// Its lane.
    pub lane: Lane,
    /// Its number in the lane. They rise: events of a higher one came later.
    pub number: u64,
}

impl fmt::Display for Strand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lane.name(), self.number)
    }
}

/// Counters of one lane. All but `waiting_events`, `oldest_ms` and `disk_bytes` count from the start
/// of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Events on disk that Kafka has not acknowledged.
    pub waiting_events: u64,
    /// When the oldest of them was received, milliseconds since the Unix epoch, as far as known.
    pub oldest_ms: Option<i64>,
    /// Bytes on disk, with what is acknowledged and not yet deleted.
    pub disk_bytes: u64,
    /// Bytes written (flash wear).
    pub written_bytes: u64,
    /// Damaged batches that were left out.
    pub bad_frames: u64,
    /// Events that could not be read because of damage.
    pub skipped_events: u64,
    /// Events that gave way when the spool was full.
    pub dropped_events: u64,
    /// Bytes cut from the tail on opening.
    pub torn_bytes: u64,
}

impl LaneStats {
    /// Adds those of another strand of the lane.
    fn add(&mut self, other: LaneStats) {
        self.waiting_events += other.waiting_events;
        self.oldest_ms = match (self.oldest_ms, other.oldest_ms) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        self.disk_bytes += other.disk_bytes;
        self.written_bytes += other.written_bytes;
        self.bad_frames += other.bad_frames;
        self.skipped_events += other.skipped_events;
        self.dropped_events += other.dropped_events;
        self.torn_bytes += other.torn_bytes;
    }
}

/// A spool that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The byte budget is used up.
    #[error(
        "spool is full: {} holds {used_bytes} of {max_bytes} bytes; see that Kafka is reachable, or raise `spool.max_bytes`",
        path.display()
    )]
    Full {
        /// The spool's folder.
        path: PathBuf,
        /// Bytes on disk.
        used_bytes: u64,
        /// The budget.
        max_bytes: u64,
    },
    /// The file system is full before the budget is.
    #[error("disk is full: free space on {}, or lower `spool.max_bytes` below what it has", path.display())]
    NoSpace {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// Another process has the spool.
    #[error("spool {} is in use by another process: stop it, or set another `spool.path`", path.display())]
    Locked {
        /// The spool's folder.
        path: PathBuf,
    },
    /// Settings that cannot work.
    #[error("{0}")]
    Config(String),
    /// A file or folder that cannot be read or written.
    #[error(transparent)]
    Io(log::LogError),
}

impl SpoolError {
    fn writing(path: &Path, error: io::Error) -> Self {
        log::LogError::writing(path, error).into()
    }

    /// Whether space is what lacks: the same flush may succeed later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, SpoolError::Full { .. } | SpoolError::NoSpace { .. })
    }
}

impl From<log::LogError> for SpoolError {
    fn from(error: log::LogError) -> Self {
        match error {
            log::LogError::NoSpace { path } => SpoolError::NoSpace { path },
            error => SpoolError::Io(error),
        }
    }
}

/// Set in a frame's byte where all its events may give way.
const MAY_DROP: u8 = 0x80;
/// The bits of the clock in that byte.
const CLOCK_BITS: u8 = 0x03;

/// The state of the clock as a byte on disk.
fn clock_byte(clock: Clock) -> u8 {
    match clock {
        Clock::Synced => 0,
        Clock::Unsynced => 1,
        Clock::Corrected => 2,
    }
}

/// The reverse; what is not known is not to be trusted.
fn clock_of(byte: u8) -> Clock {
    match byte & CLOCK_BITS {
        0 => Clock::Synced,
        2 => Clock::Corrected,
        _ => Clock::Unsynced,
    }
}
