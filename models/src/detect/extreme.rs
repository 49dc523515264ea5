//! Stands one value for a block of readings: the one that lies farthest from the level so far, standardised.
//!
//! In: one value. Out: at the end of a block the value of it that lies farthest from the running mean of such
//! extremes, in standard deviations of them. An extreme must not be averaged away, which is why a block has no mean.

use super::snapshot::{Reader, RestoreError, Writer};

/// Rate of the running mean and variance of the extremes: 1,000 blocks.
const LEVEL_RATE: f64 = 0.001;
/// A standardised value counts at most this much.
pub(super) const Y_MAX: f64 = 20.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extreme {
    /// Of the extremes of blocks.
    mean: f64,
    variance: f64,
    /// The extreme of the block so far.
    extreme: f64,
    seen: u16,
    in_block: u8,
    /// Readings of a block. A setting, not state.
    block: u8,
}

impl Extreme {
    pub(super) fn new(block: u8) -> Self {
        Self { mean: 0.0, variance: 0.0, extreme: 0.0, seen: 0, in_block: 0, block }
    }

    /// Takes a finite value; gives the standardised extreme at the end of a block.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        let farther = (value - self.mean).abs() > (self.extreme - self.mean).abs();
        if self.in_block == 0 || farther {
            self.extreme = value;
        }
        self.in_block += 1;
        if self.in_block < self.block {
            return None;
        }
        self.in_block = 0;
        self.learn();
        let deviation = self.variance.sqrt();
        let standardised = (self.extreme - self.mean) / deviation;
        Some(if deviation > 0.0 { standardised.clamp(-Y_MAX, Y_MAX) } else { 0.0 })
    }

    /// Exponentially weighted mean and variance (West 1979), plain averages at first.
    fn learn(&mut self) {
        self.seen = self.seen.saturating_add(1);
        let rate = (1.0 / f64::from(self.seen)).max(LEVEL_RATE);
        let delta = self.extreme - self.mean;
        self.mean += rate * delta;
        self.variance = (1.0 - rate) * (self.variance + rate * delta * delta);
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        for v in [self.mean, self.variance, self.extreme] {
            out.f64(v);
        }
        out.u16s(&[self.seen]);
        out.u8(self.in_block);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        for v in [&mut self.mean, &mut self.variance, &mut self.extreme] {
            *v = from.f64()?;
        }
        let mut seen = [0];
        from.u16s(&mut seen, u16::MAX)?;
        self.seen = seen[0];
        self.in_block = from.u8_below(self.block)?;
        Ok(())
    }
}
