//! Time: microseconds since the Unix epoch, UTC, as `i64` everywhere.
//!
//! In and out: numbers and RFC 3339 text. A stamp outside what the calendar can show is clamped for
//! display only, never changed in an event.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;
/// Microseconds in an hour.
pub const HOUR_US: i64 = 3_600 * SECOND_US;
/// Microseconds in a day.
pub const DAY_US: i64 = 24 * HOUR_US;

/// The wall clock now, in microseconds since the Unix epoch. Negative before 1970.
#[must_use]
pub fn now_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// RFC 3339 text in UTC with as many fraction digits as needed, for example `2026-11-21T10:45:46.5Z`.
#[must_use]
pub fn rfc3339(us: i64) -> String {
    let stamp = Timestamp::from_microsecond(us).unwrap_or(if us < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    stamp.to_string()
}

/// Reads RFC 3339 text with an offset or `Z`.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_rfc3339(text: &str) -> Result<i64, jiff::Error> {
    Ok(text.parse::<Timestamp>()?.as_microsecond())
}

/// The UTC date of a stamp as `YYYY-MM-DD`.
#[must_use]
pub fn date(us: i64) -> String {
    rfc3339(us).chars().take(10).collect()
}

/// Days since 1970-01-01 (UTC), rounded down; negative before.
#[must_use]
pub fn day(us: i64) -> i32 {
    i32::try_from(us.div_euclid(DAY_US)).unwrap_or(if us < 0 { i32::MIN } else { i32::MAX })
}

/// The UTC hour of the day, 0 to 23.
#[must_use]
pub fn hour_of_day(us: i64) -> u8 {
    u8::try_from(us.rem_euclid(DAY_US) / HOUR_US).unwrap_or(0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        let us = 1_594_598_735_772_776;
        assert_eq!(rfc3339(us), "2020-07-13T00:05:35.772776Z");
        assert_eq!(parse_rfc3339(&rfc3339(us)).unwrap(), us);
        assert_eq!(parse_rfc3339("2020-07-13T02:05:35.772776+02:00").unwrap(), us);
    }

    #[test]
    fn days_and_hours_round_down_before_1970_too() {
        assert_eq!((day(-1), hour_of_day(-1)), (-1, 23));
        assert_eq!((day(DAY_US), hour_of_day(DAY_US)), (1, 0));
        assert_eq!(date(-1), "1969-12-31");
    }
}
