//! Several metrics of one device together: what no single one shows.
//!
//! In: the values of all metrics at one time, always the same metrics in the same order. Out: how unusual they are
//! together, in units of what is usual, and which metric lies farthest. Two looks, of which the farther counts:
//!
//! - **levels**: the Mahalanobis distance of the smoothed values from where they usually lie together (the multivariate
//!   EWMA chart of Lowry, Woodall et al. 1992);
//! - **activity**: the size of the steps of each metric against its own: what sticks, and what shakes.
//!
//! A look is measured by how far it lay **before** it was learnt from, direction by direction: what a few hundred rows that
//! hang together cannot tell counts less (`Look`). The score is a mean over some 20 rows, because a fault lasts; what lies far
//! out is told at once. Means and covariances are learnt as it goes, hardly at all while something is unusual, so that a fault
//! does not become usual; but what stays for long does. Constant memory, no allocation, only `+ - * /` and square roots.

mod look;

use super::{Model, judgeable};
use look::{Look, Spread};

/// Most metrics of a group; those beyond are not looked at.
pub const CHANNELS_MAX: usize = 16;
/// Share of a new value in the smoothed one: 10 readings.
const SMOOTHING: f64 = 0.1;
/// The same of the squares of steps: 20 readings.
const STEPS: f64 = 0.05;
/// The same of the score.
const SCORE: f64 = 0.05;
/// So much of a score goes into its mean at most: one far value is not to be heard for long.
const SCORE_CUT: f64 = 4.0;
/// A far value is told at once, by this part.
const AT_ONCE: f64 = 0.25;
/// Slowest rate of means and covariances: 2,000 readings; plain averages at first.
const RATE_MIN: f64 = 0.0005;
/// Readings before anything is said ...
const WARM_UP: u32 = 200;
/// ... and while everything is learnt from; the span in which this ends.
const LEARNING: (f64, f64) = (150.0, 300.0);
/// Slowest rate of what is usual: 500 readings; at first as if so many readings had been as expected.
const USUAL_RATE_MIN: f64 = 0.002;
const EXPECTED: f64 = 30.0;
/// From the first of these scores to the second less and less is learnt ...
const UNUSUAL: (f64, f64) = (1.0, 1.3);
/// ... down to this weight ...
const UNUSUAL_WEIGHT: f64 = 0.02;
/// ... until it has lasted for so many readings: then this is how the device is now.
const STAYS: u32 = 5_000;
/// A reading of a score below the first counts for so many of these: what is hardly unusual is soon how the device is.
const MILD: f64 = 2.0;
const MILD_STEP: u32 = 8;
/// Readings until steps are known at all.
const STEPS_FIRST: f64 = 20.0;
const SCORE_MAX: f64 = 1_000.0;

/// A number for each metric.
type Row = [f64; CHANNELS_MAX];

/// The detector of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    smoothed: Row,
    last: Row,
    /// Mean squares of the steps of late.
    steps: Row,
    levels: Spread,
    /// Mean and variance of the sizes of steps.
    step_mean: Row,
    step_variance: Row,
    looks: [Look; 2],
    /// The score that is usual, before it is divided by this.
    usual: f64,
    score: f64,
    /// Weights of the readings that were learnt from, and of those of them that were judged.
    learnt: f64,
    judged: f64,
    seen: u32,
    unusual_for: u32,
}

/// What is said of the metrics at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupVerdict {
    /// 1 is usual. Continuous; at most 1,000.
    pub score: f32,
    /// Position of the metric that lies farthest from its own mean, in standard deviations.
    pub channel: usize,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            smoothed: [0.0; CHANNELS_MAX],
            last: [0.0; CHANNELS_MAX],
            steps: [0.0; CHANNELS_MAX],
            levels: Spread::default(),
            step_mean: [0.0; CHANNELS_MAX],
            step_variance: [0.0; CHANNELS_MAX],
            looks: [Look::default(); 2],
            usual: 1.0,
            score: 0.0,
            learnt: 0.0,
            judged: 0.0,
            seen: 0,
            unusual_for: 0,
        }
    }
}

impl Group {
    /// Name and version, as alerts carry them: the version changes whenever the same readings get other scores.
    pub const MODEL: Model = Model { name: "mewma", version: "2" };

