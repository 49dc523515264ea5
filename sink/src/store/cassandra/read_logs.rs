//! Read logs: hot lines of one host or of all hosts of a site, newest first.
//!
//! In: a [`LogQuery`]. Out: at most `limit` lines that match. Buckets are read from the newest to
//! the oldest, those of one time from all hosts together; reading ends as soon as nothing older can
//! belong to the answer. Of a line that was written again under a narrower width, what was written there counts. Promises:
//! at most [`PARTITIONS_MAX`] partitions for a search, not counting narrower ones, of which there are at most some beside
//! each that counts; at most about twice `limit` lines kept. What can go wrong: [`StoreError::TooWide`], when that many partitions did not
//! hold enough matching lines.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::ident::Stream;

use super::CassandraStore;
use super::catalogue::Known;
use super::failure::{READ_PATIENCE, persist};
use super::read::{AT_ONCE, page_by_page, part_of, recorded};
use crate::store::bucket::{Bucket, PARTITIONS_MAX, Widths};
use crate::store::seal::Look;
use crate::store::select::{LogFilter, Newest, above};
use crate::store::{LogQuery, LogRow, StoreError, TimeRange};

/// A line as it is stored.
pub(super) type LineRow = (
    i64,
    i64,
    i64,
    Option<String>,
    Option<i16>,
    Option<i16>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<f32>,
);

/// The record of a host as it is stored.
pub(super) type HostRow =
    (String, Option<i64>, Option<i64>, Option<BTreeMap<i64, i64>>, Option<BTreeMap<i64, i64>>);

/// Where the reading of the buckets of one host and of one width is.
struct Front {
    host: String,
    widths: Widths,
    range: TimeRange,
    /// The next bucket to read.
    bucket: Bucket,
    /// Whether it is of a width beside the first one: in time it lies in a bucket that is counted.
    narrow: bool,
}

impl Front {
    /// One for each width.
    fn all(host: &str, known: &Known, range: TimeRange) -> Vec<Self> {
        let covers = known.layout.covers(recorded(known, range)).into_iter().enumerate();
        let front = |(nth, (widths, range)): (usize, (Cow<'_, Widths>, TimeRange))| {
            let (bucket, narrow) = (widths.descending(range).next()?, nth > 0);
            Some(Self { host: host.into(), widths: widths.into_owned(), range, bucket, narrow })
        };
        covers.filter_map(front).collect()
    }

    /// Goes on to the bucket before; false when there is none.
    fn step(&mut self) -> bool {
        let before = TimeRange { to_us: self.bucket.from_us, ..self.range };
        match self.widths.descending(before).next() {
            Some(bucket) => {
                self.bucket = bucket;
                true
            }
            None => false,
        }
    }
}

/// How many partitions they count for.
fn partitions_of<'a>(fronts: impl Iterator<Item = &'a Front>) -> usize {
    fronts.filter(|front| !front.narrow).count()
}

impl CassandraStore {
    pub(super) async fn read_logs(
        &self,
        query: &LogQuery,
        read: &AtomicUsize,
    ) -> Result<Vec<LogRow>, StoreError> {
        let filter = LogFilter::of(query);
        let mut newest = Newest::new(query.limit);
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let mut fronts = self.fronts(query).await?;
        while let Some(top_us) = fronts.iter().map(|front| front.bucket.to_us).max() {
            let floor_us = newest.floor_us();
            if floor_us.is_some_and(|floor_us| floor_us >= top_us) {
                break;
            }
            let group = || fronts.iter().filter(|front| front.bucket.to_us == top_us);
            let partitions = partitions_of(group());
            if read.fetch_add(partitions, Ordering::Relaxed) + partitions > PARTITIONS_MAX {
                return Err(StoreError::TooWide { partitions_max: PARTITIONS_MAX });
            }
            let reads: Vec<_> = group()
                .map(|front| {
                    let range = part_of(above(front.range, floor_us), front.bucket);
                    self.read_bucket(query, &filter, &front.host, front.bucket.number, range)
                })
                .collect();
            // Of a host the widest first, as its fronts are; what ends later was read before.
            let mut parts = stream::iter(reads).buffered(AT_ONCE);
            while let Some(rows) = parts.try_next().await? {
                newest.replace(rows);
            }
            drop(parts);
            fronts.retain_mut(|front| front.bucket.to_us != top_us || front.step());
        }
        Ok(newest.into_rows())
    }

