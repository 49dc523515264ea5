//! RELP, the reliable event logging protocol of rsyslog (`omrelp`) and others, plain or over TLS.
//!
//! In: sessions. Out: inputs. Promises: a message is answered with `200 OK` only after the spool holds
//! it, so a sender that keeps what is not answered loses nothing, whatever happens to this agent. What
//! can go wrong: messages come twice when the connection or the agent ends between spool and answer.
//!
//! How fast it goes depends on how many messages the sender has on their way without an answer:
//! `windowSize` of omrelp, 128 when it is not set. A message is answered up to 40 ms after it came (12 for
//! the look at the inputs, 25 for the flush), so 128 at a time are some 3,000 a second; for more set
//! `windowSize="5000"`.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_models::{limit, metric};

use super::accept::Entrance;
use super::listen::{self, Listen};
use super::outlet::Outlet;
use super::peers::Limits;
use super::sockets::{Kept, Sockets};
use super::start::StartError;
use super::tls::{self, Door};
use super::{Format, Inputs, Source};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;
use session::Session;

pub mod frame;
mod offers;
mod session;
#[cfg(test)]
mod tests;

/// A RELP listener: one table `[[source.relp]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics; default: made of the port, for example `relp-2514`.
    #[serde(default)]
    pub name: Option<String>,
    /// Where to listen: `tcp://ADDRESS:PORT` or, with `tls`, `tls://ADDRESS:PORT`.
    pub listen: Listen,
    /// Certificate and key for `tls://`, and who may connect.
    #[serde(default)]
    pub tls: Option<tls::Config>,
    /// How messages are parsed: `syslog`, `line`, `json` or `text`.
    #[serde(default = "default_format")]
    pub format: Format,
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
    /// Most simultaneous connections; further ones are refused.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// Most simultaneous connections of one peer address; 0 for no limit.
    #[serde(default = "default_peer_connections_max")]
    pub peer_connections_max: usize,
    /// A peer address that sends more events a second is read more slowly; 0, the default, for no
    /// limit.
    #[serde(default)]
    pub peer_events_per_s_max: u32,
}

fn default_format() -> Format {
    Format::Syslog
}

fn default_keep_raw() -> bool {
    true
}

fn default_connections_max() -> usize {
    limit::CONNECTIONS_MAX
}

fn default_peer_connections_max() -> usize {
    limit::PEER_CONNECTIONS_MAX
}

impl Config {
    /// The name, configured or derived.
    #[must_use]
    pub fn name(&self) -> String {
        let port = self.address().map_or(0, |address| address.port());
        self.name.clone().unwrap_or_else(|| format!("relp-{port}"))
    }

    /// Where to listen; `None` when it is nothing that RELP can use.
    fn address(&self) -> Option<SocketAddr> {
        match self.listen {
            Listen::Tcp(address) | Listen::Tls(address) => Some(address),
            Listen::Udp(_) | Listen::Unix(_) => None,
        }
    }

    /// Whether RELP can listen there.
    pub(super) fn is_stream(&self) -> bool {
        self.address().is_some()
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    limits: Limits,
    listener: TcpListener,
    door: Door,
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

/// Binds the socket of `config`, or takes over one that is `kept`, and reads its certificate. Needs a
/// tokio runtime.
///
/// # Errors
/// Says which source, which address or file, and what to do.
pub(super) fn bind(config: &Config, kept: &Kept<'_>) -> Result<Bound, StartError> {
    let refused = |advice: String, error: std::io::Error| StartError::Listen {
        name: config.name(),
        address: config.listen.to_string(),
        advice,
        error,
    };
    let Some(address) = config.address() else {
        let error = std::io::ErrorKind::Unsupported.into();
        return Err(refused("RELP needs `tcp://` or `tls://`".into(), error));
    };
    let door = Door::new(&config.name(), config.tls.as_ref())?;
    let listener = kept
        .tcp(&config.name(), address)
        .map_err(|error| refused(listen::advice("tcp", address, &error), error))?;
    let limits = Limits {
        connections_max: config.connections_max,
        peer_connections_max: config.peer_connections_max,
        peer_events_per_s_max: config.peer_events_per_s_max,
    };
    Ok(Bound { limits, listener, door })
}

/// Takes messages until the source stops or the pipeline ends.
pub async fn run(bound: Bound, source: Arc<Source>, inputs: Inputs, stop: watch::Receiver<bool>) {
    let Bound { limits, listener, door } = bound;
    let outlet = Outlet::new(source, inputs);
    let entrance = Entrance { name: Arc::clone(outlet.name()), listener, door, limits };
    let misunderstood = metrics::counter!(metric::AGENT_MISUNDERSTOOD.name, "source" => outlet.name().to_string(), "reason" => "protocol");
    let serve =
        move |guest, stream, stop| Session::new(guest, outlet, misunderstood).run(stream, stop);
    entrance.run(stop, serve).await;
}
