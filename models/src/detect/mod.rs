//! Streaming anomaly detectors for readings, one small state per series.
//!
//! A reading goes in (event time and value), a [`Verdict`] comes out: how unusual the reading is, what was
//! expected, whether somebody should be told. Everything here is pure: no IO, no clock, no random numbers, no
//! allocation per reading, no look at later readings. The same readings in the same order give the same bits,
//! however they are cut into batches and on every processor (only `+ - * /` and square roots are used, which
//! IEEE 754 fixes to the bit).
//!
//! | file | what it holds |
//! | --- | --- |
//! | `suite` | the default model: four members, calibrated and combined |
//! | `kmeans_diff` | member: shapes of the last changes |
//! | `season` | member: time of day, weekday and weekend apart |
//! | `kmeans_level` | member: shapes of the level over some dozens of readings |
//! | `pot` | puts the raw score of a member on one scale, by its own tail |
//! | `hold` | keeps a peak for some readings; quiet time between alarms |
//! | `snapshot` | bytes of a state, versioned and checked |
//! | [`rules`] | range, rate of change, flat line |
//! | [`life`] | from alarms to alerts that fire once and resolve once |

mod hold;
mod kmeans_diff;
mod kmeans_level;
pub mod life;
pub(crate) mod pot;
pub mod rules;
mod season;
mod snapshot;
mod suite;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

pub use snapshot::RestoreError;
pub use suite::{Suite, SuiteConfig};

use std::fmt;

/// Name and version of a model, as they are written into an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// What it is called.
    pub name: &'static str,
    /// Changes whenever the same readings would be given other scores.
    pub version: &'static str,
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What the detector says of one reading. Every number in it is finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// How unusual the reading is: 0 for an ordinary one; 1 where it lies, in the mean of all members, as far in
    /// their tails as the mean of what ever got there (the highest 2 % of raw scores); at most 10. Continuous, never
    /// suppressed by the quiet time: this is what is stored with the reading.
    pub score: f32,
    /// Somebody should be told: the score reached `threshold` and had not done so for a while.
    pub alarm: bool,
    /// The level at which an alarm is raised.
    pub threshold: f32,
    /// The value expected before the reading was seen, in the unit of the series.
    pub expected: f64,
    /// Lower end of what is usual, in the unit of the series.
    pub low: f64,
    /// Upper end of what is usual, in the unit of the series.
    pub high: f64,
    /// The member that contributed most to the score, `none` where the score is 0.
    pub member: &'static str,
    /// Set where the value could not be judged. The state of the detector is then what it was before.
    pub refused: Option<Refusal>,
}

impl Verdict {
    /// The score where an alarm is raised, 0 elsewhere: one number a row for tools that apply their own threshold
    /// and know nothing of a quiet time.
    #[must_use]
    pub fn alarm_score(&self) -> f32 {
        if self.alarm { self.score } else { 0.0 }
    }
}

/// Why a value was not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a number, or infinite.
    NotFinite,
    /// Larger than [`MAX_ABS`], where the squares of differences would leave the range of the state.
    TooLarge,
}

impl Refusal {
    /// A word for records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Largest absolute value that is judged. State is kept in `f32`, which ends at 3.4e38.
pub const MAX_ABS: f64 = 1e30;

/// Says whether a value can be judged.
///
/// # Errors
/// The reason why it cannot.
pub fn judgeable(value: f64) -> Result<(), Refusal> {
    if !value.is_finite() {
        Err(Refusal::NotFinite)
    } else if value.abs() > MAX_ABS {
        Err(Refusal::TooLarge)
    } else {
        Ok(())
    }
}
