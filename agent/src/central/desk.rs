//! Desk: what becomes of each model that is offered.
//!
//! In: records of the topic of models, and what the line tells of trials. Out: orders to the line, files on the shelf,
//! words in the log and in the metrics. No waiting and no network in here; what it does with the disk may take a while.

use std::sync::Arc;

use bytes::Bytes;
use weir_models::central::{Central, Kind, OpenError, Version};
use weir_models::metric;
use weir_models::pattern::glob;

use super::shelf::{Kept, Shelf};
use super::{Became, ModelsConfig, Order, Outcome};

/// Decides, and remembers what is where.
#[derive(Debug)]
pub(super) struct Desk {
    config: ModelsConfig,
    shelf: Shelf,
    held: Vec<Held>,
}

/// What there is of a key.
#[derive(Debug, Default)]
struct Held {
    /// The name of its files.
    stem: String,
    /// Empty until one of its models was opened, or is told of.
    key: Arc<str>,
    current: Option<Known>,
    previous: Option<Known>,
    trying: Option<Known>,
    /// The bytes of the one that is tried.
    tried: Bytes,
    /// Nothing up to this version is taken.
    floor: u64,
    /// That version was withdrawn, with all before it.
    is_withdrawn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    version: u64,
    bytes: usize,
}

impl Held {
    /// The newest version of those that judge or are tried.
    fn newest(&self) -> Option<u64> {
        [self.current, self.trying].into_iter().flatten().map(|known| known.version).max()
    }

    /// Whether a version on disk was refused or withdrawn, and only the power stopped us from taking it away.
    fn is_barred(&self, version: u64) -> bool {
        version == self.floor || (self.is_withdrawn && version < self.floor)
    }
}

/// Why a model is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("it is the model of `{0}`: find out who writes to the topic of models")]
    Scope(String),
    #[error(
        "with it the models take {found} bytes, `models.bytes_max` is {most}: raise it, narrow `models.sites`, or train smaller ones"
    )]
    Full { found: usize, most: u32 },
}

impl Refusal {
    /// For the metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Scope(_) => "scope",
            Self::Full { .. } => "full",
            Self::Open(error) => match error {
                OpenError::TooLarge { .. } | OpenError::TooMany { .. } => "too_large",
                OpenError::Signature => "signature",
                OpenError::Payload => "changed",
                OpenError::Older { .. } => "older",
                OpenError::Golden { .. } => "golden",
                OpenError::Program { .. }
                | OpenError::Features
                | OpenError::Kind(_)
                | OpenError::Format { .. } => "program",
                OpenError::Foreign | OpenError::Length | OpenError::Value { .. } => "damaged",
            },
        }
    }
}

impl Desk {
    pub(super) fn new(config: ModelsConfig, shelf: Shelf) -> Self {
        Self { config, shelf, held: Vec::new() }
    }

    /// The models that were good before: they judge at once.
    pub(super) fn load(&mut self) -> Vec<Order> {
        let all = self.shelf.load().unwrap_or_else(|error| {
            let folder = self.shelf.folder().display();
            tracing::error!(%error, %folder, "cannot read the models of before, beginning without: let the agent read the folder");
            Vec::new()
        });
        let mut orders = Vec::new();
        for (stem, Kept { current, previous, floor, is_withdrawn }) in all {
            let mut held = Held { stem, floor, is_withdrawn, ..Held::default() };
            let stem = &held.stem;
            let mut is_in_place = true;
            for (bytes, is_current) in [(previous, false), (current, true)] {
                let Some(bytes) = bytes else { continue };
                let central = match Central::open(&bytes, &self.config.keys, Version::own()) {
                    Ok(central) => central,
                    Err(error) => {
                        refused(&format!("{stem} on disk"), &error.into());
                        continue;
                    }
                };
                let key: Arc<str> = central.head.key(central.model.kind()).into();
                let version = central.head.version;
                if Shelf::stem(&key) != *stem
                    || held.is_barred(version)
                    || !self.wants(key.as_bytes())
                {
                    continue;
                }
                let before = held.current.replace(Known { version, bytes: bytes.len() });
                held.previous = before.filter(|_| !central.head.rollback);
                (held.key, is_in_place) = (key.clone(), is_current);
                show(&key, "in_force", version);
                tracing::info!(%key, version, "central model of before");
                orders.push(Order::Force { key, central: Arc::new(central) });
            }
            if !is_in_place {
                // What is damaged must not become the one to fall back to.
                written(&held.key, self.shelf.drop_current(stem, true));
            }
            self.held.push(held);
        }
        orders
    }

