//! Compression of a batch's records. One [`Compressor`] serves any number of builders: a zstd
//! context takes up to a megabyte, and an agent has a builder per lane, topic and partition.

use std::io::Cursor;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    None,
    /// Zstandard (Kafka 2.1 and newer, KIP-110).
    Zstd,
}

impl Codec {
    /// The low three bits of the batch attributes.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Zstd => 4,
        }
    }

    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Codec::None),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// Compresses records; reused from batch to batch.
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("zstd", &self.zstd.is_some()).finish()
    }
}

impl Compressor {
    /// A compressor for `codec`; `level` matters to zstd only (1 is the spool's default; zstd
    /// takes the nearest level it has). Should zstd refuse to start, batches stay uncompressed:
    /// larger, but whole.
    #[must_use]
    pub fn new(codec: Codec, level: i32) -> Self {
        let zstd = match codec {
            Codec::None => None,
            Codec::Zstd => zstd::bulk::Compressor::new(level).ok(),
        };
        Compressor { zstd }
    }

    /// Appends `raw` to `out`, compressed if that makes it smaller, and says how it lies there.
    pub(super) fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Codec {
        let start = out.len();
        if let Some(zstd) = &mut self.zstd {
            out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
            let mut rest = Cursor::new(&mut *out);
            rest.set_position(start as u64);
            if zstd.compress_to_buffer(raw, &mut rest).is_ok_and(|n| n < raw.len()) {
                return Codec::Zstd;
            }
            out.truncate(start);
        }
        out.extend_from_slice(raw);
        Codec::None
    }
}

/// Decompresses `input` into at most `limit` bytes. Memory grows with what comes out, not with
/// what the frame header promises.
pub(super) fn inflate(input: &[u8], limit: usize) -> Inflated {
    use std::io::Read as _;
    let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(input) else {
        return Inflated::Damaged;
    };
    // The window is what zstd allocates on the word of the header. 8 MiB is what RFC 8878
    // (section 3.1.1.1.2) asks every decoder for, whatever the size of the content.
    let window_log = usize::BITS - limit.saturating_sub(1).leading_zeros();
    if decoder.window_log_max(window_log.clamp(23, 27)).is_err() {
        return Inflated::Damaged;
    }
    let mut raw = Vec::with_capacity(input.len().saturating_mul(4).min(limit));
    match decoder.take(limit as u64 + 1).read_to_end(&mut raw) {
        Ok(_) if raw.len() > limit => Inflated::TooLarge,
        Ok(_) => Inflated::Records(raw),
        Err(_) => Inflated::Damaged,
    }
}

/// What came of [`inflate`].
pub(super) enum Inflated {
    Records(Vec<u8>),
    TooLarge,
    Damaged,
}
