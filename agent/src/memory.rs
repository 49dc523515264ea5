//! Memory: what each part of the agent may hold, in one budget, and what the process holds.
//!
//! In: the configuration. Out: a figure for each part ([`parts`]), made of the bounds that the parts keep
//! to and of what one thing takes; whether they fit into `limits.memory_bytes`; and the memory and processor time that
//! the system counts for the process. The figures hold where all bounds are reached by things of the
//! usual size, which stands beside each; bodies, queues and what is pending are bounded in bytes.

use serde::Deserialize;
use weir_models::metric;

use crate::config::Config;
use crate::source::listen::Listen;
use crate::source::{OneSource, QUEUED_BYTES_MAX};
use crate::tap;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The program itself with its threads, the runtime and the connection to Kafka: an idle agent.
const PROGRAM_BYTES: u64 = 10 * MIB;
/// Of a connection, with a read of some hundred lines in it; beside it, of its TLS.
const CONNECTION_BYTES: u64 = 16 * KIB;
const TLS_BYTES: u64 = 24 * KIB;
/// Of a flush: the records, the batches made of them, the write.
const FLUSH_COPIES: u64 = 3;
/// Of the four lanes: idle builders.
const BUILDERS_BYTES: u64 = 2 * MIB;
/// Groups on their way to Kafka, some 200 KiB each, and the requests made of them.
const SENDING_BYTES: u64 = 4 * MIB;
/// The table's pages and an answer of the topic; and of a device, with six entries of metadata.
const TABLE_BYTES: u64 = 2 * MIB;
pub(crate) const DEVICE_BYTES: u64 = 640;
/// Of a series: its detectors, its name, the place in the map.
pub(crate) const SERIES_BYTES: u64 = 1_792;
/// Of a rule that every series has: what it remembers, its alert, its name; and of the place for rules.
const RULE_BYTES: u64 = 288;
const RULES_BYTES: u64 = 224;
/// Of a series that a central model is for: its last readings and those for a model that is tried, its name.
pub(crate) const SEAT_BYTES: u64 = 4_736;
/// Of a device that one may be for; a device has two series at least.
pub(crate) const GROUP_SEAT_BYTES: u64 = 1_024;
/// Of a template: its text and counters, once for all hosts and, for a host that knows a tenth of
/// them, once more.
const TEMPLATE_BYTES: u64 = 512;
const HOST_TEMPLATE_BYTES: u64 = 56;
/// Of a host, beside its templates: the hours of the week.
const HOST_BYTES: u64 = 640;

/// The table `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Memory that the agent may take, in bytes. A configuration whose parts add up to more is
    /// refused, and the log tells when the process takes more. Default: what the parts add up to.
    pub memory_bytes: Option<u64>,
}

/// A part and what it may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its name in metrics.
    pub name: &'static str,
    /// Bytes at most.
    pub bytes: u64,
}

/// What each part may hold.
#[must_use]
pub fn parts(config: &Config) -> [Part; 10] {
    let (mut queues, mut connections, mut bodies) = (0, 0, 0);
    let guests =
        |max: usize, tls: bool| max as u64 * (CONNECTION_BYTES + if tls { TLS_BYTES } else { 0 });
    for source in config.source.all() {
        queues += QUEUED_BYTES_MAX as u64;
        match source {
            OneSource::Syslog(syslog)
                if matches!(syslog.listen, Listen::Tcp(_) | Listen::Tls(_)) =>
            {
                connections += guests(syslog.connections_max, syslog.tls.is_some());
            }
            OneSource::Relp(relp) => {
                connections += guests(relp.connections_max, relp.tls.is_some())
            }
            OneSource::Http(http) => {
                // Lines and JSON have a queue each.
                queues += QUEUED_BYTES_MAX as u64;
                connections += guests(http.connections_max, http.tls.is_some());
                bodies += 4 * http.body_bytes_max as u64;
            }
            OneSource::Mqtt(mqtt) => bodies += u64::from(mqtt.packet_bytes_max),
            _ => {}
        }
    }
    let score = &config.score;
    let of_all = score.rules.iter().filter(|rule| rule.device == "*" && rule.metric == "*").count();
    let rules = if of_all > 0 { RULES_BYTES + of_all as u64 * RULE_BYTES } else { 0 };
    let each = if score.readings { SERIES_BYTES + rules } else { 0 };
    let series = score.series_max.get() as u64 * each;
    let templates = score.log.templates as u64;
    let hosts = crate::score::HOSTS_MAX.get() as u64;
    let logs = templates * (TEMPLATE_BYTES + hosts * HOST_TEMPLATE_BYTES / 10) + hosts * HOST_BYTES;
    let pending = config.spool.flush_bytes() * FLUSH_COPIES + BUILDERS_BYTES;
    let metadata = config.metadata.memory_entries.get() as u64 * DEVICE_BYTES + TABLE_BYTES;
    // What was opened takes about the bytes that it came in, and so does what is read meanwhile.
    let series_max = score.series_max.get() as u64;
    let seats = series_max * SEAT_BYTES + (series_max / 2).max(1) * GROUP_SEAT_BYTES;
    let models = 3 * u64::from(config.models.bytes_max) + seats;
    let part = |name, bytes| Part { name, bytes };
    [
        part("program", PROGRAM_BYTES),
        part("connections", connections),
        part("bodies", bodies),
        part("queues", queues),
        part("metadata", metadata),
        part("series", series),
        part("logs", if score.logs { logs } else { 0 }),
        part("models", if config.models.keys.is_empty() { 0 } else { models }),
        part("spool", pending + SENDING_BYTES),
        part("taps", if config.status.tap { tap::HELD_BYTES_MAX } else { 0 }),
    ]
}

