//! Status: what is wrong right now, for readiness, health and metrics.
//!
//! In: what each part of the sink tells of itself. Out: `/readyz` (503 with the reasons as long as
//! anything is wrong that the sink needs, or the API is not served yet; a hook that cannot tell is a warning in it), `/healthz` (503 when the pipeline has not moved for a minute: restart it),
//! `/metrics`. Promises: a problem is logged once when it begins, again when its text changes, and
//! once when it ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use weir_models::time::{SECOND_US, now_us, rfc3339};

/// The pipeline counts as stuck when it has not moved for so long.
const STUCK_AFTER_US: i64 = 60 * SECOND_US;

/// A part of the sink that can have a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Reading from Kafka.
    Kafka,
    /// Writing dead letters to Kafka.
    DeadLetters,
    /// The store.
    Store,
    /// The archive.
    Archive,
    /// Sealing: rows are safe where they are.
    Seal,
    /// Reading alerts from Kafka for the hooks.
    HooksKafka,
    /// Telling a receiver of alerts, by its number in the configuration.
    Hook(u8),
}

impl Part {
    /// Whether the sink is not ready without it. Nobody who asks the sink misses a hook or a seal.
    fn is_needed(self) -> bool {
        !matches!(self, Self::Seal | Self::HooksKafka | Self::Hook(_))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::DeadLetters => "dead_letters",
            Self::Store => "store",
            Self::Archive => "archive",
            Self::Seal => "seal",
            Self::HooksKafka => "hooks_kafka",
            Self::Hook(_) => "hook",
        }
    }
}

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which part.
    pub part: Part,
    /// What is wrong and what to do.
    pub message: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What is wrong right now; shared by all parts.
#[derive(Debug)]
pub struct Status {
    problems: Mutex<BTreeMap<Part, Problem>>,
    moved_us: AtomicI64,
    /// Whether the API is served.
    is_open: AtomicBool,
}

impl Default for Status {
    fn default() -> Self {
        let (moved_us, is_open) = (AtomicI64::new(now_us()), AtomicBool::new(false));
        Self { problems: Mutex::default(), moved_us, is_open }
    }
}

impl Status {
    /// Nothing wrong yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Something is wrong with `part`.
    pub fn problem(&self, part: Part, message: impl Into<String>) {
        let message = message.into();
        let mut problems = self.lock();
        match problems.get_mut(&part) {
            Some(known) if known.message == message => return,
            Some(known) => known.message.clone_from(&message),
            None => {
                let problem = Problem { part, message: message.clone(), since: rfc3339(now_us()) };
                problems.insert(part, problem);
            }
        }
        drop(problems);
        if part.is_needed() {
            tracing::warn!(?part, message, "not ready");
        } else {
            tracing::warn!(?part, message, "does not work");
        }
    }

    /// Nothing is wrong with `part` any more.
    pub fn fine(&self, part: Part) {
        let ended = self.lock().remove(&part);
        if let Some(problem) = ended {
            tracing::info!(?part, was = problem.message, since = problem.since, "works again");
        }
    }

    /// Whether something is wrong with `part`.
    #[must_use]
    pub fn has_problem(&self, part: Part) -> bool {
        self.lock().contains_key(&part)
    }

    /// Whether everything works that the sink needs.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !self.stuck() && !self.lock().keys().any(|part| part.is_needed())
    }

    /// What is wrong.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.lock().values().cloned().collect()
    }

    /// The pipeline has gone once around its loop.
    pub fn moved(&self) {
        self.moved_us.store(now_us(), Ordering::Relaxed);
    }

    /// From now on the API is served.
    pub(crate) fn opened(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    fn stuck(&self) -> bool {
        now_us() - self.moved_us.load(Ordering::Relaxed) > STUCK_AFTER_US
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, Problem>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    problems: Vec<Problem>,
    /// What is wrong and is no reason to be not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
}

/// `/readyz`, `/healthz` and, when there is a recorder, `/metrics`.
pub fn router(status: Arc<Status>, metrics: Option<PrometheusHandle>) -> Router {
    let router = Router::new()
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .with_state(status);
    match metrics {
        Some(handle) => router.route("/metrics", get(move || std::future::ready(handle.render()))),
        None => router,
    }
}

async fn readyz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let all = status.problems().into_iter();
    let (problems, warnings): (Vec<_>, Vec<_>) = all.partition(|problem| problem.part.is_needed());
    let ready = problems.is_empty() && status.is_open.load(Ordering::Relaxed);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready, problems, warnings }))
}

async fn healthz(State(status): State<Arc<Status>>) -> (StatusCode, &'static str) {
    if status.stuck() {
        (StatusCode::SERVICE_UNAVAILABLE, "the pipeline does not move\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_stays_until_it_ends_and_keeps_its_beginning() {
        let status = Status::new();
        status.problem(Part::Store, "away");
        let since = status.problems()[0].since.clone();
        status.problem(Part::Store, "still away");
        status.problem(Part::Kafka, "away too");
        let problems = status.problems();
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[1].message, "still away");
        assert_eq!(problems[1].since, since);
        status.fine(Part::Store);
        assert!(!status.has_problem(Part::Store) && status.has_problem(Part::Kafka));
    }

    #[tokio::test]
    async fn readiness_and_health_answer_by_status_code() {
        let status = Status::new();
        let code = |ready| async { axum::response::IntoResponse::into_response(ready).status() };
        assert_eq!(code(readyz(State(status.clone())).await).await, 503);
        status.opened();
        assert_eq!(code(readyz(State(status.clone())).await).await, 200);
        status.problem(Part::Hook(0), "nobody listens");
        status.problem(Part::HooksKafka, "away");
        status.problem(Part::Seal, "a part is missing");
        assert_eq!(code(readyz(State(status.clone())).await).await, 200);
        assert!(status.is_well());
        status.problem(Part::Archive, "disk full");
        assert!(!status.is_well());
        assert_eq!(code(readyz(State(status.clone())).await).await, 503);
        assert_eq!(healthz(State(status.clone())).await.0, 200);
        status.moved_us.store(0, Ordering::Relaxed);
        assert_eq!(healthz(State(status)).await.0, 503);
    }
}
