//! Catalogue: what lies in an archive, by the names of its files.
//!
//! In: the listing of the target. Out: for every partition the chain of its objects in the order of their
//! offsets, and whether object and manifest are both there. An object that was merged of others (`merge`) counts in their
//! place from the moment that object and manifest are there. Promises: names follow from offsets and
//! hour, so 48 bytes an object are kept and no manifest is read; a listing that a merge overtook is mended before it is
//! given. What is named otherwise is a stray.
//! What can go wrong: the target does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use futures_util::TryStreamExt;
use object_store::path::Path;
use weir_models::time::{HOUR_US, parse_rfc3339};
use weir_models::topic::Topic;

use super::object::{HOUR_MS, hour_folder, merged_path};
use super::{Archive, ArchiveError, manifest_path, object_path};
use crate::consume::Partition;
use crate::store::TimeRange;

/// Most strays that are kept by name.
const STRAYS_MAX: usize = 1_000;

/// Names one object of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Offset of its first row.
    pub first_offset: i64,
    /// Of an object that was merged of others: the offset after the last that it accounts for.
    pub next_offset: Option<i64>,
    /// Hours since the Unix epoch, of its folder.
    pub hour: i32,
    /// Whether the object is there.
    pub has_object: bool,
    /// Whether its manifest is there.
    pub has_manifest: bool,
    /// Size of the object.
    pub bytes: u64,
}

impl Entry {
    fn is_whole(&self) -> bool {
        self.has_object && self.has_manifest
    }

    /// Whether all of another entry's rows are in this one, which was merged.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let Some(next) = self.next_offset else {
            return false;
        };
        let begins = other.first_offset >= self.first_offset;
        let ends = other.next_offset.map_or(other.first_offset < next, |end| end <= next);
        let is_itself =
            (self.first_offset, self.next_offset) == (other.first_offset, other.next_offset);
        self.hour == other.hour && begins && ends && !is_itself
    }
}

/// The objects of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The partition.
    pub partition: Partition,
    /// Full name of the topic.
    pub topic_name: String,
    /// Its objects that count, by offset.
    pub entries: Vec<Entry>,
    /// What a merge has left over: its rows are in an entry that counts.
    pub covered: Vec<Entry>,
    /// What a merge has not finished: its rows are in entries that count.
    pub unfinished: Vec<Entry>,
}

impl Chain {
    /// Tells apart what counts. A merge writes its object, then the manifest, then removes the sources, the first one
    /// first: as long as the first one is there, all are.
    fn new(partition: Partition, topic_name: String, mut all: Vec<Entry>) -> Self {
        all.sort_unstable();
        // The object and its manifest become one entry.
        all.dedup_by(|next, kept| {
            let name = |entry: &Entry| (entry.first_offset, entry.next_offset, entry.hour);
            let same = name(next) == name(kept);
            if same {
                kept.has_object |= next.has_object;
                kept.has_manifest |= next.has_manifest;
                kept.bytes = kept.bytes.max(next.bytes);
            }
            same
        });
        let begins: BTreeSet<(i64, i32, Option<i64>)> = all
            .iter()
            .filter(|entry| entry.has_object)
            .map(|entry| (entry.first_offset, entry.hour, entry.next_offset))
            .collect();
        let is_unfinished = |entry: &Entry| {
            let (first, hour, next) = (entry.first_offset, entry.hour, entry.next_offset);
            let mut shorter = begins.range((first, hour, None)..(first, hour, next));
            next.is_some() && !entry.is_whole() && shorter.next().is_some()
        };
        let (unfinished, all): (Vec<_>, Vec<_>) = all.into_iter().partition(is_unfinished);
        let mut merged: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
        for entry in all.iter().filter(|entry| entry.next_offset.is_some() && entry.is_whole()) {
            merged.entry(entry.hour).or_default().push(*entry);
        }
        let is_covered = |entry: &Entry| {
            merged.get(&entry.hour).is_some_and(|merged| merged.iter().any(|one| one.covers(entry)))
        };
        let (covered, entries) = all.into_iter().partition(is_covered);
        Self { partition, topic_name, entries, covered, unfinished }
    }

    /// The path of one of its objects.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> String {
        path_of(self.partition, &self.topic_name, entry)
    }
}

