//! Writes a segment anew without what is to go: frames that give way, and damage.
//!
//! In: a segment that is not appended to any more. Out: one of the same ordinals under the same
//! name, in which what is gone is a hole that says how many events of which range are lost, and
//! why. A reader who comes there tells it on, so a hole is never forgotten, whatever happens to
//! this process. The new file is on the disk before it takes the old one's name.
//!
//! What a reader was given is left as it is: it may be under way to Kafka, or there.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::group::{Group, Read};
use super::index::Segment;
use super::segment::{HEADER_BYTES, Header, body_at, next_group, path_of};
use super::{Cause, FrameHead, GroupBuilder, Log, LogError, Lost, disk, open};

/// Two neighbours of which nothing is left are made one: an outage of a year must not leave a
/// file for each segment that was given up.
const HOLLOW_BYTES: u64 = 1_024;

/// What gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaveWay {
    /// The events.
    pub lost: Lost,
    /// Bytes of disk that are free now.
    pub freed_bytes: u64,
}

/// A segment as it will be.
struct Draft {
    file: File,
    header: Header,
    bytes: u64,
    /// The frames that give way.
    dropped: Option<Lost>,
    /// Holes that no group carries yet.
    holes: Vec<Lost>,
}

impl Log {
    /// Gives up the frames for which `may_drop` is true in the oldest segment that has some, but
    /// for what lies below `acknowledged` or was given to a reader. `None` if there is nothing.
    ///
    /// # Errors
    /// [`LogError`]; the segment is then as before.
    pub fn give_way(
        &mut self,
        acknowledged: u64,
        may_drop: impl Fn(&FrameHead) -> bool,
    ) -> Result<Option<GaveWay>, LogError> {
        loop {
            let (segment, is_active) = {
                let index = self.shared.lock();
                let count = index.segments.len();
                let candidate = index.segments.iter().enumerate().find(|(_, s)| !s.solid);
                let Some((place, segment)) = candidate else { return Ok(None) };
                (segment.clone(), place + 1 == count)
            };
            let safe = acknowledged.max(self.shared.lock().delivered);
            if !self.has_frame(&segment, |head| head.first >= safe && may_drop(head))? {
                if is_active {
                    return Ok(None);
                }
                self.update(&segment, |segment| segment.solid = true);
                continue;
            }
            if is_active {
                self.roll()?;
            }
            match self.rewrite(&segment, safe, &may_drop)? {
                Some(gave_way) => return Ok(Some(gave_way)),
                // A reader was there first.
                None => continue,
            }
        }
    }

    /// Writes segments with damage anew, so that only holes are left of it. Answers how many.
    ///
    /// # Errors
    /// [`LogError`]; the segment that failed is as before.
    pub fn repair(&mut self, mut watch: impl FnMut(u64)) -> Result<usize, LogError> {
        let segments: Vec<Segment> = self.shared.lock().segments.iter().cloned().collect();
        let mut count = 0;
        for segment in segments {
            if self.is_damaged(&segment)? {
                let newest = self.active.as_ref().map(|active| active.header);
                if newest == Some(segment.header) {
                    self.roll()?;
                }
                self.rewrite(&segment, u64::MAX, &|_| false)?;
                count += 1;
            }
            watch(segment.bytes);
        }
        self.sync(0)?;
        Ok(count)
    }

    fn update(&self, segment: &Segment, change: impl FnOnce(&mut Segment)) {
        let mut index = self.shared.lock();
        if let Some(place) = index.place_of(&segment.header) {
            change(&mut index.segments[place]);
        }
    }

    fn has_frame(
        &self,
        segment: &Segment,
        wanted: impl Fn(&FrameHead) -> bool,
    ) -> Result<bool, LogError> {
        let mut has = false;
        self.walk(segment, |_, _, head| {
            has |= head.entries.iter().any(|entry| entry.batch_bytes > 0 && wanted(&entry.head));
            Ok(!has)
        })?;
        Ok(has)
    }

    fn is_damaged(&self, segment: &Segment) -> Result<bool, LogError> {
        let (mut next, mut damaged) = (segment.header.base, false);
        self.walk(segment, |file, at, head| {
            let first = head.first;
            let last = head.last;
            let body = body_at(file, at, &head)?;
            let read = head.frames(segment.header.tag, &body);
            damaged |= read.bad_frames > 0 || first > next;
            next = last + 1;
            Ok(!damaged)
        })?;
        Ok(damaged || next < segment.end)
    }

