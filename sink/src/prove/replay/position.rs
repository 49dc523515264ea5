//! Position: what of a replay is done, in a file.
//!
//! In: how far each partition is. Out: a JSON file that takes the place of the one before it as a whole, a second
//! after the last one and at the end of each object. What can go wrong: the file cannot be read or written, or is
//! of another replay.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::archive::{Chain, Entry};

const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// What is replayed where to.
    task: String,
    /// By topic and partition.
    done: BTreeMap<String, Reached>,
}

/// How far a partition is. Objects may overlap, and be merged between two runs, so it takes both: all objects that begin before
/// the one being sent are done, and of that one all before the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Where the object begins that is being sent.
    first_offset: i64,
    /// Its hour, since the Unix epoch.
    hour: i32,
    /// What of it is done.
    pub(super) next_offset: i64,
}

/// What is done.
#[derive(Debug)]
pub(super) struct Position {
    file: Option<PathBuf>,
    state: State,
    saved: Instant,
}

fn name(chain: &Chain) -> String {
    format!("{}/{}", chain.topic_name, chain.partition.number)
}

impl Position {
    /// Reads the file, if there is one.
    pub(super) fn open(file: Option<&Path>, task: &str) -> Result<Self, String> {
        let mut state = State { task: task.into(), ..State::default() };
        if let Some(file) = file {
            let shown = file.display();
            match std::fs::read(file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("cannot read the position `{shown}`: {error}")),
                Ok(bytes) => {
                    state = serde_json::from_slice(&bytes).map_err(|error| {
                        format!("`{shown}` is no position: {error}; remove it to begin anew")
                    })?;
                    if state.task != task {
                        let of = state.task;
                        return Err(format!(
                            "`{shown}` is the position of another replay ({of}): name another file"
                        ));
                    }
                }
            }
        }
        Ok(Self { file: file.map(Path::to_owned), state, saved: Instant::now() })
    }

    /// How far a partition is; none when it was not begun.
    pub(super) fn of(&self, chain: &Chain) -> Option<Reached> {
        self.state.done.get(&name(chain)).copied()
    }

    /// All before an entry is done, and of it all before this offset.
    pub(super) fn reached(
        &mut self,
        chain: &Chain,
        entry: &Entry,
        next_offset: i64,
    ) -> Result<(), String> {
        let Entry { first_offset, hour, .. } = *entry;
        self.state.done.insert(name(chain), Reached { first_offset, hour, next_offset });
        if self.saved.elapsed() >= SAVE_EVERY { self.save() } else { Ok(()) }
    }

    /// Writes the file, synced.
    pub(super) fn save(&mut self) -> Result<(), String> {
        self.saved = Instant::now();
        let Some(file) = &self.file else {
            return Ok(());
        };
        let half = file.with_extension("half");
        let json = serde_json::to_vec(&self.state).unwrap_or_default();
        let write = || {
            let mut new = std::fs::File::create(&half)?;
            new.write_all(&json)?;
            new.sync_all()?;
            std::fs::rename(&half, file)
        };
        write().map_err(|error| format!("cannot write the position `{}`: {error}", file.display()))
    }
}

/// From which offset on the rows of an entry are still to be sent; none when a replay is past it. In doubt they are sent again.
pub(super) fn open_from(reached: Option<Reached>, entry: &Entry) -> Option<i64> {
    let all = Some(i64::MIN);
    let Some(Reached { first_offset, hour, next_offset }) = reached else {
        return all;
    };
    let begins_before = entry.first_offset < first_offset;
    let is_same = (entry.first_offset, entry.hour) == (first_offset, hour);
    match entry.next_offset {
        None if is_same => Some(next_offset),
        None if begins_before => None,
        // What was being sent is in it.
        Some(end) if (is_same || begins_before && entry.hour == hour) && first_offset < end => {
            (next_offset < end).then_some(next_offset)
        }
        // What it was merged of was sent, as far as that began before.
        Some(end) if begins_before => (first_offset < end).then_some(first_offset),
        _ => all,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use weir_models::topic::Topic;

    use super::*;
    use crate::consume::Partition;

    #[test]
    fn a_position_goes_on_where_it_was_and_only_for_its_replay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("position.json");
        let chain = |number| Chain {
            partition: Partition { topic: Topic::Logs, number },
            topic_name: "weir.logs".into(),
            entries: Vec::new(),
            covered: Vec::new(),
            unfinished: Vec::new(),
        };
        let entry = |first_offset| Entry { first_offset, ..Entry::default() };
        let mut first = Position::open(Some(&file), "a").unwrap();
        first.reached(&chain(0), &entry(20), 27).unwrap();
        first.save().unwrap();

        let second = Position::open(Some(&file), "a").unwrap();
        let (reached, all) = (second.of(&chain(0)), Some(i64::MIN));
        assert_eq!(second.of(&chain(1)), None);
        assert_eq!(open_from(None, &entry(5)), all);
        let open = |entry| open_from(reached, &entry);
        // Others overlap with the one that is being sent, or are of a topic that was made anew.
        assert_eq!([5, 20, 21, 30].map(|n| open(entry(n))), [None, Some(27), all, all]);
        assert_eq!(open(Entry { hour: 9, ..entry(20) }), all);
        assert_eq!(open(Entry { hour: 9, ..entry(19) }), None);
        // What was passed object by object has become one meanwhile.
        let merged = |hour, next| Entry { next_offset: Some(next), hour, ..entry(5) };
        assert_eq!([10, 27, 40].map(|next| open(merged(0, next))), [None, None, Some(27)]);
        assert_eq!([10, 27].map(|next| open(merged(9, next))), [None, Some(20)]);
        let other = Position::open(Some(&file), "b").unwrap_err();
        assert!(other.contains("another replay (a)"), "{other}");
        std::fs::write(&file, b"{").unwrap();
        assert!(Position::open(Some(&file), "a").unwrap_err().contains("is no position"));
    }
}
