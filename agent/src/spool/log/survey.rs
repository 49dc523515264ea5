//! Looks at a log without touching it, for tools; also beside the process that writes it.
//!
//! In: a folder. Out: its segments and what is in them, damage included. Promises: nothing is
//! made, cut, renamed or deleted; a file that goes away meanwhile is passed over.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::group::{Group, Read};
use super::segment::{HEADER_BYTES, Header, base_of, body_at, next_group};
use super::{Cause, LogError, Lost, Tag};

/// What lies in the folder of a log.
#[derive(Debug)]
pub struct Survey {
    /// The segments, oldest first.
    pub segments: Vec<SegmentFile>,
    /// Everything else, by path.
    pub others: Vec<PathBuf>,
}

/// A segment as found.
#[derive(Debug)]
pub struct SegmentFile {
    /// Where it is.
    pub path: PathBuf,
    /// The smallest ordinal it may hold.
    pub base: u64,
    /// The tag of its owner.
    pub tag: Tag,
    /// Its length when it was found.
    pub bytes: u64,
    salt: u32,
    /// Where the next segment begins; none for the newest.
    end: Option<u64>,
}

/// A part of a segment.
#[derive(Debug)]
pub enum Found {
    /// A group that is there.
    Group {
        /// Its frames.
        group: Group,
        /// What it says is lost.
        holes: Vec<Lost>,
        /// What was found to be damaged.
        damaged: Vec<Lost>,
    },
    /// Groups that cannot be read.
    Damaged(Lost),
    /// Bytes behind the last whole group of the newest segment: a write that never ended, or that
    /// is going on.
    Torn(u64),
}

/// Looks at the log in `dir`. A folder that is not there is an empty log.
///
/// # Errors
/// [`LogError::Read`] if the folder cannot be read.
pub fn survey(dir: &Path) -> Result<Survey, LogError> {
    let unreadable = |source| LogError::Read { path: dir.to_owned(), source };
    let mut survey = Survey { segments: Vec::new(), others: Vec::new() };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(survey),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        match segment(&path) {
            Some(segment) => survey.segments.push(segment),
            None => survey.others.push(path),
        }
    }
    survey.segments.sort_unstable_by_key(|segment| segment.base);
    survey.others.sort_unstable();
    for i in 1..survey.segments.len() {
        survey.segments[i - 1].end = Some(survey.segments[i].base);
    }
    Ok(survey)
}

fn segment(path: &Path) -> Option<SegmentFile> {
    let base = base_of(path.file_name()?.to_str()?)?;
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let header = Header::read(&File::open(path).ok()?).ok()??;
    (header.base == base).then(|| SegmentFile {
        path: path.to_owned(),
        base,
        tag: header.tag,
        bytes: metadata.len(),
        salt: header.salt,
        end: None,
    })
}

impl SegmentFile {
    /// Shows everything in the segment, in order.
    ///
    /// # Errors
    /// [`LogError::Read`] if the file cannot be read, or what `show` fails with.
    pub fn read<E: From<LogError>>(
        &self,
        mut show: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let unreadable = |source| LogError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(error).into()),
        };
        let lost = |first: u64, end: u64| Lost {
            tag: self.tag,
            first,
            last: end - 1,
            count: end - first,
            cause: Cause::Damaged,
        };
        let (mut offset, mut next) = (HEADER_BYTES, self.base);
        loop {
            let found = next_group(&file, offset, self.bytes, self.salt, next);
            let Some((at, head)) = found.map_err(unreadable)? else { break };
            if head.first > next {
                show(Found::Damaged(lost(next, head.first)))?;
            }
            (offset, next) = (at + head.bytes(), head.last + 1);
            let holes: Vec<Lost> = head.holes(self.tag).collect();
            let body = body_at(&file, at, &head).map_err(unreadable)?;
            let Read { group, lost, .. } = head.frames(self.tag, &body);
            let damaged = lost.into_iter().filter(|lost| !holes.contains(lost)).collect();
            show(Found::Group { group, holes, damaged })?;
        }
        match self.end {
            Some(end) if next < end => show(Found::Damaged(lost(next, end))),
            None if offset < self.bytes => show(Found::Torn(self.bytes - offset)),
            _ => Ok(()),
        }
    }
}
