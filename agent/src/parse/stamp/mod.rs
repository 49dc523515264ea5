//! Time stamps, as senders write them, to microseconds since the Unix epoch.
//!
//! In: text that begins with a stamp ([`read`]). Out: a [`Stamp`] and how long it is; with the
//! receive time and the source's zone it becomes an instant ([`Stamp::resolve`]).
//!
//! Forms: `Mmm d hh:mm:ss` of RFC 3164 (day padded by space, by zero or not; fraction; year before
//! the month, after the day or after the time; weekday before; zone name or offset after it),
//! RFC 3339 and ISO 8601 (`T` or space, point or comma, with or without zone), `dd Mmm yyyy
//! hh:mm:ss`, `mm/dd/yyyy:hh:mm:ss`, and epoch seconds.
//!
//! What a stamp does not say is taken from the receive time and the source:
//! - **Year**: the one that puts the stamp nearest to the receive time, so that December read in
//!   January is last year's, and a sender whose clock is ahead may already be in the next one. The
//!   29 February belongs to the nearest leap year.
//! - **Zone**: the source's [`Zone`], where the gap and fold rules stand.
//!
//! [`StampRule`] names what was done. All of it is integer arithmetic.

mod read;

pub(super) use read::{read, read_iso};

use super::zone::{LocalTime, Zone};

/// How the event time was found, for the record of the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StampRule {
    /// No usable stamp: the caller falls back to the receive time.
    #[default]
    None,
    /// The stamp says year and zone.
    Stated,
    /// The zone is the source's.
    SourceZone,
    /// The year is the nearest, the zone the source's.
    NearestYear,
    /// The year is the nearest, the stamp says its zone.
    NearestYearStatedZone,
    /// The zone is the source's, whose clock never showed this time: read with the offset before the change.
    ZoneGap,
    /// The zone is the source's, whose clock showed this time twice: the one nearer to the receive time.
    ZoneFold,
}

impl StampRule {
    /// Whether the year is the receive time's, or one beside it.
    pub fn guesses_the_year(self) -> bool {
        matches!(self, Self::NearestYear | Self::NearestYearStatedZone)
    }

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stated => "stated",
            Self::SourceZone => "source_zone",
            Self::NearestYear => "nearest_year",
            Self::NearestYearStatedZone => "nearest_year_stated_zone",
            Self::ZoneGap => "zone_gap",
            Self::ZoneFold => "zone_fold",
        }
    }
}

/// A valid date and time of day, as far as the sender wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) year: Option<i32>,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to the length of the month; 29 February without a year is valid.
    pub(super) day: u8,
    /// 0 to 86,400: a leap second counts as the first second of the next minute.
    pub(super) second_of_day: u32,
    /// 0 to 999,999: digits beyond are cut, so that a stamp is never moved into the future.
    pub(super) micros: u32,
    /// Seconds east of UTC.
    pub(super) offset_s: Option<i32>,
}

const DAY_S: i64 = 86_400;
const SECOND_US: i64 = 1_000_000;

impl Stamp {
    /// The instant in microseconds since the epoch and how it was found. `None`: there is no leap
    /// year near for a 29 February, or the year is beyond what fits.
    #[inline]
    pub(super) fn resolve(&self, received_us: i64, zone: &Zone) -> Option<(i64, StampRule)> {
        let (seconds, local, rule) = match (self.year, self.offset_s) {
            (Some(year), Some(offset_s)) => {
                (self.local_s(year) - i64::from(offset_s), LocalTime::Once, StampRule::Stated)
            }
            (Some(year), None) => {
                let (seconds, local) =
                    zone.utc_s(self.local_s(year), received_us.div_euclid(SECOND_US));
                (seconds, local, StampRule::SourceZone)
            }
            (None, offset_s) => {
                let (seconds, local) = self.nearest(received_us.div_euclid(SECOND_US), zone)?;
                let rule = if offset_s.is_some() {
                    StampRule::NearestYearStatedZone
                } else {
                    StampRule::NearestYear
                };
                (seconds, local, rule)
            }
        };
        let rule = match local {
            LocalTime::Once => rule,
            LocalTime::Gap => StampRule::ZoneGap,
            LocalTime::Fold => StampRule::ZoneFold,
        };
        Some((seconds.checked_mul(SECOND_US)?.checked_add(i64::from(self.micros))?, rule))
    }

    /// Seconds on the sender's own clock since its 1970-01-01T00:00:00.
    fn local_s(&self, year: i32) -> i64 {
        days_from_civil(i64::from(year), i64::from(self.month), i64::from(self.day)) * DAY_S
            + i64::from(self.second_of_day)
    }

    /// The reading nearest to the receive time among the years around it.
    fn nearest(&self, received_s: i64, zone: &Zone) -> Option<(i64, LocalTime)> {
        let in_year = |year: i32| match self.offset_s {
            Some(offset_s) => (self.local_s(year) - i64::from(offset_s), LocalTime::Once),
            None => zone.utc_s(self.local_s(year), received_s),
        };
        let here = i32::try_from(year_of_day(received_s.div_euclid(DAY_S))).ok()?;
        let leap_day = (self.month, self.day) == (2, 29);
        if !leap_day {
            // Nearly always: the receive year is right.
            let candidate = in_year(here);
            if candidate.0.abs_diff(received_s) < 180 * DAY_S.unsigned_abs() {
                return Some(candidate);
            }
        }
        // Leap years are at most eight years apart, so one is within four of any year.
        let reach = if leap_day { 4 } else { 1 };
        (here.checked_sub(reach)?..=here.checked_add(reach)?)
            .filter(|&year| !leap_day || is_leap(year))
            .map(in_year)
            .min_by_key(|(seconds, _)| seconds.abs_diff(received_s))
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year a day lies in (same source, `civil_from_days`).
fn year_of_day(days: i64) -> i64 {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Day 306 counted from 1 March is 1 January.
    year_of_era + era * 400 + i64::from(day_of_year >= 306)
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Length of a month; of February the longer one where the year is not known.
fn days_in_month(year: Option<i32>, month: u8) -> u8 {
    match month {
        2 if year.is_none_or(is_leap) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
