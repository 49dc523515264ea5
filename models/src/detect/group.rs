//! Several metrics of one device together: what no single one shows.
//!
//! In: the values of all metrics at one time, always the same metrics in the same order. Out: how far their smoothed
//! values lie from where they usually lie together, in units of what was far so far, and which metric lies farthest.
//! Smoothed inputs and a Mahalanobis distance are the multivariate EWMA chart of Lowry, Woodall et al. (1992); the
//! means and covariances are learnt as it goes, hardly at all while something is unusual. Constant memory, no
//! allocation, only `+ - * /` and square roots.

use super::judgeable;

/// Most metrics of a group; those beyond are not looked at.
pub const CHANNELS_MAX: usize = 16;
/// Share of a new value in the smoothed one: 10 readings.
const SMOOTHING: f64 = 0.1;
/// Slowest rate of means and covariances: 2,000 readings; plain averages at first.
const RATE_MIN: f64 = 0.0005;
/// Readings before anything is called unusual.
const WARM_UP: u32 = 100;
/// Off-diagonal covariances are taken smaller by this factor, which keeps the matrix well-conditioned where metrics
/// repeat each other.
const SHRINK: f64 = 0.98;
/// The reference follows this quantile of the distances.
const QUANTILE: f64 = 0.98;
/// Step of the quantile tracker, in units of the reference.
const STEP: f64 = 0.05;
/// Beyond this score a reading is hardly learnt from ...
const UNUSUAL: f64 = 1.5;
/// ... but a little, so that a state that stays becomes usual in the end.
const UNUSUAL_WEIGHT: f64 = 0.02;
const SCORE_MAX: f64 = 1_000.0;

/// Lower triangle of a symmetric matrix, row by row.
const TRIANGLE: usize = CHANNELS_MAX * (CHANNELS_MAX + 1) / 2;

/// The detector of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    smoothed: [f64; CHANNELS_MAX],
    mean: [f64; CHANNELS_MAX],
    covariance: [f64; TRIANGLE],
    reference: f64,
    seen: u32,
}

/// What is said of the metrics at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupVerdict {
    /// 1 is what the highest 2 % of distances reach. Continuous; at most 1,000.
    pub score: f32,
    /// Position of the metric that lies farthest from its own mean, in standard deviations.
    pub channel: usize,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            smoothed: [0.0; CHANNELS_MAX],
            mean: [0.0; CHANNELS_MAX],
            covariance: [0.0; TRIANGLE],
            reference: 0.0,
            seen: 0,
        }
    }
}

const fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

impl Group {
    /// Judges the values of one time. Nothing, and nothing learnt, where there are fewer than two of them or one cannot
    /// be judged.
    pub fn update(&mut self, values: &[f64]) -> Option<GroupVerdict> {
        let values = values.get(..CHANNELS_MAX).unwrap_or(values);
        if values.len() < 2 || values.iter().any(|value| judgeable(*value).is_err()) {
            return None;
        }
        for (smoothed, value) in self.smoothed.iter_mut().zip(values) {
            let share = if self.seen == 0 { 1.0 } else { SMOOTHING };
            *smoothed += share * (value - *smoothed);
        }
        let verdict = self.judge(values.len());
        self.learn(values.len(), f64::from(verdict.score));
        Some(verdict)
    }

    fn judge(&mut self, n: usize) -> GroupVerdict {
        let mut off = [0.0; CHANNELS_MAX];
        let (mut channel, mut farthest) = (0, 0.0);
        for (i, off) in off.iter_mut().enumerate().take(n) {
            let variance = self.covariance[at(i, i)];
            let deviation = self.smoothed[i] - self.mean[i];
            *off = if variance > 0.0 { deviation / variance.sqrt() } else { 0.0 };
            if off.abs() > farthest {
                (channel, farthest) = (i, off.abs());
            }
        }
        if self.seen < WARM_UP {
            return GroupVerdict { score: 0.0, channel };
        }
        let distance = (self.squared_distance(n, &off) / n as f64).sqrt();
        if self.reference <= 0.0 {
            self.reference = distance;
        }
        let score = if self.reference > 0.0 { distance / self.reference } else { 0.0 };
        // The reference follows the quantile; a distance far above counts as one step like any other.
        let weight = if score > UNUSUAL { UNUSUAL_WEIGHT } else { 1.0 };
        let up = if score > 1.0 { QUANTILE } else { QUANTILE - 1.0 };
        self.reference *= 1.0 + STEP * weight * up;
        GroupVerdict { score: score.min(SCORE_MAX) as f32, channel }
    }

