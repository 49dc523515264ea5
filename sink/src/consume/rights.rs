//! Rights: what of the topics and the group our Kafka user may not use.
//!
//! In: a consumer and the names. Out: the error that the broker would answer with, and what it is about. Asked only
//! while something is wrong, on the polling thread. What can go wrong: the broker does not answer in time; then
//! nothing is said of rights.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{faults, scan};

/// How long the broker may take for each question.
const WITHIN: Duration = Duration::from_secs(3);

/// What is missing: the broker's word for it, and on what.
pub(super) type Lack = (RDKafkaErrorCode, String);

/// Why these topics are not in the list of all: a topic that we may not see is left out of it, too, and only who asks
/// for it by name is told.
pub(super) fn of_missing<C: ConsumerContext>(consumer: &BaseConsumer<C>, missing: &[&str]) -> Lack {
    let is_denied = |name: &&str| {
        let asked = consumer.fetch_metadata(Some(*name), WITHIN);
        let denied = Some(RDKafkaErrorCode::TopicAuthorizationFailed);
        asked.is_ok_and(|answer| {
            answer.topics().iter().any(|topic| topic.error().map(Into::into) == denied)
        })
    };
    // One is asked for all: they are granted together.
    if missing.first().is_some_and(is_denied) {
        (RDKafkaErrorCode::TopicAuthorizationFailed, missing.join(", "))
    } else {
        (RDKafkaErrorCode::UnknownTopicOrPartition, format!("{} not found", missing.join(", ")))
    }
}

/// Whether the group may be used; `topic` is one that may be seen. No answer is no proof.
pub(super) fn may_use_group<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> bool {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let answer = consumer.committed_offsets(asked, WITHIN);
    let answer =
        answer.and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
    answer.is_ok()
}

/// Which topics may be seen and not read; none when that cannot be told now. librdkafka tells of it once and then
/// tries on in silence, so whether it is over has to be tried with another consumer.
pub(super) fn unreadable(
    connection: &BTreeMap<String, String>,
    topics: &[&str],
) -> Option<Vec<String>> {
    let mut denied = Vec::new();
    for topic in topics {
        if !may_read(connection, topic)? {
            denied.push((*topic).to_owned());
        }
    }
    Some(denied)
}

fn may_read(connection: &BTreeMap<String, String>, topic: &str) -> Option<bool> {
    let consumer = scan::connect(connection, topic).ok()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::End).ok()?;
    consumer.assign(&list).ok()?;
    let until = Instant::now() + WITHIN;
    while Instant::now() < until {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Some(true),
            Some(Err(error)) if faults::is_denied(&error) => return Some(false),
            Some(Err(_)) | None => {}
        }
    }
    None
}
