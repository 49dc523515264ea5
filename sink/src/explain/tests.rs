#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use expect_test::{Expect, expect};

use super::*;

fn said(json: bool, topic: Option<Of>, input: &str) -> String {
    let options = ExplainOptions { topic, json, config: None };
    let mut output = Vec::new();
    explain(&options, &TopicNames::default(), input.as_bytes(), &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

#[track_caller]
fn check(input: &str, expected: Expect) {
    expected.assert_eq(&said(false, None, input));
}

const READING: &str = r#"{"agent":"gw","stream":"8f14e45fceea167a","seq":7,"site":"plant","device":"pump","ts_us":1749945601000000,"received_us":6,"values":{"temp":{"v":71.5},"flow":{"v":2}}}"#;
const LOG: &str = r#"{"agent":"gw","stream":"0000000000000001","seq":8,"site":"plant","device":"gw","ts_us":1749945602000000,"received_us":6,"host":"web","message":"m","raw":"m"}"#;

#[test]
fn a_value_says_where_its_rows_are() {
    let record = json!({ "topic": "weir.readings", "partition": 3, "offset": 1200,
        "ts_ms": 1_772_359_200_000_i64, "value": READING });
    check(
        &record.to_string(),
        expect![[r#"
            line 1: readings: reading
              readings          site=plant device=pump metric=flow bucket=20254 | ts_us=1749945601000000 stream=-8136627526607169926 seq=7
              readings          site=plant device=pump metric=temp bucket=20254 | ts_us=1749945601000000 stream=-8136627526607169926 seq=7
              bucket            or a narrower one, where the series or host has `narrower`
              archive           readings/date=2026-03-01/hour=10/weir.readings-3-00000000000000001200.parquet
        "#]],
    );
    let log = json!({ "value": serde_json::from_str::<Value>(LOG).unwrap(), "ts_ms": 0 });
    check(
        &log.to_string(),
        expect![[r#"
            line 1: logs: log
              logs              site=plant host=web bucket=486096 | ts_us=1749945602000000 stream=1 seq=8
              bucket            or a narrower one, where the series or host has `narrower`
              archive           logs/date=1970-01-01/hour=00/weir.logs-0-00000000000000000000.parquet
        "#]],
    );
}

#[test]
fn what_would_be_a_dead_letter_says_why() {
    check(
        &LOG.replace("0000000000000001", "0"),
        expect![[r#"
        line 1: logs: dead letter: stream 0000000000000000 and seq 8 do not name an event
    "#]],
    );
    check(
        "no JSON\n\n",
        expect![[r#"
        line 1: logs: dead letter: not an event: expected ident at line 1 column 2
        line 2: logs: dead letter: not an event: EOF while parsing a value at line 1 column 0
    "#]],
    );
    let mixed = json!({ "topic": "logs", "value": READING });
    check(
        &mixed.to_string(),
        expect![[r#"
        line 1: logs: dead letter: a record of another kind than the topic carries
    "#]],
    );
}

#[test]
fn devices_and_agents_have_their_rows_too() {
    let device = json!({ "site": "plant", "device": "pump", "updated_us": 1, "meta": {} });
    let told = said(false, None, &device.to_string());
    assert!(told.contains("devices           site=plant shard=11 | device=pump"), "{told}");
    let gone = json!({ "topic": "metadata", "key": "plant/pump", "value": null, "ts_ms": 1 });
    check(
        &gone.to_string(),
        expect![[r#"
            line 1: metadata: device
              devices           site=plant shard=11 | device=pump
              device_changes    site=plant device=pump bucket=56 | ts_us=1000 position=0
        "#]],
    );
}

#[test]
fn each_line_has_one_answer_and_a_program_gets_objects() {
    let long = "x".repeat(LINE_BYTES_MAX + 5);
    let input = format!("{READING}\n{long}\n{{\"value_b64\":\"?\"}}\n{LOG}");
    let said = said(true, None, &input);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(lines[0]["rows"].as_array().unwrap().len(), 2);
    assert!(lines[1]["error"].as_str().unwrap().contains("longer than"));
    assert!(lines[2]["error"].as_str().unwrap().contains("not base64"));
    assert_eq!(lines[3]["kind"], "log");
}
