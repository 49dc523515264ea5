//! The records inside a batch.
//!
//! In: decompressed bytes of unknown origin. Out: one [`Record`] after the other, borrowed, or an
//! error, after which nothing more comes.

use std::borrow::Cow;

use super::{WireError, varint};

/// The smallest record: seven fields of one byte.
pub(super) const MIN_RECORD_BYTES: usize = 7;

/// One record, borrowed from the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none means deleted, in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers in their order. Names may repeat; values may be missing.
    pub headers: Vec<Header<'a>>,
}

/// Name and value of a header.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// The decompressed records of a batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    raw: Cow<'a, [u8]>,
    count: u32,
    base_ts_ms: i64,
    /// Set where the broker's time replaces that of each record.
    fixed_ts_ms: Option<i64>,
}

impl<'a> Records<'a> {
    pub(super) fn new(
        raw: Cow<'a, [u8]>,
        count: u32,
        base_ts_ms: i64,
        fixed_ts_ms: Option<i64>,
    ) -> Self {
        Records { raw, count, base_ts_ms, fixed_ts_ms }
    }

    /// Records promised by the header.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records, decompressed.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Goes through the records.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { rest: &self.raw, index: 0, records: self }
    }
}

impl<'r> IntoIterator for &'r Records<'_> {
    type Item = Result<Record<'r>, WireError>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Iterator over [`Records`]; ends after the first error. Bytes that follow the last record are
/// an error too: the count and the content disagree.
#[derive(Debug)]
pub struct RecordIter<'r> {
    rest: &'r [u8],
    index: u32,
    records: &'r Records<'r>,
}

impl<'r> Iterator for RecordIter<'r> {
    type Item = Result<Record<'r>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        if index == self.records.count {
            let rest = std::mem::take(&mut self.rest);
            return (!rest.is_empty()).then_some(Err(WireError::Record { index }));
        }
        if let Some(record) = self.record() {
            self.index += 1;
            return Some(Ok(record));
        }
        self.index = self.records.count;
        self.rest = &[];
        Some(Err(WireError::Record { index }))
    }
}

impl<'r> RecordIter<'r> {
    fn record(&mut self) -> Option<Record<'r>> {
        let length = length(&mut self.rest)??;
        let (mut body, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let body = &mut body;
        let (_attributes, fields) = body.split_first()?;
        *body = fields;
        let ts_delta = varint::take(body)?;
        let offset_delta = i32::try_from(varint::take(body)?).ok()?;
        let key = bytes(body)?;
        let value = bytes(body)?;
        let headers = headers(body)?;
        if !body.is_empty() {
            return None;
        }
        let own = self.records.base_ts_ms.wrapping_add(ts_delta);
        let ts_ms = self.records.fixed_ts_ms.unwrap_or(own);
        Some(Record { offset_delta, ts_ms, key, value, headers })
    }
}

fn headers<'r>(body: &mut &'r [u8]) -> Option<Vec<Header<'r>>> {
    let count = length(body)??;
    // Each header takes two bytes at least, so that a false count allocates nothing.
    if count > body.len() / 2 {
        return None;
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = std::str::from_utf8(bytes(body)??).ok()?;
        headers.push((name, bytes(body)?));
    }
    Some(headers)
}

/// A length field: `Some(None)` for -1 (null), `None` if it is malformed.
fn length(input: &mut &[u8]) -> Option<Option<usize>> {
    match varint::take(input)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().map(Some),
    }
}

/// A byte string with its length before it: `Some(None)` for null, `None` if it is malformed.
fn bytes<'r>(input: &mut &'r [u8]) -> Option<Option<&'r [u8]>> {
    let Some(length) = length(input)? else {
        return Some(None);
    };
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(Some(bytes))
}
