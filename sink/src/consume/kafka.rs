//! Kafka: the consumer over librdkafka.
//!
//! In: the group's records. Out: [`Consumer`]. A thread of its own polls librdkafka all the time, so
//! the group is never left because the pipeline is slow: when the hand-over stays full, the partitions
//! are paused and the thread goes on polling. Rebalances are cooperative. Promises and what can go
//! wrong: as the trait says; a wrong password, an untrusted certificate, a missing topic, brokers
//! that do not answer show in the status until they are gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_models::topic::{Topic, TopicNames};

use super::context::{Context, Shared};
use super::handover::Bounds;
use super::{
    BY, Committed, ConsumeError, Consumer, Partition, Polled, RETRIED, Record, author, faults,
    rights,
};
use crate::status::{Part, Status};

/// What the sink reads.
pub const TOPICS: [Topic; 6] =
    [Topic::Readings, Topic::Logs, Topic::Alerts, Topic::Metadata, Topic::Agents, Topic::Feedback];

/// What a consumer reads, and how much of it may wait.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    topics: &'static [Topic],
    /// The part of the sink that its problems are of.
    part: Part,
    client_id: &'static str,
    /// What librdkafka itself keeps, over all partitions.
    queued_kbytes: &'static str,
    bounds: Bounds,
}

impl Reading {
    /// Everything that the sink stores.
    pub const ALL: Self = Self {
        topics: &TOPICS,
        part: Part::Kafka,
        client_id: "weir-sink",
        queued_kbytes: "8192",
        bounds: Bounds { records: 20_000, bytes: 8 * 1024 * 1024 },
    };
    /// Alerts for a hook: few, and nobody minds when a hook is slow.
    pub const HOOK: Self = Self {
        topics: &[Topic::Alerts],
        part: Part::HooksKafka,
        client_id: "weir-sink-hook",
        queued_kbytes: "2048",
        bounds: Bounds { records: 1_000, bytes: 2 * 1024 * 1024 },
    };
}

/// Our defaults; the user's `[kafka.librdkafka]` wins over them.
const DEFAULTS: [(&str, &str); 5] = [
    ("fetch.message.max.bytes", "1048576"),
    // With its queue full librdkafka does not fetch for so long; by its own default a second.
    ("fetch.queue.backoff.ms", "20"),
    ("max.poll.interval.ms", "300000"),
    // After a crash the partitions move on within 10 s, not within librdkafka's 45.
    ("session.timeout.ms", "10000"),
    // Several wakes a second while brokers are away are enough.
    ("reconnect.backoff.max.ms", "5000"),
];

/// What the sink's promises rest on; nothing wins over these.
pub(crate) const FIXED: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.partition.eof", "false"),
];

const POLL: Duration = Duration::from_millis(50);
/// So long the thread waits for the pipeline before it pauses the partitions: librdkafka drops what it has
/// fetched of a paused partition and fetches it again, which costs more than a rebalance that comes a second
/// later (the group's heartbeats are sent by another thread).
const PATIENCE: Duration = Duration::from_secs(1);
/// The pipeline is woken after so many records at the latest.
const WAKE_EVERY: usize = 1_000;
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries whether topics may be read after all.
const TRY_EVERY: Duration = Duration::from_secs(10);
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// A member of the consumer group.
pub struct KafkaConsumer {
    shared: Arc<Shared>,
    consumer: Option<Arc<BaseConsumer<Context>>>,
    ended: mpsc::Receiver<()>,
    /// A commit of which no answer is known yet.
    committing: Option<JoinHandle<Result<(), ConsumeError>>>,
}

impl KafkaConsumer {
    /// Joins `group` for `reading`. Does not wait for a broker: one that is away is a problem in `status`.
    ///
    /// # Errors
    /// When a setting is not one of librdkafka's or a file it names cannot be read.
    pub fn start(
        connection: &BTreeMap<String, String>,
        group: &str,
        names: &TopicNames,
        status: Arc<Status>,
        reading: Reading,
    ) -> Result<Self, ConsumeError> {
        let mut config = ClientConfig::new();
        config.set("client.id", reading.client_id);
        config.set("queued.max.messages.kbytes", reading.queued_kbytes);
        for (key, value) in DEFAULTS {
            config.set(key, value);
        }
        config.extend(connection.clone());
        for (key, value) in FIXED {
            config.set(key, value);
        }
        config.set("group.id", group);
        config.set_log_level(faults::log_level(connection));
        let shared =
            Arc::new(Shared::new(names.clone(), Arc::clone(&status), reading.part, reading.bounds));
        let context = Context(Arc::clone(&shared));
        let consumer: BaseConsumer<Context> = config
            .create_with_context(context)
            .map_err(|error| ConsumeError::Fatal(settings_error(&error)))?;
        status.problem(reading.part, "no broker has answered yet");
        let topics: Vec<&str> = reading.topics.iter().map(|topic| &**names.name(*topic)).collect();
        consumer.subscribe(&topics).map_err(|error| ConsumeError::Fatal(error.to_string()))?;
        let consumer = Arc::new(consumer);
        let (end, ended) = mpsc::sync_channel(1);
        let poller = Poller {
            consumer: Arc::clone(&consumer),
            shared: Arc::clone(&shared),
            topics: reading.topics,
            connection: connection.clone(),
            group: group.to_owned(),
            paused: false,
            probed: None,
            group_denied: false,
            topics_denied: None,
        };
        std::thread::Builder::new()
            .name("kafka-poll".into())
            .spawn(move || {
                poller.run();
                // The receiver may have stopped waiting.
                let _ = end.send(());
            })
            .map_err(|error| ConsumeError::Fatal(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, consumer: Some(consumer), ended, committing: None })
    }
}

