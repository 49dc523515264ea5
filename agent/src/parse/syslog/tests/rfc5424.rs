//! RFC 5424 and what vendors make of it.

use super::*;

#[test]
fn rfc5424_examples_of_the_rfc() {
    check(
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
        Dialect::Rfc5424,
        Expected {
            pri: Some((4, 2)),
            ts: Some("2003-10-11T22:14:15.003Z"),
            host: Some("mymachine.example.com"),
            app: Some("su"),
            msgid: Some("ID47"),
            message: "'su root' failed for lonvick on /dev/pts/8",
            ..Expected::default()
        },
    );
    check(
        "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        Dialect::Rfc5424,
        Expected {
            pri: Some((20, 5)),
            ts: Some("2003-08-24T12:14:15.000003Z"),
            host: Some("192.0.2.1"),
            app: Some("myproc"),
            procid: Some("8710"),
            message: "%% It's time to make the do-nuts.",
            ..Expected::default()
        },
    );
    let sd = "[exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"][examplePriority@32473 class=\"high\"]";
    check(
        &format!("<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 {sd}"),
        Dialect::Rfc5424,
        Expected {
            pri: Some((20, 5)),
            ts: Some("2003-10-11T22:14:15.003Z"),
            host: Some("mymachine.example.com"),
            app: Some("evntslog"),
            msgid: Some("ID47"),
            sd: "[exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"][examplePriority@32473 class=\"high\"]",
            ..Expected::default()
        },
    );
    check(
        "<0>1 - - - - - -",
        Dialect::Rfc5424,
        Expected { pri: Some((0, 0)), ..Expected::default() },
    );
}

/// The end of an RFC 5424 message after `<34>1 - h a p m `: structured data, message and reason.
#[track_caller]
fn check_end(end: &str, sd: &'static str, message: &'static str, reason: Option<&'static str>) {
    let header = Expected {
        pri: Some((4, 2)),
        host: Some("h"),
        app: Some("a"),
        procid: Some("p"),
        msgid: Some("m"),
        ..Expected::default()
    };
    check(
        &format!("<34>1 - h a p m {end}"),
        Dialect::Rfc5424,
        Expected { sd, message, reason, ..header },
    );
}

#[test]
fn rfc5424_structured_data_and_message() {
    const LOOKS_LIKE: Option<&str> =
        Some("what stands for structured data is none, it is in the message");
    check_end("-", "", "", None);
    check_end("- ", "", "", None);
    check_end("-  two spaces", "", " two spaces", None);
    check_end("- \u{feff}", "", "", None);
    check_end("[a]", "[a]", "", None);
    check_end("[a] m", "[a]", "m", None);
    check_end("[a b=\"\"] m", "[a b=\"\"]", "m", None);
    check_end("[a b=\"]\"] m", "[a b=\"]\"]", "m", None);
    check_end("[a  b=\"1\" ] m", "[a  b=\"1\" ]", "m", None);
    check_end("[a b=\"\u{e9}\n\"] m", "[a b=\"\u{e9}\n\"]", "m", None);
    check_end("[a][b] [c] m", "[a][b]", "[c] m", None);
    // Look-alikes.
    check_end("[a b=1] m", "", "[a b=1] m", LOOKS_LIKE);
    check_end("[a b=\"1] m", "", "[a b=\"1] m", LOOKS_LIKE);
    check_end("[a b=\"1\"c=\"2\"] m", "", "[a b=\"1\"c=\"2\"] m", LOOKS_LIKE);
    check_end("[Mon Jan 1] m", "", "[Mon Jan 1] m", LOOKS_LIKE);
    check_end("[a]m", "", "[a]m", LOOKS_LIKE);
    check_end("[] m", "", "[] m", LOOKS_LIKE);
    check_end("[", "", "[", LOOKS_LIKE);
    check_end("[a b=\"1\"]m", "[a b=\"1\"]", "m", Some("no space after the structured data"));
    check_end("[a b=\"1\"][c d", "[a b=\"1\"]", "[c d", Some("no space after the structured data"));
    check_end("-m", "", "-m", Some("no structured data, not even a nil value"));
    check_end("m n", "", "m n", Some("no structured data, not even a nil value"));
}

