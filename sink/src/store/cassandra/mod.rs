//! Cassandra: the store for production, by the crate `scylla`.
//!
//! | file | what it does |
//! | --- | --- |
//! | `connect`, `tls` | a session, or an error that helps |
//! | `schema`, `guard` | migrations; whether the hot tables are as they have to be |
//! | `statements` | all CQL of rows, prepared once |
//! | `write`, `write_records` | batches of one partition, bounded, tried again |
//! | `read`, `read_points`, `read_devices`, `read_logs` | answers, bounded in partitions |
//! | `losses` | losses and results of audits |
//! | `seal_rows`, `seal_statements`, `line_rows` | what sealing needs |
//! | `catalogue` | what is recorded of series and hosts, remembered |
//! | `table` | a table of somebody else, for lists of devices |
//! | `failure` | what an error means; trying again |
//! | `pace`, `limit` | how many writes are under way at once |
//!
//! The tables, with a query for each, are described in `docs/cassandra.md`.

mod catalogue;
mod connect;
mod failure;
mod guard;
mod limit;
mod line_rows;
mod losses;
mod pace;
mod read;
mod read_devices;
mod read_logs;
mod read_points;
mod schema;
mod seal_rows;
mod seal_statements;
mod statements;
pub(crate) mod table;
#[cfg(feature = "cassandra-tls")]
mod tls;
mod write;
mod write_records;

use std::time::Duration;

use async_trait::async_trait;
use scylla::client::session::Session;
use tokio::sync::OnceCell;
use weir_models::alert::Alert;
use weir_models::device::{AgentStatus, Device};
use weir_models::ident::{EventId, SeriesKey};

use self::catalogue::Remembered;
use self::failure::Failure;
use self::pace::Pace;
use self::statements::Statements;
use super::config::CassandraConfig;
use super::seal::marks::Marks;
use super::seal::{self, SealStore};
use super::{
    Agents, AlertQuery, AlertRecords, Audit, Batch, ChangesQuery, Chunks, DeviceChange, Feedbacks,
    Latest, Lines, LogQuery, LogRow, LossQuery, LossRow, Point, Rolls, Series, Store, StoreError,
    TimeRange,
};

/// No write is taken for slow before this time: one to all of two datacentres may well take a good part of it.
const SLOW_MIN: Duration = Duration::from_secs(2);

/// A keyspace of a Cassandra cluster.
pub struct CassandraStore {
    session: Session,
    config: CassandraConfig,
    datacentre: String,
    /// Prepared at the first use: before `migrate` there is nothing to prepare.
    statements: OnceCell<Statements>,
    /// From when on partitions may be divided; read when it is first needed.
    divides_from_us: OnceCell<i64>,
    pace: Pace,
    series: Remembered<SeriesKey>,
    hosts: Remembered<(String, String)>,
    sites: Remembered<String>,
    marks: Marks,
}

impl CassandraStore {
    /// Connects; the schema is not looked at.
    ///
    /// # Errors
    /// [`StoreError::Retry`] when no node can be reached, [`StoreError::Fatal`] when the
    /// configuration must be changed; either says what was tried and what to do.
    pub async fn connect(config: &CassandraConfig) -> Result<Self, StoreError> {
        let connected = connect::connect(config).await?;
        Ok(Self {
            session: connected.session,
            config: config.clone(),
            datacentre: connected.datacentre,
            statements: OnceCell::new(),
            divides_from_us: OnceCell::new(),
            pace: Pace::new(config.in_flight, slow(config)),
            series: Remembered::new(),
            hosts: Remembered::new(),
            sites: Remembered::new(),
            marks: Marks::default(),
        })
    }

    /// What whoever runs the cluster should change at the tables whose rows leave; nothing where all is well.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when rows would leave before they are sealed.
    pub async fn advice(&self) -> Result<Vec<String>, StoreError> {
        guard::advice(&self.session, &self.config).await
    }

    /// How many rows a partition has at most, before narrower ones follow; 0 while none may.
    async fn partition_rows(&self, now_us: i64) -> Result<u64, StoreError> {
        let wanted = self.config.partition_rows;
        if wanted == 0 {
            return Ok(0);
        }
        let read = || schema::divides_from_us(&self.session, &self.config);
        let from_us = *self.divides_from_us.get_or_try_init(read).await?;
        Ok(if now_us < from_us { 0 } else { wanted })
    }

