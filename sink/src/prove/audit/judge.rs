//! Judge: what the numbers of a stream tell. Pure.
//!
//! In: which numbers of a stream the archive holds, which are lost by its markers, which wait in Kafka, which
//! are dead letters. Out: every number is one of archived, lost, waiting, dead or missing, and what the archive
//! holds twice is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use weir_models::ident::{EventId, Stream};

use super::seen::{Seen, Span, join, without};

/// Most ranges of one kind that are named for one stream.
const RANGES_MAX: usize = 1_000;

/// What is known of one stream.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) agent: Arc<str>,
    archived: Seen,
    events: u64,
    twice: Seen,
    /// By loss markers.
    lost: Vec<Span>,
    /// In Kafka, not in the archive yet.
    waiting: Seen,
    /// In the topic of dead letters.
    dead: Seen,
    /// Lowest and highest number in the hours that are judged.
    judged: Option<Span>,
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams(pub(super) BTreeMap<Stream, Known>);

impl Streams {
    /// An event is in the archive, in an hour that is judged or beside.
    pub(super) fn archived(&mut self, agent: &str, id: EventId, is_judged: bool) {
        let known = self.0.entry(id.stream).or_default();
        if known.agent.is_empty() {
            known.agent = agent.into();
        }
        known.events += 1;
        if !known.archived.add(id.seq) {
            known.twice.add(id.seq);
        }
        if is_judged {
            let (first, last) = known.judged.unwrap_or((id.seq, id.seq));
            known.judged = Some((first.min(id.seq), last.max(id.seq)));
        }
    }

    /// A manifest says that these numbers are among what was archived; its object may be gone.
    pub(super) fn told(&mut self, agent: &Arc<str>, stream: Stream, (first, last): Span) {
        let known = self.0.entry(stream).or_default();
        known.agent = Arc::clone(agent);
        let (low, high) = known.judged.unwrap_or((first, last));
        known.judged = Some((low.min(first), high.max(last)));
    }

    /// A loss marker names these numbers.
    pub(super) fn lost(&mut self, stream: Stream, span: Span) {
        self.0.entry(stream).or_default().lost.push(span);
    }

    /// An event is in Kafka and not archived yet.
    pub(super) fn waiting(&mut self, id: EventId) {
        self.0.entry(id.stream).or_default().waiting.add(id.seq);
    }

    /// An event is a dead letter.
    pub(super) fn dead(&mut self, id: EventId) {
        self.0.entry(id.stream).or_default().dead.add(id.seq);
    }
}

/// Some ranges, and how many numbers there are in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ranges {
    pub(super) events: u64,
    /// First and last number of each range, a thousand ranges at most.
    pub(super) ranges: Vec<Span>,
}

impl Ranges {
    fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut all = Self::default();
        for (first, last) in spans {
            all.events = all.events.saturating_add((last - first).saturating_add(1));
            if all.ranges.len() < RANGES_MAX {
                all.ranges.push((first, last));
            }
        }
        all
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (", self.events)?;
        for (at, (first, last)) in self.ranges.iter().take(20).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if first == last {
                write!(f, "{comma}{first}")?
            } else {
                write!(f, "{comma}{first} to {last}")?
            }
        }
        if self.ranges.len() > 20 { write!(f, ", ...)") } else { write!(f, ")") }
    }
}

/// What is said of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) agent: String,
    pub(super) stream: Stream,
    /// First and last number that were judged.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Events in the archive, with what is read beside the range.
    pub(super) archived: u64,
    /// Under a loss marker.
    pub(super) lost: Ranges,
    /// In Kafka and not archived yet.
    pub(super) open: Ranges,
    /// Among the dead letters.
    pub(super) dead: Ranges,
    /// Nowhere.
    pub(super) missing: Ranges,
    /// In the archive more than once.
    pub(super) twice: Ranges,
}

