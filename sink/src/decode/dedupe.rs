//! Dedupe: which events of a partition were seen before.
//!
//! In: stream and number of every event of one partition, in the order of its offsets. Out: new or
//! duplicate. Within one partition the events of a stream come with rising numbers (an agent sends
//! a stream in order and Kafka keeps the order), so a number that is not above the highest one seen
//! is a duplicate, and one number per stream is all there is to remember.
//!
//! A dead letter that is sent again comes behind higher numbers. It was never taken, so it is held against
//! the letters that were sent again before, by stream and number, and not against the highest.
//!
//! Promises: the memory can be written down and read back exactly, so it survives a restart and a
//! rebalance with the committed offset. It is bounded: a stream of which nothing came for
//! [`Bounds::keep_ms`] of the partition's time is forgotten, and so are the streams that were silent
//! longest when there are more than [`Bounds::streams_max`]. What was forgotten and is sent again is taken
//! as new: the store overwrites the same row, the archive holds it twice. Partition time is the
//! highest Kafka stamp seen, never ahead of the wall clock, so that one stamp from a wrong clock
//! neither wipes nor freezes the memory.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use weir_models::ident::{EventId, Stream};

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A stream that was silent for so many milliseconds of partition time is forgotten.
    pub keep_ms: i64,
    /// Most streams remembered per partition.
    pub streams_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { keep_ms: 90 * 86_400_000, streams_max: 200_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    seq: u64,
    at_ms: i64,
}

/// The memory of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedupe {
    bounds: Bounds,
    clock_ms: i64,
    swept_ms: i64,
    streams: HashMap<Stream, Seen>,
    /// Letters that were sent again and taken, and when in partition time.
    retried: BTreeMap<EventId, i64>,
}

/// The memory written down, as it stands in an archive manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Partition time, milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Stream, highest number seen, and how many seconds of partition time ago; by stream.
    pub streams: Vec<(Stream, u64, i64)>,
    /// Dead letters that were sent again and taken: stream, number, and how many seconds ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<(Stream, u64, i64)>,
}

/// Most letters that are remembered; the oldest go first.
const RETRIED_MAX: usize = 100_000;

/// How often the memory is searched for what to forget, in milliseconds of partition time.
const SWEEP_EVERY_MS: i64 = 3_600_000;

