//! The transport over librdkafka: unpacks the spool's batches and sends them record by record.
//!
//! In: groups. Out: acknowledgements. Promises: `acks=all`, idempotent, and gapless: any failure that
//! could let a later record overtake an earlier one is fatal to the producer
//! (`enable.gapless.guarantee`), which is then made anew and the lane sends again from its
//! checkpoint. Costs more than it should (each batch is unpacked and packed again); it is here for
//! what only librdkafka can, for example Kerberos.

mod context;
mod follow;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer, PurgeConfig};
use tokio::sync::mpsc;
use weir_models::wire::{BatchView, MAX_RAW_BYTES};

use context::{Context, Facts};
use follow::follow;

use super::order::in_order;
use super::{
    Begun, Delivered, Delivery, Followed, PublishError, Refused, Transport, TransportStatus,
};
use crate::spool::{Group, Strand};

/// How long a call that asks the cluster may take.
const ASK: Duration = Duration::from_secs(5);
/// How long to wait for room in the producer's queue.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// Records that a follower may have told before they are taken.
const FOLLOWED_MAX: usize = 1_000;

/// librdkafka does not take the settings.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka does not take the settings of `[kafka]`: {0}")]
pub struct KafkaError(String);

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
        Err(PublishError::Failed(first.to_string()))
    }

    /// One record after the other: which of a refused batch is the bad one?
    async fn deliver_singly(&self, records: &[Sending]) -> Result<Vec<Refused>, PublishError> {
        let mut refused = Vec::new();
        for record in records {
            let generation = self.generation();
            let sent = hand_over(&generation, std::slice::from_ref(record)).await;
            let Some(Err(error)) = self.outcomes(&generation, sent).await.pop() else { continue };
            if !is_refusal(&error) {
                return Err(PublishError::Failed(error.to_string()));
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
        let unreadable =
            |error| PublishError::Failed(format!("unreadable batch in the spool: {error}"));
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
    // A topic may have another number of partitions than the spool reckoned with: then frames, which
    // interleave, meet in one partition.
    in_order(&mut out, |record| &record.value);
    Ok(out)
}

#[async_trait]
impl Transport for Librdkafka {
    fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    async fn begin(&self, _: Strand, _: &[u8]) -> Result<Begun, PublishError> {
        Ok(Begun { epoch: self.0.generation().number, state: None })
    }

    async fn publish(
        &self,
        _: Strand,
        epoch: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError> {
        let records = unpack(&group)?;
        let generation = self.0.generation();
        if generation.number != epoch {
            return Err(PublishError::Failed("the producer was replaced".into()));
        }
        let sent = hand_over(&generation, &records).await;
        let shared = self.0.clone();
        Ok(Box::pin(async move {
            let refused = shared.conclude(&generation, &records, sent, &group).await?;
            Ok(Delivered { refused, ..Delivered::default() })
        }))
    }

    async fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), PublishError> {
        let generation = self.0.generation();
        let record = FutureRecord::to(topic).key(key).payload(value);
        match generation.producer.send_result(record) {
            Err((error, _)) => Err(PublishError::Failed(error.to_string())),
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((error, _))) => Err(PublishError::Failed(error.to_string())),
                Err(_) => Err(PublishError::Failed("the producer was replaced".into())),
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
        TransportStatus { problem: self.0.facts.problem() }
    }
}

#[cfg(test)]
mod tests;
