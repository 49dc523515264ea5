//! Remembered positions: which file was read how far.
//!
//! In: positions before which everything is in the spool. Out: after a restart, the last of them.
//! Two generations are kept. The newest is written at every step and never synced, which any death
//! of the process leaves intact; the other is synced at most once a minute, for the loss of power.
//! So flash is spared, and at worst a minute's lines come again, never none. Both are replaced by
//! renaming, so that a reader finds the old or the new one, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// So many first bytes of a file tell it from another one, at most.
const HEAD_BYTES_MAX: usize = 256;
/// With at least so many equal first bytes a file is taken for the same though the number of its
/// device is another: devices are numbered anew at a boot.
const HEAD_BYTES_SURE: usize = 64;
/// How often a position is synced, at most.
const SYNC_EVERY: Duration = Duration::from_secs(60);

/// The first bytes of a file: how many, and their CRC-32C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    bytes: usize,
    crc32c: u32,
}

impl Head {
    /// Of `file` as it is.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Self::of_first(file, HEAD_BYTES_MAX)
    }

    fn of_first(file: &File, bytes: usize) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES_MAX];
        let mut length = 0;
        while length < bytes {
            match file.read_at(&mut head[length..bytes], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        Ok(Self {
            bytes: length,
            crc32c: crc32c::crc32c(&head[..length]),
        })
    }

    /// Whether `file` begins like this.
    pub(super) fn matches(self, file: &File) -> io::Result<bool> {
        Ok(Self::of_first(file, self.bytes.min(HEAD_BYTES_MAX))? == self)
    }

    /// Whether a file that grows may still get a longer one.
    pub(super) fn may_grow(self) -> bool {
        self.bytes < HEAD_BYTES_MAX
    }
}

/// How far which file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The path that is followed; the file may have another name by now.
    pub(super) path: PathBuf,
    /// Device and inode of the file.
    pub(super) device: u64,
    pub(super) inode: u64,
    /// How the file begins.
    pub(super) head: Head,
    /// The first byte that is not in the spool.
    pub(super) offset: u64,
}

impl Position {
    /// Whether it is a position in `file`.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let is_same_device = metadata.dev() == self.device;
        let is_sure = is_same_device || self.head.bytes >= HEAD_BYTES_SURE;
        Ok(metadata.ino() == self.inode && is_sure && self.head.matches(file)?)
    }
}

/// Where the position in one followed path is kept.
#[derive(Debug)]
pub(super) struct Positions {
    path: PathBuf,
    newest: PathBuf,
    synced: PathBuf,
    unsynced: Option<Position>,
    synced_at: Instant,
}

impl Positions {
    /// Those of `path`, followed by the source `name`, in `folder`, which is made if need be.
    pub(super) fn open(folder: &Path, name: &str, path: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let tag = crc32c::crc32c(path.as_os_str().as_encoded_bytes());
        let positions = Self {
            path: path.into(),
            newest: folder.join(format!("{name}-{tag:08x}.json")),
            synced: folder.join(format!("{name}-{tag:08x}.synced.json")),
            unsynced: None,
            synced_at: Instant::now(),
        };
        // A folder without the right to write is found out now, not after the first lines.
        let probe = positions.newest.with_extension("probe");
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        Ok(positions)
    }

    /// What is remembered.
    pub(super) fn load(&self) -> Option<Position> {
        [&self.newest, &self.synced].into_iter().find_map(|file| {
            let text = fs::read(file).ok()?;
            match serde_json::from_slice::<Position>(&text) {
                Ok(position) => (position.path == self.path).then_some(position),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "a remembered position is damaged; taking an older one");
                    None
                }
            }
        })
    }

    /// Remembers `position`.
    pub(super) fn save(&mut self, position: &Position) -> io::Result<()> {
        write(&self.newest, position, false)?;
        self.unsynced = Some(position.clone());
        if self.synced_at.elapsed() >= SYNC_EVERY {
            self.sync();
        }
        Ok(())
    }

    /// Makes sure that the last position outlives the loss of power.
    pub(super) fn sync(&mut self) {
        self.synced_at = Instant::now();
        if let Some(position) = self.unsynced.take() {
            if let Err(error) = write(&self.synced, &position, true) {
                tracing::error!(file = %self.synced.display(), %error, "cannot remember how far a file was read");
            }
        }
    }
}

fn write(to: &Path, position: &Position, sync: bool) -> io::Result<()> {
    let new = to.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(position)?)?;
    if sync {
        file.sync_data()?;
    }
    drop(file);
    fs::rename(&new, to)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn position(path: &Path, offset: u64) -> Position {
        Position {
            path: path.into(),
            device: 1,
            inode: 2,
            head: Head::default(),
            offset,
        }
    }

    #[test]
    fn the_newest_whole_position_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = Path::new("/var/log/x");
        let mut positions = Positions::open(folder.path(), "f", path).unwrap();
        assert_eq!(positions.load(), None);
        positions.save(&position(path, 7)).unwrap();
        positions.sync();
        positions.save(&position(path, 9)).unwrap();
        let again = Positions::open(folder.path(), "f", path).unwrap();
        assert_eq!(again.load(), Some(position(path, 9)));
        fs::write(&again.newest, b"").unwrap();
        assert_eq!(again.load(), Some(position(path, 7)));
        let other = Positions::open(folder.path(), "f", Path::new("/var/log/y")).unwrap();
        assert_eq!(other.load(), None);
    }

    #[test]
    fn a_head_tells_files_apart_and_may_be_shorter_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "first").unwrap();
        let head = Head::of(&File::open(&path).unwrap()).unwrap();
        assert!(head.may_grow());
        fs::write(&path, "first and more").unwrap();
        assert!(head.matches(&File::open(&path).unwrap()).unwrap());
        fs::write(&path, "fir").unwrap();
        assert!(!head.matches(&File::open(&path).unwrap()).unwrap());
        fs::write(&path, "other").unwrap();
        assert!(!head.matches(&File::open(&path).unwrap()).unwrap());
    }
}
