//! Read: what the leaves of a query need of the store.
//!
//! In: leaves and the times of evaluation. Out: for each series that a leaf chooses a row with a number, or none,
//! for each time. Promises: memory and work are bounded; a series is read once, in ascending time, and no more of
//! it is kept than its widest window. What can go wrong: more series, points or values than the limits let
//! through (the error says what to change), the store.
//!
//! Long ranges read rollups: see [`roll_width_us`]. A window made of rollups holds its begin and not its end, where
//! one of values holds its end and not its begin. The newest value may also be the one at the end: a rollup that
//! begins there and knows none after it says it. Nothing else differs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::ident::SeriesKey;
use weir_models::limit::{QUERY_POINTS_MAX, QUERY_SAMPLES_MAX, QUERY_SERIES_MAX};
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::answer::Fault;
use super::ast::{Leaf, Selector};
use super::compute::{Grid, Row, too_much};
use super::fold::{Fold, Sample};
use super::names::{Labels, Matcher, NAME, all_take, labels_of};
use crate::store::bucket::window_start;
use crate::store::sealed::{Roll, rolls_of};
use crate::store::{Rolls, Series, Store, TimeRange};

/// Spans up to this are read as they are.
const RAW_SPAN_US: i64 = DAY_US;
/// Narrowest windows that are worth it: those which sealed days keep.
const ROLL_WIDTH_US: i64 = 60 * SECOND_US;
/// Most windows of rollups in memory for a series.
const ROLLS_MAX: i64 = 100_000;
/// Series or sites read at once.
const AT_ONCE: usize = 4;
/// Series whose labels are matched before others have their turn: patterns may be slow.
const MATCHED_AT_ONCE: usize = 64;

/// Where rows come from, and how many may still be read.
pub(super) struct Reader<'a> {
    store: &'a dyn Store,
    lookback_us: i64,
    rows_max: u64,
    rows: AtomicU64,
    points: AtomicU64,
    samples: AtomicU64,
}

/// Series with their labels, by key.
pub(super) type Found = BTreeMap<SeriesKey, (Labels, Series)>;

/// The series that fulfil all matchers of any of `sets` and may have values in `span`.
pub(super) async fn find(
    store: &dyn Store,
    sets: &[Vec<Matcher>],
    span: Option<TimeRange>,
) -> Result<Found, Fault> {
    let mut found = Found::new();
    let sites = store.sites().await?;
    // A site's list is read once, whatever the number of sets.
    let mut lists = Vec::new();
    for site in &sites {
        let takes = |set: &&Vec<Matcher>| of(set, "site").all(|matcher| matcher.takes(site));
        let mut asking = sets.iter().filter(takes);
        let Some(first) = asking.next() else { continue };
        let device =
            only_device(first).filter(|device| asking.all(|set| only_device(set) == Some(*device)));
        lists.push(store.series(site, device));
    }
    let mut lists = stream::iter(lists).buffered(AT_ONCE);
    while let Some(list) = lists.try_next().await? {
        for (i, series) in list.into_iter().enumerate() {
            if i % MATCHED_AT_ONCE == MATCHED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let extent = TimeRange::of_extent(series.first_us, series.last_us);
            let labels = labels_of(&series);
            let in_span = span.is_none_or(|span| !span.intersect(extent).is_empty());
            if in_span && sets.iter().any(|matchers| all_take(matchers, &labels)) {
                found.insert(series.key.clone(), (labels, series));
            }
        }
    }
    Ok(found)
}

fn of<'a>(matchers: &'a [Matcher], label: &'static str) -> impl Iterator<Item = &'a Matcher> {
    matchers.iter().filter(move |matcher| matcher.label == label)
}

/// The only device that the matchers may choose.
fn only_device(matchers: &[Matcher]) -> Option<&str> {
    of(matchers, "device").find_map(Matcher::only).filter(|device| !device.is_empty())
}

impl<'a> Reader<'a> {
    /// Reads at most `rows_max` stored values; a selector without a range looks back so far.
    pub(super) fn new(store: &'a dyn Store, lookback_us: i64, rows_max: u64) -> Self {
        let [rows, points, samples] = [0; 3].map(AtomicU64::new);
        Self { store, lookback_us, rows_max, rows, points, samples }
    }

