//! Scan: a topic read once, by nobody's group.
//!
//! In: a topic. Out: its records up to the end that each partition has when the reading begins, in the order
//! of offsets within a partition. Nothing is committed. What can go wrong: the topic is not there, the
//! broker stays silent; the text says which.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::Committed;

/// How long the broker may say nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// So long a topic that was made just now may be unknown.
const ABSENT_FOR: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);

/// A topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It is not there.
    #[error("topic `{0}` is not there: run `weir-sink migrate -c FILE`")]
    Absent(String),
    /// The broker does not answer as it should.
    #[error("cannot read topic `{0}`, check `[kafka]` and the network: {1}")]
    Kafka(String, KafkaError),
    /// It says nothing any more.
    #[error("cannot read topic `{0}`: nothing came for 30 s; try again")]
    Silent(String),
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From<'a> {
    /// At the beginning of every partition.
    Beginning,
    /// At this offset of this partition, and only there.
    Record(i32, i64),
    /// At these offsets, by partition; at the beginning of all others.
    Offsets(&'a BTreeMap<i32, i64>),
}

/// First offset and the one after the last, by partition.
pub type Extents = BTreeMap<i32, (i64, i64)>;

pub(super) fn connect(
    connection: &BTreeMap<String, String>,
    topic: &str,
) -> Result<BaseConsumer, ScanError> {
    let mut config = ClientConfig::new();
    config.set("client.id", "weir-sink").set("log_level", "0");
    config.extend(connection.clone());
    // librdkafka wants a group also where none is joined.
    config.set("group.id", "weir.reader").set("enable.auto.commit", "false");
    // So is the end of a partition told, also where compaction took its last records.
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    config.create().map_err(|error| ScanError::Kafka(topic.into(), error))
}

/// The extents of a topic's partitions now. Waits for the broker.
///
/// # Errors
/// When the topic is not there, also after a while (brokers hear of a new one late), or nobody answers.
pub fn extents(connection: &BTreeMap<String, String>, topic: &str) -> Result<Extents, ScanError> {
    extents_of(&connect(connection, topic)?, topic)
}

/// Whether the brokers are about to choose a leader.
fn is_leaderless(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopicOrPartition,
    };
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            LeaderNotAvailable | NotLeaderForPartition | UnknownPartition | UnknownTopicOrPartition
        )
    })
}

fn extents_of(consumer: &BaseConsumer, topic: &str) -> Result<Extents, ScanError> {
    let failed = |error| ScanError::Kafka(topic.into(), error);
    let began = Instant::now();
    loop {
        let cluster = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(failed)?;
        let known = cluster.topics().first().map_or(&[][..], |topic| topic.partitions());
        let is_late = began.elapsed() > ABSENT_FOR;
        if !known.is_empty() {
            let extent = |id| Ok((id, consumer.fetch_watermarks(topic, id, ANSWER_WITHIN)?));
            let extents = known.iter().map(|partition| extent(partition.id()));
            match extents.collect::<Result<_, _>>() {
                // Of a new topic, or while brokers change.
                Err(error) if !is_late && is_leaderless(&error) => {}
                extents => return extents.map_err(failed),
            }
        } else if is_late {
            return Err(ScanError::Absent(topic.into()));
        }
        std::thread::sleep(POLL);
    }
}

/// How far, and with which note, a group has committed the partitions of a topic; those without a commit are left out. Waits for
/// the broker.
///
/// # Errors
/// As [`extents`].
pub fn committed(
    connection: &BTreeMap<String, String>,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<i32, Committed>, ScanError> {
    let mut member = connection.clone();
    member.insert("group.id".into(), group.into());
    let failed = |error| ScanError::Kafka(topic.into(), error);
    let mut config = ClientConfig::new();
    config.set("client.id", "weir-sink").set("log_level", "0").set("enable.auto.commit", "false");
    config.extend(member);
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut asked = TopicPartitionList::new();
    for &id in extents_of(&consumer, topic)?.keys() {
        asked.add_partition(topic, id);
    }
    let found = consumer.committed_offsets(asked, ANSWER_WITHIN).map_err(failed)?;
    let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
        .offset()
    {
        Offset::Offset(offset) => {
            let note = element.metadata().to_owned();
            Some((element.partition(), Committed { offset, note }))
        }
        _ => None,
    };
    Ok(found.elements().into_iter().filter_map(offset).collect())
}

/// Hands every record to `each`, until that says no. Waits for the broker.
///
/// # Errors
/// As [`extents`], and when nothing comes for 30 s.
pub fn scan(
    connection: &BTreeMap<String, String>,
    topic: &str,
    from: From<'_>,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<(), ScanError> {
    let failed = |error| ScanError::Kafka(topic.into(), error);
    let consumer = connect(connection, topic)?;
    let mut unread = extents_of(&consumer, topic)?;
    if let From::Record(partition, offset) = from {
        unread.retain(|&id, (low, high)| id == partition && (*low..*high).contains(&offset));
        unread.values_mut().for_each(|extent| *extent = (offset, offset + 1));
    }
    if let From::Offsets(offsets) = from {
        for (id, (low, _)) in &mut unread {
            let wanted = offsets.get(id).copied().unwrap_or(*low);
            *low = wanted.max(*low);
        }
    }
    unread.retain(|_, (low, high)| low < high);
    let mut places = TopicPartitionList::new();
    for (&id, &(low, _)) in &unread {
        places.add_partition_offset(topic, id, Offset::Offset(low)).map_err(failed)?;
    }
    consumer.assign(&places).map_err(failed)?;
    let mut heard = Instant::now();
    while !unread.is_empty() {
        let record = match consumer.poll(POLL) {
            None if heard.elapsed() > ANSWER_WITHIN => return Err(ScanError::Silent(topic.into())),
            None => continue,
            Some(Err(KafkaError::PartitionEOF(id))) => {
                unread.remove(&id);
                continue;
            }
            Some(record) => record.map_err(failed)?,
        };
        heard = Instant::now();
        // What came after the beginning is left out.
        let Some(&(_, high)) = unread.get(&record.partition()) else {
            continue;
        };
        if record.offset() < high && !each(&record) {
            return Ok(());
        }
        if record.offset() + 1 >= high {
            unread.remove(&record.partition());
        }
    }
    Ok(())
}
