//! Filter: rules by field that drop events, keep one in N, or change their priority.
//!
//! In: an enriched event. Out: a verdict. Promises: rules are tried in the order of the
//! configuration and the first that matches decides; what no rule matches is kept; every rule
//! counts what it took away under its name. Sampling keeps the first of every N, so that a rare
//! line is never lost to chance.

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_models::event::{Body, Event};
use weir_models::pattern::glob;

/// One rule, `[[filter]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name under which it counts.
    pub name: String,
    /// What happens to an event that matches.
    pub action: Action,
    /// For `sample`: one in so many is kept.
    #[serde(default)]
    pub keep_one_in: Option<u64>,
    /// Source name; `*` stands for any text, here and below.
    #[serde(default)]
    pub source: Option<String>,
    /// Site.
    #[serde(default)]
    pub site: Option<String>,
    /// Device.
    #[serde(default)]
    pub device: Option<String>,
    /// Host; logs only.
    #[serde(default)]
    pub host: Option<String>,
    /// Application; logs only.
    #[serde(default)]
    pub app: Option<String>,
    /// Logs that are at most this severe: 7 matches debug, 6 informational and debug.
    #[serde(default)]
    pub severity_at_least: Option<u8>,
    /// Text that the message holds; logs only.
    #[serde(default)]
    pub message: Option<String>,
    /// Metric; readings only. `drop` and `sample` take away just the metrics that match.
    #[serde(default)]
    pub metric: Option<String>,
    /// Metadata: name to pattern, all must match.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Keep it and look at no further rule.
    Keep,
    /// Leave it out.
    Drop,
    /// Keep one in `keep_one_in`.
    Sample,
    /// Keep it, in the lane of lowest priority.
    Lower,
}

/// What is to happen to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It goes on in the lane of lowest priority.
    Lower,
    /// It ends here.
    Drop,
}

/// All rules with their counts.
#[derive(Debug, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    seen: Vec<u64>,
    dropped: Vec<u64>,
    /// What rules took away that are gone, by name: a count never goes back.
    gone: BTreeMap<String, u64>,
}

impl Filter {
    /// The rules in their order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let zeros = vec![0; rules.len()];
        Self { seen: zeros.clone(), dropped: zeros, rules, gone: BTreeMap::new() }
    }

    /// Goes on with other rules. Counts go on by name, and one that samples and stays as it is goes on
    /// where it was.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        let before = std::mem::replace(self, Self::new(rules));
        self.gone = before.gone;
        for ((rule, seen), dropped) in before.rules.into_iter().zip(before.seen).zip(before.dropped)
        {
            if let Some(at) = self.rules.iter().position(|new| *new == rule) {
                self.seen[at] = seen;
            }
            *self.gone.entry(rule.name).or_default() += dropped;
        }
        for (rule, dropped) in self.rules.iter().zip(&mut self.dropped) {
            *dropped = self.gone.remove(&rule.name).unwrap_or(0);
        }
    }

    /// Decides on an event, and takes away metrics that a rule on metrics names.
    pub fn apply(&mut self, event: &mut Event) -> Verdict {
        for i in 0..self.rules.len() {
            let rule = &self.rules[i];
            if !rule.matches(event) {
                continue;
            }
            let drops = match rule.action {
                Action::Keep => return Verdict::Keep,
                Action::Lower => return Verdict::Lower,
                Action::Drop => true,
                Action::Sample => {
                    let kept = self.seen[i].is_multiple_of(rule.keep_one_in.unwrap_or(1).max(1));
                    self.seen[i] += 1;
                    !kept
                }
            };
            if !drops {
                return Verdict::Keep;
            }
            self.dropped[i] += 1;
            if let (Some(metric), Body::Reading(values)) = (&rule.metric, &mut event.body) {
                values.retain(|name, _| !glob(metric, name));
                if !values.is_empty() {
                    continue;
                }
            }
            return Verdict::Drop;
        }
        Verdict::Keep
    }

    /// Name of each rule and how often it took something away.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let gone = self.gone.iter().map(|(name, dropped)| (name.as_str(), *dropped));
        let now = self.rules.iter().map(|rule| rule.name.as_str());
        now.zip(self.dropped.iter().copied()).chain(gone)
    }
}

impl Rule {
    /// What is wrong with the rule, if anything.
    ///
    /// # Errors
    /// Says which key contradicts which.
    pub fn check(&self) -> Result<(), String> {
        let at = format!("filter rule `{}`", self.name);
        if (self.action == Action::Sample) != self.keep_one_in.is_some() {
            return Err(format!(
                "{at}: `keep_one_in` belongs to the action `sample`, and only there"
            ));
        }
        if self.keep_one_in == Some(0) {
            return Err(format!("{at}: `keep_one_in` must be at least 1"));
        }
        let of_log = self.host.is_some() || self.app.is_some() || self.message.is_some();
        if self.metric.is_some() && (of_log || self.severity_at_least.is_some()) {
            return Err(format!(
                "{at}: `metric` is of readings, `host`, `app`, `severity_at_least` and `message` of logs; no event has both"
            ));
        }
        Ok(())
    }

    fn matches(&self, event: &Event) -> bool {
        let field = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| glob(pattern, text))
        };
        let meta = |(name, pattern): (&String, &String)| {
            event.meta.get(name).is_some_and(|text| glob(pattern, text))
        };
        field(&self.source, &event.source)
            && field(&self.site, &event.site)
            && field(&self.device, &event.device)
            && self.meta.iter().all(meta)
            && self.matches_body(&event.body)
    }

    fn matches_body(&self, body: &Body) -> bool {
        match body {
            // A loss marker is never filtered: it is the account of what is missing.
            Body::Loss(_) => false,
            Body::Reading(values) => {
                let of_log = self.host.is_some()
                    || self.app.is_some()
                    || self.message.is_some()
                    || self.severity_at_least.is_some();
                let metric = |pattern: &String| values.keys().any(|name| glob(pattern, name));
                !of_log && self.metric.as_ref().is_none_or(metric)
            }
            Body::Log(log) => {
                let app = log.app.as_deref().unwrap_or_default();
                self.metric.is_none()
                    && self.host.as_ref().is_none_or(|pattern| glob(pattern, &log.host))
                    && self.app.as_ref().is_none_or(|pattern| glob(pattern, app))
                    && self.message.as_ref().is_none_or(|text| log.message.contains(text))
                    && self
                        .severity_at_least
                        .is_none_or(|least| log.severity.is_some_and(|severity| severity >= least))
            }
        }
    }
}

#[cfg(test)]
mod tests;
