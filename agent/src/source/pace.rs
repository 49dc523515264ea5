//! Reading by the clock: one wake-up for many small messages.
//!
//! In: when something was read, and how much it was. Out: when to read next. A gateway lives at a few
//! thousand messages a second, each sent alone; woken for each, it would spend more on waking up than
//! on the messages, and find its caches cold each time. While they come steadily a source lets its
//! socket out of the runtime's sight and looks at it every [`SHORT`] only, and every [`PERIOD`] when
//! that finds little. All sources look at the same moments, so that they share a wake-up; the pipeline
//! looks right after them, and writes the spool after a long look: one clock for all stages. Promises:
//! nothing is delayed by more than [`PERIOD`] (or [`SHORT`], where the spool shall be written more
//! often than that), [`BEHIND`] and the millisecond by which timers are late; what comes now and then
//! is not delayed at all.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks at what comes slowly: as often as the spool is written by default.
const PERIOD: Duration = Duration::from_millis(150);
/// So many short looks are a period.
const SHORTS: u32 = 8;
/// Time between two looks at what comes faster.
const SHORT: Duration = Duration::from_micros(150_000 / SHORTS as u64);
/// So much later than the sources the pipeline looks at what they have read.
const BEHIND: Duration = Duration::from_millis(3);
/// Reads closer than this are a steady flow. That is more than [`SHORT`], because the wake-up is shared
/// with all other sources that go by the clock.
const CLOSE: Duration = Duration::from_millis(30);
/// So many close reads in a row make it worth while.
const STEADY_READS: u32 = 8;
/// So many short looks in a row that found little lead to long ones.
const LITTLE_LOOKS: u32 = 8;
/// After so many looks in a row that found nothing the flow has ended.
const EMPTY_LOOKS: u32 = 3;

/// From here the moments are counted, so that all sources have the same ones.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Whether there is time for long looks.
static IS_PATIENT: AtomicBool = AtomicBool::new(true);

/// Tells how often the spool is to be written: who wants that often does not want to wait for long looks.
pub(crate) fn set_flush_every(every: Duration) {
    IS_PATIENT.store(every >= PERIOD, Ordering::Relaxed);
}

/// How much is too much to be left for a while, in the caller's unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Much {
    /// For [`SHORT`].
    pub(crate) short: usize,
    /// For [`PERIOD`].
    pub(crate) long: usize,
}

/// Watches one socket's reads.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
    close: u32,
    empty: u32,
    little: u32,
    is_long: bool,
}

impl Pace {
    /// So much was read at `now`. Tells whether to read by the clock from now on.
    pub(crate) fn read(&mut self, now: Instant, found: usize, much: Much) -> bool {
        let last = self.last.replace(now);
        let is_close = last.is_some_and(|last| now.duration_since(last) < CLOSE);
        self.close = if found < much.short && is_close { self.close + 1 } else { 0 };
        self.close >= STEADY_READS
    }

    /// A look by the clock found so much. Tells whether to go on so; if not, it takes another steady
    /// flow.
    pub(crate) fn look(&mut self, found: usize, much: Much) -> bool {
        self.looked(found, much, IS_PATIENT.load(Ordering::Relaxed))
    }

    fn looked(&mut self, found: usize, much: Much, is_patient: bool) -> bool {
        self.empty = if found == 0 { self.empty + 1 } else { 0 };
        let (limit, step) = if self.is_long { (much.long, 1) } else { (much.short, SHORTS) };
        let is_little = found * (step as usize) < much.long;
        self.little = if is_little { self.little + 1 } else { 0 };
        let goes_on = self.empty < EMPTY_LOOKS && (found < limit || self.is_long);
        if !goes_on {
            *self = Self::default();
            return false;
        }
        self.is_long = self.little >= LITTLE_LOOKS && is_patient;
        true
    }

    /// Whether the looks are those of a whole period.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Waits for the next common moment.
    pub(super) async fn next_look(&self) {
        tokio::time::sleep_until(look_after(*ORIGIN, self.step(), Instant::now())).await;
    }

    /// When whoever takes what the sources have read looks next.
    pub(crate) fn next_look_behind(&self) -> Instant {
        look_after(*ORIGIN + BEHIND, self.step(), Instant::now())
    }

    fn step(&self) -> Duration {
        if self.is_long { PERIOD } else { SHORT }
    }
}

