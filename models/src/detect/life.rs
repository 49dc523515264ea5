//! From alarms to alerts: an alert fires once and resolves once.
//!
//! In: event time and verdict of every reading of a series. Out: a [`Transition`] where the alert of the series
//! begins or ends, or becomes much worse. A new alarm while the alert fires is counted and says nothing else; an alert resolves only after the
//! score has stayed low for some readings and some time, so a score that swings around the level makes one alert, not
//! many. Pure: identities of alerts come from the caller. The state is small and can be written down (serde), so that
//! an alert that fired before a restart is resolved after it, under the same id.
//!
//! A series that falls silent gives no reading and resolves nothing: silence is an alert of its own.

use super::Verdict;
use serde::{Deserialize, Serialize};

/// An alert is worse at so many times the score that was told last.
const WORSE: f32 = 2.0;

/// When an alert is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifeConfig {
    /// Readings in a row with a score below half the alarm level.
    pub calm_readings: u32,
    /// Seconds of event time that they must span.
    pub calm_s: u32,
}

impl Default for LifeConfig {
    /// Ten readings outlast a held peak (it halves in seven); five minutes are time to look.
    fn default() -> Self {
        Self { calm_readings: 10, calm_s: 300 }
    }
}

/// What happened to the alert of a series. `Id` is the caller's identity of an alert.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition<Id> {
    /// An alert begins.
    Fired {
        /// Its identity.
        id: Id,
        /// Event time of the reading that raised it, microseconds since the Unix epoch.
        ts_us: i64,
        /// Its score.
        score: f32,
    },
    /// The alert goes on, with more than twice the score that was last told. Of interest where its beginning was not told.
    Worse {
        /// The identity it fired with.
        id: Id,
        /// Event time of the reading that raised it.
        fired_us: i64,
        /// Event time of this reading.
        ts_us: i64,
        /// Score of this reading.
        score: f32,
    },
    /// The alert is over.
    Resolved {
        /// The identity it fired with.
        id: Id,
        /// Event time of the reading that raised it.
        fired_us: i64,
        /// Event time of the reading that ended it.
        ts_us: i64,
        /// Highest score in between.
        peak: f32,
        /// Alarms in between, the first one included.
        alarms: u32,
    },
}

impl<Id> Transition<Id> {
    /// Whether an alert begins.
    #[must_use]
    pub fn fires(&self) -> bool {
        matches!(self, Self::Fired { .. })
    }
}

/// The life cycle of the alerts of one series (or of one rule of it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Life<Id> {
    firing: Option<Firing<Id>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Firing<Id> {
    id: Id,
    fired_us: i64,
    /// The score that was told last.
    #[serde(default)]
    told: f32,
    peak: f32,
    alarms: u32,
    calm_readings: u32,
    calm_since_us: i64,
}

/// What one reading says about an alert; for whatever is not a [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// The score of the reading.
    pub score: f32,
    /// Somebody should be told.
    pub alarm: bool,
    /// Nothing is wrong any more.
    pub calm: bool,
}

impl From<&Verdict> for Signal {
    fn from(verdict: &Verdict) -> Self {
        Self {
            score: verdict.score,
            alarm: verdict.alarm,
            calm: verdict.score < 0.5 * verdict.threshold,
        }
    }
}

impl Signal {
    /// All is well.
    pub const CALM: Self = Self { score: 0.0, alarm: false, calm: true };

    /// A rule that is broken, or not.
    #[must_use]
    pub fn rule(broken: bool) -> Self {
        Self { score: f32::from(u8::from(broken)), alarm: broken, calm: !broken }
    }
}

impl<Id> Default for Life<Id> {
    fn default() -> Self {
        Self { firing: None }
    }
}

impl<Id: Clone> Life<Id> {
    /// The identity of the alert that fires now, if one does.
    #[must_use]
    pub fn firing(&self) -> Option<&Id> {
        self.firing.as_ref().map(|f| &f.id)
    }

    /// Takes the verdict of a reading; `new_id` is called only where an alert begins. A refused value changes nothing.
    pub fn update(
        &mut self,
        config: &LifeConfig,
        ts_us: i64,
        verdict: &Verdict,
        new_id: impl FnOnce() -> Id,
    ) -> Option<Transition<Id>> {
        if verdict.refused.is_some() {
            return None;
        }
        self.step(config, ts_us, Signal::from(verdict), new_id)
    }

    /// The same for any signal.
    pub fn step(
        &mut self,
        config: &LifeConfig,
        ts_us: i64,
        signal: Signal,
        new_id: impl FnOnce() -> Id,
    ) -> Option<Transition<Id>> {
        let Some(firing) = &mut self.firing else {
            if !signal.alarm {
                return None;
            }
            let id = new_id();
            self.firing = Some(Firing {
                id: id.clone(),
                fired_us: ts_us,
                told: signal.score,
                peak: signal.score,
                alarms: 1,
                calm_readings: 0,
                calm_since_us: ts_us,
            });
            return Some(Transition::Fired { id, ts_us, score: signal.score });
        };
        firing.peak = firing.peak.max(signal.score);
        firing.alarms = firing.alarms.saturating_add(u32::from(signal.alarm));
        if !signal.calm || signal.alarm {
            firing.calm_readings = 0;
            let is_worse = signal.score > WORSE * firing.told;
            return if is_worse { self.worse(ts_us, signal.score) } else { None };
        }
        // A clock that is set back would otherwise hold the alert until it has caught up.
        if firing.calm_readings == 0 || ts_us < firing.calm_since_us {
            firing.calm_since_us = ts_us;
        }
        firing.calm_readings = firing.calm_readings.saturating_add(1);
        let calm_us = ts_us.saturating_sub(firing.calm_since_us);
        if firing.calm_readings < config.calm_readings
            || calm_us < i64::from(config.calm_s) * 1_000_000
        {
            return None;
        }
        let Firing { id, fired_us, peak, alarms, .. } = self.firing.take()?;
        Some(Transition::Resolved { id, fired_us, ts_us, peak, alarms })
    }

