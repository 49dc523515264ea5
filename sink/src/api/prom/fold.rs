//! Fold: one number of the values in a window, as Prometheus makes it. Pure.
//!
//! In: samples in ascending time, each stamp once, and the window, open at its begin and closed at its end. Out:
//! a number, or none where Prometheus has none. What a rollup knows enough for is also made of rollups.

use crate::store::sealed::Roll;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Event time, microseconds since the Unix epoch.
    pub(super) ts_us: i64,
    /// Value.
    pub(super) value: f64,
}

/// What is made of the values of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fold {
    /// The newest: a selector without a range, and `last_over_time`.
    Last,
    /// `avg_over_time`
    Avg,
    /// `min_over_time`
    Min,
    /// `max_over_time`
    Max,
    /// `sum_over_time`
    Sum,
    /// `count_over_time`
    Count,
    /// `present_over_time`
    Present,
    /// `stddev_over_time`
    Stddev,
    /// `stdvar_over_time`
    Stdvar,
    /// `quantile_over_time`
    Quantile(f64),
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    Irate,
    /// `idelta`
    Idelta,
    /// `changes`
    Changes,
    /// `resets`
    Resets,
}

/// The functions of a range by name; `quantile_over_time` has a number before the range.
pub(super) const FOLDS: [(&str, Fold); 17] = [
    ("last_over_time", Fold::Last),
    ("avg_over_time", Fold::Avg),
    ("min_over_time", Fold::Min),
    ("max_over_time", Fold::Max),
    ("sum_over_time", Fold::Sum),
    ("count_over_time", Fold::Count),
    ("present_over_time", Fold::Present),
    ("stddev_over_time", Fold::Stddev),
    ("stdvar_over_time", Fold::Stdvar),
    ("quantile_over_time", Fold::Quantile(0.)),
    ("rate", Fold::Rate),
    ("increase", Fold::Increase),
    ("delta", Fold::Delta),
    ("irate", Fold::Irate),
    ("idelta", Fold::Idelta),
    ("changes", Fold::Changes),
    ("resets", Fold::Resets),
];

impl Fold {
    /// Whether the name of the series stays: what is made of it is still a value of it.
    pub(super) fn keeps_name(self) -> bool {
        self == Self::Last
    }

    /// Whether rollups know enough for it.
    pub(super) fn is_of_rolls(self) -> bool {
        use Fold::{Avg, Count, Last, Max, Min, Present, Sum};
        matches!(self, Last | Avg | Min | Max | Sum | Count | Present)
    }

    /// The number of the samples in the window `from_us < ts_us <= to_us`.
    pub(super) fn of(self, samples: &[Sample], from_us: i64, to_us: i64) -> Option<f64> {
        let last = samples.last()?.value;
        let n = samples.len() as f64;
        let values = samples.iter().map(|sample| sample.value);
        let pairs = samples.windows(2).map(|pair| (pair[0].value, pair[1].value));
        match self {
            Self::Last => Some(last),
            Self::Avg => Some(mean(values)),
            Self::Min => values.reduce(f64::min),
            Self::Max => values.reduce(f64::max),
            Self::Sum => Some(sum(values)),
            Self::Count => Some(n),
            Self::Present => Some(1.),
            Self::Stddev => Some(variance(values).sqrt()),
            Self::Stdvar => Some(variance(values)),
            Self::Quantile(q) => Some(quantile(q, values.collect())),
            Self::Rate | Self::Increase | Self::Delta => self.slope(samples, from_us, to_us),
            Self::Irate | Self::Idelta => self.last_step(samples),
            Self::Changes => Some(pairs.filter(|(a, b)| a != b).count() as f64),
            Self::Resets => Some(pairs.filter(|(a, b)| b < a).count() as f64),
        }
    }

    /// The number of the rollup of a window that holds nothing up to `from_us`; none when all of it may be older.
    pub(super) fn of_roll(self, roll: &Roll, from_us: i64) -> Option<f64> {
        match self {
            Self::Last => (roll.last_us > from_us).then_some(roll.last),
            Self::Avg => Some(roll.sum / roll.n as f64),
            Self::Min => Some(roll.min),
            Self::Max => Some(roll.max),
            Self::Sum => Some(roll.sum),
            Self::Count => Some(roll.n as f64),
            Self::Present => Some(1.),
            _ => None,
        }
    }

