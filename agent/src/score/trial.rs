//! Trial: whether a central model may judge, and whether it still may.
//!
//! In: what a model says of each reading, and what the streaming detectors say. Out: the end of a trial, well or with the
//! reason; later, whether there is a flood of alerts. Pure, constant memory. Time is that of the readings, so that a gap
//! or a jump of the clock counts as an hour at most.

use weir_models::central::COVERAGE;

/// Readings that a trial needs, however long they take.
const JUDGED_MIN: u64 = 30;
/// A longer pause counts as this much.
const PAUSE_MAX_US: i64 = 3_600_000_000;
/// Readings outside of the band beyond which a trial fails: three times as many as promised, and some more while there
/// are few readings.
const OUTSIDE_SHARE: f64 = 3.0 * (1.0 - COVERAGE);
const OUTSIDE_FREE: f64 = 10.0;
/// So many more alerts than the streaming detectors raise are one too many.
const ALERTS_FREE: u32 = 3;
/// A model that cannot judge so many readings more than it judges says nothing: more than any looks back.
const MISSED_FREE: u64 = 2_048;
/// Alerts in a short time that are a flood: more than the alarm budget needs to find its level for any pace of readings.
const FLOOD: f64 = 16.0;
/// In the long run a flood is this many times what the budget allows ...
const FLOOD_RATE: f64 = 10.0;
/// ... or, where there is no budget, the default one.
const ALLOWED_PER_MONTH: f64 = 4.0;
const MONTH_US: f64 = 30.0 * 86_400e6;

/// A model beside those in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trial {
    judged: u64,
    missed: u64,
    outside: u64,
    alerts: u32,
    alerts_present: u32,
}

/// What is noted of one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Noted {
    /// Whether the model judged it.
    pub(super) judged: bool,
    /// Whether it lies outside of what the model says is usual.
    pub(super) outside: bool,
    /// Whether an alert would begin.
    pub(super) fires: bool,
    /// Whether the streaming detectors raise an alarm.
    pub(super) present: bool,
}

impl Trial {
    /// Takes a reading; `passed_us` is how long the longest series was judged. Answers when the trial is over: nothing
    /// where all is well, else why the model is refused.
    pub(super) fn note(
        &mut self,
        noted: Noted,
        passed_us: i64,
        needed_us: i64,
    ) -> Option<Result<(), String>> {
        self.alerts_present += u32::from(noted.present);
        if !noted.judged {
            self.missed += 1;
            let silent = self.missed > self.judged + MISSED_FREE;
            return silent.then(|| {
                Err(format!(
                    "it judged {} readings and could not judge {}",
                    self.judged, self.missed
                ))
            });
        }
        self.judged += 1;
        self.outside += u64::from(noted.outside);
        self.alerts += u32::from(noted.fires);
        if self.outside as f64 > OUTSIDE_FREE + OUTSIDE_SHARE * self.judged as f64 {
            let Self { judged, outside, .. } = self;
            return Some(Err(format!("{outside} of {judged} readings lie outside of its band")));
        }
        if self.alerts > self.alerts_present + ALERTS_FREE {
            let Self { alerts, alerts_present, .. } = self;
            return Some(Err(format!(
                "it raises {alerts} alerts where there were {alerts_present}"
            )));
        }
        (self.judged >= JUDGED_MIN && passed_us >= needed_us).then_some(Ok(()))
    }
}

/// How long readings of a series were judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Passed {
    last_us: Option<i64>,
    passed_us: i64,
}

impl Passed {
    /// Takes a reading that was judged; answers the sum.
    pub(super) fn add(&mut self, ts_us: i64) -> i64 {
        let pause_us = self.last_us.map_or(0, |last| ts_us.saturating_sub(last));
        self.last_us = Some(ts_us);
        self.passed_us = self.passed_us.saturating_add(pause_us.clamp(0, PAUSE_MAX_US));
        self.passed_us
    }
}

/// Counts the alerts of a model in force: a bucket that leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flood {
    level: f64,
    last_us: Option<i64>,
}

