//! Write: the rows of a batch, within the transaction of the caller.
//!
//! In: a batch and its census. Out: rows; the same batch twice leaves the same rows. Of several
//! writes of one record the same one wins as in Cassandra, in any order: see `order_us`.

use rusqlite::{Connection, Error, params};
use weir_models::alert::Alert;

use super::losses;
use crate::store::census::{Census, order_us};
use crate::store::select::{alert_json, alert_kind, is_resolved};
use crate::store::{Batch, LogRow};

pub(super) fn write(
    connection: &Connection,
    batch: &Batch,
    census: &Census<'_>,
    now_us: i64,
) -> Result<(), Error> {
    readings(connection, census)?;
    series(connection, census, now_us)?;
    logs(connection, census)?;
    for alert in &batch.alerts {
        put_alert(connection, alert)?;
    }
    let mut put = connection.prepare_cached("INSERT OR IGNORE INTO sites (site) VALUES (?1)")?;
    for site in census.sites.keys() {
        put.execute([site])?;
    }
    devices(connection, census)?;
    device_changes(connection, census)?;
    agents(connection, census, now_us)?;
    losses::write(connection, batch)?;
    feedback(connection, batch, now_us)
}

fn readings(connection: &Connection, census: &Census<'_>) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO readings (site, device, metric, ts_us, stream, seq, value, score) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for seen in &census.series {
        let key = seen.key;
        // In the order of the key, so that neighbours fall on the same page of the file.
        for row in &seen.rows {
            put.execute(params![
                key.site,
                key.device,
                key.metric,
                row.ts_us,
                row.id.stream.as_i64(),
                row.id.seq.cast_signed(),
                row.value,
                row.score,
            ])?;
        }
    }
    Ok(())
}

fn series(connection: &Connection, census: &Census<'_>, now_us: i64) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT INTO series (site, device, metric, unit, first_us, last_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET unit = coalesce(excluded.unit, unit),
           first_us = min(first_us, excluded.first_us), last_us = max(last_us, excluded.last_us)",
    )?;
    // Stream and seq are unsigned numbers in signed columns: the negative ones are the larger ones.
    let mut put_latest = connection.prepare_cached(
        "INSERT INTO latest (site, device, metric, order_us, stream, seq, ts_us, value, score, unit)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
           coalesce(?10, (SELECT unit FROM series WHERE site = ?1 AND device = ?2 AND metric = ?3)))
         ON CONFLICT DO UPDATE SET order_us = excluded.order_us, stream = excluded.stream,
           seq = excluded.seq, ts_us = excluded.ts_us, value = excluded.value,
           score = excluded.score, unit = excluded.unit
         WHERE (excluded.order_us, excluded.stream < 0, excluded.stream, excluded.seq < 0,
                excluded.seq)
            >= (latest.order_us, latest.stream < 0, latest.stream, latest.seq < 0, latest.seq)",
    )?;
    for seen in &census.series {
        let (key, newest) = (seen.key, seen.newest);
        put.execute(params![
            key.site,
            key.device,
            key.metric,
            seen.unit,
            seen.extent.first_us,
            seen.extent.last_us,
        ])?;
        put_latest.execute(params![
            key.site,
            key.device,
            key.metric,
            order_us(newest.ts_us, now_us),
            newest.id.stream.as_i64(),
            newest.id.seq.cast_signed(),
            newest.ts_us,
            newest.value,
            newest.score,
            newest.unit,
        ])?;
    }
    Ok(())
}

