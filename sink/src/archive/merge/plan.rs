//! Plan: which objects become one.
//!
//! In: a chain of the catalogue. Out: runs of its entries, each to be merged. Pure. Promises: a run is a row of
//! neighbours of one hour that is over, each small, together no larger than the target; the last two objects of a partition are in
//! none: one of them is named by the committed note, the other may be written anew. The last two are those of the highest
//! offsets and, as a topic that was made anew begins at 0 again, those of the latest hours.

use super::super::{Chain, Entry};

/// Entries at the end of a chain, and of its hours, that stay as they are.
const LAST: usize = 2;

/// What may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Hours before this one are over, counted since the Unix epoch.
    pub(super) over_before: i64,
    /// Largest size of a merged object, about.
    pub(super) target_bytes: u64,
}

/// Objects that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Two or more, by offset; one at least of a merge that was begun.
    pub(super) entries: Vec<Entry>,
    /// A merge that was begun and not finished: it is done again under the same name.
    pub(super) begun: Option<Entry>,
}

/// The runs of a chain.
pub(super) fn plan(chain: &Chain, rule: Rule) -> Vec<Run> {
    let begun = |entry: &Entry| chain.unfinished.iter().any(|begun| begun.covers(entry));
    let again = chain.unfinished.iter().map(|begun| Run {
        entries: chain.entries.iter().filter(|entry| begun.covers(entry)).copied().collect(),
        begun: Some(*begun),
    });
    let mut runs: Vec<Run> = again.filter(|run| !run.entries.is_empty()).collect();
    let may_go = chain.entries.len().saturating_sub(LAST);
    let mut by_hour: Vec<&Entry> = chain.entries.iter().collect();
    by_hour.sort_unstable_by_key(|entry| (entry.hour, entry.first_offset));
    let newest = &by_hour[may_go..];
    let mut run: Vec<Entry> = Vec::new();
    let close = |run: &mut Vec<Entry>, runs: &mut Vec<Run>| {
        let entries = std::mem::take(run);
        if entries.len() > 1 {
            runs.push(Run { entries, begun: None });
        }
    };
    for entry in &chain.entries[..may_go] {
        let is_small = entry.bytes < rule.target_bytes / 2;
        let is_over = i64::from(entry.hour) < rule.over_before;
        let is_whole = entry.has_object && entry.has_manifest;
        let bytes: u64 = run.iter().map(|entry| entry.bytes).sum();
        let goes_on = run.last().is_none_or(|last| last.hour == entry.hour)
            && bytes + entry.bytes <= rule.target_bytes;
        if !goes_on {
            close(&mut run, &mut runs);
        }
        let is_newest = newest.contains(&entry);
        if is_small && is_over && is_whole && !is_newest && !begun(entry) {
            run.push(*entry);
        } else {
            close(&mut run, &mut runs);
        }
    }
    close(&mut run, &mut runs);
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_models::topic::Topic;

    use super::*;
    use crate::consume::Partition;

    const RULE: Rule = Rule { over_before: 10, target_bytes: 100 };

    fn chain(entries: Vec<Entry>) -> Chain {
        Chain {
            partition: Partition { topic: Topic::Logs, number: 0 },
            topic_name: "weir.logs".into(),
            entries,
            covered: Vec::new(),
            unfinished: Vec::new(),
        }
    }

    fn entry(first_offset: i64, hour: i32, bytes: u64) -> Entry {
        Entry { first_offset, hour, bytes, has_object: true, has_manifest: true, next_offset: None }
    }

    fn runs(chain: &Chain) -> Vec<Vec<i64>> {
        let offsets = |run: Run| run.entries.iter().map(|entry| entry.first_offset).collect();
        plan(chain, RULE).into_iter().map(offsets).collect()
    }

    #[test]
    fn neighbours_of_an_hour_that_is_over_become_one() {
        let mut many = chain((0..8).map(|n| entry(n, 3, 20)).collect());
        assert_eq!(runs(&many), [vec![0, 1, 2, 3, 4]]);
        many.entries.extend([entry(8, 4, 20), entry(9, 4, 20), entry(10, 4, 60), entry(11, 4, 1)]);
        assert_eq!(runs(&many), [vec![0, 1, 2, 3, 4], vec![5, 6, 7], vec![8, 9]]);
        // Not over, not whole, or the last two.
        assert!(runs(&chain((0..8).map(|n| entry(n, 10, 20)).collect())).is_empty());
        many.entries[6].has_manifest = false;
        assert_eq!(runs(&many), [vec![0, 1, 2, 3, 4], vec![8, 9]]);
        assert!(runs(&chain(vec![entry(0, 3, 1), entry(1, 3, 1), entry(2, 3, 1)])).is_empty());
    }

    #[test]
    fn the_newest_of_a_topic_that_was_made_anew_stay() {
        let old = (100..104).map(|n| entry(n, 3, 1));
        let new = (0..4).map(|n| entry(n, 5, 1));
        assert_eq!(runs(&chain(new.chain(old).collect())), [vec![0, 1], vec![100, 101]]);
    }

    #[test]
    fn what_was_begun_is_done_again_as_it_was() {
        let mut begun = chain((0..9).map(|n| entry(n, 3, 1)).collect());
        let half = Entry { next_offset: Some(4), has_manifest: false, ..entry(1, 3, 9) };
        begun.unfinished.push(half);
        assert_eq!(runs(&begun), [vec![1, 2, 3], vec![4, 5, 6]]);
        assert_eq!(plan(&begun, RULE)[0].begun, Some(half));
    }

    proptest! {
        #[test]
        fn a_run_keeps_the_rule(sizes in proptest::collection::vec((0i32..12, 0u64..120), 0..40)) {
            let entries = sizes.iter().enumerate().map(|(n, &(hour, size))| entry(n as i64, hour, size));
            let chain = chain(entries.collect());
            let mut seen = std::collections::BTreeSet::new();
            for run in plan(&chain, RULE) {
                prop_assert!(run.entries.len() > 1);
                prop_assert!(run.entries.iter().map(|one| one.bytes).sum::<u64>() <= 100);
                let first = run.entries[0];
                for (at, one) in run.entries.iter().enumerate() {
                    prop_assert_eq!(one.first_offset, first.first_offset + at as i64);
                    prop_assert_eq!(one.hour, first.hour);
                    prop_assert!(one.hour < 10 && one.bytes < 50);
                    prop_assert!((one.first_offset as usize) < sizes.len() - 2);
                    prop_assert!(seen.insert(one.first_offset));
                }
            }
        }
    }
}