impl Dedupe {
    /// An empty memory.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, clock_ms: 0, swept_ms: 0, streams: HashMap::new(), retried: BTreeMap::new() }
    }

    /// The memory as it was written down.
    #[must_use]
    pub fn restore(bounds: Bounds, snapshot: &Snapshot) -> Self {
        let at_ms = |ago_s: i64| snapshot.clock_ms.saturating_sub(ago_s.saturating_mul(1_000));
        let streams = snapshot
            .streams
            .iter()
            .map(|&(stream, seq, ago_s)| (stream, Seen { seq, at_ms: at_ms(ago_s) }));
        let retried = snapshot
            .retried
            .iter()
            .map(|&(stream, seq, ago_s)| (EventId { stream, seq }, at_ms(ago_s)));
        Self {
            bounds,
            clock_ms: snapshot.clock_ms,
            swept_ms: snapshot.clock_ms,
            streams: streams.collect(),
            retried: retried.collect(),
        }
    }

    /// Writes the memory down.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut streams: Vec<_> = self
            .streams
            .iter()
            .map(|(&stream, seen)| (stream, seen.seq, (self.clock_ms - seen.at_ms) / 1_000))
            .collect();
        streams.sort_unstable();
        let ago_s = |at_ms: i64| (self.clock_ms - at_ms) / 1_000;
        let retried = self.retried.iter().map(|(id, &at_ms)| (id.stream, id.seq, ago_s(at_ms)));
        Snapshot { clock_ms: self.clock_ms, streams, retried: retried.collect() }
    }

    /// Whether the event is new, [`Dedupe::is_new`] or as a letter that is sent again.
    pub fn takes(&mut self, id: EventId, retried: bool, kafka_ms: i64, now_ms: i64) -> bool {
        if retried {
            self.is_new_letter(id, kafka_ms, now_ms)
        } else {
            self.is_new(id, kafka_ms, now_ms)
        }
    }

    /// Whether a dead letter that is sent again is taken: once, whatever came of its stream meanwhile.
    fn is_new_letter(&mut self, id: EventId, kafka_ms: i64, now_ms: i64) -> bool {
        if self.retried.contains_key(&id) {
            return false;
        }
        self.clock_ms = self.clock_ms.max(kafka_ms.min(now_ms));
        self.retried.insert(id, self.clock_ms);
        if self.retried.len() > RETRIED_MAX {
            self.sweep();
        }
        true
    }

    /// Whether the event is new; remembers it if so. `kafka_ms` is the stamp of its record, `now_ms`
    /// the wall clock.
    pub fn is_new(&mut self, id: EventId, kafka_ms: i64, now_ms: i64) -> bool {
        let seen = self.streams.get(&id.stream).is_some_and(|seen| id.seq <= seen.seq);
        if seen || self.retried.contains_key(&id) {
            return false;
        }
        self.clock_ms = self.clock_ms.max(kafka_ms.min(now_ms));
        let seen = Seen { seq: id.seq, at_ms: self.clock_ms };
        self.streams.insert(id.stream, seen);
        if self.streams.len() > self.bounds.streams_max
            || self.clock_ms - self.swept_ms >= SWEEP_EVERY_MS
        {
            self.sweep();
        }
        true
    }

    /// How many streams are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn sweep(&mut self) {
        self.swept_ms = self.clock_ms;
        let oldest_ms = self.clock_ms - self.bounds.keep_ms;
        self.streams.retain(|_, seen| seen.at_ms >= oldest_ms);
        self.retried.retain(|_, at_ms| *at_ms >= oldest_ms);
        if self.retried.len() > RETRIED_MAX {
            // An eighth more than needed, here as well.
            let keep = RETRIED_MAX - RETRIED_MAX / 8;
            let mut ages: Vec<_> = self.retried.iter().map(|(id, at_ms)| (*at_ms, *id)).collect();
            ages.sort_unstable_by(|a, b| b.cmp(a));
            for (_, id) in ages.split_off(keep) {
                self.retried.remove(&id);
            }
        }
        if self.streams.len() > self.bounds.streams_max {
            // An eighth more than needed, so that a full memory is not searched at every event.
            let keep = self.bounds.streams_max - self.bounds.streams_max / 8;
            let mut ages: Vec<_> = self.streams.iter().map(|(s, e)| (e.at_ms, *s)).collect();
            ages.sort_unstable_by(|a, b| b.cmp(a));
            let forgotten = ages.split_off(keep);
            tracing::warn!(
                forgotten = forgotten.len(),
                "more streams in one partition than are remembered; what is sent again of the \
                 oldest would be archived twice"
            );
            for (_, stream) in forgotten {
                self.streams.remove(&stream);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    fn id(stream: u64, seq: u64) -> EventId {
        EventId { stream: Stream(stream), seq }
    }

    #[test]
    fn a_number_not_above_the_highest_is_a_duplicate() {
        let mut dedupe = Dedupe::new(Bounds::default());
        let taken: Vec<bool> = [(1, 1), (1, 5), (1, 5), (1, 3), (2, 3), (1, 6)]
            .into_iter()
            .map(|(stream, seq)| dedupe.is_new(id(stream, seq), 0, 0))
            .collect();
        assert_eq!(taken, [true, true, false, false, true, true]);
    }

    #[test]
    fn a_letter_sent_again_is_taken_once_behind_higher_numbers() {
        let mut dedupe = Dedupe::new(Bounds::default());
        assert!(dedupe.is_new(id(1, 9), 0, 0));
        assert!(dedupe.takes(id(1, 5), true, 0, 0));
        assert!(!dedupe.takes(id(1, 5), true, 0, 0));
        // One above the highest does not make those between duplicates.
        assert!(dedupe.takes(id(1, 12), true, 0, 0));
        assert!(dedupe.is_new(id(1, 10), 0, 0));
        assert!(!dedupe.is_new(id(1, 12), 0, 0));
        assert!(dedupe.is_new(id(1, 13), 0, 0));
    }

    #[test]
    fn letters_sent_again_are_bounded_by_count_and_age() {
        let mut dedupe = Dedupe::new(Bounds { keep_ms: DAY_MS, ..Bounds::default() });
        for seq in 1..=RETRIED_MAX as u64 + 5 {
            // Half of them of one moment.
            assert!(dedupe.takes(id(1, seq), true, (seq as i64).min(50_000), DAY_MS));
        }
        assert!(dedupe.retried.len() <= RETRIED_MAX);
        assert!(!dedupe.takes(id(1, RETRIED_MAX as u64 + 5), true, 0, DAY_MS));
        assert!(dedupe.is_new(id(2, 1), 3 * DAY_MS, 3 * DAY_MS));
        assert!(dedupe.retried.is_empty());
    }

    #[test]
    fn what_is_silent_for_long_is_forgotten_and_nothing_else() {
        let mut dedupe = Dedupe::new(Bounds { keep_ms: 10 * DAY_MS, ..Bounds::default() });
        let now = 100 * DAY_MS;
        assert!(dedupe.is_new(id(1, 1), DAY_MS, now));
        assert!(dedupe.is_new(id(2, 1), 9 * DAY_MS, now));
        assert!(dedupe.is_new(id(3, 1), 12 * DAY_MS, now));
        assert_eq!(dedupe.len(), 2);
        assert!(!dedupe.is_new(id(2, 1), 12 * DAY_MS, now));
    }

    #[test]
    fn a_stamp_from_the_future_wipes_nothing() {
        let mut dedupe = Dedupe::new(Bounds::default());
        let now = 100 * DAY_MS;
        assert!(dedupe.is_new(id(1, 1), now, now));
        assert!(dedupe.is_new(id(2, 1), i64::MAX, now));
        assert!(!dedupe.is_new(id(1, 1), now, now));
    }

    #[test]
    fn the_memory_is_bounded_by_count() {
        let mut dedupe = Dedupe::new(Bounds { streams_max: 80, ..Bounds::default() });
        for stream in 1..=1_000 {
            assert!(dedupe.is_new(id(stream, 1), i64::try_from(stream).unwrap(), DAY_MS));
            assert!(dedupe.len() <= 80);
        }
        assert!(!dedupe.is_new(id(1_000, 1), DAY_MS, DAY_MS));
    }

    proptest! {
        #[test]
        fn a_memory_read_back_answers_the_same(
            before in proptest::collection::vec((1u64..6, 1u64..20, 0i64..1_000_000, any::<bool>()), 0..40),
            after in proptest::collection::vec((1u64..6, 1u64..20, 0i64..1_000_000, any::<bool>()), 0..40),
        ) {
            let mut first = Dedupe::new(Bounds::default());
            for (stream, seq, ms, retried) in before {
                first.takes(id(stream, seq), retried, ms, i64::MAX);
            }
            let json = serde_json::to_string(&first.snapshot()).unwrap();
            let mut second = Dedupe::restore(Bounds::default(), &serde_json::from_str(&json).unwrap());
            for (stream, seq, ms, retried) in after {
                prop_assert_eq!(
                    first.takes(id(stream, seq), retried, ms, i64::MAX),
                    second.takes(id(stream, seq), retried, ms, i64::MAX)
                );
            }
        }
    }
}
