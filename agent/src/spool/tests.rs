#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod losses;
mod model;
mod overtaking;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use weir_models::ident::EventId;
use weir_models::wire::{BatchView, MAX_RAW_BYTES, partition_for};

use super::identity::State;
use super::*;
use crate::clock::Mark;

fn config() -> SpoolConfig {
    SpoolConfig {
        max_bytes: 4 << 20,
        segment_bytes: 64 << 10,
        zstd_level: 0,
        ..SpoolConfig::default()
    }
}

fn topic(name: &str) -> Arc<str> {
    name.into()
}

/// The identity as an event carries it.
fn text(id: EventId) -> String {
    format!("{}/{}", id.stream, id.seq)
}

/// Appends an event whose value is its identity and `bytes` of filling.
fn append(spool: &mut Spool, lane: Lane, topic: &Arc<str>, key: &str, bytes: usize) -> EventId {
    spool.append(lane, topic, 4, key.as_bytes(), 1_000, |id, out| {
        out.extend_from_slice(text(id).as_bytes());
        out.resize(out.len() + bytes, b' ');
    })
}

/// The identities in a group, as the events carry them, sorted by number.
fn events(group: &Group) -> Vec<String> {
    let mut found = Vec::new();
    for frame in &group.frames {
        let (view, rest) = BatchView::parse(&frame.batch).unwrap();
        assert!(rest.is_empty());
        let records = view.records(MAX_RAW_BYTES).unwrap();
        assert_eq!(records.count(), frame.records);
        let mut last = 0;
        for record in &records {
            let record = record.unwrap();
            let key = record.key.unwrap();
            assert_eq!(partition_for(key, 4), frame.partition);
            let value = std::str::from_utf8(record.value.unwrap()).unwrap().trim_end().to_owned();
            let seq: u64 = value.split_once('/').unwrap().1.parse().unwrap();
            assert!(
                last < seq && (frame.first_seq..=frame.last_seq).contains(&seq),
                "order in a partition"
            );
            last = seq;
            found.push((seq, value));
        }
    }
    found.sort();
    assert!(found.iter().all(|(seq, _)| (group.first_seq..=group.last_seq).contains(seq)));
    found.into_iter().map(|(_, value)| value).collect()
}

fn rest(reader: &mut LaneReader) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(group) = reader.next_group().unwrap() {
        all.extend(events(&group));
    }
    all
}

fn acknowledge_all(reader: &mut LaneReader) {
    while let Some(group) = reader.next_group().unwrap() {
        reader.acknowledge(group.end).unwrap();
    }
}

/// Makes the lane look as if the machine had been started again since.
fn reboot(dir: &Path, lane: Lane) {
    reboot_strand(dir, Strand { lane, number: 0 });
}

fn reboot_strand(dir: &Path, strand: Strand) {
    let path = dir.join(strand.folder()).join("stream");
    if let Some(state) = State::read(&path) {
        State { boot: [9; 16], ..state }.write(&path).unwrap();
    }
}

#[test]
fn a_flush_is_one_group_over_topics_and_partitions() {
    let dir = TempDir::new().unwrap();
    let (mut spool, [_, _, _, mut reader]) = Spool::open(dir.path(), &config()).unwrap();
    let topics = [topic("logs"), topic("readings")];
    let mut expected = Vec::new();
    for i in 0..100 {
        let id = append(&mut spool, Lane::Rest, &topics[i % 2], &format!("site/{i}"), 10);
        expected.push(text(id));
    }
    assert_eq!(spool.pending().events, 100);
    assert_eq!(reader.next_group().unwrap(), None, "nothing is seen before the flush");
    spool.flush().unwrap();
    assert_eq!(spool.pending(), Pending::default());
    let group = reader.next_group().unwrap().unwrap();
    assert_eq!(events(&group), expected);
    assert_eq!((group.first_seq, group.last_seq, group.frames.len()), (1, 100, 8));
    assert_eq!(group.stream, spool.stream(Lane::Rest));
    assert_eq!(reader.next_group().unwrap(), None);
    let stats = spool.stats(Lane::Rest);
    assert_eq!(stats.waiting_events, 100);
    reader.acknowledge(group.end).unwrap();
    assert_eq!(stats.oldest_ms, Some(1_000));
    let nothing_waits = LaneStats { waiting_events: 0, oldest_ms: None, ..stats };
    assert_eq!(spool.stats(Lane::Rest), nothing_waits);
    assert_eq!(spool.stats(Lane::Alerts).waiting_events, 0);
}

