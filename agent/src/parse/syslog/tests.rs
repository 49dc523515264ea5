//! Tables by dialect. The cases are our own, in the forms that senders use.

mod cisco;
mod rfc3164;
mod rfc5424;

use super::*;

/// What a case expects; a field not named is none, the state is ok unless a reason is named.
#[derive(Clone, Copy, Default)]
struct Expected {
    pri: Option<(u8, u8)>,
    ts: Option<&'static str>,
    host: Option<&'static str>,
    app: Option<&'static str>,
    procid: Option<&'static str>,
    msgid: Option<&'static str>,
    sd: &'static str,
    message: &'static str,
    reason: Option<&'static str>,
}

const RECEIVED_US: i64 = 1_781_524_800_000_000; // 2026-06-15T12:00:00Z

fn parse_text(input: &[u8]) -> Syslog<'_> {
    parse_bytes(input, RECEIVED_US, &Zone::UTC, &Limits::default())
}

#[track_caller]
fn check(input: &str, dialect: Dialect, expected: Expected) {
    check_bytes(input.as_bytes(), dialect, expected);
}

#[track_caller]
fn check_bytes(input: &[u8], dialect: Dialect, expected: Expected) {
    let out = parse_text(input);
    let shown = String::from_utf8_lossy(input);
    let ts = out.ts_us.map(|ts_us| jiff::Timestamp::from_microsecond(ts_us).unwrap().to_string());
    assert_eq!(out.facility.zip(out.severity), expected.pri, "priority of {shown}");
    assert_eq!(ts.as_deref(), expected.ts, "time of {shown}");
    assert_eq!(out.host, expected.host, "host of {shown}");
    assert_eq!(out.app, expected.app, "app of {shown}");
    assert_eq!(out.procid, expected.procid, "procid of {shown}");
    assert_eq!(out.msgid, expected.msgid, "msgid of {shown}");
    assert_eq!(out.sd.as_str(), expected.sd, "structured data of {shown}");
    assert_eq!(out.message, expected.message, "message of {shown}");
    assert_eq!(out.reason, expected.reason, "reason of {shown}");
    assert_eq!(out.dialect, dialect, "dialect of {shown}");
    assert_eq!(out.ts_us.is_none(), out.ts_rule == StampRule::None);
    match (expected.reason, out.state) {
        (None, ParseState::Ok) | (Some(_), ParseState::Partial | ParseState::Raw) => {}
        (_, state) => panic!("state {state:?} of {shown}"),
    }
}

#[test]
fn priority_without_a_stamp() {
    let only = |message| Expected {
        pri: Some((1, 5)),
        message,
        reason: Some("no time stamp"),
        ..Expected::default()
    };
    check("<13>hello", Dialect::PriOnly, only("hello"));
    check("<13>", Dialect::PriOnly, only(""));
    check("<13>hello big world", Dialect::PriOnly, only("hello big world"));
    check("<13>{\"a\": 1}", Dialect::PriOnly, only("{\"a\": 1}"));
    check("<13>@cee: {\"a\": 1}", Dialect::PriOnly, only("@cee: {\"a\": 1}"));
    check(
        "<13>date=2026-01-01 devname=\"fw\"",
        Dialect::PriOnly,
        only("date=2026-01-01 devname=\"fw\""),
    );
    check("<13>1 something", Dialect::PriOnly, only("1 something"));
    check("<13>Oct 32 22:14:15 h a: m", Dialect::PriOnly, only("Oct 32 22:14:15 h a: m"));
    check("<013>hello", Dialect::PriOnly, only("hello"));
    check(
        "<13> openvpn[24]: up",
        Dialect::PriOnly,
        Expected { app: Some("openvpn"), procid: Some("24"), ..only("up") },
    );
    check(
        "<13>h openvpn[24]: up",
        Dialect::PriOnly,
        Expected { host: Some("h"), app: Some("openvpn"), procid: Some("24"), ..only("up") },
    );
}

