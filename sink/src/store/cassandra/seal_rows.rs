//! Seal rows: what Cassandra brings for sealing.
//!
//! In and out: see [`SealStore`]. Promises: what changes a seal's list of parts is a lightweight
//! transaction at SERIAL, so that it counts in all datacentres; whoever seals reads hot rows and their
//! records such that every confirmed write is among them, in whichever datacentre it was confirmed. What
//! can go wrong: too few replicas are there for that, then sealing waits ([`StoreError::Retry`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::value::Row;
use scylla::{DeserializeValue, SerializeValue};
use weir_models::ident::{EventId, SeriesKey};

use super::CassandraStore;
use super::failure::{Failure, WRITE_PATIENCE, persist};
use super::read::recorded;
use super::seal_statements::SealStatements;
use super::write::Jobs;
use crate::store::bucket::{shard, shards};
use crate::store::seal::marks::Marks;
use crate::store::seal::{DeviceDay, Look, Mark, PartRef, Position, Seal, SealStore, block_of};
use crate::store::sealed::{LinePart, Part};
use crate::store::{LogQuery, LogRow, Point, StoreError, TimeRange};

/// All owners are in one partition: they are few.
const OWNERS: i8 = 0;

/// A part as it stands in a seal.
#[derive(SerializeValue, DeserializeValue)]
struct SealPart {
    id: i64,
    t0_us: i64,
    t1_us: i64,
    n: i64,
    metrics: Option<Vec<String>>,
}

impl From<&PartRef> for SealPart {
    fn from(part: &PartRef) -> Self {
        let PartRef { id, t0_us, t1_us, n, metrics } = part.clone();
        Self { id, t0_us, t1_us, n, metrics: Some(metrics) }
    }
}

type SealRow = (Option<i64>, Option<Vec<SealPart>>, Option<BTreeSet<i64>>);

fn seal_of((version, parts, marks): SealRow) -> Seal {
    let parts = parts.unwrap_or_default().into_iter().map(|part| {
        let SealPart { id, t0_us, t1_us, n, metrics } = part;
        PartRef { id, t0_us, t1_us, n, metrics: metrics.unwrap_or_default() }
    });
    Seal { version, parts: parts.collect(), marks: marks.unwrap_or_default() }
}

impl CassandraStore {
    pub(super) async fn sealing(&self) -> Result<&SealStatements, StoreError> {
        Ok(&self.statements().await?.seal)
    }
}

#[async_trait]
impl SealStore for CassandraStore {
    fn marks(&self) -> &Marks {
        &self.marks
    }

    async fn extent(&self, key: &SeriesKey) -> Result<Option<TimeRange>, StoreError> {
        let known = self.series_record(key, Look::Usual).await?;
        let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
        Ok(known.extent.map(|_| recorded(&known, ever)))
    }

    async fn metrics(&self, site: &str, device: &str) -> Result<Vec<String>, StoreError> {
        let seal = self.sealing().await?;
        let statement = seal.looking(&seal.metrics, Look::Sure);
        let rows = self.rows::<(String,)>(&statement, (site, shard(device), device)).await?;
        Ok(rows.into_iter().map(|(metric,)| metric).collect())
    }

    async fn hot(
        &self,
        key: &SeriesKey,
        from: Position,
        to_us: i64,
        limit: usize,
        look: Look,
    ) -> Result<Vec<Point>, StoreError> {
        self.read_points(key, from, to_us, limit, look).await
    }

    async fn seals(
        &self,
        site: &str,
        device: &str,
        first: i64,
        last: i64,
        look: Look,
    ) -> Result<Vec<(i64, Seal)>, StoreError> {
        type Columns = (i64, Option<i64>, Option<Vec<SealPart>>, Option<BTreeSet<i64>>);
        let seal = self.sealing().await?;
        let statement = seal.looking(&seal.seals, look);
        let rows = self.rows::<Columns>(&statement, (site, device, first, last)).await?;
        let seal = |(span, version, parts, marks)| (span, seal_of((version, parts, marks)));
        Ok(rows.into_iter().map(seal).collect())
    }

    async fn replace(
        &self,
        day: &DeviceDay,
        version: Option<i64>,
        parts: &[PartRef],
        mark: Option<i64>,
    ) -> Result<bool, StoreError> {
        let statement = &self.sealing().await?.replace;
        let next = version.map_or(1, |version| version.wrapping_add(1));
        let parts: Vec<SealPart> = parts.iter().map(Into::into).collect();
        let marks: Vec<i64> = mark.into_iter().collect();
        let values = (next, parts, marks, &day.site, &day.device, day.span, version);
        // Tried once: an answer that is lost is not known to be one, and the caller reads again.
        let answer = self.session.execute_unpaged(statement, &values).await;
        let rows =
            answer.map_err(Failure::from)?.into_rows_result().map_err(|e| Failure::lasting(&e))?;
        let row = rows.first_row::<Row>().map_err(|e| Failure::lasting(&e))?;
        let applied = row.columns.into_iter().next().flatten();
        Ok(applied.and_then(|applied| applied.as_boolean()).unwrap_or_default())
    }

