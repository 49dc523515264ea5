//! Reading by the clock: one wake-up for many small messages.
//!
//! In: when something was read, and whether it was little. Out: whether the next read shall wait for
//! the clock. A gateway lives at a few thousand messages a second, each sent alone; woken for each,
//! it would spend more on waking up than on the messages. While they come steadily a source lets its
//! socket out of the runtime's sight and looks at it every [`PERIOD`] only. All sources look at the
//! same moments, so that they share a wake-up, and the pipeline right after them. Promises: nothing is
//! delayed by more than [`PERIOD`], [`BEHIND`] and the millisecond by which timers are late; what
//! comes now and then is not delayed at all.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(20);
/// So much later than the sources the pipeline looks at what they have read.
const BEHIND: Duration = Duration::from_millis(3);
/// Reads closer than this are a steady flow. That is more than a period, because the wake-up is shared
/// with all other sources that go by the clock.
const CLOSE: Duration = Duration::from_millis(30);
/// So many close reads in a row make it worth while.
const STEADY_READS: u32 = 8;
/// After so many looks in a row that found nothing the flow has ended.
const EMPTY_LOOKS: u32 = 3;

/// From here the moments are counted, so that all sources have the same ones.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Watches one socket's reads.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
    close: u32,
    empty: u32,
}

impl Pace {
    /// Something was read at `now`; `is_little` says that much more would have been welcome. Tells
    /// whether to read by the clock from now on.
    pub(crate) fn read(&mut self, now: Instant, is_little: bool) -> bool {
        let last = self.last.replace(now);
        let is_close = last.is_some_and(|last| now.duration_since(last) < CLOSE);
        self.close = if is_little && is_close { self.close + 1 } else { 0 };
        self.close >= STEADY_READS
    }

    /// A look by the clock found something or not, and whether it was little. Tells whether to go on
    /// so; if not, it takes another steady flow.
    pub(crate) fn look(&mut self, is_empty: bool, is_little: bool) -> bool {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let goes_on = is_little && self.empty < EMPTY_LOOKS;
        if !goes_on {
            *self = Self::default();
        }
        goes_on
    }
}

/// Waits for the next common moment.
pub(super) async fn next_look() {
    tokio::time::sleep_until(look_after(*ORIGIN, Instant::now())).await;
}

/// When whoever takes what the sources have read looks next.
pub(crate) fn next_look_behind() -> Instant {
    look_after(*ORIGIN + BEHIND, Instant::now())
}

/// The first moment after `now`.
fn look_after(origin: Instant, now: Instant) -> Instant {
    if now < origin {
        return origin;
    }
    let since = now.saturating_duration_since(origin);
    let into = since.as_nanos() % PERIOD.as_nanos();
    now + PERIOD - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the reads, at so many microseconds, made the source go by the clock.
    #[track_caller]
    fn check(reads: impl IntoIterator<Item = (u64, bool)>, expected: Option<usize>) {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let found = reads.into_iter().position(|(at_us, is_little)| {
            pace.read(start + Duration::from_micros(at_us), is_little)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_steady_flow_of_little_goes_by_the_clock() {
        check((0..100).map(|n| (n * 200, true)), Some(8));
        check((0..100).map(|n| (n * 29_900, true)), Some(8));
    }

    #[test]
    fn what_comes_now_and_then_is_read_at_once() {
        check((0..100).map(|n| (n * 30_000, true)), None);
        // Bursts of a few lines every 50 ms.
        check((0..100).map(|n| (n / 6 * 50_000 + n % 6 * 100, true)), None);
    }

    #[test]
    fn a_flood_is_read_at_once() {
        check((0..100).map(|n| (n * 100, false)), None);
        check((0..100).map(|n| (n * 100, n % 5 != 0)), None);
    }

    #[track_caller]
    fn check_looks(looks: &[(bool, bool)], expected: Option<usize>) {
        let mut pace = Pace { last: Some(Instant::now()), close: STEADY_READS, empty: 0 };
        let found =
            looks.iter().position(|(is_empty, is_little)| !pace.look(*is_empty, *is_little));
        assert_eq!(found, expected);
        // From there on it takes as many close reads as ever.
        assert_eq!(pace.close == 0, expected.is_some());
    }

    #[test]
    fn the_clock_is_left_when_the_flow_ends_or_becomes_a_flood() {
        let (empty, little, much) = ((true, true), (false, true), (false, false));
        check_looks(&[little, empty, empty, little, empty, empty, little], None);
        check_looks(&[little, empty, empty, empty], Some(3));
        check_looks(&[little, much], Some(1));
    }

    #[test]
    fn all_look_at_the_same_moments_and_none_waits_longer_than_a_period() {
        let origin = Instant::now();
        for (at_us, expected_us) in [(0, 20_000), (1, 20_000), (19_999, 20_000), (20_000, 40_000)] {
            let look = look_after(origin, origin + Duration::from_micros(at_us));
            assert_eq!(look, origin + Duration::from_micros(expected_us), "{at_us}");
        }
        assert_eq!(look_after(origin + BEHIND, origin), origin + BEHIND);
    }
}
