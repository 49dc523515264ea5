//! Scores of readings: a suite of detectors, rules, and the life of the alerts, per series.
//!
//! In: the values of one reading, and the seconds that pass. Out: a score on each, and alert drafts. One entry a
//! series, the least recently used leaves when there are too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind, Baseline, LastValue, Model};
use weir_models::central::Kind;
use weir_models::detect::life::{Life, Signal, Transition};
use weir_models::detect::rules::{Rule, RuleError, Rules};
use weir_models::detect::{Suite, Verdict, judgeable};
use weir_models::event::Value;
use weir_models::pattern::glob;

use super::advice::Advice;
use super::central::{At, CentralStage, How, Said};
use super::groups::{GroupScore, Groups};
use super::plant::{About, LastValues, Plant, Teller};
use super::{Draft, RULE, ScoreConfig, SeriesRule, SeriesTier, Tier, alert_data, alert_id};
use crate::central::Order;
use crate::recent::Recent;

/// Where the metrics of tier T3 together are an alarm, if the configuration does not say so.
pub(super) const GROUP_LEVEL: f32 = 3.0;

/// Alerts of longer ago do not count as recent.
const WEEK_US: f32 = 7.0 * 86_400e6;

/// So often all series are looked at for silence, in seconds.
const LOOK_S: u32 = 5;

#[derive(Debug)]
pub(super) struct ReadingStage {
    agent: Arc<str>,
    model: Model,
    rule_model: Model,
    config: ScoreConfig,
    series: Recent<Box<Tracked>>,
    groups: Groups,
    central: CentralStage,
    advice: Advice,
    key: String,
    /// Seconds of a clock that only goes forward.
    now_s: u32,
    /// When it was last looked for silence.
    looked_s: u32,
}

/// All that is remembered of a series.
#[derive(Debug)]
struct Tracked {
    tier: Tier,
    /// None in tier T1.
    suite: Option<Box<Suite>>,
    life: Life<String>,
    /// The central model that raised the alert which fires, if one did.
    raised_by: Option<Model>,
    plant: Plant,
    last: LastValues,
    /// Alerts of late, as many as there were when the last one fired, and when that was.
    recent: f32,
    fired_us: i64,
}

/// Rules as the detector wants them.
pub(super) fn rules_of(rules: Arc<[Rule]>) -> Result<Rules, RuleError> {
    Rules::new(rules)
}

impl ReadingStage {
    /// `now_s` as [`ReadingStage::pass`] tells it.
    pub(super) fn new(agent: Arc<str>, config: &ScoreConfig, now_s: u32) -> Self {
        let model = Suite::MODEL;
        Self {
            groups: Groups::new(agent.clone(), config.series_max),
            central: CentralStage::new(config.series_max),
            advice: Advice::default(),
            agent,
            model: Model { name: model.name.into(), version: model.version.into() },
            rule_model: Model { name: RULE.into(), version: "1".into() },
            series: Recent::new(config.series_max),
            config: config.clone(),
            key: String::new(),
            now_s,
            looked_s: now_s,
        }
    }

    /// Goes on with other settings and all that was learnt.
    pub(super) fn configure(&mut self, config: &ScoreConfig) {
        let differ = self.config.rules != config.rules || self.config.tiers != config.tiers;
        self.config.clone_from(config);
        self.series.resize(config.series_max);
        self.groups.resize(config.series_max);
        self.central.resize(config.series_max);
        for (key, tracked) in self.series.iter_mut() {
            let Some(about) = About::of(key) else { continue };
            if differ {
                tracked.plant.set_rules(rules_for(&config.rules, about.device, about.metric));
                let tier = tier_for(&config.tiers, about.device, about.metric);
                tracked.set_tier(tier, || self.advice.suite(&config.suite, about.names()));
            }
            if let Some(suite) = &mut tracked.suite {
                self.advice.tune(suite, &config.suite, about.names());
            }
        }
    }

    /// Does with a central model as its keeper says.
    pub(super) fn order(&mut self, order: Order) {
        let advises = match &order {
            Order::Begin { .. } => true,
            Order::Force { key, .. } | Order::Try { key, .. } | Order::Withdraw { key } => {
                [Kind::Shapes, Kind::Level].iter().any(|kind| kind.is_of(key))
            }
        };
        if advises && let Some(scope) = self.advice.order(&order) {
            for (key, tracked) in self.series.iter_mut() {
                if let (Some(about), Some(suite)) = (About::of(key), &mut tracked.suite)
                    && scope.holds(about.site, about.device, about.metric)
                {
                    // One that came while the models were read is as if they had been there.
                    self.advice.begin(suite, &self.config.suite, about.names());
                }
            }
        }
        if !advises || matches!(order, Order::Begin { .. }) {
            self.central.order(order);
        }
    }

    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    #[cfg(test)]
    pub(super) fn each_plant(&mut self, mut see: impl FnMut(&Plant)) {
        self.series.iter_mut().for_each(|(_, tracked)| see(&tracked.plant));
    }

