//! A lane that is far behind begins another strand, which is published beside the backlog.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use tokio::sync::mpsc::Receiver;

use super::*;
use crate::spool::folders;

const LATE_MS: i64 = 31_000;

/// Appends an event that was received then, and flushes.
fn flush_at(spool: &mut Spool, lane: Lane, ts_ms: i64) -> String {
    let id = spool.append(lane, &topic("t"), 4, b"k", ts_ms, |id, out| {
        out.extend_from_slice(text(id).as_bytes());
    });
    spool.flush().unwrap();
    text(id)
}

/// One lane, with the readers of its strands, oldest first.
struct Opened {
    spool: Spool,
    readers: Vec<LaneReader>,
    later: Receiver<LaneReader>,
    lane: Lane,
}

fn open_with(dir: &TempDir, lane: Lane, config: &SpoolConfig) -> Opened {
    let (spool, readers) = Spool::open(dir.path(), config).unwrap();
    let mut reader = readers.into_iter().find(|reader| reader.lane() == lane).unwrap();
    let later = reader.later().unwrap();
    let mut opened = Opened { spool, readers: vec![reader], later, lane };
    opened.meet();
    opened
}

fn open(dir: &TempDir) -> Opened {
    open_with(dir, Lane::Rest, &config())
}

impl Opened {
    /// Takes the readers of new strands; answers how many strands there are.
    fn meet(&mut self) -> usize {
        self.readers.extend(std::iter::from_fn(|| self.later.try_recv().ok()));
        self.readers.len()
    }

    fn flush_at(&mut self, ts_ms: i64) -> String {
        flush_at(&mut self.spool, self.lane, ts_ms)
    }

    fn acknowledge_one(&mut self, strand: usize) {
        let group = self.readers[strand].next_group().unwrap().unwrap();
        self.readers[strand].acknowledge(group.end).unwrap();
    }

    /// Five groups wait, and one of them has gone.
    fn fall_behind(&mut self, ts_ms: i64) -> Vec<String> {
        let ids = (0..6).map(|_| self.flush_at(ts_ms)).collect::<Vec<_>>();
        let newest = self.meet() - 1;
        self.acknowledge_one(newest);
        // As the publisher, which reads ahead.
        self.readers[newest].next_group().unwrap();
        ids[1..].to_vec()
    }

    fn rest_of(&mut self, strand: usize) -> Vec<String> {
        self.readers[strand].rewind();
        rest(&mut self.readers[strand])
    }

    fn waiting(&self) -> u64 {
        self.spool.stats(self.lane).waiting_events
    }
}

#[test]
fn what_comes_after_a_backlog_has_a_stream_of_its_own() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    let backlog = opened.fall_behind(0);
    let live = [opened.flush_at(LATE_MS), opened.flush_at(LATE_MS + 1)];
    assert_eq!(opened.meet(), 2);
    assert_eq!((opened.rest_of(0), opened.rest_of(1)), (backlog, live.to_vec()));
    let stream = opened.spool.stream(Lane::Rest);
    assert_eq!(live, [1, 2].map(|seq| format!("{stream}/{seq}")));
    assert_eq!(opened.waiting(), 7);
    let streams: Vec<_> = opened.spool.streams(Lane::Rest).collect();
    assert_eq!(
        streams.iter().map(|s| (s.last_seq, s.waiting)).collect::<Vec<_>>(),
        [(2, 2), (6, 5)]
    );
    assert_eq!(streams[0].stream, stream);
    assert_eq!(opened.spool.stats(Lane::Rest).oldest_ms, Some(0));
    // After a reboot nobody writes these streams any more; the backlog is the same all the same.
    drop(opened);
    for number in 0..2 {
        reboot_strand(dir.path(), Strand { lane: Lane::Rest, number });
    }
    let opened = open(&dir);
    let after: Vec<_> = opened.spool.streams(Lane::Rest).collect();
    assert_ne!(after[0].stream, stream);
    assert_eq!(after[1], streams[1]);
}

/// Fills a lane, has one group acknowledged if `moves`, and answers into how many strands the events
/// have gone.
#[track_caller]
fn check(lane: Lane, overtake_s: u64, moves: bool, later_ms: i64, strands: usize) {
    let dir = TempDir::new().unwrap();
    let mut opened = open_with(&dir, lane, &SpoolConfig { overtake_s, ..config() });
    opened.flush_at(0);
    opened.flush_at(0);
    if moves {
        opened.acknowledge_one(0);
    }
    opened.readers[0].next_group().unwrap();
    opened.flush_at(later_ms);
    assert_eq!(opened.meet(), strands, "{lane:?} {overtake_s} {moves} {later_ms}");
}

