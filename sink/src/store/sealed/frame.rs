//! Frame: what surrounds the content of every blob.
//!
//! In: sections of bytes. Out: `version (1) | CRC-32C of the rest (4) | sections`, each section being
//! `length (4) | bytes`, integers little-endian. Promises: a blob that was cut, or in which a bit was
//! turned, is told apart from a sound one.

/// Version of the layout of blobs.
const VERSION: u8 = 1;
/// Bytes before the first section.
const HEAD_BYTES: usize = 5;

/// A blob cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed data cannot be read: {0}")]
pub struct Damaged(pub(super) String);

impl From<pco::errors::PcoError> for Damaged {
    fn from(error: pco::errors::PcoError) -> Self {
        Self(error.to_string())
    }
}

/// Builds a blob.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![VERSION, 0, 0, 0, 0])
    }

    /// Adds a section.
    ///
    /// # Errors
    /// A section of 4 GiB, which the bounds on events exclude.
    pub(super) fn section(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        self.number(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds a plain number below 2^32.
    pub(super) fn number(&mut self, number: usize) -> Result<(), Damaged> {
        let number = u32::try_from(number).map_err(|_| Damaged("more than 4 GiB".into()))?;
        self.0.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let sum = crc32c::crc32c(&self.0[HEAD_BYTES..]);
        self.0[1..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// Takes a blob apart.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(blob: &'a [u8]) -> Result<Self, Damaged> {
        let Some((&[version, a, b, c, d], rest)) = blob.split_first_chunk::<HEAD_BYTES>() else {
            return Err(Damaged(format!("it has {} bytes only", blob.len())));
        };
        if version != VERSION {
            return Err(Damaged(format!(
                "it has version {version}, this program knows {VERSION}: update this program"
            )));
        }
        if crc32c::crc32c(rest) != u32::from_le_bytes([a, b, c, d]) {
            return Err(Damaged("its checksum is wrong".into()));
        }
        Ok(Self(rest))
    }

    pub(super) fn number(&mut self) -> Result<usize, Damaged> {
        let (number, rest) =
            self.0.split_first_chunk::<4>().ok_or_else(|| Damaged("it ends too early".into()))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*number) as usize)
    }

    pub(super) fn section(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.number()?;
        let (section, rest) =
            self.0.split_at_checked(length).ok_or_else(|| Damaged("it ends too early".into()))?;
        self.0 = rest;
        Ok(section)
    }
}

/// Refuses a number of elements that no writer of ours makes.
pub(super) fn bounded(n: usize, max: usize) -> Result<usize, Damaged> {
    if n > max { Err(Damaged(format!("it tells of {n} elements"))) } else { Ok(n) }
}