fn path_of(partition: Partition, topic_name: &str, entry: &Entry) -> String {
    let (first, ms) = (entry.first_offset, i64::from(entry.hour) * HOUR_MS);
    match entry.next_offset {
        None => object_path(partition, topic_name, first, ms),
        Some(next) => merged_path(partition, topic_name, (first, next), ms),
    }
}

/// What lies in an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// A chain for each partition, by topic and number.
    pub chains: Vec<Chain>,
    /// Paths that are no object and no manifest of ours, a thousand at most.
    pub strays: Vec<String>,
}

impl Catalogue {
    /// How many objects (or lone manifests) lie in these hours.
    #[must_use]
    pub fn count(&self, hours: &Hours) -> u64 {
        let entries = self.chains.iter().flat_map(|chain| &chain.entries);
        entries.filter(|entry| hours.hold(entry)).count() as u64
    }
}

/// Hours of an archive. An object lies in the hour of its first record, by Kafka's stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours(Range<i64>);

impl Hours {
    /// The hours that touch a range of time.
    #[must_use]
    pub fn of(range: TimeRange) -> Self {
        if range.is_empty() {
            return Self(0..0);
        }
        let last = range.to_us.saturating_sub(1).div_euclid(HOUR_US);
        Self(range.from_us.div_euclid(HOUR_US)..last.saturating_add(1))
    }

    /// Whether an object lies in them.
    #[must_use]
    pub fn hold(&self, entry: &Entry) -> bool {
        self.0.contains(&i64::from(entry.hour))
    }

    /// Some more hours on both sides.
    #[must_use]
    pub fn wider(&self, by: i64) -> Self {
        Self(self.0.start.saturating_sub(by)..self.0.end.saturating_add(by))
    }
}

impl Archive {
    /// Lists what lies in the folders of these topics.
    ///
    /// # Errors
    /// When the target does not answer.
    pub async fn catalogue(&self, topics: &[Topic]) -> Result<Catalogue, ArchiveError> {
        let mut found = Found::default();
        for &topic in topics {
            let mut before = self.marks(topic).await?;
            self.list(topic, &topic.suffix().into(), &mut found).await?;
            // A merge that removed what the listing had not reached yet had marked its hour before.
            loop {
                let after = self.marks(topic).await?;
                if after == before {
                    break;
                }
                let overtaken = after.since(&before);
                if overtaken.is_none() {
                    found.forget(topic, None);
                    self.list(topic, &topic.suffix().into(), &mut found).await?;
                }
                for hour in overtaken.into_iter().flatten() {
                    found.forget(topic, Some(hour));
                    let folder = hour_folder(topic, i64::from(hour) * HOUR_MS);
                    self.list(topic, &folder.into(), &mut found).await?;
                }
                before = after;
            }
        }
        Ok(found.finish())
    }

    /// The object into which one of a chain was merged since the chain was listed.
    ///
    /// # Errors
    /// When the target does not answer.
    pub async fn successor(
        &self,
        chain: &Chain,
        entry: &Entry,
    ) -> Result<Option<Entry>, ArchiveError> {
        let topic = chain.partition.topic;
        let folder = hour_folder(topic, i64::from(entry.hour) * HOUR_MS);
        let mut found = Found::default();
        self.list(topic, &folder.into(), &mut found).await?;
        let chains = found.finish().chains.into_iter();
        let now = chains
            .filter(|now| now.partition == chain.partition && now.topic_name == chain.topic_name);
        Ok(now.flat_map(|now| now.entries).find(|one| one.covers(entry)))
    }

    async fn list(
        &self,
        topic: Topic,
        folder: &Path,
        found: &mut Found,
    ) -> Result<(), ArchiveError> {
        let mut listed = self.target.list(Some(folder));
        while let Some(object) =
            listed.try_next().await.map_err(ArchiveError::of("list", folder.as_ref()))?
        {
            found.add(topic, object.location.as_ref(), object.size);
        }
        Ok(())
    }
}

