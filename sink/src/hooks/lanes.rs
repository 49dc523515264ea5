//! Lanes: how far a receiver was told of each partition, and what of it is committed.
//!
//! In: partitions that come and go, records that are done. Out: offsets to commit. Pure. The committed offset is that of the
//! first record that is needed after a restart: the next one to tell, or one before it whose alert
//! still fires and has to be repeated. The note beside it says what is what: `v1 told=OFFSET from=MS`.
//! Records below `told` only fill the memory again. `from` stands there as long as a new hook goes through what was there before
//! it: until the first record that is stamped later, or for ten minutes, because the clock of a gateway may be wrong for ever. Promises: a note that is missing or of somebody else tells everything from the offset on.

use std::collections::BTreeMap;

use crate::consume::{Committed, Partition, Record};

/// A new hook is told what was stamped so shortly before it began, too: partitions that were added show late.
const GRACE_MS: i64 = 3_600_000;
/// How long a new hook may take for going through what was there before it. Nobody is told, so that is quick.
const HISTORY_MS: i64 = 600_000;

#[derive(Debug)]
struct Lane {
    /// What was stamped earlier is not told: the hook is new.
    from_ms: Option<i64>,
    /// Until when, by our own clock, what is stamped earlier counts as history and not as of a gateway whose clock is
    /// wrong.
    history_until_ms: i64,
    /// Where reading begins.
    low: i64,
    /// Everything below was told.
    told: i64,
    /// The next record to look at.
    next: i64,
    /// What the broker has.
    committed: Option<Committed>,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: it is of a partition of others, older than the hook, or was done.
    Nothing,
    /// It was told in an earlier life: remember it.
    Remember,
    /// It is to be told.
    Tell,
}

/// All partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<Partition, Lane>);

impl Lanes {
    /// A partition is ours from `committed` on.
    pub(super) fn assigned(
        &mut self,
        partition: Partition,
        committed: Option<Committed>,
        now_ms: i64,
    ) {
        let low = committed.as_ref().map_or(0, |committed| committed.offset);
        let (from_ms, told) = match &committed {
            None => (Some(now_ms.saturating_sub(GRACE_MS)), 0),
            Some(committed) => read_note(&committed.note).unwrap_or((None, low)),
        };
        let history_until_ms = now_ms.saturating_add(HISTORY_MS);
        let lane =
            Lane { from_ms, history_until_ms, low, told: told.max(low), next: low, committed };
        self.0.insert(partition, lane);
    }

    /// Partitions are no longer ours.
    pub(super) fn revoked(&mut self, partitions: &[Partition]) {
        self.0.retain(|partition, _| !partitions.contains(partition));
    }

