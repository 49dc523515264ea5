//! `weir-sink audit`: is every event there once, and does the store hold what the archive holds?
//!
//! In: archive, Kafka, store. Out: a verdict for each stream, and for each device and day that the store still
//! keeps. Numbers of a stream lie in several partitions, so all of them are read before a stream is judged.
//! Promises: what waits in Kafka is told apart from what is missing; memory follows from the number of
//! streams, of holes, and of devices and days, not of events. What was found is noted in the store, where the page
//! shows it; that it cannot be noted is no fault.

mod digest;
mod judge;
mod note;
mod read;
mod seen;
mod store;

use clap::Args;
use serde_json::json;
use weir_models::time::{DAY_US, day, now_us};

use self::judge::judge;
use self::read::{Gathered, Scope};
use self::store::{Compared, Differs, compare};
use super::archive::TOPICS;
use super::progress::bar;
use super::{Say, json, text};
use crate::archive::{Archive, Hours};
use crate::config::Config;
use crate::program::Secrets;
use crate::store::{Audit, StoreConfig, TimeRange, open};
use crate::train::When;

/// Objects this many hours before and after the range may hold numbers between those of the range.
const BESIDE_HOURS: i64 = 24;

/// What to audit.
#[derive(Debug, Args)]
pub(crate) struct AuditOptions {
    #[command(flatten)]
    when: When,
    /// Writes JSON, an object a line.
    #[arg(long)]
    json: bool,
    /// Does not ask Kafka what waits: numbers that are on their way count as missing.
    #[arg(long)]
    no_kafka: bool,
    /// Does not compare the store.
    #[arg(long)]
    no_store: bool,
}

/// The days of a range that the store keeps whole: rows leave it `hot_days` after they were written.
fn hot(range: TimeRange, hot_days: u32, now_us: i64) -> TimeRange {
    let kept_us = match hot_days {
        0 => i64::MIN,
        days => now_us.saturating_sub(i64::from(days).saturating_mul(DAY_US)),
    };
    TimeRange { from_us: range.from_us.max(kept_us), to_us: range.to_us.min(now_us) }
}

fn scope(options: &AuditOptions, config: &StoreConfig) -> Result<Scope, String> {
    let range = options.when.range()?;
    let judged = Hours::of(range);
    let hot_days = config.cassandra.as_ref().map_or(0, |cassandra| cassandra.hot_days);
    let hot = hot(range, hot_days, now_us());
    // Whole days only; of the last one so much as there is.
    let first = day(hot.from_us.saturating_add(DAY_US - 1).max(i64::MIN + DAY_US));
    let last = day(hot.to_us.saturating_sub(1));
    let is_part = range.to_us < now_us() && range.to_us.rem_euclid(DAY_US) != 0;
    let last = if is_part { last.saturating_sub(1) } else { last };
    let days = (!options.no_store && first <= last).then_some(first..=last);
    // Readings come late, not early, but for a clock that is ahead.
    let compared = days.as_ref().map(|days| {
        let from_us = i64::from(*days.start()).saturating_mul(DAY_US);
        Hours::of(TimeRange { from_us: from_us.saturating_sub(DAY_US), to_us: i64::MAX })
    });
    Ok(Scope { beside: judged.wider(BESIDE_HOURS), judged, days, compared })
}