    /// By the Cholesky factor of the correlation matrix: what is left of each deviation when those before are known.
    fn squared_distance(&self, n: usize, off: &[f64; CHANNELS_MAX]) -> f64 {
        let mut factor = [0.0; TRIANGLE];
        let mut left = [0.0; CHANNELS_MAX];
        let mut sum = 0.0;
        for i in 0..n {
            let mut rest = off[i];
            let mut diagonal = 1.0;
            for j in 0..i {
                let scale = (self.covariance[at(i, i)] * self.covariance[at(j, j)]).sqrt();
                let mut entry =
                    if scale > 0.0 { SHRINK * self.covariance[at(i, j)] / scale } else { 0.0 };
                for k in 0..j {
                    entry -= factor[at(i, k)] * factor[at(j, k)];
                }
                entry /= factor[at(j, j)];
                factor[at(i, j)] = entry;
                diagonal -= entry * entry;
                rest -= entry * left[j];
            }
            // At least what the shrinking leaves, but for rounding.
            factor[at(i, i)] = diagonal.max(1e-6).sqrt();
            left[i] = rest / factor[at(i, i)];
            sum += left[i] * left[i];
        }
        sum
    }

    fn learn(&mut self, n: usize, score: f64) {
        let weight = if score > UNUSUAL { UNUSUAL_WEIGHT } else { 1.0 };
        self.seen = self.seen.saturating_add(1);
        let rate = (1.0 / f64::from(self.seen)).max(RATE_MIN) * weight;
        let mut delta = [0.0; CHANNELS_MAX];
        for i in 0..n {
            delta[i] = self.smoothed[i] - self.mean[i];
            self.mean[i] += rate * delta[i];
            for j in 0..=i {
                let old = self.covariance[at(i, j)];
                self.covariance[at(i, j)] = (1.0 - rate) * (old + rate * delta[i] * delta[j]);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Two metrics that move together, and one of its own; numbers from a fixed generator.
    fn readings(n: usize) -> impl Iterator<Item = [f64; 3]> {
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        let mut noise = move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let mut load = 0.0;
        (0..n).map(move |_| {
            load = 0.98 * load + noise();
            [100.0 + 10.0 * load, 5.0 + load + 0.1 * noise(), noise()]
        })
    }

    #[test]
    fn sees_metrics_part_that_belong_together() {
        let mut group = Group::default();
        let mut usual = 0;
        for (i, mut values) in readings(3_000).enumerate() {
            if i >= 2_500 {
                // Within the range of each of them, but against each other.
                values[1] = 10.0 - values[1];
            }
            let verdict = group.update(&values).unwrap();
            usual += u32::from((1_000..2_500).contains(&i) && verdict.score > 1.5);
            if i == 2_600 {
                assert!(verdict.score > 2.0, "{verdict:?}");
            }
        }
        assert!(usual < 40, "{usual} of 1500 above 1.5");
    }

    #[test]
    fn names_the_metric_that_jumps() {
        let mut group = Group::default();
        let mut last = None;
        for (i, mut values) in readings(1_000).enumerate() {
            values[2] += if i >= 950 { 20.0 } else { 0.0 };
            last = group.update(&values);
        }
        let last = last.unwrap();
        assert!(last.score > 5.0 && last.channel == 2, "{last:?}");
    }

    #[test]
    fn what_repeats_another_or_never_moves_is_no_harm() {
        let mut group = Group::default();
        for values in readings(2_000) {
            let [a, _, c] = values;
            let verdict = group.update(&[a, a, 2.0 * a, 7.0, c]).unwrap();
            assert!(verdict.score.is_finite() && verdict.score < 10.0, "{verdict:?}");
        }
        let before = group.clone();
        assert_eq!(group.update(&[1.0, f64::NAN, 1.0, 7.0, 0.0]), None);
        assert_eq!(group.update(&[1.0]), None);
        assert_eq!(group, before);
    }

    proptest::proptest! {
        #[test]
        fn every_score_is_a_number(readings in proptest::collection::vec((proptest::num::f64::ANY, proptest::num::f64::ANY, -3.0..3.0), 1..300)) {
            let mut group = Group::default();
            for (a, b, c) in readings {
                if let Some(verdict) = group.update(&[a, b, c]) {
                    proptest::prop_assert!(verdict.score.is_finite() && verdict.score >= 0.0);
                }
            }
        }
    }
}
