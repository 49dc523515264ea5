//! Bucket: which partition of a series or of a host's log a stamp belongs to. Pure.
//!
//! In: stamps, ranges and the recorded widths. Out: bucket numbers, and the buckets of a range in
//! either direction, made one by one so that a careless range costs nothing until it is walked.
//! Promises: every stamp has exactly one bucket; the buckets of a range cover it without a gap and
//! without overlap, before 1970 and at the far ends of `i64` too. A width may change: it then holds
//! for stamps from a given time on, and what was written before stays where it is.

use std::collections::BTreeMap;

use weir_models::time::{DAY_US, HOUR_US};

use super::TimeRange;

/// Width of a bucket of readings until something better is known: a day, microseconds.
pub const READINGS_WIDTH_US: i64 = DAY_US;
/// Width of a bucket of log lines until something better is known: an hour, microseconds.
pub const LOGS_WIDTH_US: i64 = HOUR_US;
/// Width of a partition of a site's alerts: a day, microseconds.
pub const ALERTS_WIDTH_US: i64 = DAY_US;
/// Width of a partition of one series' alerts: 365 days, microseconds.
pub const SERIES_ALERTS_WIDTH_US: i64 = 365 * DAY_US;
/// Width of a partition of one device's changes: 365 days, microseconds.
pub const CHANGES_WIDTH_US: i64 = 365 * DAY_US;
/// The first partition of a device's changes, of 2026; what claims to be older lies there, too.
pub const FIRST_CHANGES_BUCKET: i64 = 56;
/// Into how many partitions the lists of a site (series, hosts, devices, latest values) are split.
pub const SHARDS: u8 = 16;
/// Most partitions that one query reads.
pub const PARTITIONS_MAX: usize = 10_000;

/// One bucket: its number, and the stamps it holds (`from_us <= ts_us < to_us`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Number, the stamp divided by the width, rounded down.
    pub number: i64,
    /// Its first microsecond.
    pub from_us: i64,
    /// The first microsecond after it (the last one at the far end of `i64`).
    pub to_us: i64,
    /// By what stamps are divided to get its number; it may be cut where another width begins.
    pub width_us: i64,
}

impl Bucket {
    /// The bucket of a stamp under a width of at least one that holds from `since_us` on.
    pub(crate) fn of(ts_us: i64, width_us: i64, since_us: i64) -> Self {
        let number = ts_us.div_euclid(width_us);
        let from_us = number.saturating_mul(width_us);
        let to_us = from_us.saturating_add(width_us);
        Self { number, from_us: from_us.max(since_us), to_us, width_us }
    }

    /// Whether a stamp surely is in it.
    pub(crate) fn holds(&self, ts_us: i64) -> bool {
        self.from_us <= ts_us && ts_us < self.to_us
    }
}

/// The widths of the buckets of one series or host, by the stamp from which each holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widths(BTreeMap<i64, i64>);

impl Widths {
    /// One width for all time, in microseconds; below one microsecond it is taken as one.
    #[must_use]
    pub fn constant(width_us: i64) -> Self {
        Self(BTreeMap::from([(i64::MIN, width_us.max(1))]))
    }

    /// As recorded: from which stamp which width holds. What the record does not cover, or covers
    /// with nonsense, has the width `otherwise_us`.
    #[must_use]
    pub fn recorded(record: BTreeMap<i64, i64>, otherwise_us: i64) -> Self {
        let mut widths = Self::constant(otherwise_us);
        let sound = record.into_iter().filter(|&(_, width_us)| width_us > 0);
        widths.0.extend(sound);
        widths
    }

    /// The record to keep.
    #[must_use]
    pub fn record(&self) -> &BTreeMap<i64, i64> {
        &self.0
    }

    /// The bucket of a stamp.
    #[must_use]
    pub fn bucket(&self, ts_us: i64) -> Bucket {
        let (&since_us, &width_us) =
            self.0.range(..=ts_us).next_back().unwrap_or((&i64::MIN, &READINGS_WIDTH_US));
        let until_us = self
            .0
            .range(ts_us.saturating_add(1)..)
            .next()
            .map_or(i64::MAX, |(&from_us, _)| from_us);
        let bucket = Bucket::of(ts_us, width_us, since_us);
        Bucket { to_us: bucket.to_us.min(until_us), ..bucket }
    }

    /// The buckets that `range` touches, oldest first.
    pub fn ascending(&self, range: TimeRange) -> impl Iterator<Item = Bucket> + '_ {
        let mut next_us = (!range.is_empty()).then_some(range.from_us);
        std::iter::from_fn(move || {
            let bucket = self.bucket(next_us?);
            next_us = (bucket.to_us < range.to_us).then_some(bucket.to_us);
            Some(bucket)
        })
    }

    /// The buckets that `range` touches, newest first.
    pub fn descending(&self, range: TimeRange) -> impl Iterator<Item = Bucket> + '_ {
        let mut next_us = (!range.is_empty()).then(|| range.to_us - 1);
        std::iter::from_fn(move || {
            let bucket = self.bucket(next_us?);
            next_us = (bucket.from_us > range.from_us).then(|| bucket.from_us - 1);
            Some(bucket)
        })
    }
}

