//! Catalogue: what is recorded of series, log hosts and sites, remembered so that a reading does not
//! cost a read or a write of its record.
//!
//! In: the records as read and as written. Out: the widths of the buckets, and what a batch adds to
//! a record. Promises: bounded ([`REMEMBERED_MAX`] of each kind, the longest unused goes); what is
//! remembered was written before. The recorded first stamp is exact; the last one is exact to the
//! day, which is all that reading needs ([`TimeRange::of_extent`]).
//!
//! [`TimeRange::of_extent`]: crate::store::TimeRange::of_extent

use std::collections::BTreeMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::store::bucket::{Widths, day_end};
use crate::store::census::Extent;
use crate::store::layout::{Filling, Layout, Narrower};

/// How many series, and as many hosts and sites, are remembered: about 50 MB of series, more where many have narrower buckets.
const REMEMBERED_MAX: NonZeroUsize = match NonZeroUsize::new(100_000) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What is recorded of a series, a log host, or the alerts of a site.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Whether there is a record at all.
    pub(super) recorded: bool,
    pub(super) layout: Layout,
    pub(super) extent: Option<Extent>,
    pub(super) unit: Option<String>,
    /// What this instance wrote to the newest buckets; not recorded.
    filling: Filling,
}

/// A record as it is stored: first stamp, last stamp, widths, narrower widths.
pub(super) type Record =
    (Option<i64>, Option<i64>, Option<BTreeMap<i64, i64>>, Option<BTreeMap<i64, i64>>);

/// What a batch adds to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Addition {
    pub(super) record: bool,
    pub(super) unit: bool,
    pub(super) first_us: Option<i64>,
    pub(super) last_us: Option<i64>,
    pub(super) narrower: Option<Narrower>,
}

impl Known {
    /// From what was read; nothing where there is no row yet.
    pub(super) fn read(row: Option<Record>, unit: Option<String>, width_us: i64) -> Self {
        let recorded = row.is_some();
        let (first_us, last_us, widths, narrower) = row.unwrap_or_default();
        let widths = Widths::recorded(widths.unwrap_or_default(), width_us);
        let extent = first_us.zip(last_us);
        Self {
            recorded,
            layout: Layout::new(widths, narrower.unwrap_or_default()),
            extent: extent.map(|(first_us, last_us)| Extent { first_us, last_us }),
            unit,
            filling: Filling::default(),
        }
    }

    /// What is to be written for a batch, and what is known once that is done.
    pub(super) fn add(&self, seen: Option<Extent>, unit: Option<&str>) -> (Addition, Self) {
        let mut after = self.clone();
        let mut addition = Addition { record: !self.recorded, ..Addition::default() };
        after.recorded = true;
        if let Some(unit) = unit.filter(|unit| self.unit.as_deref() != Some(unit)) {
            addition.unit = true;
            after.unit = Some(unit.into());
        }
        if let Some(seen) = seen {
            let known = self.extent;
            let earlier = known.is_none_or(|known| seen.first_us < known.first_us);
            let later = known.is_none_or(|known| seen.last_us >= day_end(known.last_us));
            addition.first_us = earlier.then_some(seen.first_us);
            addition.last_us = later.then_some(seen.last_us);
            let extent = after.extent.get_or_insert(seen);
            extent.first_us = addition.first_us.unwrap_or(extent.first_us);
            extent.last_us = addition.last_us.unwrap_or(extent.last_us);
        }
        (addition, after)
    }

    /// Counts rows that are written, told by stamp and weight; see [`Layout::fill`]. What is found holds for this
    /// batch already: its record is written with the rows, and neither is confirmed without the other. Where that fails
    /// nothing is remembered, and the same rows find it again.
    pub(super) fn fill(
        &mut self,
        rows: impl Iterator<Item = (i64, u64)>,
        ladder: &[i64],
        max: u64,
    ) -> Option<Narrower> {
        let narrower = self.layout.fill(&mut self.filling, rows, ladder, max);
        if let Some(narrower) = narrower {
            self.layout.add(narrower);
        }
        narrower
    }
}

/// What is remembered of one kind.
#[derive(Debug)]
pub(super) struct Remembered<K: Hash + Eq>(Mutex<LruCache<K, Arc<Known>>>);

impl<K: Hash + Eq> Remembered<K> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED_MAX)))
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<Known>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(key).cloned()
    }

    pub(super) fn put(&self, entries: impl IntoIterator<Item = (K, Known)>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, known) in entries {
            cache.put(key, Arc::new(known));
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_models::time::DAY_US;

    use super::*;

    fn extent(first_us: i64, last_us: i64) -> Option<Extent> {
        Some(Extent { first_us, last_us })
    }

    #[test]
    fn a_record_is_written_when_it_is_new_or_its_day_changes() {
        let new = Known::read(None, None, 10);
        let (addition, known) = new.add(extent(5, 9), Some("C"));
        let all = Addition {
            record: true,
            unit: true,
            first_us: Some(5),
            last_us: Some(9),
            narrower: None,
        };
        assert_eq!(addition, all);
        let (addition, same) = known.add(extent(6, DAY_US - 1), Some("C"));
        assert_eq!((addition, &same), (Addition::default(), &known));
        let (addition, _) = known.add(extent(6, DAY_US), None);
        assert_eq!((addition.first_us, addition.last_us), (None, Some(DAY_US)));
        let (addition, known) = known.add(extent(-1, 3), Some("F"));
        assert_eq!((addition.first_us, addition.last_us), (Some(-1), None));
        assert!(addition.unit && known.extent == extent(-1, 9));
    }

    #[test]
    fn a_half_written_record_is_completed() {
        let known = Known::read(Some((Some(5), None, None, None)), None, 10);
        let (addition, _) = known.add(extent(6, 7), None);
        assert!(!addition.record);
        assert_eq!((addition.first_us, addition.last_us), (Some(6), Some(7)));
    }
}
