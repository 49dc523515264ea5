//! InfluxDB line protocol: `measurement[,tag=value…] field=value[,field=value…] [stamp]`.
//!
//! In: one line. Out: a [`Line`]: the measurement and a [`Reading`] whose metrics are named
//! `measurement.field` (a field named `value` is named by the measurement alone), unless the
//! [`LineFields`] of the source say otherwise.
//!
//! Promises: escapes as documented by InfluxDB (`\,` `\=` `\ ` in names and tags, `\,` and `\ ` in
//! measurements, `\"` and `\\` in strings; another backslash is itself). Numbers are exact: what
//! a 64-bit float cannot hold is rounded and said. A line of another form is raw with the reason;
//! a single bad field is left out, the state is then partial.
//!
//! Does not: read several lines at once (a line end within a string ends the line at the source).

use std::borrow::Cow;

use super::{Limits, ParseState, Reading, clip};

/// Unit of the stamps of a source, as `precision` in InfluxDB's write API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

/// How the lines of a source become readings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LineFields {
    /// Tag that names the device; Telegraf's is `host`.
    pub device: Option<String>,
    /// Tag that names the site.
    pub site: Option<String>,
    /// Unit of the stamps.
    pub precision: Precision,
    /// Whether metrics are named by the measurement and the field, or by the field alone.
    pub measurement_in_name: bool,
}

impl Default for LineFields {
    fn default() -> Self {
        Self { device: None, site: None, precision: Precision::Ns, measurement_in_name: true }
    }
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line<'a> {
    /// The measurement; empty if the line is raw.
    pub measurement: Cow<'a, str>,
    /// Site, device, time, metrics, remaining tags and strings.
    pub reading: Reading<'a>,
}

/// Integers beyond have no float of their own.
pub(super) const EXACT_INTEGERS: u64 = 1 << 53;

/// Reads one line. Never fails; `None` for an empty line and for a comment (`#`).
pub fn parse<'a>(input: &'a [u8], fields: &LineFields, limits: &Limits) -> Option<Line<'a>> {
    let end =
        input.iter().rposition(|b| !b.is_ascii_whitespace() && *b != 0).map_or(0, |last| last + 1);
    let start = input[..end].iter().position(|b| !b.is_ascii_whitespace())?;
    let line = &input[start..end];
    if line[0] == b'#' {
        return None;
    }
    let raw = |reason| Some(Line { reading: Reading::raw(reason), ..Line::default() });
    if line.len() > limits.line_bytes {
        return raw("longer than the limit of a line");
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return raw("not UTF-8");
    };
    let mut out = Line::default();
    match read(&mut out, text, fields, limits) {
        Ok(())
            if out.reading.values.is_empty()
                && out.reading.texts.is_empty()
                && out.reading.state != ParseState::Ok =>
        {
            out.reading.state = ParseState::Raw;
            Some(out)
        }
        Ok(()) => Some(out),
        Err(reason) => raw(reason),
    }
}

fn read<'a>(
    out: &mut Line<'a>,
    text: &'a str,
    fields: &LineFields,
    limits: &Limits,
) -> Result<(), &'static str> {
    let end = unescaped(text, b", ").ok_or("no fields after the measurement")?;
    if end == 0 {
        return Err("no measurement");
    }
    bounded(&text[..end], limits)?;
    out.measurement = unescape(&text[..end], b", ");
    let mut rest = &text[end..];
    while let Some(tag) = rest.strip_prefix(',') {
        rest = read_tag(&mut out.reading, tag, fields, limits)?;
    }
    let mut rest = rest.trim_start_matches(' ');
    loop {
        rest = read_field(out, rest, fields, limits)?;
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b' ') => break,
            _ => return Ok(()),
        }
    }
    let stamp = rest.trim_matches(' ');
    let number: i64 = stamp.parse().map_err(|_| "the time stamp is no integer")?;
    let ts_us = match fields.precision {
        Precision::Ns => Some(number.div_euclid(1_000)),
        Precision::Us => Some(number),
        Precision::Ms => number.checked_mul(1_000),
        Precision::S => number.checked_mul(1_000_000),
    };
    if ts_us.is_none() {
        out.reading.complain(|| {
            "the time stamp is out of range: check the precision of the source".into()
        });
    }
    out.reading.ts_us = ts_us;
    Ok(())
}

