//! The JSON of an event, written straight into a buffer.
//!
//! In: an event. Out: the same bytes as its `Serialize` gives, which the tests hold it to. An agent
//! writes every event once: the generic way through a serializer costs several times as much,
//! mostly for keys, which are known here, and for looking at text byte by byte.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::{Body, Clock, Event, Log, MetaState, ParseState, RawBytes, Value};
use crate::ident::hexadecimal_digits;

/// Room for an event without its texts, in bytes.
const FRAME_BYTES: usize = 640;

/// Appends the event.
pub(super) fn event(out: &mut Vec<u8>, event: &Event) {
    // Once for all fields but long ones.
    out.reserve(FRAME_BYTES);
    out.extend_from_slice(b"{\"agent\":");
    text(out, &event.agent);
    out.extend_from_slice(b",\"stream\":\"");
    hexadecimal(out, event.id.stream.0);
    out.extend_from_slice(b"\",\"seq\":");
    unsigned(out, event.id.seq);
    text_field(out, b",\"site\":", &event.site);
    text_field(out, b",\"device\":", &event.device);
    out.extend_from_slice(b",\"ts_us\":");
    signed(out, event.ts_us);
    out.extend_from_slice(b",\"received_us\":");
    signed(out, event.received_us);
    out.extend_from_slice(match event.clock {
        Clock::Synced => b",\"clock\":\"synced\"".as_slice(),
        Clock::Unsynced => b",\"clock\":\"unsynced\"",
        Clock::Corrected => b",\"clock\":\"corrected\"",
    });
    text_field(out, b",\"source\":", &event.source);
    match event.dialect {
        // One of our own names, which need no escapes.
        Cow::Borrowed(dialect) => {
            out.extend_from_slice(b",\"dialect\":\"");
            out.extend_from_slice(dialect.as_bytes());
            out.push(b'"');
        }
        Cow::Owned(ref dialect) => text_field(out, b",\"dialect\":", dialect),
    }
    out.extend_from_slice(match event.parse {
        ParseState::Ok => b",\"parse\":\"ok\"".as_slice(),
        ParseState::Partial => b",\"parse\":\"partial\"",
        ParseState::Raw => b",\"parse\":\"raw\"",
    });
    if let Some(reason) = &event.parse_reason {
        text_field(out, b",\"parse_reason\":", reason);
    }
    if !event.meta.is_empty() {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(event.meta.json());
    }
    out.extend_from_slice(match event.meta_state {
        MetaState::Hit => b",\"meta_state\":\"hit\"".as_slice(),
        MetaState::Miss => b",\"meta_state\":\"miss\"",
        MetaState::Stale => b",\"meta_state\":\"stale\"",
    });
    if let Some(age_s) = event.meta_age_s {
        out.extend_from_slice(b",\"meta_age_s\":");
        unsigned(out, age_s);
    }
    match &event.body {
        Body::Reading(metrics) => values(out, metrics),
        Body::Loss(loss) => other_field(out, b",\"lost\":", loss),
        Body::Log(log) => log_fields(out, log),
    }
    match &event.raw {
        None => {}
        // Most are ASCII, which is found out sooner.
        Some(RawBytes(raw)) if raw.is_ascii() || std::str::from_utf8(raw).is_ok() => {
            out.extend_from_slice(b",\"raw\":");
            quoted(out, raw);
        }
        Some(RawBytes(raw)) => text_field(out, b",\"raw_b64\":", &BASE64.encode(raw)),
    }
    out.push(b'}');
}

fn log_fields(out: &mut Vec<u8>, log: &Log) {
    if let Some(facility) = log.facility {
        out.extend_from_slice(b",\"facility\":");
        unsigned(out, facility.into());
    }
    if let Some(severity) = log.severity {
        out.extend_from_slice(b",\"severity\":");
        unsigned(out, severity.into());
    }
    if !log.host.is_empty() {
        text_field(out, b",\"host\":", &log.host);
    }
    if let Some(app) = &log.app {
        text_field(out, b",\"app\":", app);
    }
    if let Some(procid) = &log.procid {
        text_field(out, b",\"procid\":", procid);
    }
    if let Some(msgid) = &log.msgid {
        text_field(out, b",\"msgid\":", msgid);
    }
    if let Some(template) = &log.template {
        out.extend_from_slice(b",\"template\":\"");
        hexadecimal(out, template.0);
        out.push(b'"');
    }
    if !log.sd.is_empty() {
        out.extend_from_slice(b",\"sd\":{");
        for (at, (id, params)) in log.sd.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(out, id);
            out.push(b':');
            texts(out, params.iter());
        }
        out.push(b'}');
    }
    if let Some(score) = log.score {
        other_field(out, b",\"score\":", &score);
    }
    text_field(out, b",\"message\":", &log.message);
}

