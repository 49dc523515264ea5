//! The direct publisher: our own small client for Kafka, which sends the spool's batches as they are.
//!
//! In: groups of a strand. Out: Produce requests with `acks=all`, and acknowledgements. Promises: what
//! [`Transport`] asks for; each strand has a producer id and sequences of its own, kept beside its
//! checkpoint, so that what is sent again after a kill is a duplicate that the broker recognises
//! (decision 7); nothing but what is under way is kept in memory. What can go wrong is told by
//! [`Transport::status`], in words that say what to do.
//!
//! | file | |
//! | --- | --- |
//! | `producer` | one strand's sequences, and what follows from an answer; no network |
//! | `state` | what of it is stored |
//! | `sender`, `search` | one strand's network; the search for a bad record |
//! | `batch`, `regroup` | a group as batches for the real partitions |
//! | `cluster`, `counts` | metadata, connections, partition counts on disk |
//! | `errors`, `problems` | what an error code asks for; what is wrong now |
//! | `connection` and those it uses | one connection: TCP, TLS, SASL, requests |
//! | `single`, `follow` | compacted topics: one record to them, all records of them |

mod connection;
mod fetch;
mod follow;
mod frame;
mod inflate;
mod leaders;
mod opening;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod peer;
mod sasl;
mod settings;
mod stream;
mod tls;
mod versions;
mod batch;
mod cluster;
mod counts;
mod errors;
mod problems;
mod producer;
mod regroup;
mod search;
mod sender;
mod single;
mod state;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;
use weir_models::kafka::KafkaConfig;

use super::{Begun, Delivery, Followed, PublishError, Transport, TransportStatus};
use crate::spool::{Group, Strand};
use cluster::Cluster;
use sender::Sender;
use settings::Settings;
use state::Here;

pub use settings::SettingsError as DirectError;

/// Records that a follower may have told before they are taken.
const FOLLOWED_MAX: usize = 1_000;

/// Publishes by our own client.
pub struct Direct {
    cluster: Arc<Cluster>,
    here: Here,
    /// One for each strand that has begun.
    senders: Mutex<HashMap<Strand, Arc<Sender>>>,
    fresh: tokio::task::AbortHandle,
}

impl Direct {
    /// Checks the settings and begins to look for the cluster, on the present runtime. Partition
    /// counts are remembered in `data_dir`, if there is one.
    ///
    /// # Errors
    /// Which setting is wrong and what to do.
    pub fn new(kafka: &KafkaConfig, data_dir: Option<&Path>) -> Result<Self, DirectError> {
        let settings = Settings::new(kafka)?;
        Ok(Self::over(settings, data_dir))
    }

    /// What [`Direct::new`] would say, without doing anything.
    ///
    /// # Errors
    /// Which setting is wrong and what to do.
    pub fn check(kafka: &KafkaConfig) -> Result<(), DirectError> {
        Settings::new(kafka).map(drop)
    }

    fn over(settings: Settings, data_dir: Option<&Path>) -> Self {
        let file = data_dir.map(|dir| dir.join("partitions.json"));
        let cluster = Arc::new(Cluster::new(settings, file));
        let (here, senders) = (Here::now(), Mutex::default());
        let keeping = cluster.clone();
        let fresh = tokio::spawn(async move { keeping.keep_fresh().await }).abort_handle();
        Self { cluster, here, senders, fresh }
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<Strand, Arc<Sender>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, strand: Strand) -> Arc<Sender> {
        let new = || Arc::new(Sender::new(strand, self.cluster.clone(), self.here));
        self.senders().entry(strand).or_insert_with(new).clone()
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.fresh.abort();
    }
}

#[async_trait]
impl Transport for Direct {
    fn partitions(&self, topic: &str) -> Option<u32> {
        self.cluster.partitions(topic)
    }

    async fn begin(&self, strand: Strand, state: &[u8]) -> Result<Begun, PublishError> {
        self.sender(strand).begin(state).await
    }

    async fn publish(
        &self,
        strand: Strand,
        epoch: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError> {
        self.sender(strand).publish(epoch, group).await
    }

    fn forget(&self, strand: Strand) {
        let sender = self.senders().remove(&strand);
        sender.iter().for_each(|sender| sender.forget());
    }

    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError> {
        single::send(&self.cluster, topic, key, value).await
    }

    fn follow(&self, topic: &str) -> mpsc::Receiver<Followed> {
        let (told, receiver) = mpsc::channel(FOLLOWED_MAX);
        tokio::spawn(follow::follow(self.cluster.clone(), topic.to_owned(), told));
        receiver
    }

    fn status(&self) -> TransportStatus {
        TransportStatus { problem: self.cluster.problems.shown() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
