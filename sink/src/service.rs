//! Service: one running sink, that is its pipeline, its HTTP side, its sealer and its watch over agents.
//!
//! In: the parts that differ between a sink of its own and the all-in-one (where records come from,
//! where rows go), settings, and the bound address ([`Front`]). Out: a running [`Service`]. Promises: stopping
//! finishes what was taken, within the pipeline's bound. What can go wrong: the pipeline ends by itself
//! ([`Service::ended`] says why).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use weir_models::metric;

use crate::access::Access;
use crate::api::{self, Api};
use crate::archive::Archive;
use crate::consume::{Consumer, Producer};
use crate::front::Front;
use crate::pipeline::{Settings, Sink, SinkError};
use crate::sealer;
use crate::silence::{self, SilenceConfig};
use crate::status::Status;
use crate::store::{SealConfig, Store};
use crate::survey::{Offsets, Survey};

/// Live events that a watcher may be behind before it is told that it missed some.
const LIVE_MAX: usize = 4_096;

/// How long it may take to hand the marks of this instance to the others.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Where records come from and go to.
pub struct Parts {
    /// Records.
    pub consumer: Box<dyn Consumer>,
    /// Dead letters and metadata.
    pub producer: Arc<dyn Producer>,
    /// Rows.
    pub store: Arc<dyn Store>,
    /// When rows are sealed.
    pub seal: SealConfig,
    /// When an agent counts as silent.
    pub silence: SilenceConfig,
    /// The raw data.
    pub archive: Archive,
    /// How far Kafka is.
    pub offsets: Arc<dyn Offsets>,
    /// What is wrong right now; the consumer tells it too.
    pub status: Arc<Status>,
}

/// A running sink.
pub struct Service {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    pipeline: JoinHandle<Result<(), SinkError>>,
    /// Stopped after the pipeline, when nothing is written any more.
    stop_sealer: watch::Sender<bool>,
    sealer: JoinHandle<()>,
}

impl Service {
    /// Opens API and page, then starts the pipeline.
    #[must_use]
    pub fn start(settings: Settings, access: Access, parts: Parts, front: &Front) -> Self {
        let address = front.address();
        let Parts { consumer, producer, store, seal, silence, archive, offsets, status } = parts;
        let (stop, stopped) = watch::channel(false);
        let live = broadcast::Sender::new(LIVE_MAX);
        let api = Api::new(store.clone(), producer.clone(), live.clone(), stopped.clone())
            .access(access)
            .survey(Survey::new(archive.clone(), offsets));
        front.open(api::router(api));
        let (stop_sealer, sealer_stopped) = watch::channel(false);
        let sealer = sealer::run(store.clone(), seal, status.clone(), sealer_stopped);
        let (alerts, health) = (producer.clone(), status.clone());
        let silence = silence::run(silence, store.clone(), alerts, health, stopped.clone());
        tokio::spawn(silence);
        let sink = Sink::new(settings, consumer, producer, store, archive, live, status);
        let pipeline = tokio::spawn(sink.run(stopped));
        let sealer = tokio::spawn(sealer);
        tracing::info!(%address, "sink is running");
        Self { address, stop, pipeline, stop_sealer, sealer }
    }

    /// The bound HTTP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the pipeline ends by itself.
    ///
    /// # Errors
    /// Why it could not go on.
    pub async fn ended(&mut self) -> Result<(), SinkError> {
        (&mut self.pipeline).await?
    }

    /// Stops: what was taken is finished and committed, within the bound of the settings.
    ///
    /// # Errors
    /// Why the pipeline could not go on, if it had ended before.
    pub async fn stop(self) -> Result<(), SinkError> {
        let _ = self.stop.send(true);
        let ended = self.pipeline.await;
        let _ = self.stop_sealer.send(true);
        // A store that is away must not hold up the end; others take over later then.
        if tokio::time::timeout(LEAVE_WITHIN, self.sealer).await.is_err() {
            tracing::warn!("the store does not answer: others take over sealing after a while");
        }
        ended?
    }
}

/// Tells the recorder what each metric means.
pub fn describe_metrics() {
    for metric in metric::ALL {
        if metric.name.ends_with("_total") {
            metrics::describe_counter!(metric.name, metric.help.trim());
        } else {
            metrics::describe_gauge!(metric.name, metric.help.trim());
        }
    }
}
