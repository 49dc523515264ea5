//! Member: how far the shape of the level, over 32 readings, is from the shapes known so far.
//!
//! In: one value. Every [`BLOCK`] readings an extreme stands for the block ([`Extreme`]); the last [`POINTS`] of them
//! are a shape; out comes its distance to the nearest of [`CENTRES`] centres, which then moves towards it (online
//! k-means, MacQueen 1967). Nothing between blocks.

use super::extreme::Extreme;
use super::judgeable;
use super::snapshot::{Reader, RestoreError, Writer};

/// Readings of a block.
const BLOCK: u8 = 4;
/// Blocks of a shape: 8 x 4 readings are some hours at five minutes.
const POINTS: usize = 8;
const CENTRES: usize = 8;
/// A centre behaves as if it had seen at most this many shapes.
const MEMORY: u16 = 500;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct KmeansLevel {
    blocks: Extreme,
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
            blocks: Extreme::new(BLOCK),
            points: [0.0; POINTS],
            at: 0,
            filled: 0,
            centres: [[0.0; POINTS]; CENTRES],
            centre_seen: [0; CENTRES],
        }
    }

    /// Begins with centres that others have seen so many shapes of, where it has seen nothing itself.
    pub(super) fn begin_with(&mut self, centres: impl Iterator<Item = ([f32; POINTS], u16)>) {
        if self.centre_seen != [0; CENTRES] {
            return;
        }
        let places = self.centres.iter_mut().zip(&mut self.centre_seen);
        for ((centre, seen), (points, weight)) in places.zip(centres) {
            (*centre, *seen) = (points, weight.clamp(1, MEMORY));
        }
    }

    /// Takes a finite value; gives a raw score at the end of a block, once there are enough blocks.
    pub(super) fn update(&mut self, value: f64) -> Option<f64> {
        let shape = self.shape(value)?;
        Some(self.match_shape(&shape))
    }

    /// The shape that ends with this value, at the end of a block.
    fn shape(&mut self, value: f64) -> Option<[f32; POINTS]> {
        let y = self.blocks.update(value)?;
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
        Some(shape)
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
        self.blocks.save(out);
        out.f32s(&self.points);
        out.u8(self.at);
        out.u8(self.filled);
        for centre in &self.centres {
            out.f32s(centre);
        }
        out.u16s(&self.centre_seen);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.blocks.load(from)?;
        from.f32s(&mut self.points)?;
        self.at = from.u8_below(POINTS as u8)?;
        self.filled = from.u8_below(POINTS as u8 + 1)?;
        for centre in &mut self.centres {
            from.f32s(centre)?;
        }
        from.u16s(&mut self.centre_seen, MEMORY)
    }
}

/// The shapes that this member would see in a series, for centres that are trained elsewhere. What cannot be judged is
/// left out, as there.
pub fn level_shapes(values: impl Iterator<Item = f64>) -> impl Iterator<Item = [f32; POINTS]> {
    let mut member = KmeansLevel::new();
    let (mut first, judged) = (None, values.filter(|value| judgeable(*value).is_ok()));
    // Relative to the origin of the series, as the suite hands values to its members.
    judged.filter_map(move |value| member.shape(value - *first.get_or_insert(value)))
}

fn squared_distance(a: &[f32; POINTS], b: &[f32; POINTS]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
