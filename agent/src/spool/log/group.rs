//! A group of frames as bytes: what one append writes.
//!
//! Layout, big-endian: magic `WGR1`, CRC-32C u32 (of all that follows up to the body, begun with
//! the segment's salt), directory bytes u32, body bytes u32, frames u32, first ordinal u64, last
//! ordinal u64; the directory, per frame: partition u32, flags u8, first ordinal u64, last ordinal
//! u64, records u32, batch bytes u32, batch CRC-32C u32, topic bytes u16, topic; then the body: the
//! batches back to back; then all that lies before the body once more, with the magic `WGE1`.
//!
//! All heads lie together, under one checksum: if a batch is damaged, the others are still found,
//! and what is missing is known by name and number. They lie there twice, so that one bad byte
//! costs one batch and never a group. The salt is random for each segment, so that nothing inside
//! an event can pass for a group when the reader searches for the next one.
//!
//! An entry without a batch (batch bytes 0) is a hole: so many events of that range are lost, and
//! its flags say why ([`Cause`]).

use std::sync::Arc;

use bytes::Bytes;

use super::Tag;
use super::loss::{Cause, Lost};
use crate::spool::seal::Fields;

pub(super) const MAGIC: [u8; 4] = *b"WGR1";
/// The magic of the second copy of the head, behind the body.
pub(super) const COPY_MAGIC: [u8; 4] = *b"WGE1";

/// Bytes before the directory.
pub(super) const FIXED_BYTES: usize = 36;

/// What is known of a frame without looking into its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHead {
    /// The topic of the batch.
    pub topic: Arc<str>,
    /// The partition of the batch.
    pub partition: u32,
    /// A byte of the log's owner; the spool keeps the state of the clock there.
    pub flags: u8,
    /// Smallest ordinal in the batch.
    pub first: u64,
    /// Largest ordinal in the batch. Frames of one group may interleave.
    pub last: u64,
    /// Records in the batch.
    pub records: u32,
}

/// One record batch and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What is known of the batch.
    pub head: FrameHead,
    /// The bytes as they were appended.
    pub batch: Bytes,
}

/// What one append wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The tag of the segment it lies in.
    pub tag: Tag,
    /// Smallest ordinal of the group.
    pub first: u64,
    /// Largest ordinal of the group.
    pub last: u64,
    /// The frames that are whole; damaged ones are left out and counted.
    pub frames: Vec<Frame>,
}

/// Gathers frames for one append.
#[derive(Debug, Default)]
pub struct GroupBuilder {
    directory: Vec<u8>,
    body: Vec<u8>,
    frames: u32,
    first: u64,
    last: u64,
}

impl GroupBuilder {
    /// Adds a frame whose batch `write` appends to the buffer.
    pub fn frame<R>(&mut self, head: &FrameHead, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.body.len();
        let result = write(&mut self.body);
        let batch = self.body.get(start..).unwrap_or_default();
        let (bytes, crc) = (batch.len() as u32, crc32c::crc32c(batch));
        self.entry(head, bytes, crc);
        result
    }

    /// Adds what is lost instead of a frame.
    pub(super) fn hole(&mut self, lost: &Lost) {
        let head = FrameHead {
            topic: Arc::default(),
            partition: 0,
            flags: lost.cause.byte(),
            first: lost.first,
            last: lost.last,
            records: u32::try_from(lost.count).unwrap_or(u32::MAX),
        };
        self.entry(&head, 0, 0);
    }

    fn entry(&mut self, head: &FrameHead, batch_bytes: u32, batch_crc: u32) {
        let topic = head.topic.as_bytes();
        let out = &mut self.directory;
        out.extend_from_slice(&head.partition.to_be_bytes());
        out.push(head.flags);
        out.extend_from_slice(&head.first.to_be_bytes());
        out.extend_from_slice(&head.last.to_be_bytes());
        out.extend_from_slice(&head.records.to_be_bytes());
        out.extend_from_slice(&batch_bytes.to_be_bytes());
        out.extend_from_slice(&batch_crc.to_be_bytes());
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        out.extend_from_slice(topic);
        let empty = self.frames == 0;
        self.first = if empty { head.first } else { self.first.min(head.first) };
        self.last = if empty { head.last } else { self.last.max(head.last) };
        self.frames += 1;
    }

    /// True if there is nothing to append.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Smallest ordinal gathered.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Largest ordinal gathered.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes that the append will write.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        2 * (FIXED_BYTES + self.directory.len()) + self.body.len()
    }

    /// Forgets what was gathered and keeps the memory.
    pub fn clear(&mut self) {
        self.directory.clear();
        self.body.clear();
        self.frames = 0;
    }

    pub(super) fn encode(&self, salt: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.directory.len() as u32).to_be_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.frames.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.last.to_be_bytes());
        out.extend_from_slice(&self.directory);
        let crc = crc32c::crc32c_append(salt, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
        let head = start + MAGIC.len()..out.len();
        out.extend_from_slice(&self.body);
        out.extend_from_slice(&COPY_MAGIC);
        out.extend_from_within(head);
    }
}

