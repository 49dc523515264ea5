use clap::Parser as _;
use expect_test::{Expect, expect};

use super::*;

const CONFIG: &str = include_str!("../../../examples/agent/agent.toml");
const TESTS: &str = include_str!("../../../examples/agent/agent.tests.toml");

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// What is written, and whether all is as expected; or why the tests cannot be used.
fn answer(tests: &str, more: &[&str]) -> Result<(String, bool), String> {
    answer_of(CONFIG, tests, more)
}

fn answer_of(config: &str, tests: &str, more: &[&str]) -> Result<(String, bool), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("agent.tests.toml"), tests).unwrap();
    std::fs::write(path("lines.log"), "<13>1 - h a - - - one\n<13>1 - h a - - - caf\u{e9}\n")
        .unwrap();
    let name = path("agent.toml");
    let args = ["test", "-c", &name].into_iter().chain(more.iter().copied());
    let options = Line::parse_from(args).options;
    let mut output = Vec::new();
    let config = Config::parse("agent.toml", config).unwrap();
    let folder = format!("{}/", folder.path().display());
    match run(&options, &config, &mut output) {
        Ok(as_expected) => {
            Ok((String::from_utf8(output).unwrap().replace(&folder, ""), as_expected))
        }
        Err(fault) => Err(fault.to_string().replace(&folder, "")),
    }
}

#[track_caller]
fn check(tests: &str, expected: Expect) {
    let (text, as_expected) = answer(tests, &[]).unwrap();
    assert_eq!(as_expected, text.ends_with(" 0 failed\n"), "{text}");
    expected.assert_eq(&text);
}

#[track_caller]
fn check_refused(tests: &str, expected: Expect) {
    expected.assert_eq(&answer(tests, &[]).unwrap_err());
}

