//! How unusual a log line is, from its template: novelty, rate, severity, order; and which line is missing.
//!
//! In: event time, template, severity and process of every line of one host. Out: a [`LogVerdict`]. Bounded: about 60
//! bytes a template, and 3 KiB; when there are too many, the eighth leaves that came last the longest ago.
//!
//! Every part is a surprise in nats, that is -ln of a chance, so parts of different kinds can be compared:
//! - novelty: -ln of the share of lines that are first of their kind on this host, times `exp(-seen / 8)`. Where
//!   new templates are common, one more says little.
//! - rate: -ln of the chance of so many further lines of this template in 10 s and in 10 min, given its rate over 24 h:
//!   the Gamma-Poisson (negative binomial) tail by its Chernoff bound, `k ln(k(r+m) / m(r+k)) - r ln((r+k)/(r+m))`
//!   for `k` lines where `m` are expected and the rate was learnt from `r`. What is expected follows the hour of the
//!   week (`week`).
//! - severity: a fixed prior, added to the larger of the two.
//! - order: -ln of the share of the times in which this template came next in its process ([`Orders`], one for all hosts).
//! - missing: -ln of the chance that a template which comes regularly is away for so long (`gap`). It is told with
//!   whatever line comes then, and does not count in the score of that line. A host that was silent for half an hour
//!   misses no line: that is another alert.
//!
//! Real logs come in bursts, more than any Poisson process has them: so the sum, the order and the gaps are each put on
//! a scale by their own tail on this host, as readings are (`detect::pot`). The alarm level follows from the number of false alarms that are
//! allowed: with an exponential tail a score of `L` is exceeded by one line in `exp(L) / 0.02`.
//!
//! The same lines give the same scores on one machine; `exp` and `ln` of different platforms may differ in the last
//! bit. Nothing here survives a restart: a host is learnt anew.

mod gap;
mod order;
mod week;

use super::eights;
use super::miner::ById;
use crate::detect::pot::{Pot, QUANTILE};
use gap::Gaps;
pub use order::Orders;
use serde::Deserialize;
use std::collections::HashMap;
use week::Week;

/// Event time and its decay are kept in seconds since the scorer began.
const SHORT_S: f64 = 10.0;
const MIDDLE_S: f64 = 600.0;
const LONG_S: f64 = 86_400.0;
const MONTH_S: f64 = 30.0 * LONG_S;
/// Lines after which a template is no longer new (its novelty falls to 1/e).
const FAMILIAR: f64 = 8.0;
/// Before anything is known of a template: one line in an hour.
const PRIOR_LINES: f64 = 1.0;
const PRIOR_S: f64 = 3600.0;
/// Learning lasts at least this many lines, whatever the clock does in the meantime.
const LEARNING_LINES: u64 = 200;
/// Event time moves on by at most this much between two lines: a clock that is set must not age everything.
const MAX_STEP_S: f64 = LONG_S;
/// Missing lines are looked for this often.
const LOOK_S: f64 = 60.0;
/// A host that says nothing for so long is silent: then nothing of it is missing.
const SILENCE_S: f64 = 1800.0;
/// The alarm level stays within these, whatever the number of lines.
const LEVEL: std::ops::RangeInclusive<f64> = 1.0..=20.0;

/// Settings of a [`LogScorer`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogScorerConfig {
    /// Templates remembered; the least recently used one leaves.
    pub templates: usize,
    /// Seconds of event time in which nothing is called unusual.
    pub learning_s: u32,
    /// False alarms to be expected of one host in 30 days; by default one a day. A tail heavier than exponential raises more.
    pub false_alarms_per_month: f32,
    /// Seconds after a score at the alarm level in which the same template raises no further alarm.
    pub quiet_s: u32,
}

impl Default for LogScorerConfig {
    fn default() -> Self {
        Self {
            templates: super::DEFAULT_TEMPLATES,
            learning_s: 3600,
            false_alarms_per_month: 30.0,
            quiet_s: 3600,
        }
    }
}

/// What the scorer says of one line. Every number in it is finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogVerdict {
    /// How unusual the line is: 0 for an ordinary one, 1 where it lies as far in the tail of this host as the mean of
    /// what ever got there; at most 100.
    pub score: f32,
    /// Somebody should be told.
    pub alarm: bool,
    /// The level at which an alarm is raised, of the last line that came near it; it rises with the number of lines.
    pub threshold: f32,
    /// What made the score: `learning`, `new template`, `burst`, `severity`, `order`, or `none`.
    pub why: &'static str,
    /// A line that should have come by now, told once. Not a part of the score.
    pub missing: Option<Missing>,
}

/// What makes the score of a line that is severe rather than new or many.
pub const SEVERITY: &str = "severity";

