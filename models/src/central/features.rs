//! What a model of one series is fed with: its last readings and the time.
//!
//! In: the time of a reading, and the readings before it. Out: a row of `f32`. Gateway, trainer and back-test make it by
//! this code alone, and a model carries a hash of what its columns mean. Constant memory, no allocation after creation;
//! only `+ - * /`, so that rows are the same to the bit everywhere. Times are UTC.

use ring::digest::{SHA256, digest};

use super::OpenError;
use super::bytes::{Reader, Writer};

/// Most columns. One slot of the 64 that a row takes belongs to the forest's leaves.
pub const FEATURES_MAX: usize = 63;
/// Farthest reading back: 2 KiB of history a series.
pub const LAG_MAX: u16 = 512;
/// A row as evaluators take it.
pub type Row = [f32; FEATURES_MAX + 1];

/// Changes whenever a feature comes to mean something else.
const MEANING: &[u8] = b"weir features 1";
const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// The reading so many before this one, from 1, in units of the model.
    Lag(u16),
    /// How near the time of day is to a full hour, 0 to 23: 1 there, 0 an hour before and after, linear between. All 24
    /// together draw a line from hour to hour through any course of a day.
    DayHat(u8),
    /// Time of day, 0 to 1.
    DayFraction,
    /// Day of the week, 0 (Monday) to 6.
    WeekDay,
    /// 1 on Saturday and Sunday, else 0.
    Weekend,
}

/// The columns of a model, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(Box<[Feature]>);

impl Schema {
    /// Checks columns.
    ///
    /// # Errors
    /// When there are none or too many, or one is out of its range.
    pub fn new(features: Vec<Feature>) -> Result<Self, OpenError> {
        if features.len() > FEATURES_MAX {
            let found = features.len();
            return Err(OpenError::TooMany { what: "features", found, most: FEATURES_MAX });
        }
        let valid = |feature: &Feature| match *feature {
            Feature::Lag(back) => (1..=LAG_MAX).contains(&back),
            Feature::DayHat(hour) => hour < 24,
            Feature::DayFraction | Feature::WeekDay | Feature::Weekend => true,
        };
        if features.is_empty() || !features.iter().all(valid) {
            return Err(OpenError::Value { what: "feature" });
        }
        Ok(Self(features.into()))
    }

    /// The columns.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.0
    }

    /// How many readings back the farthest column looks; 0 for none.
    #[must_use]
    pub fn reach(&self) -> usize {
        let lags = self.0.iter().map(|feature| match feature {
            Feature::Lag(back) => usize::from(*back),
            _ => 0,
        });
        lags.max().unwrap_or(0)
    }

    /// Names the columns and what they mean.
    #[must_use]
    pub fn hash(&self) -> [u8; 16] {
        let mut out = Writer(MEANING.to_vec());
        self.write(&mut out);
        first_half(digest(&SHA256, &out.0).as_ref())
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.0.len());
        for feature in &self.0 {
            let (code, argument) = match *feature {
                Feature::Lag(back) => (0, back),
                Feature::DayHat(hour) => (1, u16::from(hour)),
                Feature::DayFraction => (2, 0),
                Feature::WeekDay => (3, 0),
                Feature::Weekend => (4, 0),
            };
            out.u8(code);
            out.u16(argument);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let n = from.count(FEATURES_MAX, 3, "features")?;
        let mut features = Vec::with_capacity(n);
        for _ in 0..n {
            features.push(match (from.u8()?, from.u16()?) {
                (0, back) => Feature::Lag(back),
                (1, hour) => Feature::DayHat(u8::try_from(hour).unwrap_or(u8::MAX)),
                (2, 0) => Feature::DayFraction,
                (3, 0) => Feature::WeekDay,
                (4, 0) => Feature::Weekend,
                _ => return Err(OpenError::Value { what: "feature" }),
            });
        }
        Self::new(features)
    }
}

/// The first 16 of 32 bytes.
pub(super) fn first_half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    half
}

/// The last readings of a series, in units of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    ring: Box<[f32]>,
    at: usize,
    filled: usize,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self { ring: vec![0.0; schema.reach().max(1)].into(), at: 0, filled: 0 }
    }

    /// Adds a reading.
    pub fn push(&mut self, value: f32) {
        if let Some(slot) = self.ring.get_mut(self.at) {
            *slot = value;
        }
        self.at = (self.at + 1) % self.ring.len();
        self.filled = (self.filled + 1).min(self.ring.len());
    }

    /// Forgets all readings: after a gap, those before are no lags.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Fills the row for a reading at `ts_us`. Says no while a column looks farther back than there are readings.
    pub fn fill(&self, schema: &Schema, ts_us: i64, row: &mut Row) -> bool {
        let of_day_us = ts_us.rem_euclid(DAY_US);
        // 1970-01-01 was a Thursday.
        let week_day = (ts_us.div_euclid(DAY_US) + 3).rem_euclid(7);
        for (cell, feature) in row.iter_mut().zip(&schema.0) {
            *cell = match *feature {
                Feature::Lag(back) => {
                    let back = usize::from(back);
                    if back > self.filled {
                        return false;
                    }
                    self.ring[(self.at + self.ring.len() - back) % self.ring.len()]
                }
                Feature::DayHat(hour) => hat(of_day_us, hour),
                Feature::DayFraction => of_day_us as f32 / DAY_US as f32,
                Feature::WeekDay => week_day as f32,
                Feature::Weekend => f32::from(u8::from(week_day >= 5)),
            };
        }
        true
    }
}

fn hat(of_day_us: i64, hour: u8) -> f32 {
    let off = (of_day_us - i64::from(hour) * HOUR_US).abs();
    let off = off.min(DAY_US - off);
    (HOUR_US - off).max(0) as f32 / HOUR_US as f32
}
