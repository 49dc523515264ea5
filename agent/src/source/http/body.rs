//! Bodies: decompressing, and cutting into one payload an event.
//!
//! In: the body of a request. Out: its payloads as slices of it, or what is wrong with it. Pure.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::value::RawValue;

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is no JSON.
    #[error("the body is no JSON: {message}")]
    Json { message: String, line: usize, column: usize },
    /// It is no gzip.
    #[error("the body is no gzip: {0}")]
    Gzip(String),
    /// It is too large when decompressed.
    #[error("the body has more than {0} bytes when decompressed; send less at once")]
    Large(usize),
}

/// Decompresses `body`, up to `max` bytes.
pub(super) fn gunzip(body: &[u8], max: usize) -> Result<Bytes, Refusal> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(body)
        .take(max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| Refusal::Gzip(error.to_string()))?;
    if plain.len() > max {
        return Err(Refusal::Large(max));
    }
    Ok(plain.into())
}

/// The lines of line protocol, without comments and empty ones.
pub(super) fn lines(body: &Bytes) -> Vec<Bytes> {
    let mut lines = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let length = line_length(&body[at..]);
        let line = body[at..at + length].trim_ascii();
        if !line.is_empty() && !line.starts_with(b"#") {
            lines.push(body.slice_ref(line));
        }
        at += length + 1;
    }
    lines
}

/// Length of the first line. A line feed inside a quoted string value belongs to the line (InfluxDB,
/// `models/points.go: scanLine`): quotes count after the first space, behind an `=`. A quote that is
/// never closed does not swallow what follows: then the line ends at its first line feed.
fn line_length(text: &[u8]) -> usize {
    if text.trim_ascii_start().starts_with(b"#") {
        return memchr::memchr(b'\n', text).unwrap_or(text.len());
    }
    let (mut is_fields, mut is_quoted, mut is_value) = (false, false, false);
    let mut first_feed = None;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'\n' if !is_quoted => return at,
            b'\n' => first_feed = first_feed.or(Some(at)),
            b' ' => is_fields = true,
            b'"' if is_quoted || (is_fields && is_value) => is_quoted = !is_quoted,
            b'=' if !is_quoted => is_value = true,
            b',' if !is_quoted => is_value = false,
            _ => {}
        }
        at += 1;
    }
    match first_feed {
        Some(feed) if is_quoted => feed,
        _ => text.len(),
    }
}

/// The elements of a JSON array, or the values that follow one another (one object, NDJSON), each as
/// the bytes that were received.
pub(super) fn elements(body: &Bytes) -> Result<Vec<Bytes>, Refusal> {
    let refusal = |error: serde_json::Error| Refusal::Json {
        message: error.to_string(),
        line: error.line(),
        column: error.column(),
    };
    let values: Vec<&RawValue> = if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(body).map_err(refusal)?
    } else {
        serde_json::Deserializer::from_slice(body)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(refusal)?
    };
    if values.is_empty() && body.trim_ascii().is_empty() {
        return Err(Refusal::Json { message: "it is empty".into(), line: 1, column: 1 });
    }
    let bytes = |value: &RawValue| body.slice_ref(value.get().as_bytes());
    Ok(values.into_iter().map(bytes).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[track_caller]
    fn check_lines(body: &'static str, expected: &[&str]) {
        let found = lines(&Bytes::from_static(body.as_bytes()));
        assert_eq!(found, expected);
    }

    #[test]
    fn one_payload_a_line() {
        check_lines("a v=1\nb v=2\r\n\n c v=3 \n", &["a v=1", "b v=2", "c v=3"]);
        check_lines("# comment \"\na v=1", &["a v=1"]);
        check_lines("", &[]);
    }

    #[test]
    fn a_line_feed_inside_a_string_belongs_to_the_line() {
        check_lines("a s=\"x\ny\",v=1\nb v=2", &["a s=\"x\ny\",v=1", "b v=2"]);
        check_lines("a s=\"x\\\"\ny\"\nb v=2", &["a s=\"x\\\"\ny\"", "b v=2"]);
        // Quotes in names, tags and field keys are ordinary characters.
        check_lines("a\",t=\"x v=1\nb v=2", &["a\",t=\"x v=1", "b v=2"]);
        check_lines("a \"k=1\nb v=2", &["a \"k=1", "b v=2"]);
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_nothing() {
        check_lines("a s=\"x\nb v=2\nc v=3", &["a s=\"x", "b v=2", "c v=3"]);
    }

    #[track_caller]
    fn check_elements(body: &'static str, expected: Result<&[&str], (usize, usize)>) {
        let found = elements(&Bytes::from_static(body.as_bytes()));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(Refusal::Json { line, column, .. }), Err(place)) => {
                assert_eq!((line, column), place);
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn objects_arrays_and_ndjson_are_told_apart_and_keep_their_bytes() {
        check_elements(" {\"a\": 1.50,\n \"b\":[1]} ", Ok(&["{\"a\": 1.50,\n \"b\":[1]}"]));
        check_elements("[{\"a\":1}, {\"a\" :2} ,3]", Ok(&["{\"a\":1}", "{\"a\" :2}", "3"]));
        check_elements("{\"a\":1}\n{\"a\":2}\r\n\n", Ok(&["{\"a\":1}", "{\"a\":2}"]));
        check_elements("[]", Ok(&[]));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        check_elements("{\"a\":1}\n{\"a\":}\n", Err((2, 6)));
        check_elements("[{\"a\":1},\n oops]", Err((2, 2)));
        check_elements("[1] [2]", Err((1, 5)));
        check_elements("a v=1", Err((1, 1)));
        check_elements(" ", Err((1, 1)));
    }

    #[test]
    fn nesting_has_no_depth_that_hurts() {
        let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
        assert_eq!(elements(&deep.into()).unwrap().len(), 1);
    }

    #[test]
    fn gzip_is_bounded() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[b'x'; 1000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(gunzip(&packed, 1000).unwrap().len(), 1000);
        assert_eq!(gunzip(&packed, 999), Err(Refusal::Large(999)));
        assert!(matches!(gunzip(&packed[..20], 1000), Err(Refusal::Gzip(_))));
        assert!(matches!(gunzip(b"plain", 1000), Err(Refusal::Gzip(_))));
    }

    proptest! {
        #[test]
        fn lines_lose_nothing_but_space(body in "[ab ,=\"\\\\\n]{0,60}") {
            let dense = |text: &[u8]| -> Vec<u8> { text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect() };
            let found = lines(&Bytes::from(body.clone())).concat();
            prop_assert_eq!(dense(&found), dense(body.as_bytes()));
        }
    }
}
