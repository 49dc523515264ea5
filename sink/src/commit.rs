//! Commit: how far each partition may be committed.
//!
//! In: what was taken, what the store confirmed, which archive objects were closed and confirmed.
//! Out: offsets with their notes. A pure state machine. Promises: an offset is ready only when the
//! store has confirmed everything below it and, for a topic that is archived, the objects that cover
//! everything below it are confirmed and end exactly there. The note is the path of the
//! partition's last object: its manifest holds the duplicate memory at just that offset. Of each
//! partition at most one object may be on its way to the archive ([`Ledger::turn`]): the next one
//! waits until this one is committed, so that after a crash there is only one that was written and not
//! committed, and it is overwritten under the same name.
//!
//! Confirmations come in any order. Those of a partition that was taken away in the meantime are
//! ignored, because a ticket is used once only.

use std::collections::{BTreeMap, VecDeque};

use crate::consume::{Committed, Partition};

/// Names one piece of work for the store; never used twice.
pub type Ticket = u64;

#[derive(Debug)]
struct Mark {
    next: i64,
    note: String,
    confirmed: bool,
}

#[derive(Debug)]
struct Track {
    archived: bool,
    /// Below this everything was taken.
    taken: i64,
    /// What is committed, or where reading began.
    committed: i64,
    /// Ranges that the store has not confirmed: first offset by ticket.
    unstored: BTreeMap<Ticket, i64>,
    /// Ends of closed objects, in order, that are not committed.
    marks: VecDeque<Mark>,
}

impl Track {
    fn stored_below(&self) -> i64 {
        let lowest = self.unstored.values().min().copied();
        lowest.unwrap_or(self.taken)
    }

    fn ready(&self) -> Option<Committed> {
        let stored_below = self.stored_below();
        if !self.archived {
            return (stored_below > self.committed)
                .then(|| Committed { offset: stored_below, note: String::new() });
        }
        self.marks
            .iter()
            .take_while(|mark| mark.confirmed && mark.next <= stored_below)
            .last()
            .map(|mark| Committed { offset: mark.next, note: mark.note.clone() })
    }
}

/// The state of all partitions that are ours.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<Partition, Track>,
}

impl Ledger {
    /// A partition is ours from `first`, the first offset that will be taken; earlier state of it is
    /// dropped.
    pub fn assign(&mut self, partition: Partition, first: i64) {
        let track = Track {
            archived: partition.topic.is_data(),
            taken: first,
            committed: first,
            unstored: BTreeMap::new(),
            marks: VecDeque::new(),
        };
        self.partitions.insert(partition, track);
    }

    /// A partition is no longer ours.
    pub fn revoke(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// Whether the partition is ours and something of it was taken.
    #[must_use]
    pub fn knows(&self, partition: Partition) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// The records from `first` up to and without `next` were taken and go to the store under
    /// `ticket`, possibly along with earlier ones.
    pub fn took(&mut self, ticket: Ticket, partition: Partition, first: i64, next: i64) {
        if let Some(track) = self.partitions.get_mut(&partition) {
            debug_assert!(first >= track.taken && next > first, "taken in order");
            track.unstored.entry(ticket).or_insert(first);
            track.taken = track.taken.max(next);
        }
    }

    /// The store has everything of this ticket.
    pub fn stored(&mut self, ticket: Ticket) {
        for track in self.partitions.values_mut() {
            track.unstored.remove(&ticket);
        }
    }

    /// An object was closed that accounts for everything up to and without `next`; `empty` when
    /// there was nothing to keep, so that nothing is written.
    pub fn closed(&mut self, partition: Partition, next: i64, note: String, empty: bool) {
        if let Some(track) = self.partitions.get_mut(&partition) {
            debug_assert!(next <= track.taken, "only what was taken is closed");
            track.marks.push_back(Mark { next, note, confirmed: empty });
        }
    }

    /// The end of the only object of the partition that may be written now.
    #[must_use]
    pub fn turn(&self, partition: Partition) -> Option<i64> {
        let mark = self.partitions.get(&partition)?.marks.front()?;
        (!mark.confirmed).then_some(mark.next)
    }

    /// The archive has the object that ends at `next`.
    pub fn archived(&mut self, partition: Partition, next: i64) {
        if let Some(track) = self.partitions.get_mut(&partition) {
            let marks = track.marks.iter_mut();
            for mark in marks.filter(|mark| mark.next == next) {
                mark.confirmed = true;
            }
        }
    }

    /// What may be committed now and is not yet.
    #[must_use]
    pub fn ready(&self) -> Vec<(Partition, Committed)> {
        let ready = |(&partition, track): (&Partition, &Track)| Some((partition, track.ready()?));
        self.partitions.iter().filter_map(ready).collect()
    }

    /// The broker has these.
    pub fn committed(&mut self, offsets: &[(Partition, Committed)]) {
        for (partition, committed) in offsets {
            if let Some(track) = self.partitions.get_mut(partition) {
                track.committed = track.committed.max(committed.offset);
                while track.marks.front().is_some_and(|mark| mark.next <= committed.offset) {
                    track.marks.pop_front();
                }
            }
        }
    }

    /// Whether all that was taken is committed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mut tracks = self.partitions.values();
        tracks.all(|track| track.committed >= track.taken && track.unstored.is_empty())
    }
}

#[cfg(test)]
mod tests;
