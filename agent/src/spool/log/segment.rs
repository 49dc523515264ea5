//! One segment file: header, then groups back to back.
//!
//! In: a file of any content. Out: its header, the groups in it, the end of what is whole. The
//! header (base ordinal, salt, tag; sealed) is written twice, because without it the whole
//! segment is lost. The file is named by its base ordinal, the smallest that it may hold.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Tag;
use super::group::{COPY_MAGIC, FIXED_BYTES, Head, MAGIC, lengths};
use crate::spool::seal::{Fields, SEAL_BYTES, seal, unseal};

const HEADER_MAGIC: [u8; 4] = *b"WSG2";
const CONTENT_BYTES: usize = 28;
const COPY_BYTES: usize = SEAL_BYTES + CONTENT_BYTES;

/// Bytes before the first group.
pub(super) const HEADER_BYTES: u64 = 2 * COPY_BYTES as u64;

const SUFFIX: &str = ".seg";

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) base: u64,
    pub(super) salt: u32,
    pub(super) tag: Tag,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = [0; CONTENT_BYTES];
        content[..8].copy_from_slice(&self.base.to_be_bytes());
        content[8..12].copy_from_slice(&self.salt.to_be_bytes());
        content[12..].copy_from_slice(&self.tag);
        seal(HEADER_MAGIC, &content).repeat(2)
    }

    /// The header of `file`; `None` if neither copy is whole.
    pub(super) fn read(file: &File) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_BYTES as usize];
        let mut have = 0;
        while have < bytes.len() {
            match file.read_at(&mut bytes[have..], have as u64) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (first, second) = bytes.split_at(COPY_BYTES);
        Ok(Header::parse(first).or_else(|| Header::parse(second)))
    }

    fn parse(copy: &[u8]) -> Option<Header> {
        let content: [u8; CONTENT_BYTES] = unseal(HEADER_MAGIC, copy)?;
        let mut fields = Fields(&content);
        Some(Header { base: fields.u64()?, salt: fields.u32()?, tag: fields.array()? })
    }
}

/// The path of the segment that begins at `base`.
pub(super) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}{SUFFIX}"))
}

/// The base ordinal in a file name, if it is one of a segment.
pub(super) fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Whether the medium itself cannot give the bytes.
pub(super) fn is_damage(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

/// A flash block that cannot be read is damage like any other; everything else is passed on, to
/// be tried again.
fn read_exact(file: &File, out: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(out, offset) {
        Ok(()) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The head of the group at `offset`, if a whole group lies there, below `limit`.
pub(super) fn head_at(file: &File, offset: u64, limit: u64, salt: u32) -> io::Result<Option<Head>> {
    let whole = |head: &Head| limit.saturating_sub(offset) >= head.bytes();
    Ok(parse_at(file, offset, limit, salt, MAGIC)?.filter(whole))
}

/// The group whose second head lies at `at`, if it begins at `start` or later, and where.
fn group_before(
    file: &File,
    at: u64,
    start: u64,
    limit: u64,
    salt: u32,
) -> io::Result<Option<(u64, Head)>> {
    let head = parse_at(file, at, limit, salt, COPY_MAGIC)?;
    Ok(head.and_then(|head| {
        let begin = at.checked_sub((head.head_bytes + head.body_bytes) as u64)?;
        (begin >= start).then_some((begin, head))
    }))
}

/// A head with `magic` at `offset`.
fn parse_at(
    file: &File,
    offset: u64,
    limit: u64,
    salt: u32,
    magic: [u8; 4],
) -> io::Result<Option<Head>> {
    let room = limit.saturating_sub(offset);
    let mut fixed = [0; FIXED_BYTES];
    if room < FIXED_BYTES as u64 || !read_exact(file, &mut fixed, offset)? {
        return Ok(None);
    }
    let Some((directory, _)) = lengths(&fixed, magic) else {
        return Ok(None);
    };
    if FIXED_BYTES as u64 + directory as u64 > room {
        return Ok(None);
    }
    let mut bytes = vec![0; FIXED_BYTES + directory];
    bytes[..FIXED_BYTES].copy_from_slice(&fixed);
    if !read_exact(file, &mut bytes[FIXED_BYTES..], offset + FIXED_BYTES as u64)? {
        return Ok(None);
    }
    Ok(Head::parse(&bytes, salt))
}

/// The body of a group. Where it cannot be read at once, each block for itself: what is missing
/// is zero, and the checksum of its frame notices.
pub(super) fn body_at(file: &File, offset: u64, head: &Head) -> io::Result<Bytes> {
    let mut body = vec![0; head.body_bytes];
    let start = offset + head.head_bytes as u64;
    if !read_exact(file, &mut body, start)? {
        const BLOCK_BYTES: usize = 4096;
        for (i, block) in body.chunks_mut(BLOCK_BYTES).enumerate() {
            if !read_exact(file, block, start + (i * BLOCK_BYTES) as u64)? {
                block.fill(0);
            }
        }
    }
    Ok(body.into())
}

/// Searches for the next whole group at `start` or later that holds `next` or something higher,
/// by either of its heads.
pub(super) fn find_group(
    file: &File,
    start: u64,
    limit: u64,
    salt: u32,
    next: u64,
) -> io::Result<Option<(u64, Head)>> {
    const CHUNK_BYTES: u64 = 64 << 10;
    let mut offset = start;
    let mut chunk = Vec::new();
    while offset + FIXED_BYTES as u64 <= limit {
        chunk.resize(CHUNK_BYTES.min(limit - offset) as usize, 0);
        if !read_exact(file, &mut chunk, offset)? {
            // Blocks are read one by one around the place that cannot be read.
            let block = chunk.len().min(4096);
            chunk.truncate(block);
            if !read_exact(file, &mut chunk, offset)? {
                chunk.fill(0);
            }
        }
        for (i, window) in chunk.windows(MAGIC.len()).enumerate() {
            let at = offset + i as u64;
            let found = if window == MAGIC {
                head_at(file, at, limit, salt)?.map(|head| (at, head))
            } else if window == COPY_MAGIC {
                group_before(file, at, start, limit, salt)?
            } else {
                None
            };
            if let Some((at, head)) = found.filter(|(_, head)| head.last >= next) {
                return Ok(Some((at, head)));
            }
        }
        // A magic may lie across the border of two chunks.
        offset += (chunk.len() - (MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

/// The next whole group at `offset` or later, beyond damage if there is some.
pub(super) fn next_group(
    file: &File,
    offset: u64,
    limit: u64,
    salt: u32,
    next: u64,
) -> io::Result<Option<(u64, Head)>> {
    match head_at(file, offset, limit, salt)? {
        Some(head) => Ok(Some((offset, head))),
        None => find_group(file, offset, limit, salt, next),
    }
}
