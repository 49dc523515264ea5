//! Layout: how the rows of one series, or of one host's log, are divided into partitions, and when they are divided
//! more finely. Pure.
//!
//! In: what is recorded, and the rows that are written. Out: the bucket of a row that is to be written, the buckets in
//! which rows of a range may be, and the next narrower width once a bucket has got too many rows. A row is written to
//! the narrowest width that its writer knows of for its stamp. A reader looks into the buckets of **all** recorded
//! widths that hold for a stamp, so that writers may learn of a width at different times, or never: what they write is found.
//! That a row is recorded and found so rests on two rules: a width is recorded before, or together with, the first rows
//! that are confirmed under it; and a record only grows. Of one width the smallest beginning counts, whoever records it.
//!
//! Wider again it does not get: a wide bucket costs a look, a partition that is too large costs the cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;

use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::TimeRange;
use super::bucket::{Bucket, Widths, window_start};

const MINUTE_US: i64 = 60 * SECOND_US;
/// Widths of buckets of readings, from the one at the beginning on. The last one is such that a month without rows is
/// some thousand looks.
pub(crate) const READINGS_LADDER_US: &[i64] = &[DAY_US, 4 * HOUR_US, HOUR_US, 10 * MINUTE_US];
/// Widths of buckets of log lines.
pub(crate) const LOGS_LADDER_US: &[i64] = &[HOUR_US, 10 * MINUTE_US, MINUTE_US];
/// Bytes of a line's text that weigh as much as a reading.
const LINE_BYTES: usize = 512;

/// A narrower width, and the stamp from which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Narrower {
    pub(crate) width_us: i64,
    pub(crate) since_us: i64,
}

/// The widths of the buckets of one series or host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// What holds without anything narrower.
    base: Widths,
    /// From which stamp on each narrower width holds, by width.
    narrower: BTreeMap<i64, i64>,
}

impl Layout {
    /// As recorded; a width of nothing is not believed.
    pub(crate) fn new(base: Widths, mut narrower: BTreeMap<i64, i64>) -> Self {
        narrower.retain(|&width_us, _| width_us > 0);
        Self { base, narrower }
    }

    /// The record of what holds without anything narrower.
    pub(crate) fn base(&self) -> &Widths {
        &self.base
    }

    /// The bucket that a row of this stamp is written to. Its end is where another width begins, at the latest.
    pub(crate) fn bucket(&self, ts_us: i64) -> Bucket {
        let mut until_us = i64::MAX;
        let mut found = None;
        for (&width_us, &since_us) in &self.narrower {
            if since_us <= ts_us {
                found = Some(Bucket::of(ts_us, width_us, since_us));
                break;
            }
            until_us = until_us.min(since_us);
        }
        let bucket = found.unwrap_or_else(|| self.base.bucket(ts_us));
        Bucket { to_us: bucket.to_us.min(until_us), ..bucket }
    }

    /// What holds for what was written before there were narrower widths.
    pub(crate) fn first(&self) -> Self {
        Self { base: self.base.clone(), narrower: BTreeMap::new() }
    }

    /// Where rows of a range may be: widths, each with the part of the range for which it holds, the widest first. Each
    /// narrower one lies in time beside the first one. A row that is in two of them was written to the narrower one last,
    /// unless its writer had not heard of that: a writer never goes back.
    pub(crate) fn covers(&self, range: TimeRange) -> Vec<(Cow<'_, Widths>, TimeRange)> {
        let narrower = self.narrower.iter().rev().map(|(&width_us, &since_us)| {
            let holds = TimeRange { from_us: since_us, to_us: i64::MAX };
            (Cow::Owned(Widths::constant(width_us)), range.intersect(holds))
        });
        let all = std::iter::once((Cow::Borrowed(&self.base), range)).chain(narrower);
        all.filter(|(_, range)| !range.is_empty()).collect()
    }

    /// Adds a width; of two beginnings the smaller one counts.
    pub(crate) fn add(&mut self, narrower: Narrower) {
        let since_us = self.narrower.entry(narrower.width_us).or_insert(narrower.since_us);
        *since_us = narrower.since_us.min(*since_us);
    }

