//! Run: an agent until a signal, with reloads on the way.
//!
//! In: the configuration file. Out: a running agent that the service manager hears of. SIGHUP and,
//! with `agent.reload = "auto"`, a changed file make it take over the file; what became of that is in
//! the log, in a metric, at `/reload` and, when it was refused, in `/readyz`. Promises: a file that
//! cannot be used changes nothing, and is told once.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use weir_models::kafka::Publisher;

use crate::config::file::{Watched, Written, keep_running, text};
use crate::config::{Config, Reload};
use crate::notify::Notifier;
use crate::pipeline::{self, Agent};
use crate::publish::{Direct, Transport};
use crate::status::{ReloadResult, describe_metrics};

/// Why a reload is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Signal,
    File,
}

/// Runs the agent that `file` describes, which was read as `written`; what publishes runs on `publishing`.
pub(crate) async fn run_until_signal(
    file: &str,
    written: Written,
    publishing: &Handle,
) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    // First: until then they end the process.
    let (mut terminate, mut interrupt, mut hangup) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
        listen(SignalKind::hangup())?,
    );
    let mut watched = Watched::new(file);
    let prometheus = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| format!("cannot record metrics: {error}"))?;
    describe_metrics();
    let config = &written.config;
    let transport = {
        let _there = publishing.enter();
        transport(config)?
    };
    let mut agent = pipeline::start(config.clone(), transport, publishing, Some(prometheus))
        .await
        .map_err(|error| error.to_string())?;
    agent.counters().configured();
    let manager = Notifier::from_environment();
    manager.ready();
    let mut file = File { name: file.into(), in_force: written, refused: None };
    file.keep();
    let asker = agent.asker();
    let mut watching = pin!(manager.watch(asker));
    loop {
        let looks_at_file = agent.config().agent.reload == Reload::Auto;
        let cause = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = agent.finished() => break,
            () = &mut watching => break,
            _ = hangup.recv() => Cause::Signal,
            () = watched.changed(), if looks_at_file => Cause::File,
        };
        tokio::select! {
            () = file.reload(cause, &mut agent, &manager) => {}
            // What is half done does not matter any more.
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut watching => break,
        }
    }
    manager.stopping();
    agent.stop().await;
    Ok(())
}

/// The configuration file of a running agent.
struct File {
    name: String,
    in_force: Written,
    /// What was refused the last time, and is not told again for nothing.
    refused: Option<String>,
}

impl File {
    /// Takes over what the file says now.
    async fn reload(&mut self, cause: Cause, agent: &mut Agent, manager: &Notifier) {
        let text = text(&self.name);
        if cause == Cause::File
            && let Ok(text) = &text
            && (*text == self.in_force.text || self.refused.as_ref() == Some(text))
        {
            return;
        }
        tracing::info!(file = self.name, ?cause, "taking over the configuration anew");
        manager.reloading();
        let done = match text {
            Ok(text) => self.take_over(text, agent).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => {
                let result = match done.is_empty() {
                    true => ReloadResult::Unchanged,
                    false => ReloadResult::Applied,
                };
                manager.tell("running");
                agent.counters().reloaded(result, done);
            }
            Err(error) => {
                tracing::error!(
                    file = self.name,
                    error,
                    "reload refused, nothing has changed and the configuration of before is in force"
                );
                manager.tell(&format!("reload refused: {error}"));
                agent.counters().reloaded(ReloadResult::Refused, error);
            }
        }
        manager.ready();
    }

    /// What has changed, a line each.
    async fn take_over(&mut self, text: String, agent: &mut Agent) -> Result<String, String> {
        self.refused = Some(text.clone());
        let new = Written::parse(&self.name, text)?;
        let told = agent.plan(&new.config).lines(&self.in_force, &new);
        let plan = agent.reload(new.config.clone()).await.map_err(|error| error.to_string())?;
        for line in &told {
            tracing::info!(file = self.name, "reload: {line}");
        }
        tracing::info!(file = self.name, sources = ?agent.addresses(), "reload done: {}", plan.summary());
        self.refused = None;
        self.in_force = new;
        self.keep();
        Ok(told.join("\n"))
    }

    /// Keeps a copy of what is in force.
    fn keep(&self) {
        let Written { config, text, .. } = &self.in_force;
        if let Err(error) = keep_running(&config.agent.data_dir, &self.name, text) {
            tracing::warn!(%error, "what is in force is not kept in `running.toml`: `weir-agent plan` will need `--against`");
        }
    }
}

fn transport(config: &Config) -> Result<Arc<dyn Transport>, String> {
    match config.kafka.publisher.unwrap_or_default() {
        Publisher::Direct => {
            let data_dir = Path::new(&config.agent.data_dir);
            let direct = Direct::new(&config.kafka, Some(data_dir));
            Ok(Arc::new(direct.map_err(|error| error.to_string())?))
        }
        Publisher::Librdkafka => librdkafka(config),
    }
}

#[cfg(feature = "rdkafka")]
fn librdkafka(config: &Config) -> Result<Arc<dyn Transport>, String> {
    let password = config.kafka_password()?;
    let settings = config.kafka.librdkafka_settings(password.as_ref());
    let transport = crate::publish::Librdkafka::new(settings).map_err(|error| error.to_string())?;
    Ok(Arc::new(transport))
}

#[cfg(not(feature = "rdkafka"))]
fn librdkafka(_: &Config) -> Result<Arc<dyn Transport>, String> {
    // The check of the configuration has refused it before.
    Err("this binary was built without librdkafka: build it with the feature `rdkafka`".into())
}
