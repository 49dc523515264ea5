//! Target: where replayed rows go, a topic or the store.
//!
//! In: rows of one partition in the order of their offsets. Out: records or rows of the store, confirmed. What an
//! event stands behind in its stream decides whether a sink would drop it: one that comes behind higher
//! numbers was a dead letter once and is marked as one, as it was then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use weir_models::event::{Body, Event, Reader};
use weir_models::ident::{EventId, Stream};
use weir_models::topic::write_key;

use crate::archive::{Catalogue, Manifest, Row, RowBody};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::consume::producer::{KafkaProducer, Outgoing};
use crate::consume::scan::extents;
use crate::consume::{Partition, Record};
use crate::decode::{Decoded, add_event, decode};
use crate::program::Secrets;
use crate::prove::text;
use crate::store::{Batch, Store, StoreError, open};

/// How long to wait for a store that is away.
const STORE_PATIENCE: Duration = Duration::from_secs(120);

/// Where everything goes.
pub(super) enum Targets {
    /// A topic, by name.
    Topic(Arc<KafkaProducer>, Arc<str>),
    /// The store.
    Store(Arc<dyn Store>),
}

impl Targets {
    /// The target that was asked for, tried out.
    pub(super) async fn open(
        config: &Config,
        topic: Option<&str>,
        catalogue: &Catalogue,
    ) -> Result<Self, String> {
        let Some(topic) = topic else {
            let store = open(&config.store).await.map_err(text)?;
            store.check_schema().await.map_err(text)?;
            return Ok(Self::Store(store));
        };
        if config.topic_names().topic(topic).is_some() {
            return Err(format!(
                "`{topic}` is a topic that sinks read: alerts would be told again; choose another name"
            ));
        }
        let secrets = Secrets::fetch(config).map_err(text)?;
        let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
        let numbers = catalogue.chains.iter().map(|chain| chain.partition.number);
        let needed = numbers.max().map_or(0, |number| number + 1);
        let extents = tokio::task::block_in_place(|| extents(&connection, topic));
        let there = match extents {
            Ok(extents) => i32::try_from(extents.len()).unwrap_or(i32::MAX),
            Err(crate::consume::scan::ScanError::Absent(_)) => 0,
            Err(error) => return Err(error.to_string()),
        };
        if there < needed {
            return Err(format!(
                "topic `{topic}` has {there} partitions, the archive has {needed}: make it with as many, so that \
                 every event stays behind the ones before it"
            ));
        }
        let producer = KafkaProducer::start(&connection, &config.topic_names()).map_err(text)?;
        Ok(Self::Topic(Arc::new(producer), topic.into()))
    }

    /// Leaves the marks of what was written to the sinks, which seal it.
    pub(super) async fn leave(&self) -> Result<(), String> {
        match self {
            Self::Store(store) => match store.sealing() {
                Some(sealing) => sealing.marks().leave(sealing).await.map_err(text),
                None => Ok(()),
            },
            Self::Topic(..) => Ok(()),
        }
    }

    /// The target of one partition.
    pub(super) fn of(&self, partition: Partition) -> Target {
        let to = match self {
            Self::Topic(producer, name) => Self::Topic(Arc::clone(producer), Arc::clone(name)),
            Self::Store(store) => Self::Store(Arc::clone(store)),
        };
        Target { to, partition, highest: HashMap::new() }
    }
}

/// Where the rows of one partition go.
pub(super) struct Target {
    to: Targets,
    partition: Partition,
    /// Highest number so far, by stream.
    highest: HashMap<Stream, u64>,
}

/// The key of a record, as agents make it.
fn key(row: &Row) -> String {
    let mut key = String::new();
    match &row.body {
        RowBody::Event(event) => {
            let who = match &event.body {
                Body::Log(log) if !log.host.is_empty() => &log.host,
                _ => &event.device,
            };
            write_key(&mut key, [&*event.site, who]);
        }
        RowBody::Alert(alert, _) => {
            let data = &alert.data;
            write_key(&mut key, [&*data.site, &data.device, &data.metric]);
        }
    }
    key
}

fn value(row: &Row) -> Bytes {
    match &row.body {
        RowBody::Event(event) => {
            let mut json = Vec::new();
            Event::write_json(event, &mut json);
            json.into()
        }
        RowBody::Alert(_, json) => json.clone(),
    }
}

fn id(row: &Row) -> EventId {
    match &row.body {
        RowBody::Event(event) => event.id,
        RowBody::Alert(alert, _) => alert.event_id(),
    }
}

impl Target {
    /// An object went by that was replayed before.
    pub(super) fn passed(&mut self, manifest: &Manifest) {
        for range in &manifest.streams {
            let highest = self.highest.entry(range.stream).or_default();
            *highest = range.last_seq.max(*highest);
        }
    }

    /// Rows went by that were replayed before.
    pub(super) fn pass(&mut self, rows: impl Iterator<Item = Row>) {
        for row in rows {
            self.comes_behind(id(&row));
        }
    }

    /// Whether a higher number of its stream came before.
    fn comes_behind(&mut self, id: EventId) -> bool {
        let highest = self.highest.entry(id.stream).or_default();
        let behind = id.seq <= *highest;
        *highest = id.seq.max(*highest);
        behind
    }

    /// Sends rows, and waits until they are safe.
    pub(super) async fn take(&mut self, rows: Vec<Row>) -> Result<(), String> {
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let is_letter = self.comes_behind(id(row));
            records.push(Outgoing {
                key: key(row),
                value: value(row),
                ts_ms: row.kafka_ms,
                is_letter,
            });
        }
        match &self.to {
            Targets::Topic(producer, name) => {
                producer.send_all(name, self.partition.number, records).await.map_err(text)
            }
            Targets::Store(store) => {
                let offsets = rows.iter().map(|row| row.offset);
                let batch = batch(self.partition, records.into_iter().zip(offsets))?;
                write(&**store, &batch).await
            }
        }
    }
}

/// Writes rows; again and again while the store is away or asks for it.
async fn write(store: &dyn Store, batch: &Batch) -> Result<(), String> {
    let (begun, mut backoff) = (Instant::now(), Backoff::default());
    loop {
        match store.write(batch).await {
            Err(StoreError::Retry(_)) if begun.elapsed() < STORE_PATIENCE => {
                backoff.failed(Instant::now());
                sleep_until(backoff.until(Instant::now())).await;
            }
            done => return done.map_err(text),
        }
    }
}

/// The rows of the store, by the code that the running sink uses.
fn batch(
    partition: Partition,
    records: impl Iterator<Item = (Outgoing, i64)>,
) -> Result<Batch, String> {
    let (mut batch, mut reader) = (Batch::default(), Reader::default());
    for (Outgoing { key, value, ts_ms, .. }, offset) in records {
        let (key, value) = (Some(key.into_bytes().into()), Some(value));
        let record =
            Record { partition, offset, ts_ms, key, value, retried: 0, by: None, again: None };
        match decode(&record, &mut reader).map_err(|error| format!("offset {offset}: {error}"))? {
            Decoded::Event(event) => add_event(&event, &mut batch),
            Decoded::Alert(alert) => batch.alerts.push((*alert).clone()),
            Decoded::Device(_) | Decoded::Agent(_) | Decoded::Feedback(_) | Decoded::Ignored => {}
        }
    }
    Ok(batch)
}
