//! Merging: each row is there once at any moment, whatever is killed when.

use std::time::Duration;

use weir_models::topic::Topic;

use super::dies::Dies;
use super::{HOUR, check, ever, files, merge, merged, put_small, sealed};
use crate::archive::merge::{Merge, MergeError, Step};
use crate::archive::{Archive, MergeConfig, manifest_path};

/// Rows of all objects by name alone, as a reader of any kind can do it: an object does not count when the offsets in the name of
/// another one hold it.
async fn rows_by_name(archive: &Archive) -> u64 {
    let files = files(archive).await;
    // Folder, topic and partition; first offset; next offset, if it was merged.
    let parts = |path: &str| {
        let stem = path.strip_suffix(".parquet").unwrap();
        let numbers = stem.rsplit('-').take_while(|part| part.len() == 20).count();
        let mut parts = stem.rsplitn(numbers + 1, '-').map(str::to_owned);
        let next = (numbers == 2).then(|| parts.next().unwrap());
        let first = parts.next().unwrap();
        (parts.next().unwrap(), first, next)
    };
    let mut rows = 0;
    for path in &files {
        let (of, first, next) = parts(path);
        let is_in = |other: &&String| {
            let (other_of, other_first, other_next) = parts(other);
            let ends =
                other_next.is_some_and(|end| next.as_ref().map_or(first < end, |n| *n <= end));
            *other != path && other_of == of && other_first <= first && ends
        };
        if !files.iter().any(|other| is_in(&other)) {
            let data = archive.bytes(path).await.unwrap();
            crate::archive::identities(data, |_| rows += 1).unwrap();
        }
    }
    rows
}

pub(super) async fn small_objects_become_one(archive: &Archive) {
    put_small(archive, HOUR, 0, 5).await;
    put_small(archive, HOUR + 1, 15, 4).await;
    let before = archive.manifest(&sealed(HOUR, 12..15, 12).path).await.unwrap().unwrap();
    let mut planned = 0;
    merge().dry(true).run(archive, |_| planned += 1).await.unwrap();
    assert_eq!((planned, files(archive).await.len()), (2, 9));

    let steps = merged(archive).await;
    assert!(
        matches!(
            &steps[..],
            [Step::Merged { objects: 5, rows: 15, .. }, Step::Merged { objects: 2, .. }]
        ),
        "{steps:?}"
    );
    check(archive, 27).await;
    let left = files(archive).await;
    // The last two of the partition stay.
    assert_eq!(left.len(), 4);
    assert!(left[0].ends_with("weir.logs-0-00000000000000000000-00000000000000000015.parquet"));
    let manifest = archive.manifest(&left[0]).await.unwrap().unwrap();
    assert_eq!((manifest.rows, manifest.first_offset, manifest.from_offset), (15, 0, Some(0)));
    assert_eq!((manifest.next_offset, &manifest.dedupe), (15, &before.dedupe));
    assert_eq!(manifest.merged.len(), 5);
    let streams = &manifest.streams;
    assert_eq!((streams[0].first_seq, streams[0].last_seq, streams[0].events), (1, 15, 15));
    // Nothing is left to do.
    assert_eq!(merged(archive).await, []);
}

pub(super) async fn what_comes_late_is_merged_later(archive: &Archive) {
    put_small(archive, HOUR, 0, 6).await;
    merge().limit(1).run(archive, |_| ()).await.unwrap();
    put_small(archive, HOUR, 18, 3).await;
    check(archive, 27).await;
    let steps = merged(archive).await;
    assert!(matches!(&steps[..], [Step::Merged { objects: 4, .. }]), "{steps:?}");
    check(archive, 27).await;
    let left = files(archive).await;
    assert_eq!(left.len(), 3);
    // What the first merge was made of could still lie there.
    let manifest = archive.manifest(&left[0]).await.unwrap().unwrap();
    assert_eq!(manifest.merged.len(), 4 + 4);
    // An hour that is not over stays.
    let config = MergeConfig { after_hours: u32::MAX, ..MergeConfig::default() };
    let none = Merge::new(&config, &[Topic::Logs], ever()).stale_after(Duration::ZERO);
    put_small(archive, HOUR, 27, 4).await;
    none.run(archive, |step| assert_eq!(Some(step), None)).await.unwrap();
}

pub(super) async fn one_merge_at_a_time(archive: &Archive) {
    put_small(archive, HOUR, 0, 5).await;
    // One that was killed leaves its lock.
    merge().run(&Dies::archive(archive, 6, false), |_| ()).await.unwrap_err();
    let patient = merge().stale_after(Duration::from_secs(3_600));
    let error = patient.run(archive, |_| ()).await.unwrap_err();
    assert!(matches!(&error, MergeError::Held { .. }), "{error}");
    assert!(error.to_string().contains("another merge is at work"), "{error}");
    merge().run(archive, |_| ()).await.unwrap();
    patient.run(archive, |_| ()).await.unwrap();
    check(archive, 15).await;
}

