//! Survey: what lies in the archive, and how far it is behind Kafka, for who looks at it.
//!
//! In: the archive's catalogue, its manifests, and the offsets of Kafka. Out: numbers by topic and day, and by partition.
//! Promises: read-only; whoever asks often gets the same answer again, be it an error: the archive is listed at most every
//! half minute and a tenth of the time, by one task at a time, which goes on when who asked has gone. An answer is given
//! for twice that long at most. Manifests are read newest first, some at each look, and remembered: until all of a day
//! are, its rows and bytes are of those that are. What can go wrong: the archive does not answer, which is told and
//! logged; without Kafka its offsets are left out, and the answer says why.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use utoipa::ToSchema;
use weir_models::time::{HOUR_US, date, now_us};
use weir_models::topic::{Topic, TopicNames};

use crate::archive::{Archive, ArchiveError, Chain, Entry, Manifest};
use crate::consume::{Partition, scan};

/// What is archived.
const TOPICS: [Topic; 3] = [Topic::Readings, Topic::Logs, Topic::Alerts];
/// Days that are told.
const DAYS_MAX: usize = 400;
/// Manifests read for one answer, and at once.
const MANIFESTS_MAX: usize = 400;
const AT_ONCE: usize = 8;
/// Objects whose numbers are remembered, about 50 bytes each.
const REMEMBERED_MAX: usize = 200_000;
/// Strays told by name.
const STRAYS_MAX: usize = 20;
/// An answer is given again for so long, and for so many times as long as making it took.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const REST: u32 = 9;

/// End and committed offset, by partition.
pub type Ends = BTreeMap<i32, (i64, Option<i64>)>;

/// Who knows the offsets of Kafka.
#[async_trait]
pub trait Offsets: Send + Sync {
    /// Where each partition of a topic ends, and up to where the sink has committed it. The error is for a person.
    async fn ends(&self, topic: Topic) -> Result<Ends, String>;
}

/// Asks Kafka.
pub struct KafkaOffsets {
    /// Settings of librdkafka.
    pub connection: BTreeMap<String, String>,
    /// The sink's group.
    pub group: String,
    /// Names of the topics.
    pub names: TopicNames,
}

#[async_trait]
impl Offsets for KafkaOffsets {
    async fn ends(&self, topic: Topic) -> Result<Ends, String> {
        let (connection, group) = (self.connection.clone(), self.group.clone());
        let name = self.names.name(topic).to_string();
        let ask = move || -> Result<Ends, scan::ScanError> {
            let committed = scan::committed(&connection, &group, &name)?;
            let extents = scan::extents(&connection, &name)?.into_iter();
            let place = |id| committed.get(&id).map(|committed| committed.offset);
            Ok(extents.map(|(id, (_, end))| (id, (end, place(id)))).collect())
        };
        let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
        asked.map_err(|error| error.to_string())
    }
}

/// The objects of a topic in the folders of one UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchivedDay {
    /// Topic, without the prefix of its name.
    pub topic: String,
    /// UTC day of the first record of each object, by Kafka's stamp.
    pub date: String,
    /// Objects.
    pub objects: u64,
    /// Of these, counted in `rows` and `bytes`; the others follow when somebody looks again.
    pub counted: u64,
    /// Rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// The newest object of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NewestObject {
    /// Its path in the archive.
    pub path: String,
    /// Begin of the hour that it lies in, microseconds since the Unix epoch.
    pub hour_us: i64,
    /// Rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// A partition, in the archive and in Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchivedPartition {
    /// Topic, without the prefix of its name.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Objects in the archive.
    pub objects: u64,
    /// Objects without manifest, or manifests without object.
    pub incomplete: u64,
    /// The newest object; none where its manifest is not there.
    pub newest: Option<NewestObject>,
    /// Everything below this offset is in the archive.
    pub archived: Option<i64>,
    /// Everything below this offset is in the store and in the archive, as the sink's group committed.
    pub committed: Option<i64>,
    /// Where the partition ends in Kafka.
    pub end: Option<i64>,
}

/// What lies in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Surveyed {
    /// When this was found, microseconds since the Unix epoch.
    pub found_us: i64,
    /// By topic and day, the newest days first; 400 days at most.
    pub days: Vec<ArchivedDay>,
    /// By partition.
    pub partitions: Vec<ArchivedPartition>,
    /// How many files are none of ours; a thousand are counted at most.
    pub strays: u64,
    /// Some of them.
    pub strays_named: Vec<String>,
    /// Why the offsets of Kafka are not known; none when they are.
    pub kafka_problem: Option<String>,
}

