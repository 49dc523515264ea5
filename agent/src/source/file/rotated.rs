//! Rotated files: what a log file is called after its rotation.
//!
//! In: a followed path. Out: its siblings by the naming of logrotate and its like (`app.log.1`,
//! `app.log-20261121`, `app.log.2026-11-21T10`), never compressed ones. Pure but for looking into
//! the folder; what cannot be read is not there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The rotated siblings of `path`, in no order.
pub(super) fn siblings(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let name = name.as_encoded_bytes();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_rotated(name, entry.file_name().as_encoded_bytes()))
        .map(|entry| entry.path())
        .collect()
}

/// Whether `other` is what a file called `name` is called after its rotation.
fn is_rotated(name: &[u8], other: &[u8]) -> bool {
    match other.strip_prefix(name) {
        Some([b'.' | b'-', rest @ ..]) => {
            rest.first().is_some_and(u8::is_ascii_digit)
                && rest
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || b"-_.:T".contains(byte))
        }
        _ => false,
    }
}

/// What to read after the file `finished` (device and inode, last change in nanoseconds), which
/// used to be at `path`: the oldest of the files that were changed after it. That is the file at
/// `path`, or one that was rotated away while nobody looked.
pub(super) fn next_after(path: &Path, finished: (u64, u64), changed_ns: i128) -> Option<PathBuf> {
    let mut candidates = siblings(path);
    candidates.push(path.into());
    let changed = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        let is_other = (metadata.dev(), metadata.ino()) != finished;
        // The file at the path is next whatever its clock says.
        let at = self::changed_ns(&metadata);
        (is_other && metadata.is_file()).then_some((at, path))
    };
    let current = changed(path.into())?;
    candidates
        .into_iter()
        .filter_map(changed)
        .filter(|(at, _)| *at > changed_ns && *at < current.0)
        .min()
        .or(Some(current))
        .map(|(_, path)| path)
}

/// When the content was last changed, in nanoseconds since the Unix epoch.
pub(super) fn changed_ns(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_recognised() {
        for name in [
            "app.log.1",
            "app.log.12",
            "app.log-20261121",
            "app.log.2026-11-21T10:00",
        ] {
            assert!(is_rotated(b"app.log", name.as_bytes()), "{name}");
        }
        for name in [
            "app.log",
            "app.log.1.gz",
            "app.log.audit",
            "app.log2",
            "other.log.1",
            "app.log.",
            "app.log-T",
        ] {
            assert!(!is_rotated(b"app.log", name.as_bytes()), "{name}");
        }
    }
}