/// An object of texts.
pub(super) fn texts<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a String, &'a String)>) {
    out.push(b'{');
    for (at, (name, value)) in pairs.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(out, name);
        out.push(b':');
        text(out, value);
    }
    out.push(b'}');
}

/// The metrics of a reading.
fn values(out: &mut Vec<u8>, values: &BTreeMap<String, Value>) {
    out.extend_from_slice(b",\"values\":{");
    for (at, (name, value)) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(out, name);
        other_field(out, b":{\"v\":", &value.v);
        if let Some(unit) = &value.unit {
            text_field(out, b",\"unit\":", unit);
        }
        if let Some(score) = value.score {
            other_field(out, b",\"score\":", &score);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

/// A value that is rare, or a number with a fraction, as serde writes it.
fn other_field(out: &mut Vec<u8>, key: &[u8], value: &impl Serialize) {
    out.extend_from_slice(key);
    // Writing to memory cannot fail, and every map key is text.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "an event is always JSON: {written:?}");
}

// In place, so that the key is copied by an instruction or two.
#[inline(always)]
fn text_field(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    text(out, value);
}

#[inline(always)]
fn text(out: &mut Vec<u8>, text: &str) {
    quoted(out, text.as_bytes());
}

/// A string with the escapes of RFC 8259, section 7, the short ones where there are; of bytes that are UTF-8.
fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let (plain, rest) = bytes.split_at(plain_bytes(bytes));
    out.extend_from_slice(plain);
    if !rest.is_empty() {
        escaped(out, rest);
    }
    out.push(b'"');
}

/// The rest of a string, from the first byte on that needs an escape.
fn escaped(out: &mut Vec<u8>, mut rest: &[u8]) {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEXADECIMAL[usize::from(byte >> 4)]);
                out.push(HEXADECIMAL[usize::from(byte & 15)]);
            }
        }
        let (plain, then) = after.split_at(plain_bytes(after));
        out.extend_from_slice(plain);
        rest = then;
    }
}

/// How many bytes from the begin on need no escape; eight are looked at together.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let (eights, tail) = bytes.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let found = escapes_in(u64::from_le_bytes(*eight));
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    let before = bytes.len() - tail.len();
    if tail.is_empty() {
        return before;
    }
    // The last eight again, of which some were looked at; or all of fewer, some of them twice.
    if let Some(last) = bytes.last_chunk::<8>() {
        let found = escapes_in(u64::from_le_bytes(*last));
        let from = bytes.len() - last.len();
        return if found == 0 { bytes.len() } else { from + found.trailing_zeros() as usize / 8 };
    }
    let few = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => {
            let (first, middle, last) = (tail[0], tail[tail.len() / 2], tail[tail.len() - 1]);
            u64::from_le_bytes([first, middle, last, b' ', b' ', b' ', b' ', b' '])
        }
    };
    if escapes_in(few) == 0 {
        return bytes.len();
    }
    let escapes = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    bytes.iter().position(escapes).unwrap_or(bytes.len())
}

/// The high bit of the first byte that needs an escape is set, and none below it.
#[inline]
fn escapes_in(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // What is less than the number taken away sets its high bit; a borrow can only set one above the lowest
    // true one. Bytes beyond ASCII have theirs set anyway, and never count.
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    (quote | backslash | control) & !word & HIGHS
}

fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(out, number.unsigned_abs());
}

/// Decimal digits, two at a time.
fn unsigned(out: &mut Vec<u8>, mut number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut at = 0;
        while at < 100 {
            pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
            at += 1;
        }
        pairs
    };
    // 2^64 has twenty digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    let [tens, ones] = PAIRS[number as usize];
    at -= 1;
    digits[at] = ones;
    // A hundred leaves a single digit.
    if number >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Sixteen digits.
fn hexadecimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&hexadecimal_digits(number));
}
