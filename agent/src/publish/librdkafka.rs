//! The transport over librdkafka: unpacks the spool's batches and sends them record by record.
//!
//! In: groups. Out: acknowledgements. Promises: `acks=all`, idempotent, and gapless: any failure that
//! could let a later record overtake an earlier one is fatal to the producer
//! (`enable.gapless.guarantee`), which is then made anew and the lane sends again from its
//! checkpoint. Costs more than it should (each batch is unpacked and packed again); it is here for
//! what only librdkafka can, for example Kerberos.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use weir_models::wire::{BatchView, MAX_RAW_BYTES};

use super::{Delivery, Followed, PublishError, Refused, Transport, TransportStatus};
use crate::spool::Group;

/// How long a call that asks the cluster may take.
const ASK: Duration = Duration::from_secs(5);
/// How long to wait for room in the producer's queue.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// How often a follower that has nothing to tell asks whether it is still in step.
const FOLLOW_WAIT: Duration = Duration::from_secs(2);
/// Records that a follower may have told before they are taken.
const FOLLOWED_MAX: usize = 1_000;

/// librdkafka does not take the settings.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka does not take the settings of `[kafka]`: {0}")]
pub struct KafkaError(String);

/// What the callbacks of librdkafka told last. It tells of a wrong password, an untrusted certificate
/// or an unreachable broker nowhere else.
#[derive(Debug, Default)]
struct Facts {
    problem: Mutex<Option<String>>,
}

impl Facts {
    fn tell(&self, problem: Option<String>) {
        let mut now = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != problem {
            match &problem {
                Some(problem) => tracing::error!(problem, "Kafka does not take our records"),
                None => tracing::info!("Kafka takes our records again"),
            }
            *now = problem;
        }
    }

    /// Whether it is known what to change; that brokers are down then only follows from it.
    fn knows_cause(&self) -> bool {
        let now = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().is_some_and(|problem| problem.contains("check `kafka."))
    }
}

#[derive(Clone)]
struct Context(Arc<Facts>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: RdError, reason: &str) {
        let advice = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                "check `kafka.sasl`: user, password, mechanism"
            }
            Some(RDKafkaErrorCode::SSL) => {
                "check `kafka.tls`: the authority in `ca_file`, the names in the broker's certificate"
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => "the user may not write here: grant it, see docs/agent.md",
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)
                if self.0.knows_cause() =>
            {
                return;
            }
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve,
            ) => "is the broker up, and are `kafka.brokers` and the network right?",
            // The follower's sign that it is in step.
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            // Passing noise of a healthy client.
            _ => return tracing::warn!(%error, reason, "librdkafka"),
        };
        self.0.tell(Some(format!("{reason}; {advice}")));
    }
}

impl ConsumerContext for Context {}

type Inner = FutureProducer<Context>;

struct Generation {
    number: u64,
    producer: Inner,
}

/// Publishes by librdkafka.
#[derive(Clone)]
pub struct Librdkafka(Arc<Shared>);

struct Shared {
    settings: BTreeMap<String, String>,
    facts: Arc<Facts>,
    current: Mutex<Arc<Generation>>,
    partitions: Arc<Mutex<HashMap<String, u32>>>,
}

struct Sending {
    topic: Arc<str>,
    ts_ms: i64,
    key: Bytes,
    value: Bytes,
}

impl Librdkafka {
    /// `connection` are the settings of [`weir_models::kafka::KafkaConfig::librdkafka_settings`].
    ///
    /// # Errors
    /// When librdkafka does not know a setting or was built without what it asks for.
    pub fn new(connection: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        let ours = [
            ("client.id", "weir-agent"),
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("acks", "all"),
            ("compression.codec", "zstd"),
            ("linger.ms", "5"),
            // The spool is the place to wait in, for as long as it takes.
            ("message.timeout.ms", "0"),
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.kbytes", "16384"),
            ("reconnect.backoff.max.ms", "2000"),
        ];
        let mut settings: BTreeMap<String, String> =
            ours.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        settings.extend(connection);
        let facts = Arc::new(Facts::default());
        let producer = make(&settings, &facts).map_err(|error| KafkaError(error.to_string()))?;
        let current = Mutex::new(Arc::new(Generation { number: 1, producer }));
        Ok(Self(Arc::new(Shared { settings, facts, current, partitions: Arc::default() })))
    }
}