    pub(super) fn has(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    /// What is to be done with a record; it has to be the next one of its partition.
    pub(super) fn judge(&mut self, record: &Record, now_ms: i64) -> Due {
        let Some(lane) = self.0.get_mut(&record.partition) else {
            return Due::Nothing;
        };
        if record.offset < lane.low {
            // The topic was made anew, so nothing of it was told.
            (lane.low, lane.told, lane.next) = (record.offset, record.offset, record.offset);
        }
        if record.offset < lane.next {
            return Due::Nothing;
        } else if record.offset < lane.told {
            return Due::Remember;
        }
        let until_ms = lane.history_until_ms;
        let is_history = |from: &mut i64| record.ts_ms < *from && now_ms <= until_ms;
        lane.from_ms = lane.from_ms.take_if(is_history);
        if lane.from_ms.is_some() { Due::Nothing } else { Due::Tell }
    }

    /// The receiver was away: what could not be looked at meanwhile is still history.
    pub(super) fn waited(&mut self, now_ms: i64) {
        for lane in self.0.values_mut() {
            lane.history_until_ms = lane.history_until_ms.max(now_ms.saturating_add(HISTORY_MS));
        }
    }

    /// A record is done.
    pub(super) fn done(&mut self, partition: Partition, offset: i64) {
        if let Some(lane) = self.0.get_mut(&partition) {
            lane.next = lane.next.max(offset + 1);
        }
    }

    /// Whether all that was told of a partition is remembered again.
    pub(super) fn is_whole(&self, partition: Partition) -> bool {
        self.0.get(&partition).is_some_and(|lane| lane.next >= lane.told)
    }

    /// What is to be committed. `needed` is the first record of a partition that is needed again.
    pub(super) fn to_commit(
        &self,
        needed: impl Fn(Partition) -> Option<i64>,
    ) -> Vec<(Partition, Committed)> {
        let wanted = self.0.iter().map(|(&partition, lane)| {
            let offset = needed(partition).map_or(lane.next, |needed| needed.min(lane.next));
            let note = write_note(lane.from_ms, lane.told.max(lane.next));
            (partition, Committed { offset, note })
        });
        wanted
            .filter(|(partition, wanted)| self.0[partition].committed.as_ref() != Some(wanted))
            .collect()
    }

    /// The broker has it.
    pub(super) fn committed(&mut self, offsets: Vec<(Partition, Committed)>) {
        for (partition, committed) in offsets {
            if let Some(lane) = self.0.get_mut(&partition) {
                lane.committed = Some(committed);
            }
        }
    }
}

fn write_note(from_ms: Option<i64>, told: i64) -> String {
    let from = from_ms.map_or(String::new(), |from_ms| format!(" from={from_ms}"));
    format!("v1 told={told}{from}")
}

fn read_note(note: &str) -> Option<(Option<i64>, i64)> {
    let rest = note.strip_prefix("v1 told=")?;
    match rest.split_once(" from=") {
        None => Some((None, rest.parse().ok()?)),
        Some((told, from)) => Some((Some(from.parse().ok()?), told.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use weir_models::topic::Topic;

    use super::*;

    const PARTITION: Partition = Partition { topic: Topic::Alerts, number: 3 };

    fn record(offset: i64, ts_ms: i64) -> Record {
        Record {
            partition: PARTITION,
            offset,
            ts_ms,
            key: None,
            value: None,
            retried: 0,
            by: None,
            again: None,
        }
    }

    fn lanes(committed: Option<(i64, &str)>, now_ms: i64) -> Lanes {
        let mut lanes = Lanes::default();
        let committed = committed.map(|(offset, note)| Committed { offset, note: note.into() });
        lanes.assigned(PARTITION, committed, now_ms);
        lanes
    }

    fn wanted(lanes: &Lanes, needed: Option<i64>) -> Option<(i64, String)> {
        let mut wanted = lanes.to_commit(|_| needed);
        wanted.pop().map(|(_, committed)| (committed.offset, committed.note))
    }

    #[test]
    fn a_new_hook_is_told_from_about_now_on_and_keeps_that() {
        let now_ms = 10 * GRACE_MS;
        let mut first = lanes(None, now_ms);
        assert_eq!(first.judge(&record(0, now_ms - GRACE_MS - 1), now_ms), Due::Nothing);
        first.done(PARTITION, 0);
        let note = format!("v1 told=1 from={}", now_ms - GRACE_MS);
        assert_eq!(wanted(&first, None), Some((1, note.clone())));
        // Started again in the middle of what was there before.
        let mut second = lanes(Some((1, &note)), now_ms + 1);
        assert_eq!(second.judge(&record(1, now_ms - GRACE_MS - 1), now_ms + 1), Due::Nothing);
        second.done(PARTITION, 1);
        assert_eq!(second.judge(&record(2, now_ms - GRACE_MS), now_ms + 1), Due::Tell);
        second.done(PARTITION, 2);
        // From the first one on all are told, whatever clock they have.
        assert_eq!(second.judge(&record(3, 0), now_ms + 1), Due::Tell);
        assert_eq!(wanted(&second, None), Some((3, "v1 told=3".into())));
    }

    #[test]
    fn a_gateway_whose_clock_is_wrong_is_heard_after_a_while() {
        let now_ms = 10 * GRACE_MS;
        let mut lanes = lanes(None, now_ms);
        assert_eq!(lanes.judge(&record(0, 5), now_ms + HISTORY_MS), Due::Nothing);
        assert_eq!(lanes.judge(&record(0, 5), now_ms + HISTORY_MS + 1), Due::Tell);
    }

    #[test]
    fn what_still_fires_is_read_again_and_not_told_as_new() {
        let mut before = lanes(Some((5, "v1 told=5")), 0);
        for offset in 5..9 {
            assert_eq!(before.judge(&record(offset, 1), 9), Due::Tell);
            before.done(PARTITION, offset);
        }
        let (offset, note) = wanted(&before, Some(6)).unwrap_or_default();
        assert_eq!((offset, &*note), (6, "v1 told=9"));
        let mut after = lanes(Some((offset, &note)), 0);
        for offset in 6..9 {
            assert!(!after.is_whole(PARTITION));
            assert_eq!(after.judge(&record(offset, 1), 9), Due::Remember);
            after.done(PARTITION, offset);
        }
        assert!(after.is_whole(PARTITION));
        assert_eq!(after.judge(&record(9, 1), 9), Due::Tell);
        // Not before all of it is remembered may the note forget what was told.
        assert_eq!(wanted(&after, Some(6)), None);
        assert_eq!(wanted(&after, None), Some((9, "v1 told=9".into())));
    }

    #[test]
    fn half_remembered_it_still_knows_what_was_told() {
        let mut after = lanes(Some((6, "v1 told=9")), 0);
        after.done(PARTITION, 6);
        assert_eq!(wanted(&after, None), Some((7, "v1 told=9".into())));
    }

    #[test]
    fn a_topic_made_anew_is_told_from_its_beginning() {
        let mut lanes = lanes(Some((500, "v1 told=700")), 0);
        assert_eq!(lanes.judge(&record(0, 1), 9), Due::Tell);
        lanes.done(PARTITION, 0);
        assert_eq!(lanes.judge(&record(0, 1), 9), Due::Nothing);
        assert_eq!(lanes.judge(&record(1, 1), 9), Due::Tell);
        assert_eq!(wanted(&lanes, None), Some((1, "v1 told=1".into())));
    }

    #[test]
    fn an_offset_that_somebody_set_is_told_from_there() {
        for note in ["", "object/path", "v1 told=x"] {
            let mut lanes = lanes(Some((4, note)), 10 * GRACE_MS);
            assert_eq!(lanes.judge(&record(4, 0), 9), Due::Tell, "{note}");
        }
    }

    #[test]
    fn a_partition_that_is_gone_is_left_alone() {
        let mut lanes = lanes(None, 0);
        lanes.revoked(&[PARTITION]);
        lanes.done(PARTITION, 3);
        assert_eq!(lanes.judge(&record(4, 0), 9), Due::Nothing);
        assert!(!lanes.has(PARTITION) && lanes.to_commit(|_| None).is_empty());
    }
}
