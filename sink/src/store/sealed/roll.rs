//! Roll: a window of a minute or an hour in a few numbers.
//!
//! In: points in ascending time. Out: per window that holds any its number, least, greatest and last
//! value, their sum, the highest score, and how many of them left the usual course of their series.
//! Promises: two rolls of the same window merge into the one of all their points (but for the last bits
//! of the sum, which depends on the order of adding).

use super::EVENTS_MAX;
use super::frame::{Damaged, Reader, Writer, bounded};
use super::numbers::{pack, pack_floats, unpack, unpack_floats};
use crate::store::Point;
use crate::store::bucket::window_start;

/// Rolls of fewer points than this on average are not kept: the points cost no more.
pub const POINTS_MIN: usize = 20;

/// The values of one series in one window of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Roll {
    /// Begin of the window, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Number of values.
    pub n: u64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// The value with the latest stamp.
    pub last: f64,
    /// Its stamp.
    pub last_us: i64,
    /// Highest score, when any value was scored.
    pub score: Option<f32>,
    /// Number of values with a score above 1.
    pub anomalies_n: u64,
}

impl Roll {
    /// The roll of one point, in the window that begins at `ts_us`.
    pub(crate) fn of(ts_us: i64, point: &Point) -> Self {
        Self {
            ts_us,
            n: 1,
            min: point.value,
            max: point.value,
            sum: point.value,
            last: point.value,
            last_us: point.ts_us,
            score: point.score,
            anomalies_n: point.is_anomaly().into(),
        }
    }

    /// The mean of the values. A sum beyond what a number can hold has none; the middle is the best that is known then.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.sum.is_finite() { self.sum / self.n as f64 } else { self.min / 2. + self.max / 2. }
    }

    /// Adds what another roll of the same window, or of one within it, knows. Of two last values of one
    /// stamp the other's is kept.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        if other.last_us >= self.last_us {
            (self.last, self.last_us) = (other.last, other.last_us);
        }
        self.score = match (self.score, other.score) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.anomalies_n += other.anomalies_n;
    }
}

/// The rolls of windows of `step_us` microseconds, counted from the Unix epoch; points come in ascending
/// time.
#[must_use]
pub fn rolls_of(points: &[Point], step_us: i64) -> Vec<Roll> {
    let step_us = step_us.max(1);
    let mut rolls: Vec<Roll> = Vec::new();
    for point in points {
        let ts_us = window_start(point.ts_us, step_us);
        let roll = Roll::of(ts_us, point);
        match rolls.last_mut() {
            Some(last) if last.ts_us == ts_us => last.merge(&roll),
            _ => rolls.push(roll),
        }
    }
    rolls
}

/// Writes rolls of windows of `step_us`.
pub(super) fn encode_rolls(rolls: &[Roll], step_us: i64) -> Result<Vec<u8>, Damaged> {
    let column = |of: fn(&Roll) -> f64| pack_floats(&rolls.iter().map(of).collect::<Vec<_>>());
    let whole = |of: fn(&Roll) -> i64| pack(&rolls.iter().map(of).collect::<Vec<_>>());
    let seconds = usize::try_from(step_us / 1_000_000).unwrap_or_default();
    let mut blob = Writer::new();
    blob.number(seconds)?;
    blob.number(rolls.len())?;
    let windows: Vec<i64> = rolls.iter().map(|roll| roll.ts_us.div_euclid(step_us)).collect();
    blob.section(&pack(&windows)?)?;
    blob.section(&whole(|roll| roll.n.cast_signed())?)?;
    blob.section(&column(|roll| roll.min)?)?;
    blob.section(&column(|roll| roll.max)?)?;
    blob.section(&column(|roll| roll.sum)?)?;
    blob.section(&column(|roll| roll.last)?)?;
    blob.section(&whole(|roll| roll.last_us.wrapping_sub(roll.ts_us))?)?;
    // No score is a number that no score is.
    blob.section(&column(|roll| roll.score.map_or(f64::NEG_INFINITY, f64::from))?)?;
    blob.section(&whole(|roll| roll.anomalies_n.cast_signed())?)?;
    Ok(blob.finish())
}

/// Reads rolls and adds them to `out`.
///
/// # Errors
/// `blob` was damaged.
pub fn decode_rolls(blob: &[u8], out: &mut Vec<Roll>) -> Result<(), Damaged> {
    let mut blob = Reader::new(blob)?;
    let step_us = i64::try_from(blob.number()?).unwrap_or_default() * 1_000_000;
    let n = bounded(blob.number()?, EVENTS_MAX)?;
    let windows = whole(&mut blob, n)?;
    let counts = whole(&mut blob, n)?;
    let min = floats(&mut blob, n)?;
    let max = floats(&mut blob, n)?;
    let sum = floats(&mut blob, n)?;
    let last = floats(&mut blob, n)?;
    let after = whole(&mut blob, n)?;
    let score = floats(&mut blob, n)?;
    let anomalies = whole(&mut blob, n)?;
    out.extend((0..n).map(|i| {
        let ts_us = windows[i].saturating_mul(step_us);
        Roll {
            ts_us,
            n: counts[i].cast_unsigned(),
            min: min[i],
            max: max[i],
            sum: sum[i],
            last: last[i],
            last_us: ts_us.wrapping_add(after[i]),
            score: (score[i] != f64::NEG_INFINITY).then_some(score[i] as f32),
            anomalies_n: anomalies[i].cast_unsigned(),
        }
    }));
    Ok(())
}

fn whole(blob: &mut Reader<'_>, n: usize) -> Result<Vec<i64>, Damaged> {
    unpack(blob.section()?, n)
}

fn floats(blob: &mut Reader<'_>, n: usize) -> Result<Vec<f64>, Damaged> {
    unpack_floats(blob.section()?, n)
}
