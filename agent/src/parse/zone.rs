//! Time zone of a source, for stamps that do not name theirs.
//!
//! In: the configured name, once. Out: offsets, per stamp, by integer arithmetic: an IANA zone is
//! turned into a table of its transitions from 1970 to 2100 (about 6 KiB) when it is configured,
//! so that no line pays for a time zone library and threads share nothing that changes.
//!
//! Rules where the clocks change:
//! - A local time that never was (**gap**, clocks go forward) is read with the offset before the
//!   change, so 02:30 becomes what the new clock calls 03:30 (as RFC 5545 does).
//! - A local time that was twice (**fold**, clocks go back) is the one of the two that is nearer to
//!   the receive time; at a tie the earlier one.
//! - After 2100 the last offset stays.

use std::str::FromStr;
use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};

/// Why a time zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// Not a name this machine knows.
    #[error(
        "unknown time zone `{name}`: use `UTC`, `local`, an offset such as `+02:00`, or a name such as `Europe/Berlin` (needs the system's tzdata)"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What the zone database says.
        #[source]
        source: jiff::Error,
    },
    /// Neither a name nor an offset within a day.
    #[error("`{0}` is no offset from UTC: use a form such as `+02:00`, at most 23:59")]
    Offset(String),
}

/// The time zone of a source's stamps.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Fixed { offset_s: i32 },
    Table(Arc<Table>),
}

/// Offsets of a zone: `offsets_s[i]` holds from `starts_s[i]` (UTC) until the next start.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    name: String,
    starts_s: Vec<i64>,
    offsets_s: Vec<i32>,
    /// For each stretch of `2^STRETCH_BITS` seconds from 1970 on, how many spans begin before it: a
    /// look-up begins there and takes a step or two, where a search would miss the branch predictor.
    begun: Vec<u16>,
}

/// 2^22 s are 48 days: few zones change more often.
const STRETCH_BITS: u32 = 22;

/// What a local time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalTime {
    Once,
    Gap,
    Fold,
}

const DAY_S: i64 = 86_400;
/// The end of the tables: 2100-01-01.
const TABLE_END_S: i64 = 4_102_444_800;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Kind::Fixed { offset_s: 0 });

    /// A fixed offset east of UTC, in seconds, less than a day.
    pub fn fixed(offset_s: i32) -> Option<Self> {
        (offset_s.abs() < 86_400).then_some(Self(Kind::Fixed { offset_s }))
    }

    /// The time zone this machine is set to; UTC if it has none.
    pub fn local() -> Self {
        Self::from_jiff("local", &TimeZone::system())
    }

    fn from_jiff(name: &str, zone: &TimeZone) -> Self {
        if let Ok(fixed) = zone.to_fixed_offset() {
            return Self(Kind::Fixed { offset_s: fixed.seconds() });
        }
        let start = Timestamp::UNIX_EPOCH;
        let mut table = Table {
            name: name.to_owned(),
            starts_s: vec![i64::MIN],
            offsets_s: vec![zone.to_offset(start).seconds()],
            begun: Vec::new(),
        };
        for transition in zone.following(start) {
            let at_s = transition.timestamp().as_second();
            if at_s >= TABLE_END_S {
                break;
            }
            let offset_s = transition.offset().seconds();
            // Some transitions change the abbreviation only.
            if table.offsets_s.last() != Some(&offset_s) {
                table.starts_s.push(at_s);
                table.offsets_s.push(offset_s);
            }
        }
        table.begun = (0..=TABLE_END_S >> STRETCH_BITS)
            .map(|stretch| {
                let begin_s = stretch << STRETCH_BITS;
                let begun = table.starts_s.partition_point(|&start_s| start_s <= begin_s);
                u16::try_from(begun).unwrap_or(u16::MAX)
            })
            .collect();
        Self(Kind::Table(Arc::new(table)))
    }

    /// The UTC second of a local second (both counted from 1970-01-01T00:00:00 of their own
    /// clock), and whether the zone's clock showed it once. `near_s` decides a fold.
    #[inline]
    pub(super) fn utc_s(&self, local_s: i64, near_s: i64) -> (i64, LocalTime) {
        match &self.0 {
            Kind::Fixed { offset_s } => (local_s - i64::from(*offset_s), LocalTime::Once),
            Kind::Table(table) => table.utc_s(local_s, near_s),
        }
    }
}