    /// The rows of a leaf, by labels; series without a number are left out.
    pub(super) async fn rows(&self, leaf: &Leaf, grid: Grid) -> Result<Vec<Row>, Fault> {
        let range_us = leaf.range_us.unwrap_or(self.lookback_us);
        let ends = grid.moved(-leaf.selector.offset_us);
        let found = self.series(&leaf.selector, ends.span(range_us)).await?;
        let points = found.len() as u64 * ends.steps as u64;
        if self.points.fetch_add(points, Relaxed) + points > QUERY_POINTS_MAX {
            return Err(Fault::execution(format!(
                "the query would make more than {QUERY_POINTS_MAX} points: choose fewer series by more labels, a wider `step` or a shorter range"
            )));
        }
        let sweep = Sweep { fold: leaf.fold, range_us, ends };
        let mut reads = Vec::with_capacity(found.len());
        for (key, (labels, _)) in found {
            reads.push(self.row(key, labels, sweep));
        }
        let rows: Vec<Row> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok(rows.into_iter().filter(|row| row.values.iter().any(Option::is_some)).collect())
    }

    /// The values of a range as they are: `x[5m]` as a whole query.
    pub(super) async fn matrix(
        &self,
        selector: &Selector,
        range_us: i64,
        at_us: i64,
    ) -> Result<Vec<(Labels, Vec<Sample>)>, Fault> {
        let to_us = at_us - selector.offset_us;
        let span = TimeRange { from_us: to_us - range_us + 1, to_us: to_us + 1 };
        let mut rows = Vec::new();
        for (key, (labels, _)) in self.series(selector, span).await? {
            let mut samples: Vec<Sample> = Vec::new();
            let mut chunks = self.store.scan(&key, span);
            while let Some(chunk) = chunks.try_next().await? {
                self.count_rows(chunk.len())?;
                chunk.iter().for_each(|point| push(&mut samples, point.ts_us, point.value));
            }
            let points = samples.len() as u64;
            if self.points.fetch_add(points, Relaxed) + points > QUERY_POINTS_MAX {
                return Err(Fault::execution(format!(
                    "the answer would have more than {QUERY_POINTS_MAX} values: choose fewer series or a shorter range"
                )));
            }
            if !samples.is_empty() {
                rows.push((labels, samples));
            }
        }
        Ok(rows)
    }

    async fn series(&self, selector: &Selector, span: TimeRange) -> Result<Found, Fault> {
        let sets = [selector.matchers.clone()];
        let found = find(self.store, &sets, Some(span)).await?;
        if found.len() > QUERY_SERIES_MAX {
            return Err(Fault::execution(format!(
                "a selector chooses {} series, more than {QUERY_SERIES_MAX}: name a site, a device or a metric",
                found.len()
            )));
        }
        Ok(found)
    }

    async fn row(&self, key: SeriesKey, mut labels: Labels, sweep: Sweep) -> Result<Row, Fault> {
        if !sweep.fold.keeps_name() {
            labels.remove(NAME);
        }
        let values = match sweep.roll_width_us() {
            Some(width_us) => self.of_rolls(&key, sweep, width_us).await?,
            None if sweep.is_long_window() => vec![self.of_both(&key, sweep).await?],
            None => self.of_values(&key, sweep).await?,
        };
        Ok(Row { labels, values })
    }

    async fn of_values(&self, key: &SeriesKey, sweep: Sweep) -> Result<Vec<Option<f64>>, Fault> {
        let mut windows = Windows::of(sweep);
        let mut chunks = self.store.scan(key, sweep.ends.span(sweep.range_us));
        while let Some(chunk) = chunks.try_next().await? {
            self.count_rows(chunk.len())?;
            chunk.iter().for_each(|point| windows.push(point.ts_us, point.value));
            self.count_samples(std::mem::take(&mut windows.touched))?;
        }
        let (values, touched) = windows.finish();
        self.count_samples(touched)?;
        Ok(values)
    }

    /// How many values were looked at.
    pub(super) fn samples(&self) -> u64 {
        self.samples.load(Relaxed)
    }