#[test]
fn batches_are_closed_by_count_and_by_size() {
    let dir = TempDir::new().unwrap();
    let (mut spool, [mut alerts, .., mut others]) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    for _ in 0..2_500 {
        append(&mut spool, Lane::Alerts, &topic, "k", 10);
    }
    for _ in 0..5 {
        append(&mut spool, Lane::Rest, &topic, "k", 130 << 10);
    }
    assert!(spool.flush_due(), "a sixty-fourth of 4 MiB is reached");
    spool.flush().unwrap();
    let records = |reader: &mut LaneReader| {
        let group = reader.next_group().unwrap().unwrap();
        group.frames.iter().map(|frame| frame.records).collect::<Vec<_>>()
    };
    assert_eq!(records(&mut alerts), [1_000, 1_000, 500]);
    assert_eq!(records(&mut others), [2, 2, 1]);
}

#[test]
fn a_batch_holds_one_state_of_the_clock() {
    let dir = TempDir::new().unwrap();
    let (mut spool, [mut reader, ..]) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    for clock in [Clock::Unsynced, Clock::Synced, Clock::Corrected] {
        spool.set_clock(clock, Mark { boot: 3, offset_us: 5 });
        append(&mut spool, Lane::Alerts, &topic, "k", 1);
        append(&mut spool, Lane::Alerts, &topic, "k", 1);
    }
    spool.flush().unwrap();
    let group = reader.next_group().unwrap().unwrap();
    let clocks: Vec<_> = group.frames.iter().map(|frame| (frame.clock, frame.first_seq)).collect();
    assert_eq!(clocks, [(Clock::Unsynced, 1), (Clock::Synced, 3), (Clock::Corrected, 5)]);
    let marks: Vec<_> = group.frames.iter().map(|frame| frame.mark).collect();
    assert_eq!(marks, [Some(Mark { boot: 3, offset_us: 5 }), None, None]);
}

#[test]
fn a_mark_says_how_the_clock_stood_when_the_events_came() {
    use weir_models::time::{DAY_US, SECOND_US};
    #[track_caller]
    fn check(set_by_us: i64, expected: Option<Mark>) {
        let dir = TempDir::new().unwrap();
        let (mut spool, [mut reader, ..]) = Spool::open(dir.path(), &config()).unwrap();
        let mark = Mark { boot: 3, offset_us: 5 };
        spool.set_clock(Clock::Unsynced, mark);
        append(&mut spool, Lane::Alerts, &topic("t"), "k", 1);
        spool.set_clock(Clock::Synced, Mark { offset_us: 5 + set_by_us, ..mark });
        spool.close().unwrap();
        // It lies on disk.
        let group = reader.next_group().unwrap().unwrap();
        assert_eq!(group.frames[0].mark, expected, "{set_by_us}");
    }
    let mark = Some(Mark { boot: 3, offset_us: 5 });
    check(20_000 * DAY_US, mark);
    check(-DAY_US, mark);
    check(0, mark);
    // Which of the two clocks stamped the event can no longer be told.
    check(SECOND_US, None);
    check(1 - DAY_US, None);
}

#[test]
fn what_is_not_acknowledged_is_read_again() {
    let dir = TempDir::new().unwrap();
    let (mut spool, [mut reader, ..]) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    let ids: Vec<String> = (0..6)
        .map(|_| {
            let id = append(&mut spool, Lane::Alerts, &topic, "k", 1);
            spool.flush().unwrap();
            text(id)
        })
        .collect();
    let first = reader.next_group().unwrap().unwrap();
    let second = reader.next_group().unwrap().unwrap();
    reader.acknowledge(second.end).unwrap();
    reader.acknowledge(first.end).unwrap();
    assert_eq!(rest(&mut reader), ids[2..]);
    reader.rewind();
    assert_eq!(rest(&mut reader), ids[2..]);
    drop((spool, reader));
    let (_spool, [mut reader, ..]) = Spool::open(dir.path(), &config()).unwrap();
    assert_eq!(rest(&mut reader), ids[2..]);
}

#[track_caller]
fn check_stream_after(close: bool, other_boot: bool, same_stream: bool) {
    let dir = TempDir::new().unwrap();
    let topic = topic("t");
    let (mut spool, readers) = Spool::open(dir.path(), &config()).unwrap();
    let first = append(&mut spool, Lane::Alerts, &topic, "k", 1);
    assert_eq!(first.seq, 1);
    assert_ne!(first.stream.0, 0);
    spool.flush().unwrap();
    if close {
        spool.close().unwrap();
    } else {
        drop(spool);
    }
    drop(readers);
    if other_boot {
        reboot(dir.path(), Lane::Alerts);
    }
    let (mut spool, [mut reader, ..]) = Spool::open(dir.path(), &config()).unwrap();
    let second = append(&mut spool, Lane::Alerts, &topic, "k", 1);
    assert_eq!(second.stream == first.stream, same_stream);
    assert_eq!(second.seq, if same_stream { 2 } else { 1 });
    spool.flush().unwrap();
    assert_eq!(rest(&mut reader), [text(first), text(second)]);
}

