//! Windows: rollups of a series by minute, hour or day.
//!
//! In: a series, a range and the width of the windows. Out: the windows that hold values, ascending, and how many
//! points were read for them; each
//! as if it were made of the points. Of sealed days they come from the stored rollups; of days with hot
//! rows, and where stored rollups would have to be guessed from (parts that overlap, or too few points to
//! be worth rollups), from the points.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::plan::Piece;
use super::read::{damaged, pieces, scan};
use super::{DeviceDay, SealStore, last_of_block, span_of};
use crate::store::bucket::window_start;
use crate::store::sealed::{Roll, decode_rolls, rolls_of};
use crate::store::{Rolls, StoreError, TimeRange};

/// Windows of `step_us` that `range` touches, ascending, each whole.
pub(crate) async fn rollups(
    store: &dyn SealStore,
    key: &SeriesKey,
    range: TimeRange,
    step_us: i64,
) -> Result<Rolls, StoreError> {
    let range = range.whole_windows(step_us);
    let mut windows = Windows { step_us, rolls: Vec::new() };
    let (mut stored, mut read) = (Stored::of(step_us), 0);
    let mut pieces = pieces(store, key, range).await?.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        // Pieces of one day that need no hot rows belong together.
        let mut day = vec![piece];
        while let Some(next) = pieces.next_if(|next| is_of_day(&day[0], next)) {
            day.push(next);
        }
        let kept = match &mut stored {
            Some(stored) => stored.rolls(store, key, range, &day).await?,
            None => None,
        };
        match kept {
            Some(rolls) => rolls.iter().for_each(|roll| windows.add(roll)),
            None => {
                for piece in day {
                    let mut chunks = scan(store, key, piece.range, usize::MAX);
                    while let Some(points) = chunks.try_next().await? {
                        read += points.len();
                        rolls_of(&points, step_us).iter().for_each(|roll| windows.add(roll));
                    }
                }
            }
        }
    }
    Ok(Rolls { rolls: windows.rolls, points: read })
}

fn is_of_day(first: &Piece, next: &Piece) -> bool {
    first.hot.is_none() && next.hot.is_none() && first.span() == next.span()
}

/// Windows of one width, made of narrower ones in order of time.
struct Windows {
    step_us: i64,
    rolls: Vec<Roll>,
}

impl Windows {
    fn add(&mut self, roll: &Roll) {
        let ts_us = window_start(roll.ts_us, self.step_us);
        match self.rolls.last_mut() {
            Some(last) if last.ts_us == ts_us => last.merge(roll),
            _ => self.rolls.push(Roll { ts_us, ..roll.clone() }),
        }
    }
}

/// Stored rollups as they are needed.
struct Stored {
    step_s: i32,
    /// Bodies by day and part, fetched up to here.
    bodies: BTreeMap<(i64, i64), Vec<u8>>,
    fetched: Option<i64>,
}

impl Stored {
    /// The widest stored windows that `step_us` can be made of.
    fn of(step_us: i64) -> Option<Self> {
        let step_s = match step_us {
            _ if step_us > 0 && step_us % HOUR_US == 0 && DAY_US % step_us == 0 => 3_600,
            _ if step_us > 0 && step_us % (60 * SECOND_US) == 0 && DAY_US % step_us == 0 => 60,
            _ => return None,
        };
        Some(Self { step_s, bodies: BTreeMap::new(), fetched: None })
    }

    /// The rollups of a sealed day within `range`; none when they have to be made of the points.
    async fn rolls(
        &mut self,
        store: &dyn SealStore,
        key: &SeriesKey,
        range: TimeRange,
        pieces: &[Piece],
    ) -> Result<Option<Vec<Roll>>, StoreError> {
        let apart = |piece: &Piece| piece.hot.is_none() && piece.parts.len() == 1;
        if !pieces.iter().all(apart) {
            return Ok(None);
        }
        let span = pieces[0].span();
        if self.fetched.is_none_or(|fetched| fetched < span) {
            // What lies in one partition is fetched at once.
            let last = last_of_block(self.step_s, span).min(span_of(range.to_us - 1));
            let rows = store.rolls(key, self.step_s, span, last).await?;
            self.bodies = rows.into_iter().map(|(span, id, body)| ((span, id), body)).collect();
            self.fetched = Some(last);
        }
        let mut rolls = Vec::new();
        for part in pieces.iter().flat_map(|piece| &piece.parts) {
            let Some(body) = self.bodies.get(&(span, part.id)) else {
                return Ok(None);
            };
            decode_rolls(body, &mut rolls).map_err(|error| {
                let day = DeviceDay { site: key.site.clone(), device: key.device.clone(), span };
                damaged(&day, &key.metric, part.id, &error)
            })?;
        }
        rolls.retain(|roll| range.from_us <= roll.ts_us && roll.ts_us < range.to_us);
        Ok(Some(rolls))
    }
}
