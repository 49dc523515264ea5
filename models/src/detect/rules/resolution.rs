//! Resolution: the smallest step between values, as a sensor or a converter has it.
//!
//! In: values. Out: whether the step has become another one. The changes of a series are taken in blocks; the step of a
//! block is the smallest change in it. A step is believed where all changes are multiples of it, block after block: so
//! nothing is said of values without steps, nor of those whose smallest change follows the traffic.

/// Changes in a block.
const BLOCK: u8 = 64;
/// Blocks in a row with the same step before it is known, and before another one is told.
const KNOWN: u8 = 8;
const OTHER: u8 = 3;
/// Steps that differ by less are the same.
const SAME: f64 = 0.1;
/// How far a change may lie from a multiple of the step, in steps; changes of more steps than [`FAR`] are not looked at,
/// where the digits of the step do not reach.
const OFF: f64 = 0.1;
const FAR: f64 = 1_000.0;

/// 48 bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolution {
    last: Option<f64>,
    /// The step that is known, or on its way to be.
    step: f64,
    /// The step that was known before.
    was: f64,
    /// Of the blocks since, where theirs is another one.
    other: f64,
    /// The smallest change of this block.
    smallest: f64,
    changes: u8,
    same_blocks: u8,
    other_blocks: u8,
    /// A change in this block was no multiple of what is looked for.
    is_off: bool,
}

impl Resolution {
    /// Whether the step has become another one, by `factor` or more, with this value.
    pub(super) fn update(&mut self, value: f64, factor: f64) -> bool {
        let change = (value - self.last.replace(value).unwrap_or(value)).abs();
        // What is left of decimal digits in binary numbers is no change.
        if change <= 1e-12 * value.abs() {
            return false;
        }
        let (looked_for, blocks) = if self.other_blocks > 0 {
            (self.other, self.other_blocks)
        } else {
            (self.step, self.same_blocks)
        };
        if blocks > 0 {
            let steps = change / looked_for;
            self.is_off |= steps < FAR && (steps - steps.round()).abs() > OFF;
        }
        self.smallest = if self.changes == 0 { change } else { self.smallest.min(change) };
        self.changes += 1;
        if self.changes < BLOCK {
            return false;
        }
        self.changes = 0;
        let is_off = std::mem::take(&mut self.is_off);
        self.end_block(self.smallest, is_off, factor)
    }

    fn end_block(&mut self, step: f64, is_off: bool, factor: f64) -> bool {
        let same = |other: f64| (step - other).abs() <= SAME * other;
        if self.same_blocks < KNOWN {
            let goes_on = self.same_blocks > 0 && same(self.step) && !is_off;
            self.same_blocks = if goes_on { self.same_blocks + 1 } else { 1 };
            self.step = step;
            return false;
        }
        if same(self.step) {
            self.other_blocks = 0;
            return false;
        }
        let goes_on = self.other_blocks > 0 && same(self.other) && !is_off;
        self.other_blocks = if goes_on { self.other_blocks + 1 } else { 1 };
        self.other = step;
        if self.other_blocks < OTHER {
            return false;
        }
        self.other_blocks = 0;
        (self.was, self.step) = (self.step, step);
        step >= factor * self.was || step * factor <= self.was
    }

    pub(super) fn explain(&self) -> String {
        let (step, was) = (self.step, self.was);
        format!("values now move in steps of {step:.6}, before in steps of {was:.6}")
    }
}