/// Hour, partition, first offset and, of a merged object, the offset after its last.
type Key = (i32, Partition, i64, Option<i64>);
/// Rows and bytes of objects.
type Counts = HashMap<Key, (u64, u64)>;

/// Looks at an archive.
pub struct Survey {
    archive: Archive,
    offsets: Arc<dyn Offsets>,
    seen: watch::Sender<Option<Seen>>,
    /// Held by the one that looks.
    counts: Arc<Mutex<Counts>>,
    remembered_max: usize,
}

/// What was found, or why nothing was.
type Answer = Result<Arc<Surveyed>, String>;

/// The last answer.
#[derive(Clone)]
struct Seen {
    answer: Answer,
    /// Until then nobody looks again.
    again: Instant,
    /// Until then it is given while somebody looks again.
    until: Instant,
}

impl Survey {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn new(archive: Archive, offsets: Arc<dyn Offsets>) -> Arc<Self> {
        let (seen, counts) = (watch::Sender::new(None), Arc::default());
        Arc::new(Self { archive, offsets, seen, counts, remembered_max: REMEMBERED_MAX })
    }

    /// What lies in the archive, now or a while ago.
    ///
    /// # Errors
    /// When the archive does not answer.
    pub async fn look(self: &Arc<Self>) -> Result<Arc<Surveyed>, String> {
        let asked = Instant::now();
        let known = self.seen.borrow().clone();
        if let Some(known) = known.as_ref().filter(|known| asked < known.again) {
            return known.answer.clone();
        }
        if let Ok(counts) = Arc::clone(&self.counts).try_lock_owned() {
            let survey = Arc::clone(self);
            tokio::spawn(async move { survey.refresh(asked, counts).await });
        }
        let old = known.filter(|known| asked < known.until);
        // The next one gets the new answer.
        if let Some(Seen { answer: Ok(old), .. }) = old {
            return Ok(old);
        }
        let is_new = |seen: &Option<Seen>| seen.as_ref().is_some_and(|seen| asked < seen.again);
        let mut seen = self.seen.subscribe();
        let seen = seen.wait_for(is_new).await.map_err(|error| error.to_string())?;
        seen.as_ref().map_or_else(|| Err("nothing was found".into()), |seen| seen.answer.clone())
    }

    /// Looks, unless another one has just done so.
    async fn refresh(&self, asked: Instant, mut counts: OwnedMutexGuard<Counts>) {
        if self.seen.borrow().as_ref().is_some_and(|seen| asked < seen.again) {
            return;
        }
        let began = Instant::now();
        let found = self.find(&mut counts).await;
        let failed = |error: &ArchiveError| tracing::warn!(%error, "the archive cannot be listed");
        let found = found.inspect_err(failed).map_err(|error| error.to_string());
        let ended = Instant::now();
        let rest = AGAIN_AFTER.max((ended - began) * REST);
        let (again, until) = (ended + rest, ended + rest * 2);
        self.seen.send_replace(Some(Seen { answer: found.map(Arc::new), again, until }));
    }

    async fn find(&self, counts: &mut Counts) -> Result<Surveyed, ArchiveError> {
        let found_us = now_us();
        let catalogue = self.archive.catalogue(&TOPICS).await?;
        self.count(&catalogue.chains, counts).await?;
        let mut partitions = Vec::new();
        let mut newest = Counts::new();
        for chain in &catalogue.chains {
            let found = self.partition(chain).await?;
            if let Some((entry, object)) = chain.entries.last().zip(found.newest.as_ref()) {
                newest.insert(key(chain, entry), (object.rows, object.bytes));
            }
            partitions.push((chain.partition, found));
        }
        let kafka_problem = self.add_offsets(&mut partitions).await;
        let count = |key: &Key| newest.get(key).or_else(|| counts.get(key)).copied();
        Ok(Surveyed {
            found_us,
            days: days(&catalogue.chains, count),
            partitions: partitions.into_iter().map(|(_, found)| found).collect(),
            strays: catalogue.strays.len() as u64,
            strays_named: catalogue.strays.into_iter().take(STRAYS_MAX).collect(),
            kafka_problem,
        })
    }

