//! Seat: what one series, or device, has behind it, and a model at work on it.
//!
//! In: a reading, the model that is for it, and when alarms are raised. Out: what the model says ([`Said`]), on the scale
//! of the streaming detectors. The model in the shadow has a state of its own, which goes on when it comes in force.

use std::collections::BTreeMap;

use weir_models::alert::{Baseline, Model as Named};
use weir_models::central::{Central, Course, Expected, Kind, Model, Smoothed, Subspace};
use weir_models::detect::group::CHANNELS_MAX;
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::detect::{Budget, SuiteConfig};
use weir_models::event::Value;

use super::{InForce, Slot};
use crate::score::alert_id;
use crate::score::trial::{Flood, Noted, Passed};

/// The score of an `expected` model that is an alarm: readings that lie in its band as often as promised, and beyond it
/// exponentially, pass it four times a month at one reading in five minutes. The budget raises it where they do not.
const EXPECTED_LEVEL: f64 = 3.5;
/// The same of a `group`, whose score grows with the root of a squared distance.
const GROUP_LEVEL: f64 = 1.5;

/// When alarms are raised.
#[derive(Clone, Copy)]
pub(in crate::score) struct How<'a> {
    pub(in crate::score) suite: &'a SuiteConfig,
    pub(in crate::score) life: &'a LifeConfig,
}

/// Whose reading, at what time.
#[derive(Clone, Copy)]
pub(in crate::score) struct At<'a> {
    pub(in crate::score) site: &'a str,
    pub(in crate::score) device: &'a str,
    /// None of a group.
    pub(in crate::score) metric: Option<&'a str>,
    pub(in crate::score) ts_us: i64,
}

/// What a series, or a device, has behind it.
#[derive(Debug, Default)]
pub(super) struct Seat {
    generation: u32,
    /// Of the model in force for it, and of the one whose trial it is part of.
    pub(super) slot: Option<usize>,
    pub(super) tried: Option<usize>,
    current: Judge,
    shadow: Judge,
    pub(super) flood: Flood,
    passed: Passed,
}

/// A model at work on one series.
#[derive(Debug, Default)]
struct Judge {
    version: u64,
    state: State,
    budget: Budget,
    life: Life<String>,
    /// In alerts; none in the shadow.
    name: Option<Named>,
    /// The name of the one that raised the alert, which may be gone.
    raised_by: Option<Named>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Course(Course),
    Smoothed(Box<Smoothed>),
}

/// What is given to a model.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Value(f64),
    Values(&'a BTreeMap<String, Value>),
}

/// What the models in force say of one reading.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::score) struct Said {
    /// On the scale of the streaming detectors: an alarm at their level.
    pub(in crate::score) score: f32,
    /// From where on it is an alarm now, on the same scale.
    pub(in crate::score) threshold: f32,
    /// Nothing is wrong any more.
    pub(in crate::score) calm: bool,
    /// Outside of what is usual, however little.
    outside: bool,
    /// What was expected.
    pub(in crate::score) baseline: Option<Baseline>,
    /// The metric that lies farthest.
    pub(super) metric: usize,
    /// An alert that begins or ends by this model alone.
    pub(in crate::score) change: Option<Transition<String>>,
    /// The name of the model, with such a change.
    pub(in crate::score) name: Option<Named>,
}

impl Said {
    /// What this and the streaming detectors say together.
    pub(in crate::score) fn join(&self, other: Signal) -> Signal {
        Signal {
            score: self.score.max(other.score),
            // Not only where it begins: the alert of the series may have ended in a gap, in which the model said nothing.
            alarm: other.alarm || self.is_alarm(),
            calm: other.calm && self.calm,
        }
    }

    fn is_alarm(&self) -> bool {
        self.score >= self.threshold
    }

    /// Whether an alert begins.
    pub(super) fn fires(&self) -> bool {
        self.change.as_ref().is_some_and(Transition::fires)
    }
}

impl Seat {
    /// Which slots are for this series; looked for again only when something has changed.
    pub(super) fn find(&mut self, slots: &[Slot], generation: u32, key: &str, at: At<'_>) {
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        // A model of its own goes before those for a pattern, of which the first one that came counts.
        let kind = if at.metric.is_some() { Kind::Expected } else { Kind::Group };
        let is_own = |slot: &Slot| {
            let scope =
                slot.key.strip_prefix(kind.as_str()).and_then(|rest| rest.strip_prefix('/'));
            scope.is_some_and(|scope| match at.metric {
                Some(_) => scope == key,
                None => scope.strip_suffix("/*") == Some(key),
            })
        };
        let first = |counts: fn(&Slot) -> bool| {
            let own = slots.iter().position(|slot| counts(slot) && is_own(slot));
            own.or_else(|| slots.iter().position(|slot| counts(slot) && slot.is_for(at)))
        };
        // What is only tried leaves the word to the one for many that is in force.
        let slot = first(|slot| slot.current.is_some());
        let tried = first(|slot| slot.current.is_some() || slot.shadow.is_some());
        if slot != self.slot {
            // Another model, also where the version is the same.
            (self.slot, self.current.version) = (slot, 0);
        }
        if tried != self.tried {
            (self.tried, self.shadow, self.passed) = (tried, Judge::default(), Passed::default());
        }
    }