/// How often a record was sent again after it had been a dead letter.
pub(super) fn retried(message: &BorrowedMessage<'_>) -> u32 {
    let Some(headers) = message.headers() else {
        return 0;
    };
    let count = headers.iter().find(|header| header.key == RETRIED).and_then(|header| header.value);
    count.and_then(|count| std::str::from_utf8(count).ok()?.parse().ok()).unwrap_or(0)
}

/// Who changed the device that this record is about.
fn by(message: &BorrowedMessage<'_>) -> Option<Box<str>> {
    let headers = message.headers()?;
    author(headers.iter().find(|header| header.key == BY)?.value)
}

/// What is wrong with the settings.
pub(super) fn settings_error(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, key, value) if !key.contains("password") => {
            format!("check `{key} = {value}` in `[kafka]`: {why}")
        }
        other => format!("check `[kafka]`: {other}"),
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Polled>, ConsumeError> {
        self.shared.handover.take(max, wait).await
    }

    async fn commit(&mut self, offsets: &[(Partition, Committed)]) -> Result<(), ConsumeError> {
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let unanswered = |_| ConsumeError::Retry("no answer to the commit".into());
        // One at a time: an older one that comes late would set the offsets back.
        if let Some(late) = &mut self.committing {
            let _ = timeout(COMMIT_WITHIN, late).await.map_err(unanswered)?;
            self.committing = None;
        }
        // The broker takes a commit from any member for any partition, so this is ours to check.
        if !self.shared.handover.owns(offsets.iter().map(|(p, _)| *p)) {
            return Err(ConsumeError::Lost("it was revoked".into()));
        }
        let named = offsets.iter().map(|(partition, committed)| {
            let topic = Arc::clone(self.shared.names.name(partition.topic));
            (topic, partition.number, committed.clone())
        });
        let (named, consumer) = (named.collect(), Arc::clone(consumer));
        let commit = tokio::task::spawn_blocking(move || commit_now(&consumer, named));
        let answer = timeout(COMMIT_WITHIN, self.committing.insert(commit)).await;
        let result = answer.map_err(unanswered)?;
        self.committing = None;
        result.unwrap_or_else(|error| Err(ConsumeError::Retry(error.to_string())))
    }
}

/// Commits and reads back what is committed: librdkafka hides the error of one partition among
/// several from the synchronous call, and tells nothing at all of an asynchronous one when events
/// are polled.
fn commit_now(
    consumer: &BaseConsumer<Context>,
    offsets: Vec<(Arc<str>, i32, Committed)>,
) -> Result<(), ConsumeError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    let mut asked = TopicPartitionList::with_capacity(offsets.len());
    for (topic, number, committed) in &offsets {
        let mut element = list.add_partition(topic, *number);
        element.set_offset(Offset::Offset(committed.offset)).map_err(|e| commit_error(&e))?;
        if !committed.note.is_empty() {
            element.set_metadata(&committed.note);
        }
        asked.add_partition(topic, *number);
    }
    consumer.commit(&list, CommitMode::Sync).map_err(|e| commit_error(&e))?;
    let found = consumer.committed_offsets(asked, COMMIT_WITHIN).map_err(|e| commit_error(&e))?;
    for (topic, number, committed) in &offsets {
        let element = found.find_partition(topic, *number);
        if element.is_none_or(|element| element.offset() != Offset::Offset(committed.offset)) {
            let why =
                format!("the broker did not take offset {} of {topic} {number}", committed.offset);
            return Err(ConsumeError::Retry(why));
        }
    }
    Ok(())
}

fn commit_error(error: &KafkaError) -> ConsumeError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId,
        ) => ConsumeError::Lost(error.to_string()),
        _ => ConsumeError::Retry(error.to_string()),
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.consumer = None;
        if self.ended.recv_timeout(LEAVE_WITHIN).is_err() {
            tracing::warn!("the group was not left in time; its partitions move on after a while");
        }
    }
}

