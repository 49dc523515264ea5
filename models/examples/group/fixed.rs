//! What a detector reaches that is told that the first 400 rows are normal, and learns nothing afterwards: the yardstick.
//!
//! In: a window. Out: for each row the Mahalanobis distance of its smoothed values, in units of what the highest hundredth
//! of those 400 rows reach.

use crate::faults::{Case, NORMAL};

/// `share` of a new value goes into the smoothed one; 1: not smoothed.
pub(crate) fn scores(case: &Case, share: f64) -> Vec<f32> {
    let mut at = case.rows.first().cloned().unwrap_or_default();
    let smooth = case.rows.iter().map(|row| {
        at.iter_mut().zip(row).for_each(|(at, v)| *at += share * (v - *at));
        at.clone()
    });
    let smooth: Vec<Vec<f64>> = smooth.collect();
    let learnt = &smooth[..NORMAL];
    let n = at.len();
    let mean: Vec<f64> =
        (0..n).map(|i| learnt.iter().map(|row| row[i]).sum::<f64>() / NORMAL as f64).collect();
    let covariance = |i: usize, j: usize| {
        let products = learnt.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j]));
        products.sum::<f64>() / NORMAL as f64
    };
    let mut matrix: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| covariance(i, j)).collect()).collect();
    // What repeats another channel, or never moves, divides nothing by 0.
    (0..n).for_each(|i| matrix[i][i] = (matrix[i][i] * 1.001).max(1e-12));
    let factor = factor(&matrix);
    let distance = |row: &Vec<f64>| {
        let mut left = vec![0.0; n];
        for i in 0..n {
            let known: f64 = (0..i).map(|k| factor[i][k] * left[k]).sum();
            left[i] = (row[i] - mean[i] - known) / factor[i][i];
        }
        left.iter().map(|v| v * v).sum::<f64>().sqrt()
    };
    let distances: Vec<f64> = smooth.iter().map(distance).collect();
    let mut sorted = distances[..NORMAL].to_vec();
    sorted.sort_by(f64::total_cmp);
    let unit = sorted[NORMAL * 99 / 100];
    distances.iter().map(|distance| (distance / unit) as f32).collect()
}

/// By Cholesky.
fn factor(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut factor = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let rest = matrix[i][j] - known;
            factor[i][j] = if i == j { rest.max(1e-12).sqrt() } else { rest / factor[j][j] };
        }
    }
    factor
}
