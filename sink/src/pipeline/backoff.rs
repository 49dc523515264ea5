//! Backoff: how long to wait before the next try.
//!
//! In: failures and successes. Out: growing waits, each with a random part, so that many instances
//! do not come back at the same moment.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 15_000;

/// When to try again.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// It worked.
    pub(crate) fn worked(&mut self) {
        *self = Self::default();
    }

    /// It failed: waits between half and all of a time that doubles with each failure.
    pub(crate) fn failed(&mut self, now: Instant) {
        let longest_ms = (FIRST_MS << self.failures.min(16)).min(LONGEST_MS);
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let half_ms = longest_ms / 2;
        let wait_ms = half_ms + half_ms * u64::from(random) / u64::from(u32::MAX);
        self.failures += 1;
        self.until = Some(now + Duration::from_millis(wait_ms));
    }

    /// Whether the last try failed.
    pub(crate) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether to try now.
    pub(crate) fn ready(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// When to try again; now when nothing failed.
    pub(crate) fn until(&self, now: Instant) -> Instant {
        self.until.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_with_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.ready(now));
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.failed(now);
            assert!(!backoff.ready(now));
            waits.push(backoff.until(now) - now);
        }
        assert!(waits[0] >= Duration::from_millis(FIRST_MS / 2));
        assert!(waits[11] >= Duration::from_millis(LONGEST_MS / 2));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(LONGEST_MS)));
        backoff.worked();
        assert!(backoff.ready(now));
    }
}
