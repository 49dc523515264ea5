//! The agent's side: the embedded broker as a [`Transport`].
//!
//! In: flush groups. Out: their batches as they are, appended and synced. A batch keeps the bytes
//! the spool made; its place in the log gives the offsets.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use weir_agent::publish::{
    Begun, Delivered, Delivery, Followed, PublishError, Transport, TransportStatus,
};
use weir_agent::spool::{Group, Strand};
use weir_models::topic::Topic;
use weir_models::wire::{BatchBuilder, Codec, Compressor, partition_for};

use super::{Broker, Ticket, follow};

/// The broker as the agent sees it.
#[derive(Clone, Debug)]
pub struct Embedded(pub Arc<Broker>);

/// A batch of one record.
pub(super) fn batch_of(
    ts_ms: i64,
    key: &[u8],
    value: Option<&[u8]>,
    headers: &[(&str, &[u8])],
) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(ts_ms, Some(key), value, headers);
    let mut batch = Vec::new();
    builder.finish(&mut Compressor::new(Codec::None, 0), &mut batch);
    batch
}

impl Broker {
    pub(super) fn count(&self, topic: Topic) -> u32 {
        self.topics.get(&topic).map_or(1, |partitions| u32::try_from(partitions.len()).unwrap_or(1))
    }

    /// Appends one record; its batch is not compressed, for one record there is nothing to gain.
    pub(super) fn append_record(
        &self,
        topic: Topic,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<Ticket, String> {
        let now_ms = weir_models::time::now_us() / 1_000;
        let batch = batch_of(now_ms, key, value, headers);
        let partition = partition_for(key, self.count(topic));
        self.append(topic, partition, 1, &batch).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Transport for Embedded {
    fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.names.topic(topic).map(|topic| self.0.count(topic))
    }

    async fn begin(&self, _: Strand, _: &[u8]) -> Result<Begun, PublishError> {
        // An append that fails leaves nothing behind, so there is nothing to tell apart.
        Ok(Begun::default())
    }

    async fn publish(
        &self,
        _: Strand,
        _: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError> {
        let mut tickets = Vec::with_capacity(group.frames.len());
        for frame in &group.frames {
            let Some(topic) = self.0.names.topic(&frame.topic) else {
                return Err(PublishError::Failed(format!(
                    "the spool holds events for the topic `{}`, which is not one of ours: set `kafka.topic_prefix` back until they are published",
                    frame.topic
                )));
            };
            // Two batches in one partition could overtake each other, so they are not squeezed in.
            if frame.partition >= self.0.count(topic) {
                return Err(PublishError::Failed(format!(
                    "the spool was filled for {} or more partitions of `{}`, here are {}: publish it to the Kafka it was made for",
                    frame.partition + 1,
                    frame.topic,
                    self.0.count(topic)
                )));
            }
            let appended = self.0.append(topic, frame.partition, frame.records, &frame.batch);
            tickets.push(appended.map_err(|error| PublishError::Failed(error.to_string()))?);
        }
        let broker = self.0.clone();
        Ok(Box::pin(async move {
            broker.synced(&tickets).await;
            Ok(Delivered::default())
        }))
    }

    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError> {
        let Some(topic) = self.0.names.topic(topic) else {
            return Err(PublishError::Failed(format!("there is no topic `{topic}`")));
        };
        let ticket =
            self.0.append_record(topic, key, Some(value), &[]).map_err(PublishError::Failed)?;
        self.0.synced(&[ticket]).await;
        Ok(())
    }

    fn follow(&self, topic: &str) -> mpsc::Receiver<Followed> {
        let (told, receiver) = mpsc::channel(follow::TOLD_MAX);
        if let Some(topic) = self.0.names.topic(topic) {
            tokio::spawn(follow::follow(Arc::downgrade(&self.0), topic, told));
        }
        receiver
    }

    fn status(&self) -> TransportStatus {
        TransportStatus::default()
    }
}
