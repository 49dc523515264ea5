//! Series: fits what a series is expected to read next.
//!
//! In: readings of one series. Out: a ridge regression on its season and last readings, or a forest where that is off by
//! a tenth less; with the band that its residuals on readings it never saw call for. Rows are made by the code that the
//! gateway runs.

use smartcore::ensemble::random_forest_regressor::{
    RandomForestRegressor, RandomForestRegressorParameters,
};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::ridge_regression::{RidgeRegression, RidgeRegressionParameters};
use weir_models::central::{
    Band, COVERAGE, Expected, FEATURES_MAX, Feature, History, LAG_MAX, Linear, Model, Regressor,
    Row, Schema, Unit,
};
use weir_models::time::{DAY_US, SECOND_US};

use super::{Series, TrainError, Trained, flatten, parts, spread};

/// Rows below which nothing is fitted: the band alone needs 66 of the last fifth.
const ROWS_MIN: usize = 500;
/// Most rows a ridge regression is fitted to.
const RIDGE_ROWS_MAX: usize = 50_000;
/// Most rows a forest is fitted to.
const FOREST_ROWS_MAX: usize = 20_000;
/// Trees and their depth.
const TREES: usize = 50;
const TREE_DEPTH: u16 = 8;
/// A forest has to be off by this much less than the ridge regression, which is a thousand times smaller.
const FOREST_GAIN: f64 = 0.9;
/// Weights of the penalty that are tried.
const PENALTIES: [f64; 4] = [0.1, 1.0, 10.0, 100.0];
/// Lags that are tried, in readings, besides that of a day.
const LAGS: [u16; 5] = [1, 2, 3, 6, 12];
/// Readings farther apart than so many usual intervals do not belong together.
const GAP_INTERVALS: i64 = 5;
const SEED: u64 = 1;

/// smartcore's types as they are used here.
pub(super) type Matrix = DenseMatrix<f64>;
pub(super) type Ridge = RidgeRegression<f64, f64, Matrix, Vec<f64>>;
pub(super) type Trees = RandomForestRegressor<f64, f64, Matrix, Vec<f64>>;

/// Which one was taken, and by how much they are off: mean absolute residuals in units of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Of the ridge regression.
    pub ridge: f64,
    /// Of the forest.
    pub forest: f64,
    /// Whether the forest was taken.
    pub took_forest: bool,
}

/// Rows and what came after them.
struct Table {
    schema: Schema,
    rows: Vec<Row>,
    targets: Vec<f64>,
}

/// Fits a model to one series.
///
/// # Errors
/// When there is too little of it, or it never moves.
pub fn fit_series(series: &Series) -> Result<(Trained, Chosen), TrainError> {
    let readings = &series.readings;
    if readings.len() < ROWS_MIN {
        return Err(TrainError::TooFew { found: readings.len(), needed: ROWS_MIN });
    }
    let interval_us = interval_us(readings);
    let gap_us = interval_us.saturating_mul(GAP_INTERVALS).max(SECOND_US);
    let unit = unit(readings, &series.key.to_string())?;
    let (linear_features, tree_features) = features(readings, interval_us);
    let linear = table(linear_features, unit, gap_us, readings)?;
    let linear = linear.without_constants()?;
    let (ridge, ridge_off) = fit_ridge(&linear)?;
    let trees = table(tree_features, unit, gap_us, readings)?;
    let (forest, forest_off) = fit_forest(&trees)?;
    let took_forest = forest_off < FOREST_GAIN * ridge_off;
    let (table, regressor) = if took_forest { (trees, forest) } else { (linear, ridge) };
    let (_, calibrate) = parts(table.rows.len());
    let mut residuals = table.residuals(&regressor, calibrate..table.rows.len());
    let needed = ROWS_MIN;
    let few = TrainError::TooFew { found: table.rows.len(), needed };
    let band = Band::of(&mut residuals).ok_or(few)?;
    let golden = table.golden(calibrate);
    let width = table.schema.features().len();
    let model = Expected::new(table.schema, unit, gap_us, band, regressor)?;
    let chosen = Chosen { ridge: ridge_off, forest: forest_off, took_forest };
    let report = format!(
        "{} of {width} features from {} readings; off by {:.4} (ridge) and {:.4} (forest) standard deviations; {} % lie within +-{:.4}",
        if took_forest { "forest" } else { "ridge" },
        readings.len(),
        ridge_off,
        forest_off,
        COVERAGE * 100.0,
        band.half_width() * unit.scale,
    );
    let until_us = readings.last().map_or(0, |(ts_us, _)| *ts_us);
    Ok((Trained { model: Model::Expected(model), golden, until_us, report }, chosen))
}

