//! Close lines: what sealing does with the log lines of a site and an hour.
//!
//! In: hot lines, and the parts that a seal lists. Out: the lines that go into a part, and that part in the store.
//! One part at a time is in memory.

use std::collections::HashSet;

use async_trait::async_trait;

use super::close::{Content, Gone, Kind, encoded};
use super::search::{damaged, lines_of, missing};
use super::{DeviceDay, LINES, PartRef, Seal, SealStore};
use crate::store::sealed::{Block, LinePart, encode_lines, place_of, weight_of};
use crate::store::{LogRow, StoreError, TimeRange};

/// The lines of a site and an hour.
pub(super) struct Lines<'a> {
    pub(super) hour: &'a DeviceDay,
    pub(super) site: &'a str,
}

#[async_trait]
impl Kind for Lines<'_> {
    type Rows = Vec<LogRow>;

    async fn hot(
        &self,
        store: &dyn SealStore,
        window: TimeRange,
        rows_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        let one_stamp = window.to_us - window.from_us <= 1;
        let weight_max = if one_stamp { usize::MAX } else { rows_max };
        let rows = store.hot_lines(self.site, window, weight_max).await?;
        Ok(rows.map(in_order))
    }

    fn weight(rows: &Vec<LogRow>) -> usize {
        rows.iter().map(weight_of).sum()
    }

    async fn content(
        &self,
        store: &dyn SealStore,
        rows: &Vec<LogRow>,
        seal: &Seal,
        merged: &[PartRef],
    ) -> Result<Result<Content<Vec<LogRow>>, Gone>, StoreError> {
        let mut fresh = rows.clone();
        let mut all = Vec::new();
        for part in &seal.parts {
            let in_part = |row: &LogRow| part.t0_us <= row.ts_us && row.ts_us <= part.t1_us;
            let is_merged = merged.contains(part);
            if !is_merged && !fresh.iter().any(in_part) {
                continue;
            }
            let Some(blocks) = lines_of(store, self.hour, part.id).await? else {
                return Ok(Err(Gone { metric: LINES.to_owned(), id: part.id }));
            };
            let held = self.read(part.id, &blocks)?;
            let places: HashSet<_> = held.iter().map(place_of).collect();
            fresh.retain(|row| !places.contains(&place_of(row)));
            drop(places);
            if is_merged {
                all.extend(held);
            }
        }
        let new = fresh.len();
        all.extend(fresh);
        Ok(Ok(Content { rows: in_order(all), new }))
    }

    async fn put(
        &self,
        store: &dyn SealStore,
        rows: Vec<LogRow>,
    ) -> Result<(PartRef, usize), StoreError> {
        let part = encoded(self.hour, move || encode_lines(&rows)).await?;
        store.put_lines(self.hour, &part).await?;
        Ok((PartRef::of_lines(&part), bytes(&part)))
    }

    fn missing(&self, gone: &Gone) -> StoreError {
        missing(self.hour, gone.id)
    }
}

impl Lines<'_> {
    fn read(&self, id: i64, blocks: &[Vec<u8>]) -> Result<Vec<LogRow>, StoreError> {
        let mut rows = Vec::new();
        for blob in blocks {
            let block = Block::decode(blob).and_then(|block| block.rows(self.site));
            rows.extend(block.map_err(|error| damaged(self.hour, id, &error))?);
        }
        Ok(rows)
    }
}

/// In the order of blocks, each line once: of those that are told twice the one that is told first.
fn in_order(mut rows: Vec<LogRow>) -> Vec<LogRow> {
    rows.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
    rows.dedup_by(|a, b| place_of(a) == place_of(b));
    rows
}

fn bytes(part: &LinePart) -> usize {
    part.heads.len() + part.blocks.iter().map(Vec::len).sum::<usize>()
}
