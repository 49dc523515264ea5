//! Sources: where inputs come from.
//!
//! In: sockets, files, HTTP requests, MQTT messages. Out: [`Input`]s on one bounded channel, each
//! a handful of raw payloads of one source. Promises: a source acknowledges its peer only after
//! [`Input::done`] said that the spool holds the payloads; when the channel is full it waits, so
//! that TCP, HTTP and MQTT peers are slowed down and never lose anything. Only UDP and unix
//! datagrams can be lost, by the kernel; that is counted and told as a loss.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// One payload as received: a datagram, a line, a message.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The bytes, without framing.
    pub bytes: Bytes,
    /// When they were received, microseconds since the Unix epoch.
    pub received_us: i64,
}

/// What a source or a topic pattern says about all payloads of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Site, where it is not the agent's.
    pub site: Option<String>,
    /// Device.
    pub device: Option<String>,
    /// Metric, for payloads that are a bare number.
    pub metric: Option<String>,
}

/// How the payloads of a source are to be read. The parser's own settings come with it.
#[derive(Clone, Debug, PartialEq)]
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
    /// Index of its parse settings in the configuration's list of sources.
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
    /// What the source knows about them.
    pub labels: Option<Arc<Labels>>,
    /// The payloads, in order.
    pub items: Vec<Raw>,
    /// Events that this source lost before this input, for example in a UDP receive buffer.
    pub lost: u64,
    /// Told once the spool holds all of them; dropped without a word when that will not happen
    /// (the agent is stopping), and then the peer must not be acknowledged.
    pub done: Option<oneshot::Sender<()>>,
}

/// Where sources put their inputs.
pub type Inputs = mpsc::Sender<Input>;
