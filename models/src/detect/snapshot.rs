//! Bytes of a detector's state: written little-endian, read back bit for bit.
//!
//! Layout: four bytes of magic, format version (`u16`), the state, CRC-32C of all before it. A reader checks the
//! checksum first, then every index against its bound and every number for being finite, so that no byte string makes
//! a detector panic.

/// Why a snapshot was not taken. The detector that refused it is unchanged; starting without history is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not a snapshot of this model.
    #[error("these bytes are no snapshot of this model: start without history")]
    Foreign,
    /// Written by another version of the model.
    #[error("snapshot format {found} is not {expected}: start without history")]
    Version {
        /// The version in the snapshot.
        found: u16,
        /// The version this program writes.
        expected: u16,
    },
    /// Cut short or too long.
    #[error("the snapshot has the wrong length: start without history")]
    Length,
    /// Bits have changed since it was written.
    #[error("the checksum of the snapshot does not match: start without history")]
    Checksum,
    /// A field is out of its range.
    #[error("the snapshot holds an impossible value: start without history")]
    Value,
}

const HEAD: usize = 6;
const CRC: usize = 4;

/// Appends a snapshot to a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, magic: [u8; 4], version: u16) -> Self {
        let start = out.len();
        out.extend_from_slice(&magic);
        out.extend_from_slice(&version.to_le_bytes());
        Self { out, start }
    }

    pub(super) fn u8(&mut self, v: u8) {
        self.out.push(v);
    }

    pub(super) fn u32(&mut self, v: u32) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn u64(&mut self, v: u64) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f32(&mut self, v: f32) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f64(&mut self, v: f64) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn f32s(&mut self, vs: &[f32]) {
        for v in vs {
            self.f32(*v);
        }
    }

    pub(super) fn u16s(&mut self, vs: &[u16]) {
        for v in vs {
            self.out.extend_from_slice(&v.to_le_bytes());
        }
    }

    pub(super) fn finish(self) {
        let crc = crc32c::crc32c(&self.out[self.start..]);
        self.out.extend_from_slice(&crc.to_le_bytes());
    }
}

/// Reads what [`Writer`] wrote.
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], magic: [u8; 4], version: u16) -> Result<Self, RestoreError> {
        let Some((body, crc)) = bytes.len().checked_sub(CRC).map(|n| bytes.split_at(n)) else {
            return Err(RestoreError::Length);
        };
        if body.len() < HEAD {
            return Err(RestoreError::Length);
        }
        let (head, state) = body.split_at(HEAD);
        if head[..4] != magic {
            return Err(RestoreError::Foreign);
        }
        let found = u16::from_le_bytes([head[4], head[5]]);
        if found != version {
            return Err(RestoreError::Version { found, expected: version });
        }
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err(RestoreError::Checksum);
        }
        Ok(Self { left: state })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let (taken, left) = self.left.split_first_chunk::<N>().ok_or(RestoreError::Length)?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RestoreError> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u8_below(&mut self, limit: u8) -> Result<u8, RestoreError> {
        let [v] = self.take()?;
        if v < limit { Ok(v) } else { Err(RestoreError::Value) }
    }

    pub(super) fn u32(&mut self) -> Result<u32, RestoreError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RestoreError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32, RestoreError> {
        let v = f32::from_le_bytes(self.take()?);
        if v.is_finite() { Ok(v) } else { Err(RestoreError::Value) }
    }

    pub(super) fn f64(&mut self) -> Result<f64, RestoreError> {
        let v = f64::from_le_bytes(self.take()?);
        if v.is_finite() { Ok(v) } else { Err(RestoreError::Value) }
    }

    pub(super) fn f32s(&mut self, into: &mut [f32]) -> Result<(), RestoreError> {
        for v in into {
            *v = self.f32()?;
        }
        Ok(())
    }

    pub(super) fn u16s(&mut self, into: &mut [u16], most: u16) -> Result<(), RestoreError> {
        for v in into {
            *v = u16::from_le_bytes(self.take()?);
            if *v > most {
                return Err(RestoreError::Value);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), RestoreError> {
        if self.left.is_empty() { Ok(()) } else { Err(RestoreError::Length) }
    }
}
