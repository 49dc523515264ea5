//! Bytes of models: little-endian; every count is checked against its bound and against what is left before anything
//! is allocated for it, every number for being finite.

use super::OpenError;

/// Appends to a buffer.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, v: u8) {
        self.0.push(v);
    }

    pub(super) fn u16(&mut self, v: u16) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn i64(&mut self, v: i64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f32(&mut self, v: f32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f64(&mut self, v: f64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f64s(&mut self, vs: &[f64]) {
        vs.iter().for_each(|v| self.f64(*v));
    }

    /// A count, of something whose constructor bounds it far below the range.
    pub(super) fn count(&mut self, n: usize) {
        self.u16(u16::try_from(n).unwrap_or(u16::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`Writer`] wrote.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], OpenError> {
        let (taken, left) = self.left.split_at_checked(n).ok_or(OpenError::Length)?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], OpenError> {
        let (taken, left) = self.left.split_first_chunk::<N>().ok_or(OpenError::Length)?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, OpenError> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, OpenError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, OpenError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, OpenError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, OpenError> {
        self.take().map(i64::from_le_bytes)
    }

    pub(super) fn f32(&mut self, what: &'static str) -> Result<f32, OpenError> {
        let v = f32::from_le_bytes(self.take()?);
        if v.is_finite() { Ok(v) } else { Err(OpenError::Value { what }) }
    }

    pub(super) fn f64(&mut self, what: &'static str) -> Result<f64, OpenError> {
        let v = f64::from_le_bytes(self.take()?);
        if v.is_finite() { Ok(v) } else { Err(OpenError::Value { what }) }
    }

    /// `n` numbers; `n` is bounded by the caller.
    pub(super) fn f64s(&mut self, n: usize, what: &'static str) -> Result<Box<[f64]>, OpenError> {
        if n.saturating_mul(8) > self.left.len() {
            return Err(OpenError::Length);
        }
        (0..n).map(|_| self.f64(what)).collect()
    }

    /// A count of things of `each` bytes, at most `most`.
    pub(super) fn count(
        &mut self,
        most: usize,
        each: usize,
        what: &'static str,
    ) -> Result<usize, OpenError> {
        let n = usize::from(self.u16()?);
        if n > most {
            return Err(OpenError::TooMany { what, found: n, most });
        }
        if n.saturating_mul(each) > self.left.len() {
            return Err(OpenError::Length);
        }
        Ok(n)
    }

    pub(super) fn text(&mut self, most: usize, what: &'static str) -> Result<Box<str>, OpenError> {
        let n = self.count(most, 1, what)?;
        let text = std::str::from_utf8(self.bytes(n)?);
        text.map(Into::into).map_err(|_| OpenError::Value { what })
    }

    pub(super) fn finish(self) -> Result<(), OpenError> {
        if self.left.is_empty() { Ok(()) } else { Err(OpenError::Length) }
    }
}