    /// Reads some manifests that nobody has read yet, the newest first. Not that of the newest object of a partition:
    /// until it is committed it may be written again. Forgets what is not there any more, and the oldest where there
    /// are too many.
    async fn count(&self, chains: &[Chain], counts: &mut Counts) -> Result<(), ArchiveError> {
        let mut unread = Vec::new();
        let mut listed = HashSet::new();
        for chain in chains {
            let done = chain.entries.len().saturating_sub(1);
            let entries = chain.entries[..done].iter().filter(|entry| entry.has_manifest);
            listed.extend(entries.clone().map(|entry| key(chain, entry)));
            let entries = entries.filter(|entry| !counts.contains_key(&key(chain, entry)));
            unread.extend(entries.map(|entry| (chain, entry)));
        }
        counts.retain(|key, _| listed.contains(key));
        if counts.len() >= self.remembered_max {
            // Of what is no newer than all that is remembered nothing would be kept.
            let oldest = counts.keys().map(|key| key.0).min();
            unread.retain(|(_, entry)| oldest.is_some_and(|oldest| entry.hour > oldest));
        }
        unread.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.hour));
        unread.truncate(MANIFESTS_MAX.min(self.remembered_max));
        let unread =
            unread.into_iter().map(|(chain, entry)| (key(chain, entry), chain.path(entry)));
        let unread: Vec<(Key, String)> = unread.collect();
        let read = unread.into_iter().map(async |(key, path): (Key, String)| {
            let manifest = self.archive.manifest(&path).await?;
            Ok::<_, ArchiveError>((key, manifest.map_or((0, 0), |found| (found.rows, found.bytes))))
        });
        let mut read = std::pin::pin!(stream::iter(read).buffer_unordered(AT_ONCE));
        while let Some(one) = read.next().await {
            counts.extend([one?]);
        }
        let mut keys: Vec<Key> = counts.keys().copied().collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        for key in keys.iter().skip(self.remembered_max) {
            counts.remove(key);
        }
        Ok(())
    }

    async fn partition(&self, chain: &Chain) -> Result<ArchivedPartition, ArchiveError> {
        let is_incomplete = |entry: &&Entry| !(entry.has_object && entry.has_manifest);
        let mut found = ArchivedPartition {
            topic: chain.partition.topic.suffix().into(),
            partition: chain.partition.number,
            objects: chain.entries.len() as u64,
            incomplete: chain.entries.iter().filter(is_incomplete).count() as u64,
            ..ArchivedPartition::default()
        };
        let Some(entry) = chain.entries.last() else { return Ok(found) };
        let path = chain.path(entry);
        if let Some(Manifest { rows, bytes, next_offset, .. }) =
            self.archive.manifest(&path).await?
        {
            found.archived = Some(next_offset);
            let hour_us = i64::from(entry.hour) * HOUR_US;
            found.newest = Some(NewestObject { path, hour_us, rows, bytes });
        }
        Ok(found)
    }

    /// Adds what Kafka knows, also of partitions of which nothing is archived; says why when it does not answer.
    async fn add_offsets(&self, found: &mut Vec<(Partition, ArchivedPartition)>) -> Option<String> {
        for topic in TOPICS {
            let ends = match self.offsets.ends(topic).await {
                Ok(ends) => ends,
                Err(problem) => return Some(problem),
            };
            for (number, (end, committed)) in ends {
                let partition = Partition { topic, number };
                let place = found.iter().position(|(known, _)| *known == partition);
                let place = place.unwrap_or_else(|| {
                    let topic = topic.suffix().into();
                    let none = ArchivedPartition::default();
                    found.push((partition, ArchivedPartition { topic, partition: number, ..none }));
                    found.len() - 1
                });
                let known = &mut found[place].1;
                (known.end, known.committed) = (Some(end), committed);
            }
        }
        found.sort_by_key(|(partition, _)| *partition);
        None
    }
}

fn key(chain: &Chain, entry: &Entry) -> Key {
    (entry.hour, chain.partition, entry.first_offset, entry.next_offset)
}

/// The objects by topic and day.
fn days(chains: &[Chain], count: impl Fn(&Key) -> Option<(u64, u64)>) -> Vec<ArchivedDay> {
    let mut days: BTreeMap<(i32, &str), ArchivedDay> = BTreeMap::new();
    for chain in chains {
        let topic = chain.partition.topic.suffix();
        for entry in chain.entries.iter().filter(|entry| entry.has_object) {
            let day = days.entry((entry.hour.div_euclid(24), topic)).or_default();
            day.objects += 1;
            if let Some((rows, bytes)) = count(&key(chain, entry)) {
                day.counted += 1;
                day.rows += rows;
                day.bytes += bytes;
            }
        }
    }
    let told = days.into_iter().rev().map(|((day, topic), sums)| ArchivedDay {
        topic: topic.into(),
        date: date(i64::from(day) * 24 * HOUR_US),
        ..sums
    });
    told.take(DAYS_MAX * TOPICS.len()).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
