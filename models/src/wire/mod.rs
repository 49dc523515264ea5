//! Kafka record batches, format v2 (`magic` 2), and the partitioner.
//!
//! In: events as key, value and time stamp, or the bytes of a batch that somebody else wrote.
//! Out: the bytes of a batch as they lie in the spool and go on the wire, or its records.
//! Promises: what [`BatchBuilder`] writes every Kafka client and broker reads; what [`BatchView`]
//! reads may be anything: it answers with a [`WireError`], never a panic, and memory stays within
//! the limit given.
//! What can go wrong: foreign bytes; a codec we do not carry (gzip, snappy, lz4).
//!
//! Big-endian, from byte 0: base offset i64, batch length i32 (bytes after it), leader epoch i32,
//! magic i8, CRC-32C u32 (of byte 21 to the end), attributes i16, last offset delta i32, base and
//! max time stamp i64 ms, producer id i64, producer epoch i16, base sequence i32, count i32, then
//! the records, which alone are compressed. Source: Kafka's documentation, "Record Batch", and
//! KIP-98.

mod builder;
mod compressor;
mod partition;
mod record;
#[cfg(test)]
mod tests;
mod varint;
mod view;

pub use builder::{BatchBuilder, BatchInfo};
pub use compressor::{Codec, Compressor};
pub use partition::{murmur2, partition_for};
pub use record::{Header, Record, RecordIter, Records};
pub use view::{BatchView, stamp};

/// Bytes before the records.
pub const BATCH_HEADER_BYTES: usize = 61;

/// A sensible limit for [`BatchView::records`]: most bytes that the records of one batch may take
/// once decompressed. Our own batches stay near 256 KiB.
pub const MAX_RAW_BYTES: usize = 16 << 20;

/// Where the fields of the batch header lie.
mod at {
    pub(super) const BASE_OFFSET: usize = 0;
    pub(super) const LENGTH: usize = 8;
    pub(super) const LEADER_EPOCH: usize = 12;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const LAST_OFFSET_DELTA: usize = 23;
    pub(super) const BASE_TIMESTAMP: usize = 27;
    pub(super) const MAX_TIMESTAMP: usize = 35;
    pub(super) const PRODUCER_ID: usize = 43;
    pub(super) const PRODUCER_EPOCH: usize = 51;
    pub(super) const BASE_SEQUENCE: usize = 53;
    pub(super) const COUNT: usize = 57;
}

/// Why bytes are not a record batch that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends before the batch does.
    #[error(
        "record batch needs {needed} bytes, {have} are there: read on, or treat the rest as torn"
    )]
    Short {
        /// Bytes the batch would take, as far as known.
        needed: usize,
        /// Bytes given.
        have: usize,
    },
    /// The length field cannot be true.
    #[error("record batch length {0} is impossible: the bytes are damaged or not a record batch")]
    Length(i32),
    /// A format other than v2.
    #[error(
        "record batch has magic {0}, only 2 is read: let the topic's writers use Kafka 0.11 or newer"
    )]
    Magic(u8),
    /// The checksum disagrees.
    #[error("record batch is damaged (crc {stored:08x} stored, {computed:08x} computed): skip it")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Compressed by a codec that is not carried here.
    #[error("record batch uses codec {0}: only none (0) and zstd (4) are read here")]
    Codec(u8),
    /// zstd refused the records.
    #[error("records do not decompress: skip the batch")]
    Decompress,
    /// The records are larger than the reader allows.
    #[error("records take more than {limit} bytes decompressed: raise the limit or skip the batch")]
    TooLarge {
        /// The limit given to [`BatchView::records`].
        limit: usize,
    },
    /// A record's fields do not add up.
    #[error("record {index} of the batch is malformed: skip the batch")]
    Record {
        /// Its place in the batch, from 0.
        index: u32,
    },
}
