//! Reading by the clock: one wake-up for many small messages.
//!
//! In: when something was read, and whether it was little. Out: whether the next read shall wait for
//! the clock. A gateway lives at a few thousand messages a second, each sent alone; woken for each,
//! it would spend more on waking up than on the messages. While they come steadily a source lets its
//! socket out of the runtime's sight and looks at it every [`PERIOD`] only. All sources look at the
//! same moments, so that they share a wake-up. Promises: nothing is delayed by more than [`PERIOD`]
//! and the millisecond by which timers are late; what comes now and then is not delayed at all.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks.
pub(super) const PERIOD: Duration = Duration::from_millis(8);
/// Reads closer than this are a steady flow: of two in a period, one wake-up is spared.
const CLOSE: Duration = Duration::from_millis(4);
/// So many close reads in a row make it worth while.
const STEADY_READS: u32 = 8;

/// From here the moments are counted, so that all sources have the same ones.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Watches one socket's reads.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    close: u32,
}

impl Pace {
    /// Something was read at `now`; `is_little` says that much more would have been welcome. Tells
    /// whether to read by the clock from now on.
    pub(super) fn read(&mut self, now: Instant, is_little: bool) -> bool {
        let last = self.last.replace(now);
        let is_close = last.is_some_and(|last| now.duration_since(last) < CLOSE);
        self.close = if is_little && is_close { self.close + 1 } else { 0 };
        self.close >= STEADY_READS
    }

    /// The flow has ended or become a flood: start over.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Waits for the next common moment.
pub(super) async fn next_look() {
    tokio::time::sleep_until(look_after(*ORIGIN, Instant::now())).await;
}

/// The first moment after `now`.
fn look_after(origin: Instant, now: Instant) -> Instant {
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
        check((0..100).map(|n| (n * 3_900, true)), Some(8));
    }

    #[test]
    fn what_comes_now_and_then_is_read_at_once() {
        check((0..100).map(|n| (n * 4_000, true)), None);
        // Bursts of a few lines every 50 ms.
        check((0..100).map(|n| (n / 6 * 50_000 + n % 6 * 100, true)), None);
    }

    #[test]
    fn a_flood_is_read_at_once() {
        check((0..100).map(|n| (n * 100, false)), None);
        check((0..100).map(|n| (n * 100, n % 5 != 0)), None);
    }

    #[test]
    fn after_a_reset_it_takes_a_steady_flow_again() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut read = |n: u64| pace.read(start + Duration::from_micros(n * 200), true);
        assert_eq!((0..9).map(&mut read).filter(|by_clock| *by_clock).count(), 1);
        pace.reset();
        let start = start + Duration::from_micros(9 * 200);
        let mut read = |n: u64| pace.read(start + Duration::from_micros(n * 200), true);
        assert_eq!((0..8).map(&mut read).filter(|by_clock| *by_clock).count(), 0);
    }

    #[test]
    fn all_look_at_the_same_moments_and_none_waits_longer_than_a_period() {
        let origin = Instant::now();
        for (at_us, expected_us) in [(0, 8_000), (1, 8_000), (7_999, 8_000), (8_000, 16_000)] {
            let look = look_after(origin, origin + Duration::from_micros(at_us));
            assert_eq!(look, origin + Duration::from_micros(expected_us), "{at_us}");
        }
    }
}
