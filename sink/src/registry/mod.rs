//! Registry: what is known of each device, and who changes it.
//!
//! In: changes by a person or a program, through the API or a command. Out: records on `weir.metadata`; from there
//! they come into the cache of every agent and, through the pipeline, into the store. Promises: a change is
//! answered when it is safe in Kafka; whoever names the version that they saw changes that version or nothing,
//! and a stamp of a device only rises. Of this instance that holds exactly: it remembers what it sent until the store
//! has it. Another instance sees it once it is stored, which takes about as long as `consume.gather_ms`; so changes of
//! many people go through one instance. What can go wrong: Kafka or the store is away; the version is not the last.
//!
//! `body` is what may be said of a device, `csv` lists as text, `import` lists as changes, `command` is
//! `weir-sink devices`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use weir_models::device::Device;
use weir_models::time::now_us;
use weir_models::topic::Topic;

use crate::consume::{BY, ProduceError, Producer};
use crate::store::bucket::shard;
use crate::store::{Store, StoreError};

mod body;
mod command;
mod csv;
mod import;

pub(crate) use body::{DeviceBody, HINT, Invalid, differences, tag};
pub(crate) use command::{DevicesCommand, run_devices};
pub(crate) use import::{IMPORT_BYTES_MAX, ImportReport};

/// Devices of which each shard remembers what was sent; beyond it the store has to show them.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

/// What a request says of the version that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `If-Match`: only when the record is one of these, or any for `*`.
    pub(crate) is_one_of: Option<Vec<String>>,
    /// `If-None-Match: *`: only when there is no record.
    pub(crate) is_new: bool,
}

impl Condition {
    fn is_given(&self) -> bool {
        self.is_new || self.is_one_of.is_some()
    }

