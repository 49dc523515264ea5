//! `weir up`: a small site with real sources, without Kafka and Cassandra.
//!
//! In: one TOML file. Out: agent and sink on the embedded broker and store until SIGTERM or SIGINT.
//! All data lies in one folder and is there again after a restart, a kill or a power cut.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use weir_agent::config::{AgentConfig, Config as AgentFile, Reload, StatusConfig};
use weir_agent::enrich::MetadataConfig;
use weir_agent::filter::Rule;
use weir_agent::score::ScoreConfig;
use weir_agent::source;
use weir_agent::spool::SpoolConfig;
use weir_models::config::{ConfigError, Secret, SecretRef, parse};
use weir_models::kafka::KafkaConfig;
use weir_models::topic::{DEFAULT_PREFIX, TopicNames};
use weir_sink::access::{self, Access, TokenConfig};
use weir_sink::status::Status;
use weir_sink::store::StoreConfig;
use weir_sink::store::config::SqliteConfig;

use crate::site::{self, Settled};

/// The file of `weir up`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The site itself.
    pub site: SiteConfig,
    /// What it listens to, as in `agent.toml`.
    #[serde(default)]
    pub source: source::Config,
    /// What is known of devices, as in `agent.toml`.
    #[serde(default)]
    pub metadata: MetadataConfig,
    /// Rules that drop, sample or lower, as in `agent.toml`.
    #[serde(default)]
    pub filter: Vec<Rule>,
    /// Anomaly scores, as in `agent.toml`.
    #[serde(default)]
    pub score: ScoreConfig,
    /// The queue on disk, as in `agent.toml`.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// API and page.
    #[serde(default)]
    pub http: HttpConfig,
}

/// The site itself, `[site]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Name of the site.
    pub name: String,
    /// Folder for all data.
    pub data_dir: PathBuf,
    /// Age at which an archive object is closed, in seconds. The raw data of so long is in the
    /// embedded broker only.
    #[serde(default = "default_close_after_s")]
    pub archive_close_after_s: u64,
}

/// API and page, `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address of API, page and health.
    pub listen: String,
    /// Bearer token that may do everything, asked for when it is set.
    pub token: Option<SecretRef>,
    /// Tokens with a role, as in `sink.toml`.
    pub tokens: Vec<TokenConfig>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".into(), token: None, tokens: Vec::new() }
    }
}

fn default_close_after_s() -> u64 {
    60
}

impl Config {
    /// Reads and checks `text`, which came from `file`.
    ///
    /// # Errors
    /// Names file, line, key and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = parse(file, text)?;
        if config.site.archive_close_after_s == 0 {
            let message = "`site.archive_close_after_s` is 0";
            return Err(ConfigError::whole(file, message, "set at least 1"));
        }
        if let Err((message, hint)) = access::check(&config.http.tokens) {
            return Err(ConfigError::whole(file, message, hint));
        }
        config.agent().check(file)?;
        Ok(config)
    }

    /// The agent's part.
    fn agent(&self) -> AgentFile {
        AgentFile {
            agent: AgentConfig {
                id: Some(self.site.name.clone()),
                site: self.site.name.clone(),
                data_dir: self.site.data_dir.join("agent").display().to_string(),
                heartbeat_s: 30,
                partitions_assumed: 1,
                clock_wait_s: 60,
                reload: Reload::Signal,
            },
            // Never connected to: the transport is the embedded broker.
            kafka: KafkaConfig::plain("embedded", DEFAULT_PREFIX),
            source: self.source.clone(),
            metadata: self.metadata.clone(),
            filter: self.filter.clone(),
            score: self.score.clone(),
            spool: self.spool.clone(),
            status: StatusConfig { listen: String::new(), tap: true },
            models: Default::default(),
            limits: Default::default(),
        }
    }

    fn token(&self) -> anyhow::Result<Option<Secret>> {
        let resolve = |secret: &SecretRef| {
            secret.resolve(|file| std::fs::read_to_string(file), |name| std::env::var(name).ok())
        };
        let token =
            self.http.token.as_ref().map(resolve).transpose().map_err(anyhow::Error::msg)?;
        let is_empty = token.as_ref().is_some_and(|token| token.expose().is_empty());
        anyhow::ensure!(!is_empty, "http.token: the secret is empty: write the token there");
        Ok(token)
    }
}

/// Runs the site until a signal.
///
/// # Errors
/// What could not be started, or why the sink could not go on.
pub async fn run(config: Config) -> anyhow::Result<()> {
    // First: until then they end the process, and the page is there before all is up.
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let dir = &config.site.data_dir;
    let names = TopicNames::default();
    let line = site::embedded(dir, &names)?;
    let settled = Settled {
        agent: config.agent(),
        store: StoreConfig {
            sqlite: Some(SqliteConfig { path: dir.join("store.sqlite") }),
            ..StoreConfig::default()
        },
        archive: dir.join("archive"),
        close_after: Duration::from_secs(config.site.archive_close_after_s),
        listen: config.http.listen.clone(),
        access: Access::new(config.token()?.as_ref(), &config.http.tokens, false),
    };
    let mut site = site::start(settled, line, Status::new()).await?;
    tracing::info!(page = %format!("http://{}/", site.sink.address()), "site is up");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = site.sink.ended() => {
            ended?;
            anyhow::bail!("the sink has ended by itself; the log says why");
        }
    }
    site.stop().await
}
