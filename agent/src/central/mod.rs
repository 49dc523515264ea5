//! Central: models that the centre trained, taken up.
//!
//! In: the topic of models, and the folder of those that were good before. Out: orders to the line (`Order`), which
//! tries a model in the shadow and lets it judge then. Promises: nothing is believed that no pinned key has signed; a
//! version only ever rises; what was in force last is on disk, so that a start needs no network. What can go wrong is
//! logged with what to do, counted by reason, and changes nothing: what ran before goes on.
//!
//! | file | what it does |
//! | --- | --- |
//! | `keep` | listens to the topic and to the line |
//! | `desk` | decides about each model (no waiting in there) |
//! | `shelf` | the folder |

mod desk;
mod keep;
mod shelf;

#[cfg(test)]
pub(crate) mod scene;

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::mpsc;
use weir_models::central::{Central, PublicKey};

pub(crate) use keep::{Keeping, keep};

/// The table `[models]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Whose models are taken: public keys as `weir-sink keys show` prints them. None: no models are taken, and the topic is
    /// not read.
    pub keys: Vec<PublicKey>,
    /// For which sites, `*` stands for any text; default: that of the agent.
    pub sites: Vec<String>,
    /// Seconds of readings that a model is tried beside what runs before it judges.
    pub shadow_s: u32,
    /// Bytes of all models at most, with those tried and those kept to fall back to.
    pub bytes_max: u32,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { keys: Vec::new(), sites: Vec::new(), shadow_s: 3_600, bytes_max: 4 << 20 }
    }
}

/// What the line is to do, between two readings. A key is `kind/site/device/metric`.
#[derive(Debug)]
pub(crate) enum Order {
    /// Forget all models, and tell what becomes of those that come.
    Begin {
        /// Where to.
        told: mpsc::Sender<Outcome>,
        /// How much time of readings a trial takes, microseconds.
        shadow_us: i64,
    },
    /// Let it judge at once.
    Force {
        /// The place that it takes.
        key: Arc<str>,
        /// The model.
        central: Arc<Central>,
    },
    /// Try it in the shadow.
    Try {
        /// The place that it is to take.
        key: Arc<str>,
        /// The model.
        central: Arc<Central>,
    },
    /// Go on without.
    Withdraw {
        /// The place that is empty then.
        key: Arc<str>,
    },
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) key: Arc<str>,
    pub(crate) version: u64,
    pub(crate) became: Became,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// It judges now.
    InForce,
    /// It failed in the shadow.
    Refused(String),
    /// It raised too many alerts, and the one before it judges again, if there was one.
    Flood,
}