    /// Says again that the alert fires, if one does, now with this score.
    pub fn worse(&mut self, ts_us: i64, score: f32) -> Option<Transition<Id>> {
        let firing = self.firing.as_mut()?;
        firing.told = score;
        let (id, fired_us) = (firing.id.clone(), firing.fired_us);
        Some(Transition::Worse { id, fired_us, ts_us, score })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const CONFIG: LifeConfig = LifeConfig { calm_readings: 3, calm_s: 10 };

    fn verdict(score: f32, alarm: bool) -> Verdict {
        Verdict {
            score,
            peak: 0.0,
            alarm,
            threshold: 1.0,
            expected: 0.0,
            low: 0.0,
            high: 0.0,
            member: "none",
            refused: None,
        }
    }

    /// Steps are seconds, score and alarm; the answer names the second of each transition, `+` fired, `-` resolved.
    #[track_caller]
    fn check(steps: &[(i64, f32, bool)], expected: &[&str]) {
        let mut life = Life::default();
        let mut next = 0;
        let mut got = Vec::new();
        for (s, score, alarm) in steps {
            let new_id = || {
                next += 1;
                next
            };
            match life.update(&CONFIG, s * 1_000_000, &verdict(*score, *alarm), new_id) {
                Some(Transition::Fired { id, ts_us, .. }) => {
                    got.push(format!("+{id}@{}", ts_us / 1_000_000))
                }
                Some(Transition::Worse { id, ts_us, fired_us, score }) => got.push(format!(
                    "!{id}@{} since {} score {score}",
                    ts_us / 1_000_000,
                    fired_us / 1_000_000
                )),
                Some(Transition::Resolved { id, ts_us, peak, alarms, fired_us }) => {
                    got.push(format!(
                        "-{id}@{} since {} peak {peak} alarms {alarms}",
                        ts_us / 1_000_000,
                        fired_us / 1_000_000
                    ))
                }
                None => {}
            }
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn fires_and_resolves_under_one_id() {
        check(
            &[
                (0, 0.1, false),
                (1, 2.0, true),
                (2, 0.4, false),
                (7, 0.4, false),
                (12, 0.4, false),
                (13, 0.4, false),
            ],
            &["+1@1", "-1@12 since 1 peak 2 alarms 1"],
        );
    }

    #[test]
    fn says_each_time_that_it_is_twice_as_bad() {
        let steps =
            [(0, 1.2, true), (1, 2.4, true), (2, 2.5, false), (3, 5.0, true), (4, 9.0, true)];
        check(&steps, &["+1@0", "!1@2 since 0 score 2.5", "!1@4 since 0 score 9"]);
    }

    #[test]
    fn time_without_readings_and_readings_without_time_are_not_enough() {
        check(&[(1, 2.0, true), (100, 0.0, false), (200, 0.0, false)], &["+1@1"]);
        check(
            &[(1, 2.0, true), (2, 0.0, false), (2, 0.0, false), (2, 0.0, false), (11, 0.0, false)],
            &["+1@1"],
        );
    }

    #[test]
    fn does_not_flap() {
        let swinging: Vec<_> =
            (0..100).map(|s| (s, [1.2, 0.4, 0.3, 0.7][s as usize % 4], s % 4 == 0)).collect();
        check(&swinging, &["+1@0"]);
    }

    #[test]
    fn the_next_alert_has_an_id_of_its_own() {
        let calm = |from: i64| (0..3).map(move |i| (from + 5 * i, 0.0, false));
        let steps: Vec<_> = [(1, 2.0, true), (2, 3.0, true)]
            .into_iter()
            .chain(calm(3))
            .chain([(20, 1.5, true)])
            .chain(calm(21))
            .collect();
        check(
            &steps,
            &["+1@1", "-1@13 since 1 peak 3 alarms 2", "+2@20", "-2@31 since 20 peak 1.5 alarms 1"],
        );
    }

    #[test]
    fn a_clock_set_back_does_not_hold_the_alert() {
        check(
            &[
                (1000, 2.0, true),
                (1001, 0.0, false),
                (0, 0.0, false),
                (5, 0.0, false),
                (10, 0.0, false),
            ],
            &["+1@1000", "-1@10 since 1000 peak 2 alarms 1"],
        );
    }

    #[test]
    fn a_restart_keeps_the_alert() {
        let mut life = Life::default();
        life.update(&CONFIG, 0, &verdict(2.0, true), || "a".to_owned());
        let written = serde_json::to_string(&life).unwrap();
        let read: Life<String> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, life);
        assert_eq!(read.firing().map(String::as_str), Some("a"));
    }

    #[test]
    fn a_refused_value_says_nothing() {
        let mut life: Life<u8> = Life::default();
        let refused =
            Verdict { refused: Some(crate::detect::Refusal::NotFinite), ..verdict(2.0, true) };
        assert_eq!(life.update(&CONFIG, 0, &refused, || 1), None);
    }
}
