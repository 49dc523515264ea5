//! Store: the read-optimized time series, one table per query.
//!
//! In: a [`Batch`] of rows made from decoded records. Out: the answers of the queries. Promises:
//! every write is idempotent by its primary key, so a batch may be written again after a failure or
//! a redelivery; `write` returns `Ok` only when every row is safe. What can go wrong: the store is
//! away or overloaded ([`StoreError::Retry`], the caller waits and writes the batch again), the
//! schema is not what this version needs ([`StoreError::Fatal`]).

pub mod bucket;
pub mod cassandra;
mod census;
pub mod config;
mod layout;
mod line;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod losses;
pub mod seal;
pub mod sealed;
mod select;
pub mod sqlite;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
pub(crate) use census::AHEAD_MAX_US;
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use weir_models::alert::{Alert, AlertState};
use weir_models::device::{AgentStatus, Device};
use weir_models::event::Event;
use weir_models::feedback::Feedback;
use weir_models::ident::{EventId, SeriesKey, Stream};

pub use self::config::{SealConfig, StoreConfig, open};
pub(crate) use self::line::Line;
pub use self::losses::{Audit, LossQuery, LossRow};
use self::seal::{Position, SealStore};
use self::sealed::{Roll, rolls_of};
pub use self::select::LogFilter;
pub(crate) use self::words::has_words;

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingRow {
    /// The series.
    pub key: SeriesKey,
    /// Event time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// The event it came with.
    pub id: EventId,
    /// The value.
    pub value: f64,
    /// Its score, when it was scored.
    pub score: Option<f32>,
    /// Unit, when known.
    pub unit: Option<String>,
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogRow {
    /// Site.
    pub site: String,
    /// Host as the sender names itself; the device where it has no name.
    pub host: String,
    /// Event time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Stream of the event.
    pub stream: Stream,
    /// Number of the event.
    pub seq: u64,
    /// Device.
    pub device: String,
    /// Facility.
    pub facility: Option<u8>,
    /// Severity.
    pub severity: Option<u8>,
    /// Application.
    pub app: Option<String>,
    /// Process id.
    pub procid: Option<String>,
    /// Message id.
    pub msgid: Option<String>,
    /// Message text.
    pub message: String,
    /// Template id, 16 hexadecimal digits.
    pub template: Option<String>,
    /// Score.
    pub score: Option<f32>,
}

/// A device was written (some) or deleted (none).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceChange {
    /// Site.
    pub site: String,
    /// Device.
    pub device: String,
    /// Its record.
    pub record: Option<Device>,
    /// Name of the token or command that changed it, when one is known.
    pub by: Option<Box<str>>,
    /// When it was changed, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// The offset at which it was new: tells changes of one moment apart, and one that comes again from a new one.
    pub position: i64,
}

/// Which changes of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangesQuery {
    /// Site.
    pub site: String,
    /// Device.
    pub device: String,
    /// Only those before the change of this moment and position.
    pub before: Option<(i64, i64)>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// A device record as the history keeps it.
fn stored_record(json: Option<&str>) -> Option<Device> {
    let read = serde_json::from_str(json?);
    read.inspect_err(|error| tracing::warn!(%error, "a stored change cannot be read")).ok()
}

/// Rows to write together.
///
/// Values are finite, and names have at most [`weir_models::limit::NAME_BYTES_MAX`] bytes: decode
/// sees to both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Values; `latest` and `series` follow from them.
    pub readings: Vec<ReadingRow>,
    /// Events that are log lines; any other is left out.
    pub logs: Vec<Arc<Event>>,
    /// Alert records, for both alert tables.
    pub alerts: Vec<Alert>,
    /// Devices, in the order of their changes.
    pub devices: Vec<DeviceChange>,
    /// Heartbeats, the newest per agent wins.
    pub agents: Vec<AgentStatus>,
    /// Losses that gateways told of.
    pub losses: Vec<LossRow>,
    /// Results of audits.
    pub audits: Vec<Audit>,
    /// What people say of alerts, the newest per alert wins.
    pub feedback: Vec<Feedback>,
}

impl Batch {
    /// The log lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.logs.iter().filter_map(|event| Line::of(event))
    }
}

