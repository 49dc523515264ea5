//! The alert rules and what Prometheus scrapes, read by promtool: each alert fires when it should and not before. By
//! that of a Prometheus 3 where `cargo dev rules` has built it, else by the one of the machine or of Debian.

use std::fs;
use std::path::Path;
use std::time::Duration;

use weir_tests::program::Finished;
use weir_tests::{Launch, paths, root, temp_dir};

const SOON: Duration = Duration::from_secs(60);
const RULES: &str = "docs/prometheus/weir.rules.yml";
const TESTS: &str = "deploy/prometheus/weir.rules.test.yml";

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn promtool_here() -> Launch {
    let program = paths::find_tool(&["promtool-3"]);
    Launch::at("promtool", program.unwrap_or_else(|| paths::tool(&["promtool"])))
}

/// promtool on rules, their tests and a configuration beside each other.
fn promtool(rules: &str, config: &str, args: &[&str]) -> Finished {
    let tests = text(TESTS).replace("../../docs/prometheus/", "");
    let launch = promtool_here().file("weir.rules.yml", rules).file("test.yml", tests);
    launch.file("prometheus.yml", config).args(args).run(SOON)
}

#[test]
fn promtool_takes_rules_and_configuration() {
    let (rules, config) = (text(RULES), text("deploy/prometheus/prometheus.yml"));
    let said = promtool(&rules, &config, &["check", "rules", "weir.rules.yml"]).ok();
    assert!(said.contains("14 rules found"), "{said}");
    let said = promtool(&rules, &config, &["check", "config", "prometheus.yml"]).ok();
    assert!(said.contains("1 rule files found"), "{said}");
    // What is wrong is refused: a function that is none, a key that is none.
    let spoilt = rules.replacen("increase(", "increased(", 1);
    let refused = promtool(&spoilt, &config, &["check", "rules", "weir.rules.yml"]);
    assert!(refused.stderr.contains("unknown function"), "{}", refused.stderr);
    let spoilt = config.replacen("scrape_interval", "scrape_every", 1);
    let refused = promtool(&rules, &spoilt, &["check", "config", "prometheus.yml"]);
    assert!(refused.stderr.contains("scrape_every"), "{}", refused.stderr);
}

#[test]
fn each_alert_fires_when_it_should() {
    let (rules, config) = (text(RULES), text("deploy/prometheus/prometheus.yml"));
    let test = ["test", "rules", "test.yml"];
    let said = promtool(&rules, &config, &test);
    assert!(said.status.success(), "{}{}", said.stdout, said.stderr);
    // With each rule made another in turn, the tests see it.
    let mut spoilt = 0;
    for (part, by) in [(" == 0\n", " == 7\n"), (" > ", " < ")] {
        for (at, _) in rules.match_indices(part) {
            let mut other = rules.clone();
            other.replace_range(at..at + part.len(), by);
            let said = promtool(&other, &config, &test);
            let line = other[..at + by.len()].lines().last();
            assert!(!said.status.success(), "the tests pass with {line:?}");
            spoilt += 1;
        }
    }
    let tests = text(TESTS);
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut count = 0;
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test is of {alert}");
        count += 1;
    }
    assert!(count >= 14 && spoilt >= 12, "{count} alerts, {spoilt} spoilt");
}

/// The commands that the head of the tests shows, as they stand there.
#[test]
fn the_tests_run_from_the_root_as_they_say() {
    let command = text(TESTS).lines().next().unwrap().trim_start_matches("# ").to_owned();
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("promtool"));
    let folder = temp_dir("promtool");
    for path in [RULES, TESTS] {
        let to = folder.path().join(path);
        fs::create_dir_all(to.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::copy(root().join(path), to).unwrap();
    }
    let last = words.next_back().unwrap();
    let file = folder.path().join(last);
    promtool_here().args(words).arg(file).run(SOON).ok();
}