    /// Whether a key is for us: its kind is one that we know, and its site one of ours.
    pub(super) fn wants(&self, key: &[u8]) -> bool {
        let Ok(key) = std::str::from_utf8(key) else { return false };
        let mut parts = key.split('/');
        let kind = parts.next().unwrap_or_default();
        let site = parts.next().unwrap_or_default();
        let used = Kind::ALL.iter().any(|used| used.as_str() == kind);
        used && self.config.sites.iter().any(|mine| glob(mine, site) || glob(site, mine))
    }

    /// Takes the newest record of a key that is wanted.
    pub(super) fn take(&mut self, key: &str, value: Option<&Bytes>) -> Option<Order> {
        let Some(value) = value else { return self.withdraw(key) };
        match self.look_at(key, value) {
            Ok(order) => order,
            Err(refusal) => {
                refused(key, &refusal);
                None
            }
        }
    }

    fn look_at(&mut self, key: &str, value: &Bytes) -> Result<Option<Order>, Refusal> {
        let central = Central::open(value, &self.config.keys, Version::own())?;
        let own = central.head.key(central.model.kind());
        if own != key {
            return Err(Refusal::Scope(own));
        }
        let stem = Shelf::stem(key);
        let version = central.head.version;
        if self.held(&stem).is_none() {
            self.held.push(Held { stem: stem.clone(), ..Held::default() });
        }
        let Some(held) = self.held(&stem) else { return Ok(None) };
        held.key = key.into();
        let newest = held.newest().unwrap_or(0).max(held.floor);
        if version == newest && !(held.is_withdrawn && version == held.floor) {
            // Kafka tells all of the topic after each start, also what we have and what we refused.
            return Ok(None);
        }
        central.may_replace(newest)?;
        // What is tried now gives way to it.
        let advises = central.model.kind().advises();
        let gives_way = |held: &mut Held| if advises { held.current } else { held.trying };
        let leaves = self.held(&stem).and_then(gives_way).map_or(0, |known| known.bytes);
        let (found, most) = (self.bytes() - leaves + value.len(), self.config.bytes_max);
        // A step back is never refused for want of room: what it takes the place of is worse.
        if !central.head.rollback && found > usize::try_from(most).unwrap_or(usize::MAX) {
            return Err(Refusal::Full { found, most });
        }
        let (key, central): (Arc<str>, _) = (key.into(), Arc::new(central));
        let known = Known { version, bytes: value.len() };
        let is_rollback = central.head.rollback;
        if is_rollback || advises {
            self.put(&stem, &key, known, value, true);
            if is_rollback {
                tracing::warn!(%key, version, "went back to an older central model, as the centre says");
            } else {
                tracing::info!(%key, version, "the streaming detectors take the advice of a central model");
            }
            return Ok(Some(Order::Force { key, central }));
        }
        if let Some(held) = self.held(&stem) {
            (held.trying, held.tried) = (Some(known), value.clone());
        }
        show(&key, "shadow", version);
        let shadow_s = self.config.shadow_s;
        tracing::info!(%key, version, shadow_s, "a central model is tried in the shadow");
        Ok(Some(Order::Try { key, central }))
    }

