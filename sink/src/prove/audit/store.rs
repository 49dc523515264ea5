//! Store: the readings that a store holds, as digests by device and day.
//!
//! In: a store and the archive's digests. Out: where the two differ. One device is in memory at a time, of each
//! of its series a page. What can go wrong: the store does not answer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, date, day};

use super::digest::Digest;
use super::read::{Gathered, Place};
use crate::store::{Series, Store, StoreError, TimeRange};

/// Rows of a series that are read at once.
const PAGE: usize = 20_000;
/// Series that are read at once.
const AT_ONCE: usize = 8;

/// A device and a day that archive and store hold differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Differs {
    pub(super) site: String,
    pub(super) device: String,
    /// UTC.
    pub(super) date: String,
    /// Values in the archive.
    pub(super) archived: u64,
    /// Values in the store. As many, where only their content differs.
    pub(super) stored: u64,
}

/// What came of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Compared {
    /// Devices and days that are the same.
    pub(super) same: u64,
    /// Devices and days of which readings wait in Kafka: not judged.
    pub(super) open: u64,
    pub(super) differ: Vec<Differs>,
}

/// The range of some days.
fn range_of(days: &RangeInclusive<i32>) -> TimeRange {
    let start = |day: i32| i64::from(day).saturating_mul(DAY_US);
    TimeRange { from_us: start(*days.start()), to_us: start(days.end().saturating_add(1)) }
}

/// Compares the days of all devices.
pub(super) async fn compare(
    store: &dyn Store,
    gathered: &mut Gathered,
    days: &RangeInclusive<i32>,
    step: impl Fn(&str),
) -> Result<Compared, StoreError> {
    let range = range_of(days);
    let mut compared = Compared::default();
    for site in store.sites().await? {
        let mut devices: BTreeMap<String, Vec<SeriesKey>> = BTreeMap::new();
        for Series { key, .. } in store.series(&site, None).await? {
            devices.entry(key.device.clone()).or_default().push(key);
        }
        for (device, series) in devices {
            step(&device);
            let stored = futures_util::stream::iter(series)
                .map(|key| async move { digests(store, &key, range).await })
                .buffer_unordered(AT_ONCE)
                .try_fold(BTreeMap::<i32, Digest>::new(), |mut sum, part| async move {
                    for (day, digest) in part {
                        sum.entry(day).or_default().merge(digest);
                    }
                    Ok(sum)
                })
                .await?;
            let from = (site.clone(), device.clone(), i32::MIN)..=(site.clone(), device, i32::MAX);
            let mut archived: Vec<Place> =
                gathered.digests.range(from.clone()).map(|(p, _)| p.clone()).collect();
            let (site, device, _) = from.start();
            let more = stored.keys().map(|&day| (site.clone(), device.clone(), day));
            archived.extend(more.filter(|place| !gathered.digests.contains_key(place)));
            for place in archived {
                let held = gathered.digests.remove(&place).unwrap_or_default();
                let stored = stored.get(&place.2).copied().unwrap_or_default();
                compared.add(gathered, place, held, stored);
            }
        }
    }
    // What is left is of devices that the store does not know.
    for (place, held) in std::mem::take(&mut gathered.digests) {
        compared.add(gathered, place, held, Digest::default());
    }
    Ok(compared)
}

impl Compared {
    fn add(&mut self, gathered: &Gathered, place: Place, archived: Digest, stored: Digest) {
        if archived == stored {
            self.same += 1;
        } else if gathered.open.contains(&place) {
            self.open += 1;
        } else {
            let (site, device, day) = place;
            let date = date(i64::from(day).saturating_mul(DAY_US));
            let (archived, stored) = (archived.values, stored.values);
            self.differ.push(Differs { site, device, date, archived, stored });
        }
    }
}

/// The digests of one series, read page by page.
async fn digests(
    store: &dyn Store,
    key: &SeriesKey,
    range: TimeRange,
) -> Result<BTreeMap<i32, Digest>, StoreError> {
    let mut digests: BTreeMap<i32, Digest> = BTreeMap::new();
    let (mut range, mut limit) = (range, PAGE);
    loop {
        let mut points = store.readings(key, range, limit).await?;
        let is_last = points.len() < limit;
        // Of the last stamp of a full page there may be more: it comes again with the next one.
        let next_us = points.last().map(|point| point.ts_us).filter(|_| !is_last);
        points.retain(|point| Some(point.ts_us) != next_us);
        for point in &points {
            let id = weir_models::ident::EventId { stream: point.stream, seq: point.seq };
            digests.entry(day(point.ts_us)).or_default().add(
                &key.metric,
                point.ts_us,
                id,
                point.value,
            );
        }
        let Some(next_us) = next_us else {
            return Ok(digests);
        };
        // One stamp fills the page: a larger one.
        limit = if points.is_empty() { limit.saturating_mul(2) } else { PAGE };
        range.from_us = next_us;
    }
}
