//! Tables by dialect. The cases are our own, in the forms that senders use.

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
    parse(input, RECEIVED_US, &Zone::UTC, &Limits::default())
}

#[track_caller]
fn check(input: &str, dialect: Dialect, expected: Expected) {
    check_bytes(input.as_bytes(), dialect, expected);
}

#[track_caller]
fn check_bytes(input: &[u8], dialect: Dialect, expected: Expected) {
    let out = parse_text(input);
    let shown = String::from_utf8_lossy(input);
    let ts = out.ts_us.map(|ts_us| {
        jiff::Timestamp::from_microsecond(ts_us)
            .unwrap()
            .to_string()
    });
    assert_eq!(
        out.facility.zip(out.severity),
        expected.pri,
        "priority of {shown}"
    );
    assert_eq!(ts.as_deref(), expected.ts, "time of {shown}");
    assert_eq!(out.host, expected.host, "host of {shown}");
    assert_eq!(out.app, expected.app, "app of {shown}");
    assert_eq!(out.procid, expected.procid, "procid of {shown}");
    assert_eq!(out.msgid, expected.msgid, "msgid of {shown}");
    assert_eq!(out.sd.as_str(), expected.sd, "structured data of {shown}");
    assert_eq!(out.message, expected.message, "message of {shown}");
    assert_eq!(out.reason.as_deref(), expected.reason, "reason of {shown}");
    assert_eq!(out.dialect, dialect, "dialect of {shown}");
    assert_eq!(out.ts_us.is_none(), out.ts_rule == StampRule::None);
    match (expected.reason, out.state) {
        (None, ParseState::Ok) | (Some(_), ParseState::Partial | ParseState::Raw) => {}
        (_, state) => panic!("state {state:?} of {shown}"),
    }
}

/// A message of RFC 3164 or in its name, of priority 34, 11 October 22:14:15: what follows the stamp.
#[track_caller]
fn check_after_stamp(
    rest: &str,
    host: &'static str,
    app: &'static str,
    procid: &'static str,
    message: &'static str,
) {
    check_stamped(
        "Oct 11 22:14:15",
        rest,
        Dialect::Rfc3164,
        "2026-10-11T22:14:15Z",
        [host, app, procid, message],
    );
}

#[track_caller]
fn check_stamped(
    stamp: &str,
    rest: &str,
    dialect: Dialect,
    ts: &'static str,
    fields: [&'static str; 4],
) {
    let some = |field: &'static str| (!field.is_empty()).then_some(field);
    let [host, app, procid, message] = fields;
    let expected = Expected {
        ts: Some(ts),
        host: some(host),
        app: some(app),
        procid: some(procid),
        message,
        ..Expected::default()
    };
    check(
        &format!("<34>{stamp}{rest}"),
        dialect,
        Expected {
            pri: Some((4, 2)),
            ..expected
        },
    );
    let in_file = match dialect {
        Dialect::Rfc3164 => Dialect::Rfc3164File,
        Dialect::Iso => Dialect::IsoFile,
        other => other,
    };
    check(&format!("{stamp}{rest}"), in_file, expected);
}

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
        Expected {
            pri: Some((0, 0)),
            ..Expected::default()
        },
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
        Expected {
            sd,
            message,
            reason,
            ..header
        },
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
    check_end(
        "[a b=\"1\"c=\"2\"] m",
        "",
        "[a b=\"1\"c=\"2\"] m",
        LOOKS_LIKE,
    );
    check_end("[Mon Jan 1] m", "", "[Mon Jan 1] m", LOOKS_LIKE);
    check_end("[a]m", "", "[a]m", LOOKS_LIKE);
    check_end("[] m", "", "[] m", LOOKS_LIKE);
    check_end("[", "", "[", LOOKS_LIKE);
    check_end(
        "[a b=\"1\"]m",
        "[a b=\"1\"]",
        "m",
        Some("no space after the structured data"),
    );
    check_end(
        "[a b=\"1\"][c d",
        "[a b=\"1\"]",
        "[c d",
        Some("no space after the structured data"),
    );
    check_end(
        "-m",
        "",
        "-m",
        Some("no structured data, not even a nil value"),
    );
    check_end(
        "m n",
        "",
        "m n",
        Some("no structured data, not even a nil value"),
    );
}

