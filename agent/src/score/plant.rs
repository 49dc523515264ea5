//! Rules of a series, and the life of their alerts: those that somebody has set, and two that nobody has to.
//!
//! In: the readings of a series, and the seconds that pass. Out: alert drafts that say which rule, what was expected and
//! since when. A series without rules holds nothing but what [`Stuck`] knows, until something is wrong with it.

use std::sync::Arc;

use serde::Deserialize;
use weir_models::alert::{AlertData, AlertKind, LastValue, Model};
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::detect::physical::{self, Beyond};
use weir_models::detect::rules::{Hits, Rule, Rules};
use weir_models::detect::stuck::Stuck;
use weir_models::event::Value;
use weir_models::topic::write_key;

use super::{Draft, alert_data, alert_id};

/// What alerts of [`Defaults`] say of which rule it was.
const STUCK: &str = "stuck";
const UNIT: &str = "unit";
/// The first reading ends a silence.
const HEARD: LifeConfig = LifeConfig { calm_readings: 1, calm_s: 0 };

/// The table `[score.defaults]`: rules that hold for every series that has none of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// A value that stands still for far longer than it ever did; not where a rule `flat` is set.
    pub stuck: bool,
    /// A value that its unit cannot have; not where a rule `range` is set.
    pub units: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { stuck: true, units: true }
    }
}

/// Who tells alerts, and how.
pub(super) struct Teller<'a> {
    pub(super) agent: &'a Arc<str>,
    pub(super) model: &'a Model,
    pub(super) life: &'a LifeConfig,
    pub(super) defaults: Defaults,
    /// Seconds of a clock that only goes forward.
    pub(super) now_s: u32,
}

/// The series an alert is about.
pub(super) struct About<'a> {
    pub(super) site: &'a str,
    pub(super) device: &'a str,
    pub(super) metric: &'a str,
}

/// The last values of a series.
#[derive(Debug)]
pub(super) struct LastValues {
    values: [LastValue; Self::MOST],
    seen: usize,
}

/// The rules of one series.
#[derive(Debug, Default)]
pub(super) struct Plant {
    stuck: Stuck,
    /// Only where there are rules, or alerts.
    ruled: Option<Box<Ruled>>,
}

#[derive(Debug)]
struct Ruled {
    rules: Rules,
    lives: Vec<Life<String>>,
    stuck: Life<String>,
    unit: Life<String>,
    /// Alerts of rules that are gone, until they end.
    retired: Vec<Retired>,
}

/// An alert of a rule that is gone.
#[derive(Debug)]
struct Retired {
    rule: Rule,
    life: Life<String>,
}

/// What a reading breaks.
#[derive(Debug, Default)]
pub(super) struct Broken {
    hits: Hits,
    is_stuck: bool,
    beyond: Option<Beyond>,
}

impl<'a> About<'a> {
    /// Writes the key of the series.
    pub(super) fn write(&self, key: &mut String) {
        write_key(key, [self.site, self.device, self.metric]);
    }

    /// Site, device and metric.
    pub(super) fn names(&self) -> [&'a str; 3] {
        [self.site, self.device, self.metric]
    }

    /// What a key says: no site and no device has a `/` in it.
    pub(super) fn of(key: &'a str) -> Option<Self> {
        let mut parts = key.splitn(3, '/');
        Some(Self { site: parts.next()?, device: parts.next()?, metric: parts.next()? })
    }
}

impl LastValues {
    /// So many an alert shows.
    const MOST: usize = 8;

    pub(super) fn new() -> Self {
        Self { values: [LastValue { ts_us: 0, v: 0.0 }; Self::MOST], seen: 0 }
    }

    pub(super) fn remember(&mut self, value: LastValue) {
        self.values[self.seen % Self::MOST] = value;
        self.seen += 1;
    }

    /// Oldest first.
    pub(super) fn list(&self) -> Vec<LastValue> {
        let first = self.seen.saturating_sub(Self::MOST);
        (first..self.seen).map(|i| self.values[i % Self::MOST]).collect()
    }
}

