//! Tables of readings scored by command: the program a user runs, in the forms a user gives it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use weir_tests::Launch;
use weir_tests::program::Finished;

const SOON: Duration = Duration::from_secs(30);

/// Eight days at five minutes, calm but for one reading on the seventh.
fn table() -> String {
    let mut text = String::from("timestamp,value\n");
    for i in 0..2_304 {
        let (day, hour, minute) = (1 + i / 288, i / 12 % 24, i % 12 * 5);
        let calm = 20.0 + f64::from(i * 7_919 % 101) / 100.0;
        let value = if i == 2_000 { 60.0 } else { calm };
        writeln!(text, "2024-01-{day:02} {hour:02}:{minute:02}:00,{value}").unwrap();
    }
    text
}

#[track_caller]
fn score(args: &[&str], stdin: &str) -> Finished {
    Launch::ours("weir-agent").arg("score").args(args).stdin(stdin).run(SOON)
}

#[track_caller]
fn rows(args: &[&str], stdin: &str) -> Vec<Value> {
    let text = score(args, stdin).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_row_gets_a_score_that_no_later_row_changes() {
    let whole = rows(&["--json", "-"], &table());
    assert_eq!(whole.len(), 2_304);
    assert_eq!(whole[2_000]["timestamp"], "2024-01-07 22:40:00");
    assert_eq!(whole[2_000]["alarm"], true);
    let said: Vec<usize> = (1_000..2_304).filter(|i| whole[*i]["score"] != 0.0).collect();
    let highest = said.iter().max_by(|a, b| {
        let of = |i: usize| whole[i]["score"].as_f64().unwrap();
        of(**a).total_cmp(&of(**b))
    });
    assert!((2_000..2_020).contains(highest.unwrap()), "{said:?}");

    let lines: Vec<&str> = table().leak().lines().collect();
    let part = rows(&["--json", "-"], &lines[..2_002].join("\n"));
    assert_eq!(part[..], whole[..2_001]);
}

#[test]
fn settings_come_from_the_configuration_and_faults_say_what_to_do() {
    let config = "agent = { site = \"a\" }\nkafka = { brokers = [\"k:9092\"] }\n\
                  [score.suite]\nalarm_level = 50.0\n";
    let launch = Launch::ours("weir-agent").file("c.toml", config).file("t.csv", table());
    let text = launch.clone().args(["score", "t.csv", "-c", "c.toml"]).run(SOON).ok();
    assert_eq!(text, "2304 rows of 1 metric(s): 0 alarm(s), 0 row(s) not or partly scored\n");
    let text = launch.args(["score", "t.csv"]).run(SOON).ok();
    assert!(text.contains("2024-01-07 22:40:00  alarm on value: score"), "{text}");

    let text = score(&["-"], "timestamp,value\n1,2\n2,x\n").ok();
    assert!(text.contains("line 3: `x` in column `value` is not a number"), "{text}");
    for (args, stdin, part) in [
        (&["none.csv"][..], "", "cannot read `none.csv`"),
        (&["-"], "1,2\n", "the first line must name the columns"),
        (&["-", "--values", "b"], "time,a\n", "no column of values `b`"),
    ] {
        let finished = score(args, stdin);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
}
