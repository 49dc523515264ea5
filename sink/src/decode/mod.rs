//! Decode: what a Kafka record is.
//!
//! In: one record of one of our topics. Out: [`Decoded`], or [`Poison`] with the reason, which goes to
//! the dead letter topic. Pure. Promises: every record gets an answer, whatever its bytes; what
//! comes out can be stored: stream and number are real ones, and every name that is part of a
//! primary key is within its limit, so that no single record can stop a partition later on.

use std::sync::Arc;

use weir_models::alert::Alert;
use weir_models::device::{AgentStatus, Device};
use weir_models::event::{Body, Event, Reader};
use weir_models::feedback::Feedback;
use weir_models::ident::EventId;
use weir_models::limit::{NAME_BYTES_MAX, NOTE_BYTES_MAX};
use weir_models::topic::Topic;

use crate::consume::Record;
use crate::store::{AHEAD_MAX_US, DeviceChange};

pub mod dedupe;
mod rows;

pub use rows::add_event;

/// What a record is.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A reading, a log line or a loss marker.
    Event(Arc<Event>),
    /// An alert record.
    Alert(Arc<Alert>),
    /// A device was written or deleted.
    Device(DeviceChange),
    /// A heartbeat.
    Agent(AgentStatus),
    /// What a person says of an alert.
    Feedback(Feedback),
    /// Nothing to store: the deletion of an agent or of a feedback.
    Ignored,
}

impl Decoded {
    /// The identity by which a duplicate is recognised; none for records of compacted topics.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        match self {
            Self::Event(event) => Some(event.id),
            Self::Alert(alert) => Some(alert.event_id()),
            Self::Device(_) | Self::Agent(_) | Self::Feedback(_) | Self::Ignored => None,
        }
    }
}

/// Why a record cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Poison {
    /// A data record without a value.
    #[error("no value")]
    Empty,
    /// The bytes are not what the topic carries.
    #[error("{0}")]
    Malformed(String),
    /// Stream 0, number 0, or a number above what a `bigint` holds.
    #[error("stream {} and seq {} do not name an event", .0.stream, .0.seq)]
    Identity(EventId),
    /// A name is part of a primary key and cannot be stored.
    #[error("{what} has {bytes} bytes, allowed are {min} to {NAME_BYTES_MAX}")]
    Name {
        /// Which name.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The least length.
        min: usize,
    },
    /// The key of a compacted record is not the one its value belongs to.
    #[error("the key does not belong to the value: expected `{0}`")]
    Key(String),
    /// A log line on the readings topic or the other way round.
    #[error("a record of another kind than the topic carries")]
    Topic,
}

impl Poison {
    /// A short, bounded label for the metric.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Malformed(_) => "malformed",
            Self::Identity(_) => "identity",
            Self::Name { .. } => "name",
            Self::Key(_) => "key",
            Self::Topic => "topic",
        }
    }
}

/// Says what `record` is; `reader` remembers what events have in common.
///
/// # Errors
/// [`Poison`] when it is nothing that the topic carries or nothing that can be stored.
pub fn decode(record: &Record, reader: &mut Reader) -> Result<Decoded, Poison> {
    match record.partition.topic {
        topic @ (Topic::Readings | Topic::Logs) => event(topic, value(record)?, reader),
        Topic::Alerts => alert(value(record)?),
        Topic::Metadata => device(record),
        Topic::Agents => agent(record),
        Topic::Feedback => feedback(record),
        // The sink writes these and does not store them.
        Topic::Models | Topic::Dlq => Ok(Decoded::Ignored),
    }
}

fn value(record: &Record) -> Result<&[u8], Poison> {
    record.value.as_deref().ok_or(Poison::Empty)
}

fn malformed(error: impl ToString) -> Poison {
    Poison::Malformed(error.to_string())
}

fn event(topic: Topic, json: &[u8], reader: &mut Reader) -> Result<Decoded, Poison> {
    let event = reader.read(json).map_err(malformed)?;
    check_id(event.id)?;
    check_name("site", &event.site, 1)?;
    check_name("device", &event.device, 0)?;
    check_name("agent", &event.agent, 0)?;
    match (&event.body, topic) {
        (Body::Reading(values), Topic::Readings) => {
            for metric in values.keys() {
                check_name("metric", metric, 0)?;
            }
        }
        (Body::Log(_), Topic::Logs) | (Body::Loss(_), _) => {}
        _ => return Err(Poison::Topic),
    }
    Ok(Decoded::Event(Arc::new(event)))
}

