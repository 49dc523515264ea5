//! Stuck: a value that has been exactly the same for far longer than this series ever was. Learnt, nothing to set.
//!
//! In: event time and value of every reading. Out: whether the value is stuck. It differs from the rule `flat`, which
//! somebody sets in seconds and with a tolerance: this one counts readings, allows no movement at all, and measures the
//! series by itself alone. Nothing is said in the first week, so that nights and a weekend have been seen; nor within an
//! hour; nor of a series that rests at this value as a rule: at zero (what is switched off), or where its longest rest so
//! far was; nor of one that hardly ever falls: a counter stands still when nothing is counted. State: 40 bytes. A run that was told is the longest one from then on, so that the same is not told again.

use crate::time::rfc3339;

/// What must be known of a series: so many changes, in so much event time.
const CHANGES_LEAST: u16 = 300;
const LEARN_US: i64 = 7 * 86_400_000_000;
/// So many times the longest rest so far, and at least so many readings.
const FAR: u32 = 10;
const RUN_LEAST: u32 = 30;
const REST_LEAST_US: i64 = 3_600_000_000;
/// A series that falls less often than at one change in so many is a counter.
const COUNTER: u16 = 16;

/// What is remembered of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    value: f64,
    since_us: i64,
    first_us: i64,
    run: u32,
    longest: u32,
    changes: u16,
    /// Changes to a lower value.
    falls: u16,
    /// Where the longest rest was; enough digits to know it again.
    rest: f32,
}

impl Default for Stuck {
    fn default() -> Self {
        // No value is equal to this one, so that the first reading is a change.
        Self {
            value: f64::NAN,
            since_us: 0,
            first_us: 0,
            run: 0,
            longest: 0,
            changes: 0,
            falls: 0,
            rest: 0.0,
        }
    }
}

impl Stuck {
    /// Takes a reading; says whether the value is stuck now.
    #[inline]
    pub fn update(&mut self, ts_us: i64, value: f64) -> bool {
        if value == self.value {
            self.run = self.run.saturating_add(1);
            self.run > self.longest && self.is_far(ts_us)
        } else {
            self.change(ts_us, value);
            false
        }
    }

    fn change(&mut self, ts_us: i64, value: f64) {
        if self.run > self.longest {
            self.longest = self.run;
            self.rest = self.value as f32;
        }
        // A clock that was set begins the week again.
        if self.changes == 0
            || ts_us < self.first_us
            || ts_us.saturating_sub(self.since_us) >= LEARN_US
        {
            self.first_us = ts_us;
        }
        if self.changes == u16::MAX {
            (self.changes, self.falls) = (self.changes / 2, self.falls / 2);
        }
        self.changes += 1;
        self.falls += u16::from(value < self.value);
        (self.value, self.since_us, self.run) = (value, ts_us, 1);
    }

    fn is_far(&self, ts_us: i64) -> bool {
        self.run >= RUN_LEAST.max(self.longest.saturating_mul(FAR))
            && self.changes >= CHANGES_LEAST
            && self.falls >= self.changes / COUNTER
            && ts_us.saturating_sub(self.first_us) >= LEARN_US
            && ts_us.saturating_sub(self.since_us) >= REST_LEAST_US
            && self.value != 0.0
            && self.value as f32 != self.rest
    }

