//! Makes a record batch out of events.
//!
//! In: time stamp, key, value, headers. Out: the finished batch, appended to a buffer of the
//! caller, with base offset 0 and no producer: [`super::stamp`] sets these when it is sent.
//! Promises: a finished builder is empty and keeps its memory.

use super::{BATCH_HEADER_BYTES, Compressor, at, varint};

/// Gathers records for one batch.
///
/// Raw bytes must stay below 2 GiB: callers close a batch at a fraction of a megabyte.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// The records, as they are before compression.
    raw: Vec<u8>,
    count: u32,
    base_ts_ms: i64,
    max_ts_ms: i64,
}

/// What [`BatchBuilder::finish`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    /// Records in the batch.
    pub records: u32,
    /// Bytes of the records before compression.
    pub raw_bytes: usize,
    /// Bytes of the whole batch as written.
    pub batch_bytes: usize,
    /// Largest time stamp, milliseconds since the Unix epoch.
    pub max_ts_ms: i64,
}

impl BatchBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        BatchBuilder::default()
    }

    /// Bytes gathered, before compression.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Records gathered.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a record. `ts_ms` counts milliseconds since the Unix epoch; without a value it is a
    /// deletion in a compacted topic.
    pub fn push(
        &mut self,
        ts_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let start = self.begin(ts_ms, key);
        put_bytes(&mut self.raw, value);
        self.end(start, headers);
    }

    /// Adds a record whose value `write` appends to the buffer of the batch, so that it is written
    /// once and not copied. `write` must only append: what lies before it are other records.
    pub fn push_with<R>(
        &mut self,
        ts_ms: i64,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> R {
        let start = self.begin(ts_ms, key);
        let length_at = self.raw.len();
        varint::reserve(&mut self.raw);
        let value_at = self.raw.len();
        let result = write(&mut self.raw);
        debug_assert!(self.raw.len() >= value_at, "a value may only be appended");
        varint::fill(&mut self.raw, length_at);
        self.end(start, &[]);
        result
    }

    /// Appends the batch to `out` and empties the builder. Without records nothing is written.
    pub fn finish(&mut self, compressor: &mut Compressor, out: &mut Vec<u8>) -> BatchInfo {
        let start = out.len();
        if self.count > 0 {
            out.extend_from_slice(&self.header());
            let codec = compressor.append(&self.raw, out);
            let batch = &mut out[start..];
            let length = (batch.len() - at::LEADER_EPOCH) as i32;
            batch[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
            batch[at::ATTRIBUTES + 1] = codec.bits();
            let crc = crc32c::crc32c(&batch[at::ATTRIBUTES..]);
            batch[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
        }
        let info = BatchInfo {
            records: self.count,
            raw_bytes: self.raw.len(),
            batch_bytes: out.len() - start,
            max_ts_ms: self.max_ts_ms,
        };
        self.raw.clear();
        self.count = 0;
        info
    }

    /// The header but for length, CRC and codec.
    fn header(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(at::LEADER_EPOCH, &(-1i32).to_be_bytes());
        put(at::MAGIC, &[2]);
        put(at::LAST_OFFSET_DELTA, &(self.count - 1).to_be_bytes());
        put(at::BASE_TIMESTAMP, &self.base_ts_ms.to_be_bytes());
        put(at::MAX_TIMESTAMP, &self.max_ts_ms.to_be_bytes());
        put(at::PRODUCER_ID, &(-1i64).to_be_bytes());
        put(at::PRODUCER_EPOCH, &(-1i16).to_be_bytes());
        put(at::BASE_SEQUENCE, &(-1i32).to_be_bytes());
        put(at::COUNT, &self.count.to_be_bytes());
        header
    }

    /// Writes everything before the value; answers where the record starts.
    fn begin(&mut self, ts_ms: i64, key: Option<&[u8]>) -> usize {
        if self.count == 0 {
            self.base_ts_ms = ts_ms;
            self.max_ts_ms = ts_ms;
        }
        self.max_ts_ms = self.max_ts_ms.max(ts_ms);
        let start = self.raw.len();
        varint::reserve(&mut self.raw);
        self.raw.push(0);
        varint::put(&mut self.raw, ts_ms.wrapping_sub(self.base_ts_ms));
        varint::put(&mut self.raw, i64::from(self.count));
        put_bytes(&mut self.raw, key);
        start
    }

    fn end(&mut self, start: usize, headers: &[(&str, &[u8])]) {
        varint::put(&mut self.raw, headers.len() as i64);
        for (name, value) in headers {
            put_bytes(&mut self.raw, Some(name.as_bytes()));
            put_bytes(&mut self.raw, Some(value));
        }
        varint::fill(&mut self.raw, start);
        self.count += 1;
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::put(out, -1),
    }
}
