#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_murmur2(key: &str, expected: i32) {
    assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
}

/// The vectors of Kafka's `UtilsTest.testMurmur2`.
#[test]
fn murmur2_agrees_with_the_java_client() {
    check_murmur2("21", -973_932_308);
    check_murmur2("foobar", -790_332_482);
    check_murmur2("a-little-bit-long-string", -985_981_536);
    check_murmur2("a-little-bit-longer-string", -1_486_304_829);
    check_murmur2("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
    check_murmur2("abc", 479_470_107);
}

#[test]
fn partition_clears_the_sign() {
    // (-973932308 & 0x7fffffff) % 7, by hand: 1173551340 % 7.
    assert_eq!(partition_for(b"21", 7), 1_173_551_340 % 7);
    assert_eq!(partition_for(b"abc", 1), 0);
    assert_eq!(partition_for(b"abc", 0), 0);
}

/// Two records without compression, byte for byte as the Java client writes them (fields from
/// Kafka's documentation, by hand).
#[test]
fn bytes_are_those_of_the_format() {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, Some(b"k"), Some(b"v"), &[]);
    builder.push(1_001, None, None, &[("h", b"x")]);
    let mut out = Vec::new();
    let info = builder.finish(&mut Compressor::new(Codec::None, 0), &mut out);
    assert_eq!((info.records, info.raw_bytes, info.batch_bytes), (2, 20, 81));
    let mut expected = Vec::new();
    expected.extend_from_slice(&0i64.to_be_bytes());
    expected.extend_from_slice(&69i32.to_be_bytes());
    expected.extend_from_slice(&(-1i32).to_be_bytes());
    expected.push(2);
    let mut covered = Vec::new();
    covered.extend_from_slice(&0i16.to_be_bytes());
    covered.extend_from_slice(&1i32.to_be_bytes());
    covered.extend_from_slice(&1_000i64.to_be_bytes());
    covered.extend_from_slice(&1_001i64.to_be_bytes());
    covered.extend_from_slice(&(-1i64).to_be_bytes());
    covered.extend_from_slice(&(-1i16).to_be_bytes());
    covered.extend_from_slice(&(-1i32).to_be_bytes());
    covered.extend_from_slice(&2i32.to_be_bytes());
    covered.extend_from_slice(&[16, 0, 0, 0, 2, b'k', 2, b'v', 0]);
    covered.extend_from_slice(&[20, 0, 2, 2, 1, 1, 2, 2, b'h', 2, b'x']);
    expected.extend_from_slice(&crc32c::crc32c(&covered).to_be_bytes());
    expected.extend_from_slice(&covered);
    assert_eq!(out, expected);
}

type OwnedHeader = (String, Vec<u8>);
type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<OwnedHeader>);

fn record() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..40));
    // Around the widths at which a length takes another byte.
    let value = proptest::option::of(prop_oneof![
        vec(any::<u8>(), 0..80),
        (0u8..4, prop_oneof![40usize..80, 8_150usize..8_230]).prop_map(|(b, n)| vec![b; n]),
    ]);
    let headers = vec(("[a-zä]{0,5}", vec(any::<u8>(), 0..9)), 0..3);
    let ts_ms = prop_oneof![0i64..4_000_000_000_000, any::<i64>()];
    (ts_ms, bytes(), value, headers)
}

fn batch(records: &[Owned], codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (ts_ms, key, value, headers) in records {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        match (value, headers.as_slice()) {
            (Some(value), []) => {
                builder.push_with(*ts_ms, key.as_deref(), |out| out.extend_from_slice(value));
            }
            (value, headers) => builder.push(*ts_ms, key.as_deref(), value.as_deref(), headers),
        }
    }
    let mut out = Vec::new();
    builder.finish(&mut Compressor::new(codec, 1), &mut out);
    out
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>, WireError> {
    let (view, _) = BatchView::parse(bytes)?;
    let records = view.records(MAX_RAW_BYTES)?;
    let mut all = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let record = record?;
        assert_eq!(record.offset_delta as usize, i);
        let headers =
            record.headers.iter().map(|(n, v)| ((*n).to_owned(), v.unwrap_or_default().to_vec()));
        all.push((
            record.ts_ms,
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
            headers.collect(),
        ));
    }
    Ok(all)
}

