//! Read: the answers of the queries, partition by partition.
//!
//! In: queries. Out: rows in order. Promises: no query reads more than [`PARTITIONS_MAX`] partitions
//! or holds much more than its limit of rows; a range is first cut to what is recorded of the series
//! or host, so that an open range costs nothing. What can go wrong: [`StoreError::TooWide`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use scylla::DeserializeValue;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use weir_models::alert::Alert;
use weir_models::device::AgentStatus;
use weir_models::feedback::Feedback;
use weir_models::ident::{EventId, SeriesKey, Stream as EventStream};

use super::CassandraStore;
use super::catalogue::{Known, Record};
use super::failure::{Failure, READ_PATIENCE, persist};
use super::statements::Statements;
use crate::store::bucket::{
    ALERTS_WIDTH_US, Bucket, LOGS_WIDTH_US, PARTITIONS_MAX, READINGS_WIDTH_US,
    SERIES_ALERTS_WIDTH_US, Widths, shard, shards,
};
use crate::store::census::Census;
use crate::store::seal::Look;
use crate::store::select::{alert_matches, fold_alert, read_alert};
use crate::store::{
    Agents, AlertQuery, AlertRecords, Feedbacks, Latest, Series, StoreError, TimeRange,
};

/// How many partitions one query reads at once.
pub(super) const AT_ONCE: usize = 16;

/// The record of a series as it is stored.
type SeriesRecord = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<BTreeMap<i64, i64>>,
    Option<BTreeMap<i64, i64>>,
);

/// The newest value of a series, as stored.
#[derive(DeserializeValue)]
struct LastValue {
    // The event is what decides between equal stamps; nobody asks for it yet.
    #[expect(dead_code, reason = "part of the stored type")]
    stream: i64,
    #[expect(dead_code, reason = "part of the stored type")]
    seq: i64,
    ts_us: i64,
    value: f64,
    score: Option<f32>,
    unit: Option<String>,
}

impl CassandraStore {
    /// All rows of an answer.
    pub(super) async fn rows<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Sync,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send + 'static,
    {
        let values = &values;
        persist("read", READ_PATIENCE, || async move {
            let pager = self.session.execute_iter(statement.clone(), values).await?;
            let rows = pager.rows_stream::<T>().map_err(|e| Failure::lasting(&e))?;
            rows.try_collect().await.map_err(Failure::from)
        })
        .await
    }

    pub(super) async fn series_record(
        &self,
        key: &SeriesKey,
        look: Look,
    ) -> Result<Known, StoreError> {
        let statements = self.statements().await?;
        let one = &looking(statements, &statements.one_series, look);
        let shard = shard(&key.device);
        let values = (&key.site, shard, &key.device, &key.metric);
        let rows = self.rows::<SeriesRecord>(one, values);
        Ok(match rows.await?.pop() {
            None => Known::read(None, None, READINGS_WIDTH_US),
            Some((unit, first_us, last_us, widths, narrower)) => {
                let record = (first_us, last_us, widths, narrower);
                Known::read(Some(record), unit, READINGS_WIDTH_US)
            }
        })
    }

    pub(super) async fn host_record(&self, site: &str, host: &str) -> Result<Known, StoreError> {
        let one = &self.statements().await?.one_host;
        let rows = self.rows::<Record>(one, (site, shard(host), host)).await?;
        Ok(Known::read(rows.into_iter().next(), None, LOGS_WIDTH_US))
    }

    async fn site_record(&self, site: &str) -> Result<Known, StoreError> {
        let one = &self.statements().await?.one_site;
        let rows = self.rows::<(Option<i64>, Option<i64>)>(one, (shard(site), site)).await?;
        let row = rows.into_iter().next().map(|(first, last)| (first, last, None, None));
        Ok(Known::read(row, None, ALERTS_WIDTH_US))
    }

