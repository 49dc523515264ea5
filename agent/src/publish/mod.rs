//! Publish: from the spool to Kafka.
//!
//! In: flush groups of each strand of a lane, in order. Out: acknowledgements that move the strand's
//! checkpoint.
//! Promises: the checkpoint moves only when every record of a group, and of all groups before it, is
//! on all in-sync replicas or was refused for good (then it is in the dead letter file with the
//! reason); after a failure the strand starts again from its checkpoint, so that order is kept and
//! whatever is sent twice is recognised by the broker, or by the sink as a `seq` not above the
//! highest seen. What can go
//! wrong: Kafka is away or refuses us; nothing is lost then, the spool grows, and `/readyz` and the
//! log say why.

mod correct;
mod dead;
mod direct;
mod lane;
#[cfg(feature = "rdkafka")]
mod librdkafka;
mod order;
mod strand;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use weir_models::ident::EventId;

use crate::spool::{Group, Strand};

pub use dead::DeadLetters;
pub use direct::{Direct, DirectError};
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
    /// Its identity; the lane finds it in the value.
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

/// A group cannot be published now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It failed; the lane starts again from its checkpoint.
    #[error("cannot publish: {0}")]
    Failed(String),
    /// Nothing has failed, but the lane has to begin anew before this group can go: first what is
    /// under way has to end.
    #[error("begins anew: {0}")]
    BeginAgain(String),
}

/// A lane may publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// The epoch that begins now.
    pub epoch: u64,
    /// Where set, to be stored beside the checkpoint before the first group is handed over.
    pub state: Option<Bytes>,
}

/// A group has gone: each record is on all in-sync replicas, or refused for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// What was refused.
    pub refused: Vec<Refused>,
    /// To be stored with the checkpoint after this group, and given to [`Transport::begin`] then.
    pub state: Bytes,
}

/// Tells the end of a group that is under way.
pub type Delivery = BoxFuture<'static, Result<Delivered, PublishError>>;

/// How a transport fares, for readiness and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportStatus {
    /// What is wrong now, in words that say what to do; none when all is well.
    pub problem: Option<String>,
}

/// What carries the spool's groups away. Implementations: the direct one and librdkafka here, the
/// embedded broker in the crate `weir`; all pass one conformance suite.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The number of partitions of a topic, as last heard; none when never heard. Asked for each
    /// event, so it has to be cheap.
    fn partitions(&self, topic: &str) -> Option<u32>;

    /// Begins an epoch of a strand at its checkpoint. Nothing that was handed over in an earlier epoch
    /// of the strand counts any more. `state` is what was last stored beside the checkpoint; empty
    /// without one. The same spool may have been published by another process before, or by another
    /// transport.
    async fn begin(&self, strand: Strand, state: &[u8]) -> Result<Begun, PublishError>;

    /// Hands a group over for sending and returns what tells its end. A strand hands its groups over
    /// one after the other, from its checkpoint on, and several may be under way. When one fails,
    /// no record of a later one of this epoch has been or will be accepted: the sink takes a `seq`
    /// that comes after a higher one for a duplicate, so an overtaken record would be lost. Strands
    /// have nothing to do with each other.
    async fn publish(
        &self,
        strand: Strand,
        epoch: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError>;

    /// A strand is published to its end: what is known of it may be forgotten.
    fn forget(&self, _: Strand) {}

    /// Sends one record to a compacted topic, past the spool.
    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError>;

    /// Tells all records of a compacted topic and then each change, until the receiver is dropped.
    fn follow(&self, topic: &str) -> mpsc::Receiver<Followed>;

    /// How it fares.
    fn status(&self) -> TransportStatus;
}
