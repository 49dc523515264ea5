//! The committed offsets of the one consumer group.
//!
//! In: commits. Out: a JSON file, replaced as a whole (write, sync, rename, sync the folder), so that
//! a power cut leaves the old one or the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_models::topic::Topic;

/// The positions cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use `{path}`: {reason}; restore the file, or delete it: everything still in the topics is then consumed again, and recognised as known"
)]
pub struct PositionsError {
    path: PathBuf,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) offset: i64,
    pub(super) note: String,
}

#[derive(Debug)]
pub(super) struct Positions {
    path: PathBuf,
    by_partition: BTreeMap<String, Position>,
}

fn name(topic: Topic, partition: i32) -> String {
    format!("{}-{partition}", topic.suffix())
}

impl Positions {
    pub(super) fn open(path: &Path) -> Result<Self, PositionsError> {
        let failed = |reason: String| PositionsError { path: path.into(), reason };
        let by_partition = match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| failed(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { path: path.into(), by_partition })
    }

    pub(super) fn get(&self, topic: Topic, partition: i32) -> Option<&Position> {
        self.by_partition.get(&name(topic, partition))
    }

    /// The committed offset, 0 when there is none.
    pub(super) fn next(&self, topic: Topic, partition: u32) -> u64 {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        self.get(topic, partition).map_or(0, |p| u64::try_from(p.offset).unwrap_or(0))
    }

    pub(super) fn commit(
        &mut self,
        positions: impl Iterator<Item = (Topic, i32, Position)>,
    ) -> Result<(), PositionsError> {
        for (topic, partition, position) in positions {
            self.by_partition.insert(name(topic, partition), position);
        }
        self.save()
            .map_err(|error| PositionsError { path: self.path.clone(), reason: error.to_string() })
    }

    fn save(&self) -> std::io::Result<()> {
        let draft = self.path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(&self.by_partition)?)?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}