/// A line that comes regularly did not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Missing {
    /// Its template.
    pub template: u64,
    /// As [`LogVerdict::score`].
    pub score: f32,
    /// As [`LogVerdict::threshold`].
    pub threshold: f32,
    /// Seconds since it came.
    pub gap_s: f32,
    /// Seconds between its lines, on the mean.
    pub usual_s: f32,
}

impl Missing {
    /// What makes the score.
    pub const WHY: &'static str = "missing line";
}

/// A line of one host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLine {
    /// Event time in microseconds since the Unix epoch.
    pub ts_us: i64,
    /// As the miner gave it.
    pub template: u64,
    /// As the miner gave it.
    pub is_new: bool,
    /// 0 (emergency) to 7 (debug) as in RFC 5424.
    pub severity: Option<u8>,
    /// The surprise of its place in its process, in nats, by [`Orders`].
    pub order: f64,
}

/// A number for a process, from the names that its host and its lines give it.
#[must_use]
pub fn process(host: &str, app: &str, procid: &str) -> u64 {
    let hash = |name: &str| eights::hash(name.as_bytes());
    hash(host).rotate_left(2) ^ hash(app).rotate_left(1) ^ hash(procid)
}

#[derive(Debug, Clone, Copy)]
struct TemplateState {
    last_s: f64,
    /// Exponentially weighted counts over 10 s, 10 min and 24 h.
    counts: [f32; 3],
    seen: u32,
    gaps: Gaps,
    /// When the score last reached the alarm level; to a few seconds in a year.
    loud_s: f32,
}

/// Scores the lines of one host.
#[derive(Debug)]
pub struct LogScorer {
    config: LogScorerConfig,
    /// In place, so that a line touches little memory.
    templates: HashMap<u64, TemplateState, ById>,
    pot: Pot,
    order_pot: Pot,
    gap_pot: Pot,
    week: Week,
    /// When missing lines were last looked for, and when the host last came back from silence.
    looked_s: f64,
    resumed_s: f64,
    last_us: Option<i64>,
    now_s: f64,
    lines: u64,
    /// Exponentially weighted over 24 h: lines, and those with a new template.
    recent_lines: f64,
    recent_new: f64,
    /// The level at which a score was last compared.
    threshold: f64,
}

impl LogScorer {
    /// A scorer that has seen nothing.
    #[must_use]
    pub fn new(config: LogScorerConfig) -> Self {
        Self {
            config,
            templates: HashMap::default(),
            pot: Pot::new(),
            order_pot: Pot::new(),
            gap_pot: Pot::new(),
            week: Week::new(),
            looked_s: 0.0,
            resumed_s: 0.0,
            last_us: None,
            now_s: 0.0,
            lines: 0,
            recent_lines: 0.0,
            recent_new: 0.0,
            threshold: *LEVEL.start(),
        }
    }

    /// Goes on with other settings and all that was learnt.
    pub fn configure(&mut self, config: &LogScorerConfig) {
        self.config = config.clone();
        self.make_room();
    }

    /// Judges one line.
    pub fn update(&mut self, line: LogLine) -> LogVerdict {
        let busy = f64::from(self.week.update(line.ts_us));
        self.advance(line.ts_us);
        let (now_s, resumed_s) = (self.now_s, self.resumed_s);
        // Before it is counted: what came so far tells whether a new one surprises.
        let (recent_lines, recent_new) = (self.recent_lines, self.recent_new);
        self.recent_lines += 1.0;
        self.lines += 1;
        let state = match self.templates.get_mut(&line.template) {
            Some(state) if !line.is_new => state,
            _ => {
                self.recent_new += 1.0;
                self.make_room();
                let state = self.templates.entry(line.template);
                let state = state.or_insert(TemplateState::begun(now_s));
                *state = TemplateState::begun(now_s);
                state
            }
        };
        let seen = f64::from(state.seen);
        let gap = state.count(now_s, resumed_s);
        if self.lines <= LEARNING_LINES || now_s < f64::from(self.config.learning_s) {
            let threshold = self.threshold as f32;
            return LogVerdict {
                score: 0.0,
                alarm: false,
                threshold,
                why: "learning",
                missing: None,
            };
        }
        let novelty = novelty(seen, recent_lines, recent_new);
        let burst = state.surprise_of_burst(exposure_s(now_s), busy);
        let prior = severity_prior(line.severity);
        let of_line = self.pot.update(novelty.max(burst) + prior);
        // What is new has no order yet.
        let of_order =
            bounded(&mut self.order_pot, if seen > 2.0 * FAMILIAR { line.order } else { 0.0 });
        if let Some(gap) = gap {
            self.gap_pot.update(gap);
        }
        let y = of_line.max(of_order);
        // Below the least level there is nothing to be told, nor to be compared: a score under half of
        // it is calm whatever the level.
        let mut alarm = false;
        if y >= 0.5 * LEVEL.start() {
            self.threshold = level(&self.config, self.recent_lines, now_s);
            if y >= self.threshold {
                alarm = now_s - f64::from(state.loud_s) > f64::from(self.config.quiet_s);
                state.loud_s = now_s as f32;
            }
        }
        let why = if y <= 0.0 {
            "none"
        } else if of_order > of_line {
            "order"
        } else if prior > novelty.max(burst) {
            SEVERITY
        } else if novelty >= burst {
            "new template"
        } else {
            "burst"
        };
        let missing = self.missing();
        LogVerdict { score: y as f32, alarm, threshold: self.threshold as f32, why, missing }
    }

