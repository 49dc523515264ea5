//! The default detector of a series: eight members, each calibrated by its own tail, put together.
//!
//! In: event time and value of one reading. Out: a [`Verdict`]. State: little more than 1 KiB, fixed. A reading costs
//! some tenths of a microsecond. What goes wrong is in the verdict: a value that cannot be judged is refused and
//! changes nothing. Readings are judged in the order in which they come; event time is used for the time of day and
//! for the alarm budget only, so a wrong clock costs them their meaning for that time and nothing else.

use super::budget::Budget;
use super::calm::Calm;
use super::context::Context;
use super::hold::{Hold, Quiet};
use super::kmeans_diff::KmeansDiff;
use super::kmeans_level::KmeansLevel;
use super::level::Level;
use super::peaks::Peaks;
use super::pot::Pot;
use super::season::{Season, Usual};
use super::snapshot::{Reader, RestoreError, Writer};
use super::{Model, Verdict, judgeable};
use crate::central::Shapes;
use serde::Deserialize;

const N: usize = 8;
/// Names of the members, in the order of the state.
pub(crate) const MEMBERS: [&str; N] = [
    "kmeans_diff_smooth",
    "kmeans_diff",
    "season",
    "kmeans_level",
    "level_shift",
    "drift",
    "context",
    "calm",
];
/// Smoothing of the two members that look at differences: 0.1 sees what lasts, 1 sees single jumps.
const SMOOTHINGS: [f32; 2] = [0.1, 1.0];
/// Where the tails of the members begin.
const TAIL: f64 = 0.985;
/// Half width of the usual range while the season is unknown, in mean absolute deviations.
const LEVEL_BAND: f64 = 4.0;

const MAGIC: [u8; 4] = *b"WDks";
const FORMAT: u16 = 2;

/// When a score becomes an alarm. Changing it does not touch the state.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuiteConfig {
    /// Score at which an alarm is raised, and below which it is quiet again. `docs/scoring.md` says what levels find
    /// on NAB, and how many false alarms they raise.
    pub alarm_level: f32,
    /// After a score at the alarm level, this many readings below it must pass before the next alarm. 90 readings
    /// are seven and a half hours at five minutes.
    pub quiet_readings: u32,
    /// At most this many alarms a month of event time in the long run: where there are more, the alarm level of the
    /// series rises. 0 leaves the level alone.
    pub alarms_per_month: f32,
}

impl Default for SuiteConfig {
    fn default() -> Self {
        Self { alarm_level: 1.2, quiet_readings: 90, alarms_per_month: 4.0 }
    }
}

/// The detector of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    config: SuiteConfig,
    /// The first value. Members see values relative to it, so that `f32` keeps the digits of a small movement on a
    /// large level (a pressure in Pa, a counter).
    /// Infinite at first.
    origin: f64,
    diffs: [KmeansDiff; 2],
    season: Season,
    shape: KmeansLevel,
    shift: Level,
    context: Context,
    calm: Calm,
    pots: [Pot; N],
    holds: [Hold; N],
    quiet: Quiet,
    peaks: Peaks,
    budget: Budget,
}

impl Suite {
    /// What alerts of this detector carry.
    pub const MODEL: Model = Model { name: "kmeans-season", version: "2" };

    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(config: &SuiteConfig) -> Self {
        Self {
            config: *config,
            origin: f64::INFINITY,
            diffs: SMOOTHINGS.map(KmeansDiff::new),
            season: Season::new(),
            shape: KmeansLevel::new(),
            shift: Level::new(),
            context: Context::new(),
            calm: Calm::new(),
            pots: std::array::from_fn(|_| Pot::new()),
            holds: std::array::from_fn(|_| Hold::new()),
            quiet: Quiet::new(),
            peaks: Peaks::new(),
            budget: Budget::new(),
        }
    }

    /// Begins with the shapes of other series (a central model) where nothing was seen yet.
    pub fn begin_with(&mut self, shapes: &Shapes) {
        self.shape.begin_with(shapes.centres().iter().map(|centre| (centre.points, centre.weight)));
    }

    /// What each member says of late, calibrated and held.
    #[must_use]
    pub fn members(&self) -> [f32; N] {
        std::array::from_fn(|i| self.holds[i].value())
    }

    /// Goes on with other settings and all that was learnt.
    pub fn configure(&mut self, config: &SuiteConfig) {
        self.config = *config;
    }

    /// Judges one reading: `ts_us` is event time in microseconds since the Unix epoch, `value` in the unit of the
    /// series. Before anything is known, the expected value and its range are the value itself.
    pub fn update(&mut self, ts_us: i64, value: f64) -> Verdict {
        self.update_weighed(ts_us, value, &[1.0; N])
    }

