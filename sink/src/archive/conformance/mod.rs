//! Conformance: what an archive promises whatever it lies in, as one suite that a folder and a bucket pass.
//!
//! In: a way to get empty archives. Out: a panic that names the broken promise.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::time::Instant;
use weir_models::event::Event;
use weir_models::ident::{EventId, Stream};
use weir_models::time::HOUR_US;
use weir_models::topic::Topic;

use super::merge::{Merge, Step};
use super::object::HOUR_MS;
use super::{Archive, Hours, Manifest, MergeConfig, Open, Row, RowBody, Sealed};
use crate::consume::Partition;
use crate::decode::dedupe::Snapshot;
use crate::store::TimeRange;

pub(crate) mod dies;
mod merging;

/// Runs every case; `fresh` gives an archive that is empty, for each name another one. Every `stride`th step of a merge
/// is killed.
///
/// # Panics
/// When the archive breaks a promise.
pub async fn all(fresh: impl Fn(&str) -> Archive, stride: i64) {
    objects_come_back(&fresh("objects")).await;
    an_object_written_again_takes_its_place(&fresh("again")).await;
    what_is_large_comes_back(&fresh("large")).await;
    merging::small_objects_become_one(&fresh("merge")).await;
    merging::what_comes_late_is_merged_later(&fresh("late")).await;
    merging::one_merge_at_a_time(&fresh("lock")).await;
    merging::what_does_not_fit_stays(&fresh("unfit")).await;
    merging::what_overlaps_stays(&fresh("overlap")).await;
    merging::what_is_written_anew_stays(&fresh("anew")).await;
    merging::what_was_merged_badly_is_merged_again(&fresh("badly")).await;
    for after in [false, true] {
        let mut steps = 0;
        let name = |steps| format!("killed-{after}-{steps}");
        while !merging::killed_after(steps, after, &fresh(&name(steps))).await {
            steps += stride;
        }
        assert!(steps > 20, "a merge has more steps than {steps}");
    }
}

/// The hour of the cases, long over.
const HOUR: i64 = 480_000;

pub(crate) fn ever() -> Hours {
    Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX })
}

/// The log line with this number.
pub(crate) fn event(seq: u64) -> RowBody {
    let json = format!(
        r#"{{"agent":"gw","stream":"0000000000000007","seq":{seq},"site":"a","device":"d{}","ts_us":{},
            "received_us":1,"host":"h","message":"line {seq}"}}"#,
        seq % 3,
        HOUR * HOUR_US
    );
    RowBody::Event(Arc::new(Event::from_json(json.as_bytes()).unwrap()))
}

/// An object of log lines in an hour, one for each offset; their number is the offset plus one. It accounts from `from` on.
pub(crate) fn sealed(hour: i64, offsets: Range<i64>, from: i64) -> Sealed {
    let partition = Partition { topic: Topic::Logs, number: 0 };
    let name = "weir.logs".into();
    let kafka_ms = hour * HOUR_MS;
    let mut open = Open::new(partition, &name, offsets.start, kafka_ms, Instant::now());
    let next = offsets.end;
    for offset in offsets {
        let body = event(offset.unsigned_abs() + 1);
        open.push(Row { offset, kafka_ms, body }, 100).unwrap();
    }
    let mut dedupe = Snapshot::default();
    dedupe.streams.push((Stream(7), next.unsigned_abs(), 0));
    open.accounting(Some(from), 0).seal(next, dedupe).unwrap()
}

/// `count` neighbours of three rows each, from `first` on.
pub(crate) async fn put_small(archive: &Archive, hour: i64, first: i64, count: i64) {
    for n in 0..count {
        let begin = first + 3 * n;
        archive.put(&sealed(hour, begin..begin + 3, begin)).await.unwrap();
    }
}

pub(crate) fn merge() -> Merge {
    let config = MergeConfig { target_bytes: 64 << 20, ..MergeConfig::default() };
    Merge::new(&config, &[Topic::Logs], ever()).stale_after(std::time::Duration::ZERO)
}

