//! What is told of an archive in memory.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use weir_models::event::{Body, Event, Loss};

use super::*;
use crate::archive::conformance::{merged, put_small};
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

/// A store that can be away; counts what it is asked for.
#[derive(Debug)]
struct Away {
    inner: InMemory,
    asked: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
}

impl Away {
    fn ask(&self) -> StoreResult<()> {
        self.asked.fetch_add(1, Relaxed);
        let away =
            || object_store::Error::Generic { store: "away", source: "nobody is there".into() };
        if self.fails.load(Relaxed) { Err(away()) } else { Ok(()) }
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("away")
    }
}

#[async_trait]
impl ObjectStore for Away {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.ask()?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.ask() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.ask()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
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
    expire(&survey, false);
    assert!(Arc::ptr_eq(&first, &survey.look().await.unwrap()));
    for _ in 0..1_000 {
        let now = survey.look().await.unwrap();
        if !Arc::ptr_eq(&first, &now) {
            assert_eq!(now.days[0].objects, 1);
            // A very old one is not given any more.
            put(&archive, 0, 1, DAY_MS, 1).await;
            expire(&survey, true);
            assert_eq!(survey.look().await.unwrap().days.len(), 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no new answer was made");
}

/// Lets the last answer be of no use, or only while a new one is made.
fn expire(survey: &Survey, is_stale: bool) {
    survey.seen.send_modify(|seen| {
        let seen = seen.as_mut().unwrap();
        seen.again = Instant::now();
        seen.until = if is_stale { seen.again } else { seen.until };
    });
}

#[tokio::test]
async fn an_archive_that_does_not_answer_is_told_once_and_asked_again_later() {
    let asked = Arc::new(AtomicUsize::new(0));
    let fails = Arc::new(AtomicBool::new(true));
    let away = Away { inner: InMemory::new(), asked: asked.clone(), fails: fails.clone() };
    let survey = Survey::new(Archive::new(Arc::new(away)), Arc::new(Known::default()));
    // All that ask at once wait for the same.
    let (one, two) = tokio::join!(survey.look(), survey.look());
    assert!(one.unwrap_err().contains("nobody is there") && two.is_err());
    let once = asked.load(Relaxed);
    for _ in 0..10 {
        survey.look().await.unwrap_err();
    }
    assert_eq!((once > 0, asked.load(Relaxed)), (true, once));
    fails.store(false, Relaxed);
    expire(&survey, false);
    assert_eq!(survey.look().await.unwrap().days, []);
    // What fails later is told to the next one.
    fails.store(true, Relaxed);
    expire(&survey, false);
    survey.look().await.unwrap();
    for _ in 0..1_000 {
        if survey.look().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the failure was not told");
}

#[tokio::test]
async fn merged_objects_count_as_they_are() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    // Two hours of a day, long over.
    put_small(&archive, 480_000, 0, 4).await;
    put_small(&archive, 480_001, 12, 3).await;
    let survey = Survey::new(archive.clone(), Arc::new(Known::default()));
    let rows = |found: &Surveyed| {
        let day = &found.days[0];
        (day.objects, day.counted, day.rows)
    };
    assert_eq!(rows(&survey.look().await.unwrap()), (7, 7, 21));
    assert!(!merged(&archive).await.is_empty());
    expire(&survey, true);
    let (objects, counted, sum) = rows(&survey.look().await.unwrap());
    assert!(objects < 7, "{objects} objects");
    assert_eq!((counted, sum), (objects, 21));
    // Of what is gone nothing is remembered.
    assert!(survey.counts.lock().await.len() < 7);
}

#[tokio::test]
async fn of_too_many_objects_the_newest_are_remembered() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    let mut survey = Survey::new(archive.clone(), Arc::new(Known::default()));
    Arc::get_mut(&mut survey).unwrap().remembered_max = 2;
    for day in 0..3 {
        put(&archive, 0, day, day * DAY_MS, 1).await;
    }
    survey.look().await.unwrap();
    for day in 3..6 {
        put(&archive, 0, day, day * DAY_MS, 1).await;
    }
    expire(&survey, true);
    let counted =
        |found: &Surveyed| -> Vec<u64> { found.days.iter().map(|day| day.counted).collect() };
    // The newest one is read at each look.
    assert_eq!(counted(&survey.look().await.unwrap()), [1, 1, 1, 0, 0, 0]);
    expire(&survey, true);
    assert_eq!(counted(&survey.look().await.unwrap()), [1, 1, 1, 0, 0, 0]);
    assert_eq!(survey.counts.lock().await.len(), 2);
}

#[tokio::test]
async fn an_object_that_is_written_again_counts_as_it_is_now() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put(&archive, 0, 0, 0, 1).await;
    let survey = Survey::new(archive.clone(), Arc::new(Known::default()));
    assert_eq!(survey.look().await.unwrap().days[0].rows, 1);
    put(&archive, 0, 0, 0, 5).await;
    put(&archive, 0, 5, 1, 2).await;
    expire(&survey, true);
    let day = survey.look().await.unwrap().days[0].clone();
    assert_eq!((day.objects, day.counted, day.rows), (2, 2, 7));
}
