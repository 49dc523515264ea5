//! Enrich: what is known of a device, from a cache on disk with the most used entries in memory.
//!
//! In: site and the name a device shows (its own, a host name, an address). Out: the device and its
//! metadata, with how fresh the knowledge is. Promises: a look-up never waits for the network, and
//! works from a cold start without one; an update is on disk before it is used. What can go wrong:
//! the table is unreadable after a power cut, then it is put aside and fetched anew from its origin
//! (`weir.metadata` and the configured files), which the log says.
//!
//! Freshness is the time since the cache was last *in step* with its origin, not the age of the
//! record: a device that nobody touched for a year is still known for certain as long as Kafka
//! answers.

mod file;
mod follow;
mod table;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;
use weir_models::device::Device;
use weir_models::event::{Body, Event, Meta, MetaState};
use weir_models::time::SECOND_US;
use weir_models::topic::write_key;

use crate::parse::event::share;
use crate::recent::Recent;
#[cfg(feature = "workstation")]
pub(crate) use file::parse_devices;
pub use file::{FileError, read_devices};
pub use follow::{Following, follow};
pub use table::{Table, TableError, Update};

/// The table `[metadata]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataConfig {
    /// CSV or JSON files with devices, read at the start and again when they change. They win over
    /// nothing: the newest `updated_us` of a device wins, a file's is its modification time.
    pub files: Vec<String>,
    /// Whether to follow the topic `weir.metadata`.
    pub topic: bool,
    /// Entries kept in memory.
    pub memory_entries: NonZeroUsize,
    /// Metadata counts as `stale` when the cache was not in step with its origin for so long.
    pub stale_after_s: u64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            topic: true,
            memory_entries: NonZeroUsize::new(4_096).unwrap_or(NonZeroUsize::MIN),
            stale_after_s: 24 * 3_600,
        }
    }
}

/// A device as events take it: its metadata is shared by all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Name of the device, where it is not the one that it was looked up by.
    pub renamed: Option<String>,
    /// Its metadata.
    pub meta: Arc<Meta>,
    /// Unit of each metric.
    pub units: BTreeMap<String, String>,
}

impl Known {
    fn looked_up_by(key: &str, device: Device) -> Self {
        let is_own = key.split_once('/').is_some_and(|(_, name)| name == device.device);
        Self {
            renamed: (!is_own).then_some(device.device),
            meta: Arc::new(device.meta.into()),
            units: device.units,
        }
    }
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The device, when it is known.
    pub device: Option<Arc<Known>>,
    /// How the knowledge is to be judged.
    pub state: MetaState,
    /// Seconds since the cache was in step with its origin; none when nothing is known, or it never was.
    pub age_s: Option<u64>,
}

/// The look-up side, owned by the pipeline.
#[derive(Debug)]
pub struct Enricher {
    table: Arc<Table>,
    hot: Recent<Option<Arc<Known>>>,
    version: u64,
    stale_after_s: u64,
    key: String,
    /// The metadata of devices that are not known.
    nothing: Arc<Meta>,
}

impl Enricher {
    /// Looks devices up in `table`.
    #[must_use]
    pub fn new(config: &MetadataConfig, table: Arc<Table>) -> Self {
        Self {
            version: table.version(),
            table,
            hot: Recent::new(config.memory_entries),
            stale_after_s: config.stale_after_s,
            key: String::new(),
            nothing: Arc::default(),
        }
    }

    /// Entries in memory.
    pub(crate) fn held(&self) -> u64 {
        self.hot.len() as u64
    }

    /// What is known of the device that shows itself as `name` at `site`.
    pub fn look_up(&mut self, site: &str, name: &str, now_us: i64) -> Found {
        write_key(&mut self.key, [site, name]);
        let device = self.with(|known| known.cloned());
        let (state, age_s) = self.freshness(device.is_some(), now_us);
        Found { device, state, age_s }
    }

    /// Puts what is known of its device into an event: metadata, the device's own name, units.
    #[inline]
    pub(crate) fn join(&mut self, event: &mut Event) {
        let Event { site, device, meta, body, .. } = event;
        write_key(&mut self.key, [&**site, &**device]);
        let is_known = self.with(|known| {
            let Some(known) = known else { return false };
            share(meta, &known.meta);
            if let Some(name) = &known.renamed {
                device.clone_from(name);
            }
            if let Body::Reading(values) = body {
                for (metric, value) in values.iter_mut().filter(|(_, value)| value.unit.is_none()) {
                    value.unit = known.units.get(metric).map(|unit| unit.as_str().into());
                }
            }
            true
        });
        if !is_known {
            share(&mut event.meta, &self.nothing);
        }
        (event.meta_state, event.meta_age_s) = self.freshness(is_known, event.received_us);
    }

    /// Uses what is known of the device of the key at hand.
    #[inline]
    fn with<R>(&mut self, use_it: impl FnOnce(Option<&Arc<Known>>) -> R) -> R {
        // Updates are rare and come in bulk: forgetting all of the hot entries is cheaper than
        // telling which of them an alias list touches.
        let version = self.table.version();
        if version != self.version {
            self.hot.clear();
            self.version = version;
        }
        let key = self.key.as_str();
        let read = || Some(Arc::new(Known::looked_up_by(key, self.table.get(key)?)));
        self.hot.with(key, read, |known| use_it(known.as_ref()))
    }

    /// How fresh the knowledge is, and seconds since the cache was in step.
    fn freshness(&self, is_known: bool, now_us: i64) -> (MetaState, Option<u64>) {
        if !is_known {
            return (MetaState::Miss, None);
        }
        let in_step_us = self.table.in_step_us();
        if in_step_us == 0 {
            // It never was, as far as is known: there is no age.
            return (MetaState::Stale, None);
        }
        let age_us = now_us.saturating_sub(in_step_us).max(0);
        let age_s = u64::try_from(age_us / SECOND_US).unwrap_or(0);
        let state = if age_s > self.stale_after_s { MetaState::Stale } else { MetaState::Hit };
        (state, Some(age_s))
    }
}

#[cfg(test)]
mod tests;