#[test]
fn structured_data_is_taken_apart_with_its_escapes() {
    let out = parse_text(br#"<34>1 - - - - - [a x="1" y="\"q\" \\ \] \n"][b@1][c z="]"] m"#);
    let elements: Vec<_> = out
        .sd
        .elements()
        .map(|e| (e.id, e.params().collect::<Vec<_>>()))
        .collect();
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
        Expected {
            pri,
            ts,
            reason: short,
            ..Expected::default()
        },
    );
    check(
        "<34>1 2003-10-11T22:14:15Z h a",
        Dialect::Rfc5424,
        Expected {
            pri,
            ts,
            host: Some("h"),
            app: Some("a"),
            reason: short,
            ..Expected::default()
        },
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
    let whole = Expected {
        pri,
        host: Some("h"),
        app: Some("a"),
        message: "m",
        ..Expected::default()
    };
    check(
        "<34>1 2003-13-11T22:14:15Z h a - - - m",
        Dialect::Rfc5424,
        Expected {
            reason: Some("the time stamp is not of RFC 3339"),
            ..whole
        },
    );
    check(
        "<34>1 2003-10-11T22:14:15 h a - - - m",
        Dialect::Rfc5424,
        Expected {
            ts,
            reason: Some("the time stamp has no zone, the source's is taken"),
            ..whole
        },
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
        Expected {
            reason: Some("more than one space between two header fields"),
            ..whole
        },
    );
    check(
        "1 2003-10-11T22:14:15Z h a - - - m",
        Dialect::Rfc5424,
        Expected {
            pri: None,
            ts,
            ..whole
        },
    );
    check(
        "<34>1 2003-10-11T22:14:15.123456789Z h a - - - m",
        Dialect::Rfc5424,
        Expected {
            ts: Some("2003-10-11T22:14:15.123456Z"),
            ..whole
        },
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

#[test]
fn rfc3164_tags() {
    check_after_stamp(
        " mymachine su: 'su root' failed",
        "mymachine",
        "su",
        "",
        "'su root' failed",
    );
    check_after_stamp(" h sshd[4721]: Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd[4721] Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd [4721]: Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd[4721] : Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(
        " h sshd(pam_unix)[9]: opened",
        "h",
        "sshd(pam_unix)",
        "9",
        "opened",
    );
    check_after_stamp(
        " h postfix/submission/smtpd[3]: NOQUEUE",
        "h",
        "postfix/submission/smtpd",
        "3",
        "NOQUEUE",
    );
    check_after_stamp(
        " h /usr/sbin/cron[5]: (root)",
        "h",
        "/usr/sbin/cron",
        "5",
        "(root)",
    );
    check_after_stamp(" h app.with.dots-1_2: m", "h", "app.with.dots-1_2", "", "m");
    check_after_stamp(
        " h com.apple.xpc.launchd[1] (com.apple.x[7]): exited",
        "h",
        "com.apple.xpc.launchd",
        "1",
        "(com.apple.x[7]): exited",
    );
    check_after_stamp(" h vpxd[7F2A]: m", "h", "vpxd", "7F2A", "m");
    check_after_stamp(" h worker[main loop]: m", "h", "worker", "main loop", "m");
    check_after_stamp(" h app[]: m", "h", "app", "", "m");
    check_after_stamp(" h Foo::Bar: m", "h", "Foo::Bar", "", "m");
    check_after_stamp(" h su:failed", "h", "su", "", "failed");
    check_after_stamp(
        " h sudo:     root : TTY=pts/0 ; PWD=/",
        "h",
        "sudo",
        "",
        "root : TTY=pts/0 ; PWD=/",
    );
    check_after_stamp(
        " h kernel: [ 12.345678] usb 1-1: new",
        "h",
        "kernel",
        "",
        "[ 12.345678] usb 1-1: new",
    );
    check_after_stamp(" h app:", "h", "app", "", "");
    check_after_stamp("  h   app:  m", "h", "app", "", "m");
    check_after_stamp(
        " h MSWinEventLog\t1\tSecurity\t77",
        "h",
        "MSWinEventLog",
        "",
        "1\tSecurity\t77",
    );
    check_after_stamp(
        " bigip1 notice mcpd[5423]: 01070413:5: up",
        "bigip1",
        "mcpd",
        "5423",
        "01070413:5: up",
    );
    check_after_stamp(
        " master apache_error [Tue Jun 08] [pid 1] m",
        "master",
        "apache_error",
        "",
        "[Tue Jun 08] [pid 1] m",
    );
    check_after_stamp(" h fluentd no colon", "h", "fluentd", "", "no colon");
    check_after_stamp(
        " fw CEF:0|V|P|1|100|n|5|src=10.0.0.1",
        "fw",
        "CEF",
        "",
        "CEF:0|V|P|1|100|n|5|src=10.0.0.1",
    );
    check_after_stamp(" h app: @cee: {\"a\":1}", "h", "app", "", "@cee: {\"a\":1}");
    check_after_stamp(" h1 10.1.2.3 sched[0]: All", "h1", "sched", "0", "All");
}

#[test]
fn rfc3164_missing_parts() {
    check_after_stamp("", "", "", "", "");
    check_after_stamp(" localhost", "localhost", "", "", "");
    // No tag.
    check_after_stamp(
        " 10.0.0.99 Use the BFG!",
        "10.0.0.99",
        "",
        "",
        "Use the BFG!",
    );
    check_after_stamp(" h {\"a\": 1}", "h", "", "", "{\"a\": 1}");
    check_after_stamp(" h @cee: {\"a\": 1}", "h", "", "", "@cee: {\"a\": 1}");
    check_after_stamp(
        " h date=2026-01-01 type=\"x\"",
        "h",
        "",
        "",
        "date=2026-01-01 type=\"x\"",
    );
    check_after_stamp(
        " PA-VM 1,2026/01/01 10:00:00,0071,TRAFFIC",
        "PA-VM",
        "",
        "",
        "1,2026/01/01 10:00:00,0071,TRAFFIC",
    );
    check_after_stamp(
        " h last message repeated 3 times",
        "h",
        "",
        "",
        "last message repeated 3 times",
    );
    check_after_stamp(" h -- MARK --", "h", "", "", "-- MARK --");
    check_after_stamp(
        " h ERROR it broke: badly",
        "h",
        "",
        "",
        "ERROR it broke: badly",
    );
    check_after_stamp(" h http://a/b is down", "h", "", "", "http://a/b is down");
    check_after_stamp(" h 10:22:33 tick", "h", "", "", "10:22:33 tick");
    // No host.
    check_after_stamp(" haproxy[376]: up", "", "haproxy", "376", "up");
    check_after_stamp(
        " filterlog: 5,,,100,em0",
        "",
        "filterlog",
        "",
        "5,,,100,em0",
    );
    check_after_stamp(" sshd[12] Accepted", "", "sshd", "12", "Accepted");
    check_after_stamp(" CEF:0|V|P", "", "CEF", "", "CEF:0|V|P");
    check_after_stamp(" - app: m", "", "app", "", "m");
    // Neither.
    check_after_stamp(" {\"a\":1}", "", "", "", "{\"a\":1}");
    check_after_stamp(" @cee: {\"a\":1}", "", "", "", "@cee: {\"a\":1}");
    check_after_stamp(
        " last message repeated 3 times",
        "",
        "",
        "",
        "last message repeated 3 times",
    );
    check_after_stamp(" : a message", "", "", "", "a message");
}

#[test]
fn rfc3164_hosts() {
    check_after_stamp(" 2001:db8::1 app: m", "2001:db8::1", "app", "", "m");
    check_after_stamp(" fd00:abcd::1 app: m", "fd00:abcd::1", "app", "", "m");
    check_after_stamp(" fe80::1%eth0 app: m", "fe80::1%eth0", "app", "", "m");
    check_after_stamp(" [::1] app: m", "[::1]", "app", "", "m");
    check_after_stamp(" 10.0.0.1: hello world", "10.0.0.1", "", "", "hello world");
    check_after_stamp(" 10.0.0.1:514 app: m", "10.0.0.1:514", "app", "", "m");
    check_after_stamp(
        " s_net@relay/h.example.org app: m",
        "s_net@relay/h.example.org",
        "app",
        "",
        "m",
    );
    check_after_stamp(
        " Message forwarded from aix7: sshd[67]: Accepted",
        "aix7",
        "sshd",
        "67",
        "Accepted",
    );
    check_after_stamp(" <auth.info> bsd1 sshd[5]: m", "bsd1", "sshd", "5", "m");
    check_after_stamp(
        " esx1.example.com Hostd: info hostd[2099] [Originator@6876 sub=Vimsvc] m",
        "esx1.example.com",
        "Hostd",
        "",
        "info hostd[2099] [Originator@6876 sub=Vimsvc] m",
    );
}

#[test]
fn iso_stamps_before_host_and_tag() {
    let check =
        |stamp, ts, rest| check_stamped(stamp, rest, Dialect::Iso, ts, ["nas", "smbd", "12", "m"]);
    check(
        "2023-08-17T16:55:35.689651+02:00",
        "2023-08-17T14:55:35.689651Z",
        " nas smbd[12]: m",
    );
    check(
        "2023-08-17T16:55:35Z",
        "2023-08-17T16:55:35Z",
        " nas smbd[12]: m",
    );
    check(
        "2023-08-17T16:55:35",
        "2023-08-17T16:55:35Z",
        " nas smbd[12]: m",
    );
    check(
        "2023-08-17 16:55:35,5",
        "2023-08-17T16:55:35.5Z",
        " nas smbd[12]: m",
    );
    check_stamped(
        "2023-03-18T20:36:59+01:00",
        " 10.1.1.1 firewall,info drop input: in:ether1 out:(unknown 0)",
        Dialect::Mikrotik,
        "2023-03-18T19:36:59Z",
        [
            "10.1.1.1",
            "firewall,info",
            "",
            "drop input: in:ether1 out:(unknown 0)",
        ],
    );
}

/// A message of Cisco's kind, without time and with the reason, or of 1 March 18:46:11.123.
#[track_caller]
fn check_cisco(text: &str, host: &'static str, app: &'static str, message: &'static str) {
    let some = |field: &'static str| (!field.is_empty()).then_some(field);
    let expected = Expected {
        pri: Some((23, 5)),
        ts: Some("2026-03-01T18:46:11.123Z"),
        host: some(host),
        app: some(app),
        message,
        ..Expected::default()
    };
    check(&format!("<189>{text}"), Dialect::Cisco, expected);
}

#[test]
fn cisco_headers() {
    let app = "%SYS-5-CONFIG_I";
    check_cisco(
        "123: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "123: Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "123: .Mar  1 2026 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "123: rtr1: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco(
        "123: rtr1: 000077: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco(
        "*Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "rtr1: Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco(
        ": 2026 Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "Mar  1 18:46:11.123 fw1 : %ASA-6-302013: Built",
        "fw1",
        "%ASA-6-302013",
        "Built",
    );
    check_cisco(
        "Mar  1 18:46:11.123 fw1 %ASA-6-302013: Built",
        "fw1",
        "%ASA-6-302013",
        "Built",
    );
    check_cisco(
        "Mar  1 18:46:11.123 fw1: %ASA-6-302013: Built",
        "fw1",
        "%ASA-6-302013",
        "Built",
    );
    check_cisco(
        "Mar  1 2026 18:46:11.123: %ASA-6-302013 : Built",
        "",
        "%ASA-6-302013",
        "Built",
    );
    check_cisco("Mar  1 2026 18:46:11.123 %ASA: Built", "", "%ASA", "Built");
    check_cisco(
        "Mar  1 18:46:11.123 10.0.0.1 26: rtr1: *Mar  1 18:46:10: %SYS-5-CONFIG_I: Configured",
        "10.0.0.1",
        app,
        "Configured",
    );
    check_cisco(
        "8: RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp: %ROUTING-BGP-5-ADJCHANGE : up",
        "",
        "bgp",
        "%ROUTING-BGP-5-ADJCHANGE : up",
    );
    check_cisco(
        "8: xr1 RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp: %ROUTING-BGP-5-ADJCHANGE : up",
        "xr1",
        "bgp",
        "%ROUTING-BGP-5-ADJCHANGE : up",
    );
    check_cisco(
        "wlc1: *apfTask0: Mar  1 18:46:11.123: %APF-5-X: apf.c:8 m",
        "wlc1",
        "%APF-5-X",
        "apf.c:8 m",
    );
    check(
        "<189>8: RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp[1046]: up",
        Dialect::Cisco,
        Expected {
            pri: Some((23, 5)),
            ts: Some("2026-03-01T18:46:11.123Z"),
            app: Some("bgp"),
            procid: Some("1046"),
            message: "up",
            ..Expected::default()
        },
    );
    let without = Expected {
        pri: Some((23, 5)),
        app: Some("%LINK-3-UPDOWN"),
        message: "down",
        ..Expected::default()
    };
    let no_stamp = Expected {
        reason: Some("no time stamp"),
        ..without
    };
    check("<189>%LINK-3-UPDOWN: down", Dialect::Cisco, no_stamp);
    check("<189>12: %LINK-3-UPDOWN: down", Dialect::Cisco, no_stamp);
    let uptime = Expected {
        reason: Some("the time stamp is an uptime"),
        ..without
    };
    check(
        "<189>12: 1w2d: %LINK-3-UPDOWN: down",
        Dialect::Cisco,
        uptime,
    );
    check(
        "<189>12: 00:00:46: %LINK-3-UPDOWN: down",
        Dialect::Cisco,
        uptime,
    );
    check(
        "<189>00:00:46: %LINK-3-UPDOWN: down",
        Dialect::Cisco,
        uptime,
    );
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
    check(
        "<13>hello big world",
        Dialect::PriOnly,
        only("hello big world"),
    );
    check("<13>{\"a\": 1}", Dialect::PriOnly, only("{\"a\": 1}"));
    check(
        "<13>@cee: {\"a\": 1}",
        Dialect::PriOnly,
        only("@cee: {\"a\": 1}"),
    );
    check(
        "<13>date=2026-01-01 devname=\"fw\"",
        Dialect::PriOnly,
        only("date=2026-01-01 devname=\"fw\""),
    );
    check("<13>1 something", Dialect::PriOnly, only("1 something"));
    check(
        "<13>Oct 32 22:14:15 h a: m",
        Dialect::PriOnly,
        only("Oct 32 22:14:15 h a: m"),
    );
    check("<013>hello", Dialect::PriOnly, only("hello"));
    check(
        "<13> openvpn[24]: up",
        Dialect::PriOnly,
        Expected {
            app: Some("openvpn"),
            procid: Some("24"),
            ..only("up")
        },
    );
    check(
        "<13>h openvpn[24]: up",
        Dialect::PriOnly,
        Expected {
            host: Some("h"),
            app: Some("openvpn"),
            procid: Some("24"),
            ..only("up")
        },
    );
}

#[test]
fn what_is_no_syslog_is_the_message() {
    let raw = |message, reason| Expected {
        message,
        reason: Some(reason),
        ..Expected::default()
    };
    let neither = "neither a priority nor a time stamp";
    check("", Dialect::Unknown, raw("", neither));
    check(
        "hello: world",
        Dialect::Unknown,
        raw("hello: world", neither),
    );
    check("<>x", Dialect::Unknown, raw("<>x", neither));
    check("<1234>x", Dialect::Unknown, raw("<1234>x", neither));
    check("<13x", Dialect::Unknown, raw("<13x", neither));
    check("<-1>x", Dialect::Unknown, raw("<-1>x", neither));
    check(
        "<192>Oct 11 22:14:15 h a: m",
        Dialect::Unknown,
        raw("<192>Oct 11 22:14:15 h a: m", "the priority is above 191"),
    );
    check(
        "<999>x",
        Dialect::Unknown,
        raw("<999>x", "the priority is above 191"),
    );
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
        Expected {
            host: Some("h"),
            app: Some("a"),
            message: "caf\u{fffd} x",
            ..known
        },
    );
    // No half of a name is taken for a name.
    check_bytes(
        b"<13>Oct 11 22:14:15 h\xe9 a: m",
        Dialect::Rfc3164,
        Expected {
            message: "h\u{fffd} a: m",
            ..known
        },
    );
    check_bytes(
        b"\xff\xfe",
        Dialect::Unknown,
        Expected {
            message: "\u{fffd}\u{fffd}",
            reason,
            ..Expected::default()
        },
    );
    check(
        "<13>Oct 11 22:14:15 höst app: größe",
        Dialect::Rfc3164,
        Expected {
            host: Some("höst"),
            app: Some("app"),
            message: "größe",
            reason: None,
            ..known
        },
    );
}

#[test]
fn limits_cut_and_say_so() {
    let limits = Limits {
        line_bytes: 40,
        field_bytes: 4,
        sd_elements: 1,
        ..Limits::default()
    };
    let parse = |input| parse(input, RECEIVED_US, &Zone::UTC, &limits);
    let out = parse(b"<13>Oct 11 22:14:15 h a: 0123456789012345678901234567890");
    assert_eq!(
        (out.message.as_ref(), out.state),
        ("012345678901234", ParseState::Partial)
    );
    assert_eq!(
        out.reason.as_deref(),
        Some("longer than the limit of a line, the rest is cut")
    );
    let out = parse(b"<13>Oct 11 22:14:15 hhhhhh aaaaa: m");
    assert_eq!(
        (out.host, out.app, out.message.as_ref()),
        (Some("hhhh"), Some("aaaa"), "m")
    );
    assert_eq!(
        out.reason.as_deref(),
        Some("a header field is longer than the limit, it is cut")
    );
    let out = parse(b"<13>1 - - - - - [a][b] m");
    assert!(out.sd.is_empty());
    assert_eq!(out.message, "[a][b] m");
    assert_eq!(
        out.reason.as_deref(),
        Some("more structured data than the limit, it is in the message")
    );
}
