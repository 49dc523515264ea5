//! What the writer and the readers of a log share: which segments there are and how far they are
//! written.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::loss::Losses;
use super::segment::{Header, path_of};

/// One segment as known to readers.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) header: Header,
    /// How far the file is whole.
    pub(super) bytes: u64,
    /// The ordinal after the last one it holds.
    pub(super) end: u64,
    /// Nothing in it may give way: it was looked through.
    pub(super) solid: bool,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// The ordinal after the last one appended.
    pub(super) next: u64,
    /// The ordinal after the last one a reader was given: what is below may be under way.
    pub(super) delivered: u64,
}

impl Index {
    /// Where the segment of `header` is, if it is still as it was.
    pub(super) fn place_of(&self, header: &Header) -> Option<usize> {
        let place = self.segments.binary_search_by_key(&header.base, |s| s.header.base).ok()?;
        (self.segments[place].header.salt == header.salt).then_some(place)
    }

    pub(super) fn deletable_below(&self, ordinal: u64) -> bool {
        self.segments.len() > 1
            && self.segments.front().is_some_and(|segment| segment.end <= ordinal)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    index: Mutex<Index>,
    /// Frames that were found damaged.
    pub(super) bad_frames: AtomicU64,
    /// Ordinals that could not be delivered because of damage.
    pub(super) skipped: AtomicU64,
    /// Ordinals that gave way to others.
    pub(super) dropped: AtomicU64,
    /// What cannot be delivered, for the owner to tell.
    pub(super) losses: Losses,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, index: Index) -> Self {
        Shared {
            dir,
            index: Mutex::new(index),
            bad_frames: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            losses: Losses::default(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn delete_below(&self, ordinal: u64) -> usize {
        let mut count = 0;
        loop {
            let mut index = self.lock();
            if !index.deletable_below(ordinal) {
                return count;
            }
            let Some(segment) = index.segments.pop_front() else {
                return count;
            };
            drop(index);
            let path = path_of(&self.dir, segment.header.base);
            // The whole log may have been taken away meanwhile.
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "segment could not be deleted, delete it by hand");
            }
            count += 1;
        }
    }
}
