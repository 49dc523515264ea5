#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::json;
use tokio::time::Instant;
use weir_models::event::Event;
use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, HOUR_US};

use super::*;
use crate::archive::{Hours, Open, RowBody};
use crate::consume::Partition;
use crate::decode::dedupe::Snapshot;
use crate::store::config::SqliteConfig;
use crate::store::{Point, Store, StoreConfig, TimeRange, open};

const ALL: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

/// An object of readings with these numbers, at an hour.
async fn put(
    archive: &Archive,
    first_offset: i64,
    hour: i64,
    seqs: std::ops::Range<u64>,
) -> String {
    let partition = Partition { topic: Topic::Readings, number: 0 };
    let (kafka_ms, mut next) = (hour * 3_600_000, first_offset);
    let mut open =
        Open::new(partition, &"weir.readings".into(), first_offset, kafka_ms, Instant::now());
    for seq in seqs {
        let json = json!({
            "agent": "gw", "stream": "0000000000000007", "seq": seq, "site": "a", "device": "d",
            "ts_us": seq, "received_us": 1, "values": {"t": {"v": seq as f64, "unit": "C", "score": 0.5}},
        });
        let event = Event::from_json(json.to_string().as_bytes()).unwrap();
        let body = RowBody::Event(Arc::new(event));
        open.push(Row { offset: next, kafka_ms, body }, 100).unwrap();
        next += 1;
    }
    let sealed = open.seal(next, Snapshot::default()).unwrap();
    archive.put(&sealed).await.unwrap();
    sealed.path
}

struct Bench {
    target: Arc<InMemory>,
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteConfig { path: folder.path().join("store.sqlite") };
        let store =
            open(&StoreConfig { sqlite: Some(sqlite), ..StoreConfig::default() }).await.unwrap();
        store.migrate().await.unwrap();
        Self { target: Arc::new(InMemory::new()), folder, store }
    }

    fn archive(&self) -> Archive {
        Archive::new(Arc::<InMemory>::clone(&self.target))
    }

    /// Replays everything to the store, with a position; objects and events.
    async fn replay(&self) -> Result<(u64, u64), String> {
        let mut position = Position::open(Some(&self.folder.path().join("position")), "t")?;
        let archive = self.archive();
        let catalogue = archive.catalogue(&[Topic::Readings]).await.unwrap();
        let targets = Targets::Store(Arc::clone(&self.store));
        let pace = Pace::new(None);
        let mut replay = Replay { archive, targets, pace, objects: 0, events: 0 };
        for chain in &catalogue.chains {
            let hours = Hours::of(ALL);
            let entries = chain.entries.iter().filter(|entry| hours.hold(entry));
            let done = replay.chain(chain, entries, &mut position, &ProgressBar::hidden()).await;
            position.save()?;
            done?;
        }
        Ok((replay.objects, replay.events))
    }

    async fn points(&self) -> Vec<Point> {
        let key = SeriesKey { site: "a".into(), device: "d".into(), metric: "t".into() };
        self.store.readings(&key, ALL, usize::MAX >> 1).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_written_from_the_archive_and_goes_on_behind_what_is_mended() {
    let bench = Bench::new().await;
    let archive = bench.archive();
    put(&archive, 0, 5, 1..2_000).await;
    let second = put(&archive, 1_999, 4, 2_000..2_010).await;
    put(&archive, 2_009, 6, 2_010..2_020).await;
    let path = Path::from(&*second);
    let whole = bench.target.get(&path).await.unwrap().bytes().await.unwrap();
    let mut flipped = whole.to_vec();
    flipped[50] ^= 1;
    bench.target.put(&path, PutPayload::from(flipped)).await.unwrap();
    let error = bench.replay().await.unwrap_err();
    assert!(error.contains(&second) && error.contains("restore it from a copy"), "{error}");
    assert_eq!(bench.points().await.len(), 1_999);

    bench.target.put(&path, PutPayload::from(whole)).await.unwrap();
    assert_eq!(bench.replay().await.unwrap(), (2, 20));
    let points = bench.points().await;
    assert_eq!(points.len(), 2_019);
    assert_eq!((points[9].value, points[9].seq, points[9].score), (10.0, 10, Some(0.5)));
    assert_eq!(bench.replay().await.unwrap(), (0, 0));
    // Without a position it is done again, and nothing is there twice.
    std::fs::remove_file(bench.folder.path().join("position")).unwrap();
    assert_eq!(bench.replay().await.unwrap(), (3, 2_019));
    assert_eq!(bench.points().await.len(), 2_019);

    bench.target.delete(&path).await.unwrap();
    std::fs::remove_file(bench.folder.path().join("position")).unwrap();
    assert!(bench.replay().await.unwrap_err().contains("it is gone"));
}

/// A replay goes on where it was, although the objects have become others, before it began again or while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merged_meanwhile_is_replayed_once() {
    for is_stale in [true, false] {
        let bench = Bench::new().await;
        let archive = bench.archive();
        crate::archive::conformance::put_small(&archive, 480_000, 0, 8).await;
        let list = async || archive.catalogue(&[Topic::Logs]).await.unwrap().chains.remove(0);
        let mut chain = list().await;
        let mut position = Position::open(None, "t").unwrap();
        let replay = || Replay {
            archive: archive.clone(),
            targets: Targets::Store(Arc::clone(&bench.store)),
            pace: Pace::new(None),
            objects: 0,
            events: 0,
        };
        let (mut first, mut second) = (replay(), replay());
        let some = chain.entries.iter().take(3);
        first.chain(&chain, some, &mut position, &ProgressBar::hidden()).await.unwrap();
        crate::archive::conformance::merged(&archive).await;
        if !is_stale {
            chain = list().await;
        }
        let all = chain.entries.iter();
        second.chain(&chain, all, &mut position, &ProgressBar::hidden()).await.unwrap();
        assert_eq!((first.events, second.events), (9, 15));
        assert_eq!(position.of(&chain).unwrap().next_offset, 24);
    }
}

#[test]
fn hours_of_a_day_are_a_day() {
    // What `--from` and `--to` of a day choose.
    let hours = Hours::of(TimeRange { from_us: DAY_US, to_us: 2 * DAY_US });
    let entry = |us: i64| Entry { hour: i32::try_from(us / HOUR_US).unwrap(), ..Entry::default() };
    let held: Vec<i64> = (0..60).filter(|hour| hours.hold(&entry(hour * HOUR_US))).collect();
    assert_eq!(held, (24..48).collect::<Vec<_>>());
}

/// Objects that overlap, as after offsets were set back: a replay that goes on sends the rows that only one of them has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_goes_on_in_an_object_into_which_others_reach() {
    let bench = Bench::new().await;
    let archive = bench.archive();
    put(&archive, 0, 5, 1..101).await;
    put(&archive, 20, 6, 201..211).await;
    let chain = archive.catalogue(&[Topic::Readings]).await.unwrap().chains.remove(0);
    let mut position = Position::open(Some(&bench.folder.path().join("position")), "t").unwrap();
    position.reached(&chain, &chain.entries[0], 60).unwrap();
    position.save().unwrap();
    assert_eq!(bench.replay().await.unwrap(), (2, 50));
    assert_eq!(bench.points().await.len(), 50);
    assert_eq!(bench.replay().await.unwrap(), (0, 0));
}