    fn holds(&self, current: Option<&Device>) -> bool {
        let matches = |tags: &Vec<String>| {
            current.is_some_and(|current| {
                let own = tag(current);
                tags.iter().any(|known| known == "*" || *known == own)
            })
        };
        !(self.is_new && current.is_some()) && self.is_one_of.as_ref().is_none_or(matches)
    }
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The record is not the one that the request is about.
    #[error("the record is another one now")]
    Changed,
    /// Nothing is known of the device.
    #[error("this device has no metadata")]
    Unknown,
    /// What is said of it cannot be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store does not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka does not take it.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

/// What was sent last for each device of a shard: its record, or none where it was deleted.
type Sent = LruCache<(String, String), (i64, Option<Device>)>;

/// The devices, as the API and the commands change them.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    producer: Arc<dyn Producer>,
    /// By shard of the device's name. Held while a device is changed, so that one change comes after another.
    sent: Vec<Mutex<Sent>>,
    /// One import at a time: each may hold the largest body that there is.
    importing: Semaphore,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, producer: Arc<dyn Producer>) -> Self {
        let shards = crate::store::bucket::shards();
        let sent = shards.map(|_| Mutex::new(LruCache::new(REMEMBERED))).collect();
        Self { store, producer, sent, importing: Semaphore::new(1) }
    }

    async fn lock(&self, device: &str) -> MutexGuard<'_, Sent> {
        self.sent[usize::from(shard(device).unsigned_abs()) % self.sent.len()].lock().await
    }

    /// What is known of a device, with what was sent and is not stored yet.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn get(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError> {
        let stored = self.store.device(site, device).await?;
        let mut sent = self.lock(device).await;
        Ok(newest(&mut sent, site, device, stored))
    }

    /// Replaces what is known of a device.
    ///
    /// # Errors
    /// When the condition does not hold, Kafka does not take the record or, where there is a condition, the store
    /// does not answer.
    pub(crate) async fn put(
        &self,
        site: &str,
        device: &str,
        body: DeviceBody,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<Device, RegistryError> {
        let body = body.checked()?;
        let mut sent = self.lock(device).await;
        let mut record = body.record(site, device);
        if condition.is_given() {
            let current = self.check(&mut sent, site, device, condition).await?;
            record.updated_us = current.map_or(0, |current| current.updated_us);
        }
        self.send(&mut sent, record, by).await
    }

    /// Changes some of what is known of a device by a JSON merge patch (RFC 7396); the record, and whether it changed.
    ///
    /// # Errors
    /// When nothing is known of it, the patch or its outcome cannot be, the condition does not hold, the
    /// store or Kafka are away.
    pub(crate) async fn patch(
        &self,
        site: &str,
        device: &str,
        patch: &serde_json::Value,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(Device, bool), RegistryError> {
        let mut sent = self.lock(device).await;
        let current = self.check(&mut sent, site, device, condition).await?;
        let current = current.ok_or(RegistryError::Unknown)?;
        let mut record = DeviceBody::of(&current).patched(patch)?.record(site, device);
        record.updated_us = current.updated_us;
        if differences(Some(&current), Some(&record)).is_empty() {
            return Ok((current, false));
        }
        self.send(&mut sent, record, by).await.map(|record| (record, true))
    }

    /// Forgets what is known of a device.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(crate) async fn delete(
        &self,
        site: &str,
        device: &str,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(), RegistryError> {
        let mut sent = self.lock(device).await;
        if condition.is_given() {
            self.check(&mut sent, site, device, condition).await?;
        }
        let key = format!("{site}/{device}");
        self.produce(&key, None, by).await?;
        sent.put((site.into(), device.into()), (now_us(), None));
        tracing::info!(device = key, by, "device metadata was deleted");
        Ok(())
    }

    /// The record as it is now, when the condition holds for it.
    async fn check(
        &self,
        sent: &mut Sent,
        site: &str,
        device: &str,
        condition: &Condition,
    ) -> Result<Option<Device>, RegistryError> {
        let stored = self.store.device(site, device).await?;
        let current = newest(sent, site, device, stored);
        if condition.holds(current.as_ref()) { Ok(current) } else { Err(RegistryError::Changed) }
    }

    /// Sends a record with a stamp above its own and the one sent before: agents leave an older one aside.
    async fn send(
        &self,
        sent: &mut Sent,
        mut record: Device,
        by: Option<&str>,
    ) -> Result<Device, RegistryError> {
        let place = (record.site.clone(), record.device.clone());
        let before_us = sent.peek(&place).map_or(0, |(sent_us, _)| *sent_us);
        record.updated_us = now_us().max(record.updated_us + 1).max(before_us + 1);
        let json = serde_json::to_vec(&record).map_err(|error| Invalid::json(&error))?;
        self.produce(&record.key(), Some(&json), by).await?;
        sent.put(place, (record.updated_us, Some(record.clone())));
        tracing::info!(device = record.key(), by, "device metadata was changed");
        Ok(record)
    }

    async fn produce(
        &self,
        key: &str,
        json: Option<&[u8]>,
        by: Option<&str>,
    ) -> Result<(), ProduceError> {
        let headers = by.map(|by| (BY, by.as_bytes()));
        self.producer.send(Topic::Metadata, key.as_bytes(), json, headers.as_slice()).await
    }
}

/// The newer of what is stored and what was sent; what is stored by now need not be remembered.
fn newest(sent: &mut Sent, site: &str, device: &str, stored: Option<Device>) -> Option<Device> {
    let place = (site.to_owned(), device.to_owned());
    let Some((sent_us, record)) = sent.peek(&place) else {
        return stored;
    };
    let stored_us = stored.as_ref().map(|stored| stored.updated_us);
    match (record, stored_us) {
        // Its deletion is stored; or somebody else has said something since.
        (None, None) => {}
        (_, Some(stored_us)) if stored_us > *sent_us => {}
        (Some(record), Some(stored_us)) if stored_us == record.updated_us => {}
        // On its way; after a while without a trace of it somebody else has deleted it.
        (record, _) if now_us() - sent_us < IN_DOUBT_US => return record.clone(),
        _ => {}
    }
    // Its stamp stays: the next one has to be above it.
    if let Some((_, record)) = sent.peek_mut(&place) {
        record.clone_from(&stored);
    }
    stored
}

/// Longest time for which what was sent counts although the store does not show it, microseconds.
const IN_DOUBT_US: i64 = 300_000_000;