/// Goes through everything there is to read.
fn devour(bytes: &[u8]) {
    if let Ok((view, _)) = BatchView::parse(bytes)
        && let Ok(records) = view.records(1 << 16)
    {
        assert!(records.raw_bytes() <= 1 << 16);
        let _ = records.iter().filter(Result::is_ok).count();
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read(records in vec(record(), 1..20), zstd: bool, after in vec(any::<u8>(), 0..9)) {
        let codec = if zstd { Codec::Zstd } else { Codec::None };
        let mut bytes = batch(&records, codec);
        prop_assert_eq!(read(&bytes), Ok(records.clone()));
        let length = bytes.len();
        bytes.extend_from_slice(&after);
        let (view, rest) = BatchView::parse(&bytes).unwrap();
        prop_assert_eq!((view.bytes().len(), rest), (length, after.as_slice()));
        prop_assert_eq!(view.max_ts_ms(), records.iter().map(|r| r.0).max().unwrap());
    }

    #[test]
    fn a_stamped_batch_holds_the_same_records(records in vec(record(), 1..5), offset: i64, id: i64, epoch: i16, sequence: i32) {
        let mut bytes = batch(&records, Codec::Zstd);
        stamp(&mut bytes, offset, id, epoch, sequence).unwrap();
        let (view, _) = BatchView::parse(&bytes).unwrap();
        prop_assert_eq!(view.base_offset(), offset);
        prop_assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (id, epoch, sequence));
        prop_assert_eq!(read(&bytes), Ok(records));
    }

    #[test]
    fn a_flipped_bit_is_noticed(records in vec(record(), 1..5), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = batch(&records, Codec::Zstd);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Base offset and leader epoch are outside the CRC.
        let covered = (8..12).contains(&at) || at >= 16;
        prop_assert_eq!(BatchView::parse(&bytes).is_err(), covered);
        // With a CRC that fits, the damage reaches the decompressor and the record parser.
        if stamp(&mut bytes, 0, -1, -1, -1).is_ok() {
            devour(&bytes);
        }
    }

    #[test]
    fn foreign_records_never_panic(body in vec(any::<u8>(), 0..200), attributes in 0u8..64, count in -1i32..40) {
        let mut bytes = batch(&[(0, None, None, Vec::new())], Codec::None);
        bytes.truncate(BATCH_HEADER_BYTES);
        bytes.extend_from_slice(&body);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = attributes;
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        stamp(&mut bytes, 0, -1, -1, -1).unwrap();
        prop_assert!(BatchView::parse(&bytes).is_ok());
        devour(&bytes);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        devour(&bytes);
    }
}

#[test]
fn a_builder_is_empty_after_finishing() {
    let mut builder = BatchBuilder::new();
    let mut compressor = Compressor::new(Codec::Zstd, 1);
    let mut out = Vec::new();
    assert_eq!(builder.finish(&mut compressor, &mut out).records, 0);
    assert!(out.is_empty());
    for round in 1..=3u8 {
        builder.push(i64::from(round), None, Some(&[round; 500]), &[]);
        let start = out.len();
        builder.finish(&mut compressor, &mut out);
        assert_eq!((builder.count(), builder.raw_bytes()), (0, 0));
        let expected = (i64::from(round), None, Some(vec![round; 500]), Vec::new());
        assert_eq!(read(&out[start..]), Ok(vec![expected]));
    }
}

/// A few bytes of zstd that would become 64 MiB stop at the limit.
#[test]
fn a_bomb_stops_at_the_limit() {
    let records = [(0, None, Some(vec![0; 64 << 20]), Vec::new())];
    let bytes = batch(&records, Codec::Zstd);
    assert!(bytes.len() < 64 << 10);
    assert_eq!(read(&bytes), Err(WireError::TooLarge { limit: MAX_RAW_BYTES }));
}

#[test]
fn codecs_not_carried_are_named() {
    let mut bytes = batch(&[(0, None, None, Vec::new())], Codec::None);
    bytes[22] = 3;
    stamp(&mut bytes, 0, -1, -1, -1).unwrap();
    assert_eq!(read(&bytes), Err(WireError::Codec(3)));
    bytes[16] = 1;
    assert_eq!(read(&bytes), Err(WireError::Magic(1)));
    assert_eq!(read(&bytes[..60]), Err(WireError::Short { needed: 61, have: 60 }));
}
