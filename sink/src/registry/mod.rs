//! Registry: what is known of each device, and who changes it.
//!
//! In: changes by a person or a program, through the API or a command. Out: records on `weir.metadata`; from there
//! they come into the cache of every agent and, through the pipeline, into the store. Promises: a change is
//! answered when it is safe in Kafka; whoever names the version that they saw changes that version or nothing,
//! and a stamp of a device only rises. Of this instance that holds exactly while it runs: it remembers what it sent
//! until the store has it, and a change that has begun goes on when its request ends. Another instance, and this one
//! after a restart, sees it once it is stored, which takes about as long as `consume.gather_ms`; so changes of
//! many people go through one instance. What can go wrong: Kafka or the store is away; the version is not the last.
//!
//! `body` is what may be said of a device, `sent` what was sent and may not be stored, `csv` lists as text, `import`
//! lists as changes; `mapping` and `flow` are the same for tables and topics, row by row; `command` is `weir-sink devices`,
//! `rows` where its rows come from.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use weir_models::device::Device;
use weir_models::time::now_us;
use weir_models::topic::Topic;

use crate::consume::{BY, ProduceError, Producer};
use crate::store::{Store, StoreError};

mod body;
mod command;
mod csv;
mod flow;
mod import;
mod mapping;
mod rows;
mod sent;

pub(crate) use body::{
    ALIASES_MAX, DeviceBody, DevicePatch, HINT, Invalid, META_VALUE_BYTES_MAX, differences, tag,
};
pub(crate) use command::{DevicesCommand, run_devices};
pub(crate) use import::{IMPORT_BYTES_MAX, ImportReport};
pub(crate) use mapping::Cell;
#[cfg(test)]
pub(crate) use mapping::Entry;
pub(crate) use sent::text_bytes;
use sent::{Doubt, Known, Place, Sent};

/// Locks that changes of devices are spread over: more than are made at once.
const LOCKS: usize = 1_024;
/// Longest time that a change waits for the store.
const STORE_WITHIN: Duration = Duration::from_secs(10);

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

/// What is to become of a device.
#[derive(Debug)]
enum Wish {
    /// This instead of what is known.
    Put(DeviceBody),
    /// Some of it becomes other; it has to be known.
    Patch(Value),
    /// The same, and an unknown device is made.
    Merge(Value),
    /// Nothing is known any more.
    Delete,
}

/// The record as it is now, and whether that was sent.
type Outcome = (Option<Device>, bool);

