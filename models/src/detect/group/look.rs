//! Where several values usually lie together, and how far off is far.
//!
//! In: rows of values. Out: what is left of each deviation when those before it are known, by means and covariances
//! ([`Spread`]), and the squared distance of that, in units of what it was before (`Look`).

use super::{CHANNELS_MAX, Row};

/// Off-diagonal covariances are taken smaller by this factor, which keeps the matrix well-conditioned where metrics
/// repeat each other.
const SHRINK: f64 = 0.98;
/// Least mean square of a direction: one that never moved so far may.
const DIRECTION_MIN: f64 = 0.05;
/// What lies farther than this times what is usual, squared, is measured as if it lay there.
const CUT: f64 = 9.0;

/// Lower triangle of a symmetric matrix, row by row.
const TRIANGLE: usize = CHANNELS_MAX * (CHANNELS_MAX + 1) / 2;

const fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

/// In standard deviations; 0 for what never moved.
pub(super) fn scaled(deviation: f64, variance: f64) -> f64 {
    if variance > 0.0 { deviation / variance.sqrt() } else { 0.0 }
}

/// Means and covariances.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spread {
    mean: Row,
    covariance: [f64; TRIANGLE],
}

impl Default for Spread {
    fn default() -> Self {
        Self { mean: [0.0; CHANNELS_MAX], covariance: [0.0; TRIANGLE] }
    }
}

impl Spread {
    /// Deviations in standard deviations.
    pub(super) fn off(&self, n: usize, row: &Row) -> Row {
        let mut off = [0.0; CHANNELS_MAX];
        for i in 0..n {
            off[i] = scaled(row[i] - self.mean[i], self.covariance[at(i, i)]);
        }
        off
    }

    /// By the Cholesky factor of the correlation matrix: what is left of each deviation when those before are known.
    pub(super) fn rest(&self, n: usize, off: &Row) -> Row {
        let mut factor = [0.0; TRIANGLE];
        let mut inverse = [0.0; CHANNELS_MAX];
        let mut scale = [0.0; CHANNELS_MAX];
        let mut left = [0.0; CHANNELS_MAX];
        for i in 0..n {
            let variance = self.covariance[at(i, i)];
            scale[i] = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
            let mut rest = off[i];
            let mut diagonal = 1.0;
            for j in 0..i {
                let mut entry = SHRINK * self.covariance[at(i, j)] * scale[i] * scale[j];
                for k in 0..j {
                    entry -= factor[at(i, k)] * factor[at(j, k)];
                }
                entry *= inverse[j];
                factor[at(i, j)] = entry;
                diagonal -= entry * entry;
                rest -= entry * left[j];
            }
            // At least what the shrinking leaves, but for rounding.
            inverse[i] = 1.0 / diagonal.max(1e-6).sqrt();
            left[i] = rest * inverse[i];
        }
        left
    }

    pub(super) fn learn(&mut self, n: usize, row: &Row, rate: f64) {
        let mut delta = [0.0; CHANNELS_MAX];
        for i in 0..n {
            delta[i] = row[i] - self.mean[i];
            self.mean[i] += rate * delta[i];
            for j in 0..=i {
                let old = self.covariance[at(i, j)];
                self.covariance[at(i, j)] = (1.0 - rate) * (old + rate * delta[i] * delta[j]);
            }
        }
    }
}

/// What distances are usual, seen before they were learnt from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    /// Mean square of each direction; 1 where as much is known of it as there is to know.
    directions: Row,
    /// Mean of the squared distance.
    usual: f64,
}

impl Default for Look {
    fn default() -> Self {
        Self { directions: [1.0; CHANNELS_MAX], usual: 1.0 }
    }
}

impl Look {
    /// In units of what is usual, squared.
    pub(super) fn distance(&self, n: usize, rest: &Row) -> f64 {
        self.mean(n, rest) / self.usual
    }

    fn mean(&self, n: usize, rest: &Row) -> f64 {
        let squares = rest.iter().zip(&self.directions).take(n);
        squares.map(|(rest, usual)| rest * rest / usual).sum::<f64>() / n as f64
    }

    pub(super) fn measure(&mut self, n: usize, rest: &Row, rate: f64) {
        let now = self.mean(n, rest);
        self.usual += rate * (now.min(CUT * self.usual) - self.usual);
        // A group of metrics that never move has no distances.
        self.usual = self.usual.max(1e-6);
        for (usual, rest) in self.directions.iter_mut().zip(rest).take(n) {
            let square = (rest * rest).min(CUT * *usual);
            *usual = (*usual + rate * (square - *usual)).max(DIRECTION_MIN);
        }
    }
}
