//! MQTT: a client of a broker, 3.1.1 or 5.
//!
//! In: messages of the subscribed topics. Out: inputs of the messages that came together, each with the
//! labels that its topic gives. Promises: PUBACK goes out only after the spool holds the message; the session is kept, so
//! the broker keeps what comes while the agent is away; what the broker sends again after a lost
//! connection is taken once. What can go wrong: a message comes twice when the agent dies between
//! spool and PUBACK; a message of quality of service 0 is lost like a datagram.
//!
//! How fast it goes depends on how many messages the broker sends without waiting for PUBACK: with
//! MQTT 5 that is `in_flight_max`, with 3.1.1 the broker's own setting (mosquitto: 20, raised with
//! `max_inflight_messages`). PUBACK goes out up to 40 ms after a message came.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;
use weir_models::config::{Secret, SecretRef};

use super::start::StartError;
use super::tls;
use super::{Format, Inputs, Labels, Source};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;
pub use topic::Pattern;

mod codec;
mod ledger;
mod listener;
mod session;
mod topic;

/// An MQTT broker to listen to: one table `[[source.mqtt]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics; default: made of the broker, for example
    /// `mqtt-broker.local`.
    #[serde(default)]
    pub name: Option<String>,
    /// The broker: `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS; the port is 1883 or 8883 by
    /// default.
    pub url: Broker,
    /// With `mqtts://`: whom to trust, and a certificate to show; default: the system's authorities.
    #[serde(default)]
    pub tls: Option<tls::ClientConfig>,
    /// Version of the protocol: `3.1.1` or `5`.
    #[serde(default = "default_protocol")]
    pub protocol: Protocol,
    /// Name under which the broker keeps the session; no two clients of a broker may share one.
    /// Default: drawn once and remembered in the data folder.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Topics: `{site}`, `{device}` and `{metric}` name a level, `+` and `#` as in MQTT. Where several
    /// match, the first counts.
    pub topics: Vec<Pattern>,
    /// Name to show to the broker.
    #[serde(default)]
    pub username: Option<String>,
    /// Password to show to the broker.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Most messages that wait for the spool at the same time.
    #[serde(default = "default_in_flight_max")]
    pub in_flight_max: u16,
    /// How often the connection is checked, in seconds.
    #[serde(default = "default_keep_alive_s")]
    pub keep_alive_s: u16,
    /// MQTT 5: how long the broker is to keep the session while the agent is away, in seconds.
    #[serde(default = "default_session_expiry_s")]
    pub session_expiry_s: u32,
    /// Largest packet taken, in bytes. A payload above 64 KiB is cut; a packet above this ends the
    /// connection (3.1.1) or is not sent by the broker (5).
    #[serde(default = "default_packet_bytes_max")]
    pub packet_bytes_max: u32,
    /// Whether retained messages are taken: the last value of a topic, sent by the broker at each
    /// start of the agent, however old it is.
    #[serde(default = "default_retained")]
    pub retained: bool,
    /// How payloads are parsed: `json`, `line`, `syslog` or `text`.
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
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3_1_1,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
}

/// Address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Broker {
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is TLS.
    pub is_tls: bool,
}

impl TryFrom<String> for Broker {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no address of an MQTT broker; write `mqtt://HOST:PORT` or `mqtts://HOST:PORT`"
            )
        };
        let (rest, is_tls) = match text.split_once("://") {
            Some(("mqtt", rest)) => (rest, false),
            Some(("mqtts", rest)) => (rest, true),
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, if is_tls { 8883 } else { 1883 }),
        };
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(['/', '@']) || (host.contains(':') && !is_v6) {
            return Err(wrong());
        }
        Ok(Self { host: host.into(), port, is_tls })
    }
}

fn default_protocol() -> Protocol {
    Protocol::V3_1_1
}

fn default_in_flight_max() -> u16 {
    1_000
}

fn default_keep_alive_s() -> u16 {
    30
}

fn default_session_expiry_s() -> u32 {
    7 * 24 * 3_600
}

fn default_packet_bytes_max() -> u32 {
    2 * 1024 * 1024
}

fn default_retained() -> bool {
    true
}

fn default_format() -> Format {
    Format::Json
}

fn default_keep_raw() -> bool {
    true
}

impl Config {
    /// The name, configured or derived.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = self.url.host.trim_matches(['[', ']']).replace(':', "-");
            format!("mqtt-{host}")
        })
    }
}

/// What is needed to connect.
#[derive(Debug)]
pub struct Settings {
    config: Config,
    client_id: String,
    host: String,
    port: u16,
    login: Option<(String, Secret)>,
    tls: Option<tls::ClientConfig>,
    /// What `tls` gave at the start: a connection that is to be TLS is never made without.
    trust: Option<Arc<rustls::ClientConfig>>,
}

/// Fetches secret, certificates and client id of `config`; nothing connects yet.
///
/// # Errors
/// When the secret, a certificate or the data folder cannot be had.
pub fn prepare(config: &Config, data_dir: &Path) -> Result<Settings, StartError> {
    let name = config.name();
    let password = config.password.as_ref();
    let password = password.map(|secret| StartError::secret(&name, "password", secret));
    let password = password.transpose()?.unwrap_or_else(|| Secret::new(""));
    let client_id = match &config.client_id {
        Some(id) => id.clone(),
        None => {
            let path = data_dir.join(format!("{name}.client-id"));
            remembered_id(&path).map_err(|error| StartError::DataDir {
                name: name.clone(),
                path,
                error,
            })?
        }
    };
    let tls = config.url.is_tls.then(|| config.tls.clone().unwrap_or_default());
    let trust = tls.as_ref().map(tls::client).transpose();
    let trust = trust.map_err(|error| StartError::Tls { name: name.clone(), error })?;
    let trust = trust.map(Arc::new);
    Ok(Settings {
        client_id,
        tls,
        trust,
        host: config.url.host.clone(),
        port: config.url.port,
        login: config.username.clone().map(|username| (username, password)),
        config: config.clone(),
    })
}

/// The id in the file at `path`, which is made with a new one if it is not there. 21 characters:
/// every broker takes up to 23.
fn remembered_id(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let id = format!("weir-{:016x}", getrandom::u64().map_err(io::Error::other)?);
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let new = path.with_extension("client-id.new");
    fs::write(&new, &id)?;
    fs::File::open(&new)?.sync_data()?;
    fs::rename(&new, path)?;
    Ok(id)
}

/// Takes messages until the source stops or the pipeline ends.
pub async fn run(
    settings: Settings,
    source: Arc<Source>,
    inputs: Inputs,
    stop: watch::Receiver<bool>,
) {
    listener::run(settings, source, inputs, stop).await;
}

/// What the first of `topics` that matches says of `topic`. A topic that none matches, which a
/// session of an earlier configuration may still send, says nothing, but its message is taken.
fn labels(topics: &[Pattern], topic: &str) -> Labels {
    matching(topics, topic).unwrap_or_default()
}

/// What the first of `topics` that matches says of `topic`; none when none does.
pub(super) fn matching(topics: &[Pattern], topic: &str) -> Option<Labels> {
    topics.iter().find_map(|pattern| pattern.labels(topic))
}

#[cfg(test)]
mod tests;
