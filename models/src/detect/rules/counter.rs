//! Counters: what only grows, until it begins anew.
//!
//! In: the readings of a counter. Out: whether it fell; and an offset with which its values go on where it began anew,
//! so that what looks at the level does not take a restart for a drop.

use super::{Point, elapsed_s, is_late};

/// Where a counter of so many values goes on at zero.
const WRAPS: [f64; 2] = [65_536.0, 4_294_967_296.0];
/// A step across the end of the range is at most so many times the step before.
const WRAP_STEPS: f64 = 16.0;
/// Near zero is below this share of the value before.
const NEAR_ZERO: f64 = 0.1;

/// 40 bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    last: Option<Point>,
    /// The last growth.
    step: f64,
    offset: f64,
    /// The value that it fell from.
    fell_from: f64,
}

impl Counter {
    /// Whether it fell.
    pub(super) fn update(&mut self, now: Point) -> bool {
        let Some(before) = self.last else {
            self.last = Some(now);
            return false;
        };
        let elapsed_s = elapsed_s(before, now.ts_us);
        if is_late(elapsed_s) {
            return false;
        }
        self.last = Some(now);
        let (from, to) = (before.value, now.value);
        if to >= from {
            if to > from {
                self.step = to - from;
            }
            return false;
        }
        let wrap = WRAPS
            .into_iter()
            .find(|wrap| from < *wrap && to >= 0.0 && wrap - from + to <= WRAP_STEPS * self.step);
        if let Some(wrap) = wrap {
            self.offset += wrap;
            return false;
        }
        self.fell_from = from;
        if began_anew(from, to) {
            self.offset += from;
        }
        true
    }

    pub(super) fn offset(&self) -> f64 {
        self.offset
    }

    pub(super) fn explain(&self) -> String {
        let (from, to) = (self.fell_from, self.last.map_or(0.0, |last| last.value));
        if began_anew(from, to) {
            format!("reset: it counted to {from} and began anew, now at {to}")
        } else {
            format!("fell from {from} to {to}: no reset, which would begin near 0")
        }
    }
}

fn began_anew(from: f64, to: f64) -> bool {
    to >= 0.0 && to <= NEAR_ZERO * from
}
