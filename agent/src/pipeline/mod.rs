//! Pipeline: puts the stages together and runs them.
//!
//! ```text
//! sources ─▶ channel (bounded) ─▶ parse ▶ enrich ▶ filter ▶ score ▶ spool ─▶ lane ─▶ Kafka
//!            waits when full       one thread, in order         flush      one task a lane
//! ```
//!
//! In: a checked configuration and a transport. Out: a running [`Agent`]. Promises: order within a
//! source is kept; a source is acknowledged after the flush that holds its payloads; stopping takes
//! what was received to the disk, gives the lanes a few seconds, and keeps the rest for the next
//! start. What can go wrong at the start (a busy port, a folder that cannot be written, a spool in use)
//! is a [`StartError`] that says what to do; nothing that comes in can stop it later.

mod heartbeat;
mod tally;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use weir_models::topic::{Topic, TopicNames};

use crate::config::Config;
use crate::enrich::{Following, Table, TableError, follow};
use crate::parse::event::Parser;
use crate::publish::{DeadLetters, Lanes, Transport, publish_lane};
use crate::source::{self, Running, StartError as SourceError};
use crate::spool::{LaneReader, Spool, SpoolError};
use crate::status::{Counters, Status, StatusError, serve};

pub use worker::Report;
use worker::{Shared, Worker};

/// Inputs between the sources and the pipeline; their bytes are bounded by the outlets.
const INPUTS_MAX: usize = 64;
/// How long the lanes may go on after the last flush when the agent stops.
const DRAIN: Duration = Duration::from_secs(3);

/// The agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error(
        "cannot make the folder `{0}`: {1}; set `agent.data_dir` to a folder that this user may write"
    )]
    Folder(PathBuf, std::io::Error),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The metadata cache cannot be opened.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A source cannot start.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is nothing to take events from.
    #[error(
        "no source is configured: add one, for example `[[source.syslog]]` with `listen = \"udp://0.0.0.0:514\"`"
    )]
    NoSource,
    /// A setting of a source that only the parser knows.
    #[error("{0}")]
    Parse(String),
    /// The status address is not to be had.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// No thread is to be had.
    #[error("cannot start the pipeline's thread: {0}")]
    Thread(std::io::Error),
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    counters: Arc<Counters>,
    sources: Running,
    status: Option<SocketAddr>,
    ask: mpsc::Sender<oneshot::Sender<Report>>,
    stop_sources: watch::Sender<bool>,
    stop_rest: watch::Sender<bool>,
    worker: oneshot::Receiver<()>,
    closed: oneshot::Receiver<()>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts all stages.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub async fn start(
    config: Config,
    transport: Arc<dyn Transport>,
    prometheus: Option<PrometheusHandle>,
) -> Result<Agent, StartError> {
    if config.source.settings().is_empty() {
        return Err(StartError::NoSource);
    }
    let data_dir = PathBuf::from(&config.agent.data_dir);
    std::fs::create_dir_all(&data_dir)
        .map_err(|error| StartError::Folder(data_dir.clone(), error))?;
    let (spool, readers) = Spool::open(&data_dir.join("spool"), &config.spool)?;
    let table = Arc::new(Table::open(&data_dir.join("metadata.redb"))?);
    let agent: Arc<str> = config.id().into();
    let parser = Parser::new(&agent, &config).map_err(StartError::Parse)?;
    let names = TopicNames::new(&config.kafka.topic_prefix);
    let counters = Arc::new(Counters::default());

    let (stop_sources, sources_stopped) = watch::channel(false);
    let (stop_rest, rest_stopped) = watch::channel(false);
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (ask, asked) = mpsc::channel(4);
    let (flushed_tx, flushed) = watch::channel(0);
    let status_of = Status {
        prometheus,
        counters: counters.clone(),
        transport: transport.clone(),
        ask: ask.clone(),
    };
    let status = serve(&config.status.listen, status_of.clone()).await?;
    let sources = source::start(&config.source, &data_dir, inputs, sources_stopped)?;

    let shared = Shared {
        table: table.clone(),
        transport: transport.clone(),
        names: names.clone(),
        counters: counters.clone(),
    };
    let worker = Worker::new(&agent, &config, parser, spool, flushed_tx, shared);
    let (worker, closed) = spawn_worker(worker, received, asked, rest_stopped.clone())?;

    let lanes = Lanes {
        transport: transport.clone(),
        dead: Arc::new(DeadLetters::new(&data_dir)),
        flushed,
        published: counters.events_out.clone(),
    };
    let mut tasks = spawn_lanes(readers, &lanes, &rest_stopped);
    let topic = config.metadata.topic.then(|| transport.follow(names.name(Topic::Metadata)));
    let following = Following {
        table,
        files: config.metadata.files.clone(),
        site: config.agent.site.clone(),
        topic,
    };
    tasks.push(tokio::spawn(follow(following, rest_stopped.clone())));
    let beat = heartbeat::Heartbeat::new(&agent, &config, &names, status_of);
    tasks.push(tokio::spawn(beat.run(rest_stopped)));
    tracing::info!(%agent, sources = ?sources.addresses(), ?status, "agent is running");
    Ok(Agent { counters, sources, status, ask, stop_sources, stop_rest, worker, closed, tasks })
}