    /// Shows every whole group of a segment, until `show` answers false.
    fn walk(
        &self,
        segment: &Segment,
        mut show: impl FnMut(&File, u64, super::group::Head) -> io::Result<bool>,
    ) -> Result<(), LogError> {
        let path = path_of(self.shared.dir(), segment.header.base);
        let unreadable = |source| LogError::Read { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            // A reader has given it back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(unreadable(source)),
        };
        // What is shown may be written elsewhere.
        let failed = |source: io::Error| match LogError::writing(&path, source) {
            LogError::Write { path, source } => LogError::Read { path, source },
            no_space => no_space,
        };
        let (mut offset, mut next) = (HEADER_BYTES, segment.header.base);
        while let Some((at, head)) =
            next_group(&file, offset, segment.bytes, segment.header.salt, next)
                .map_err(unreadable)?
        {
            offset = at + head.bytes();
            next = head.last + 1;
            if !show(&file, at, head).map_err(failed)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes a segment anew: frames at `safe` or later that may be dropped are. `None` if a
    /// reader has moved on to them meanwhile.
    fn rewrite(
        &mut self,
        segment: &Segment,
        safe: u64,
        may_drop: &impl Fn(&FrameHead) -> bool,
    ) -> Result<Option<GaveWay>, LogError> {
        let path = path_of(self.shared.dir(), segment.header.base);
        let draft_path = path.with_extension(open::DRAFT);
        let failed = |error| LogError::writing(&draft_path, error);
        let salt = getrandom::u32().map_err(|error| failed(io::Error::other(error.to_string())))?;
        let header = Header { salt, ..segment.header };
        let drafted = disk::create(&draft_path)
            .and_then(|file| Draft::begin(file, header))
            .map_err(failed)
            .and_then(|draft| self.fill(draft, segment, safe, may_drop));
        let draft = drafted.inspect_err(|_| drop(std::fs::remove_file(&draft_path)))?;
        self.written_bytes += draft.bytes;
        let mut index = self.shared.lock();
        let overtaken = draft.dropped.is_some_and(|dropped| index.delivered > dropped.first);
        let Some(place) = index.place_of(&segment.header).filter(|_| !overtaken) else {
            drop(index);
            let _ = std::fs::remove_file(&draft_path);
            return Ok(None);
        };
        std::fs::rename(&draft_path, &path).map_err(|error| LogError::writing(&path, error))?;
        index.segments[place] =
            Segment { header, bytes: draft.bytes, end: segment.end, solid: true };
        drop(index);
        self.folder_dirty = true;
        let freed_bytes = segment.bytes.saturating_sub(draft.bytes);
        let nothing = Lost {
            tag: header.tag,
            first: header.base,
            last: header.base,
            count: 0,
            cause: Cause::Dropped,
        };
        let lost = draft.dropped.unwrap_or(nothing);
        self.shared.dropped.fetch_add(lost.count, Relaxed);
        self.join_hollow(header.base)?;
        Ok(Some(GaveWay { lost, freed_bytes }))
    }

    fn fill(
        &self,
        mut draft: Draft,
        segment: &Segment,
        safe: u64,
        may_drop: &impl Fn(&FrameHead) -> bool,
    ) -> Result<Draft, LogError> {
        let tag = segment.header.tag;
        let mut next = segment.header.base;
        self.walk(segment, |file, at, head| {
            draft.damage(tag, next, head.first);
            next = next.max(head.last + 1);
            let body = body_at(file, at, &head)?;
            let read = head.frames(tag, &body);
            draft.group(read, |head| head.first >= safe && may_drop(head))?;
            Ok(true)
        })?;
        draft.damage(tag, next, segment.end);
        let path = path_of(self.shared.dir(), segment.header.base);
        draft.finish().map_err(|error| LogError::writing(&path, error))
    }

    /// Makes one of the segment at `base` and the one before it, if nothing is left of either.
    fn join_hollow(&mut self, base: u64) -> Result<(), LogError> {
        let (before, segment) = {
            let index = self.shared.lock();
            let found = index.segments.binary_search_by_key(&base, |s| s.header.base).ok();
            let Some(place) = found.filter(|place| *place > 0) else { return Ok(()) };
            (index.segments[place - 1].clone(), index.segments[place].clone())
        };
        let small = before.bytes.max(segment.bytes) < HOLLOW_BYTES;
        if !small || before.header.tag != segment.header.tag {
            return Ok(());
        }
        let path = path_of(self.shared.dir(), before.header.base);
        let draft_path = path.with_extension(open::DRAFT);
        let failed = |error| LogError::writing(&draft_path, error);
        let header = Header { salt: segment.header.salt, ..before.header };
        let file = disk::create(&draft_path).map_err(failed)?;
        let mut draft = Draft::begin(file, header).map_err(failed)?;
        for segment in [&before, &segment] {
            self.walk(segment, |file, at, head| {
                let body = body_at(file, at, &head)?;
                let read = head.frames(header.tag, &body);
                draft.group(read, |_| false)?;
                Ok(true)
            })?;
        }
        let draft = draft.finish().map_err(failed)?;
        self.written_bytes += draft.bytes;
        let mut index = self.shared.lock();
        let places = (index.place_of(&before.header), index.place_of(&segment.header));
        let (Some(place), Some(_)) = places else {
            drop(index);
            let _ = std::fs::remove_file(&draft_path);
            return Ok(());
        };
        std::fs::rename(&draft_path, &path).map_err(failed)?;
        let (bytes, end) = (draft.bytes, segment.end);
        index.segments[place] = Segment { header, bytes, end, solid: true };
        index.segments.remove(place + 1);
        drop(index);
        // Should it come back after a power cut, its ordinals have been passed already.
        std::fs::remove_file(path_of(self.shared.dir(), base)).map_err(failed)
    }
}

impl Draft {
    fn begin(file: File, header: Header) -> io::Result<Draft> {
        disk::write_all_at(&file, &header.encode(), 0)?;
        Ok(Draft { file, header, bytes: HEADER_BYTES, dropped: None, holes: Vec::new() })
    }

    /// Notes that nothing whole lies between two ordinals.
    fn damage(&mut self, tag: super::Tag, first: u64, end: u64) {
        if first < end {
            let count = end - first;
            self.hole(Lost { tag, first, last: end - 1, count, cause: Cause::Damaged });
        }
    }

    fn hole(&mut self, lost: Lost) {
        match self.holes.iter_mut().find(|hole| hole.cause == lost.cause) {
            Some(hole) => widen(hole, &lost),
            None => self.holes.push(lost),
        }
    }

    /// Takes a group over, but for the frames that give way.
    fn group(&mut self, read: Read, gives_way: impl Fn(&FrameHead) -> bool) -> io::Result<()> {
        let Read { group: Group { tag, frames, .. }, lost, .. } = read;
        let mut kept = GroupBuilder::default();
        let mut holes = lost;
        for frame in frames {
            let FrameHead { first, last, records, .. } = frame.head;
            if gives_way(&frame.head) {
                let count = u64::from(records);
                let lost = Lost { tag, first, last, count, cause: Cause::Dropped };
                match &mut self.dropped {
                    Some(dropped) => widen(dropped, &lost),
                    None => self.dropped = Some(lost),
                }
                holes.push(lost);
            } else {
                kept.frame(&frame.head, |out| out.extend_from_slice(&frame.batch));
            }
        }
        if !kept.is_empty() {
            // Holes of groups before this one come before it.
            self.write_holes()?;
        }
        holes.into_iter().for_each(|lost| self.hole(lost));
        if kept.is_empty() {
            return Ok(());
        }
        self.holes.drain(..).for_each(|lost| kept.hole(&lost));
        self.write(&kept)
    }

    fn write_holes(&mut self) -> io::Result<()> {
        if self.holes.is_empty() {
            return Ok(());
        }
        let mut group = GroupBuilder::default();
        self.holes.drain(..).for_each(|lost| group.hole(&lost));
        self.write(&group)
    }

    fn write(&mut self, group: &GroupBuilder) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(group.encoded_bytes());
        group.encode(self.header.salt, &mut bytes);
        disk::write_all_at(&self.file, &bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Draft> {
        self.write_holes()?;
        disk::sync(&self.file)?;
        Ok(self)
    }
}

fn widen(hole: &mut Lost, lost: &Lost) {
    hole.first = hole.first.min(lost.first);
    hole.last = hole.last.max(lost.last);
    hole.count += lost.count;
}