/// The first moment after `now`, of those every `step` from `origin` on.
fn look_after(origin: Instant, step: Duration, now: Instant) -> Instant {
    if now < origin {
        return origin;
    }
    let since = now.saturating_duration_since(origin);
    let into = since.as_nanos() % step.as_nanos();
    now + step - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: Much = Much { short: 100, long: 200 };
    const FEW: usize = 99;
    const MANY: usize = 100;

    /// Which of the reads, at so many microseconds, made the source go by the clock.
    #[track_caller]
    fn check(reads: impl IntoIterator<Item = (u64, usize)>, expected: Option<usize>) {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let found = reads.into_iter().position(|(at_us, found)| {
            pace.read(start + Duration::from_micros(at_us), found, MUCH)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_steady_flow_of_little_goes_by_the_clock() {
        check((0..100).map(|n| (n * 200, FEW)), Some(8));
        check((0..100).map(|n| (n * 29_900, FEW)), Some(8));
    }

    #[test]
    fn what_comes_now_and_then_is_read_at_once() {
        check((0..100).map(|n| (n * 30_000, FEW)), None);
        // Bursts of a few lines every 50 ms.
        check((0..100).map(|n| (n / 6 * 50_000 + n % 6 * 100, FEW)), None);
    }

    #[test]
    fn a_flood_is_read_at_once() {
        check((0..100).map(|n| (n * 100, MANY)), None);
        check((0..100).map(|n| (n * 100, if n % 5 == 0 { MANY } else { FEW })), None);
    }

    /// Whether each look is followed by a long one; none: the clock is left.
    #[track_caller]
    fn check_looks(looks: &[usize], expected: &[Option<bool>]) {
        let mut pace = Pace { last: Some(Instant::now()), close: STEADY_READS, ..Pace::default() };
        let mut look = |found: &usize| pace.looked(*found, MUCH, true).then(|| pace.is_long());
        let steps: Vec<_> = looks.iter().map(&mut look).collect();
        assert_eq!(steps, expected);
        // From there on it takes as many close reads as ever.
        let has_left = expected.last() == Some(&None);
        assert_eq!(pace.close == 0, has_left);
    }

    #[test]
    fn the_clock_is_left_when_the_flow_ends_or_becomes_a_flood() {
        let short = Some(false);
        check_looks(&[50, 0, 0, 50, 0, 0, 50], &[short; 7]);
        check_looks(&[50, 0, 0, 0], &[short, short, short, None]);
        check_looks(&[99, 100], &[short, None]);
    }

    #[test]
    fn what_comes_slowly_is_looked_at_once_a_period_until_it_is_more() {
        let (short, long) = (Some(false), Some(true));
        // 24 in each of eight are less than the 200 of a whole period, 25 are not.
        check_looks(&[24; 9], &[short, short, short, short, short, short, short, long, long]);
        check_looks(&[25; 9], &[short; 9]);
        let mut looks = vec![24; 8];
        looks.extend([199, 200, 24, 50]);
        let mut steps = vec![short; 7];
        steps.extend([long, long, short, short, short]);
        check_looks(&looks, &steps);
    }

    #[test]
    fn no_look_is_long_where_the_spool_is_written_often() {
        let mut pace = Pace::default();
        assert!((0..20).all(|_| pace.looked(1, MUCH, false) && !pace.is_long()));
        let mut pace = Pace { is_long: true, little: LITTLE_LOOKS, ..Pace::default() };
        assert!(pace.looked(1, MUCH, false) && !pace.is_long());
    }

    #[test]
    fn a_slow_flow_that_ends_leaves_the_clock() {
        let (short, long) = (Some(false), Some(true));
        let mut looks = vec![1; 8];
        looks.extend([0, 0, 0]);
        let mut steps = vec![short; 7];
        steps.extend([long, long, long, None]);
        check_looks(&looks, &steps);
    }

    #[test]
    fn all_look_at_the_same_moments_and_none_waits_longer_than_a_step() {
        let origin = Instant::now();
        for (step, at_us, expected_us) in [
            (SHORT, 0, 18_750),
            (SHORT, 1, 18_750),
            (SHORT, 18_749, 18_750),
            (SHORT, 18_750, 37_500),
            (SHORT, 149_999, 150_000),
            (PERIOD, 1, 150_000),
            (PERIOD, 150_000, 300_000),
        ] {
            let look = look_after(origin, step, origin + Duration::from_micros(at_us));
            assert_eq!(look, origin + Duration::from_micros(expected_us), "{at_us}");
        }
        assert_eq!(look_after(origin + BEHIND, SHORT, origin), origin + BEHIND);
    }
}
