//! Start: binds every socket, then runs every source.
//!
//! In: the configuration. Out: [`Running`], or the first [`StartError`], which says what to do; then
//! nothing runs. Promises: no source takes anything before all of them could be started.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_models::config::{Secret, SecretRef};

use super::config::{Config, Invalid};
use super::{Inputs, Source, SourceSettings, file, http, mqtt, relp, stdin, syslog, tls};

/// A source that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be meant.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A socket cannot be had.
    #[error("source `{name}` cannot listen on {address}: {advice}")]
    Listen {
        /// Name of the source.
        name: String,
        /// The address as configured.
        address: String,
        /// What to do.
        advice: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A secret cannot be had.
    #[error("`{key}` of source `{name}`: {reason}")]
    Secret {
        /// Name of the source.
        name: String,
        /// Key of the secret.
        key: &'static str,
        /// What is missing.
        reason: String,
    },
    /// Certificates cannot be had.
    #[error("`tls` of source `{name}`: {error}")]
    Tls {
        /// Name of the source.
        name: String,
        /// What is wrong with which file.
        error: tls::FileError,
    },
    /// What a source remembers cannot be kept.
    #[error("source `{name}` cannot use {}: {error}; give this user the right to write there, or set another data folder", path.display())]
    DataDir {
        /// Name of the source.
        name: String,
        /// File or folder.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

impl StartError {
    /// Fetches a secret of the source `name`.
    pub(super) fn secret(
        name: &str,
        key: &'static str,
        secret: &SecretRef,
    ) -> Result<Secret, Self> {
        let from_file = |path: &str| std::fs::read_to_string(path);
        let from_environment = |name: &str| std::env::var(name).ok();
        secret.resolve(from_file, from_environment).map_err(|reason| Self::Secret {
            name: name.into(),
            key,
            reason,
        })
    }
}

/// Sources at work.
#[derive(Debug)]
pub struct Running {
    addresses: BTreeMap<String, SocketAddr>,
    tasks: JoinSet<()>,
}

impl Running {
    /// The bound addresses, by name of the source: where port 0 was asked for, the port given.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Waits until every source has ended: after a stop, or when all inputs are finite.
    ///
    /// Sources that acknowledge wait a few seconds for the last of their inputs, so the pipeline has
    /// to go on until the channel is closed.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is ready to run.
struct Starting {
    settings: Vec<SourceSettings>,
    inputs: Inputs,
    stop: watch::Receiver<bool>,
    addresses: BTreeMap<String, SocketAddr>,
    tasks: Vec<Task>,
}

impl Starting {
    /// The source with the index of the next task.
    fn source(&self) -> Arc<Source> {
        let index = self.tasks.len();
        Arc::new(Source {
            name: self.settings[index].name.as_str().into(),
            index,
            format: self.settings[index].format,
        })
    }

    fn add(
        &mut self,
        address: Option<SocketAddr>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = self.settings[self.tasks.len()].name.clone();
        self.addresses.extend(address.map(|address| (name, address)));
        self.tasks.push(Box::pin(task));
    }
}

/// Starts every source of `config`. Positions and the like are kept in `data_dir`. Needs a tokio
/// runtime.
///
/// # Errors
/// When a socket, a secret or the data folder cannot be had; then nothing runs.
pub fn start(
    config: &Config,
    data_dir: &Path,
    inputs: Inputs,
    stop: watch::Receiver<bool>,
) -> Result<Running, StartError> {
    config.check()?;
    let mut starting = Starting {
        settings: config.settings(),
        inputs,
        stop,
        addresses: BTreeMap::new(),
        tasks: Vec::new(),
    };
    for config in &config.syslog {
        let bound = syslog::bind(config)?;
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        let address = bound.address();
        starting.add(address, syslog::run(config.clone(), bound, source, inputs, stop));
    }
    for config in &config.file {
        let files = file::open(config, data_dir)?;
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        starting.add(None, file::run(files, source, inputs, stop));
    }
    if config.stdin.is_some() {
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        starting.add(None, stdin::run(std::io::stdin(), source, inputs, stop));
    }
    for config in &config.http {
        let bound = http::bind(config)?;
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        let address = bound.address();
        starting.add(address, http::run(bound, source, inputs, stop));
    }
    for config in &config.mqtt {
        let client = mqtt::prepare(config, data_dir)?;
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        starting.add(None, mqtt::run(client, source, inputs, stop));
    }
    for config in &config.relp {
        let bound = relp::bind(config)?;
        let (source, inputs, stop) =
            (starting.source(), starting.inputs.clone(), starting.stop.clone());
        let address = bound.address();
        starting.add(address, relp::run(bound, source, inputs, stop));
    }
    let mut tasks = JoinSet::new();
    for task in starting.tasks {
        tasks.spawn(task);
    }
    Ok(Running { addresses: starting.addresses, tasks })
}

#[cfg(test)]
mod tests;
