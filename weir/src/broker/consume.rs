//! The sink's side: the embedded broker as a [`Consumer`] and a [`Producer`].
//!
//! In: partitions with their committed offsets. Out: records from there on. The group has one
//! member, which has all partitions from its first poll on; nothing is ever revoked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use weir_agent::spool::log::LogReader;
use weir_models::topic::Topic;
use weir_sink::consume::{
    Committed, ConsumeError, Consumer, Partition, Polled, ProduceError, Producer, Record,
};
use weir_sink::survey::{Ends, Offsets};

use super::Broker;
use super::Embedded;
use super::follow::next_records;
use super::positions::Position;

/// The one member of the consumer group.
#[derive(Debug)]
pub struct Member {
    broker: Arc<Broker>,
    places: Vec<Place>,
    told: bool,
    /// Where the next poll begins, so that no partition waits for the others.
    turn: usize,
}

#[derive(Debug)]
struct Place {
    partition: Partition,
    reader: LogReader,
    next: u64,
    end: watch::Receiver<u64>,
}

impl Member {
    /// Takes all partitions of the topics that the sink reads.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        let mut places = Vec::new();
        for (topic, partitions) in &broker.topics {
            if matches!(topic, Topic::Models | Topic::Dlq) {
                continue;
            }
            for (number, partition) in (0..).zip(partitions) {
                let next = broker.positions().next(*topic, number);
                let mut reader = partition.reader();
                reader.seek(next);
                places.push(Place {
                    partition: Partition { topic: *topic, number: number as i32 },
                    reader,
                    next,
                    end: partition.end.subscribe(),
                });
            }
        }
        Self { broker, places, told: false, turn: 0 }
    }

    /// What is there now, at most about `max` records.
    fn read(&mut self, max: usize) -> Result<Vec<Record>, ConsumeError> {
        let mut out = Vec::new();
        let count = self.places.len();
        for i in 0..count {
            let place = &mut self.places[(self.turn + i) % count];
            place.end.mark_unchanged();
            while out.len() < max {
                let read = next_records(&mut place.reader, place.next)
                    .map_err(|error| ConsumeError::Retry(error.to_string()))?;
                let Some(records) = read else { break };
                place.next = place.reader.position();
                out.extend(records.into_iter().map(|record| Record {
                    partition: place.partition,
                    offset: i64::try_from(record.offset).unwrap_or(i64::MAX),
                    ts_ms: record.ts_ms,
                    key: record.key,
                    value: record.value,
                    // Letters are sent again through Kafka only.
                    retried: 0,
                    by: record.by,
                    again: record.again.and_then(|offset| i64::try_from(offset).ok()),
                }));
            }
            if out.len() >= max {
                self.turn = (self.turn + i) % count;
                break;
            }
        }
        Ok(out)
    }

    async fn changed(&mut self) {
        let changes = self.places.iter_mut().map(|place| Box::pin(place.end.changed()));
        // The senders live in the broker, which this member keeps alive.
        let _ = futures_util::future::select_all(changes).await;
    }
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Polled>, ConsumeError> {
        if !self.told {
            self.told = true;
            let positions = self.broker.positions();
            let assigned = self.places.iter().map(|place| {
                let Partition { topic, number } = place.partition;
                let committed = positions.get(topic, number).map(|position| Committed {
                    offset: position.offset,
                    note: position.note.clone(),
                });
                Polled::Assigned(place.partition, committed)
            });
            return Ok(assigned.collect());
        }
        if max == 0 {
            // Only assignments are asked for, and they do not change.
            tokio::time::sleep(wait).await;
            return Ok(Vec::new());
        }
        let mut records = self.read(max)?;
        if records.is_empty() {
            let _ = tokio::time::timeout(wait, self.changed()).await;
            records = self.read(max)?;
        }
        if records.is_empty() { Ok(Vec::new()) } else { Ok(vec![Polled::Records(records)]) }
    }

    async fn commit(&mut self, offsets: &[(Partition, Committed)]) -> Result<(), ConsumeError> {
        let positions = offsets.iter().map(|(partition, committed)| {
            let position = Position { offset: committed.offset, note: committed.note.clone() };
            (partition.topic, partition.number, position)
        });
        self.broker
            .positions()
            .commit(positions)
            .map_err(|error| ConsumeError::Retry(error.to_string()))?;
        for (partition, committed) in offsets {
            let number = u32::try_from(partition.number).unwrap_or(0);
            let offset = u64::try_from(committed.offset).unwrap_or(0);
            self.broker.delete_below(partition.topic, number, offset);
        }
        Ok(())
    }
}

#[async_trait]
impl Offsets for Embedded {
    async fn ends(&self, topic: Topic) -> Result<Ends, String> {
        let positions = self.0.positions();
        let partitions = (0..).zip(self.0.topics.get(&topic).into_iter().flatten());
        let ends = partitions.map(|(number, partition)| {
            let end = i64::try_from(*partition.end.borrow()).unwrap_or(i64::MAX);
            (number, (end, positions.get(topic, number).map(|position| position.offset)))
        });
        Ok(ends.collect())
    }
}

#[async_trait]
impl Producer for Embedded {
    async fn send(
        &self,
        topic: Topic,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), ProduceError> {
        let ticket =
            self.0.append_record(topic, key, value, headers).map_err(ProduceError::Retry)?;
        self.0.synced(&[ticket]).await;
        Ok(())
    }
}