    fn held(&mut self, stem: &str) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.stem == stem)
    }

    /// It judges from now on, and after the next start. There is no way back to what a roll-back took the place of, nor
    /// to other advice.
    fn put(&mut self, stem: &str, key: &str, known: Known, bytes: &[u8], is_last: bool) {
        let Some(held) = self.held(stem) else { return };
        held.previous = held.current.replace(known).filter(|_| !is_last);
        (held.trying, held.tried) = (None, Bytes::new());
        let keeps = held.previous.is_some();
        written(key, self.shelf.put(stem, bytes, keeps));
        show(key, "shadow", 0);
        show(key, "in_force", known.version);
    }

    fn withdraw(&mut self, key: &str) -> Option<Order> {
        let stem = Shelf::stem(key);
        let held = self.held(&stem)?;
        let newest = held.newest();
        // Only a newer one may come. Files that could not be opened leave as well.
        let floor = held.floor.max(newest.unwrap_or(0));
        let gone = Held { stem: stem.clone(), key: key.into(), floor, ..Held::default() };
        *held = Held { is_withdrawn: true, ..gone };
        written(key, self.shelf.set_floor(&stem, floor, true));
        written(key, self.shelf.drop_current(&stem, false));
        show_none(key);
        let version = newest?;
        tracing::warn!(
            key,
            version,
            "the centre has withdrawn the model, the streaming detectors go on alone"
        );
        Some(Order::Withdraw { key: key.into() })
    }

    /// Takes down what became of a model.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        let Outcome { key, version, became } = outcome;
        let stem = Shelf::stem(&key);
        let Some(held) = self.held(&stem) else { return };
        let trying = held.trying.filter(|known| known.version == version);
        match (became, trying) {
            (Became::InForce, Some(known)) => {
                let bytes = std::mem::take(&mut held.tried);
                self.put(&stem, &key, known, &bytes, false);
                tracing::info!(%key, version, "the central model judges now");
            }
            (Became::Refused(reason), Some(_)) => {
                (held.trying, held.tried) = (None, Bytes::new());
                (held.floor, held.is_withdrawn) = (version, false);
                written(&key, self.shelf.set_floor(&stem, version, false));
                show(&key, "shadow", 0);
                count("trial");
                tracing::error!(%key, version, reason, "the central model failed in the shadow, what ran before goes on: train a new one with newer history");
            }
            (Became::Flood, _) if held.current.is_some_and(|known| known.version == version) => {
                held.current = held.previous.take();
                let to = held.current.map(|known| known.version);
                held.is_withdrawn &= held.floor > version;
                held.floor = held.floor.max(version);
                let (floor, is_withdrawn) = (held.floor, held.is_withdrawn);
                written(&key, self.shelf.set_floor(&stem, floor, is_withdrawn));
                written(&key, self.shelf.drop_current(&stem, to.is_some()));
                show(&key, "in_force", to.unwrap_or(0));
                count("flood");
                tracing::error!(%key, version, to, "the central model raised a flood of alerts, the one before it judges again: train a new one with newer history");
            }
            // Overtaken by another one meanwhile.
            _ => {}
        }
    }

    /// The line is to forget all models: what comes after this desk shows what there is.
    pub(super) fn leave(&self) {
        self.held.iter().filter(|held| !held.key.is_empty()).for_each(|held| show_none(&held.key));
    }

    /// Bytes of all models.
    fn bytes(&self) -> usize {
        let of = |held: &Held| {
            let all = [held.current, held.previous, held.trying];
            all.into_iter().flatten().map(|known| known.bytes).sum::<usize>()
        };
        self.held.iter().map(of).sum()
    }
}

fn refused(key: &str, refusal: &Refusal) {
    count(refusal.reason());
    tracing::error!(key, reason = %refusal, "a central model is refused, what ran before goes on");
}

fn written(key: &str, done: std::io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(key, %error, "the shelf of models could not be written, so the next start may begin with another one: check the disk and `agent.data_dir`");
    }
}

fn count(reason: &'static str) {
    metrics::counter!(metric::AGENT_MODELS_REFUSED.name, "reason" => reason).increment(1);
}

fn show_none(key: &str) {
    show(key, "shadow", 0);
    show(key, "in_force", 0);
}

fn show(key: &str, state: &'static str, version: u64) {
    let key = key.to_owned();
    metrics::gauge!(metric::AGENT_MODEL_VERSION.name, "model" => key, "state" => state)
        .set(version as f64);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