    /// Rollups count as values that are looked at; what they had to be made of counts as read.
    async fn rolls(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        width_us: i64,
    ) -> Result<Vec<Roll>, Fault> {
        let Rolls { rolls, points } = self.store.rollups(key, range, width_us).await?;
        self.count_rows(points)?;
        self.count_samples(rolls.len() as u64)?;
        Ok(rolls)
    }

    async fn of_rolls(
        &self,
        key: &SeriesKey,
        sweep: Sweep,
        width_us: i64,
    ) -> Result<Vec<Option<f64>>, Fault> {
        let rolls = self.rolls(key, sweep.roll_range(width_us), width_us).await?;
        let (values, touched) = sweep.windows_of_rolls(&rolls, width_us);
        self.count_samples(touched)?;
        Ok(values)
    }

    /// One long window that begins and ends anywhere: whole hours of rollups, and the values at both ends.
    async fn of_both(&self, key: &SeriesKey, sweep: Sweep) -> Result<Option<f64>, Fault> {
        let span = sweep.ends.span(sweep.range_us);
        let from_us = window_start(span.from_us + HOUR_US - 1, HOUR_US);
        let to_us = window_start(span.to_us, HOUR_US).max(from_us);
        let whole = TimeRange { from_us, to_us };
        let ends = [
            TimeRange { to_us: whole.from_us, ..span },
            TimeRange { from_us: whole.to_us, ..span },
        ];
        let mut rolls = self.rolls(key, whole, HOUR_US).await?;
        for end in ends.into_iter().filter(|end| !end.is_empty()) {
            let mut chunks = self.store.scan(key, end);
            while let Some(chunk) = chunks.try_next().await? {
                self.count_rows(chunk.len())?;
                rolls.extend(rolls_of(&chunk, HOUR_US));
            }
        }
        let all = rolls.into_iter().reduce(|mut all, roll| {
            all.merge(&roll);
            all
        });
        Ok(all.and_then(|roll| sweep.fold.of_roll(&roll, span.from_us - 1)))
    }

    fn count_rows(&self, n: usize) -> Result<(), Fault> {
        if self.rows.fetch_add(n as u64, Relaxed) + n as u64 > self.rows_max {
            return Err(Fault::execution(format!(
                "the query would read more than {} stored values: take a shorter range or fewer series; with `start`, `step` and windows of whole minutes, selectors and avg, min, max, sum and count over time read rollups of the days that are sealed",
                self.rows_max
            )));
        }
        Ok(())
    }

    fn count_samples(&self, n: u64) -> Result<(), Fault> {
        if self.samples.fetch_add(n, Relaxed) + n > QUERY_SAMPLES_MAX {
            return Err(Fault::execution(too_much()));
        }
        Ok(())
    }
}

/// Of values of one stamp the last one counts: Prometheus has one value a stamp.
fn push(samples: &mut Vec<Sample>, ts_us: i64, value: f64) {
    match samples.last_mut() {
        Some(last) if last.ts_us == ts_us => last.value = value,
        _ => samples.push(Sample { ts_us, value }),
    }
}

/// The windows of a leaf: one at each time, `range_us` long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) fold: Fold,
    pub(super) range_us: i64,
    pub(super) ends: Grid,
}

impl Sweep {
    /// The width of the rollups that this is made of: the widest that all windows are made of as a whole; for the
    /// newest value the narrowest, while these are not too many. None when values are to be read: the span is short,
    /// rollups do not know enough, or windows begin or end within a minute.
    pub(super) fn roll_width_us(&self) -> Option<i64> {
        let span = self.ends.span(self.range_us);
        if !self.fold.is_of_rolls()
            || span.to_us - span.from_us <= RAW_SPAN_US
            || self.ends.steps < 2
        {
            return None;
        }
        let mut width_us = gcd(gcd(self.ends.step_us(), self.ends.at_us(0)), DAY_US);
        if self.fold != Fold::Last {
            width_us = gcd(width_us, self.range_us);
        }
        let fits = |width_us: i64| {
            let range = self.roll_range(width_us);
            width_us > 0 && (range.to_us - range.from_us) / width_us <= ROLLS_MAX
        };
        if width_us % ROLL_WIDTH_US != 0 || !fits(width_us) {
            return None;
        }
        let narrow = self.fold == Fold::Last && fits(ROLL_WIDTH_US);
        Some(if narrow { ROLL_WIDTH_US } else { width_us })
    }

