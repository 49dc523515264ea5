//! Score: how unusual is this event?
//!
//! In: an enriched event. Out: the same event with a score on every value or on the line, and the
//! alerts that begin or end with it, still without identity ([`Draft`]). Promises: constant memory
//! (a bounded number of series and templates, the least recently used leave and begin anew), no
//! look at later events, the same events give the same scores. What cannot be scored goes on
//! without a score: scoring never stops the line.

mod advice;
mod central;
mod groups;
mod logs;
mod plant;
mod readings;
pub mod table;
mod trial;

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;
use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::central::Kind;
use weir_models::detect::SuiteConfig;
use weir_models::detect::life::{LifeConfig, Transition};
use weir_models::detect::rules::Rule;
use weir_models::event::{Body, Event};
use weir_models::ident::{EventId, Stream};
use weir_models::logs::LogScorerConfig;

pub(crate) use logs::HOSTS_MAX;
use logs::LogStage;
pub use plant::Defaults;
use readings::ReadingStage;

use crate::central::Order;
use advice::Ranks;

/// The table `[score]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreConfig {
    /// Whether readings are scored.
    pub readings: bool,
    /// Whether logs are scored.
    pub logs: bool,
    /// Most series that are scored at a time, about 1.5 KB each.
    pub series_max: NonZeroUsize,
    /// When the score of a reading becomes an alarm.
    pub suite: SuiteConfig,
    /// Score at which the metrics of one device together are an alarm, where a payload carries several; 0: they are
    /// not looked at together, but for those of tier T3.
    pub group_level: f32,
    /// Alerts that a person calls true with less than this probability, by a model of the centre that people's feedback
    /// made, are held back, 0 to 1; 0, the default: none is. Severe and missing log lines never are.
    pub suppress_below: f32,
    /// When an alert is over.
    pub life: LifeConfig,
    /// When the score of a log line becomes an alarm.
    pub log: LogScorerConfig,
    /// Rules that nobody has to set.
    pub defaults: Defaults,
    /// How much is done for which series; the first that names it counts.
    pub tiers: Vec<SeriesTier>,
    /// Rules by series: range, rate of change, flat line, silence, counters, resolution.
    pub rules: Vec<SeriesRule>,
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self {
            readings: true,
            logs: true,
            series_max: NonZeroUsize::new(2_000).unwrap_or(NonZeroUsize::MIN),
            suite: SuiteConfig::default(),
            group_level: 0.0,
            suppress_below: 0.0,
            life: LifeConfig::default(),
            log: LogScorerConfig::default(),
            defaults: Defaults::default(),
            tiers: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl ScoreConfig {
    /// What is wrong with the settings, if anything.
    ///
    /// # Errors
    /// Names the setting or the rule.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.suppress_below) {
            let found = self.suppress_below;
            return Err(format!("suppress_below is {found}: write a probability, 0 to 1"));
        }
        for rule in &self.rules {
            readings::rules_of([rule.rule.clone()].into()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Whether models of the centre are of use: something is scored that they judge or rank.
    pub(crate) fn uses_models(&self) -> bool {
        self.readings || self.logs
    }
}

/// A rule for some series, `[[score.rules]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesRule {
    /// Device; `*` stands for any text.
    #[serde(default = "any")]
    pub device: String,
    /// Metric; `*` stands for any text.
    #[serde(default = "any")]
    pub metric: String,
    /// The rule, for example `{ kind = "range", name = "too hot", max = 90.0 }`.
    pub rule: Rule,
}

/// How much is done for some series, `[[score.tiers]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesTier {
    /// Device; `*` stands for any text.
    #[serde(default = "any")]
    pub device: String,
    /// Metric; `*` stands for any text.
    #[serde(default = "any")]
    pub metric: String,
    /// How much.
    pub tier: Tier,
}

/// How much is done for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Tier {
    /// Rules only: no score, a fifth of the memory.
    T1,
    /// The detector as well: the default.
    T2,
    /// And all metrics of a payload together, where two or more of them are of this tier.
    T3,
}

fn any() -> String {
    "*".into()
}

/// The name of the model of alerts that rules raise.
const RULE: &str = "rule";

/// An alert that has no identity yet: the spool gives it one. One that has an end and yet fires says that it goes on and
/// is worse: `Ranks` tells it, without the end, where its beginning was held back, and drops it elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft(AlertData);

/// What all alerts say of a `change`: of the metric of a device of a site. The caller adds what it knows beyond that.
fn alert_data(
    (agent, model): (&Arc<str>, &Model),
    kind: AlertKind,
    (site, device, metric): (&str, &str, &str),
    threshold: f32,
    change: Transition<String>,
) -> AlertData {
    let (alert_id, state, fired_us, resolved_us, score) = match change {
        Transition::Fired { id, ts_us, score } => (id, AlertState::Firing, ts_us, None, score),
        Transition::Worse { id, fired_us, ts_us, score } => {
            (id, AlertState::Firing, fired_us, Some(ts_us), score)
        }
        Transition::Resolved { id, fired_us, ts_us, peak, .. } => {
            (id, AlertState::Resolved, fired_us, Some(ts_us), peak)
        }
    };
    AlertData {
        alert_id,
        state,
        kind,
        agent: agent.clone(),
        stream: Stream(0),
        seq: 0,
        site: site.into(),
        device: device.into(),
        metric: metric.into(),
        fired_us,
        resolved_us,
        score,
        threshold,
        model: model.clone(),
        why: String::new(),
        baseline: None,
        last_values: Vec::new(),
        message: None,
        cause_stream: Stream(0),
        cause_seq: 0,
        recent: None,
        rank: None,
    }
}

