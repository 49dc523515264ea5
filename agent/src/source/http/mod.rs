//! HTTP and HTTPS: InfluxDB line protocol and JSON.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `POST /v1/write?precision=ns\|us\|ms\|s` | line protocol, one event a line | 204 once the spool holds it |
//! | `POST /v1/events` | a JSON object, an array or NDJSON, one event an element | 204 once the spool holds it |
//! | `GET /v1/ping` | | 204 |
//!
//! In: requests. Out: inputs. Promises: 204 means that the spool holds every event of the body; any
//! other answer means that the request can be sent again. While the channel is full the answer waits.
//! Lines that cannot be understood are events like any others; only a body that is no JSON at all is
//! refused (400, naming line and column). Memory is bounded: one body (413), one element (413), all
//! bodies together (they wait), connections, and the time a sender may take.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use weir_models::config::{Secret, SecretRef};
use weir_models::limit;

use super::listen;
use super::outlet::Outlet;
use super::sockets::{Kept, Sockets};
use super::start::StartError;
use super::tls::{self, Door};
use super::{Format, Inputs, Source};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;

mod body;
#[cfg(feature = "workstation")]
mod given;
mod routes;
mod serve;
#[cfg(test)]
mod tests;

#[cfg(feature = "workstation")]
pub(super) use given::payloads;

/// An HTTP listener: one table `[[source.http]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics; default: made of the port, for example `http-8086`.
    #[serde(default)]
    pub name: Option<String>,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Certificate and key, and who may connect; with it the source speaks HTTPS only.
    #[serde(default)]
    pub tls: Option<tls::Config>,
    /// Token that senders have to show, as `Authorization: Bearer TOKEN` (or `Token TOKEN`, as
    /// InfluxDB's clients do); default: everybody may send.
    #[serde(default)]
    pub token: Option<SecretRef>,
    /// Largest body, in bytes, before and after decompression.
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: usize,
    /// Most simultaneous connections; further ones are refused.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// Most simultaneous connections of one peer address; 0 for no limit.
    #[serde(default = "default_peer_connections_max")]
    pub peer_connections_max: usize,
    /// A peer address that sends more events a second is answered more slowly; 0, the default, for no
    /// limit.
    #[serde(default)]
    pub peer_events_per_s_max: u32,
    /// A connection may take so many seconds for the head of a request, and wait as long between two;
    /// then it is closed. 0 for no limit.
    #[serde(default = "default_idle_s")]
    pub idle_s: u64,
    /// Time zone of stamps without one, for example `Europe/Berlin`; default: the machine's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether events carry the bytes as received.
    #[serde(default = "default_keep_raw")]
    pub keep_raw: bool,
    /// What becomes of its events when the spool is full: `block` or `drop_lowest`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// What is what in JSON payloads.
    #[serde(default)]
    pub fields: Fields,
    /// What is what in lines of the line protocol.
    #[serde(default)]
    pub line: LineFields,
}

fn default_body_bytes_max() -> usize {
    limit::HTTP_BODY_BYTES_MAX
}

fn default_connections_max() -> usize {
    limit::CONNECTIONS_MAX
}

fn default_peer_connections_max() -> usize {
    limit::PEER_CONNECTIONS_MAX
}

fn default_idle_s() -> u64 {
    75
}

fn default_keep_raw() -> bool {
    true
}

impl Config {
    /// The name, configured or derived.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("http-{}", self.listen.port()))
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    listener: TcpListener,
    door: Door,
    token: Option<Secret>,
}

impl Bound {
    /// The address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// A second hold on the socket.
    pub(super) fn hold(&self) -> std::io::Result<Sockets> {
        Sockets::of_tcp(&self.listener)
    }
}

/// Binds the socket of `config`, or takes over one that is `kept`, and fetches its secret. Needs a tokio
/// runtime.
///
/// # Errors
/// Says which source, which address or key, and what to do.
pub(super) fn bind(config: &Config, kept: &Kept<'_>) -> Result<Bound, StartError> {
    let door = Door::new(&config.name(), config.tls.as_ref())?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let listener = kept.tcp(&config.name(), config.listen).map_err(|error| StartError::Listen {
        name: config.name(),
        address: format!("{scheme}://{}", config.listen),
        advice: listen::advice("tcp", config.listen, &error),
        error,
    })?;
    let token =
        config.token.as_ref().map(|token| StartError::secret(&config.name(), "token", token));
    Ok(Bound { config: config.clone(), listener, door, token: token.transpose()? })
}

/// Answers requests until the source stops or the pipeline ends.
pub async fn run(bound: Bound, source: Arc<Source>, inputs: Inputs, stop: watch::Receiver<bool>) {
    let outlet = |format: Format| {
        let source = Source { name: Arc::clone(&source.name), index: source.index, format };
        Outlet::new(Arc::new(source), inputs.clone())
    };
    let body_bytes_max = bound.config.body_bytes_max;
    let shared = routes::Shared {
        lines: outlet(Format::Line),
        events: outlet(Format::Json),
        token: bound.token,
        body_bytes_max,
        memory: Arc::new(Semaphore::new(routes::memory_units(body_bytes_max))),
        stop: stop.clone(),
    };
    // Nothing but the routes may hold the channel open.
    drop(inputs);
    serve::run(&bound.config, bound.listener, bound.door, Arc::new(shared), stop).await;
}
