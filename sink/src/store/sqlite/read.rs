//! Read: the answers of the queries, each a walk along a key.

use std::collections::BTreeSet;

use rusqlite::{Connection, Error, OptionalExtension as _, Row, params};
use weir_models::alert::Alert;
use weir_models::device::{AgentStatus, Device};
use weir_models::feedback::Feedback;
use weir_models::ident::{EventId, SeriesKey, Stream};

use crate::store::seal::Position;
use crate::store::sealed::weight_of;
use crate::store::select::{LogFilter, Newest, above, alert_matches, fold_alert, read_alert};
use crate::store::{
    Agents, AlertQuery, AlertRecords, ChangesQuery, DeviceChange, Feedbacks, Latest, LogQuery,
    LogRow, Point, Series, TimeRange, stored_record,
};

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn points(
    connection: &Connection,
    key: &SeriesKey,
    from: Position,
    to_us: i64,
    limit: usize,
) -> Result<Vec<Point>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT ts_us, value, score, stream, seq FROM readings WHERE site = ?1 AND device = ?2 AND \
         metric = ?3 AND (ts_us, stream, seq) >= (?4, ?5, ?6) AND ts_us < ?7 ORDER BY ts_us, \
         stream, seq LIMIT ?8",
    )?;
    let values = params![
        key.site,
        key.device,
        key.metric,
        from.ts_us,
        from.stream,
        from.seq,
        to_us,
        sql_limit(limit)
    ];
    let points = select.query_map(values, |row| {
        Ok(Point {
            ts_us: row.get(0)?,
            value: row.get(1)?,
            score: row.get(2)?,
            stream: Stream(unsigned(row, 3)?),
            seq: unsigned(row, 4)?,
        })
    })?;
    points.collect()
}

pub(super) fn latest(connection: &Connection, site: &str) -> Result<Vec<Latest>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT device, metric, ts_us, value, score, unit FROM latest WHERE site = ?1 ORDER BY \
         device, metric",
    )?;
    let rows = select.query_map([site], |row| {
        Ok(Latest {
            key: SeriesKey { site: site.into(), device: row.get(0)?, metric: row.get(1)? },
            ts_us: row.get(2)?,
            value: row.get(3)?,
            score: row.get(4)?,
            unit: row.get(5)?,
        })
    })?;
    rows.collect()
}

pub(super) fn sites(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut select = connection.prepare_cached("SELECT site FROM sites ORDER BY site")?;
    select.query_map([], |row| row.get(0))?.collect()
}