/// The devices, as the API and the commands change them.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    producer: Arc<dyn Producer>,
    sent: Mutex<Sent>,
    /// By hash of the device. Held while a device is changed, so that one change comes after another.
    locks: Vec<Arc<tokio::sync::Mutex<()>>>,
    hasher: RandomState,
    /// One import at a time: each may hold the largest body that there is.
    importing: Semaphore,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, producer: Arc<dyn Producer>) -> Self {
        Self {
            store,
            producer,
            sent: Mutex::default(),
            locks: (0..LOCKS).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
            importing: Semaphore::new(1),
        }
    }

    /// Never held over an await: reading a device does not wait for Kafka.
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lock(&self, place: &Place) -> OwnedMutexGuard<()> {
        let number = self.hasher.hash_one(place) % LOCKS as u64;
        Arc::clone(&self.locks[number as usize]).lock_owned().await
    }

    /// What is known of a device, with what was sent and is not stored yet.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn get(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError> {
        let stored = self.store.device(site, device).await?;
        Ok(self.sent().look(&(site.into(), device.into()), stored, now_us()).current)
    }

    /// Replaces what is known of a device; the record, and whether it changed.
    ///
    /// # Errors
    /// When the condition does not hold, Kafka does not take the record or, where there is a condition, the store
    /// does not answer.
    pub(crate) async fn put(
        self: &Arc<Self>,
        site: &str,
        device: &str,
        body: DeviceBody,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(Device, bool), RegistryError> {
        self.write(site, device, Wish::Put(body.checked()?), condition, by).await
    }

    /// Changes some of what is known of a device by a JSON merge patch (RFC 7396); the record, and whether it changed.
    ///
    /// # Errors
    /// When nothing is known of it, the patch or its outcome cannot be, the condition does not hold, the
    /// store or Kafka are away.
    pub(crate) async fn patch(
        self: &Arc<Self>,
        site: &str,
        device: &str,
        patch: Value,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(Device, bool), RegistryError> {
        self.write(site, device, Wish::Patch(patch), condition, by).await
    }

    /// Makes a change that leaves a record.
    async fn write(
        self: &Arc<Self>,
        site: &str,
        device: &str,
        wish: Wish,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(Device, bool), RegistryError> {
        let (record, changed) = self.change(site, device, wish, condition, by).await?;
        record.map(|record| (record, changed)).ok_or(RegistryError::Unknown)
    }

    /// Forgets what is known of a device.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(crate) async fn delete(
        self: &Arc<Self>,
        site: &str,
        device: &str,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<(), RegistryError> {
        self.change(site, device, Wish::Delete, condition, by).await.map(drop)
    }

    /// Makes a change, in a task of its own: what has begun to be sent is remembered also when nobody waits for it.
    async fn change(
        self: &Arc<Self>,
        site: &str,
        device: &str,
        wish: Wish,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<Outcome, RegistryError> {
        let place = (site.to_owned(), device.to_owned());
        let (registry, condition) = (Arc::clone(self), condition.clone());
        let by = by.map(ToOwned::to_owned);
        let lock = self.lock(&place).await;
        let change = tokio::spawn(async move {
            let _lock = lock;
            registry.apply(place, wish, &condition, by.as_deref()).await
        });
        let broke_off = |error: tokio::task::JoinError| ProduceError::Retry(error.to_string());
        change.await.map_err(broke_off)?
    }

    async fn apply(
        &self,
        place: Place,
        wish: Wish,
        condition: &Condition,
        by: Option<&str>,
    ) -> Result<Outcome, RegistryError> {
        let needs_store = condition.is_given() || matches!(wish, Wish::Patch(_) | Wish::Merge(_));
        let mut known = self.known(&place, needs_store).await?;
        if condition.is_given()
            && let Some(doubt) = known.doubt.take()
        {
            // Whether Kafka has it cannot be told; once it is sent again, it has.
            self.send(&place, doubt.us, doubt.record.clone(), doubt.by.as_deref()).await?;
            known.current = doubt.record;
        }
        if !condition.holds(known.current.as_ref()) {
            return Err(RegistryError::Changed);
        }
        let Known { current, before_us, doubt } = known;
        let is_sure = doubt.is_none();
        let base = doubt.and_then(|doubt| doubt.record).or_else(|| current.clone());
        let body = match (wish, &base) {
            (Wish::Delete, _) => None,
            (Wish::Put(body), _) => Some(body),
            (Wish::Patch(_), None) => return Err(RegistryError::Unknown),
            (Wish::Patch(patch) | Wish::Merge(patch), base) => {
                let body = base.as_ref().map(DeviceBody::of).unwrap_or_default();
                Some(body.patched(&patch)?)
            }
        };
        let record = body.map(|body| body.record(&place.0, &place.1));
        if is_sure
            && current.is_some()
            && record.is_some()
            && differences(current.as_ref(), record.as_ref()).is_empty()
        {
            return Ok((current, false));
        }
        // Agents leave an older stamp aside.
        let us = now_us().max(before_us.saturating_add(1));
        let record = record.map(|record| Device { updated_us: us, ..record });
        self.send(&place, us, record.clone(), by).await?;
        tracing::info!(
            site = place.0,
            device = place.1,
            by,
            deleted = record.is_none(),
            "device metadata was changed"
        );
        Ok((record, true))
    }

    /// What is known of a device; without `needs_store` what was sent is enough while the store is away.
    async fn known(&self, place: &Place, needs_store: bool) -> Result<Known, StoreError> {
        let asked = tokio::time::timeout(STORE_WITHIN, self.store.device(&place.0, &place.1)).await;
        let late = |_| Err(StoreError::Retry("no answer within 10 seconds".into()));
        match asked.unwrap_or_else(late) {
            Ok(stored) => Ok(self.sent().look(place, stored, now_us())),
            Err(error) if needs_store => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a device is changed without knowing what is stored");
                Ok(self.sent().recall(place))
            }
        }
    }

    /// Sends a record, or a deletion, and remembers it.
    async fn send(
        &self,
        place: &Place,
        us: i64,
        record: Option<Device>,
        by: Option<&str>,
    ) -> Result<(), RegistryError> {
        let json = record.as_ref().map(serde_json::to_vec).transpose();
        let json = json.map_err(|error| Invalid::json(&error))?;
        let key = format!("{}/{}", place.0, place.1);
        let headers = by.map(|by| (BY, by.as_bytes()));
        let (topic, headers) = (Topic::Metadata, headers.as_slice());
        let sent = self.producer.send(topic, key.as_bytes(), json.as_deref(), headers).await;
        match &sent {
            Ok(()) => self.sent().sent(place.clone(), us, record),
            Err(ProduceError::Retry(_)) => {
                let by = by.map(ToOwned::to_owned);
                self.sent().doubt(place.clone(), Doubt { us, record, by });
            }
            Err(ProduceError::Refused(_)) => {}
        }
        Ok(sent?)
    }
}
