//! Losses and results of audits, written and read.

use rusqlite::{Connection, Error, Row, params};
use weir_models::event::Loss;
use weir_models::ident::Stream;

use super::read::{from_json, sql_limit, unsigned};
use crate::store::seal::Position;
use crate::store::{Audit, Batch, LossQuery, LossRow};

pub(super) fn write(connection: &Connection, batch: &Batch) -> Result<(), Error> {
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO losses (site, ts_us, stream, seq, agent, source, lane, reason, events, \
         lost_stream, first_seq, last_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for row in &batch.losses {
        let LossRow { loss, .. } = row;
        put.execute(params![
            row.site,
            row.ts_us,
            row.stream.as_i64(),
            row.seq.cast_signed(),
            row.agent,
            row.source,
            loss.lane,
            loss.reason,
            loss.count.cast_signed(),
            loss.range.map(|(stream, ..)| stream.as_i64()),
            loss.range.map(|(_, first, _)| first.cast_signed()),
            loss.range.map(|(.., last)| last.cast_signed()),
        ])?;
    }
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO audits (ended_us, report) VALUES (?1, ?2)")?;
    for audit in &batch.audits {
        put.execute(params![audit.ended_us, serde_json::to_string(audit).unwrap_or_default()])?;
    }
    Ok(())
}

pub(super) fn losses(connection: &Connection, query: &LossQuery) -> Result<Vec<LossRow>, Error> {
    let end = Position::at(query.range.to_us);
    let end = query.before.map_or(end, |before| before.min(end));
    let mut select = connection.prepare_cached(
        "SELECT ts_us, stream, seq, agent, source, lane, reason, events, lost_stream, first_seq, last_seq \
         FROM losses WHERE site = ?1 AND ts_us >= ?2 AND (ts_us, stream, seq) < (?3, ?4, ?5) AND \
         (?6 IS NULL OR agent = ?6) ORDER BY ts_us DESC, stream DESC, seq DESC LIMIT ?7",
    )?;
    let values = params![
        query.site,
        query.range.from_us,
        end.ts_us,
        end.stream,
        end.seq,
        query.agent,
        sql_limit(query.limit)
    ];
    select.query_map(values, |row| loss(&query.site, row))?.collect()
}

fn loss(site: &str, row: &Row<'_>) -> Result<LossRow, Error> {
    let range = match row.get::<_, Option<i64>>(8)? {
        Some(stream) => Some((Stream::from_i64(stream), unsigned(row, 9)?, unsigned(row, 10)?)),
        None => None,
    };
    Ok(LossRow {
        site: site.into(),
        ts_us: row.get(0)?,
        stream: Stream(unsigned(row, 1)?),
        seq: unsigned(row, 2)?,
        agent: row.get(3)?,
        source: row.get(4)?,
        loss: Loss { count: unsigned(row, 7)?, range, reason: row.get(6)?, lane: row.get(5)? },
    })
}

pub(super) fn audits(connection: &Connection, limit: usize) -> Result<Vec<Audit>, Error> {
    let mut select =
        connection.prepare_cached("SELECT report FROM audits ORDER BY ended_us DESC LIMIT ?1")?;
    let rows = select.query_map([sql_limit(limit)], |row| row.get::<_, String>(0))?;
    rows.filter_map(|row| row.map(|json| from_json(&json)).transpose()).collect()
}