/// The polling thread.
struct Poller {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    topics: &'static [Topic],
    connection: BTreeMap<String, String>,
    group: String,
    paused: bool,
    probed: Option<Instant>,
    /// Whether the group may not be used, as far as is known.
    group_denied: bool,
    /// Since when a topic may not be read, or when that was last tried.
    topics_denied: Option<Instant>,
}

impl Poller {
    fn run(mut self) {
        let consumer = Arc::clone(&self.consumer);
        while !self.shared.stopping.load(Ordering::SeqCst) {
            self.keep_bounds();
            self.probe();
            let mut taken = 0;
            let mut wait = POLL;
            while let Some(polled) = consumer.poll(wait) {
                match polled {
                    Ok(message) => self.push(&message),
                    Err(error) => self.failed(&error),
                }
                taken += 1;
                wait = Duration::ZERO;
                if taken >= WAKE_EVERY {
                    break;
                }
            }
            if taken > 0 {
                self.shared.handover.wake();
            }
        }
        // Dropping the last reference leaves the group; the callbacks see `stopping`.
    }

    fn push(&self, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.shared.names.topic(message.topic()) else {
            return;
        };
        self.shared.handover.push(Record {
            partition: Partition { topic, number: message.partition() },
            offset: message.offset(),
            ts_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            retried: retried(message),
            by: (topic == Topic::Metadata).then(|| by(message)).flatten(),
            // Kafka compacts in place: offsets stay.
            again: None,
        });
    }

    fn failed(&mut self, error: &KafkaError) {
        let (status, part) = (&self.shared.status, self.shared.part);
        let mut reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                self.group_denied = true;
                reason.clone_from(&self.group);
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.topics_denied.get_or_insert_with(Instant::now);
            }
            _ => {}
        }
        if let KafkaError::MessageConsumptionFatal(code) = error {
            self.shared.handover.fail(code.to_string());
        } else if faults::is_denied(error) || !status.has_problem(part) {
            // The error callback tells of the same with more words.
            faults::tell(status, part, error, &reason);
        }
    }

    /// Pauses all partitions while the hand-over is full, also those that were added meanwhile.
    fn keep_bounds(&mut self) {
        if !self.paused && self.shared.handover.is_full() {
            self.shared.handover.wait_until_drained(PATIENCE);
        }
        let grown = self.shared.grown.swap(false, Ordering::SeqCst);
        let change = if self.paused {
            if self.shared.handover.is_drained() {
                self.paused = false;
                self.consumer.assignment().and_then(|all| self.consumer.resume(&all))
            } else if grown {
                self.consumer.assignment().and_then(|all| self.consumer.pause(&all))
            } else {
                return;
            }
        } else if self.shared.handover.is_full() {
            self.paused = true;
            self.consumer.assignment().and_then(|all| self.consumer.pause(&all))
        } else {
            return;
        };
        if let Err(error) = change {
            tracing::warn!(%error, "cannot pause or resume reading");
        }
    }

    /// While there is a problem, asks the cluster whether it is over: librdkafka reports when
    /// something breaks, not when it works again.
    fn probe(&mut self) {
        let due = self.probed.is_none_or(|at| at.elapsed() >= PROBE_EVERY);
        if !due || !self.shared.status.has_problem(self.shared.part) {
            return;
        }
        let answer = self.consumer.fetch_metadata(None, PROBE_WITHIN);
        self.probed = Some(Instant::now());
        let Ok(cluster) = answer else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let names: Vec<&str> =
            self.topics.iter().map(|topic| &**shared.names.name(*topic)).collect();
        let is_there = |name: &&str| cluster.topics().iter().any(|topic| topic.name() == *name);
        let missing: Vec<&str> = names.iter().copied().filter(|name| !is_there(name)).collect();
        let lack = if !missing.is_empty() {
            Some(rights::of_missing(&self.consumer, &missing))
        } else if self.group_denied && !rights::may_use_group(&self.consumer, names[0]) {
            Some((RDKafkaErrorCode::GroupAuthorizationFailed, self.group.clone()))
        } else {
            self.group_denied = false;
            self.unreadable(&names)
        };
        match lack {
            None if self.topics_denied.is_some() => {}
            None => self.shared.status.fine(self.shared.part),
            Some((code, reason)) => {
                let error = KafkaError::Global(code);
                faults::tell(&self.shared.status, self.shared.part, &error, &reason);
            }
        }
    }

    /// The topics that may not be read, if librdkafka said that there are some; tried again now and then.
    fn unreadable(&mut self, names: &[&str]) -> Option<rights::Lack> {
        if self.topics_denied?.elapsed() < TRY_EVERY {
            return None;
        }
        let unreadable = rights::unreadable(&self.connection, names);
        let is_over = unreadable.as_ref().is_some_and(Vec::is_empty);
        self.topics_denied = (!is_over).then(Instant::now);
        let unreadable = unreadable.filter(|_| !is_over)?;
        Some((RDKafkaErrorCode::TopicAuthorizationFailed, unreadable.join(", ")))
    }
}
