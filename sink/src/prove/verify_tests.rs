#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::Instant;
use weir_models::event::Event;
use weir_models::topic::Topic;

use super::*;
use crate::archive::conformance::{merged, put_small};
use crate::archive::{Open, Row, RowBody, Sealed, manifest_path};
use crate::consume::Partition;
use crate::decode::dedupe::Snapshot;
use crate::store::TimeRange;

fn event(seq: u64) -> RowBody {
    let json = format!(
        r#"{{"agent":"gw","stream":"0000000000000007","seq":{seq},"site":"a","device":"d","ts_us":1,
            "received_us":1,"message":"m"}}"#
    );
    RowBody::Event(Arc::new(Event::from_json(json.as_bytes()).unwrap()))
}

/// An object with one row for each offset.
fn sealed(offsets: std::ops::Range<i64>, next: i64, from: Option<i64>, skipped: u64) -> Sealed {
    let partition = Partition { topic: Topic::Logs, number: 0 };
    let name = "weir.logs".into();
    let mut open = Open::new(partition, &name, offsets.start, 3_600_000, Instant::now());
    for offset in offsets {
        let body = event(offset as u64 + 1);
        open.push(Row { offset, kafka_ms: 0, body }, 100).unwrap();
    }
    open.accounting(from, skipped).seal(next, Snapshot::default()).unwrap()
}

#[test]
fn an_object_is_held_against_its_manifest() {
    let Sealed { data, manifest, .. } = sealed(0..3, 5, Some(0), 0);
    assert_eq!(compare(&manifest, &data), []);
    let with = |change: fn(&mut Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        compare(&changed, &data).iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(with(|m| m.rows = 4), "3 rows, 4 by its manifest");
    assert_eq!(with(|m| m.first_offset = 1), "its offsets do not rise from 1 to below 5");
    assert_eq!(with(|m| m.next_offset = 2), "its offsets do not rise from 0 to below 2");
    assert_eq!(
        with(|m| m.streams[0].last_seq = 9),
        "of stream 0000000000000007 it holds 3 events from 1 to 3 of agent gw, 3 events from 1 to 9 of \
         agent gw by its manifest"
    );
    assert!(with(|m| m.streams.clear()).ends_with("of agent gw, nothing by its manifest"));
    assert!(with(|m| m.bytes += 1).contains(" bytes, "));
    assert!(with(|m| m.sha256 = "00".into()).contains("its SHA-256 is "));
    let no_parquet = Bytes::from_static(b"none");
    let told = Manifest { bytes: 4, sha256: hex(&Sha256::digest(&no_parquet)), ..manifest.clone() };
    assert!(matches!(compare(&told, &no_parquet)[..], [Fault::Unreadable { .. }]));
}

#[test]
fn each_object_goes_on_where_the_one_before_it_ended() {
    let manifest =
        |first: i64, next, from, skipped| sealed(first..first + 1, next, from, skipped).manifest;
    let before = manifest(0, 10, Some(0), 0);
    let after = |this: Manifest| link(Some(before.next_offset), &this);
    assert_eq!(after(manifest(10, 20, Some(10), 0)), []);
    // Two duplicates came first.
    assert_eq!(after(manifest(12, 20, Some(10), 0)), []);
    assert_eq!(after(manifest(15, 20, Some(14), 0)), [Fault::Gap { from: 10, to: 13 }]);
    // An older version did not say from where on it accounts.
    assert_eq!(after(manifest(12, 20, None, 0)), [Fault::Gap { from: 10, to: 11 }]);
    assert_eq!(after(manifest(8, 20, Some(8), 0)), [Fault::Overlap { to: 9 }]);
    assert_eq!(after(manifest(12, 20, Some(10), 2)), [Fault::Skipped { count: 2 }]);
    assert_eq!(link(None, &manifest(12, 20, Some(7), 0)), []);
}

#[tokio::test]
async fn what_is_merged_since_it_was_listed_is_checked_as_it_lies() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put_small(&archive, 480_000, 0, 8).await;
    let catalogue = archive.catalogue(&[Topic::Logs]).await.unwrap();
    assert_eq!(merged(&archive).await.len(), 1);
    let hours = Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX });
    let mut told = Vec::new();
    let mut check = async |catalogue: &Catalogue| {
        let tell = |found: &Found| told.push(format!("{}: {}", found.object, found.fault));
        verify(&archive, catalogue, &hours, tell, || ()).await.unwrap()
    };
    let whole = Looked { bytes: 0, ..check(&catalogue).await };
    assert_eq!(whole, Looked { objects: 3, rows: 24, ..Looked::default() });
    // Some of it had been checked before, and is in the listing of now only as a part.
    let mut mixed = catalogue.clone();
    let now = archive.catalogue(&[Topic::Logs]).await.unwrap();
    mixed.chains[0].entries.splice(1..1, [now.chains[0].entries[0]]);
    assert_eq!(check(&mixed).await.rows, 24);
    // What is gone and in no other object is missed as before.
    archive.forget(&now.chains[0].path(&now.chains[0].entries[1])).await;
    assert_eq!(check(&catalogue).await.faults, 1);
    assert!(told[0].ends_with("the manifest cannot be read"), "{told:?}");
}

