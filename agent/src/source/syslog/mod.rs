//! Syslog sockets: UDP (RFC 5426), TCP (RFC 6587), TLS (RFC 5425) and unix datagrams.
//!
//! In: datagrams and connections. Out: one [`Input`](super::Input) for all messages that were there
//! at once. Promises: a TCP sender is slowed down while the channel is full; at a stop what the
//! kernel already took is read out. UDP datagrams that the kernel had to drop are told as lost.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use tokio::sync::watch;
use weir_models::limit;

use super::listen::{self, Listen};
use super::outlet::Outlet;
use super::sockets::{Kept, SocketFile, Sockets, UdpEnd};
use super::start::StartError;
use super::tls::{self, Door};
use super::{Format, Inputs, Source};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;

mod datagram;
mod drops;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod unix;

pub(super) use unix::bind as bind_unix;

/// A syslog listener: one table `[[source.syslog]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics; default: made of network and port, for example
    /// `syslog-udp-5514`.
    #[serde(default)]
    pub name: Option<String>,
    /// Where to listen: `udp://ADDRESS:PORT`, `tcp://ADDRESS:PORT`, `tls://ADDRESS:PORT` or
    /// `unix:///PATH`.
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
    /// UDP: receive buffer asked of the kernel, in bytes; it holds bursts.
    #[serde(default = "default_receive_buffer_bytes")]
    pub receive_buffer_bytes: usize,
    /// UDP: sockets that share the address, each with a receive buffer of its own; the datagrams of
    /// one sender all go to the same one.
    #[serde(default = "default_sockets")]
    pub sockets: usize,
    /// TCP: most simultaneous connections; further ones are refused.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// TCP: most simultaneous connections of one peer address; 0 for no limit.
    #[serde(default = "default_peer_connections_max")]
    pub peer_connections_max: usize,
    /// TCP: a peer address that sends more events a second is read more slowly, so that it waits;
    /// 0, the default, for no limit.
    #[serde(default)]
    pub peer_events_per_s_max: u32,
    /// TCP: a connection that says nothing for so many seconds is closed; 0, the default, for never:
    /// most senders notice a closed connection only by losing a message, and dead peers are found by
    /// TCP keep-alive anyway.
    #[serde(default)]
    pub idle_s: u64,
    /// Unix: permissions of the socket file.
    #[serde(default = "default_mode")]
    pub mode: u32,
}

fn default_format() -> Format {
    Format::Syslog
}

fn default_keep_raw() -> bool {
    true
}

fn default_receive_buffer_bytes() -> usize {
    8 * 1024 * 1024
}

fn default_sockets() -> usize {
    1
}

fn default_connections_max() -> usize {
    limit::CONNECTIONS_MAX
}

fn default_peer_connections_max() -> usize {
    limit::PEER_CONNECTIONS_MAX
}

fn default_mode() -> u32 {
    0o666
}

impl Config {
    /// The name, configured or derived.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| match &self.listen {
            Listen::Udp(address) => format!("syslog-udp-{}", address.port()),
            Listen::Tcp(address) => format!("syslog-tcp-{}", address.port()),
            Listen::Tls(address) => format!("syslog-tls-{}", address.port()),
            Listen::Unix(path) => {
                format!("syslog-unix-{}", path.file_stem().unwrap_or_default().to_string_lossy())
            }
        })
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Bound(Sort);

#[derive(Debug)]
enum Sort {
    /// At least one, all on the same address.
    Udp(Vec<UdpEnd<UdpSocket>>),
    /// Plain or TLS.
    Tcp(TcpListener, Box<Door>),
    /// With its file.
    Unix(UnixDatagram, Arc<SocketFile>),
}

impl Bound {
    /// The address; a unix socket has none.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Sort::Udp(ends) => ends.first()?.socket.local_addr().ok(),
            Sort::Tcp(listener, _) => listener.local_addr().ok(),
            Sort::Unix(..) => None,
        }
    }

    /// A second hold on the sockets.
    pub(super) fn hold(&self) -> io::Result<Sockets> {
        match &self.0 {
            Sort::Udp(ends) => Sockets::of_udp(ends),
            Sort::Tcp(listener, _) => Sockets::of_tcp(listener),
            Sort::Unix(socket, file) => Sockets::of_unix(socket, file),
        }
    }
}

/// Binds the socket of `config`, or takes over one that is `kept`. Needs a tokio runtime.
///
/// # Errors
/// Says which source, which address, and what to do.
pub(super) fn bind(config: &Config, kept: &Kept<'_>) -> Result<Bound, StartError> {
    let name = config.name();
    let refused = |advice: String, error: io::Error| StartError::Listen {
        name: name.clone(),
        address: config.listen.to_string(),
        advice,
        error,
    };
    match &config.listen {
        Listen::Udp(address) => kept
            .udp(&name, *address, config.sockets, config.receive_buffer_bytes)
            .map(|ends| Bound(Sort::Udp(ends)))
            .map_err(|error| refused(listen::advice("udp", *address, &error), error)),
        Listen::Tcp(address) | Listen::Tls(address) => {
            let door = Door::new(&name, config.tls.as_ref())?;
            kept.tcp(&name, *address)
                .map(|listener| Bound(Sort::Tcp(listener, Box::new(door))))
                .map_err(|error| refused(listen::advice("tcp", *address, &error), error))
        }
        Listen::Unix(path) => kept
            .unix(&name, path, config.mode)
            .map(|(socket, file)| Bound(Sort::Unix(socket, file)))
            .map_err(|error| refused(listen::unix_advice(path, &error), error)),
    }
}

/// Takes messages until the source stops or the pipeline ends.
pub async fn run(
    config: Config,
    bound: Bound,
    source: Arc<Source>,
    inputs: Inputs,
    stop: watch::Receiver<bool>,
) {
    let outlet = Outlet::new(source, inputs);
    match bound.0 {
        Sort::Udp(ends) => udp::run(&config, ends, &outlet, &stop).await,
        Sort::Tcp(listener, door) => tcp::run(&config, listener, *door, outlet, stop).await,
        Sort::Unix(socket, file) => unix::run(socket, file, config.mode, outlet, stop).await,
    }
}
