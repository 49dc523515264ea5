//! Limit: how many writes may be under way at once. Pure.
//!
//! In: that a write begins, and how and after what time it ended. Out: the limit. It is additive increase and multiplicative
//! decrease (Chiu and Jain, *Analysis of the increase and decrease algorithms for congestion avoidance in computer
//! networks*, 1989): halved by a write that was not confirmed or took too long, one more for each round of
//! confirmed ones. Promises: it stays within its bounds; it begins at the upper one, and nothing but trouble
//! lowers it, so that a store that is well is written to as if there were no limit; trouble of one round halves it once,
//! however many writes met it; it grows only while it is used, because an idle limit proves nothing.
//!
//! Why not by a gradient of latencies: with batches Cassandra gets more done the more are under way, and each of them
//! takes longer then. Whoever takes longer times for trouble gives throughput away.

use std::time::Duration;

/// Fewest writes under way, unless the upper bound is lower still: even a store in trouble has to show that it is well again.
const LIMIT_MIN: usize = 4;
/// A new time counts for one of so many in the smoothed one.
const SMOOTHING: u32 = 16;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything is safe.
    Confirmed,
    /// Timed out, partly done, or not taken because there was too much.
    Congested,
    /// Given up, refused for another reason, or too large to be judged by its time; says nothing about how busy the store is.
    Other,
}

/// A write that is under way, by the order of beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// The limit and what it rests on.
#[derive(Debug)]
pub(super) struct Limit {
    min: usize,
    max: usize,
    now: usize,
    /// From this on a confirmed write is trouble too.
    slow: Duration,
    /// Tickets that were given out.
    begun: u64,
    under_way: usize,
    /// Most under way when one began, since the limit last changed.
    peak: usize,
    /// Confirmed in time since the limit last changed.
    confirmed: usize,
    /// The first ticket after the last decrease: those before it met the same trouble.
    fresh: u64,
    /// Time of a confirmed write, smoothed.
    took: Option<Duration>,
}

impl Limit {
    /// At most `max` at once; a write that takes `slow` is trouble.
    pub(super) fn new(max: usize, slow: Duration) -> Self {
        let max = max.max(1);
        Self {
            min: LIMIT_MIN.min(max),
            max,
            now: max,
            slow,
            begun: 0,
            under_way: 0,
            peak: 0,
            confirmed: 0,
            fresh: 0,
            took: None,
        }
    }

    /// How many may be under way.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// About how long a write takes until it is confirmed; none before the first one.
    pub(super) fn took(&self) -> Option<Duration> {
        self.took
    }

    /// A write begins.
    pub(super) fn begin(&mut self) -> Ticket {
        let ticket = Ticket(self.begun);
        self.begun += 1;
        self.under_way += 1;
        self.peak = self.peak.max(self.under_way);
        ticket
    }

    /// A write has ended `took` after its begin.
    pub(super) fn end(&mut self, ticket: Ticket, end: End, took: Duration) {
        // Half of it: batches come in bursts.
        let used = self.peak * 2 >= self.now;
        self.under_way = self.under_way.saturating_sub(1);
        if end == End::Confirmed {
            let smoothed = |old: Duration| (old * (SMOOTHING - 1) + took) / SMOOTHING;
            self.took = Some(self.took.map_or(took, smoothed));
        }
        match end {
            End::Confirmed if took < self.slow => {
                if used {
                    self.grow();
                }
            }
            End::Confirmed | End::Congested => self.shrink(ticket),
            End::Other => {}
        }
    }

    fn grow(&mut self) {
        if self.now == self.max {
            return;
        }
        self.confirmed += 1;
        if self.confirmed >= self.now {
            (self.confirmed, self.peak) = (0, 0);
            self.now += 1;
        }
    }