    /// Lets the model in the shadow judge.
    pub(super) fn rehearse(
        &mut self,
        slot: &mut Slot,
        ts_us: i64,
        input: Input<'_>,
        present: bool,
        needed_us: i64,
        how: How<'_>,
    ) -> Option<Result<(), String>> {
        let (central, trial) = slot.shadow.as_mut()?;
        if self.shadow.version != central.head.version {
            self.shadow = Judge { version: central.head.version, ..Judge::default() };
            self.passed = Passed::default();
        }
        let said = self.shadow.judge(central, ts_us, input, how);
        let noted = Noted {
            judged: said.is_some(),
            outside: said.as_ref().is_some_and(|said| said.outside),
            fires: said.as_ref().is_some_and(Said::fires),
            present,
        };
        let passed_us = if noted.judged { self.passed.add(ts_us) } else { 0 };
        trial.note(noted, passed_us, needed_us)
    }

    /// Lets the model in force judge.
    pub(super) fn judge(
        &mut self,
        in_force: Option<&InForce>,
        ts_us: i64,
        input: Input<'_>,
        how: How<'_>,
    ) -> Option<Said> {
        let Some(InForce { central, name }) = in_force else {
            return self.current.wind_down(ts_us, how);
        };
        let version = central.head.version;
        if self.current.version != version {
            let was_tried = self.tried == self.slot && self.shadow.version == version;
            let state = if was_tried {
                std::mem::take(&mut self.shadow)
            } else {
                Judge { version, ..Judge::default() }
            };
            // An alert goes on, and ends once the other model is calm.
            let Judge { life, raised_by, .. } = std::mem::take(&mut self.current);
            self.current = Judge { life, raised_by, name: Some(name.clone()), ..state };
            self.flood = Flood::default();
        }
        self.current.judge(central, ts_us, input, how)
    }
}

impl Judge {
    /// Ends the alert of a model that is gone, after calm readings.
    fn wind_down(&mut self, ts_us: i64, how: How<'_>) -> Option<Said> {
        self.life.firing()?;
        let change = self.life.step(how.life, ts_us, Signal::CALM, String::new)?;
        let said = Said::new(0.0, 1.0, false, None, how);
        Some(Said { change: Some(change), name: self.raised_by.clone(), ..said })
    }

    fn judge(
        &mut self,
        central: &Central,
        ts_us: i64,
        input: Input<'_>,
        how: How<'_>,
    ) -> Option<Said> {
        let mut said = match (&central.model, input) {
            (Model::Expected(model), Input::Value(value)) => {
                self.state.expected(model, ts_us, value, how)
            }
            (Model::Group(model), Input::Values(values)) => self.state.group(model, values, how),
            _ => None,
        }?;
        if ts_us < central.head.valid_from_us {
            return None;
        }
        said.threshold *= self.budget.factor(ts_us, how.suite.alarms_per_month);
        said.calm = said.score < 0.5 * said.threshold;
        let signal = Signal { score: said.score, alarm: said.is_alarm(), calm: said.calm };
        said.change = self.life.step(how.life, ts_us, signal, alert_id);
        if said.fires() {
            self.raised_by.clone_from(&self.name);
        }
        said.name = match said.change {
            Some(_) => self.raised_by.clone(),
            None => self.name.clone().filter(|_| said.is_alarm()),
        };
        if said.fires() && how.suite.alarms_per_month > 0.0 {
            self.budget.alarm();
        }
        Some(said)
    }
}

impl State {
    fn expected(&mut self, model: &Expected, ts_us: i64, value: f64, how: How<'_>) -> Option<Said> {
        if !matches!(self, Self::Course(_)) {
            *self = Self::Course(model.begin());
        }
        let Self::Course(course) = self else { return None };
        let outlook = model.judge(course, ts_us, value)?;
        let (expected, low, high) = (outlook.expected, outlook.low, outlook.high);
        let baseline = Some(Baseline { expected, low, high });
        Some(Said::new(outlook.score, EXPECTED_LEVEL, outlook.score > 0.0, baseline, how))
    }

    fn group(
        &mut self,
        model: &Subspace,
        values: &BTreeMap<String, Value>,
        how: How<'_>,
    ) -> Option<Said> {
        if !matches!(self, Self::Smoothed(_)) {
            *self = Self::Smoothed(Box::default());
        }
        let Self::Smoothed(smoothed) = self else { return None };
        let metrics = &model.parts().metrics;
        let mut row = [0.0; CHANNELS_MAX];
        for (cell, name) in row.iter_mut().zip(metrics) {
            *cell = values.get(&**name)?.v;
        }
        let far = model.update(smoothed, row.get(..metrics.len())?)?;
        let farthest = metrics.get(far.channel)?;
        let metric = values.keys().position(|name| **name == **farthest)?;
        let said = Said::new(far.score, GROUP_LEVEL, far.score > 1.0, None, how);
        Some(Said { metric, ..said })
    }
}

impl Said {
    /// A score of a model, which is an alarm at `level`, on the scale of the streaming detectors.
    fn new(
        score: f64,
        level: f64,
        outside: bool,
        baseline: Option<Baseline>,
        how: How<'_>,
    ) -> Self {
        let threshold = how.suite.alarm_level;
        let score = (score / level * f64::from(threshold)) as f32;
        Self {
            score,
            threshold,
            calm: true,
            outside,
            baseline,
            metric: 0,
            change: None,
            name: None,
        }
    }
}
