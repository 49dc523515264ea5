//! The requests and their answers.
//!
//! In: one request. Out: inputs, and an answer once the spool holds them. Every refusal is JSON with
//! the key `error`, and leaves nothing in the spool of what it refuses, or tells the sender to send
//! all of it again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use weir_models::config::Secret;
use weir_models::limit::LINE_BYTES_MAX;
use weir_models::time::now_us;

use super::super::outlet::Outlet;
use super::super::peers::Guest;
use super::super::stopping;
use super::super::{Labels, Raw, TimeUnit};
use super::body::{self, Refusal};

/// Most payloads in one input.
const INPUT_ITEMS_MAX: usize = 512;
/// How long a sender may take for a body.
const BODY_WAIT: Duration = Duration::from_secs(60);
/// What to wait before trying again, in seconds, told to a sender while the agent stops.
const RETRY_AFTER_S: &str = "5";
/// Memory for bodies is counted in units of so many bytes.
const UNIT_BYTES: usize = 1024;

/// The sender's connection, put into each request by the server.
#[derive(Clone)]
pub(super) struct Peer(pub(super) Arc<Guest>);

/// What all requests share.
pub(super) struct Shared {
    pub(super) lines: Outlet,
    pub(super) events: Outlet,
    pub(super) token: Option<Secret>,
    pub(super) body_bytes_max: usize,
    /// Memory left for bodies, in units of [`UNIT_BYTES`].
    pub(super) memory: Arc<Semaphore>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Memory for all bodies together: a largest one as it comes and decompressed, and again.
pub(super) fn memory_units(body_bytes_max: usize) -> usize {
    4 * units(body_bytes_max)
}

fn units(bytes: usize) -> usize {
    (bytes / UNIT_BYTES).min(u32::MAX as usize / 8) + 1
}

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/write", post(write))
        .route("/v1/events", post(events))
        .route("/v1/ping", get(async || StatusCode::NO_CONTENT))
        .with_state(shared)
}

#[derive(Deserialize)]
struct WriteQuery {
    precision: Option<String>,
}

