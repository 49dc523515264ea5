//! Rerank: how likely a person calls an alert true, by what people said of earlier ones.
//!
//! In: an alert where it fires. Out: a probability. What it goes by is in the record of the alert and nowhere else, so
//! that gateway and trainer make the same row of it. Numbers without a bound are squeezed between 0 and 1.

use super::bytes::{Reader, Writer};
use super::{Linear, OpenError, sigmoid};
use crate::alert::{AlertData, AlertKind};
use crate::detect::MEMBERS;
use crate::logs::{Missing, SEVERITY};

/// What a row says, in its order; behind these which member of the streaming detectors it was.
const FEATURES: [&str; FIRST_MEMBER] = [
    "score against the level",
    "score",
    "hour of the day",
    "hour of the day, six hours on",
    "weekend",
    "alerts of the series in the week before",
    "how far from what was expected",
    "a central model",
    "metrics of a device together",
    "a log line",
    "a new template",
    "a burst of lines",
    "a severe line",
    "lines in another order",
    "a missing line",
];
const FIRST_MEMBER: usize = 15;
/// How many numbers it takes.
pub const RERANK_WIDTH: usize = FIRST_MEMBER + MEMBERS.len();

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// A logistic regression over features of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Rerank(Linear);

impl Rerank {
    /// Checks weights.
    ///
    /// # Errors
    /// When there is not one for each feature, or one is not finite.
    pub fn new(intercept: f64, weights: Vec<f64>) -> Result<Self, OpenError> {
        Self::of(Linear::new(intercept, weights)?)
    }

    fn of(linear: Linear) -> Result<Self, OpenError> {
        let fits = linear.width() == RERANK_WIDTH;
        if fits { Ok(Self(linear)) } else { Err(OpenError::Value { what: "count of weights" }) }
    }

    /// The probability, 0 to 1.
    #[must_use]
    pub fn rank(&self, alert: &AlertData) -> f64 {
        self.judge(&Self::row(alert))
    }

    /// The probability for a row.
    #[must_use]
    pub fn judge(&self, row: &[f32]) -> f64 {
        sigmoid(self.0.predict(row))
    }

    /// Whether an alert is told whatever its rank: a line of a severity that alarms, and a line that did not come.
    #[must_use]
    pub fn is_grave(alert: &AlertData) -> bool {
        alert.kind == AlertKind::Log && [SEVERITY, Missing::WHY].contains(&&*alert.why)
    }

    /// What it goes by.
    #[must_use]
    pub fn row(alert: &AlertData) -> [f32; RERANK_WIDTH] {
        let (score, threshold) = (alert.score.max(0.0), alert.threshold.max(0.0));
        let is = |it: bool| f32::from(u8::from(it));
        let (is_log, why) = (alert.kind == AlertKind::Log, &*alert.why);
        let is_group = !is_log && &*alert.metric == "group";
        let mut row = [0.0; RERANK_WIDTH];
        let known = [
            squeeze(score, threshold),
            squeeze(score, 1.0),
            wave(alert.fired_us),
            wave(alert.fired_us.saturating_add(6 * HOUR_US)),
            is(is_weekend(alert.fired_us)),
            squeeze(f32::from(alert.recent.unwrap_or(0)), 4.0),
            distance(alert),
            is(alert.model.name.starts_with("central-")),
            is(is_group),
            is(is_log),
            is(is_log && why == "new template"),
            is(is_log && why == "burst"),
            is(is_log && why == SEVERITY),
            is(is_log && why == "order"),
            is(is_log && why == Missing::WHY),
        ];
        let members = MEMBERS.iter().map(|member| is(!is_log && !is_group && why == *member));
        row.iter_mut().zip(known.into_iter().chain(members)).for_each(|(to, from)| *to = from);
        row
    }

    /// What the columns are called, with their weights.
    pub fn weights(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        FEATURES.into_iter().chain(MEMBERS).zip(self.0.weights().iter().copied())
    }

    pub(super) fn write(&self, out: &mut Writer) {
        self.0.write(out);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        Self::of(Linear::read(from)?)
    }
}

/// 0 for 0, a half for `half`, 1 for endless.
fn squeeze(x: f32, half: f32) -> f32 {
    let sum = x + half;
    if sum.is_finite() && sum > 0.0 { x / sum } else { 0.0 }
}

