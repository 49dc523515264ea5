//! Kafka through librdkafka: a client that is not the one under test.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::runtime::wait;

const TIMEOUT: Duration = Duration::from_secs(30);
/// For one of the brokers to answer while others are away.
const ANSWER: Duration = Duration::from_secs(10);

/// A cluster.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port`, several with commas between.
    pub bootstrap: String,
}

/// Where a partition is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The broker that leads it; -1 if none.
    pub leader: i32,
    /// The brokers whose copies are complete.
    pub in_sync: Vec<i32>,
}

/// A message as it lies in Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The time stamp, milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload; none in a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// The payload as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let payload = self.payload.as_deref().unwrap_or_default();
        let place = (&self.topic, self.partition, self.offset);
        serde_json::from_slice(payload).unwrap_or_else(|e| panic!("no JSON at {place:?}: {e}"))
    }

    /// The key as text, empty without one.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }
}

/// First offset and the one behind the last; waits for the leader of a new partition.
#[track_caller]
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, TIMEOUT) {
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NotLeaderForPartition)
                    && begun.elapsed() < TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            answer => return answer.unwrap(),
        }
    }
}

impl Kafka {
    /// The cluster at `bootstrap`.
    pub fn at(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_string() }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Makes a topic, with as many copies as the cluster makes by default.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let results = wait(admin.create_topics([&topic], &options)).unwrap();
        for result in results {
            result.unwrap_or_else(|(name, e)| panic!("{name} could not be made: {e}"));
        }
    }

    /// Sends messages `(key, payload)` to a topic, partitioned as every weir program does, and
    /// waits until Kafka has them.
    #[track_caller]
    pub fn send<K: AsRef<[u8]>, P: AsRef<[u8]>>(&self, topic: &str, messages: &[(K, P)]) {
        let some = messages.iter().map(|(key, payload)| (key.as_ref(), Some(payload.as_ref())));
        self.produce(topic, &some.collect::<Vec<_>>());
    }

    /// As [`Kafka::send`], with this stamp, milliseconds since the Unix epoch.
    #[track_caller]
    pub fn send_at<K: AsRef<[u8]>, P: AsRef<[u8]>>(
        &self,
        topic: &str,
        messages: &[(K, P)],
        timestamp_ms: i64,
    ) {
        let some = messages.iter().map(|(key, payload)| (key.as_ref(), Some(payload.as_ref())));
        self.produce_at(topic, &some.collect::<Vec<_>>(), Some(timestamp_ms));
    }

    /// As [`Kafka::send`], with messages that may have no payload.
    #[track_caller]
    pub fn produce(&self, topic: &str, messages: &[(&[u8], Option<&[u8]>)]) {
        self.produce_at(topic, messages, None);
    }

    #[track_caller]
    fn produce_at(
        &self,
        topic: &str,
        messages: &[(&[u8], Option<&[u8]>)],
        timestamp_ms: Option<i64>,
    ) {
        let mut config = self.config();
        config.set("partitioner", "murmur2_random").set("acks", "all");
        config.set("enable.idempotence", "true");
        config.set("message.timeout.ms", TIMEOUT.as_millis().to_string());
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        let before = self.count(topic);
        for (key, payload) in messages {
            let mut record = BaseRecord::to(topic).key(*key);
            record.payload = *payload;
            record.timestamp = timestamp_ms;
            producer.send(record).unwrap_or_else(|(e, _)| panic!("sending to {topic}: {e}"));
        }
        producer.flush(TIMEOUT).unwrap();
        // A flush also ends when messages were given up.
        let arrived = self.count(topic) - before;
        assert!(arrived >= messages.len() as i64, "{arrived} of {} arrived", messages.len());
    }

    /// The topics whose name begins with `prefix`, with their partitions.
    #[track_caller]
    pub fn topics(&self, prefix: &str) -> Vec<(String, Vec<i32>)> {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let metadata = consumer.fetch_metadata(None, TIMEOUT).unwrap();
        let topics = metadata.topics().iter().filter(|t| t.name().starts_with(prefix));
        let mut topics: Vec<_> = topics
            .map(|t| (t.name().to_string(), t.partitions().iter().map(|p| p.id()).collect()))
            .collect();
        topics.sort();
        topics
    }

    /// Where the partitions of the topics are whose name begins with `prefix`.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn placed(&self, prefix: &str) -> Result<Vec<Placed>, KafkaError> {
        let consumer: BaseConsumer = self.config().create()?;
        let metadata = consumer.fetch_metadata(None, ANSWER)?;
        let topics = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix));
        let placed = topics.flat_map(|topic| {
            topic.partitions().iter().map(|partition| Placed {
                topic: topic.name().to_string(),
                partition: partition.id(),
                leader: partition.leader(),
                in_sync: partition.isr().to_vec(),
            })
        });
        Ok(placed.collect())
    }

    /// How many offsets a topic holds now; 0 when it is not there.
    #[track_caller]
    pub fn count(&self, topic: &str) -> i64 {
        let topics = self.topics(topic);
        let Some((_, partitions)) = topics.iter().find(|(name, _)| name == topic) else {
            return 0;
        };
        let consumer: BaseConsumer = self.config().create().unwrap();
        let span = |p: &i32| {
            let (low, high) = watermarks(&consumer, topic, *p);
            high - low
        };
        partitions.iter().map(span).sum()
    }

    /// How many offsets of these topics a consumer group has not committed yet.
    #[track_caller]
    pub fn uncommitted(&self, group: &str, topics: &[String]) -> i64 {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        let known = self.topics("");
        for (topic, partitions) in known.iter().filter(|(topic, _)| topics.contains(topic)) {
            for partition in partitions {
                list.add_partition(topic, *partition);
            }
        }
        let committed = consumer.committed_offsets(list, TIMEOUT).unwrap();
        let elements = committed.elements();
        let left = elements.iter().map(|element| {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = watermarks(&consumer, topic, partition);
            high - element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(low)
        });
        left.sum()
    }

    /// Everything that the topics with this prefix hold now, in the order of topic, partition and
    /// offset. It belongs to no consumer group.
    #[track_caller]
    pub fn read(&self, prefix: &str) -> Vec<Message> {
        let topics = self.topics(prefix);
        let mut messages: Vec<Message> =
            topics.iter().flat_map(|(topic, partitions)| self.drain(topic, partitions)).collect();
        messages.sort_by(|a, b| {
            (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset))
        });
        messages
    }

    /// Shows each payload that a topic holds now, in the order of offsets within a partition: for more
    /// messages than fit into memory.
    #[track_caller]
    pub fn for_each_payload(&self, topic: &str, mut show: impl FnMut(&[u8])) {
        for (_, partitions) in self.topics(topic).iter().filter(|(name, _)| name == topic) {
            self.each(topic, partitions, |message| {
                message.payload().into_iter().for_each(&mut show)
            });
        }
    }

    /// Reads one topic to the end of each partition.
    #[track_caller]
    fn drain(&self, topic: &str, partitions: &[i32]) -> Vec<Message> {
        let mut messages = Vec::new();
        self.each(topic, partitions, |message| messages.push(copied(message)));
        messages
    }

    #[track_caller]
    fn each(&self, topic: &str, partitions: &[i32], mut take: impl FnMut(&BorrowedMessage<'_>)) {
        let mut config = self.config();
        config.set("group.id", "unused").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut open: Vec<i32> = partitions.to_vec();
        let mut last = Instant::now();
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    take(&message);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.retain(|p| *p != partition);
                }
                // librdkafka goes on by itself after an error; whether it does shows in time.
                Some(Err(_)) | None => {
                    assert!(last.elapsed() < TIMEOUT, "{topic}: no end of partitions {open:?}");
                }
            }
        }
    }
}

fn copied(message: &BorrowedMessage<'_>) -> Message {
    let headers = message.headers().map(|headers| {
        let one = |h: rdkafka::message::Header<'_, &[u8]>| {
            (h.key.to_string(), h.value.unwrap_or_default().to_vec())
        };
        headers.iter().map(one).collect()
    });
    Message {
        topic: message.topic().to_string(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