/// The memory that the agent may take, in bytes: what is configured, or what its parts add up to.
#[must_use]
pub fn budget_bytes(config: &Config) -> u64 {
    let sum = || parts(config).iter().map(|part| part.bytes).sum();
    config.limits.memory_bytes.unwrap_or_else(sum)
}

/// Whether the parts fit into what is configured.
///
/// # Errors
/// Names what the parts may hold, the largest first.
pub fn check(config: &Config) -> Result<(), String> {
    let mut parts = parts(config);
    let sum: u64 = parts.iter().map(|part| part.bytes).sum();
    match config.limits.memory_bytes {
        Some(memory_bytes) if sum > memory_bytes => {
            parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
            let of = |part: &Part| format!("{} {}", part.name, part.bytes);
            let largest = parts[..4].iter().map(of).collect::<Vec<_>>().join(", ");
            Err(format!(
                "`limits.memory_bytes` is {memory_bytes}, and the parts may take {sum}: {largest}, and others"
            ))
        }
        _ => Ok(()),
    }
}

/// Shows the plan in the metrics.
pub(crate) fn show_plan(config: &Config) {
    metrics::gauge!(metric::AGENT_MEMORY_BUDGET.name).set(budget_bytes(config) as f64);
    metrics::gauge!(metric::AGENT_SPOOL_MAX.name).set(config.spool.max_bytes as f64);
    for part in parts(config) {
        metrics::gauge!(metric::AGENT_MEMORY_MAX.name, "part" => part.name).set(part.bytes as f64);
    }
}

/// Memory that the process takes now, in bytes; none where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    // Not `statm`, which counts in pages, and pages differ.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let (_, rest) = status.split_once("VmRSS:")?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// Processor time that the process has taken so far, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        agent = { site = "a" }
        kafka = { brokers = ["k:9092"] }
        source.syslog = [{ listen = "udp://127.0.0.1:0" }]
    "#;

    fn config(more: &str) -> Config {
        Config::parse("agent.toml", &format!("{LEAST}{more}")).unwrap()
    }

    fn part(config: &Config, name: &str) -> u64 {
        parts(config).iter().find(|part| part.name == name).unwrap().bytes
    }

    #[test]
    fn each_part_follows_the_bounds_it_keeps_to() {
        #[track_caller]
        fn check(more: &str, name: &str, expected: u64) {
            assert_eq!(part(&config(more), name), expected, "{more}");
        }
        check("", "connections", 0);
        check("", "queues", 512 * KIB);
        check("", "spool", 9 * MIB);
        check("", "taps", MIB);
        check("[status]\ntap = false", "taps", 0);
        check("[score]\nseries_max = 10", "series", 17_920);
        let rule = |what: &str| {
            format!(
                "[score]\nseries_max = 10\n[[score.rules]]\n{what}rule = {{ kind = \"counter\", name = \"c\" }}"
            )
        };
        check(&rule(""), "series", 23_040);
        check(&rule("metric = \"*_total\"\n"), "series", 17_920);
        check("[score]\nreadings = false\nlogs = false", "series", 0);
        check("[score]\nreadings = false\nlogs = false", "logs", 0);
        let mut pinned = config("[models]\nbytes_max = 1000\n[score]\nseries_max = 10");
        assert_eq!(part(&pinned, "models"), 0);
        pinned.models.keys = vec![crate::central::scene::signing(1).public()];
        // Each device has two metrics at least.
        assert_eq!(part(&pinned, "models"), 3_000 + 10 * 4_736 + 5 * 1_024);
        check("[metadata]\nmemory_entries = 1000", "metadata", 640_000 + 2 * MIB);
        check("[[source.http]]\nlisten = \"127.0.0.1:0\"\nbody_bytes_max = 1000", "bodies", 4_000);
        check("[[source.http]]\nlisten = \"127.0.0.1:0\"", "queues", 1_536 * KIB);
        check(
            "[[source.relp]]\nlisten = \"tcp://127.0.0.1:0\"\nconnections_max = 10",
            "connections",
            160 * KIB,
        );
    }

    #[test]
    fn what_cannot_fit_is_refused_and_named() {
        let usual = config("");
        assert_eq!(budget_bytes(&usual), parts(&usual).iter().map(|part| part.bytes).sum::<u64>());
        assert!(budget_bytes(&usual) < 44 * MIB, "{}", budget_bytes(&usual));
        let fits = config("[limits]\nmemory_bytes = 46137344");
        assert_eq!(budget_bytes(&fits), 44 * MIB);
        let refused = Config::parse(
            "agent.toml",
            &format!("{LEAST}[limits]\nmemory_bytes = 46137344\n[score]\nseries_max = 20000"),
        );
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("series 35840000"), "{error}");
        assert!(error.contains("memory_bytes"), "{error}");
    }

    #[test]
    fn the_system_tells_what_this_process_takes() {
        assert!(resident_bytes().unwrap() > MIB);
    }
}
