//! Rules every plant needs and no statistics replace: range, rate of change, flat line, silence, counters, resolution.
//!
//! In: the rules of a series (configuration) and its readings; for silence also the seconds of a clock that only goes
//! forward. Out: which rules a reading, or a moment without one, breaks, and why. No allocation per reading, at most
//! 56 bytes a rule. All other times are event times. A value that cannot be judged breaks no rule (the detector
//! refuses it and says so) and changes nothing.

mod counter;
mod gap;
mod resolution;

use counter::Counter;
use gap::Gap;
use resolution::Resolution;
use serde::Deserialize;
use std::sync::Arc;

use super::judgeable;
use crate::time::rfc3339;

/// Most rules of one series: what [`Hits`] has bits for.
pub const MAX_RULES: usize = 32;

/// One rule. In a configuration: `kind = "range"` and so on, with the fields of that kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Broken by a value below `min` or above `max`; at least one of them is given.
    Range {
        /// What alerts call it.
        name: String,
        /// Lowest value allowed, in the unit of the series.
        min: Option<f64>,
        /// Highest value allowed, in the unit of the series.
        max: Option<f64>,
    },
    /// Broken by two readings that differ by more than `max_per_s` for each second between them, up or down.
    Rate {
        /// What alerts call it.
        name: String,
        /// Largest change allowed, in the unit of the series per second.
        max_per_s: f64,
    },
    /// Broken while the value has not moved by more than `tolerance` for longer than `flat_s`.
    Flat {
        /// What alerts call it.
        name: String,
        /// Seconds of standing still that are allowed.
        flat_s: f64,
        /// Movement that does not count, in the unit of the series.
        #[serde(default)]
        tolerance: f64,
    },
    /// Broken while no reading comes for longer than `gap_s`, or than `intervals` times the longest gap that this series
    /// had of late; where both are given, than both. By when readings arrive: their stamps do not count.
    Gap {
        /// What alerts call it.
        name: String,
        /// Seconds of silence that are allowed.
        gap_s: Option<f64>,
        /// Silence that is allowed, in longest gaps of late; says nothing before eight gaps were seen.
        intervals: Option<f64>,
    },
    /// The series is a counter: broken where it falls. One that begins anew near zero is said to, and its score is that
    /// of a counter that went on; one that passes 2^16 or 2^32 has not fallen.
    Counter {
        /// What alerts call it.
        name: String,
    },
    /// Broken where the smallest step between values grew or shrank to `factor` of what it was: the sensor, or a
    /// converter behind it, has another resolution. Says nothing of a series without steps.
    Resolution {
        /// What alerts call it.
        name: String,
        /// By how much at least.
        #[serde(default = "default_factor")]
        factor: f64,
    },
}

fn default_factor() -> f64 {
    1.8
}

