//! Marks: what this instance has marked, under which name, and which writes are under way.
//!
//! In: the device-days and site-hours of a batch before it is written. Out: a [`Writing`] that stands for the write.
//! Promises: when it is handed out, a mark of this instance is in the seal of each of them; whoever takes a
//! mark back ([`Marks::let_go`]) waits until every write that may have used it has ended. No clock but a
//! monotonic one has a say, and that only about the name: whoever could not say for a third of the time
//! after which others take over that it lives, takes a new name and makes new marks.
//!
//! Memory is bounded: of 100,000 device-days the longest unused is forgotten, which costs a new
//! mark when it comes again. What can go wrong: the store does not take a mark, then nothing may be
//! written.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::watch;

use super::{DeviceDay, LEFT, Look, Mark, SealStore, hour_of, span_of};
use crate::store::{Batch, StoreError};

/// How many device-days are remembered: about 20 MB.
const REMEMBERED_MAX: NonZeroUsize = match NonZeroUsize::new(100_000) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};
/// After so long without a beat others may take over, by default.
pub const ADOPT_AFTER: Duration = Duration::from_secs(3_600);

/// A mark of ours.
#[derive(Clone, Copy, Debug)]
struct Known {
    mark: i64,
    /// Whether it surely is in the seal.
    confirmed: bool,
    made: Instant,
    written: Instant,
}

/// Since when a mark of ours is used, and until when it was.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Since it was made.
    pub made: Duration,
    /// Since the last write to the device-day.
    pub written: Duration,
}

#[derive(Debug)]
struct State {
    owner: String,
    /// The number of the last beat that was confirmed; none before the owner is known to others.
    beat: Option<i64>,
    /// When the last confirmed beat was sent off.
    beaten: Instant,
    lease: Duration,
    known: LruCache<DeviceDay, Known>,
    /// Device-days that were marked under a name that others took for dead, and are to be marked again.
    lost: BTreeSet<DeviceDay>,
    /// Held by every write that began since the last [`Marks::let_go`].
    writing: watch::Receiver<()>,
    gate: watch::Sender<()>,
}

/// The marks of one instance of a store.
#[derive(Debug)]
pub struct Marks(Mutex<State>);

/// A write that may use the marks it was given; ends when it is dropped.
#[derive(Debug)]
pub struct Writing<'a> {
    marks: &'a Marks,
    owner: String,
    _open: watch::Receiver<()>,
}

impl Default for Marks {
    fn default() -> Self {
        let (gate, writing) = watch::channel(());
        Self(Mutex::new(State {
            owner: draw_name(),
            beat: None,
            beaten: Instant::now(),
            lease: ADOPT_AFTER / 3,
            known: LruCache::new(REMEMBERED_MAX),
            lost: BTreeSet::new(),
            writing,
            gate,
        }))
    }
}

fn draw() -> i64 {
    // Without random numbers two marks could be one; the clock is the best that is left then.
    let random = getrandom::u64().map(u64::cast_signed);
    random.unwrap_or_else(|_| weir_models::time::now_us())
}

fn draw_name() -> String {
    format!("{:016x}{:016x}", draw(), draw())
}

/// What a batch writes to.
fn days_of(batch: &Batch) -> Vec<DeviceDay> {
    let days: HashSet<(&str, &str, i64)> = batch
        .readings
        .iter()
        .map(|row| (row.key.site.as_str(), row.key.device.as_str(), span_of(row.ts_us)))
        .collect();
    let hours: HashSet<(&str, i64)> =
        batch.logs.iter().map(|line| (line.site.as_str(), hour_of(line.ts_us))).collect();
    let day = |(site, device, span): (&str, &str, i64)| DeviceDay {
        site: site.into(),
        device: device.into(),
        span,
    };
    let hours = hours.into_iter().map(|(site, hour)| DeviceDay::of_lines(site, hour));
    days.into_iter().map(day).chain(hours).collect()
}

impl State {
    fn is_expired(&self) -> bool {
        self.beaten.elapsed() >= self.lease
    }

    /// A new name; what the old one marked is its own.
    fn rename(&mut self) {
        self.owner = draw_name();
        self.beat = None;
        self.beaten = Instant::now();
        self.known.clear();
    }

    /// A new gate for the writes that come; of the old one can be seen when the last write ends.
    fn close(&mut self) -> watch::Sender<()> {
        let (gate, writing) = watch::channel(());
        self.writing = writing;
        std::mem::replace(&mut self.gate, gate)
    }
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets after how long without a beat others take over.
    pub fn set_adopt_after(&self, adopt_after: Duration) {
        self.lock().lease = adopt_after / 3;
    }

    /// The name under which this instance marks.
    #[must_use]
    pub fn owner(&self) -> String {
        self.lock().owner.clone()
    }

