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
//! start. A changed configuration is taken over by [`Agent::reload`]. What can go wrong at the start (a busy port, a folder that cannot be written, a spool in use)
//! is a [`StartError`] that says what to do; nothing that comes in can stop it later.

mod heartbeat;
mod reload;
pub(crate) mod route;
mod tally;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use weir_models::time::now_us;
use weir_models::topic::{Topic, TopicNames};

use crate::central::{Keeping, Order, keep};
use crate::clock::GatewayClock;
use crate::config::Config;
use crate::enrich::{Following, Table, TableError, follow};
use crate::memory;
use crate::parse::event::Parser;
use crate::publish::{DeadLetters, Lanes, Transport, publish_lane};
use crate::source::{self, Input, Running, SourceSettings, StartError as SourceError};
use crate::spool::{LaneReader, Spool, SpoolError};
use crate::status::{Counters, Served, Status, StatusError, serve};
use crate::tap::{self, Taps};

pub use reload::ReloadError;
pub use worker::Report;
use worker::{Shared, Swap, Worker};

/// Inputs between the sources and the pipeline; their bytes are bounded by the outlets.
const INPUTS_MAX: usize = 64;
/// How long the sources may take to pass on what they have read when the agent stops.
const SOURCES_STOP: Duration = Duration::from_secs(15);
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
pub struct Agent {
    config: Config,
    stages: Stages,
    sources: Running,
    /// Not what holds the channel open: it closes when all sources have ended.
    inputs: mpsc::WeakSender<Input>,
    /// The parse settings of every source there ever was, by its index.
    settings: Vec<SourceSettings>,
    swaps: mpsc::Sender<Swap>,
    orders: mpsc::Sender<Order>,
    status: Status,
    served: Option<Served>,
    taps: Arc<Taps>,
    tapping: Option<tap::Served>,
    metadata: Task,
    models: Task,
    heartbeat: Task,
    stop_lanes: watch::Sender<bool>,
    worker: oneshot::Receiver<()>,
    closed: oneshot::Receiver<()>,
    lanes: Vec<JoinHandle<()>>,
}

/// What the tasks beside the line share.
struct Stages {
    agent: Arc<str>,
    names: TopicNames,
    table: Arc<Table>,
    started_us: i64,
    /// Where what talks to Kafka runs.
    publishing: Handle,
}

/// A task that can be stopped alone.
struct Task {
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl Task {
    fn spawn<Done>(on: &Handle, task: impl FnOnce(watch::Receiver<bool>) -> Done) -> Self
    where
        Done: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self { stop, handle: on.spawn(task(stopped)) }
    }

    /// Makes place for another one of its kind, which begins once this one has ended.
    async fn replace(&mut self, begin: impl FnOnce() -> Self) {
        self.end().await;
        *self = begin();
    }

    async fn end(&mut self) {
        let _ = self.stop.send(true);
        // A task that panicked has told so already.
        let _ = (&mut self.handle).await;
    }
}

