#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::{Duration, sleep};

use super::*;
use crate::archive::conformance::{check, merged, put_small};

const HOUR: i64 = 480_000;

/// A store of which the first listing is overtaken by a merge: it gives the first half of the names as they were, the others as
/// they are then. That is what pages of a listing are.
#[derive(Clone, Debug)]
struct Overtaken {
    inner: Arc<InMemory>,
    is_over: Arc<AtomicBool>,
}

impl fmt::Display for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("overtaken")
    }
}

impl Overtaken {
    async fn pages(self, prefix: Option<Path>) -> Vec<Result<ObjectMeta>> {
        let list = || async {
            let mut all: Vec<_> = self.inner.list(prefix.as_ref()).try_collect().await.unwrap();
            all.sort_by(|a: &ObjectMeta, b| a.location.cmp(&b.location));
            all
        };
        let mut page = list().await;
        if !self.is_over.swap(true, Ordering::SeqCst) {
            page.truncate(page.len() / 2);
            let last = page.last().unwrap().location.clone();
            let steps = merged(&Archive::new(Arc::<InMemory>::clone(&self.inner))).await;
            assert!(!steps.is_empty());
            page.extend(list().await.into_iter().filter(|one| one.location > last));
        }
        page.into_iter().map(Ok).collect()
    }
}

#[async_trait]
impl ObjectStore for Overtaken {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = self.clone().pages(prefix.cloned());
        stream::once(pages).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_listing_that_a_merge_overtakes_has_each_row_once() {
    for count in 4..9 {
        let inner = Arc::new(InMemory::new());
        let archive = Archive::new(Arc::<InMemory>::clone(&inner));
        put_small(&archive, HOUR, 0, count).await;
        put_small(&archive, HOUR + 1, 3 * count, 3).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let overtaken = Archive::new(Arc::new(Overtaken { inner, is_over: is_over.clone() }));
        check(&overtaken, 3 * count.unsigned_abs() + 9).await;
        assert!(is_over.load(Ordering::SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn the_sink_merges_by_itself_when_it_is_told_to() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put_small(&archive, HOUR, 0, 6).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let off = background::run(archive.clone(), MergeConfig::default(), stopped.clone());
    // Ends at once, as it is not enabled.
    off.await;
    let config = MergeConfig { enabled: true, ..MergeConfig::default() };
    let running = tokio::spawn(background::run(archive.clone(), config, stopped));
    let objects =
        || async { archive.catalogue(&[Topic::Logs]).await.unwrap().chains[0].entries.len() };
    assert_eq!(objects().await, 6);
    let mut waited = 0;
    while objects().await == 6 {
        sleep(Duration::from_secs(60)).await;
        waited += 1;
        assert!(waited < 60, "nothing was merged within an hour");
    }
    check(&archive, 18).await;
    assert_eq!(objects().await, 3);
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn who_lost_the_lock_notices_and_leaves_that_of_another() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    let first = Lock::take(&archive, Duration::ZERO).await.unwrap();
    first.check().await.unwrap();
    let held = Lock::take(&archive, Duration::from_secs(60)).await.err().unwrap();
    assert!(matches!(held, MergeError::Held { .. }), "{held}");
    let second = Lock::take(&archive, Duration::ZERO).await.unwrap();
    let lost = first.check().await.unwrap_err();
    assert!(matches!(lost, MergeError::Held { .. }), "{lost}");
    first.release().await.unwrap();
    second.check().await.unwrap();
    second.release().await.unwrap();
    assert!(Lock::take(&archive, Duration::from_secs(60)).await.is_ok());
}

#[tokio::test]
async fn an_object_that_was_merged_since_is_read_where_it_is_now() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put_small(&archive, HOUR, 0, 6).await;
    let chain = archive.catalogue(&[Topic::Logs]).await.unwrap().chains.remove(0);
    let entry = &chain.entries[1];
    assert_eq!(archive.bytes_now(&chain, entry).await.unwrap().0, *entry);
    merged(&archive).await;
    let (now, from, data) = archive.bytes_now(&chain, entry).await.unwrap();
    assert_eq!((now.next_offset, from), (Some(12), 3));
    assert_eq!(archive.bytes(&chain.path(&now)).await.unwrap(), data);
}
