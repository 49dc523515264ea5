//! Read: one pass over what the archive holds and what waits behind it in Kafka.
//!
//! In: catalogue, hours, the broker. Out: the numbers of every stream, and the digests of the readings by
//! device and day. One object is in memory at a time. What can go wrong: the archive or the broker does
//! not answer, an object is damaged ([`ArchiveError`], [`ScanError`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use arrow_array::types::Int64Type;
use bytes::Bytes;
use rdkafka::Message;
use serde::Deserialize;
use weir_models::event::{Body, Event};
use weir_models::ident::{EventId, Stream};
use weir_models::time::day;
use weir_models::topic::{Topic, TopicNames};

use super::digest::Digest;
use super::judge::Streams;
use crate::archive::readings::Values;
use crate::archive::rows::losses;
use crate::archive::{Archive, ArchiveError, Catalogue, Chain, Entry, Fields, Hours, batches};
use crate::consume::Committed;
use crate::consume::scan::{From, ScanError, committed, scan};

/// Most devices and days that are compared at once.
const DIGESTS_MAX: usize = 1_000_000;

/// Device and day, by site.
pub(super) type Place = (String, String, i32);

/// What is gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// How far each partition was committed before the objects were listed.
    committed: BTreeMap<Topic, BTreeMap<i32, Committed>>,
    pub(super) streams: Streams,
    /// By site, device, and days since 1970.
    pub(super) digests: BTreeMap<Place, Digest>,
    /// Where readings wait in Kafka: these days are not over.
    pub(super) open: BTreeSet<Place>,
    /// Objects whose manifest is there and they are not, or that cannot be read.
    pub(super) unread: Vec<(String, String)>,
    /// Where the archive ends, by topic.
    ends: BTreeMap<Topic, BTreeMap<i32, i64>>,
    /// More devices and days than are compared at once.
    pub(super) is_too_much: bool,
}

/// What is read: whose numbers are judged, which lie beside, which days are compared.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) judged: Hours,
    pub(super) beside: Hours,
    pub(super) days: Option<RangeInclusive<i32>>,
    /// Hours in which readings of these days may lie.
    pub(super) compared: Option<Hours>,
}

impl Scope {
    /// Whether numbers and readings of an object are wanted.
    fn wants(&self, topic: Topic, entry: &Entry) -> (bool, bool) {
        let compared = self.compared.as_ref().is_some_and(|hours| hours.hold(entry));
        (self.beside.hold(entry), compared && topic == Topic::Readings)
    }

    pub(super) fn count(&self, catalogue: &Catalogue) -> u64 {
        let wanted = |chain: &Chain| {
            let topic = chain.partition.topic;
            chain.entries.iter().filter(|entry| self.wants(topic, entry) != (false, false)).count()
        };
        catalogue.chains.iter().map(wanted).sum::<usize>() as u64
    }
}

impl Gathered {
    /// Reads the objects of a chain, each row once, also where a merge overtakes it.
    pub(super) async fn add_chain(
        &mut self,
        archive: &Archive,
        chain: &Chain,
        scope: &Scope,
        step: impl Fn(),
    ) -> Result<(), ArchiveError> {
        let topic = chain.partition.topic;
        if let Some(last) = chain.entries.last() {
            let manifest = archive.manifest(&chain.path(last)).await?;
            let end = manifest.map_or(last.first_offset, |manifest| manifest.next_offset);
            let ends = self.ends.entry(topic).or_default();
            let known = ends.entry(chain.partition.number).or_default();
            *known = end.max(*known);
        }
        let mut merged: Option<Entry> = None;
        for entry in &chain.entries {
            let (numbers, readings) = scope.wants(topic, entry);
            if !numbers && !readings {
                continue;
            }
            if merged.is_some_and(|merged| merged.covers(entry)) {
                step();
                continue;
            }
            let mut path = chain.path(entry);
            let is_judged = scope.judged.hold(entry);
            let read = if entry.has_object {
                let (lies, from, data) = archive.bytes_now(chain, entry).await?;
                merged = Some(lies);
                path = chain.path(&lies);
                let days = scope.days.clone().filter(|_| readings);
                tokio::task::block_in_place(|| {
                    self.add_object(topic, data, from, numbers.then_some(is_judged), days)
                })
            } else {
                Err("it is gone, its manifest is there".to_owned())
            };
            if let Err(reason) = read {
                if let (true, Some(manifest)) = (is_judged, archive.manifest(&path).await?) {
                    for range in &manifest.streams {
                        let span = (range.first_seq, range.last_seq);
                        self.streams.told(&range.agent, range.stream, span);
                    }
                }
                self.unread.push((path, reason));
            }
            step();
        }
        Ok(())
    }