    pub(super) async fn known_series(&self, census: &Census<'_>) -> Result<Vec<Known>, StoreError> {
        let one = async |key: &SeriesKey| match self.series.get(key) {
            Some(known) => Ok(Known::clone(&known)),
            None => Box::pin(self.series_record(key, Look::Usual)).await,
        };
        let reads: Vec<_> = census.series.iter().map(|seen| one(seen.key)).collect();
        self.in_order(reads).await
    }

    pub(super) async fn known_hosts(&self, census: &Census<'_>) -> Result<Vec<Known>, StoreError> {
        let one = async |site: &str, host: &str| match self.hosts.get(&(site.into(), host.into())) {
            Some(known) => Ok(Known::clone(&known)),
            None => Box::pin(self.host_record(site, host)).await,
        };
        let reads: Vec<_> = census.hosts.iter().map(|seen| one(seen.site, seen.host)).collect();
        self.in_order(reads).await
    }

    pub(super) async fn known_sites(&self, census: &Census<'_>) -> Result<Vec<Known>, StoreError> {
        let one = async |site: &str| match self.sites.get(&site.into()) {
            Some(known) => Ok(Known::clone(&known)),
            None => Box::pin(self.site_record(site)).await,
        };
        let reads: Vec<_> = census.sites.keys().map(|site| one(site)).collect();
        self.in_order(reads).await
    }

