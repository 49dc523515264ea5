//! How the agent groups log lines, told by its own program.

use std::time::Duration;

use serde_json::Value;
use weir_tests::{Launch, fixtures};

const SOON: Duration = Duration::from_secs(30);
const CONFIG: &str = "agent = { site = \"a\" }\nkafka = { brokers = [\"k:9092\"] }\n";

fn templates(args: &[&str], config: &str, input: &[u8]) -> String {
    let launch = Launch::ours("weir-agent").file("c.toml", config);
    launch.arg("templates").args(args).args(["-c", "c.toml"]).stdin(input).run(SOON).ok()
}

#[test]
fn every_line_of_a_real_log_gets_its_template() {
    let log = std::fs::read_to_string(fixtures().join("syslog/auth.rfc3164.log")).unwrap();
    let message = |line: &str| line[16..].split_once(": ").map_or(String::new(), |(_, m)| m.into());
    let messages: Vec<String> = log.lines().map(message).collect();
    let input = messages.join("\n");
    let answers: Vec<Value> = templates(&["--json"], CONFIG, input.as_bytes())
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), messages.len());
    // Each names its template by id and by text, and both say the same.
    let mut texts = std::collections::HashMap::new();
    for (answer, message) in answers.iter().zip(&messages) {
        let (id, text) = (answer["template"].as_str().unwrap(), answer["text"].as_str().unwrap());
        assert_eq!(id.len(), 16, "{answer}");
        assert_eq!(*texts.entry(id).or_insert(text), text, "{message}");
    }
    let of = |part: &str| messages.iter().position(|message| message.starts_with(part)).unwrap();
    let (opened, closed) = (of("New session"), of("Removed session"));
    assert_ne!(answers[opened]["template"], answers[closed]["template"]);
    assert_eq!(answers[opened]["text"], "New session <num> of user <*>");

    // For a person, the most frequent first.
    let table = templates(&[], CONFIG, input.as_bytes());
    let counts: Vec<usize> =
        table.lines().map(|row| row.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert_eq!(counts.iter().sum::<usize>(), messages.len());
    assert!(counts.is_sorted_by(|a, b| a >= b), "{table}");
    assert_eq!(counts.len(), texts.len());
}

#[test]
fn settings_come_from_the_configuration() {
    let few = format!("{CONFIG}[score.log]\ntemplates = 1\n");
    let args = ["--json"];
    let input = b"door opened by guard\nlamp lit\ndoor opened by 7\n";
    let texts = |config: &str| {
        let answers = templates(&args, config, input);
        answers.lines().map(|l| l.split("\"text\":").nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts(CONFIG)[0], "\"door opened by <*>\"}");
    // With room for one, the first has left before the third comes.
    assert_eq!(texts(&few)[0], "\"door opened by guard\"}");
}