    async fn statements(&self) -> Result<&Statements, StoreError> {
        let prepare = || Statements::prepare(&self.session, &self.config);
        let prepared = self.statements.get_or_try_init(prepare).await;
        prepared.map_err(|failure: Failure| failure.into())
    }
}

/// A write that takes so long is a sign of trouble, before it times out. Whoever wants to hear of failures early
/// sets a short timeout: that says nothing of how long a write to a cluster that is well may take, so the least is
/// [`SLOW_MIN`], or what is just below the timeout.
fn slow(config: &CassandraConfig) -> Duration {
    let timeout = Duration::from_millis(config.request_timeout_ms);
    (timeout / 4).max(SLOW_MIN.min(timeout * 7 / 8))
}

#[async_trait]
impl Store for CassandraStore {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        schema::migrate(self).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        schema::check(&self.session, &self.config).await?;
        for advice in self.advice().await? {
            tracing::warn!("{advice}");
        }
        Ok(())
    }

    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let writing = self.marks.begin(self, batch).await?;
        write::write(self, batch).await?;
        writing.end()
    }

    async fn readings(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        seal::readings(self, key, range, limit).await
    }

    fn scan<'a>(&'a self, key: &'a SeriesKey, range: TimeRange) -> Chunks<'a> {
        seal::scan(self, key, range, usize::MAX)
    }

    async fn rollups(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        step_us: i64,
    ) -> Result<Rolls, StoreError> {
        seal::rollups(self, key, range, step_us).await
    }

    fn sealing(&self) -> Option<&dyn SealStore> {
        Some(self)
    }

    async fn latest(&self, site: &str) -> Result<Vec<Latest>, StoreError> {
        self.read_latest(site, None).await
    }

    async fn sites(&self) -> Result<Vec<String>, StoreError> {
        self.read_sites().await
    }

    async fn series(&self, site: &str, device: Option<&str>) -> Result<Vec<Series>, StoreError> {
        self.read_series(site, device).await
    }

    async fn logs(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError> {
        seal::logs(self, query).await
    }

    fn find_logs<'a>(&'a self, query: &'a LogQuery) -> Lines<'a> {
        seal::find(self, query)
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        self.read_alerts(query).await
    }

    async fn alert_records(
        &self,
        site: &str,
        fired_us: i64,
    ) -> Result<Vec<AlertRecords>, StoreError> {
        self.read_alert_records(site, fired_us).await
    }

    async fn feedback_on(
        &self,
        site: &str,
        alerts: &[(i64, String)],
    ) -> Result<Feedbacks, StoreError> {
        self.read_feedback_on(site, alerts).await
    }

    async fn feedback(&self, site: &str, range: TimeRange) -> Result<Feedbacks, StoreError> {
        self.read_feedback(site, range).await
    }

    async fn devices(&self, site: &str) -> Result<Vec<Device>, StoreError> {
        self.read_devices(site).await
    }

    async fn device(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError> {
        self.read_device(site, device).await
    }

    async fn device_changes(&self, query: &ChangesQuery) -> Result<Vec<DeviceChange>, StoreError> {
        self.read_device_changes(query).await
    }

    async fn agents(&self) -> Result<Agents, StoreError> {
        self.read_agents().await
    }

    async fn agent(&self, name: &str) -> Result<Option<AgentStatus>, StoreError> {
        self.read_agent(name).await
    }

    async fn losses(&self, query: &LossQuery) -> Result<Vec<LossRow>, StoreError> {
        self.read_losses(query).await
    }

    async fn audits(&self, limit: usize) -> Result<Vec<Audit>, StoreError> {
        self.read_audits(limit).await
    }

    async fn event_ids(&self) -> Result<Vec<EventId>, StoreError> {
        seal::event_ids(self).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_timeout_does_not_make_a_write_slow() {
        let slow = |request_timeout_ms| {
            let config = CassandraConfig { request_timeout_ms, ..CassandraConfig::at(Vec::new()) };
            slow(&config).as_millis()
        };
        assert_eq!([60_000, 10_000, 3_000, 1_000].map(slow), [15_000, 2_500, 2_000, 875]);
    }
}
