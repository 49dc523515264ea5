use super::*;
use crate::parse::zone::Zone;

/// Checks a stamp at the begin of a text: the instant, the rule, and what follows the stamp.
#[track_caller]
fn check_zone(zone: &str, received: &str, text: &str, expected: &str, rule: StampRule, rest: &str) {
    let received_us = received
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_microsecond();
    let (stamp, end) = read(text).expect("a stamp");
    let (ts_us, found) = stamp
        .resolve(received_us, &zone.parse::<Zone>().unwrap())
        .expect("an instant");
    let ts = jiff::Timestamp::from_microsecond(ts_us)
        .unwrap()
        .to_string();
    assert_eq!(
        (ts.as_str(), found, &text[end..]),
        (expected, rule, rest),
        "{text}"
    );
}

#[track_caller]
fn check(text: &str, expected: &str, rule: StampRule, rest: &str) {
    check_zone("UTC", "2026-06-15T12:00:00Z", text, expected, rule, rest);
}

#[track_caller]
fn check_none(text: &str) {
    assert_eq!(read(text), None, "{text}");
}

#[test]
fn month_first() {
    use StampRule::{NearestYear, NearestYearStatedZone, SourceZone, Stated};
    check(
        "Oct 11 22:14:15 host",
        "2026-10-11T22:14:15Z",
        NearestYear,
        " host",
    );
    check(
        "Oct  1 22:14:15 host",
        "2026-10-01T22:14:15Z",
        NearestYear,
        " host",
    );
    check(
        "Oct 01 22:14:15 host",
        "2026-10-01T22:14:15Z",
        NearestYear,
        " host",
    );
    check(
        "Oct 1 22:14:15 host",
        "2026-10-01T22:14:15Z",
        NearestYear,
        " host",
    );
    check("OCT 11 2:14:15", "2026-10-11T02:14:15Z", NearestYear, "");
    check(
        "Oct 11 22:14:15.123456789 host",
        "2026-10-11T22:14:15.123456Z",
        NearestYear,
        " host",
    );
    check(
        "Oct 11 22:14:15,5: x",
        "2026-10-11T22:14:15.5Z",
        NearestYear,
        ": x",
    );
    check(
        "Oct 11 2003 22:14:15 host",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " host",
    );
    check(
        "Oct 11 22:14:15 2003 host",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " host",
    );
    check(
        "2003 Oct 11 22:14:15 host",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " host",
    );
    check(
        "11 Oct 2003 22:14:15 host",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " host",
    );
    check(
        "11-Oct-2003 22:14:15.7 host",
        "2003-10-11T22:14:15.7Z",
        SourceZone,
        " host",
    );
    check(
        "Sat Oct 11 22:14:15 2003 x",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " x",
    );
    check(
        "Oct 11 22:14:15 UTC host",
        "2026-10-11T22:14:15Z",
        NearestYearStatedZone,
        " host",
    );
    check(
        "Oct 11 22:14:15 CET: x",
        "2026-10-11T21:14:15Z",
        NearestYearStatedZone,
        ": x",
    );
    check(
        "Oct 11 22:14:15 +02:00 host",
        "2026-10-11T20:14:15Z",
        NearestYearStatedZone,
        " host",
    );
    check(
        "Oct 11 22:14:15-0530 host",
        "2026-10-12T03:44:15Z",
        NearestYearStatedZone,
        " host",
    );
    check(
        "Aug 24 05:34:00 CST 1987 mymachine",
        "1987-08-24T11:34:00Z",
        Stated,
        " mymachine",
    );
    check(
        "1990 Oct 22 10:52:01 TZ-6 host",
        "1990-10-22T16:52:01Z",
        Stated,
        " host",
    );
    // What follows a stamp and is no zone stays.
    check(
        "Oct 11 22:14:15 CETUS app: x",
        "2026-10-11T22:14:15Z",
        NearestYear,
        " CETUS app: x",
    );
    check(
        "Oct 11 22:14:15 1234 app: x",
        "2026-10-11T22:14:15Z",
        NearestYear,
        " 1234 app: x",
    );
}

#[test]
fn iso_and_epoch() {
    use StampRule::{SourceZone, Stated};
    check(
        "2003-10-11T22:14:15.003Z host",
        "2003-10-11T22:14:15.003Z",
        Stated,
        " host",
    );
    check(
        "2003-08-24T05:14:15.000003-07:00 h",
        "2003-08-24T12:14:15.000003Z",
        Stated,
        " h",
    );
    check(
        "1985-04-12T23:20:50.52Z",
        "1985-04-12T23:20:50.52Z",
        Stated,
        "",
    );
    check(
        "2006-11-10T10:43:21.1560000000000000000000000000+02:00 h",
        "2006-11-10T08:43:21.156Z",
        Stated,
        " h",
    );
    check(
        "2003-10-11t22:14:15z h",
        "2003-10-11T22:14:15Z",
        Stated,
        " h",
    );
    check(
        "2003-10-11T22:14:15+0200 h",
        "2003-10-11T20:14:15Z",
        Stated,
        " h",
    );
    check(
        "2003-10-11T22:14:15-07 h",
        "2003-10-12T05:14:15Z",
        Stated,
        " h",
    );
    check(
        "2003-10-11T22:14:15 h",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " h",
    );
    check(
        "2003-10-11 22:14:15,123 h",
        "2003-10-11T22:14:15.123Z",
        SourceZone,
        " h",
    );
    check(
        "2003/10/11 22:14:15 h",
        "2003-10-11T22:14:15Z",
        SourceZone,
        " h",
    );
    check(
        "2003-10-11 22:14:15 UTC h",
        "2003-10-11T22:14:15Z",
        Stated,
        " h",
    );
    check(
        "2016-12-31T23:59:60Z h",
        "2017-01-01T00:00:00Z",
        Stated,
        " h",
    );
    check(
        "1563249630.774247467 h",
        "2019-07-16T04:00:30.774247Z",
        Stated,
        " h",
    );
    check("1709164800 h", "2024-02-29T00:00:00Z", Stated, " h");
}

