//! Keeps the alarms of a series within what a person wants to read.
//!
//! In: event time, and whether there was an alarm. Out: a factor, 1 or more, on the alarm level. Each alarm raises it
//! by a tenth, and it falls in such a way that it comes back to where it was when alarms are as frequent as allowed: a
//! quantile tracker (Robbins and Monro 1951) on alarms instead of readings. So a series that raises more alarms than
//! it may gets a higher level, up to [`FACTOR_MAX`]; one that keeps within them keeps the level that was set. In the
//! long run there are at most as many alarms as allowed, and some [`ln FACTOR_MAX / ln 1.1`] = 24 while it learns.

use super::snapshot::{Reader, RestoreError, Writer};

/// An alarm raises the level by this factor.
const RAISE: f32 = 1.1;
/// ln(RAISE), as a constant: logarithms of the standard library may differ between platforms.
const LN_RAISE: f64 = 0.095_310_18;
const FACTOR_MAX: f32 = 10.0;
const NEVER: i64 = i64::MIN;
const MONTH_US: f64 = 30.0 * 86_400e6;
/// A longer silence, or a clock that jumps, counts as this much.
const STEP_MAX_US: i64 = 7 * 86_400_000_000;

/// What became of the alarm level of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    factor: f32,
    /// Event time of the reading before; [`NEVER`] at first.
    last_us: i64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { factor: 1.0, last_us: NEVER }
    }

    /// The factor at this time, before the reading is judged.
    pub fn factor(&mut self, ts_us: i64, alarms_per_month: f32) -> f32 {
        let last_us = std::mem::replace(&mut self.last_us, ts_us);
        if self.factor > 1.0 && last_us != NEVER {
            let passed_us = ts_us.saturating_sub(last_us).clamp(0, STEP_MAX_US);
            let fall = LN_RAISE * f64::from(alarms_per_month) * passed_us as f64 / MONTH_US;
            self.factor = (f64::from(self.factor) * (1.0 - fall).max(0.0)).max(1.0) as f32;
        }
        self.factor
    }

    /// There was an alarm.
    pub fn alarm(&mut self) {
        self.factor = (self.factor * RAISE).min(FACTOR_MAX);
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f32(self.factor);
        out.u64(self.last_us.cast_unsigned());
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.factor = from.f32()?;
        if !(1.0..=FACTOR_MAX).contains(&self.factor) {
            return Err(RestoreError::Value);
        }
        self.last_us = from.u64()?.cast_signed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;

    #[test]
    fn alarms_come_down_to_what_is_allowed() {
        // A score that is uniform between 0 and 5 every five minutes: any level below 5 is passed again and again.
        let mut budget = Budget::new();
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        let mut alarms = 0;
        let months = 12;
        for i in 0..months * 8_640_i64 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let score = (x >> 11) as f32 / (1u64 << 53) as f32 * 5.0;
            if score >= budget.factor(i * 5 * MINUTE_US, 3.0) {
                budget.alarm();
                alarms += 1;
            }
        }
        assert!((36..=36 + 25).contains(&alarms), "{alarms}");
    }

    #[test]
    fn a_calm_series_keeps_the_level_that_was_set() {
        let mut budget = Budget::new();
        for day in 0..360 {
            if day % 15 == 0 {
                budget.alarm();
            }
            let factor = budget.factor(day * 1_440 * MINUTE_US, 3.0);
            assert!((1.0..=1.1).contains(&factor), "{factor}");
        }
        assert!(budget.factor(i64::MAX, 3.0) >= 1.0);
        assert!(budget.factor(i64::MIN, 3.0) >= 1.0);
    }
}
