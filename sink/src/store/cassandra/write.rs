//! Write: a batch as unlogged batches of one partition each, a bounded number under way.
//!
//! In: a [`Batch`]. Out: nothing, or the first error. Promises: `Ok` means that every row was
//! confirmed at the configured consistency; any other answer, a timeout too, means that the batch
//! is to be written again, which the keys make harmless. Records of series and hosts are remembered
//! only after their rows were confirmed. What can go wrong: see [`StoreError`].
//!
//! Three kinds of cells carry a write time stamp of their own and so are registers that any order of
//! writing, and any repetition, brings to the same value: `latest` and `agents` (the newest wins),
//! `first_us` (the smallest wins) and `last_us` (the largest wins).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::SerializeValue;
use scylla::serialize::row::SerializeRow;
use scylla::value::MaybeUnset;
use weir_models::alert::Alert;
use weir_models::ident::SeriesKey;
use weir_models::time::now_us;

use super::CassandraStore;
use super::catalogue::{Addition, Known};
use super::failure::{WRITE_PATIENCE, persist};
use super::statements::{Insert, ROWS_BYTES_MAX, ROWS_MAX, Statements};
use crate::store::bucket::{ALERTS_WIDTH_US, SERIES_ALERTS_WIDTH_US, Widths, shard};
use crate::store::census::{Census, order_us};
use crate::store::select::{alert_json, alert_kind, is_resolved};
use crate::store::{Batch, StoreError};

/// The newest value of a series as one cell. `stream` and `seq` come first: of two values of one
/// stamp Cassandra keeps the cell with the larger bytes.
#[derive(SerializeValue)]
struct LastValue<'a> {
    stream: i64,
    seq: i64,
    ts_us: i64,
    value: f64,
    score: Option<f32>,
    unit: Option<&'a str>,
}

type Job<'a> = BoxFuture<'a, Result<(), StoreError>>;

/// The requests of one batch.
struct Jobs<'a> {
    store: &'a CassandraStore,
    jobs: Vec<Job<'a>>,
}

impl<'a> Jobs<'a> {
    /// Rows of one partition, with about how many bytes each has.
    fn push<R>(
        &mut self,
        what: &'static str,
        insert: &'a Insert,
        rows: impl IntoIterator<Item = (R, usize)>,
    ) where
        R: SerializeRow + Send + Sync + 'a,
    {
        for rows in cut(rows) {
            let store = self.store;
            self.jobs.push(Box::pin(async move {
                let _permit = store.permits.acquire().await;
                let rows = rows.as_slice();
                persist(what, WRITE_PATIENCE, || insert.write(&store.session, rows)).await
            }));
        }
    }
}

/// Cuts the rows of a partition into batches, by rows and by bytes.
fn cut<R>(rows: impl IntoIterator<Item = (R, usize)>) -> Vec<Vec<R>> {
    let mut batches: Vec<Vec<R>> = Vec::new();
    let mut bytes = 0;
    for (row, size) in rows {
        match batches.last_mut() {
            Some(batch) if batch.len() < ROWS_MAX && bytes + size <= ROWS_BYTES_MAX => {
                batch.push(row);
                bytes += size;
            }
            _ => {
                batches.push(vec![row]);
                bytes = size;
            }
        }
    }
    batches
}

fn unset_or<T>(value: Option<T>) -> MaybeUnset<T> {
    // A null would be a tombstone; unset leaves no trace.
    value.map_or(MaybeUnset::Unset, MaybeUnset::Set)
}

