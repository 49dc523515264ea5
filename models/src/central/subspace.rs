//! Several metrics of one device together, by where they lay in the history: T² and Q.
//!
//! In: smoothed values of the metrics at one time, in the order of the model. Out: T², the squared Mahalanobis distance
//! from the mean of the history (Hotelling 1947; with smoothed inputs the multivariate EWMA chart of Lowry, Woodall and
//! others 1992), and Q, the squared distance from the principal subspace (Jackson and Mudholkar 1979), each over what the
//! calibration readings reached; and the metric that contributes most. Constant memory, no allocation.

use super::OpenError;
use super::bytes::{Reader, Writer};
use crate::detect::group::CHANNELS_MAX;
use crate::detect::judgeable;
use crate::limit::NAME_BYTES_MAX;

/// Largest score.
const SCORE_MAX: f64 = 1_000.0;

/// What a [`Subspace`] is made of, with everything of channel `i` at place `i`.
#[derive(Debug, Clone, PartialEq)]
pub struct SubspaceParts {
    /// Names of the metrics.
    pub metrics: Vec<Box<str>>,
    /// Share of a new value in the smoothed one, above 0, at most 1.
    pub smoothing: f64,
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub scale: Vec<f64>,
    /// Inverse of the correlation matrix: lower triangle, row by row.
    pub inverse: Vec<f64>,
    /// Principal directions of the standardised values, row by row, of length 1 and at right angles.
    pub directions: Vec<f64>,
    /// T² that calibration readings stay below.
    pub t2_limit: f64,
    /// Q that calibration readings stay below.
    pub q_limit: f64,
}

/// The model of a group of metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Subspace(SubspaceParts);

/// How far a group lies off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// Squared Mahalanobis distance.
    pub t2: f64,
    /// Squared distance from the principal subspace, in standard deviations.
    pub q: f64,
    /// The farther of the two, as a root, 1 at its limit.
    pub score: f64,
    /// Position of the metric that contributes most to T².
    pub channel: usize,
}

/// The smoothed values of one group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Smoothed {
    values: [f64; CHANNELS_MAX],
    begun: bool,
}

impl Subspace {
    /// Checks the parts.
    ///
    /// # Errors
    /// When lengths do not fit or a number is out of its range.
    pub fn new(parts: SubspaceParts) -> Result<Self, OpenError> {
        let n = parts.metrics.len();
        if n > CHANNELS_MAX {
            return Err(OpenError::TooMany { what: "metrics", found: n, most: CHANNELS_MAX });
        }
        let lengths = n >= 2
            && parts.mean.len() == n
            && parts.scale.len() == n
            && parts.inverse.len() == n * (n + 1) / 2
            && parts.directions.len().is_multiple_of(n)
            && parts.directions.len() <= n * n;
        if !lengths {
            return Err(OpenError::Value { what: "number of metrics" });
        }
        let p = &parts;
        let numbers = [&p.mean, &p.scale, &p.inverse, &p.directions];
        let finite = numbers.iter().all(|list| list.iter().all(|v| v.is_finite()));
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let in_range = p.scale.iter().all(|v| *v > 0.0)
            && positive(p.smoothing)
            && p.smoothing <= 1.0
            && positive(p.t2_limit)
            && positive(p.q_limit);
        let names = p.metrics.iter().all(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
        if finite && in_range && names {
            Ok(Self(parts))
        } else {
            Err(OpenError::Value { what: "number of a group" })
        }
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &SubspaceParts {
        &self.0
    }

    /// Takes the values of one time, in the order of the model's metrics, and judges them. Nothing, and nothing kept,
    /// where one cannot be judged or their number is another one.
    pub fn update(&self, state: &mut Smoothed, values: &[f64]) -> Option<Distances> {
        let n = self.0.metrics.len();
        if values.len() != n || values.iter().any(|value| judgeable(*value).is_err()) {
            return None;
        }
        for (smoothed, value) in state.values.iter_mut().zip(values) {
            let share = if state.begun { self.0.smoothing } else { 1.0 };
            *smoothed += share * (value - *smoothed);
        }
        state.begun = true;
        Some(self.distances(state.values.get(..n)?))
    }

    /// Judges smoothed values; missing ones count as their mean.
    #[must_use]
    pub fn distances(&self, smoothed: &[f64]) -> Distances {
        let p = &self.0;
        let n = p.metrics.len();
        let mut z = [0.0; CHANNELS_MAX];
        let standard = smoothed.iter().zip(&p.mean).zip(&p.scale);
        for (z, ((value, mean), scale)) in z.iter_mut().zip(standard) {
            // The bound keeps squares finite.
            *z = ((value - mean) / scale).clamp(-1e30, 1e30);
        }
        let (t2, channel) = self.mahalanobis(&z);
        let mut rest = z;
        for direction in p.directions.chunks_exact(n) {
            let along: f64 = direction.iter().zip(&z).map(|(d, z)| d * z).sum();
            for (rest, d) in rest.iter_mut().zip(direction) {
                *rest -= along * d;
            }
        }
        let q: f64 = rest.iter().take(n).map(|r| r * r).sum();
        let ratio = (t2 / p.t2_limit).max(q / p.q_limit);
        let score =
            if ratio.is_finite() { ratio.max(0.0).sqrt().min(SCORE_MAX) } else { SCORE_MAX };
        Distances { t2, q, score, channel }
    }

    /// `z' R⁻¹ z`, and which `z_i (R⁻¹ z)_i` is the largest.
    fn mahalanobis(&self, z: &[f64; CHANNELS_MAX]) -> (f64, usize) {
        let n = self.0.metrics.len();
        let mut product = [0.0; CHANNELS_MAX];
        let mut rows = self.0.inverse.as_slice();
        for i in 0..n {
            let Some((row, rest)) = rows.split_at_checked(i + 1) else { break };
            rows = rest;
            let Some((diagonal, before)) = row.split_last() else { break };
            let mut sum = diagonal * z[i];
            for (j, entry) in before.iter().enumerate() {
                sum += entry * z[j];
                product[j] += entry * z[i];
            }
            product[i] += sum;
        }
        let (mut t2, mut channel, mut most) = (0.0, 0, f64::NEG_INFINITY);
        for i in 0..n {
            let share = z[i] * product[i];
            t2 += share;
            if share > most {
                (channel, most) = (i, share);
            }
        }
        (t2, channel)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let p = &self.0;
        out.count(p.metrics.len());
        p.metrics.iter().for_each(|name| out.text(name));
        out.count(p.directions.len() / p.metrics.len());
        for numbers in [&p.mean, &p.scale, &p.inverse, &p.directions] {
            out.f64s(numbers);
        }
        out.f64s(&[p.smoothing, p.t2_limit, p.q_limit]);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let n = from.count(CHANNELS_MAX, 2, "metrics")?;
        let names = (0..n).map(|_| from.text(NAME_BYTES_MAX, "name of a metric"));
        let metrics = names.collect::<Result<_, _>>()?;
        let directions = from.count(n, 8, "directions")?;
        let mut numbers = |n| from.f64s(n, "number of a group").map(<[f64]>::into_vec);
        Self::new(SubspaceParts {
            metrics,
            mean: numbers(n)?,
            scale: numbers(n)?,
            inverse: numbers(n * (n + 1) / 2)?,
            directions: numbers(directions * n)?,
            smoothing: from.f64("smoothing")?,
            t2_limit: from.f64("limit")?,
            q_limit: from.f64("limit")?,
        })
    }
}
