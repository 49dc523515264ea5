//! Clock: can the gateway's time be trusted?
//!
//! In: the wall clock. Out: [`Clock`]. Gateways without a battery for their clock boot in 1970 or at
//! the time of the last shutdown; a stamp before this program was written is certainly wrong.

use weir_models::event::Clock;

/// 2026-01-01T00:00:00Z: no event of this program was received before it.
const EARLIEST_US: i64 = 1_767_225_600 * 1_000_000;

/// Judges the wall clock by what it shows.
#[must_use]
pub fn judge(now_us: i64) -> Clock {
    if now_us < EARLIEST_US { Clock::Unsynced } else { Clock::Synced }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_in_1970_is_not_synced() {
        assert_eq!(judge(12_000_000), Clock::Unsynced);
        assert_eq!(judge(EARLIEST_US), Clock::Synced);
    }
}