#[test]
fn the_example_holds() {
    check(
        TESTS,
        expect![[r#"
            ok     agent.tests.toml:9: a failed login goes before readings, with the stamp of the source's zone
            ok     agent.tests.toml:28: who names no host is known by the address
            ok     agent.tests.toml:39: debug lines are dropped, those of cron go last
            ok     agent.tests.toml:50: a press that is too hot makes an alert
            ok     agent.tests.toml:68: the topic names device and metric of a bare number
            5 passed, 0 failed
        "#]],
    );
}

#[test]
fn what_differs_is_named_with_its_place() {
    check(
        r#"
[[test]]
name = "all of it is wrong"
source = "network"
input = "<34>1 2026-01-01T00:00:00+01:00 h su 7 - [a b=\"c\"] failed"
alerts = 1
filtered = { "debug noise" = 1, "none such" = 1 }
[[test.event]]
severity = 3
ts = "2026-01-01T00:00:00Z"
msgid = "ID47"
sd = { a = { b = "c", d = "e" } }
absent = ["app", "msgid"]
[[test.event]]
host = "h"

[[test]]
name = "times are times"
source = "network"
input = "<34>1 2026-01-01T00:00:00+01:00 h su 7 - - failed"
[[test.event]]
ts = 2026-01-01T00:00:00.000+01:00
received = 2026-01-01T01:00:00+01:00
clock = "synced"
meta_state = "miss"
"#,
        expect![[r#"
            FAILED agent.tests.toml:2: all of it is wrong
                   line 2, test: `number of events` expected 2, got 1
                   line 8, event 1: `app` expected nothing, got "su"
                   line 8, event 1: `msgid` expected "ID47", got nothing
                   line 8, event 1: `sd.a.d` expected "e", got nothing
                   line 8, event 1: `severity` expected 3, got 2
                   line 8, event 1: `ts` expected "2026-01-01T00:00:00Z", got "2025-12-31T23:00:00Z"
                   line 2, test: `number of alerts` expected 1, got 0
                   line 2, test: `filtered.debug noise` expected 1, got 0
                   line 2, test: `filtered.none such` expected 1, got nothing
            ok     agent.tests.toml:17: times are times
            1 passed, 1 failed
        "#]],
    );
}

#[test]
fn inputs_come_as_sources_take_them() {
    check(
        r#"
zone = "Asia/Tokyo"
[[test]]
name = "each element of a body is an event"
source = "machines"
input = '[{"device": "a", "t": 1}, {"device": "b", "t": 2, "at": "2026-01-01 09:30:00"}]'
[[test.event]]
device = "a"
values = { t = 1 }
[[test.event]]
device = "b"
ts = 2026-01-01T00:30:00Z
absent = ["raw_b64"]

[[test]]
name = "each line of a file is one"
source = "network"
file = "lines.log"
events = 2
[[test.event]]
message = "one"

[[test]]
name = "a rule on many lines: the alert comes with the one that breaks it"
source = "machines"
to = "/v1/write"
input = [
  "temperature,machine=p value=20\ntemperature,machine=p value=21",
  "temperature,machine=p value=91",
]
events = 3
[[test.alert]]
device = "p"
"#,
        expect![[r#"
            ok     agent.tests.toml:3: each element of a body is an event
            ok     agent.tests.toml:15: each line of a file is one
            ok     agent.tests.toml:23: a rule on many lines: the alert comes with the one that breaks it
            3 passed, 0 failed
        "#]],
    );
}

#[test]
fn a_rule_on_silence_is_tested_by_letting_time_pass() {
    let config = CONFIG.replace(
        "[[score.rules]]",
        "[[score.rules]]\nmetric = \"t\"\nrule = { kind = \"gap\", name = \"silent\", gap_s = 60.0 }\n[[score.rules]]",
    );
    let tests = r#"
[[test]]
name = "not yet"
source = "machines"
input = '{"device": "a", "t": 1}'
then_s = 50
alerts = 0

[[test]]
name = "silent"
source = "machines"
input = '{"device": "a", "t": 1}'
then_s = 600
[[test.alert]]
state = "firing"
kind = "silence"
why = "silent"
device = "a"
"#;
    let (text, as_expected) = answer_of(&config, tests, &[]).unwrap();
    assert!(as_expected, "{text}");
}

#[test]
fn the_zone_of_the_machine_never_shows() {
    let config = CONFIG.replace("zone = \"Europe/Berlin\"", "zone = \"local\"");
    let tests = r#"
zone = "+05:45"
[[test]]
name = "local"
source = "network"
input = "<13>Jan  1 05:45:00 h a: m"
[[test.event]]
ts = 2026-01-01T00:00:00Z
"#;
    let (text, as_expected) = answer_of(&config, tests, &[]).unwrap();
    assert!(as_expected, "{text}");
}

fn of_network(more: &str) -> String {
    format!("[[test]]\nname = \"n\"\nsource = \"network\"\n{more}")
}

#[test]
fn what_cannot_be_used_is_named_with_what_to_do() {
    let test = of_network;
    check_refused(
        "now = 2026-01-01T00:00:00Z\n",
        expect!["agent.tests.toml: there is no test: begin one with `[[test]]`"],
    );
    check_refused(
        &test("imput = \"x\"\nevents = 0\n"),
        expect![[r#"
            agent.tests.toml:4:1: unknown field `imput`, expected one of `name`, `source`, `now`, `zone`, `devices`, `peer`, `to`, `input`, `file`, `then_s`, `events`, `alerts`, `filtered`, `event`, `alert`
              hint: did you mean `input`?"#]],
    );
    check_refused(
        &test("input = \"x\"\n"),
        expect![
            "agent.tests.toml:1: test `n`: it expects nothing: add `[[test.event]]` with fields, `events = 0`, or `filtered`"
        ],
    );
    check_refused(
        &test("events = 0\n"),
        expect![
            "agent.tests.toml:1: test `n`: set either `input` (a text, or a list of texts) or `file`"
        ],
    );
    check_refused(
        &test("input = \"x\"\n[[test.event]]\nmesage = \"x\"\n"),
        expect!["agent.tests.toml:5: there is no field `mesage`; did you mean `message`?"],
    );
    check_refused(
        &test("input = \"x\"\n[[test.event]]\nabsent = [\"ap\"]\n"),
        expect!["agent.tests.toml:5: there is no field `ap`; did you mean `app`?"],
    );
    check_refused(
        &test("input = \"x\"\nevents = 0\n[[test.event]]\napp = \"x\"\n"),
        expect!["agent.tests.toml:1: test `n`: it describes 1, more than it counts"],
    );
    check_refused(
        &test("input = \"x\"\nfiltered = {}\n"),
        expect![
            "agent.tests.toml:1: test `n`: `filtered` is empty: name a rule and how often it takes something away, or leave it out"
        ],
    );
    for absent in ["5", "[]", "[1]", "[\"app\", 1]"] {
        check_refused(
            &test(&format!("input = \"x\"\n[[test.event]]\nabsent = {absent}\n")),
            expect!["agent.tests.toml:5: `absent` is the name of a field, or a list of names"],
        );
    }
    check_refused(
        &test("input = \"x\"\nevents = 1\nthen_s = 604801\n"),
        expect!["agent.tests.toml:1: test `n`: `then_s` is more than a week, 604800"],
    );
    check_refused(
        &test("input = \"x\"\nevents = 1\nnow = \"12:00\"\n"),
        expect![
            "agent.tests.toml:1: test `n`: `now` is no time with an offset, such as 2026-01-01T00:00:00Z"
        ],
    );
}

#[test]
fn what_would_never_come_in_is_named() {
    let test = of_network;
    check_refused(
        &test("input = \"\"\nevents = 0\n"),
        expect!["agent.tests.toml:1: nothing comes in of an empty payload"],
    );
    check_refused(
        &test("input = \"x\"\nevents = 1\npeer = \"h\"\n"),
        expect!["agent.tests.toml:1: test `n`: `peer` is no IP address"],
    );
    check_refused(
        &test("input = \"x\"\nevents = 1\nzone = \"Mars\"\n"),
        expect![
            "agent.tests.toml:1: source `machines`: unknown time zone `Mars`: use `UTC`, `local`, an offset such as `+02:00`, or a name such as `Europe/Berlin` (needs the system's tzdata)"
        ],
    );
    check_refused(
        &test("input = \"x\"\nevents = 1\ndevices = \"site\"\n"),
        expect!["agent.tests.toml:1: `devices`, line 1: the header needs a column `device`"],
    );
    check_refused(
        &test("input = \"x\"\nevents = 1\nto = \"a/b\"\n"),
        expect![
            "agent.tests.toml:1: `to` is the topic of MQTT or the path of HTTP; this source has neither"
        ],
    );
    check_refused(
        &test("file = \"none.log\"\nevents = 1\n"),
        expect![
            "agent.tests.toml:1: test `n`: cannot read `none.log`: No such file or directory (os error 2)"
        ],
    );
    let of = |source: &str, to: &str| {
        format!("[[test]]\nname = \"n\"\nsource = \"{source}\"\ninput = \"x\"\nevents = 1\n{to}")
    };
    check_refused(
        &of("sensor", ""),
        expect![
            "agent.tests.toml:1: test `n`: set `source` to one that the configuration has: `network`, `machines`, `sensors`"
        ],
    );
    check_refused(
        &of("sensors", ""),
        expect!["agent.tests.toml:1: a message of MQTT has a topic: set `to`"],
    );
    check_refused(
        &of("sensors", "to = \"a/b\"\n"),
        expect!["agent.tests.toml:1: the source is not subscribed to `a/b`: see its `topics`"],
    );
    check_refused(
        &of("machines", "to = \"/v1/wrote\"\n"),
        expect!["agent.tests.toml:1: `/v1/wrote` takes nothing; `/v1/events` and `/v1/write` do"],
    );
    check_refused(
        &of("machines", "to = \"/v1/events\"\n"),
        expect!["agent.tests.toml:1: the body is no JSON: expected value at line 1 column 1"],
    );
}

#[test]
fn json_tells_all_that_came() {
    let (text, as_expected) = answer(TESTS, &["--json"]).unwrap();
    assert!(as_expected);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), TESTS.matches("[[test]]").count());
    let hot = &lines[3];
    assert_eq!((&hot["passed"], &hot["file"]), (&json!(true), &json!("agent.tests.toml")));
    assert_eq!(hot["events"][0]["values"]["temperature"]["unit"], "°C");
    assert_eq!(hot["alerts"][0]["threshold"], 1.0);
    // What a test can name is what comes, whatever the kind.
    for (all, known) in [("events", compare::EVENT_FIELDS), ("alerts", compare::ALERT_FIELDS)] {
        for record in lines.iter().flat_map(|line| line[all].as_array().unwrap()) {
            for name in record.as_object().unwrap().keys() {
                let is_of_chance = name == "alert_id";
                assert_eq!(known.contains(&name.as_str()), !is_of_chance, "{name}");
            }
        }
    }
}

#[test]
fn each_test_begins_with_nothing() {
    let one = "[[test]]\nname = \"n\"\nsource = \"network\"\ninput = \"<13>Jun 1 00:00:00 h a: m\"\nevents = 1\n";
    let (text, _) = answer(&one.repeat(2), &["--json"]).unwrap();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let second = lines.pop().unwrap();
    assert_eq!(lines[0]["events"], second["events"]);
    assert_eq!(second["events"][0]["agent"], "gw-17");
}
