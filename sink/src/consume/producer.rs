//! Producer: single records to Kafka: dead letters, device metadata.
//!
//! In: a record. Out: a confirmation by all in-sync replicas. Idempotent: what librdkafka sends again by
//! itself is there once. What can go wrong: the broker is away (passing), the record is refused
//! (for good).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use weir_models::topic::{Topic, TopicNames};

use super::kafka::settings_error;
use super::{ConsumeError, ProduceError, Producer, RETRIED, faults};

const QUEUE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        faults::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Each record has its own answer; what the connection says is for whoever looks closer.
        tracing::debug!(%error, reason, "Kafka producer");
    }
}

/// Writes records with librdkafka.
pub struct KafkaProducer {
    config: ClientConfig,
    names: TopicNames,
    producer: Mutex<FutureProducer<Context>>,
}

impl KafkaProducer {
    /// Prepares the connection; does not wait for a broker.
    ///
    /// # Errors
    /// When a setting is not one of librdkafka's or a file it names cannot be read.
    pub fn start(
        connection: &BTreeMap<String, String>,
        names: &TopicNames,
    ) -> Result<Self, ConsumeError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "weir-sink").set("linger.ms", "5");
        config.set("message.timeout.ms", "30000");
        config.extend(connection.clone());
        config.set("enable.idempotence", "true").set("acks", "all");
        // The partitioner of the Java client, so that all writers agree.
        config.set("partitioner", "murmur2_random");
        let producer = connect(&config).map_err(|e| ConsumeError::Fatal(settings_error(&e)))?;
        Ok(Self { config, names: names.clone(), producer: Mutex::new(producer) })
    }

    /// The producer; a new one when it has given up, which an idempotent producer does for good when
    /// it can no longer promise the order.
    fn producer(&self) -> KafkaResult<FutureProducer<Context>> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::warn!(%code, reason, "the Kafka producer starts afresh");
            *producer = connect(&self.config)?;
        }
        Ok(producer.clone())
    }
}

/// A record for a partition that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// Kafka's time stamp, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Whether a sink has to take it as a dead letter that is sent again.
    pub is_letter: bool,
}

impl KafkaProducer {
    /// Sends records to one partition of any topic, in their order, and returns when all in-sync replicas
    /// have all of them.
    ///
    /// # Errors
    /// When one is not there; the same call may be made again, what arrived is then there twice.
    pub async fn send_all(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Outgoing>,
    ) -> Result<(), ProduceError> {
        let producer = self.producer().map_err(|e| ProduceError::Retry(e.to_string()))?;
        let mut on_their_way = std::collections::VecDeque::new();
        for record in &records {
            let mut outgoing: FutureRecord<'_, str, [u8]> = FutureRecord::to(topic)
                .partition(partition)
                .key(&*record.key)
                .payload(&*record.value);
            outgoing.timestamp = Some(record.ts_ms);
            if record.is_letter {
                let header = Header { key: RETRIED, value: Some("1") };
                outgoing.headers = Some(OwnedHeaders::new().insert(header));
            }
            while let Err((error, again)) =
                producer.send_result(outgoing).map(|sent| on_their_way.push_back(sent))
            {
                let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                match on_their_way.pop_front().filter(|_| full) {
                    Some(sent) => arrived(sent).await?,
                    None => return Err(classify(&error)),
                }
                outgoing = again;
            }
        }
        for sent in on_their_way {
            arrived(sent).await?;
        }
        Ok(())
    }
}

async fn arrived(sent: DeliveryFuture) -> Result<(), ProduceError> {
    match sent.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(classify(&error)),
        Err(_) => Err(ProduceError::Retry("the client ended".into())),
    }
}

fn connect(config: &ClientConfig) -> KafkaResult<FutureProducer<Context>> {
    config.create_with_context(Context)
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn send(
        &self,
        topic: Topic,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), ProduceError> {
        let producer = self.producer().map_err(|e| ProduceError::Retry(e.to_string()))?;
        let mut owned = OwnedHeaders::new_with_capacity(headers.len());
        for &(key, value) in headers {
            owned = owned.insert(Header { key, value: Some(value) });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(self.names.name(topic)).key(key).headers(owned);
        record.payload = value;
        match producer.send(record, QUEUE_WITHIN).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(classify(&error)),
        }
    }
}

fn classify(error: &KafkaError) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation,
        ) => ProduceError::Refused(error.to_string()),
        // A person can grant it, and what waits goes on then.
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => ProduceError::Retry(format!(
            "the Kafka user may not write this topic, grant it WRITE (ACL, `docs/sink.md` lists the topics): {error}"
        )),
        _ => ProduceError::Retry(error.to_string()),
    }
}
