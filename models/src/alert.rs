//! Alerts: CloudEvents 1.0 records in JSON, structured mode, with a life cycle.
//!
//! In: what a detector found. Out: a record that a consumer in any language can act on without
//! knowing weir. An alert *fires* once and is *resolved* once; both records carry the same
//! `data.alert_id`, and each has a CloudEvents `id` of its own, as the specification asks
//! (CloudEvents 1.0.2, section 3.1: `source` + `id` is unique for each distinct event).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ident::{EventId, Stream};
use crate::time::rfc3339;

/// Where in its life an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AlertState {
    /// The condition holds.
    Firing,
    /// The condition ended.
    Resolved,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AlertKind {
    /// A metric of a device left its usual course.
    Reading,
    /// The log of a host left its usual course.
    Log,
    /// A device or an agent that should speak is silent.
    Silence,
}

/// The model that scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    /// Name of the model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Arc<str>,
    /// Version of the model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Arc<str>,
}

/// What was expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Baseline {
    /// Expected value, in the metric's unit.
    pub expected: f64,
    /// Lower end of the usual range.
    pub low: f64,
    /// Upper end of the usual range.
    pub high: f64,
}

/// One of the last values before the alert.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastValue {
    /// Event time in microseconds since the Unix epoch.
    pub ts_us: i64,
    /// The value.
    pub v: f64,
}

/// The payload of an alert record, CloudEvents `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertData {
    /// The same from firing to resolved.
    pub alert_id: String,
    /// Firing or resolved.
    pub state: AlertState,
    /// What it is about.
    pub kind: AlertKind,
    /// The agent that raised it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: Arc<str>,
    /// Identity of this record, as every event has one.
    pub stream: Stream,
    /// Number of this record in its stream.
    pub seq: u64,
    /// Site.
    pub site: String,
    /// Device.
    pub device: String,
    /// Metric; for logs the application or `log`.
    pub metric: String,
    /// When it fired, microseconds since the Unix epoch.
    pub fired_us: i64,
    /// When it was resolved, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_us: Option<i64>,
    /// Score of the event that caused it; the highest one since when resolved.
    pub score: f32,
    /// The score at which it fires.
    pub threshold: f32,
    /// Which model scored.
    pub model: Model,
    /// Which part of the model, or which rule, drove the score.
    pub why: String,
    /// What was expected; readings only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The last values up to the cause, oldest first; readings only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_values: Vec<LastValue>,
    /// The log message that caused it; of a rule what was seen and what is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Stream of the event that caused it.
    pub cause_stream: Stream,
    /// Number of the event that caused it; 0 where nothing came (silence).
    pub cause_seq: u64,
    /// How many alerts the series raised in the week before, as far as the agent knows; where it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<u16>,
    /// How likely a person calls it true, 0 to 1, by what people said of earlier alerts; where a model of the centre
    /// for it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<f32>,
}

/// One alert record on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    specversion: String,
    /// Unique for this record: alert id and state.
    pub id: String,
    /// `/weir/agent/<agent>` or `/weir/sink`.
    pub source: String,
    /// `io.weir.alert.firing` or `io.weir.alert.resolved`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `site/device/metric`.
    pub subject: String,
    /// When this record was made, RFC 3339.
    pub time: String,
    datacontenttype: String,
    /// The alert itself.
    pub data: AlertData,
}

impl Alert {
    /// Wraps the payload; `source` is for example `/weir/agent/gw-1`.
    #[must_use]
    pub fn new(source: &str, time_us: i64, data: AlertData) -> Self {
        let state = match data.state {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        };
        Self {
            specversion: "1.0".into(),
            id: format!("{}/{state}", data.alert_id),
            source: source.into(),
            kind: format!("io.weir.alert.{state}"),
            subject: format!("{}/{}/{}", data.site, data.device, data.metric),
            time: rfc3339(time_us),
            datacontenttype: "application/json".into(),
            data,
        }
    }

    /// Identity of the record, by which the sink recognises a duplicate.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        EventId { stream: self.data.stream, seq: self.data.seq }
    }

    /// Appends the record as one JSON object to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let written = serde_json::to_writer(out, self);
        debug_assert!(written.is_ok(), "an alert is always JSON: {written:?}");
    }
}
