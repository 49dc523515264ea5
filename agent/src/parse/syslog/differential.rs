//! The parser against `syslog_loose`: on the real lines of the fixtures the two agree; where they
//! do not, the kind of line is listed here with the reason.

use chrono::Utc;

use super::*;

const RECEIVED_US: i64 = 1_781_524_800_000_000;

/// Priority, time, host, app, process id and message.
type Parts = (Option<u8>, Option<i64>, Option<String>, Option<String>, Option<String>, String);

fn ours(line: &str) -> Parts {
    let out = parse_bytes(line.as_bytes(), RECEIVED_US, &Zone::UTC, &Limits::default());
    let priority =
        out.facility.zip(out.severity).map(|(facility, severity)| facility * 8 + severity);
    (
        priority,
        out.ts_us,
        out.host.map(Into::into),
        out.app.map(Into::into),
        out.procid.map(Into::into),
        out.message.trim().to_owned(),
    )
}

/// `year` is the one we found: guessing it is not what is compared.
fn theirs(line: &str, year: i32) -> Parts {
    let out = syslog_loose::parse_message_with_year_tz(
        line,
        |_| year,
        Some(Utc),
        syslog_loose::Variant::Either,
    );
    let priority = out
        .facility
        .zip(out.severity)
        .map(|(facility, severity)| facility as u8 * 8 + severity as u8);
    let ts_us = out.timestamp.map(|stamp| stamp.timestamp_micros());
    let procid = out.procid.map(|procid| procid.to_string());
    (
        priority,
        ts_us,
        out.hostname.map(Into::into),
        out.appname.map(Into::into),
        procid,
        out.msg.trim().to_owned(),
    )
}

fn both(line: &str) -> (Parts, Parts) {
    let ours = ours(line);
    let year = ours.1.map_or(2026, |ts_us| {
        jiff::Timestamp::from_microsecond(ts_us)
            .unwrap()
            .strftime("%Y")
            .to_string()
            .parse()
            .unwrap()
    });
    let theirs = theirs(line, year);
    (ours, theirs)
}

#[test]
fn real_lines_are_read_alike() {
    let mut files = vec![super::fixtures::folder().join("auth.rfc3164.log")];
    files.extend(
        std::fs::read_dir(super::fixtures::folder().join("mixed"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let mut lines = 0;
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines().filter(|line| !line.is_empty())
        {
            // As it stands in the file, and as it was sent.
            for line in [line.to_owned(), format!("<38>{line}")] {
                let (ours, theirs) = both(&line);
                assert_eq!(ours, theirs, "{line}");
                lines += 1;
            }
        }
    }
    assert_eq!(lines, 9446);
}

/// A line that the two read differently, and what we make of it: host, app and message.
#[track_caller]
fn check_differs(line: &str, host: Option<&str>, app: Option<&str>, message: &str) {
    let (ours, theirs) = both(line);
    assert_ne!(ours, theirs, "no longer differs: {line}");
    assert_eq!(
        (ours.2.as_deref(), ours.3.as_deref(), ours.5.as_str()),
        (host, app, message),
        "{line}"
    );
}

#[test]
fn differences_with_their_reason() {
    // RFC 3164 has no structured data; the bracket belongs to the message.
    check_differs(
        "<13>Oct 11 22:14:15 h app: [a b=\"1\"] m",
        Some("h"),
        Some("app"),
        "[a b=\"1\"] m",
    );
    // A sentence has no tag.
    check_differs(
        "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
        Some("10.0.0.99"),
        None,
        "Use the BFG!",
    );
    // JSON and pairs are no tag either.
    check_differs("<13>Oct 11 22:14:15 h {\"a\": 1}", Some("h"), None, "{\"a\": 1}");
    // `su:` right after the stamp is a tag: local sockets send no host.
    check_differs("<13>Oct 11 22:14:15 su: failed", None, Some("su"), "failed");
    // Cisco's counters and clock marks.
    check_differs(
        "<189>123: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
        None,
        Some("%SYS-5-CONFIG_I"),
        "Configured",
    );
    // A zone and a year after the time.
    check_differs("<13>Aug 24 05:34:00 CST 1987 h app[10]: m", Some("h"), Some("app"), "m");
    // A space between name and process id.
    check_differs("<13>Oct 11 22:14:15 h ntpd [123]: m", Some("h"), Some("ntpd"), "m");
    // A priority alone is one.
    check_differs("<13>hello", None, None, "hello");
    // What cannot be structured data does not make the header unreadable.
    check_differs(
        "<13>1 2003-10-11T22:14:15Z h app 7 - [a b=1] m",
        Some("h"),
        Some("app"),
        "[a b=1] m",
    );
}
