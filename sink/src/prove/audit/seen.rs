//! Seen: which numbers of a stream were met. Pure.
//!
//! In: numbers in any order. Out: which came twice, which never did. Memory: runs are kept as ranges, what
//! is being filled as one bit a number; partitions fill each other's holes, so little is.

use std::collections::BTreeMap;

/// Numbers in a chunk.
const CHUNK: u64 = 4_096;
const WORDS: usize = (CHUNK / 64) as usize;

/// First and last number.
pub(crate) type Span = (u64, u64);

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// By the first chunk of each piece.
    pieces: BTreeMap<u64, Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// All chunks up to and without this one.
    Full(u64),
    /// Some of one chunk, and how many.
    Part(Box<[u64; WORDS]>, u64),
}

impl Seen {
    /// Adds a number; says whether it is new.
    pub(crate) fn add(&mut self, number: u64) -> bool {
        let (chunk, at) = (number / CHUNK, number % CHUNK);
        if let Some((&first, Piece::Full(end))) = self.pieces.range(..=chunk).next_back()
            && (first..*end).contains(&chunk)
        {
            return false;
        }
        let piece =
            self.pieces.entry(chunk).or_insert_with(|| Piece::Part(Box::new([0; WORDS]), 0));
        let Piece::Part(words, count) = piece else {
            return false;
        };
        let (word, bit) = (&mut words[(at / 64) as usize], 1 << (at % 64));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        *count += 1;
        if *count == CHUNK {
            self.fill(chunk);
        }
        true
    }

    /// The chunk is complete: it becomes one with complete neighbours.
    fn fill(&mut self, chunk: u64) {
        let mut end = chunk + 1;
        if let Some(Piece::Full(next)) = self.pieces.get(&end) {
            let next = *next;
            self.pieces.remove(&end);
            end = next;
        }
        self.pieces.remove(&chunk);
        match self.pieces.range_mut(..chunk).next_back() {
            Some((_, Piece::Full(before))) if *before == chunk => *before = end,
            _ => {
                self.pieces.insert(chunk, Piece::Full(end));
            }
        }
    }

    /// The runs of numbers that were added, in order, none touching the next.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Span> + '_ {
        join(self.pieces.iter().flat_map(|(&chunk, piece)| {
            let base = chunk * CHUNK;
            let runs: Vec<Span> = match piece {
                Piece::Full(end) => vec![(base, end.saturating_mul(CHUNK) - 1)],
                Piece::Part(words, _) => {
                    let set = |at: &u64| words[(at / 64) as usize] & (1 << (at % 64)) != 0;
                    join((0..CHUNK).filter(set).map(|at| (base + at, base + at))).collect()
                }
            };
            runs
        }))
    }
}

/// Makes one of spans that touch or overlap; they come in the order of their first numbers.
pub(crate) fn join(spans: impl Iterator<Item = Span>) -> impl Iterator<Item = Span> {
    let mut spans = spans.peekable();
    std::iter::from_fn(move || {
        let (first, mut last) = spans.next()?;
        while let Some((_, end)) = spans.next_if(|(next, _)| *next <= last.saturating_add(1)) {
            last = last.max(end);
        }
        Some((first, last))
    })
}

/// What of `whole` is in none of the spans, which come joined and in order.
pub(crate) fn without(whole: Span, spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let (mut next, last) = whole;
    let mut left = Vec::new();
    for (first, end) in spans {
        if first > last || next > last {
            break;
        }
        if first > next {
            left.push((next, first - 1));
        }
        next = next.max(end.saturating_add(1));
    }
    if next <= last {
        left.push((next, last));
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn complete_chunks_become_one_range() {
        let mut seen = Seen::default();
        // Two partitions that fill each other's holes, over three chunks.
        for odd in [1, 0] {
            for number in (odd..3 * CHUNK).step_by(2) {
                assert!(seen.add(number));
            }
        }
        assert_eq!(seen.pieces.len(), 1);
        assert_eq!(seen.runs().collect::<Vec<_>>(), [(0, 3 * CHUNK - 1)]);
        assert!(!seen.add(CHUNK));
        assert!(seen.add(u64::MAX / 2));
    }

    #[test]
    fn what_is_left_of_a_span_is_named_by_range() {
        let left = |spans: &[Span]| without((1, 10), spans.iter().copied());
        assert_eq!(left(&[]), [(1, 10)]);
        assert_eq!(left(&[(0, 3), (5, 6), (12, 20)]), [(4, 4), (7, 10)]);
        assert_eq!(left(&[(0, 20)]), []);
        assert_eq!(left(&[(10, 10)]), [(1, 9)]);
        assert_eq!(without((5, 4), std::iter::empty()), []);
    }

    proptest! {
        #[test]
        fn a_set_of_numbers_is_what_it_is(
            numbers in proptest::collection::vec(0u64..3 * CHUNK, 0..200),
            blocks in proptest::collection::vec((0u64..3, 0u64..2), 0..4),
            whole in (0u64..2 * CHUNK, 0u64..4 * CHUNK),
        ) {
            let (mut seen, mut model) = (Seen::default(), BTreeSet::new());
            let filled = blocks.iter().flat_map(|(chunk, skip)| chunk * CHUNK + skip..(chunk + 1) * CHUNK);
            for number in numbers.into_iter().chain(filled) {
                prop_assert_eq!(seen.add(number), model.insert(number));
            }
            let listed: Vec<u64> = seen.runs().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
            prop_assert!(seen.runs().zip(seen.runs().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
            let left = without(whole, seen.runs());
            let left: Vec<u64> = left.into_iter().flat_map(|(first, last)| first..=last).collect();
            let expected: Vec<u64> = (whole.0..=whole.1).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
