//! How far off a forecast may be before it is unusual: split conformal quantiles.
//!
//! In: absolute residuals of readings that the model was not fitted to. Out: the half width that covers a new reading
//! with at least the wanted probability, whatever the distribution, as long as readings are exchangeable (Papadopoulos
//! and others 2002; Lei and others 2018); and the mean excess over it, which is the unit of scores.

use super::OpenError;
use super::bytes::{Reader, Writer};

/// Largest score, as of the streaming detectors.
pub const SCORE_MAX: f64 = 20.0;
/// The share of readings within the band: that of the members of the streaming suite.
pub const COVERAGE: f64 = 0.985;

/// A band around a forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    half_width: f64,
    excess: f64,
}

impl Band {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is not finite, the width is negative or the excess not positive.
    pub fn new(half_width: f64, excess: f64) -> Result<Self, OpenError> {
        let valid =
            half_width.is_finite() && half_width >= 0.0 && excess.is_finite() && excess > 0.0;
        if valid { Ok(Self { half_width, excess }) } else { Err(OpenError::Value { what: "band" }) }
    }

    /// The band that covers a new residual with probability [`COVERAGE`]; sorts `residuals`. Nothing where there are too
    /// few of them (66) to promise that.
    #[must_use]
    pub fn of(residuals: &mut [f64]) -> Option<Self> {
        residuals.iter_mut().for_each(|r| *r = r.abs());
        residuals.sort_by(f64::total_cmp);
        let rank = ((residuals.len() as f64 + 1.0) * COVERAGE).ceil() as usize;
        let half_width = *residuals.get(rank.checked_sub(1)?)?;
        let beyond = residuals.get(rank..).unwrap_or_default();
        let sum: f64 = beyond.iter().map(|r| r - half_width).sum();
        let mean = sum / beyond.len().max(1) as f64;
        // A tail that is flat or empty says nothing of its length; a tenth of the band is then the unit.
        let excess = mean.max(0.1 * half_width).max(f64::MIN_POSITIVE.sqrt());
        Self::new(half_width, excess).ok()
    }

    /// Half its width.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        self.half_width
    }

    /// 0 within the band, 1 where residuals beyond it lie in the mean, at most [`SCORE_MAX`].
    #[must_use]
    pub fn score(&self, residual: f64) -> f64 {
        ((residual.abs() - self.half_width) / self.excess).clamp(0.0, SCORE_MAX)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f64s(&[self.half_width, self.excess]);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        Self::new(from.f64("band")?, from.f64("band")?)
    }
}
