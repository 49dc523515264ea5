//! Models that the centre trains from history, and that gateways evaluate.
//!
//! In: the bytes of an `envelope`, from a topic or a file. Out: a [`Central`] model that is signed by a key that was
//! pinned, fits this program and gives what its trainer saw; or an [`OpenError`] that says what to do. Evaluators
//! allocate nothing, take the same time for every input and use `+ - * /` and square roots only, so that gateway, centre
//! and back-test say the same to the bit. No training here: `weir-sink train` fits and writes the flat format.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `envelope` | who, for what, since when; golden rows; signature; payload |
//! | `sign` | Ed25519 keys |
//! | `expected` | a series: the next value by season and last readings, with a band |
//! | `features` | the columns of that model |
//! | `linear`, `forest` | how it forecasts |
//! | `conformal` | the band |
//! | `subspace` | a group of metrics: T² and Q |
//! | `shapes` | centres of shapes, to begin with |
//! | `logistic`, `rerank` | the probability that an alert is wanted |
//! | `level` | a higher or lower alarm level |
//! | `bytes`, `error` | reading with bounds, and why not |

mod bytes;
mod conformal;
mod envelope;
mod error;
mod expected;
mod features;
mod forest;
mod level;
mod linear;
mod logistic;
mod rerank;
mod shapes;
mod sign;
mod subspace;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

pub use conformal::{Band, COVERAGE, SCORE_MAX};
pub use envelope::{
    Central, GOLDEN_ROWS, Head, MODEL_BYTES_MAX, Scope, Version, mark_rollback, seal,
};
pub use error::OpenError;
pub use expected::{Course, Expected, Outlook, Regressor, Unit};
pub use features::{FEATURES_MAX, Feature, History, LAG_MAX, Row, Schema};
pub use forest::{DEPTH_MAX, Forest, NODES_MAX, Node, TREE_NODES_MAX, TREES_MAX, threshold};
pub use level::Level;
pub use linear::Linear;
pub use logistic::sigmoid;
pub use rerank::{RERANK_WIDTH, Rerank};
pub use shapes::{CENTRES_MAX, Centre, POINTS, Shapes, WEIGHT_MAX};
pub use sign::{BadKey, PublicKey, SigningKey};
pub use subspace::{Distances, Smoothed, Subspace, SubspaceParts};

use bytes::{Reader, Writer};
use features::first_half;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// The next value of a series.
    Expected = 1,
    /// Several metrics of a device.
    Group = 2,
    /// Shapes to begin with.
    Shapes = 3,
    /// Which alerts are wanted.
    Rerank = 4,
    /// A higher or lower alarm level.
    Level = 5,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Expected, Self::Group, Self::Shapes, Self::Rerank, Self::Level];

    /// Its word in keys and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Group => "group",
            Self::Shapes => "shapes",
            Self::Rerank => "rerank",
            Self::Level => "level",
        }
    }

    /// Whether it only advises the streaming detectors and judges no reading itself: what it can do is bounded, and a
    /// trial would have nothing to count.
    #[must_use]
    pub fn advises(self) -> bool {
        !matches!(self, Self::Expected | Self::Group)
    }

    /// Whether a key, `kind/site/device/metric`, is of this kind.
    #[must_use]
    pub fn is_of(self, key: &str) -> bool {
        key.strip_prefix(self.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    fn of(code: u16) -> Result<Self, OpenError> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == code).ok_or(OpenError::Kind(code))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names a key of a model in a way that every system takes for a name of a file.
#[must_use]
pub fn key_hash(key: &str) -> [u8; 16] {
    first_half(ring::digest::digest(&ring::digest::SHA256, key.as_bytes()).as_ref())
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// The next value of a series.
    Expected(Expected),
    /// Several metrics of a device.
    Group(Subspace),
    /// Shapes to begin with.
    Shapes(Shapes),
    /// Which alerts are wanted.
    Rerank(Rerank),
    /// A higher or lower alarm level.
    Level(Level),
}

impl Model {
    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Expected(_) => Kind::Expected,
            Self::Group(_) => Kind::Group,
            Self::Shapes(_) => Kind::Shapes,
            Self::Rerank(_) => Kind::Rerank,
            Self::Level(_) => Kind::Level,
        }
    }

    /// Names what its inputs mean.
    #[must_use]
    pub fn features_hash(&self) -> [u8; 16] {
        let text = match self {
            Self::Expected(model) => return model.schema().hash(),
            Self::Group(model) => {
                let mut names = Writer(b"weir group 1".to_vec());
                model.parts().metrics.iter().for_each(|name| names.text(name));
                names.0
            }
            Self::Shapes(_) => b"weir shapes 1: 8 extremes of 4, standardised".to_vec(),
            Self::Rerank(_) => b"weir rerank 2: of the record of an alert".to_vec(),
            Self::Level(_) => b"weir level 2: a factor, the level it was fitted to".to_vec(),
        };
        first_half(ring::digest::digest(&ring::digest::SHA256, &text).as_ref())
    }

    /// How many numbers it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Expected(model) => model.schema().features().len(),
            Self::Group(model) => model.parts().metrics.len(),
            Self::Shapes(_) => POINTS,
            Self::Rerank(_) => RERANK_WIDTH,
            Self::Level(_) => 1,
        }
    }

    /// What it makes of one row of numbers, without any state: what golden rows compare. The forecast; T² and Q; the
    /// distance and number of the nearest centre; the probability; the level that becomes of one.
    #[must_use]
    pub fn evaluate(&self, inputs: &[f64]) -> [f64; 2] {
        let mut row = [0.0; FEATURES_MAX + 1];
        for (cell, input) in row.iter_mut().zip(inputs) {
            *cell = *input as f32;
        }
        match self {
            Self::Expected(model) => [model.regressor().predict(&row), 0.0],
            Self::Group(model) => {
                let distances = model.distances(inputs);
                [distances.t2, distances.q]
            }
            Self::Shapes(model) => {
                let mut shape = [0.0; POINTS];
                shape.iter_mut().zip(&row).for_each(|(to, from)| *to = *from);
                let (nearest, distance) = model.nearest(&shape);
                [distance, nearest as f64]
            }
            Self::Rerank(model) => [model.judge(&row), 0.0],
            Self::Level(model) => [f64::from(model.factor() * row[0]), 0.0],
        }
    }

    /// The payload of an envelope.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Expected(model) => model.write(&mut out),
            Self::Group(model) => model.write(&mut out),
            Self::Shapes(model) => model.write(&mut out),
            Self::Rerank(model) => model.write(&mut out),
            Self::Level(model) => model.write(&mut out),
        }
        out.0
    }

    /// Reads a payload. Any bytes may be given.
    ///
    /// # Errors
    /// When they are no model of this kind; every count is bounded before anything is allocated for it.
    pub fn decode(kind: Kind, payload: &[u8]) -> Result<Self, OpenError> {
        let mut from = Reader::new(payload);
        let model = match kind {
            Kind::Expected => Self::Expected(Expected::read(&mut from)?),
            Kind::Group => Self::Group(Subspace::read(&mut from)?),
            Kind::Shapes => Self::Shapes(Shapes::read(&mut from)?),
            Kind::Rerank => Self::Rerank(Rerank::read(&mut from)?),
            Kind::Level => Self::Level(Level::read(&mut from)?),
        };
        from.finish()?;
        Ok(model)
    }
}
