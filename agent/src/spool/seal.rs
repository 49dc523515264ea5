//! Small records of fixed size that stand alone in a file: segment headers, checkpoints, the state
//! of a lane. Each has a magic with a version and a checksum, so that whatever else lies there is
//! told apart.
//!
//! Layout, big-endian: magic 4 bytes, CRC-32C u32 of the magic and the content, content.

/// Bytes around the content.
pub(super) const SEAL_BYTES: usize = 8;

/// The record of `content`.
pub(super) fn seal(magic: [u8; 4], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL_BYTES + content.len());
    out.extend_from_slice(&magic);
    out.extend_from_slice(&checksum(magic, content).to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// The content of a record of `N` bytes at the start of `bytes`, if it is whole.
pub(super) fn unseal<const N: usize>(magic: [u8; 4], bytes: &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_at_checked(SEAL_BYTES)?;
    let content = rest.first_chunk::<N>()?;
    let (found, crc) = head.split_at(4);
    let whole = found == magic && crc == checksum(magic, content).to_be_bytes();
    whole.then_some(*content)
}

fn checksum(magic: [u8; 4], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&magic), content)
}

/// Takes fields off the front of `bytes`, in order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.first_chunk().copied()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