/// Merges, and gives what was done.
pub(crate) async fn merged(archive: &Archive) -> Vec<Step> {
    let mut steps = Vec::new();
    merge().run(archive, |step| steps.push(step.clone())).await.unwrap();
    steps
}

#[cfg(test)]
impl Archive {
    /// Loses an object and its manifest.
    pub(crate) async fn forget(&self, object: &str) {
        for path in [object, &super::manifest_path(object)] {
            self.remove(path).await.unwrap();
        }
    }
}

fn ids(seqs: std::ops::RangeInclusive<u64>) -> Vec<EventId> {
    seqs.map(|seq| EventId { stream: Stream(7), seq }).collect()
}

/// The paths of all Parquet files.
pub(crate) async fn files(archive: &Archive) -> Vec<String> {
    let listed: Vec<_> = archive.target.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = listed.into_iter().map(|file| file.location.to_string()).collect();
    paths.retain(|path| path.ends_with(".parquet"));
    paths.sort();
    paths
}

/// Each row is there once, in order, in objects that are what their manifests say; the notes that a commit may
/// name have their memory.
pub(crate) async fn check(archive: &Archive, rows: u64) {
    let catalogue = archive.catalogue(&[Topic::Logs]).await.unwrap();
    assert!(catalogue.strays.is_empty(), "{:?}", catalogue.strays);
    let chain = &catalogue.chains[0];
    let mut manifests: Vec<Manifest> = Vec::new();
    for entry in &chain.entries {
        let path = chain.path(entry);
        let manifest = archive.manifest(&path).await.unwrap().unwrap();
        assert!(manifest.fits(&archive.bytes(&path).await.unwrap()), "{path}");
        assert_eq!(manifest.object, path);
        if let Some(before) = manifests.last() {
            assert_eq!(manifest.from_offset, Some(before.next_offset), "{path}");
        }
        manifests.push(manifest);
    }
    let contents = archive.contents(Topic::Logs).await.unwrap();
    assert_eq!(contents.ids, ids(1..=rows));
    for last in chain.entries.iter().rev().take(2) {
        let note = chain.path(last);
        assert!(archive.dedupe_after(&note).await.unwrap().is_some(), "{note}");
    }
}

async fn objects_come_back(archive: &Archive) {
    archive.check().await.unwrap();
    let objects = [sealed(HOUR, 0..4, 0), sealed(HOUR + 1, 4..6, 4)];
    for object in &objects {
        archive.put(object).await.unwrap();
    }
    check(archive, 6).await;
    for object in &objects {
        let manifest = archive.manifest(&object.path).await.unwrap();
        assert_eq!(manifest.as_ref(), Some(&object.manifest));
        assert_eq!(archive.bytes(&object.path).await.unwrap(), object.data);
    }
    let absent = "logs/date=2024-10-04/hour=00/weir.logs-0-00000000000000000099.parquet";
    assert_eq!(archive.manifest(absent).await.unwrap(), None);
    let error = archive.bytes(absent).await.unwrap_err();
    assert!(error.is_gone() && !error.is_temporary() && error.to_string().contains(absent));
    let files = files(archive).await;
    assert_eq!(files, objects.map(|object| object.path));
}

async fn an_object_written_again_takes_its_place(archive: &Archive) {
    let (long, short) = (sealed(HOUR, 0..4, 0), sealed(HOUR, 0..2, 0));
    assert_eq!(long.path, short.path);
    for object in [&long, &short, &short] {
        archive.put(object).await.unwrap();
    }
    check(archive, 2).await;
    assert_eq!(files(archive).await.len(), 1);
}

/// A bucket takes it in parts.
async fn what_is_large_comes_back(archive: &Archive) {
    let large: Vec<u8> =
        (0..20 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let large = Bytes::from(large);
    for _ in 0..2 {
        archive.write("logs/large", large.clone()).await.unwrap();
        assert!(archive.bytes("logs/large").await.unwrap() == large, "not what was written");
    }
    archive.remove("logs/large").await.unwrap();
    archive.remove("logs/large").await.unwrap();
    assert!(archive.bytes("logs/large").await.unwrap_err().is_gone());
}