    /// Whether somebody wants to know that nothing comes.
    pub(super) fn watches(&self) -> bool {
        self.config.rules.iter().any(|rule| matches!(rule.rule, Rule::Gap { .. }))
    }

    /// So many seconds have passed since the start: what is silent by now.
    pub(super) fn pass(&mut self, now_s: u32, drafts: &mut Vec<Draft>) {
        self.now_s = now_s;
        if now_s.saturating_sub(self.looked_s) < LOOK_S {
            return;
        }
        self.looked_s = now_s;
        let Self { agent, rule_model, config, series, .. } = self;
        let teller = teller(agent, rule_model, config, now_s);
        for (key, tracked) in series.iter_mut() {
            let Tracked { plant, last, .. } = &mut **tracked;
            plant.tell_silence(&teller, key, last, drafts);
        }
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
        let Self { agent, model, rule_model, config, series, groups, central, advice, key, .. } =
            self;
        let teller = teller(agent, rule_model, config, self.now_s);
        let is_told = (&*agent, &*model);
        let how = How { suite: &config.suite, life: &config.life };
        let mut named = 0;
        for (metric, value) in values.iter_mut() {
            let about = About { site, device, metric };
            about.write(key);
            let at = At { site, device, metric: Some(metric), ts_us };
            let mut judge = |value: f64, verdict: &Verdict| {
                each(metric, verdict);
                if verdict.refused.is_some() {
                    return None;
                }
                central.judge(key, at, value, verdict, how)
            };
            let begin = || Box::new(Tracked::new(config, advice, &about));
            series.with(key, begin, |tracked| {
                named += usize::from(tracked.tier == Tier::T3);
                tracked.score(is_told, &teller, &about, (ts_us, value), drafts, &mut judge);
            });
        }
        let at = At { site, device, metric: None, ts_us };
        if let Some(said) = central.judge_group(at, values, how) {
            drafts.push(groups.draft_of(at, said));
        }
        let level = match config.group_level {
            level if level > 0.0 => level,
            _ if named >= 2 => GROUP_LEVEL,
            // What fired when they were looked at still has to end.
            _ if groups.firing() => f32::INFINITY,
            _ => return None,
        };
        let how = (level, &config.life);
        groups.score((site, device), ts_us, values, how, drafts)
    }
}

fn teller<'a>(
    agent: &'a Arc<str>,
    model: &'a Model,
    config: &'a ScoreConfig,
    now_s: u32,
) -> Teller<'a> {
    Teller { agent, model, life: &config.life, defaults: config.defaults, now_s }
}

/// The rules for a series.
fn rules_for(rules: &[SeriesRule], device: &str, metric: &str) -> Rules {
    let mine: Arc<[Rule]> = rules
        .iter()
        .filter(|rule| glob(&rule.device, device) && glob(&rule.metric, metric))
        .map(|rule| rule.rule.clone())
        .collect();
    rules_of(mine).unwrap_or_else(|error| {
        tracing::error!(%error, device, metric, "rules of the series are not used");
        Rules::default()
    })
}

/// The tier of a series: what the first that names it says.
fn tier_for(tiers: &[SeriesTier], device: &str, metric: &str) -> Tier {
    let mine = tiers.iter().find(|at| glob(&at.device, device) && glob(&at.metric, metric));
    mine.map_or(Tier::T2, |at| at.tier)
}

impl Tracked {
    fn new(config: &ScoreConfig, advice: &Advice, about: &About<'_>) -> Self {
        let (device, metric) = (about.device, about.metric);
        let mut plant = Plant::default();
        if !config.rules.is_empty() {
            plant.set_rules(rules_for(&config.rules, device, metric));
        }
        let (life, last) = (Life::default(), LastValues::new());
        let mut tracked = Self {
            tier: Tier::T1,
            suite: None,
            life,
            raised_by: None,
            plant,
            last,
            recent: 0.0,
            fired_us: i64::MIN,
        };
        let tier = tier_for(&config.tiers, device, metric);
        tracked.set_tier(tier, || advice.suite(&config.suite, about.names()));
        tracked
    }

