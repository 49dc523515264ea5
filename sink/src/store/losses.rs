//! Losses: what gateways lost, and what audits found. Pure.

use serde::{Deserialize, Serialize};
use weir_models::event::Loss;
use weir_models::ident::Stream;

use super::TimeRange;
use super::seal::Position;

/// Events that were lost, as a gateway told of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LossRow {
    /// Site of the gateway.
    pub site: String,
    /// The gateway.
    pub agent: String,
    /// When it was told, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Stream of the marker.
    pub stream: Stream,
    /// Number of the marker.
    pub seq: u64,
    /// Source that lost them before they were read, or `spool`.
    pub source: String,
    /// What was lost, and why.
    #[serde(flatten)]
    pub loss: Loss,
}

impl LossRow {
    /// Its place in the order of losses.
    #[must_use]
    pub fn place(&self) -> Position {
        let Self { ts_us, stream, seq, .. } = self;
        Position { ts_us: *ts_us, stream: stream.as_i64(), seq: seq.cast_signed() }
    }
}

/// The result of an audit of archive, Kafka and store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Audit {
    /// When it ended, microseconds since the Unix epoch.
    pub ended_us: i64,
    /// How long it took, microseconds.
    pub took_us: i64,
    /// Begin of the range of time that was judged, microseconds since the Unix epoch; none is from the beginning.
    pub from_us: Option<i64>,
    /// End of that range; none is up to the end.
    pub to_us: Option<i64>,
    /// Whether Kafka was asked, too.
    #[serde(default)]
    pub kafka: bool,
    /// Faults that were found; 0 is a sound archive and store.
    pub faults: u64,
    /// Objects of the archive that cannot be read or are not there.
    pub objects_unread: u64,
    /// Streams that were judged.
    pub streams: u64,
    /// Of these, not whole.
    pub streams_faulty: u64,
    /// Events that are nowhere and that no loss marker tells of.
    pub missing: u64,
    /// Events that are in the archive more than once.
    pub twice: u64,
    /// Events that loss markers tell of.
    pub lost: u64,
    /// Events that wait in Kafka.
    pub waiting: u64,
    /// Events among the dead letters.
    pub dead: u64,
    /// Devices and days that the store was compared for; none when it was not.
    pub days: Option<u64>,
    /// Of these, those that differ.
    pub days_differing: u64,
}

/// Which losses.
#[derive(Clone, Debug, PartialEq)]
pub struct LossQuery {
    /// Site.
    pub site: String,
    /// Only those of this gateway.
    pub agent: Option<String>,
    /// When they were told.
    pub range: TimeRange,
    /// Only those before this place, to go on where an answer ended.
    pub before: Option<Position>,
    /// At most so many, newest first.
    pub limit: usize,
}
