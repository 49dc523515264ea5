//! Client: HTTP/1.1 for the S3 library, on the hyper and the rustls that the sink has anyway.
//!
//! In: requests of the library, signed. Out: answers; one that refuses becomes a [`Failure`]. Promises: a
//! connection, an answer, each part of its body and the whole of it come within a limit; redirects are not followed. "There
//! is no such object" is told apart from "there is no such bucket": only the first one may mean that something was never written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, USER_AGENT};
use axum::http::{HeaderValue, Method, Response};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::ClientConfig;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::failure::Failure;

/// For a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A body has so much longer as it needs at this pace, in bytes a second.
const SLOWEST: u64 = 256 * 1024;
/// A body that does not say how long it is has time for so much.
const UNKNOWN_BYTES: u64 = 64 * 1024 * 1024;
/// A connection that is not used for so long is closed; servers commonly keep them for longer.
const IDLE: Duration = Duration::from_secs(15);
/// The answer of a refusal is read so far.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("weir-sink/", env!("CARGO_PKG_VERSION")));

/// Sends requests over the network.
#[derive(Clone)]
pub(super) struct Client {
    pool: legacy::Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    within: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("within", &self.within).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts as `tls` says and waits `within` for an answer.
    pub(super) fn new(tls: &Arc<ClientConfig>, within: Duration) -> Self {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { pool, within }
    }
}

impl HttpConnector for Client {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        request.headers_mut().insert(USER_AGENT, AGENT);
        let place = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let method = request.method().clone();
        let headers = request.headers();
        let is_conditional = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
        let for_body = Duration::from_secs(request.body().content_length() as u64 / SLOWEST);
        let within = self.within + for_body;
        let answer = match timeout(within, self.pool.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unanswered(place, &error)),
            Err(_) => return Err(failed(Failure::Late { place, within })),
        };
        if answer.status().is_success() {
            return Ok(
                answer.map(|body| HttpResponseBody::new(Timed::new(body, place, self.within)))
            );
        }
        self.refused(&method, is_conditional, place, answer).await
    }
}

impl Client {
    /// What to make of an answer that is no success.
    async fn refused(
        &self,
        method: &Method,
        is_conditional: bool,
        place: String,
        answer: Response<Incoming>,
    ) -> Result<HttpResponse, HttpError> {
        let (parts, body) = answer.into_parts();
        let status = parts.status.as_u16();
        let read = axum::body::to_bytes(axum::body::Body::new(body), REFUSAL_BYTES_MAX);
        // The status decides; its text is for people.
        let read = timeout(self.within, read).await;
        let body = read.ok().and_then(Result::ok).unwrap_or_default();
        let failure = Failure::refused(&place, status, &String::from_utf8_lossy(&body));
        if is_for_library(method, is_conditional, &failure) {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        Err(failed(failure))
    }
}

/// Whether the library has to see a refusal as it is: an object that is not there, a condition that does not hold.
fn is_for_library(method: &Method, is_conditional: bool, failure: &Failure) -> bool {
    let Failure::Refused { status, code, .. } = failure else {
        return false;
    };
    match *status {
        304 | 409 | 412 => is_conditional,
        404 if code == "NoSuchKey" => true,
        // These have no text where nothing is wrong with the bucket.
        404 => code.is_empty() && (method == Method::HEAD || method == Method::DELETE),
        _ => false,
    }
}

fn failed(failure: Failure) -> HttpError {
    let kind = match &failure {
        Failure::Unreached { .. } => HttpErrorKind::Connect,
        Failure::Late { .. } => HttpErrorKind::Timeout,
        Failure::Broken { .. } => HttpErrorKind::Interrupted,
        Failure::Refused { .. } if failure.is_temporary() => HttpErrorKind::Request,
        Failure::Refused { .. } => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, failure)
}

fn unanswered(place: String, error: &legacy::Error) -> HttpError {
    let why = deepest(error);
    failed(if error.is_connect() {
        Failure::Unreached { place, why }
    } else {
        Failure::Broken { place, why }
    })
}

/// The cause below all others: what is above it only says where.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}

/// A body of which each part has to come in time, and all of it.
struct Timed {
    body: Incoming,
    place: String,
    within: Duration,
    until: Instant,
    /// Since the reader waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(body: Incoming, place: String, within: Duration) -> Self {
        let bytes = body.size_hint().upper().unwrap_or(UNKNOWN_BYTES);
        let until = Instant::now() + within + Duration::from_secs(bytes / SLOWEST);
        Self { body, place, within, until, waiting: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            let place = &this.place;
            let broken = |error: hyper::Error| {
                failed(Failure::Broken { place: place.clone(), why: deepest(&error) })
            };
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let within = this.within;
        let left = this.until.saturating_duration_since(Instant::now());
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(within.min(left))));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(failed(Failure::Late { place: this.place.clone(), within }))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
