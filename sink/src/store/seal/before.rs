//! Before sealing: marks for rows that were written when there were none.
//!
//! In: the list of series, and the hours of hot lines. Out: one mark for each device and day that may hold rows, and
//! for each site and hour that has lines (SQLite marks these in the migration itself). Promises: doing it twice is
//! harmless, the mark is always the same. Days of readings that nobody can seal in a sensible time (a stamp of the
//! year 200,000 makes millions of days) are left out: what has no mark and no part is read from hot rows as before.

use std::collections::{BTreeMap, BTreeSet};

use weir_models::time::now_us;

use super::{BEFORE_SEALING, DeviceDay, LEFT, Mark, SealStore, span_of};
use crate::store::{Store, StoreError};

/// Days back where hot rows stay for ever.
const DAYS_MAX: i64 = 3_660;
/// How many marks are under way at once.
const MARKS_AT_ONCE: usize = 5_000;
/// The one mark of this owner in any seal.
const MARK: i64 = 1;

/// Marks the last `hot_days` days of every device (0: about ten years) as far as it has rows there.
pub(crate) async fn mark_before_sealing<S: Store + SealStore>(
    store: &S,
    hot_days: i64,
) -> Result<(), StoreError> {
    let days = if hot_days == 0 { DAYS_MAX } else { hot_days };
    let today = span_of(now_us());
    for site in store.sites().await? {
        let mut marks = BTreeSet::new();
        for series in store.series(&site, None).await? {
            let first = span_of(series.first_us).max(today - days);
            let last = span_of(series.last_us).min(today + 1);
            marks.extend((first..=last).map(|span| {
                let day = DeviceDay { site: site.clone(), device: series.key.device.clone(), span };
                Mark { day, mark: MARK }
            }));
        }
        put(store, &site, marks).await?;
    }
    Ok(())
}

/// Marks every site and hour of which there are lines, so that one without a seal surely has none.
pub(crate) async fn mark_before_sealing_lines<S: SealStore>(
    store: &S,
    hours: BTreeSet<(String, i64)>,
) -> Result<(), StoreError> {
    let mut marks: BTreeMap<String, BTreeSet<Mark>> = BTreeMap::new();
    for (site, hour) in hours {
        let day = DeviceDay::of_lines(&site, hour);
        marks.entry(site).or_default().insert(Mark { day, mark: MARK });
    }
    for (site, marks) in marks {
        put(store, &site, marks).await?;
    }
    Ok(())
}

async fn put<S: SealStore>(store: &S, site: &str, marks: BTreeSet<Mark>) -> Result<(), StoreError> {
    let marks: Vec<Mark> = marks.into_iter().collect();
    if !marks.is_empty() {
        store.beat(BEFORE_SEALING, LEFT).await?;
    }
    for some in marks.chunks(MARKS_AT_ONCE) {
        store.add_marks(BEFORE_SEALING, some).await?;
    }
    tracing::info!(site, marks = marks.len(), "marked rows from before sealing");
    Ok(())
}
