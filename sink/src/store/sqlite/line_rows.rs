//! Line rows: sealed log lines in SQLite.
//!
//! In and out: what [`SealStore`] says of lines. A part is written and deleted in one transaction.
//!
//! [`SealStore`]: crate::store::seal::SealStore

use rusqlite::{Connection, Error, OptionalExtension, params};

use crate::store::TimeRange;
use crate::store::seal::DeviceDay;
use crate::store::sealed::LinePart;

/// From the first to the last line of a site, or of one of its hosts.
pub(super) fn extent(
    connection: &Connection,
    site: &str,
    host: Option<&str>,
) -> Result<Option<TimeRange>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT min(first_us), max(last_us) FROM hosts WHERE site = ?1 AND (?2 IS NULL OR host = \
         ?2)",
    )?;
    let (first_us, last_us): (Option<i64>, Option<i64>) =
        select.query_row(params![site, host], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first_us.zip(last_us).map(|(first_us, last_us)| TimeRange::of_extent(first_us, last_us)))
}

pub(super) fn put(connection: &Connection, hour: &DeviceDay, part: &LinePart) -> Result<(), Error> {
    let DeviceDay { device: site, span, .. } = hour;
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO log_blocks (site, hour, id, number, body) VALUES (?1, ?2, ?3, ?4, \
         ?5)",
    )?;
    for (number, block) in (0i64..).zip(&part.blocks) {
        put.execute(params![site, span, part.id, number, block])?;
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO log_heads (site, hour, id, body) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![site, span, part.id, part.heads])?;
    Ok(())
}

pub(super) fn drop_part(
    connection: &Connection,
    site: &str,
    hour: i64,
    id: i64,
) -> Result<(), Error> {
    for delete in [
        "DELETE FROM log_heads WHERE site = ?1 AND hour = ?2 AND id = ?3",
        "DELETE FROM log_blocks WHERE site = ?1 AND hour = ?2 AND id = ?3",
    ] {
        connection.prepare_cached(delete)?.execute(params![site, hour, id])?;
    }
    Ok(())
}

pub(super) fn heads(
    connection: &Connection,
    site: &str,
    first: i64,
    last: i64,
) -> Result<Vec<(i64, i64, Vec<u8>)>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT hour, id, body FROM log_heads WHERE site = ?1 AND hour >= ?2 AND hour <= ?3",
    )?;
    let rows = select
        .query_map(params![site, first, last], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

pub(super) fn block(
    connection: &Connection,
    hour: &DeviceDay,
    id: i64,
    number: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let DeviceDay { device: site, span, .. } = hour;
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT body FROM log_blocks WHERE site = ?1 AND hour = ?2 AND id = ?3 AND number = ?4",
        )?
        .query_row(params![site, span, id, number], |row| row.get(0))
        .optional()
}
