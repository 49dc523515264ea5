//! Write records: alerts, the lists of series, hosts and sites, devices and agents.
//!
//! In: the census of a batch and what is known of it. Out: jobs. Five kinds of cells carry a write
//! time stamp of their own and so are registers that any order of writing, and any repetition,
//! brings to the same value: `latest`, `agents` and `feedback` (the newest wins), `first_us` (the smallest wins)
//! and `last_us` (the largest wins); so has each entry of `narrower` (the smallest beginning wins).

use std::collections::BTreeMap;

use metrics::counter;
use scylla::serialize::row::SerializeRow;
use weir_models::alert::Alert;
use weir_models::feedback::Feedback;
use weir_models::metric::SINK_STORE_NARROWED;
use weir_models::time::SECOND_US;

use super::statements::{Insert, Statements};
use super::write::{Added, Jobs, unset_or};
use crate::store::bucket::{
    ALERTS_WIDTH_US, SERIES_ALERTS_WIDTH_US, Widths, changes_bucket, shard,
};
use crate::store::census::{Census, order_us};
use crate::store::layout::Narrower;
use crate::store::select::{alert_json, alert_kind, is_resolved};

/// A firing record writes its columns and a resolved one its own, so that they may come in any
/// order and any number of times; what both write is the same.
pub(super) fn alerts<'a>(jobs: &mut Jobs<'a>, statements: &'a Statements, alerts: &'a [Alert]) {
    // Records are few: each is a request of its own.
    for alert in alerts {
        if is_resolved(alert) {
            resolved(jobs, statements, alert);
        } else {
            firing(jobs, statements, alert);
        }
    }
}

/// The partitions of an alert, by day and by series.
fn places(fired_us: i64) -> (i64, i64) {
    let number = |width_us| Widths::constant(width_us).bucket(fired_us).number;
    (number(ALERTS_WIDTH_US), number(SERIES_ALERTS_WIDTH_US))
}

fn firing<'a>(jobs: &mut Jobs<'a>, statements: &'a Statements, alert: &'a Alert) {
    let data = &alert.data;
    let (site, device, metric) = (&data.site, &data.device, &data.metric);
    let (id, at_us, kind, json) =
        (&data.alert_id, data.fired_us, alert_kind(alert), alert_json(alert));
    let (day, bucket) = places(at_us);
    let (threshold, score) = (data.threshold, data.score);
    let row = (site, day, at_us, id, device, metric, kind, threshold, score, json.clone());
    jobs.push("alerts", &statements.put_alert_firing, [(row, 0)]);
    let row = (site, device, metric, bucket, at_us, id, kind, threshold, score, json);
    jobs.push("alerts_by_series", &statements.put_series_alert_firing, [(row, 0)]);
}

fn resolved<'a>(jobs: &mut Jobs<'a>, statements: &'a Statements, alert: &'a Alert) {
    let data = &alert.data;
    let (site, device, metric) = (&data.site, &data.device, &data.metric);
    let (id, at_us, kind, json) =
        (&data.alert_id, data.fired_us, alert_kind(alert), alert_json(alert));
    let (day, bucket) = places(at_us);
    let (threshold, peak, over_us) = (data.threshold, data.score, data.resolved_us);
    let row = (
        site,
        day,
        at_us,
        id,
        device,
        metric,
        kind,
        threshold,
        peak,
        unset_or(over_us),
        json.clone(),
    );
    jobs.push("alerts", &statements.put_alert_resolved, [(row, 0)]);
    let row =
        (site, device, metric, bucket, at_us, id, kind, threshold, peak, unset_or(over_us), json);
    jobs.push("alerts_by_series", &statements.put_series_alert_resolved, [(row, 0)]);
}

/// Rows by partition, each with about how many bytes it has.
type Registers<'a, K> = BTreeMap<(&'a str, i8), Vec<(K, usize)>>;

pub(super) fn records<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    series: &'a Added,
    hosts: &'a Added,
    sites: &'a Added,
) {
    series_records(jobs, statements, census, series);
    host_records(jobs, statements, census, hosts);
    site_records(jobs, statements, census, sites);
}