    /// Counts rows, told by stamp and weight, for the buckets they are written to; says which width they need from
    /// now on, where one has got more than `max`. With a `max` of 0 there is never another width.
    pub(crate) fn fill(
        &self,
        filling: &mut Filling,
        rows: impl Iterator<Item = (i64, u64)>,
        ladder: &[i64],
        max: u64,
    ) -> Option<Narrower> {
        if max == 0 {
            return None;
        }
        // One addition for each bucket, whatever the order of the rows.
        let mut runs: BTreeMap<(i64, i64), (Bucket, Count)> = BTreeMap::new();
        let mut end = |run: Option<(Bucket, Count)>| {
            if let Some((bucket, run)) = run {
                let place = (bucket.from_us, bucket.width_us);
                let whole = |(_, count): &mut (Bucket, Count)| count.add(run.weight, run.newest_us);
                runs.entry(place).and_modify(whole).or_insert((bucket, run));
            }
        };
        let mut run: Option<(Bucket, Count)> = None;
        for (ts_us, weight) in rows {
            match &mut run {
                Some((bucket, count)) if bucket.holds(ts_us) => count.add(weight, ts_us),
                _ => {
                    let count = Count { weight, newest_us: ts_us };
                    end(run.replace((self.bucket(ts_us), count)));
                }
            }
        }
        end(run);
        let mut found = None;
        for (bucket, run) in runs.into_values() {
            let count = filling.add(bucket, run);
            if count.weight > max {
                found = found.or_else(|| self.next(bucket, count.newest_us, ladder));
            }
        }
        found
    }

    /// What follows on a bucket that is too full: the next width, from the first of its borders on that is behind
    /// what the bucket has.
    fn next(&self, full: Bucket, newest_us: i64, ladder: &[i64]) -> Option<Narrower> {
        let width_us = ladder.iter().copied().find(|&width_us| width_us < full.width_us)?;
        let since_us = window_start(newest_us, width_us).saturating_add(width_us);
        let known = self.narrower.get(&width_us);
        let is_new = known.is_none_or(|&known_us| since_us < known_us);
        is_new.then_some(Narrower { width_us, since_us })
    }
}

/// What a line weighs: as a reading where it is short.
pub(crate) fn line_weight(message: &str) -> u64 {
    1 + (message.len() / LINE_BYTES) as u64
}

/// What was written to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    weight: u64,
    newest_us: i64,
}

impl Count {
    fn add(&mut self, weight: u64, newest_us: i64) {
        self.weight = self.weight.saturating_add(weight);
        self.newest_us = self.newest_us.max(newest_us);
    }
}

/// How full the buckets are that were written to last: some, because a backlog may come beside live data, and hosts
/// behind a relay may have clocks that are hours apart. What this instance has not written, or has forgotten, is not
/// counted: a partition has some times the wanted rows then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filling([Option<(i64, i64, Count)>; 4]);