impl Table {
    #[inline]
    fn utc_s(&self, local_s: i64, near_s: i64) -> (i64, LocalTime) {
        let after = self.begun_by(local_s.saturating_add(DAY_S));
        // Nearly always no change of the clocks is near.
        let span = after - 1;
        let since_s = local_s.saturating_sub(self.starts_s[span]);
        let until_s = self.starts_s.get(after).map_or(i64::MAX, |end_s| end_s - local_s);
        if since_s > 2 * DAY_S && until_s > 2 * DAY_S {
            return (local_s - i64::from(self.offsets_s[span]), LocalTime::Once);
        }
        self.utc_near_change_s(after, local_s, near_s)
    }

    /// How many spans begin at `at_s` or before; at least one.
    #[inline]
    fn begun_by(&self, at_s: i64) -> usize {
        let stretch = usize::try_from(at_s >> STRETCH_BITS).unwrap_or(0);
        let hint = self.begun.get(stretch).or(self.begun.last()).copied().unwrap_or(1);
        // Before 1970 only the first span has begun.
        let mut count = if at_s < 0 { 1 } else { usize::from(hint) };
        while self.starts_s.get(count).is_some_and(|&start_s| start_s <= at_s) {
            count += 1;
        }
        count
    }

    /// `after`: how many spans have begun a day later.
    #[cold]
    fn utc_near_change_s(&self, after: usize, local_s: i64, near_s: i64) -> (i64, LocalTime) {
        // Offsets are less than a day, so only the spans around the local time taken as UTC can hold it.
        let mut found: Option<i64> = None;
        let mut before_gap = local_s - i64::from(self.offsets_s[0]);
        for span in after.saturating_sub(4)..after {
            let utc_s = local_s - i64::from(self.offsets_s[span]);
            if utc_s < self.starts_s[span] {
                continue;
            }
            before_gap = utc_s;
            if self.starts_s.get(span + 1).is_some_and(|&end_s| utc_s >= end_s) {
                continue;
            }
            match found {
                None => found = Some(utc_s),
                Some(earlier) => {
                    let late_is_nearer = near_s.abs_diff(utc_s) < near_s.abs_diff(earlier);
                    return (if late_is_nearer { utc_s } else { earlier }, LocalTime::Fold);
                }
            }
        }
        found.map_or((before_gap, LocalTime::Gap), |utc_s| (utc_s, LocalTime::Once))
    }
}

