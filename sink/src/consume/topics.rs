//! Topics: creates what is missing.
//!
//! In: the names, and how many partitions and replicas. Out: what was done, in words. Promises: a
//! topic that is there is left alone; one that ought to be compacted and is not is reported, because
//! its records would vanish with time.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use weir_models::topic::{Topic, TopicNames};

use super::kafka::settings_error;

const WITHIN: Duration = Duration::from_secs(20);

/// How new topics are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTopics {
    /// Partitions of a data topic.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
}

/// The topics could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(String),
    /// The cluster did not answer.
    #[error("Kafka does not answer, check `[kafka] brokers`, user and network: {0}")]
    Away(String),
    /// A topic was refused.
    #[error("Kafka does not create topic `{0}`: {1}")]
    Refused(String, RDKafkaErrorCode),
}

fn connect(
    connection: &BTreeMap<String, String>,
) -> Result<AdminClient<DefaultClientContext>, TopicsError> {
    let mut config = ClientConfig::new();
    config.set("client.id", "weir-sink").set("log_level", "0");
    config.extend(connection.clone());
    config.create().map_err(|error| TopicsError::Settings(settings_error(&error)))
}

/// The topics that are not there.
///
/// # Errors
/// When the cluster does not answer.
pub async fn missing(
    connection: &BTreeMap<String, String>,
    names: &TopicNames,
) -> Result<Vec<String>, TopicsError> {
    let admin = connect(connection)?;
    // librdkafka's call waits, so it waits where that holds up nobody.
    let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, WITHIN));
    let cluster = asked.await.map_err(|error| TopicsError::Away(error.to_string()))?;
    let cluster = cluster.map_err(away)?;
    let wanted = Topic::ALL.map(|topic| names.name(topic).to_string());
    let is_there = |name: &String| cluster.topics().iter().any(|topic| topic.name() == name);
    Ok(wanted.into_iter().filter(|name| !is_there(name)).collect())
}

/// Creates the topics that are missing; says what was done and what ought to be looked at.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn create_missing(
    connection: &BTreeMap<String, String>,
    names: &TopicNames,
    new: NewTopics,
) -> Result<Vec<String>, TopicsError> {
    let mut config = ClientConfig::new();
    config.set("client.id", "weir-sink").set("log_level", "0");
    config.extend(connection.clone());
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| TopicsError::Settings(settings_error(&error)))?;
    let options = AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN));
    let wanted = Topic::ALL.map(|topic| new_topic(names, topic, new));
    let created = admin.create_topics(&wanted, &options).await.map_err(away)?;
    let mut done = Vec::new();
    for result in created {
        match result {
            Ok(name) => done.push(format!("created topic `{name}`")),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(TopicsError::Refused(name, code)),
        }
    }
    let compacted = Topic::ALL.into_iter().filter(|topic| topic.compacted());
    let compacted: Vec<_> =
        compacted.map(|topic| ResourceSpecifier::Topic(names.name(topic))).collect();
    let described = admin.describe_configs(&compacted, &options).await.map_err(away)?;
    for resource in described.into_iter().flatten() {
        let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone());
        if !policy.as_deref().unwrap_or_default().contains("compact") {
            let name = match &resource.specifier {
                rdkafka::admin::OwnedResourceSpecifier::Topic(name) => name,
                _ => "?",
            };
            done.push(format!(
                "warning: topic `{name}` is not compacted, its records will vanish with time; \
                 set `cleanup.policy=compact`"
            ));
        }
    }
    Ok(done)
}

fn away(error: KafkaError) -> TopicsError {
    TopicsError::Away(error.to_string())
}

fn new_topic(names: &TopicNames, topic: Topic, new: NewTopics) -> NewTopic<'_> {
    let replication = TopicReplication::Fixed(new.replication);
    let mut made = NewTopic::new(names.name(topic), new.partitions, replication);
    for (key, value) in topic.settings() {
        made = made.set(key, value);
    }
    made
}