fn series_records<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    series: &'a Added,
) {
    let (mut puts, mut firsts, mut lasts) = (Registers::new(), Registers::new(), Registers::new());
    for (seen, (addition, known)) in census.series.iter().zip(series) {
        let key = seen.key;
        let place = (key.site.as_str(), shard(&key.device));
        let names = (place.0, place.1, key.device.as_str(), key.metric.as_str());
        let size = names.0.len() + names.2.len() + names.3.len() + 64;
        if addition.record || addition.unit {
            let unit = unset_or(known.unit.as_deref().filter(|_| addition.unit));
            let widths = unset_or(addition.record.then(|| known.layout.base().record()));
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
        if let Some(narrower) = addition.narrower {
            let Narrower { width_us, since_us } = narrower;
            told("readings", &key.to_string(), narrower);
            let row =
                (smallest_wins(since_us), width_us, since_us, names.0, names.1, names.2, names.3);
            jobs.push("series", &statements.put_series_narrower, [(row, size)]);
        }
    }
    push_all(jobs, "series", &statements.put_series, puts);
    push_all(jobs, "series", &statements.put_series_first, firsts);
    push_all(jobs, "series", &statements.put_series_last, lasts);
}

fn host_records<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    hosts: &'a Added,
) {
    let (mut puts, mut firsts, mut lasts) = (Registers::new(), Registers::new(), Registers::new());
    for (seen, (addition, known)) in census.hosts.iter().zip(hosts) {
        let place = (seen.site, shard(seen.host));
        let size = seen.site.len() + seen.host.len() + 64;
        if addition.record {
            let row = (place.0, place.1, seen.host, known.layout.base().record());
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
        if let Some(narrower) = addition.narrower {
            let Narrower { width_us, since_us } = narrower;
            told("logs", &format!("{}/{}", seen.site, seen.host), narrower);
            let stamp = smallest_wins(since_us);
            let row = (stamp, width_us, since_us, place.0, place.1, seen.host);
            jobs.push("hosts", &statements.put_host_narrower, [(row, size)]);
        }
    }
    push_all(jobs, "hosts", &statements.put_host, puts);
    push_all(jobs, "hosts", &statements.put_host_first, firsts);
    push_all(jobs, "hosts", &statements.put_host_last, lasts);
}

fn site_records<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    census: &'a Census<'a>,
    sites: &'a Added,
) {
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

/// Buckets are to be narrower: counted each time it is written, so twice where a batch is.
fn told(table: &'static str, whose: &str, narrower: Narrower) {
    let (width_s, since_us) = (narrower.width_us / SECOND_US, narrower.since_us);
    tracing::info!(table, whose, width_s, since_us, "many rows: its buckets get narrower");
    counter!(SINK_STORE_NARROWED.name, "table" => table).increment(1);
}

/// The time stamp of a write by which the smallest of several stamps stays.
fn smallest_wins(us: i64) -> i64 {
    us.saturating_neg().max(i64::MIN + 1)
}

/// The time stamp of a write by which the largest of several stamps stays.
fn largest_wins(us: i64) -> i64 {
    us.max(i64::MIN + 1)
}

pub(super) fn devices_and_agents<'a>(
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
    for change in census.changes {
        let (site, device, at_us) = (&change.site, &change.device, change.ts_us);
        let by = unset_or(change.by.as_deref());
        let json = change.record.as_ref().and_then(|record| serde_json::to_string(record).ok());
        let row = (site, device, changes_bucket(at_us), at_us, change.position, by, unset_or(json));
        jobs.push("device_changes", &statements.put_device_change, [(row, 0)]);
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

/// What people say of alerts. Of two of one stamp Cassandra keeps the one with the larger bytes.
pub(super) fn feedback<'a>(
    jobs: &mut Jobs<'a>,
    statements: &'a Statements,
    feedback: &'a [Feedback],
    now_us: i64,
) {
    for said in feedback {
        let bucket = Widths::constant(SERIES_ALERTS_WIDTH_US).bucket(said.fired_us).number;
        let json = serde_json::to_string(said).unwrap_or_default();
        let order_us = order_us(said.given_us, now_us);
        let row = (&said.site, bucket, said.fired_us, &said.alert_id, json, order_us);
        jobs.push("feedback", &statements.put_feedback, [(row, 0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_never_use_the_stamp_that_cassandra_reserves() {
        for us in [i64::MIN, i64::MIN + 1, 0, i64::MAX] {
            assert!(smallest_wins(us) > i64::MIN && largest_wins(us) > i64::MIN);
        }
        assert!(smallest_wins(-5) > smallest_wins(5) && largest_wins(5) > largest_wins(-5));
    }
}