    /// The answers to `reads`, a bounded number of them under way. A read takes some 20 KiB, so it is to be boxed when
    /// it begins: most of what is asked for is known and reads nothing.
    async fn in_order<T, F>(&self, reads: Vec<F>) -> Result<Vec<T>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        stream::iter(reads).buffered(self.pace.now()).try_collect().await
    }

    /// One query for each shard of a site.
    pub(super) async fn by_shard<T>(
        &self,
        statement: &PreparedStatement,
        site: &str,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + Send + 'static,
    {
        let reads = shards().map(|shard| self.rows::<T>(statement, (site, shard)));
        let parts: Vec<Vec<T>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    pub(super) async fn read_latest(
        &self,
        site: &str,
        device: Option<&str>,
    ) -> Result<Vec<Latest>, StoreError> {
        let statements = self.statements().await?;
        let rows: Vec<(String, String, Option<LastValue>)> = match device {
            None => self.by_shard(&statements.latest, site).await?,
            Some(device) => {
                let values = (site, shard(device), device);
                self.rows(&statements.latest_of_device, values).await?
            }
        };
        let latest = |(device, metric, last): (String, String, Option<LastValue>)| {
            last.map(|last| Latest {
                key: SeriesKey { site: site.into(), device, metric },
                ts_us: last.ts_us,
                value: last.value,
                score: last.score,
                unit: last.unit,
            })
        };
        let mut all: Vec<Latest> = rows.into_iter().filter_map(latest).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// The records of series, their last stamps made exact by the latest values.
    pub(super) async fn read_series(
        &self,
        site: &str,
        device: Option<&str>,
    ) -> Result<Vec<Series>, StoreError> {
        type Row = (String, String, Option<String>, Option<i64>, Option<i64>);
        let statements = self.statements().await?;
        let rows: Vec<Row> = match device {
            None => self.by_shard(&statements.series, site).await?,
            Some(device) => {
                let values = (site, shard(device), device);
                self.rows(&statements.series_of_device, values).await?
            }
        };
        let latest = self.read_latest(site, device).await?;
        let latest: BTreeMap<SeriesKey, i64> =
            latest.into_iter().map(|latest| (latest.key, latest.ts_us)).collect();
        let mut all = Vec::with_capacity(rows.len());
        for (device, metric, unit, first_us, last_us) in rows {
            let key = SeriesKey { site: site.into(), device, metric };
            let (Some(first_us), Some(last_us)) = (first_us, last_us) else {
                continue;
            };
            let last_us = latest.get(&key).map_or(last_us, |&us| us.max(last_us));
            all.push(Series { key, unit, first_us, last_us });
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    pub(super) async fn read_sites(&self) -> Result<Vec<String>, StoreError> {
        let statement = &self.statements().await?.sites;
        let reads = shards().map(|shard| self.rows::<(String,)>(statement, (shard,)));
        let parts: Vec<Vec<(String,)>> =
            stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut sites: Vec<String> = parts.into_iter().flatten().map(|(site,)| site).collect();
        sites.sort_unstable();
        Ok(sites)
    }

    pub(super) async fn read_alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        let known = self.site_record(&query.site).await?;
        let range = recorded(&known, query.range);
        let statements = self.statements().await?;
        let site = &query.site;
        let present = |rows: Vec<(Option<String>, Option<String>)>| {
            let folded = rows.into_iter();
            let folded = folded.filter_map(|(firing, resolved)| {
                fold_alert(firing.as_deref(), resolved.as_deref())
            });
            folded.filter(|alert| alert_matches(query, alert)).collect()
        };
        if let Some((device, metric)) = &query.series {
            let widths = Widths::constant(SERIES_ALERTS_WIDTH_US);
            let parts = widths.descending(range).map(async |bucket| {
                let part = part_of(range, bucket);
                let values = (site, device, metric, bucket.number, part.from_us, part.to_us);
                self.rows(&statements.alerts_by_series, values).await.map(present)
            });
            return bounded(parts, query.limit).await;
        }
        let widths = Widths::constant(ALERTS_WIDTH_US);
        let parts = widths.descending(range).map(async |bucket| {
            let part = part_of(range, bucket);
            let values = (site, bucket.number, part.from_us, part.to_us);
            self.rows(&statements.alerts, values).await.map(present)
        });
        bounded(parts, query.limit).await
    }

    pub(super) async fn read_alert_records(
        &self,
        site: &str,
        fired_us: i64,
    ) -> Result<Vec<AlertRecords>, StoreError> {
        let day = Widths::constant(ALERTS_WIDTH_US).bucket(fired_us).number;
        let values = (site, day, fired_us, fired_us.saturating_add(1));
        let statement = &self.statements().await?.alerts;
        let rows = self.rows::<(Option<String>, Option<String>)>(statement, values).await?;
        let read = |(firing, resolved): (Option<String>, Option<String>)| {
            read_alert(firing.as_deref(), resolved.as_deref())
        };
        Ok(rows.into_iter().map(read).collect())
    }

    pub(super) async fn read_feedback(
        &self,
        site: &str,
        range: TimeRange,
    ) -> Result<Feedbacks, StoreError> {
        // Nothing is said of what did not fire.
        let range = recorded(&self.site_record(site).await?, range);
        let statement = &self.statements().await?.feedback;
        let widths = Widths::constant(SERIES_ALERTS_WIDTH_US);
        let parts = widths.descending(range).map(async |bucket| {
            let part = part_of(range, bucket);
            let values = (site, bucket.number, part.from_us, part.to_us);
            self.rows::<(String, Option<String>)>(statement, values).await
        });
        let rows = bounded(parts, usize::MAX).await?;
        Ok(rows.into_iter().filter_map(read_said).collect())
    }

    pub(super) async fn read_feedback_on(
        &self,
        site: &str,
        alerts: &[(i64, String)],
    ) -> Result<Feedbacks, StoreError> {
        let statement = &self.statements().await?.feedback_on;
        let widths = Widths::constant(SERIES_ALERTS_WIDTH_US);
        let reads = alerts.iter().cloned().map(|(fired_us, id)| {
            let values = (site, widths.bucket(fired_us).number, fired_us, id);
            self.rows::<(String, Option<String>)>(statement, values)
        });
        let rows: Vec<Vec<(String, Option<String>)>> =
            stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(rows.into_iter().flatten().filter_map(read_said).collect())
    }

    pub(super) async fn read_agents(&self) -> Result<Agents, StoreError> {
        let statement = &self.statements().await?.agents;
        let reads = shards().map(|shard| self.rows::<(String, String)>(statement, (shard,)));
        let parts: Vec<Vec<(String, String)>> =
            stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(parts.into_iter().flatten().filter_map(heartbeat).collect())
    }

    pub(super) async fn read_agent(&self, name: &str) -> Result<Option<AgentStatus>, StoreError> {
        let statement = &self.statements().await?.one_agent;
        let rows = self.rows::<(String, String)>(statement, (shard(name), name)).await?;
        Ok(rows.into_iter().find_map(heartbeat).map(|(_, status)| status))
    }

    pub(super) async fn read_event_ids(&self) -> Result<BTreeSet<EventId>, StoreError> {
        let statements = self.statements().await?;
        let mut ids = BTreeSet::new();
        for statement in [&statements.reading_ids, &statements.log_ids] {
            let rows = self.rows::<(i64, i64)>(statement, ()).await?;
            ids.extend(rows.into_iter().map(|(stream, seq)| EventId {
                stream: EventStream::from_i64(stream),
                seq: seq.cast_unsigned(),
            }));
        }
        Ok(ids)
    }
}

/// A statement for a look. The usual one is as it was prepared.
pub(super) fn looking(
    statements: &Statements,
    statement: &PreparedStatement,
    look: Look,
) -> PreparedStatement {
    match look {
        Look::Usual | Look::Unmarked => statement.clone(),
        look => statements.seal.looking(statement, look),
    }
}

/// What of a range can hold rows at all.
pub(super) fn recorded(known: &Known, range: TimeRange) -> TimeRange {
    match known.extent {
        Some(extent) => range.intersect(TimeRange::of_extent(extent.first_us, extent.last_us)),
        None => TimeRange { from_us: 0, to_us: 0 },
    }
}

/// A row of what people said: of which alert, and what.
fn read_said((id, json): (String, Option<String>)) -> Option<(String, Feedback)> {
    match serde_json::from_str(&json?) {
        Ok(said) => Some((id, said)),
        Err(error) => {
            tracing::warn!(id, %error, "a stored feedback cannot be read");
            None
        }
    }
}

/// What of a range lies in a bucket. Buckets of one number but of different widths share a
/// partition, so that the stamps, not the number alone, say which rows are meant.
pub(super) fn part_of(range: TimeRange, bucket: Bucket) -> TimeRange {
    range.intersect(TimeRange { from_us: bucket.from_us, to_us: bucket.to_us })
}

/// Reads partitions in order, some at once, until `limit` rows are there.
pub(super) async fn bounded<T, F>(
    parts: impl Iterator<Item = F>,
    limit: usize,
) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<Vec<T>, StoreError>>,
{
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    let mut parts = std::pin::pin!(stream::iter(parts).buffered(AT_ONCE).take(PARTITIONS_MAX + 1));
    let mut read = 0;
    while let Some(part) = parts.next().await {
        read += 1;
        if read > PARTITIONS_MAX {
            return Err(StoreError::TooWide { partitions_max: PARTITIONS_MAX });
        }
        rows.extend(part?);
        if rows.len() >= limit {
            rows.truncate(limit);
            break;
        }
    }
    Ok(rows)
}

/// The rows of one partition as they come, page by page.
pub(super) async fn page_by_page<T>(
    store: &CassandraStore,
    statement: &PreparedStatement,
    values: impl SerializeRow,
) -> Result<impl Stream<Item = Result<T, Failure>>, Failure>
where
    T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> + 'static,
{
    let pager = store.session.execute_iter(statement.clone(), values).await?;
    let rows = pager.rows_stream::<T>().map_err(|e| Failure::lasting(&e))?;
    Ok(rows.map_err(Failure::from))
}

/// An agent and its last heartbeat, from its JSON.
fn heartbeat((agent, json): (String, String)) -> Option<(String, AgentStatus)> {
    let read = serde_json::from_str::<AgentStatus>(&json);
    let failed = |error: &serde_json::Error| tracing::warn!(agent, %error, "a stored heartbeat cannot be read");
    read.inspect_err(failed).ok().map(|status| (agent, status))
}