/// `weir-sink audit`.
pub(crate) async fn run_audit(
    config: &Config,
    options: &AuditOptions,
    say: Say<'_>,
) -> Result<(), String> {
    let archive = Archive::existing(&config.archive).map_err(text)?;
    let scope = scope(options, &config.store)?;
    let mut found = note::begin(options.when.range()?, !options.no_kafka);
    let mut gathered = Gathered::default();
    let kafka = match options.no_kafka {
        true => None,
        false => Some(Secrets::fetch(config).map_err(text)?),
    };
    let kafka = kafka.map(|secrets| config.kafka.librdkafka_settings(secrets.kafka.as_ref()));
    let names = config.topic_names();
    let without = |error| format!("{error}; `--no-kafka` goes without");
    if let Some(connection) = &kafka {
        // Before the objects are listed: whatever is committed by now is among them.
        tokio::task::block_in_place(|| {
            gathered.add_committed(connection, &config.consume.group, &names, &TOPICS)
        })
        .map_err(without)?;
    }
    let catalogue = archive.catalogue(&TOPICS).await.map_err(text)?;
    gathered.add_lost_objects(&archive).await.map_err(text)?;
    let bar = bar("reading the archive", scope.count(&catalogue));
    for chain in &catalogue.chains {
        gathered.add_chain(&archive, chain, &scope, || bar.inc(1)).await.map_err(text)?;
    }
    bar.finish_and_clear();
    if let Some(connection) = &kafka {
        tokio::task::block_in_place(|| gathered.add_kafka(connection, &names, &TOPICS))
            .map_err(without)?;
    }
    let mut wrong = tell_objects(&gathered, options.json, say);
    found.objects_unread = wrong;
    wrong += tell_streams(&gathered, options, &mut found, say)?;
    if let Some(days) = &scope.days {
        if gathered.is_too_much {
            return Err(
                "more than 1000000 devices and days to compare: narrow `--from` and `--to`".into(),
            );
        }
        let store = open(&config.store).await.map_err(text)?;
        let bar = super::progress::bar("reading the store", gathered.digests.len() as u64);
        let step = |_: &str| bar.inc(1);
        let compared = compare(&*store, &mut gathered, days, step).await.map_err(text)?;
        bar.finish_and_clear();
        wrong += tell_store(&compared, options.json, say);
        found.days = Some(compared.same + compared.differ.len() as u64);
        found.days_differing = compared.differ.len() as u64;
    }
    found.faults = wrong;
    if !options.no_store {
        note::leave(&config.store, found).await;
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(format!(
            "the audit found {wrong} faults: what can be done stands in docs/prove.md; of events that were \
             on their way a second run says so"
        )),
    }
}

fn tell_objects(gathered: &Gathered, is_json: bool, say: Say<'_>) -> u64 {
    for (object, reason) in &gathered.unread {
        say(&if is_json {
            json(&json!({ "object": object, "fault": reason }))
        } else {
            format!("{object}: {reason}")
        });
    }
    gathered.unread.len() as u64
}

fn tell_streams(
    gathered: &Gathered,
    options: &AuditOptions,
    found: &mut Audit,
    say: Say<'_>,
) -> Result<u64, String> {
    let range = options.when.range()?;
    let (from_one, to_end) = (range.from_us == i64::MIN, range.to_us == i64::MAX);
    let (mut streams, mut wrong) = (0_u64, 0_u64);
    for (&stream, known) in &gathered.streams.0 {
        let Some(verdict) = judge(stream, known, from_one, to_end) else {
            continue;
        };
        streams += 1;
        wrong += u64::from(!verdict.is_well());
        found.missing += verdict.missing.events;
        found.twice += verdict.twice.events;
        found.lost += verdict.lost.events;
        found.waiting += verdict.open.events;
        found.dead += verdict.dead.events;
        if options.json {
            say(&json(&verdict));
            continue;
        }
        let mut line = format!(
            "agent {}, stream {stream}: {} to {}",
            verdict.agent, verdict.first, verdict.last
        );
        for (what, ranges) in [
            ("lost by its markers", &verdict.lost),
            ("waiting in Kafka", &verdict.open),
            ("among the dead letters", &verdict.dead),
            ("missing", &verdict.missing),
            ("archived more than once", &verdict.twice),
        ] {
            if ranges.events > 0 {
                line += &format!(", {what}: {ranges}");
            }
        }
        say(&line);
    }
    if !options.json {
        say(&format!("{streams} streams, {wrong} not whole"));
    }
    (found.streams, found.streams_faulty) = (streams, wrong);
    Ok(wrong)
}

fn tell_store(compared: &Compared, is_json: bool, say: Say<'_>) -> u64 {
    let Compared { same, open, differ } = compared;
    for one in differ {
        say(&if is_json {
            json(one)
        } else {
            let Differs { site, device, date, archived, stored } = one;
            let content = if archived == stored { ", not the same ones" } else { "" };
            format!(
                "{site}/{device} on {date}: {archived} values in the archive, {stored} in the store{content}"
            )
        });
    }
    let differing = differ.len();
    if is_json {
        say(&json(&json!({ "same": same, "open": open, "differ": differing })));
    } else {
        say(&format!(
            "store: {same} devices and days are the same, {open} are not over, {differing} differ"
        ));
    }
    differing as u64
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
