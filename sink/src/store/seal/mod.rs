//! Seal: hot rows become parts that stay, and both are read as one.
//!
//! In: the rows of a device and a UTC day, or the log lines of a site and a UTC hour. Out: **parts** (see
//! [`super::sealed`]), listed in one row for each of these, the **seal**, which is the only truth about what is sealed. Promises: a row whose write
//! was confirmed is in the answer of every later read, once, whoever seals, fails or stops in between. It
//! rests on four rules:
//!
//! 1. Before the first row of a device-day is written there is a **mark** in its seal: "there may be rows
//!    that no part holds". Who reads a seal with a mark reads the hot rows too.
//! 2. Only who made a mark removes it, or who took over from an owner that is gone; and only once every
//!    write under it has ended and every row it covers is in a listed part.
//! 3. A list of parts is replaced by compare-and-set, and never holds fewer rows than the one before.
//! 4. A part is named by its content, so that sealing the same rows twice makes the same part.
//!
//! | file | what it does |
//! | --- | --- |
//! | `marks` | the marks and the name of this instance; waits for writes |
//! | `plan` | which stretch of time is read from where. Pure |
//! | `read`, `windows` | points and rollups of parts and hot rows |
//! | `search` | log lines of blocks and hot rows |
//! | `close` | seals one device-day or site-hour; `close_readings`, `close_lines`: what differs between them |
//! | `before` | marks for rows from before there were marks |
//! | `keeper` | what is due; other owners and their marks |
//!
//! A store brings the few operations of [`SealStore`]. Why it is as it is: decisions 17 and 18.

mod before;
pub mod close;
mod close_lines;
mod close_readings;
pub mod keeper;
pub mod marks;
mod plan;
mod read;
mod search;
mod windows;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_models::ident::{EventId, SeriesKey};
use weir_models::time::{DAY_US, HOUR_US};

use self::marks::Marks;
use super::sealed::{LinePart, Part};
use super::{LogQuery, LogRow, Point, StoreError, TimeRange};

pub(crate) use self::before::{mark_before_sealing, mark_before_sealing_lines};
pub(crate) use self::read::{event_ids, readings, scan};
pub(crate) use self::search::{find, logs};
pub(crate) use self::windows::rollups;

/// The owner of the marks that a migration makes for rows from before there were marks.
pub const BEFORE_SEALING: &str = "before-sealing";
/// The beat of an owner that has left: its marks are anybody's at once.
pub const LEFT: i64 = -1;

/// The one metric of a part of lines, as a seal lists it.
pub const LINES: &str = "lines";

/// What is sealed together: a device and a UTC day; or, where `site` is empty as that of no device is, the log lines
/// of the site that `device` names, and a UTC hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceDay {
    /// Site; empty for lines.
    pub site: String,
    /// Device; for lines the site.
    pub device: String,
    /// Days since the Unix epoch, rounded down; for lines hours.
    pub span: i64,
}

/// The day of a stamp.
#[must_use]
pub fn span_of(ts_us: i64) -> i64 {
    ts_us.div_euclid(DAY_US)
}

/// The stamps of a day.
#[must_use]
pub fn span_range(span: i64) -> TimeRange {
    TimeRange {
        from_us: span.saturating_mul(DAY_US),
        to_us: span.saturating_add(1).saturating_mul(DAY_US),
    }
}

/// The hour of a stamp.
#[must_use]
pub fn hour_of(ts_us: i64) -> i64 {
    ts_us.div_euclid(HOUR_US)
}

/// The stamps of an hour.
#[must_use]
pub fn hour_range(hour: i64) -> TimeRange {
    TimeRange {
        from_us: hour.saturating_mul(HOUR_US),
        to_us: hour.saturating_add(1).saturating_mul(HOUR_US),
    }
}

impl DeviceDay {
    /// The lines of a site in an hour (since the Unix epoch).
    #[must_use]
    pub fn of_lines(site: &str, hour: i64) -> Self {
        Self { site: String::new(), device: site.to_owned(), span: hour }
    }

    /// The site, where this is about lines.
    #[must_use]
    pub fn lines(&self) -> Option<&str> {
        self.site.is_empty().then_some(&self.device)
    }

    /// The stamps it holds.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        if self.lines().is_some() { hour_range(self.span) } else { span_range(self.span) }
    }

    /// The series of one of its metrics.
    #[must_use]
    pub fn key(&self, metric: &str) -> SeriesKey {
        SeriesKey {
            site: self.site.clone(),
            device: self.device.clone(),
            metric: metric.to_owned(),
        }
    }
}

