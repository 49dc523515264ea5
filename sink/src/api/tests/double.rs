//! A store and a producer in memory, for tests of the API.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::alert::Alert;
use weir_models::device::Device;
use weir_models::ident::{EventId, SeriesKey};
use weir_models::topic::Topic;

use crate::consume::{BY, ProduceError, Producer, author};
use crate::store::sealed::rolls_of;
use crate::store::{
    Agents, AlertQuery, AlertRecords, Audit, Batch, ChangesQuery, DeviceChange, Feedbacks, Latest,
    Lines, LogFilter, LogQuery, LogRow, LossQuery, LossRow, Point, Rolls, Series, Store,
    StoreError, TimeRange,
};

/// Keeps what is written in memory; may be told to fail or to be slow.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) rows: Mutex<Batch>,
    pub(crate) fails: Mutex<Option<fn() -> StoreError>>,
    pub(crate) hangs: Mutex<bool>,
    /// What happens when the devices of a site were read.
    pub(crate) behind_a_list: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Whether rollups have to be made of points, as of a day that is not sealed.
    pub(crate) hot: AtomicBool,
    /// How often the series of a site were asked for.
    pub(crate) lists: AtomicUsize,
}

impl MemoryStore {
    async fn read<T>(&self, query: impl FnOnce(&Batch) -> T) -> Result<T, StoreError> {
        let hangs = self.hangs.lock().is_ok_and(|hangs| *hangs);
        if hangs {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
        }
        if let Some(error) = self.fails.lock().ok().and_then(|fails| *fails) {
            return Err(error());
        }
        let rows = self.rows.lock();
        rows.map(|rows| query(&rows)).map_err(|error| StoreError::Fatal(error.to_string()))
    }

    async fn known(&self, site: &str) -> Result<Vec<Device>, StoreError> {
        self.read(|rows| {
            let mut last = BTreeMap::new();
            for change in rows.devices.iter().filter(|row| row.site == site) {
                last.insert(change.device.clone(), change.record.clone());
            }
            last.into_values().flatten().collect()
        })
        .await
    }
}

fn within(range: TimeRange, ts_us: i64) -> bool {
    (range.from_us..range.to_us).contains(&ts_us)
}