impl Verdict {
    /// Whether all is as it should be.
    pub(super) fn is_well(&self) -> bool {
        self.dead.events == 0 && self.missing.events == 0 && self.twice.events == 0
    }
}

/// Judges a stream; from its first number on when `from_one`, else from the first that was met. None when
/// nothing of it is in the hours that are judged. With `to_end` dead letters count behind the last number, too, and
/// of a stream of which nothing was archived.
pub(super) fn judge(
    stream: Stream,
    known: &Known,
    from_one: bool,
    to_end: bool,
) -> Option<Verdict> {
    let dead_behind = |last: u64| -> Vec<Span> {
        let behind = known.dead.runs().filter(|_| to_end).filter(|run| run.1 > last);
        behind
            .map(|(first, end)| (first.max(last.saturating_add(1)), end))
            .flat_map(|span| without(span, known.archived.runs()))
            .flat_map(|span| without(span, known.waiting.runs()))
            .collect()
    };
    let Some((first, last)) = known.judged else {
        let dead = if from_one { dead_behind(0) } else { Vec::new() };
        let (first, last) = (dead.first()?.0, dead.last()?.1);
        return Some(Verdict {
            agent: known.agent.to_string(),
            stream,
            first,
            last,
            archived: 0,
            lost: Ranges::default(),
            open: Ranges::default(),
            dead: Ranges::of(dead),
            missing: Ranges::default(),
            twice: Ranges::default(),
        });
    };
    let first = if from_one { 1 } else { first };
    let mut lost = known.lost.clone();
    lost.sort_unstable();
    let lost: Vec<Span> = join(lost.into_iter()).collect();
    let absent = without((first, last), known.archived.runs());
    // What a marker names may be there all the same; only what is not counts as lost.
    let taken_out = |spans: Vec<Span>, by: &dyn Fn(Span) -> Vec<Span>| -> (Vec<Span>, Vec<Span>) {
        let left: Vec<Span> = spans.iter().flat_map(|&span| by(span)).collect();
        let gone = spans.iter().flat_map(|&span| without(span, left.iter().copied())).collect();
        (gone, left)
    };
    let (lost, left) = taken_out(absent, &|span| without(span, lost.iter().copied()));
    let (open, left) = taken_out(left, &|span| without(span, known.waiting.runs()));
    let (mut dead, missing) = taken_out(left, &|span| without(span, known.dead.runs()));
    dead.extend(dead_behind(last));
    Some(Verdict {
        agent: known.agent.to_string(),
        stream,
        first,
        last,
        archived: known.events,
        lost: Ranges::of(lost),
        open: Ranges::of(open),
        dead: Ranges::of(dead),
        missing: Ranges::of(missing),
        twice: Ranges::of(known.twice.runs()),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: Stream = Stream(7);

    fn id(seq: u64) -> EventId {
        EventId { stream: STREAM, seq }
    }

    fn verdict(streams: &Streams, from_one: bool) -> Verdict {
        judge(STREAM, &streams.0[&STREAM], from_one, false).unwrap()
    }

    #[test]
    fn every_number_has_its_place() {
        let mut streams = Streams::default();
        for seq in [4, 5, 9, 9, 12, 20] {
            streams.archived("gw", id(seq), true);
        }
        streams.lost(STREAM, (5, 7));
        streams.lost(STREAM, (6, 8));
        for seq in [18, 19, 21, 30] {
            streams.waiting(id(seq));
        }
        streams.dead(id(11));
        let found = verdict(&streams, true);
        assert_eq!((found.first, found.last, found.archived), (1, 20, 6));
        assert_eq!(found.lost.ranges, [(6, 8)]);
        assert_eq!(found.open.ranges, [(18, 19)]);
        assert_eq!(found.dead.ranges, [(11, 11)]);
        assert_eq!(found.missing.ranges, [(1, 3), (10, 10), (13, 17)]);
        assert_eq!(found.missing.events, 9);
        assert_eq!(found.missing.to_string(), "9 (1 to 3, 10, 13 to 17)");
        assert_eq!(found.twice.ranges, [(9, 9)]);
        assert!(!found.is_well());
        // With a range of time what lies before the first one is not judged.
        assert_eq!(verdict(&streams, false).missing.ranges, [(10, 10), (13, 17)]);
    }

    #[test]
    fn what_lies_beside_the_range_fills_its_holes_and_is_not_judged() {
        let mut streams = Streams::default();
        for (seq, is_judged) in [(2, false), (10, true), (11, false), (12, true), (15, false)] {
            streams.archived("gw", id(seq), is_judged);
        }
        let found = verdict(&streams, false);
        assert_eq!((found.first, found.last), (10, 12));
        assert!(found.is_well());
        let mut beside = Streams::default();
        beside.archived("gw", id(3), false);
        assert_eq!(judge(STREAM, &beside.0[&STREAM], true, true), None);
    }

    #[test]
    fn dead_letters_behind_the_last_number_are_told() {
        let mut streams = Streams::default();
        (1..=5).for_each(|seq| streams.archived("gw", id(seq), true));
        (6..=8).for_each(|seq| streams.dead(id(seq)));
        streams.waiting(id(7));
        let found = judge(STREAM, &streams.0[&STREAM], true, true).unwrap();
        assert_eq!((found.last, &*found.dead.ranges), (5, &[(6, 6), (8, 8)][..]));
        assert!(!found.is_well() && verdict(&streams, true).is_well());

        let mut only = Streams::default();
        only.dead(id(3));
        let found = judge(STREAM, &only.0[&STREAM], true, true).unwrap();
        assert_eq!((found.first, found.last, found.archived), (3, 3, 0));
        assert!(!found.is_well());
        assert_eq!(judge(STREAM, &only.0[&STREAM], true, false), None);
    }

    #[test]
    fn an_object_that_is_gone_is_missed_by_its_manifest() {
        let mut streams = Streams::default();
        (1..=5).for_each(|seq| streams.archived("gw", id(seq), true));
        streams.told(&"gw".into(), STREAM, (6, 9));
        assert_eq!(verdict(&streams, true).missing.ranges, [(6, 9)]);
    }

    proptest! {
        #[test]
        fn what_is_absent_is_counted_once(
            archived in proptest::collection::btree_set(1u64..60, 1..50),
            lost in proptest::collection::vec((1u64..60, 0u64..8), 0..4),
            waiting in proptest::collection::btree_set(1u64..60, 0..9),
            dead in proptest::collection::btree_set(1u64..60, 0..9),
        ) {
            let mut streams = Streams::default();
            archived.iter().for_each(|&seq| streams.archived("gw", id(seq), true));
            waiting.iter().for_each(|&seq| streams.waiting(id(seq)));
            dead.iter().for_each(|&seq| streams.dead(id(seq)));
            lost.iter().for_each(|&(first, more)| streams.lost(STREAM, (first, first + more)));
            let found = verdict(&streams, true);
            let parts = [&found.lost, &found.open, &found.dead, &found.missing];
            let absent: u64 = parts.iter().map(|part| part.events).sum();
            prop_assert_eq!(absent + archived.len() as u64, found.last);
            let is_lost = |n: u64| lost.iter().any(|&(first, more)| (first..=first + more).contains(&n));
            for number in 1..=found.last {
                let place = parts.map(|part| {
                    part.ranges.iter().filter(|(a, b)| (*a..=*b).contains(&number)).count()
                });
                let expected = if archived.contains(&number) {
                    [0, 0, 0, 0]
                } else if is_lost(number) {
                    [1, 0, 0, 0]
                } else if waiting.contains(&number) {
                    [0, 1, 0, 0]
                } else if dead.contains(&number) {
                    [0, 0, 1, 0]
                } else {
                    [0, 0, 0, 1]
                };
                prop_assert_eq!(place, expected, "{}", number);
            }
        }
    }
}
