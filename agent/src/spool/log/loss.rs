//! What of a log cannot be delivered, until its owner has told it on.
//!
//! In: ranges of ordinals that readers met: damaged, given up for want of space, refused. Out: the
//! same ranges, once each, to the owner, who writes a marker for them. Promises: memory is bounded;
//! beyond [`RANGES_MAX`] ranges the last one grows. Until a range is told it [holds](Losses::holds)
//! what lies behind it, so that a crash does not lose it: the next process meets it again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Tag;

/// Ranges that wait to be told.
const RANGES_MAX: usize = 256;

/// Why events are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The disk gave back other bytes than were written.
    Damaged,
    /// They gave way to others when the spool was full.
    Dropped,
    /// Kafka refuses them for good.
    Refused,
}

impl Cause {
    /// The cause as a byte on disk.
    pub(super) fn byte(self) -> u8 {
        match self {
            Cause::Damaged => 1,
            Cause::Dropped => 2,
            Cause::Refused => 3,
        }
    }

    /// The reverse.
    pub(super) fn of(byte: u8) -> Cause {
        match byte {
            2 => Cause::Dropped,
            3 => Cause::Refused,
            _ => Cause::Damaged,
        }
    }

    /// The reason as markers and metrics give it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Cause::Damaged => "spool_damaged",
            Cause::Dropped => "spool_full",
            Cause::Refused => "refused",
        }
    }
}

/// Ordinals that cannot be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The tag of the segment they were in; where that is gone, of the next one.
    pub tag: Tag,
    /// Smallest ordinal.
    pub first: u64,
    /// Largest ordinal.
    pub last: u64,
    /// How many: some between the two may be there.
    pub count: u64,
    /// Why.
    pub cause: Cause,
}

/// The ranges that were met and not told yet.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    untold: VecDeque<Lost>,
    /// So many of them, from the front, the owner has in hand.
    in_hand: usize,
    notice: Option<Arc<Notify>>,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_notice(&self, notice: Arc<Notify>) {
        self.lock().notice = Some(notice);
    }

    pub(super) fn note(&self, lost: Lost) {
        let mut state = self.lock();
        // Nobody tells what nobody asked to hear of.
        let Some(notice) = state.notice.clone() else { return };
        let (open, full) = (state.in_hand, state.untold.len() >= RANGES_MAX);
        let follows = |last: &Lost| {
            (last.tag, last.cause) == (lost.tag, lost.cause)
                && (full || last.last + 1 == lost.first)
        };
        let may_grow = state.untold.len() > open;
        match state.untold.back_mut().filter(|last| may_grow && follows(last)) {
            Some(last) => {
                last.first = last.first.min(lost.first);
                last.last = last.last.max(lost.last);
                last.count += lost.count;
            }
            None => state.untold.push_back(lost),
        }
        drop(state);
        notice.notify_one();
    }

    /// Those that were not taken before. They stay untold until [`Losses::told`].
    pub(super) fn take(&self) -> Vec<Lost> {
        let mut state = self.lock();
        let new = state.untold.iter().skip(state.in_hand).copied().collect();
        state.in_hand = state.untold.len();
        new
    }

    /// Those that were taken are told.
    pub(super) fn told(&self) {
        let mut state = self.lock();
        let count = std::mem::take(&mut state.in_hand);
        state.untold.drain(..count);
    }

    /// Whether something below `ordinal` is not told yet.
    pub(super) fn holds(&self, ordinal: u64) -> bool {
        self.lock().untold.iter().any(|lost| lost.first < ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(first: u64, count: u64) -> Lost {
        Lost { tag: [0; 16], first, last: first + count - 1, count, cause: Cause::Damaged }
    }

    #[test]
    fn each_range_is_taken_once_and_holds_until_it_is_told() {
        let losses = Losses::default();
        losses.note(lost(1, 1));
        assert_eq!(losses.take(), [], "nobody listens");
        losses.set_notice(Arc::default());
        losses.note(lost(5, 2));
        losses.note(lost(7, 1));
        assert!(losses.holds(6) && !losses.holds(5));
        assert_eq!(losses.take(), [lost(5, 3)]);
        losses.note(lost(8, 1));
        assert_eq!(losses.take(), [lost(8, 1)], "what is in hand does not grow");
        assert!(losses.holds(6));
        losses.told();
        assert!(!losses.holds(100));
        losses.told();
        assert_eq!(losses.take(), []);
    }

    #[test]
    fn memory_is_bounded_and_no_event_is_forgotten() {
        let losses = Losses::default();
        losses.set_notice(Arc::default());
        for i in 0..10_000 {
            losses.note(lost(i * 10, 2));
        }
        let taken = losses.take();
        assert_eq!(taken.len(), RANGES_MAX);
        assert_eq!(taken.iter().map(|lost| lost.count).sum::<u64>(), 20_000);
        assert_eq!(taken.last().map(|lost| lost.last), Some(99_991));
    }
}
