//! A sum of weighted features: ridge regression, and the inside of the logistic one.
//!
//! `f64` weights over `f32` features, summed in order: what smartcore does with the same numbers.

use super::OpenError;
use super::bytes::{Reader, Writer};
use super::features::FEATURES_MAX;

/// Weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    intercept: f64,
    weights: Box<[f64]>,
}

impl Linear {
    /// Checks weights.
    ///
    /// # Errors
    /// When there are none or too many, or one is not finite.
    pub fn new(intercept: f64, weights: Vec<f64>) -> Result<Self, OpenError> {
        let found = weights.len();
        if found > FEATURES_MAX {
            return Err(OpenError::TooMany { what: "features", found, most: FEATURES_MAX });
        }
        if found == 0 || !intercept.is_finite() || !weights.iter().all(|w| w.is_finite()) {
            return Err(OpenError::Value { what: "weight" });
        }
        Ok(Self { intercept, weights: weights.into() })
    }

    /// How many features it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.weights.len()
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The sum; features beyond those it takes are left out.
    #[must_use]
    pub fn predict(&self, row: &[f32]) -> f64 {
        let products = self.weights.iter().zip(row).map(|(w, x)| w * f64::from(*x));
        products.sum::<f64>() + self.intercept
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f64(self.intercept);
        out.count(self.weights.len());
        out.f64s(&self.weights);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let intercept = from.f64("intercept")?;
        let n = from.count(FEATURES_MAX, 8, "features")?;
        Self::new(intercept, from.f64s(n, "weight")?.into_vec())
    }
}
