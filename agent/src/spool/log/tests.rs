#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use tempfile::TempDir;

use super::*;

const SEGMENT_BYTES: u64 = 1_500;

fn head(partition: u32, first: u64, last: u64) -> FrameHead {
    let records = (last - first + 1) as u32;
    FrameHead { topic: "t".into(), partition, flags: 7, first, last, records }
}

/// A group of two frames that holds the ordinals `first` to `first + 3`.
fn group(first: u64) -> GroupBuilder {
    let mut group = GroupBuilder::default();
    let batch = |seed: u64| vec![seed as u8; 100];
    group.frame(&head(0, first, first + 1), |out| out.extend_from_slice(&batch(first)));
    group.frame(&head(1, first + 2, first + 3), |out| out.extend_from_slice(&batch(first + 2)));
    group
}

fn filled(dir: &TempDir, groups: u64) -> Log {
    let mut log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    for i in 0..groups {
        log.append(&group(log.next_ordinal())).unwrap();
        assert_eq!(log.next_ordinal(), (i + 1) * 4);
    }
    log
}

/// The first ordinal of every frame from the reader's place on.
fn rest(reader: &mut LogReader) -> Vec<u64> {
    let mut firsts = Vec::new();
    while let Some(group) = reader.next_group().unwrap() {
        for frame in group.frames {
            assert_eq!(frame.batch, vec![frame.head.first as u8; 100]);
            assert_eq!((&*frame.head.topic, frame.head.flags, frame.head.records), ("t", 7, 2));
            firsts.push(frame.head.first);
        }
    }
    firsts
}

fn evens(from: u64, to: u64) -> Vec<u64> {
    (from..to).step_by(2).collect()
}

fn segment_files(dir: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn reads_across_segments_while_it_is_written_and_after_opening_again() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    assert!(segment_files(&dir).len() > 2);
    let mut reader = log.reader();
    assert_eq!(rest(&mut reader), evens(0, 40));
    log.append(&group(40)).unwrap();
    assert_eq!(rest(&mut reader), evens(40, 44));
    drop(log);
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    assert_eq!((log.next_ordinal(), log.torn_bytes()), (44, 0));
    assert_eq!(rest(&mut log.reader()), evens(0, 44));
}

#[test]
fn seek_finds_the_group_that_holds_an_ordinal() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 10);
    let mut reader = log.reader();
    for ordinal in 0..40 {
        reader.seek(ordinal);
        let group = reader.next_group().unwrap().unwrap();
        assert!((group.first..=group.last).contains(&ordinal), "{ordinal}: {group:?}");
    }
    reader.seek(40);
    assert_eq!(reader.next_group().unwrap(), None);
    assert_eq!(log.skipped(), 0);
}

#[test]
fn whole_segments_below_an_ordinal_are_deleted_but_never_the_newest() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    let bytes = log.bytes();
    assert!(log.delete_below(21) > 0);
    assert!(log.first_ordinal() <= 21 && log.first_ordinal() > 0 && log.bytes() < bytes);
    let mut reader = log.reader();
    reader.seek(21);
    assert_eq!(rest(&mut reader), evens(20, 40));
    log.delete_below(1_000);
    assert_eq!(segment_files(&dir).len(), 1);
    log.reclaim(39).unwrap();
    assert!(log.bytes() > HEADER_BYTES, "39 is still needed");
    log.reclaim(40).unwrap();
    assert_eq!((log.bytes(), log.next_ordinal()), (HEADER_BYTES, 40));
    log.append(&group(40)).unwrap();
    assert_eq!(rest(&mut reader), evens(40, 44));
}

