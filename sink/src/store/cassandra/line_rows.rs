//! Line rows: sealed log lines in Cassandra, and the hot ones as sealing reads them.
//!
//! In and out: what [`SealStore`] says of lines. Promises: blocks are confirmed before their heads, and these before a
//! seal lists them; what sealing reads of hot lines and of the records of hosts is such that every confirmed write is
//! among it, in whichever datacentre it was confirmed.
//!
//! [`SealStore`]: crate::store::seal::SealStore

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::statement::prepared::PreparedStatement;
use weir_models::time::SECOND_US;

use super::CassandraStore;
use super::catalogue::{Known, Record};
use super::failure::{Failure, READ_PATIENCE, WRITE_PATIENCE, persist};
use super::read::{AT_ONCE, page_by_page, part_of, recorded};
use super::read_logs::{HostRow, LineRow, line};
use super::write::Jobs;
use crate::store::bucket::{Bucket, LOGS_WIDTH_US, shards};
use crate::store::seal::{DeviceDay, Look, PartRef};
use crate::store::sealed::{LinePart, weight_of};
use crate::store::{LogRow, StoreError, TimeRange};

/// Hours of a day: the partition of heads.
const HOURS: i64 = 24;
/// All of time.
const EVER: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

/// Partitions that are told in a page when all are listed.
const KEYS_PAGE: i32 = 1_000;
/// Stretches in which the ring of tokens is read: a power of two.
const STRETCHES: i64 = 256;
/// Lines in a page that sealing reads: at most some MB, which come within the time of one request.
const LINES_PAGE: i32 = 500;
/// How many partitions sealing reads at once.
const LARGE_AT_ONCE: usize = 4;

/// A stretch of time that is not halved when its lines do not come in time.
const SHORT_US: i64 = 60 * SECOND_US;

/// The ring of tokens in stretches: behind the first token of each, up to the last. No key has the least token.
fn stretches_of_ring() -> impl Iterator<Item = (i64, i64)> {
    let width = i64::MAX / STRETCHES * 2 + 2;
    let begin = move |n: i64| i64::MIN.wrapping_add(n.wrapping_mul(width));
    (0..STRETCHES)
        .map(move |n| (begin(n), if n + 1 == STRETCHES { i64::MAX } else { begin(n + 1) }))
}

/// Whether it is worth while to read halves of it where the whole did not come in time.
fn is_long(range: TimeRange) -> bool {
    range.to_us.saturating_sub(range.from_us) > SHORT_US
}