impl Rule {
    /// What alerts call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Range { name, .. }
            | Self::Rate { name, .. }
            | Self::Flat { name, .. }
            | Self::Gap { name, .. }
            | Self::Counter { name }
            | Self::Resolution { name, .. } => name,
        }
    }

    fn check(&self) -> Result<(), RuleError> {
        let name = || self.name().to_owned();
        if self.name().is_empty() {
            return Err(RuleError::Unnamed);
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let above_one = |v: f64| v.is_finite() && v > 1.0;
        match self {
            Self::Range { min: None, max: None, .. } => Err(RuleError::NoBound { name: name() }),
            Self::Range { min, max, .. } => {
                let low = min.unwrap_or(f64::NEG_INFINITY);
                let high = max.unwrap_or(f64::INFINITY);
                if low <= high { Ok(()) } else { Err(RuleError::EmptyRange { name: name() }) }
            }
            Self::Rate { max_per_s, .. } if positive(*max_per_s) => Ok(()),
            Self::Rate { .. } => Err(RuleError::NotPositive { name: name(), field: "max_per_s" }),
            Self::Flat { flat_s, .. } if !positive(*flat_s) => {
                Err(RuleError::NotPositive { name: name(), field: "flat_s" })
            }
            Self::Flat { tolerance, .. } if !(tolerance.is_finite() && *tolerance >= 0.0) => {
                Err(RuleError::Tolerance { name: name() })
            }
            Self::Gap { gap_s: None, intervals: None, .. } => {
                Err(RuleError::NoSilence { name: name() })
            }
            Self::Gap { gap_s: Some(gap_s), .. } if !positive(*gap_s) => {
                Err(RuleError::NotPositive { name: name(), field: "gap_s" })
            }
            Self::Gap { intervals: Some(intervals), .. } if !above_one(*intervals) => {
                Err(RuleError::NotAboveOne { name: name(), field: "intervals" })
            }
            Self::Resolution { factor, .. } if !above_one(*factor) => {
                Err(RuleError::NotAboveOne { name: name(), field: "factor" })
            }
            Self::Flat { .. }
            | Self::Gap { .. }
            | Self::Counter { .. }
            | Self::Resolution { .. } => Ok(()),
        }
    }
}

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule has no name.
    #[error("a rule has an empty name: give it one, alerts carry it")]
    Unnamed,
    /// Two rules of a series have the same name.
    #[error("two rules are called {name:?}: rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// More than [`MAX_RULES`].
    #[error("a series can have {MAX_RULES} rules, not {count}: remove some")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A range without ends.
    #[error("rule {name:?} has neither min nor max: give at least one")]
    NoBound {
        /// The rule.
        name: String,
    },
    /// A range that nothing fits.
    #[error("rule {name:?} has a min above its max: swap them")]
    EmptyRange {
        /// The rule.
        name: String,
    },
    /// A limit that is 0, negative or not a number.
    #[error("rule {name:?} needs a {field} above 0")]
    NotPositive {
        /// The rule.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// A gap without a length.
    #[error("rule {name:?} has neither gap_s nor intervals: give at least one")]
    NoSilence {
        /// The rule.
        name: String,
    },
    /// A factor that is 1, less, or not a number.
    #[error("rule {name:?} needs {field} above 1")]
    NotAboveOne {
        /// The rule.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// A tolerance that is negative or not a number.
    #[error("rule {name:?} needs a tolerance of 0 or more")]
    Tolerance {
        /// The rule.
        name: String,
    },
}

/// The rules that one reading breaks: a set of their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits(u32);

impl Hits {
    /// True where no rule is broken.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True where the rule with this index is broken.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index < MAX_RULES && self.0 & (1 << index) != 0
    }

    /// Indices of the broken rules, in the order of the configuration.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_RULES).filter(move |i| self.contains(*i))
    }
}

/// The rules of one series and what they remember.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Arc<[Rule]>,
    memory: Box<[Memory]>,
}

/// What a rule remembers of the readings before.
#[derive(Debug, Clone)]
enum Memory {
    /// The last value.
    Range(f64),
    /// The last reading, and the change per second up to it.
    Rate(Option<Point>, f64),
    /// The reading since which nothing moved.
    Flat(Option<Point>),
    Gap(Gap),
    Counter(Counter),
    Resolution(Resolution),
}

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    ts_us: i64,
    value: f64,
}

impl Rules {
    /// Rules that have seen no reading.
    ///
    /// # Errors
    /// A rule that makes no sense, a name that occurs twice, too many rules.
    pub fn new(rules: Arc<[Rule]>) -> Result<Self, RuleError> {
        if rules.len() > MAX_RULES {
            return Err(RuleError::TooMany { count: rules.len() });
        }
        for (i, rule) in rules.iter().enumerate() {
            rule.check()?;
            if rules[..i].iter().any(|earlier| earlier.name() == rule.name()) {
                return Err(RuleError::Twice { name: rule.name().to_owned() });
            }
        }
        let memory = rules.iter().map(Memory::of).collect();
        Ok(Self { rules, memory })
    }

    /// The rules, in the order of the indices in [`Hits`].
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Goes on with what rules that are the same have learnt.
    pub fn inherit(&mut self, before: Self) {
        for (rule, memory) in before.rules.iter().zip(before.memory) {
            if let Some(at) = self.rules.iter().position(|own| own == rule) {
                self.memory[at] = memory;
            }
        }
    }

    /// Takes one reading: when it came, in seconds of a clock that only goes forward; event time in microseconds since
    /// the Unix epoch; value in the unit of the series. A reading that is not later than the one before is measured by
    /// no rate and no counter, and starts a flat line again where time went back.
    pub fn update(&mut self, now_s: u32, ts_us: i64, value: f64) -> Hits {
        let mut hits = Hits::default();
        if judgeable(value).is_err() {
            return hits;
        }
        let now = Point { ts_us, value };
        for (i, (rule, memory)) in self.rules.iter().zip(&mut self.memory).enumerate() {
            if memory.breaks(rule, now_s, now) {
                hits.0 |= 1 << i;
            }
        }
        hits
    }

    /// The rules that silence breaks at this moment, by the clock of [`Rules::update`].
    #[must_use]
    pub fn silent(&self, now_s: u32) -> Hits {
        let mut hits = Hits::default();
        for (i, (rule, memory)) in self.rules.iter().zip(&self.memory).enumerate() {
            if let (Rule::Gap { gap_s, intervals, .. }, Memory::Gap(gap)) = (rule, memory)
                && gap.is_silent(now_s, *gap_s, *intervals)
            {
                hits.0 |= 1 << i;
            }
        }
        hits
    }

