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
//! | `suite` | the default model: eight members, calibrated and combined |
//! | `kmeans_diff` | two members: shapes of the last changes, smoothed and as they are |
//! | `season` | member: time of day |
//! | `kmeans_level` | member: shapes of the level over some dozens of readings |
//! | `level` | two members: a shift of the level, a deviation that goes on |
//! | `context` | member: the level after the level before |
//! | `calm` | member: a series that becomes calmer |
//! | `extreme` | stands one value for a block of readings |
//! | `pot` | puts the raw score of a member on one scale, by its own tail |
//! | `hold` | keeps a score for some readings; quiet time between alarms |
//! | `peaks` | the height of an excursion, said once |
//! | `budget` | raises the alarm level of a series with too many alarms |
//! | `snapshot` | bytes of a state, versioned and checked |
//! | [`group`] | several metrics of one device together |
//! | [`rules`] | range, rate of change, flat line, silence, counters, resolution: as somebody sets them |
//! | [`stuck`] | a value that stands still for far longer than it ever did: learnt |
//! | [`physical`] | what a value in its unit cannot be |
//! | [`life`] | from alarms to alerts that fire once and resolve once |

mod budget;
mod calm;
mod context;
mod extreme;
pub mod group;
mod hold;
mod kmeans_diff;
mod kmeans_level;
mod level;
pub mod life;
mod peaks;
pub mod physical;
pub(crate) mod pot;
pub mod rules;
mod season;
mod snapshot;
pub mod stuck;
mod suite;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

pub use budget::Budget;
pub use kmeans_level::level_shapes;
pub use snapshot::RestoreError;
pub(crate) use suite::MEMBERS;
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
    /// How unusual the reading is: 0 for an ordinary one; 1 where it lies, in the middle of all members, as far in
    /// their tails as the mean of what ever got there (the highest 1.5 % of raw scores); at most 20. Continuous, never
    /// suppressed by the quiet time: this is what is stored with the reading.
    pub score: f32,
    /// The height of an excursion of the score, said once, three readings behind its top, where it stands out from
    /// what was said before; 0 elsewhere. One number a row for tools that lay a level through it themselves.
    pub peak: f32,
    /// Somebody should be told: the score reached `threshold` and had not done so for a while.
    pub alarm: bool,
    /// The level at which an alarm is raised now: the one that was set, or higher by the alarm budget.
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

/// The rate at which a mean follows the reading number `seen`: a plain mean at first, in the end the `least` rate. The
/// division is for the first readings only, it takes as long as much else here.
fn rate(seen: u16, least: f64) -> f64 {
    let seen = f64::from(seen);
    if seen * least < 1.0 { 1.0 / seen } else { least }
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
