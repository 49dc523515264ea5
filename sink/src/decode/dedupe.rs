//! Dedupe: which events of a partition were seen before.
//!
//! In: stream and number of every event of one partition, in the order of its offsets. Out: new or
//! duplicate. Within one partition the events of a stream come with rising numbers (an agent sends
//! a stream in order and Kafka keeps the order), so a number that is not above the highest one seen
//! is a duplicate, and one number per stream is all there is to remember.
//!
//! Promises: the memory can be written down and read back exactly, so it survives a restart and a
//! rebalance with the committed offset. It is bounded: a stream of which nothing came for
//! [`Bounds::keep_ms`] of the partition's time is forgotten, and so are the streams that were silent
//! longest when there are more than [`Bounds::streams_max`]. What was forgotten and is sent again is taken
//! as new: the store overwrites the same row, the archive holds it twice. Partition time is the
//! highest Kafka stamp seen, never ahead of the wall clock, so that one stamp from a wrong clock
//! neither wipes nor freezes the memory.

use std::collections::HashMap;

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
}

/// The memory written down, as it stands in an archive manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Partition time, milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Stream, highest number seen, and how many seconds of partition time ago; by stream.
    pub streams: Vec<(Stream, u64, i64)>,
}

/// How often the memory is searched for what to forget, in milliseconds of partition time.
const SWEEP_EVERY_MS: i64 = 3_600_000;

impl Dedupe {
    /// An empty memory.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, clock_ms: 0, swept_ms: 0, streams: HashMap::new() }
    }

    /// The memory as it was written down.
    #[must_use]
    pub fn restore(bounds: Bounds, snapshot: &Snapshot) -> Self {
        let streams = snapshot.streams.iter().map(|&(stream, seq, ago_s)| {
            let at_ms = snapshot.clock_ms.saturating_sub(ago_s.saturating_mul(1_000));
            (stream, Seen { seq, at_ms })
        });
        Self {
            bounds,
            clock_ms: snapshot.clock_ms,
            swept_ms: snapshot.clock_ms,
            streams: streams.collect(),
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
        Snapshot { clock_ms: self.clock_ms, streams }
    }

    /// Whether the event is new; remembers it if so. `kafka_ms` is the stamp of its record, `now_ms`
    /// the wall clock.
    pub fn is_new(&mut self, id: EventId, kafka_ms: i64, now_ms: i64) -> bool {
        if self.streams.get(&id.stream).is_some_and(|seen| id.seq <= seen.seq) {
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
            before in proptest::collection::vec((1u64..6, 1u64..20, 0i64..1_000_000), 0..40),
            after in proptest::collection::vec((1u64..6, 1u64..20, 0i64..1_000_000), 0..40),
        ) {
            let mut first = Dedupe::new(Bounds::default());
            for (stream, seq, ms) in before {
                first.is_new(id(stream, seq), ms, i64::MAX);
            }
            let json = serde_json::to_string(&first.snapshot()).unwrap();
            let mut second = Dedupe::restore(Bounds::default(), &serde_json::from_str(&json).unwrap());
            for (stream, seq, ms) in after {
                prop_assert_eq!(
                    first.is_new(id(stream, seq), ms, i64::MAX),
                    second.is_new(id(stream, seq), ms, i64::MAX)
                );
            }
        }
    }
}
