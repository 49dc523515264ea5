//! What gives way when the spool is full, and how a loss is told.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use weir_models::event::Loss;

use super::*;
use crate::spool::log::faults;

/// Fills a lane until the spool is full; answers the identities that were flushed.
fn fill(spool: &mut Spool, lane: Lane, when_full: WhenFull, events: usize) -> Vec<EventId> {
    let topic = topic("t");
    spool.set_when_full(when_full);
    (0..events)
        .map(|_| {
            let id = append(spool, lane, &topic, "k", 20_000);
            spool.flush().unwrap();
            id
        })
        .collect()
}

fn ids(events: &[EventId]) -> Vec<String> {
    events.iter().map(|id| text(*id)).collect()
}

fn segment_files(dir: &TempDir, lane: Lane) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.path().join(lane.folder())).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths
}

/// The lowest lane goes first, its oldest first, then the next one; a lower lane never takes from a
/// higher one; alerts go last.
#[test]
fn the_lowest_lane_gives_way_first() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let mut lost = Vec::new();
    for lane in [Lane::Rest, Lane::Readings, Lane::Alerts] {
        fill(&mut spool, lane, WhenFull::DropLowest, 200);
        lost.push(Lane::ALL.map(|lane| spool.stats(lane).dropped_events));
        assert!(spool.disk_bytes() <= config().max_bytes);
    }
    // 4 MiB hold just over 200 of these.
    assert_eq!(lost[0], [0; 4]);
    assert!(lost[1][3] > 180 && lost[1][..3] == [0; 3], "{lost:?}");
    assert!(lost[2][3] > 190 && lost[2][2] > 180 && lost[2][..2] == [0; 2], "{lost:?}");
    // Alerts alone now fill it: no room for a reading, and the reading waits.
    let mut alerts = fill(&mut spool, Lane::Alerts, WhenFull::Block, 3);
    let error = loop {
        append(&mut spool, Lane::Readings, &topic("t"), "k", 20_000);
        if let Err(error) = spool.flush() {
            break error;
        }
    };
    assert!(error.is_full(), "{error}");
    assert_eq!(spool.stats(Lane::Alerts).dropped_events, 0);
    let read = rest(&mut readers[0]);
    assert_eq!(read.len(), 203);
    assert!(read.ends_with(&ids(&alerts.split_off(0))));
}

#[test]
fn what_a_waiting_source_was_told_to_be_safe_stays() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    let mut kept = Vec::new();
    // Two sources in one lane and one flush.
    for i in 0..150 {
        let when_full = if i % 3 == 0 { WhenFull::Block } else { WhenFull::DropLowest };
        spool.set_when_full(when_full);
        let id = append(&mut spool, Lane::Rest, &topic, "k", 20_000);
        if when_full == WhenFull::Block {
            kept.push(text(id));
        }
        if i % 2 == 1 {
            spool.flush().unwrap();
        }
    }
    spool.set_when_full(WhenFull::DropLowest);
    let urgent = fill(&mut spool, Lane::Urgent, WhenFull::Block, 120);
    assert_eq!(rest(&mut readers[1]), ids(&urgent));
    let dropped = spool.stats(Lane::Rest).dropped_events;
    assert!(dropped > 30, "{dropped}");
    let read = rest(&mut readers[3]);
    assert_eq!(read.len() as u64, 150 - dropped);
    assert!(kept.iter().all(|id| read.contains(id)));
}

/// Groups under way do not give way, so they must not fill the spool: neither those of the lanes nor
/// those of a backlog. Batches that do not compress, as large as they get.
#[test]
fn what_is_under_way_leaves_room_for_what_comes() {
    let dir = TempDir::new().unwrap();
    let config = SpoolConfig { segment_bytes: 1 << 20, ..config() };
    let (mut spool, mut readers) = Spool::open(dir.path(), &config).unwrap();
    spool.set_when_full(WhenFull::DropLowest);
    let topic = topic("t");
    let mut flushes = 0;
    while spool.stats(Lane::Rest).dropped_events == 0 {
        for lane in [Lane::Urgent, Lane::Readings, Lane::Rest] {
            // As the pipeline, which looks after each input.
            while !spool.flush_due() {
                append(&mut spool, lane, &topic, "k", 5_000);
            }
            spool.flush().unwrap();
            // As the publisher, to whom nobody answers.
            if flushes < 4 {
                readers[lane as usize].next_group().unwrap().unwrap();
            }
        }
        flushes += 1;
    }
    for _ in 0..100 {
        append(&mut spool, Lane::Rest, &topic, "k", 60_000);
        spool.flush().unwrap();
    }
    assert!(spool.disk_bytes() <= config.max_bytes);
}