/// Reads an offset such as `+02:00`, `-0330` or `+2`; the count of bytes it takes, too.
pub(super) fn read_offset(text: &[u8]) -> Option<(i32, usize)> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = |from: usize| {
        text.get(from..).unwrap_or(&[]).iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let number = |from: usize, to: usize| {
        text[from..to].iter().fold(0_i32, |n, b| n * 10 + i32::from(b - b'0'))
    };
    let (hours, minutes, end) = match digits(1) {
        n @ (1 | 2) => {
            let end = 1 + n;
            if text.get(end) == Some(&b':') && digits(end + 1) == 2 {
                (number(1, end), number(end + 1, end + 3), end + 3)
            } else {
                (number(1, end), 0, end)
            }
        }
        4 => (number(1, 3), number(3, 5), 5),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), end))
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, ZoneError> {
        if name.eq_ignore_ascii_case("utc") || name == "Z" {
            return Ok(Self::UTC);
        }
        if name.eq_ignore_ascii_case("local") {
            return Ok(Self::local());
        }
        if name.starts_with(['+', '-']) {
            return match read_offset(name.as_bytes()) {
                Some((offset_s, end)) if end == name.len() => Ok(Self(Kind::Fixed { offset_s })),
                _ => Err(ZoneError::Offset(name.to_owned())),
            };
        }
        let zone = TimeZone::get(name)
            .map_err(|source| ZoneError::Unknown { name: name.to_owned(), source })?;
        Ok(Self::from_jiff(name, &zone))
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, ZoneError> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Fixed { offset_s: 0 } => f.write_str("UTC"),
            Kind::Fixed { offset_s } => {
                let sign = if *offset_s < 0 { '-' } else { '+' };
                let minutes = offset_s.abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            Kind::Table(table) => f.write_str(&table.name),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, local: &str, near: &str, utc: &str, expected: LocalTime) {
        let zone: Zone = zone.parse().unwrap();
        let local_s = local.parse::<jiff::civil::DateTime>().unwrap();
        let local_s = local_s.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
        let near_s = near.parse::<Timestamp>().unwrap().as_second();
        let (utc_s, kind) = zone.utc_s(local_s, near_s);
        assert_eq!(Timestamp::from_second(utc_s).unwrap().to_string(), utc);
        assert_eq!(kind, expected);
    }

    #[test]
    fn fixed_zones_shift() {
        check(
            "UTC",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00Z",
            LocalTime::Once,
        );
        check(
            "+05:30",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00Z",
            "2026-03-01T06:30:00Z",
            LocalTime::Once,
        );
        check(
            "-03:00",
            "2026-03-01T23:00:00",
            "2026-03-01T12:00:00Z",
            "2026-03-02T02:00:00Z",
            LocalTime::Once,
        );
    }

    #[test]
    fn iana_zones_follow_their_transitions() {
        let near = "2026-07-01T00:00:00Z";
        check(
            "Europe/Berlin",
            "2026-07-01T12:00:00",
            near,
            "2026-07-01T10:00:00Z",
            LocalTime::Once,
        );
        check(
            "Europe/Berlin",
            "2026-01-01T12:00:00",
            near,
            "2026-01-01T11:00:00Z",
            LocalTime::Once,
        );
        check(
            "Europe/Berlin",
            "2090-07-01T12:00:00",
            near,
            "2090-07-01T10:00:00Z",
            LocalTime::Once,
        );
        // 02:30 never was; it is read as 01:30 UTC, which the new clock calls 03:30.
        check("Europe/Berlin", "2026-03-29T02:30:00", near, "2026-03-29T01:30:00Z", LocalTime::Gap);
        check(
            "Europe/Berlin",
            "2026-03-29T01:59:59",
            near,
            "2026-03-29T00:59:59Z",
            LocalTime::Once,
        );
        check(
            "Europe/Berlin",
            "2026-03-29T03:00:00",
            near,
            "2026-03-29T01:00:00Z",
            LocalTime::Once,
        );
        // 02:30 was twice.
        let (first, second) = ("2026-10-25T00:30:01Z", "2026-10-25T01:30:01Z");
        check(
            "Europe/Berlin",
            "2026-10-25T02:30:00",
            first,
            "2026-10-25T00:30:00Z",
            LocalTime::Fold,
        );
        check(
            "Europe/Berlin",
            "2026-10-25T02:30:00",
            second,
            "2026-10-25T01:30:00Z",
            LocalTime::Fold,
        );
        check(
            "Europe/Berlin",
            "2026-10-25T02:30:00",
            "2026-10-25T01:00:00Z",
            "2026-10-25T00:30:00Z",
            LocalTime::Fold,
        );
        // Samoa left out a whole day.
        check("Pacific/Apia", "2011-12-30T12:00:00", near, "2011-12-30T22:00:00Z", LocalTime::Gap);
    }

    #[test]
    fn tables_agree_with_the_zone_database() {
        for name in ["America/New_York", "Asia/Kolkata", "Africa/Casablanca", "Australia/Lord_Howe"]
        {
            let zone: Zone = name.parse().unwrap();
            let oracle = TimeZone::get(name).unwrap();
            for step in 0..40_000_i64 {
                let at = Timestamp::from_second(step * 86_413).unwrap();
                let offset_s = i64::from(oracle.to_offset(at).seconds());
                let (utc_s, _) = zone.utc_s(at.as_second() + offset_s, at.as_second());
                assert_eq!(utc_s, at.as_second(), "{name} {at}");
            }
        }
    }

    #[test]
    fn names_round_trip_and_mistakes_are_explained() {
        for name in ["UTC", "+02:00", "-03:30", "Europe/Berlin"] {
            assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
        }
        assert_eq!("+0200".parse::<Zone>().unwrap(), "+02:00".parse().unwrap());
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().to_string().contains("Europe/Berlin"));
        assert!("+25:00".parse::<Zone>().unwrap_err().to_string().contains("23:59"));
        assert!("+02:00x".parse::<Zone>().is_err());
        assert!(Zone::fixed(86_400).is_none());
    }
}