impl Shared {
    fn generation(&self) -> Arc<Generation> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the producer that failed, unless another lane has done so already.
    fn renew(&self, failed: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.number != failed {
            return;
        }
        match make(&self.settings, &self.facts) {
            Ok(producer) => {
                let new = Arc::new(Generation { number: failed + 1, producer });
                let old = std::mem::replace(&mut *current, new);
                // What the old one still holds ends now: after a fatal error some of it might
                // never be told of, and a lane would wait for it for ever.
                old.producer.purge(PurgeConfig::default().queue().inflight());
            }
            Err(error) => tracing::error!(%error, "cannot make a new producer"),
        }
    }

    /// What the broker said of each record, once it has. The first failure ends the generation, and
    /// with it the wait for the others.
    async fn outcomes(&self, generation: &Generation, sent: Vec<Sent>) -> Vec<Result<(), RdError>> {
        let one = |sent: Sent| async move {
            let result = match sent {
                Err(error) => Err(error),
                Ok(delivery) => match delivery.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err((error, _))) => Err(error),
                    Err(_) => Err(RdError::Canceled),
                },
            };
            if result.is_err() {
                self.renew(generation.number);
            }
            result
        };
        join_all(sent.into_iter().map(one)).await
    }

    /// Waits for the end of a group, and finds the bad records of one that was refused.
    async fn conclude(
        &self,
        generation: &Arc<Generation>,
        records: &[Sending],
        sent: Vec<Sent>,
        group: &Group,
    ) -> Result<Vec<Refused>, PublishError> {
        let results = self.outcomes(generation, sent).await;
        let failures = || results.iter().filter_map(|result| result.as_ref().err());
        let Some(first) = failures().next() else {
            self.facts.tell(None);
            for frame in &group.frames {
                self.learn_partitions(generation.clone(), &frame.topic);
            }
            return Ok(Vec::new());
        };
        if failures().any(is_refusal) {
            return self.deliver_singly(records).await;
        }
        Err(PublishError(first.to_string()))
    }

    /// One record after the other: which of a refused batch is the bad one?
    async fn deliver_singly(&self, records: &[Sending]) -> Result<Vec<Refused>, PublishError> {
        let mut refused = Vec::new();
        for record in records {
            let generation = self.generation();
            let sent = hand_over(&generation, std::slice::from_ref(record)).await;
            let Some(Err(error)) = self.outcomes(&generation, sent).await.pop() else { continue };
            if !is_refusal(&error) {
                return Err(PublishError(error.to_string()));
            }
            refused.push(Refused {
                topic: record.topic.clone(),
                key: record.key.clone(),
                value: record.value.clone(),
                id: None,
                reason: error.to_string(),
            });
        }
        Ok(refused)
    }

    /// Asks once for the partition count of a topic that works, off the async threads.
    fn learn_partitions(&self, generation: Arc<Generation>, topic: &Arc<str>) {
        let known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&**topic) {
            return;
        }
        drop(known);
        let (topic, partitions) = (topic.clone(), self.partitions.clone());
        tokio::task::spawn_blocking(move || {
            let Ok(metadata) = generation.producer.client().fetch_metadata(Some(&topic), ASK)
            else {
                return;
            };
            let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            if let Ok(count @ 1..) = u32::try_from(count) {
                let mut known = partitions.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(topic.to_string(), count);
            }
        });
    }
}

/// A record on its way, or why it is not.
type Sent = Result<DeliveryFuture, RdError>;

/// Gives records to the producer, in order; waits while its queue is full.
async fn hand_over(generation: &Generation, records: &[Sending]) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(records.len());
    for record in records {
        let mut message = FutureRecord::to(&record.topic)
            .key(record.key.as_ref())
            .payload(record.value.as_ref())
            .timestamp(record.ts_ms);
        sent.push(loop {
            match generation.producer.send_result(message) {
                Ok(delivery) => break Ok(delivery),
                Err((RdError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    tokio::time::sleep(QUEUE_FULL).await;
                }
                Err((error, _)) => break Err(error),
            }
        });
    }
    sent
}

fn make(settings: &BTreeMap<String, String>, facts: &Arc<Facts>) -> Result<Inner, RdError> {
    let mut config = ClientConfig::new();
    for (key, value) in settings {
        config.set(key, value);
    }
    Inner::from_config_and_context(&config, Context(facts.clone()))
}

/// Errors that the same record will meet again, whatever we do.
fn is_refusal(error: &RdError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation
        )
    )
}

