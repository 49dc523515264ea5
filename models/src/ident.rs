//! Identities: who made an event, and which series it belongs to.
//!
//! In: numbers and names. Out: newtypes that cannot be mixed up. Nothing here fails but parsing of a
//! stream number. An event is named in the whole world by its stream and its number in that stream
//! ([`EventId`]); the agent is carried along for people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A first-in-first-out lane of one agent's spool, as 64 random bits; never zero.
///
/// Written as 16 hexadecimal digits in JSON (a JSON number above 2^53 loses digits in many
/// languages) and as a `bigint` of the same bits in Cassandra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, pattern = "^[0-9a-f]{16}$", example = "8f14e45fceea167a")
)]
pub struct Stream(pub u64);

/// Names one event: its stream and its number there. Numbers start at 1 and rise by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The stream the event belongs to.
    pub stream: Stream,
    /// The number of the event in its stream.
    pub seq: u64,
}

/// Names one time series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeriesKey {
    /// Site, for example a plant or a building.
    pub site: String,
    /// Device within the site.
    pub device: String,
    /// Metric of the device.
    pub metric: String,
}

/// A stream number that is not 1 to 16 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a stream number: expected up to 16 hexadecimal digits")]
pub struct BadStream(String);

/// The 16 hexadecimal digits of 64 bits.
pub(crate) fn hexadecimal_digits(bits: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight_hexadecimal_digits(bits >> 32));
    low.copy_from_slice(&eight_hexadecimal_digits(bits & 0xffff_ffff));
    digits
}

/// The digits of 32 bits: first each half byte gets a byte of its own, then all become letters and digits at once.
fn eight_hexadecimal_digits(bits: u64) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 0xff;
    let pairs = (bits << 16 | bits) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs << 8 | pairs) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes << 4 | bytes) & (ONES * 0x0f);
    let is_letter = (halves + ONES * 6) >> 4 & ONES;
    let to_letter = u64::from(b'a' - 10 - b'0');
    (halves + ONES * u64::from(b'0') + is_letter * to_letter).to_be_bytes()
}

/// Names a template of log lines, written as [`Stream`]s are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, pattern = "^[0-9a-f]{16}$", example = "1b873593cc9e2d51")
)]
pub struct TemplateId(pub u64);

impl Stream {
    /// The same 64 bits as the signed number that Cassandra and SQLite keep.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// The stream from the signed number that Cassandra and SQLite keep.
    #[must_use]
    pub fn from_i64(bits: i64) -> Self {
        Self(bits.cast_unsigned())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Stream(self.0).fmt(f)
    }
}

impl Serialize for TemplateId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stream(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TemplateId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stream::deserialize(deserializer).map(|Stream(bits)| Self(bits))
    }
}

impl FromStr for Stream {
    type Err = BadStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(bits) if digits => Ok(Self(bits)),
            _ => Err(BadStream(text.chars().take(40).collect())),
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = hexadecimal_digits(self.0);
        serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Stream;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stream number of up to 16 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stream, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.site, self.device, self.metric)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_sixteen_digits_in_json_and_keeps_its_bits_in_sql() {
        let stream = Stream(0xfedc_0000_0000_0001);
        assert_eq!(serde_json::to_string(&stream).unwrap(), "\"fedc000000000001\"");
        assert_eq!(serde_json::from_str::<Stream>("\"fedc000000000001\"").unwrap(), stream);
        assert!(stream.as_i64() < 0);
        assert_eq!(Stream::from_i64(stream.as_i64()), stream);
    }

    #[test]
    fn what_is_no_stream_number_is_refused() {
        for text in ["", "+1", "12345678901234567", "xyz", "-1"] {
            assert!(text.parse::<Stream>().is_err(), "{text}");
        }
    }
}
