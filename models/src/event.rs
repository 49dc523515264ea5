//! The event: what came in one datagram, line or payload, and what we made of it.
//!
//! In: the parts that the agent's stages fill. Out: one flat JSON object per event on Kafka (fields
//! in `docs/records.md`), read back by the sink with [`Event::from_json`]. Promises: unknown fields
//! of a newer writer are ignored, a missing optional field reads as its default, and what is read
//! back equals what was written. What cannot be read is the sink's dead letter, with the reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::ident::{EventId, Stream, TemplateId};

/// How far the gateway's clock could be trusted when the stamp was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Clock {
    /// The clock was synchronised.
    #[default]
    Synced,
    /// The clock was not synchronised: the stamp may be years off.
    Unsynced,
    /// The stamp was made by an unsynchronised clock and corrected after the first synchronisation.
    Corrected,
}

/// How much of the input was understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ParseState {
    /// All of it.
    #[default]
    Ok,
    /// Some of it; the reason says what is missing.
    Partial,
    /// Nothing: the event carries its raw bytes and the reason.
    Raw,
}

/// Where the joined metadata came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MetaState {
    /// Known and fresh.
    Hit,
    /// Nothing is known of the device.
    #[default]
    Miss,
    /// Known, but older than the configured age.
    Stale,
}

/// The bytes as received, kept in `raw` when they are UTF-8, else in `raw_b64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBytes(pub bytes::Bytes);

/// One metric of a reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Value {
    /// The value; always finite. Booleans are 0 and 1.
    pub v: f64,
    /// Unit as told by the sender or the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub unit: Option<Arc<str>>,
    /// Anomaly score; about 1 is where the tail of the series' past begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// Structured data of RFC 5424 section 6.3: element id to parameters.
pub type StructuredData = BTreeMap<String, BTreeMap<String, String>>;

/// The fields of a log event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Log {
    /// Syslog facility, 0 to 23.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<u8>,
    /// Syslog severity, 0 (emergency) to 7 (debug).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Host as the sender names itself, or its address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Application, the tag of RFC 3164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Process id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procid: Option<String>,
    /// Message id of RFC 5424.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msgid: Option<String>,
    /// Structured data of RFC 5424.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, BTreeMap<String, String>>))]
    pub sd: StructuredData,
    /// The message text; invalid UTF-8 is replaced (the raw bytes have it).
    pub message: String,
    /// Template of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateId>,
    /// Anomaly score; about 1 is where an alarm is worth a look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// A hole in the stream that is known of: so many events were lost, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Loss {
    /// How many events were lost.
    pub count: u64,
    /// First and last number of the lost events in `stream`, when they had numbers already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(Stream, u64, u64)>,
    /// Why, for example `receive_buffer` or `spool_full`.
    pub reason: String,
    /// Lane of the spool that they were lost in; none of what never came to the spool, and in older markers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Measured values of one device: metric to value.
    Reading(BTreeMap<String, Value>),
    /// A log line.
    Log(Log),
    /// A loss marker.
    Loss(Loss),
}

/// One event, as it travels from the agent to the store and the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The agent that took it.
    pub agent: Arc<str>,
    /// Its identity.
    pub id: EventId,
    /// Site, after enrichment.
    pub site: String,
    /// Device within the site, after enrichment; for logs the host's device.
    pub device: String,
    /// Event time, microseconds since the Unix epoch, UTC.
    pub ts_us: i64,
    /// When the agent received it, same unit.
    pub received_us: i64,
    /// State of the gateway's clock.
    pub clock: Clock,
    /// Name of the input as configured.
    pub source: Arc<str>,
    /// Parser rule that took it.
    pub dialect: Cow<'static, str>,
    /// How much was understood.
    pub parse: ParseState,
    /// Why not all, when not all.
    pub parse_reason: Option<Cow<'static, str>>,
    /// Metadata joined at the edge.
    pub meta: Arc<Meta>,
    /// Where the metadata came from.
    pub meta_state: MetaState,
    /// Age of the metadata in seconds, when there is some.
    pub meta_age_s: Option<u64>,
    /// The bytes as received, unless turned off for the source.
    pub raw: Option<RawBytes>,
    /// What it tells.
    pub body: Body,
}

impl Event {
    /// Appends the event as one JSON object to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write::event(out, self);
    }

    /// Reads one event.
    ///
    /// # Errors
    /// When the bytes are not the JSON of an event; the message names the field and the place.
    pub fn from_json(json: &[u8]) -> Result<Self, BadEvent> {
        Reader::default().read(json)
    }

    /// The log fields, when it is a log event.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        if let Body::Log(log) = &self.body { Some(log) } else { None }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("agent", &*self.agent)?;
        map.serialize_entry("stream", &self.id.stream)?;
        map.serialize_entry("seq", &self.id.seq)?;
        map.serialize_entry("site", &self.site)?;
        map.serialize_entry("device", &self.device)?;
        map.serialize_entry("ts_us", &self.ts_us)?;
        map.serialize_entry("received_us", &self.received_us)?;
        map.serialize_entry("clock", &self.clock)?;
        map.serialize_entry("source", &*self.source)?;
        map.serialize_entry("dialect", &self.dialect)?;
        map.serialize_entry("parse", &self.parse)?;
        if let Some(reason) = &self.parse_reason {
            map.serialize_entry("parse_reason", reason)?;
        }
        if !self.meta.is_empty() {
            map.serialize_entry("meta", &**self.meta)?;
        }
        map.serialize_entry("meta_state", &self.meta_state)?;
        if let Some(age) = self.meta_age_s {
            map.serialize_entry("meta_age_s", &age)?;
        }
        match &self.body {
            Body::Reading(values) => map.serialize_entry("values", values)?,
            Body::Loss(loss) => map.serialize_entry("lost", loss)?,
            Body::Log(log) => serialize_log(&mut map, log)?,
        }
        match &self.raw {
            None => {}
            Some(RawBytes(raw)) => match std::str::from_utf8(raw) {
                Ok(text) => map.serialize_entry("raw", text)?,
                Err(_) => map.serialize_entry("raw_b64", &BASE64.encode(raw))?,
            },
        }
        map.end()
    }
}

fn serialize_log<M: SerializeMap>(map: &mut M, log: &Log) -> Result<(), M::Error> {
    if let Some(facility) = log.facility {
        map.serialize_entry("facility", &facility)?;
    }
    if let Some(severity) = log.severity {
        map.serialize_entry("severity", &severity)?;
    }
    if !log.host.is_empty() {
        map.serialize_entry("host", &log.host)?;
    }
    for (name, text) in [("app", &log.app), ("procid", &log.procid), ("msgid", &log.msgid)] {
        if let Some(text) = text {
            map.serialize_entry(name, text)?;
        }
    }
    if let Some(template) = log.template {
        map.serialize_entry("template", &template)?;
    }
    if !log.sd.is_empty() {
        map.serialize_entry("sd", &log.sd)?;
    }
    if let Some(score) = log.score {
        map.serialize_entry("score", &score)?;
    }
    map.serialize_entry("message", &log.message)
}

mod meta;
mod read;
mod write;

pub use meta::Meta;
pub use read::{BadEvent, Reader};

#[cfg(test)]
mod tests;
