use clap::Parser as _;
use expect_test::{Expect, expect};

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn answers(args: &[&str], config: Option<&str>, input: &[u8]) -> String {
    let args =
        ["explain", "--received-at", "2026-06-15T12:00:00Z", "--zone", "UTC"].iter().chain(args);
    let options = Line::parse_from(args).options;
    let config = config.map(|text| Config::parse("agent.toml", text).unwrap());
    let mut output = Vec::new();
    Explainer::new(&options, config.as_ref()).unwrap().run(input, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

#[track_caller]
fn check(args: &[&str], input: &[u8], expected: Expect) {
    expected.assert_eq(&answers(args, None, input));
}

#[test]
fn one_answer_a_line_in_order() {
    let input = br#"{"raw": "<34>Oct 11 22:14:15 h su[7]: failed", "id": 7}
{"raw_b64": "PDEzPmNhZuk="}
{"raw": 7}

{"raw_b64": "?"}
{}
{"raw": "<13>1 - - - - - [a b=\"c\"] m"}"#;
    check(
        &["--json"],
        input,
        expect![[r#"
        {"agent":"","stream":"0000000000000000","seq":0,"site":"","device":"h","ts_us":1791756855000000,"received_us":1781524800000000,"clock":"synced","source":"explain","dialect":"rfc3164","parse":"ok","meta_state":"miss","facility":4,"severity":2,"host":"h","app":"su","procid":"7","message":"failed","raw":"<34>Oct 11 22:14:15 h su[7]: failed","ts_rule":"nearest_year"}
        {"agent":"","stream":"0000000000000000","seq":0,"site":"","device":"","ts_us":1781524800000000,"received_us":1781524800000000,"clock":"synced","source":"explain","dialect":"pri_only","parse":"partial","parse_reason":"not UTF-8, the bad bytes are replaced","meta_state":"miss","facility":1,"severity":5,"message":"caf�","raw_b64":"PDEzPmNhZuk=","ts_rule":"none"}
        {"line":3,"error":"expected {\"raw\": text} or {\"raw_b64\": base64}: invalid type: integer `7`, expected a string at line 1 column 9"}
        {"line":4,"error":"expected {\"raw\": text} or {\"raw_b64\": base64}: EOF while parsing a value at line 1 column 0"}
        {"line":5,"error":"`raw_b64` is not base64: Invalid symbol 63, offset 0."}
        {"line":6,"error":"expected {\"raw\": text} or {\"raw_b64\": base64}"}
        {"agent":"","stream":"0000000000000000","seq":0,"site":"","device":"","ts_us":1781524800000000,"received_us":1781524800000000,"clock":"synced","source":"explain","dialect":"rfc5424","parse":"ok","meta_state":"miss","facility":1,"severity":5,"sd":{"a":{"b":"c"}},"message":"m","raw":"<13>1 - - - - - [a b=\"c\"] m","ts_rule":"none"}
    "#]],
    );
}

#[test]
fn for_a_person() {
    check(
        &[],
        b"<34>1 2003-10-11T22:14:15.003Z h su 7 ID47 [a b=\"c\" d=\"\"] failed\n<13>hello\r\nwhat\n",
        expect![[r#"
            line 1: rfc5424, ok
              time      2003-10-11T22:14:15.003Z (stated)
              facility  4 auth
              severity  2 critical
              host      h
              app       su
              procid    7
              msgid     ID47
              sd        a b="c" d=""
              message   failed
            line 2: pri_only, partial: no time stamp
              time      2026-06-15T12:00:00Z, when it was received
              facility  1 user
              severity  5 notice
              message   hello
            line 3: unknown, raw: neither a priority nor a time stamp
              time      2026-06-15T12:00:00Z, when it was received
              message   what
        "#]],
    );
}

#[test]
fn a_line_too_long_is_an_answer() {
    let mut input = vec![b'x'; 3 * LINE_BYTES_MAX];
    input.extend(b"\n<13>hello\n");
    let answers = answers(&[], None, &input);
    assert!(answers.starts_with("line 1: longer than 1048576 bytes, left out\nline 2: pri_only"));
}

const CONFIG: &str = r#"
    [agent]
    site = "plant"
    [kafka]
    brokers = ["k:9092"]
    [[source.syslog]]
    listen = "udp://127.0.0.1:514"
    keep_raw = false
    [[source.http]]
    listen = "127.0.0.1:80"
    name = "web"
    [[filter]]
    name = "noise"
    action = "drop"
    app = "cron"
"#;

#[test]
fn sources_and_rules_of_a_configuration() {
    let input = b"<13>Oct 11 22:14:15 h cron: m\n<13>Oct 11 22:14:15 sshd[3]: m\n";
    expect![[r#"
        line 1: rfc3164, ok
          time      2026-10-11T22:14:15Z (nearest_year)
          facility  1 user
          severity  5 notice
          host      h
          app       cron
          message   m
          filter    drop
        line 2: rfc3164, ok
          time      2026-10-11T22:14:15Z (nearest_year)
          facility  1 user
          severity  5 notice
          host      10.0.0.7
          app       sshd
          procid    3
          message   m
          filter    keep
    "#]]
    .assert_eq(&answers(&["-c", "x", "--peer", "10.0.0.7"], Some(CONFIG), input));
    expect![[r#"
        line 1: json, ok
          time      2026-06-15T12:00:00Z
          device    unknown
          temp      21.5
          filter    keep
    "#]]
    .assert_eq(&answers(
        &["-c", "x", "--source", "web"],
        Some(CONFIG),
        br#"{"device": "d1", "temp": 21.5}"#,
    ));
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let options = Line::parse_from(["explain", "-c", "x", "--source", "webb"]).options;
    let config = Config::parse("agent.toml", CONFIG).unwrap();
    let error = Explainer::new(&options, Some(&config)).unwrap_err();
    assert_eq!(error, "the configuration has no source `webb`; it has `syslog-udp-514`, `web`");
}
