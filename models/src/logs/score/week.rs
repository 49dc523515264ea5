//! How busy a host is at this hour of the week, against its mean.
//!
//! In: event time of every line. Out: a factor for the lines to be expected now. 168 hours of two bytes. It says
//! nothing (1) of an hour that it has not seen twice.

const HOURS: usize = 168;
const HOUR_US: i64 = 3_600_000_000;
/// What one hour says is followed by this share: four weeks count.
const RATE: f32 = 0.25;
/// Lines added to both sides of a ratio, so that quiet hours do not make one of few lines.
const PRIOR_LINES: f32 = 4.0;
/// A factor lies within this and its inverse.
const MOST: f32 = 8.0;

/// The hours of a week of one host.
#[derive(Debug)]
pub(super) struct Week {
    /// The mean of each hour in 64ths of `ln(1 + lines)`, and 1; 0: never seen, odd: seen once only.
    hours: Box<[u16; HOURS]>,
    hour: i64,
    lines: u32,
    factor: f32,
}

impl Week {
    pub(super) fn new() -> Self {
        Self { hours: Box::new([0; HOURS]), hour: i64::MIN, lines: 0, factor: 1.0 }
    }

    /// Takes a line; gives the factor at its hour.
    #[inline]
    pub(super) fn update(&mut self, ts_us: i64) -> f32 {
        let hour = ts_us.div_euclid(HOUR_US);
        if hour != self.hour {
            self.turn(hour);
        }
        self.lines = self.lines.saturating_add(1);
        self.factor
    }

    fn turn(&mut self, hour: i64) {
        // The first hour has not been seen from its beginning.
        if self.hour != i64::MIN && hour > self.hour {
            self.learn(self.hour, self.lines, false);
            // Hours without a line are known, too, unless time jumped.
            for silent in self.hour + 1..hour.min(self.hour + HOURS as i64 / 7) {
                self.learn(silent, 0, true);
            }
        }
        (self.hour, self.lines) = (hour, 0);
        let known = self.hours.iter().filter(|bin| **bin > 1).map(|bin| lines_of(*bin));
        let (sum, n) = known.fold((0.0, 0.0), |(sum, n), lines| (sum + lines, n + 1.0));
        let bin = self.hours[bin_of(hour)];
        self.factor = if bin > 1 && bin.is_multiple_of(2) && n > 0.0 {
            let ratio = (lines_of(bin) + PRIOR_LINES) / (sum / n + PRIOR_LINES);
            ratio.clamp(1.0 / MOST, MOST)
        } else {
            1.0
        };
    }

    fn learn(&mut self, hour: i64, lines: u32, is_silent: bool) {
        let bin = &mut self.hours[bin_of(hour)];
        let is_first = *bin == 0;
        if is_first && is_silent {
            return;
        }
        let now = (lines as f32).ln_1p();
        let old = lines_of(*bin).ln_1p();
        let mean = if is_first { now } else { old + RATE * (now - old) };
        // Even once it has been seen twice.
        *bin = ((mean * 64.0) as u16).min(u16::MAX / 2 - 1) * 2 + if is_first { 3 } else { 2 };
    }
}

fn bin_of(hour: i64) -> usize {
    hour.rem_euclid(HOURS as i64) as usize
}

fn lines_of(bin: u16) -> f32 {
    (f32::from(bin.saturating_sub(2) / 2) / 64.0).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_busy_hour_of_the_day_after_two_weeks() {
        let mut week = Week::new();
        let mut at_nine = Vec::new();
        for hour in 0..24 * 7 * 4_i64 {
            let lines = if hour % 24 == 9 { 1000 } else { 10 };
            for line in 0..lines {
                let factor = week.update(hour * HOUR_US + line);
                if hour % 24 == 9 && line == 0 {
                    at_nine.push(factor);
                }
            }
        }
        assert!(at_nine[..14].iter().all(|factor| *factor == 1.0), "{at_nine:?}");
        assert!(at_nine[14..].iter().all(|factor| *factor > 4.0), "{at_nine:?}");
        assert!(week.update(24 * 7 * 4 * HOUR_US) < 0.5);
    }

    #[test]
    fn takes_any_time() {
        let mut week = Week::new();
        for ts_us in [0, i64::MAX, i64::MIN, -1, 5, i64::MAX, HOUR_US] {
            assert!(week.update(ts_us).is_finite());
        }
    }
}
