//! Consume: records of the weir topics, as a member of a consumer group.
//!
//! In: partitions of Kafka (or of the embedded broker). Out: [`Polled`] changes in the order in
//! which they happened. Promises: offsets move only by [`Consumer::commit`]; a partition that is
//! taken away is told before anybody else gets it, and the consumer waits (bounded) until the
//! pipeline has let go of it. What can go wrong: the broker is away (waits, tells readiness), the
//! group was left because the pipeline took too long (partitions are revoked and come again).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use weir_models::topic::Topic;

mod context;
mod faults;
mod handover;
pub mod kafka;
pub mod producer;
mod rights;
pub mod scan;
pub mod topics;

/// A partition of one of our topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// Number of the partition, from 0.
    pub number: i32,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it was.
    pub partition: Partition,
    /// Its offset there.
    pub offset: i64,
    /// Kafka's time stamp, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a deletion on a compacted topic.
    pub value: Option<Bytes>,
    /// How often it was a dead letter and was sent again, by the header [`RETRIED`].
    pub retried: u32,
    /// Who changed a device, by the header [`BY`]; read for device metadata only.
    pub by: Option<Box<str>>,
    /// The offset at which it was new, where a compacted topic was rewritten and this is the same record again.
    pub again: Option<i64>,
}

/// Header of device metadata: the name of the token, or of the command, by which the device was changed.
pub const BY: &str = "by";
/// Longest value of [`BY`] that is taken, in bytes.
const BY_BYTES_MAX: usize = 256;

/// The value of a header [`BY`], when it can be shown.
#[must_use]
pub fn author(value: Option<&[u8]>) -> Option<Box<str>> {
    let text = std::str::from_utf8(value?).ok()?;
    let is_sound = !text.is_empty() && text.len() <= BY_BYTES_MAX;
    (is_sound && !text.chars().any(char::is_control)).then(|| text.into())
}

impl Record {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + length(&self.key) + length(&self.value)
    }
}

/// Header of a dead letter that was sent again, and of one that failed again: how often.
pub const RETRIED: &str = "retried";

/// How far a partition was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The metadata text that was committed along with it.
    pub note: String,
}

/// What a poll brings, in order.
#[derive(Debug)]
pub enum Polled {
    /// A partition is ours from here on; reading goes on at the committed offset, or at the
    /// earliest record when nothing was ever committed.
    Assigned(Partition, Option<Committed>),
    /// A partition is no longer ours: drop what belongs to it, commit nothing more, then answer.
    Revoked(Vec<Partition>, oneshot::Sender<()>),
    /// Records, ordered within each partition.
    Records(Vec<Record>),
}

/// A member of the consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// Waits up to `wait` for changes; at most about `max` records at a time. An empty answer is
    /// no error. With `max` 0 only changes of the assignment come, and they do not stand in line
    /// behind records. The answer may be dropped before it is there (as `tokio::select!` does)
    /// without anything getting lost.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Polled>, ConsumeError>;

    /// Commits offsets with their notes. Returns when the broker has them.
    async fn commit(&mut self, offsets: &[(Partition, Committed)]) -> Result<(), ConsumeError>;
}

/// Writes single records: dead letters, metadata.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Sends one record (no value = deletion) and returns when all in-sync replicas have it.
    async fn send(
        &self,
        topic: Topic,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), ProduceError>;
}

/// Reading or committing failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Passing: the same call may work later.
    #[error("cannot read from Kafka: {0}")]
    Retry(String),
    /// The partition was given to somebody else: its records will come again there.
    #[error("lost the partition before its offset was committed: {0}")]
    Lost(String),
    /// Nothing but a change of the configuration helps.
    #[error("cannot read from Kafka: {0}")]
    Fatal(String),
}

/// Writing a record failed.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Passing.
    #[error("cannot write to Kafka: {0}")]
    Retry(String),
    /// This record will never be taken.
    #[error("Kafka refuses the record: {0}")]
    Refused(String),
}
