//! Corrects the stamps that were made before the clock was set.
//!
//! In: a group on its way to Kafka. Out: the same group, and in it those batches anew that hold stamps of a
//! wrong clock: `received_us`, `ts_us` where it is the receive time, and Kafka's time stamp are moved by what
//! the clock was set, and `clock` says `corrected`. Groups without such batches, which is nearly all of
//! them, pass as they are, at the cost of a look at each batch's head.
//!
//! Promises: the same records in the same order, partition and batch. So a record keeps its sequence, and
//! what was sent before a kill is a duplicate to the broker, whether or not it was corrected then.
//! Whatever cannot be corrected (an earlier boot, no record of ours) goes as it is, `unsynced`.

use std::sync::Arc;

use weir_models::event::Clock;
use weir_models::time::{SECOND_US, now_us};
use weir_models::wire::{BatchBuilder, BatchView, Codec, Compressor, MAX_RAW_BYTES, WireError};

use crate::clock::{EARLIEST_US, GatewayClock};
use crate::spool::{Frame, Group};

/// As the spool compresses by default.
const ZSTD_LEVEL: i32 = 1;

/// Whether some of it was stamped by a clock that was not trusted.
pub(super) fn is_unsynced(group: &Group) -> bool {
    group.frames.iter().any(|frame| frame.clock == Clock::Unsynced)
}

/// Events of the group whose batches were corrected.
pub(super) fn count(group: &Group) -> u64 {
    let right = group.frames.iter().filter(|frame| frame.clock == Clock::Corrected);
    right.map(|frame| u64::from(frame.records)).sum()
}

/// The group with right stamps, as far as they can be had.
pub(super) async fn corrected(mut group: Group, clock: &Arc<GatewayClock>) -> Group {
    if !is_unsynced(&group) || clock.look().clock == Clock::Unsynced {
        return group;
    }
    let clock = Arc::clone(clock);
    let frames = group.frames.clone();
    // Takes a while, and must not hold up the other tasks.
    let task = tokio::task::spawn_blocking(move || {
        let mut compressor = Compressor::new(Codec::Zstd, ZSTD_LEVEL);
        let now_us = now_us();
        let right = |frame: Frame| {
            if frame.clock != Clock::Unsynced {
                return frame;
            }
            let move_by = Move { shift_us: clock.shift_us(frame.mark), now_us };
            // The transport says what is wrong with a batch that cannot be read.
            move_by.frame(&frame, &mut compressor).unwrap_or(frame)
        };
        frames.into_iter().map(right).collect()
    });
    // Should that not end well, wrong stamps are better than none.
    if let Ok(frames) = task.await {
        group.frames = frames;
    }
    group
}

/// How stamps are moved.
#[derive(Clone, Copy)]
struct Move {
    /// None where it is not known.
    shift_us: Option<i64>,
    now_us: i64,
}

impl Move {
    fn frame(self, frame: &Frame, compressor: &mut Compressor) -> Result<Frame, WireError> {
        let (batch, _) = BatchView::parse(&frame.batch)?;
        let records = batch.records(MAX_RAW_BYTES)?;
        let mut builder = BatchBuilder::new();
        let mut is_moved = false;
        for record in &records {
            let record = record?;
            let value = record.value.unwrap_or_default();
            match self.shift_us.map(|shift_us| self.value(value, shift_us)) {
                Some(Some((value, received_us))) => {
                    is_moved = true;
                    builder.push(received_us / 1_000, record.key, Some(&value), &[]);
                }
                _ => {
                    // Kafka deletes by this stamp: the record might be gone before it is read.
                    let is_early = record.ts_ms < EARLIEST_US / 1_000;
                    let ts_ms = if is_early { self.now_us / 1_000 } else { record.ts_ms };
                    builder.push(ts_ms, record.key, record.value, &[]);
                }
            }
        }
        let mut out = Vec::new();
        builder.finish(compressor, &mut out);
        let clock = if is_moved { Clock::Corrected } else { Clock::Unsynced };
        Ok(Frame { clock, mark: None, batch: out.into(), ..frame.clone() })
    }