    /// Event time of the last reading, where there is a rule for silence and there was one.
    #[must_use]
    pub fn heard_us(&self) -> Option<i64> {
        self.memory.iter().find_map(|memory| match memory {
            Memory::Gap(gap) => gap.heard_us(),
            _ => None,
        })
    }

    /// What is to be added to a value so that a counter that began anew goes on; 0 where nothing is a counter.
    #[must_use]
    pub fn offset(&self) -> f64 {
        let counter = self.memory.iter().find_map(|memory| match memory {
            Memory::Counter(counter) => Some(counter.offset()),
            _ => None,
        });
        counter.unwrap_or(0.0)
    }

    /// Why the rule with this index was broken just now: what was seen, what is allowed, since when.
    #[must_use]
    pub fn explain(&self, index: usize, now_s: u32) -> String {
        let (Some(rule), Some(memory)) = (self.rules.get(index), self.memory.get(index)) else {
            return String::new();
        };
        match (rule, memory) {
            (Rule::Range { max: Some(max), .. }, Memory::Range(value)) if value > max => {
                format!("{value} is above {max}")
            }
            (Rule::Range { min: Some(min), .. }, Memory::Range(value)) => {
                format!("{value} is below {min}")
            }
            (Rule::Rate { max_per_s, .. }, Memory::Rate(_, per_s)) => {
                format!("changed by {per_s:.6} a second, allowed are {max_per_s}")
            }
            (Rule::Flat { flat_s, .. }, Memory::Flat(Some(since))) => {
                let Point { ts_us, value } = since;
                format!("{value} since {}, allowed are {flat_s} s", rfc3339(*ts_us))
            }
            (Rule::Gap { gap_s, intervals, .. }, Memory::Gap(gap)) => {
                gap.explain(now_s, *gap_s, *intervals)
            }
            (_, Memory::Counter(counter)) => counter.explain(),
            (_, Memory::Resolution(resolution)) => resolution.explain(),
            _ => String::new(),
        }
    }
}

impl Memory {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Range { .. } => Self::Range(0.0),
            Rule::Rate { .. } => Self::Rate(None, 0.0),
            Rule::Flat { .. } => Self::Flat(None),
            Rule::Gap { .. } => Self::Gap(Gap::default()),
            Rule::Counter { .. } => Self::Counter(Counter::default()),
            Rule::Resolution { .. } => Self::Resolution(Resolution::default()),
        }
    }

    fn breaks(&mut self, rule: &Rule, now_s: u32, now: Point) -> bool {
        let Point { ts_us, value } = now;
        match (self, rule) {
            (Self::Range(last), Rule::Range { min, max, .. }) => {
                *last = value;
                min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max)
            }
            (Self::Rate(last, per_s), Rule::Rate { max_per_s, .. }) => {
                let before = last.unwrap_or(now);
                let elapsed_s = elapsed_s(before, ts_us);
                let change = (value - before.value).abs();
                let fast = elapsed_s > 0.0 && change > max_per_s * elapsed_s;
                if fast {
                    *per_s = change / elapsed_s;
                }
                // A reading out of order must not become the one that the next is measured by.
                if last.is_none() || !is_late(elapsed_s) {
                    *last = Some(now);
                }
                fast
            }
            (Self::Flat(since), Rule::Flat { flat_s, tolerance, .. }) => {
                let before = *since.get_or_insert(now);
                let elapsed_s = elapsed_s(before, ts_us);
                if (value - before.value).abs() > *tolerance || elapsed_s < -CLOCK_SET_BACK_S {
                    *since = Some(now);
                    return false;
                }
                elapsed_s > *flat_s
            }
            (Self::Gap(gap), Rule::Gap { intervals, .. }) => {
                gap.hear(now_s, ts_us, *intervals);
                false
            }
            (Self::Counter(counter), _) => counter.update(now),
            (Self::Resolution(resolution), Rule::Resolution { factor, .. }) => {
                resolution.update(value, *factor)
            }
            _ => false,
        }
    }
}

/// Going back by more than this is a clock that was set, not a reading that came late.
const CLOCK_SET_BACK_S: f64 = 60.0;

fn elapsed_s(since: Point, ts_us: i64) -> f64 {
    ts_us.saturating_sub(since.ts_us) as f64 / 1e6
}

/// Not later than the reading before, and not so much earlier that the clock was set.
fn is_late(elapsed_s: f64) -> bool {
    (-CLOCK_SET_BACK_S..=0.0).contains(&elapsed_s)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