    /// The line that is missing most, if one is that was not told yet.
    fn missing(&mut self) -> Option<Missing> {
        let now_s = self.now_s;
        if now_s - self.looked_s < LOOK_S {
            return None;
        }
        self.looked_s = now_s;
        let threshold = level(&self.config, self.recent_lines, now_s);
        let mut worst: Option<(f64, u64, f64)> = None;
        for (template, state) in &self.templates {
            let gap_s = now_s - state.last_s.max(self.resumed_s);
            if state.gaps.is_told {
                continue;
            }
            let Some(surprise) = state.gaps.surprise(gap_s as f32) else { continue };
            if surprise < threshold {
                continue;
            }
            // Not learnt from: it has not ended.
            let score = bounded(&mut self.gap_pot.clone(), surprise);
            if score >= threshold
                && worst.is_none_or(|(most, id, _)| score > most || score == most && *template < id)
            {
                worst = Some((score, *template, gap_s));
            }
        }
        let (score, template, gap_s) = worst?;
        let gaps = &mut self.templates.get_mut(&template)?.gaps;
        gaps.is_told = true;
        Some(Missing {
            template,
            score: score as f32,
            threshold: threshold as f32,
            gap_s: gap_s as f32,
            usual_s: gaps.regular_s().unwrap_or_default(),
        })
    }

    /// Counts what was counted for templates that became a part of another one for that one.
    pub fn join(&mut self, into: u64, parts: &[u64]) {
        let parts: Vec<_> = parts.iter().filter_map(|part| self.templates.remove(part)).collect();
        if parts.is_empty() {
            return;
        }
        let whole = self.templates.entry(into).or_insert(TemplateState::begun(self.now_s));
        for part in parts {
            let (early, late) =
                if part.last_s < whole.last_s { (part, *whole) } else { (*whole, part) };
            let elapsed_s = late.last_s - early.last_s;
            *whole = late;
            for (at, tau_s) in [SHORT_S, MIDDLE_S, LONG_S].into_iter().enumerate() {
                whole.counts[at] += early.counts[at] * decay(elapsed_s / tau_s) as f32;
            }
            whole.seen = late.seen.saturating_add(early.seen);
            whole.loud_s = late.loud_s.max(early.loud_s);
            // The gaps of some of its lines are not the gaps of all.
            whole.gaps = Gaps::default();
        }
    }

    /// Leaves room for one template. The oldest go together: looking for them takes a pass over all.
    fn make_room(&mut self) {
        let room = self.config.templates.max(1);
        if self.templates.len() < room {
            return;
        }
        let mut last_s: Vec<f64> = self.templates.values().map(|state| state.last_s).collect();
        let mut leave = (last_s.len() + 1 - room + room / 8).min(last_s.len());
        let (_, youngest_s, _) = last_s.select_nth_unstable_by(leave - 1, f64::total_cmp);
        let youngest_s = *youngest_s;
        self.templates.retain(|_, state| {
            let leaves = state.last_s <= youngest_s && leave > 0;
            leave -= usize::from(leaves);
            !leaves
        });
    }

    /// Templates remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// True before the first line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// Moves event time on, never back: a line that comes late counts as now.
    fn advance(&mut self, ts_us: i64) {
        let last_us = self.last_us.unwrap_or(ts_us);
        let step_s = (ts_us.saturating_sub(last_us) as f64 / 1e6).clamp(0.0, MAX_STEP_S);
        // A clock that was set back by more than ten minutes is believed; what is late by less is not.
        let set_back = last_us.saturating_sub(ts_us) as f64 / 1e6 > MIDDLE_S;
        if step_s > SILENCE_S {
            self.resumed_s = self.now_s + step_s;
        }
        self.last_us = Some(if set_back { ts_us } else { last_us.max(ts_us) });
        self.now_s += step_s;
        let left = decay(step_s / LONG_S);
        self.recent_lines *= left;
        self.recent_new *= left;
    }
}

