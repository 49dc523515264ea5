//! What the writer and the reader of a strand tell each other.
//!
//! In: acknowledgements and the stamps of what is read, by the reader; the end, by the writer. Out:
//! the same to the other side, without a wait.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Stands for a stamp that is not known.
const NONE: i64 = i64::MIN;

#[derive(Debug)]
pub(super) struct Progress {
    acknowledged: AtomicU64,
    oldest_ms: AtomicI64,
    is_sealed: AtomicBool,
}

impl Progress {
    pub(super) fn new(acknowledged: u64) -> Progress {
        Progress {
            acknowledged: AtomicU64::new(acknowledged),
            oldest_ms: AtomicI64::new(NONE),
            is_sealed: AtomicBool::new(false),
        }
    }

    /// The ordinal after the last one that Kafka has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, ordinal: u64) {
        self.acknowledged.store(ordinal, Ordering::Release);
    }

    /// When the oldest event that waits was received, milliseconds since the Unix epoch; none
    /// while nothing that waits was read.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Acquire)).filter(|stamp| *stamp != NONE)
    }

    pub(super) fn set_oldest_ms(&self, stamp: Option<i64>) {
        self.oldest_ms.store(stamp.unwrap_or(NONE), Ordering::Release);
    }

    /// Whether nothing is written to the strand any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }
}
