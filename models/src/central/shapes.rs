//! Centres of the shapes that series of one class take: what the member `kmeans_level` begins with.
//!
//! In: a shape. Out: the distance to the nearest centre, and which one that is.

use super::OpenError;
use super::bytes::{Reader, Writer};

/// Points of a shape.
pub const POINTS: usize = 8;
/// Most centres.
pub const CENTRES_MAX: usize = 8;
/// A centre weighs as if it had seen at most this many shapes.
pub const WEIGHT_MAX: u16 = 500;

/// A centre and how many shapes it stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Centre {
    /// The shape.
    pub points: [f32; POINTS],
    /// From 1 to [`WEIGHT_MAX`].
    pub weight: u16,
}

/// Centres of shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes(Box<[Centre]>);

impl Shapes {
    /// Checks centres.
    ///
    /// # Errors
    /// When there are none or too many, or a number is out of its range.
    pub fn new(centres: Vec<Centre>) -> Result<Self, OpenError> {
        let found = centres.len();
        if found > CENTRES_MAX {
            return Err(OpenError::TooMany { what: "centres", found, most: CENTRES_MAX });
        }
        let valid = |centre: &Centre| {
            (1..=WEIGHT_MAX).contains(&centre.weight)
                && centre.points.iter().all(|p| p.is_finite() && p.abs() <= 1e6)
        };
        if found > 0 && centres.iter().all(valid) {
            Ok(Self(centres.into()))
        } else {
            Err(OpenError::Value { what: "centre" })
        }
    }

    /// The centres.
    #[must_use]
    pub fn centres(&self) -> &[Centre] {
        &self.0
    }

    /// The nearest centre of a shape and its distance.
    #[must_use]
    pub fn nearest(&self, shape: &[f32; POINTS]) -> (usize, f64) {
        let (mut nearest, mut least) = (0, f64::INFINITY);
        for (i, centre) in self.0.iter().enumerate() {
            let off = centre.points.iter().zip(shape);
            let squared = off.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
            if squared < least {
                (nearest, least) = (i, squared);
            }
        }
        (nearest, least.sqrt())
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.0.len());
        for centre in &self.0 {
            centre.points.iter().for_each(|p| out.f32(*p));
            out.u16(centre.weight);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let n = from.count(CENTRES_MAX, 4 * POINTS + 2, "centres")?;
        let mut centres = Vec::with_capacity(n);
        for _ in 0..n {
            let mut points = [0.0; POINTS];
            for point in &mut points {
                *point = from.f32("centre")?;
            }
            centres.push(Centre { points, weight: from.u16()? });
        }
        Self::new(centres)
    }
}