    async fn all_seals(&self) -> Result<Vec<(DeviceDay, Seal)>, StoreError> {
        type Columns =
            (String, String, i64, Option<i64>, Option<Vec<SealPart>>, Option<BTreeSet<i64>>);
        let rows = self.rows::<Columns>(&self.sealing().await?.all_seals, ()).await?;
        let seal = |(site, device, span, version, parts, marks)| {
            (DeviceDay { site, device, span }, seal_of((version, parts, marks)))
        };
        Ok(rows.into_iter().map(seal).collect())
    }

    async fn hot_ids(&self) -> Result<BTreeSet<EventId>, StoreError> {
        self.read_event_ids().await
    }

    async fn add_marks(&self, owner: &str, marks: &[Mark]) -> Result<(), StoreError> {
        let seal = self.sealing().await?;
        let mut jobs = Jobs::new(self);
        let mut by_shard: BTreeMap<i8, Vec<_>> = BTreeMap::new();
        for Mark { day, mark } in marks {
            let shard = shard(&day.device);
            let row = (owner, shard, &day.site, &day.device, day.span, mark);
            by_shard.entry(shard).or_default().push((row, row_bytes(day)));
        }
        for rows in by_shard.into_values() {
            jobs.push("marks_by_owner", &seal.put_mark_of_owner, rows);
        }
        jobs.run().await?;
        let mut jobs = Jobs::new(self);
        for Mark { day, mark } in marks {
            let row = (vec![*mark], &day.site, &day.device, day.span);
            jobs.push("seals", &seal.put_mark, [(row, row_bytes(day))]);
        }
        jobs.run().await
    }

    async fn remove_mark(&self, mark: &Mark) -> Result<(), StoreError> {
        let statement = &self.sealing().await?.drop_mark;
        let Mark { day, mark } = mark;
        let row = (vec![*mark], &day.site, &day.device, day.span);
        persist("seals", WRITE_PATIENCE, || {
            statement.write(&self.session, std::slice::from_ref(&row))
        })
        .await
    }

    async fn forget_mark(&self, owner: &str, mark: &Mark) -> Result<(), StoreError> {
        let statement = &self.sealing().await?.drop_mark_of_owner;
        let Mark { day, mark } = mark;
        let row = (owner, shard(&day.device), &day.site, &day.device, day.span, mark);
        persist("marks_by_owner", WRITE_PATIENCE, || {
            statement.write(&self.session, std::slice::from_ref(&row))
        })
        .await
    }

    async fn marks_of(&self, owner: &str) -> Result<Vec<Mark>, StoreError> {
        let seal = self.sealing().await?;
        let statement = &seal.looking(&seal.marks_of_owner, Look::Sure);
        let mut marks = Vec::new();
        for shard in shards() {
            let rows = self.rows::<(String, String, i64, i64)>(statement, (owner, shard)).await?;
            marks.extend(rows.into_iter().map(|(site, device, span, mark)| Mark {
                day: DeviceDay { site, device, span },
                mark,
            }));
        }
        Ok(marks)
    }

    async fn owners(&self, look: Look) -> Result<Vec<(String, i64)>, StoreError> {
        let seal = self.sealing().await?;
        let statement = seal.looking(&seal.owners, look);
        let rows = self.rows::<(String, Option<i64>)>(&statement, (OWNERS,)).await?;
        Ok(rows.into_iter().map(|(owner, beat)| (owner, beat.unwrap_or_default())).collect())
    }

    async fn beat(&self, owner: &str, beat: i64) -> Result<(), StoreError> {
        let statement = &self.sealing().await?.put_owner;
        let row = [(OWNERS, owner, beat)];
        persist("sealers", WRITE_PATIENCE, || statement.write(&self.session, &row)).await
    }

    async fn drop_owner(&self, owner: &str) -> Result<(), StoreError> {
        let statement = &self.sealing().await?.drop_owner;
        let row = [(OWNERS, owner)];
        persist("sealers", WRITE_PATIENCE, || statement.write(&self.session, &row)).await
    }

