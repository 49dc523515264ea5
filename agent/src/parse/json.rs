//! A JSON payload: one message of one device.
//!
//! In: the bytes, and the [`Fields`] of the source, which say what is what. Out: a [`Reading`].
//!
//! Every leaf has a path, the keys from the outside in joined by `.`. The paths named by the
//! rule are site, device and time; numbers and booleans (as 0 and 1) below `values` are metrics,
//! strings there are texts; `null` is nothing; what is elsewhere is passed over. A payload that is
//! only a number or boolean is the metric `value`.
//!
//! Promises: numbers are read from their digits (a stamp keeps its microseconds exactly, never by
//! way of a float); `NaN` and infinities, bare as Python writes them or as strings, arrays, and
//! integers beyond 2^53 make the state partial. A payload that is no JSON, or goes deeper than
//! [`Limits::json_depth`], is raw, without values.

mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Limits, Reading, Zone, clip, stamp};
use read::{Leaf, Reader, Visit};

/// Unit or form of the time in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since the Unix epoch, with a fraction or not.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
    /// A string such as `2026-06-15T12:00:00.5Z`; without a zone, the source's is taken.
    Rfc3339,
}

/// What is what in the payloads of a source. Paths are keys joined by `.`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// Path of the device's name, a string or a number.
    pub device: Option<String>,
    /// Path of the site's name, a string or a number.
    pub site: Option<String>,
    /// Path of the event time.
    pub time: Option<String>,
    /// Unit or form of the event time.
    pub time_unit: TimeUnit,
    /// Path of the object that holds the metrics, which are then named from there on; without it,
    /// every number and boolean of the payload is a metric.
    pub values: Option<String>,
    /// Units by metric name.
    pub units: BTreeMap<String, String>,
    /// Paths, of leaves or of whole objects, that are no metrics.
    pub ignore: Vec<String>,
}

/// Reads one payload. Never fails.
pub fn parse<'a>(input: &'a [u8], fields: &'a Fields, zone: &Zone, limits: &Limits) -> Reading<'a> {
    if input.len() > limits.line_bytes {
        return Reading::raw("longer than the limit of a payload");
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return Reading::raw("not UTF-8");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches('\0');
    let mut mapper = Mapper { out: Reading::default(), fields, zone, limits };
    match Reader::new(text, limits).read(&mut mapper) {
        Ok(()) => mapper.out,
        Err(fault) => Reading::raw(fault.to_string()),
    }
}

/// Puts each leaf where the rule wants it.
struct Mapper<'a, 'c> {
    out: Reading<'a>,
    fields: &'a Fields,
    zone: &'c Zone,
    limits: &'c Limits,
}

impl<'a> Visit<'a> for Mapper<'a, '_> {
    fn leaf(&mut self, path: &str, key: Option<&Cow<'a, str>>, leaf: Leaf<'a>) {
        let is = |named: &Option<String>| named.as_deref() == Some(path);
        if is(&self.fields.time) {
            return self.set_time(&leaf);
        }
        if is(&self.fields.device) || is(&self.fields.site) {
            let name = match leaf {
                Leaf::Text(text) if !text.is_empty() => Some(text),
                Leaf::Number(number) => Some(Cow::Borrowed(number)),
                _ => None,
            };
            match name {
                None => self.out.complain(|| {
                    format!("`{}` names nothing: it is no text and no number", clip(path)).into()
                }),
                Some(name) if is(&self.fields.device) => self.out.device = Some(name),
                Some(name) => self.out.site = Some(name),
            }
            return;
        }
        if self.fields.ignore.iter().any(|ignored| within(path, ignored).is_some()) {
            return;
        }
        let name = match &self.fields.values {
            None => path,
            Some(values) => match within(path, values) {
                Some(name) => name,
                None => return,
            },
        };
        let name: Cow<'a, str> = match (name, key) {
            ("", _) => Cow::Borrowed("value"),
            // A key of the outermost object, or of the one that holds the metrics, is borrowed.
            (name, Some(Cow::Borrowed(key))) if name == *key => Cow::Borrowed(key),
            (name, _) => Cow::Owned(name.to_owned()),
        };
        self.take(name, leaf);
    }
}

