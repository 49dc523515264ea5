//! Pace: turns to write, as many at once as the [`Limit`] says.
//!
//! In: writes. Out: each confirmed, or the error it ended with. Promises: at most as many are under way as the
//! limit allows; a write whose outcome is not known (it timed out, some replicas have it) is done again and never
//! counts as done; one that waits before its next try holds no turn. What can go wrong: see [`Tries`].

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use weir_models::metric::{SINK_STORE_RETRIES, SINK_STORE_WRITE_TIME, SINK_STORE_WRITES_MAX};

use super::failure::{Failure, Kind, Tries};
use super::limit::{End, Limit, Ticket};
use crate::store::StoreError;

/// The time of writes is told once in so many.
const TOLD_EVERY: u32 = 32;

/// Who may write.
#[derive(Debug)]
pub(super) struct Pace {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    /// Permits above the limit that are held by writes under way; they are taken back when these end.
    owed: usize,
    untold: u32,
}

/// The right to one try.
struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
    ticket: Ticket,
    began: Instant,
    end: End,
}

impl Pace {
    /// At most `max` at once; fewer while writes fail, or take as long as `slow`.
    pub(super) fn new(max: usize, slow: Duration) -> Self {
        let limit = Limit::new(max, slow);
        let permits = Semaphore::new(limit.now());
        gauge!(SINK_STORE_WRITES_MAX.name).set(limit.now() as f64);
        Self { permits, state: Mutex::new(State { limit, owed: 0, untold: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many may be under way just now.
    pub(super) fn now(&self) -> usize {
        self.lock().limit.now()
    }

    /// Writes until it is confirmed, fails for good, or `patience` is over, which counts from its first turn. What its
    /// confirmation says about how busy the store is, `done` tells.
    pub(super) async fn persist<T, F, R>(
        &self,
        what: &'static str,
        patience: Duration,
        done: End,
        operation: F,
    ) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let mut turn = self.turn().await;
        let mut tries = Tries::new(what, patience);
        loop {
            let failure = match operation().await {
                Ok(value) => {
                    turn.ended(done);
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            let passing = failure.kind == Kind::Passing;
            turn.ended(if passing { End::Congested } else { End::Other });
            tries.failed(failure).await?;
            counter!(SINK_STORE_RETRIES.name).increment(1);
            turn = self.turn().await;
        }
    }

    async fn turn(&self) -> Turn<'_> {
        // The semaphore is never closed; without a permit the turn would only not be counted in it.
        let permit = self.permits.acquire().await.ok();
        let ticket = self.lock().limit.begin();
        Turn { pace: self, permit, ticket, began: Instant::now(), end: End::Other }
    }
}

impl Turn<'_> {
    fn ended(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Turn<'_> {
    /// Also when the write is given up while it is under way.
    fn drop(&mut self) {
        let mut state = self.pace.lock();
        let before = state.limit.now();
        state.limit.end(self.ticket, self.end, self.began.elapsed());
        let now = state.limit.now();
        if now > before {
            let more = now - before;
            let paid = more.min(state.owed);
            state.owed -= paid;
            self.pace.permits.add_permits(more - paid);
        } else if now < before {
            let fewer = before - now;
            state.owed += fewer - self.pace.permits.forget_permits(fewer);
        }
        if let Some(permit) = self.permit.take()
            && state.owed > 0
        {
            state.owed -= 1;
            permit.forget();
        }
        state.untold += 1;
        if now != before || state.untold >= TOLD_EVERY {
            state.untold = 0;
            gauge!(SINK_STORE_WRITES_MAX.name).set(now as f64);
            if let Some(took) = state.limit.took() {
                gauge!(SINK_STORE_WRITE_TIME.name).set(took.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{abortable, join_all};
    use futures_util::stream::{self, StreamExt, TryStreamExt};
    use tokio::time::sleep;

    use super::*;
    use crate::store::cassandra::failure::WRITE_PATIENCE;

    const MAX: usize = 64;
    const SLOW: Duration = Duration::from_millis(2_500);

    /// A node that does so many writes at once in 10 ms; what is above that times out, some of it written.
    #[derive(Default)]
    struct Node {
        room: AtomicUsize,
        under_way: AtomicUsize,
        most: AtomicUsize,
        confirmed: Mutex<BTreeSet<usize>>,
        tries: AtomicUsize,
    }

    impl Node {
        fn with_room(&self, room: usize) -> &Self {
            self.room.store(room, Ordering::SeqCst);
            self.most.store(0, Ordering::SeqCst);
            self.confirmed.lock().unwrap().clear();
            self.tries.store(0, Ordering::SeqCst);
            self
        }

        async fn write(&self, row: usize) -> Result<(), Failure> {
            self.tries.fetch_add(1, Ordering::SeqCst);
            let at_once = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(at_once, Ordering::SeqCst);
            let has_room = at_once <= self.room.load(Ordering::SeqCst);
            sleep(Duration::from_millis(if has_room { 10 } else { 300 })).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            if !has_room {
                return Err(Failure::passing(&"one of two replicas answered in time"));
            }
            self.confirmed.lock().unwrap().insert(row);
            Ok(())
        }
    }

    /// Writes so many rows as a batch does; all of them are confirmed.
    async fn write_all(pace: &Pace, node: &Node, rows: usize) {
        let writes = (0..rows).map(|row| {
            pace.persist("test", WRITE_PATIENCE, End::Confirmed, move || node.write(row))
        });
        let done = stream::iter(writes).buffer_unordered(MAX).try_collect::<()>().await;
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(node.confirmed.lock().unwrap().len(), rows, "each was confirmed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_falls_with_a_node_in_trouble_and_rises_again() {
        let (pace, node) = (Pace::new(MAX, SLOW), Node::default());
        write_all(&pace, node.with_room(1_000), 2_000).await;
        assert_eq!((pace.now(), node.most.load(Ordering::SeqCst)), (MAX, MAX));
        assert_eq!(
            node.tries.load(Ordering::SeqCst),
            2_000,
            "nothing twice on a node that is well"
        );
        write_all(&pace, node.with_room(6), 1_000).await;
        assert!(pace.now() <= 12, "{}", pace.now());
        assert!(node.tries.load(Ordering::SeqCst) > 1_000);
        write_all(&pace, node.with_room(1_000), 3_000).await;
        assert_eq!(pace.now(), MAX);
        assert_eq!((pace.permits.available_permits(), pace.lock().owed), (MAX, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_the_limit_says() {
        let (pace, node) = (Pace::new(MAX, SLOW), Node::default());
        write_all(&pace, node.with_room(5), 500).await;
        let limit = pace.now();
        write_all(&pace, node.with_room(1_000), limit * 2).await;
        assert!(node.most.load(Ordering::SeqCst) <= limit + 2, "{limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_are_given_up_leave_no_trace() {
        let (pace, node) = (Pace::new(8, SLOW), Node::default());
        node.with_room(1_000);
        let (given_up, handles): (Vec<_>, Vec<_>) = (0..20)
            .map(|row| {
                abortable(pace.persist("test", WRITE_PATIENCE, End::Confirmed, {
                    let node = &node;
                    move || node.write(row)
                }))
            })
            .unzip();
        let abort = async {
            sleep(Duration::from_millis(5)).await;
            handles.iter().for_each(futures_util::future::AbortHandle::abort);
        };
        tokio::join!(join_all(given_up), abort);
        assert_eq!((pace.permits.available_permits(), pace.now()), (8, 8));
        write_all(&pace, node.with_room(1_000), 100).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_told_at_once_and_is_no_trouble() {
        let pace = Pace::new(MAX, SLOW);
        let tries = AtomicUsize::new(0);
        let refused = pace.persist("test", WRITE_PATIENCE, End::Confirmed, async || {
            tries.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Failure::lasting(&"no such table"))
        });
        assert!(matches!(refused.await, Err(StoreError::Fatal(_))));
        assert_eq!((tries.into_inner(), pace.now()), (1, MAX));
    }
}
