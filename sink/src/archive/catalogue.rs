//! Catalogue: what lies in an archive, by the names of its files.
//!
//! In: the listing of the target. Out: for every partition the chain of its objects in the order of their
//! offsets, and whether object and manifest are both there. Promises: names follow from offset and
//! hour, so 24 bytes an object are kept and no manifest is read. What is named otherwise is a stray.
//! What can go wrong: the target does not answer.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::TryStreamExt;
use object_store::path::Path;
use weir_models::time::{HOUR_US, parse_rfc3339};
use weir_models::topic::Topic;

use super::object::HOUR_MS;
use super::{Archive, ArchiveError, manifest_path, object_path};
use crate::consume::Partition;
use crate::store::TimeRange;

/// Most strays that are kept by name.
const STRAYS_MAX: usize = 1_000;

/// Names one object of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Offset of its first row.
    pub first_offset: i64,
    /// Hours since the Unix epoch, of its folder.
    pub hour: i32,
    /// Whether the object is there.
    pub has_object: bool,
    /// Whether its manifest is there.
    pub has_manifest: bool,
}

/// The objects of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The partition.
    pub partition: Partition,
    /// Full name of the topic.
    pub topic_name: String,
    /// Its objects, by offset.
    pub entries: Vec<Entry>,
}

impl Chain {
    /// The path of one of its objects.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> String {
        let ms = i64::from(entry.hour) * HOUR_MS;
        object_path(self.partition, &self.topic_name, entry.first_offset, ms)
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
        for topic in topics {
            let folder = Path::from(topic.suffix());
            let failed = |source| ArchiveError { what: "list", path: folder.to_string(), source };
            let mut listed = self.target.list(Some(&folder));
            while let Some(object) = listed.try_next().await.map_err(failed)? {
                found.add(*topic, object.location.as_ref());
            }
        }
        Ok(found.finish())
    }
}

/// What was listed so far: for each partition the flags of its objects by offset and hour.
#[derive(Default)]
struct Found {
    chains: BTreeMap<(Partition, String), Vec<Entry>>,
    strays: Vec<String>,
}

impl Found {
    fn add(&mut self, topic: Topic, path: &str) {
        match name_of(topic, path) {
            Some(((number, topic_name), entry)) => {
                let chain = (Partition { topic, number }, topic_name);
                self.chains.entry(chain).or_default().push(entry);
            }
            None if self.strays.len() < STRAYS_MAX => self.strays.push(path.into()),
            None => {}
        }
    }

    fn finish(mut self) -> Catalogue {
        self.strays.sort_unstable();
        let chain = |((partition, topic_name), mut entries): (_, Vec<Entry>)| {
            entries.sort_unstable();
            // The object and its manifest become one entry.
            entries.dedup_by(|next, kept| {
                let same = (next.first_offset, next.hour) == (kept.first_offset, kept.hour);
                if same {
                    kept.has_object |= next.has_object;
                    kept.has_manifest |= next.has_manifest;
                }
                same
            });
            Chain { partition, topic_name, entries }
        };
        Catalogue { chains: self.chains.into_iter().map(chain).collect(), strays: self.strays }
    }
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
    let (name, offset) = stem.rsplit_once('-')?;
    let (topic_name, number) = name.rsplit_once('-')?;
    let hour = parse_rfc3339(&format!("{date}T{hour}:00:00Z")).ok()?.div_euclid(HOUR_US);
    let hour = i32::try_from(hour).ok()?;
    let number = number.parse().ok()?;
    let entry =
        Entry { first_offset: offset.parse().ok()?, hour, has_object, has_manifest: !has_object };
    // Only what gives the same path again: anything else could not be found by its name.
    let partition = Partition { topic, number };
    let object = object_path(partition, topic_name, entry.first_offset, i64::from(hour) * HOUR_MS);
    let again = if has_object { object } else { manifest_path(&object) };
    (again == path).then(|| ((number, topic_name.to_owned()), entry))
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
            found.add(Topic::Logs, &manifest_path(&path));
            if offset == 7 {
                found.add(Topic::Logs, &path);
            }
        }
        found.add(Topic::Logs, "logs/notes.txt");
        let catalogue = found.finish();
        let entry = |first_offset, hour, has_object| Entry {
            first_offset,
            hour,
            has_object,
            has_manifest: true,
        };
        assert_eq!(catalogue.chains.len(), 1);
        assert_eq!(catalogue.chains[0].entries, [entry(7, 4, true), entry(20, 3, false)]);
        assert_eq!(catalogue.strays, ["logs/notes.txt"]);
    }

    #[test]
    fn hours_touch_the_range() {
        let at = |hour| Entry { first_offset: 0, hour, has_object: true, has_manifest: true };
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
            first_offset in 0i64..i64::MAX,
            kafka_ms in -1i64..4_000_000_000_000,
            prefix in "[a-z][a-z.-]{0,8}",
        ) {
            let partition = Partition { topic: Topic::Readings, number };
            let name = format!("{prefix}readings");
            let path = object_path(partition, &name, first_offset, kafka_ms);
            let ((found, topic_name), entry) = name_of(Topic::Readings, &path)
                .ok_or_else(|| TestCaseError::fail(path.clone()))?;
            prop_assert_eq!((found, &topic_name), (number, &name));
            let chain = Chain { partition, topic_name, entries: Vec::new() };
            prop_assert_eq!(chain.path(&entry), path);
        }
    }
}
