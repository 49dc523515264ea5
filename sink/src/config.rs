//! The sink's configuration: one TOML file, one struct.
//!
//! In: the text of the file. Out: [`Config`], checked, or the first error with file, line, key and
//! what to do. What may be left out has a default that suits a first installation.

use std::time::Duration;

use serde::Deserialize;
use weir_models::config::{ConfigError, Secret, SecretRef, parse};
use weir_models::kafka::{KafkaConfig, SaslMechanism};
use weir_models::topic::TopicNames;

use crate::access::{self, TokenConfig};
use crate::archive::ArchiveConfig;
use crate::consume::kafka::FIXED;
use crate::consume::topics::NewTopics;
use crate::decode::dedupe::Bounds;
use crate::hooks::config::HooksConfig;
use crate::pipeline::Settings;
use crate::silence::SilenceConfig;
use crate::store::StoreConfig;
use crate::train::ModelsConfig;

/// Fewest days that rows stay: one that they are written, one that they are sealed, one to spare.
const HOT_DAYS_MIN: u32 = 3;
/// Room within the ten seconds that service managers commonly allow.
const STOP_WITHIN: Duration = Duration::from_secs(7);
const DAY_MS: i64 = 86_400_000;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// How records are taken from Kafka.
    #[serde(default)]
    pub consume: ConsumeConfig,
    /// How `migrate` makes topics that are missing.
    #[serde(default)]
    pub topics: TopicsConfig,
    /// Where the time series go.
    pub store: StoreConfig,
    /// Where the raw data goes.
    pub archive: ArchiveConfig,
    /// Queries, web page, metrics and health.
    #[serde(default)]
    pub http: HttpConfig,
    /// Whose models are taken.
    #[serde(default)]
    pub models: ModelsConfig,
    /// Who is told of alerts.
    #[serde(default)]
    pub hooks: HooksConfig,
    /// When an agent counts as silent.
    #[serde(default)]
    pub silence: SilenceConfig,
}

/// How records are taken from Kafka, `[consume]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumeConfig {
    /// Consumer group; all instances of one sink have the same.
    pub group: String,
    /// Records taken at a time; so many make a write to the store due.
    pub batch_records: usize,
    /// Milliseconds for which records are gathered before a write to the store.
    pub gather_ms: u64,
    /// Bytes of records that are gathered at most while a write to the store runs: a backlog is written in
    /// batches of this size, and the larger they are the less work is a row. What it takes in memory is
    /// two to four times this.
    pub gather_bytes: usize,
    /// Days after which a stream of which nothing came any more is forgotten. What an agent sends
    /// again later than that is archived twice.
    pub dedupe_days: u16,
}

impl Default for ConsumeConfig {
    fn default() -> Self {
        Self {
            group: "weir.sink".into(),
            batch_records: 5_000,
            gather_ms: 200,
            gather_bytes: 8 << 20,
            dedupe_days: 90,
        }
    }
}

/// How `migrate` makes topics that are missing, `[topics]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Partitions of a topic; so many instances of the sink can share the work.
    pub partitions: u16,
    /// Copies of each partition; default: what the brokers are configured for.
    pub replication: Option<u16>,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { partitions: 12, replication: None }
    }
}

/// Queries, web page, metrics and health, `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address to listen on.
    pub listen: String,
    /// Where a bearer token is that may do everything. Without it and `tokens` anybody who reaches the
    /// address may read and write.
    pub token: Option<SecretRef>,
    /// Tokens with a role, known by their hashes.
    pub tokens: Vec<TokenConfig>,
    /// Whether reading needs no token.
    pub open_reads: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8480".into(), token: None, tokens: Vec::new(), open_reads: false }
    }
}