/// The median of the steps of time.
fn interval_us(readings: &[(i64, f64)]) -> i64 {
    let mut steps: Vec<_> = readings.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    steps.sort_unstable();
    let middle = steps.len() / 2;
    steps.into_iter().nth(middle).unwrap_or(SECOND_US).max(1)
}

/// Mean and standard deviation of the part that is fitted to.
fn unit(readings: &[(i64, f64)], name: &str) -> Result<Unit, TrainError> {
    let (fit, _) = parts(readings.len());
    let values = || readings.iter().take(fit).map(|(_, v)| *v);
    let n = fit.max(1) as f64;
    let origin = values().map(|v| v / n).sum::<f64>();
    let scale = values().map(|v| (v - origin) * ((v - origin) / n)).sum::<f64>().sqrt();
    if scale.is_finite() && scale > 1e-12 * origin.abs() && scale > 0.0 {
        Ok(Unit { origin, scale })
    } else {
        Err(TrainError::Still(name.into()))
    }
}

/// The columns of a ridge regression and of a forest: season only where whole days (weeks) were seen to learn it from.
fn features(readings: &[(i64, f64)], interval_us: i64) -> (Vec<Feature>, Vec<Feature>) {
    let span_us = match (readings.first(), readings.last()) {
        (Some((first, _)), Some((last, _))) => last - first,
        _ => 0,
    };
    let mut lags: Vec<_> = LAGS.map(Feature::Lag).into();
    let day = u16::try_from(DAY_US / interval_us).ok().filter(|day| (13..=LAG_MAX).contains(day));
    if let Some(day) = day.filter(|_| span_us >= 4 * DAY_US) {
        lags.push(Feature::Lag(day));
    }
    let (mut linear, mut trees) = (lags.clone(), lags);
    if span_us >= 3 * DAY_US {
        linear.extend((0..24).map(Feature::DayHat));
        trees.push(Feature::DayFraction);
    }
    if span_us >= 21 * DAY_US {
        linear.push(Feature::Weekend);
        trees.push(Feature::WeekDay);
    }
    (linear, trees)
}

/// What the gateway would have had before it at each reading.
fn table(
    features: Vec<Feature>,
    unit: Unit,
    gap_us: i64,
    readings: &[(i64, f64)],
) -> Result<Table, TrainError> {
    let schema = Schema::new(features)?;
    let mut history = History::new(&schema);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    let mut last_us = None;
    for (ts_us, value) in readings {
        if last_us.is_some_and(|last| ts_us - last > gap_us) {
            history.clear();
        }
        last_us = Some(*ts_us);
        let own = unit.of(*value);
        let mut row = [0.0; FEATURES_MAX + 1];
        if history.fill(&schema, *ts_us, &mut row) {
            rows.push(row);
            targets.push(own);
        }
        history.push(own as f32);
    }
    if rows.len() < ROWS_MIN {
        return Err(TrainError::TooFew { found: rows.len(), needed: ROWS_MIN });
    }
    Ok(Table { schema, rows, targets })
}

