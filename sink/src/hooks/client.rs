//! Client: POSTs to one receiver, over HTTP/1.1 with or without TLS.
//!
//! In: headers and a body. Out: the status and the beginning of the answer, or why there was none. Promises: a try takes
//! no longer than its limit, whatever the receiver does; redirects are not followed; an answer of any
//! length takes bounded memory; a secret that the receiver sends back is not shown. One connection is kept
//! and used again; when it was closed meanwhile a new one is opened.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::header::{HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use weir_models::config::Secret;

use super::config::{HookConfig, Url};
use super::verdict::Answer;
use crate::tls::trust;

/// For a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// An answer that is longer costs its connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the text of an answer may take behind its status.
const TEXT_WITHIN: Duration = Duration::from_secs(1);
/// How much of an answer is shown.
const SHOWN_CHARS: usize = 200;
const AGENT: &str = concat!("weir-sink/", env!("CARGO_PKG_VERSION"));

/// Sends a request to one place.
#[async_trait]
pub(super) trait Post: Send + Sync {
    /// POSTs once; the error says why there was no answer.
    async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Answer, String>;
}

/// Sends requests over the network.
pub(super) struct Client {
    url: Url,
    path: String,
    tls: Option<Arc<ClientConfig>>,
    within: Duration,
    /// Not to be shown when it comes back.
    secret: Option<Secret>,
    kept: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    /// A client for the `path` at the hook's address. Reaches nobody yet.
    ///
    /// # Errors
    /// When there are no authorities to trust.
    pub(super) fn new(
        hook: &HookConfig,
        path: String,
        secret: Option<Secret>,
    ) -> Result<Self, String> {
        let url = hook.url.clone();
        let tls = url.is_tls.then(|| trust(hook.ca_file.as_deref())).transpose()?;
        let within = Duration::from_secs(hook.timeout_s);
        Ok(Self { url, path, tls, within, secret, kept: Mutex::default() })
    }

    async fn try_post(&self, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let mut kept = self.kept.lock().await;
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
            && let Ok(answer) = sender.send_request(self.request(&headers, &body)?).await
        {
            let (answer, is_whole) = self.read(answer).await;
            *kept = is_whole.then_some(sender);
            return Ok(answer);
        }
        let mut sender = timeout(CONNECT_WITHIN, self.open())
            .await
            .map_err(|_| format!("{} takes too long to connect", self.url.place()))??;
        let sent = sender.send_request(self.request(&headers, &body)?).await;
        let answer =
            sent.map_err(|error| format!("no answer from {}: {error}", self.url.place()))?;
        let (answer, is_whole) = self.read(answer).await;
        *kept = is_whole.then_some(sender);
        Ok(answer)
    }

    fn request(&self, headers: &HeaderMap, body: &Bytes) -> Result<Request<Body>, String> {
        let builder = Request::builder().method(Method::POST).uri(&self.path);
        let request = builder.header(HOST, &self.url.authority).header(USER_AGENT, AGENT);
        let mut request =
            request.body(Body::from(body.clone())).map_err(|error| error.to_string())?;
        request.headers_mut().extend(headers.clone());
        Ok(request)
    }

    async fn open(&self) -> Result<SendRequest<Body>, String> {
        let place = self.url.place();
        let reached = TcpStream::connect((&*self.url.host, self.url.port)).await;
        let socket = reached.map_err(|error| format!("{place} cannot be reached: {error}"))?;
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return speak(socket, &place).await;
        };
        let name = ServerName::try_from(self.url.host.clone())
            .map_err(|_| format!("`{}` is no name that a certificate can have", self.url.host))?;
        let shake = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await;
        let stream = shake
            .map_err(|error| format!("TLS to {place} fails: {error}; check `url` and `ca_file`"))?;
        speak(stream, &place).await
    }

    /// The answer, and whether its connection can be used again.
    async fn read(&self, response: Response<Incoming>) -> (Answer, bool) {
        let status = response.status().as_u16();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after_s = after.and_then(|text| text.trim().parse().ok());
        // The status decides. Some servers never end an answer that has nothing more to say.
        let body = axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX);
        let body = timeout(TEXT_WITHIN.min(self.within / 2), body).await;
        let is_whole = matches!(body, Ok(Ok(_)));
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if let Some(secret) = &self.secret {
            text = text.replace(secret.expose(), "<secret>");
        }
        let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS);
        let text = shown.collect::<String>().trim().to_owned();
        (Answer { status, retry_after_s, text }, is_whole)
    }
}

#[async_trait]
impl Post for Client {
    async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let late = |_| format!("no answer from {} within {:?}", self.url.place(), self.within);
        timeout(self.within, self.try_post(headers, body)).await.map_err(late)?
    }
}

/// Begins HTTP on a connection, and lets it run until its sender is dropped.
async fn speak<S>(stream: S, place: &str) -> Result<SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| format!("no HTTP to {place}: {error}"))?;
    // Its errors come out where an answer is waited for.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// A header that holds a secret.
///
/// # Errors
/// When it has characters that no header can have; never shows it.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| "a token is visible ASCII on one line".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
