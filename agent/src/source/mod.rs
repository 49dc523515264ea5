//! Sources: where inputs come from.
//!
//! In: sockets, files, HTTP requests, MQTT messages. Out: [`Input`]s on one bounded channel, each
//! a handful of raw payloads of one source. Promises: a source acknowledges its peer only after
//! [`Input::done`] said that the spool holds the payloads; when the channel is full it waits, so
//! that TCP, RELP, HTTP and MQTT peers are slowed down and never lose anything. Only UDP and unix
//! datagrams can be lost, by the kernel; that is counted and told as a loss.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`] | the table `[source]` |
//! | `one` | one source of any kind |
//! | [`start`](mod@start) | binds every socket, then runs every source |
//! | [`syslog`] | UDP, TCP and unix datagram sockets |
//! | [`file`](mod@file) | followed files |
//! | [`stdin`] | standard input |
//! | [`http`] | line protocol and JSON over HTTP |
//! | [`mqtt`] | a client of an MQTT broker |
//! | [`relp`] | RELP, each message acknowledged |
//! | [`tls`] | certificates and handshakes of all of them |
//! | `accept` | the loop that accepts connections |
//! | [`framing`] | a stream of bytes into frames |
//! | `pace` | reading by the clock |
//! | `peers` | limits on connections and their peers |
//! | `given` | what a test gives, as a source would pass it on |
//! | `outlet` | one source's way into the channel, with its counters |
//! | [`listen`] | listening addresses, and what to do when one cannot be had |
//! | `sockets` | sockets that go from one source to the next |
//! | `switch` | sources that leave, and others that come, while the rest goes on |

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

mod accept;
pub mod config;
pub mod file;
pub mod framing;
#[cfg(feature = "workstation")]
mod given;
pub mod http;
pub mod listen;
pub mod mqtt;
mod one;
mod outlet;
pub(crate) mod pace;
mod peers;
pub mod relp;
mod sockets;
pub mod start;
pub mod stdin;
mod switch;
pub mod syslog;
pub mod tls;

pub use config::Config;
#[cfg(feature = "workstation")]
pub(crate) use given::given;
pub use one::{OneSource, SourceSettings};
pub(crate) use outlet::QUEUED_BYTES_MAX;
pub use start::{Running, StartError, start};
pub(crate) use switch::Switch;

/// One payload as received: a datagram, a line, a message.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The bytes, without framing.
    pub bytes: Bytes,
    /// When they were received, microseconds since the Unix epoch.
    pub received_us: i64,
    /// Whether this is only a part of what was sent: cut at
    /// [`LINE_BYTES_MAX`](weir_models::limit::LINE_BYTES_MAX), the rest of such a cut, or a frame
    /// whose end never came.
    pub cut: bool,
}

/// The unit of time stamps that are bare numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// 10^-9 s, the default of the line protocol.
    Nanoseconds,
    /// 10^-6 s.
    Microseconds,
    /// 10^-3 s.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// What a source or a topic pattern says about payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Site, where it is not the agent's.
    pub site: Option<String>,
    /// Device.
    pub device: Option<String>,
    /// Metric, for payloads that are a bare number.
    pub metric: Option<String>,
    /// Unit of the payloads' own time stamps, where the sender named one.
    pub time_unit: Option<TimeUnit>,
}

/// How the payloads of a source are to be read. The parser's own settings come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Syslog of any dialect.
    Syslog,
    /// InfluxDB line protocol, one line.
    Line,
    /// A JSON payload, one message of one device.
    Json,
    /// A line of text.
    Text,
}

/// One source as the later stages see it.
#[derive(Debug)]
pub struct Source {
    /// Name as configured.
    pub name: Arc<str>,
    /// Where its parse settings are in the parser's list. No other source ever has the same index.
    pub index: usize,
    /// How to read its payloads.
    pub format: Format,
}

/// A handful of payloads of one source.
#[derive(Debug)]
pub struct Input {
    /// Where they come from.
    pub source: Arc<Source>,
    /// The sender's address, where there is one.
    pub peer: Option<IpAddr>,
    /// What the source knows about them: nothing, one for all of them, or one for each.
    pub labels: Vec<Arc<Labels>>,
    /// The payloads, in order; none when only a loss is to be told.
    pub items: Vec<Raw>,
    /// Events that this source lost before this input, for example in a UDP receive buffer.
    pub lost: u64,
    /// Told once the spool holds all of them; dropped without a word when that will not happen
    /// (the agent is stopping), and then the peer must not be acknowledged.
    pub done: Option<oneshot::Sender<()>>,
    /// Whether a peer waits for that, and sends little until it is told.
    pub is_awaited: bool,
    /// What it holds of its source's room in the channel, given back when it is dropped.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Input {
    /// The payloads, each with what the source knows about it.
    pub fn items(&self) -> impl Iterator<Item = (&Raw, Option<&Labels>)> {
        let last = self.labels.len().wrapping_sub(1);
        let labels = move |at: usize| self.labels.get(at.min(last)).map(|labels| &**labels);
        self.items.iter().enumerate().map(move |(at, raw)| (raw, labels(at)))
    }
}

/// Where sources put their inputs.
pub type Inputs = mpsc::Sender<Input>;

/// Waits until what has the other end stops: the source, or the agent.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    // An error says that the one who could stop us is gone: the same thing.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next one that comes, `None` once none can; never where nobody sends.
pub(crate) async fn received<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits until then, or for ever.
pub(crate) async fn at(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