/// The stages from parse to spool block on the disk, so they have a thread of their own. Answers what
/// tells that the sources have ended, and that the spool is closed.
fn spawn_worker(
    mut worker: Worker,
    received: mpsc::Receiver<source::Input>,
    asked: mpsc::Receiver<oneshot::Sender<Report>>,
    stop: watch::Receiver<bool>,
) -> Result<(oneshot::Receiver<()>, oneshot::Receiver<()>), StartError> {
    let (ended_tx, ended) = oneshot::channel();
    let (closed_tx, closed) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("pipeline".into())
        .spawn(move || {
            runtime.block_on(worker.run(received, asked, ended_tx, stop));
            worker.close();
            // Nobody waits when the agent was dropped and not stopped.
            let _ = closed_tx.send(());
        })
        .map_err(StartError::Thread)?;
    Ok((ended, closed))
}

fn spawn_lanes(
    readers: [LaneReader; 4],
    lanes: &Lanes,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let spawn = |reader| tokio::spawn(publish_lane(reader, lanes.clone(), stop.clone()));
    readers.into_iter().map(spawn).collect()
}

impl Agent {
    /// The bound address of each listening source, by name.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        self.sources.addresses()
    }

    /// The bound address of metrics and health.
    #[must_use]
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status
    }

    /// The shared counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// How the spool fares now; none once the pipeline has ended.
    pub async fn report(&self) -> Option<Report> {
        report(&self.ask).await
    }

    /// Where to ask for a report without holding the agent.
    #[must_use]
    pub fn asker(&self) -> mpsc::Sender<oneshot::Sender<Report>> {
        self.ask.clone()
    }

    /// Returns when all sources have ended by themselves (standard input was read to its end) and
    /// Kafka has everything.
    pub async fn finished(&mut self) {
        ended(&mut self.worker).await;
        drained(&self.ask).await;
    }

    /// Stops: sources first, then what they brought is flushed, then the lanes have a few seconds.
    /// What Kafka does not have by then stays in the spool.
    pub async fn stop(mut self) {
        let _ = self.stop_sources.send(true);
        self.sources.stopped().await;
        let end = async {
            ended(&mut self.worker).await;
            drained(&self.ask).await;
        };
        let _ = tokio::time::timeout(DRAIN, end).await;
        let _ = self.stop_rest.send(true);
        let _ = self.closed.await;
        for task in self.tasks {
            // A task that panicked has told so already.
            let _ = task.await;
        }
        tracing::info!("agent has stopped");
    }
}

/// Returns when the sources have ended and what they brought is flushed; may be called again.
async fn ended(worker: &mut oneshot::Receiver<()>) {
    // A receiver that has answered must not be asked again.
    if !worker.is_terminated() {
        // An error means that the sender is gone: ended as well.
        let _ = worker.await;
    }
}

/// Asks the pipeline how the spool fares; none once it has ended.
pub(crate) async fn report(ask: &mpsc::Sender<oneshot::Sender<Report>>) -> Option<Report> {
    let (answer, report) = oneshot::channel();
    ask.send(answer).await.ok()?;
    report.await.ok()
}

async fn drained(ask: &mpsc::Sender<oneshot::Sender<Report>>) {
    while report(ask).await.is_some_and(|report| report.waiting() > 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
