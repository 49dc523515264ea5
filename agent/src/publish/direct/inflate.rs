//! Decompresses batches that others wrote with the codecs our own batches do not use.
//!
//! In: a batch of any codec. Out: its records. Promises: no more memory than the limit, whatever the
//! batch claims. Sources: Kafka's documentation ("Record Batch", attributes), the LZ4 frame format,
//! and for snappy the framing of xerial's `SnappyOutputStream`, which Java clients write and others
//! leave out.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use weir_models::wire::{BatchView, Records, WireError};

const GZIP: u8 = 1;
const SNAPPY: u8 = 2;
const LZ4: u8 = 3;

const XERIAL: &[u8] = b"\x82SNAPPY\0";
/// Magic, version, lowest compatible version.
const XERIAL_HEADER_BYTES: usize = 16;

/// The records of a batch of any codec, `limit` bytes at most.
///
/// # Errors
/// Those of [`BatchView::records`].
pub(super) fn records<'a>(batch: &BatchView<'a>, limit: usize) -> Result<Records<'a>, WireError> {
    let codec = match batch.codec() {
        Ok(_) => return batch.records(limit),
        Err(WireError::Codec(codec)) => codec,
        Err(error) => return Err(error),
    };
    let raw = match codec {
        GZIP => bounded(MultiGzDecoder::new(batch.body()), limit)?,
        SNAPPY => snappy(batch.body(), limit)?,
        LZ4 => bounded(FrameDecoder::new(batch.body()), limit)?,
        other => return Err(WireError::Codec(other)),
    };
    batch.records_from(raw.into())
}

fn bounded(source: impl Read, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut raw = Vec::new();
    let read = source.take(limit as u64 + 1).read_to_end(&mut raw);
    read.map_err(|_| WireError::Decompress)?;
    if raw.len() > limit { Err(WireError::TooLarge { limit }) } else { Ok(raw) }
}

fn snappy(body: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let mut raw = Vec::new();
    if !body.starts_with(XERIAL) {
        append_snappy(body, limit, &mut raw)?;
        return Ok(raw);
    }
    let mut rest = body.get(XERIAL_HEADER_BYTES..).ok_or(WireError::Decompress)?;
    while let Some((length, blocks)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = blocks.split_at_checked(length).ok_or(WireError::Decompress)?;
        append_snappy(block, limit, &mut raw)?;
        rest = after;
    }
    if rest.is_empty() { Ok(raw) } else { Err(WireError::Decompress) }
}

fn append_snappy(block: &[u8], limit: usize, raw: &mut Vec<u8>) -> Result<(), WireError> {
    let bytes = snap::raw::decompress_len(block).map_err(|_| WireError::Decompress)?;
    let start = raw.len();
    if bytes > limit - start {
        return Err(WireError::TooLarge { limit });
    }
    raw.resize(start + bytes, 0);
    let read = snap::raw::Decoder::new().decompress(block, &mut raw[start..]);
    let read = read.map_err(|_| WireError::Decompress)?;
    raw.truncate(start + read);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(super) mod tests {
    use super::*;
    use std::io::Write;
    use weir_models::wire::{BATCH_HEADER_BYTES, BatchBuilder, Codec, Compressor};

    /// A batch of these records, not compressed.
    pub(in super::super) fn batch(records: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            builder.push(1_000, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        }
        let mut compressor = Compressor::new(Codec::None, 0);
        let mut out = Vec::new();
        builder.finish(&mut compressor, &mut out);
        out
    }

    /// The same batch with another codec.
    pub(in super::super) fn recoded(batch: &[u8], codec: u8, body: &[u8]) -> Vec<u8> {
        let mut out = batch[..BATCH_HEADER_BYTES].to_vec();
        out.extend_from_slice(body);
        let length = (out.len() - 12) as u32;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[22] = out[22] & !7 | codec;
        let crc = crc32c::crc32c(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn compressed(codec: u8, raw: &[u8]) -> Vec<u8> {
        match codec {
            GZIP => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                writer.write_all(raw).unwrap();
                writer.finish().unwrap()
            }
            LZ4 => {
                let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
                writer.write_all(raw).unwrap();
                writer.finish().unwrap()
            }
            _ => snap::raw::Encoder::new().compress_vec(raw).unwrap(),
        }
    }

    fn xerial(raw: &[u8]) -> Vec<u8> {
        let mut out = XERIAL.to_vec();
        out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        for part in raw.chunks(40) {
            let block = compressed(SNAPPY, part);
            out.extend_from_slice(&(block.len() as u32).to_be_bytes());
            out.extend_from_slice(&block);
        }
        out
    }

    fn sample() -> Vec<u8> {
        let long = "abcdefgh".repeat(50);
        batch(&[("one", Some("1")), ("two", None), ("three", Some(&long))])
    }

    fn read(batch: &[u8], limit: usize) -> Result<Vec<String>, WireError> {
        let (view, _) = BatchView::parse(batch).unwrap();
        let records = records(&view, limit)?;
        let key = |record: Result<weir_models::wire::Record<'_>, WireError>| {
            record.map(|record| String::from_utf8_lossy(record.key.unwrap()).into_owned())
        };
        records.iter().map(key).collect()
    }

    #[test]
    fn every_codec_gives_the_same_records() {
        let plain = sample();
        let raw = &plain[BATCH_HEADER_BYTES..];
        let expected = ["one", "two", "three"];
        assert_eq!(read(&plain, 1_000).unwrap(), expected);
        for codec in [GZIP, SNAPPY, LZ4] {
            let other = recoded(&plain, codec, &compressed(codec, raw));
            assert_eq!(read(&other, 1_000).unwrap(), expected, "codec {codec}");
        }
        assert_eq!(read(&recoded(&plain, SNAPPY, &xerial(raw)), 1_000).unwrap(), expected);
    }

    #[test]
    fn what_is_larger_than_the_limit_or_damaged_is_refused() {
        let plain = sample();
        let raw = &plain[BATCH_HEADER_BYTES..];
        let xerial = xerial(raw);
        for (codec, body) in [
            (GZIP, compressed(GZIP, raw)),
            (SNAPPY, compressed(SNAPPY, raw)),
            (SNAPPY, xerial),
            (LZ4, compressed(LZ4, raw)),
        ] {
            let large = read(&recoded(&plain, codec, &body), raw.len() - 1);
            assert_eq!(large, Err(WireError::TooLarge { limit: raw.len() - 1 }), "codec {codec}");
            let cut = read(&recoded(&plain, codec, &body[..body.len() / 2]), 1_000);
            assert!(cut.is_err(), "codec {codec}");
        }
        assert_eq!(read(&recoded(&plain, 6, raw), 1_000), Err(WireError::Codec(6)));
    }

    /// A few bytes that claim four gigabytes.
    #[test]
    fn a_claim_allocates_nothing() {
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let found = read(&recoded(&sample(), SNAPPY, &claim), 1_000);
        assert_eq!(found, Err(WireError::TooLarge { limit: 1_000 }));
    }
}