/// Whatever sources share a partition: to the sink a number below one that came before is a duplicate.
#[test]
fn batches_of_a_partition_follow_each_other() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    for i in 0..20 {
        let when_full = if i % 3 == 0 { WhenFull::Block } else { WhenFull::DropLowest };
        spool.set_when_full(when_full);
        append(&mut spool, Lane::Rest, &topic, "k", 20);
    }
    spool.flush().unwrap();
    let group = readers[3].next_group().unwrap().unwrap();
    let ranges: Vec<_> = group.frames.iter().map(|f| (f.first_seq, f.last_seq)).collect();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
    assert_eq!(group.frames.iter().map(|frame| frame.records).sum::<u32>(), 20);
}

/// The reader goes on behind what was given up; what it holds may still be acknowledged; what is
/// lost is told once, by number; and only then does the checkpoint pass.
#[test]
fn a_reader_goes_on_behind_what_gave_way() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let sent = fill(&mut spool, Lane::Rest, WhenFull::DropLowest, 200);
    let reader = &mut readers[3];
    let under_way: Vec<Group> = (0..3).map(|_| reader.next_group().unwrap().unwrap()).collect();
    fill(&mut spool, Lane::Urgent, WhenFull::Block, 60);
    let dropped = spool.stats(Lane::Rest).dropped_events;
    assert!(dropped > 30, "{dropped}");
    assert_eq!(spool.take_losses(), [], "nobody came there yet");
    let left = rest(reader);
    assert_eq!(left, ids(&sent[3 + dropped as usize..]));
    reader.acknowledge(under_way[2].end).unwrap();
    assert_eq!(spool.stats(Lane::Rest).waiting_events, 197);
    let losses = spool.take_losses();
    assert_eq!(losses.iter().map(|(_, loss)| loss.count).sum::<u64>(), dropped);
    let (first, last) = (&losses[0], losses.last().unwrap());
    let stream = spool.stream(Lane::Rest);
    assert!(matches!(&first.1.range, Some((s, 4, _)) if *s == stream), "{losses:?}");
    assert!(matches!(last.1.range, Some((_, _, seq)) if seq == 3 + dropped), "{losses:?}");
    assert!(losses.iter().all(|(lane, loss)| *lane == Lane::Rest && loss.reason == "spool_full"));
    assert_eq!(spool.take_losses(), []);
    // The marker comes behind; until it is flushed the checkpoint waits.
    acknowledge_from_checkpoint(&mut readers[3]);
    assert_eq!(spool.stats(Lane::Rest).waiting_events, 197);
    let marker = append(&mut spool, Lane::Rest, &topic("t"), "k", 1);
    spool.flush().unwrap();
    spool.losses_are_told();
    acknowledge_all(&mut readers[3]);
    assert_eq!(spool.stats(Lane::Rest).waiting_events, 0);
    assert_eq!(marker.seq, 201);
    assert_eq!(spool.take_losses(), []);
}

fn acknowledge_from_checkpoint(reader: &mut LaneReader) {
    reader.rewind();
    acknowledge_all(reader);
}

