//! Api: queries, device metadata and live records over HTTP under `/v1`, the Prometheus API under `/api/v1`, and the
//! web page.
//!
//! In: the store, a producer for `weir.metadata` and `weir.feedback`, the channel of live records. Out: one axum router.
//! Promises: everything is bounded (rows, body, requests at once, time); errors are RFC 9457 problem
//! details that say what to do; nothing here can hold up the pipeline. What can go wrong: the store
//! or Kafka is away (503, try again).
//!
//! | path | what |
//! | --- | --- |
//! | `/v1/readings`, `/v1/rollups`, `/v1/latest`, `/v1/series` | values |
//! | `/v1/logs`, `/v1/logs/summary` | lines |
//! | `/v1/alerts`, `/v1/alerts/{id}/feedback` | alerts, and what people say of them |
//! | `/v1/archive` | the archive, and what audits found |
//! | `/v1/sites`, `/v1/devices`, `/v1/agents`, `/v1/losses` | the fleet |
//! | `/v1/live` | server-sent events |
//! | `/v1/openapi.json` | this, for programs |
//! | `/api/v1/…` | readings by PromQL, for Grafana |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, broadcast, watch as signal};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};

use crate::access::Access;
use crate::consume::Producer;
use crate::live::Live;
use crate::registry::Registry;
use crate::store::Store;
use crate::survey::Survey;

mod alerts;
mod archive;
mod bins;
mod body;
mod cursor;
mod devices;
pub(crate) mod etag;
mod feedback;
mod guard;
mod history;
mod imports;
mod lists;
mod logs;
mod losses;
mod openapi;
mod params;
mod plot;
mod problem;
mod prom;
mod readings;
mod rollups;
mod summary;
mod watch;

pub use alerts::AlertItem;
pub use archive::ArchiveStatus;
pub use bins::Bin;
pub use devices::Deleted;
pub use history::Revision;
pub use lists::{Agent, Agents, Items};
pub use problem::Problem;
pub use prom::{PrometheusAnswer, PrometheusError};
pub use readings::Readings;
pub use rollups::{Rollups, Window};
pub use summary::{LineBin, Summary, Template};

/// Largest body taken, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Queries in PromQL that compute at the same time; others wait for them.
const COMPUTING_MAX: usize = 2;

/// Requests that count lines at the same time; others wait for them.
const COUNTING_MAX: usize = 3;

/// Answers below this are not compressed, in bytes.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// Bounds of the API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for an answer.
    pub timeout: Duration,
    /// Longest time for an import of a list of devices.
    pub import_timeout: Duration,
    /// Most requests at once, live streams not counted.
    pub requests_max: usize,
    /// Most searches at once whose lines are told as they are found.
    pub searches_max: usize,
    /// Most live streams at once.
    pub watchers_max: usize,
    /// Most stored values read for one plot.
    pub scan_rows_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            import_timeout: Duration::from_secs(600),
            requests_max: 128,
            searches_max: 32,
            watchers_max: 256,
            scan_rows_max: 5_000_000,
        }
    }
}

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    producer: Arc<dyn Producer>,
    live: broadcast::Sender<Live>,
    stop: signal::Receiver<bool>,
    access: Access,
    survey: Option<Arc<Survey>>,
    limits: Limits,
    requests: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    computing: Arc<Semaphore>,
    counting: Arc<Semaphore>,
}

impl Api {
    /// An API that asks for no token and with the default limits. Live streams end when `stop` becomes
    /// true or its sender is dropped.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        producer: Arc<dyn Producer>,
        live: broadcast::Sender<Live>,
        stop: signal::Receiver<bool>,
    ) -> Self {
        let limits = Limits::default();
        Self {
            registry: Arc::new(Registry::new(store.clone(), producer.clone())),
            producer,
            store,
            live,
            stop,
            access: Access::default(),
            survey: None,
            limits,
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            searches: Arc::new(Semaphore::new(limits.searches_max)),
            watchers: Arc::new(Semaphore::new(limits.watchers_max)),
            computing: Arc::new(Semaphore::new(COMPUTING_MAX)),
            counting: Arc::new(Semaphore::new(COUNTING_MAX)),
        }
    }

    /// Lets in whom `access` lets in.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Tells of the archive, too.
    #[must_use]
    pub fn survey(mut self, survey: Arc<Survey>) -> Self {
        self.survey = Some(survey);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.requests = Arc::new(Semaphore::new(limits.requests_max));
        self.searches = Arc::new(Semaphore::new(limits.searches_max));
        self.watchers = Arc::new(Semaphore::new(limits.watchers_max));
        self
    }
}

/// What a request is told before there is a store to ask.
pub(crate) fn starting() -> Problem {
    Problem::starting()
}

/// The routes of the API and of the page.
pub fn router(api: Api) -> Router {
    let (prometheus, description) = (prom::router(&api), openapi::route(&api.access));
    let device = get(devices::get).put(devices::put).patch(devices::patch).delete(devices::delete);
    let guarded = Router::new()
        .route("/v1/readings", get(readings::get))
        .route("/v1/rollups", get(rollups::get))
        .route("/v1/latest", get(lists::latest))
        .route("/v1/series", get(lists::series))
        .route("/v1/sites", get(lists::sites))
        .route("/v1/agents", get(lists::agents))
        .route("/v1/logs", get(logs::get))
        .route("/v1/alerts", get(alerts::get))
        .route("/v1/losses", get(losses::get))
        .route("/v1/archive", get(archive::get))
        .route("/v1/logs/summary", get(summary::get))
        .route("/v1/alerts/{id}/feedback", post(feedback::post))
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/import", post(imports::post))
        .route("/v1/devices/{site}/{device}", device)
        .route("/v1/devices/{site}/{device}/history", get(history::get))
        .route("/v1/live", get(watch::get))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(from_fn(etag::tagged))
        .with_state(api);
    // Live streams and pictures are left as they are; what is small gains nothing.
    let compressed = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_BYTES_MIN));
    Router::new()
        .merge(guarded)
        .merge(prometheus)
        .route("/v1/openapi.json", description)
        .merge(crate::web::router())
        .fallback(async || {
            Problem::not_found("there is no such path", "/v1/openapi.json lists all of them")
        })
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(from_fn(guard::count))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