/// A mark: a number that stands in the seal of a device-day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Where it stands.
    pub day: DeviceDay,
    /// Drawn, so that no two are the same.
    pub mark: i64,
}

/// A part as a seal lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// Names its content.
    pub id: i64,
    /// First stamp, microseconds since the Unix epoch.
    pub t0_us: i64,
    /// Last stamp.
    pub t1_us: i64,
    /// Number of events; long lines count for more than one.
    pub n: i64,
    /// The metrics it has rows of; [`LINES`] for lines. So a row that is listed and not found is known to be missing.
    pub metrics: Vec<String>,
}

impl PartRef {
    fn of(part: &Part) -> Self {
        Self {
            id: part.id,
            t0_us: part.t0_us,
            t1_us: part.t1_us,
            n: i64::try_from(part.events).unwrap_or(i64::MAX),
            metrics: part.episodes.iter().map(|episode| episode.metric.clone()).collect(),
        }
    }

    fn of_lines(part: &LinePart) -> Self {
        Self {
            id: part.id,
            t0_us: part.t0_us,
            t1_us: part.t1_us,
            n: i64::try_from(part.weight).unwrap_or(i64::MAX),
            metrics: vec![LINES.to_owned()],
        }
    }

    /// Whether it has rows of `metric`.
    #[must_use]
    pub fn has(&self, metric: &str) -> bool {
        self.metrics.iter().any(|own| own == metric)
    }

    /// About how many values it holds, at most.
    fn rows(&self) -> usize {
        usize::try_from(self.n).unwrap_or_default().saturating_mul(self.metrics.len())
    }
}

/// What is known of a device-day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Rises with each change of the parts; none before the first.
    pub version: Option<i64>,
    /// The parts that count.
    pub parts: Vec<PartRef>,
    /// Who may have written rows that no part holds.
    pub marks: BTreeSet<i64>,
}

/// A place in the order of a series: the stamp, then stream and number of the event as signed numbers, as
/// every store keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Stream.
    pub stream: i64,
    /// Number.
    pub seq: i64,
}

impl Position {
    /// Before everything of a stamp.
    #[must_use]
    pub fn at(ts_us: i64) -> Self {
        Self { ts_us, stream: i64::MIN, seq: i64::MIN }
    }

    /// Where a point is.
    #[must_use]
    pub fn of(point: &Point) -> Self {
        Self { ts_us: point.ts_us, stream: point.stream.as_i64(), seq: point.seq.cast_signed() }
    }

    /// The place right behind; none behind the last one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let Self { ts_us, stream, seq } = self;
        if let Some(seq) = seq.checked_add(1) {
            return Some(Self { ts_us, stream, seq });
        }
        match stream.checked_add(1) {
            Some(stream) => Some(Self { ts_us, stream, seq: i64::MIN }),
            None => ts_us.checked_add(1).map(Self::at),
        }
    }
}

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As every read.
    Usual,
    /// As every read, but where nobody has left a mark: no row can be in a narrower bucket there, because whoever writes to
    /// one marks the day before.
    Unmarked,
    /// Sees every write that was confirmed to any instance, in any datacentre.
    Sure,
    /// Sees every change of a seal, those that are under way too.
    Serial,
}

/// What a store brings, so that its rows can be sealed. Every operation may be repeated; `Ok` of one that
/// changes something means that it is safe.
#[async_trait]
pub trait SealStore: Send + Sync {
    /// The marks of this instance.
    fn marks(&self) -> &Marks;

    /// The range that surely holds every row of a series; none where there is none.
    async fn extent(&self, key: &SeriesKey) -> Result<Option<TimeRange>, StoreError>;
    /// The metrics of a device; [`Look::Sure`].
    async fn metrics(&self, site: &str, device: &str) -> Result<Vec<String>, StoreError>;
    /// Hot rows from a place on and before `to_us`, in order, at most `limit`.
    async fn hot(
        &self,
        key: &SeriesKey,
        from: Position,
        to_us: i64,
        limit: usize,
        look: Look,
    ) -> Result<Vec<Point>, StoreError>;

    /// The seals of a device from the day `first` to the day `last`, in order; days without one are left
    /// out.
    async fn seals(
        &self,
        site: &str,
        device: &str,
        first: i64,
        last: i64,
        look: Look,
    ) -> Result<Vec<(i64, Seal)>, StoreError>;
    /// Sets the parts to `parts`, takes `mark` away, and the version one up, if it still is `version`.
    /// Says whether it was.
    async fn replace(
        &self,
        day: &DeviceDay,
        version: Option<i64>,
        parts: &[PartRef],
        mark: Option<i64>,
    ) -> Result<bool, StoreError>;
    /// Every seal, for checks of small stores.
    async fn all_seals(&self) -> Result<Vec<(DeviceDay, Seal)>, StoreError>;
    /// The id of every event in hot rows and log lines, for checks of small stores.
    async fn hot_ids(&self) -> Result<BTreeSet<EventId>, StoreError>;

