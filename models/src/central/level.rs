//! Level: by how much the alarm level of a series lies higher or lower than what is set, by what people said of its alerts.
//!
//! In: the level that is set. Out: the level of the series. Bounded, so that no model can silence a series or make it
//! cry all day.

use super::OpenError;
use super::bytes::{Reader, Writer};

/// A factor on the alarm level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level(f32);

impl Level {
    /// The least factor.
    pub const MIN: f32 = 0.7;
    /// The highest factor.
    pub const MAX: f32 = 3.0;

    /// Checks a factor.
    ///
    /// # Errors
    /// When it is out of its bounds.
    pub fn new(factor: f32) -> Result<Self, OpenError> {
        let fits = (Self::MIN..=Self::MAX).contains(&factor);
        if fits { Ok(Self(factor)) } else { Err(OpenError::Value { what: "factor on the level" }) }
    }

    /// The factor.
    #[must_use]
    pub fn factor(&self) -> f32 {
        self.0
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f32(self.0);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        Self::new(from.f32("factor on the level")?)
    }
}
