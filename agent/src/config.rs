//! The agent's configuration: one TOML file, one struct.
//!
//! In: the text of the file. Out: [`Config`], checked, or the first error with file, line, key and
//! what to do. Each stage defines its own table; here they are put together.

pub(crate) mod file;

use serde::Deserialize;
use weir_models::config::{ConfigError, Secret, parse};
use weir_models::kafka::{KafkaConfig, Publisher};
use weir_models::limit::NAME_BYTES_MAX;

use crate::central::ModelsConfig;
use crate::enrich::MetadataConfig;
use crate::filter::Rule;
use crate::memory::{self, LimitsConfig};
use crate::score::ScoreConfig;
use crate::source;
use crate::spool::SpoolConfig;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this agent is.
    pub agent: AgentConfig,
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// What it listens to.
    #[serde(default)]
    pub source: source::Config,
    /// What is known of devices.
    #[serde(default)]
    pub metadata: MetadataConfig,
    /// Rules that drop, sample or lower, in their order.
    #[serde(default)]
    pub filter: Vec<Rule>,
    /// Anomaly scores.
    #[serde(default)]
    pub score: ScoreConfig,
    /// Central models.
    #[serde(default)]
    pub models: ModelsConfig,
    /// The queue on disk.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// Metrics and health.
    #[serde(default)]
    pub status: StatusConfig,
    /// What all of it may take.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// Who this agent is, `[agent]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Name of the agent, unique in the fleet; default: the host name.
    #[serde(default)]
    pub id: Option<String>,
    /// Site of the devices that name none.
    pub site: String,
    /// Folder for the spool and the caches.
    #[serde(default = "default_data_dir")]
    pub data_dir: String,
    /// Seconds between heartbeats.
    #[serde(default = "default_heartbeat_s")]
    pub heartbeat_s: u64,
    /// Partitions of a topic to reckon with before Kafka was ever reached.
    #[serde(default = "default_partitions")]
    pub partitions_assumed: u32,
    /// Longest time after the start, in seconds, that events which were stamped before the clock was set
    /// wait in the spool to be corrected. After that they go to Kafka as they are.
    #[serde(default = "default_clock_wait_s")]
    pub clock_wait_s: u64,
    /// When a changed configuration is taken over: `auto`, a few seconds after the file has changed or on
    /// SIGHUP, or `signal`, on SIGHUP only.
    #[serde(default)]
    pub reload: Reload,
}

/// When a changed configuration is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// When the file has changed, and on SIGHUP.
    #[default]
    Auto,
    /// On SIGHUP only.
    Signal,
}

/// Metrics and health, `[status]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Address of `/metrics`, `/healthz` and `/readyz`; empty turns them off.
    pub listen: String,
    /// Whether `weir-agent tap` may look at events as they pass, by the socket `tap.sock` in the data folder.
    pub tap: bool,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9598".into(), tap: true }
    }
}

fn default_data_dir() -> String {
    "/var/lib/weir-agent".into()
}

fn default_heartbeat_s() -> u64 {
    30
}

fn default_clock_wait_s() -> u64 {
    60
}

fn default_partitions() -> u32 {
    6
}

impl Config {
    /// Reads and checks `text`, which came from `file`.
    ///
    /// # Errors
    /// Names file, line, key and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = parse(file, text)?;
        if config.agent.id.is_none() {
            config.agent.id = Some(host_name());
        }
        config.source.set_names();
        config.kafka.publisher.get_or_insert_default();
        config.check(file)?;
        Ok(config)
    }

    /// What only the sum of the keys shows.
    ///
    /// # Errors
    /// Names the key and what to do.
    pub fn check(&self, file: &str) -> Result<(), ConfigError> {
        let whole = |message: String, hint: &str| Err(ConfigError::whole(file, message, hint));
        for (key, name) in [("agent.site", &self.agent.site), ("agent.id", &self.id().to_owned())] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('/') {
                return whole(
                    format!("`{key}` is `{name}`"),
                    "a name has 1 to 256 bytes and no `/`, which separates the parts of a key",
                );
            }
        }
        if self.kafka.brokers.is_empty() {
            return whole("`kafka.brokers` is empty".into(), "name at least one `HOST:PORT`");
        }
        if let Err((message, hint)) = self.check_publisher() {
            return whole(message, hint);
        }
        if let Err(invalid) = self.source.check() {
            return whole(invalid.message, &invalid.hint);
        }
        if let Err(message) = self.spool.check() {
            return whole(message, "leave the key out for the default");
        }
        if let Err(message) = self.score.check() {
            return whole(message, "see docs/agent.md, `[[score.rules]]`");
        }
        for rule in &self.filter {
            if let Err(message) = rule.check() {
                return whole(message, "see docs/agent.md, `[[filter]]`");
            }
        }
        if let Err(message) = memory::check(self) {
            return whole(
                message,
                "raise it, or lower what these hang on: see docs/agent.md, Memory",
            );
        }
        if self.agent.heartbeat_s == 0 || self.agent.partitions_assumed == 0 {
            return whole(
                "`agent.heartbeat_s` and `agent.partitions_assumed` must be at least 1".into(),
                "leave them out for the defaults",
            );
        }
        Ok(())
    }

    /// What can be said of the publisher without looking at files: these may not be there yet.
    fn check_publisher(&self) -> Result<(), (String, &'static str)> {
        let librdkafka = self.kafka.librdkafka.keys().next();
        match (self.kafka.publisher.unwrap_or_default(), librdkafka) {
            (Publisher::Direct, Some(key)) => Err((
                format!(
                    "`kafka.librdkafka` sets `{key}`, which the direct publisher does not know"
                ),
                "remove it, or set `kafka.publisher = \"librdkafka\"`",
            )),
            (Publisher::Librdkafka, _) if cfg!(not(feature = "rdkafka")) => Err((
                "`kafka.publisher` is `librdkafka`, which this binary was built without".into(),
                "remove it, or build with `cargo build --features rdkafka`",
            )),
            _ => Ok(()),
        }
    }

    /// Name of the agent.
    #[must_use]
    pub fn id(&self) -> &str {
        self.agent.id.as_deref().unwrap_or_default()
    }

    /// The password for Kafka, when one is configured.
    ///
    /// # Errors
    /// When its file or variable is missing.
    pub fn kafka_password(&self) -> Result<Option<Secret>, String> {
        let resolve = |sasl: &weir_models::kafka::SaslConfig| {
            sasl.secret()
                .resolve(|file| std::fs::read_to_string(file), |name| std::env::var(name).ok())
        };
        self.kafka.sasl.as_ref().map(resolve).transpose()
    }
}

pub use file::Written;

/// The kernel's host name; `/` in it, which no host name has, would break keys.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().replace('/', "-")
}

#[cfg(test)]
mod tests;
