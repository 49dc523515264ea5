//! Silence: a series whose readings stop.
//!
//! In: when each reading came, by a clock that only goes forward, in whole seconds. Out: whether the silence up to a
//! moment is longer than allowed. Readings that come together count as one, so a device that sends sixty readings once
//! a minute has gaps of a minute.

use crate::time::rfc3339;

/// Gaps that must have been seen before a multiple of them means something.
const GAPS_LEAST: u8 = 8;
/// The longest gap of late fades by this share with each gap.
const FADE: f32 = 0.02;

/// 24 bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Gap {
    /// Event time of the last reading; none before the first.
    last_us: Option<i64>,
    heard_s: u32,
    longest_s: f32,
    gaps: u8,
}

impl Gap {
    pub(super) fn hear(&mut self, now_s: u32, ts_us: i64, intervals: Option<f64>) {
        let gap_s = now_s.saturating_sub(self.heard_s) as f32;
        if self.last_us.is_some() && gap_s > 0.0 {
            // A silence that was told is hardly learnt from, or the next one would not be told. Yet a series that
            // comes more seldom from now on is known after some of them.
            let told = self.gaps >= GAPS_LEAST
                && intervals.is_some_and(|n| f64::from(gap_s) > n * f64::from(self.longest_s));
            let counts = if told { 2.0 * self.longest_s } else { gap_s };
            self.longest_s = counts.max(self.longest_s - FADE * (self.longest_s - counts));
            self.gaps = self.gaps.saturating_add(1);
        }
        self.heard_s = now_s;
        self.last_us = Some(ts_us);
    }

    pub(super) fn heard_us(&self) -> Option<i64> {
        self.last_us
    }

    /// The silence that is allowed; none where it is not known yet.
    fn allowed_s(&self, gap_s: Option<f64>, intervals: Option<f64>) -> Option<f64> {
        let learnt = self.gaps >= GAPS_LEAST;
        let by_itself = intervals.map(|n| learnt.then_some(n * f64::from(self.longest_s)));
        match (gap_s, by_itself) {
            (gap_s, None) => gap_s,
            (gap_s, Some(by_itself)) => by_itself.map(|s| s.max(gap_s.unwrap_or(0.0))),
        }
    }

    pub(super) fn is_silent(&self, now_s: u32, gap_s: Option<f64>, intervals: Option<f64>) -> bool {
        let silence_s = f64::from(now_s.saturating_sub(self.heard_s));
        self.last_us.is_some()
            && self.allowed_s(gap_s, intervals).is_some_and(|allowed_s| silence_s > allowed_s)
    }

    pub(super) fn explain(&self, now_s: u32, gap_s: Option<f64>, intervals: Option<f64>) -> String {
        let since = self.last_us.map(rfc3339).unwrap_or_default();
        let silence_s = now_s.saturating_sub(self.heard_s);
        let allowed_s = self.allowed_s(gap_s, intervals).unwrap_or_default();
        format!("no reading since {since}: none for {silence_s} s, allowed are {allowed_s:.0} s")
    }
}
