//! Member: how much calmer the series has become: a line that lies flat, a value that hangs.
//!
//! In: one value. Out: by which share the mean absolute step of the last readings is smaller than that of the long
//! run; 0 where it is not.

use super::rate;
use super::snapshot::{Reader, RestoreError, Writer};

/// Rate of the mean step of late: 33 readings.
const FAST_RATE: f64 = 0.03;
/// Rate of the mean step in the long run: 200 readings.
const SLOW_RATE: f64 = 0.005;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calm {
    last: f64,
    fast: f64,
    slow: f64,
    seen: u16,
}

impl Calm {
    pub(super) fn new() -> Self {
        Self { last: 0.0, fast: 0.0, slow: 0.0, seen: 0 }
    }

    /// Takes a finite value; gives its raw score, nothing for the first.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        self.seen = self.seen.saturating_add(1);
        let step = (value - self.last).abs();
        self.last = value;
        if self.seen == 1 {
            return None;
        }
        self.fast = follow(self.fast, step, rate(self.seen, FAST_RATE));
        self.slow = follow(self.slow, step, rate(self.seen, SLOW_RATE));
        Some(if self.slow > 0.0 { (1.0 - self.fast / self.slow).max(0.0) } else { 0.0 })
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        for v in [self.last, self.fast, self.slow] {
            out.f64(v);
        }
        out.u16s(&[self.seen]);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        for v in [&mut self.last, &mut self.fast, &mut self.slow] {
            *v = from.f64()?;
        }
        let mut seen = [0];
        from.u16s(&mut seen, u16::MAX)?;
        self.seen = seen[0];
        Ok(())
    }
}

/// One step of a running mean. On a flat line it would end among denormal numbers, which are slow: it ends at zero.
fn follow(mean: f64, step: f64, rate: f64) -> f64 {
    let mean = mean + rate * (step - mean);
    if mean > 1e-250 { mean } else { 0.0 }
}