    /// The JSON of an event with right stamps, and when it was received; none if it is no event
    /// of a clock that was not trusted. The first of each of these names is the event's own, for only
    /// agent, stream, site and device lie before them, and a quote in a text is escaped.
    fn value(self, json: &[u8], shift_us: i64) -> Option<(Vec<u8>, i64)> {
        let text = std::str::from_utf8(json).ok()?;
        let (head, rest) = text.split_once("\"ts_us\":")?;
        let (ts, rest) = rest.split_once(",\"received_us\":")?;
        let (received, rest) = rest.split_once(",\"clock\":\"unsynced\"")?;
        let (ts_us, received_us): (i64, i64) = (ts.parse().ok()?, received.parse().ok()?);
        let by_us = match received_us.checked_add(shift_us)? > self.now_us + SECOND_US {
            false => shift_us,
            // What comes to lie in the future was stamped after the clock was set, before that was
            // noticed: to the right time, or to another wrong one.
            true if received_us >= EARLIEST_US => 0,
            true => return None,
        };
        let right_us = received_us + by_us;
        let ts_us = if ts_us == received_us { right_us } else { ts_us };
        let tail = format!("\"ts_us\":{ts_us},\"received_us\":{right_us},\"clock\":\"corrected\"");
        Some(([head, &tail, rest].concat().into(), right_us))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::clock::Mark;
    use crate::publish::order::seq;
    use crate::spool::{Lane, Spool, SpoolConfig};

    const NOW_US: i64 = 1_795_000_000 * SECOND_US;
    const SHIFT_US: i64 = NOW_US - 60 * SECOND_US;
    const MOVE: Move = Move { shift_us: Some(SHIFT_US), now_us: NOW_US };

    #[track_caller]
    fn check(json: &str, expected: Option<&str>) {
        let moved = MOVE.value(json.as_bytes(), SHIFT_US);
        let text = moved.map(|(json, _)| String::from_utf8(json).unwrap());
        assert_eq!(text.as_deref(), expected, "{json}");
    }

    #[test]
    fn the_stamps_of_an_event_are_moved_and_nothing_else() {
        // Without a stamp of its own.
        check(
            r#"{"agent":"a","seq":1,"site":"\"ts_us\":9","ts_us":12000000,"received_us":12000000,"clock":"unsynced","x":1}"#,
            Some(
                r#"{"agent":"a","seq":1,"site":"\"ts_us\":9","ts_us":1794999952000000,"received_us":1794999952000000,"clock":"corrected","x":1}"#,
            ),
        );
        // With one.
        check(
            r#"{"ts_us":1700000000000000,"received_us":12000000,"clock":"unsynced","m":"\"clock\":\"unsynced\""}"#,
            Some(
                r#"{"ts_us":1700000000000000,"received_us":1794999952000000,"clock":"corrected","m":"\"clock\":\"unsynced\""}"#,
            ),
        );
        // Stamped after the clock was set, before that was noticed.
        check(
            r#"{"ts_us":1794999999000000,"received_us":1794999999000000,"clock":"unsynced"}"#,
            Some(
                r#"{"ts_us":1794999999000000,"received_us":1794999999000000,"clock":"corrected"}"#,
            ),
        );
        check(r#"{"ts_us":8640000000000,"received_us":8640000000000,"clock":"unsynced"}"#, None);
        // Of a trusted clock, an alert, and no JSON.
        check(
            r#"{"ts_us":1,"received_us":2,"clock":"synced","meta":{"a":"b","clock":"unsynced"}}"#,
            None,
        );
        check(r#"{"data":{"seq":4,"last_values":[{"ts_us":1,"v":2.0}]}}"#, None);
        check("\u{0}", None);
    }

    /// A group of 700 events that were stamped from the first second of 1970 on, with this mark.
    fn group(mark: Mark) -> Group {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, [.., mut reader]) =
            Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
        spool.set_clock(Clock::Unsynced, mark);
        for n in 1..=700i64 {
            let key = format!("plant/pump-{}", n % 7);
            spool.append(Lane::Rest, &"t".into(), 3, key.as_bytes(), n, |id, out| {
                let (seq, us) = (id.seq, n * 1_000);
                out.extend_from_slice(
                    format!("{{\"seq\":{seq},\"ts_us\":{us},\"received_us\":{us},\"clock\":\"unsynced\"}}").as_bytes(),
                );
            });
        }
        spool.flush().unwrap();
        reader.next_group().unwrap().unwrap()
    }

    /// What a batch is to the broker and the sink: keys, numbers, stamps.
    fn records(frame: &Frame) -> Vec<(Vec<u8>, Option<u64>, i64)> {
        let (batch, _) = BatchView::parse(&frame.batch).unwrap();
        let records = batch.records(MAX_RAW_BYTES).unwrap();
        let of = |record: weir_models::wire::Record<'_>| {
            (record.key.unwrap().to_vec(), seq(record.value.unwrap()), record.ts_ms)
        };
        records.iter().map(|record| of(record.unwrap())).collect()
    }

    #[test]
    fn a_batch_keeps_its_records_their_order_and_its_place() {
        let mark = Mark { boot: 7, offset_us: -3 };
        let mut compressor = Compressor::new(Codec::Zstd, 1);
        for frame in &group(mark).frames {
            assert_eq!((frame.clock, frame.mark), (Clock::Unsynced, Some(mark)));
            for (shift_us, clock) in [(Some(SHIFT_US), Clock::Corrected), (None, Clock::Unsynced)] {
                let right =
                    Move { shift_us, now_us: NOW_US }.frame(frame, &mut compressor).unwrap();
                assert_eq!((right.clock, right.mark), (clock, None));
                assert_eq!(
                    Frame {
                        clock: frame.clock,
                        mark: frame.mark,
                        batch: frame.batch.clone(),
                        ..right.clone()
                    },
                    *frame
                );
                let stamp = |ts_ms| shift_us.map_or(NOW_US / 1_000, |by_us| ts_ms + by_us / 1_000);
                let expected: Vec<_> = records(frame)
                    .into_iter()
                    .map(|(key, seq, ts_ms)| (key, seq, stamp(ts_ms)))
                    .collect();
                assert_eq!(records(&right), expected);
            }
        }
    }

    #[tokio::test]
    async fn only_groups_of_a_wrong_clock_are_touched_and_only_once_it_is_right() {
        let clock = GatewayClock::right();
        let here = clock.look().mark;
        let made = group(Mark { offset_us: 0, ..here });
        let synced = Group {
            frames: made
                .frames
                .iter()
                .map(|f| Frame { clock: Clock::Synced, ..f.clone() })
                .collect(),
            ..made.clone()
        };
        assert_eq!(corrected(synced.clone(), &clock).await, synced);
        let right = corrected(made.clone(), &clock).await;
        assert!(right.frames.iter().all(|frame| frame.clock == Clock::Corrected));
        assert_eq!(right.frames.len(), made.frames.len());
        // An earlier boot.
        let other = corrected(group(Mark { boot: here.boot + 1, offset_us: 0 }), &clock).await;
        assert!(other.frames.iter().all(|frame| frame.clock == Clock::Unsynced));
    }
}
