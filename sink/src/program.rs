//! Program: the sink as configured, from the first look at the archive to the end.
//!
//! In: a configuration and a signal to stop. Out: a [`Service`] that runs until then. Promises: health
//! and metrics are served before anything else is reached, so that a service manager sees why it is
//! not ready; a store or a broker that is away at the start is waited for. What can go wrong: what
//! only a person can mend ends it, and the message says how.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use weir_models::config::Secret;

use crate::access::Access;
use crate::archive::{Archive, ArchiveError, merge};
use crate::backoff::Backoff;
use crate::config::{Config, fetch};
use crate::consume::kafka::{KafkaConsumer, Reading};
use crate::consume::producer::KafkaProducer;
use crate::consume::{ConsumeError, Consumer};
use crate::front::{Front, FrontError};
use crate::hooks::{self, HookError, Hooks};
use crate::pipeline::SinkError;
use crate::service::{Parts, Service};
use crate::status::{Part, Status};
use crate::store::{self, Store, StoreConfig, StoreError};
use crate::survey::KafkaOffsets;

/// As long as the pipeline has for its end.
const HOOKS_STOP_WITHIN: Duration = Duration::from_secs(7);
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The sink cannot start or go on; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A secret is missing.
    #[error("{key}: {why}")]
    Secret {
        /// Which key of the configuration.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// The address is not to be had.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for Kafka cannot be made.
    #[error(transparent)]
    Kafka(#[from] ConsumeError),
    /// A hook cannot begin.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The pipeline ended.
    #[error(transparent)]
    Pipeline(#[from] SinkError),
}

/// The secrets that a configuration refers to.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Kafka's password.
    pub kafka: Option<Secret>,
    /// The API's bearer token.
    pub token: Option<Secret>,
}

impl Secrets {
    /// Fetches them.
    ///
    /// # Errors
    /// Says which is missing.
    pub fn fetch(config: &Config) -> Result<Self, ProgramError> {
        let sasl = config.kafka.sasl.as_ref().map(|sasl| sasl.secret());
        let of = |key| move |why| ProgramError::Secret { key, why };
        let token = fetch(config.http.token.as_ref()).map_err(of("http.token"))?;
        if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            // Everybody has the empty one.
            let why = "the secret is empty: write the token there, for example that of `openssl rand -hex 32`";
            return Err(of("http.token")(why.into()));
        }
        Ok(Self { kafka: fetch(sasl).map_err(of("kafka.sasl"))?, token })
    }
}

/// Runs the sink until `stop` becomes true or its sender is gone.
///
/// # Errors
/// When something needs a person.
pub async fn run(
    config: Config,
    mut stop: watch::Receiver<bool>,
    prometheus: Option<PrometheusHandle>,
) -> Result<(), ProgramError> {
    let secrets = Secrets::fetch(&config)?;
    let receivers = hooks::receivers(&config.hooks)?;
    let archive = Archive::open(&config.archive)?;
    let status = Status::new();
    let front = Front::bind(&config.http.listen, Arc::clone(&status), prometheus).await?;
    let opened = async {
        wait_for_archive(&archive, &status).await?;
        Ok::<_, ProgramError>(wait_for_store(&config.store, &status).await?)
    };
    let opened = tokio::select! {
        opened = opened => opened?,
        // A sender that is gone means stop, too.
        () = async { let _ = stop.wait_for(|stop| *stop).await; } => return Ok(()),
    };
    let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
    let names = config.topic_names();
    let group = config.consume.group.clone();
    let consumer =
        KafkaConsumer::start(&connection, &group, &names, Arc::clone(&status), Reading::ALL)?;
    let parts = Parts {
        producer: Arc::new(KafkaProducer::start(&connection, &names)?),
        consumer: Box::new(consumer),
        store: opened,
        seal: config.store.seal.clone(),
        silence: config.silence.clone(),
        archive: archive.clone(),
        offsets: Arc::new(KafkaOffsets {
            connection: connection.clone(),
            group: group.clone(),
            names: names.clone(),
        }),
        status: Arc::clone(&status),
    };
    let http = &config.http;
    let access = Access::new(secrets.token.as_ref(), &http.tokens, http.open_reads);
    let open = access.is_open();
    let mut service = Service::start(config.pipeline(), access, parts, &front);
    let address = service.address();
    if open && !address.ip().is_loopback() {
        tracing::warn!("anybody who reaches {address} may read and write: set `http.tokens`");
    }
    let hooks_status = Arc::clone(&status);
    let connect = move |name: &str| {
        let (group, status) = (hooks::group(&group, name), Arc::clone(&hooks_status));
        let reading = Reading::HOOK;
        let consumer = KafkaConsumer::start(&connection, &group, &names, status, reading)?;
        Ok(Box::new(consumer) as Box<dyn Consumer>)
    };
    let hooks = Hooks::start(receivers, connect, &status);
    // A request of a merge is tried some times: nobody waits for it.
    let archive = Archive::existing(&config.archive)?;
    let merging = merge::background::run(archive, config.archive.merge.clone(), stop.clone());
    tokio::spawn(merging);
    tokio::select! {
        ended = service.ended() => return Ok(ended?),
        () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
    }
    // What a hook could not commit in time is told again.
    let (stopped, _) = tokio::join!(service.stop(), timeout(HOOKS_STOP_WITHIN, hooks.stop()));
    Ok(stopped?)
}

/// Waits for an object store that is away, busy or full.
async fn wait_for_archive(archive: &Archive, status: &Status) -> Result<(), ArchiveError> {
    let mut backoff = Backoff::default();
    loop {
        match archive.check().await {
            Ok(()) => {
                status.fine(Part::Archive);
                return Ok(());
            }
            Err(error) if error.is_temporary() => status.problem(Part::Archive, error.to_string()),
            Err(fatal) => return Err(fatal),
        }
        status.moved();
        backoff.failed(Instant::now());
        sleep_until(backoff.until(Instant::now())).await;
    }
}

/// Opens the store and checks its schema; waits for a store that is away.
async fn wait_for_store(
    config: &StoreConfig,
    status: &Status,
) -> Result<Arc<dyn Store>, StoreError> {
    loop {
        let opened = async {
            let store = store::open(config).await?;
            store.check_schema().await?;
            Ok(store)
        };
        match opened.await {
            Ok(store) => {
                status.fine(Part::Store);
                return Ok(store);
            }
            Err(StoreError::Retry(why) | StoreError::Refused(why)) => {
                status.problem(Part::Store, why);
            }
            Err(fatal) => return Err(fatal),
        }
        status.moved();
        sleep(STORE_AGAIN_AFTER).await;
    }
}