    async fn put_part(&self, day: &DeviceDay, part: &Part) -> Result<(), StoreError> {
        let seal = self.sealing().await?;
        let DeviceDay { site, device, span } = day;
        let mut jobs = Jobs::large(self);
        let row = (site, device, span, part.id, &part.stamps);
        jobs.push("stamps", &seal.put_stamps, [(row, part.stamps.len())]);
        for episode in &part.episodes {
            let metric = &episode.metric;
            let (t0_us, t1_us) = (episode.t0_us, episode.t1_us);
            let n = i64::try_from(episode.n).unwrap_or(i64::MAX);
            let (min, max, sum) = (episode.min, episode.max, episode.sum);
            let row = (
                site,
                device,
                metric,
                span,
                part.id,
                t0_us,
                t1_us,
                n,
                min,
                max,
                sum,
                &episode.body,
            );
            jobs.push("episodes", &seal.put_episode, [(row, episode.body.len())]);
            for (step_s, body) in [(60, &episode.minutes), (3_600, &episode.hours)] {
                if !body.is_empty() {
                    let block = block_of(step_s, *span);
                    let row = (site, device, metric, step_s, block, span, part.id, body);
                    jobs.push("rollups", &seal.put_rolls, [(row, body.len())]);
                }
            }
        }
        jobs.run().await
    }

    async fn drop_parts(&self, day: &DeviceDay, parts: &[PartRef]) -> Result<(), StoreError> {
        if let Some(site) = day.lines() {
            return self.drop_line_parts(site, day.span, parts).await;
        }
        let seal = self.sealing().await?;
        let DeviceDay { site, device, span } = day;
        let mut jobs = Jobs::new(self);
        for part in parts {
            jobs.push("stamps", &seal.drop_stamps, [((site, device, span, part.id), 64)]);
            for metric in &part.metrics {
                let row = (site, device, metric, span, part.id);
                jobs.push("episodes", &seal.drop_episode, [(row, 64)]);
                for step_s in [60, 3_600] {
                    let block = block_of(step_s, *span);
                    let row = (site, device, metric, step_s, block, span, part.id);
                    jobs.push("rollups", &seal.drop_rolls, [(row, 64)]);
                }
            }
        }
        jobs.run().await
    }

    async fn stamps(
        &self,
        day: &DeviceDay,
        ids: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let statement = &self.sealing().await?.stamps;
        self.rows(statement, (&day.site, &day.device, day.span, ids)).await
    }

    async fn episodes(
        &self,
        day: &DeviceDay,
        metric: &str,
        ids: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let statement = &self.sealing().await?.episodes;
        self.rows(statement, (&day.site, &day.device, metric, day.span, ids)).await
    }

    async fn rolls(
        &self,
        key: &SeriesKey,
        step_s: i32,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        let statement = &self.sealing().await?.rolls;
        let SeriesKey { site, device, metric } = key;
        let blocks = block_of(step_s, first)..=block_of(step_s, last);
        let reads = blocks
            .map(|block| self.rows(statement, (site, device, metric, step_s, block, first, last)));
        let parts: Vec<Vec<_>> = stream::iter(reads).buffered(4).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot(&self, key: &SeriesKey, range: TimeRange) -> Result<(), StoreError> {
        let known = self.series_record(key, Look::Sure).await?;
        let SeriesKey { site, device, metric } = key;
        let delete = format!(
            "DELETE FROM {}.readings WHERE site = ? AND device = ? AND metric = ? AND bucket = ? \
             AND ts_us >= ? AND ts_us < ?",
            self.config.keyspace
        );
        for (widths, range) in known.layout.covers(range) {
            for bucket in widths.ascending(range) {
                let values = (site, device, metric, bucket.number, range.from_us, range.to_us);
                self.session.query_unpaged(delete.as_str(), values).await.map_err(Failure::from)?;
            }
        }
        Ok(())
    }

    async fn extent_of_lines(
        &self,
        site: &str,
        host: Option<&str>,
    ) -> Result<Option<TimeRange>, StoreError> {
        self.read_extent_of_lines(site, host).await
    }

    async fn newest_hot_lines(
        &self,
        query: &LogQuery,
        read: &AtomicUsize,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.read_logs(query, read).await
    }

    async fn hot_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        self.read_all_lines(site, range, weight_max).await
    }

    async fn put_lines(&self, hour: &DeviceDay, part: &LinePart) -> Result<(), StoreError> {
        self.write_line_part(hour, part).await
    }

    async fn heads(
        &self,
        site: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        self.read_heads(site, first, last).await
    }

    async fn block(
        &self,
        hour: &DeviceDay,
        id: i64,
        number: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_block(hour, id, number).await
    }

    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot_lines(&self, site: &str, hour: i64) -> Result<(), StoreError> {
        self.delete_hot_lines(site, hour).await
    }
}

fn row_bytes(day: &DeviceDay) -> usize {
    day.site.len() + day.device.len() + 128
}