    fn shrink(&mut self, ticket: Ticket) {
        if ticket.0 < self.fresh {
            return;
        }
        self.fresh = self.begun;
        (self.confirmed, self.peak) = (0, 0);
        self.now = (self.now / 2).max(self.min);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAST: Duration = Duration::from_millis(5);
    const SLOW: Duration = Duration::from_secs(1);

    /// One round: as many as may be, all of them begun before the first one ends.
    fn round(limit: &mut Limit, end: End, took: Duration) {
        let tickets: Vec<Ticket> = (0..limit.now()).map(|_| limit.begin()).collect();
        for ticket in tickets {
            limit.end(ticket, end, took);
        }
    }

    #[test]
    fn a_store_that_is_well_keeps_the_upper_bound() {
        let mut limit = Limit::new(64, SLOW);
        for _ in 0..100 {
            round(&mut limit, End::Confirmed, FAST);
            assert_eq!(limit.now(), 64);
        }
    }

    #[test]
    fn trouble_of_one_round_halves_it_once_and_quiet_brings_it_back() {
        for (end, took) in [(End::Congested, FAST), (End::Confirmed, SLOW)] {
            let mut limit = Limit::new(64, SLOW);
            let mut seen = Vec::new();
            for _ in 0..6 {
                round(&mut limit, end, took);
                seen.push(limit.now());
            }
            assert_eq!(seen, [32, 16, 8, 4, 4, 4]);
            let mut rounds = 0;
            while limit.now() < 64 {
                round(&mut limit, End::Confirmed, FAST);
                rounds += 1;
            }
            assert_eq!(rounds, 60, "one more each round");
        }
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut limit = Limit::new(64, SLOW);
        round(&mut limit, End::Congested, FAST);
        for _ in 0..1_000 {
            let ticket = limit.begin();
            limit.end(ticket, End::Confirmed, FAST);
        }
        assert_eq!(limit.now(), 32);
    }

    #[test]
    fn what_was_given_up_says_nothing() {
        let mut limit = Limit::new(64, SLOW);
        round(&mut limit, End::Other, SLOW);
        assert_eq!((limit.now(), limit.under_way), (64, 0));
    }

    #[test]
    fn a_small_bound_is_kept() {
        let mut limit = Limit::new(2, SLOW);
        round(&mut limit, End::Congested, FAST);
        assert_eq!(limit.now(), 2);
    }

    #[test]
    fn times_are_smoothed() {
        let mut limit = Limit::new(8, SLOW);
        assert_eq!(limit.took(), None);
        for _ in 0..200 {
            round(&mut limit, End::Confirmed, FAST);
        }
        let ticket = limit.begin();
        limit.end(ticket, End::Confirmed, FAST * 17);
        assert!(limit.took() > Some(FAST) && limit.took() < Some(FAST * 3), "{:?}", limit.took());
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_counts_right(
            max in 1usize..200,
            steps in proptest::collection::vec((0u8..5, 0usize..1_000), 0..2_000),
        ) {
            let mut limit = Limit::new(max, SLOW);
            let mut under_way: Vec<Ticket> = Vec::new();
            for (what, which) in steps {
                let before = limit.now();
                if what < 2 && under_way.len() < limit.now() {
                    under_way.push(limit.begin());
                } else if !under_way.is_empty() {
                    let ticket = under_way.swap_remove(which % under_way.len());
                    let ends = [End::Confirmed, End::Congested, End::Other];
                    let took = if which.is_multiple_of(7) { SLOW } else { FAST };
                    limit.end(ticket, ends[which % 3], took);
                }
                prop_assert_eq!(limit.under_way, under_way.len());
                prop_assert!(limit.now() >= 4.min(max) && limit.now() <= max);
                prop_assert!(limit.now() <= before + 1);
            }
        }

        #[test]
        fn whatever_came_before_it_comes_back(
            trouble in proptest::collection::vec(0u8..3, 0..200),
        ) {
            let mut limit = Limit::new(32, SLOW);
            for end in trouble {
                round(&mut limit, [End::Confirmed, End::Congested, End::Other][end as usize], FAST);
            }
            for _ in 0..70 {
                round(&mut limit, End::Confirmed, FAST);
            }
            prop_assert_eq!(limit.now(), 32);
        }
    }
}
