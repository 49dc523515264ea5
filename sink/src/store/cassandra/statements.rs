//! Statements: everything we say to Cassandra, prepared once.
//!
//! In: the keyspace. Out: prepared inserts, which know how to write up to [`ROWS_MAX`] rows of one
//! partition as one unlogged batch, and prepared selects. What can go wrong: a table is missing
//! (the error says to migrate).

use std::sync::OnceLock;

use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::failure::Failure;
use super::seal_statements::SealStatements;
use crate::store::config::CassandraConfig;

/// Most rows in one batch: beyond it only the waiting times grow.
pub(super) const ROWS_MAX: usize = 100;
/// Most bytes of values in one batch, so that a few huge lines do not become one huge mutation.
pub(super) const ROWS_BYTES_MAX: usize = 128 * 1024;
/// Rows in one page of an answer.
const PAGE_ROWS: i32 = 5_000;

/// A prepared insert.
pub(super) struct Insert {
    statement: PreparedStatement,
    /// The batch of each size, made when first needed: it holds nothing but the statement, so that
    /// many times.
    batches: Vec<OnceLock<Box<Batch>>>,
}

impl Insert {
    /// Writes rows of one partition; all of them at once, or the caller must write all again.
    pub(super) async fn write<R: SerializeRow>(
        &self,
        session: &Session,
        rows: &[R],
    ) -> Result<(), Failure> {
        match rows {
            [] => {}
            [row] => drop(session.execute_unpaged(&self.statement, row).await?),
            _ => drop(session.batch(self.batch(rows.len()), rows).await?),
        }
        Ok(())
    }

    fn batch(&self, size: usize) -> &Batch {
        let made = |size: usize| {
            let statements = vec![self.statement.clone().into(); size];
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
            batch.set_is_idempotent(true);
            Box::new(batch)
        };
        let place = size.min(self.batches.len()) - 1;
        debug_assert!(size <= ROWS_MAX, "rows are cut into batches before");
        self.batches[place].get_or_init(|| made(size))
    }
}

/// All statements.
pub(super) struct Statements {
    pub(super) put_reading: Insert,
    pub(super) put_log: Insert,
    pub(super) put_latest: Insert,
    pub(super) put_series: Insert,
    pub(super) put_series_first: Insert,
    pub(super) put_series_last: Insert,
    pub(super) put_series_narrower: Insert,
    pub(super) put_host: Insert,
    pub(super) put_host_first: Insert,
    pub(super) put_host_last: Insert,
    pub(super) put_host_narrower: Insert,
    pub(super) put_site: Insert,
    pub(super) put_site_first: Insert,
    pub(super) put_site_last: Insert,
    pub(super) put_alert_firing: Insert,
    pub(super) put_alert_resolved: Insert,
    pub(super) put_series_alert_firing: Insert,
    pub(super) put_series_alert_resolved: Insert,
    pub(super) put_device: Insert,
    pub(super) drop_device: Insert,
    pub(super) put_device_change: Insert,
    pub(super) put_agent: Insert,
    pub(super) put_loss: Insert,
    pub(super) put_loss_day: Insert,
    pub(super) put_audit: Insert,
    pub(super) put_feedback: Insert,
    pub(super) readings: PreparedStatement,
    pub(super) logs: PreparedStatement,
    pub(super) latest: PreparedStatement,
    pub(super) latest_of_device: PreparedStatement,
    pub(super) one_series: PreparedStatement,
    pub(super) series: PreparedStatement,
    pub(super) series_of_device: PreparedStatement,
    pub(super) one_host: PreparedStatement,
    pub(super) hosts: PreparedStatement,
    pub(super) one_site: PreparedStatement,
    pub(super) sites: PreparedStatement,
    pub(super) alerts: PreparedStatement,
    pub(super) alerts_by_series: PreparedStatement,
    pub(super) devices: PreparedStatement,
    pub(super) one_device: PreparedStatement,
    pub(super) device_changes: PreparedStatement,
    pub(super) agents: PreparedStatement,
    pub(super) one_agent: PreparedStatement,
    pub(super) losses: PreparedStatement,
    pub(super) losses_of_agent: PreparedStatement,
    pub(super) loss_days: PreparedStatement,
    pub(super) audits: PreparedStatement,
    pub(super) feedback: PreparedStatement,
    pub(super) feedback_on: PreparedStatement,
    pub(super) reading_ids: PreparedStatement,
    pub(super) log_ids: PreparedStatement,
    pub(super) seal: SealStatements,
}

pub(super) struct Preparing<'a> {
    session: &'a Session,
    keyspace: &'a str,
    /// Where it is not that of the session.
    consistency: Option<Consistency>,
}