impl<'a> Mapper<'a, '_> {
    /// Takes a metric or a text.
    fn take(&mut self, name: Cow<'a, str>, leaf: Leaf<'a>) {
        let v = match leaf {
            Leaf::Null => return,
            Leaf::Boolean(true) => 1.0,
            Leaf::Boolean(false) => 0.0,
            Leaf::Number(digits) => match digits.parse::<f64>() {
                Ok(v) if v.is_finite() => {
                    if !fits_float(digits) {
                        self.out.complain(|| {
                            format!("field `{}` is beyond 2^53, it is rounded", clip(&name)).into()
                        });
                    }
                    v
                }
                _ => {
                    return self.out.complain(|| {
                        format!(
                            "field `{}` is larger than a float can be, it is left out",
                            clip(&name)
                        )
                        .into()
                    });
                }
            },
            Leaf::NotANumber => {
                return self.out.complain(|| {
                    format!("field `{}` is not a number, it is left out", clip(&name)).into()
                });
            }
            Leaf::Array => {
                return self.out.complain(|| {
                    format!("field `{}` is an array, it is left out", clip(&name)).into()
                });
            }
            Leaf::Text(text) => {
                if spells_no_number(&text) {
                    return self.take(name, Leaf::NotANumber);
                }
                return self.out.push_text(name, text, self.limits);
            }
        };
        let fields = self.fields;
        let unit = fields.units.get(name.as_ref()).map(String::as_str);
        self.out.push(name, v, unit, self.limits);
    }

    fn set_time(&mut self, leaf: &Leaf<'a>) {
        let exponent = match self.fields.time_unit {
            TimeUnit::S => 6,
            TimeUnit::Ms => 3,
            TimeUnit::Us => 0,
            TimeUnit::Ns => -3,
            TimeUnit::Rfc3339 => {
                self.out.ts_us = match leaf {
                    Leaf::Text(text) => stamp::read_iso(text.as_bytes())
                        .filter(|(_, end)| *end == text.len())
                        .and_then(|(stamp, _)| stamp.resolve(0, self.zone))
                        .map(|(ts_us, _)| ts_us),
                    _ => None,
                };
                if self.out.ts_us.is_none() {
                    self.out.complain(|| {
                        "the time is not of RFC 3339: check `time_unit` of the source".into()
                    });
                }
                return;
            }
        };
        // Some devices send their number as a string.
        let digits = match leaf {
            Leaf::Number(digits) => Some(*digits),
            Leaf::Text(Cow::Borrowed(text))
                if read::number_length(text.as_bytes()) == Some(text.len()) =>
            {
                Some(*text)
            }
            _ => None,
        };
        self.out.ts_us = digits
            .and_then(|digits| scaled(digits, exponent))
            .filter(|ts_us| LATEST_US.contains(ts_us));
        if self.out.ts_us.is_none() {
            self.out.complain(|| "the time is no number within the years 1 to 9999: check `time` and `time_unit` of the source".into());
        }
    }
}

/// The years 1 to 9999, all that RFC 3339 can write.
pub(super) const LATEST_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// What of the path lies within another: `""` for the path itself.
fn within<'p>(path: &'p str, outer: &str) -> Option<&'p str> {
    match path.strip_prefix(outer)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

/// Whether a number that is written as an integer is at most 2^53 in size.
fn fits_float(digits: &str) -> bool {
    if digits.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return true;
    }
    digits
        .trim_start_matches('-')
        .parse::<u64>()
        .is_ok_and(|magnitude| magnitude <= super::line::EXACT_INTEGERS)
}

/// `NaN` and infinities as strings, in the spellings of common languages.
fn spells_no_number(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word))
}

/// `digits` times ten to the `exponent`, rounded down to an integer, by its digits.
pub(super) fn scaled(digits: &str, exponent: i32) -> Option<i64> {
    let (mantissa, written) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // The decimal point moves this many digits to the right of where the whole part ends.
    let point = i64::try_from(whole.len()).ok()? + i64::from(written) + i64::from(exponent);
    let (mut number, mut cut) = (0_i64, false);
    let all = whole.bytes().chain(fraction.bytes());
    for (at, digit) in (0_i64..).zip(all) {
        let digit = i64::from(digit - b'0');
        if at < point {
            number = number.checked_mul(10)?.checked_add(digit)?;
        } else {
            cut |= digit != 0;
        }
    }
    let written_digits = i64::try_from(whole.len() + fraction.len()).ok()?;
    if number != 0 {
        for _ in written_digits..point {
            number = number.checked_mul(10)?;
        }
    }
    Some(if negative { -number - i64::from(cut) } else { number })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