async fn write(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<WriteQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Answer> {
    shared.admit(&peer, &headers).await?;
    let Query(query) = query.map_err(|error| Answer::bad(error.body_text()))?;
    let time_unit = time_unit(query.precision.as_deref()).map_err(Answer::bad)?;
    let labels = Labels { time_unit: Some(time_unit), ..Labels::default() };
    let (body, _memory) = shared.read(&headers, body).await?;
    let payloads = body::lines(&body);
    shared.deliver(&shared.lines, &peer, Some(Arc::new(labels)), payloads).await
}

async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Answer> {
    shared.admit(&peer, &headers).await?;
    let (body, _memory) = shared.read(&headers, body).await?;
    let payloads = body::elements(&body)?;
    shared.deliver(&shared.events, &peer, None, payloads).await
}

/// The unit that the query parameter `precision` names.
pub(super) fn time_unit(precision: Option<&str>) -> Result<TimeUnit, String> {
    match precision {
        None | Some("" | "ns" | "n") => Ok(TimeUnit::Nanoseconds),
        Some("us" | "u" | "µ" | "µs") => Ok(TimeUnit::Microseconds),
        Some("ms") => Ok(TimeUnit::Milliseconds),
        Some("s") => Ok(TimeUnit::Seconds),
        Some(other) => Err(format!("`precision` is `{other}`; known are ns, us, ms and s")),
    }
}

impl Shared {
    /// Whether this request may be read at all; waits until it may be.
    async fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Answer> {
        self.is_known(headers)?;
        // Before the body takes any memory: who waits here must not keep others from theirs.
        let mut stop = self.stop.clone();
        tokio::select! {
            () = stopping(&mut stop) => Err(Answer::Stopping),
            () = peer.0.may_read() => Ok(()),
        }
    }

    /// Whether the sender shows the right token, if it has to show one.
    fn is_known(&self, headers: &HeaderMap) -> Result<(), Answer> {
        if *self.stop.borrow() {
            return Err(Answer::Stopping);
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| {
                scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token")
            });
        match shown {
            Some((_, shown)) if is_equal(shown.trim().as_bytes(), token.expose().as_bytes()) => {
                Ok(())
            }
            _ => Err(Answer::Refused(
                StatusCode::UNAUTHORIZED,
                "send the token of this source as `Authorization: Bearer TOKEN`".into(),
            )),
        }
    }

    /// The body, decompressed, and the memory it takes.
    async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Answer> {
        let max = self.body_bytes_max;
        let too_large = || {
            Answer::Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {max} bytes; send less at once"),
            )
        };
        let encoding = headers.get(header::CONTENT_ENCODING);
        let is_gzip = match encoding.map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => {
                return Err(Answer::Refused(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "`Content-Encoding` can be `gzip` or absent".into(),
                ));
            }
        };
        let told = headers.get(header::CONTENT_LENGTH);
        let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
        if told.is_some_and(|length: usize| length > max) {
            return Err(too_large());
        }
        let most = told.unwrap_or(max) + if is_gzip { max } else { 0 };
        let mut memory = Arc::clone(&self.memory)
            .acquire_many_owned(u32::try_from(units(most)).unwrap_or(u32::MAX))
            .await
            .map_err(|_| Answer::Stopping)?;
        let read = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, max)).await;
        let mut body = match read {
            Ok(Ok(body)) => body,
            // Of a body without a length this is how the limit shows; or the sender went away, and
            // will not see the answer.
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => {
                return Err(Answer::Refused(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("the body did not come within {} s", BODY_WAIT.as_secs()),
                ));
            }
        };
        if is_gzip {
            let packed = body;
            body = tokio::task::spawn_blocking(move || body::gunzip(&packed, max))
                .await
                .map_err(|error| Answer::bad(error.to_string()))??;
        }
        let surplus = memory.num_permits().saturating_sub(units(body.len()));
        drop(memory.split(surplus));
        Ok((body, memory))
    }

    /// Sends the payloads and waits until the spool holds all of them.
    async fn deliver(
        &self,
        outlet: &Outlet,
        peer: &Peer,
        labels: Option<Arc<Labels>>,
        payloads: Vec<Bytes>,
    ) -> Result<StatusCode, Answer> {
        if let Some(at) = payloads.iter().position(|payload| payload.len() > LINE_BYTES_MAX) {
            return Err(Answer::Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "element {} of the body has {} bytes, more than {LINE_BYTES_MAX}; nothing of the body was taken",
                    at + 1,
                    payloads[at].len()
                ),
            ));
        }
        peer.0.brought(payloads.len());
        let received_us = now_us();
        let raw = |bytes: &Bytes| Raw { bytes: bytes.clone(), received_us, cut: false };
        let mut waiting = Vec::new();
        for some in payloads.chunks(INPUT_ITEMS_MAX) {
            let mut input = outlet.input(some.iter().map(raw).collect());
            input.peer = Some(peer.0.peer());
            input.labels.extend(labels.clone());
            let safe = outlet.send_awaited(input).await;
            waiting.push(safe.map_err(|_| Answer::Stopping)?);
        }
        for safe in waiting {
            safe.await.map_err(|_| Answer::Stopping)?;
        }
        Ok(StatusCode::NO_CONTENT)
    }
}

/// Compares in a time that depends on the lengths only.
fn is_equal(shown: &[u8], token: &[u8]) -> bool {
    let difference = shown.iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b));
    shown.len() == token.len() && std::hint::black_box(difference) == 0
}

/// An answer other than 204.
#[derive(Debug)]
enum Answer {
    /// The agent is stopping: send it again.
    Stopping,
    /// The request cannot be taken as it is.
    Refused(StatusCode, String),
    /// The body is no JSON.
    NoJson { message: String, line: usize, column: usize },
}

impl Answer {
    fn bad(message: String) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Json { line, column, .. } => Self::NoJson { message, line, column },
            Refusal::Gzip(_) => Self::bad(message),
            Refusal::Large(_) => Self::Refused(StatusCode::PAYLOAD_TOO_LARGE, message),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, RETRY_AFTER_S)],
                Json(json!({ "error": "the agent is stopping; send the request again" })),
            )
                .into_response(),
            Self::Refused(StatusCode::UNAUTHORIZED, error) => (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer")],
                Json(json!({ "error": error })),
            )
                .into_response(),
            Self::Refused(status, error) => {
                (status, Json(json!({ "error": error }))).into_response()
            }
            Self::NoJson { message, line, column } => (
                StatusCode::BAD_REQUEST,
                Json(json!({ "error": message, "line": line, "column": column })),
            )
                .into_response(),
        }
    }
}