impl Draft {
    /// The key of the record: `site/device/metric`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.0.site, self.0.device, self.0.metric)
    }

    /// Whether it fires (and does not end).
    #[must_use]
    pub fn fires(&self) -> bool {
        self.0.resolved_us.is_none()
    }

    /// Where it fires by a rule: the metric, the rule, and why.
    fn broken(&self) -> Option<String> {
        let AlertData { metric, why, message, .. } = &self.0;
        let message = message.as_ref().filter(|_| self.fires() && &*self.0.model.name == RULE)?;
        Some(format!("{metric}: {why}: {message}"))
    }

    /// The record, now that the spool has named it and the event that caused it.
    #[must_use]
    pub fn seal(mut self, id: EventId, cause: EventId, now_us: i64) -> Alert {
        (self.0.stream, self.0.seq) = (id.stream, id.seq);
        (self.0.cause_stream, self.0.cause_seq) = (cause.stream, cause.seq);
        let source = format!("/weir/agent/{}", self.0.agent);
        Alert::new(&source, now_us, self.0)
    }
}

/// Scores everything that passes.
#[derive(Debug)]
pub struct Scorer {
    agent: Arc<str>,
    readings: Option<ReadingStage>,
    logs: Option<LogStage>,
    ranks: Ranks,
    suppress_below: f32,
    /// Seconds that have passed since the start.
    now_s: u32,
}

impl Scorer {
    /// Begins with nothing learnt.
    #[must_use]
    pub fn new(agent: &Arc<str>, config: &ScoreConfig) -> Self {
        let agent = agent.clone();
        Self {
            readings: config.readings.then(|| ReadingStage::new(agent.clone(), config, 0)),
            logs: config.logs.then(|| LogStage::new(agent.clone(), config)),
            agent,
            ranks: Ranks::default(),
            suppress_below: config.suppress_below,
            now_s: 0,
        }
    }

    /// Goes on with other settings, and with all that was learnt, but for what is switched off. Alerts of
    /// rules that are gone end like others: after calm readings.
    pub fn configure(&mut self, config: &ScoreConfig) {
        if self.suppress_below != config.suppress_below {
            self.suppress_below = config.suppress_below;
            self.ranks.look_again();
        }
        match &mut self.readings {
            Some(stage) if config.readings => stage.configure(config),
            stage => {
                *stage = config
                    .readings
                    .then(|| ReadingStage::new(self.agent.clone(), config, self.now_s))
            }
        }
        match &mut self.logs {
            Some(stage) if config.logs => stage.configure(config),
            stage => *stage = config.logs.then(|| LogStage::new(self.agent.clone(), config)),
        }
    }

    /// Does with a central model as its keeper says. Without readings only ranks are of use; it says all of it again
    /// when they come.
    pub(crate) fn order(&mut self, order: Order) {
        let is_rank = |key: &str| Kind::Rerank.is_of(key);
        let (here, there) = match &order {
            Order::Begin { .. } => (true, true),
            Order::Force { key, .. } | Order::Try { key, .. } | Order::Withdraw { key } => {
                (is_rank(key), !is_rank(key))
            }
        };
        if here {
            self.ranks.order(&order);
        }
        if there && let Some(stage) = &mut self.readings {
            stage.order(order);
        }
    }

    /// Scores one event. Alerts that begin or end with it are appended to `drafts`.
    pub fn score(&mut self, event: &mut Event, drafts: &mut Vec<Draft>) {
        let Event { site, device, ts_us, body, .. } = event;
        let from = drafts.len();
        match body {
            Body::Reading(values) => {
                if let Some(stage) = &mut self.readings {
                    stage.score(site, device, *ts_us, values, drafts);
                }
            }
            Body::Log(log) => {
                if let Some(stage) = &mut self.logs {
                    stage.score(site, device, *ts_us, log, drafts);
                }
            }
            Body::Loss(_) => {}
        }
        self.ranks.look(drafts, from, self.suppress_below);
    }

    /// Whether it has to be told that time passes.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.readings.as_ref().is_some_and(ReadingStage::watches)
    }

    /// So many seconds have passed since the start, by a clock that only goes forward: alerts that begin because
    /// nothing came are appended to `drafts`.
    pub fn pass(&mut self, now_s: u32, drafts: &mut Vec<Draft>) {
        self.now_s = now_s;
        if let Some(stage) = &mut self.readings {
            stage.pass(now_s, drafts);
        }
    }

    /// How many series are being scored.
    #[must_use]
    pub fn series(&self) -> usize {
        self.readings.as_ref().map_or(0, ReadingStage::series)
    }
}

/// A name for an alert that nobody else gives.
fn alert_id() -> String {
    let bits = getrandom::u64().unwrap_or_else(|_| weir_models::time::now_us().cast_unsigned());
    format!("{bits:016x}")
}

#[cfg(test)]
mod tests;
