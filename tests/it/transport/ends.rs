//! Both ends of a line over any carrier, as agent and sink have them.
//!
//! In: what carries. Out: the transport of the one end, and what arrives at the other, up to a mark that is
//! sent after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use weir::site::{self, Line};
use weir_agent::publish::{Direct, Librdkafka, Refused, Transport};
use weir_agent::spool::Group;
use weir_models::kafka::KafkaConfig;
use weir_models::topic::{Topic, TopicNames};
use weir_models::wire::partition_for;
use weir_sink::consume::{Committed, ConsumeError, Partition, Polled, Record};
use weir_sink::status::Status;
use weir_tests::{services, temp_dir, unique};

use super::{MARK, PARTITIONS, SOON, STRAND};

/// What carries records, with all that outlives a line over it.
pub(super) enum Carrier {
    Embedded(TempDir),
    Kafka { config: Box<KafkaConfig>, group: String, partitions: u32, by: Client },
}

/// What the agent publishes by.
pub(super) enum Client {
    Direct,
    /// With these settings beside ours.
    Librdkafka(BTreeMap<String, String>),
}

impl Carrier {
    pub(super) fn embedded() -> Self {
        Self::Embedded(temp_dir("broker"))
    }

    pub(super) fn direct() -> Self {
        Self::kafka(Client::Direct, PARTITIONS)
    }

    pub(super) fn librdkafka() -> Self {
        Self::kafka(Client::Librdkafka(BTreeMap::new()), PARTITIONS)
    }

    /// A Kafka whose data topics have so many partitions.
    pub(super) fn kafka(by: Client, partitions: u32) -> Self {
        let prefix = format!("{}.", unique("transport"));
        let config = Box::new(KafkaConfig::plain(&services::kafka().bootstrap, &prefix));
        Self::Kafka { config, group: prefix, partitions, by }
    }

    pub(super) fn names(&self) -> TopicNames {
        match self {
            Self::Embedded(_) => TopicNames::default(),
            Self::Kafka { config, .. } => TopicNames::new(&config.topic_prefix),
        }
    }

    /// Both programs start: nothing is left of an earlier line but what lies in the broker.
    pub(super) async fn open(&self) -> Ends {
        let (line, partitions) = match self {
            Self::Embedded(folder) => {
                (site::embedded(folder.path(), &self.names()).unwrap(), PARTITIONS)
            }
            Self::Kafka { config, group, partitions, by } => {
                let topics = *partitions as i32;
                let mut line = site::kafka(config, group, topics, &Status::new()).await.unwrap();
                line.transport = match by {
                    Client::Direct => Arc::new(Direct::new(config, None).unwrap()),
                    Client::Librdkafka(settings) => {
                        let mut all = config.librdkafka_settings(None);
                        all.extend(settings.clone());
                        Arc::new(Librdkafka::new(all).unwrap())
                    }
                };
                (line, *partitions)
            }
        };
        let names = self.names();
        let (assigned, epochs) = (BTreeMap::new(), Vec::new());
        Ends { line, names, partitions, assigned, state: Vec::new(), epochs }
    }
}

/// Both ends of an open line.
pub(super) struct Ends {
    pub(super) line: Line,
    pub(super) names: TopicNames,
    pub(super) partitions: u32,
    /// What the consumer was told of its partitions.
    pub(super) assigned: BTreeMap<Partition, Option<Committed>>,
    /// What the transport wants to be kept beside the checkpoint.
    pub(super) state: Vec<u8>,
    /// The epochs that have begun.
    pub(super) epochs: Vec<u64>,
}

impl Ends {
    /// Publishes groups as a lane does: several under way at once, in one epoch until something
    /// fails, then from the first that is not done. Answers what was refused of each.
    pub(super) async fn publish(&mut self, groups: &[Group]) -> Vec<Vec<Refused>> {
        let transport: &dyn Transport = &*self.line.transport;
        let mut refused = Vec::new();
        let deadline = Instant::now() + SOON;
        while refused.len() < groups.len() {
            assert!(Instant::now() < deadline, "group {} does not end", refused.len());
            // A broker that has just started gives no producer id yet.
            let Ok(begun) = transport.begin(STRAND, &self.state).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            self.epochs.push(begun.epoch);
            if let Some(state) = begun.state {
                self.state = state.to_vec();
            }
            let mut under_way = Vec::new();
            for group in &groups[refused.len()..] {
                let group = Arc::new(group.clone());
                match transport.publish(STRAND, begun.epoch, group).await {
                    Ok(delivery) => under_way.push(delivery),
                    Err(_) => break,
                }
            }
            for delivery in under_way {
                let Ok(delivered) = timeout(SOON, delivery).await.expect("an end of the group")
                else {
                    break;
                };
                self.state = delivered.state.to_vec();
                refused.push(delivered.refused);
            }
        }
        refused
    }

    /// What the topic holds and was not read yet, by partition: everything up to a mark in each
    /// partition that is sent now.
    pub(super) async fn arrived(&mut self, topic: Topic) -> BTreeMap<i32, Vec<Record>> {
        let mark = format!("{MARK}{}", unique("mark"));
        let name = self.names.name(topic);
        for partition in 0..self.partitions {
            let key = key_of(partition, self.partitions);
            self.line.transport.send(name, key.as_bytes(), mark.as_bytes()).await.unwrap();
        }
        let mut open: BTreeSet<i32> = (0..self.partitions as i32).collect();
        let mut arrived: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        let deadline = Instant::now() + SOON;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "no mark in {open:?}, only {arrived:?}");
            let polled = self.line.consumer.poll(1_000, Duration::from_secs(1)).await.unwrap();
            for polled in polled {
                match polled {
                    Polled::Assigned(partition, committed) => {
                        self.assigned.insert(partition, committed);
                    }
                    Polled::Revoked(..) => panic!("a partition was revoked"),
                    Polled::Records(records) => {
                        for record in records.into_iter().filter(|r| r.partition.topic == topic) {
                            let number = record.partition.number;
                            assert!(open.contains(&number), "after the mark: {record:?}");
                            if record.value.as_deref() == Some(mark.as_bytes()) {
                                open.remove(&number);
                            } else if !record.value.as_deref().is_some_and(is_mark) {
                                arrived.entry(number).or_default().push(record);
                            }
                        }
                    }
                }
            }
        }
        arrived
    }

    /// Commits, again where that may help, as the pipeline does.
    pub(super) async fn commit(&mut self, commit: &(Partition, Committed)) {
        let deadline = Instant::now() + SOON;
        loop {
            match self.line.consumer.commit(std::slice::from_ref(commit)).await {
                Ok(()) => return,
                Err(ConsumeError::Retry(_)) if Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(super) fn is_mark(value: &[u8]) -> bool {
    value.starts_with(MARK.as_bytes())
}

/// Some key that belongs to this partition of so many.
pub(super) fn key_of(partition: u32, partitions: u32) -> String {
    let keys = (0..).map(|n| format!("mark/{n}"));
    keys.into_iter().find(|key| partition_for(key.as_bytes(), partitions) == partition).unwrap()
}