/// What was listed so far, for each partition.
#[derive(Default)]
struct Found {
    chains: BTreeMap<(Partition, String), Vec<Entry>>,
    strays: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, topic: Topic, path: &str, bytes: u64) {
        match name_of(topic, path) {
            Some(((number, topic_name), mut entry)) => {
                entry.bytes = if entry.has_object { bytes } else { 0 };
                let chain = (Partition { topic, number }, topic_name);
                self.chains.entry(chain).or_default().push(entry);
            }
            None if self.strays.len() < STRAYS_MAX => {
                self.strays.insert(path.into());
            }
            None => {}
        }
    }

    /// Takes back what was found of an hour, or of all.
    fn forget(&mut self, topic: Topic, hour: Option<i32>) {
        for ((partition, _), entries) in &mut self.chains {
            if partition.topic == topic {
                entries.retain(|entry| hour.is_some_and(|hour| entry.hour != hour));
            }
        }
    }

    fn finish(self) -> Catalogue {
        let chains = self.chains.into_iter();
        let chains = chains.map(|((partition, name), all)| Chain::new(partition, name, all));
        let chains =
            chains.filter(|chain| !(chain.entries.is_empty() && chain.unfinished.is_empty()));
        Catalogue { chains: chains.collect(), strays: self.strays.into_iter().collect() }
    }
}

/// The object that a path names.
pub(super) fn entry_of(topic: Topic, path: &str) -> Option<Entry> {
    Some(name_of(topic, path)?.1)
}