    /// What the value rose by from the begin to the end of the window, guessed from the samples in between: to a
    /// border that is about as near as the samples are to each other, else by half of their distance; a counter
    /// not below zero.
    fn slope(self, samples: &[Sample], from_us: i64, to_us: i64) -> Option<f64> {
        let [first, .., last] = samples else {
            return None;
        };
        let mut rise = last.value - first.value;
        let is_counter = self != Self::Delta;
        if is_counter {
            let lost = samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
            rise += lost.map(|pair| pair[0].value).sum::<f64>();
        }
        let seconds = |us: i64| us as f64 / 1e6;
        let sampled = seconds(last.ts_us - first.ts_us);
        let apart = sampled / (samples.len() - 1) as f64;
        let near = |gap: f64| if gap >= apart * 1.1 { apart / 2. } else { gap };
        let mut before = near(seconds(first.ts_us - from_us));
        if is_counter && rise > 0. && first.value >= 0. {
            before = before.min(sampled * (first.value / rise));
        }
        let after = near(seconds(to_us - last.ts_us));
        let rise = rise * ((sampled + before + after) / sampled);
        Some(if self == Self::Rate { rise / seconds(to_us - from_us) } else { rise })
    }

    fn last_step(self, samples: &[Sample]) -> Option<f64> {
        let [.., a, b] = samples else {
            return None;
        };
        if self == Self::Idelta {
            return Some(b.value - a.value);
        }
        let rise = if b.value < a.value { b.value } else { b.value - a.value };
        Some(rise / ((b.ts_us - a.ts_us) as f64 / 1e6))
    }
}

/// A sum that does not lose the small ones (Neumaier).
pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0f64, 0f64);
    for value in values {
        let next = sum + value;
        if next.is_finite() {
            lost +=
                if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        }
        sum = next;
    }
    sum + lost
}

/// The mean; where a sum would be too large for a number, it is found step by step.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let total = sum(values.clone());
    if total.is_infinite() && values.clone().all(f64::is_finite) {
        return values.map(|value| value / n).sum();
    }
    total / n
}

/// The variance of a whole population (Welford).
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut n, mut mean, mut squares) = (0f64, 0f64, 0f64);
    for value in values {
        n += 1.;
        let apart = value - mean;
        mean += apart / n;
        squares += apart * (value - mean);
    }
    squares / n
}