/// A half-open range of time, `from_us <= ts_us < to_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First microsecond.
    pub from_us: i64,
    /// First microsecond after it.
    pub to_us: i64,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Point {
    /// Event time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Value.
    pub value: f64,
    /// Score.
    pub score: Option<f32>,
    /// Stream of the event.
    pub stream: Stream,
    /// Number of the event.
    pub seq: u64,
}

impl Point {
    /// Above this score a point is an anomaly: about 1 is where the tail of a series' past begins.
    const ANOMALY_SCORE: f32 = 1.0;

    /// The event it came with.
    #[must_use]
    pub fn id(&self) -> EventId {
        EventId { stream: self.stream, seq: self.seq }
    }

    /// Whether it left the usual course of its series.
    #[must_use]
    pub fn is_anomaly(&self) -> bool {
        self.score.is_some_and(|score| score > Self::ANOMALY_SCORE)
    }
}

/// The newest value of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Latest {
    /// Which series.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// Event time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Value.
    pub value: f64,
    /// Score.
    pub score: Option<f32>,
    /// Unit.
    pub unit: Option<String>,
}

/// A known series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Series {
    /// Which series.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// Unit.
    pub unit: Option<String>,
    /// First event time seen.
    pub first_us: i64,
    /// Last event time seen.
    pub last_us: i64,
}

/// Which log lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LogQuery {
    /// Site.
    pub site: String,
    /// Only this host.
    pub host: Option<String>,
    /// When.
    pub range: TimeRange,
    /// Only lines at least this severe (numerically at most this).
    pub severity_max: Option<u8>,
    /// Only this application.
    pub app: Option<String>,
    /// Only lines of this template.
    pub template: Option<String>,
    /// Only lines that have each word of this text, letter case ignored; what a word is: `docs/api.md`.
    pub words: Option<String>,
    /// Only lines that contain this text, letter case ignored.
    pub text: Option<String>,
    /// Only lines before this place, to go on where an answer ended.
    pub before: Option<Position>,
    /// At most so many, newest first.
    pub limit: usize,
}

impl LogQuery {
    /// All lines of a site in a range, at most `limit`.
    #[must_use]
    pub fn of_site(site: &str, range: TimeRange, limit: usize) -> Self {
        Self {
            site: site.into(),
            host: None,
            range,
            severity_max: None,
            app: None,
            template: None,
            words: None,
            text: None,
            before: None,
            limit,
        }
    }
}

/// Which alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertQuery {
    /// Site.
    pub site: String,
    /// Only this series (device and metric).
    pub series: Option<(String, String)>,
    /// When they fired.
    pub range: TimeRange,
    /// Only those in this state now.
    pub state: Option<AlertState>,
    /// Only those that come after the alert which fired then and has this id.
    pub after: Option<(i64, String)>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// Rollups of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rolls {
    /// The windows that hold values, ascending.
    pub rolls: Vec<Roll>,
    /// How many values were read because no rollups of them are kept.
    pub points: usize,
}

/// Points of a series in ascending order, chunk by chunk.
pub type Chunks<'a> = BoxStream<'a, Result<Vec<Point>, StoreError>>;

/// Log lines, newest first, chunk by chunk.
pub type Lines<'a> = BoxStream<'a, Result<Vec<LogRow>, StoreError>>;

/// The records that came of an alert: firing, resolved.
pub type AlertRecords = (Option<Alert>, Option<Alert>);

/// What people said of alerts, by the id of the alert.
pub type Feedbacks = BTreeMap<String, Feedback>;

/// An agent as last heard of.
pub type Agents = BTreeMap<String, AgentStatus>;

