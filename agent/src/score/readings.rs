//! Scores of readings: a suite of detectors, rules, and the life of the alerts, per series.
//!
//! In: the values of one reading. Out: a score on each, and alert drafts. One entry a series, the
//! least recently used leaves when there are too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind, Baseline, LastValue, Model};
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::detect::rules::{Rule, RuleError, Rules};
use weir_models::detect::{Suite, SuiteConfig, Verdict};
use weir_models::event::Value;
use weir_models::pattern::glob;

use super::central::{At, CentralStage, How, Said};
use super::groups::{GroupScore, Groups};
use super::{Draft, ScoreConfig, SeriesRule, alert_data, alert_id};
use crate::central::Order;
use crate::recent::Recent;

/// Values that an alert shows.
const LAST_VALUES: usize = 8;

#[derive(Debug)]
pub(super) struct ReadingStage {
    agent: Arc<str>,
    model: Model,
    rule_model: Model,
    suite: SuiteConfig,
    life: LifeConfig,
    rules: Vec<SeriesRule>,
    series: Recent<Tracked>,
    /// From where on a group is an alarm; 0: groups are not looked at.
    group_level: f32,
    groups: Groups,
    central: CentralStage,
    key: String,
}

/// All that is remembered of a series.
#[derive(Debug)]
struct Tracked {
    suite: Suite,
    life: Life<String>,
    rules: Rules,
    rule_lives: Vec<Life<String>>,
    /// Alerts of rules that are gone, until they end.
    retired: Vec<Retired>,
    /// The central model that raised the alert which fires, if one did.
    raised_by: Option<Model>,
    last: [LastValue; LAST_VALUES],
    seen: usize,
}

/// An alert of a rule that is gone, by the name of the rule.
#[derive(Debug)]
struct Retired {
    rule: String,
    life: Life<String>,
}

/// Rules as the detector wants them.
pub(super) fn rules_of(rules: Arc<[Rule]>) -> Result<Rules, RuleError> {
    Rules::new(rules)
}

impl ReadingStage {
    pub(super) fn new(agent: Arc<str>, config: &ScoreConfig) -> Self {
        let model = Suite::MODEL;
        Self {
            group_level: config.group_level,
            groups: Groups::new(agent.clone(), config.series_max),
            central: CentralStage::new(config.series_max),
            agent,
            model: Model { name: model.name.into(), version: model.version.into() },
            rule_model: Model { name: "rule".into(), version: "1".into() },
            suite: config.suite,
            life: config.life,
            rules: config.rules.clone(),
            series: Recent::new(config.series_max),
            key: String::new(),
        }
    }

    /// Goes on with other settings and all that was learnt.
    pub(super) fn configure(&mut self, config: &ScoreConfig) {
        let rules_differ = self.rules != config.rules;
        self.suite = config.suite;
        self.life = config.life;
        self.rules.clone_from(&config.rules);
        self.series.resize(config.series_max);
        self.group_level = config.group_level;
        self.groups.resize(config.series_max);
        self.central.resize(config.series_max);
        for (key, tracked) in self.series.iter_mut() {
            tracked.suite.configure(&config.suite);
            // As `score` puts it together: no site and no device has a `/` in it.
            let mut parts = key.splitn(3, '/').skip(1);
            if let (true, Some(device), Some(metric)) = (rules_differ, parts.next(), parts.next()) {
                tracked.set_rules(&self.rules, device, metric);
            }
        }
    }

    /// Does with a central model as its keeper says.
    pub(super) fn order(&mut self, order: Order) {
        self.central.order(order);
    }

    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    pub(super) fn score(
        &mut self,
        site: &str,
        device: &str,
        ts_us: i64,
        values: &mut BTreeMap<String, Value>,
        drafts: &mut Vec<Draft>,
    ) {
        self.score_each(site, device, ts_us, values, drafts, |_, _| {});
    }

    /// Scores the values of one reading; `each` sees the verdict on each metric, and the score of all of them
    /// together comes back.
    pub(super) fn score_each(
        &mut self,
        site: &str,
        device: &str,
        ts_us: i64,
        values: &mut BTreeMap<String, Value>,
        drafts: &mut Vec<Draft>,
        mut each: impl FnMut(&str, &Verdict),
    ) -> Option<GroupScore> {
        let how = How { suite: &self.suite, life: &self.life };
        for (metric, value) in values.iter_mut() {
            self.key.clear();
            for part in [site, "/", device, "/", metric] {
                self.key.push_str(part);
            }
            let begin = || Tracked::new(&self.suite, &self.rules, device, metric);
            self.series.with(&self.key, begin, |tracked| {
                let verdict = tracked.suite.update(ts_us, value.v);
                each(metric, &verdict);
                if verdict.refused.is_some() {
                    return;
                }
                let (at, how) = (At { site, device, metric: Some(metric), ts_us }, how);
                let central = self.central.judge(&self.key, at, value.v, &verdict, how);
                let signal = Signal::from(&verdict);
                let signal = central.as_ref().map_or(signal, |central| central.join(signal));
                value.score = Some(signal.score);
                tracked.remember(LastValue { ts_us, v: value.v });
                let about = About { site, device, metric };
                if let Some(change) = tracked.life.step(&self.life, ts_us, signal, alert_id) {
                    let mut data =
                        tracked.alert(&self.agent, &self.model, &about, &verdict, change);
                    tracked.name_model(&mut data, &verdict, central);
                    drafts.push(Draft(data));
                }
                tracked.apply_rules(
                    &self.agent,
                    &self.rule_model,
                    &self.life,
                    &about,
                    ts_us,
                    drafts,
                );
            });
        }
        let at = At { site, device, metric: None, ts_us };
        if let Some(said) = self.central.judge_group(at, values, how) {
            drafts.push(self.groups.draft_of(at, said));
        }
        if self.group_level <= 0.0 {
            return None;
        }
        let how = (self.group_level, &self.life);
        self.groups.score((site, device), ts_us, values, how, drafts)
    }
}