impl Config {
    /// Reads and checks `text`, which came from `file`.
    ///
    /// # Errors
    /// Names file, line, key and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = parse(file, text)?;
        config.check(file)?;
        Ok(config)
    }

    fn check(&self, file: &str) -> Result<(), ConfigError> {
        let whole = |message: &str, hint: &str| Err(ConfigError::whole(file, message, hint));
        if self.kafka.brokers.is_empty() {
            return whole("`kafka.brokers` is empty", "name at least one `HOST:PORT`");
        }
        if self.kafka.publisher.is_some() {
            return whole("`kafka.publisher` is set, which only the agent has", "remove it");
        }
        if self.kafka.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::OauthBearer)
        {
            return whole(
                "`kafka.sasl.mechanism` is `OAUTHBEARER`, which only the agent has",
                "take SCRAM-SHA-512 or a client certificate, or leave `kafka.sasl` out and let librdkafka fetch tokens: `sasl.mechanism`, `sasl.oauthbearer.*` in `[kafka.librdkafka]`",
            );
        }
        let fixed = FIXED.map(|(key, _)| key);
        let mut own = fixed.into_iter().chain(["group.id"]);
        if let Some(key) = own.find(|key| self.kafka.librdkafka.contains_key(*key)) {
            return whole(
                &format!("`kafka.librdkafka` sets `{key}`, on which exactly once rests"),
                "leave it out; the group is `consume.group`",
            );
        }
        if self.store.cassandra.is_some() == self.store.sqlite.is_some() {
            return whole(
                "there has to be one store",
                "give either `[store.cassandra]` with `contact_points` or `[store.sqlite]` with `path`",
            );
        }
        if let Some(hot_days) = self.store.cassandra.as_ref().map(|cassandra| cassandra.hot_days)
            && (1..HOT_DAYS_MIN).contains(&hot_days)
        {
            return whole(
                &format!(
                    "`store.cassandra.hot_days` is {hot_days}: rows would leave before they are sealed"
                ),
                "take 3 or more, or 0 to keep them",
            );
        }
        if let Err((message, hint)) = self.archive.check().and_then(|()| self.hooks.check()) {
            return whole(&message, hint);
        }
        if let Err((message, hint)) = access::check(&self.http.tokens) {
            return whole(&message, hint);
        }
        for (key, least, value) in [
            ("consume.batch_records", 1, self.consume.batch_records as u64),
            ("consume.gather_bytes", 64 << 10, self.consume.gather_bytes as u64),
            ("consume.dedupe_days", 1, u64::from(self.consume.dedupe_days)),
            ("topics.partitions", 1, u64::from(self.topics.partitions)),
            ("archive.close_after_s", 1, self.archive.close_after_s),
            ("archive.close_rows", 1, self.archive.close_rows),
            ("archive.close_bytes", 1, self.archive.close_bytes as u64),
            ("store.seal.adopt_after_s", 1, self.store.seal.adopt_after_s),
            ("archive.memory_bytes", 8 << 20, self.archive.memory_bytes as u64),
        ] {
            if value < least {
                let message = format!("`{key}` is {value}, the least is {least}");
                return whole(&message, "leave it out for the default");
            }
        }
        Ok(())
    }

    /// What of it the pipeline needs.
    #[must_use]
    pub fn pipeline(&self) -> Settings {
        Settings {
            topics: self.topic_names(),
            batch_records: self.consume.batch_records,
            gather: Duration::from_millis(self.consume.gather_ms),
            gather_bytes: self.consume.gather_bytes,
            close: self.archive.close_at(),
            archive_memory_bytes: self.archive.memory_bytes,
            dedupe: Bounds {
                keep_ms: i64::from(self.consume.dedupe_days) * DAY_MS,
                ..Bounds::default()
            },
            stop_within: STOP_WITHIN,
        }
    }

    /// The names of the topics.
    #[must_use]
    pub fn topic_names(&self) -> TopicNames {
        TopicNames::new(&self.kafka.topic_prefix)
    }

    /// How missing topics are made; -1 leaves it to the brokers.
    #[must_use]
    pub fn new_topics(&self) -> NewTopics {
        NewTopics {
            partitions: i32::from(self.topics.partitions),
            replication: self.topics.replication.map_or(-1, i32::from),
        }
    }
}

/// Fetches a secret from its file or environment variable.
///
/// # Errors
/// Says which file or variable is missing.
pub fn fetch(secret: Option<&SecretRef>) -> Result<Option<Secret>, String> {
    let resolve = |secret: &SecretRef| {
        secret.resolve(|file| std::fs::read_to_string(file), |name| std::env::var(name).ok())
    };
    secret.map(resolve).transpose()
}

#[cfg(test)]
mod tests;