#[async_trait]
impl Store for MemoryStore {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let Ok(mut rows) = self.rows.lock() else {
            return Err(StoreError::Retry("poisoned".into()));
        };
        let batch = batch.clone();
        rows.readings.extend(batch.readings);
        rows.logs.extend(batch.logs);
        rows.alerts.extend(batch.alerts);
        rows.devices.extend(batch.devices);
        rows.agents.extend(batch.agents);
        rows.losses.extend(batch.losses);
        rows.audits.extend(batch.audits);
        rows.feedback.extend(batch.feedback);
        Ok(())
    }

    async fn readings(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        self.read(|rows| {
            let rows = rows.readings.iter();
            let rows = rows.filter(|row| row.key == *key && within(range, row.ts_us));
            let mut points: Vec<_> = rows
                .map(|row| Point {
                    ts_us: row.ts_us,
                    value: row.value,
                    score: row.score,
                    stream: row.id.stream,
                    seq: row.id.seq,
                })
                .collect();
            points.sort_by_key(|point| (point.ts_us, point.stream, point.seq));
            points.truncate(limit);
            points
        })
        .await
    }

    async fn rollups(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        step_us: i64,
    ) -> Result<Rolls, StoreError> {
        let points = self.readings(key, range.whole_windows(step_us), usize::MAX).await?;
        let read = if self.hot.load(Relaxed) { points.len() } else { 0 };
        Ok(Rolls { rolls: rolls_of(&points, step_us), points: read })
    }

    async fn latest(&self, site: &str) -> Result<Vec<Latest>, StoreError> {
        self.read(|rows| {
            let mut newest = std::collections::BTreeMap::new();
            for row in rows.readings.iter().filter(|row| row.key.site == site) {
                let latest = Latest {
                    key: row.key.clone(),
                    ts_us: row.ts_us,
                    value: row.value,
                    score: row.score,
                    unit: row.unit.clone(),
                };
                let held = newest.entry(&row.key).or_insert_with(|| latest.clone());
                if held.ts_us <= latest.ts_us {
                    *held = latest;
                }
            }
            newest.into_values().collect()
        })
        .await
    }

    async fn sites(&self) -> Result<Vec<String>, StoreError> {
        self.read(|rows| {
            let readings = rows.readings.iter().map(|row| row.key.site.clone());
            let mut sites: Vec<_> =
                readings.chain(rows.logs.iter().map(|row| row.site.clone())).collect();
            sites.sort();
            sites.dedup();
            sites
        })
        .await
    }

    async fn series(&self, site: &str, device: Option<&str>) -> Result<Vec<Series>, StoreError> {
        self.lists.fetch_add(1, Relaxed);
        self.read(|rows| {
            let mut series = std::collections::BTreeMap::new();
            for row in &rows.readings {
                if row.key.site == site && device.is_none_or(|device| row.key.device == device) {
                    let held = series.entry(&row.key).or_insert_with(|| Series {
                        key: row.key.clone(),
                        unit: row.unit.clone(),
                        first_us: row.ts_us,
                        last_us: row.ts_us,
                    });
                    held.first_us = held.first_us.min(row.ts_us);
                    held.last_us = held.last_us.max(row.ts_us);
                }
            }
            series.into_values().collect()
        })
        .await
    }

    async fn logs(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError> {
        let filter = LogFilter::of(query);
        let wanted = |row: &LogRow| row.site == query.site && filter.matches(row);
        self.read(|rows| {
            let logs = rows.lines().map(LogRow::from);
            let mut logs: Vec<_> = logs.filter(wanted).collect();
            logs.sort_by_key(|row| std::cmp::Reverse((row.ts_us, row.stream, row.seq)));
            logs.truncate(query.limit);
            logs
        })
        .await
    }

    /// Line by line.
    fn find_logs<'a>(&'a self, query: &'a LogQuery) -> Lines<'a> {
        let line_by_line = async move {
            let rows = self.logs(query).await?;
            Ok::<_, StoreError>(stream::iter(rows.into_iter().map(|row| Ok(vec![row]))))
        };
        stream::once(line_by_line).try_flatten().boxed()
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        let wanted = |alert: &&Alert| {
            let data = &alert.data;
            let series = (data.device.clone(), data.metric.clone());
            data.site == query.site
                && within(query.range, data.fired_us)
                && query.series.as_ref().is_none_or(|wanted| *wanted == series)
                && query.state.is_none_or(|state| data.state == state)
                && query
                    .after
                    .as_ref()
                    .is_none_or(|(us, id)| (data.fired_us, &data.alert_id) < (*us, id))
        };
        self.read(|rows| {
            let mut alerts: Vec<_> = rows.alerts.iter().filter(wanted).cloned().collect();
            let place = |alert: &Alert| (alert.data.fired_us, alert.data.alert_id.clone());
            alerts.sort_by_key(|alert| std::cmp::Reverse(place(alert)));
            alerts.truncate(query.limit);
            alerts
        })
        .await
    }

    async fn alert_records(&self, _: &str, _: i64) -> Result<Vec<AlertRecords>, StoreError> {
        Ok(Vec::new())
    }

    async fn feedback(&self, site: &str, range: TimeRange) -> Result<Feedbacks, StoreError> {
        self.read(|rows| {
            let of_site = rows.feedback.iter().filter(|said| said.site == site);
            let within = of_site.filter(|said| within(range, said.fired_us));
            within.map(|said| (said.alert_id.clone(), said.clone())).collect()
        })
        .await
    }

    async fn feedback_on(
        &self,
        site: &str,
        alerts: &[(i64, String)],
    ) -> Result<Feedbacks, StoreError> {
        let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
        let mut all = self.feedback(site, ever).await?;
        all.retain(|id, said| alerts.contains(&(said.fired_us, id.clone())));
        Ok(all)
    }

    async fn devices(&self, site: &str) -> Result<Vec<Device>, StoreError> {
        let devices = self.known(site).await?;
        if let Some(happens) = self.behind_a_list.lock().ok().and_then(|mut happens| happens.take())
        {
            happens();
        }
        Ok(devices)
    }

    async fn device(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError> {
        let devices = self.known(site).await?;
        Ok(devices.into_iter().find(|known| known.device == device))
    }

    async fn device_changes(&self, query: &ChangesQuery) -> Result<Vec<DeviceChange>, StoreError> {
        self.read(|rows| {
            let place = |change: &DeviceChange| (change.ts_us, change.position);
            let mut changes: Vec<DeviceChange> = rows
                .devices
                .iter()
                .filter(|change| change.site == query.site && change.device == query.device)
                .filter(|change| query.before.is_none_or(|before| place(change) < before))
                .cloned()
                .collect();
            changes.sort_by_key(|change| std::cmp::Reverse(place(change)));
            changes.truncate(query.limit);
            changes
        })
        .await
    }

    async fn agents(&self) -> Result<Agents, StoreError> {
        self.read(|rows| {
            let rows = rows.agents.iter();
            rows.map(|row| (row.agent.to_string(), row.clone())).collect()
        })
        .await
    }

    async fn losses(&self, query: &LossQuery) -> Result<Vec<LossRow>, StoreError> {
        let wanted = |row: &&LossRow| {
            row.site == query.site
                && within(query.range, row.ts_us)
                && query.agent.as_ref().is_none_or(|agent| row.agent == *agent)
                && query.before.is_none_or(|before| row.place() < before)
        };
        self.read(|rows| {
            let mut losses: Vec<_> = rows.losses.iter().filter(wanted).cloned().collect();
            losses.sort_by_key(|row| std::cmp::Reverse(row.place()));
            losses.truncate(query.limit);
            losses
        })
        .await
    }

    async fn audits(&self, limit: usize) -> Result<Vec<Audit>, StoreError> {
        self.read(|rows| rows.audits.iter().rev().take(limit).cloned().collect()).await
    }

    async fn event_ids(&self) -> Result<Vec<EventId>, StoreError> {
        Ok(Vec::new())
    }
}

/// A record as it was sent: topic, key, value.
pub(crate) type Sent = (Topic, Vec<u8>, Option<Vec<u8>>);

/// Keeps what is sent; may be told to fail.
#[derive(Default)]
pub(crate) struct MemoryProducer {
    pub(crate) sent: Mutex<Vec<Sent>>,
    /// Who is said to have changed a device, record by record.
    pub(crate) by: Mutex<Vec<Option<String>>>,
    pub(crate) fails: Mutex<Option<fn() -> ProduceError>>,
    /// Whether each record takes a fifth of a second.
    pub(crate) slow: AtomicBool,
}

#[async_trait]
impl Producer for MemoryProducer {
    async fn send(
        &self,
        topic: Topic,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), ProduceError> {
        if self.slow.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if let Some(error) = self.fails.lock().ok().and_then(|fails| *fails) {
            return Err(error());
        }
        if let Ok(mut by) = self.by.lock() {
            let by_header = headers.iter().find(|(name, _)| *name == BY);
            by.push(by_header.and_then(|(_, value)| author(Some(value))).map(Into::into));
        }
        if let Ok(mut sent) = self.sent.lock() {
            sent.push((topic, key.to_vec(), value.map(Into::into)));
        }
        Ok(())
    }
}