#[test]
fn structured_data_is_taken_apart_with_its_escapes() {
    let out = parse_text(br#"<34>1 - - - - - [a x="1" y="\"q\" \\ \] \n"][b@1][c z="]"] m"#);
    let elements: Vec<_> =
        out.sd.elements().map(|e| (e.id, e.params().collect::<Vec<_>>())).collect();
    assert_eq!(
        elements,
        [
            ("a", vec![("x", "1".into()), ("y", r#""q" \ ] \n"#.into())]),
            ("b@1", vec![]),
            ("c", vec![("z", "]".into())]),
        ]
    );
    assert_eq!(
        serde_json::to_string(&out.sd).unwrap(),
        r#"{"a":{"x":"1","y":"\"q\" \\ ] \\n"},"b@1":{},"c":{"z":"]"}}"#
    );
}

#[test]
fn rfc5424_broken_headers_keep_what_is_good() {
    let pri = Some((4, 2));
    let short = Some("it ends within the header");
    let ts = Some("2003-10-11T22:14:15Z");
    check(
        "<34>1 2003-10-11T22:14:15Z",
        Dialect::Rfc5424,
        Expected { pri, ts, reason: short, ..Expected::default() },
    );
    check(
        "<34>1 2003-10-11T22:14:15Z h a",
        Dialect::Rfc5424,
        Expected { pri, ts, host: Some("h"), app: Some("a"), reason: short, ..Expected::default() },
    );
    check(
        "<34>1 2003-10-11T22:14:15Z h a p -",
        Dialect::Rfc5424,
        Expected {
            pri,
            ts,
            host: Some("h"),
            app: Some("a"),
            procid: Some("p"),
            reason: short,
            ..Expected::default()
        },
    );
    let whole =
        Expected { pri, host: Some("h"), app: Some("a"), message: "m", ..Expected::default() };
    check(
        "<34>1 2003-13-11T22:14:15Z h a - - - m",
        Dialect::Rfc5424,
        Expected { reason: Some("the time stamp is not of RFC 3339"), ..whole },
    );
    check(
        "<34>1 2003-10-11T22:14:15 h a - - - m",
        Dialect::Rfc5424,
        Expected { ts, reason: Some("the time stamp has no zone, the source's is taken"), ..whole },
    );
    check(
        "<34>2 2003-10-11T22:14:15Z h a - - - m",
        Dialect::Rfc5424,
        Expected {
            ts,
            reason: Some("the version is not 1, read as RFC 5424 nevertheless"),
            ..whole
        },
    );
    check(
        "<34>1 - h  a - - - m",
        Dialect::Rfc5424,
        Expected { reason: Some("more than one space between two header fields"), ..whole },
    );
    check(
        "1 2003-10-11T22:14:15Z h a - - - m",
        Dialect::Rfc5424,
        Expected { pri: None, ts, ..whole },
    );
    check(
        "<34>1 2003-10-11T22:14:15.123456789Z h a - - - m",
        Dialect::Rfc5424,
        Expected { ts: Some("2003-10-11T22:14:15.123456Z"), ..whole },
    );
}

#[test]
fn rfc5424_of_vendors() {
    check(
        "<28>1 2024-02-15T09:17:15.719+01:00 edge-r1 mgd 3046 UI_COMMIT [junos@2636.1.1.1.2.18 username=\"ops\"] User 'ops' commits",
        Dialect::Rfc5424,
        Expected {
            pri: Some((3, 4)),
            ts: Some("2024-02-15T08:17:15.719Z"),
            host: Some("edge-r1"),
            app: Some("mgd"),
            procid: Some("3046"),
            msgid: Some("UI_COMMIT"),
            sd: "[junos@2636.1.1.1.2.18 username=\"ops\"]",
            message: "User 'ops' commits",
            ..Expected::default()
        },
    );
    check(
        "<134>1 2018-03-21 17:25:25 gw-72 CheckPoint 13752 - [action:\"Update\"; flags:\"150784\"]",
        Dialect::Rfc5424Loose,
        Expected {
            pri: Some((16, 6)),
            ts: Some("2018-03-21T17:25:25Z"),
            host: Some("gw-72"),
            app: Some("CheckPoint"),
            procid: Some("13752"),
            message: "[action:\"Update\"; flags:\"150784\"]",
            reason: Some("what stands for structured data is none, it is in the message"),
            ..Expected::default()
        },
    );
    check(
        "<134>1 1563249630.774247467 branch_mx84 flows allow src=10.1.2.3 dst=10.9.8.7",
        Dialect::Rfc5424Loose,
        Expected {
            pri: Some((16, 6)),
            ts: Some("2019-07-16T04:00:30.774247Z"),
            host: Some("branch_mx84"),
            app: Some("flows"),
            message: "allow src=10.1.2.3 dst=10.9.8.7",
            ..Expected::default()
        },
    );
}