impl TemplateState {
    /// A template that is seen for the first time.
    fn begun(now_s: f64) -> Self {
        let gaps = Gaps::default();
        Self { last_s: now_s, counts: [0.0; 3], seen: 0, gaps, loud_s: f32::NEG_INFINITY }
    }

    /// Ages the counts and adds a line; gives the surprise of the gap before it, where lines come regularly.
    fn count(&mut self, now_s: f64, resumed_s: f64) -> Option<f64> {
        let elapsed_s = now_s - self.last_s;
        // A gap in which the host said nothing tells nothing.
        let is_gap = self.seen > 0 && self.last_s >= resumed_s;
        let gap = if is_gap { self.gaps.end(elapsed_s as f32) } else { None };
        for (count, tau_s) in self.counts.iter_mut().zip([SHORT_S, MIDDLE_S, LONG_S]) {
            *count = (f64::from(*count) * decay(elapsed_s / tau_s)) as f32 + 1.0;
        }
        self.last_s = now_s;
        self.seen = self.seen.saturating_add(1);
        gap
    }

    /// The larger of the surprises in 10 s and in 10 min, where the host is so many times as `busy` as on the mean.
    /// This line itself is given: only further ones surprise.
    fn surprise_of_burst(&self, exposure_s: f64, busy: f64) -> f64 {
        let [short, middle, long] = self.counts.map(f64::from);
        // What the burst itself brought into the long count does not excuse it.
        let learnt = PRIOR_LINES + (long - middle).max(0.0);
        let per_s = busy * learnt / (PRIOR_S + exposure_s);
        let of =
            |count: f64, tau_s: f64| negative_binomial_surprise(count - 1.0, per_s * tau_s, learnt);
        of(short, SHORT_S).max(of(middle, MIDDLE_S))
    }
}

/// The raw surprise on the scale of its own tail, and never more than the surprise itself allows: a tail that was never
/// seen has no scale.
fn bounded(pot: &mut Pot, surprise: f64) -> f64 {
    pot.update(surprise).min((surprise + (1.0 - QUANTILE).ln()).max(0.0))
}

/// `exp(-x)` for `x` of 0 and more. Lines come close to each other: then five terms of the series are all of an `f32`.
fn decay(x: f64) -> f64 {
    const SMALL: f64 = 1.0 / 64.0;
    if x < SMALL {
        return 1.0 - x * (1.0 - x / 2.0 * (1.0 - x / 3.0 * (1.0 - x / 4.0)));
    }
    (-x).exp()
}

/// Seconds over which the counts of 24 h have really been gathered.
fn exposure_s(now_s: f64) -> f64 {
    LONG_S * (1.0 - decay(now_s / LONG_S))
}

/// -ln of the share of lines with a new template (Laplace's rule of succession with half a line), less with every
/// line of this template `seen` before.
fn novelty(seen: f64, recent_lines: f64, recent_new: f64) -> f64 {
    // A ten-thousandth of its novelty is left.
    if seen > 10.0 * FAMILIAR {
        return 0.0;
    }
    (-seen / FAMILIAR).exp() * -((recent_new + 0.5) / (recent_lines + 1.0)).ln()
}

/// The score that lines exceed as often as false alarms are allowed.
fn level(config: &LogScorerConfig, recent_lines: f64, now_s: f64) -> f64 {
    let lines_a_month = recent_lines / exposure_s(now_s).max(PRIOR_S) * MONTH_S;
    let allowed = f64::from(config.false_alarms_per_month).max(1e-3);
    ((1.0 - QUANTILE) * lines_a_month / allowed).max(1.0).ln().clamp(*LEVEL.start(), *LEVEL.end())
}

/// Chernoff bound of -ln P(K >= k) for a negative binomial K of mean `mean` and shape `shape`; 0 up to the mean.
fn negative_binomial_surprise(k: f64, mean: f64, shape: f64) -> f64 {
    if k <= mean || mean <= 0.0 {
        return 0.0;
    }
    let of_k = k * (k * (shape + mean) / (mean * (shape + k))).ln();
    let of_shape = shape * ((shape + k) / (shape + mean)).ln();
    (of_k - of_shape).max(0.0)
}

/// Nats for a severity: -ln of a rough share of lines that have it in system logs, 0 from notice on. A judgement,
/// not a measurement; a host that logs everything as an error is put right by its own tail.
fn severity_prior(severity: Option<u8>) -> f64 {
    match severity {
        Some(0) => 10.0,
        Some(1) => 9.0,
        Some(2) => 8.0,
        Some(3) => 4.0,
        Some(4) => 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
