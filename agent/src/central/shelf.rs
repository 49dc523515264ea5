//! Shelf: the models that were good, on disk.
//!
//! In and out: for each key the model in force, the one before it, and the version below which nothing is taken any more.
//! Promises: a file is there whole or not at all (written under another name, synced, renamed, the folder synced), and
//! between any two steps a model that was good can be read. A file that was changed is found by its signature. What can
//! go wrong: the disk; then what runs goes on, and the next start begins with less.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use weir_models::central::{MODEL_BYTES_MAX, key_hash};

use crate::spool::log::sync_folder;

/// What there is of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) current: Option<Vec<u8>>,
    pub(super) previous: Option<Vec<u8>>,
    pub(super) floor: u64,
    /// The floor is that of a withdrawal: what lies at or below it does not judge.
    pub(super) is_withdrawn: bool,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

const CURRENT: &str = "model";
const PREVIOUS: &str = "previous";
const FLOOR: &str = "floor";
const WITHDRAWN: &str = "withdrawn";

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The name of the files of a key.
    pub(super) fn stem(key: &str) -> String {
        key_hash(key).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Everything, by [`Shelf::stem`].
    pub(super) fn load(&self) -> io::Result<Vec<(String, Kept)>> {
        let mut all = Vec::<(String, Kept)>::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let part = |part: Option<&std::ffi::OsStr>| part?.to_str().map(str::to_owned);
            let (Some(stem), Some(of)) = (part(path.file_stem()), part(path.extension())) else {
                continue;
            };
            if ![CURRENT, PREVIOUS, FLOOR].contains(&&*of) {
                continue;
            }
            let length = fs::metadata(&path)?.len();
            if length > MODEL_BYTES_MAX as u64 {
                tracing::warn!(path = %path.display(), length, "not a model, left alone");
                continue;
            }
            let bytes = fs::read(&path)?;
            let kept = match all.iter_mut().position(|(known, _)| *known == stem) {
                Some(at) => &mut all[at].1,
                None => {
                    all.push((stem, Kept::default()));
                    let Some((_, kept)) = all.last_mut() else { continue };
                    kept
                }
            };
            match &*of {
                CURRENT => kept.current = Some(bytes),
                PREVIOUS => kept.previous = Some(bytes),
                _ => {
                    let text = String::from_utf8_lossy(&bytes);
                    let mut words = text.split_whitespace();
                    let floor = words.next().and_then(|word| word.parse().ok());
                    kept.floor = floor.unwrap_or_default();
                    kept.is_withdrawn = words.next() == Some(WITHDRAWN);
                }
            }
        }
        Ok(all)
    }

    /// Puts a model in force. The one that was becomes the one before it if it is good (`keeps`), else there is none.
    pub(super) fn put(&self, stem: &str, bytes: &[u8], keeps: bool) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let part = self.write_part(stem, bytes)?;
        let (current, previous) = (self.path(stem, CURRENT), self.path(stem, PREVIOUS));
        if keeps {
            if_there(fs::rename(&current, &previous))?;
        }
        fs::rename(part, current)?;
        if !keeps {
            if_there(fs::remove_file(previous))?;
        }
        self.sync()
    }

    /// Takes the model in force away: the one before it takes its place, if there is one and `to_previous` says so.
    pub(super) fn drop_current(&self, stem: &str, to_previous: bool) -> io::Result<()> {
        let (current, previous) = (self.path(stem, CURRENT), self.path(stem, PREVIOUS));
        if to_previous && previous.exists() {
            fs::rename(previous, current)?;
        } else {
            if_there(fs::remove_file(previous))?;
            if_there(fs::remove_file(current))?;
        }
        self.sync()
    }

    /// Nothing up to `version` is taken any more; where it was withdrawn, nothing of it that is here judges either.
    pub(super) fn set_floor(&self, stem: &str, version: u64, is_withdrawn: bool) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mark = if is_withdrawn { WITHDRAWN } else { "" };
        let part = self.write_part(stem, format!("{version} {mark}").as_bytes())?;
        fs::rename(part, self.path(stem, FLOOR))?;
        self.sync()
    }

    fn path(&self, stem: &str, of: &str) -> PathBuf {
        self.folder.join(format!("{stem}.{of}"))
    }

    fn write_part(&self, stem: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path(stem, "part");
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(path)
    }

    fn sync(&self) -> io::Result<()> {
        if_there(sync_folder(&self.folder))
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What is not there need not be moved, nor brought to the disk.
fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn kept(current: &str, previous: &str, floor: u64) -> Kept {
        let bytes = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        let is_withdrawn = floor == 9;
        Kept { current: bytes(current), previous: bytes(previous), floor, is_withdrawn }
    }

    #[test]
    fn the_one_in_force_and_the_one_before_are_there_after_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("models"));
        assert!(shelf.load().unwrap().is_empty());
        shelf.drop_current("a", false).unwrap();
        type Step = fn(&Shelf) -> io::Result<()>;
        let steps: [(Step, Kept); 11] = [
            (|shelf| shelf.put("a", b"0", true), kept("0", "", 0)),
            (|shelf| shelf.put("a", b"1", false), kept("1", "", 0)),
            (|shelf| shelf.put("a", b"2", true), kept("2", "1", 0)),
            (|shelf| shelf.set_floor("a", 9, true), kept("2", "1", 9)),
            (|shelf| shelf.set_floor("a", 2, false), kept("2", "1", 2)),
            (|shelf| shelf.drop_current("a", true), kept("1", "", 2)),
            (|shelf| shelf.drop_current("a", true), kept("", "", 2)),
            (|shelf| shelf.put("a", b"3", true), kept("3", "", 2)),
            (|shelf| shelf.put("a", b"4", true), kept("4", "3", 2)),
            (|shelf| shelf.put("a", b"5", false), kept("5", "", 2)),
            (|shelf| shelf.drop_current("a", false), kept("", "", 2)),
        ];
        for (step, expected) in steps {
            step(&shelf).unwrap();
            assert_eq!(shelf.load().unwrap(), [("a".to_owned(), expected)]);
        }
    }

    #[test]
    fn what_is_half_written_or_foreign_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().into());
        fs::write(folder.path().join("a.part"), b"half").unwrap();
        fs::write(folder.path().join("b.model"), vec![0; MODEL_BYTES_MAX + 1]).unwrap();
        fs::write(folder.path().join("notes"), b"x").unwrap();
        assert!(shelf.load().unwrap().is_empty());
        fs::write(folder.path().join("c.floor"), b"not a number").unwrap();
        assert_eq!(shelf.load().unwrap(), [("c".to_owned(), Kept::default())]);
    }

    #[test]
    fn names_are_those_of_files_everywhere() {
        let stem = Shelf::stem("expected/a b/ü/*");
        assert!(stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_hexdigit()), "{stem}");
        assert_ne!(stem, Shelf::stem("expected/a b/u/*"));
    }
}
