//! Rights: what of the topics and the group our Kafka user may not use.
//!
//! In: a consumer and the names. Out: the error that the broker would answer with, and what it is about. Asked only
//! while something is wrong, on the polling thread. What can go wrong: the broker does not answer in time; then
//! nothing is said of rights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::scan;

/// How long the broker may take for each question.
const WITHIN: Duration = Duration::from_secs(2);

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

/// Whether the group may not be used; `topic` is one that may be read.
pub(super) fn of_group<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topic: &str,
) -> Option<Lack> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let answer = consumer.committed_offsets(asked, WITHIN);
    let answer =
        answer.and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
    let code = answer.err()?.rdkafka_error_code()?;
    let denied = RDKafkaErrorCode::GroupAuthorizationFailed;
    (code == denied).then(|| (denied, group.to_owned()))
}

/// Which topics may be seen and not read. librdkafka tells of it once and then tries on in silence, so whether
/// it is over has to be tried with another consumer.
pub(super) fn unreadable(connection: &BTreeMap<String, String>, topics: &[&str]) -> Vec<String> {
    let denied = |topic: &&&str| {
        let read = scan::connect(connection, topic).ok().and_then(|consumer| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, 0, Offset::End).ok()?;
            consumer.assign(&list).ok()?;
            first_error(&consumer)
        });
        read == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    };
    let denied = topics.iter().filter(denied).map(|topic| (*topic).to_owned());
    denied.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The first error; the end of the partition, or a record, is none.
fn first_error(consumer: &BaseConsumer) -> Option<RDKafkaErrorCode> {
    let until = Instant::now() + WITHIN;
    while Instant::now() < until {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return None,
            Some(Err(error)) => return error.rdkafka_error_code(),
        }
    }
    None
}