#[tokio::test]
async fn what_lies_within_a_merged_object_and_is_none_of_it_is_told() {
    let archive = Archive::new(Arc::new(InMemory::new()));
    put_small(&archive, 480_000, 0, 6).await;
    merged(&archive).await;
    archive.put(&crate::archive::conformance::sealed(480_000, 1..3, 1)).await.unwrap();
    let catalogue = archive.catalogue(&[Topic::Logs]).await.unwrap();
    let hours = Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX });
    let mut told = Vec::new();
    let tell = |found: &Found| told.push(found.fault.to_string());
    let looked = verify(&archive, &catalogue, &hours, tell, || ()).await.unwrap();
    assert_eq!((looked.rows, looked.left_over, looked.faults), (18, 1, 1));
    assert!(told[0].contains("00001.parquet` lies within its offsets"), "{told:?}");

    // Written anew under the name of a source, and with more in it.
    archive.put(&crate::archive::conformance::sealed(480_000, 3..40, 3)).await.unwrap();
    let catalogue = archive.catalogue(&[Topic::Logs]).await.unwrap();
    let mut told = Vec::new();
    let tell = |found: &Found| told.push(found.fault.to_string());
    verify(&archive, &catalogue, &hours, tell, || ()).await.unwrap();
    assert!(
        told[1].contains("00003.parquet` begins within") && told[1].contains("12 to 39"),
        "{told:?}"
    );
}

async fn verified(target: &Arc<InMemory>) -> (Vec<String>, Looked) {
    let archive = Archive::new(Arc::<InMemory>::clone(target));
    let catalogue = archive.catalogue(&[Topic::Logs]).await.unwrap();
    let hours = Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX });
    let mut told = Vec::new();
    let tell = |found: &Found| told.push(format!("{}: {}", found.object, found.fault));
    let looked = verify(&archive, &catalogue, &hours, tell, || ()).await.unwrap();
    (told, looked)
}

#[tokio::test]
async fn whatever_is_taken_away_or_changed_is_named() {
    let target = Arc::new(InMemory::new());
    let archive = Archive::new(Arc::<InMemory>::clone(&target));
    let objects = [(0..10, 10), (10..20, 20), (20..30, 30)]
        .map(|(offsets, next)| sealed(offsets.clone(), next, Some(offsets.start), 0));
    for object in &objects {
        archive.put(object).await.unwrap();
    }
    let (told, looked) = verified(&target).await;
    assert!(told.is_empty(), "{told:?}");
    assert_eq!((looked.objects, looked.rows, looked.faults), (3, 30, 0));

    let path = |at: usize| Path::from(&*objects[at].path);
    let mut flipped = objects[1].data.to_vec();
    flipped[100] ^= 1;
    target.put(&path(1), PutPayload::from(flipped)).await.unwrap();
    let (told, _) = verified(&target).await;
    assert!(
        matches!(&told[..], [one] if one.contains("logs-0-00000000000000000010.parquet: its SHA"))
    );

    target.delete(&path(1)).await.unwrap();
    assert!(verified(&target).await.0[0].contains("the object is gone"));
    target.delete(&Path::from(manifest_path(&objects[1].path))).await.unwrap();
    let (told, _) = verified(&target).await;
    assert!(
        matches!(&told[..], [one] if one.ends_with("offsets 10 to 19 are in no object before it"))
    );

    target.delete(&Path::from(manifest_path(&objects[2].path))).await.unwrap();
    let manifest = Path::from(manifest_path(&objects[0].path));
    target.put(&manifest, PutPayload::from_static(b"{")).await.unwrap();
    target.put(&Path::from("logs/date=x/y"), PutPayload::from_static(b"")).await.unwrap();
    let (told, looked) = verified(&target).await;
    assert_eq!(looked.faults, 3);
    assert!(told[0].ends_with("y: no object and no manifest of ours"), "{told:?}");
    assert!(told[1].ends_with("the manifest cannot be read"), "{told:?}");
    assert!(told[2].ends_with("the manifest is gone, the object is there"), "{told:?}");
}