fn logs(connection: &Connection, census: &Census<'_>) -> Result<(), Error> {
    let mut put_host = connection.prepare_cached(
        "INSERT INTO hosts (site, host, first_us, last_us) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET first_us = min(first_us, excluded.first_us),
           last_us = max(last_us, excluded.last_us)",
    )?;
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO logs (site, host, ts_us, stream, seq, device, facility, severity, \
         app, procid, msgid, message, template, score) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
         ?10, ?11, ?12, ?13, ?14)",
    )?;
    for seen in &census.hosts {
        let extent = seen.extent;
        put_host.execute(params![seen.site, seen.host, extent.first_us, extent.last_us])?;
        for row in seen.rows.iter().map(|&line| LogRow::from(line)) {
            put.execute(params![
                row.site,
                row.host,
                row.ts_us,
                row.stream.as_i64(),
                row.seq.cast_signed(),
                row.device,
                row.facility,
                row.severity,
                row.app,
                row.procid,
                row.msgid,
                row.message,
                row.template,
                row.score,
            ])?;
        }
    }
    Ok(())
}

/// A firing record writes its columns and a resolved one its own, whichever comes first.
fn put_alert(connection: &Connection, alert: &Alert) -> Result<(), Error> {
    let data = &alert.data;
    let resolved = is_resolved(alert);
    let mut put = connection.prepare_cached(if resolved {
        "INSERT INTO alerts (site, ts_us, id, device, metric, kind, threshold, peak, resolved, \
         resolved_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO UPDATE SET \
         peak = excluded.peak, resolved = excluded.resolved, resolved_us = excluded.resolved_us"
    } else {
        "INSERT INTO alerts (site, ts_us, id, device, metric, kind, threshold, score, firing) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET \
         score = excluded.score, firing = excluded.firing"
    })?;
    let (kind, json) = (alert_kind(alert), alert_json(alert));
    put.raw_bind_parameter(1, &data.site)?;
    put.raw_bind_parameter(2, data.fired_us)?;
    put.raw_bind_parameter(3, &data.alert_id)?;
    put.raw_bind_parameter(4, &data.device)?;
    put.raw_bind_parameter(5, &data.metric)?;
    put.raw_bind_parameter(6, kind)?;
    put.raw_bind_parameter(7, data.threshold)?;
    put.raw_bind_parameter(8, data.score)?;
    put.raw_bind_parameter(9, json)?;
    if resolved {
        put.raw_bind_parameter(10, data.resolved_us)?;
    }
    put.raw_execute()?;
    Ok(())
}

fn devices(connection: &Connection, census: &Census<'_>) -> Result<(), Error> {
    for change in &census.devices {
        let json = change.record.as_ref().map(serde_json::to_string);
        match json.transpose().unwrap_or_default() {
            Some(json) => connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO devices (site, device, record) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![change.site, change.device, json])?,
            None => connection
                .prepare_cached("DELETE FROM devices WHERE site = ?1 AND device = ?2")?
                .execute(params![change.site, change.device])?,
        };
    }
    Ok(())
}

fn device_changes(connection: &Connection, census: &Census<'_>) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO device_changes (site, device, ts_us, position, author, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for change in census.changes {
        let json = change.record.as_ref().and_then(|record| serde_json::to_string(record).ok());
        let (by, position) = (change.by.as_deref(), change.position);
        put.execute(params![change.site, change.device, change.ts_us, position, by, json])?;
    }
    Ok(())
}

fn agents(connection: &Connection, census: &Census<'_>, now_us: i64) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT INTO agents (agent, order_us, status) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
         SET order_us = excluded.order_us, status = excluded.status \
         WHERE (excluded.order_us, excluded.status) >= (agents.order_us, agents.status)",
    )?;
    for status in &census.agents {
        let json = serde_json::to_string(status).unwrap_or_default();
        put.execute(params![&*status.agent, order_us(status.ts_us, now_us), json])?;
    }
    Ok(())
}

fn feedback(connection: &Connection, batch: &Batch, now_us: i64) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT INTO feedback (site, fired_us, id, order_us, record) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET order_us = excluded.order_us, record = excluded.record \
         WHERE (excluded.order_us, excluded.record) >= (feedback.order_us, feedback.record)",
    )?;
    for said in &batch.feedback {
        let json = serde_json::to_string(said).unwrap_or_default();
        let order_us = order_us(said.given_us, now_us);
        put.execute(params![said.site, said.fired_us, said.alert_id, order_us, json])?;
    }
    Ok(())
}
