//! Reads a log from any ordinal, beside its writer.
//!
//! In: the index that writer and readers share, and the segment files. Out: groups in order.
//! Promises: nothing that is not wholly written, nothing twice, nothing out of order; damage is
//! passed over, counted and logged.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::group::{Group, Read};
use super::index::{Segment, Shared};
use super::loss::{Cause, Lost};
use super::segment::{HEADER_BYTES, Header, body_at, next_group, path_of};
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

    /// The ordinal after the last one appended.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.shared.lock().next
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
            let tag = segment.header.tag;
            // Taken out while it is used: after an error it is opened anew.
            let mut cursor = match self.open(&segment)? {
                Opened::Ready(cursor) => cursor,
                Opened::Changed => continue,
                Opened::Gone => {
                    self.skip_to(segment.end, tag, "segment file is gone");
                    continue;
                }
            };
            let read_error = |source| {
                let path = path_of(self.shared.dir(), segment.header.base);
                LogError::Read { path, source }
            };
            let found = cursor.find(segment.bytes, self.next).map_err(read_error)?;
            let Some((at, head)) = found else {
                cursor.offset = segment.bytes;
                self.cursor = is_last.then_some(cursor);
                self.skip_to(segment.end, tag, "damaged groups passed over");
                continue;
            };
            cursor.offset = at + head.bytes();
            if head.last < self.next {
                self.cursor = Some(cursor);
                continue;
            }
            let body = body_at(&cursor.file, at, &head).map_err(read_error)?;
            if !self.claim(&segment.header, head.last + 1) {
                continue;
            }
            self.cursor = Some(cursor);
            self.skip_to(head.first, tag, "damaged groups passed over");
            self.next = head.last + 1;
            return Ok(Some(self.group(head.frames(tag, &body))));
        }
    }

    /// Notes that everything below `end` is on its way, unless the segment was rewritten meanwhile.
    fn claim(&self, header: &Header, end: u64) -> bool {
        let mut index = self.shared.lock();
        let unchanged = index.place_of(header).is_some();
        if unchanged {
            index.delivered = index.delivered.max(end);
        }
        unchanged
    }

    /// Notes that Kafka refuses `count` events between `first` and `last`.
    pub fn refused(&self, tag: Tag, first: u64, last: u64, count: u64) {
        self.shared.losses.note(Lost { tag, first, last, count, cause: Cause::Refused });
    }

    /// Whether something below `ordinal` is lost and not told yet.
    #[must_use]
    pub fn holds(&self, ordinal: u64) -> bool {
        self.shared.losses.holds(ordinal)
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
        // At 0 nobody knows better than to begin with the oldest.
        if self.next == 0 {
            self.next = segment.header.base;
        }
        self.skip_to(segment.header.base, segment.header.tag, "segments are missing");
        Some((segment, is_last))
    }

    /// The cursor in `segment`.
    fn open(&mut self, segment: &Segment) -> Result<Opened, LogError> {
        let header = segment.header;
        if let Some(cursor) = self.cursor.take()
            && (cursor.base, cursor.salt) == (header.base, header.salt)
        {
            return Ok(Opened::Ready(cursor));
        }
        let path = path_of(self.shared.dir(), header.base);
        let unreadable = |source| LogError::Read { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let there = self.shared.lock().place_of(&header).is_some();
                return Ok(if there { Opened::Gone } else { Opened::Changed });
            }
            Err(source) => return Err(unreadable(source)),
        };
        // Another salt is the sign of a segment that was rewritten since the index was read. A
        // header that can no longer be read costs nothing: the index knows it.
        let found = Header::read(&file).map_err(unreadable)?;
        if found.is_some_and(|found| found.salt != header.salt)
            && self.shared.lock().place_of(&header).is_none()
        {
            return Ok(Opened::Changed);
        }
        let (base, salt) = (header.base, header.salt);
        Ok(Opened::Ready(Cursor { base, salt, file, offset: HEADER_BYTES }))
    }

    fn group(&mut self, read: Read) -> Group {
        let Read { group, bad_frames, lost } = read;
        let read_before = group.last < self.counted;
        self.counted = self.counted.max(group.last + 1);
        if read_before {
            return group;
        }
        self.shared.bad_frames.fetch_add(bad_frames, Relaxed);
        for lost in lost {
            if lost.cause == Cause::Damaged {
                self.shared.skipped.fetch_add(lost.count, Relaxed);
            }
            self.lose(lost, "events passed over");
        }
        group
    }

    /// Moves on to `ordinal`; what lies between is missing.
    fn skip_to(&mut self, ordinal: u64, tag: Tag, what: &str) {
        let first = self.next.max(self.counted);
        let count = ordinal.saturating_sub(first);
        if count > 0 {
            self.shared.skipped.fetch_add(count, Relaxed);
            self.lose(Lost { tag, first, last: ordinal - 1, count, cause: Cause::Damaged }, what);
            self.counted = ordinal;
        }
        self.next = self.next.max(ordinal);
    }

    fn lose(&self, lost: Lost, what: &str) {
        let Lost { first, last, count, cause, .. } = lost;
        let dir = self.shared.dir().display();
        tracing::warn!(%dir, first, last, count, reason = cause.reason(), "{what}");
        self.shared.losses.note(lost);
    }
}

/// What came of opening a segment.
enum Opened {
    Ready(Cursor),
    /// It is no longer what the index said: to be looked up again.
    Changed,
    /// Its file was taken away by somebody else.
    Gone,
}

impl Cursor {
    /// The next whole group below `limit`, beyond damage if there is some.
    fn find(&self, limit: u64, next: u64) -> io::Result<Option<(u64, super::group::Head)>> {
        next_group(&self.file, self.offset, limit, self.salt, next)
    }
}
