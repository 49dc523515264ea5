//! Seal rows: what SQLite brings for sealing.
//!
//! In and out: see [`SealStore`]. One file has one truth: every look sees everything that was committed,
//! and a transaction is one. A mark and the list of its owner are one row here. Hot rows stay in this
//! store; parts make long reads quick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use rusqlite::{Connection, Error, OptionalExtension, TransactionBehavior, params};
use weir_models::ident::{EventId, SeriesKey};

use super::{SqliteStore, line_rows, read};
#[cfg(any(test, feature = "conformance"))]
use crate::store::seal::hour_range;
use crate::store::seal::marks::Marks;
use crate::store::seal::{DeviceDay, Look, Mark, PartRef, Position, Seal, SealStore};
use crate::store::sealed::{LinePart, Part};
use crate::store::{LogQuery, LogRow, Point, StoreError, TimeRange};

impl SqliteStore {
    /// A change, on the disk when it answers.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(&self.writer, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }
}

fn parts_of(json: &str) -> Result<Vec<PartRef>, Error> {
    serde_json::from_str(json).map_err(|error| {
        Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

fn json_of(parts: &[PartRef]) -> Result<String, Error> {
    serde_json::to_string(parts).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn seals(
    connection: &Connection,
    place: Option<(&str, &str, i64, i64)>,
) -> Result<BTreeMap<DeviceDay, Seal>, Error> {
    let day = |row: &rusqlite::Row<'_>| {
        Ok::<_, Error>(DeviceDay { site: row.get(0)?, device: row.get(1)?, span: row.get(2)? })
    };
    let place = place.map_or((None, None, i64::MIN, i64::MAX), |(site, device, first, last)| {
        (Some(site), Some(device), first, last)
    });
    let within = match place.0 {
        Some(_) => "WHERE site = ?1 AND device = ?2 AND span >= ?3 AND span <= ?4",
        None => "WHERE ?1 IS NULL AND ?2 IS NULL AND span >= ?3 AND span <= ?4",
    };
    let mut seals: BTreeMap<DeviceDay, Seal> = BTreeMap::new();
    let mut select = connection.prepare_cached(&format!(
        "SELECT site, device, span, version, parts FROM seals {within}"
    ))?;
    let mut rows = select.query(place)?;
    while let Some(row) = rows.next()? {
        let seal = seals.entry(day(row)?).or_default();
        seal.version = Some(row.get(3)?);
        seal.parts = parts_of(&row.get::<_, String>(4)?)?;
    }
    let mut select = connection
        .prepare_cached(&format!("SELECT site, device, span, mark FROM marks {within}"))?;
    let mut rows = select.query(place)?;
    while let Some(row) = rows.next()? {
        seals.entry(day(row)?).or_default().marks.insert(row.get(3)?);
    }
    Ok(seals)
}

fn drop_mark(connection: &Connection, day: &DeviceDay, mark: i64) -> Result<(), Error> {
    connection
        .prepare_cached(
            "DELETE FROM marks WHERE site = ?1 AND device = ?2 AND span = ?3 AND mark = ?4",
        )?
        .execute(params![day.site, day.device, day.span, mark])?;
    Ok(())
}

fn replace(
    connection: &Connection,
    day: &DeviceDay,
    version: Option<i64>,
    parts: &[PartRef],
    mark: Option<i64>,
) -> Result<bool, Error> {
    let now: Option<i64> = connection
        .prepare_cached("SELECT version FROM seals WHERE site = ?1 AND device = ?2 AND span = ?3")?
        .query_row(params![day.site, day.device, day.span], |row| row.get(0))
        .optional()?;
    if now != version {
        return Ok(false);
    }
    let next = version.map_or(1, |version| version.wrapping_add(1));
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO seals (site, device, span, version, parts) VALUES (?1, ?2, ?3, \
             ?4, ?5)",
        )?
        .execute(params![day.site, day.device, day.span, next, json_of(parts)?])?;
    if let Some(mark) = mark {
        drop_mark(connection, day, mark)?;
    }
    Ok(true)
}

fn put_part(connection: &Connection, day: &DeviceDay, part: &Part) -> Result<(), Error> {
    let DeviceDay { site, device, span } = day;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO stamps (site, device, span, id, body) VALUES (?1, ?2, ?3, ?4, \
             ?5)",
        )?
        .execute(params![site, device, span, part.id, part.stamps])?;
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO episodes (site, device, metric, span, id, t0_us, t1_us, n, min, \
         max, sum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut put_rolls = connection.prepare_cached(
        "INSERT OR REPLACE INTO rollups (site, device, metric, step, span, id, body) VALUES (?1, \
         ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for episode in &part.episodes {
        let n = i64::try_from(episode.n).unwrap_or(i64::MAX);
        let (t0_us, t1_us) = (episode.t0_us, episode.t1_us);
        let (min, max, sum) = (episode.min, episode.max, episode.sum);
        let metric = &episode.metric;
        put.execute(params![
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
            episode.body
        ])?;
        for (step_s, body) in [(60, &episode.minutes), (3_600, &episode.hours)] {
            if !body.is_empty() {
                put_rolls.execute(params![site, device, metric, step_s, span, part.id, body])?;
            }
        }
    }
    Ok(())
}

fn drop_part(connection: &Connection, day: &DeviceDay, part: &PartRef) -> Result<(), Error> {
    let DeviceDay { site, device, span } = day;
    connection
        .prepare_cached(
            "DELETE FROM stamps WHERE site = ?1 AND device = ?2 AND span = ?3 AND id = ?4",
        )?
        .execute(params![site, device, span, part.id])?;
    let mut drop_episode = connection.prepare_cached(
        "DELETE FROM episodes WHERE site = ?1 AND device = ?2 AND metric = ?3 AND span = ?4 AND id \
         = ?5",
    )?;
    let mut drop_rolls = connection.prepare_cached(
        "DELETE FROM rollups WHERE site = ?1 AND device = ?2 AND metric = ?3 AND step IN (60, 3600) \
         AND span = ?4 AND id = ?5",
    )?;
    for metric in &part.metrics {
        drop_episode.execute(params![site, device, metric, span, part.id])?;
        drop_rolls.execute(params![site, device, metric, span, part.id])?;
    }
    Ok(())
}

#[async_trait]
impl SealStore for SqliteStore {
    fn marks(&self) -> &Marks {
        &self.marks
    }

    async fn extent(&self, key: &SeriesKey) -> Result<Option<TimeRange>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT first_us, last_us FROM series WHERE site = ?1 AND device = ?2 AND \
                     metric = ?3",
                )?
                .query_row(params![key.site, key.device, key.metric], |row| {
                    Ok(TimeRange::of_extent(row.get(0)?, row.get(1)?))
                })
                .optional()
        })
        .await
    }

    async fn metrics(&self, site: &str, device: &str) -> Result<Vec<String>, StoreError> {
        let (site, device) = (site.to_owned(), device.to_owned());
        self.read(move |connection| {
            let mut select = connection
                .prepare_cached("SELECT metric FROM series WHERE site = ?1 AND device = ?2")?;
            select.query_map([site, device], |row| row.get(0))?.collect()
        })
        .await
    }

    async fn hot(
        &self,
        key: &SeriesKey,
        from: Position,
        to_us: i64,
        limit: usize,
        _: Look,
    ) -> Result<Vec<Point>, StoreError> {
        let key = key.clone();
        self.read(move |connection| read::points(connection, &key, from, to_us, limit)).await
    }

    async fn seals(
        &self,
        site: &str,
        device: &str,
        first: i64,
        last: i64,
        _: Look,
    ) -> Result<Vec<(i64, Seal)>, StoreError> {
        let (site, device) = (site.to_owned(), device.to_owned());
        let found =
            self.read(move |connection| seals(connection, Some((&site, &device, first, last))));
        Ok(found.await?.into_iter().map(|(day, seal)| (day.span, seal)).collect())
    }

    async fn replace(
        &self,
        day: &DeviceDay,
        version: Option<i64>,
        parts: &[PartRef],
        mark: Option<i64>,
    ) -> Result<bool, StoreError> {
        let (day, parts) = (day.clone(), parts.to_vec());
        self.change(move |connection| replace(connection, &day, version, &parts, mark)).await
    }

    async fn all_seals(&self) -> Result<Vec<(DeviceDay, Seal)>, StoreError> {
        let found = self.read(|connection| seals(connection, None)).await?;
        Ok(found.into_iter().collect())
    }

    async fn hot_ids(&self) -> Result<BTreeSet<EventId>, StoreError> {
        self.read(read::event_ids).await
    }

    async fn add_marks(&self, owner: &str, marks: &[Mark]) -> Result<(), StoreError> {
        let (owner, marks) = (owner.to_owned(), marks.to_vec());
        self.change(move |connection| {
            let mut put = connection.prepare_cached(
                "INSERT OR IGNORE INTO marks (site, device, span, mark, owner) VALUES (?1, ?2, ?3, \
                 ?4, ?5)",
            )?;
            for Mark { day, mark } in &marks {
                put.execute(params![day.site, day.device, day.span, mark, owner])?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_mark(&self, mark: &Mark) -> Result<(), StoreError> {
        let mark = mark.clone();
        self.change(move |connection| drop_mark(connection, &mark.day, mark.mark)).await
    }

    /// The same row as in the seal: there is nothing left to do when it is gone from there.
    async fn forget_mark(&self, _: &str, mark: &Mark) -> Result<(), StoreError> {
        self.remove_mark(mark).await
    }

    async fn marks_of(&self, owner: &str) -> Result<Vec<Mark>, StoreError> {
        let owner = owner.to_owned();
        self.read(move |connection| {
            let mut select = connection
                .prepare_cached("SELECT site, device, span, mark FROM marks WHERE owner = ?1")?;
            let rows = select.query_map([owner], |row| {
                let day = DeviceDay { site: row.get(0)?, device: row.get(1)?, span: row.get(2)? };
                Ok(Mark { day, mark: row.get(3)? })
            })?;
            rows.collect()
        })
        .await
    }

    async fn owners(&self, _: Look) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT owner, beat FROM sealers")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .await
    }

    async fn beat(&self, owner: &str, beat: i64) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.change(move |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO sealers (owner, beat) VALUES (?1, ?2)")?
                .execute(params![owner, beat])?;
            Ok(())
        })
        .await
    }

    async fn drop_owner(&self, owner: &str) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.change(move |connection| {
            connection.prepare_cached("DELETE FROM sealers WHERE owner = ?1")?.execute([owner])?;
            Ok(())
        })
        .await
    }

    async fn put_part(&self, day: &DeviceDay, part: &Part) -> Result<(), StoreError> {
        let (day, part) = (day.clone(), part.clone());
        self.change(move |connection| put_part(connection, &day, &part)).await
    }

    async fn drop_parts(&self, day: &DeviceDay, parts: &[PartRef]) -> Result<(), StoreError> {
        let (day, parts) = (day.clone(), parts.to_vec());
        self.change(move |connection| {
            parts.iter().try_for_each(|part| match day.lines() {
                Some(site) => line_rows::drop_part(connection, site, day.span, part.id),
                None => drop_part(connection, &day, part),
            })
        })
        .await
    }

    async fn stamps(
        &self,
        day: &DeviceDay,
        ids: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let (day, ids) = (day.clone(), ids.to_vec());
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, body FROM stamps WHERE site = ?1 AND device = ?2 AND span = ?3 AND id = \
                 ?4",
            )?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                let values = params![day.site, day.device, day.span, id];
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                found.extend(select.query_row(values, row).optional()?);
            }
            Ok(found)
        })
        .await
    }

    async fn episodes(
        &self,
        day: &DeviceDay,
        metric: &str,
        ids: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let (day, metric, ids) = (day.clone(), metric.to_owned(), ids.to_vec());
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, body FROM episodes WHERE site = ?1 AND device = ?2 AND metric = ?3 AND \
                 span = ?4 AND id = ?5",
            )?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                let values = params![day.site, day.device, metric, day.span, id];
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                found.extend(select.query_row(values, row).optional()?);
            }
            Ok(found)
        })
        .await
    }

    async fn rolls(
        &self,
        key: &SeriesKey,
        step_s: i32,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT span, id, body FROM rollups WHERE site = ?1 AND device = ?2 AND metric = ?3 \
                 AND step = ?4 AND span >= ?5 AND span <= ?6",
            )?;
            let values = params![key.site, key.device, key.metric, step_s, first, last];
            let rows =
                select.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })
        .await
    }

    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot(&self, key: &SeriesKey, range: TimeRange) -> Result<(), StoreError> {
        let key = key.clone();
        self.change(move |connection| {
            let values = params![key.site, key.device, key.metric, range.from_us, range.to_us];
            connection
                .prepare_cached(
                    "DELETE FROM readings WHERE site = ?1 AND device = ?2 AND metric = ?3 AND \
                     ts_us >= ?4 AND ts_us < ?5",
                )?
                .execute(values)?;
            Ok(())
        })
        .await
    }

    async fn extent_of_lines(
        &self,
        site: &str,
        host: Option<&str>,
    ) -> Result<Option<TimeRange>, StoreError> {
        let (site, host) = (site.to_owned(), host.map(ToOwned::to_owned));
        self.read(move |connection| line_rows::extent(connection, &site, host.as_deref())).await
    }

    async fn newest_hot_lines(
        &self,
        query: &LogQuery,
        _: &AtomicUsize,
    ) -> Result<Vec<LogRow>, StoreError> {
        let query = query.clone();
        self.read(move |connection| read::logs(connection, &query)).await
    }

    async fn hot_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| read::lines(connection, &site, range, weight_max)).await
    }

    async fn put_lines(&self, hour: &DeviceDay, part: &LinePart) -> Result<(), StoreError> {
        let (hour, part) = (hour.clone(), part.clone());
        self.change(move |connection| line_rows::put(connection, &hour, &part)).await
    }

    async fn heads(
        &self,
        site: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| line_rows::heads(connection, &site, first, last)).await
    }

    async fn block(
        &self,
        hour: &DeviceDay,
        id: i64,
        number: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let hour = hour.clone();
        self.read(move |connection| line_rows::block(connection, &hour, id, number)).await
    }

    #[cfg(any(test, feature = "conformance"))]
    async fn drop_hot_lines(&self, site: &str, hour: i64) -> Result<(), StoreError> {
        let (site, range) = (site.to_owned(), hour_range(hour));
        self.change(move |connection| {
            connection
                .prepare_cached("DELETE FROM logs WHERE site = ?1 AND ts_us >= ?2 AND ts_us < ?3")?
                .execute(params![site, range.from_us, range.to_us])?;
            Ok(())
        })
        .await
    }
}