#[test]
fn what_is_no_syslog_is_the_message() {
    let raw = |message, reason| Expected { message, reason: Some(reason), ..Expected::default() };
    let neither = "neither a priority nor a time stamp";
    check("", Dialect::Unknown, raw("", neither));
    check("hello: world", Dialect::Unknown, raw("hello: world", neither));
    check("<>x", Dialect::Unknown, raw("<>x", neither));
    check("<1234>x", Dialect::Unknown, raw("<1234>x", neither));
    check("<13x", Dialect::Unknown, raw("<13x", neither));
    check("<-1>x", Dialect::Unknown, raw("<-1>x", neither));
    check(
        "<192>Oct 11 22:14:15 h a: m",
        Dialect::Unknown,
        raw("<192>Oct 11 22:14:15 h a: m", "the priority is above 191"),
    );
    check("<999>x", Dialect::Unknown, raw("<999>x", "the priority is above 191"));
    check("\tat a.B.c(B.java:7)", Dialect::Unknown, raw("\tat a.B.c(B.java:7)", neither));
    assert_eq!(parse_text(b"x").state, ParseState::Raw);
}

#[test]
fn frames_and_line_ends_are_taken_off() {
    let expected = Expected {
        pri: Some((1, 5)),
        ts: Some("2026-10-11T22:14:15Z"),
        host: Some("h"),
        app: Some("a"),
        message: "m ",
        ..Expected::default()
    };
    for input in [
        "<13>Oct 11 22:14:15 h a: m \n",
        "<13>Oct 11 22:14:15 h a: m \r\n",
        "<13>Oct 11 22:14:15 h a: m \0",
        "<13>Oct 11 22:14:15 h a: m \n\0\0",
        " \n<13>Oct 11 22:14:15 h a: m ",
        "\u{feff}<13>Oct 11 22:14:15 h a: m ",
        "31 <13>Oct 11 22:14:15 h a: m ",
        "<13> Oct 11 22:14:15 h a: m ",
        "<13>1 Oct 11 22:14:15 h a: m ",
    ] {
        check(input, Dialect::Rfc3164, expected);
    }
}

#[test]
fn bytes_that_are_no_text() {
    let reason = Some("not UTF-8, the bad bytes are replaced");
    let known = Expected {
        pri: Some((1, 5)),
        ts: Some("2026-10-11T22:14:15Z"),
        reason,
        ..Expected::default()
    };
    check_bytes(
        b"<13>Oct 11 22:14:15 h a: caf\xe9 x\n",
        Dialect::Rfc3164,
        Expected { host: Some("h"), app: Some("a"), message: "caf\u{fffd} x", ..known },
    );
    // One bad letter costs that letter.
    check_bytes(
        b"<13>Oct 11 22:14:15 h\xe9 a: m",
        Dialect::Rfc3164,
        Expected { host: Some("h\u{fffd}"), app: Some("a"), message: "m", ..known },
    );
    check(
        "<13>Oct 11 22:14:15 höst app: größe",
        Dialect::Rfc3164,
        Expected {
            host: Some("höst"), app: Some("app"), message: "größe", reason: None, ..known
        },
    );
}

#[test]
fn limits_cut_and_say_so() {
    let limits = Limits { line_bytes: 40, field_bytes: 4, sd_elements: 1, ..Limits::default() };
    let parse = |input| parse_bytes(input, RECEIVED_US, &Zone::UTC, &limits);
    let out = parse(b"<13>Oct 11 22:14:15 h a: 0123456789012345678901234567890");
    assert_eq!((out.message, out.state), ("012345678901234", ParseState::Partial));
    assert_eq!(out.reason, Some("longer than the limit of a line, the rest is cut"));
    let out = parse(b"<13>Oct 11 22:14:15 hhhhhh aaaaa: m");
    assert_eq!((out.host, out.app, out.message), (Some("hhhh"), Some("aaaa"), "m"));
    assert_eq!(out.reason, Some("a header field is longer than the limit, it is cut"));
    let out = parse(b"<13>1 - - - - - [a][b] m");
    assert!(out.sd.is_empty());
    assert_eq!(out.message, "[a][b] m");
    assert_eq!(out.reason, Some("more structured data than the limit, it is in the message"));
}
