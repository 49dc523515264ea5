//! Train: central models from history, for gateways to evaluate.
//!
//! In: archived readings of the series in a scope; of the store what people said of alerts. Out: signed envelopes (`weir_models::central`), and what was found
//! out on the way. Fits with smartcore, which stays here: what a gateway gets is our flat format and evaluated by our
//! code. Of each series the oldest 60 % are fitted to, the next 20 % choose between models, the newest 20 % set the band:
//! no reading serves two ends. The same history gives the same model. What can go wrong: too little history, a series
//! that never moves ([`TrainError`]).

mod backtest;
mod command;
mod feedback;
mod flatten;
mod group;
mod history;
mod keys;
mod level;
mod release;
mod rerank;
mod series;
mod shapes;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod verdict_tests;

pub use command::ModelsConfig;
pub(crate) use command::{
    KeysCommand, ModelsCommand, TrainOptions, When, run_keys, run_models, run_train,
};
pub use feedback::{Judged, judged};
pub use group::fit_group;
pub use history::{Group, History, HistoryError, Series};
pub use level::fit_level;
pub use rerank::fit_rerank;
pub use series::{Chosen, fit_series};
pub use shapes::fit_shapes;

use weir_models::central::{Model, OpenError};

/// Share of the readings, oldest first, that a model is fitted to.
const FIT: f64 = 0.6;
/// Share of the readings up to which it is chosen; the others are for its band.
const CHOOSE: f64 = 0.8;

/// A model and what goes into its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The model.
    pub model: Model,
    /// Rows of inputs as it will meet them.
    pub golden: Vec<Vec<f64>>,
    /// The newest reading that was used, microseconds since the Unix epoch.
    pub until_us: i64,
    /// What a person wants to know of it.
    pub report: String,
}

/// No model came of it.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Too few readings.
    #[error(
        "{found} usable rows are too few, {needed} are needed: wait for more history, or widen `--from`"
    )]
    TooFew {
        /// Rows there are.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// Nothing to learn.
    #[error("{0} never moves: leave it out, a rule `flat` suits it better")]
    Still(String),
    /// Too little feedback for a model of all alerts.
    #[error(
        "{found} verdicts ({yes} true, {no} not) are too few, {} are needed and {} of each: say more by `POST /v1/alerts/{{id}}/feedback`, or widen `--site` and `--from`",
        rerank::VERDICTS_MIN,
        rerank::EACH_MIN
    )]
    FewVerdicts {
        /// Verdicts there are.
        found: usize,
        /// True ones.
        yes: usize,
        /// Others.
        no: usize,
    },
    /// Too little feedback on alerts of a series.
    #[error(
        "{found} verdicts, true or false, on alerts of the streaming detectors are too few, {needed} are needed"
    )]
    FewOfSeries {
        /// Verdicts there are.
        found: usize,
        /// Verdicts needed.
        needed: usize,
    },
    /// The features say nothing.
    #[error(
        "what alerts say does not tell the true ones from the others (loss {loss:.3}, the share alone {share:.3}): wait for more verdicts; a model that is in force stays"
    )]
    NoGain {
        /// Of the best model.
        loss: f64,
        /// Of the share of true ones.
        share: f64,
    },
    /// People may be wrong, or of one mind on one day.
    #[error(
        "the false alerts are all of one day: a level rises by alerts of {needed} days at the least, so that one bad day silences nothing"
    )]
    OneDay {
        /// Days needed.
        needed: usize,
    },
    /// All true ones are of one time.
    #[error(
        "what was {what} is all of one time ({found} verdicts): a model could not be tried on another; wait for more, or widen `--from`"
    )]
    OneTime {
        /// Which kind.
        what: &'static str,
        /// Verdicts there are.
        found: usize,
    },
    /// A name that other names match.
    #[error("a name with `*` stands for others, too: nothing is trained of it")]
    Star,
    /// No other level would be better.
    #[error(
        "the level that is in force, {factor:.2} times what is set, is best by {yes} true and {no} false alerts; it stays (`models rollback --withdraw` takes one away)"
    )]
    LevelIsBest {
        /// The factor that is in force, 1 where none is.
        factor: f32,
        /// True ones.
        yes: usize,
        /// False ones.
        no: usize,
    },
    /// smartcore gave up.
    #[error("the fit failed: {0}; try other history")]
    Fit(String),
    /// The model is not what its format allows.
    #[error(transparent)]
    Format(#[from] OpenError),
}

impl From<smartcore::error::Failed> for TrainError {
    fn from(failed: smartcore::error::Failed) -> Self {
        Self::Fit(failed.to_string())
    }
}

/// Where the parts of `n` rows begin and end: fit to the first, choose by the second, calibrate with the rest.
fn parts(n: usize) -> (usize, usize) {
    ((n as f64 * FIT) as usize, (n as f64 * CHOOSE) as usize)
}

/// At most `most` of `n` places, evenly spread.
fn spread(n: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = n.min(most);
    (0..taken).map(move |i| i * n / taken)
}
