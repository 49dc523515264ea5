//! What a series is expected to read next, by its season and its last readings.
//!
//! In: readings of one series, in order. Out: the value expected, the usual range, a score. The forecast is made before
//! the reading is seen. Nothing is said until there are as many readings as the model looks back, and after a gap.

use super::OpenError;
use super::bytes::{Reader, Writer};
use super::conformal::Band;
use super::features::{FEATURES_MAX, History, Row, Schema};
use super::forest::Forest;
use super::linear::Linear;
use crate::detect::judgeable;

/// How the forecast is made from the features.
#[derive(Debug, Clone, PartialEq)]
pub enum Regressor {
    /// Ridge regression.
    Linear(Linear),
    /// Regression trees.
    Forest(Forest),
}

impl Regressor {
    /// How many features it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Linear(linear) => linear.width(),
            Self::Forest(forest) => forest.width(),
        }
    }

    /// The forecast, in units of the model.
    #[must_use]
    pub fn predict(&self, row: &Row) -> f64 {
        match self {
            Self::Linear(linear) => linear.predict(row),
            Self::Forest(forest) => forest.predict(row),
        }
    }
}

/// The unit of a model: readings minus `origin`, divided by `scale`. Keeps `f32` features exact where readings are large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// About the middle of the series.
    pub origin: f64,
    /// About its spread.
    pub scale: f64,
}

impl Unit {
    /// A reading in units of the model.
    #[must_use]
    pub fn of(&self, value: f64) -> f64 {
        (value - self.origin) / self.scale
    }

    /// A number of the model in the unit of the series.
    #[must_use]
    pub fn back(&self, value: f64) -> f64 {
        value * self.scale + self.origin
    }
}

/// The model of one series, or of many alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    schema: Schema,
    unit: Unit,
    gap_us: i64,
    band: Band,
    regressor: Regressor,
}

/// What a series has behind it: one for each series that a model looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    history: History,
    last_us: Option<i64>,
}

/// What is said of one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// What was expected before it was seen.
    pub expected: f64,
    /// Lower end of what is usual.
    pub low: f64,
    /// Upper end of what is usual.
    pub high: f64,
    /// How unusual it is, as [`Band::score`] says.
    pub score: f64,
}

impl Expected {
    /// Puts a model together. Readings more than `gap_us` apart do not belong together.
    ///
    /// # Errors
    /// When the parts do not fit.
    pub fn new(
        schema: Schema,
        unit: Unit,
        gap_us: i64,
        band: Band,
        regressor: Regressor,
    ) -> Result<Self, OpenError> {
        let scales = unit.origin.is_finite() && unit.scale.is_finite() && unit.scale > 0.0;
        if !scales || gap_us <= 0 {
            return Err(OpenError::Value { what: "unit or gap" });
        }
        if regressor.width() != schema.features().len() {
            return Err(OpenError::Value { what: "number of features" });
        }
        Ok(Self { schema, unit, gap_us, band, regressor })
    }

    /// Its columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How it makes the forecast.
    #[must_use]
    pub fn regressor(&self) -> &Regressor {
        &self.regressor
    }

    /// Its unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Its band, in units of the model.
    #[must_use]
    pub fn band(&self) -> Band {
        self.band
    }

    /// The state of a series that begins.
    #[must_use]
    pub fn begin(&self) -> Course {
        Course { history: History::new(&self.schema), last_us: None }
    }

    /// Judges a reading and takes it into the history. Nothing where it cannot be judged or history is too short; a
    /// reading that is late is not taken in. One that is later than any gap allows tells that the clock was set back (or
    /// a stamp before it was of the future): history begins anew, else nothing would be judged until time has caught up.
    pub fn judge(&self, course: &mut Course, ts_us: i64, value: f64) -> Option<Outlook> {
        if judgeable(value).is_err() {
            return None;
        }
        if let Some(last_us) = course.last_us {
            if ts_us.saturating_sub(last_us).saturating_abs() > self.gap_us {
                course.history.clear();
            } else if ts_us <= last_us {
                return None;
            }
        }
        course.last_us = Some(ts_us);
        let mut row = [0.0; FEATURES_MAX + 1];
        let known = course.history.fill(&self.schema, ts_us, &mut row);
        let own = self.unit.of(value);
        // Beyond the range of `f32` nothing is a useful lag; the bound keeps rows finite.
        course.history.push(own.clamp(-1e30, 1e30) as f32);
        if !known {
            return None;
        }
        let forecast = self.regressor.predict(&row);
        let half = self.band.half_width();
        let outlook = Outlook {
            expected: self.unit.back(forecast),
            low: self.unit.back(forecast - half),
            high: self.unit.back(forecast + half),
            score: self.band.score(own - forecast),
        };
        let finite = [outlook.expected, outlook.low, outlook.high, outlook.score];
        finite.iter().all(|v| v.is_finite()).then_some(outlook)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f64s(&[self.unit.origin, self.unit.scale]);
        out.i64(self.gap_us);
        self.band.write(out);
        self.schema.write(out);
        match &self.regressor {
            Regressor::Linear(linear) => {
                out.u8(0);
                linear.write(out);
            }
            Regressor::Forest(forest) => {
                out.u8(1);
                forest.write(out);
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let unit = Unit { origin: from.f64("origin")?, scale: from.f64("scale")? };
        let gap_us = from.i64()?;
        let band = Band::read(from)?;
        let schema = Schema::read(from)?;
        let regressor = match from.u8()? {
            0 => Regressor::Linear(Linear::read(from)?),
            1 => Regressor::Forest(Forest::read(from)?),
            _ => return Err(OpenError::Value { what: "regressor" }),
        };
        Self::new(schema, unit, gap_us, band, regressor)
    }
}