#[test]
fn no_stamps() {
    for text in [
        "",
        "Oct",
        "Oct 11",
        "Oct 11 22:14",
        "Oct 32 22:14:15 h",
        "Oct 0 22:14:15 h",
        "Okt 11 22:14:15 h",
        "Oct 11 24:14:15 h",
        "Oct 11 22:60:15 h",
        "Oct 11 22:14:61 h",
        "Oct 11 22:14:15x",
        "Oct11 22:14:15 h",
        "Feb 30 22:14:15 h",
        "Feb 29 2023 22:14:15 h",
        "2023-02-29T00:00:00Z h",
        "2023-13-01T00:00:00Z h",
        "2023-00-01T00:00:00Z h",
        "2023-01-01T00:00:00Zulu",
        "2023-01-01T00:00:00+25:00 h",
        "2023-01-01X00:00:00Z",
        "12345 h",
        "15632496301 h",
        "Octopus 11 22:14:15 h",
        "é",
        "Oct é",
    ] {
        check_none(text);
    }
}

#[test]
fn the_year_is_the_nearest() {
    use StampRule::NearestYear;
    let check =
        |received, text, expected| check_zone("UTC", received, text, expected, NearestYear, "");
    check(
        "2026-01-01T00:00:05Z",
        "Dec 31 23:59:59",
        "2025-12-31T23:59:59Z",
    );
    check(
        "2025-12-31T23:59:59Z",
        "Jan  1 00:00:05",
        "2026-01-01T00:00:05Z",
    );
    check(
        "2026-01-15T00:00:00Z",
        "Aug 20 00:00:00",
        "2025-08-20T00:00:00Z",
    );
    check(
        "2026-01-15T00:00:00Z",
        "Jun 20 00:00:00",
        "2026-06-20T00:00:00Z",
    );
    check(
        "2026-12-15T00:00:00Z",
        "Feb  1 00:00:00",
        "2027-02-01T00:00:00Z",
    );
    // Leap days: the nearest year that has one.
    check(
        "2024-03-01T00:00:00Z",
        "Feb 29 12:00:00",
        "2024-02-29T12:00:00Z",
    );
    check(
        "2026-02-01T00:00:00Z",
        "Feb 29 12:00:00",
        "2024-02-29T12:00:00Z",
    );
    check(
        "2027-02-01T00:00:00Z",
        "Feb 29 12:00:00",
        "2028-02-29T12:00:00Z",
    );
    check(
        "2100-03-02T00:00:00Z",
        "Feb 29 12:00:00",
        "2104-02-29T12:00:00Z",
    );
    // The receive time of a gateway without a clock.
    check(
        "1970-01-01T00:00:10Z",
        "Dec 31 23:59:59",
        "1969-12-31T23:59:59Z",
    );
}

#[test]
fn the_zone_is_the_sources() {
    check_zone(
        "+02:00",
        "2026-01-01T00:00:05Z",
        "Jan  1 01:59:59",
        "2025-12-31T23:59:59Z",
        StampRule::NearestYear,
        "",
    );
    check_zone(
        "Europe/Berlin",
        "2026-07-01T00:00:00Z",
        "Jul  1 02:00:00",
        "2026-07-01T00:00:00Z",
        StampRule::NearestYear,
        "",
    );
    check_zone(
        "Europe/Berlin",
        "2026-03-29T01:00:00Z",
        "Mar 29 02:30:00",
        "2026-03-29T01:30:00Z",
        StampRule::ZoneGap,
        "",
    );
    let fold = "2026-10-25 02:30:00";
    check_zone(
        "Europe/Berlin",
        "2026-10-25T00:30:02Z",
        fold,
        "2026-10-25T00:30:00Z",
        StampRule::ZoneFold,
        "",
    );
    check_zone(
        "Europe/Berlin",
        "2026-10-25T01:30:02Z",
        fold,
        "2026-10-25T01:30:00Z",
        StampRule::ZoneFold,
        "",
    );
    // A stamp that states its zone does not care.
    check_zone(
        "Europe/Berlin",
        "2026-10-25T01:30:02Z",
        "2026-10-25T02:30:00Z",
        "2026-10-25T02:30:00Z",
        StampRule::Stated,
        "",
    );
}

#[test]
fn dates_agree_with_the_calendar_library() {
    for days in (-800_000..800_000_i64).step_by(97) {
        let date = jiff::civil::date(1970, 1, 1)
            .checked_add(jiff::Span::new().days(days))
            .unwrap();
        let (year, month, day) = (
            i64::from(date.year()),
            i64::from(date.month()),
            i64::from(date.day()),
        );
        assert_eq!(days_from_civil(year, month, day), days, "{date}");
        assert_eq!(year_of_day(days), year, "{date}");
    }
}
