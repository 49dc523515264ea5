//! Looks into a finished batch without copying it, and stamps it for sending.
//!
//! In: any bytes. Out: the header's fields, the records, or why there are none.

use std::borrow::Cow;

use super::compressor::{Inflated, inflate};
use super::record::{MIN_RECORD_BYTES, Records};
use super::{BATCH_HEADER_BYTES, Codec, WireError, at};

/// A batch whose length, magic and CRC are right. The CRC leaves out the base offset and the
/// leader epoch, which brokers rewrite.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

/// Bit of the attributes: the broker's time stamp counts for every record.
const LOG_APPEND_TIME: u16 = 1 << 3;
/// Bit of the attributes: part of a transaction.
const TRANSACTIONAL: u16 = 1 << 4;
/// Bit of the attributes: a marker for clients, no data.
const CONTROL: u16 = 1 << 5;

impl<'a> BatchView<'a> {
    /// Checks the batch at the start of `input`; answers it and what follows it.
    ///
    /// # Errors
    /// [`WireError::Short`], [`WireError::Length`], [`WireError::Magic`] or [`WireError::Crc`].
    pub fn parse(input: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        if input.len() < BATCH_HEADER_BYTES {
            return Err(WireError::Short { needed: BATCH_HEADER_BYTES, have: input.len() });
        }
        if input[at::MAGIC] != 2 {
            return Err(WireError::Magic(input[at::MAGIC]));
        }
        let length = i32::from_be_bytes(field(input, at::LENGTH));
        let needed = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(at::LEADER_EPOCH))
            .filter(|needed| *needed >= BATCH_HEADER_BYTES)
            .ok_or(WireError::Length(length))?;
        if input.len() < needed {
            return Err(WireError::Short { needed, have: input.len() });
        }
        let (bytes, rest) = input.split_at(needed);
        let stored = u32::from_be_bytes(field(bytes, at::CRC));
        let computed = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        if stored != computed {
            return Err(WireError::Crc { stored, computed });
        }
        Ok((BatchView { bytes }, rest))
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offset of the first record; 0 until a broker has stored it.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, at::BASE_OFFSET))
    }

    /// Offset of the last record less the base offset. In compacted topics more than the count.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, at::LAST_OFFSET_DELTA))
    }

    /// Records that the header promises; [`BatchView::records`] checks it.
    #[must_use]
    pub fn count(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, at::COUNT))
    }

    /// Time stamp that the records count from, milliseconds since the Unix epoch.
    #[must_use]
    pub fn base_ts_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, at::BASE_TIMESTAMP))
    }

    /// Largest time stamp, milliseconds since the Unix epoch.
    #[must_use]
    pub fn max_ts_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, at::MAX_TIMESTAMP))
    }

    /// Producer id, -1 if none.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, at::PRODUCER_ID))
    }

    /// Producer epoch, -1 if none.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(field(self.bytes, at::PRODUCER_EPOCH))
    }

    /// Sequence of the first record for this producer and partition, -1 if none.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, at::BASE_SEQUENCE))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`WireError::Codec`] for gzip, snappy, lz4 and unknown ones.
    pub fn codec(&self) -> Result<Codec, WireError> {
        let bits = (self.attributes() & 7) as u8;
        Codec::from_bits(bits).ok_or(WireError::Codec(bits))
    }

    /// The records as they lie in the batch, mostly compressed.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// True for a marker of a transaction, which holds no data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// True for a batch of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Decompresses the records, to `limit` bytes at most ([`super::MAX_RAW_BYTES`] suits most).
    ///
    /// # Errors
    /// [`WireError::Codec`], [`WireError::Decompress`], [`WireError::TooLarge`], or
    /// [`WireError::Record`] if the count cannot be true; single records are checked when read.
    pub fn records(&self, limit: usize) -> Result<Records<'a>, WireError> {
        let body = self.body();
        let raw: Cow<'a, [u8]> = match self.codec()? {
            Codec::None if body.len() > limit => return Err(WireError::TooLarge { limit }),
            Codec::None => body.into(),
            Codec::Zstd => match inflate(body, limit) {
                Inflated::Records(raw) => raw.into(),
                Inflated::TooLarge => return Err(WireError::TooLarge { limit }),
                Inflated::Damaged => return Err(WireError::Decompress),
            },
        };
        self.records_from(raw)
    }

    /// The records in [`BatchView::body`] that somebody else has decompressed, with a codec that is
    /// not carried here.
    ///
    /// # Errors
    /// [`WireError::Record`] if the count cannot be true; single records are checked when read.
    pub fn records_from(&self, raw: Cow<'a, [u8]>) -> Result<Records<'a>, WireError> {
        let count = u32::try_from(self.count()).map_err(|_| WireError::Record { index: 0 })?;
        if (count as usize).saturating_mul(MIN_RECORD_BYTES) > raw.len() {
            return Err(WireError::Record { index: 0 });
        }
        let append_time = self.attributes() & LOG_APPEND_TIME != 0;
        let fixed_ts_ms = append_time.then(|| self.max_ts_ms());
        Ok(Records::new(raw, count, self.base_ts_ms(), fixed_ts_ms))
    }

    fn attributes(&self) -> u16 {
        u16::from_be_bytes(field(self.bytes, at::ATTRIBUTES))
    }
}

/// Writes offset and producer fields into a finished batch and renews its CRC; the leader epoch
/// becomes -1. A producer sends base offset 0; a broker writes the offset it has chosen.
///
/// The old CRC is not checked: where the bytes may be damaged, do so first, for the new CRC would
/// hide it.
///
/// # Errors
/// [`WireError::Short`] if `batch` is smaller than a header; it is then left as it was.
pub fn stamp(
    batch: &mut [u8],
    base_offset: i64,
    producer_id: i64,
    epoch: i16,
    base_sequence: i32,
) -> Result<(), WireError> {
    if batch.len() < BATCH_HEADER_BYTES {
        return Err(WireError::Short { needed: BATCH_HEADER_BYTES, have: batch.len() });
    }
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(at::BASE_OFFSET, &base_offset.to_be_bytes());
    put(at::LEADER_EPOCH, &(-1i32).to_be_bytes());
    put(at::PRODUCER_ID, &producer_id.to_be_bytes());
    put(at::PRODUCER_EPOCH, &epoch.to_be_bytes());
    put(at::BASE_SEQUENCE, &base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[at::ATTRIBUTES..]);
    batch[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// The `N` bytes at `at` of a header whose length has been checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