impl<'a> Preparing<'a> {
    /// The same at another consistency.
    pub(super) fn at(&self, consistency: Option<Consistency>) -> Preparing<'a> {
        Preparing { consistency, ..*self }
    }

    pub(super) async fn statement(&self, text: &str) -> Result<PreparedStatement, Failure> {
        let text = text.replace("{ks}", self.keyspace);
        let mut prepared = self.session.prepare(text).await?;
        prepared.set_is_idempotent(true);
        prepared.set_page_size(PAGE_ROWS);
        if let Some(consistency) = self.consistency {
            prepared.set_consistency(consistency);
        }
        Ok(prepared)
    }

    pub(super) async fn insert(&self, table_and_columns: &str) -> Result<Insert, Failure> {
        let columns = table_and_columns.matches(',').count();
        let marks = vec!["?"; columns + 1].join(", ");
        self.change(&format!("INSERT INTO {{ks}}.{table_and_columns} VALUES ({marks})")).await
    }

    /// An insert whose last value is the time stamp of the write.
    async fn insert_at(&self, table_and_columns: &str) -> Result<Insert, Failure> {
        let columns = table_and_columns.matches(',').count();
        let marks = vec!["?"; columns + 1].join(", ");
        self.change(&format!(
            "INSERT INTO {{ks}}.{table_and_columns} VALUES ({marks}) USING TIMESTAMP ?"
        ))
        .await
    }

    pub(super) async fn change(&self, text: &str) -> Result<Insert, Failure> {
        Ok(Insert {
            statement: self.statement(text).await?,
            batches: (0..ROWS_MAX).map(|_| OnceLock::new()).collect(),
        })
    }
}