/// What a path names: partition, name of the topic, and the object; none when it is no path of ours.
fn name_of(topic: Topic, path: &str) -> Option<((i32, String), Entry)> {
    let mut parts = path.split('/').skip(1);
    let date = parts.next()?.strip_prefix("date=")?;
    let hour = parts.next()?.strip_prefix("hour=")?;
    let file = parts.next()?;
    let (stem, has_object) = match file.strip_suffix(".parquet") {
        Some(stem) => (stem, true),
        None => (file.strip_suffix(".json")?, false),
    };
    let hour = parse_rfc3339(&format!("{date}T{hour}:00:00Z")).ok()?.div_euclid(HOUR_US);
    let hour = i32::try_from(hour).ok()?;
    let entry = Entry { hour, has_object, has_manifest: !has_object, ..Entry::default() };
    let (name, last) = stem.rsplit_once('-')?;
    let last = last.parse().ok()?;
    let plain = || {
        let (topic_name, number) = name.rsplit_once('-')?;
        Some((topic_name, number, Entry { first_offset: last, ..entry }))
    };
    let merged = || {
        let (name, first) = name.rsplit_once('-')?;
        let (topic_name, number) = name.rsplit_once('-')?;
        let first_offset = first.parse().ok()?;
        Some((topic_name, number, Entry { first_offset, next_offset: Some(last), ..entry }))
    };
    [plain(), merged()].into_iter().flatten().find_map(|(topic_name, number, entry)| {
        let number = number.parse().ok()?;
        // Only what gives the same path again: anything else could not be found by its name. No number of a
        // partition has 20 digits, so that one name cannot be both.
        let object = path_of(Partition { topic, number }, topic_name, &entry);
        let again = if has_object { object } else { manifest_path(&object) };
        (again == path).then(|| ((number, topic_name.to_owned()), entry))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_named_otherwise_is_a_stray() {
        for path in [
            "logs/date=2026-03-01/hour=10/weir.logs-3-00000000000000001200.csv",
            "logs/date=2026-03-01/hour=10/weir.logs-3-1200.parquet",
            "logs/date=2026-03-01/hour=10/00000000000000001200.parquet",
            "logs/date=2026-13-01/hour=10/weir.logs-3-00000000000000001200.parquet",
            "logs/weir.logs-3-00000000000000001200.parquet",
            "logs/date=2026-03-01/hour=10/weir.logs-3-00000000000000001200-1300.parquet",
        ] {
            assert_eq!(name_of(Topic::Logs, path), None, "{path}");
        }
    }

    #[test]
    fn object_and_manifest_are_one_entry_and_offsets_give_the_order() {
        let mut found = Found::default();
        let partition = Partition { topic: Topic::Logs, number: 0 };
        // The later object lies in an earlier hour: a gateway was behind.
        for (offset, hour) in [(7, 4), (20, 3)] {
            let path = object_path(partition, "weir.logs", offset, hour * HOUR_MS);
            found.add(Topic::Logs, &manifest_path(&path), 9);
            if offset == 7 {
                found.add(Topic::Logs, &path, 70);
            }
        }
        found.add(Topic::Logs, "logs/notes.txt", 1);
        let catalogue = found.finish();
        let entry = |first_offset, hour, has_object: bool| Entry {
            first_offset,
            hour,
            has_object,
            has_manifest: true,
            bytes: if has_object { 70 } else { 0 },
            ..Entry::default()
        };
        assert_eq!(catalogue.chains.len(), 1);
        assert_eq!(catalogue.chains[0].entries, [entry(7, 4, true), entry(20, 3, false)]);
        assert_eq!(catalogue.strays, ["logs/notes.txt"]);
    }

    /// An entry of hour 1; `next` 0 for one that was not merged.
    fn entry(first_offset: i64, next: i64, has_object: bool, has_manifest: bool) -> Entry {
        let next_offset = (next > 0).then_some(next);
        Entry { first_offset, next_offset, hour: 1, has_object, has_manifest, bytes: 0 }
    }

    #[test]
    fn a_merged_object_counts_from_when_it_is_whole() {
        let partition = Partition { topic: Topic::Logs, number: 0 };
        let chain = |all: &[Entry]| Chain::new(partition, "weir.logs".into(), all.to_vec());
        let sources = [entry(0, 0, true, true), entry(5, 0, true, true), entry(9, 0, true, true)];
        let with = |more: &[Entry], sources: &[Entry]| chain(&[more, sources].concat());

        // The object is there and not the manifest: the sources count.
        let begun = entry(0, 12, true, false);
        let found = with(&[begun], &sources);
        assert_eq!((found.entries, found.unfinished), (sources.to_vec(), vec![begun]));

        // Whole: it counts, whatever is left of the sources.
        let merged = entry(0, 12, true, true);
        for left in 0..=3 {
            let found = with(&[merged], &sources[left..]);
            assert_eq!((found.entries, found.covered), (vec![merged], sources[left..].to_vec()));
        }
        // Of another hour is another history, of before the topic was made anew.
        let other = Entry { hour: 7, ..sources[1] };
        assert_eq!(with(&[merged], &[other]).entries, [merged, other]);

        // Merged again, with what came late.
        let again = entry(0, 20, true, true);
        let found = with(&[again, merged], &[entry(12, 0, true, true)]);
        assert_eq!((found.entries, found.covered.len()), (vec![again], 2));
        let found = with(&[entry(0, 20, true, false), merged], &[entry(12, 0, true, true)]);
        assert_eq!((found.entries.len(), found.covered.len(), found.unfinished.len()), (2, 0, 1));

        // Its manifest was lost later: that is no merge under way, and what is left counts beside it.
        let damaged = entry(0, 12, true, false);
        let found = with(&[damaged], &sources[2..]);
        assert_eq!(found.entries, [damaged, sources[2]]);
    }

    #[test]
    fn hours_touch_the_range() {
        let at = |hour| Entry { hour, ..Entry::default() };
        let hours = Hours::of(TimeRange { from_us: HOUR_US + 1, to_us: 3 * HOUR_US });
        let held: Vec<i32> = (0..5).filter(|&hour| hours.hold(&at(hour))).collect();
        assert_eq!(held, [1, 2]);
        let all = Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX }).wider(24);
        assert!(all.hold(&at(i32::MAX)) && all.hold(&at(-1)));
        let none = Hours::of(TimeRange { from_us: 5, to_us: 5 });
        assert!(!none.hold(&at(1)));
    }

    proptest! {
        #[test]
        fn a_path_names_its_object(
            number in 0i32..2_000,
            first_offset in 0i64..i64::MAX / 2,
            more in 1i64..i64::MAX / 2,
            kafka_ms in -1i64..4_000_000_000_000,
            prefix in "[a-z][a-z.-]{0,8}",
        ) {
            let partition = Partition { topic: Topic::Readings, number };
            let name = format!("{prefix}readings");
            let path = object_path(partition, &name, first_offset, kafka_ms);
            let ((found, topic_name), entry) = name_of(Topic::Readings, &path)
                .ok_or_else(|| TestCaseError::fail(path.clone()))?;
            prop_assert_eq!((found, &topic_name), (number, &name));
            let chain = Chain::new(partition, topic_name, Vec::new());
            prop_assert_eq!(chain.path(&entry), path);

            let path = merged_path(partition, &name, (first_offset, first_offset + more), kafka_ms);
            let found = name_of(Topic::Readings, &manifest_path(&path));
            let ((found, topic_name), entry) = found.ok_or_else(|| TestCaseError::fail(path.clone()))?;
            prop_assert_eq!((found, &topic_name), (number, &name));
            prop_assert_eq!(chain.path(&entry), path);
        }
    }
}
