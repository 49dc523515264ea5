//! Member: how surprising the level is after the level before.
//!
//! In: one value. Every [`BLOCK`] readings an extreme stands for the block ([`Extreme`]), cut to one of [`LEVELS`]
//! levels; out comes the surprise, in nats, of this level after the one before it: -ln of the share of the times that
//! it followed. The idea of a value being anomalous in its context is that of contextual anomaly detection; here a
//! context is one level, so that the counts of all of them fit 64 bytes. Nothing between blocks.

use super::extreme::Extreme;
use super::snapshot::{Reader, RestoreError, Writer};

/// Readings of a block.
const BLOCK: u8 = 6;
const LEVELS: usize = 8;
/// A level is one standard deviation wide; the outermost ones take what lies beyond four.
const SPAN: f64 = 4.0;
/// A count above this halves the counts of its context: old habits fade.
const COUNT_MAX: u8 = 200;
/// What a level that never followed counts (Krichevsky and Trofimov 1981).
const PRIOR: f64 = 0.5;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Context {
    blocks: Extreme,
    /// How often a level (column) followed a level (row).
    counts: [[u8; LEVELS]; LEVELS],
    /// The level before; [`LEVELS`] at first.
    before: u8,
}

impl Context {
    pub(super) fn new() -> Self {
        Self { blocks: Extreme::new(BLOCK), counts: [[0; LEVELS]; LEVELS], before: LEVELS as u8 }
    }

    /// Takes a finite value; gives a raw score at the end of a block but the first.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        let y = self.blocks.update(value)?;
        let cell = (y + SPAN) / (2.0 * SPAN) * LEVELS as f64;
        let level = cell.clamp(0.0, (LEVELS - 1) as f64) as usize;
        let before = std::mem::replace(&mut self.before, level as u8);
        let row = self.counts.get_mut(usize::from(before))?;
        let all: u16 = row.iter().map(|n| u16::from(*n)).sum();
        let chances = f64::from(all) + PRIOR * LEVELS as f64;
        let surprise = ln(chances / (f64::from(row[level]) + PRIOR));
        row[level] += 1;
        if row[level] > COUNT_MAX {
            row.iter_mut().for_each(|n| *n /= 2);
        }
        Some(surprise)
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        self.blocks.save(out);
        self.counts.as_flattened().iter().for_each(|n| out.u8(*n));
        out.u8(self.before);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.blocks.load(from)?;
        for n in self.counts.as_flattened_mut() {
            *n = from.u8_below(COUNT_MAX + 1)?;
        }
        self.before = from.u8_below(LEVELS as u8 + 1)?;
        Ok(())
    }
}

/// The natural logarithm of a number from 1 on, by `+ - * /` alone, so that every processor gives the same bits (the
/// one of the standard library may differ between platforms): halved down to below 2, then the series of the inverse
/// hyperbolic tangent. Exact to about 1e-9.
fn ln(x: f64) -> f64 {
    let (mut x, mut halvings) = (x, 0.0);
    while x >= std::f64::consts::SQRT_2 {
        x *= 0.5;
        halvings += 1.0;
    }
    let s = (x - 1.0) / (x + 1.0);
    let q = s * s;
    let series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q / 11.0))));
    halvings * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for x in [1.0, 1.2, std::f64::consts::SQRT_2, 2.0, 3.7, 88.0, 3_200.0] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-8, "{x}");
        }
    }

    #[test]
    fn what_never_followed_surprises_most() {
        let mut context = Context::new();
        let mut last = 0.0;
        // Two blocks of twelve high, the others low: each level follows each often.
        for i in 0..6_000 {
            let value = if (i / 12) % 6 == 0 { 6.0 } else { 0.0 };
            last = context.update(value).unwrap_or(last);
        }
        assert!(last < 2.0, "{last}");
        let middle = (0..6).filter_map(|_| context.update(1.5)).last();
        assert!(middle.is_some_and(|surprise| surprise > 4.0), "{middle:?}");
    }
}
