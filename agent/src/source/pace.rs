//! Reading by the clock: one wake-up for many small messages.
//!
//! In: when something was read, and how much it was. Out: when to read next. A gateway lives at a few
//! thousand messages a second, each sent alone; woken for each, it would spend more on waking up than
//! on the messages, and find its caches cold each time. While they come steadily a source lets its
//! socket out of the runtime's sight and looks at it every [`SHORT`] only; while that finds little, every
//! second moment, every fourth and so on up to every [`PERIOD`]. All sources look at the same moments, so that they share a wake-up; the pipeline
//! looks right after them, and writes the spool after the longest looks: one clock for all stages. Promises:
//! nothing is delayed by more than [`PERIOD`] (or [`SHORT`], where the spool shall be written more
//! often than that), [`BEHIND`] and the millisecond by which timers are late; what comes now and then
//! is not delayed at all.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks at what comes slowly: as often as the spool is written by default.
const PERIOD: Duration = Duration::from_millis(200);
/// So many short looks are a period.
const SHORTS: u32 = 16;
/// Time between two looks at what comes faster.
const SHORT: Duration = Duration::from_micros(200_000 / SHORTS as u64);
/// So much later than the sources the pipeline looks at what they have read.
const BEHIND: Duration = Duration::from_millis(3);
/// Reads closer than this are a steady flow. That is more than [`SHORT`], because the wake-up is shared
/// with all other sources that go by the clock.
const CLOSE: Duration = Duration::from_millis(30);
/// So many close reads in a row make it worth while.
const STEADY_READS: u32 = 8;
/// So many looks in a row that found little make the next ones longer.
const LITTLE_LOOKS: u32 = 8;
/// After so many looks in a row that found nothing the flow has ended.
const EMPTY_LOOKS: u32 = 3;

/// From here the moments are counted, so that all sources have the same ones.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Whether sources have time for longer looks.
static IS_PATIENT: AtomicBool = AtomicBool::new(true);

/// Tells all sources how often the spool is to be written.
pub(crate) fn set_flush_every(every: Duration) {
    IS_PATIENT.store(is_patient(every), Ordering::Relaxed);
}

/// Who wants the spool written often does not want to wait for longer looks.
fn is_patient(flush_every: Duration) -> bool {
    flush_every >= PERIOD
}

/// How much is too much to be left for a while, in the caller's unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Much {
    /// For [`SHORT`].
    pub(crate) short: usize,
    /// For longer.
    pub(crate) long: usize,
}

/// Watches one socket's reads.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Option<Instant>,
    close: u32,
    empty: u32,
    little: u32,
    /// Of how many [`SHORT`] a look is: 1, 2, 4 up to [`SHORTS`].
    shorts: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last: None, close: 0, empty: 0, little: 0, shorts: 1 }
    }
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

    /// The same for who writes the spool so often.
    pub(crate) fn look_for_flush(&mut self, found: usize, much: Much, every: Duration) -> bool {
        self.looked(found, much, is_patient(every))
    }

    fn looked(&mut self, found: usize, much: Much, is_patient: bool) -> bool {
        self.empty = if found == 0 { self.empty + 1 } else { 0 };
        let is_short = self.shorts == 1;
        let is_much = found >= if is_short { much.short } else { much.long };
        if self.empty >= EMPTY_LOOKS || (is_much && is_short) {
            *self = Self::default();
            return false;
        }
        // A look of twice the time would find twice as much.
        self.little = if 2 * found < much.long { self.little + 1 } else { 0 };
        if !is_patient {
            self.shorts = 1;
        } else if is_much {
            self.shorts /= 2;
        } else if self.little >= LITTLE_LOOKS && self.shorts < SHORTS {
            (self.shorts, self.little) = (2 * self.shorts, 0);
        }
        true
    }

    /// Whether the looks are those of a whole period.
    pub(crate) fn is_long(&self) -> bool {
        self.shorts == SHORTS
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
        SHORT * self.shorts
    }
}

/// The first moment after `now`, of those every `step` to both sides of `origin`.
fn look_after(origin: Instant, step: Duration, now: Instant) -> Instant {
    let part = |of: Duration| {
        Duration::from_nanos(u64::try_from(of.as_nanos() % step.as_nanos()).unwrap_or(0))
    };
    let until = part(origin.saturating_duration_since(now));
    now + if until.is_zero() { step - part(now.saturating_duration_since(origin)) } else { until }
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

    /// Of how many shorts the look after each is; 0: the clock is left.
    #[track_caller]
    fn check_looks(shorts: u32, looks: &[usize], expected: &[u32]) {
        let mut pace = Pace { close: STEADY_READS, shorts, ..Pace::default() };
        let mut look = |found: &usize| {
            if pace.looked(*found, MUCH, true) { pace.shorts } else { 0 }
        };
        let steps: Vec<_> = looks.iter().map(&mut look).collect();
        assert_eq!(steps, expected);
        // From there on it takes as many close reads as ever.
        let has_left = expected.last() == Some(&0);
        assert_eq!(pace.close == 0, has_left);
    }

    #[test]
    fn the_clock_is_left_when_the_flow_ends_or_becomes_a_flood() {
        check_looks(1, &[50, 0, 0, 50, 0, 0, 50], &[1; 7]);
        check_looks(1, &[50, 0, 0, 0], &[1, 1, 1, 0]);
        check_looks(1, &[99, 100], &[1, 0]);
        check_looks(16, &[1, 0, 0, 0], &[16, 16, 16, 0]);
    }

    #[test]
    fn looks_become_longer_while_they_find_little_and_shorter_when_they_find_much() {
        check_looks(1, &[99; 9], &[1, 1, 1, 1, 1, 1, 1, 2, 2]);
        check_looks(2, &[99; 9], &[2, 2, 2, 2, 2, 2, 2, 4, 4]);
        check_looks(4, &[100; 9], &[4; 9]);
        check_looks(8, &[99; 9], &[8, 8, 8, 8, 8, 8, 8, 16, 16]);
        check_looks(16, &[99; 9], &[16; 9]);
        check_looks(16, &[199, 200, 200, 200, 200, 50], &[16, 8, 4, 2, 1, 1]);
    }

    #[test]
    fn no_look_is_long_where_the_spool_is_written_often() {
        let mut pace = Pace::default();
        assert!((0..20).all(|_| pace.looked(1, MUCH, false) && pace.shorts == 1));
        let mut pace = Pace { shorts: SHORTS, ..Pace::default() };
        assert!(pace.is_long() && pace.looked(1, MUCH, false) && pace.shorts == 1);
    }

    #[test]
    fn all_look_at_the_same_moments_and_none_waits_longer_than_a_step() {
        let origin = Instant::now();
        for (step, at_us, expected_us) in [
            (SHORT, 0, 12_500),
            (SHORT, 1, 12_500),
            (SHORT, 12_499, 12_500),
            (SHORT, 12_500, 25_000),
            (SHORT, 199_999, 200_000),
            (PERIOD, 1, 200_000),
            (PERIOD, 200_000, 400_000),
        ] {
            let look = look_after(origin, step, origin + Duration::from_micros(at_us));
            assert_eq!(look, origin + Duration::from_micros(expected_us), "{at_us}");
        }
        assert_eq!(look_after(origin + BEHIND, SHORT, origin), origin + BEHIND);
        // Wherever the moments are counted from, nobody waits longer.
        assert_eq!(look_after(origin + 100 * SHORT, SHORT, origin), origin + SHORT);
        assert_eq!(look_after(origin + 100 * SHORT + BEHIND, SHORT, origin), origin + BEHIND);
    }
}