#[test]
fn a_stream_goes_on_after_a_kill_and_after_a_clean_end_but_not_after_a_power_cut() {
    check_stream_after(false, false, true);
    check_stream_after(true, false, true);
    check_stream_after(true, true, true);
    check_stream_after(false, true, false);
}

#[test]
fn a_full_budget_holds_back_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let (mut spool, [_, _, _, mut reader]) = Spool::open(dir.path(), &config()).unwrap();
    let topic = topic("t");
    let mut expected = Vec::new();
    let error = loop {
        expected.push(text(append(&mut spool, Lane::Rest, &topic, "k", 50_000)));
        if let Err(error) = spool.flush() {
            break error;
        }
    };
    assert!(error.is_full() && error.to_string().contains("spool.max_bytes"), "{error}");
    assert!(spool.disk_bytes() <= config().max_bytes && expected.len() > 70);
    assert_eq!(spool.pending().events, 1);
    // More may come before the next try; all of it is written then, as one group.
    expected.push(text(append(&mut spool, Lane::Rest, &topic, "l", 50_000)));
    spool.flush().unwrap_err();
    assert_eq!(spool.pending().events, 2);
    let mut read = Vec::new();
    for _ in 0..10 {
        let group = reader.next_group().unwrap().unwrap();
        read.extend(events(&group));
        reader.acknowledge(group.end).unwrap();
    }
    spool.flush().unwrap();
    read.extend(rest(&mut reader));
    assert_eq!(read, expected);
}

/// Segments that hold only what Kafka has must not block the spool for ever.
#[test]
fn a_budget_full_of_what_is_acknowledged_is_given_back() {
    let dir = TempDir::new().unwrap();
    let config = SpoolConfig { segment_bytes: 1 << 20, ..config() };
    let (mut spool, mut readers) = Spool::open(dir.path(), &config).unwrap();
    let topic = topic("t");
    for (lane, reader) in Lane::ALL.into_iter().zip(&mut readers) {
        append(&mut spool, lane, &topic, "k", 1_000_000);
        spool.flush().unwrap();
        acknowledge_all(reader);
    }
    assert!(spool.disk_bytes() > 3_900_000);
    let id = append(&mut spool, Lane::Rest, &topic, "k", 900_000);
    spool.flush().unwrap();
    assert_eq!(rest(&mut readers[3]), [text(id)]);
    drop((spool, readers));
    let (mut spool, mut readers) = Spool::open(dir.path(), &config).unwrap();
    let next = append(&mut spool, Lane::Rest, &topic, "k", 1);
    assert_eq!(next, EventId { seq: id.seq + 1, ..id });
    spool.flush().unwrap();
    assert_eq!(rest(&mut readers[3]), [text(id), text(next)]);
}

#[test]
fn a_reader_in_another_thread_gets_everything_once() {
    const EVENTS: usize = 3_000;
    let dir = TempDir::new().unwrap();
    let (mut spool, [_, _, mut reader, _]) = Spool::open(dir.path(), &config()).unwrap();
    let consumer = std::thread::spawn(move || {
        let mut read = Vec::new();
        while read.len() < EVENTS {
            match reader.next_group().unwrap() {
                Some(group) => {
                    read.extend(events(&group));
                    reader.acknowledge(group.end).unwrap();
                }
                None => std::thread::yield_now(),
            }
        }
        read
    });
    let topic = topic("t");
    let mut expected = Vec::new();
    for i in 0..EVENTS {
        expected.push(text(append(&mut spool, Lane::Readings, &topic, &format!("{i}"), 300)));
        if i % 10 == 9 {
            spool.flush().unwrap();
        }
    }
    assert_eq!(consumer.join().unwrap(), expected);
    let stats = spool.stats(Lane::Readings);
    assert_eq!((stats.waiting_events, stats.bad_frames, stats.skipped_events), (0, 0, 0));
    assert!(stats.written_bytes > 900_000 && stats.disk_bytes <= 2 * config().segment_bytes);
}

#[test]
fn two_processes_cannot_have_one_spool() {
    let dir = TempDir::new().unwrap();
    let opened = Spool::open(dir.path(), &config()).unwrap();
    let error = Spool::open(dir.path(), &config()).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
    drop(opened);
    Spool::open(dir.path(), &config()).unwrap();
}

#[test]
fn a_full_disk_says_what_to_do() {
    let error = SpoolError::from(log::LogError::NoSpace { path: "/spool/3-rest".into() });
    assert!(error.is_full());
    let message = error.to_string();
    assert!(
        message.contains("free space on /spool/3-rest") && message.contains("spool.max_bytes"),
        "{message}"
    );
}