    /// Why it is stuck.
    #[must_use]
    pub fn explain(&self) -> String {
        let Self { value, run, longest, .. } = self;
        let since = rfc3339(self.since_us);
        format!("{value} since {since}, {run} readings; never more than {longest} before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE_MINUTES_US: i64 = 300_000_000;
    const WEEK: usize = 7 * 288;

    /// Never two alike in a row, but for pairs now and then.
    fn moving(n: usize) -> Vec<f64> {
        (0..n).map(|i| 20.0 + (i / 2 * 7_919 % 101) as f64 / 100.0).collect()
    }

    /// Which reading is the first that is stuck, and the reason.
    #[track_caller]
    fn check(values: &[f64], expected: Option<(usize, &str)>) {
        let mut stuck = Stuck::default();
        let found = values.iter().enumerate().find_map(|(i, v)| {
            let is_stuck = stuck.update(i as i64 * FIVE_MINUTES_US, *v);
            is_stuck.then(|| (i, stuck.explain()))
        });
        assert_eq!(found, expected.map(|(i, why)| (i, why.to_owned())));
    }

    #[test]
    fn a_value_that_stands_still_for_far_longer_than_ever() {
        let then = |first: usize, value: f64, n: usize| [moving(first), vec![value; n]].concat();
        let why = "21.5 since 1970-01-08T00:00:00Z, 30 readings; never more than 2 before";
        check(&then(WEEK, 21.5, 29), None);
        check(&then(WEEK, 21.5, 30), Some((WEEK + 29, why)));
        // Not before a week; not what is off; not a series that always was like that.
        check(&then(1_500, 21.5, 400), None);
        check(&then(WEEK, 0.0, 400), None);
        check(&vec![21.5; 3 * WEEK], None);
        let switch: Vec<f64> =
            (0..3 * WEEK).map(|i| f64::from(u8::from(i / 50 % 2 == 1))).collect();
        check(&switch, None);
    }

    /// The same, with a reading every second, after the week.
    #[test]
    fn not_within_an_hour_and_not_what_only_counts() {
        let weeks = moving(WEEK);
        let after = |value: f64, n: i64| {
            let mut stuck = Stuck::default();
            for (i, v) in (0..).zip(&weeks) {
                assert!(!stuck.update(i * FIVE_MINUTES_US, *v));
            }
            let begin_us = weeks.len() as i64 * FIVE_MINUTES_US;
            (0..n).find(|s| stuck.update(begin_us + s * 1_000_000, value))
        };
        assert_eq!(after(100.0, 5_000), Some(3_600));
        assert_eq!(after(100.0, 3_600), None);
        let counted: Vec<f64> = (0..2 * WEEK).map(|i| (i % (WEEK / 2)) as f64).collect();
        check(&[counted, vec![77.0; 4_000]].concat(), None);
    }

    #[test]
    fn a_clock_that_is_set_is_no_week() {
        let mut stuck = Stuck::default();
        let set_us = 20_000 * 86_400_000_000;
        let stamps = (0..500_i64).map(|i| i * FIVE_MINUTES_US + if i < 100 { 0 } else { set_us });
        for (ts_us, value) in stamps.clone().zip(moving(500)) {
            assert!(!stuck.update(ts_us, value));
        }
        let begin_us = set_us + 500 * FIVE_MINUTES_US;
        assert!((0..400).all(|i| !stuck.update(begin_us + i * FIVE_MINUTES_US, 21.5)));
        // One stray stamp of 1970 begins the week again, too.
        let mut stuck = Stuck::default();
        for (i, value) in (0..).zip(moving(500)) {
            let ts_us = if i == 250 { 0 } else { set_us + i * FIVE_MINUTES_US };
            assert!(!stuck.update(ts_us, value));
        }
        assert!((0..400).all(|i| !stuck.update(begin_us + i * FIVE_MINUTES_US, 21.5)));
    }

    #[test]
    fn ten_times_the_longest_and_not_where_it_rests() {
        // It rests at 4 for twenty readings, once a day.
        let day = [moving(268), vec![4.0; 20]].concat();
        let weeks = day.repeat(9);
        let then = |value: f64, n: usize| [weeks.clone(), moving(1), vec![value; n]].concat();
        let at = weeks.len() + 1;
        let why = "21.5 since 1970-01-10T00:05:00Z, 200 readings; never more than 20 before";
        check(&then(21.5, 199), None);
        check(&then(21.5, 200), Some((at + 199, why)));
        check(&then(4.0, 400), None);
    }

    #[test]
    fn the_same_is_not_told_again() {
        let mut stuck = Stuck::default();
        let weeks = [moving(WEEK), vec![21.5; 100], moving(WEEK), vec![22.5; 100]].concat();
        let told: Vec<usize> = (0..)
            .zip(&weeks)
            .filter(|(i, v)| stuck.update(*i as i64 * FIVE_MINUTES_US, **v))
            .map(|(i, _)| i)
            .collect();
        assert_eq!(told, (WEEK + 29..WEEK + 100).collect::<Vec<_>>());
    }

    #[test]
    fn takes_few_bytes() {
        assert!(size_of::<Stuck>() <= 40, "{}", size_of::<Stuck>());
    }

    proptest! {
        #[test]
        fn nothing_is_stuck_that_has_just_moved(
            readings in proptest::collection::vec((any::<i64>(), any::<f64>(), proptest::bool::weighted(0.97)), 1..400),
        ) {
            let mut stuck = Stuck::default();
            let mut last = f64::NAN;
            for (i, value) in (0..).zip(moving(WEEK)) {
                stuck.update(i * FIVE_MINUTES_US, value);
                last = value;
            }
            let begin_us = WEEK as i64 * FIVE_MINUTES_US;
            for (i, (ts_us, value, again)) in (0..).zip(readings) {
                let value = if again { last } else { value };
                let ts_us = if ts_us % 8 == 0 { ts_us } else { begin_us + i * 20 * FIVE_MINUTES_US };
                let is_stuck = stuck.update(ts_us, value);
                prop_assert!(!is_stuck || value == last);
                last = value;
            }
        }
    }
}