#[test]
fn a_tail_cut_anywhere_leaves_the_whole_groups() {
    let dir = TempDir::new().unwrap();
    drop(filled(&dir, 3));
    let path = segment_files(&dir).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let group_bytes = (whole.len() as u64 - HEADER_BYTES) / 3;
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let groups = (length as u64).saturating_sub(HEADER_BYTES) / group_bytes;
        let mut log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(log.next_ordinal(), groups * 4, "cut at {length}");
        log.append(&group(groups * 4)).unwrap();
        assert_eq!(rest(&mut log.reader()), evens(0, groups * 4 + 4), "cut at {length}");
        assert_eq!(log.skipped(), 0);
        drop(log);
        for path in segment_files(&dir) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A flip costs the frame that it touches, in any segment, and is told. Every other byte lies there
/// twice.
#[test]
fn a_flipped_byte_costs_one_frame_at_most() {
    let dir = TempDir::new().unwrap();
    drop(filled(&dir, 10));
    let first = segment_files(&dir).remove(0);
    let length = std::fs::metadata(&first).unwrap().len();
    let group_bytes = group(0).encoded_bytes() as u64;
    let head_bytes = (group_bytes - 200) / 2;
    for at in 0..length {
        flip(&first, at);
        let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
        log.tell_losses(Arc::default());
        let mut reader = log.reader();
        let read = rest(&mut reader);
        reader.seek(0);
        assert_eq!(rest(&mut reader), read, "reading again counts nothing twice");
        let in_group = at.checked_sub(HEADER_BYTES).map(|at| at % group_bytes);
        let in_batch = in_group.is_some_and(|at| (head_bytes..head_bytes + 200).contains(&at));
        let missing: Vec<u64> = evens(0, 40).into_iter().filter(|f| !read.contains(f)).collect();
        assert_eq!(missing.len(), usize::from(in_batch), "flip at {at}: {missing:?}");
        assert_eq!(
            (log.skipped(), log.bad_frames()),
            (2 * missing.len() as u64, missing.len() as u64)
        );
        let lost =
            |first| Lost { tag: [0; 16], first, last: first + 1, count: 2, cause: Cause::Damaged };
        assert_eq!(
            log.take_lost(),
            missing.into_iter().map(lost).collect::<Vec<_>>(),
            "flip at {at}"
        );
        flip(&first, at);
    }
}

/// Real ENOSPC from the kernel: `/dev/full` refuses every write.
#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 1);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = std::mem::replace(&mut log.active.as_mut().unwrap().file, full);
    let error = log.append(&group(4)).unwrap_err();
    assert!(matches!(error, LogError::NoSpace { .. }), "{error}");
    assert_eq!(log.next_ordinal(), 4);
    let mut reader = log.reader();
    assert_eq!(rest(&mut reader), evens(0, 4));
    // What a write that ended half-way has left is written over.
    file.write_all_at(&[1; 50], log.bytes()).unwrap();
    log.active.as_mut().unwrap().file = file;
    log.append(&group(4)).unwrap();
    assert_eq!(rest(&mut reader), evens(4, 8));
    assert_eq!(std::fs::metadata(&segment_files(&dir)[0]).unwrap().len(), log.bytes());
    assert_eq!(log.bytes(), HEADER_BYTES + 2 * group(0).encoded_bytes() as u64);
    drop(log);
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    assert_eq!((log.next_ordinal(), log.torn_bytes()), (8, 0));
    assert_eq!((rest(&mut log.reader()), log.skipped()), (evens(0, 8), 0));
}

#[test]
fn opens_on_any_content() {
    let dir = TempDir::new().unwrap();
    drop(filled(&dir, 10));
    let paths = segment_files(&dir);
    std::fs::write(&paths[1], b"no segment").unwrap();
    std::fs::create_dir(dir.path().join(format!("{:020}.seg", 1_000))).unwrap();
    std::fs::write(dir.path().join(format!("{:020}.seg", 2_000)), b"").unwrap();
    std::fs::write(dir.path().join("00000000000000003000.draft"), b"x").unwrap();
    std::fs::write(dir.path().join("readme"), b"x").unwrap();
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(log.next_ordinal(), 40);
    let read = rest(&mut log.reader());
    assert_eq!(log.skipped(), 40 - 2 * read.len() as u64);
    assert!(paths[1].with_extension("bad").exists() && dir.path().join("readme").exists());
    assert!(!dir.path().join("00000000000000003000.draft").exists());
}