/// A group as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) group: Group,
    /// Frames whose batch is not what was written.
    pub(super) bad_frames: u64,
    /// What the group cannot deliver: holes and bad frames.
    pub(super) lost: Vec<Lost>,
}

/// A group's head and directory, read and checked.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) head_bytes: usize,
    pub(super) body_bytes: usize,
    pub(super) entries: Vec<Entry>,
}

/// What the directory says of a frame or a hole.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: FrameHead,
    pub(super) batch_bytes: usize,
    batch_crc: u32,
}

/// The lengths in the fixed part, before the checksum can be checked: directory, body.
pub(super) fn lengths(fixed: &[u8; FIXED_BYTES], magic: [u8; 4]) -> Option<(usize, usize)> {
    let mut fields = Fields(fixed);
    if fields.array()? != magic {
        return None;
    }
    let _crc = fields.u32()?;
    Some((fields.u32()? as usize, fields.u32()? as usize))
}

impl Head {
    /// Reads fixed part and directory, `bytes` being exactly these.
    pub(super) fn parse(bytes: &[u8], salt: u32) -> Option<Head> {
        let mut fields = Fields(bytes);
        fields.array::<4>()?;
        let crc = fields.u32()?;
        if crc32c::crc32c_append(salt, fields.0) != crc {
            return None;
        }
        let _directory_bytes = fields.u32()?;
        let body_bytes = fields.u32()? as usize;
        let frames = fields.u32()?;
        let (first, last) = (fields.u64()?, fields.u64()?);
        // The vector grows with the entries found, not with the number promised.
        let mut entries = Vec::new();
        let mut sum = 0usize;
        for _ in 0..frames {
            let entry = Entry::parse(&mut fields)?;
            sum = sum.checked_add(entry.batch_bytes)?;
            entries.push(entry);
        }
        let whole = fields.0.is_empty() && sum == body_bytes && first <= last && last < u64::MAX;
        whole.then_some(Head { first, last, head_bytes: bytes.len(), body_bytes, entries })
    }

    /// Bytes of the whole group.
    pub(super) fn bytes(&self) -> u64 {
        (2 * self.head_bytes + self.body_bytes) as u64
    }

    /// Cuts the body into frames.
    pub(super) fn frames(self, tag: Tag, body: &Bytes) -> Read {
        let group = Group { tag, first: self.first, last: self.last, frames: Vec::new() };
        let mut read = Read { group, bad_frames: 0, lost: Vec::new() };
        let mut start = 0;
        for entry in self.entries {
            let end = start + entry.batch_bytes;
            let batch = (end <= body.len()).then(|| body.slice(start..end));
            start = end;
            let batch = batch.filter(|batch| crc32c::crc32c(batch) == entry.batch_crc);
            match batch.filter(|_| !entry.is_hole()) {
                Some(batch) => read.group.frames.push(Frame { head: entry.head, batch }),
                None => {
                    read.bad_frames += u64::from(!entry.is_hole());
                    read.lost.push(entry.lost(tag));
                }
            }
        }
        read
    }

    /// The holes in the directory.
    pub(super) fn holes(&self, tag: Tag) -> impl Iterator<Item = Lost> {
        self.entries.iter().filter(|entry| entry.is_hole()).map(move |entry| entry.lost(tag))
    }
}

impl Entry {
    fn is_hole(&self) -> bool {
        self.batch_bytes == 0
    }

    /// What is lost with this entry.
    fn lost(&self, tag: Tag) -> Lost {
        let cause = if self.is_hole() { Cause::of(self.head.flags) } else { Cause::Damaged };
        let (first, last) = (self.head.first, self.head.last);
        Lost { tag, first, last, count: u64::from(self.head.records), cause }
    }

    fn parse(fields: &mut Fields<'_>) -> Option<Entry> {
        let partition = fields.u32()?;
        let flags = fields.u8()?;
        let (first, last) = (fields.u64()?, fields.u64()?);
        let records = fields.u32()?;
        let batch_bytes = fields.u32()? as usize;
        let batch_crc = fields.u32()?;
        let topic_bytes = usize::from(fields.u16()?);
        let topic = std::str::from_utf8(fields.bytes(topic_bytes)?).ok()?.into();
        let head = FrameHead { topic, partition, flags, first, last, records };
        Some(Entry { head, batch_bytes, batch_crc })
    }
}
