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
    /// By topic and partition: all before this offset is done. Objects may be merged between two runs, offsets stay.
    done: BTreeMap<String, i64>,
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

    /// The offset before which all is done.
    pub(super) fn reached_offset(&self, chain: &Chain) -> i64 {
        self.state.done.get(&name(chain)).copied().unwrap_or(i64::MIN)
    }

    /// All before this offset is done.
    pub(super) fn reached(&mut self, chain: &Chain, offset: i64) -> Result<(), String> {
        self.state.done.insert(name(chain), offset);
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

/// Whether a replay that reached an offset is past an entry, by where the `next` one begins: a name says where an
/// object begins.
pub(super) fn is_past(reached: i64, entry: &Entry, next: Option<&Entry>) -> bool {
    match (entry.next_offset, next) {
        (Some(end), _) => end <= reached,
        (None, Some(next)) => next.first_offset <= reached,
        (None, None) => false,
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
        first.reached(&chain(0), 27).unwrap();
        first.save().unwrap();

        let second = Position::open(Some(&file), "a").unwrap();
        assert_eq!([0, 1].map(|n| second.reached_offset(&chain(n))), [27, i64::MIN]);
        let past = |offset, next| is_past(27, &entry(offset), Some(&entry(next)));
        assert_eq!([past(5, 20), past(20, 30), past(30, 40)], [true, false, false]);
        assert!(past(20, 27) && !is_past(27, &entry(20), None));
        assert!(!is_past(i64::MIN, &entry(5), Some(&entry(20))));
        // What was passed object by object has become one meanwhile.
        let merged = |next| Entry { next_offset: Some(next), ..entry(5) };
        assert!(is_past(27, &merged(27), None) && !is_past(27, &merged(40), None));
        let other = Position::open(Some(&file), "b").unwrap_err();
        assert!(other.contains("another replay (a)"), "{other}");
        std::fs::write(&file, b"{").unwrap();
        assert!(Position::open(Some(&file), "a").unwrap_err().contains("is no position"));
    }
}
