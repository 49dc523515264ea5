//! Line rows: sealed log lines in Cassandra, and the hot ones as sealing reads them.
//!
//! In and out: what [`SealStore`] says of lines. Promises: blocks are confirmed before their heads, and these before a
//! seal lists them; what sealing reads of hot lines and of the records of hosts is such that every confirmed write is
//! among it, in whichever datacentre it was confirmed.
//!
//! [`SealStore`]: crate::store::seal::SealStore

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::statement::prepared::PreparedStatement;

use super::CassandraStore;
use super::catalogue::{Known, Record};
use super::failure::{Failure, READ_PATIENCE, persist};
use super::read::{AT_ONCE, page_by_page, part_of, recorded};
use super::read_logs::{HostRow, LineRow, line};
use super::write::Jobs;
use crate::store::bucket::{LOGS_WIDTH_US, shards};
use crate::store::seal::{DeviceDay, Look, PartRef};
use crate::store::sealed::{LinePart, weight_of};
use crate::store::{LogRow, StoreError, TimeRange};

/// Hours of a day: the partition of heads.
const HOURS: i64 = 24;
/// All of time.
const EVER: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

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
        let known = |(host, first_us, last_us, widths)| {
            let record: Record = (first_us, last_us, widths);
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

    /// Every site and hour with hot lines: all keys of partitions, which are no more than an hour wide.
    pub(super) async fn read_hours_of_lines(&self) -> Result<BTreeSet<(String, i64)>, StoreError> {
        let keys = format!("SELECT DISTINCT site, host, bucket FROM {}.logs", self.config.keyspace);
        let keys = self.session.prepare(keys).await.map_err(Failure::from)?;
        let rows = self.rows::<(String, String, i64)>(&keys, ()).await?;
        Ok(rows.into_iter().map(|(site, _, bucket)| (site, bucket)).collect())
    }

    pub(super) async fn read_all_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        let statements = self.statements().await?;
        let statement = &statements.seal.looking(&statements.logs, Look::Sure);
        let hosts = self.hosts_of(site, Look::Sure).await?;
        let mut reads = Vec::new();
        for (host, known) in &hosts {
            let range = recorded(known, range);
            for bucket in known.widths.ascending(range) {
                let part = part_of(range, bucket);
                reads.push(self.read_lines(
                    statement,
                    (site, host, bucket.number),
                    part,
                    weight_max,
                ));
            }
        }
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(AT_ONCE));
        let (mut lines, mut weight) = (Vec::new(), 0usize);
        while let Some((some, own)) = reads.try_next().await? {
            weight += own;
            if weight > weight_max {
                return Ok(None);
            }
            lines.extend(some);
        }
        Ok(Some(lines))
    }

    /// The lines of a bucket and their weight; not all of them where they weigh more than `weight_max`.
    async fn read_lines(
        &self,
        statement: &PreparedStatement,
        (site, host, bucket): (&str, &str, i64),
        range: TimeRange,
        weight_max: usize,
    ) -> Result<(Vec<LogRow>, usize), StoreError> {
        persist("read logs", READ_PATIENCE, || async move {
            let values = (site, host, bucket, range.from_us, range.to_us, i32::MAX);
            let rows = page_by_page::<LineRow>(self, statement, values).await?;
            let mut rows = std::pin::pin!(rows);
            let (mut lines, mut weight) = (Vec::new(), 0usize);
            while let Some(row) = rows.try_next().await? {
                let row = line(site, host, row);
                weight += weight_of(&row);
                lines.push(row);
                if weight > weight_max {
                    break;
                }
            }
            Ok((lines, weight))
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
        let mut jobs = Jobs::new(self);
        for (number, block) in part.blocks.iter().enumerate() {
            let row = (site, span, part.id, number_of(number), block);
            // Each in a request of its own: they are large.
            jobs.push("log_blocks", &seal.put_block, [(row, block.len())]);
        }
        jobs.run().await?;
        let mut jobs = Jobs::new(self);
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
            for bucket in known.widths.ascending(range) {
                let values = (site, &host, bucket.number, range.from_us, range.to_us);
                let deleted = self.session.query_unpaged(delete.as_str(), values).await;
                deleted.map_err(Failure::from)?;
            }
        }
        Ok(())
    }
}
