//! History: what the archive holds of a scope, in the order of time.
//!
//! In: archived values. Out: series, and groups of metrics that came together. Bounded: a person is told to narrow the
//! scope where there is more. Of several values of a series with one stamp the first counts, so that what was archived
//! twice counts once.

use std::collections::BTreeMap;

use weir_models::central::Scope;
use weir_models::detect::group::CHANNELS_MAX;
use weir_models::detect::judgeable;
use weir_models::ident::SeriesKey;

use crate::archive::{Archive, ReadError};
use crate::store::TimeRange;

/// Most values of one training, 16 bytes each.
const VALUES_MAX: usize = 20_000_000;

/// History cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// More than fits.
    #[error(
        "there are more than {VALUES_MAX} values: narrow `--site`, `--device`, `--metric`, `--from` or `--to`"
    )]
    TooMuch,
}

/// A series in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which one.
    pub key: SeriesKey,
    /// Event time, microseconds since the Unix epoch, and value; times rise.
    pub readings: Vec<(i64, f64)>,
}

/// The metrics of a device that came together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Site.
    pub site: String,
    /// Device.
    pub device: String,
    /// Names, in order, of 2 to 16 metrics.
    pub metrics: Vec<Box<str>>,
    /// Event times, and the values of all metrics.
    pub rows: Vec<(i64, Vec<f64>)>,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct History {
    series: BTreeMap<SeriesKey, Vec<(i64, f64)>>,
}

impl History {
    /// Reads all series of `scope` in `range` from the archive.
    ///
    /// # Errors
    /// When the archive cannot be read or holds too much.
    pub async fn read(
        archive: &Archive,
        scope: &Scope,
        range: TimeRange,
    ) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        let mut left = VALUES_MAX;
        archive
            .each_value(|found| {
                let wanted = (range.from_us..range.to_us).contains(&found.ts_us)
                    && judgeable(found.value).is_ok()
                    && scope.holds(found.site, found.device, found.metric);
                if wanted && left > 0 {
                    history.add(found.site, found.device, found.metric, found.ts_us, found.value);
                }
                left -= usize::from(wanted && left > 0);
                left > 0
            })
            .await?;
        if left == 0 {
            return Err(HistoryError::TooMuch);
        }
        history.settle();
        Ok(history)
    }

    /// Adds a value.
    pub fn add(&mut self, site: &str, device: &str, metric: &str, ts_us: i64, value: f64) {
        let key = SeriesKey { site: site.into(), device: device.into(), metric: metric.into() };
        self.series.entry(key).or_default().push((ts_us, value));
    }

    /// Puts everything in the order of time.
    pub fn settle(&mut self) {
        for readings in self.series.values_mut() {
            readings.sort_by_key(|(ts_us, _)| *ts_us);
            readings.dedup_by_key(|(ts_us, _)| *ts_us);
        }
    }

    /// Each series.
    pub fn series(&self) -> impl Iterator<Item = Series> {
        self.series
            .iter()
            .map(|(key, readings)| Series { key: key.clone(), readings: readings.clone() })
    }

    /// For each device of several metrics the stamps at which all of them came; beyond 16 metrics the first by name, as
    /// the streaming detector takes them.
    pub fn groups(&self) -> Vec<Group> {
        let mut devices: BTreeMap<_, Vec<Named<'_>>> = BTreeMap::new();
        for (key, readings) in &self.series {
            let metrics = devices.entry((&key.site, &key.device)).or_default();
            if metrics.len() < CHANNELS_MAX {
                metrics.push((&key.metric, readings));
            }
        }
        devices.retain(|_, metrics| metrics.len() >= 2);
        let groups = devices.into_iter().map(|((site, device), metrics)| Group {
            site: site.clone(),
            device: device.clone(),
            metrics: metrics.iter().map(|(name, _)| (*name).into()).collect(),
            rows: together(&metrics),
        });
        groups.collect()
    }
}

/// A metric by its name, and its readings.
type Named<'a> = (&'a str, &'a [(i64, f64)]);

/// The stamps that all have, and the values there.
fn together(metrics: &[Named<'_>]) -> Vec<(i64, Vec<f64>)> {
    let mut rows = Vec::new();
    let mut at = vec![0; metrics.len()];
    let Some(((_, first), others)) = metrics.split_first() else { return rows };
    for (ts_us, value) in *first {
        let mut row = vec![*value];
        for (at, (_, readings)) in at.iter_mut().zip(others) {
            while readings.get(*at).is_some_and(|(ts, _)| ts < ts_us) {
                *at += 1;
            }
            row.extend(readings.get(*at).filter(|(ts, _)| ts == ts_us).map(|(_, v)| *v));
        }
        if row.len() == metrics.len() {
            rows.push((*ts_us, row));
        }
    }
    rows
}