/// The store's side of the promise; every implementation passes `store/conformance.rs`.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates or upgrades the schema by numbered migrations; doing it twice is harmless.
    async fn migrate(&self) -> Result<Vec<String>, StoreError>;
    /// Fails with what to do when the schema is not the one this version needs.
    async fn check_schema(&self) -> Result<(), StoreError>;
    /// Writes all rows. `Ok` means all are safe.
    async fn write(&self, batch: &Batch) -> Result<(), StoreError>;
    /// Values of one series in ascending time, at most `limit`. Those of one stamp come by stream
    /// and number.
    async fn readings(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError>;
    /// All values of one series in the same order, in bounded memory; whoever has enough stops asking.
    fn scan<'a>(&'a self, key: &'a SeriesKey, range: TimeRange) -> Chunks<'a> {
        self.readings(key, range, usize::MAX).into_stream().boxed()
    }
    /// The windows of `step_us` microseconds, counted from the Unix epoch, that `range` touches and that
    /// hold values; ascending, each whole.
    async fn rollups(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        step_us: i64,
    ) -> Result<Rolls, StoreError> {
        let step_us = step_us.max(1);
        let range = range.whole_windows(step_us);
        let points: Vec<Vec<Point>> = self.scan(key, range).try_collect().await?;
        let points = points.concat();
        Ok(Rolls { rolls: rolls_of(&points, step_us), points: points.len() })
    }
    /// What sealing needs, where rows can be sealed.
    fn sealing(&self) -> Option<&dyn SealStore> {
        None
    }
    /// The newest value of each series of a site, by device and metric.
    ///
    /// The newest is the one with the largest stamp; of equal stamps the one with the larger event
    /// id. A stamp more than five minutes ahead of our clock counts as the time at which it came, so
    /// that a wrong clock does not pin a value for years.
    async fn latest(&self, site: &str) -> Result<Vec<Latest>, StoreError>;
    /// Known sites, in order.
    async fn sites(&self) -> Result<Vec<String>, StoreError>;
    /// Known series of a site, of one device where given.
    async fn series(&self, site: &str, device: Option<&str>) -> Result<Vec<Series>, StoreError>;
    /// Log lines, newest first.
    async fn logs(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError>;
    /// The same, as they are found; whoever has enough stops asking.
    fn find_logs<'a>(&'a self, query: &'a LogQuery) -> Lines<'a> {
        self.logs(query).into_stream().boxed()
    }
    /// Alerts by when they fired, newest first and those of one moment by id, the greatest first; each once with its
    /// present state. The records of
    /// an alert may have been written in either order.
    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError>;
    /// The records of the alerts of a site that fired at one moment, as they came: where each fires, where it ended.
    async fn alert_records(
        &self,
        site: &str,
        fired_us: i64,
    ) -> Result<Vec<AlertRecords>, StoreError>;
    /// What people said of the alerts of a site that fired in `range`: of each alert the newest.
    async fn feedback(&self, site: &str, range: TimeRange) -> Result<Feedbacks, StoreError>;
    /// What people said of these alerts of a site, by when they fired and their ids.
    async fn feedback_on(
        &self,
        site: &str,
        alerts: &[(i64, String)],
    ) -> Result<Feedbacks, StoreError>;
    /// Known devices of a site.
    async fn devices(&self, site: &str) -> Result<Vec<Device>, StoreError>;
    /// One device, when it is known.
    async fn device(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError>;
    /// Changes of a device, newest first and those of one moment by position, the greatest first.
    async fn device_changes(&self, query: &ChangesQuery) -> Result<Vec<DeviceChange>, StoreError>;
    /// Agents as last heard of.
    async fn agents(&self) -> Result<Agents, StoreError>;
    /// One agent as last heard of, when it was.
    async fn agent(&self, name: &str) -> Result<Option<AgentStatus>, StoreError> {
        Ok(self.agents().await?.remove(name))
    }
    /// Losses, newest first; those of one stamp by stream and number as signed numbers, the greatest first.
    async fn losses(&self, query: &LossQuery) -> Result<Vec<LossRow>, StoreError>;
    /// Results of audits, newest first, at most `limit`.
    async fn audits(&self, limit: usize) -> Result<Vec<Audit>, StoreError>;
    /// Every event id in `logs` and `readings`, hot or sealed, each once, in order; for checks of small stores.
    async fn event_ids(&self) -> Result<Vec<EventId>, StoreError>;
}

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Passing: away, overloaded, timed out. The same call may work later.
    #[error("the store does not answer as it should: {0}")]
    Retry(String),
    /// The answer would need too many partitions.
    #[error(
        "the query would read more than {partitions_max} partitions, or blocks of log lines: narrow \
         the range of time, or name one host"
    )]
    TooWide {
        /// How many a query may read.
        partitions_max: usize,
    },
    /// The store refuses us: user, password, certificate, permission. A person can set it right while we wait, so
    /// the same call may work later; the message says what to do.
    #[error("{0}")]
    Refused(String),
    /// Nothing but a person helps; the message says what to do.
    #[error("{0}")]
    Fatal(String),
}