#[test]
fn a_strand_begins_only_where_it_serves_something() {
    for lane in [Lane::Urgent, Lane::Readings, Lane::Rest] {
        check(lane, 30, true, 30_000, 2);
    }
    check(Lane::Alerts, 30, true, 30_000, 1);
    check(Lane::Rest, 30, true, 29_999, 1);
    check(Lane::Rest, 30, false, 3_600_000, 1);
    check(Lane::Rest, 0, true, 3_600_000, 1);
    check(Lane::Rest, u64::MAX, true, 3_600_000, 1);
    // A clock that was set back, and one that was set from 1970.
    check(Lane::Rest, 30, true, -3_600_000, 1);
    check(Lane::Rest, 30, true, 1_800_000_000_000, 2);
}

#[test]
fn an_idle_lane_that_was_drained_is_not_behind() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    opened.flush_at(0);
    opened.acknowledge_one(0);
    opened.flush_at(3_600_000);
    assert_eq!(opened.meet(), 1);
}

/// Kafka comes and goes: each time it takes a little, and is away for a minute.
#[test]
fn flapping_leaves_a_few_strands_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    let mut flushed = Vec::new();
    for round in 0..20 {
        flushed.extend(opened.fall_behind(round * 60_000));
    }
    for _ in 0..2 {
        assert_eq!(opened.meet(), 8);
        // One strand after the other is the order in which all was received.
        for (strand, flushed) in flushed[..7 * 5].chunks(5).enumerate() {
            assert_eq!(opened.rest_of(strand), flushed);
        }
        let last = opened.rest_of(7);
        assert!(flushed.ends_with(&last[last.len() - 5..]), "{last:?}");
        assert_eq!(opened.waiting(), 7 * 5 + last.len() as u64);
        drop(opened);
        opened = open(&dir);
    }
}

#[test]
fn a_backlog_that_kafka_has_goes_and_the_stream_of_now_stays() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    opened.fall_behind(0);
    assert!(!opened.readers[0].finish().unwrap(), "it is written to");
    let live = opened.flush_at(LATE_MS);
    opened.meet();
    let before = opened.spool.stats(Lane::Rest);
    assert!(!opened.readers[0].finish().unwrap(), "five groups wait");
    acknowledge_from_checkpoint(&mut opened.readers[0]);
    assert!(opened.readers[0].finish().unwrap());
    assert!(!opened.readers[1].finish().unwrap());
    assert!(dir.path().join("3-rest").exists());
    opened.flush_at(LATE_MS + 1);
    assert!(!dir.path().join("3-rest").exists());
    let after = opened.spool.stats(Lane::Rest);
    assert_eq!(after.waiting_events, 2);
    assert!(after.written_bytes > before.written_bytes, "nothing is forgotten: {after:?}");
    assert!(after.disk_bytes < before.disk_bytes + 1_000);
    let stream = opened.spool.stream(Lane::Rest);
    drop(opened);
    let mut opened = open(&dir);
    assert_eq!((opened.meet(), opened.spool.stream(Lane::Rest)), (1, stream));
    assert_eq!(opened.readers[0].strand(), Strand { lane: Lane::Rest, number: 1 });
    assert_eq!(opened.rest_of(0)[0], live);
    assert_eq!(opened.flush_at(LATE_MS + 2), format!("{stream}/3"));
}

fn acknowledge_from_checkpoint(reader: &mut LaneReader) {
    reader.rewind();
    acknowledge_all(reader);
}

