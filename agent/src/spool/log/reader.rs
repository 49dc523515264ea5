//! Reads a log from any ordinal, beside its writer.
//!
//! In: the index that writer and readers share, and the segment files. Out: groups in order.
//! Promises: nothing that is not wholly written, nothing twice, nothing out of order; damage is
//! passed over, counted and logged.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::group::{Group, Head};
use super::index::{Segment, Shared};
use super::segment::{HEADER_BYTES, body_at, find_group, head_at, path_of};
use super::{LogError, Tag};

/// A place in a log. Any number of them read the same log, each for itself.
#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// The next ordinal to deliver.
    next: u64,
    /// Damage below this ordinal has been counted: reading again does not count it again.
    counted: u64,
    cursor: Option<Cursor>,
}

#[derive(Debug)]
struct Cursor {
    base: u64,
    salt: u32,
    file: File,
    offset: u64,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        LogReader { shared, next: 0, counted: 0, cursor: None }
    }

    /// The ordinal after the last group delivered, or the one sought.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes to `ordinal`: the next group is the one that holds it, or the first one after it.
    pub fn seek(&mut self, ordinal: u64) {
        self.next = ordinal;
        self.cursor = None;
    }

    /// The next group, `None` if there is none yet. Its frames may be few or none if they are
    /// damaged.
    ///
    /// # Errors
    /// [`LogError`] where a file cannot be read; the position stays, so the caller may try again.
    pub fn next_group(&mut self) -> Result<Option<Group>, LogError> {
        loop {
            let Some((segment, is_last)) = self.segment() else {
                return Ok(None);
            };
            // Taken out while it is used: after an error it is opened anew.
            let Some(mut cursor) = self.open(&segment)? else {
                self.skip_to(segment.end, "segment file is gone");
                continue;
            };
            let read_error = |source| {
                let path = path_of(self.shared.dir(), segment.header.base);
                LogError::Read { path, source }
            };
            let found = cursor.find(segment.bytes, self.next).map_err(read_error)?;
            let Some((at, head)) = found else {
                cursor.offset = segment.bytes;
                self.cursor = is_last.then_some(cursor);
                self.skip_to(segment.end, "damaged groups passed over");
                continue;
            };
            cursor.offset = at + head.bytes();
            if head.last < self.next {
                self.cursor = Some(cursor);
                continue;
            }
            let body = body_at(&cursor.file, at, &head).map_err(read_error)?;
            self.cursor = Some(cursor);
            self.skip_to(head.first, "damaged groups passed over");
            self.next = head.last + 1;
            return Ok(Some(self.group(head, segment.header.tag, &body)));
        }
    }

    /// Deletes the segments that hold nothing at `ordinal` or above, but for the newest one, which
    /// the writer appends to. Answers how many.
    pub fn delete_below(&self, ordinal: u64) -> usize {
        self.shared.delete_below(ordinal)
    }

    /// True if [`LogReader::delete_below`] has something to do.
    #[must_use]
    pub fn deletable_below(&self, ordinal: u64) -> bool {
        self.shared.lock().deletable_below(ordinal)
    }

    /// The segment to read in, and whether it is the newest one.
    fn segment(&mut self) -> Option<(Segment, bool)> {
        let shared = Arc::clone(&self.shared);
        let index = shared.lock();
        if self.next >= index.next {
            return None;
        }
        // A segment is read to its end, where the next one begins; only then is `next` past it.
        let place = index
            .segments
            .iter()
            .rposition(|segment| segment.header.base <= self.next)
            .unwrap_or(0);
        let segment = index.segments.get(place)?.clone();
        let is_last = place + 1 == index.segments.len();
        drop(index);
        self.skip_to(segment.header.base, "segments are missing");
        Some((segment, is_last))
    }

    /// The cursor in `segment`; `None` if its file is gone.
    fn open(&mut self, segment: &Segment) -> Result<Option<Cursor>, LogError> {
        let header = segment.header;
        if let Some(cursor) = self.cursor.take()
            && (cursor.base, cursor.salt) == (header.base, header.salt)
        {
            return Ok(Some(cursor));
        }
        let path = path_of(self.shared.dir(), header.base);
        match File::open(&path) {
            Ok(file) => Ok(Some(Cursor {
                base: header.base,
                salt: header.salt,
                file,
                offset: HEADER_BYTES,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LogError::Read { path, source }),
        }
    }

    fn group(&mut self, head: Head, tag: Tag, body: &Bytes) -> Group {
        let (group, bad_frames, missing) = head.frames(tag, body);
        let read_before = group.last < self.counted;
        self.counted = self.counted.max(group.last + 1);
        if bad_frames > 0 && !read_before {
            self.shared.bad_frames.fetch_add(bad_frames, Relaxed);
            self.shared.skipped.fetch_add(missing, Relaxed);
            let dir = self.shared.dir().display();
            let (first, last) = (group.first, group.last);
            tracing::warn!(%dir, bad_frames, missing, first, last, "damaged frames passed over");
        }
        group
    }

    /// Moves on to `ordinal`; what lies between is missing.
    fn skip_to(&mut self, ordinal: u64, reason: &str) {
        let missing = ordinal.saturating_sub(self.next.max(self.counted));
        if missing > 0 {
            self.shared.skipped.fetch_add(missing, Relaxed);
            let dir = self.shared.dir().display();
            tracing::warn!(%dir, first = ordinal - missing, missing, "{reason}");
            self.counted = ordinal;
        }
        self.next = self.next.max(ordinal);
    }
}

impl Cursor {
    /// The next whole group below `limit`, beyond damage if there is some.
    fn find(&self, limit: u64, next: u64) -> io::Result<Option<(u64, Head)>> {
        if let Some(head) = head_at(&self.file, self.offset, limit, self.salt)? {
            return Ok(Some((self.offset, head)));
        }
        find_group(&self.file, self.offset + 1, limit, self.salt, next)
    }
}
