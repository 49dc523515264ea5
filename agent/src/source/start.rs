//! Start: binds every socket, then runs every source.
//!
//! In: the configuration. Out: [`Running`], or the first [`StartError`], which says what to do; then
//! nothing runs. Promises: no source takes anything before all of them could be started. Each can be
//! stopped alone; `switch` does that while the others go on.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use weir_models::config::{Secret, SecretRef};

use super::config::{Config, Invalid};
use super::sockets::{Kept, Sockets};
use super::{Inputs, OneSource, Source, file, http, mqtt, relp, stdin, syslog, tls};

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
    /// Whether somebody else has the address.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }

    /// Fetches a secret of the source `name`.
    pub(super) fn secret(
        name: &str,
        key: &'static str,
        secret: &SecretRef,
    ) -> Result<Secret, Self> {
        resolve(secret).map_err(|reason| Self::Secret { name: name.into(), key, reason })
    }
}

fn resolve(secret: &SecretRef) -> Result<Secret, String> {
    let from_file = |path: &str| std::fs::read_to_string(path);
    let from_environment = |name: &str| std::env::var(name).ok();
    secret.resolve(from_file, from_environment)
}

/// The secrets of a source as they are now; none when one of them cannot be had.
fn secrets_of(config: &OneSource) -> Option<Vec<Secret>> {
    config.secrets().into_iter().map(|secret| resolve(secret).ok()).collect()
}

/// What a source does until its end.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Run = Box<dyn FnOnce(Arc<Source>, Inputs, watch::Receiver<bool>) -> Task + Send>;

/// A source that has all it needs and does not run yet.
pub(crate) struct Ready {
    pub(super) config: OneSource,
    secrets: Option<Vec<Secret>>,
    address: Option<SocketAddr>,
    sockets: Option<Sockets>,
    run: Run,
}

impl Ready {
    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.config.name()
    }

    /// Its sockets, for another one that is to take its place.
    pub(super) fn keep<'a>(&'a self, name: &'a str, kept: &mut Kept<'a>) {
        if let (Some(place), Some(sockets)) = (self.config.place(), &self.sockets) {
            kept.add(name, place, sockets);
        }
    }
}

/// Gets what the source `config` needs: sockets, of which it takes over those that are `kept`,
/// secrets, certificates, a place to remember positions. Needs a tokio runtime.
///
/// # Errors
/// When something of that cannot be had.
pub(crate) fn open(
    config: OneSource,
    data_dir: &Path,
    kept: &Kept<'_>,
) -> Result<Ready, StartError> {
    // Before the source reads them: should they change in between, it starts anew once too often.
    let secrets = secrets_of(&config);
    let (address, sockets, run): (_, _, Run) = match config.clone() {
        OneSource::Syslog(own) => {
            let bound = syslog::bind(&own, kept)?;
            let run = |bound| -> Run {
                Box::new(|source, inputs, stop| {
                    Box::pin(syslog::run(own, bound, source, inputs, stop))
                })
            };
            (bound.address(), Some(bound.hold()), run(bound))
        }
        OneSource::File(own) => {
            let files = file::open(&own, data_dir)?;
            let run: Run =
                Box::new(|source, inputs, stop| Box::pin(file::run(files, source, inputs, stop)));
            (None, None, run)
        }
        OneSource::Stdin(_) => {
            let run: Run = Box::new(|source, inputs, stop| {
                Box::pin(stdin::run(io::stdin(), source, inputs, stop))
            });
            (None, None, run)
        }
        OneSource::Http(own) => {
            let bound = http::bind(&own, kept)?;
            let run = |bound| -> Run {
                Box::new(|source, inputs, stop| Box::pin(http::run(bound, source, inputs, stop)))
            };
            (bound.address(), Some(bound.hold()), run(bound))
        }
        OneSource::Mqtt(own) => {
            let client = mqtt::prepare(&own, data_dir)?;
            let run: Run =
                Box::new(|source, inputs, stop| Box::pin(mqtt::run(client, source, inputs, stop)));
            (None, None, run)
        }
        OneSource::Relp(own) => {
            let bound = relp::bind(&own, kept)?;
            let run = |bound| -> Run {
                Box::new(|source, inputs, stop| Box::pin(relp::run(bound, source, inputs, stop)))
            };
            (bound.address(), Some(bound.hold()), run(bound))
        }
    };
    let sockets = sockets.transpose().map_err(|error| StartError::Listen {
        name: config.name(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        advice: error.to_string(),
        error,
    })?;
    Ok(Ready { config, secrets, address, sockets, run })
}

/// A source at work.
#[derive(Debug)]
pub(super) struct AtWork {
    /// Its settings.
    pub(super) config: OneSource,
    /// As the later stages see it.
    pub(super) source: Arc<Source>,
    secrets: Option<Vec<Secret>>,
    address: Option<SocketAddr>,
    sockets: Option<Sockets>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl AtWork {
    fn begin(ready: Ready, source: Arc<Source>, inputs: &Inputs) -> Self {
        let Ready { config, secrets, address, sockets, run } = ready;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(source.clone(), inputs.clone(), stopped));
        Self { config, source, secrets, address, sockets, stop, task }
    }

    /// Its sockets, for another one that is to take its place.
    pub(super) fn keep<'a>(&'a self, kept: &mut Kept<'a>) {
        if let (Some(place), Some(sockets)) = (self.config.place(), &self.sockets) {
            kept.add(&self.source.name, place, sockets);
        }
    }

    /// Tells it to stop, and gives back what ends when it has.
    fn stop(self) -> JoinHandle<()> {
        // Else the address would stay taken.
        drop(self.sockets);
        // An error says that it has ended already.
        let _ = self.stop.send(true);
        self.task
    }
}