/// Killed after the new strand had its folder, its stream, its first events; while the old one was
/// being deleted.
#[test]
fn a_kill_at_any_moment_leaves_each_event_once() {
    for moment in 0..5 {
        let dir = TempDir::new().unwrap();
        let mut opened = open(&dir);
        let mut expected = opened.fall_behind(0);
        let folder = dir.path().join("3-rest.1");
        match moment {
            0 => std::fs::create_dir(&folder).unwrap(),
            1 => {
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(folder.join("stream.draft"), b"half").unwrap();
            }
            2 => expected.push(opened.flush_at(LATE_MS)),
            _ => {
                expected = vec![opened.flush_at(LATE_MS)];
                opened.meet();
                acknowledge_from_checkpoint(&mut opened.readers[0]);
                assert!(opened.readers[0].finish().unwrap());
                if moment == 4 {
                    std::fs::rename(dir.path().join("3-rest"), dir.path().join("3-rest.gone"))
                        .unwrap();
                }
            }
        }
        drop(opened);
        let mut opened = open(&dir);
        let strands = opened.meet();
        assert_eq!(strands, if moment == 4 { 1 } else { 2 }, "{moment}");
        let read: Vec<_> = (0..strands).flat_map(|strand| opened.rest_of(strand)).collect();
        assert_eq!(read, expected, "{moment}");
        expected.push(opened.flush_at(LATE_MS + 5));
        assert_eq!(opened.meet(), strands, "{moment}");
        let read: Vec<_> = (0..strands).flat_map(|strand| opened.rest_of(strand)).collect();
        assert_eq!(read, expected, "{moment}");
        opened.readers.iter_mut().for_each(acknowledge_from_checkpoint);
        assert_eq!(opened.waiting(), 0, "{moment}");
        let older = &mut opened.readers[..strands - 1];
        assert!(older.iter_mut().all(|reader| reader.finish().unwrap()));
        opened.flush_at(LATE_MS + 6);
        let folders: Vec<_> = folders::strands(dir.path(), Lane::Rest).unwrap();
        assert_eq!(folders.len(), 1, "{moment}");
        assert_eq!(folders::left_over(dir.path()), Vec::<std::path::PathBuf>::new());
    }
}

/// Nothing is left to be acknowledged behind damage at the end, and the loss has to be told before
/// the strand may go.
#[test]
fn a_backlog_with_a_damaged_end_goes_when_the_loss_is_told() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    opened.fall_behind(0);
    opened.flush_at(LATE_MS);
    drop(opened);
    let path = dir.path().join("3-rest/00000000000000000000.seg");
    let file = OpenOptions::new().write(true).open(path).unwrap();
    // All that is behind the second group: the heads and their copies, too.
    let length = file.metadata().unwrap().len();
    let zeros = vec![0; (length / 2) as usize];
    file.write_all_at(&zeros, length - zeros.len() as u64).unwrap();
    let mut opened = open(&dir);
    let reader = &mut opened.readers[0];
    acknowledge_all(reader);
    drop(opened.spool.take_losses());
    opened.spool.losses_are_told();
    assert!(opened.readers[0].finish().unwrap());
}

#[test]
fn a_loss_in_a_backlog_holds_it_until_it_is_told() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    opened.fall_behind(0);
    opened.flush_at(LATE_MS);
    let stream = opened.spool.streams(Lane::Rest).last().unwrap().stream;
    drop(opened);
    let path = dir.path().join("3-rest/00000000000000000000.seg");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // In the batch of the last group: its second head takes less than that.
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"###", length - 120).unwrap();
    let mut opened = open(&dir);
    acknowledge_all(&mut opened.readers[0]);
    assert!(!opened.readers[0].finish().unwrap(), "it is not told yet");
    let losses = opened.spool.take_losses();
    assert!(matches!(&losses[..], [(Lane::Rest, loss)] if loss.range == Some((stream, 6, 6))));
    // The marker comes in the stream of now.
    opened.flush_at(LATE_MS + 1);
    assert!(!opened.readers[0].finish().unwrap());
    opened.spool.losses_are_told();
    assert!(opened.readers[0].finish().unwrap());
}

#[test]
fn the_oldest_strand_gives_way_first() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(&dir);
    opened.spool.set_when_full(WhenFull::DropLowest);
    let fill = |opened: &mut Opened, ts_ms, groups| {
        for _ in 0..groups {
            opened.spool.append(Lane::Rest, &topic("t"), 1, b"k", ts_ms, |id, out| {
                out.extend_from_slice(text(id).as_bytes());
                out.resize(out.len() + 20_000, b' ');
            });
            opened.spool.flush().unwrap();
        }
    };
    fill(&mut opened, 0, 100);
    opened.acknowledge_one(0);
    opened.readers[0].next_group().unwrap();
    fill(&mut opened, LATE_MS, 150);
    assert_eq!(opened.meet(), 2);
    let dropped = opened.spool.stats(Lane::Rest).dropped_events;
    assert!((30..98).contains(&dropped), "{dropped}");
    assert_eq!(rest(&mut opened.readers[1]).len(), 150);
    assert_eq!(rest(&mut opened.readers[0]).len() as u64, 98 - dropped);
    assert!(opened.spool.disk_bytes() <= config().max_bytes);
}