/// The rules for a series, and a life for each.
fn rules_for(rules: &[SeriesRule], device: &str, metric: &str) -> (Rules, Vec<Life<String>>) {
    let mine: Arc<[Rule]> = rules
        .iter()
        .filter(|rule| glob(&rule.device, device) && glob(&rule.metric, metric))
        .map(|rule| rule.rule.clone())
        .collect();
    let rules = rules_of(mine).or_else(|error| {
        tracing::error!(%error, device, metric, "rules of the series are not used");
        rules_of([].into())
    });
    #[expect(clippy::unwrap_used, reason = "no rules are no bad rules")]
    let rules = rules.unwrap();
    let lives = vec![Life::default(); rules.rules().len()];
    (rules, lives)
}

/// The series an alert is about.
struct About<'a> {
    site: &'a str,
    device: &'a str,
    metric: &'a str,
}

impl Tracked {
    fn new(suite: &SuiteConfig, rules: &[SeriesRule], device: &str, metric: &str) -> Self {
        let (rules, rule_lives) = rules_for(rules, device, metric);
        Self {
            suite: Suite::new(suite),
            life: Life::default(),
            rules,
            rule_lives,
            retired: Vec::new(),
            raised_by: None,
            last: [LastValue { ts_us: 0, v: 0.0 }; LAST_VALUES],
            seen: 0,
        }
    }

    /// Takes other rules. One that stays as it is goes on with its alert; a rate or a flat line is
    /// measured anew.
    fn set_rules(&mut self, rules: &[SeriesRule], device: &str, metric: &str) {
        let (rules, mut lives) = rules_for(rules, device, metric);
        if rules.rules() == self.rules.rules() {
            return;
        }
        let before = std::mem::replace(&mut self.rules, rules);
        for (rule, life) in before.rules().iter().zip(self.rule_lives.drain(..)) {
            let same = self.rules.rules().iter().position(|new| new == rule);
            match same.and_then(|at| lives.get_mut(at)) {
                Some(at) => *at = life,
                None if life.firing().is_some() => {
                    self.retired.push(Retired { rule: rule.name().to_owned(), life });
                }
                None => {}
            }
        }
        self.rule_lives = lives;
    }

    fn remember(&mut self, value: LastValue) {
        self.last[self.seen % LAST_VALUES] = value;
        self.seen += 1;
    }

    fn last_values(&self) -> Vec<LastValue> {
        let first = self.seen.saturating_sub(LAST_VALUES);
        (first..self.seen).map(|i| self.last[i % LAST_VALUES]).collect()
    }

    fn alert(
        &self,
        agent: &Arc<str>,
        model: &Model,
        about: &About<'_>,
        verdict: &Verdict,
        change: Transition<String>,
    ) -> AlertData {
        let mut data = self.data(agent, model, about, change);
        data.threshold = verdict.threshold;
        verdict.member.clone_into(&mut data.why);
        data.baseline =
            Some(Baseline { expected: verdict.expected, low: verdict.low, high: verdict.high });
        data
    }

    /// Names the central model where it, and not the streaming detectors, raised the alert.
    fn name_model(&mut self, data: &mut AlertData, verdict: &Verdict, central: Option<Said>) {
        if data.resolved_us.is_none() {
            let fired = central.filter(|_| !verdict.alarm).and_then(|central| {
                data.threshold = central.threshold;
                data.baseline = central.baseline.or(data.baseline.take());
                central.name
            });
            self.raised_by = fired;
        }
        if let Some(name) = &self.raised_by {
            data.model = name.clone();
            data.why = "expected".into();
        }
    }

    fn data(
        &self,
        agent: &Arc<str>,
        model: &Model,
        about: &About<'_>,
        change: Transition<String>,
    ) -> AlertData {
        let of = (about.site, about.device, about.metric);
        let data = alert_data((agent, model), AlertKind::Reading, of, 1.0, change);
        AlertData { last_values: self.last_values(), ..data }
    }

    fn apply_rules(
        &mut self,
        agent: &Arc<str>,
        model: &Model,
        config: &LifeConfig,
        about: &About<'_>,
        ts_us: i64,
        drafts: &mut Vec<Draft>,
    ) {
        if self.rule_lives.is_empty() && self.retired.is_empty() {
            return;
        }
        let Some(value) = self.last_values().pop() else { return };
        for Retired { rule, mut life } in std::mem::take(&mut self.retired) {
            match life.step(config, ts_us, Signal::rule(false), alert_id) {
                Some(change) => {
                    let mut data = self.data(agent, model, about, change);
                    data.why = rule;
                    drafts.push(Draft(data));
                }
                None => self.retired.push(Retired { rule, life }),
            }
        }
        let hits = self.rules.update(ts_us, value.v);
        for i in 0..self.rule_lives.len() {
            let signal = Signal::rule(hits.contains(i));
            let Some(change) = self.rule_lives[i].step(config, ts_us, signal, alert_id) else {
                continue;
            };
            let mut data = self.data(agent, model, about, change);
            data.why = self.rules.rules().get(i).map_or("", Rule::name).to_owned();
            drafts.push(Draft(data));
        }
    }
}
