//! Shapes: fits the centres that the member `kmeans_level` begins with.
//!
//! In: series of one class. Out: eight centres of the shapes that all of them take, weighed by how many are nearest.

use smartcore::cluster::kmeans::{KMeans, KMeansParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;
use weir_models::central::{CENTRES_MAX, Centre, Model, POINTS, Shapes, WEIGHT_MAX};
use weir_models::detect::level_shapes;

use super::series::Matrix;
use super::{Series, TrainError, Trained, flatten, spread};

/// Shapes below which nothing is fitted.
const SHAPES_MIN: usize = 100;
/// Most shapes that are fitted to.
const SHAPES_MAX: usize = 10_000;
const ITERATIONS: usize = 100;

pub(super) type Means = KMeans<f64, i32, Matrix, Vec<i32>>;

/// Fits centres to the shapes of all `series`.
///
/// # Errors
/// When there are too few shapes, or all are alike.
pub fn fit_shapes(series: &[Series]) -> Result<Trained, TrainError> {
    let mut shapes: Vec<[f32; POINTS]> = Vec::new();
    for one in series {
        shapes.extend(level_shapes(one.readings.iter().map(|(_, value)| *value)));
    }
    if shapes.len() < SHAPES_MIN {
        return Err(TrainError::TooFew { found: shapes.len(), needed: SHAPES_MIN });
    }
    if shapes.windows(2).all(|pair| pair[0] == pair[1]) {
        return Err(TrainError::Still("each of the series".into()));
    }
    let places: Vec<_> = spread(shapes.len(), SHAPES_MAX).collect();
    let wide = |at: &usize| shapes[*at].iter().map(|p| f64::from(*p)).collect::<Vec<f64>>();
    let rows: Vec<Vec<f64>> = places.iter().map(wide).collect();
    let means = Means::fit(&DenseMatrix::from_2d_vec(&rows)?, parameters())?;
    let mut centres = Vec::new();
    for (centre, size) in flatten::centres(&means)? {
        let mut points = [0.0; POINTS];
        points.iter_mut().zip(&centre).for_each(|(to, from)| *to = *from as f32);
        let weight = u16::try_from(size).unwrap_or(WEIGHT_MAX).min(WEIGHT_MAX);
        // A centre to which nothing belongs may stand anywhere, also at no number.
        if weight > 0 && points.iter().all(|p| p.is_finite()) {
            centres.push(Centre { points, weight });
        }
    }
    let report =
        format!("{} centres of {} shapes of {} series", centres.len(), shapes.len(), series.len());
    let golden = rows.iter().step_by(rows.len().div_ceil(64)).cloned().collect();
    let last = series.iter().filter_map(|one| one.readings.last());
    let until_us = last.map(|(ts_us, _)| *ts_us).max().unwrap_or(0);
    Ok(Trained { model: Model::Shapes(Shapes::new(centres)?), golden, until_us, report })
}

pub(super) fn parameters() -> KMeansParameters {
    let mut parameters = KMeansParameters::default().with_k(CENTRES_MAX).with_max_iter(ITERATIONS);
    parameters.seed = Some(1);
    parameters
}