    /// Whether this is one window so long that its whole hours are better read as rollups.
    fn is_long_window(&self) -> bool {
        self.fold.is_of_rolls() && self.ends.steps == 1 && self.range_us > RAW_SPAN_US
    }

    /// What the windows hold when they are made of rollups.
    fn roll_range(&self, width_us: i64) -> TimeRange {
        let from_us = window_start(self.ends.at_us(0) - self.range_us, width_us.max(1));
        let end_us = self.ends.at_us(self.ends.steps - 1);
        // The rollup that begins with the last end may say what is there.
        TimeRange { from_us, to_us: end_us + i64::from(self.fold == Fold::Last) }
    }

    /// The windows of ascending rollups, and how many rollups were looked at.
    fn windows_of_rolls(&self, rolls: &[Roll], width_us: i64) -> (Vec<Option<f64>>, u64) {
        let (mut first, mut end, mut touched) = (0, 0, 0);
        let values = (0..self.ends.steps).map(|step| {
            let to_us = self.ends.at_us(step);
            let from_us = window_start(to_us - self.range_us, width_us);
            while rolls.get(first).is_some_and(|roll| roll.ts_us < from_us) {
                first += 1;
            }
            while rolls.get(end).is_some_and(|roll| roll.ts_us < to_us) {
                end += 1;
            }
            let there = rolls.get(end).filter(|roll| roll.ts_us == to_us && roll.last_us == to_us);
            if let (Fold::Last, Some(roll)) = (self.fold, there) {
                return Some(roll.last);
            }
            let mut inside = rolls.get(first..end)?.iter().rev();
            let mut all = inside.next()?.clone();
            if self.fold != Fold::Last && touched <= QUERY_SAMPLES_MAX {
                // From the newest back: of two last values the one that is there stays.
                touched += inside.len() as u64;
                inside.for_each(|roll| all.merge(roll));
            }
            self.fold.of_roll(&all, to_us - self.range_us - 1)
        });
        let values = values.collect();
        (values, touched + self.ends.steps as u64)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The windows of values that come in ascending time.
pub(super) struct Windows {
    sweep: Sweep,
    kept: Vec<Sample>,
    /// What is before this was in earlier windows only.
    first: usize,
    values: Vec<Option<f64>>,
    /// How many values were looked at since this was last set to zero.
    touched: u64,
}

impl Windows {
    pub(super) fn of(sweep: Sweep) -> Self {
        Self { sweep, kept: Vec::new(), first: 0, values: Vec::new(), touched: 0 }
    }

    pub(super) fn push(&mut self, ts_us: i64, value: f64) {
        let Sweep { fold, range_us, ends } = self.sweep;
        while self.values.len() < ends.steps && ends.at_us(self.values.len()) < ts_us {
            self.close();
        }
        if self.values.len() < ends.steps && ts_us > ends.at_us(self.values.len()) - range_us {
            if fold == Fold::Last {
                self.kept.clear();
                self.first = 0;
            }
            push(&mut self.kept, ts_us, value);
        }
    }

    /// Closes the next window.
    fn close(&mut self) {
        let Sweep { fold, range_us, ends } = self.sweep;
        let to_us = ends.at_us(self.values.len());
        let from_us = to_us - range_us;
        while self.kept.get(self.first).is_some_and(|sample| sample.ts_us <= from_us) {
            self.first += 1;
        }
        if self.first > self.kept.len() / 2 {
            self.kept.drain(..self.first);
            self.first = 0;
        }
        let inside = &self.kept[self.first..];
        self.touched += inside.len() as u64 + 1;
        // What is too much is told after the chunk; it is not to be computed first.
        let few = self.touched <= QUERY_SAMPLES_MAX;
        self.values.push(if few { fold.of(inside, from_us, to_us) } else { None });
    }

    /// The numbers, one for each time, and how many values were looked at.
    pub(super) fn finish(mut self) -> (Vec<Option<f64>>, u64) {
        while self.values.len() < self.sweep.ends.steps {
            self.close();
        }
        (self.values, self.touched)
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