impl Statements {
    pub(super) async fn prepare(
        session: &Session,
        config: &CassandraConfig,
    ) -> Result<Self, Failure> {
        let p = Preparing { session, keyspace: &config.keyspace, consistency: None };
        Ok(Self {
            put_reading: p.insert("readings (site, device, metric, bucket, ts_us, stream, seq, value, score)").await?,
            put_log: p.insert("logs (site, host, bucket, ts_us, stream, seq, device, facility, severity, app, procid, msgid, message, template, score)").await?,
            put_latest: p.insert_at("latest (site, shard, device, metric, last)").await?,
            put_series: p.insert("series (site, shard, device, metric, unit, widths)").await?,
            put_series_first: p.insert_at("series (site, shard, device, metric, first_us)").await?,
            put_series_last: p.insert_at("series (site, shard, device, metric, last_us)").await?,
            put_series_narrower: p.change("UPDATE {ks}.series USING TIMESTAMP ? SET narrower[?] = ? WHERE site = ? AND shard = ? AND device = ? AND metric = ?").await?,
            put_host: p.insert("hosts (site, shard, host, widths)").await?,
            put_host_first: p.insert_at("hosts (site, shard, host, first_us)").await?,
            put_host_last: p.insert_at("hosts (site, shard, host, last_us)").await?,
            put_host_narrower: p.change("UPDATE {ks}.hosts USING TIMESTAMP ? SET narrower[?] = ? WHERE site = ? AND shard = ? AND host = ?").await?,
            put_site: p.insert("sites (shard, site)").await?,
            put_site_first: p.insert_at("sites (shard, site, alerts_first_us)").await?,
            put_site_last: p.insert_at("sites (shard, site, alerts_last_us)").await?,
            put_alert_firing: p.insert("alerts (site, day, ts_us, id, device, metric, kind, threshold, score, firing)").await?,
            put_alert_resolved: p.insert("alerts (site, day, ts_us, id, device, metric, kind, threshold, peak, resolved_us, resolved)").await?,
            put_series_alert_firing: p.insert("alerts_by_series (site, device, metric, bucket, ts_us, id, kind, threshold, score, firing)").await?,
            put_series_alert_resolved: p.insert("alerts_by_series (site, device, metric, bucket, ts_us, id, kind, threshold, peak, resolved_us, resolved)").await?,
            put_device: p.insert("devices (site, shard, device, aliases, meta, units, updated_us)").await?,
            drop_device: p.change("DELETE FROM {ks}.devices WHERE site = ? AND shard = ? AND device = ?").await?,
            put_device_change: p.insert("device_changes (site, device, bucket, ts_us, position, author, record)").await?,
            put_agent: p.insert_at("agents (shard, agent, site, version, ts_us, status)").await?,
            put_loss: p.insert("losses (site, day, ts_us, stream, seq, agent, source, lane, reason, events, lost_stream, first_seq, last_seq)").await?,
            put_loss_day: p.insert("loss_days (site, day)").await?,
            put_audit: p.insert("audits (program, ended_us, report)").await?,
            put_feedback: p.insert_at("feedback (site, bucket, fired_us, id, record)").await?,
            readings: p.statement("SELECT ts_us, stream, seq, value, score FROM {ks}.readings WHERE site = ? AND device = ? AND metric = ? AND bucket = ? AND (ts_us, stream, seq) >= (?, ?, ?) AND (ts_us) < (?) LIMIT ?").await?,
            logs: p.statement("SELECT ts_us, stream, seq, device, facility, severity, app, procid, msgid, message, template, score FROM {ks}.logs WHERE site = ? AND host = ? AND bucket = ? AND ts_us >= ? AND ts_us < ? LIMIT ?").await?,
            latest: p.statement("SELECT device, metric, last FROM {ks}.latest WHERE site = ? AND shard = ?").await?,
            latest_of_device: p.statement("SELECT device, metric, last FROM {ks}.latest WHERE site = ? AND shard = ? AND device = ?").await?,
            one_series: p.statement("SELECT unit, first_us, last_us, widths, narrower FROM {ks}.series WHERE site = ? AND shard = ? AND device = ? AND metric = ?").await?,
            series: p.statement("SELECT device, metric, unit, first_us, last_us FROM {ks}.series WHERE site = ? AND shard = ?").await?,
            series_of_device: p.statement("SELECT device, metric, unit, first_us, last_us FROM {ks}.series WHERE site = ? AND shard = ? AND device = ?").await?,
            one_host: p.statement("SELECT first_us, last_us, widths, narrower FROM {ks}.hosts WHERE site = ? AND shard = ? AND host = ?").await?,
            hosts: p.statement("SELECT host, first_us, last_us, widths, narrower FROM {ks}.hosts WHERE site = ? AND shard = ?").await?,
            one_site: p.statement("SELECT alerts_first_us, alerts_last_us FROM {ks}.sites WHERE shard = ? AND site = ?").await?,
            sites: p.statement("SELECT site FROM {ks}.sites WHERE shard = ?").await?,
            alerts: p.statement("SELECT firing, resolved FROM {ks}.alerts WHERE site = ? AND day = ? AND ts_us >= ? AND ts_us < ?").await?,
            alerts_by_series: p.statement("SELECT firing, resolved FROM {ks}.alerts_by_series WHERE site = ? AND device = ? AND metric = ? AND bucket = ? AND ts_us >= ? AND ts_us < ?").await?,
            devices: p.statement("SELECT device, aliases, meta, units, updated_us FROM {ks}.devices WHERE site = ? AND shard = ?").await?,
            one_device: p.statement("SELECT device, aliases, meta, units, updated_us FROM {ks}.devices WHERE site = ? AND shard = ? AND device = ?").await?,
            device_changes: p.statement("SELECT ts_us, position, author, record FROM {ks}.device_changes WHERE site = ? AND device = ? AND bucket = ? AND (ts_us, position) < (?, ?) LIMIT ?").await?,
            agents: p.statement("SELECT agent, status FROM {ks}.agents WHERE shard = ?").await?,
            one_agent: p.statement("SELECT agent, status FROM {ks}.agents WHERE shard = ? AND agent = ?").await?,
            losses: p.statement("SELECT ts_us, stream, seq, agent, source, lane, reason, events, lost_stream, first_seq, last_seq FROM {ks}.losses WHERE site = ? AND day = ? AND (ts_us, stream, seq) < (?, ?, ?) AND (ts_us) >= (?) LIMIT ?").await?,
            // Filters within one partition only.
            losses_of_agent: p.statement("SELECT ts_us, stream, seq, agent, source, lane, reason, events, lost_stream, first_seq, last_seq FROM {ks}.losses WHERE site = ? AND day = ? AND (ts_us, stream, seq) < (?, ?, ?) AND (ts_us) >= (?) AND agent = ? LIMIT ? ALLOW FILTERING").await?,
            loss_days: p.statement("SELECT day FROM {ks}.loss_days WHERE site = ? AND day >= ? AND day <= ?").await?,
            audits: p.statement("SELECT report FROM {ks}.audits WHERE program = ? LIMIT ?").await?,
            feedback_on: p.statement("SELECT id, record FROM {ks}.feedback WHERE site = ? AND bucket = ? AND fired_us = ? AND id = ?").await?,
            feedback: p.statement("SELECT id, record FROM {ks}.feedback WHERE site = ? AND bucket = ? AND fired_us >= ? AND fired_us < ?").await?,
            reading_ids: p.statement("SELECT stream, seq FROM {ks}.readings").await?,
            log_ids: p.statement("SELECT stream, seq FROM {ks}.logs").await?,
            seal: SealStatements::prepare(&p, config.consistency).await?,
        })
    }
}
