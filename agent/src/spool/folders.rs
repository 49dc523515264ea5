//! Where the strands of a lane lie.
//!
//! The first strand has the folder of the lane (`3-rest`), as it was when a lane had no other; those
//! after it have its name and their number (`3-rest.1`). What is read to its end is renamed
//! (`3-rest.1.gone`) before it is deleted, so that it is there as a whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use super::log::sync_folder;
use super::{Lane, Strand};

const GONE: &str = "gone";

impl Strand {
    /// The folder of the strand in that of the spool.
    pub(super) fn folder(self) -> String {
        let Strand { lane, number } = self;
        if number == 0 { lane.folder() } else { format!("{}.{number}", lane.folder()) }
    }
}

/// The strands of a lane that are there, oldest first; the first one if there is none. A spool that is
/// not there has none.
pub(super) fn strands(spool: &Path, lane: Lane) -> io::Result<Vec<Strand>> {
    let entries = match std::fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(first(lane)),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| number_of(name, lane));
        if let Some(number) = number.filter(|_| path.is_dir()) {
            found.push(Strand { lane, number });
        }
    }
    found.sort_unstable();
    Ok(if found.is_empty() { first(lane) } else { found })
}

fn first(lane: Lane) -> Vec<Strand> {
    vec![Strand { lane, number: 0 }]
}

/// The number of the strand whose folder is named so.
fn number_of(name: &str, lane: Lane) -> Option<u64> {
    let number = match name.strip_prefix(&lane.folder())? {
        "" => 0,
        rest => rest.strip_prefix('.')?.parse().ok()?,
    };
    (Strand { lane, number }.folder() == name).then_some(number)
}

/// Takes a strand away for good.
pub(super) fn remove(spool: &Path, strand: Strand) -> io::Result<()> {
    let from = spool.join(strand.folder());
    let to = spool.join(format!("{}.{GONE}", strand.folder()));
    if to.exists() {
        std::fs::remove_dir_all(&to)?;
    }
    std::fs::rename(&from, &to)?;
    // What a power cut would bring back in parts must have lost its name before.
    sync_folder(spool)?;
    std::fs::remove_dir_all(&to)
}

/// Deletes what a killed process has left of strands that were to go.
pub(super) fn sweep(spool: &Path) {
    for path in left_over(spool) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "could not be deleted, delete it by hand");
        }
    }
}

/// What a killed process has left of strands that were to go.
pub(super) fn left_over(spool: &Path) -> Vec<PathBuf> {
    let is_gone = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(GONE)?.strip_suffix('.'));
        let is_ours = |stem| Lane::ALL.into_iter().any(|lane| number_of(stem, lane).is_some());
        stem.is_some_and(is_ours) && path.is_dir() && !path.is_symlink()
    };
    let entries = std::fs::read_dir(spool).into_iter().flatten();
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths.filter(is_gone).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_name_of_one_strand_and_a_strand_one_folder() {
        #[track_caller]
        fn check(name: &str, number: Option<u64>) {
            assert_eq!(number_of(name, Lane::Rest), number, "{name}");
        }
        check("3-rest", Some(0));
        check("3-rest.1", Some(1));
        check("3-rest.18446744073709551615", Some(u64::MAX));
        for name in
            ["3-rest.0", "3-rest.01", "3-rest.+1", "3-rest.1.gone", "3-rest.bad", "2-readings"]
        {
            check(name, None);
        }
    }

    #[test]
    fn strands_are_found_in_their_order_and_go_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let strand = |number| Strand { lane: Lane::Rest, number };
        assert_eq!(strands(&dir.path().join("none"), Lane::Rest).unwrap(), [strand(0)]);
        for name in ["3-rest.10", "3-rest.9", "3-rest.9.gone", "2-readings", "notes.gone"] {
            std::fs::create_dir_all(dir.path().join(name).join("x")).unwrap();
        }
        std::fs::write(dir.path().join("3-rest.11"), b"").unwrap();
        assert_eq!(strands(dir.path(), Lane::Rest).unwrap(), [strand(9), strand(10)]);
        remove(dir.path(), strand(9)).unwrap();
        assert_eq!(strands(dir.path(), Lane::Rest).unwrap(), [strand(10)]);
        std::fs::create_dir(dir.path().join("2-readings.gone")).unwrap();
        assert_eq!(left_over(dir.path()), [dir.path().join("2-readings.gone")]);
        sweep(dir.path());
        assert_eq!(left_over(dir.path()), Vec::<PathBuf>::new());
        assert!(dir.path().join("notes.gone").is_dir(), "not ours");
    }
}
