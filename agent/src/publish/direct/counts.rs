//! How many partitions topics have, remembered on disk for a start without network.
//!
//! In: what metadata tells. Out: the number of a topic, for every event that is spooled. The file is a
//! JSON object of topic and number; one that cannot be read is as good as none, because a wrong
//! number only costs a batch that is packed twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The numbers.
#[derive(Debug)]
pub(super) struct PartitionCounts {
    file: Option<PathBuf>,
    // A handful: to look through them is cheaper than to hash.
    known: RwLock<Vec<(Arc<str>, u32)>>,
}

impl PartitionCounts {
    /// As remembered in `file`, or none.
    pub(super) fn open(file: Option<PathBuf>) -> Self {
        let text = file.as_ref().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        let known: BTreeMap<String, u32> = serde_json::from_slice(&text).unwrap_or_default();
        let known = known.into_iter().filter(|(_, count)| *count > 0);
        let known = known.map(|(topic, count)| (topic.into(), count)).collect();
        Self { file, known: RwLock::new(known) }
    }

    /// The number of partitions of a topic, if it was ever heard of.
    pub(super) fn get(&self, topic: &str) -> Option<u32> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(name, _)| **name == *topic).map(|(_, count)| *count)
    }

    /// Notes what was heard, and writes it down if it is new.
    pub(super) fn learn(&self, heard: &[(Arc<str>, u32)]) {
        if heard.iter().all(|(topic, count)| self.get(topic) == Some(*count)) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (topic, count) in heard {
            match known.iter_mut().find(|(name, _)| name == topic) {
                Some((_, known)) => *known = *count,
                None => known.push((topic.clone(), *count)),
            }
        }
        let all: BTreeMap<&str, u32> =
            known.iter().map(|(name, count)| (&**name, *count)).collect();
        let text = serde_json::to_vec(&all).unwrap_or_default();
        drop(known);
        let Some(file) = &self.file else { return };
        let draft = file.with_extension("draft");
        let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, file));
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "partition counts are not remembered");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_remembered_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("partitions.json");
        let open = || PartitionCounts::open(Some(file.clone()));
        let counts = open();
        assert_eq!(counts.get("a"), None);
        counts.learn(&[("a".into(), 4), ("b".into(), 6)]);
        counts.learn(&[("a".into(), 12)]);
        let again = open();
        assert_eq!((again.get("a"), again.get("b"), again.get("c")), (Some(12), Some(6), None));
        std::fs::write(&file, b"{\"a\":0,").unwrap();
        assert_eq!(open().get("a"), None);
        // Without a file they are known as long as the process lives.
        let counts = PartitionCounts::open(None);
        counts.learn(&[("a".into(), 4)]);
        assert_eq!(counts.get("a"), Some(4));
    }
}