/// Starts all stages. What publishes runs on the runtime `publishing`, where `transport` was made, too.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub async fn start(
    config: Config,
    transport: Arc<dyn Transport>,
    publishing: &Handle,
    prometheus: Option<PrometheusHandle>,
) -> Result<Agent, StartError> {
    if config.source.all().is_empty() {
        return Err(StartError::NoSource);
    }
    let data_dir = PathBuf::from(&config.agent.data_dir);
    make_folder(&data_dir).map_err(|error| StartError::Folder(data_dir.clone(), error))?;
    let spool_dir = data_dir.join("spool");
    let wait = Duration::from_secs(config.agent.clock_wait_s);
    let clock = Arc::new(GatewayClock::new(&spool_dir, wait));
    let (spool, readers) = Spool::open(&spool_dir, &config.spool)?;
    let stages = Stages::open(&config, &data_dir, publishing)?;
    let parser = Parser::new(&stages.agent, &config).map_err(StartError::Parse)?;

    let (stop_lanes, lanes_stopped) = watch::channel(false);
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (ask, asked) = mpsc::channel(4);
    let (swaps, swapped) = mpsc::channel(1);
    let (orders, ordered) = mpsc::channel(1);
    let (flushed_tx, flushed) = watch::channel(0);
    let status = Status { prometheus, counters: Arc::default(), transport: transport.clone(), ask };
    let served = serve(&config.status.listen, status.clone()).await?;
    let sources = source::start(&config.source, &data_dir, &inputs)?;

    let taps = Arc::new(Taps::default());
    let tapping = config.status.tap.then(|| tap::serve(&data_dir, &taps)).flatten();

    let shared = Shared {
        taps: taps.clone(),
        table: stages.table.clone(),
        transport: transport.clone(),
        names: stages.names.clone(),
        counters: status.counters.clone(),
        clock: clock.clone(),
    };
    let worker = Worker::new(&stages.agent, &config, parser, spool, flushed_tx, shared);
    let line = Line { received, asked, swapped, ordered };
    let (worker, closed) = spawn_worker(worker, line, lanes_stopped.clone())?;

    let lanes = Lanes {
        transport,
        dead: Arc::new(DeadLetters::new(&data_dir)),
        flushed,
        published: status.counters.events_out.clone(),
        clock,
    };
    let lanes = spawn_lanes(publishing, readers, &lanes, &lanes_stopped);
    let [metadata, models, heartbeat] = stages.spawn(&config, &status, &orders);
    memory::show_plan(&config);
    let status_at = served.as_ref().map(|served| served.address);
    tracing::info!(agent = %stages.agent, sources = ?sources.addresses(), status = ?status_at, "agent is running");
    Ok(Agent {
        settings: config.source.settings(),
        config,
        stages,
        sources,
        inputs: inputs.downgrade(),
        swaps,
        orders,
        status,
        served,
        taps,
        tapping,
        metadata,
        models,
        heartbeat,
        stop_lanes,
        worker,
        closed,
        lanes,
    })
}

