//! An append-only segmented log of groups of Kafka record batches.
//!
//! In: groups of frames, each with ordinals that rise (the spool's lanes count events, the embedded
//! broker's topics use offsets). Out: the same groups, in order, from any ordinal on. Blocking;
//! one writer ([`Log`]), any number of readers ([`LogReader`]), which see what an append has
//! wholly written and nothing else.
//!
//! Promises: opens on any content of its folder. A torn tail is cut, a damaged frame is passed
//! over and [told](Log::take_lost), a file that is no segment is set aside (`.bad`). One bad byte
//! costs one frame at most. An append that fails leaves the log as it was. After a killed process
//! everything appended is there; after a power cut, everything synced.
//! What can go wrong: no space ([`LogError::NoSpace`]), a folder that cannot be read or written.

mod disk;
#[cfg(test)]
pub(super) mod faults;
mod group;
mod index;
mod loss;
mod open;
mod reader;
mod rewrite;
mod segment;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

pub(crate) use disk::sync_folder;
pub use group::{Frame, FrameHead, Group, GroupBuilder};
use index::{Segment, Shared};
pub use loss::{Cause, Lost};
pub(super) use open::clear_way;
pub use reader::LogReader;
pub use rewrite::GaveWay;
use segment::{HEADER_BYTES, Header, path_of};
pub use survey::{Found, SegmentFile, Survey, survey};

/// Sixteen bytes of the log's owner in the header of every segment; the spool keeps its stream
/// there.
pub type Tag = [u8; 16];

/// A log that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system or the quota is full.
    #[error("no space left for {}: free some on that file system", path.display())]
    NoSpace {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// Anything else while writing.
    #[error("cannot write {}: {source}; check the disk and the rights of the folder", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Anything that hinders reading, but for damage, which is passed over.
    #[error("cannot read {}: {source}; check the disk and the rights of the folder", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl LogError {
    pub(super) fn writing(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::NoSpace { path },
            _ => LogError::Write { path, source },
        }
    }
}

/// The writer of a log.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    segment_bytes: u64,
    tag: Tag,
    active: Option<Active>,
    /// Older segments with bytes that were not synced yet, by base ordinal; oldest first. They are
    /// opened when it comes to that: there may be more of them than a process may have open.
    dirty: Vec<u64>,
    folder_dirty: bool,
    torn_bytes: u64,
    written_bytes: u64,
    scratch: Vec<u8>,
}

/// The newest segment.
#[derive(Debug)]
struct Active {
    header: Header,
    file: File,
    offset: u64,
    dirty: bool,
}

impl Log {
    /// A reader, placed at the oldest ordinal.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// The tag of the newest segment, `None` if there is no segment.
    #[must_use]
    pub fn tag(&self) -> Option<Tag> {
        self.active.as_ref().map(|active| active.header.tag)
    }

    /// From now on segments carry `tag`; the next append begins a new one if it differs.
    pub fn set_tag(&mut self, tag: Tag) {
        self.tag = tag;
    }

    /// The base ordinal of the newest segment, if there is one.
    #[must_use]
    pub fn newest_base(&self) -> Option<u64> {
        self.active.as_ref().map(|active| active.header.base)
    }

    /// The smallest ordinal that may still be there.
    #[must_use]
    pub fn first_ordinal(&self) -> u64 {
        let index = self.shared.lock();
        index.segments.front().map_or(index.next, |segment| segment.header.base)
    }

    /// The ordinal after the last one appended: the smallest that the next append may begin with.
    #[must_use]
    pub fn next_ordinal(&self) -> u64 {
        self.shared.lock().next
    }

    /// Makes the next append begin at `ordinal` or later.
    pub fn raise_next(&mut self, ordinal: u64) {
        let mut index = self.shared.lock();
        if ordinal > index.next {
            index.next = ordinal;
            if let Some(last) = index.segments.back_mut() {
                last.end = ordinal;
            }
        }
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.lock().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes written since the log was opened (flash wear).
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes that were cut from the tail when the log was opened.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Damaged frames that readers have passed over since the log was opened.
    #[must_use]
    pub fn bad_frames(&self) -> u64 {
        self.shared.bad_frames.load(Relaxed)
    }

    /// Ordinals that readers could not deliver since the log was opened, because of damage.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Relaxed)
    }

    /// Ordinals that gave way since the log was opened.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Appends a group by one write. Readers see it when this returns; it survives a killed
    /// process from then on and a power cut from the next [`Log::sync`] on. An empty group is
    /// nothing. Its ordinals must not lie below [`Log::next_ordinal`], or readers pass over it.
    ///
    /// # Errors
    /// [`LogError`]; the log is then as before and the append may be tried again.
    pub fn append(&mut self, group: &GroupBuilder) -> Result<(), LogError> {
        if group.is_empty() {
            return Ok(());
        }
        debug_assert!(group.first() >= self.next_ordinal(), "ordinals rise");
        let bytes = group.encoded_bytes() as u64;
        let fits = self.active.as_ref().is_some_and(|active| {
            let room = active.offset + bytes <= self.segment_bytes || active.offset == HEADER_BYTES;
            room && active.header.tag == self.tag
        });
        if !fits {
            self.roll()?;
        }
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        self.scratch.clear();
        group.encode(active.header.salt, &mut self.scratch);
        if let Err(error) = disk::write_all_at(&active.file, &self.scratch, active.offset) {
            // Should this fail too, the next append writes over the same place.
            let _ = active.file.set_len(active.offset);
            return Err(LogError::writing(&path_of(self.shared.dir(), active.header.base), error));
        }
        active.offset += bytes;
        active.dirty = true;
        self.written_bytes += bytes;
        let mut index = self.shared.lock();
        index.next = group.last() + 1;
        let next = index.next;
        if let Some(segment) = index.segments.back_mut() {
            segment.bytes = active.offset;
            segment.end = next;
        }
        Ok(())
    }

