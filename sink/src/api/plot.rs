//! Plot: a range of a series as few values, whatever it holds.
//!
//! In: a series, a range, how many bins at most. Out: the values themselves where they are few, else bins and the worst
//! anomaly of each. Wide bins are made of the store's windows by minute or by hour, which sealed days have ready: a year costs
//! what a day does. Bins then begin and end with a minute or an hour; what sticks out at both ends of the range is made of
//! values, and so are narrow bins. Promises: constant memory; nothing is read but the range. What can go wrong: more rows would have to be
//! read than one answer may cost; then the answer says where to go on.

use futures_util::TryStreamExt;
use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::bins::Binner;
use super::readings::Readings;
use crate::store::sealed::Roll;
use crate::store::{Point, Store, StoreError, TimeRange};

/// Widths of windows that bins are made of, widest first.
const STEPS_US: [i64; 2] = [HOUR_US, 60 * SECOND_US];
/// A bin of fewer windows is made of the next narrower ones, or of values: rounded to whole windows it would be too wide.
const STEPS_A_BIN: i64 = 4;

/// At most `bins_max` values or bins of a range. Ends, and tells so, when more than `rows_max` rows were read.
pub(super) async fn plot(
    store: &dyn Store,
    key: &SeriesKey,
    range: TimeRange,
    bins_max: usize,
    rows_max: u64,
) -> Result<Readings, StoreError> {
    let plot = Plot { store, key, range, bins_max, rows_max };
    let width_us = Binner::new(range, bins_max, 1).width_us();
    match STEPS_US.into_iter().find(|step_us| width_us >= STEPS_A_BIN * step_us) {
        Some(step_us) => plot.of_windows(step_us).await,
        None => plot.of_values().await,
    }
}

struct Plot<'a> {
    store: &'a dyn Store,
    key: &'a SeriesKey,
    range: TimeRange,
    bins_max: usize,
    rows_max: u64,
}

impl Plot<'_> {
    async fn of_values(&self) -> Result<Readings, StoreError> {
        let mut binner = Binner::new(self.range, self.bins_max, 1);
        let mut points: Vec<Point> = Vec::new();
        let (mut n, mut next_from_us) = (0u64, None);
        let mut chunks = self.store.scan(self.key, self.range);
        'all: while let Some(chunk) = chunks.try_next().await? {
            for point in chunk {
                if n >= self.rows_max {
                    next_from_us = Some(point.ts_us);
                    break 'all;
                }
                n += 1;
                binner.push(&point);
                if points.len() <= self.bins_max {
                    points.push(point);
                }
            }
        }
        drop(chunks);
        let answer = self.answer(&binner, next_from_us);
        if points.len() <= self.bins_max && next_from_us.is_none() {
            return Ok(Readings { points, ..answer });
        }
        Ok(binned(answer, binner))
    }

    async fn of_windows(&self, step_us: i64) -> Result<Readings, StoreError> {
        let mut binner = Binner::new(self.range, self.bins_max, step_us);
        let TimeRange { from_us, to_us } = self.range;
        // What lies between is whole windows.
        let outer = self.range.whole_windows(step_us);
        let first_us = if outer.from_us == from_us { from_us } else { outer.from_us + step_us };
        let last_us = if outer.to_us == to_us { to_us } else { outer.to_us - step_us };

        let mut read = self.push(TimeRange { from_us, to_us: first_us }, &mut binner).await?;
        let (mut next_us, mut days) = (first_us, 1i64);
        while next_us < last_us && read < self.rows_max {
            let end_us = next_us.saturating_add(days.saturating_mul(DAY_US)).min(last_us);
            let span = TimeRange { from_us: next_us, to_us: end_us };
            let windows = self.store.rollups(self.key, span, step_us).await?;
            read += windows.points as u64;
            windows.rolls.iter().for_each(|roll| binner.add(roll));
            read += self.worst_of(&windows.rolls, step_us, &mut binner).await?;
            // Many rows take long, so that it is looked after each day how many there were.
            days = if windows.points == 0 { days.saturating_mul(2) } else { 1 };
            next_us = end_us;
        }
        if next_us < last_us {
            let answer = self.answer(&binner, Some(next_us));
            return Ok(binned(answer, binner));
        }
        self.push(TimeRange { from_us: last_us, to_us }, &mut binner).await?;
        if binner.n() <= self.bins_max as u64 {
            return self.of_values().await;
        }
        let answer = self.answer(&binner, None);
        Ok(binned(answer, binner))
    }

    /// Adds the values of a part of the range; how many there were.
    async fn push(&self, part: TimeRange, binner: &mut Binner) -> Result<u64, StoreError> {
        let mut n = 0;
        if !part.is_empty() {
            let mut chunks = self.store.scan(self.key, part);
            while let Some(points) = chunks.try_next().await? {
                n += points.len() as u64;
                points.iter().for_each(|point| binner.push(point));
            }
        }
        Ok(n)
    }

    /// Looks for the anomalies of those windows that have any; how many values were read for that.
    async fn worst_of(
        &self,
        windows: &[Roll],
        step_us: i64,
        binner: &mut Binner,
    ) -> Result<u64, StoreError> {
        let mut n = 0;
        for part in spans_with_anomalies(windows, step_us) {
            let mut chunks = self.store.scan(self.key, part);
            while let Some(points) = chunks.try_next().await? {
                n += points.len() as u64;
                points.iter().filter(|point| point.is_anomaly()).for_each(|p| binner.worst(p));
            }
        }
        Ok(n)
    }

    fn answer(&self, binner: &Binner, next_from_us: Option<i64>) -> Readings {
        Readings {
            from_us: self.range.from_us,
            to_us: self.range.to_us,
            n: binner.n(),
            anomalies_n: binner.anomalies_n(),
            truncated: next_from_us.is_some(),
            next_from_us,
            ..Readings::default()
        }
    }
}

fn binned(answer: Readings, binner: Binner) -> Readings {
    let bin_us = Some(binner.width_us());
    let (bins, anomalies) = binner.finish();
    Readings { bin_us, bins, anomalies, ..answer }
}

/// The times of windows with anomalies; those of one day together, for sealed values are read a day at a time.
fn spans_with_anomalies(windows: &[Roll], step_us: i64) -> Vec<TimeRange> {
    let mut spans: Vec<TimeRange> = Vec::new();
    for window in windows.iter().filter(|window| window.anomalies_n > 0) {
        let to_us = window.ts_us.saturating_add(step_us);
        match spans.last_mut() {
            Some(last) if last.from_us.div_euclid(DAY_US) == window.ts_us.div_euclid(DAY_US) => {
                last.to_us = to_us;
            }
            _ => spans.push(TimeRange { from_us: window.ts_us, to_us }),
        }
    }
    spans
}