pub(super) fn series(
    connection: &Connection,
    site: &str,
    device: Option<&str>,
) -> Result<Vec<Series>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT device, metric, unit, first_us, last_us FROM series WHERE site = ?1 AND \
         (?2 IS NULL OR device = ?2) ORDER BY device, metric",
    )?;
    let rows = select.query_map(params![site, device], |row| {
        Ok(Series {
            key: SeriesKey { site: site.into(), device: row.get(0)?, metric: row.get(1)? },
            unit: row.get(2)?,
            first_us: row.get(3)?,
            last_us: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Host by host; what one host brings bounds how far back the next is read.
pub(super) fn logs(connection: &Connection, query: &LogQuery) -> Result<Vec<LogRow>, Error> {
    if query.limit == 0 {
        return Ok(Vec::new());
    }
    let hosts: Vec<String> = match &query.host {
        Some(host) => vec![host.clone()],
        None => connection
            .prepare_cached(
                "SELECT host FROM hosts WHERE site = ?1 AND last_us >= ?2 AND first_us < ?3 ORDER \
                 BY last_us DESC",
            )?
            .query_map(params![query.site, query.range.from_us, query.range.to_us], |row| {
                row.get(0)
            })?
            .collect::<Result<_, _>>()?,
    };
    let filter = LogFilter::of(query);
    let mut newest = Newest::new(query.limit);
    let mut select = connection.prepare_cached(HOST_LINES)?;
    for host in hosts {
        let range = above(query.range, newest.floor_us());
        let values = params![query.site, host, range.from_us, range.to_us];
        let rows = select.query_map(values, |row| line(&query.site, &host, row))?;
        let matching = rows.filter(|row| row.as_ref().map_or(true, |row| filter.matches(row)));
        newest.add(matching.take(query.limit).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(newest.into_rows())
}

/// All lines of a site in a range; none when they weigh more than `weight_max`.
pub(super) fn lines(
    connection: &Connection,
    site: &str,
    range: TimeRange,
    weight_max: usize,
) -> Result<Option<Vec<LogRow>>, Error> {
    let mut hosts = connection.prepare_cached(
        "SELECT host FROM hosts WHERE site = ?1 AND last_us >= ?2 AND first_us < ?3",
    )?;
    let hosts = hosts.query_map(params![site, range.from_us, range.to_us], |row| row.get(0))?;
    let hosts: Vec<String> = hosts.collect::<Result<_, _>>()?;
    let mut select = connection.prepare_cached(HOST_LINES)?;
    let (mut lines, mut weight) = (Vec::new(), 0usize);
    for host in hosts {
        let values = params![site, host, range.from_us, range.to_us];
        for row in select.query_map(values, |row| line(site, &host, row))? {
            let row = row?;
            weight += weight_of(&row);
            if weight > weight_max {
                return Ok(None);
            }
            lines.push(row);
        }
    }
    Ok(Some(lines))
}

/// The lines of a host in a range, newest first.
const HOST_LINES: &str = "SELECT ts_us, stream, seq, device, facility, severity, app, procid, msgid, message, \
     template, score FROM logs WHERE site = ?1 AND host = ?2 AND ts_us >= ?3 AND ts_us < ?4 ORDER \
     BY ts_us DESC, stream DESC, seq DESC";

fn line(site: &str, host: &str, row: &Row<'_>) -> Result<LogRow, Error> {
    Ok(LogRow {
        site: site.into(),
        host: host.into(),
        ts_us: row.get(0)?,
        stream: Stream(unsigned(row, 1)?),
        seq: unsigned(row, 2)?,
        device: row.get(3)?,
        facility: row.get(4)?,
        severity: row.get(5)?,
        app: row.get(6)?,
        procid: row.get(7)?,
        msgid: row.get(8)?,
        message: row.get(9)?,
        template: row.get(10)?,
        score: row.get(11)?,
    })
}

pub(super) fn alerts(connection: &Connection, query: &AlertQuery) -> Result<Vec<Alert>, Error> {
    let mut select = connection.prepare_cached(match query.series {
        None => {
            "SELECT firing, resolved FROM alerts WHERE site = ?1 AND ts_us >= ?2 AND ts_us < ?3 AND \
             ?4 IS NULL AND ?5 IS NULL ORDER BY ts_us DESC, id DESC"
        }
        Some(_) => {
            "SELECT firing, resolved FROM alerts WHERE site = ?1 AND ts_us >= ?2 AND ts_us < ?3 AND \
             device = ?4 AND metric = ?5 ORDER BY ts_us DESC, id DESC"
        }
    })?;
    let (device, metric) = query.series.clone().unzip();
    let values = params![query.site, query.range.from_us, query.range.to_us, device, metric];
    let rows = select.query_map(values, |row| {
        let (firing, resolved): (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?);
        Ok(fold_alert(firing.as_deref(), resolved.as_deref()))
    })?;
    rows.filter_map(Result::transpose)
        .filter(|alert| alert.as_ref().map_or(true, |alert| alert_matches(query, alert)))
        .take(query.limit)
        .collect()
}

pub(super) fn alert_records(
    connection: &Connection,
    site: &str,
    fired_us: i64,
) -> Result<Vec<AlertRecords>, Error> {
    let mut select = connection
        .prepare_cached("SELECT firing, resolved FROM alerts WHERE site = ?1 AND ts_us = ?2")?;
    let rows = select.query_map(params![site, fired_us], |row| {
        let (firing, resolved): (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?);
        Ok(read_alert(firing.as_deref(), resolved.as_deref()))
    })?;
    rows.collect()
}

pub(super) fn feedback(
    connection: &Connection,
    site: &str,
    range: TimeRange,
) -> Result<Feedbacks, Error> {
    let mut select = connection.prepare_cached(
        "SELECT id, record FROM feedback WHERE site = ?1 AND fired_us >= ?2 AND fired_us < ?3",
    )?;
    let values = params![site, range.from_us, range.to_us];
    let rows = select.query_map(values, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.filter_map(|row| {
        row.map(|(id, json)| from_json::<Feedback>(&json).map(|said| (id, said))).transpose()
    })
    .collect()
}

pub(super) fn feedback_on(
    connection: &Connection,
    site: &str,
    alerts: &[(i64, String)],
) -> Result<Feedbacks, Error> {
    let mut select = connection.prepare_cached(
        "SELECT record FROM feedback WHERE site = ?1 AND fired_us = ?2 AND id = ?3",
    )?;
    let mut said = Feedbacks::new();
    for (fired_us, id) in alerts {
        let record = select.query_row(params![site, fired_us, id], |row| row.get::<_, String>(0));
        if let Some(json) = record.optional()?
            && let Some(one) = from_json::<Feedback>(&json)
        {
            said.insert(id.clone(), one);
        }
    }
    Ok(said)
}

pub(super) fn devices(connection: &Connection, site: &str) -> Result<Vec<Device>, Error> {
    let mut select =
        connection.prepare_cached("SELECT record FROM devices WHERE site = ?1 ORDER BY device")?;
    let rows = select.query_map([site], |row| row.get::<_, String>(0))?;
    rows.filter_map(|row| row.map(|json| from_json(&json)).transpose()).collect()
}

pub(super) fn device(
    connection: &Connection,
    site: &str,
    device: &str,
) -> Result<Option<Device>, Error> {
    let mut select =
        connection.prepare_cached("SELECT record FROM devices WHERE site = ?1 AND device = ?2")?;
    let json = select.query_row([site, device], |row| row.get::<_, String>(0)).optional()?;
    Ok(json.and_then(|json| from_json(&json)))
}

pub(super) fn device_changes(
    connection: &Connection,
    query: &ChangesQuery,
) -> Result<Vec<DeviceChange>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT ts_us, position, author, record FROM device_changes WHERE site = ?1 AND device = \
         ?2 AND (ts_us, position) < (?3, ?4) ORDER BY ts_us DESC, position DESC LIMIT ?5",
    )?;
    let (before_us, before) = query.before.unwrap_or((i64::MAX, i64::MAX));
    let values = params![query.site, query.device, before_us, before, sql_limit(query.limit)];
    let rows = select.query_map(values, |row| {
        let (by, record): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        Ok(DeviceChange {
            site: query.site.clone(),
            device: query.device.clone(),
            record: stored_record(record.as_deref()),
            by: by.map(Into::into),
            ts_us: row.get(0)?,
            position: row.get(1)?,
        })
    })?;
    rows.collect()
}

pub(super) fn agents(connection: &Connection) -> Result<Agents, Error> {
    let mut select = connection.prepare_cached("SELECT agent, status FROM agents")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.filter_map(|row| {
        row.map(|(agent, json)| from_json::<AgentStatus>(&json).map(|status| (agent, status)))
            .transpose()
    })
    .collect()
}

pub(super) fn agent(connection: &Connection, name: &str) -> Result<Option<AgentStatus>, Error> {
    let mut select = connection.prepare_cached("SELECT status FROM agents WHERE agent = ?1")?;
    let json: Option<String> = select.query_row([name], |row| row.get(0)).optional()?;
    Ok(json.and_then(|json| from_json(&json)))
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    let read = serde_json::from_str(json);
    read.inspect_err(|error| tracing::warn!(%error, "a stored record cannot be read")).ok()
}

pub(super) fn event_ids(connection: &Connection) -> Result<BTreeSet<EventId>, Error> {
    let mut select = connection
        .prepare_cached("SELECT stream, seq FROM readings UNION SELECT stream, seq FROM logs")?;
    let rows = select.query_map([], |row| {
        Ok(EventId { stream: Stream(unsigned(row, 0)?), seq: unsigned(row, 1)? })
    })?;
    rows.collect()
}