pub(super) async fn write(store: &CassandraStore, batch: &Batch) -> Result<(), StoreError> {
    let statements = store.statements().await?;
    let now_us = now_us();
    let census = Census::of(batch, now_us);
    let series = store.known_series(&census).await?;
    let hosts = store.known_hosts(&census).await?;
    let sites = store.known_sites(&census).await?;
    let series: Vec<_> = series
        .iter()
        .zip(&census.series)
        .map(|(known, seen)| known.add(Some(seen.extent), seen.unit))
        .collect();
    let hosts: Vec<_> = hosts
        .iter()
        .zip(&census.hosts)
        .map(|(known, seen)| known.add(Some(seen.extent), None))
        .collect();
    let sites: Vec<_> = sites
        .iter()
        .zip(census.sites.values())
        .map(|(known, &extent)| known.add(extent, None))
        .collect();

    let jobs = {
        let mut jobs = Jobs { store, jobs: Vec::new() };
        readings(&mut jobs, statements, &census, &series);
        latest(&mut jobs, statements, &census, &series, now_us);
        logs(&mut jobs, statements, &census, &hosts);
        alerts(&mut jobs, statements, &batch.alerts);
        records(&mut jobs, statements, &census, &series, &hosts, &sites);
        devices_and_agents(&mut jobs, statements, &census, now_us);
        jobs.jobs
    };
    stream::iter(jobs).buffer_unordered(store.in_flight).try_collect::<()>().await?;

    let keys = census.series.iter().map(|seen| seen.key.clone());
    store.series.put(keys.zip(series.into_iter().map(|(_, known)| known)));
    let keys = census.hosts.iter().map(|seen| (seen.site.into(), seen.host.into()));
    store.hosts.put(keys.zip(hosts.into_iter().map(|(_, known)| known)));
    let keys = census.sites.keys().map(|&site| site.into());
    store.sites.put(keys.zip(sites.into_iter().map(|(_, known)| known)));
    Ok(())
}

type Added = [(Addition, Known)];

fn readings<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    known: &'a Added,
) {
    for (seen, (_, known)) in census.series.iter().zip(known) {
        let SeriesKey { site, device, metric } = seen.key;
        let size = site.len() + device.len() + metric.len() + 64;
        let mut partitions: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for row in &seen.rows {
            let bucket = known.widths.bucket(row.ts_us).number;
            let (stream, seq) = (row.id.stream.as_i64(), row.id.seq.cast_signed());
            let score = unset_or(row.score);
            let values = (site, device, metric, bucket, row.ts_us, stream, seq, row.value, score);
            partitions.entry(bucket).or_default().push((values, size));
        }
        for rows in partitions.into_values() {
            jobs.push("readings", &statements.put_reading, rows);
        }
    }
}

fn latest<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    known: &'a Added,
    now_us: i64,
) {
    let mut partitions: BTreeMap<(&str, i8), Vec<_>> = BTreeMap::new();
    for (seen, (_, known)) in census.series.iter().zip(known) {
        let (key, newest) = (seen.key, seen.newest);
        let last = LastValue {
            stream: newest.id.stream.as_i64(),
            seq: newest.id.seq.cast_signed(),
            ts_us: newest.ts_us,
            value: newest.value,
            score: newest.score,
            // The unit as it is known where this very reading told none.
            unit: newest.unit.as_deref().or(known.unit.as_deref()),
        };
        let shard = shard(&key.device);
        let order_us = order_us(newest.ts_us, now_us);
        let values = (&key.site, shard, &key.device, &key.metric, last, order_us);
        let size = key.site.len() + key.device.len() + key.metric.len() + 128;
        let rows = partitions.entry((&key.site, shard)).or_default();
        rows.push((values, size));
    }
    for rows in partitions.into_values() {
        jobs.push("latest", &statements.put_latest, rows);
    }
}

fn logs<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    known: &'a Added,
) {
    for (seen, (_, known)) in census.hosts.iter().zip(known) {
        let mut partitions: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for row in &seen.rows {
            let bucket = known.widths.bucket(row.ts_us).number;
            let values = (
                &row.site,
                &row.host,
                bucket,
                row.ts_us,
                row.stream.as_i64(),
                row.seq.cast_signed(),
                &row.device,
                unset_or(row.facility.map(i16::from)),
                unset_or(row.severity.map(i16::from)),
                unset_or(row.app.as_ref()),
                unset_or(row.procid.as_ref()),
                unset_or(row.msgid.as_ref()),
                &row.message,
                unset_or(row.template.as_ref()),
                unset_or(row.score),
            );
            let size = row.site.len() + row.host.len() + row.message.len() + 256;
            partitions.entry(bucket).or_default().push((values, size));
        }
        for rows in partitions.into_values() {
            jobs.push("logs", &statements.put_log, rows);
        }
    }
}