impl Table {
    /// Without columns that do not move where it is fitted: hours of which there are no readings.
    fn without_constants(mut self) -> Result<Self, TrainError> {
        let (fit, _) = parts(self.rows.len());
        let moves = |column: &usize| {
            let mut cells = self.rows.iter().take(fit).filter_map(|row| row.get(*column));
            let first = cells.next();
            cells.any(|cell| Some(cell) != first)
        };
        let kept: Vec<usize> = (0..self.schema.features().len()).filter(moves).collect();
        let features = kept.iter().filter_map(|at| self.schema.features().get(*at).copied());
        self.schema = Schema::new(features.collect())?;
        for row in &mut self.rows {
            let mut less = [0.0; FEATURES_MAX + 1];
            for (to, from) in less.iter_mut().zip(&kept) {
                *to = row[*from];
            }
            *row = less;
        }
        Ok(self)
    }

    /// At most `most` of the rows that are fitted to, evenly spread, as smartcore wants them.
    fn for_fit(&self, most: usize) -> Result<(Matrix, Vec<f64>), TrainError> {
        let (fit, _) = parts(self.rows.len());
        let places: Vec<_> = spread(fit, most).collect();
        let rows = places.iter().map(|at| self.wide(*at)).collect();
        let targets = places.iter().map(|at| self.targets[*at]).collect();
        Ok((DenseMatrix::from_2d_vec(&rows)?, targets))
    }

    fn wide(&self, at: usize) -> Vec<f64> {
        let width = self.schema.features().len();
        self.rows[at].iter().take(width).map(|cell| f64::from(*cell)).collect()
    }

    fn residuals(&self, regressor: &Regressor, places: std::ops::Range<usize>) -> Vec<f64> {
        places.map(|at| self.targets[at] - regressor.predict(&self.rows[at])).collect()
    }

    /// Mean absolute residual on the rows that models are chosen by.
    fn off(&self, regressor: &Regressor) -> f64 {
        let (fit, choose) = parts(self.rows.len());
        let residuals = self.residuals(regressor, fit..choose);
        residuals.iter().map(|r| r.abs()).sum::<f64>() / residuals.len().max(1) as f64
    }

    fn golden(&self, from: usize) -> Vec<Vec<f64>> {
        spread(self.rows.len() - from, 64).map(|at| self.wide(from + at)).collect()
    }
}

fn fit_ridge(table: &Table) -> Result<(Regressor, f64), TrainError> {
    let (x, y) = table.for_fit(RIDGE_ROWS_MAX)?;
    let mut best: Option<(Regressor, f64)> = None;
    for penalty in PENALTIES {
        let parameters = RidgeRegressionParameters::default().with_alpha(penalty);
        let regressor = Regressor::Linear(linear(&Ridge::fit(&x, &y, parameters)?)?);
        let off = table.off(&regressor);
        if best.as_ref().is_none_or(|(_, least)| off < *least) {
            best = Some((regressor, off));
        }
    }
    best.ok_or_else(|| TrainError::Fit("no ridge regression has a residual".into()))
}

/// Their coefficients as ours.
pub(super) fn linear(ridge: &Ridge) -> Result<Linear, TrainError> {
    let weights = ridge.coefficients().iterator(0).copied().collect();
    Ok(Linear::new(*ridge.intercept(), weights)?)
}

fn fit_forest(table: &Table) -> Result<(Regressor, f64), TrainError> {
    let (x, y) = table.for_fit(FOREST_ROWS_MAX)?;
    let forest = Trees::fit(&x, &y, forest_parameters())?;
    let regressor = Regressor::Forest(flatten::forest(&forest, table.schema.features().len())?);
    let off = table.off(&regressor);
    Ok((regressor, off))
}

/// A forest of a size that one record of Kafka holds.
pub(super) fn forest_parameters() -> RandomForestRegressorParameters {
    RandomForestRegressorParameters::default()
        .with_n_trees(TREES)
        .with_max_depth(TREE_DEPTH)
        .with_min_samples_leaf(5)
        .with_seed(SEED)
}
