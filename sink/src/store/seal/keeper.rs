//! Keeper: which marks are due, ours and those of owners that are gone.
//!
//! In: what the store lists, and how time passes for this process. Out: marks to seal. Promises: marks of
//! an owner are taken up by others only when it has left, or when its beat has not changed for
//! `adopt_after` of our own monotonic time; an owner is taken from the list once it has no marks and is
//! gone.
//!
//! A mark is due when its day, or hour of lines, is over and nothing was written to it for `after`; at the latest a day after
//! it was made, for rows of a clock that is wrong. Sealing too early costs a part more and nothing else, so
//! the wall clock may be wrong here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_models::time::{DAY_US, now_us};

use super::marks::Use;
use super::{BEFORE_SEALING, LEFT, Look, Mark, SealStore};
use crate::store::StoreError;

/// A mark is sealed at the latest so long after it was made.
const LATEST: Duration = Duration::from_secs(86_400);

/// What is due, and what was seen of other owners.
#[derive(Debug)]
pub struct Keeper {
    after: Duration,
    adopt_after: Duration,
    /// The beat of each other owner, and when it was seen to change.
    seen: HashMap<String, (i64, Instant)>,
}

/// A mark and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its owner.
    pub owner: String,
    /// The mark.
    pub mark: Mark,
}

impl Keeper {
    /// Marks are due `after` the last write; those of others `adopt_after` their last beat.
    #[must_use]
    pub fn new(after: Duration, adopt_after: Duration) -> Self {
        Self { after, adopt_after, seen: HashMap::new() }
    }

    /// The marks that are due now. Those of several owners are drawn apart, so that instances that do the
    /// same begin at different places.
    ///
    /// # Errors
    /// The store's.
    pub async fn due(&mut self, store: &dyn SealStore) -> Result<Vec<Due>, StoreError> {
        let own = store.marks().owner();
        let mut due = Vec::new();
        // An owner in another datacentre that cannot be heard just now is not gone: then this fails.
        let owners = store.owners(Look::Sure).await?;
        self.seen.retain(|name, _| owners.iter().any(|(owner, _)| owner == name));
        for (owner, beat) in owners {
            if owner != own && !self.is_gone(&owner, beat) {
                continue;
            }
            if owner != own && beat != LEFT {
                // Should it live after all (a machine that slept), it sees that, and marks anew.
                store.beat(&owner, LEFT).await?;
            }
            let marks = store.marks_of(&owner).await?;
            if marks.is_empty() && owner != own {
                store.drop_owner(&owner).await?;
                continue;
            }
            let usage = |mark: &Mark| (owner == own).then(|| store.marks().usage(mark)).flatten();
            let now_us = now_us();
            let before = owner == BEFORE_SEALING;
            let is_due = |mark: &Mark| match before {
                true => is_over_for_long(mark, now_us),
                false => is_due(mark, usage(mark), now_us, self.after),
            };
            let marks = marks.into_iter().filter(is_due);
            due.extend(marks.map(|mark| Due { owner: owner.clone(), mark }));
        }
        let start = getrandom::u32().unwrap_or_default() as usize;
        let start = start.checked_rem(due.len()).unwrap_or_default();
        due.rotate_left(start);
        // What leaves first comes first.
        due.sort_by_key(|due| due.mark.day.range().from_us);
        Ok(due)
    }

    /// Whether an owner has left, or was silent for too long.
    fn is_gone(&mut self, owner: &str, beat: i64) -> bool {
        let seen = self.seen.entry(owner.to_owned()).or_insert((beat, Instant::now()));
        if seen.0 != beat {
            *seen = (beat, Instant::now());
        }
        beat == LEFT || seen.1.elapsed() >= self.adopt_after
    }
}

/// Whether a day is over for so long that no sink of an older version, which makes no marks, writes to it.
fn is_over_for_long(mark: &Mark, now_us: i64) -> bool {
    mark.day.range().to_us.saturating_add(2 * DAY_US) <= now_us
}

/// Whether a mark is due; `usage` is known of marks of ours that are remembered.
fn is_due(mark: &Mark, usage: Option<Use>, now_us: i64, after: Duration) -> bool {
    let day = mark.day.range();
    let over = day.to_us <= now_us;
    let never = day.from_us > now_us.saturating_add(DAY_US);
    match usage {
        Some(usage) => (over && usage.written >= after) || usage.made >= LATEST,
        None => over || never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seal::DeviceDay;

    #[track_caller]
    fn check(span: i64, made_h: u64, written_h: u64, expected: bool) {
        let day = DeviceDay { site: "s".into(), device: "d".into(), span };
        let mark = Mark { day, mark: 1 };
        let hours = |hours| Duration::from_secs(3_600 * hours);
        let usage = Use { made: hours(made_h), written: hours(written_h) };
        let now_us = 10 * DAY_US + DAY_US / 2;
        assert_eq!(is_due(&mark, Some(usage), now_us, hours(1)), expected);
    }

    #[test]
    fn a_mark_is_due_when_its_day_is_over_and_quiet_or_after_a_day() {
        check(9, 3, 1, true);
        check(9, 3, 0, false);
        check(10, 23, 23, false);
        check(10, 24, 0, true);
        check(20_000, 5, 5, false);
        check(20_000, 24, 0, true);
        check(0, 24, 0, true);
    }

    #[test]
    fn a_mark_that_is_not_remembered_waits_for_its_day() {
        let now_us = 10 * DAY_US + DAY_US / 2;
        for (span, expected) in [(9, true), (10, false), (11, false), (12, true), (-5, true)] {
            let day = DeviceDay { site: "s".into(), device: "d".into(), span };
            let mark = Mark { day, mark: 1 };
            assert_eq!(is_due(&mark, None, now_us, Duration::ZERO), expected, "{span}");
        }
    }
}
