//! Close readings: what sealing does with the readings of a device and a day.
//!
//! In: hot rows by metric, and the parts that a seal lists. Out: the rows that go into a part, and that part in
//! the store. One part at a time is in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::close::{Content, Gone, Kind, encoded};
use super::plan::{clusters, join, without};
use super::read::{Found, missing, points_of};
use super::{DeviceDay, Look, PartRef, Position, Seal, SealStore};
use crate::store::sealed::{Part, encode};
use crate::store::{Point, StoreError, TimeRange};

type Rows = Vec<(String, Vec<Point>)>;

/// The readings of a device and a day.
pub(super) struct Readings<'a> {
    day: &'a DeviceDay,
    metrics: Vec<String>,
}

impl<'a> Readings<'a> {
    pub(super) async fn of(store: &dyn SealStore, day: &'a DeviceDay) -> Result<Self, StoreError> {
        let metrics = store.metrics(&day.site, &day.device).await?;
        Ok(Self { day, metrics })
    }
}

#[async_trait]
impl Kind for Readings<'_> {
    type Rows = Rows;

    async fn hot(
        &self,
        store: &dyn SealStore,
        window: TimeRange,
        rows_max: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let from = Position::at(window.from_us);
        let one_stamp = window.to_us - window.from_us <= 1;
        let mut left = rows_max;
        let mut rows = Rows::new();
        for metric in &self.metrics {
            let limit = if one_stamp { usize::MAX } else { left + 1 };
            let key = self.day.key(metric);
            let points = store.hot(&key, from, window.to_us, limit, Look::Sure).await?;
            if points.len() > left && !one_stamp {
                return Ok(None);
            }
            left = left.saturating_sub(points.len());
            if !points.is_empty() {
                rows.push((metric.clone(), points));
            }
        }
        Ok(Some(rows))
    }

    fn weight(rows: &Rows) -> usize {
        rows.iter().map(|(_, points)| points.len()).sum()
    }

    async fn content(
        &self,
        store: &dyn SealStore,
        rows: &Rows,
        seal: &Seal,
        merged: &[PartRef],
    ) -> Result<Result<Content<Rows>, Gone>, StoreError> {
        let mut content = Content { rows: Rows::new(), new: 0 };
        let names = rows.iter().map(|(metric, _)| metric);
        let names: BTreeSet<&String> =
            names.chain(merged.iter().flat_map(|part| &part.metrics)).collect();
        for metric in names {
            let own = rows.iter().find(|(name, _)| name == metric);
            let fresh = own.map(|(_, points)| points.clone()).unwrap_or_default();
            let fresh = match self.fresh(store, metric, fresh, seal).await? {
                Ok(fresh) => fresh,
                Err(gone) => return Ok(Err(gone)),
            };
            content.new += fresh.len();
            let points = match points_of(store, self.day, metric, merged).await? {
                Found::All(old) => join(vec![old, fresh]),
                Found::Missing(id) => return Ok(Err(Gone { metric: metric.clone(), id })),
            };
            if !points.is_empty() {
                content.rows.push((metric.clone(), points));
            }
        }
        Ok(Ok(content))
    }

    async fn put(&self, store: &dyn SealStore, rows: Rows) -> Result<(PartRef, usize), StoreError> {
        let part = encoded(self.day, move || encode(&rows)).await?;
        store.put_part(self.day, &part).await?;
        Ok((PartRef::of(&part), bytes(&part)))
    }

    fn missing(&self, gone: &Gone) -> StoreError {
        missing(self.day, &gone.metric, gone.id)
    }
}

impl Readings<'_> {
    /// The points of a metric that no listed part holds.
    async fn fresh(
        &self,
        store: &dyn SealStore,
        metric: &str,
        mut fresh: Vec<Point>,
        seal: &Seal,
    ) -> Result<Result<Vec<Point>, Gone>, StoreError> {
        // Part by part, so that never more than one is in memory.
        for (range, parts) in clusters(seal.parts.iter().filter(|part| part.has(metric))) {
            let touches = |point: &Point| range.from_us <= point.ts_us && point.ts_us < range.to_us;
            if !fresh.iter().any(touches) {
                continue;
            }
            for part in &parts {
                match points_of(store, self.day, metric, std::slice::from_ref(part)).await? {
                    Found::All(held) => fresh = without(fresh, &held),
                    Found::Missing(id) => return Ok(Err(Gone { metric: metric.to_owned(), id })),
                }
            }
        }
        Ok(Ok(fresh))
    }
}

fn bytes(part: &Part) -> usize {
    let episodes = part.episodes.iter();
    part.stamps.len()
        + episodes.map(|e| e.body.len() + e.minutes.len() + e.hours.len()).sum::<usize>()
}
