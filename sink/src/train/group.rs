//! Group: fits how the metrics of one device lie together.
//!
//! In: rows of all metrics. Out: means, deviations and the inverse correlation of the smoothed values, the principal
//! directions that hold 85 % of their variance, and what T² and Q reach in readings that were not fitted to.

use smartcore::decomposition::pca::{PCA, PCAParameters};
use smartcore::linalg::basic::arrays::{Array, Array2};
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linalg::traits::cholesky::CholeskyDecomposable;
use weir_models::central::{Band, Distances, Model, Subspace, SubspaceParts};

use super::series::Matrix;
use super::{Group, TrainError, Trained, parts, spread};

/// Rows below which nothing is fitted: limits need 66 of the last fifth.
const ROWS_MIN: usize = 500;
/// Share of a new value in the smoothed one: that of the streaming detector.
const SMOOTHING: f64 = 0.1;
/// Correlations are taken smaller by this factor, which keeps the matrix well-conditioned.
const SHRINK: f64 = 0.98;
/// The variance that the principal directions hold.
const HELD: f64 = 0.85;
/// Most rows that directions are fitted to.
const PCA_ROWS_MAX: usize = 5_000;

/// Fits a model to the metrics of one device. Metrics that never move are left out.
///
/// # Errors
/// When there is too little, or fewer than two metrics move.
pub fn fit_group(group: &Group) -> Result<Trained, TrainError> {
    let (fit, choose) = parts(group.rows.len());
    if group.rows.len() < ROWS_MIN {
        return Err(TrainError::TooFew { found: group.rows.len(), needed: ROWS_MIN });
    }
    let all = smoothed(group);
    let moving: Vec<usize> =
        (0..group.metrics.len()).filter(|channel| spread_of(&all, *channel, fit).1 > 0.0).collect();
    if moving.len() < 2 {
        let name = format!("{}/{} but for one metric", group.site, group.device);
        return Err(TrainError::Still(name));
    }
    let rows: Vec<Vec<f64>> =
        all.iter().map(|row| moving.iter().map(|at| row[*at]).collect()).collect();
    let (mean, scale): (Vec<_>, Vec<_>) =
        (0..moving.len()).map(|channel| spread_of(&rows, channel, fit)).unzip();
    let standard: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.iter().zip(&mean).zip(&scale).map(|((v, m), s)| (v - m) / s).collect())
        .collect();
    let fitted = standard.get(..fit).unwrap_or_default();
    let parts = SubspaceParts {
        metrics: moving.iter().map(|at| group.metrics[*at].clone()).collect(),
        smoothing: SMOOTHING,
        mean,
        scale,
        inverse: inverse(fitted, moving.len())?,
        directions: directions(fitted, moving.len())?,
        t2_limit: 1.0,
        q_limit: 1.0,
    };
    let model = with_limits(parts, rows.get(choose..).unwrap_or_default())?;
    let (t2_limit, q_limit) = (model.parts().t2_limit, model.parts().q_limit);
    let report = format!(
        "{} metrics, {} principal directions, from {} rows; limits: T2 {t2_limit:.3}, Q {q_limit:.3}",
        moving.len(),
        model.parts().directions.len() / moving.len(),
        rows.len(),
    );
    let golden = spread(rows.len() - choose, 64).map(|at| rows[choose + at].clone()).collect();
    let until_us = group.rows.last().map_or(0, |(ts_us, _)| *ts_us);
    Ok(Trained { model: Model::Group(model), golden, until_us, report })
}

/// The rows as a gateway smooths them.
fn smoothed(group: &Group) -> Vec<Vec<f64>> {
    let mut state: Option<Vec<f64>> = None;
    let mut smooth = |row: &Vec<f64>| {
        let values = match state.take() {
            None => row.clone(),
            Some(before) => {
                before.iter().zip(row).map(|(old, new)| old + SMOOTHING * (new - old)).collect()
            }
        };
        state = Some(values.clone());
        values
    };
    group.rows.iter().map(|(_, row)| smooth(row)).collect()
}

/// Mean and standard deviation of a channel in the first `n` rows; 0 where it is only rounding.
fn spread_of(rows: &[Vec<f64>], channel: usize, n: usize) -> (f64, f64) {
    let values = || rows.iter().take(n).map(|row| row[channel]);
    let n = n.max(1) as f64;
    let mean = values().map(|v| v / n).sum::<f64>();
    let deviation = values().map(|v| (v - mean) * ((v - mean) / n)).sum::<f64>().sqrt();
    (mean, if deviation > 1e-9 * mean.abs() { deviation } else { 0.0 })
}

/// The lower triangle of the inverse of the shrunken correlation matrix.
fn inverse(rows: &[Vec<f64>], n: usize) -> Result<Vec<f64>, TrainError> {
    let mut correlation = Matrix::zeros(n, n);
    let mut unit = Matrix::zeros(n, n);
    for i in 0..n {
        for j in 0..=i {
            let products = rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
            let entry = products / rows.len().max(1) as f64;
            let entry = if i == j { 1.0 } else { SHRINK * entry };
            correlation.set_both(i, j, entry);
        }
        unit.set_both(i, i, 1.0);
    }
    let inverse = correlation.cholesky_solve_mut(unit)?;
    let entry = |(i, j): (usize, usize)| *inverse.get((i, j));
    Ok((0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).map(entry).collect())
}

trait SetBoth {
    fn set_both(&mut self, i: usize, j: usize, value: f64);
}

impl SetBoth for Matrix {
    fn set_both(&mut self, i: usize, j: usize, value: f64) {
        use smartcore::linalg::basic::arrays::MutArray;
        self.set((i, j), value);
        self.set((j, i), value);
    }
}

/// The first principal directions, row by row; never all, for then nothing is left for Q.
fn directions(rows: &[Vec<f64>], n: usize) -> Result<Vec<f64>, TrainError> {
    let taken = spread(rows.len(), PCA_ROWS_MAX).map(|at| rows[at].clone()).collect();
    let x: Matrix = DenseMatrix::from_2d_vec(&taken)?;
    let pca = PCA::fit(&x, PCAParameters::default().with_n_components(n))?;
    let along = pca.transform(&x)?;
    let variance = |k| (0..taken.len()).map(|row| along.get((row, k)).powi(2)).sum::<f64>();
    let variances: Vec<f64> = (0..n).map(variance).collect();
    let all: f64 = variances.iter().sum();
    let mut held = 0.0;
    let mut directions = Vec::new();
    for (k, variance) in variances.iter().enumerate().take(n - 1) {
        directions.extend((0..n).map(|i| *pca.components().get((i, k))));
        held += variance;
        if held >= HELD * all {
            break;
        }
    }
    Ok(directions)
}

/// What calibration rows reach, by the evaluator that the gateway runs.
fn with_limits(parts: SubspaceParts, rows: &[Vec<f64>]) -> Result<Subspace, TrainError> {
    let model = Subspace::new(parts)?;
    let distances: Vec<Distances> = rows.iter().map(|row| model.distances(row)).collect();
    let limit = |pick: fn(&Distances) -> f64| {
        let mut values: Vec<f64> = distances.iter().map(pick).collect();
        let band = Band::of(&mut values);
        band.ok_or(TrainError::TooFew { found: distances.len(), needed: ROWS_MIN })
    };
    let mut parts = model.parts().clone();
    parts.t2_limit = limit(|d| d.t2)?.half_width().max(1e-9);
    parts.q_limit = limit(|d| d.q)?.half_width().max(1e-9);
    Ok(Subspace::new(parts)?)
}