/// A firing record writes its columns and a resolved one its own, so that they may come in any
/// order and any number of times; what both write is the same.
fn alerts<'a>(jobs: &mut Jobs<'a>, statements: &'a Statements, alerts: &'a [Alert]) {
    for alert in alerts {
        let data = &alert.data;
        let kind = alert_kind(alert);
        let json = alert_json(alert);
        let day = Widths::constant(ALERTS_WIDTH_US).bucket(data.fired_us).number;
        let bucket = Widths::constant(SERIES_ALERTS_WIDTH_US).bucket(data.fired_us).number;
        let series = (&data.site, &data.device, &data.metric);
        let (place, id) = (data.fired_us, &data.alert_id);
        // Records are few: each is a request of its own.
        let row = if is_resolved(alert) {
            let end = (data.score, unset_or(data.resolved_us), json.clone());
            let (peak, resolved_us, resolved) = end;
            let row = (
                series.0,
                day,
                place,
                id,
                series.1,
                series.2,
                kind,
                data.threshold,
                peak,
                resolved_us,
                resolved,
            );
            jobs.push("alerts", &statements.put_alert_resolved, [(row, 0)]);
            let row = (
                series.0,
                series.1,
                series.2,
                bucket,
                place,
                id,
                kind,
                data.threshold,
                peak,
                resolved_us,
                json,
            );
            jobs.push("alerts_by_series", &statements.put_series_alert_resolved, [(row, 0)]);
            continue;
        } else {
            (
                series.0,
                day,
                place,
                id,
                series.1,
                series.2,
                kind,
                data.threshold,
                data.score,
                json.clone(),
            )
        };
        jobs.push("alerts", &statements.put_alert_firing, [(row, 0)]);
        let row = (
            series.0,
            series.1,
            series.2,
            bucket,
            place,
            id,
            kind,
            data.threshold,
            data.score,
            json,
        );
        jobs.push("alerts_by_series", &statements.put_series_alert_firing, [(row, 0)]);
    }
}

/// A register: its value, and the time stamp of the write by which the wanted one wins.
type Registers<'a, K> = BTreeMap<(&'a str, i8), Vec<(K, usize)>>;

fn records<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    series: &'a Added,
    hosts: &'a Added,
    sites: &'a Added,
) {
    let (mut puts, mut firsts, mut lasts) = (Registers::new(), Registers::new(), Registers::new());
    for (seen, (addition, known)) in census.series.iter().zip(series) {
        let key = seen.key;
        let place = (key.site.as_str(), shard(&key.device));
        let names = (place.0, place.1, key.device.as_str(), key.metric.as_str());
        let size = names.0.len() + names.2.len() + names.3.len() + 64;
        if addition.record || addition.unit {
            let unit = unset_or(known.unit.as_deref().filter(|_| addition.unit));
            let widths = unset_or(addition.record.then(|| known.widths.record()));
            let row = (names.0, names.1, names.2, names.3, unit, widths);
            puts.entry(place).or_default().push((row, size));
        }
        if let Some(us) = addition.first_us {
            let row = (names.0, names.1, names.2, names.3, us, smallest_wins(us));
            firsts.entry(place).or_default().push((row, size));
        }
        if let Some(us) = addition.last_us {
            let row = (names.0, names.1, names.2, names.3, us, largest_wins(us));
            lasts.entry(place).or_default().push((row, size));
        }
    }
    push_all(jobs, "series", &statements.put_series, puts);
    push_all(jobs, "series", &statements.put_series_first, firsts);
    push_all(jobs, "series", &statements.put_series_last, lasts);

    let (mut puts, mut firsts, mut lasts) = (Registers::new(), Registers::new(), Registers::new());
    for (seen, (addition, known)) in census.hosts.iter().zip(hosts) {
        let place = (seen.site, shard(seen.host));
        let size = seen.site.len() + seen.host.len() + 64;
        if addition.record {
            let row = (place.0, place.1, seen.host, known.widths.record());
            puts.entry(place).or_default().push((row, size));
        }
        if let Some(us) = addition.first_us {
            let row = (place.0, place.1, seen.host, us, smallest_wins(us));
            firsts.entry(place).or_default().push((row, size));
        }
        if let Some(us) = addition.last_us {
            let row = (place.0, place.1, seen.host, us, largest_wins(us));
            lasts.entry(place).or_default().push((row, size));
        }
    }
    push_all(jobs, "hosts", &statements.put_host, puts);
    push_all(jobs, "hosts", &statements.put_host_first, firsts);
    push_all(jobs, "hosts", &statements.put_host_last, lasts);

    for (&site, (addition, _)) in census.sites.keys().zip(sites) {
        let shard = shard(site);
        if addition.record {
            jobs.push("sites", &statements.put_site, [((shard, site), 0)]);
        }
        if let Some(us) = addition.first_us {
            let row = (shard, site, us, smallest_wins(us));
            jobs.push("sites", &statements.put_site_first, [(row, 0)]);
        }
        if let Some(us) = addition.last_us {
            let row = (shard, site, us, largest_wins(us));
            jobs.push("sites", &statements.put_site_last, [(row, 0)]);
        }
    }
}

