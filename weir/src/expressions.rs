//! What Prometheus and Grafana ask for: each metric, label and job is one that there is.
//!
//! In: the alert rules, the dashboards, the jobs that Prometheus scrapes. Labels are those that the help
//! of a metric names in backquotes, see `models/src/metric.rs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::Value;
use weir_models::metric::{ALL, Metric};

const RULES: &str = include_str!("../../docs/prometheus/weir.rules.yml");
const SCRAPED: &str = include_str!("../../deploy/prometheus/prometheus.yml");
const BOARDS: [&str; 2] = [
    include_str!("../../deploy/grafana/dashboards/fleet.json"),
    include_str!("../../deploy/grafana/dashboards/sink.json"),
];

/// An expression, and the text that names its labels in `{{ }}`.
struct Asked {
    expression: String,
    text: String,
}

/// The words of an expression that begin like a metric of ours.
fn metrics(expression: &str) -> Vec<&'static Metric> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = expression.split(|c| !is_part(c)).filter(|word| word.starts_with("weir_"));
    let find = |word| {
        let found = ALL.iter().find(|metric| metric.name == word);
        found.unwrap_or_else(|| panic!("there is no metric `{word}`: {expression}"))
    };
    words.map(find).collect()
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|after| after.split(close).next()).collect()
}

/// The labels that an expression and its text name.
fn labels(asked: &Asked) -> Vec<String> {
    let mut found: Vec<String> = between(&asked.expression, "by (", ')')
        .iter()
        .flat_map(|list| list.split(','))
        .map(|label| label.trim().to_owned())
        .collect();
    for matchers in between(&asked.expression, "{", '}') {
        let names = matchers.split(',').filter_map(|one| one.split(['=', '!']).next());
        found.extend(names.map(str::to_owned));
    }
    for inner in between(&asked.text, "{{", '}') {
        let inner = inner.trim();
        // In rules: `$labels.NAME`, `$value | humanize`.
        match inner.strip_prefix("$labels.") {
            Some(label) => found.push(label.to_owned()),
            None if !inner.starts_with('$') => found.push(inner.to_owned()),
            None => {}
        }
    }
    found
}

/// Every metric and label is there, every bracket closed; gives back how many metrics were named.
fn check(asked: &Asked) -> usize {
    let Asked { expression, .. } = asked;
    let named = metrics(expression);
    for label in labels(asked) {
        // Prometheus gives each series these two.
        let known = ["instance", "job"].contains(&label.as_str())
            || named.iter().any(|metric| metric.help.contains(&format!("`{label}`")));
        assert!(known, "no metric has a label `{label}`: {expression}");
    }
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        let count = |bracket| expression.matches(bracket).count();
        assert_eq!(count(open), count(close), "{expression}");
    }
    for metric in named.iter().filter(|metric| metric.name.ends_with("_total")) {
        let counted = ["rate(", "increase("]
            .iter()
            .any(|f| expression.contains(&format!("{f}{}", metric.name)));
        assert!(counted, "a counter only ever rises: {expression}");
    }
    for job in between(expression, "job=\"", '"') {
        assert!(
            SCRAPED.contains(&format!("job_name: {job} "))
                || SCRAPED.contains(&format!("job_name: {job}\n")),
            "{job}"
        );
    }
    named.len()
}

#[test]
fn alert_rules_ask_for_what_there_is() {
    let mut named = 0;
    for rule in RULES.split("- alert: ").skip(1) {
        let (expression, text) = rule.split_once("expr:").unwrap().1.split_once('\n').unwrap();
        named += check(&Asked { expression: expression.trim().into(), text: text.into() });
    }
    assert!(named >= 12, "{named} metrics");
}

#[test]
fn dashboards_ask_for_what_there_is() {
    let mut shown = Vec::new();
    for board in BOARDS {
        let board: Value = serde_json::from_str(board).unwrap();
        let variable = board["templating"]["list"][1]["definition"].as_str().unwrap();
        assert!(
            between(variable, "job=\"", '"').iter().all(|job| SCRAPED.contains(job)),
            "{variable}"
        );
        let panels = board["panels"].as_array().unwrap();
        let mut taken = Vec::new();
        for panel in panels {
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            assert!(x + w <= 24, "{panel}");
            let is_free = |&(a, b, c, d): &(u64, u64, u64, u64)| {
                x >= a + c || a >= x + w || y >= b + d || b >= y + h
            };
            assert!(taken.iter().all(is_free), "{} lies on another one", panel["title"]);
            taken.push((x, y, w, h));
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{panel}");
            for target in targets {
                let expression = target["expr"].as_str().unwrap().to_owned();
                let text = target["legendFormat"].as_str().unwrap_or_default().to_owned();
                check(&Asked { expression: expression.clone(), text });
                shown.extend(metrics(&expression));
            }
        }
        assert!(panels.len() > 20, "{} panels", panels.len());
    }
    // What the documents say to watch.
    for prefix in
        ["weir_sink_", "weir_agent_lost", "weir_agent_spool_oldest", "weir_agent_unparsed"]
    {
        for metric in ALL.iter().filter(|metric| metric.name.starts_with(prefix)) {
            assert!(shown.contains(&metric), "{} is on no dashboard", metric.name);
        }
    }
}

#[test]
fn what_is_not_there_is_found() {
    let asked =
        |expression: &str, text: &str| Asked { expression: expression.into(), text: text.into() };
    let fails = |asked: Asked| std::panic::catch_unwind(|| check(&asked)).is_err();
    assert!(fails(asked("weir_agent_spool_olddest_seconds", "")));
    assert!(fails(asked("sum by (lanes) (weir_agent_spool_oldest_seconds)", "")));
    assert!(fails(asked("max(weir_agent_spool_oldest_seconds", "")));
    assert!(fails(asked("weir_agent_spool_oldest_seconds", "{{reason}}")));
    assert!(fails(asked("weir_agent_lost_events_total > 0", "")));
    assert!(fails(asked("up{job=\"weir\"}", "")));
    assert_eq!(
        check(&asked("max by (lane) (weir_agent_spool_oldest_seconds)", "{{instance}} {{lane}}")),
        1
    );
}
