//! Status: metrics, health and readiness over HTTP, and the heartbeat.
//!
//! In: counters of all stages. Out: `/metrics` (Prometheus text), `/healthz` (200 while the
//! process lives), `/readyz` (200 when inputs reach the spool and Kafka takes them, else 503 with the
//! reason), `/reload` (how the last reload went, JSON), and one record a while on `weir.agents`. A heartbeat that cannot be sent is dropped:
//! the next one tells more.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_models::metric;
use weir_models::time::{SECOND_US, now_us, rfc3339};

use crate::memory;
use crate::pipeline::Report;
use crate::publish::Transport;

/// Numbers that the stages share.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that the spool took.
    pub events_in: AtomicU64,
    /// Events that Kafka acknowledged.
    pub events_out: Arc<AtomicU64>,
    /// Events that sources lost before they reached us.
    pub lost_at_source: AtomicU64,
    /// Series being scored.
    pub series: AtomicU64,
    /// Why the spool takes nothing now.
    spool_problem: Mutex<Option<String>>,
    configuration: Mutex<Configuration>,
}

/// What is known of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Since when it is in force, RFC 3339; none where nobody tells.
    pub since: Option<String>,
    /// The last time that it was to be taken over anew.
    pub last_reload: Option<LastReload>,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastReload {
    /// When, RFC 3339.
    pub at: String,
    /// What became of it.
    pub result: ReloadResult,
    /// What has changed, or why nothing has.
    pub message: String,
}

/// What became of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// What was new is in force.
    Applied,
    /// There was nothing to do.
    Unchanged,
    /// Nothing has changed.
    Refused,
}

impl Counters {
    /// Tells whether the spool takes events. Logs when that changes.
    pub fn tell_spool(&self, problem: Option<String>) {
        let mut now = self.spool_problem.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_some() != problem.is_some() {
            match &problem {
                Some(problem) => tracing::error!(problem, "the spool takes nothing, sources wait"),
                None => tracing::info!("the spool takes events again"),
            }
        }
        *now = problem;
    }

    /// Why the spool takes nothing now; none when it does.
    #[must_use]
    pub fn spool_problem(&self) -> Option<String> {
        self.spool_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration is in force from now on.
    pub fn configured(&self) {
        let now_us = now_us();
        self.configuration().since = Some(rfc3339(now_us));
        metrics::gauge!(metric::AGENT_CONFIGURED.name).set((now_us / SECOND_US) as f64);
    }

    /// Tells how a reload went; the log has it already.
    pub fn reloaded(&self, result: ReloadResult, message: String) {
        let label = match result {
            ReloadResult::Applied => "applied",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Refused => "refused",
        };
        metrics::counter!(metric::AGENT_RELOADS.name, "result" => label).increment(1);
        if result == ReloadResult::Applied {
            self.configured();
        }
        let last = LastReload { at: rfc3339(now_us()), result, message };
        self.configuration().last_reload = Some(last);
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        // Nothing in there can be left half done.
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps the agent from its job; none when all is well.
    #[must_use]
    pub fn problem(&self, transport: &dyn Transport) -> Option<String> {
        self.spool_problem().or_else(|| transport.status().problem)
    }

    /// A counter now.
    #[must_use]
    pub fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// What the HTTP handlers need.
#[derive(Clone)]
pub struct Status {
    /// Renders the metrics; none when another program in the process does it.
    pub prometheus: Option<PrometheusHandle>,
    /// The counters.
    pub counters: Arc<Counters>,
    /// Where events go.
    pub transport: Arc<dyn Transport>,
    /// Asks the pipeline how the spool fares.
    pub ask: mpsc::Sender<oneshot::Sender<Report>>,
}

impl Status {
    /// How the spool fares now; none once the pipeline has ended.
    pub async fn report(&self) -> Option<Report> {
        crate::pipeline::report(&self.ask).await
    }
}

/// The status address is not to be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on `{listen}` for metrics and health: {source}; set `status.listen` to a free address, or to \"\" to do without"
)]
pub struct StatusError {
    listen: String,
    source: std::io::Error,
}

/// Metrics and health are served until this is ended or the runtime ends.
#[derive(Debug)]
pub struct Served {
    /// The bound address.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Gives the address back.
    pub(crate) async fn end(self) {
        self.task.abort();
        // It was aborted: that is no news.
        let _ = self.task.await;
    }
}

/// Serves at `listen`; nothing when that is empty.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn serve(listen: &str, status: Status) -> Result<Option<Served>, StatusError> {
    if listen.is_empty() {
        return Ok(None);
    }
    let failed = |source| StatusError { listen: listen.into(), source };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/reload", get(configuration))
        .route("/metrics", get(render))
        .with_state(status);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    });
    Ok(Some(Served { address, task }))
}

async fn configuration(State(status): State<Status>) -> Json<Configuration> {
    Json(status.counters.configuration().clone())
}

async fn ready(State(status): State<Status>) -> (StatusCode, String) {
    // The old configuration does its work: that is no reason to take the agent for unfit.
    let refused = match &status.counters.configuration().last_reload {
        Some(LastReload { at, result: ReloadResult::Refused, message }) => {
            format!(
                "the configuration of before is in force, a reload was refused at {at}: {message}\n"
            )
        }
        _ => String::new(),
    };
    match status.counters.problem(&*status.transport) {
        None => (StatusCode::OK, format!("ready\n{refused}")),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n{refused}")),
    }
}

async fn render(State(status): State<Status>) -> String {
    if let Some(bytes) = memory::resident_bytes() {
        metrics::gauge!(metric::AGENT_RESIDENT.name).set(bytes as f64);
    }
    metrics::gauge!(metric::AGENT_CPU.name).set(memory::cpu_seconds());
    if let Some(report) = status.report().await {
        for (part, bytes) in &report.memory {
            metrics::gauge!(metric::AGENT_MEMORY_HELD.name, "part" => *part).set(*bytes as f64);
        }
        metrics::gauge!(metric::AGENT_SPOOL_BYTES.name).set(report.disk_bytes as f64);
        metrics::gauge!(metric::AGENT_SPOOL_WAITING.name).set(report.waiting() as f64);
        for (lane, stats) in &report.spool {
            metrics::counter!(metric::AGENT_SPOOL_WRITTEN.name, "lane" => *lane)
                .absolute(stats.written_bytes);
            metrics::gauge!(metric::AGENT_LANE_WAITING.name, "lane" => *lane)
                .set(stats.waiting_events as f64);
            let age_ms = stats.oldest_ms.map_or(0, |oldest_ms| now_us() / 1_000 - oldest_ms);
            metrics::gauge!(metric::AGENT_SPOOL_OLDEST.name, "lane" => *lane)
                .set(age_ms.max(0) as f64 / 1e3);
        }
        for (lane, reason, count) in report.lost() {
            metrics::counter!(metric::AGENT_LOST.name, "lane" => lane, "reason" => reason)
                .absolute(count);
        }
        for (rule, dropped) in report.filtered {
            metrics::counter!(metric::AGENT_FILTERED.name, "rule" => rule).absolute(dropped);
        }
    }
    status.prometheus.map(|prometheus| prometheus.render()).unwrap_or_default()
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