impl Flood {
    /// Takes an alert; answers whether there are too many.
    pub(super) fn alert(&mut self, ts_us: i64, alarms_per_month: f32) -> bool {
        let allowed = f64::from(alarms_per_month);
        let allowed = if allowed > 0.0 { allowed } else { ALLOWED_PER_MONTH };
        let passed_us = self.last_us.map_or(0, |last| ts_us.saturating_sub(last).max(0));
        self.last_us = Some(ts_us);
        let leak = FLOOD_RATE * allowed * passed_us as f64 / MONTH_US;
        self.level = (self.level - leak).max(0.0) + 1.0;
        self.level > FLOOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const MINUTE_US: i64 = 60_000_000;

    /// A reading a minute; the answer is when the trial ends, and how.
    #[track_caller]
    fn check(each: impl Fn(u64) -> Noted, expected: Option<(u64, Result<(), &str>)>) {
        let (mut trial, mut passed) = (Trial::default(), Passed::default());
        let mut ended = None;
        for n in 0..10_000 {
            let noted = each(n);
            let judged_us = i64::try_from(n).map_or(0, |n| n * MINUTE_US);
            let passed_us = if noted.judged { passed.add(judged_us) } else { 0 };
            if let Some(end) = trial.note(noted, passed_us, HOUR_US) {
                ended = Some((n, end));
                break;
            }
        }
        let told =
            ended.as_ref().map(|(n, end)| (*n, end.as_ref().map_err(String::as_str).copied()));
        assert_eq!(told, expected);
    }

    const CALM: Noted = Noted { judged: true, outside: false, fires: false, present: false };

    #[test]
    fn a_calm_model_passes_after_the_time() {
        check(|_| CALM, Some((60, Ok(()))));
        // What it cannot judge at first does not count.
        check(|n| Noted { judged: n >= 100, ..CALM }, Some((160, Ok(()))));
        check(|n| Noted { outside: n % 50 == 0, ..CALM }, Some((60, Ok(()))));
    }

    #[test]
    fn a_few_readings_are_no_trial_however_long_they_take() {
        let (mut trial, mut passed) = (Trial::default(), Passed::default());
        let days = (0..40_i64).map(|n| trial.note(CALM, passed.add(n * 24 * HOUR_US), HOUR_US));
        assert_eq!(days.take_while(Option::is_none).count(), 29);
    }

    #[test]
    fn a_jump_of_the_clock_counts_as_an_hour_and_one_back_as_nothing() {
        let mut passed = Passed::default();
        let told: Vec<_> = [0, 1_000 * HOUR_US, 5, i64::MAX].map(|ts| passed.add(ts)).into();
        assert_eq!(told, [0, HOUR_US, HOUR_US, 2 * HOUR_US]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let wild = |_| Noted { outside: true, ..CALM };
        check(wild, Some((10, Err("11 of 11 readings lie outside of its band"))));
        let loud = |n| Noted { outside: n % 5 == 0, fires: n % 5 == 0, ..CALM };
        check(loud, Some((15, Err("it raises 4 alerts where there were 0"))));
        let as_loud = |n| Noted { fires: n % 5 == 0, present: n % 5 == 0, ..CALM };
        check(as_loud, Some((60, Ok(()))));
        let mute = Noted { judged: false, ..CALM };
        check(|_| mute, Some((2_048, Err("it judged 0 readings and could not judge 2049"))));
    }

    #[test]
    fn a_flood_is_many_alerts_in_a_short_time() {
        let alerts = |every_us: i64, per_month: f32| {
            let mut flood = Flood::default();
            (0..1_000).take_while(|n| !flood.alert(n * every_us, per_month)).count()
        };
        assert_eq!(alerts(HOUR_US, 4.0), 16);
        assert_eq!(alerts(HOUR_US, 0.0), 16);
        assert_eq!(alerts(24 * HOUR_US, 4.0), 1_000);
        assert_eq!(alerts(0, 1_000.0), 16);
    }
}