    /// Judges the values of one time. Nothing, and nothing learnt, where there are fewer than two of them or one cannot
    /// be judged.
    pub fn update(&mut self, values: &[f64]) -> Option<GroupVerdict> {
        let values = values.get(..CHANNELS_MAX).unwrap_or(values);
        if values.len() < 2 || values.iter().any(|value| judgeable(*value).is_err()) {
            return None;
        }
        let n = values.len();
        let mut row = [0.0; CHANNELS_MAX];
        row[..n].copy_from_slice(values);
        let steps = self.smooth(n, &row);
        let off = self.levels.off(n, &self.smoothed);
        let rests = [self.levels.rest(n, &off), self.steps_off(n, &steps)];
        let score = if self.seen < WARM_UP { 0.0 } else { self.judge(n, &rests) };
        let weight = self.weight(score);
        if self.seen >= WARM_UP {
            self.measure(n, &rests, score, weight);
        }
        self.learn(n, &steps, weight);
        let (mut channel, mut farthest) = (0, 0.0);
        for (i, off) in off.iter().enumerate().take(n) {
            if off.abs() > farthest {
                (channel, farthest) = (i, off.abs());
            }
        }
        Some(GroupVerdict { score: score.min(SCORE_MAX) as f32, channel })
    }

    /// Takes the values in; gives the size of the steps of late.
    fn smooth(&mut self, n: usize, row: &Row) -> Row {
        let mut sizes = [0.0; CHANNELS_MAX];
        if self.seen == 0 {
            (self.smoothed, self.last) = (*row, *row);
        }
        let share = (1.0 / (f64::from(self.seen) + 1.0)).max(STEPS);
        for i in 0..n {
            self.smoothed[i] += SMOOTHING * (row[i] - self.smoothed[i]);
            let step = row[i] - self.last[i];
            self.steps[i] += share * (step * step - self.steps[i]);
            sizes[i] = self.steps[i].sqrt();
        }
        self.last = *row;
        sizes
    }

    /// How far the sizes of steps are off, in standard deviations.
    fn steps_off(&self, n: usize, steps: &Row) -> Row {
        let mut off = [0.0; CHANNELS_MAX];
        for i in 0..n {
            let variance = self.step_variance[i];
            off[i] = look::scaled(steps[i] - self.step_mean[i], variance);
        }
        off
    }

    fn judge(&mut self, n: usize, rests: &[Row; 2]) -> f64 {
        let looks = self.looks.iter().zip(rests);
        let farthest = looks.map(|(look, rest)| look.distance(n, rest)).fold(0.0, f64::max);
        let now = farthest.sqrt() / self.usual;
        self.score += SCORE * (now.min(SCORE_CUT) - self.score);
        self.score.max(AT_ONCE * now)
    }

    /// How much is learnt from a reading.
    fn weight(&mut self, score: f64) -> f64 {
        let step = if score < MILD { MILD_STEP } else { 1 };
        self.unusual_for =
            if score >= UNUSUAL.0 { self.unusual_for.saturating_add(step) } else { 0 };
        if self.unusual_for > STAYS {
            return 1.0;
        }
        let share = |v: f64, (from, to): (f64, f64)| ((v - from) / (to - from)).clamp(0.0, 1.0);
        let closed = share(score, UNUSUAL) * share(f64::from(self.seen), LEARNING);
        1.0 - closed * (1.0 - UNUSUAL_WEIGHT)
    }

    /// Learns what is usual of distances.
    fn measure(&mut self, n: usize, rests: &[Row; 2], score: f64, weight: f64) {
        let rate = (1.0 / (EXPECTED + self.judged)).max(USUAL_RATE_MIN) * weight;
        self.judged += weight;
        for (look, rest) in self.looks.iter_mut().zip(rests) {
            look.measure(n, rest, rate);
        }
        self.usual *= 1.0 + rate * (score.min(SCORE_CUT) - 1.0);
    }

    fn learn(&mut self, n: usize, steps: &Row, weight: f64) {
        self.seen = self.seen.saturating_add(1);
        self.learnt += weight;
        let rate = |since: f64| (1.0 / (self.learnt - since).max(1.0)).max(RATE_MIN) * weight;
        self.levels.learn(n, &self.smoothed, rate(0.0));
        if f64::from(self.seen) > STEPS_FIRST {
            let rate = rate(STEPS_FIRST - 1.0);
            for (i, step) in steps.iter().enumerate().take(n) {
                let delta = step - self.step_mean[i];
                self.step_mean[i] += rate * delta;
                let old = self.step_variance[i];
                self.step_variance[i] = (1.0 - rate) * (old + rate * delta * delta);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
