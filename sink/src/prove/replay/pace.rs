//! Pace: so many events a second and no more.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Keeps to a rate from its beginning on.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u32>,
    began: Instant,
    events: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u32>) -> Self {
        Self { rate, began: Instant::now(), events: 0 }
    }

    /// How many of so many events go in one go: those of a tenth of a second.
    pub(super) fn share(&self, events: usize) -> usize {
        self.rate.map_or(events, |rate| events.min((rate as usize / 10).max(1)))
    }

    /// Waits until these events are due to be over.
    pub(super) async fn wait(&mut self, events: u64) {
        self.events += events;
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(self.events as f64 / f64::from(rate));
            sleep_until(self.began + due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let mut pace = Pace::new(Some(50));
        let began = Instant::now();
        let mut left = 200;
        while left > 0 {
            let share = pace.share(left);
            assert!(share <= 5);
            pace.wait(share as u64).await;
            left -= share;
        }
        let took = began.elapsed();
        assert!((3_990..=4_010).contains(&took.as_millis()), "{took:?}");
        assert_eq!(Pace::new(None).share(1_000), 1_000);
        assert_eq!(Pace::new(Some(1)).share(1_000), 1);
    }
}
