//! Publish: from the spool to Kafka.
//!
//! In: flush groups of a lane, in order. Out: acknowledgements that move the lane's checkpoint.
//! Promises: the checkpoint moves only when every record of a group, and of all groups before it, is
//! on all in-sync replicas or was refused for good (then it is in the dead letter file with the
//! reason); after a failure the lane starts again from its checkpoint, so that order is kept and
//! whatever is sent twice is recognised by the sink as a `seq` not above the highest seen. What can go
//! wrong: Kafka is away or refuses us; nothing is lost then, the spool grows, and `/readyz` and the
//! log say why.

mod dead;
mod direct;
mod lane;
#[cfg(feature = "rdkafka")]
mod librdkafka;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use weir_models::ident::EventId;

use crate::spool::Group;

pub use dead::DeadLetters;
pub use lane::{Lanes, publish_lane};
#[cfg(feature = "rdkafka")]
pub use librdkafka::{KafkaError, Librdkafka};

/// A record that Kafka will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it was to go.
    pub topic: Arc<str>,
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Its identity, as far as it is known.
    pub id: Option<EventId>,
    /// What the broker says.
    pub reason: String,
}

/// A change on a compacted topic that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The newest record of a key; no value = deleted.
    Record {
        /// Key.
        key: Bytes,
        /// Value.
        value: Option<Bytes>,
    },
    /// Everything that was on the topic until now has been told.
    InStep,
}

/// Publishing failed; the lane starts again from its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot publish: {0}")]
pub struct PublishError(pub String);

/// Tells the end of a group that is under way: the records that were refused for good.
pub type Delivery = BoxFuture<'static, Result<Vec<Refused>, PublishError>>;

/// How a transport fares, for readiness and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportStatus {
    /// What is wrong now, in words that say what to do; none when all is well.
    pub problem: Option<String>,
}

/// What carries the spool's groups away. Implementations: librdkafka here, the embedded broker in
/// the crate `weir`; both pass one conformance suite.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The number of partitions of a topic, as last heard; none when never heard.
    fn partitions(&self, topic: &str) -> Option<u32>;

    /// The present epoch. It changes when something failed: from then on nothing handed over in an
    /// earlier epoch, or after it in the old one, is accepted any more.
    fn epoch(&self) -> u64;

    /// Hands a group over for sending and returns what tells its end: each record is on all in-sync
    /// replicas, or refused for good. A lane hands its groups over one after the other, and several
    /// may be under way. When one fails, no record of a later one of this epoch has been or will be
    /// accepted: the sink takes a `seq` that comes after a higher one for a duplicate, so an
    /// overtaken record would be lost.
    async fn publish(&self, epoch: u64, group: Arc<Group>) -> Result<Delivery, PublishError>;

    /// Sends one record to a compacted topic, past the spool.
    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError>;

    /// Tells all records of a compacted topic and then each change, until the receiver is dropped.
    fn follow(&self, topic: &str) -> mpsc::Receiver<Followed>;

    /// How it fares.
    fn status(&self) -> TransportStatus;
}
