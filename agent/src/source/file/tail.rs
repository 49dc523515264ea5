//! One followed file: what to read next, and which file the path means.
//!
//! In: a path and what is remembered of it. Out: [`Step`]s. Blocking, and nothing but files: the
//! waiting and the remembering are the caller's. A file is told by device, inode and first bytes.
//!
//! | what happens | what is done |
//! | --- | --- |
//! | nothing at the path | wait |
//! | renamed, new file at the path | read the old one to its end, then the new one, once it holds something |
//! | renamed more than once | the ones between are read in the order of their last change |
//! | shorter than what was read, or other first bytes | truncated: read from the beginning |
//! | started again | go on in the file that is remembered, whatever its name is now |

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::framing::{Frame, Framer, Framing, READ_BYTES};
use super::Start;
use super::position::{Head, Position};
use super::rotated;

/// What a look at the file brought.
#[derive(Debug)]
pub(super) enum Step {
    /// Something was read, perhaps no whole line yet; there may be more.
    Lines(Batch),
    /// There is nothing new.
    Idle,
}

/// Whole lines.
#[derive(Debug)]
pub(super) struct Batch {
    /// The lines, in order.
    pub(super) frames: Vec<Frame>,
    /// Where to go on once they are in the spool.
    pub(super) position: Position,
}

/// One followed path.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    start: Start,
    remembered: Option<Position>,
    open: Option<Open>,
    scratch: Vec<u8>,
}

/// The file that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    head: Head,
    framer: Framer,
    /// The next byte to read.
    offset: u64,
    /// Whether the end was reached, so that the file may have been replaced since.
    at_end: bool,
    /// Whether a successor with content was seen at the last look.
    successor_seen: bool,
}

impl Tail {
    /// Follows `path` from what is `remembered`, or from `start`.
    pub(super) fn new(path: PathBuf, start: Start, remembered: Option<Position>) -> Self {
        Self {
            path,
            start,
            remembered,
            open: None,
            scratch: vec![0; READ_BYTES],
        }
    }

    /// The followed path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is next; never waits.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let Some(open) = &mut self.open else {
            self.open = self.first()?;
            let position = self.open.as_ref().map(|open| open.position(&self.path));
            let batch = |position| Batch {
                frames: Vec::new(),
                position,
            };
            // Where a new file was begun is remembered at once: its end is soon somewhere else.
            return Ok(position.map_or(Step::Idle, |position| Step::Lines(batch(position))));
        };
        let length = open.file.metadata()?.len();
        let was_replaced = open.at_end && length > open.offset && !open.head.matches(&open.file)?;
        if length < open.offset || was_replaced {
            let frames = open.framer.finish();
            *open = Open::at(open.file.try_clone()?, 0)?;
            let position = open.position(&self.path);
            return Ok(Step::Lines(Batch { frames, position }));
        }
        let read = open.file.read_at(&mut self.scratch, open.offset)?;
        if read > 0 {
            open.at_end = false;
            open.successor_seen = false;
            open.offset += read as u64;
            if open.head.may_grow() {
                open.head = Head::of(&open.file)?;
            }
            open.framer
                .buffer()
                .extend_from_slice(&self.scratch[..read]);
            let frames = open.framer.take();
            let position = open.position(&self.path);
            return Ok(Step::Lines(Batch { frames, position }));
        }
        open.at_end = true;
        self.successor()
    }

    /// The file to begin with.
    fn first(&mut self) -> io::Result<Option<Open>> {
        // Only a file that is there at the first look is begun at its end.
        let start = std::mem::replace(&mut self.start, Start::Beginning);
        let current = found(File::open(&self.path))?;
        if let Some(remembered) = &self.remembered {
            if let Some(file) = &current {
                if remembered.is_in(file)? && file.metadata()?.len() >= remembered.offset {
                    return Open::at(file.try_clone()?, remembered.offset).map(Some);
                }
            }
            for sibling in rotated::siblings(&self.path) {
                let Some(file) = found(File::open(sibling))? else {
                    continue;
                };
                if remembered.is_in(&file)? {
                    return Open::at(file, remembered.offset).map(Some);
                }
            }
            if current.is_some() {
                tracing::warn!(path = %self.path.display(), "the file that was read last is gone; beginning with the one that is there");
            }
        }
        let Some(file) = current else { return Ok(None) };
        let is_new = self.remembered.take().is_none();
        let offset = if is_new && start == Start::End {
            file.metadata()?.len()
        } else {
            0
        };
        Open::at(file, offset).map(Some)
    }

    /// At the end of the open file: goes on with the next one where the path means another one.
    fn successor(&mut self) -> io::Result<Step> {
        let Some(open) = &mut self.open else {
            return Ok(Step::Idle);
        };
        let own = (open.device, open.inode);
        let Some(at_path) = found(fs::metadata(&self.path))? else {
            return Ok(Step::Idle);
        };
        // While the new file is empty its writer may still be writing to the old one.
        if (at_path.dev(), at_path.ino()) == own || at_path.len() == 0 {
            open.successor_seen = false;
            return Ok(Step::Idle);
        }
        // One more look at the old one after the writer has begun with the new one.
        if !open.successor_seen {
            open.successor_seen = true;
            return Ok(Step::Idle);
        }
        let changed_ns = rotated::changed_ns(&open.file.metadata()?);
        let Some(next) = rotated::next_after(&self.path, own, changed_ns) else {
            return Ok(Step::Idle);
        };
        let Some(file) = found(File::open(next))? else {
            return Ok(Step::Idle);
        };
        let frames = open.framer.finish();
        *open = Open::at(file, 0)?;
        let position = open.position(&self.path);
        Ok(Step::Lines(Batch { frames, position }))
    }
}

impl Open {
    fn at(file: File, offset: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            head: Head::of(&file)?,
            framer: Framer::new(Framing::Lines),
            file,
            offset,
            // The file may be another one than at the last look already.
            at_end: true,
            successor_seen: false,
        })
    }

    /// Everything before it has been given out.
    fn position(&self, path: &Path) -> Position {
        Position {
            path: path.into(),
            device: self.device,
            inode: self.inode,
            head: self.head,
            offset: self.offset - self.framer.waiting_bytes() as u64,
        }
    }
}

/// What is there, or `None`.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
