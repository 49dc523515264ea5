//! What is wrong now, in words that say what to do.
//!
//! In: what each part of the publisher meets. Out: one text for `/readyz`, a line in the log when it
//! changes, and a counter by class.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use weir_models::metric;

use super::connection::CallError;
use super::errors::{Class, class, words};
use super::opening::OpenError;
use crate::spool::Strand;

/// Who met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Whoever asks for metadata.
    Cluster,
    /// A strand of a lane.
    Strand(Strand),
    /// Single records past the spool.
    Single,
    /// A compacted topic that is followed.
    Followed,
}

/// Something that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Class, as in the metric.
    pub(super) class: &'static str,
    /// In words, with what to do.
    pub(super) text: String,
    /// Whether it is over by itself soon, most of the time.
    pub(super) is_passing: bool,
    /// Whether leaders may have changed.
    pub(super) refresh: bool,
}

impl Failure {
    /// Kafka answers an error.
    pub(super) fn answered(code: i16, what: &str, told: Option<&str>) -> Self {
        let class = class(code);
        Self {
            class: class.name(),
            text: words(code, what, told),
            is_passing: class.is_passing(),
            refresh: matches!(class, Class::Refresh | Class::Unknown | Class::Kept),
        }
    }

    /// Something passing of our own.
    pub(super) fn passing(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), is_passing: true, refresh: true }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let class = if error.is_configuration() { "security" } else { "connection" };
        Self { class, text: error.to_string(), is_passing: false, refresh: true }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let is_passing = !matches!(error, CallError::Version { .. } | CallError::Encode(_));
        Self { class: "connection", text: error.to_string(), is_passing, refresh: true }
    }
}

/// What is wrong, by who met it.
#[derive(Debug, Default)]
pub(super) struct Problems(Mutex<BTreeMap<Part, String>>);

impl Problems {
    /// Counts a failure, and shows it from now on if `is_shown`.
    pub(super) fn met(&self, part: Part, failure: &Failure, is_shown: bool) {
        metrics::counter!(metric::AGENT_KAFKA_ERRORS.name, "class" => failure.class).increment(1);
        if !is_shown {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !all.values().any(|known| *known == failure.text);
        all.insert(part, failure.text.clone());
        drop(all);
        if is_new {
            tracing::error!(problem = failure.text, "cannot publish; events stay in the spool");
        }
    }

    /// It works again.
    pub(super) fn over(&self, part: Part) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.remove(&part).is_some() && all.is_empty() {
            tracing::info!("publishing works again");
        }
    }

    /// The first one.
    pub(super) fn shown(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Lane;

    #[test]
    fn a_problem_is_shown_until_who_met_it_works_again() {
        let problems = Problems::default();
        let part = Part::Strand(Strand { lane: Lane::Rest, number: 0 });
        let denied = Failure::answered(29, "the topic weir.logs", None);
        problems.met(part, &Failure::answered(6, "it", None), false);
        assert_eq!(problems.shown(), None);
        problems.met(part, &denied, true);
        problems.over(Part::Cluster);
        assert!(problems.shown().is_some_and(|text| text.contains("grant WRITE")));
        problems.over(part);
        assert_eq!(problems.shown(), None);
    }
}