fn read_tag<'a>(
    reading: &mut Reading<'a>,
    text: &'a str,
    fields: &LineFields,
    limits: &Limits,
) -> Result<&'a str, &'static str> {
    let end = unescaped(text, b"=, ")
        .filter(|&end| text.as_bytes()[end] == b'=')
        .ok_or("a tag without a value")?;
    let (name, after) = (&text[..end], &text[end + 1..]);
    let end = unescaped(after, b"=, ").ok_or("no fields after the tags")?;
    if name.is_empty() || end == 0 {
        return Err("a tag without a name or a value");
    }
    if after.as_bytes()[end] == b'=' {
        return Err("an unescaped `=` in a tag");
    }
    bounded(name, limits)?;
    bounded(&after[..end], limits)?;
    let name = unescape(name, b",= ");
    let value = unescape(&after[..end], b",= ");
    if fields.device.as_deref() == Some(&*name) {
        reading.device = Some(value);
    } else if fields.site.as_deref() == Some(&*name) {
        reading.site = Some(value);
    } else if reading.tags.len() >= limits.reading_fields {
        reading.complain(|| {
            format!("more than {} tags, the rest is left out", limits.reading_fields).into()
        });
    } else {
        reading.tags.push((name, value));
    }
    Ok(&after[end..])
}

fn read_field<'a>(
    out: &mut Line<'a>,
    text: &'a str,
    fields: &LineFields,
    limits: &Limits,
) -> Result<&'a str, &'static str> {
    let end = unescaped(text, b"=, ")
        .filter(|&end| text.as_bytes()[end] == b'=')
        .ok_or("a field without a value")?;
    if end == 0 {
        return Err("a field without a name");
    }
    bounded(&text[..end], limits)?;
    let field = unescape(&text[..end], b",= ");
    let name = match (fields.measurement_in_name, field.as_ref()) {
        (false, _) => field,
        (true, "value") => out.measurement.clone(),
        (true, name) => [&*out.measurement, ".", name].concat().into(),
    };
    let after = &text[end + 1..];
    if let Some(string) = after.strip_prefix('"') {
        let length = string_end(string).ok_or("a string without its closing quote")?;
        out.reading.push_text(name, unescape(&string[..length], b"\"\\"), limits);
        let rest = &string[length + 1..];
        return match rest.as_bytes().first() {
            None | Some(b',' | b' ') => Ok(rest),
            Some(_) => Err("something right after the closing quote of a string"),
        };
    }
    let end = after.bytes().position(|b| b == b',' || b == b' ').unwrap_or(after.len());
    let literal = &after[..end];
    match read_number(literal) {
        Some(Number::Exact(v)) => out.reading.push(name, v, None, limits),
        Some(Number::Rounded(v)) => {
            out.reading.complain(|| {
                format!("field `{}` is beyond 2^53, it is rounded", clip(&name)).into()
            });
            out.reading.push(name, v, None, limits);
        }
        None => out.reading.complain(|| {
            format!("field `{}` holds no number, boolean or string, it is left out", clip(&name))
                .into()
        }),
    }
    Ok(&after[end..])
}

enum Number {
    Exact(f64),
    Rounded(f64),
}

/// A float, `1i`, `1u`, or a boolean in one of the ten spellings.
fn read_number(literal: &str) -> Option<Number> {
    match literal {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(Number::Exact(1.0)),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(Number::Exact(0.0)),
        _ => {}
    }
    let integer = |magnitude: u64, v: f64| {
        if magnitude <= EXACT_INTEGERS { Number::Exact(v) } else { Number::Rounded(v) }
    };
    if let Some(digits) = literal.strip_suffix('i') {
        let number: i64 = digits.parse().ok()?;
        return Some(integer(number.unsigned_abs(), number as f64));
    }
    if let Some(digits) = literal.strip_suffix('u') {
        let number: u64 = digits.parse().ok()?;
        return Some(integer(number, number as f64));
    }
    // Rust also reads `inf`, `nan` and `infinity`, which the protocol has not.
    literal.parse().ok().filter(|v: &f64| v.is_finite()).map(Number::Exact)
}

/// Where the first of the stop bytes stands that no backslash escapes.
fn unescaped(text: &str, stops: &[u8]) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' && bytes.get(at + 1).is_some_and(|next| b",= ".contains(next)) {
            at += 2;
        } else if stops.contains(&bytes[at]) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// Length of a string up to its closing quote.
fn string_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => at += 2,
            _ => at += 1,
        }
    }
}

/// Takes away the backslashes before the given bytes.
fn unescape<'a>(text: &'a str, special: &[u8]) -> Cow<'a, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && next.is_ascii() && special.contains(&(next as u8)) => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn bounded(text: &str, limits: &Limits) -> Result<(), &'static str> {
    if text.len() > limits.field_bytes {
        Err("a name or tag longer than the limit")
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