fn unpack(group: &Group) -> Result<Vec<Sending>, PublishError> {
    let mut out = Vec::new();
    for frame in &group.frames {
        let unreadable = |error| PublishError(format!("unreadable batch in the spool: {error}"));
        let (batch, _) = BatchView::parse(&frame.batch).map_err(unreadable)?;
        let records = batch.records(MAX_RAW_BYTES).map_err(unreadable)?;
        for record in records.iter() {
            let record = record.map_err(unreadable)?;
            out.push(Sending {
                topic: frame.topic.clone(),
                ts_ms: record.ts_ms,
                key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
                value: Bytes::copy_from_slice(record.value.unwrap_or_default()),
            });
        }
    }
    // A topic may have another number of partitions than the spool reckoned with: then frames meet
    // in one partition, where numbers that do not rise are taken for duplicates.
    if group.frames.len() > 1 {
        out.sort_by_cached_key(|record| seq(&record.value));
    }
    Ok(out)
}

/// The number of a record in its stream; alerts have it in `data`.
fn seq(value: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: Option<u64>,
        data: Option<Data>,
    }
    #[derive(serde::Deserialize)]
    struct Data {
        seq: Option<u64>,
    }
    let record: Numbered = serde_json::from_slice(value).ok()?;
    record.seq.or(record.data.and_then(|data| data.seq))
}

#[async_trait]
impl Transport for Librdkafka {
    fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    fn epoch(&self) -> u64 {
        self.0.generation().number
    }

    async fn publish(&self, epoch: u64, group: Arc<Group>) -> Result<Delivery, PublishError> {
        let records = unpack(&group)?;
        let generation = self.0.generation();
        if generation.number != epoch {
            return Err(PublishError("the producer was replaced".into()));
        }
        let sent = hand_over(&generation, &records).await;
        let shared = self.0.clone();
        Ok(Box::pin(async move { shared.conclude(&generation, &records, sent, &group).await }))
    }

    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError> {
        let generation = self.0.generation();
        let record = FutureRecord::to(topic).key(key).payload(value);
        match generation.producer.send_result(record) {
            Err((error, _)) => Err(PublishError(error.to_string())),
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((error, _))) => Err(PublishError(error.to_string())),
                Err(_) => Err(PublishError("the producer was replaced".into())),
            },
        }
    }

    fn follow(&self, topic: &str) -> mpsc::Receiver<Followed> {
        let (told, receiver) = mpsc::channel(FOLLOWED_MAX);
        let mut config = ClientConfig::new();
        for (key, value) in &self.0.settings {
            let of_producer =
                ["enable.idempotence", "enable.gapless.guarantee", "acks", "linger.ms"];
            let other = ["message.timeout.ms", "partitioner", "queue.buffering.max.kbytes"];
            if !of_producer.contains(&key.as_str())
                && !other.contains(&key.as_str())
                && key != "compression.codec"
            {
                config.set(key, value);
            }
        }
        // librdkafka wants the name of a group even where none is used.
        config
            .set("group.id", "weir-agent-follower")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "1024");
        let (context, topic) = (Context(self.0.facts.clone()), topic.to_owned());
        std::thread::spawn(move || {
            match BaseConsumer::<Context>::from_config_and_context(&config, context) {
                Ok(consumer) => follow(&consumer, &topic, &told),
                Err(error) => tracing::error!(%error, topic, "cannot follow the topic"),
            }
        });
        receiver
    }

    fn status(&self) -> TransportStatus {
        let problem = self.0.facts.problem.lock().unwrap_or_else(PoisonError::into_inner);
        TransportStatus { problem: problem.clone() }
    }
}

/// Reads a compacted topic from its beginning for as long as somebody listens.
fn follow(consumer: &BaseConsumer<Context>, topic: &str, told: &mpsc::Sender<Followed>) {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_not_hidden_by_what_follows_from_it() {
        let facts = Arc::new(Facts::default());
        let context = Context(facts.clone());
        let told = || facts.problem.lock().unwrap().clone().unwrap_or_default();
        let down = || RdError::Global(RDKafkaErrorCode::AllBrokersDown);
        context.error(down(), "1/1 brokers are down");
        assert!(told().contains("is the broker up"), "{}", told());
        context.error(RdError::Global(RDKafkaErrorCode::Authentication), "refused");
        context.error(down(), "1/1 brokers are down");
        assert!(told().contains("check `kafka.sasl`"), "{}", told());
        facts.tell(None);
        context.error(down(), "1/1 brokers are down");
        assert!(told().contains("is the broker up"), "{}", told());
    }
}