/// A group that somebody wrote into an event is not taken for one of ours, even where the log has
/// to search.
#[test]
fn a_group_inside_a_batch_is_not_found() {
    let dir = TempDir::new().unwrap();
    let mut forged = Vec::new();
    group(900).encode(0, &mut forged);
    let mut log = Log::open(dir.path(), 1 << 20).unwrap();
    let mut hostile = GroupBuilder::default();
    hostile.frame(&head(0, 0, 1), |out| out.extend_from_slice(&forged));
    log.append(&hostile).unwrap();
    log.append(&group(2)).unwrap();
    flip(&segment_files(&dir)[0], HEADER_BYTES);
    flip(&segment_files(&dir)[0], HEADER_BYTES + hostile.encoded_bytes() as u64 - 1);
    assert_eq!(rest(&mut log.reader()), evens(2, 6));
    assert_eq!(log.skipped(), 2);
}

#[test]
fn a_new_tag_begins_a_new_segment() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 1);
    log.set_tag([1; 16]);
    log.append(&group(4)).unwrap();
    let mut reader = log.reader();
    let mut tags = Vec::new();
    while let Some(group) = reader.next_group().unwrap() {
        tags.push(group.tag);
    }
    assert_eq!(tags, [[0; 16], [1; 16]]);
    drop(log);
    assert_eq!(Log::open(dir.path(), SEGMENT_BYTES).unwrap().tag(), Some([1; 16]));
}

/// What Kafka has, and what is deleted, is not synced: each sync wears the flash.
#[test]
fn syncing_goes_on_where_it_is_needed_only() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    let segments = segment_files(&dir).len() as u64;
    assert!(segments > 2);
    let syncs = |log: &mut Log, needed| {
        let before = faults::syncs();
        log.sync(needed).unwrap();
        faults::syncs() - before
    };
    assert_eq!(syncs(&mut log, 40), 0, "Kafka has everything");
    log.append(&group(40)).unwrap();
    assert_eq!(syncs(&mut log, 40), 1, "the newest segment only");
    assert_eq!(syncs(&mut log, 0), 0, "nothing is new");
    drop(log);
    let mut log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    log.delete_below(20);
    let left = segment_files(&dir).len() as u64;
    assert!(left < segments && left > 1);
    assert_eq!(syncs(&mut log, 0), left, "what an earlier process wrote may be in memory only");
    assert_eq!(syncs(&mut log, 0), 0);
}

#[test]
fn a_write_that_ends_half_way_leaves_the_log_as_it_was() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 1);
    for arrive in 0..group(4).encoded_bytes() {
        faults::fail_next_write(arrive, io::ErrorKind::StorageFull);
        let error = log.append(&group(4)).unwrap_err();
        assert!(matches!(error, LogError::NoSpace { .. }), "{error}");
        let length = std::fs::metadata(&segment_files(&dir)[0]).unwrap().len();
        assert_eq!((log.next_ordinal(), log.bytes()), (4, length));
    }
    log.append(&group(4)).unwrap();
    assert_eq!(rest(&mut log.reader()), evens(0, 8));
}

/// Frames of partition 1 may give way.
fn may_drop(head: &FrameHead) -> bool {
    head.partition == 1
}

fn told(log: &Log) -> Vec<(u64, u64, u64, Cause)> {
    log.take_lost()
        .into_iter()
        .map(|lost| (lost.first, lost.last, lost.count, lost.cause))
        .collect()
}

