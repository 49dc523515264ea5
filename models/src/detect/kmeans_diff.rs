//! Member: how far the last changes of the series are from the kinds of change known so far.
//!
//! In: one value. Out: the squared distance of the last [`LAGS`] differences of the smoothed series to the nearest
//! of [`CENTRES`] centres, which then moves towards them (online k-means, MacQueen 1967; the features are those of
//! Netdata's anomaly bit: smoothed differences and their lags). Nothing until the window is full.

use super::snapshot::{Reader, RestoreError, Writer};

/// Differences looked at together. Netdata takes six; eight did better on NAB, in each of its halves.
const LAGS: usize = 8;
/// Kinds of change: at rest and in motion. Netdata uses two as well.
const CENTRES: usize = 2;
/// A centre behaves as if it had seen at most this many windows, so that it follows a series that changes.
const MEMORY: u16 = 500;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct KmeansDiff {
    /// Share of a new value in the smoothed series; 1 is no smoothing. A setting, not state.
    smoothing: f32,
    smoothed: f64,
    started: bool,
    /// The last differences, oldest at `at`: a ring.
    window: [f32; LAGS],
    at: u8,
    filled: u8,
    centres: [[f32; LAGS]; CENTRES],
    seen: [u16; CENTRES],
}

impl KmeansDiff {
    pub(super) fn new(smoothing: f32) -> Self {
        Self {
            smoothing,
            smoothed: 0.0,
            started: false,
            window: [0.0; LAGS],
            at: 0,
            filled: 0,
            centres: [[0.0; LAGS]; CENTRES],
            seen: [0; CENTRES],
        }
    }

    /// Takes a finite value; gives the raw score of it.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        if !self.started {
            self.started = true;
            self.smoothed = value;
            return None;
        }
        let before = self.smoothed;
        self.smoothed += f64::from(self.smoothing) * (value - self.smoothed);
        self.window[usize::from(self.at)] = (self.smoothed - before) as f32;
        self.at = (self.at + 1) % LAGS as u8;
        if usize::from(self.filled) < LAGS {
            self.filled += 1;
            if usize::from(self.filled) < LAGS {
                return None;
            }
        }
        // Oldest first: a centre is a shape in time.
        let mut shape = self.window;
        shape.rotate_left(usize::from(self.at));
        let mut nearest = 0;
        let mut least = f64::INFINITY;
        for (i, centre) in self.centres.iter().enumerate() {
            let distance = squared_distance(&shape, centre);
            if distance < least {
                (nearest, least) = (i, distance);
            }
        }
        // A centre that has seen nothing lies at zero, which is "no change": a fair first guess, and it jumps onto
        // the first window that is nearer to it than to the others.
        self.seen[nearest] = (self.seen[nearest] + 1).min(MEMORY);
        let share = 1.0 / f32::from(self.seen[nearest]);
        for (c, f) in self.centres[nearest].iter_mut().zip(shape) {
            *c += (f - *c) * share;
        }
        Some(least)
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f64(self.smoothed);
        out.u8(u8::from(self.started));
        out.f32s(&self.window);
        out.u8(self.at);
        out.u8(self.filled);
        for centre in &self.centres {
            out.f32s(centre);
        }
        out.u16s(&self.seen);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.smoothed = from.f64()?;
        self.started = from.u8_below(2)? == 1;
        from.f32s(&mut self.window)?;
        self.at = from.u8_below(LAGS as u8)?;
        self.filled = from.u8_below(LAGS as u8 + 1)?;
        for centre in &mut self.centres {
            from.f32s(centre)?;
        }
        from.u16s(&mut self.seen, MEMORY)
    }
}

/// Summed in `f64`: the squares of what `f32` can hold do not fit `f32`.
fn squared_distance(a: &[f32; LAGS], b: &[f32; LAGS]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let d = f64::from(*a) - f64::from(*b);
            d * d
        })
        .sum()
}
