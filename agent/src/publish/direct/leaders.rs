//! Which broker leads which partition of a followed topic.
//!
//! In: addresses of brokers. Out: the partitions by the address of their leader. Asks on a connection
//! of its own, which is closed again: leaders change seldom.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};

use super::connection::Connection;
use super::problems::Failure;
use super::settings::Settings;

/// Newest version for which this was written.
const METADATA_VERSION: i16 = 12;
const UNKNOWN_TOPIC: i16 = 3;
/// TOPIC_AUTHORIZATION_FAILED.
pub(super) const NOT_GRANTED: i16 = 29;

/// The leaders of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leaders {
    /// Changes when a topic is deleted and made again under its name; nil before Kafka 2.8.
    pub(super) topic_id: u128,
    /// Partitions by the address of their leader.
    pub(super) partitions: BTreeMap<String, Vec<i32>>,
    /// All brokers of the cluster.
    pub(super) brokers: Vec<String>,
}

/// Asks one broker after the other until one knows. None when there is no such topic.
///
/// # Errors
/// What the last one said.
pub(super) async fn find(
    settings: &Arc<Settings>,
    known: &[String],
    topic: &TopicName,
) -> Result<Option<Leaders>, Failure> {
    let mut last = Failure::passing("connection", "no broker is known");
    for address in known.iter().chain(&settings.bootstrap) {
        match ask(address, settings, topic).await {
            Ok(leaders) => return Ok(leaders),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The user may not read.
pub(super) fn not_granted(topic: &str) -> Failure {
    let text = format!("the user may not read the topic {topic}: grant READ, see docs/agent.md");
    Failure { class: "denied", text, is_passing: false, refresh: false }
}

async fn ask(
    address: &str,
    settings: &Arc<Settings>,
    topic: &TopicName,
) -> Result<Option<Leaders>, Failure> {
    let connection = Connection::open(address, settings).await?;
    let version = connection.versions().newest::<MetadataRequest>(METADATA_VERSION)?;
    let request = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic.clone()))]))
        .with_allow_auto_topic_creation(false);
    read(&connection.start(version, &request)?.await?, topic)
}

fn read(answer: &MetadataResponse, name: &TopicName) -> Result<Option<Leaders>, Failure> {
    let what = || format!("the topic {}", name.as_str());
    let address = |id: i32| {
        let broker = answer.brokers.iter().find(|broker| broker.node_id.0 == id)?;
        Some(if broker.host.contains(':') {
            format!("[{}]:{}", broker.host.as_str(), broker.port)
        } else {
            format!("{}:{}", broker.host.as_str(), broker.port)
        })
    };
    let left_out = || Failure::passing("metadata", format!("the broker leaves out {}", what()));
    let topic = answer.topics.first().ok_or_else(left_out)?;
    match topic.error_code {
        0 => {}
        UNKNOWN_TOPIC => return Ok(None),
        NOT_GRANTED => return Err(not_granted(name.as_str())),
        code => return Err(Failure::answered(code, &what(), None)),
    }
    let mut leaders = Leaders {
        topic_id: topic.topic_id.as_u128(),
        brokers: answer.brokers.iter().filter_map(|broker| address(broker.node_id.0)).collect(),
        ..Leaders::default()
    };
    for partition in &topic.partitions {
        let leader = address(partition.leader_id.0).ok_or_else(|| {
            let partition = partition.partition_index;
            Failure::passing("leader", format!("partition {partition} of {} has no leader", what()))
        })?;
        leaders.partitions.entry(leader).or_default().push(partition.partition_index);
    }
    Ok((!leaders.partitions.is_empty()).then_some(leaders))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn answer(code: i16, leaders: &[i32]) -> MetadataResponse {
        let broker = |(id, host): (i32, &'static str)| {
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(id));
            broker.with_host(host.into()).with_port(9092)
        };
        let partition = |(index, leader): (usize, &i32)| {
            let partition = MetadataResponsePartition::default();
            partition.with_partition_index(index as i32).with_leader_id(BrokerId(*leader))
        };
        let partitions = leaders.iter().enumerate().map(partition).collect();
        let topic = MetadataResponseTopic::default().with_error_code(code);
        MetadataResponse::default()
            .with_brokers([(1, "one"), (7, "2001:db8::7")].map(broker).into())
            .with_topics(vec![topic.with_partitions(partitions)])
    }

    fn found(answer: &MetadataResponse) -> Result<Option<Leaders>, Failure> {
        read(answer, &TopicName("t".into()))
    }

    #[test]
    fn partitions_are_gathered_by_leader() {
        let found = found(&answer(0, &[7, 1, 7])).unwrap().unwrap();
        let expected = [("[2001:db8::7]:9092", vec![0, 2]), ("one:9092", vec![1])];
        assert_eq!(found.partitions, expected.map(|(a, p)| (a.to_owned(), p)).into());
        assert_eq!(found.brokers, ["one:9092", "[2001:db8::7]:9092"]);
    }

    #[test]
    fn a_topic_that_is_not_there_is_no_error() {
        assert_eq!(found(&answer(UNKNOWN_TOPIC, &[])), Ok(None));
        assert_eq!(found(&answer(0, &[])), Ok(None));
        assert!(
            found(&answer(0, &[1, -1])).unwrap_err().text.contains("partition 1 of the topic t")
        );
        assert!(found(&answer(NOT_GRANTED, &[])).unwrap_err().text.contains("grant READ"));
        assert!(found(&MetadataResponse::default()).is_err());
    }
}