    fn add_object(
        &mut self,
        topic: Topic,
        data: Bytes,
        from: i64,
        numbers: Option<bool>,
        days: Option<RangeInclusive<i32>>,
    ) -> Result<(), String> {
        let mut wanted = vec!["agent", "stream", "seq", "offset"];
        if topic != Topic::Alerts {
            wanted.extend([
                "lost_count",
                "lost_stream",
                "lost_first_seq",
                "lost_last_seq",
                "lost_reason",
            ]);
        }
        if days.is_some() {
            wanted.extend(["site", "device", "ts_us", "values"]);
        }
        for batch in batches(data, Some(&wanted))? {
            let batch = batch.map_err(|error| error.to_string())?;
            let offsets = Fields(&batch).primitive::<Int64Type>("offset")?;
            let passed = offsets.values().partition_point(|offset| *offset < from);
            let batch = batch.slice(passed, batch.num_rows() - passed);
            let fields = Fields(&batch);
            let ids = fields.ids()?;
            if let Some(is_judged) = numbers {
                let agents = fields.text("agent")?;
                for (row, &id) in ids.iter().enumerate() {
                    self.streams.archived(agents.value(row), id, is_judged);
                }
                if topic != Topic::Alerts {
                    let losses = losses(fields)?.into_iter().flatten();
                    for (stream, first, last) in losses.filter_map(|loss| loss.range) {
                        self.streams.lost(stream, (first, last));
                    }
                }
            }
            if let Some(days) = &days {
                self.add_readings(fields, &ids, days)?;
            }
        }
        Ok(())
    }

    fn add_readings(
        &mut self,
        fields: Fields<'_>,
        ids: &[EventId],
        days: &RangeInclusive<i32>,
    ) -> Result<(), String> {
        let (sites, devices) = (fields.text("site")?, fields.text("device")?);
        let (stamps, values) = (fields.stamps_us("ts_us")?, Values::of(fields)?);
        for (row, &id) in ids.iter().enumerate() {
            let ts_us = stamps.value(row);
            if !days.contains(&day(ts_us)) {
                continue;
            }
            let mut digest = Digest::default();
            for (metric, value) in values.of_row(row) {
                digest.add(metric, ts_us, id, value);
            }
            let place = (sites.value(row).to_owned(), devices.value(row).to_owned(), day(ts_us));
            if self.digests.len() < DIGESTS_MAX || self.digests.contains_key(&place) {
                self.digests.entry(place).or_default().merge(digest);
            } else {
                self.is_too_much = true;
            }
        }
        Ok(())
    }

    /// Reads how far the group has committed. Waits for the broker.
    pub(super) fn add_committed(
        &mut self,
        connection: &BTreeMap<String, String>,
        group: &str,
        names: &TopicNames,
        topics: &[Topic],
    ) -> Result<(), ScanError> {
        for &topic in topics {
            self.committed.insert(topic, committed(connection, group, names.name(topic))?);
        }
        Ok(())
    }

    /// The object that each commit names has to be there: an archive that is empty or of an older copy is not whole.
    pub(super) async fn add_lost_objects(&mut self, archive: &Archive) -> Result<(), ArchiveError> {
        for committed in self.committed.values().flat_map(BTreeMap::values) {
            let note = &committed.note;
            if !note.is_empty() && archive.manifest(note).await?.is_none() {
                let reason = "a commit of the sink names it, and it has no manifest here";
                self.unread.push((note.clone(), reason.to_owned()));
            }
        }
        Ok(())
    }

    /// Reads what Kafka holds behind the archive, and the dead letters. Waits for the broker.
    pub(super) fn add_kafka(
        &mut self,
        connection: &BTreeMap<String, String>,
        names: &TopicNames,
        topics: &[Topic],
    ) -> Result<(), ScanError> {
        for &topic in topics {
            let mut ends = self.ends.get(&topic).cloned().unwrap_or_default();
            // What is committed does not wait: it was archived, or is gone.
            for (&number, committed) in self.committed.get(&topic).into_iter().flatten() {
                let end = ends.entry(number).or_insert(committed.offset);
                *end = committed.offset.max(*end);
            }
            scan(connection, names.name(topic), From::Offsets(&ends), |message| {
                let json = message.payload().unwrap_or_default();
                if let Some(id) = id_of(json) {
                    self.streams.waiting(id);
                }
                if topic == Topic::Readings
                    && let Ok(event) = Event::from_json(json)
                    && matches!(event.body, Body::Reading(_))
                {
                    self.open.insert((event.site, event.device, day(event.ts_us)));
                }
                true
            })?;
        }
        scan(connection, names.name(Topic::Dlq), From::Beginning, |message| {
            if let Some(id) = id_of(message.payload().unwrap_or_default()) {
                self.streams.dead(id);
            }
            true
        })
    }

    /// Where the archive of a partition ends.
    #[cfg(test)]
    pub(super) fn end(&self, partition: crate::consume::Partition) -> Option<i64> {
        self.ends.get(&partition.topic)?.get(&partition.number).copied()
    }
}

/// Stream and number of a record, also where the rest of it makes no sense.
fn id_of(json: &[u8]) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Named {
        stream: Stream,
        seq: u64,
    }
    #[derive(Deserialize)]
    struct Wrapped {
        data: Named,
    }
    let named = serde_json::from_slice::<Named>(json)
        .or_else(|_| serde_json::from_slice::<Wrapped>(json).map(|wrapped| wrapped.data));
    named.ok().map(|named| EventId { stream: named.stream, seq: named.seq })
}