    /// Lists marks with their owner, and then puts them in their seals. A mark that was removed stays so.
    async fn add_marks(&self, owner: &str, marks: &[Mark]) -> Result<(), StoreError>;
    /// Takes a mark out of its seal.
    async fn remove_mark(&self, mark: &Mark) -> Result<(), StoreError>;
    /// Takes a mark from the list of its owner.
    async fn forget_mark(&self, owner: &str, mark: &Mark) -> Result<(), StoreError>;
    /// The marks of an owner; [`Look::Sure`].
    async fn marks_of(&self, owner: &str) -> Result<Vec<Mark>, StoreError>;
    /// Every owner with its beat.
    async fn owners(&self, look: Look) -> Result<Vec<(String, i64)>, StoreError>;
    /// Sets the beat of an owner.
    async fn beat(&self, owner: &str, beat: i64) -> Result<(), StoreError>;
    /// Takes an owner from the list.
    async fn drop_owner(&self, owner: &str) -> Result<(), StoreError>;

    /// Writes stamps, episodes and rollups of a part.
    async fn put_part(&self, day: &DeviceDay, part: &Part) -> Result<(), StoreError>;
    /// Deletes parts, of readings or of lines, that no seal lists any more.
    async fn drop_parts(&self, day: &DeviceDay, parts: &[PartRef]) -> Result<(), StoreError>;
    /// Stamps of parts by id; those that are not there are left out.
    async fn stamps(&self, day: &DeviceDay, ids: &[i64])
    -> Result<Vec<(i64, Vec<u8>)>, StoreError>;
    /// Bodies of episodes by id; those that are not there are left out.
    async fn episodes(
        &self,
        day: &DeviceDay,
        metric: &str,
        ids: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError>;
    /// Rollups of windows of `step_s` seconds (60 or 3,600), from the day `first` to the day `last`: day,
    /// id of the part, body.
    async fn rolls(
        &self,
        key: &SeriesKey,
        step_s: i32,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError>;
    /// Deletes the hot rows of a series in a range within one day, as time does; for tests.
    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot(&self, key: &SeriesKey, range: TimeRange) -> Result<(), StoreError>;

    /// The range that surely holds every line of a site, or of one of its hosts; none where there is none.
    async fn extent_of_lines(
        &self,
        site: &str,
        host: Option<&str>,
    ) -> Result<Option<TimeRange>, StoreError>;
    /// The hot lines that match, newest first. Adds the partitions it reads to `read`, not counting narrower
    /// ones, and reads none beyond
    /// [`super::bucket::PARTITIONS_MAX`].
    async fn newest_hot_lines(
        &self,
        query: &LogQuery,
        read: &AtomicUsize,
    ) -> Result<Vec<LogRow>, StoreError>;
    /// All hot lines of a site in a range, in any order; of a line that was written twice, and lies in two places, what
    /// counts comes first. [`Look::Sure`]. None when they weigh more than `weight_max`
    /// (see [`super::sealed::weight_of`]), or did not come in time and half of a range as long may.
    async fn hot_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError>;
    /// Writes blocks and heads of a part.
    async fn put_lines(&self, hour: &DeviceDay, part: &LinePart) -> Result<(), StoreError>;
    /// Heads of the parts of some hours of one day, listed or not: hour, id of the part, heads.
    async fn heads(
        &self,
        site: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError>;
    /// A block of a part; none when it is not there.
    async fn block(
        &self,
        hour: &DeviceDay,
        id: i64,
        number: usize,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// Deletes the hot lines of a site in an hour, as time does; for tests.
    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot_lines(&self, site: &str, hour: i64) -> Result<(), StoreError>;
}

/// Days whose rollups lie in one partition: some ten thousand windows of an hour, or some fifty thousand
/// of a minute.
fn block_days(step_s: i32) -> i64 {
    if step_s >= 3_600 { 366 } else { 31 }
}

/// The partition of the rollups of a day.
#[must_use]
pub fn block_of(step_s: i32, span: i64) -> i64 {
    span.div_euclid(block_days(step_s))
}

/// The last day in the partition of a day.
fn last_of_block(step_s: i32, span: i64) -> i64 {
    let days = block_days(step_s);
    block_of(step_s, span).saturating_mul(days).saturating_add(days - 1)
}
