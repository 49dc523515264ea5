//! What is told of an archive in memory.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use object_store::memory::InMemory;
use weir_models::event::{Body, Event, Loss};

use super::*;
use crate::archive::{Open, Row, RowBody};
use crate::decode::dedupe::Snapshot;

const DAY_MS: i64 = 24 * 3_600_000;

/// Ends of the readings; whether it fails, and how often it was asked.
#[derive(Default)]
struct Known {
    ends: Ends,
    fails: bool,
    asked: AtomicUsize,
}

#[async_trait]
impl Offsets for Known {
    async fn ends(&self, topic: Topic) -> Result<Ends, String> {
        self.asked.fetch_add(1, Relaxed);
        match (self.fails, topic) {
            (true, _) => Err("nobody answers".into()),
            (false, Topic::Readings) => Ok(self.ends.clone()),
            (false, _) => Ok(Ends::new()),
        }
    }
}

fn row(offset: i64, kafka_ms: i64) -> Row {
    let json = br#"{"agent":"gw","stream":"0000000000000007","seq":1,"site":"s","device":"d","ts_us":1,"received_us":1,"lost":{"count":1,"reason":"r"}}"#;
    let event = Event::from_json(json).unwrap();
    assert!(matches!(&event.body, Body::Loss(Loss { count: 1, .. })));
    Row { offset, kafka_ms, body: RowBody::Event(Arc::new(event)) }
}

/// Puts an object with so many rows into the archive.
async fn put(archive: &Archive, number: i32, first_offset: i64, kafka_ms: i64, rows: i64) {
    let partition = Partition { topic: Topic::Readings, number };
    let name = "weir.readings".into();
    let now = tokio::time::Instant::now();
    let mut open = Open::new(partition, &name, first_offset, kafka_ms, now);
    for offset in first_offset..first_offset + rows {
        open.push(row(offset, kafka_ms), 100).unwrap();
    }
    archive.put(&open.seal(first_offset + rows, Snapshot::default()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn days_partitions_and_what_waits_are_told() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put(&archive, 0, 0, 0, 3).await;
    put(&archive, 0, 3, DAY_MS, 2).await;
    put(&archive, 0, 5, DAY_MS + 1, 4).await;
    put(&archive, 1, 10, DAY_MS, 1).await;
    let ends = Ends::from([(0, (12, Some(5))), (2, (7, None))]);
    let known = Arc::new(Known { ends, ..Known::default() });
    let survey = Survey::new(archive, known.clone());
    let found = survey.look().await.unwrap();
    let told: Vec<_> =
        found.days.iter().map(|day| (&*day.date, day.objects, day.counted, day.rows)).collect();
    assert_eq!(told, [("1970-01-02", 3, 3, 7), ("1970-01-01", 1, 1, 3)]);
    assert!(found.days.iter().all(|day| day.topic == "readings" && day.bytes > 100));
    let told: Vec<_> = found
        .partitions
        .iter()
        .map(|one| (one.partition, one.objects, one.archived, one.committed, one.end))
        .collect();
    let expected = [
        (0, 3, Some(9), Some(5), Some(12)),
        (1, 1, Some(11), None, None),
        (2, 0, None, None, Some(7)),
    ];
    assert_eq!(told, expected);
    let newest = found.partitions[0].newest.as_ref().unwrap();
    assert_eq!((newest.rows, newest.hour_us), (4, DAY_MS * 1_000));
    assert!(
        newest.path.ends_with("weir.readings-0-00000000000000000005.parquet"),
        "{}",
        newest.path
    );
    assert_eq!((found.strays, &found.kafka_problem), (0, &None));
}

#[tokio::test]
async fn an_answer_is_given_again_for_a_while() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    let known = Arc::new(Known { fails: true, ..Known::default() });
    let survey = Survey::new(archive.clone(), known.clone());
    let first = survey.look().await.unwrap();
    assert_eq!(first.kafka_problem.as_deref(), Some("nobody answers"));
    put(&archive, 0, 0, 0, 1).await;
    let again = survey.look().await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(known.asked.load(Relaxed), 1);
    // Once it is old it is given once more, while a new one is made.
    survey.seen.lock().unwrap().as_mut().unwrap().1 = Instant::now();
    assert!(Arc::ptr_eq(&first, &survey.look().await.unwrap()));
    for _ in 0..1_000 {
        let now = survey.look().await.unwrap();
        if !Arc::ptr_eq(&first, &now) {
            assert_eq!(now.days[0].objects, 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no new answer was made");
}

#[tokio::test]
async fn an_object_that_is_written_again_counts_as_it_is_now() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put(&archive, 0, 0, 0, 1).await;
    let survey = Survey::new(archive.clone(), Arc::new(Known::default()));
    assert_eq!(survey.look().await.unwrap().days[0].rows, 1);
    put(&archive, 0, 0, 0, 5).await;
    put(&archive, 0, 5, 1, 2).await;
    *survey.seen.lock().unwrap() = None;
    let day = survey.look().await.unwrap().days[0].clone();
    assert_eq!((day.objects, day.counted, day.rows), (2, 2, 7));
}
