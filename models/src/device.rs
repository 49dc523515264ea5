//! Records of the compacted topics: what is known of a device, and how an agent fares.
//!
//! In: a person's PUT or an agent's heartbeat. Out: JSON values of `weir.metadata` (key
//! `site/device`, no value = deleted) and `weir.agents` (key = agent). The newest record of a key
//! is the truth; both are read whole at every start.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Clock;
use crate::ident::Stream;

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Site of the device.
    pub site: String,
    /// Name of the device within the site.
    pub device: String,
    /// Other names under which it shows up at the same site: host names, addresses, client ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Joined to every event of the device.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
    /// Unit of each metric, where the sender does not tell it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
    /// When this was written, microseconds since the Unix epoch.
    #[serde(default)]
    pub updated_us: i64,
}

impl Device {
    /// The key of the record on `weir.metadata`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.site, self.device)
    }
}

/// How far one lane of an agent's spool is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LaneStatus {
    /// Name of the lane.
    pub lane: String,
    /// The stream that is written.
    pub stream: Stream,
    /// The last number given out in that stream; 0 when none yet.
    pub last_seq: u64,
    /// Events in the lane that Kafka does not have yet, in all its streams.
    pub waiting: u64,
    /// Streams that live data has overtaken and that Kafka does not have wholly yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backlog: Vec<StreamStatus>,
}

/// A stream of a lane that is written no more, on its way to Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamStatus {
    /// The stream.
    pub stream: Stream,
    /// Its last number.
    pub last_seq: u64,
    /// Events of it that Kafka does not have yet.
    pub waiting: u64,
}

/// Heartbeat of an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStatus {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: Arc<str>,
    /// Its site.
    pub site: String,
    /// Version of the program.
    pub version: String,
    /// When the heartbeat was made, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// When the agent started, same unit.
    pub started_us: i64,
    /// Seconds until the next heartbeat; missing several is silence.
    pub interval_s: u64,
    /// State of its clock.
    pub clock: Clock,
    /// Events taken since the start.
    pub events_in: u64,
    /// Events that Kafka has acknowledged since the start.
    pub events_out: u64,
    /// Events left out by a filter rule, by rule.
    #[serde(default)]
    pub filtered: BTreeMap<String, u64>,
    /// Events lost since the start, by reason.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// Bytes the spool holds on disk.
    pub spool_bytes: u64,
    /// When the oldest event that Kafka does not have yet was taken, microseconds since the Unix epoch; none
    /// when nothing waits, and in heartbeats of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_us: Option<i64>,
    /// Each lane of the spool.
    pub lanes: Vec<LaneStatus>,
    /// Devices in the metadata cache.
    pub devices: u64,
    /// When the metadata cache was last in step with its origin, microseconds since the Unix epoch; none when it
    /// never was, and in heartbeats of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_us: Option<i64>,
    /// Series that are being scored.
    pub series: u64,
}