/// Sources at work.
#[derive(Debug, Default)]
pub struct Running {
    pub(super) sources: BTreeMap<String, AtWork>,
    /// Those that were told to stop, and may have something left to pass on.
    leaving: JoinSet<()>,
}

impl Running {
    /// The bound addresses, by name of the source: where port 0 was asked for, the port given.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let address = |(name, at_work): (&String, &AtWork)| Some((name.clone(), at_work.address?));
        self.sources.iter().filter_map(address).collect()
    }

    /// Runs a source; its parse settings are at `index`.
    pub(crate) fn run(&mut self, ready: Ready, index: usize, inputs: &Inputs) {
        let settings = ready.config.settings();
        let source = Source { name: settings.name.as_str().into(), index, format: settings.format };
        self.run_as(ready, Arc::new(source), inputs);
    }

    pub(super) fn run_as(&mut self, ready: Ready, source: Arc<Source>, inputs: &Inputs) {
        let name = source.name.to_string();
        self.sources.insert(name, AtWork::begin(ready, source, inputs));
    }

    /// Sources whose secrets are others than when they started.
    pub(crate) fn with_other_secrets(&self) -> impl Iterator<Item = &OneSource> {
        let has_others = |at_work: &&AtWork| {
            let now = secrets_of(&at_work.config);
            // Where they cannot be had any more, those of before are better than none.
            now.is_some() && now != at_work.secrets
        };
        self.sources.values().filter(has_others).map(|at_work| &at_work.config)
    }

    /// Where the parse settings of a running source are.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        Some(self.sources.get(name)?.source.index)
    }

    /// A source goes on as before, but was configured differently for the parser.
    pub(crate) fn settle(&mut self, config: OneSource) {
        if let Some(at_work) = self.sources.get_mut(&config.name()) {
            at_work.config = config;
        }
    }

    /// Tells a source to stop. [`Running::has_left`] waits for its end.
    pub(super) fn leave(&mut self, name: &str) -> Option<(OneSource, Arc<Source>)> {
        let at_work = self.sources.remove(name)?;
        let was = (at_work.config.clone(), at_work.source.clone());
        let task = at_work.stop();
        self.leaving.spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        });
        Some(was)
    }

    /// Waits until every source that was told to stop has ended.
    ///
    /// Sources that acknowledge wait a few seconds for the last of their inputs, so the pipeline has
    /// to go on.
    pub(super) async fn has_left(&mut self) {
        while let Some(ended) = self.leaving.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Stops every source and waits until all have ended.
    pub async fn stop(&mut self) {
        for name in self.sources.keys().cloned().collect::<Vec<_>>() {
            self.leave(&name);
        }
        self.has_left().await;
    }
}

/// Starts every source of `config`; the first has the index 0. Positions and the like are kept in
/// `data_dir`. Needs a tokio runtime.
///
/// # Errors
/// When a socket, a secret or the data folder cannot be had; then nothing runs.
pub fn start(config: &Config, data_dir: &Path, inputs: &Inputs) -> Result<Running, StartError> {
    config.check()?;
    let open = |config| open(config, data_dir, &Kept::default());
    let ready: Vec<Ready> = config.all().into_iter().map(open).collect::<Result<_, _>>()?;
    let mut running = Running::default();
    for (index, ready) in ready.into_iter().enumerate() {
        running.run(ready, index, inputs);
    }
    Ok(running)
}

#[cfg(test)]
mod tests;
