//! Rerank: fits how likely a person calls an alert true.
//!
//! In: alerts as they fired, and what people said of them. Out: a logistic regression on what the record of an alert
//! says. `expected` counts as not true: somebody knew of it. It is fitted to four fifths of them, by time, and tried on the
//! fifth between or behind them, five times; where it says no more there than the share of true ones, there is no model.
//! The penalty is chosen by the same trials, so what they say is a little too good.

use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};
use weir_models::alert::AlertKind;
use weir_models::central::{Model, RERANK_WIDTH, Rerank};
use weir_models::feedback::Verdict;

use super::feedback::{Judged, sources};
use super::series::Matrix;
use super::{TrainError, Trained};

/// Verdicts below which nothing is fitted ...
pub(super) const VERDICTS_MIN: usize = 40;
/// ... and of each kind.
pub(super) const EACH_MIN: usize = 10;
/// Parts of the time for the trials.
const FOLDS: usize = 5;
/// Weights of the penalty that are tried.
const PENALTIES: [f64; 4] = [0.3, 1.0, 3.0, 10.0];
/// The loss has to be so much less than that of the share alone.
const GAIN: f64 = 0.95;

pub(super) type Row = [f32; RERANK_WIDTH];
pub(super) type Logistic = LogisticRegression<f64, i32, Matrix, Vec<i32>>;

/// Fits a model to what was said, by when the alerts fired.
///
/// # Errors
/// When too little was said, or nothing can be learnt from it.
pub fn fit_rerank(said: &[Judged]) -> Result<Trained, TrainError> {
    // What a rule or a silence says is never ranked.
    let counts =
        |one: &&Judged| &*one.alert.model.name != "rule" && one.alert.kind != AlertKind::Silence;
    let said: Vec<&Judged> = said.iter().filter(counts).collect();
    let rows: Vec<Row> = said.iter().map(|one| Rerank::row(&one.alert)).collect();
    let wanted: Vec<bool> = said.iter().map(|one| one.verdict == Verdict::True).collect();
    let (found, yes) = (rows.len(), wanted.iter().filter(|wanted| **wanted).count());
    if found < VERDICTS_MIN || yes < EACH_MIN || found - yes < EACH_MIN {
        return Err(TrainError::FewVerdicts { found, yes, no: found - yes });
    }
    let mut best: Option<(f64, Trial)> = None;
    for penalty in PENALTIES {
        let trial = trial(&rows, &wanted, penalty)?;
        let is_least = best.as_ref().is_none_or(|(_, least)| trial.loss < least.loss);
        if is_least && trial.loss.is_finite() {
            best = Some((penalty, trial));
        }
    }
    let nothing = || TrainError::Fit("no penalty gives a finite loss".into());
    let (penalty, trial) = best.ok_or_else(nothing)?;
    if trial.loss >= GAIN * trial.share_loss {
        return Err(TrainError::NoGain { loss: trial.loss, share: trial.share_loss });
    }
    let (_, model) = fit(&rows, &wanted, penalty)?;
    let report = format!(
        "logistic regression on {found} verdicts, {yes} of them true; on parts that it did not see: loss {:.3} (the share alone: {:.3}), {:.0} % of pairs in the right order\n  {}",
        trial.loss,
        trial.share_loss,
        100.0 * trial.ordered,
        sources(said.iter().copied()),
    );
    let golden = rows.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    let until_us = said.last().map_or(0, |one| one.alert.fired_us);
    Ok(Trained { model: Model::Rerank(model), golden, until_us, report })
}

/// Their model, and the same as ours.
pub(super) fn fit(
    rows: &[Row],
    wanted: &[bool],
    penalty: f64,
) -> Result<(Logistic, Rerank), TrainError> {
    let y: Vec<i32> = wanted.iter().map(|wanted| i32::from(*wanted)).collect();
    let parameters = LogisticRegressionParameters::default().with_alpha(penalty);
    let theirs = Logistic::fit(&matrix(rows)?, &y, parameters)?;
    let weights = theirs.coefficients().iterator(0).copied().collect();
    let ours = Rerank::new(*theirs.intercept().get((0, 0)), weights)?;
    Ok((theirs, ours))
}

pub(super) fn matrix(rows: &[Row]) -> Result<Matrix, TrainError> {
    let wide = |row: &Row| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    Ok(DenseMatrix::from_2d_vec(&rows.iter().map(wide).collect::<Vec<_>>())?)
}

/// What came of a trial on parts that a model did not see.
struct Trial {
    /// Mean of -ln of the probability of what was said.
    loss: f64,
    /// The same of one that says the share of true ones, whatever the alert.
    share_loss: f64,
    /// Of pairs of a true one and another: in how many of them the true one ranks higher.
    ordered: f64,
}

fn trial(rows: &[Row], wanted: &[bool], penalty: f64) -> Result<Trial, TrainError> {
    let n = rows.len();
    let (mut loss, mut share_loss, mut ranks) = (0.0, 0.0, Vec::new());
    for fold in 0..FOLDS {
        let (from, to) = (fold * n / FOLDS, (fold + 1) * n / FOLDS);
        let seen_rows = [&rows[..from], &rows[to..]].concat();
        let seen = [&wanted[..from], &wanted[to..]].concat();
        let yes = seen.iter().filter(|wanted| **wanted).count();
        if yes == 0 || yes == seen.len() {
            let what = if yes == 0 { "true" } else { "not true" };
            return Err(TrainError::OneTime { what, found: n });
        }
        let share = yes as f64 / seen.len() as f64;
        let (_, model) = fit(&seen_rows, &seen, penalty)?;
        for (row, wanted) in rows[from..to].iter().zip(&wanted[from..to]) {
            let rank = model.judge(row);
            loss += loss_of(rank, *wanted) / n as f64;
            share_loss += loss_of(share, *wanted) / n as f64;
            ranks.push((rank, *wanted));
        }
    }
    Ok(Trial { loss, share_loss, ordered: ordered(&ranks) })
}

fn loss_of(rank: f64, wanted: bool) -> f64 {
    let rank = rank.clamp(1e-6, 1.0 - 1e-6);
    -(if wanted { rank } else { 1.0 - rank }).ln()
}

fn ordered(ranks: &[(f64, bool)]) -> f64 {
    let of = |which: bool| ranks.iter().filter(move |(_, w)| *w == which).map(|(rank, _)| *rank);
    let pairs = of(true).flat_map(|yes| of(false).map(move |no| (yes, no)));
    let (mut right, mut all) = (0.0, 0.0);
    for (yes, no) in pairs {
        all += 1.0;
        right += if yes > no {
            1.0
        } else if yes < no {
            0.0
        } else {
            0.5
        };
    }
    right / f64::max(all, 1.0)
}
