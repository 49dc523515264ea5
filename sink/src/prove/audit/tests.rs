#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use serde_json::json;
use tokio::time::Instant;
use weir_models::event::Event;
use weir_models::time::HOUR_US;
use weir_models::topic::Topic;

use super::*;
use crate::archive::conformance::{merged, put_small};
use crate::archive::{Open, Row, RowBody};
use crate::consume::Partition;
use crate::decode::add_event;
use crate::decode::dedupe::Snapshot;
use crate::store::config::SqliteConfig;
use crate::store::{Batch, Store, StoreConfig};

const TODAY: i64 = 20_000 * DAY_US;

fn reading(seq: u64, ts_us: i64) -> Arc<Event> {
    let json = json!({
        "agent": "gw", "stream": "0000000000000007", "seq": seq, "site": "a", "device": format!("d{}", seq % 2),
        "ts_us": ts_us, "received_us": ts_us, "values": {"t": {"v": seq as f64}, "p": {"v": -0.0}},
    });
    Arc::new(Event::from_json(json.to_string().as_bytes()).unwrap())
}

/// An object of these numbers, one a minute, at an hour.
async fn put(archive: &Archive, number: i32, first_offset: i64, seqs: &[u64]) -> String {
    let partition = Partition { topic: Topic::Readings, number };
    let (mut open, mut next) = (None, first_offset);
    for &seq in seqs {
        let ts_us = TODAY + seq as i64 * HOUR_US;
        let row = Row {
            offset: next,
            kafka_ms: ts_us / 1_000,
            body: RowBody::Event(reading(seq, ts_us)),
        };
        open.get_or_insert_with(|| {
            Open::new(
                partition,
                &"weir.readings".into(),
                first_offset,
                row.kafka_ms,
                Instant::now(),
            )
        })
        .push(row, 100)
        .unwrap();
        next += 1;
    }
    let sealed = open.unwrap().seal(next, Snapshot::default()).unwrap();
    archive.put(&sealed).await.unwrap();
    sealed.path
}

fn hours(range: TimeRange) -> Scope {
    Scope {
        judged: Hours::of(range),
        beside: Hours::of(range).wider(24),
        days: Some(20_000..=20_002),
        compared: Some(Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX })),
    }
}

const ALL: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

async fn gathered(archive: &Archive, range: TimeRange) -> Gathered {
    let mut gathered = Gathered::default();
    for chain in &archive.catalogue(&TOPICS).await.unwrap().chains {
        gathered.add_chain(archive, chain, &hours(range), || ()).await.unwrap();
    }
    gathered
}

fn missing(gathered: &Gathered, from_one: bool) -> Vec<(u64, u64)> {
    let verdicts =
        gathered.streams.0.iter().filter_map(|(&s, known)| judge(s, known, from_one, false));
    verdicts.flat_map(|verdict| verdict.missing.ranges).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_fill_each_others_holes_and_what_is_gone_is_named() {
    let target = Arc::new(InMemory::new());
    let archive = Archive::new(Arc::<InMemory>::clone(&target));
    put(&archive, 0, 0, &[1, 3, 5]).await;
    put(&archive, 0, 3, &[30, 32]).await;
    put(&archive, 1, 0, &[2, 4, 6, 7, 8]).await;
    let middle: Vec<u64> = (9..30).collect();
    let object = put(&archive, 1, 5, &middle).await;
    put(&archive, 1, 26, &[31]).await;
    let found = gathered(&archive, ALL).await;
    assert_eq!(missing(&found, true), []);
    assert_eq!(found.end(Partition { topic: Topic::Readings, number: 1 }), Some(27));
    // A range judges what lies in it; numbers beside it fill its holes.
    let from = TimeRange { from_us: TODAY + 30 * HOUR_US, to_us: i64::MAX };
    assert_eq!(missing(&gathered(&archive, from).await, false), []);

    target.delete(&Path::from(&*object)).await.unwrap();
    let found = gathered(&archive, ALL).await;
    assert_eq!(found.unread, [(object, "it is gone, its manifest is there".to_owned())]);
    assert_eq!(missing(&found, true), [(9, 29)]);
}

async fn store(folder: &std::path::Path) -> Arc<dyn Store> {
    let sqlite = SqliteConfig { path: folder.join("store.sqlite") };
    let store =
        open(&StoreConfig { sqlite: Some(sqlite), ..StoreConfig::default() }).await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_held_against_the_archive_day_by_day() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let archive = Archive::new(Arc::new(InMemory::new()));
    let seqs: Vec<u64> = (1..60).collect();
    put(&archive, 0, 0, &seqs).await;
    let write = |seqs: Vec<u64>| {
        let mut batch = Batch::default();
        for seq in seqs {
            add_event(&reading(seq, TODAY + seq as i64 * HOUR_US), &mut batch);
        }
        batch
    };
    let compared = async || {
        let mut found = gathered(&archive, ALL).await;
        compare(&*store, &mut found, &(20_000..=20_002), |_| ()).await.unwrap()
    };
    // Two devices, three days; nothing is stored yet.
    let found = compared().await;
    assert_eq!((found.same, found.differ.len()), (0, 6));
    store.write(&write(seqs.into_iter().filter(|seq| *seq != 50).collect())).await.unwrap();
    let found = compared().await;
    let differs = Differs {
        site: "a".into(),
        device: "d0".into(),
        date: "2024-10-06".into(),
        archived: 12,
        stored: 10,
    };
    assert_eq!((found.same, &found.differ), (5, &vec![differs]));
    store.write(&write(vec![50])).await.unwrap();
    assert_eq!(compared().await, Compared { same: 6, ..Compared::default() });
    // One more in the store than in the archive.
    store.write(&write(vec![70])).await.unwrap();
    let found = compared().await;
    assert_eq!(found.differ[0].stored, 14);
}

#[test]
fn only_days_that_the_store_keeps_whole_are_compared() {
    let day_us = |n: i64| n * DAY_US;
    let all = |hot_days| hot(ALL, hot_days, day_us(100) + 5);
    assert_eq!(all(0), TimeRange { from_us: i64::MIN, to_us: day_us(100) + 5 });
    assert_eq!(all(30), TimeRange { from_us: day_us(70) + 5, to_us: day_us(100) + 5 });
    let some = TimeRange { from_us: day_us(80), to_us: day_us(90) };
    assert_eq!(hot(some, 30, day_us(100)), some);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merged_while_it_is_read_counts_once() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put_small(&archive, 480_000, 0, 8).await;
    let stale = archive.catalogue(&TOPICS).await.unwrap().chains.remove(0);
    let mut parts = [stale.clone(), stale.clone()];
    parts[0].entries.truncate(3);
    parts[1].entries.drain(..3);
    let mut gathered = Gathered::default();
    gathered.add_chain(&archive, &parts[0], &hours(ALL), || ()).await.unwrap();
    merged(&archive).await;
    gathered.add_chain(&archive, &parts[1], &hours(ALL), || ()).await.unwrap();
    let (&stream, known) = gathered.streams.0.iter().next().unwrap();
    let verdict = judge(stream, known, true, true).unwrap();
    assert!(verdict.is_well(), "{verdict:?}");
    assert_eq!((verdict.first, verdict.last), (1, 24));
    assert_eq!(gathered.end(stale.partition), Some(24));
}
