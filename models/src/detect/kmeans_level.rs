//! Member: how far the shape of the level, over 48 readings, is from the shapes known so far.
//!
//! In: one value. Every [`BLOCK`] readings the value of them that lies farthest from the mean so far stands for the
//! block (an extreme must not be averaged away); the last [`POINTS`] such values, standardised, are a shape; out
//! comes its distance to the nearest of [`CENTRES`] centres, which then moves towards it. Nothing between blocks.
//! Written from the description of extremum-keeping downsampling and of online k-means (MacQueen 1967).

use super::snapshot::{Reader, RestoreError, Writer};

/// Readings of a block.
const BLOCK: u8 = 6;
/// Blocks of a shape: 8 x 6 readings are four hours at five minutes.
const POINTS: usize = 8;
const CENTRES: usize = 16;
/// A centre behaves as if it had seen at most this many shapes.
const MEMORY: u16 = 500;
/// Rate of the running mean and variance of the extremes: 1,000 blocks.
const LEVEL_RATE: f64 = 0.001;
/// A standardised value counts at most this much.
const Y_MAX: f64 = 20.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct KmeansLevel {
    /// Of the extremes of blocks.
    mean: f64,
    variance: f64,
    seen: u16,
    /// The extreme of the block so far and its distance from the mean.
    extreme: f64,
    extreme_distance: f64,
    in_block: u8,
    /// The last standardised extremes, oldest at `at`: a ring.
    points: [f32; POINTS],
    at: u8,
    filled: u8,
    centres: [[f32; POINTS]; CENTRES],
    centre_seen: [u16; CENTRES],
}

impl KmeansLevel {
    pub(super) fn new() -> Self {
        Self {
            mean: 0.0,
            variance: 0.0,
            seen: 0,
            extreme: 0.0,
            extreme_distance: 0.0,
            in_block: 0,
            points: [0.0; POINTS],
            at: 0,
            filled: 0,
            centres: [[0.0; POINTS]; CENTRES],
            centre_seen: [0; CENTRES],
        }
    }

    /// Takes a finite value; gives a raw score at the end of a block, once there are enough blocks.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        let distance = (value - self.mean).abs();
        if self.in_block == 0 || distance > self.extreme_distance {
            (self.extreme, self.extreme_distance) = (value, distance);
        }
        self.in_block += 1;
        if self.in_block < BLOCK {
            return None;
        }
        self.in_block = 0;
        self.learn_level(self.extreme);
        let y = self.standardise(self.extreme);
        self.points[usize::from(self.at)] = y as f32;
        self.at = (self.at + 1) % POINTS as u8;
        if usize::from(self.filled) < POINTS {
            self.filled += 1;
            if usize::from(self.filled) < POINTS {
                return None;
            }
        }
        let mut shape = self.points;
        shape.rotate_left(usize::from(self.at));
        Some(self.match_shape(&shape))
    }

    fn standardise(&self, value: f64) -> f64 {
        let deviation = self.variance.sqrt();
        if deviation > 0.0 { ((value - self.mean) / deviation).clamp(-Y_MAX, Y_MAX) } else { 0.0 }
    }

    /// Exponentially weighted mean and variance (West 1979), plain averages at first.
    fn learn_level(&mut self, value: f64) {
        self.seen = self.seen.saturating_add(1);
        let rate = (1.0 / f64::from(self.seen)).max(LEVEL_RATE);
        let delta = value - self.mean;
        self.mean += rate * delta;
        self.variance = (1.0 - rate) * (self.variance + rate * delta * delta);
    }

    /// The distance to the nearest centre, which moves. The first shapes become centres themselves.
    fn match_shape(&mut self, shape: &[f32; POINTS]) -> f64 {
        let mut nearest = 0;
        let mut least = f32::INFINITY;
        for (i, centre) in self.centres.iter().enumerate() {
            if self.centre_seen[i] == 0 {
                continue;
            }
            let distance = squared_distance(shape, centre);
            if distance < least {
                (nearest, least) = (i, distance);
            }
        }
        let free = self.centre_seen.iter().position(|n| *n == 0);
        match free {
            // A shape that is known exactly does not take a centre away.
            Some(free) if least > 0.0 => nearest = free,
            _ => {}
        }
        self.centre_seen[nearest] = (self.centre_seen[nearest] + 1).min(MEMORY);
        let share = 1.0 / f32::from(self.centre_seen[nearest]);
        for (c, p) in self.centres[nearest].iter_mut().zip(shape) {
            *c += (p - *c) * share;
        }
        if least.is_finite() { f64::from(least.sqrt()) } else { 0.0 }
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        for v in [self.mean, self.variance, self.extreme, self.extreme_distance] {
            out.f64(v);
        }
        out.u16s(&[self.seen]);
        out.u8(self.in_block);
        out.f32s(&self.points);
        out.u8(self.at);
        out.u8(self.filled);
        for centre in &self.centres {
            out.f32s(centre);
        }
        out.u16s(&self.centre_seen);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.mean = from.f64()?;
        self.variance = from.f64()?;
        self.extreme = from.f64()?;
        self.extreme_distance = from.f64()?;
        let mut seen = [0];
        from.u16s(&mut seen, u16::MAX)?;
        self.seen = seen[0];
        self.in_block = from.u8_below(BLOCK)?;
        from.f32s(&mut self.points)?;
        self.at = from.u8_below(POINTS as u8)?;
        self.filled = from.u8_below(POINTS as u8 + 1)?;
        for centre in &mut self.centres {
            from.f32s(centre)?;
        }
        from.u16s(&mut self.centre_seen, MEMORY)
    }
}

fn squared_distance(a: &[f32; POINTS], b: &[f32; POINTS]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