    /// Brings what was appended to the disk (`fdatasync`; the folder too if it has new files).
    /// Segments that hold nothing at `needed` or above are left to the system, which saves flash:
    /// 0 syncs everything.
    ///
    /// # Errors
    /// [`LogError::Write`]; what was not synced will be tried again.
    pub fn sync(&mut self, needed: u64) -> Result<(), LogError> {
        let dir = self.shared.dir().to_owned();
        let failed = |source| LogError::writing(&dir, source);
        while let Some(base) = self.dirty.first().copied() {
            if self.end_of(base).is_some_and(|end| end > needed) {
                let file = OpenOptions::new().write(true).open(path_of(&dir, base));
                match file.and_then(|file| disk::sync(&file)) {
                    // What is deleted needs no sync.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    synced => synced.map_err(failed)?,
                }
            }
            self.dirty.remove(0);
        }
        let next = self.next_ordinal();
        if let Some(active) = self.active.as_mut().filter(|active| active.dirty && next > needed) {
            disk::sync(&active.file).map_err(failed)?;
            active.dirty = false;
        }
        if self.folder_dirty && next > needed {
            sync_folder(&dir).map_err(failed)?;
            self.folder_dirty = false;
        }
        Ok(())
    }

    /// The ordinal after the last one of the segment that begins at `base`, if it is there.
    fn end_of(&self, base: u64) -> Option<u64> {
        let index = self.shared.lock();
        let place = index.segments.binary_search_by_key(&base, |s| s.header.base).ok()?;
        Some(index.segments[place].end)
    }

    /// From now on readers note what they cannot deliver, and tell `notice`.
    pub fn tell_losses(&self, notice: Arc<Notify>) {
        self.shared.losses.set_notice(notice);
    }

    /// What readers could not deliver and was not taken before.
    #[must_use]
    pub fn take_lost(&self) -> Vec<Lost> {
        self.shared.losses.take()
    }

    /// What was taken is safe somewhere else: it [holds](LogReader::holds) nothing any more.
    pub fn lost_are_told(&self) {
        self.shared.losses.told();
    }

    /// Deletes the segments that hold nothing at `ordinal` or above, but for the newest one.
    pub fn delete_below(&self, ordinal: u64) -> usize {
        self.shared.delete_below(ordinal)
    }

    /// Like [`Log::delete_below`], and the newest segment too, if nothing in it is needed: an
    /// empty one takes its place.
    ///
    /// # Errors
    /// [`LogError`] if the empty segment cannot be made.
    pub fn reclaim(&mut self, ordinal: u64) -> Result<(), LogError> {
        let used = self.active.as_ref().is_some_and(|active| active.offset > HEADER_BYTES);
        if used && ordinal >= self.next_ordinal() {
            self.roll()?;
            self.dirty.clear();
        }
        self.delete_below(ordinal);
        Ok(())
    }

    /// Begins a new segment. It appears under its name with a whole header or not at all.
    fn roll(&mut self) -> Result<(), LogError> {
        let base = self.next_ordinal();
        let path = path_of(self.shared.dir(), base);
        let failed = |error| LogError::writing(&path, error);
        let salt = getrandom::u32().map_err(|error| failed(io::Error::other(error.to_string())))?;
        let header = Header { base, salt, tag: self.tag };
        let draft = path.with_extension(open::DRAFT);
        let made = disk::create(&draft).and_then(|file| {
            disk::write_all_at(&file, &header.encode(), 0)?;
            std::fs::rename(&draft, &path)?;
            Ok(file)
        });
        let file = made.inspect_err(|_| drop(std::fs::remove_file(&draft))).map_err(failed)?;
        self.written_bytes += HEADER_BYTES;
        self.folder_dirty = true;
        let active = Active { header, file, offset: HEADER_BYTES, dirty: true };
        if let Some(old) = self.active.replace(active)
            && old.dirty
        {
            self.dirty.push(old.header.base);
        }
        let mut index = self.shared.lock();
        // An empty segment of the same base has just been replaced.
        if index.segments.back().is_some_and(|last| last.header.base == base) {
            index.segments.pop_back();
        }
        if let Some(last) = index.segments.back_mut() {
            last.end = base;
        }
        index.segments.push_back(Segment { header, bytes: HEADER_BYTES, end: base, solid: false });
        Ok(())
    }
}
