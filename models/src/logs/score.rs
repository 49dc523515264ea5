//! How unusual a log line is, from its template: novelty, rate, severity.
//!
//! In: event time, template and severity of every line of one host. Out: a [`LogVerdict`]. Bounded: about 60 bytes a
//! template, the least recently used one leaves.
//!
//! Every part is a surprise in nats, that is -ln of a chance, so parts of different kinds can be compared:
//! - novelty: -ln of the share of lines that are first of their kind on this host, times `exp(-seen / 8)`. Where
//!   new templates are common, one more says little.
//! - rate: -ln of the chance of so many further lines of this template in 10 s and in 10 min, given its rate over 24 h:
//!   the Gamma-Poisson (negative binomial) tail by its Chernoff bound, `k ln(k(r+m) / m(r+k)) - r ln((r+k)/(r+m))`
//!   for `k` lines where `m` are expected and the rate was learnt from `r`.
//! - severity: a fixed prior, added to the larger of the two.
//!
//! Real logs come in bursts, more than any Poisson process has them: so the sum is put on a scale by its own tail on
//! this host, as readings are (`detect::pot`). The alarm level follows from the number of false alarms that are
//! allowed: with an exponential tail a score of `L` is exceeded by one line in `exp(L) / 0.02`.
//!
//! The same lines give the same scores on one machine; `exp` and `ln` of different platforms may differ in the last
//! bit. Nothing here survives a restart: a host is learnt anew.

use crate::detect::pot::{Pot, QUANTILE};
use lru::LruCache;
use serde::Deserialize;
use std::num::NonZeroUsize;

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
    /// The level at which an alarm is raised; it rises with the number of lines.
    pub threshold: f32,
    /// What made the score: `learning`, `new template`, `burst`, `severity`, or `none`.
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy)]
struct TemplateState {
    last_s: f64,
    /// Exponentially weighted counts over 10 s, 10 min and 24 h.
    counts: [f32; 3],
    seen: u32,
    /// When the score last reached the alarm level.
    loud_s: f64,
}

/// Scores the lines of one host.
#[derive(Debug)]
pub struct LogScorer {
    config: LogScorerConfig,
    templates: LruCache<u64, TemplateState>,
    pot: Pot,
    last_us: Option<i64>,
    now_s: f64,
    lines: u64,
    /// Exponentially weighted over 24 h: lines, and those with a new template.
    recent_lines: f64,
    recent_new: f64,
}

impl LogScorer {
    /// A scorer that has seen nothing.
    #[must_use]
    pub fn new(config: LogScorerConfig) -> Self {
        // Room for all templates at once would be 68 KiB a host, of which most never use a tenth.
        let mut templates = LruCache::unbounded();
        templates.resize(NonZeroUsize::new(config.templates).unwrap_or(NonZeroUsize::MIN));
        Self {
            config,
            templates,
            pot: Pot::new(),
            last_us: None,
            now_s: 0.0,
            lines: 0,
            recent_lines: 0.0,
            recent_new: 0.0,
        }
    }

    /// Goes on with other settings and all that was learnt.
    pub fn configure(&mut self, config: &LogScorerConfig) {
        self.templates.resize(NonZeroUsize::new(config.templates).unwrap_or(NonZeroUsize::MIN));
        self.config = config.clone();
    }

    /// Judges one line: event time in microseconds since the Unix epoch, template and `is_new` as the miner gave
    /// them, severity 0 (emergency) to 7 (debug) as in RFC 5424.
    pub fn update(
        &mut self,
        ts_us: i64,
        template_id: u64,
        is_new: bool,
        severity: Option<u8>,
    ) -> LogVerdict {
        self.advance(ts_us);
        let known = if is_new { None } else { self.templates.get(&template_id).copied() };
        let before = known.unwrap_or(TemplateState {
            last_s: self.now_s,
            counts: [0.0; 3],
            seen: 0,
            loud_s: f64::NEG_INFINITY,
        });
        let novelty = (-f64::from(before.seen) / FAMILIAR).exp() * self.surprise_of_new();
        let mut state = self.count(before);
        let burst = self.surprise_of_burst(&state);
        self.recent_lines += 1.0;
        self.recent_new += if known.is_none() { 1.0 } else { 0.0 };
        self.lines += 1;

        let prior = severity_prior(severity);
        let learning =
            self.lines <= LEARNING_LINES || self.now_s < f64::from(self.config.learning_s);
        let y = if learning { 0.0 } else { self.pot.update(novelty.max(burst) + prior) };
        let threshold = self.level();
        let loud = y >= threshold;
        let alarm = loud && self.now_s - state.loud_s > f64::from(self.config.quiet_s);
        if loud {
            state.loud_s = self.now_s;
        }
        self.templates.put(template_id, state);
        let why = if learning {
            "learning"
        } else if y <= 0.0 {
            "none"
        } else if prior > novelty.max(burst) {
            "severity"
        } else if novelty >= burst {
            "new template"
        } else {
            "burst"
        };
        LogVerdict { score: y as f32, alarm, threshold: threshold as f32, why }
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
        self.last_us = Some(if set_back { ts_us } else { last_us.max(ts_us) });
        self.now_s += step_s;
        let left = (-step_s / LONG_S).exp();
        self.recent_lines *= left;
        self.recent_new *= left;
    }

    /// Seconds over which the counts of 24 h have really been gathered.
    fn exposure_s(&self) -> f64 {
        LONG_S * (1.0 - (-self.now_s / LONG_S).exp())
    }

    /// -ln of the share of lines with a new template (Laplace's rule of succession with half a line).
    fn surprise_of_new(&self) -> f64 {
        -((self.recent_new + 0.5) / (self.recent_lines + 1.0)).ln()
    }

    /// Ages the counts of a template and adds this line.
    fn count(&self, mut state: TemplateState) -> TemplateState {
        let elapsed_s = self.now_s - state.last_s;
        for (count, tau_s) in state.counts.iter_mut().zip([SHORT_S, MIDDLE_S, LONG_S]) {
            *count = (f64::from(*count) * (-elapsed_s / tau_s).exp()) as f32 + 1.0;
        }
        state.last_s = self.now_s;
        state.seen = state.seen.saturating_add(1);
        state
    }

    /// The larger of the surprises in 10 s and in 10 min. This line itself is given: only further ones surprise.
    fn surprise_of_burst(&self, state: &TemplateState) -> f64 {
        let [short, middle, long] = state.counts.map(f64::from);
        // What the burst itself brought into the long count does not excuse it.
        let learnt = PRIOR_LINES + (long - middle).max(0.0);
        let per_s = learnt / (PRIOR_S + self.exposure_s());
        let of =
            |count: f64, tau_s: f64| negative_binomial_surprise(count - 1.0, per_s * tau_s, learnt);
        of(short, SHORT_S).max(of(middle, MIDDLE_S))
    }

    /// The score that lines exceed as often as false alarms are allowed.
    fn level(&self) -> f64 {
        let lines_a_month = self.recent_lines / self.exposure_s().max(PRIOR_S) * MONTH_S;
        let allowed = f64::from(self.config.false_alarms_per_month).max(1e-3);
        ((1.0 - QUANTILE) * lines_a_month / allowed)
            .max(1.0)
            .ln()
            .clamp(*LEVEL.start(), *LEVEL.end())
    }
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
