//! Follows a compacted topic over librdkafka, without a group.
//!
//! In: a consumer of its own, on a thread of its own. Out: every record from the beginning, then
//! each change, and the word that all is told as long as the broker answers. What cannot be read now is
//! tried again for as long as somebody listens.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::ASK;
use super::context::Context;
use crate::publish::Followed;

/// How often a follower that has nothing to tell asks whether it is still in step.
const FOLLOW_WAIT: Duration = Duration::from_secs(2);

/// Reads a compacted topic from its beginning for as long as somebody listens.
pub(super) fn follow(consumer: &BaseConsumer<Context>, topic: &str, told: &mpsc::Sender<Followed>) {
    let mut behind = loop {
        if told.is_closed() {
            return;
        }
        match assign_all(consumer, topic) {
            Ok(0) => {}
            Ok(count) => break vec![true; count],
            Err(error) => tracing::debug!(%error, topic, "cannot follow the topic yet"),
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    while !told.is_closed() {
        let change = match consumer.poll(FOLLOW_WAIT) {
            None => {
                // Nothing new on partitions that were read to their end: still in step, as long as
                // the broker answers.
                if behind.contains(&true) || consumer.client().fatal_error().is_some() {
                    continue;
                }
                match consumer.fetch_watermarks(topic, 0, ASK) {
                    Ok(_) => Followed::InStep,
                    Err(_) => continue,
                }
            }
            Some(Err(RdError::PartitionEOF(partition))) => {
                if let Some(behind) =
                    usize::try_from(partition).ok().and_then(|partition| behind.get_mut(partition))
                {
                    *behind = false;
                }
                if behind.contains(&true) {
                    continue;
                }
                Followed::InStep
            }
            Some(Err(error)) => {
                tracing::debug!(%error, topic, "cannot read the topic now");
                continue;
            }
            Some(Ok(message)) => Followed::Record {
                key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
                value: message.payload().map(Bytes::copy_from_slice),
            },
        };
        if told.blocking_send(change).is_err() {
            return;
        }
    }
}

/// Takes all partitions from their beginning; 0 when the topic is not there yet.
fn assign_all(consumer: &BaseConsumer<Context>, topic: &str) -> Result<usize, RdError> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut list = TopicPartitionList::new();
    for partition in 0..count {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    if count > 0 {
        consumer.assign(&list)?;
    }
    Ok(count)
}
