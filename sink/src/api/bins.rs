//! Bins: many values of a series as few, so that a plot of years costs as much as one of minutes.
//!
//! In: points, or windows of them, in ascending time. Out: per bin of equal width the number, least, greatest and mean
//! value, and the point with the highest score above 1, so that no anomaly drowns in a mean.
//! Constant memory: as many bins as were asked for. Pure.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::bucket::window_start;
use crate::store::sealed::Roll;
use crate::store::{Point, TimeRange};

/// The values of one span of time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Bin {
    /// Begin of the span, microseconds since the Unix epoch; its width is `bin_us`.
    pub ts_us: i64,
    /// Number of values.
    pub n: u64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Mean value.
    pub mean: f64,
    /// Highest score, when any value was scored.
    pub score: Option<f32>,
}

impl From<Roll> for Bin {
    fn from(roll: Roll) -> Self {
        let mean = roll.mean();
        let Roll { ts_us, n, min, max, score, .. } = roll;
        Self { ts_us, n, min, max, mean, score }
    }
}

/// Gathers points, and windows of them, into bins.
pub(super) struct Binner {
    from_us: i64,
    width_us: i64,
    bins: Vec<Roll>,
    anomalies: Vec<Point>,
}

impl Binner {
    /// At most `bins_max` bins over `range`, which begin at, and are as wide as, a multiple of `step_us`
    /// microseconds, counted from the Unix epoch; 1 for any.
    pub(super) fn new(range: TimeRange, bins_max: usize, step_us: i64) -> Self {
        let from_us =
            if step_us == 1 { range.from_us } else { window_start(range.from_us, step_us) };
        let span_us = range.to_us.saturating_sub(from_us).max(1);
        let bins = i64::try_from(bins_max.max(1)).unwrap_or(i64::MAX);
        let steps = (span_us - 1) / bins / step_us + 1;
        let width_us = steps.saturating_mul(step_us);
        Self { from_us, width_us, bins: Vec::new(), anomalies: Vec::new() }
    }

    /// Adds a point; points and windows come in ascending time.
    pub(super) fn push(&mut self, point: &Point) {
        self.add(&Roll::of(point.ts_us, point));
        if point.is_anomaly() {
            self.worst(point);
        }
    }

    /// Adds the points of a window, which lies within one bin; its worst point is told by [`Self::worst`].
    pub(super) fn add(&mut self, roll: &Roll) {
        match self.bins.last_mut() {
            // Most are of the same bin, and a division takes longer than all of the rest.
            Some(bin) if roll.ts_us.saturating_sub(bin.ts_us) < self.width_us => bin.merge(roll),
            _ => self.bins.push(Roll { ts_us: self.bin_of(roll.ts_us), ..roll.clone() }),
        }
    }

    /// Notes a point with a score above 1, if it is the worst of its bin.
    pub(super) fn worst(&mut self, point: &Point) {
        let ts_us = self.bin_of(point.ts_us);
        match self.anomalies.last_mut() {
            Some(last) if last.ts_us >= ts_us => {
                if point.score > last.score {
                    *last = point.clone();
                }
            }
            _ => self.anomalies.push(point.clone()),
        }
    }

    fn bin_of(&self, ts_us: i64) -> i64 {
        let since_us = ts_us.saturating_sub(self.from_us);
        self.from_us + since_us.div_euclid(self.width_us) * self.width_us
    }

    /// Width of a bin in microseconds.
    pub(super) fn width_us(&self) -> i64 {
        self.width_us
    }

    /// Number of points.
    pub(super) fn n(&self) -> u64 {
        self.bins.iter().map(|bin| bin.n).sum()
    }

    /// Number of points with a score above 1.
    pub(super) fn anomalies_n(&self) -> u64 {
        self.bins.iter().map(|bin| bin.anomalies_n).sum()
    }

    /// The bins that hold values, and the worst anomaly of each.
    pub(super) fn finish(self) -> (Vec<Bin>, Vec<Point>) {
        (self.bins.into_iter().map(Bin::from).collect(), self.anomalies)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_models::ident::Stream;

    use super::*;

    fn point(ts_us: i64, value: f64, score: Option<f32>) -> Point {
        Point { ts_us, value, score, stream: Stream(1), seq: 1 }
    }

    fn binned(range: (i64, i64), bins: usize, points: &[Point]) -> (Vec<Bin>, Vec<Point>) {
        let (from_us, to_us) = range;
        let mut binner = Binner::new(TimeRange { from_us, to_us }, bins, 1);
        for point in points {
            binner.push(point);
        }
        binner.finish()
    }

    #[test]
    fn a_bin_keeps_extremes_mean_and_the_worst_anomaly() {
        let points = [
            point(0, 1.0, None),
            point(4, 3.0, Some(1.5)),
            point(9, 8.0, Some(2.5)),
            point(10, 5.0, Some(0.2)),
        ];
        let (bins, anomalies) = binned((0, 20), 2, &points);
        assert_eq!(
            bins,
            [
                Bin { ts_us: 0, n: 3, min: 1.0, max: 8.0, mean: 4.0, score: Some(2.5) },
                Bin { ts_us: 10, n: 1, min: 5.0, max: 5.0, mean: 5.0, score: Some(0.2) },
            ]
        );
        assert_eq!(anomalies, [points[2].clone()]);
    }

    #[test]
    fn a_bin_without_values_is_left_out() {
        let (bins, _) = binned((0, 100), 10, &[point(5, 1.0, None), point(95, 1.0, None)]);
        assert_eq!(bins.iter().map(|bin| bin.ts_us).collect::<Vec<_>>(), [0, 90]);
    }

    #[test]
    fn bins_begin_and_end_at_whole_steps() {
        let range = TimeRange { from_us: -25, to_us: 1_001 };
        for (bins_max, width_us) in [(1, 1_200), (10, 200), (11, 200), (12, 100), (2_000, 100)] {
            let mut binner = Binner::new(range, bins_max, 100);
            assert_eq!(binner.width_us(), width_us, "{bins_max}");
            binner.push(&point(-25, 1.0, None));
            binner.push(&point(1_000, 1.0, None));
            let (bins, _) = binner.finish();
            assert!(bins.iter().all(|bin| bin.ts_us % 100 == 0), "{bins:?}");
        }
    }

    proptest! {
        #[test]
        fn no_value_and_no_extreme_is_lost(
            mut points in prop::collection::vec((-1_000i64..1_000, -1e6f64..1e6, prop::option::of(0f32..3.0)), 1..300),
            bins_max in 1usize..50,
        ) {
            points.sort_by_key(|point| point.0);
            let points: Vec<_> = points.into_iter().map(|(t, v, s)| point(t, v, s)).collect();
            let (bins, anomalies) = binned((-1_000, 1_000), bins_max, &points);
            prop_assert!(bins.len() <= bins_max && anomalies.len() <= bins.len());
            prop_assert_eq!(bins.iter().map(|bin| bin.n).sum::<u64>(), points.len() as u64);
            let max = points.iter().map(|point| point.value).fold(f64::MIN, f64::max);
            prop_assert!(bins.iter().any(|bin| bin.max == max));
            prop_assert!(bins.iter().all(|bin| bin.min <= bin.mean + 1e-6 && bin.mean <= bin.max + 1e-6));
            let worst = points.iter().filter_map(|point| point.score).fold(0.0, f32::max);
            prop_assert_eq!(anomalies.iter().any(|point| point.score == Some(worst)), worst > 1.0);
        }
    }
}
