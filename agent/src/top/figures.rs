//! Figures of two looks at the metrics.
//!
//! In: the text of `/metrics`, twice. Out: one JSON object: what is now, and what a second brought between the two. Pure. A
//! counter that has gone back (the agent was started anew) brought nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value, json};
use weir_models::metric::{self, Metric};

/// The columns of a source, and of a lane.
pub(super) const SOURCE_COLUMNS: [&str; 6] =
    ["events_per_s", "bytes_per_s", "unparsed_per_s", "refused", "dropped", "events"];
pub(super) const LANE_COLUMNS: [&str; 3] = ["waiting", "oldest_s", "bytes_per_s"];

/// The metrics at one time.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    /// By name and labels as they are written.
    values: BTreeMap<String, f64>,
    /// What keeps the agent from its job.
    problem: Option<String>,
}

impl Sample {
    /// The metrics in `text`.
    pub(super) fn new(at: Instant, text: &str, problem: Option<String>) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self { at, values: lines.filter_map(value).collect(), problem }
    }

    /// The sum of a metric (0 and not -0 where there is none) over all its labels that hold `label`, such as `source="net"`.
    fn sum(&self, metric: Metric, label: &str) -> f64 {
        let of = self.of(metric).filter(|(labels, _)| labels.contains(label));
        of.fold(0.0, |sum, (_, value)| sum + value)
    }

    /// Labels and values of a metric.
    fn of(&self, metric: Metric) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().filter_map(move |(name, value)| {
            let labels = name.strip_prefix(metric.name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// The values that a label of a metric has.
    fn names(&self, metric: Metric, label: &str) -> Vec<&str> {
        let begin = format!("{label}=\"");
        let mut names: Vec<&str> = self
            .of(metric)
            .filter_map(|(labels, _)| Some(labels.split_once(&begin)?.1.split_once('"')?.0))
            .collect();
        names.dedup();
        names
    }
}

/// What is to be shown.
pub(super) fn figures(before: &Sample, now: &Sample) -> Value {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let per_s = |metric: Metric, label: &str| {
        let brought = (now.sum(metric, label) - before.sum(metric, label)).max(0.0);
        if seconds > 0.0 { brought / seconds } else { 0.0 }
    };
    let sum = |metric: Metric| now.sum(metric, "");
    let source = |name: &str| {
        let label = format!("source=\"{name}\"");
        json!({
            "name": name,
            "events_per_s": per_s(metric::AGENT_RECEIVED, &label),
            "bytes_per_s": per_s(metric::AGENT_RECEIVED_BYTES, &label),
            "unparsed_per_s": per_s(metric::AGENT_UNPARSED, &label),
            "refused": now.sum(metric::AGENT_REFUSED, &label),
            "dropped": now.sum(metric::AGENT_DROPPED, &label),
            "events": now.sum(metric::AGENT_RECEIVED, &label),
        })
    };
    let lane = |name: &str| {
        let label = format!("lane=\"{name}\"");
        json!({
            "name": name,
            "waiting": now.sum(metric::AGENT_LANE_WAITING, &label),
            "oldest_s": now.sum(metric::AGENT_SPOOL_OLDEST, &label),
            "bytes_per_s": per_s(metric::AGENT_SPOOL_WRITTEN, &label),
        })
    };
    let kafka = |class: &str| {
        let label = format!("class=\"{class}\"");
        (class.to_owned(), json!(now.sum(metric::AGENT_KAFKA_ERRORS, &label)))
    };
    let fired = now.sum(metric::AGENT_ALERTS, "firing");
    let sources = now.names(metric::AGENT_RECEIVED, "source").into_iter().map(source);
    let lanes = now.names(metric::AGENT_SPOOL_OLDEST, "lane").into_iter().map(lane);
    let errors = now.names(metric::AGENT_KAFKA_ERRORS, "class").into_iter().map(kafka);
    json!({
        "problem": now.problem,
        "cpu_percent": 100.0 * per_s(metric::AGENT_CPU, ""),
        "memory_bytes": sum(metric::AGENT_RESIDENT),
        "memory_budget_bytes": sum(metric::AGENT_MEMORY_BUDGET),
        "spool_bytes": sum(metric::AGENT_SPOOL_BYTES),
        "spool_max_bytes": sum(metric::AGENT_SPOOL_MAX),
        "waiting": sum(metric::AGENT_SPOOL_WAITING),
        "taken_per_s": per_s(metric::AGENT_RECEIVED, ""),
        "filtered_per_s": per_s(metric::AGENT_FILTERED, ""),
        "spooled_per_s": per_s(metric::AGENT_SPOOLED, ""),
        "published_per_s": per_s(metric::AGENT_PUBLISHED, ""),
        "lost": sum(metric::AGENT_LOST),
        "dead_letters": sum(metric::AGENT_DEAD_LETTERS),
        "alerts_fired": fired,
        "alerts_open": (fired - now.sum(metric::AGENT_ALERTS, "resolved")).max(0.0),
        "kafka_errors": errors.collect::<Map<String, Value>>(),
        "sources": sources.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
    })
}