impl Filling {
    /// Adds to the count of a bucket, and says what it is now.
    fn add(&mut self, bucket: Bucket, run: Count) -> Count {
        let Bucket { from_us, width_us, .. } = bucket;
        let is_it = |&(from, width, _): &(i64, i64, Count)| from == from_us && width == width_us;
        // The one that was written to last is in front; the one that was not for the longest time goes.
        let found = self.0.iter().position(|one| one.as_ref().is_some_and(is_it));
        let last = self.0.len() - 1;
        self.0[..=found.unwrap_or(last)].rotate_right(1);
        if found.is_none() {
            self.0[0] = None;
        }
        let new = Count { weight: 0, newest_us: run.newest_us };
        let (_, _, count) = self.0[0].get_or_insert((from_us, width_us, new));
        count.add(run.weight, run.newest_us);
        *count
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    const LADDER: &[i64] = &[100, 20, 4];
    const ALL: TimeRange = TimeRange { from_us: -10_000, to_us: 10_000 };

    fn plain() -> Layout {
        Layout::new(Widths::constant(100), BTreeMap::new())
    }

    fn written(layout: &Layout, ts_us: i64) -> (i64, i64, i64, i64) {
        let Bucket { number, from_us, to_us, width_us } = layout.bucket(ts_us);
        (number, from_us, to_us, width_us)
    }

    #[test]
    fn the_narrowest_that_holds_is_written_to() {
        let layout = Layout::new(Widths::constant(100), BTreeMap::from([(20, 40), (4, 130)]));
        assert_eq!(written(&layout, 39), (0, 0, 40, 100));
        assert_eq!(written(&layout, 40), (2, 40, 60, 20));
        assert_eq!(written(&layout, 129), (6, 120, 130, 20));
        assert_eq!(written(&layout, 130), (32, 130, 132, 4));
        assert_eq!(written(&plain(), -1), (-1, -100, 0, 100));
    }

    #[test]
    fn a_bucket_that_is_too_full_gets_a_narrower_one_after_it() {
        let (mut layout, mut filling) = (plain(), Filling::default());
        let mut fill = |layout: &Layout, stamps: std::ops::Range<i64>| {
            layout.fill(&mut filling, stamps.map(|ts_us| (ts_us, 1)), LADDER, 30)
        };
        assert_eq!(fill(&layout, 0..30), None);
        let narrower = fill(&layout, 30..32).unwrap();
        assert_eq!(narrower, Narrower { width_us: 20, since_us: 40 });
        layout.add(narrower);
        // More of the old bucket changes nothing; fewer than the bound in each new one neither.
        assert_eq!(fill(&layout, 32..400), None);
        let twice = (400..420).chain(400..420);
        let narrower = layout.fill(&mut filling, twice.map(|ts_us| (ts_us, 1)), LADDER, 30);
        assert_eq!(narrower, Some(Narrower { width_us: 4, since_us: 420 }));
        layout.add(narrower.unwrap());
        let many = std::iter::repeat_n((421, 1), 1_000);
        assert_eq!(layout.fill(&mut filling, many, LADDER, 30), None, "the narrowest one stays");
    }

    #[test]
    fn a_bound_of_nothing_divides_nothing() {
        let (layout, mut filling) = (plain(), Filling::default());
        let mut fill = |max| {
            let rows = std::iter::repeat_n((5, 1), 1_000);
            layout.fill(&mut filling, rows, LADDER, max)
        };
        assert_eq!(fill(0), None);
        assert_eq!(fill(1).map(|narrower| narrower.width_us), Some(20));
    }

    #[test]
    fn an_older_bucket_that_is_too_full_brings_the_beginning_forward() {
        let (mut layout, mut filling) = (plain(), Filling::default());
        layout.add(Narrower { width_us: 20, since_us: 900 });
        let rows = std::iter::repeat_n((205, 1), 31);
        let narrower = layout.fill(&mut filling, rows, LADDER, 30).unwrap();
        assert_eq!(narrower, Narrower { width_us: 20, since_us: 220 });
        layout.add(narrower);
        layout.add(Narrower { width_us: 20, since_us: 600 });
        assert_eq!(layout.narrower, BTreeMap::from([(20, 220)]));
    }

    #[test]
    fn live_data_and_a_backlog_are_counted_side_by_side() {
        let (layout, mut filling) = (plain(), Filling::default());
        for n in 0..10 {
            let rows = [(n, 1), (5_000 + n, 1), (5_000 + n, 1)];
            assert_eq!(layout.fill(&mut filling, rows.into_iter(), LADDER, 20), None, "{n}");
        }
        let narrower = layout.fill(&mut filling, [(5_010, 1)].into_iter(), LADDER, 20).unwrap();
        assert_eq!(narrower, Narrower { width_us: 20, since_us: 5_020 });
    }

    #[test]
    fn what_goes_round_some_buckets_is_counted() {
        let (layout, mut filling) = (plain(), Filling::default());
        for n in 0..10 {
            let rows = [3_000, 5_000, 9_000, 3_001].map(|ts_us| (ts_us + n, 1));
            assert_eq!(layout.fill(&mut filling, rows.into_iter(), LADDER, 20), None, "{n}");
        }
        let narrower = layout.fill(&mut filling, [(3_010, 1)].into_iter(), LADDER, 20).unwrap();
        assert_eq!(narrower, Narrower { width_us: 20, since_us: 3_020 });
    }

    #[test]
    fn long_lines_weigh_more() {
        assert_eq!([0, 511, 512, 8_192].map(|n| line_weight(&"x".repeat(n))), [1, 1, 2, 17]);
    }

    #[test]
    fn the_ends_of_time_can_be_too_full() {
        for ts_us in [i64::MIN, i64::MAX] {
            let (mut layout, mut filling) = (plain(), Filling::default());
            let rows = std::iter::repeat_n((ts_us, 1), 50);
            if let Some(narrower) = layout.fill(&mut filling, rows, LADDER, 30) {
                layout.add(narrower);
            }
            let bucket = layout.bucket(ts_us);
            assert!(bucket.from_us <= ts_us && ts_us <= bucket.to_us);
        }
    }

    #[test]
    fn each_ladder_begins_with_what_is_recorded_first() {
        use crate::store::bucket::{LOGS_WIDTH_US, READINGS_WIDTH_US};
        assert_eq!((READINGS_LADDER_US[0], LOGS_LADDER_US[0]), (READINGS_WIDTH_US, LOGS_WIDTH_US));
        for ladder in [READINGS_LADDER_US, LOGS_LADDER_US] {
            assert!(ladder.windows(2).all(|pair| pair[0] > pair[1] && pair[0] % pair[1] == 0));
        }
    }

    /// Stamps by partition, as a store keeps them.
    type Rows = HashMap<i64, BTreeSet<i64>>;

    fn read(rows: &Rows, layout: &Layout, range: TimeRange) -> Vec<i64> {
        let mut found = Vec::new();
        for (widths, range) in layout.covers(range) {
            for bucket in widths.ascending(range) {
                let part =
                    range.intersect(TimeRange { from_us: bucket.from_us, to_us: bucket.to_us });
                if let Some(stamps) = rows.get(&bucket.number).filter(|_| !part.is_empty()) {
                    found.extend(stamps.range(part.from_us..part.to_us));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    proptest! {
        /// Writers learn of widths when they happen to look; whoever reads the record finds everything.
        #[test]
        fn what_is_written_under_any_width_is_found(
            batches in proptest::collection::vec(
                (0usize..3, any::<bool>(), -2_000i64..2_000, 1i64..60, 0i64..3), 1..80,
            ),
            from_us in -2_500i64..2_500,
            length in 1i64..1_500,
        ) {
            let mut writers = vec![(plain(), Filling::default()); 3];
            let (mut record, mut rows, mut all) = (plain(), Rows::new(), BTreeSet::new());
            for (who, looks, start_us, count, step) in batches {
                let (layout, filling) = &mut writers[who];
                if looks {
                    *layout = record.clone();
                }
                let stamps: Vec<i64> = (0..count).map(|n| start_us + n * step).collect();
                for &ts_us in &stamps {
                    rows.entry(layout.bucket(ts_us).number).or_default().insert(ts_us);
                    all.insert(ts_us);
                }
                let told = stamps.iter().map(|&ts_us| (ts_us, 1));
                if let Some(narrower) = layout.fill(filling, told, LADDER, 40) {
                    layout.add(narrower);
                    record.add(narrower);
                }
                let whole: Vec<i64> = all.iter().copied().collect();
                prop_assert_eq!(read(&rows, &record, ALL), whole);
                let range = TimeRange { from_us, to_us: from_us + length };
                let some: Vec<i64> = all.range(from_us..range.to_us).copied().collect();
                prop_assert_eq!(read(&rows, &record, range), some);
            }
        }

        #[test]
        fn every_stamp_is_in_the_bucket_that_it_is_written_to(
            narrower in proptest::collection::btree_map(1i64..90, -300i64..300, 0..4),
            ts_us in -500i64..500,
        ) {
            let layout = Layout::new(Widths::constant(100), narrower);
            let bucket = layout.bucket(ts_us);
            prop_assert!(bucket.holds(ts_us));
            for other in bucket.from_us.max(-600)..bucket.to_us.min(600) {
                prop_assert_eq!(layout.bucket(other).number, bucket.number);
            }
        }
    }
}