    async fn fronts(&self, query: &LogQuery) -> Result<Vec<Front>, StoreError> {
        if let Some(host) = &query.host {
            let known = self.host_record(&query.site, host).await?;
            return Ok(Front::all(host, &known, query.range));
        }
        let hosts = self.hosts_of(&query.site, Look::Usual).await?;
        let fronts = hosts.iter().flat_map(|(host, known)| Front::all(host, known, query.range));
        Ok(fronts.collect())
    }

    /// The newest matching lines of one bucket, at most as many as are wanted in all.
    async fn read_bucket(
        &self,
        query: &LogQuery,
        filter: &LogFilter<'_>,
        host: &str,
        bucket: i64,
        range: TimeRange,
    ) -> Result<Vec<LogRow>, StoreError> {
        let statement = &self.statements().await?.logs;
        let all = i32::MAX;
        let cql_limit = match filter.takes_all() {
            true => i32::try_from(query.limit).unwrap_or(all),
            false => all,
        };
        let (from_us, to_us) = (range.from_us, range.to_us);
        persist("read logs", READ_PATIENCE, || async move {
            let values = (&query.site, host, bucket, from_us, to_us, cql_limit);
            let mut rows = std::pin::pin!(page_by_page::<LineRow>(self, statement, values).await?);
            let mut matching = Vec::new();
            while let Some(row) = rows.try_next().await? {
                let row = line(&query.site, host, row);
                if filter.matches(&row) {
                    matching.push(row);
                }
                if matching.len() >= query.limit {
                    break;
                }
            }
            Ok(matching)
        })
        .await
    }
}

/// A line of a host.
pub(super) fn line(site: &str, host: &str, row: LineRow) -> LogRow {
    let (
        ts_us,
        stream,
        seq,
        device,
        facility,
        severity,
        app,
        procid,
        msgid,
        message,
        template,
        score,
    ) = row;
    let small = |value: Option<i16>| value.and_then(|value| u8::try_from(value).ok());
    LogRow {
        site: site.into(),
        host: host.into(),
        ts_us,
        stream: Stream::from_i64(stream),
        seq: seq.cast_unsigned(),
        device: device.unwrap_or_default(),
        facility: small(facility),
        severity: small(severity),
        app,
        procid,
        msgid,
        message: message.unwrap_or_default(),
        template,
        score,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use weir_models::time::{HOUR_US, SECOND_US};

    use super::*;
    use crate::store::bucket::LOGS_WIDTH_US;

    #[test]
    fn narrower_buckets_do_not_count() {
        let narrower = BTreeMap::from([(600 * SECOND_US, 0), (60 * SECOND_US, 0)]);
        let record = (Some(0), Some(9), None, Some(narrower));
        let known = Known::read(Some(record), None, LOGS_WIDTH_US);
        let mut fronts = Front::all("h", &known, TimeRange { from_us: 0, to_us: 3 * HOUR_US });
        let (mut all, mut counted) = (0, 0);
        let mut widths = Vec::new();
        while let Some(top_us) = fronts.iter().map(|front| front.bucket.to_us).max() {
            let group = || fronts.iter().filter(|front| front.bucket.to_us == top_us);
            widths.extend(group().map(|front| front.bucket.width_us / SECOND_US));
            (all, counted) = (all + group().count(), counted + partitions_of(group()));
            fronts.retain_mut(|front| front.bucket.to_us != top_us || front.step());
        }
        assert_eq!((all, counted), (3 * 67, 3), "an hour counts once");
        // What is narrower comes later, so that it is what stays.
        assert_eq!(widths[..5], [3_600, 600, 60, 60, 60]);
        assert_eq!(widths.iter().rposition(|&width| width == 60).unwrap(), widths.len() - 1);
    }
}
