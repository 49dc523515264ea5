//! Context: what librdkafka calls back: rebalances and errors.
//!
//! In: its events, on the polling thread. Out: changes in the hand-over, faults in the status. Promises: a partition is assigned at an offset whose note we have read, so that
//! reading begins exactly where the duplicate memory stands; a partition is given back only after the
//! pipeline has let go of it, or after [`LET_GO_WITHIN`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::oneshot;
use weir_models::topic::TopicNames;

use super::faults;
use super::handover::{Bounds, Handover};
use super::{Committed, Partition};
use crate::status::{Part, Status};

/// How long a partition is kept back for the pipeline to let go of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(30);
const FETCH_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const FETCH_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What the polling thread, the callbacks and the pipeline's side share.
pub(super) struct Shared {
    pub(super) names: TopicNames,
    pub(super) status: Arc<Status>,
    /// The part of the sink that the problems of this consumer are of.
    pub(super) part: Part,
    pub(super) handover: Handover,
    /// The consumer is to end: nobody answers a revocation any more.
    pub(super) stopping: AtomicBool,
    /// Partitions were added, so those that are paused are not all.
    pub(super) grown: AtomicBool,
}

impl Shared {
    pub(super) fn new(names: TopicNames, status: Arc<Status>, part: Part, bounds: Bounds) -> Self {
        Self {
            names,
            status,
            part,
            handover: Handover::new(bounds),
            stopping: AtomicBool::new(false),
            grown: AtomicBool::new(false),
        }
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let elements = list.elements();
        let known = elements.iter().filter_map(|element| {
            Some(Partition {
                topic: self.names.topic(element.topic())?,
                number: element.partition(),
            })
        });
        known.collect()
    }
}

pub(super) struct Context(pub(super) Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        faults::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        faults::tell(&self.0.status, self.0.part, &error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, list)
        } else {
            self.revoke(list);
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::error!(%error, "the change of the assignment was refused");
        }
    }
}

impl Context {
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let Some(committed) = self.fetch_committed(consumer, list) else {
            return Ok(());
        };
        for element in committed.elements() {
            let Some(topic) = self.0.names.topic(element.topic()) else {
                continue;
            };
            let partition = Partition { topic, number: element.partition() };
            let committed = match element.offset() {
                Offset::Offset(offset) => {
                    Some(Committed { offset, note: element.metadata().to_owned() })
                }
                _ => None,
            };
            self.0.handover.assigned(partition, committed);
        }
        self.0.grown.store(true, Ordering::SeqCst);
        consumer.incremental_assign(&committed)?;
        // What was taken away while it was paused is paused still when it comes back. The polling thread pauses
        // all of them again where that is due.
        consumer.resume(&committed)
    }

    /// The committed offsets and notes of these partitions; goes on until the group's coordinator
    /// answers, because reading without them would read from anywhere. None when told to stop.
    fn fetch_committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Option<TopicPartitionList> {
        while !self.0.stopping.load(Ordering::SeqCst) {
            let mut wanted = TopicPartitionList::with_capacity(list.count());
            for element in list.elements() {
                wanted.add_partition(element.topic(), element.partition());
            }
            let fetched = consumer.committed_offsets(wanted, FETCH_WITHIN);
            let checked = fetched.and_then(|list| {
                let mut elements = list.elements().into_iter();
                elements.try_for_each(|element| element.error())?;
                drop(elements);
                Ok(list)
            });
            match checked {
                Ok(list) => return Some(list),
                Err(error) => {
                    let message = format!("cannot read the committed offsets: {error}");
                    self.0.status.problem(self.0.part, message);
                    std::thread::sleep(FETCH_AGAIN_AFTER);
                }
            }
        }
        None
    }

    fn revoke(&self, list: &TopicPartitionList) {
        let mut answer = self.0.handover.revoked(self.0.partitions(list));
        let until = Instant::now() + LET_GO_WITHIN;
        while let Err(oneshot::error::TryRecvError::Empty) = answer.try_recv() {
            if self.0.stopping.load(Ordering::SeqCst) {
                break;
            }
            if Instant::now() >= until {
                tracing::warn!("partitions are given back before all work on them has ended");
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