/// -1 at midnight (UTC), 1 at noon, straight lines between: a sine would need the system's library.
fn wave(ts_us: i64) -> f32 {
    let share = ts_us.rem_euclid(DAY_US) as f32 / DAY_US as f32;
    1.0 - 4.0 * (share - 0.5).abs()
}

fn is_weekend(ts_us: i64) -> bool {
    // The Unix epoch began on a Thursday.
    ts_us.div_euclid(DAY_US).saturating_add(3).rem_euclid(7) >= 5
}

/// How far the value lies from what was expected, against the width of what is usual.
fn distance(alert: &AlertData) -> f32 {
    let (Some(usual), Some(last)) = (&alert.baseline, alert.last_values.last()) else { return 0.0 };
    squeeze((last.v - usual.expected).abs() as f32, (usual.high - usual.low).abs() as f32)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::{AlertState, Baseline, LastValue, Model};
    use crate::ident::Stream;

    fn alert() -> AlertData {
        AlertData {
            alert_id: "a".into(),
            state: AlertState::Firing,
            kind: AlertKind::Reading,
            agent: Arc::from("gw"),
            stream: Stream(1),
            seq: 1,
            site: "s".into(),
            device: "d".into(),
            metric: "m".into(),
            // A Saturday, 18:00.
            fired_us: 9 * DAY_US + 18 * HOUR_US,
            resolved_us: None,
            score: 3.0,
            threshold: 1.0,
            model: Model { name: "kmeans-season".into(), version: "2".into() },
            why: "season".into(),
            baseline: Some(Baseline { expected: 20.0, low: 18.0, high: 22.0 }),
            last_values: vec![LastValue { ts_us: 0, v: 8.0 }],
            message: None,
            cause_stream: Stream(1),
            cause_seq: 1,
            recent: Some(4),
            rank: None,
        }
    }

    #[test]
    fn a_row_says_what_the_alert_says() {
        let row = Rerank::row(&alert());
        let known = [0.75, 0.75, 0.0, -1.0, 1.0, 0.5, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(row[..FIRST_MEMBER], known);
        assert_eq!(row[FIRST_MEMBER..], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let log = AlertData {
            kind: AlertKind::Log,
            why: "burst".into(),
            baseline: None,
            recent: None,
            ..alert()
        };
        let row = Rerank::row(&log);
        assert_eq!(row[5..], [&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0][..], &[0.0; 11]].concat());
        assert!(!Rerank::is_grave(&log));
        for (at, why) in
            ["new template", "burst", "severity", "order", "missing line"].iter().enumerate()
        {
            let log = AlertData { why: (*why).into(), ..log.clone() };
            let mut reasons = [0.0; 5];
            reasons[at] = 1.0;
            assert_eq!(Rerank::row(&log)[10..FIRST_MEMBER], reasons, "{why}");
            assert_eq!(Rerank::is_grave(&log), [2, 4].contains(&at), "{why}");
            assert!(!Rerank::is_grave(&AlertData { why: (*why).into(), ..alert() }));
        }
        let group = AlertData { metric: "group".into(), why: "season".into(), ..alert() };
        assert_eq!(Rerank::row(&group)[7..10], [0.0, 1.0, 0.0]);
        assert_eq!(Rerank::row(&group)[FIRST_MEMBER..], [0.0; 8]);
    }

    #[test]
    fn numbers_out_of_all_bounds_make_a_row_all_the_same() {
        for far in [f32::INFINITY, f32::MAX, f32::NAN, -1.0, 0.0] {
            for fired_us in [i64::MIN, -1, i64::MAX] {
                let usual = Baseline { expected: f64::MAX, low: f64::MIN, high: f64::NAN };
                let odd = AlertData {
                    fired_us,
                    score: far,
                    threshold: far,
                    baseline: Some(usual),
                    ..alert()
                };
                assert!(Rerank::row(&odd).iter().all(|x| (-1.0..=1.0).contains(x)), "{odd:?}");
            }
        }
    }

    #[test]
    fn it_takes_one_weight_for_each_feature() {
        assert!(Rerank::new(0.0, vec![0.0; RERANK_WIDTH - 1]).is_err());
        let mut weights = vec![0.0; RERANK_WIDTH];
        weights[0] = 4.0;
        let model = Rerank::new(-3.0, weights).unwrap();
        assert_eq!(model.rank(&alert()), 0.5);
        assert_eq!(model.weights().next(), Some(("score against the level", 4.0)));
        assert_eq!(model.weights().last(), Some(("calm", 0.0)));
    }
}