/// Makes the data folder, where it is not there: what is in it is for nobody but the agent and root. One that is there is left as
/// it was made.
fn make_folder(data_dir: &Path) -> std::io::Result<()> {
    if let Some(above) = data_dir.parent() {
        std::fs::create_dir_all(above)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

impl Stages {
    fn open(config: &Config, data_dir: &Path, publishing: &Handle) -> Result<Self, StartError> {
        Ok(Self {
            agent: config.id().into(),
            names: TopicNames::new(&config.kafka.topic_prefix),
            table: Arc::new(Table::open(&data_dir.join("metadata.redb"))?),
            started_us: now_us(),
            publishing: publishing.clone(),
        })
    }

    /// The tasks beside the line: metadata, models, heartbeat.
    fn spawn(&self, config: &Config, status: &Status, orders: &mpsc::Sender<Order>) -> [Task; 3] {
        let metadata = self.follow_metadata(config, status);
        [metadata, self.keep_models(config, status, orders), self.beat(config, status)]
    }

    /// Keeps the metadata in step with its origins.
    fn follow_metadata(&self, config: &Config, status: &Status) -> Task {
        let name = self.names.name(Topic::Metadata);
        let following = Following {
            table: self.table.clone(),
            files: config.metadata.files.clone(),
            site: config.agent.site.clone(),
            topic: config.metadata.topic.then(|| status.transport.follow(name)),
        };
        Task::spawn(&self.publishing, |stop| follow(following, stop))
    }

    /// Takes up models of the centre, where a key is pinned.
    fn keep_models(&self, config: &Config, status: &Status, orders: &mpsc::Sender<Order>) -> Task {
        let mut models = config.models.clone();
        if models.sites.is_empty() {
            models.sites.push(config.agent.site.clone());
        }
        let name = self.names.name(Topic::Models);
        let is_wanted = !models.keys.is_empty() && config.score.uses_models();
        let keeping = Keeping {
            config: models,
            folder: PathBuf::from(&config.agent.data_dir).join("models"),
            orders: orders.clone(),
            topic: is_wanted.then(|| status.transport.follow(name)),
        };
        Task::spawn(&self.publishing, |stop| keep(keeping, stop))
    }

    /// Tells now and then how the agent fares.
    fn beat(&self, config: &Config, status: &Status) -> Task {
        let beat = heartbeat::Heartbeat::new(
            &self.agent,
            config,
            &self.names,
            self.started_us,
            status.clone(),
        );
        Task::spawn(&self.publishing, |stop| beat.run(stop))
    }
}

/// What comes to the pipeline's thread.
struct Line {
    received: mpsc::Receiver<Input>,
    asked: mpsc::Receiver<oneshot::Sender<Report>>,
    swapped: mpsc::Receiver<Swap>,
    ordered: mpsc::Receiver<Order>,
}

/// The stages from parse to spool block on the disk, so they have a thread of their own. Answers what
/// tells that the sources have ended, and that the spool is closed.
fn spawn_worker(
    mut worker: Worker,
    line: Line,
    stop: watch::Receiver<bool>,
) -> Result<(oneshot::Receiver<()>, oneshot::Receiver<()>), StartError> {
    let (ended_tx, ended) = oneshot::channel();
    let (closed_tx, closed) = oneshot::channel();
    // A clock of its own: its timers need not wake the threads of the sources first.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(StartError::Thread)?;
    std::thread::Builder::new()
        .name("pipeline".into())
        .spawn(move || {
            let Line { received, asked, swapped, ordered } = line;
            runtime.block_on(worker.run(received, asked, swapped, ordered, ended_tx, stop));
            worker.close();
            // Nobody waits when the agent was dropped and not stopped.
            let _ = closed_tx.send(());
        })
        .map_err(StartError::Thread)?;
    Ok((ended, closed))
}

fn spawn_lanes(
    on: &Handle,
    readers: [LaneReader; 4],
    lanes: &Lanes,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let spawn = |reader| on.spawn(publish_lane(reader, lanes.clone(), stop.clone()));
    readers.into_iter().map(spawn).collect()
}

impl Agent {
    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The bound address of each listening source, by name.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.sources.addresses()
    }

    /// The bound address of metrics and health.
    #[must_use]
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.served.as_ref().map(|served| served.address)
    }

    /// The shared counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.status.counters
    }

    /// How the spool fares now; none once the pipeline has ended.
    pub async fn report(&self) -> Option<Report> {
        self.status.report().await
    }

    /// Where to ask for a report without holding the agent.
    #[must_use]
    pub fn asker(&self) -> mpsc::Sender<oneshot::Sender<Report>> {
        self.status.ask.clone()
    }

    /// Returns when all sources have ended by themselves (standard input was read to its end) and
    /// Kafka has everything.
    pub async fn finished(&mut self) {
        ended(&mut self.worker).await;
        drained(&self.status.ask).await;
    }

    /// Stops: sources first, then what they brought is flushed, then the lanes have a few seconds.
    /// What Kafka does not have by then stays in the spool.
    pub async fn stop(mut self) {
        if tokio::time::timeout(SOURCES_STOP, self.sources.stop()).await.is_err() {
            tracing::warn!(
                "the spool does not take the last inputs; senders that wait for an answer will send them again"
            );
        }
        let end = async {
            ended(&mut self.worker).await;
            drained(&self.status.ask).await;
        };
        let _ = tokio::time::timeout(DRAIN, end).await;
        // While the spool is still locked: afterwards the socket may be that of the next agent.
        if let Some(tapping) = self.tapping {
            tapping.end().await;
        }
        let _ = self.stop_lanes.send(true);
        let _ = self.closed.await;
        self.metadata.end().await;
        self.models.end().await;
        self.heartbeat.end().await;
        for task in self.lanes {
            // A task that panicked has told so already.
            let _ = task.await;
        }
        tracing::info!("agent has stopped");
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut agent = f.debug_struct("Agent");
        agent.field("id", &self.stages.agent).field("sources", &self.addresses());
        agent.finish_non_exhaustive()
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