impl Plant {
    /// Takes other rules. One that stays as it is goes on with its alert and with what it has learnt.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        match &mut self.ruled {
            Some(ruled) => ruled.set_rules(rules),
            None if rules.rules().is_empty() => {}
            None => self.ruled = Some(Box::new(Ruled::new(rules))),
        }
    }

    /// Looks at a reading that can be judged.
    pub(super) fn look(
        &mut self,
        teller: &Teller<'_>,
        metric: &str,
        ts_us: i64,
        value: &Value,
    ) -> Broken {
        let Defaults { stuck, units } = teller.defaults;
        let hits = match &mut self.ruled {
            Some(ruled) => ruled.rules.update(teller.now_s, ts_us, value.v),
            None => Hits::default(),
        };
        let is_stuck = stuck
            && self.stuck.update(ts_us, value.v)
            && !self.has(|rule| matches!(rule, Rule::Flat { .. }));
        let beyond = if units {
            physical::beyond(metric, value.unit.as_deref(), value.v)
                .filter(|_| !self.has(|rule| matches!(rule, Rule::Range { .. })))
        } else {
            None
        };
        Broken { hits, is_stuck, beyond }
    }

    fn has(&self, kind: impl Fn(&Rule) -> bool) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| ruled.rules.rules().iter().any(kind))
    }

    /// What the score adds to a value: that of a counter that began anew.
    pub(super) fn offset(&self) -> f64 {
        self.ruled.as_ref().map_or(0.0, |ruled| ruled.rules.offset())
    }

    /// Alerts that begin or end with a reading.
    pub(super) fn tell(
        &mut self,
        teller: &Teller<'_>,
        about: &About<'_>,
        (ts_us, value): (i64, &Value),
        broken: &Broken,
        last: &LastValues,
        drafts: &mut Vec<Draft>,
    ) {
        if self.ruled.is_none() && !broken.is_stuck && broken.beyond.is_none() {
            return;
        }
        let Self { stuck, ruled } = self;
        let is = ruled.get_or_insert_with(|| Box::new(Ruled::new(Rules::default())));
        let mut draft = |rule: &str, kind: AlertKind, change, message: Option<String>| {
            drafts.push(teller.draft(about, kind, rule, change, message, last.list()));
        };
        let step = |life: &mut Life<String>, config: &LifeConfig, broken: bool| {
            life.step(config, ts_us, Signal::rule(broken), alert_id)
        };
        is.retired.retain_mut(|Retired { rule, life }| {
            let (config, kind) = how(rule, teller.life);
            let change = step(life, config, false);
            let ends = change.is_some();
            if let Some(change) = change {
                draft(rule.name(), kind, change, None);
            }
            !ends
        });
        for (i, life) in is.lives.iter_mut().enumerate() {
            let Some(rule) = is.rules.rules().get(i) else { break };
            let (config, kind) = how(rule, teller.life);
            if let Some(change) = step(life, config, broken.hits.contains(i)) {
                let why = change.fires().then(|| is.rules.explain(i, teller.now_s));
                draft(rule.name(), kind, change, why);
            }
        }
        if let Some(change) = step(&mut is.stuck, teller.life, broken.is_stuck) {
            let why = change.fires().then(|| stuck.explain());
            draft(STUCK, AlertKind::Reading, change, why);
        }
        if let Some(change) = step(&mut is.unit, teller.life, broken.beyond.is_some()) {
            let unit = value.unit.as_deref().unwrap_or_default();
            let why = broken.beyond.as_ref().map(|beyond| beyond.explain(unit, value.v));
            draft(UNIT, AlertKind::Reading, change, why);
        }
        if is.is_idle() {
            *ruled = None;
        }
    }

    /// Alerts that begin because nothing came.
    pub(super) fn tell_silence(
        &mut self,
        teller: &Teller<'_>,
        key: &str,
        last: &LastValues,
        drafts: &mut Vec<Draft>,
    ) {
        let Some(ruled) = &mut self.ruled else { return };
        let silent = ruled.rules.silent(teller.now_s);
        let (false, Some(heard_us)) = (silent.is_empty(), ruled.rules.heard_us()) else { return };
        let Some(about) = About::of(key) else { return };
        for (i, life) in ruled.lives.iter_mut().enumerate().filter(|(i, _)| silent.contains(*i)) {
            let change = life.step(&HEARD, heard_us, Signal::rule(true), alert_id);
            if let (Some(change), Some(rule)) = (change, ruled.rules.rules().get(i)) {
                let why = Some(ruled.rules.explain(i, teller.now_s));
                let (kind, name) = (AlertKind::Silence, rule.name());
                drafts.push(teller.draft(&about, kind, name, change, why, last.list()));
            }
        }
    }
}

/// When an alert of a rule ends, and what it is about.
fn how<'a>(rule: &Rule, life: &'a LifeConfig) -> (&'a LifeConfig, AlertKind) {
    match rule {
        Rule::Gap { .. } => (&HEARD, AlertKind::Silence),
        _ => (life, AlertKind::Reading),
    }
}

impl Teller<'_> {
    fn draft(
        &self,
        about: &About<'_>,
        kind: AlertKind,
        rule: &str,
        change: Transition<String>,
        message: Option<String>,
        last_values: Vec<LastValue>,
    ) -> Draft {
        let of = (about.site, about.device, about.metric);
        let data = alert_data((self.agent, self.model), kind, of, 1.0, change);
        Draft(AlertData { why: rule.to_owned(), message, last_values, ..data })
    }
}

impl Ruled {
    fn new(rules: Rules) -> Self {
        let lives = vec![Life::default(); rules.rules().len()];
        let (stuck, unit) = (Life::default(), Life::default());
        Self { rules, lives, stuck, unit, retired: Vec::new() }
    }

    fn set_rules(&mut self, rules: Rules) {
        if rules.rules() == self.rules.rules() {
            return;
        }
        let mut lives = vec![Life::default(); rules.rules().len()];
        let before = std::mem::replace(&mut self.rules, rules);
        for (rule, life) in before.rules().iter().zip(self.lives.drain(..)) {
            let same = self.rules.rules().iter().position(|new| new == rule);
            match same.and_then(|at| lives.get_mut(at)) {
                Some(at) => *at = life,
                None if life.firing().is_some() => {
                    self.retired.push(Retired { rule: rule.clone(), life });
                }
                None => {}
            }
        }
        self.lives = lives;
        self.rules.inherit(before);
    }

    /// Nothing is set, and nothing fires.
    fn is_idle(&self) -> bool {
        self.lives.is_empty()
            && self.retired.is_empty()
            && [&self.stuck, &self.unit].iter().all(|life| life.firing().is_none())
    }
}

#[cfg(test)]
#[path = "plant_tests.rs"]
mod tests;