    /// Takes another tier. What a suite has learnt goes with it.
    fn set_tier(&mut self, tier: Tier, suite: impl FnOnce() -> Box<Suite>) {
        self.tier = tier;
        if tier == Tier::T1 {
            self.suite = None;
        } else if self.suite.is_none() {
            self.suite = Some(suite());
        }
    }

    /// Scores one value; the alerts of the detector first, then those of rules. `judge` is asked what a central
    /// model says beside the detector.
    fn score(
        &mut self,
        (agent, model): (&Arc<str>, &Model),
        teller: &Teller<'_>,
        about: &About<'_>,
        (ts_us, value): (i64, &mut Value),
        drafts: &mut Vec<Draft>,
        judge: &mut impl FnMut(f64, &Verdict) -> Option<Said>,
    ) {
        let can_be_judged = judgeable(value.v).is_ok();
        let broken = can_be_judged.then(|| self.plant.look(teller, about.metric, ts_us, value));
        let verdict = self.suite.as_mut().map(|suite| update(suite, ts_us, value.v, &self.plant));
        let central = verdict.as_ref().and_then(|verdict| judge(value.v, verdict));
        let Some(broken) = broken else { return };
        self.last.remember(LastValue { ts_us, v: value.v });
        match verdict {
            Some(verdict) if verdict.refused.is_none() => {
                let signal = Signal::from(&verdict);
                let signal = central.as_ref().map_or(signal, |central| central.join(signal));
                value.score = Some(signal.score);
                if let Some(change) = self.life.step(teller.life, ts_us, signal, alert_id) {
                    drafts.push(self.alert((agent, model), about, &verdict, central, change));
                }
            }
            // Nobody judges it any more: an alert that fired ends as if all were well.
            None if self.life.firing().is_some() => {
                if let Some(change) = self.life.step(teller.life, ts_us, Signal::CALM, alert_id) {
                    let of = (about.site, about.device, about.metric);
                    let last_values = self.last.list();
                    let data = alert_data((agent, model), AlertKind::Reading, of, 1.0, change);
                    drafts.push(self.told(AlertData { last_values, ..data }));
                }
            }
            _ => {}
        }
        self.plant.tell(teller, about, (ts_us, value), &broken, &self.last, drafts);
    }

    /// Names the central model where it, and not the detector, raised the alert.
    fn alert(
        &mut self,
        told: (&Arc<str>, &Model),
        about: &About<'_>,
        verdict: &Verdict,
        central: Option<Said>,
        change: Transition<String>,
    ) -> Draft {
        let of = (about.site, about.device, about.metric);
        let Verdict { expected, low, high, .. } = *verdict;
        let mut data = AlertData {
            why: verdict.member.to_owned(),
            baseline: Some(Baseline { expected, low, high }),
            last_values: self.last.list(),
            ..alert_data(told, AlertKind::Reading, of, verdict.threshold, change)
        };
        if data.resolved_us.is_none() {
            data.recent = Some(self.count(data.fired_us));
            self.raised_by = central.filter(|_| !verdict.alarm).and_then(|central| {
                data.threshold = central.threshold;
                data.baseline = central.baseline.or(data.baseline.take());
                central.name
            });
        }
        self.told(data)
    }

    /// Counts an alert; answers how many there were in the week before, those of longer ago less.
    fn count(&mut self, fired_us: i64) -> u16 {
        let passed_us = fired_us.saturating_sub(self.fired_us).max(0);
        let before = self.recent * (1.0 - passed_us as f32 / WEEK_US).max(0.0);
        (self.recent, self.fired_us) = (before + 1.0, fired_us);
        before.round() as u16
    }

    /// Under the name of the central model, where one raised the alert.
    fn told(&self, mut data: AlertData) -> Draft {
        if let Some(name) = &self.raised_by {
            data.model = name.clone();
            data.why = "expected".into();
        }
        Draft(data)
    }
}

/// Judges a value. Of a counter that began anew as if it had gone on; what is said is in its own terms.
fn update(suite: &mut Suite, ts_us: i64, value: f64, plant: &Plant) -> Verdict {
    let offset = plant.offset();
    if offset == 0.0 {
        return suite.update(ts_us, value);
    }
    let verdict = suite.update(ts_us, value + offset);
    Verdict {
        expected: verdict.expected - offset,
        low: verdict.low - offset,
        high: verdict.high - offset,
        ..verdict
    }
}
