//! Two members that look at the level: a shift of it, and a deviation that goes on.
//!
//! In: one value. Out: how far a fast mean lies from a slow one, in slow mean absolute deviations (the crossing of two
//! averages); and the higher of two leaking sums of deviations, up and down, beyond an allowance (the CUSUM of Page
//! 1954, with a leak so that it comes back after a shift that stays). Both are measured by the same slow mean.

use super::rate;
use super::snapshot::{Reader, RestoreError, Writer};

/// Rate of the slow mean and deviation: 200 readings; plain averages at first.
const SLOW_RATE: f64 = 0.005;
/// Rate of the fast mean: 14 readings.
const FAST_RATE: f64 = 0.07;
/// A deviation counts at most this many mean absolute deviations in the mean absolute deviation.
const CLIP: f64 = 8.0;
/// A single reading adds at most this many deviations to a sum.
const Z_MAX: f64 = 6.0;
/// What a sum does not count: half a deviation is how the series is.
const ALLOWANCE: f64 = 0.5;
/// What is left of a sum after a reading: half after 14.
const LEAK: f64 = 0.95;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    slow: f64,
    deviation: f64,
    fast: f64,
    up: f64,
    down: f64,
    seen: u16,
}

/// Raw scores of one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LevelScores {
    pub(super) shift: f64,
    pub(super) drift: f64,
}

impl Level {
    pub(super) fn new() -> Self {
        Self { slow: 0.0, deviation: 0.0, fast: 0.0, up: 0.0, down: 0.0, seen: 0 }
    }

    /// Takes a finite value; gives its raw scores, nothing for the first.
    pub(super) fn update(&mut self, value: f64) -> Option<LevelScores> {
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            (self.slow, self.fast) = (value, value);
            return None;
        }
        let rate = rate(self.seen, SLOW_RATE);
        let error = value - self.slow;
        let (z, shift, most) = if self.deviation > 0.0 {
            let z = (error / self.deviation).clamp(-Z_MAX, Z_MAX);
            (z, (self.fast - self.slow).abs() / self.deviation, CLIP * self.deviation)
        } else {
            (0.0, 0.0, error.abs())
        };
        self.deviation += rate * (error.abs().min(most) - self.deviation);
        self.slow += rate * error;
        self.fast += FAST_RATE * (value - self.fast);
        self.up = sum(self.up, z);
        self.down = sum(self.down, -z);
        // On a line the deviation becomes very small and its quotient very large; further out is all the same.
        Some(LevelScores { shift: shift.min(1e12), drift: self.up.max(self.down) })
    }

    /// The slow mean and the mean absolute deviation from it.
    pub(super) fn usual(&self) -> (f64, f64) {
        (self.slow, self.deviation)
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        for v in [self.slow, self.deviation, self.fast, self.up, self.down] {
            out.f64(v);
        }
        out.u16s(&[self.seen]);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        let state =
            [&mut self.slow, &mut self.deviation, &mut self.fast, &mut self.up, &mut self.down];
        for v in state {
            *v = from.f64()?;
        }
        let mut seen = [0];
        from.u16s(&mut seen, u16::MAX)?;
        self.seen = seen[0];
        Ok(())
    }
}

/// One step of a leaking sum. Below a millionth it is zero: no denormal numbers.
fn sum(sum: f64, z: f64) -> f64 {
    let sum = LEAK * sum + z - ALLOWANCE;
    if sum > 1e-6 { sum } else { 0.0 }
}
