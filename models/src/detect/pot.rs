//! Puts a raw score on one scale by the tail of its own past: peaks over a threshold.
//!
//! In: a raw score, 0 or more, of any size. Out: 0 below the threshold `u`, which follows the 98 % quantile of what
//! came in; above it the excess in units of the mean excess `e`. By Pickands (1975) excesses over a high threshold
//! follow a generalised Pareto distribution; with its shape taken as 0 (exponential), `exp(-y)` is the chance that an
//! excess is at least `y`. Siffert et al. (KDD 2017) fit the same tail; here both parameters are tracked in constant
//! memory. The answer does not depend on the unit of the raw score.

use super::snapshot::{Reader, RestoreError, Writer};

/// The tail begins here. 0.98 leaves enough excesses to learn from within a few hundred readings.
pub(crate) const QUANTILE: f64 = 0.98;
/// Nothing is called unusual before this many raw scores.
const WARM_UP: u32 = 50;
/// The threshold moves faster until this many raw scores.
const SETTLED: u32 = 200;
/// An excess counts at most this many mean excesses in the mean excess.
const EXCESS_CLIP: f64 = 8.0;
/// Slowest rate at which the mean excess follows: 50 excesses.
const EXCESS_RATE: f64 = 0.02;
/// Step of the quantile tracker in units of half the mean excess.
const STEP: f64 = 0.1;
/// Largest answer; also the answer where a constant raw score changes for the first time.
const Y_MAX: f64 = 100.0;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pot {
    /// Threshold `u`, in the unit of the raw score.
    threshold: f64,
    /// Mean excess `e`, in the same unit; 0 while nothing ever varied.
    excess: f64,
    seen: u32,
}

impl Pot {
    pub(crate) fn new() -> Self {
        Self { threshold: 0.0, excess: 0.0, seen: 0 }
    }

    /// Takes a raw score (finite, not negative); gives the calibrated one, from 0 to 100.
    pub(crate) fn update(&mut self, raw: f64) -> f64 {
        self.update_above(QUANTILE, raw)
    }

    /// The same with a tail that begins at another quantile, always the same one for a state.
    pub(super) fn update_above(&mut self, quantile: f64, raw: f64) -> f64 {
        self.seen = self.seen.saturating_add(1);
        let seen = f64::from(self.seen);
        // Worked out where it is needed, which is seldom: a division takes as long as all else here.
        let excess_rate = || (1.0 / (seen * (1.0 - quantile) + 1.0)).max(EXCESS_RATE);
        if self.seen <= WARM_UP {
            // A detector's first raw scores are inflated, because it knows nothing yet: the earlier, the less they
            // count. What they lie above the rising threshold is the first guess of the mean excess.
            self.threshold = self.threshold.max(raw * seen / f64::from(WARM_UP));
            let over = (raw - self.threshold).max(0.0);
            if self.excess <= 0.0 {
                self.excess = over;
            } else if over > 0.0 {
                self.excess += excess_rate() * (over.min(EXCESS_CLIP * self.excess) - self.excess);
            }
            return 0.0;
        }
        let over = raw - self.threshold;
        let step = STEP * 0.5 * self.excess * if self.seen < SETTLED { 4.0 } else { 1.0 };
        if over <= 0.0 {
            self.threshold = (self.threshold - (1.0 - quantile) * step).max(0.0);
            return 0.0;
        }
        if self.excess <= 0.0 {
            // The raw score never varied, so there is no unit: this change is the first one, and becomes the unit.
            self.excess = over;
            return Y_MAX;
        }
        let y = over / self.excess;
        self.excess += excess_rate() * (over.min(EXCESS_CLIP * self.excess) - self.excess);
        self.threshold += quantile * step;
        y.min(Y_MAX)
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f64(self.threshold);
        out.f64(self.excess);
        out.u32(self.seen);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.threshold = from.f64()?;
        self.excess = from.f64()?;
        self.seen = from.u32()?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Exponential draws from a fixed generator (xorshift64).
    fn draws(n: usize) -> impl Iterator<Item = f64> {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        (0..n).map(move |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            -(((x >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln()
        })
    }

    #[test]
    fn the_tail_is_two_percent_and_exponential() {
        let mut pot = Pot::new();
        let ys: Vec<f64> = draws(200_000).map(|raw| pot.update(raw)).collect();
        let share = |y: f64| ys.iter().filter(|v| **v > y).count() as f64 / ys.len() as f64;
        assert!((0.015..0.025).contains(&share(0.0)), "{}", share(0.0));
        assert!((0.004..0.010).contains(&share(1.0)), "{}", share(1.0));
        assert!((0.0004..0.0020).contains(&share(3.0)), "{}", share(3.0));
    }

    #[test]
    fn the_unit_of_the_raw_score_does_not_matter() {
        let (mut one, mut other) = (Pot::new(), Pot::new());
        for raw in draws(5_000) {
            // A power of two, so that rounding is the same.
            assert_eq!(one.update(raw), other.update(raw * 1_099_511_627_776.0));
        }
    }

    #[test]
    fn a_first_change_is_the_most_unusual_and_its_like_are_not() {
        let mut pot = Pot::new();
        assert!((0..1_000).all(|_| pot.update(0.0) == 0.0));
        assert_eq!(pot.update(5.0), Y_MAX);
        assert_eq!(pot.update(0.0), 0.0);
        assert!(pot.update(5.0) <= 1.0);
    }
}