impl TimeRange {
    /// Whether no stamp can be in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.from_us >= self.to_us
    }

    /// What both ranges hold.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { from_us: self.from_us.max(other.from_us), to_us: self.to_us.min(other.to_us) }
    }

    /// Made wider to the borders of windows of `step_us` microseconds, counted from the Unix epoch; at the far
    /// ends of `i64` a window is cut.
    #[must_use]
    pub fn whole_windows(self, step_us: i64) -> Self {
        let to_us = window_start(self.to_us.saturating_sub(1), step_us).saturating_add(step_us);
        Self { from_us: window_start(self.from_us, step_us), to_us }
    }

    /// The range that surely holds every row of a series whose first stamp is `first_us` and whose
    /// last stamp is recorded, to the day, as `last_us`.
    #[must_use]
    pub fn of_extent(first_us: i64, last_us: i64) -> Self {
        Self { from_us: first_us, to_us: day_end(last_us) }
    }
}

/// The begin of the window of `step_us` microseconds (at least one), counted from the Unix epoch, that holds a
/// stamp.
#[must_use]
pub fn window_start(ts_us: i64, step_us: i64) -> i64 {
    ts_us.div_euclid(step_us).saturating_mul(step_us)
}

/// The first microsecond of the next UTC day.
#[must_use]
pub fn day_end(ts_us: i64) -> i64 {
    Widths::constant(DAY_US).bucket(ts_us).to_us
}

/// The partition of a device's change.
#[must_use]
pub fn changes_bucket(ts_us: i64) -> i64 {
    ts_us.div_euclid(CHANGES_WIDTH_US).max(FIRST_CHANGES_BUCKET)
}

/// The shard of a name within its site: FNV-1a (64 bits) modulo [`SHARDS`].
#[must_use]
pub fn shard(name: &str) -> i8 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    (hash % u64::from(SHARDS)) as i8
}

/// Every shard.
pub fn shards() -> impl Iterator<Item = i8> {
    0..SHARDS as i8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(from_us: i64, to_us: i64) -> TimeRange {
        TimeRange { from_us, to_us }
    }

    #[track_caller]
    fn check(widths: &Widths, asked: TimeRange, expected: &[i64]) {
        let up: Vec<i64> = widths.ascending(asked).map(|b| b.number).collect();
        let mut down: Vec<i64> = widths.descending(asked).map(|b| b.number).collect();
        down.reverse();
        assert_eq!((up.as_slice(), down.as_slice()), (expected, expected));
    }

    #[test]
    fn borders_belong_to_the_later_bucket() {
        let widths = Widths::constant(10);
        check(&widths, range(0, 10), &[0]);
        check(&widths, range(0, 11), &[0, 1]);
        check(&widths, range(9, 21), &[0, 1, 2]);
        check(&widths, range(-1, 1), &[-1, 0]);
        check(&widths, range(-20, -10), &[-2]);
        check(&widths, range(5, 5), &[]);
        check(&widths, range(6, 5), &[]);
    }

    #[test]
    fn a_range_is_made_of_whole_windows() {
        let check = |from_us, to_us, expected| {
            let range = range(from_us, to_us).whole_windows(60);
            assert_eq!((range.from_us, range.to_us), expected);
        };
        check(0, 60, (0, 60));
        check(59, 61, (0, 120));
        check(-1, 0, (-60, 0));
        check(i64::MIN, i64::MAX, (i64::MIN, i64::MAX));
    }

    #[test]
    fn a_new_width_holds_from_its_stamp_on() {
        let widths = Widths::recorded(BTreeMap::from([(25, 5)]), 10);
        assert_eq!(widths.bucket(24).number, 2);
        assert_eq!((widths.bucket(24).from_us, widths.bucket(24).to_us), (20, 25));
        assert_eq!(widths.bucket(25).number, 5);
        check(&widths, range(11, 36), &[1, 2, 5, 6, 7]);
    }

    #[test]
    fn a_width_of_nothing_is_not_believed() {
        let widths = Widths::recorded(BTreeMap::from([(0, 0), (5, -3)]), 10);
        assert_eq!(widths, Widths::constant(10));
    }

    #[test]
    fn the_ends_of_time_have_buckets() {
        for width_us in [1, 3, LOGS_WIDTH_US, SERIES_ALERTS_WIDTH_US, i64::MAX] {
            let widths = Widths::constant(width_us);
            for ts_us in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                let bucket = widths.bucket(ts_us);
                assert!(bucket.from_us <= ts_us && ts_us <= bucket.to_us, "{bucket:?}");
            }
        }
        let all = range(i64::MIN, i64::MAX);
        assert_eq!(Widths::constant(DAY_US).ascending(all).take(3).count(), 3);
        assert_eq!(Widths::constant(DAY_US).descending(all).take(3).count(), 3);
    }

    #[test]
    fn the_shard_of_a_name_never_changes() {
        assert_eq!(["", "a", "pump-1", "Käserei"].map(shard), [5, 12, 9, 3]);
    }

    proptest! {
        #[test]
        fn buckets_cover_a_range_without_gap_or_overlap(
            from_us in -500i64..500,
            length in 1i64..300,
            changes in proptest::collection::btree_map(-400i64..400, 1i64..70, 0..4),
        ) {
            let widths = Widths::recorded(changes, 40);
            let asked = range(from_us, from_us + length);
            let up: Vec<Bucket> = widths.ascending(asked).collect();
            let mut down: Vec<Bucket> = widths.descending(asked).collect();
            down.reverse();
            prop_assert_eq!(&up, &down);
            prop_assert!(up[0].from_us <= asked.from_us && up[up.len() - 1].to_us >= asked.to_us);
            prop_assert!(up.windows(2).all(|pair| pair[0].to_us == pair[1].from_us));
            for ts_us in asked.from_us..asked.to_us {
                let bucket = widths.bucket(ts_us);
                prop_assert!(up.contains(&bucket));
                prop_assert!(bucket.from_us <= ts_us && ts_us < bucket.to_us);
            }
        }
    }
}