/// Killed before the marker was on disk: the next process tells it.
#[test]
fn a_loss_is_told_again_after_a_crash() {
    let dir = TempDir::new().unwrap();
    let (mut spool, readers) = Spool::open(dir.path(), &config()).unwrap();
    let stream = spool.stream(Lane::Rest);
    fill(&mut spool, Lane::Rest, WhenFull::Block, 5);
    drop((spool, readers));
    let path = segment_files(&dir, Lane::Rest).remove(0);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // In the batch of the second event.
    file.write_all_at(b"x", 30_000).unwrap();
    let range = Some((stream, 2, 2));
    let expected = Loss { count: 1, range, reason: "spool_damaged".into(), lane: None };
    for _ in 0..2 {
        let (spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
        acknowledge_all(&mut readers[3]);
        assert_eq!(spool.take_losses(), [(Lane::Rest, expected.clone())]);
        assert_eq!(spool.stats(Lane::Rest).waiting_events, 4, "the first one is acknowledged");
    }
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    acknowledge_all(&mut readers[3]);
    assert_eq!(spool.take_losses().len(), 1);
    append(&mut spool, Lane::Rest, &topic("t"), "k", 1);
    spool.flush().unwrap();
    spool.losses_are_told();
    acknowledge_all(&mut readers[3]);
    drop((spool, readers));
    let (spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    assert_eq!(rest(&mut readers[3]), Vec::<String>::new());
    assert_eq!(spool.take_losses(), [], "told once and for all");
}

#[test]
fn a_refused_record_is_a_loss_with_its_number() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    fill(&mut spool, Lane::Alerts, WhenFull::Block, 1);
    for _ in 0..3 {
        append(&mut spool, Lane::Alerts, &topic, "k", 1);
    }
    spool.flush().unwrap();
    readers[0].next_group().unwrap().unwrap();
    let group = readers[0].next_group().unwrap().unwrap();
    readers[0].refused(&group, 3);
    readers[0].acknowledge(group.end).unwrap();
    assert_eq!(spool.stats(Lane::Alerts).waiting_events, 4, "not before it is told");
    let range = Some((spool.stream(Lane::Alerts), 3, 3));
    let expected = Loss { count: 1, range, reason: "refused".into(), lane: None };
    assert_eq!(spool.take_losses(), [(Lane::Alerts, expected)]);
    spool.losses_are_told();
    readers[0].acknowledge(group.end).unwrap();
    assert_eq!(spool.stats(Lane::Alerts).waiting_events, 0);
}

/// Killed between the cut of the torn tail and the drawing of a new stream.
#[test]
fn a_stream_whose_tail_was_cut_never_goes_on() {
    let dir = TempDir::new().unwrap();
    let (mut spool, readers) = Spool::open(dir.path(), &config()).unwrap();
    let sent = fill(&mut spool, Lane::Rest, WhenFull::Block, 5);
    drop((spool, readers));
    let path = segment_files(&dir, Lane::Rest).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    // Opening stops where the tail is cut and the draft of the new state cannot be made.
    let folder = dir.path().join(Lane::Rest.folder());
    let before = State::read(&folder.join("stream")).unwrap();
    faults::kill_after_open();
    Spool::open(dir.path(), &config()).unwrap_err();
    let state = State::read(&folder.join("stream")).unwrap();
    assert_eq!((state.identity, state.boot), (before.identity, [0; 16]));
    let (spool, _readers) = Spool::open(dir.path(), &config()).unwrap();
    assert_ne!(spool.stream(Lane::Rest), sent[0].stream);
}

#[test]
fn a_lost_checkpoint_is_no_loss_of_events() {
    let dir = TempDir::new().unwrap();
    let (mut spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let sent = fill(&mut spool, Lane::Rest, WhenFull::Block, 50);
    let reader = &mut readers[3];
    for _ in 0..40 {
        let group = reader.next_group().unwrap().unwrap();
        reader.acknowledge(group.end).unwrap();
    }
    drop((spool, readers));
    std::fs::write(dir.path().join(Lane::Rest.folder()).join("checkpoint"), b"nonsense").unwrap();
    let (spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    let read = rest(&mut readers[3]);
    assert!(read.len() < 50 && ids(&sent).ends_with(&read) && read.len() >= 10);
    assert_eq!(spool.take_losses(), []);
}

/// A bad block in both copies of its header takes the newest segment away. What it held may be with
/// Kafka: its numbers must not be given out again.
#[test]
fn a_stream_whose_newest_segment_is_gone_never_goes_on() {
    let dir = TempDir::new().unwrap();
    let (mut spool, readers) = Spool::open(dir.path(), &config()).unwrap();
    let sent = fill(&mut spool, Lane::Rest, WhenFull::Block, 5);
    drop((spool, readers));
    let segments = segment_files(&dir, Lane::Rest);
    assert!(segments.len() > 1);
    let file = OpenOptions::new().write(true).open(&segments[segments.len() - 1]).unwrap();
    file.write_all_at(&[0; 72], 0).unwrap();
    let (spool, mut readers) = Spool::open(dir.path(), &config()).unwrap();
    assert_ne!(spool.stream(Lane::Rest), sent[0].stream);
    let read = rest(&mut readers[3]);
    assert!(!read.is_empty() && ids(&sent).starts_with(&read));
}

#[track_caller]
fn check_stream_after_cut(cut: impl FnOnce(u64) -> u64) {
    let dir = TempDir::new().unwrap();
    let (mut spool, readers) = Spool::open(dir.path(), &config()).unwrap();
    let sent = fill(&mut spool, Lane::Rest, WhenFull::Block, 5);
    drop((spool, readers));
    let path = segment_files(&dir, Lane::Rest).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(cut(file.metadata().unwrap().len())).unwrap();
    let (spool, _readers) = Spool::open(dir.path(), &config()).unwrap();
    assert_ne!(spool.stream(Lane::Rest), sent[0].stream);
}

/// In the copy of the last head, in a batch, in the second header, in the first one, everything.
#[test]
fn a_torn_tail_ends_the_stream() {
    check_stream_after_cut(|length| length - 1);
    check_stream_after_cut(|length| length / 2);
    check_stream_after_cut(|_| 40);
    check_stream_after_cut(|_| 4);
    check_stream_after_cut(|_| 0);
}
