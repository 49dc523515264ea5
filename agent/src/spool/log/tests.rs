#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;

use tempfile::TempDir;

use super::*;

const SEGMENT_BYTES: u64 = 1_000;

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

/// A flip costs the frame or the group that it touches, in any segment, and is counted.
#[test]
fn a_flipped_byte_costs_what_it_touches() {
    let dir = TempDir::new().unwrap();
    drop(filled(&dir, 10));
    let first = segment_files(&dir).remove(0);
    let length = std::fs::metadata(&first).unwrap().len();
    let end = base_of_second(&dir);
    for at in 0..length {
        flip(&first, at);
        let log = Log::open(dir.path(), SEGMENT_BYTES).unwrap();
        let mut reader = log.reader();
        let read = rest(&mut reader);
        reader.seek(0);
        assert_eq!(rest(&mut reader), read, "reading again counts nothing twice");
        let missing: Vec<u64> =
            evens(0, 40).into_iter().filter(|first| !read.contains(first)).collect();
        assert!(
            missing.len() <= 2 && missing.iter().all(|first| *first < end),
            "flip at {at}: {missing:?}"
        );
        assert_eq!(missing.is_empty(), at < HEADER_BYTES, "flip at {at}");
        assert_eq!(log.skipped(), 2 * missing.len() as u64, "flip at {at}");
        assert_eq!(log.bad_frames(), u64::from(missing.len() == 1), "flip at {at}");
        flip(&first, at);
    }
}

fn base_of_second(dir: &TempDir) -> u64 {
    let name = segment_files(dir)[1].file_name().unwrap().to_str().unwrap().to_owned();
    segment::base_of(&name).unwrap()
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

/// A deleted file takes disk as long as it is open.
#[test]
fn deleted_segments_are_not_held_open() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    assert!(!log.dirty.is_empty());
    log.delete_below(40);
    log.append(&group(40)).unwrap();
    assert!(log.dirty.is_empty());
}

#[test]
fn syncing_goes_on_where_it_is_needed_only() {
    let dir = TempDir::new().unwrap();
    let mut log = filled(&dir, 10);
    assert!(!log.dirty.is_empty());
    log.sync(40).unwrap();
    assert!(log.dirty.is_empty() && log.active.as_ref().unwrap().dirty, "Kafka has everything");
    log.append(&group(40)).unwrap();
    log.sync(40).unwrap();
    assert!(!log.active.as_ref().unwrap().dirty && !log.folder_dirty);
}