/// Objects that are damaged or do not follow on each other stay, and are told.
pub(super) async fn what_does_not_fit_stays(archive: &Archive) {
    put_small(archive, HOUR, 0, 6).await;
    let second = sealed(HOUR, 3..6, 3);
    let mut flipped = second.data.to_vec();
    flipped[100] ^= 1;
    archive.write(&second.path, flipped.into()).await.unwrap();
    let steps = merged(archive).await;
    let [Step::Left { object, why }] = &steps[..] else { unreachable!("{steps:?}") };
    assert_eq!((object, why.as_str()), (&second.path, "it is not what its manifest says"));
    assert_eq!(files(archive).await.len(), 6);

    archive.write(&second.path, second.data.clone()).await.unwrap();
    archive.write(&manifest_path(&second.path), "{".into()).await.unwrap();
    assert!(matches!(&merged(archive).await[..], [Step::Left { .. }]));
    // Offsets 6 to 8 are missing.
    archive.put(&second).await.unwrap();
    let third = sealed(HOUR, 6..9, 6);
    archive.remove(&third.path).await.unwrap();
    archive.remove(&manifest_path(&third.path)).await.unwrap();
    let steps = merged(archive).await;
    // What comes before the gap becomes one.
    let [Step::Left { why, .. }, Step::Merged { objects: 2, .. }] = &steps[..] else {
        unreachable!("{steps:?}")
    };
    assert!(why.contains("does not go on"), "{why}");
    archive.put(&third).await.unwrap();
    assert!(matches!(&merged(archive).await[..], [Step::Merged { objects: 3, .. }]));

    // Something that was not merged into it, within its offsets.
    let mut foreign = sealed(HOUR, 1..3, 1);
    foreign.manifest.streams.clear();
    archive.put(&foreign).await.unwrap();
    let steps = merged(archive).await;
    assert!(
        matches!(&steps[..], [Step::Left { object, .. }] if *object == foreign.path),
        "{steps:?}"
    );
    assert!(files(archive).await.contains(&foreign.path));
}

/// Objects that overlap, as after offsets were set back, lose no row.
pub(super) async fn what_overlaps_stays(archive: &Archive) {
    put_small(archive, HOUR, 0, 3).await;
    // More than the last of them, and too large for a merge.
    let other = sealed(HOUR, 7..4_000, 7);
    archive.put(&other).await.unwrap();
    put_small(archive, HOUR + 1, 4_000, 2).await;
    let config = MergeConfig { target_bytes: other.manifest.bytes * 2, ..MergeConfig::default() };
    let merge = Merge::new(&config, &[Topic::Logs], ever()).stale_after(Duration::ZERO);
    let mut steps = Vec::new();
    merge.run(archive, |step| steps.push(step.clone())).await.unwrap();
    let [Step::Left { why, .. }] = &steps[..] else { unreachable!("{steps:?}") };
    assert!(why.ends_with("overlaps with it"), "{why}");
    assert_eq!(files(archive).await.len(), 6);
}

/// Under the name of a source something else is written after the merge: it stays.
pub(super) async fn what_is_written_anew_stays(archive: &Archive) {
    put_small(archive, HOUR, 0, 6).await;
    let source = sealed(HOUR, 3..6, 3);
    merged(archive).await;
    let anew = sealed(HOUR, 3..30, 3);
    assert_eq!(anew.path, source.path);
    archive.put(&anew).await.unwrap();
    let steps = merged(archive).await;
    assert!(matches!(&steps[..], [Step::Left { .. }]), "{steps:?}");
    assert_eq!(archive.bytes(&anew.path).await.unwrap(), anew.data);
    // The source itself goes, also when it is half gone.
    archive.put(&source).await.unwrap();
    archive.remove(&source.path).await.unwrap();
    let steps = merged(archive).await;
    assert!(matches!(&steps[..], [Step::Removed { .. }]), "{steps:?}");
}

/// A merged object that is damaged gives way to its sources as long as they are there.
pub(super) async fn what_was_merged_badly_is_merged_again(archive: &Archive) {
    put_small(archive, HOUR, 0, 6).await;
    let sources: Vec<_> = (0..4).map(|n| sealed(HOUR, 3 * n..3 * n + 3, 3 * n)).collect();
    merged(archive).await;
    for source in &sources {
        archive.put(source).await.unwrap();
    }
    let object = files(archive)
        .await
        .into_iter()
        .find(|path| path.ends_with("-00000000000000000012.parquet"));
    let object = object.unwrap();
    archive.write(&object, "half".into()).await.unwrap();
    let steps = merged(archive).await;
    let [Step::Left { why, .. }] = &steps[..] else { unreachable!("{steps:?}") };
    assert!(why.ends_with("counts again"), "{why}");
    check(archive, 18).await;
    let steps = merged(archive).await;
    assert!(matches!(&steps[..], [Step::Merged { objects: 4, .. }]), "{steps:?}");
    check(archive, 18).await;
}

/// A merge that is killed after so many steps, and another one that is killed in the repair; says whether the first came to its end.
pub(super) async fn killed_after(steps: i64, after: bool, archive: &Archive) -> bool {
    put_small(archive, HOUR, 0, 7).await;
    let done = merge().run(&Dies::archive(archive, steps, after), |_| ()).await.is_ok();
    check(archive, 21).await;
    assert_eq!(rows_by_name(archive).await, 21, "after {steps} steps");
    // What comes late must not change under what name it ends.
    put_small(archive, HOUR, 21, 2).await;
    let again = merge().run(&Dies::archive(archive, steps / 2, after), |_| ()).await;
    check(archive, 27).await;
    assert_eq!(rows_by_name(archive).await, 27, "after {steps} steps, {again:?}");
    merge().run(archive, |_| ()).await.unwrap();
    check(archive, 27).await;
    let left = files(archive).await;
    assert!(left.len() <= 4, "after {steps} steps: {left:?}");
    let mut rows = 0;
    for path in &left {
        let data = archive.bytes(path).await.unwrap();
        crate::archive::identities(data, |_| rows += 1).unwrap();
    }
    assert_eq!(rows, 27, "nothing is left over: {left:?}");
    done
}