#[test]
fn what_gives_way_leaves_a_hole_that_every_reader_tells() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    let base =
        segment::base_of(segment_files(&dir)[1].file_name().unwrap().to_str().unwrap()).unwrap();
    let before = log.bytes();
    // The first group is under way.
    let mut reader = log.reader();
    reader.next_group().unwrap().unwrap();
    let gave_way = log.give_way(0, may_drop).unwrap().unwrap();
    assert_eq!(log.bytes(), before - gave_way.freed_bytes);
    assert_eq!((gave_way.lost.first, gave_way.lost.last), (6, base - 1));
    assert_eq!(gave_way.lost.count, (base - 4) / 2);
    let kept = |ordinal: &u64| *ordinal < 4 || ordinal.is_multiple_of(4) || *ordinal >= base;
    let expected: Vec<u64> = evens(0, 40).into_iter().filter(kept).collect();
    assert_eq!(rest(&mut reader), expected[2..]);
    drop((log, reader));
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    log.tell_losses(Arc::default());
    assert_eq!(rest(&mut log.reader()), expected);
    assert_eq!((log.skipped(), log.torn_bytes(), log.next_ordinal()), (0, 0, 40));
    let holes = told(&log);
    assert_eq!(holes.iter().map(|hole| hole.2).sum::<u64>(), gave_way.lost.count);
    assert!(holes.iter().all(|hole| hole.3 == Cause::Dropped), "{holes:?}");
}

/// An outage of a year must not leave a file for every segment that was given up, and everything
/// may go but what is under way.
#[test]
fn a_log_that_gave_up_everything_is_small() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 100);
    let mut reader = log.reader();
    reader.next_group().unwrap().unwrap();
    let mut count = 0;
    while let Some(gave_way) = log.give_way(0, |_| true).unwrap() {
        count += gave_way.lost.count;
    }
    assert_eq!(count, 396);
    assert!(segment_files(&dir).len() <= 3 && log.bytes() < 1_500, "{} bytes", log.bytes());
    log.append(&group(400)).unwrap();
    log.tell_losses(Arc::default());
    assert_eq!(rest(&mut reader), evens(400, 404));
    assert_eq!(told(&log).iter().map(|hole| hole.2).sum::<u64>(), 396);
    drop((log, reader));
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    assert_eq!(rest(&mut log.reader()), [evens(0, 4), evens(400, 404)].concat());
    assert_eq!(log.skipped(), 0);
}

#[test]
fn a_full_disk_gives_nothing_up_and_loses_nothing() {
    for arrive in [0, 10, 100] {
        let dir = TempDir::new().unwrap();
        let mut log = filled(&dir, 10);
        faults::fail_next_write(arrive, io::ErrorKind::StorageFull);
        assert!(matches!(log.give_way(0, may_drop), Err(LogError::NoSpace { .. })));
        assert_eq!(rest(&mut log.reader()), evens(0, 40));
    }
}

#[test]
fn repair_leaves_holes_where_damage_was_and_every_whole_frame() {
    let dir = TempDir::new().unwrap();
    drop(filled(&dir, 10));
    let paths = segment_files(&dir);
    let group_bytes = group(0).encoded_bytes() as u64;
    // A batch of the first group, both heads of the second, the tail of the last segment.
    flip(&paths[0], HEADER_BYTES + group_bytes / 2);
    flip(&paths[0], HEADER_BYTES + group_bytes);
    flip(&paths[0], HEADER_BYTES + 2 * group_bytes - 1);
    let mut log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    let found = rest(&mut log.reader());
    assert_eq!(log.repair(|_| ()).unwrap(), 1);
    assert_eq!(log.repair(|_| ()).unwrap(), 0, "once is enough");
    drop(log);
    let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
    log.tell_losses(Arc::default());
    assert_eq!(rest(&mut log.reader()), found);
    assert_eq!(log.bad_frames(), 0);
    assert_eq!(told(&log).iter().map(|hole| hole.2).sum::<u64>(), 40 - 2 * found.len() as u64);
    let mut damaged = 0;
    for segment in survey(dir.path()).unwrap().segments {
        segment
            .read(|found| {
                damaged += usize::from(
                    !matches!(found, Found::Group { damaged, .. } if damaged.is_empty()),
                );
                Ok::<_, LogError>(())
            })
            .unwrap();
    }
    assert_eq!(damaged, 0);
}
