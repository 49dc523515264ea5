//! Write: a batch as unlogged batches of one partition each, as many under way as [`Pace`](super::pace::Pace) allows.
//!
//! In: a [`Batch`]. Out: nothing, or the first error. Promises: `Ok` means that every row was
//! confirmed at the configured consistency; any other answer, a timeout too, means that the batch
//! is to be written again, which the keys make harmless. Records of series and hosts are remembered
//! only after their rows were confirmed. What can go wrong: see [`StoreError`].

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::SerializeValue;
use scylla::serialize::row::SerializeRow;
use scylla::value::MaybeUnset;
use weir_models::ident::SeriesKey;
use weir_models::time::now_us;

use super::CassandraStore;
use super::catalogue::{Addition, Known};
use super::failure::WRITE_PATIENCE;
use super::limit::End;
use super::losses::losses_and_audits;
use super::statements::{Insert, ROWS_BYTES_MAX, ROWS_MAX, Statements};
use super::write_records::{alerts, devices_and_agents, feedback, records};
use crate::store::bucket::shard;
use crate::store::census::{Census, order_us};
use crate::store::layout::{LOGS_LADDER_US, READINGS_LADDER_US, line_weight};
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
pub(super) struct Jobs<'a> {
    store: &'a CassandraStore,
    /// What a confirmation says about how busy the store is.
    done: End,
    jobs: Vec<Job<'a>>,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(store: &'a CassandraStore) -> Self {
        Self { store, done: End::Confirmed, jobs: Vec::new() }
    }

    /// Requests of some MB: how long they take says nothing.
    pub(super) fn large(store: &'a CassandraStore) -> Self {
        Self { done: End::Other, ..Self::new(store) }
    }

    /// Does all of them, at most `in_flight` at once.
    pub(super) async fn run(self) -> Result<(), StoreError> {
        let at_once = self.store.config.in_flight;
        stream::iter(self.jobs).buffer_unordered(at_once).try_collect().await
    }

    /// Rows of one partition, with about how many bytes each has.
    pub(super) fn push<R>(
        &mut self,
        what: &'static str,
        insert: &'a Insert,
        rows: impl IntoIterator<Item = (R, usize)>,
    ) where
        R: SerializeRow + Send + Sync + 'a,
    {
        for rows in cut(rows) {
            let (store, done) = (self.store, self.done);
            self.jobs.push(Box::pin(async move {
                let rows = rows.as_slice();
                let write = || insert.write(&store.session, rows);
                store.pace.persist(what, WRITE_PATIENCE, done, write).await
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

pub(super) fn unset_or<T>(value: Option<T>) -> MaybeUnset<T> {
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
    let partition_rows = store.partition_rows(now_us).await?;
    let series: Vec<_> = series
        .iter()
        .zip(&census.series)
        .map(|(known, seen)| {
            let (mut addition, mut known) = known.add(Some(seen.extent), seen.unit);
            let rows = seen.rows.iter().map(|row| (row.ts_us, 1));
            addition.narrower = known.fill(rows, READINGS_LADDER_US, partition_rows);
            (addition, known)
        })
        .collect();
    let hosts: Vec<_> = hosts
        .iter()
        .zip(&census.hosts)
        .map(|(known, seen)| {
            let (mut addition, mut known) = known.add(Some(seen.extent), None);
            let rows = seen.rows.iter();
            let rows = rows.map(|line| (line.event.ts_us, line_weight(&line.log.message)));
            addition.narrower = known.fill(rows, LOGS_LADDER_US, partition_rows);
            (addition, known)
        })
        .collect();
    let sites: Vec<_> = sites
        .iter()
        .zip(census.sites.values())
        .map(|(known, &extent)| known.add(extent, None))
        .collect();

    let jobs = {
        let mut jobs = Jobs::new(store);
        readings(&mut jobs, statements, &census, &series);
        latest(&mut jobs, statements, &census, &series, now_us);
        logs(&mut jobs, statements, &census, &hosts);
        alerts(&mut jobs, statements, &batch.alerts);
        records(&mut jobs, statements, &census, &series, &hosts, &sites);
        devices_and_agents(&mut jobs, statements, &census, now_us);
        losses_and_audits(&mut jobs, statements, batch);
        feedback(&mut jobs, statements, &batch.feedback, now_us);
        jobs
    };
    jobs.run().await?;

    let keys = census.series.iter().map(|seen| seen.key.clone());
    store.series.put(keys.zip(series.into_iter().map(|(_, known)| known)));
    let keys = census.hosts.iter().map(|seen| (seen.site.into(), seen.host.into()));
    store.hosts.put(keys.zip(hosts.into_iter().map(|(_, known)| known)));
    let keys = census.sites.keys().map(|&site| site.into());
    store.sites.put(keys.zip(sites.into_iter().map(|(_, known)| known)));
    Ok(())
}

/// What a batch adds to each record, and what is known after it.
pub(super) type Added = [(Addition, Known)];

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
            let bucket = known.layout.bucket(row.ts_us).number;
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
        for line in &seen.rows {
            let (event, log) = (line.event, line.log);
            let bucket = known.layout.bucket(event.ts_us).number;
            let values = (
                seen.site,
                seen.host,
                bucket,
                event.ts_us,
                event.id.stream.as_i64(),
                event.id.seq.cast_signed(),
                &event.device,
                unset_or(log.facility.map(i16::from)),
                unset_or(log.severity.map(i16::from)),
                unset_or(log.app.as_ref()),
                unset_or(log.procid.as_ref()),
                unset_or(log.msgid.as_ref()),
                &log.message,
                unset_or(line.template()),
                unset_or(log.score),
            );
            let size = seen.site.len() + seen.host.len() + log.message.len() + 256;
            partitions.entry(bucket).or_default().push((values, size));
        }
        for rows in partitions.into_values() {
            jobs.push("logs", &statements.put_log, rows);
        }
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
}