fn alert(json: &[u8]) -> Result<Decoded, Poison> {
    let alert: Alert = serde_json::from_slice(json).map_err(malformed)?;
    check_id(alert.event_id())?;
    check_name("alert_id", &alert.data.alert_id, 1)?;
    check_name("site", &alert.data.site, 1)?;
    check_name("device", &alert.data.device, 0)?;
    check_name("metric", &alert.data.metric, 0)?;
    Ok(Decoded::Alert(Arc::new(alert)))
}

fn device(record: &Record) -> Result<Decoded, Poison> {
    let key = std::str::from_utf8(record.key.as_deref().unwrap_or_default()).map_err(malformed)?;
    let Some((site, device)) = key.split_once('/') else {
        return Err(Poison::Key("site/device".into()));
    };
    check_name("site", site, 1)?;
    check_name("device", device, 1)?;
    let of_value = match record.value.as_deref() {
        None => None,
        Some(json) => {
            let known: Device = serde_json::from_slice(json).map_err(malformed)?;
            if known.key() != key {
                return Err(Poison::Key(known.key()));
            }
            Some(known)
        }
    };
    // The value's own names win: a site may hold a slash.
    let (site, device) = of_value.as_ref().map_or_else(
        || (site.to_owned(), device.to_owned()),
        |known| (known.site.clone(), known.device.clone()),
    );
    check_name("site", &site, 1)?;
    check_name("device", &device, 1)?;
    // A producer may send no time; then the record tells its own.
    let told_us = of_value.as_ref().map_or(0, |known| known.updated_us);
    let ts_us = if record.ts_ms > 0 { record.ts_ms.saturating_mul(1_000) } else { told_us };
    // The history has a change once, also when the topic was rewritten.
    let (by, position) = (record.by.clone(), record.again.unwrap_or(record.offset));
    Ok(Decoded::Device(DeviceChange { site, device, record: of_value, by, ts_us, position }))
}

fn agent(record: &Record) -> Result<Decoded, Poison> {
    let Some(json) = record.value.as_deref() else {
        return Ok(Decoded::Ignored);
    };
    let status: AgentStatus = serde_json::from_slice(json).map_err(malformed)?;
    check_name("agent", &status.agent, 1)?;
    check_name("site", &status.site, 0)?;
    Ok(Decoded::Agent(status))
}

fn feedback(record: &Record) -> Result<Decoded, Poison> {
    let Some(json) = record.value.as_deref() else {
        return Ok(Decoded::Ignored);
    };
    let mut feedback: Feedback = serde_json::from_slice(json).map_err(malformed)?;
    if record.key.as_deref() != Some(feedback.alert_id.as_bytes()) {
        return Err(Poison::Key(feedback.alert_id));
    }
    check_name("alert_id", &feedback.alert_id, 1)?;
    check_name("site", &feedback.site, 1)?;
    check_name("device", &feedback.device, 0)?;
    check_name("metric", &feedback.metric, 0)?;
    check_name("by", feedback.by.as_deref().unwrap_or_default(), 0)?;
    if feedback.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
        return Err(malformed(format_args!("`note` has more than {NOTE_BYTES_MAX} bytes")));
    }
    // A stamp from the future is believed as far as Kafka's own goes: a second delivery then decides the same.
    let came_us = record.ts_ms.saturating_mul(1_000);
    if record.ts_ms > 0 && feedback.given_us > came_us.saturating_add(AHEAD_MAX_US) {
        feedback.given_us = came_us;
    }
    Ok(Decoded::Feedback(feedback))
}

fn check_id(id: EventId) -> Result<(), Poison> {
    let named = id.stream.0 != 0 && id.seq != 0 && i64::try_from(id.seq).is_ok();
    named.then_some(()).ok_or(Poison::Identity(id))
}

fn check_name(what: &'static str, name: &str, min: usize) -> Result<(), Poison> {
    let bytes = name.len();
    if (min..=NAME_BYTES_MAX).contains(&bytes) {
        Ok(())
    } else {
        Err(Poison::Name { what, bytes, min })
    }
}

#[cfg(test)]
mod tests;
