//! Level: by how much the alarm level of a series lies higher or lower than what is set, by what people said of its alerts.
//!
//! In: the level that is set. Out: the level of the series. Bounded, so that no model can silence a series or make it
//! cry all day. It says to which level that is set it was fitted: under another one the factor means something else.

use std::fmt;

use super::OpenError;
use super::bytes::{Reader, Writer};

/// A factor on the alarm level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    factor: f32,
    /// 0 where it is not said.
    fitted_to: f32,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alarm level times {}", self.factor)?;
        match self.set_level() {
            Some(set) => write!(
                f,
                ", {:.2} for agents with `score.suite.alarm_level = {set}`, to which it was fitted",
                set * self.factor
            ),
            None => Ok(()),
        }
    }
}

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
        if fits {
            Ok(Self { factor, fitted_to: 0.0 })
        } else {
            Err(OpenError::Value { what: "factor on the level" })
        }
    }

    /// Says to which `score.suite.alarm_level` it was fitted.
    ///
    /// # Errors
    /// When that is not a level: below 0, or not finite.
    pub fn fitted_to(self, level: f32) -> Result<Self, OpenError> {
        let fits = level >= 0.0 && level.is_finite();
        if fits {
            Ok(Self { fitted_to: level, ..self })
        } else {
            Err(OpenError::Value { what: "level that it was fitted to" })
        }
    }

    /// The level that was set where it was fitted; none where it does not say.
    #[must_use]
    pub fn set_level(&self) -> Option<f32> {
        (self.fitted_to > 0.0).then_some(self.fitted_to)
    }

    /// The factor.
    #[must_use]
    pub fn factor(&self) -> f32 {
        self.factor
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f32(self.factor);
        out.f32(self.fitted_to);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let factor = Self::new(from.f32("factor on the level")?)?;
        factor.fitted_to(from.f32("level that it was fitted to")?)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn it_says_to_which_level_it_was_fitted() {
        let level = Level::new(1.5).unwrap();
        assert_eq!(level.to_string(), "alarm level times 1.5");
        assert_eq!(
            level.fitted_to(1.2).unwrap().to_string(),
            "alarm level times 1.5, 1.80 for agents with `score.suite.alarm_level = 1.2`, to which it was fitted"
        );
        for none in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(level.fitted_to(none).is_err());
        }
    }
}
