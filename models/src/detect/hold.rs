//! Keeps a peak for some readings, and keeps alarms apart.
//!
//! [`Hold`] lets members that see the same thing some readings apart be added up. [`Quiet`] turns a score into an
//! alarm: once per excursion, not once per reading.

use super::snapshot::{Reader, RestoreError, Writer};

/// What is left of a held score after a reading: half after five.
const DECAY: f32 = 0.87;
/// One member alone counts at most this much.
pub(super) const HELD_MAX: f32 = 20.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hold(f32);

impl Hold {
    pub(super) fn new() -> Self {
        Self(0.0)
    }

    /// Takes the calibrated score of this reading; gives it or what is left of an earlier, higher one.
    pub(super) fn update(&mut self, y: f64) -> f32 {
        // Below a millionth nothing can be seen; zero also spares the processor denormal numbers.
        let left = if self.0 < 1e-6 { 0.0 } else { DECAY * self.0 };
        self.0 = left.max((y as f32).min(HELD_MAX));
        self.0
    }

    pub(super) fn value(&self) -> f32 {
        self.0
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f32(self.0);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.0 = from.f32()?;
        Ok(())
    }
}

/// Within the quiet time an excursion must stand out from those before by this factor to be an alarm.
const STAND_OUT: f32 = 1.7;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quiet {
    /// Readings since the score last reached the level.
    since: u32,
    /// Highest score since it was last quiet.
    highest: f32,
    /// What an excursion has to reach to be an alarm; beyond every score once it was one.
    bar: f32,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { since: u32::MAX, highest: 0.0, bar: 0.0 }
    }

    /// True where the score reaches the level and has not done so within the last `quiet_readings` readings, or has
    /// not been so high by far: a small event must not hide the large one behind it. Every score at the level starts
    /// the time again, told or not; an excursion is told once, however it rises.
    pub(super) fn alarm(&mut self, score: f32, level: f32, quiet_readings: u32) -> bool {
        if score < level {
            self.since = self.since.saturating_add(1);
            return false;
        }
        if self.since >= quiet_readings {
            (self.highest, self.bar) = (0.0, level);
        } else if self.since > 0 {
            self.bar = STAND_OUT * self.highest;
        }
        self.since = 0;
        self.highest = self.highest.max(score);
        let alarm = score >= self.bar;
        if alarm {
            self.bar = f32::MAX;
        }
        alarm
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.since);
        out.f32s(&[self.highest, self.bar]);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.since = from.u32()?;
        for v in [&mut self.highest, &mut self.bar] {
            *v = from.f32()?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn holds_and_forgets() {
        let mut hold = Hold::new();
        assert_eq!(hold.update(4.0), 4.0);
        assert_eq!(hold.update(0.0), 3.48);
        assert_eq!(hold.update(3.7), 3.7);
        assert_eq!(hold.update(500.0), HELD_MAX);
        assert!((0..200).any(|_| hold.update(0.0) == 0.0));
    }

    #[test]
    fn one_alarm_per_excursion() {
        let mut quiet = Quiet::new();
        let scores = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let alarms: Vec<bool> = scores.iter().map(|s| quiet.alarm(*s, 0.8, 3)).collect();
        assert_eq!(alarms, [true, false, false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_small_event_does_not_hide_a_large_one() {
        let mut quiet = Quiet::new();
        let scores =
            [1.0, 1.5, 9.0, 0.0, 2.0, 0.0, 15.0, 16.0, 99.0, 0.0, 99.0, 0.0, 0.0, 0.0, 1.0];
        let alarms: Vec<usize> =
            (0..scores.len()).filter(|i| quiet.alarm(scores[*i], 0.8, 3)).collect();
        // 9 belongs to the excursion that was told; 16 is the first that stands out from it.
        assert_eq!(alarms, [0, 7, 14]);
    }
}