    /// The same where members count differently, each above 0: what `docs/scoring.md` has figures of.
    pub fn update_weighed(&mut self, ts_us: i64, value: f64, weights: &[f32; N]) -> Verdict {
        if let Err(refusal) = judgeable(value) {
            return self.refuse(refusal);
        }
        let first = self.origin.is_infinite();
        if first {
            self.origin = value;
        }
        let origin = self.origin;
        let x = value - origin;
        let (season, usual) = self.season.update(ts_us, x as f32);
        let before = self.usual();
        let level = self.shift.update(x);
        let raw = [
            self.diffs[0].update(x),
            self.diffs[1].update(x),
            season,
            self.shape.update(x),
            level.map(|level| level.shift),
            level.map(|level| level.drift),
            self.context.update(x),
            self.calm.update(x),
        ];
        let (score, member) = self.combine(raw, weights);
        let (alarm, threshold) = self.alarm(ts_us, score);

        let (expected, half_width) = match usual {
            Some(Usual { expected, half_width }) => (f64::from(expected), f64::from(half_width)),
            None if first => (x, 0.0),
            None => before,
        };
        Verdict {
            score,
            peak: self.peaks.update(score),
            alarm,
            threshold,
            expected: origin + expected,
            low: origin + expected - half_width,
            high: origin + expected + half_width,
            member,
            refused: None,
        }
    }

    /// Calibrates and holds each raw score; gives all of them as one, and the member that gave most. Halfway between
    /// the mean and the root mean square: a mean asks most members to agree, a root mean square believes the loudest.
    fn combine(&mut self, raw: [Option<f64>; N], weights: &[f32; N]) -> (f32, &'static str) {
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
        let mut strongest = (0.0, "none");
        for (i, raw) in raw.into_iter().enumerate() {
            let y = raw.map_or(0.0, |raw| self.pots[i].update_above(TAIL, raw));
            let held = self.holds[i].update(y);
            let weight = weights[i];
            sum += weight * held;
            squares += weight * held * held;
            n += weight;
            if weight * held > strongest.0 {
                strongest = (weight * held, MEMBERS[i]);
            }
        }
        (0.5 * (sum / n + (squares / n).sqrt()), strongest.1)
    }

    /// Whether this score is an alarm, and at which level it would be.
    fn alarm(&mut self, ts_us: i64, score: f32) -> (bool, f32) {
        let allowed = self.config.alarms_per_month;
        let factor = if allowed > 0.0 { self.budget.factor(ts_us, allowed) } else { 1.0 };
        let threshold = self.config.alarm_level * factor;
        let alarm = self.quiet.alarm(score, threshold, self.config.quiet_readings);
        if alarm {
            self.budget.alarm();
        }
        (alarm, threshold)
    }

    fn known_origin(&self) -> Option<f64> {
        self.origin.is_finite().then_some(self.origin)
    }

    /// What is expected where the season says nothing, and half the width of its range.
    fn usual(&self) -> (f64, f64) {
        let (level, deviation) = self.shift.usual();
        (level, LEVEL_BAND * deviation)
    }

    /// A verdict that changes nothing.
    fn refuse(&self, refusal: super::Refusal) -> Verdict {
        let (level, half_width) = self.usual();
        let expected = self.known_origin().unwrap_or(0.0) + level;
        Verdict {
            score: 0.0,
            peak: 0.0,
            alarm: false,
            threshold: self.config.alarm_level,
            expected,
            low: expected - half_width,
            high: expected + half_width,
            member: "none",
            refused: Some(refusal),
        }
    }

    /// Appends the state to `out`: little more than 1 KiB, versioned, with a checksum.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let mut out = Writer::new(out, MAGIC, FORMAT);
        out.u8(u8::from(self.known_origin().is_some()));
        out.f64(self.known_origin().unwrap_or(0.0));
        self.diffs.iter().for_each(|m| m.save(&mut out));
        self.season.save(&mut out);
        self.shape.save(&mut out);
        self.shift.save(&mut out);
        self.context.save(&mut out);
        self.calm.save(&mut out);
        self.pots.iter().for_each(|p| p.save(&mut out));
        self.holds.iter().for_each(|h| h.save(&mut out));
        self.quiet.save(&mut out);
        self.peaks.save(&mut out);
        self.budget.save(&mut out);
        out.finish();
    }

    /// Puts the state back that [`Suite::snapshot`] wrote; the configuration stays what it is. From here on the
    /// verdicts are, to the bit, those of the detector that was saved.
    ///
    /// # Errors
    /// The bytes are not a whole, unchanged snapshot of this format. The detector is then as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut from = Reader::new(bytes, MAGIC, FORMAT)?;
        let mut restored = Self::new(&self.config);
        let started = from.u8_below(2)? == 1;
        let origin = from.f64()?;
        restored.origin = if started { origin } else { f64::INFINITY };
        for member in &mut restored.diffs {
            member.load(&mut from)?;
        }
        restored.season.load(&mut from)?;
        restored.shape.load(&mut from)?;
        restored.shift.load(&mut from)?;
        restored.context.load(&mut from)?;
        restored.calm.load(&mut from)?;
        for pot in &mut restored.pots {
            pot.load(&mut from)?;
        }
        for hold in &mut restored.holds {
            hold.load(&mut from)?;
        }
        restored.quiet.load(&mut from)?;
        restored.peaks.load(&mut from)?;
        restored.budget.load(&mut from)?;
        from.finish()?;
        *self = restored;
        Ok(())
    }
}