fn number_of(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl CassandraStore {
    /// The hosts of a site with what is recorded of them.
    pub(super) async fn hosts_of(
        &self,
        site: &str,
        look: Look,
    ) -> Result<Vec<(String, Known)>, StoreError> {
        let statements = self.statements().await?;
        let statement = &match look {
            Look::Usual => statements.hosts.clone(),
            look => statements.seal.looking(&statements.hosts, look),
        };
        let reads = shards().map(|shard| self.rows::<HostRow>(statement, (site, shard)));
        let hosts: Vec<Vec<_>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let known = |(host, first_us, last_us, widths, narrower)| {
            let record: Record = (first_us, last_us, widths, narrower);
            (host, Known::read(Some(record), None, LOGS_WIDTH_US))
        };
        Ok(hosts.into_iter().flatten().map(known).collect())
    }

    pub(super) async fn read_extent_of_lines(
        &self,
        site: &str,
        host: Option<&str>,
    ) -> Result<Option<TimeRange>, StoreError> {
        let known = match host {
            Some(host) => vec![self.host_record(site, host).await?],
            None => {
                let hosts = self.hosts_of(site, Look::Usual).await?;
                hosts.into_iter().map(|(_, known)| known).collect()
            }
        };
        let extents = known.iter().filter(|known| known.extent.is_some());
        let extents = extents.map(|known| recorded(known, EVER));
        Ok(extents.reduce(|a, b| TimeRange {
            from_us: a.from_us.min(b.from_us),
            to_us: a.to_us.max(b.to_us),
        }))
    }

    /// Every site and hour with hot lines: all keys of partitions, each of an hour: only for the
    /// migration that began sealing, which is before there were narrower ones. A line that is
    /// missed here would not be found any more, so every confirmed write is among them.
    pub(super) async fn read_hours_of_lines(&self) -> Result<BTreeSet<(String, i64)>, StoreError> {
        let keys = format!(
            "SELECT DISTINCT site, bucket, host FROM {}.logs WHERE token(site, host, bucket) > ? \
             AND token(site, host, bucket) <= ?",
            self.config.keyspace
        );
        let keys = self.session.prepare(keys).await.map_err(Failure::from)?;
        let mut keys = self.sealing().await?.looking(&keys, Look::Sure);
        keys.set_page_size(KEYS_PAGE);
        let keys = &keys;
        // Stretch by stretch, so that only one is read again when a node does not answer.
        let reads = stretches_of_ring().map(|stretch| {
            persist("read the hours of logs", WRITE_PATIENCE, move || async move {
                let keys = page_by_page::<(String, i64, String)>(self, keys, stretch).await?;
                keys.map_ok(|(site, bucket, _)| (site, bucket)).try_collect().await
            })
        });
        let mut hours = BTreeSet::new();
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(LARGE_AT_ONCE));
        while let Some(some) = reads.try_next().await? {
            let mut some: BTreeSet<(String, i64)> = some;
            hours.append(&mut some);
        }
        Ok(hours)
    }

    pub(super) async fn read_all_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        let statements = self.statements().await?;
        let mut statement = statements.seal.looking(&statements.logs, Look::Sure);
        statement.set_page_size(LINES_PAGE);
        let statement = &statement;
        let weight = &AtomicUsize::new(0);
        let hosts = self.hosts_of(site, Look::Sure).await?;
        let mut reads = Vec::new();
        for (host, known) in &hosts {
            let values = |bucket: Bucket| (site, host.as_str(), bucket.number);
            // The narrowest first: of a line that was written again it has what counts.
            for (widths, range) in known.layout.covers(recorded(known, range)).into_iter().rev() {
                for bucket in widths.ascending(range) {
                    let (part, values) = (part_of(range, bucket), values(bucket));
                    reads.push(self.read_lines(statement, values, part, weight, weight_max));
                }
            }
        }
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(LARGE_AT_ONCE));
        let mut lines = Vec::new();
        loop {
            match reads.try_next().await {
                Ok(Some(Some(some))) => lines.extend(some),
                Ok(Some(None)) => return Ok(None),
                Ok(None) => return Ok(Some(lines)),
                // Half of it may come in time.
                Err(StoreError::Retry(error)) if is_long(range) => {
                    tracing::warn!(site, error, "lines are read in smaller stretches of time");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The lines of a bucket, which are added to the weight of all that is read at once; none when that passes
    /// `weight_max`.
    async fn read_lines(
        &self,
        statement: &PreparedStatement,
        (site, host, bucket): (&str, &str, i64),
        range: TimeRange,
        weight: &AtomicUsize,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        persist("read logs", READ_PATIENCE, || async move {
            let values = (site, host, bucket, range.from_us, range.to_us, i32::MAX);
            let mut rows = std::pin::pin!(page_by_page(self, statement, values).await?);
            let mut lines = Vec::new();
            loop {
                let row: LineRow = match rows.try_next().await {
                    Ok(Some(row)) => row,
                    Ok(None) => return Ok(Some(lines)),
                    Err(failure) => {
                        // They are read again.
                        let own = lines.iter().map(weight_of).sum();
                        weight.fetch_sub(own, Ordering::Relaxed);
                        return Err(failure);
                    }
                };
                let row = line(site, host, row);
                let own = weight_of(&row);
                lines.push(row);
                if weight.fetch_add(own, Ordering::Relaxed) + own > weight_max {
                    return Ok(None);
                }
            }
        })
        .await
    }

    pub(super) async fn write_line_part(
        &self,
        hour: &DeviceDay,
        part: &LinePart,
    ) -> Result<(), StoreError> {
        let seal = self.sealing().await?;
        let DeviceDay { device: site, span, .. } = hour;
        let mut jobs = Jobs::large(self);
        for (number, block) in part.blocks.iter().enumerate() {
            let row = (site, span, part.id, number_of(number), block);
            // Each in a request of its own: they are large.
            jobs.push("log_blocks", &seal.put_block, [(row, block.len())]);
        }
        jobs.run().await?;
        let mut jobs = Jobs::large(self);
        let row = (site, span.div_euclid(HOURS), span, part.id, &part.heads);
        jobs.push("log_heads", &seal.put_heads, [(row, part.heads.len())]);
        jobs.run().await
    }

    pub(super) async fn drop_line_parts(
        &self,
        site: &str,
        hour: i64,
        parts: &[PartRef],
    ) -> Result<(), StoreError> {
        let seal = self.sealing().await?;
        let mut jobs = Jobs::new(self);
        for part in parts {
            let row = (site, hour.div_euclid(HOURS), hour, part.id);
            jobs.push("log_heads", &seal.drop_heads, [(row, 64)]);
            jobs.push("log_blocks", &seal.drop_blocks, [((site, hour, part.id), 64)]);
        }
        jobs.run().await
    }

    pub(super) async fn read_heads(
        &self,
        site: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        let statement = &self.sealing().await?.heads;
        let days = first.div_euclid(HOURS)..=last.div_euclid(HOURS);
        let reads = days.map(|day| self.rows(statement, (site, day, first, last)));
        let rows: Vec<Vec<_>> = stream::iter(reads).buffered(4).try_collect().await?;
        Ok(rows.into_iter().flatten().collect())
    }

    pub(super) async fn read_block(
        &self,
        hour: &DeviceDay,
        id: i64,
        number: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let statement = &self.sealing().await?.block;
        let values = (&hour.device, hour.span, id, number_of(number));
        let rows = self.rows::<(Vec<u8>,)>(statement, values).await?;
        Ok(rows.into_iter().next().map(|(body,)| body))
    }

    #[cfg(any(test, feature = "conformance"))]
    pub(super) async fn delete_hot_lines(&self, site: &str, hour: i64) -> Result<(), StoreError> {
        let range = crate::store::seal::hour_range(hour);
        let delete = format!(
            "DELETE FROM {}.logs WHERE site = ? AND host = ? AND bucket = ? AND ts_us >= ? AND \
             ts_us < ?",
            self.config.keyspace
        );
        for (host, known) in self.hosts_of(site, Look::Sure).await? {
            for (widths, range) in known.layout.covers(range) {
                for bucket in widths.ascending(range) {
                    let values = (site, &host, bucket.number, range.from_us, range.to_us);
                    let deleted = self.session.query_unpaged(delete.as_str(), values).await;
                    deleted.map_err(Failure::from)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stretches_are_the_whole_ring() {
        let stretches: Vec<(i64, i64)> = stretches_of_ring().collect();
        assert_eq!(stretches.len(), 256);
        assert_eq!((stretches[0].0, stretches[255].1), (i64::MIN, i64::MAX));
        assert!(stretches.iter().all(|(from, to)| from < to));
        assert!(stretches.windows(2).all(|two| two[0].1 == two[1].0));
    }

    #[test]
    fn halving_a_stretch_of_time_that_does_not_come_ends() {
        let range = |to_us| TimeRange { from_us: 0, to_us };
        assert!(is_long(range(60 * SHORT_US)) && !is_long(range(SHORT_US)));
        assert!(is_long(EVER));
    }
}
