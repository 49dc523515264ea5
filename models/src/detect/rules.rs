//! Rules every plant needs and no statistics replace: range, rate of change, flat line.
//!
//! In: the rules of a series (configuration) and its readings. Out: which rules a reading breaks. No allocation per
//! reading, 24 bytes a rule, no clock: all times are event times. A value that is not a number breaks no rule (the
//! detector refuses it and says so) and changes nothing.

use serde::Deserialize;
use std::sync::Arc;

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
}

impl Rule {
    /// What alerts call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Range { name, .. } | Self::Rate { name, .. } | Self::Flat { name, .. } => name,
        }
    }

    fn check(&self) -> Result<(), RuleError> {
        let name = || self.name().to_owned();
        if self.name().is_empty() {
            return Err(RuleError::Unnamed);
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
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
            Self::Flat { .. } => Ok(()),
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

/// The rules of one series and what they remember. The rules themselves are shared between series.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Arc<[Rule]>,
    memory: Box<[Memory]>,
}

/// The last reading for a rate; the reading since which nothing moved for a flat line.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    seen: bool,
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
        let memory = vec![Memory::default(); rules.len()].into();
        Ok(Self { rules, memory })
    }

    /// The rules, in the order of the indices in [`Hits`].
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Takes one reading: event time in microseconds since the Unix epoch, value in the unit of the series. A reading
    /// that is not later than the one before is measured by no rate, and starts a flat line again where time went back.
    pub fn update(&mut self, ts_us: i64, value: f64) -> Hits {
        let mut hits = Hits::default();
        if !value.is_finite() {
            return hits;
        }
        for (i, (rule, memory)) in self.rules.iter().zip(&mut self.memory).enumerate() {
            if memory.breaks(rule, ts_us, value) {
                hits.0 |= 1 << i;
            }
        }
        hits
    }
}

impl Memory {
    fn breaks(&mut self, rule: &Rule, ts_us: i64, value: f64) -> bool {
        let now = Self { seen: true, ts_us, value };
        let elapsed_s = ts_us.saturating_sub(self.ts_us) as f64 / 1e6;
        match rule {
            Rule::Range { min, max, .. } => {
                min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max)
            }
            Rule::Rate { max_per_s, .. } => {
                let fast = self.seen
                    && elapsed_s > 0.0
                    && (value - self.value).abs() > max_per_s * elapsed_s;
                // A reading out of order must not become the one that the next is measured by.
                let late = (-CLOCK_SET_BACK_S..=0.0).contains(&elapsed_s);
                if !self.seen || !late {
                    *self = now;
                }
                fast
            }
            Rule::Flat { flat_s, tolerance, .. } => {
                let moved = (value - self.value).abs() > *tolerance;
                if !self.seen || moved || elapsed_s < -CLOCK_SET_BACK_S {
                    *self = now;
                    return false;
                }
                elapsed_s > *flat_s
            }
        }
    }
}

/// Going back by more than this is a clock that was set, not a reading that came late.
const CLOCK_SET_BACK_S: f64 = 60.0;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn rules(toml: &str) -> Result<Rules, String> {
        #[derive(Deserialize)]
        struct File {
            rules: Vec<Rule>,
        }
        let file: File = toml::from_str(toml).map_err(|e| e.to_string())?;
        Rules::new(file.rules.into()).map_err(|e| e.to_string())
    }

    /// Readings are seconds and values; the answer is the indices of broken rules per reading.
    #[track_caller]
    fn check(toml: &str, readings: &[(f64, f64)], expected: &[&[usize]]) {
        let mut rules = rules(toml).unwrap();
        let got: Vec<Vec<usize>> = readings
            .iter()
            .map(|(s, v)| rules.update((s * 1e6) as i64, *v).iter().collect())
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn range() {
        check(
            "rules = [{kind='range', name='frost', min=2.0}, {kind='range', name='boil', max=90.0}]",
            &[(0.0, 2.0), (1.0, 1.9), (2.0, 90.0), (3.0, 90.1), (4.0, f64::NAN)],
            &[&[], &[0], &[], &[1], &[]],
        );
    }

    #[test]
    fn rate_of_change() {
        check(
            "rules = [{kind='rate', name='jump', max_per_s=2.0}]",
            // The reading at 11 s comes late, after the one at 12 s, and is not measured.
            &[
                (0.0, 0.0),
                (10.0, 20.0),
                (11.0, 22.1),
                (12.0, 20.0),
                (11.0, 500.0),
                (13.0, 21.0),
                (13.0, 90.0),
            ],
            &[&[], &[], &[0], &[0], &[], &[], &[]],
        );
    }

    #[test]
    fn a_clock_set_back_starts_again() {
        check(
            "rules = [{kind='rate', name='jump', max_per_s=2.0}, {kind='flat', name='stuck', flat_s=60}]",
            &[(1000.0, 5.0), (1061.0, 5.0), (0.0, 5.0), (30.0, 5.0), (31.0, 50.0)],
            &[&[], &[1], &[], &[], &[0]],
        );
    }

    #[test]
    fn flat_line() {
        check(
            "rules = [{kind='flat', name='stuck', flat_s=60, tolerance=0.1}]",
            &[(0.0, 5.0), (60.0, 5.1), (61.0, 5.0), (62.0, 5.2), (100.0, 5.2), (123.0, 5.2)],
            &[&[], &[], &[0], &[], &[], &[0]],
        );
    }

    #[test]
    fn nonsense_is_refused_with_what_to_do() {
        for (toml, message) in [
            (
                "rules = [{kind='range', name='a'}]",
                "rule \"a\" has neither min nor max: give at least one",
            ),
            (
                "rules = [{kind='range', name='a', min=3, max=2}]",
                "rule \"a\" has a min above its max: swap them",
            ),
            (
                "rules = [{kind='range', name='a', min=nan}]",
                "rule \"a\" has a min above its max: swap them",
            ),
            (
                "rules = [{kind='rate', name='a', max_per_s=0}]",
                "rule \"a\" needs a max_per_s above 0",
            ),
            ("rules = [{kind='flat', name='a', flat_s=-1}]", "rule \"a\" needs a flat_s above 0"),
            (
                "rules = [{kind='flat', name='a', flat_s=1, tolerance=-1}]",
                "rule \"a\" needs a tolerance of 0 or more",
            ),
            (
                "rules = [{kind='range', name='', min=1}]",
                "a rule has an empty name: give it one, alerts carry it",
            ),
            (
                "rules = [{kind='range', name='a', min=1}, {kind='rate', name='a', max_per_s=1}]",
                "two rules are called \"a\": rename one",
            ),
        ] {
            assert_eq!(rules(toml).unwrap_err(), message);
        }
        let unknown =
            rules("rules = [{kind='rate', name='a', max_per_s=1, per_minute=3}]").unwrap_err();
        assert!(unknown.contains("per_minute"), "{unknown}");
    }
}
