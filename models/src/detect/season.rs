//! Member: how far the value is from what is usual at this time of day.
//!
//! In: event time and value. Out: a slowly averaged deviation, in units of the usual deviation of this hour and
//! of the whole series. Hours are UTC hours. Weekends have no bins of their own: twice the bins learn half as fast, and
//! on NAB cost more than they gave; where weekends differ, the usual deviation grows to hold both.

use super::snapshot::{Reader, RestoreError, Writer};

/// Bins of a day: hours.
const BINS: usize = 24;
const DAY_US: i64 = 86_400_000_000;
/// A bin forgets at this rate once it has seen 25 readings.
const BIN_RATE: f32 = 0.04;
/// The scale of the whole series forgets at this rate: 500 readings.
const SERIES_RATE: f32 = 0.002;
/// Deviations beyond this many scales do not widen the scale further: one spike must not blind the bin.
const CLIP_SCALES: f32 = 6.0;
/// One reading counts at most this much.
const Z_MAX: f32 = 20.0;
/// Rate of the average that makes a lasting deviation count more than a single one.
const SCORE_RATE: f32 = 0.03;
/// Half width of the usual range in mean absolute deviations; 4 are 3.2 standard deviations of a normal distribution.
const BAND: f32 = 4.0;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Season {
    mean: [f32; BINS],
    spread: [f32; BINS],
    /// Readings of each bin, up to 255.
    seen: [u8; BINS],
    /// Mean absolute deviation over all bins.
    series_spread: f32,
    series_seen: u16,
    score: f32,
}

/// What is usual at a time, relative to the origin of the series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub(super) expected: f32,
    pub(super) half_width: f32,
}

impl Season {
    pub(super) fn new() -> Self {
        Self {
            mean: [0.0; BINS],
            spread: [0.0; BINS],
            seen: [0; BINS],
            series_spread: 0.0,
            series_seen: 0,
            score: 0.0,
        }
    }

    /// Takes a finite value; gives its raw score, nothing while the bin is empty, and what was usual before it.
    pub(super) fn update(&mut self, ts_us: i64, value: f32) -> (Option<f64>, Option<Usual>) {
        let bin = bin_of(ts_us);
        let seen = self.seen[bin];
        self.seen[bin] = seen.saturating_add(1);
        if seen == 0 {
            self.mean[bin] = value;
            self.spread[bin] = self.series_spread;
            return (None, None);
        }
        let (mean, spread) = (self.mean[bin], self.spread[bin]);
        let scale = 0.5 * spread + 0.5 * self.series_spread;
        let deviation = (value - mean).abs();
        let z = if deviation <= 0.0 {
            0.0
        } else if scale > 0.0 {
            (deviation / scale).min(Z_MAX)
        } else if self.series_seen == 0 {
            // The first deviation ever: there is nothing to measure it by.
            0.0
        } else {
            Z_MAX
        };
        let clipped = if scale > 0.0 { deviation.min(CLIP_SCALES * scale) } else { deviation };
        let rate = (1.0 / (f32::from(seen) + 1.0)).max(BIN_RATE);
        self.mean[bin] += rate * (value - mean);
        self.spread[bin] += rate * (clipped - spread);
        self.series_seen = self.series_seen.saturating_add(1);
        let series_rate = (1.0 / f32::from(self.series_seen)).max(SERIES_RATE);
        self.series_spread += series_rate * (clipped - self.series_spread);
        self.score += SCORE_RATE * (z - self.score);
        let usual = Usual { expected: mean, half_width: BAND * scale };
        (Some(f64::from(self.score)), Some(usual))
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f32s(&self.mean);
        out.f32s(&self.spread);
        self.seen.iter().for_each(|n| out.u8(*n));
        out.f32(self.series_spread);
        out.u16s(&[self.series_seen]);
        out.f32(self.score);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        from.f32s(&mut self.mean)?;
        from.f32s(&mut self.spread)?;
        for n in &mut self.seen {
            *n = from.u8()?;
        }
        self.series_spread = from.f32()?;
        let mut seen = [0];
        from.u16s(&mut seen, u16::MAX)?;
        self.series_seen = seen[0];
        self.score = from.f32()?;
        Ok(())
    }
}

/// The hour of the day. Any time is right, also before 1970.
fn bin_of(ts_us: i64) -> usize {
    (ts_us.rem_euclid(DAY_US) / (DAY_US / BINS as i64)) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn bins_are_hours() {
        let midnight = 1_704_067_200_000_000;
        for (ts_us, bin) in [
            (midnight, 0),
            (midnight + 59 * 60_000_000, 0),
            (midnight + 60 * 60_000_000, 1),
            (midnight + DAY_US - 1, 23),
            (midnight + 7 * DAY_US, 0),
            (-1, 23),
        ] {
            assert_eq!(bin_of(ts_us), bin, "{ts_us}");
        }
        for ts_us in [i64::MIN, i64::MAX] {
            assert!(bin_of(ts_us) < BINS);
        }
    }

    #[test]
    fn learns_a_day() {
        let mut season = Season::new();
        let hour = |h: i64| h * 3_600_000_000;
        let mut usual = None;
        for h in 0..24 * 40 {
            let value = if (h % 24) < 12 { 10.0 } else { 30.0 } + (h % 5) as f32;
            (_, usual) = season.update(hour(h), value);
        }
        let usual = usual.unwrap();
        assert!((usual.expected - 32.0).abs() < 1.0, "{usual:?}");
        assert!(usual.half_width > 2.0 && usual.half_width < 8.0, "{usual:?}");
    }
}