    /// Tells others that this instance lives. After too long a silence, or when others took it for dead, it
    /// takes a new name first, and marks again what it remembers: rows may have been written under marks
    /// that are gone.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn beat(&self, store: &dyn SealStore) -> Result<(), StoreError> {
        let (owner, known) = {
            let state = self.lock();
            (state.owner.clone(), state.beat)
        };
        let owners = store.owners(Look::Usual).await?;
        let is_ours = owners.iter().any(|(name, beat)| *name == owner && *beat != LEFT);
        let gone = known.is_some() && !is_ours;
        {
            let mut state = self.lock();
            if state.owner == owner && (gone || (known.is_some() && state.is_expired())) {
                tracing::warn!(owner, "others may have taken over the marks; taking a new name");
                let lost: Vec<DeviceDay> = state.known.iter().map(|(day, _)| day.clone()).collect();
                state.lost.extend(lost);
                state.rename();
            }
        }
        self.tell(store).await?;
        let (owner, lost) = {
            let state = self.lock();
            (state.owner.clone(), state.lost.clone())
        };
        if lost.is_empty() {
            return Ok(());
        }
        let mark = |day: &DeviceDay| Mark { day: day.clone(), mark: draw() };
        let marks: Vec<Mark> = lost.iter().map(mark).collect();
        store.add_marks(&owner, &marks).await?;
        // Only now; what was lost meanwhile is not among them.
        self.lock().lost.retain(|day| !lost.contains(day));
        Ok(())
    }

    /// Sends one beat more.
    async fn tell(&self, store: &dyn SealStore) -> Result<(), StoreError> {
        let sent = Instant::now();
        let (owner, beat) = {
            let state = self.lock();
            (state.owner.clone(), state.beat.map_or(0, |beat| beat + 1))
        };
        store.beat(&owner, beat).await?;
        let mut state = self.lock();
        if state.owner == owner {
            (state.beat, state.beaten) = (Some(beat), sent);
        }
        Ok(())
    }

    /// Sees to it that the device-day of each reading and the site-hour of each line is marked.
    ///
    /// # Errors
    /// The store does not take a mark: the rows must not be written.
    pub async fn begin(
        &self,
        store: &dyn SealStore,
        batch: &Batch,
    ) -> Result<Writing<'_>, StoreError> {
        let days = days_of(batch);
        let (writing, is_known, missing) = {
            let mut state = self.lock();
            if state.is_expired() {
                state.rename();
            }
            let now = Instant::now();
            let mut missing = Vec::new();
            for day in days {
                let new = || Known { mark: draw(), confirmed: false, made: now, written: now };
                let known = state.known.get_or_insert_mut(day.clone(), new);
                known.written = now;
                if !known.confirmed {
                    missing.push(Mark { day, mark: known.mark });
                }
            }
            let _open = state.writing.clone();
            let writing = Writing { marks: self, owner: state.owner.clone(), _open };
            (writing, state.beat.is_some(), missing)
        };
        if missing.is_empty() {
            return Ok(writing);
        }
        if !is_known {
            self.tell(store).await?;
        }
        store.add_marks(&writing.owner, &missing).await?;
        let mut state = self.lock();
        for Mark { day, mark } in &missing {
            if let Some(known) = state.known.peek_mut(day).filter(|known| known.mark == *mark) {
                known.confirmed = true;
            }
        }
        drop(state);
        Ok(writing)
    }

    /// Forgets `mark`, so that later writes make a new one, and waits until every write that may have used
    /// it has ended.
    pub async fn let_go(&self, mark: &Mark) {
        let ended = {
            let mut state = self.lock();
            if state.known.peek(&mark.day).is_some_and(|known| known.mark == mark.mark) {
                state.known.pop(&mark.day);
            }
            state.close()
        };
        ended.closed().await;
    }

    /// How a mark of ours is used; none when it is not remembered.
    #[must_use]
    pub fn usage(&self, mark: &Mark) -> Option<Use> {
        let state = self.lock();
        let known = state.known.peek(&mark.day).filter(|known| known.mark == mark.mark)?;
        Some(Use { made: known.made.elapsed(), written: known.written.elapsed() })
    }

    /// Hands all marks over to the others, once every write has ended.
    ///
    /// # Errors
    /// The store does not take it; others wait some time then.
    pub async fn leave(&self, store: &dyn SealStore) -> Result<(), StoreError> {
        let (owner, is_known, ended) = {
            let mut state = self.lock();
            let old = (state.owner.clone(), state.beat.is_some());
            state.rename();
            (old.0, old.1, state.close())
        };
        ended.closed().await;
        if is_known { store.beat(&owner, LEFT).await } else { Ok(()) }
    }
}

impl Writing<'_> {
    /// To be asked once all rows are confirmed.
    ///
    /// # Errors
    /// Others may have taken over the marks meanwhile: the batch is to be written again.
    pub fn end(self) -> Result<(), StoreError> {
        let state = self.marks.lock();
        if state.owner == self.owner && !state.is_expired() {
            return Ok(());
        }
        Err(StoreError::Retry(
            "the write took so long that others may seal its day; it is done again".into(),
        ))
    }
}