fn push_all<'a, R>(
    jobs: &mut Jobs<'a>,
    what: &'static str,
    insert: &'a Insert,
    partitions: Registers<'a, R>,
) where
    R: SerializeRow + Send + Sync + 'a,
{
    for rows in partitions.into_values() {
        jobs.push(what, insert, rows);
    }
}

/// The time stamp of a write by which the smallest of several stamps stays.
fn smallest_wins(us: i64) -> i64 {
    us.saturating_neg().max(i64::MIN + 1)
}

/// The time stamp of a write by which the largest of several stamps stays.
fn largest_wins(us: i64) -> i64 {
    us.max(i64::MIN + 1)
}

fn devices_and_agents<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    now_us: i64,
) {
    for change in &census.devices {
        let (site, device) = (&change.site, &change.device);
        let shard = shard(device);
        match &change.record {
            None => {
                let row = (site, shard, device);
                jobs.push("devices", &statements.drop_device, [(row, 0)]);
            }
            Some(record) => {
                let row = (
                    site,
                    shard,
                    device,
                    &record.aliases,
                    &record.meta,
                    &record.units,
                    record.updated_us,
                );
                jobs.push("devices", &statements.put_device, [(row, 0)]);
            }
        }
    }
    for status in &census.agents {
        let json = serde_json::to_string(status).unwrap_or_default();
        let row = (
            shard(&status.agent),
            &*status.agent,
            &status.site,
            &status.version,
            status.ts_us,
            json,
            order_us(status.ts_us, now_us),
        );
        jobs.push("agents", &statements.put_agent, [(row, 0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], expected: &[usize]) {
        let rows = sizes.iter().map(|&size| (size, size));
        let batches: Vec<usize> = cut(rows).iter().map(Vec::len).collect();
        assert_eq!(batches, expected);
    }

    #[test]
    fn batches_are_bounded_by_rows_and_by_bytes() {
        check(&[], &[]);
        check(&[10; ROWS_MAX], &[ROWS_MAX]);
        check(&[10; 2 * ROWS_MAX + 1], &[ROWS_MAX, ROWS_MAX, 1]);
        check(&[ROWS_BYTES_MAX / 2; 3], &[2, 1]);
        check(&[1, ROWS_BYTES_MAX * 2, 1], &[1, 1, 1]);
    }

    #[test]
    fn registers_never_use_the_stamp_that_cassandra_reserves() {
        for us in [i64::MIN, i64::MIN + 1, 0, i64::MAX] {
            assert!(smallest_wins(us) > i64::MIN && largest_wins(us) > i64::MIN);
        }
        assert!(smallest_wins(-5) > smallest_wins(5) && largest_wins(5) > largest_wins(-5));
    }
}