/// The quantile, between two values in proportion.
pub(super) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0. ..=1.).contains(&q) {
        return f64::INFINITY.copysign(q);
    }
    // As Prometheus: what is no number comes first.
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1. - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values every `every_s` seconds from `from_s` on.
    fn samples(from_s: i64, every_s: i64, values: &[f64]) -> Vec<Sample> {
        let stamps = (0..).map(|i| (from_s + i * every_s) * 1_000_000);
        stamps.zip(values).map(|(ts_us, value)| Sample { ts_us, value: *value }).collect()
    }

    #[track_caller]
    fn check(fold: Fold, samples: &[Sample], window_s: (i64, i64), expected: Option<f64>) {
        let found = fold.of(samples, window_s.0 * 1_000_000, window_s.1 * 1_000_000);
        let same = match (found, expected) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * b.abs().max(1.),
            (a, b) => a == b,
        };
        assert!(same, "{fold:?}: {found:?}, not {expected:?}");
    }

    /// From Prometheus' own `promql/promqltest/testdata/functions.test`: `http_requests{path="/foo"}  0+10x10`,
    /// loaded every 5 m, evaluated at 50 m over `[50m]`; left-open, so that the first value is not in the window.
    #[test]
    fn a_counter_is_extrapolated_to_both_borders() {
        let values: Vec<f64> = (1..=10).map(|i| f64::from(i) * 10.).collect();
        let counter = samples(300, 300, &values);
        check(Fold::Increase, &counter, (0, 3_000), Some(100.));
        check(Fold::Rate, &counter, (0, 3_000), Some(100. / 3_000.));
        check(Fold::Delta, &counter, (0, 3_000), Some(100.));
    }

    #[test]
    fn a_counter_is_not_extrapolated_below_zero() {
        // 1, 3, 5 a minute apart: the slope reaches zero 30 s before the first, which is a minute in.
        let counter = samples(60, 60, &[1., 3., 5.]);
        check(Fold::Increase, &counter, (0, 180), Some(4. * (120. + 30.) / 120.));
        check(Fold::Delta, &counter, (0, 180), Some(4. * (120. + 60.) / 120.));
    }

    #[test]
    fn far_from_a_border_half_a_step_is_added() {
        let counter = samples(300, 60, &[100., 110., 120.]);
        // Both borders are more than 1.1 steps away.
        check(Fold::Increase, &counter, (0, 900), Some(20. * (120. + 30. + 30.) / 120.));
    }

    #[test]
    fn a_reset_is_no_fall() {
        let counter = samples(60, 60, &[100., 150., 20., 70.]);
        // 50 up to the reset, 20 and 50 after it.
        check(Fold::Increase, &counter, (0, 240), Some(120. * (180. + 60.) / 180.));
        check(Fold::Delta, &counter, (0, 240), Some(-30. * (180. + 60.) / 180.));
        check(Fold::Resets, &counter, (0, 240), Some(1.));
        check(Fold::Changes, &counter, (0, 240), Some(3.));
        check(Fold::Irate, &counter, (0, 240), Some(50. / 60.));
        check(Fold::Irate, &counter[..3], (0, 240), Some(20. / 60.));
        check(Fold::Idelta, &counter[..3], (0, 240), Some(-130.));
    }

    #[test]
    fn one_sample_has_no_rate_and_none_has_nothing() {
        let one = samples(60, 60, &[5.]);
        for fold in [Fold::Rate, Fold::Increase, Fold::Delta, Fold::Irate, Fold::Idelta] {
            check(fold, &one, (0, 120), None);
        }
        for (_, fold) in FOLDS {
            check(fold, &[], (0, 120), None);
        }
        check(Fold::Changes, &one, (0, 120), Some(0.));
    }

    #[test]
    fn values_of_a_window() {
        let all = samples(1, 1, &[0., 1., 5., 6.]);
        for (fold, expected) in [
            (Fold::Last, 6.),
            (Fold::Avg, 3.),
            (Fold::Min, 0.),
            (Fold::Max, 6.),
            (Fold::Sum, 12.),
            (Fold::Count, 4.),
            (Fold::Present, 1.),
            (Fold::Stdvar, 6.5),
            (Fold::Stddev, 6.5f64.sqrt()),
            (Fold::Quantile(0.), 0.),
            (Fold::Quantile(0.5), 3.),
            (Fold::Quantile(0.75), 5.25),
            (Fold::Quantile(1.), 6.),
            (Fold::Quantile(-1.), f64::NEG_INFINITY),
        ] {
            let found = fold.of(&all, 0, 4_000_000);
            assert_eq!(found, Some(expected), "{fold:?}");
        }
        assert!(Fold::Quantile(f64::NAN).of(&all, 0, 1).is_some_and(f64::is_nan));
        for nan in [f64::NAN, -f64::NAN] {
            let some = samples(1, 1, &[2., nan, 1.]);
            assert_eq!(Fold::Quantile(1.).of(&some, 0, 4_000_000), Some(2.));
            assert!(Fold::Quantile(0.).of(&some, 0, 4_000_000).is_some_and(f64::is_nan));
        }
    }

    #[test]
    fn sums_keep_what_is_small_and_means_what_is_large() {
        let small = samples(1, 1, &[1e100, 1., -1e100]);
        check(Fold::Sum, &small, (0, 4), Some(1.));
        let large = samples(1, 1, &[1.5e308, 1.5e308]);
        assert_eq!(Fold::Avg.of(&large, 0, 4), Some(1.5e308));
    }

    #[test]
    fn a_rollup_says_the_same_as_its_values() {
        use crate::store::Point;
        use weir_models::ident::Stream;
        let all = samples(1, 1, &[3., 1., 5., 6., -2.]);
        let points: Vec<Point> = all
            .iter()
            .map(|sample| Point {
                ts_us: sample.ts_us,
                value: sample.value,
                score: None,
                stream: Stream(1),
                seq: 1,
            })
            .collect();
        let rolls = crate::store::sealed::rolls_of(&points, 60_000_000);
        for (_, fold) in FOLDS {
            let expected = if fold.is_of_rolls() { fold.of(&all, 0, 6_000_000) } else { None };
            assert_eq!(fold.of_roll(&rolls[0], 0), expected, "{fold:?}");
        }
        assert_eq!(Fold::Last.of_roll(&rolls[0], 5_000_000), None);
    }
}
