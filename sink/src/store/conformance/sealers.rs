//! Sealers: two instances of one store that write and seal the same days, and die at any step.
//!
//! In: two instances of one store. The steps of a seal are the operations of [`SealStore`]; [`Stepping`]
//! stands between sealing and the store, makes any of them fail before or after it is done, and lets others
//! run in between.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join3};
use weir_models::ident::{EventId, SeriesKey};
use weir_models::time::DAY_US;

use super::line_sealers;
use super::sealing::{Dice, Model, drop_sealed, marks_at};
use super::{EVER, NOON_US, fresh, id, key, reading, write_readings};
use crate::store::seal::close::seal_within;
use crate::store::seal::keeper::Keeper;
use crate::store::seal::marks::Marks;
use crate::store::seal::{DeviceDay, LEFT, Look, Mark, PartRef, Position, Seal, SealStore};
use crate::store::sealed::{LinePart, Part};
use crate::store::{Batch, LogQuery, LogRow, Point, ReadingRow, Store, StoreError, TimeRange};

/// Runs every case that needs two instances of one store.
///
/// # Panics
/// When the stores break a promise.
pub async fn two(a: &dyn Store, b: &dyn Store) {
    whoever_dies_is_taken_over(a, b).await;
    both_write_and_seal_at_once(a, b).await;
    a_lost_name_makes_new_marks(a).await;
    owners_are_taken_over_when_they_are_gone(a, b).await;
    line_sealers::two(a, b).await;
    super::widths::two(a, b).await;
}

/// When a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    Never,
    /// Nothing of it was done.
    Before(usize),
    /// It was done, the answer got lost.
    After(usize),
}

/// A store whose operations fail, or take their time.
pub(super) struct Stepping<'a> {
    inner: &'a dyn SealStore,
    fails: Fails,
    steps: AtomicUsize,
    dice: Option<Mutex<Dice>>,
}

impl<'a> Stepping<'a> {
    pub(super) fn failing(inner: &'a dyn SealStore, fails: Fails) -> Self {
        Self { inner, fails, steps: AtomicUsize::new(0), dice: None }
    }

    pub(super) fn pausing(inner: &'a dyn SealStore, seed: u64) -> Self {
        let dice = Some(Mutex::new(Dice::new(seed)));
        Self { inner, fails: Fails::Never, steps: AtomicUsize::new(0), dice }
    }

    async fn step<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let pause = self.dice.as_ref().map(|dice| dice.lock().unwrap().below(4).unsigned_abs());
        if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let scripted = || StoreError::Retry("scripted".into());
        match self.fails {
            Fails::Before(at) if at == step => Err(scripted()),
            Fails::After(at) if at == step => {
                work.await?;
                Err(scripted())
            }
            _ => work.await,
        }
    }
}

type Blobs = Result<Vec<(i64, Vec<u8>)>, StoreError>;

#[async_trait]
impl SealStore for Stepping<'_> {
    fn marks(&self) -> &Marks {
        self.inner.marks()
    }
    async fn extent(&self, key: &SeriesKey) -> Result<Option<TimeRange>, StoreError> {
        self.step(self.inner.extent(key)).await
    }
    async fn metrics(&self, site: &str, device: &str) -> Result<Vec<String>, StoreError> {
        self.step(self.inner.metrics(site, device)).await
    }
    async fn hot(
        &self,
        key: &SeriesKey,
        from: Position,
        to_us: i64,
        limit: usize,
        look: Look,
    ) -> Result<Vec<Point>, StoreError> {
        self.step(self.inner.hot(key, from, to_us, limit, look)).await
    }
    async fn seals(
        &self,
        site: &str,
        device: &str,
        first: i64,
        last: i64,
        look: Look,
    ) -> Result<Vec<(i64, Seal)>, StoreError> {
        self.step(self.inner.seals(site, device, first, last, look)).await
    }
    async fn replace(
        &self,
        day: &DeviceDay,
        version: Option<i64>,
        parts: &[PartRef],
        mark: Option<i64>,
    ) -> Result<bool, StoreError> {
        self.step(self.inner.replace(day, version, parts, mark)).await
    }
    async fn all_seals(&self) -> Result<Vec<(DeviceDay, Seal)>, StoreError> {
        self.step(self.inner.all_seals()).await
    }
    async fn hot_ids(&self) -> Result<BTreeSet<EventId>, StoreError> {
        self.step(self.inner.hot_ids()).await
    }
    async fn add_marks(&self, owner: &str, marks: &[Mark]) -> Result<(), StoreError> {
        self.step(self.inner.add_marks(owner, marks)).await
    }
    async fn remove_mark(&self, mark: &Mark) -> Result<(), StoreError> {
        self.step(self.inner.remove_mark(mark)).await
    }
    async fn forget_mark(&self, owner: &str, mark: &Mark) -> Result<(), StoreError> {
        self.step(self.inner.forget_mark(owner, mark)).await
    }
    async fn marks_of(&self, owner: &str) -> Result<Vec<Mark>, StoreError> {
        self.step(self.inner.marks_of(owner)).await
    }
    async fn owners(&self, look: Look) -> Result<Vec<(String, i64)>, StoreError> {
        self.step(self.inner.owners(look)).await
    }
    async fn beat(&self, owner: &str, beat: i64) -> Result<(), StoreError> {
        self.step(self.inner.beat(owner, beat)).await
    }
    async fn drop_owner(&self, owner: &str) -> Result<(), StoreError> {
        self.step(self.inner.drop_owner(owner)).await
    }
    async fn put_part(&self, day: &DeviceDay, part: &Part) -> Result<(), StoreError> {
        self.step(self.inner.put_part(day, part)).await
    }
    async fn drop_parts(&self, day: &DeviceDay, parts: &[PartRef]) -> Result<(), StoreError> {
        self.step(self.inner.drop_parts(day, parts)).await
    }
    async fn stamps(&self, day: &DeviceDay, ids: &[i64]) -> Blobs {
        self.step(self.inner.stamps(day, ids)).await
    }
    async fn episodes(&self, day: &DeviceDay, metric: &str, ids: &[i64]) -> Blobs {
        self.step(self.inner.episodes(day, metric, ids)).await
    }
    async fn rolls(
        &self,
        key: &SeriesKey,
        step_s: i32,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        self.step(self.inner.rolls(key, step_s, first, last)).await
    }
    async fn drop_hot(&self, key: &SeriesKey, range: TimeRange) -> Result<(), StoreError> {
        self.inner.drop_hot(key, range).await
    }
    async fn extent_of_lines(
        &self,
        site: &str,
        host: Option<&str>,
    ) -> Result<Option<TimeRange>, StoreError> {
        self.step(self.inner.extent_of_lines(site, host)).await
    }
    async fn newest_hot_lines(
        &self,
        query: &LogQuery,
        read: &AtomicUsize,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.step(self.inner.newest_hot_lines(query, read)).await
    }
    async fn hot_lines(
        &self,
        site: &str,
        range: TimeRange,
        weight_max: usize,
    ) -> Result<Option<Vec<LogRow>>, StoreError> {
        self.step(self.inner.hot_lines(site, range, weight_max)).await
    }
    async fn put_lines(&self, hour: &DeviceDay, part: &LinePart) -> Result<(), StoreError> {
        self.step(self.inner.put_lines(hour, part)).await
    }
    async fn heads(
        &self,
        site: &str,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, i64, Vec<u8>)>, StoreError> {
        self.step(self.inner.heads(site, first, last)).await
    }
    async fn block(
        &self,
        hour: &DeviceDay,
        id: i64,
        number: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.step(self.inner.block(hour, id, number)).await
    }
    async fn drop_hot_lines(&self, site: &str, hour: i64) -> Result<(), StoreError> {
        self.inner.drop_hot_lines(site, hour).await
    }
}

/// Nine parts of a day and rows that none holds yet, so that the next seal merges them.
async fn a_day_to_merge(a: &dyn Store, key: &SeriesKey, model: &mut Model) {
    let sealing = a.sealing().unwrap();
    for n in 0..10u64 {
        let rows: Vec<_> =
            (0..8).map(|m| reading(key, NOON_US + m * 10, id(n + 1, m as u64), 1.)).collect();
        write_readings(a, rows.clone()).await;
        model.add(&rows);
        if n < 9 {
            let owner = sealing.marks().owner();
            let mark = marks_at(sealing, &owner, &key.site).await.remove(0);
            seal_within(sealing, &owner, &mark, 1_000).await.unwrap();
        }
    }
    drop_sealed(sealing, [key].into_iter()).await;
}

/// A seal is broken off at each step; another instance takes over.
async fn whoever_dies_is_taken_over(a: &dyn Store, b: &dyn Store) {
    let (first, other) = (a.sealing().unwrap(), b.sealing().unwrap());
    for merges in [false, true] {
        let mut ended = [false; 2];
        let mut at = 0;
        while ended != [true; 2] {
            for (place, fails) in [Fails::Before(at), Fails::After(at)].into_iter().enumerate() {
                let key = key(&fresh("dies"), "d", "m");
                let mut model = Model::default();
                if merges {
                    a_day_to_merge(a, &key, &mut model).await;
                } else {
                    let row = |n| reading(&key, NOON_US + n, id(1, n as u64 + 1), n as f64);
                    let rows: Vec<_> = (0..30).map(row).collect();
                    write_readings(a, rows.clone()).await;
                    model.add(&rows);
                }
                let owner = first.marks().owner();
                let mark = marks_at(first, &owner, &key.site).await.remove(0);
                let stepping = Stepping::failing(first, fails);
                // Small, so that a day becomes several parts.
                let rows_max = if merges { 1_000 } else { 12 };
                let died = seal_within(&stepping, &owner, &mark, rows_max).await.is_err();
                ended[place] |= !died;
                for store in [a, b] {
                    model.check(store, &key, EVER).await;
                }
                let late = vec![reading(&key, NOON_US + 5, id(50, 1), 5.)];
                write_readings(a, late.clone()).await;
                model.add(&late);
                for mark in marks_at(other, &owner, &key.site).await {
                    seal_within(other, &owner, &mark, 1_000).await.unwrap();
                }
                for store in [a, b] {
                    model.check(store, &key, EVER).await;
                }
                drop_sealed(other, [&key].into_iter()).await;
                model.check(b, &key, EVER).await;
                assert_eq!(marks_at(other, &owner, &key.site).await, [], "{fails:?}");
                let seals = other.seals(&key.site, "d", i64::MIN, i64::MAX, Look::Sure).await;
                let marks = seals.unwrap().into_iter().map(|(_, seal)| seal.marks.len());
                assert_eq!(marks.sum::<usize>(), 0, "{fails:?}");
            }
            at += 1;
        }
        assert!(at > 8, "there are only {at} steps");
    }
}

/// What was confirmed, for a reader that looks all the time.
#[derive(Default)]
struct Confirmed {
    rows: Mutex<Vec<ReadingRow>>,
    writers: AtomicUsize,
    next: AtomicU64,
}

async fn both_write_and_seal_at_once(a: &dyn Store, b: &dyn Store) {
    for seed in 1..4u64 {
        let site = fresh("both");
        let keys = [key(&site, "d", "m"), key(&site, "d", "n")];
        let confirmed = Confirmed { writers: AtomicUsize::new(2), ..Confirmed::default() };
        let one = write_and_seal(a, &keys, &confirmed, seed * 10);
        let two = write_and_seal(b, &keys, &confirmed, seed * 10 + 1);
        let readers = join(look(a, &keys[0], &confirmed), look(b, &keys[1], &confirmed));
        join3(one, two, readers).await;
        let mut model = Model::default();
        model.add(&confirmed.rows.lock().unwrap());
        for store in [a, b] {
            let sealing = store.sealing().unwrap();
            super::sealing::seal_all(sealing, &site, 1_000).await;
        }
        drop_sealed(a.sealing().unwrap(), keys.iter()).await;
        let range = TimeRange { from_us: NOON_US - DAY_US, to_us: NOON_US + 2 * DAY_US };
        for store in [a, b] {
            for key in &keys {
                model.check(store, key, EVER).await;
                model.check(store, key, range).await;
            }
        }
    }
}

/// Writes rows of few stamps and seals their days again and again, with pauses at each step.
async fn write_and_seal(store: &dyn Store, keys: &[SeriesKey], confirmed: &Confirmed, seed: u64) {
    let sealing = store.sealing().unwrap();
    let stepping = Stepping::pausing(sealing, seed);
    let mut dice = Dice::new(seed);
    for _ in 0..25 {
        let mut rows = Vec::new();
        for _ in 0..1 + dice.below(10) {
            let ts_us = NOON_US + dice.below(50) + dice.below(2) * DAY_US;
            let seq = confirmed.next.fetch_add(1, Ordering::Relaxed) + 1;
            rows.extend(keys.iter().map(|key| reading(key, ts_us, id(seed, seq), seq as f64)));
        }
        let write = async {
            let batch = Batch { readings: rows.clone(), ..Batch::default() };
            store.write(&batch).await.unwrap();
            confirmed.rows.lock().unwrap().extend(rows);
        };
        let owner = sealing.marks().owner();
        let marks = marks_at(sealing, &owner, &keys[0].site).await;
        let seal = async {
            for mark in &marks {
                seal_within(&stepping, &owner, mark, 1_000).await.unwrap();
            }
        };
        join(write, seal).await;
    }
    confirmed.writers.fetch_sub(1, Ordering::Relaxed);
}

/// Reads as long as somebody writes: all that was confirmed before is there, and nothing twice.
async fn look(store: &dyn Store, key: &SeriesKey, confirmed: &Confirmed) {
    while confirmed.writers.load(Ordering::Relaxed) > 0 {
        let before: Vec<Position> = {
            let rows = confirmed.rows.lock().unwrap();
            let own = rows.iter().filter(|row| row.key == *key);
            let place = |row: &ReadingRow| Position {
                ts_us: row.ts_us,
                stream: row.id.stream.as_i64(),
                seq: row.id.seq.cast_signed(),
            };
            own.map(place).collect()
        };
        let points = store.readings(key, EVER, 1_000_000).await.unwrap();
        let found: BTreeSet<Position> = points.iter().map(Position::of).collect();
        assert_eq!(found.len(), points.len(), "nothing comes twice");
        assert!(points.is_sorted_by_key(Position::of));
        let lost: Vec<_> = before.iter().filter(|place| !found.contains(place)).collect();
        assert!(lost.is_empty(), "confirmed and not there: {lost:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn a_lost_name_makes_new_marks(a: &dyn Store) {
    let sealing = a.sealing().unwrap();
    let key = key(&fresh("name"), "d", "m");
    let batch =
        |n| Batch { readings: vec![reading(&key, NOON_US, id(1, n), 1.)], ..Batch::default() };
    a.write(&batch(1)).await.unwrap();
    let old = sealing.marks().owner();
    // Nothing was heard of this instance for so long that others may have taken over.
    sealing.marks().set_adopt_after(Duration::ZERO);
    let error = a.write(&batch(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Retry(_)), "{error:?}");
    sealing.marks().set_adopt_after(Duration::from_secs(3_600));
    a.write(&batch(2)).await.unwrap();
    let new = sealing.marks().owner();
    assert_ne!(old, new);
    let marks = marks_at(sealing, &new, &key.site).await;
    assert_eq!(marks.len(), 1, "the new name has marks of its own");
    assert_ne!(marks_at(sealing, &old, &key.site).await, marks);
    // Others took this instance for dead while it stood still: what it remembers is marked again.
    for mark in &marks {
        seal_within(sealing, &new, mark, 1_000).await.unwrap();
    }
    a.write(&batch(3)).await.unwrap();
    let seals = sealing.seals(&key.site, "d", i64::MIN, i64::MAX, Look::Sure).await.unwrap();
    for mark in &seals[0].1.marks {
        let (site, device) = (key.site.clone(), key.device.clone());
        let day = DeviceDay { site, device, span: seals[0].0 };
        sealing.remove_mark(&Mark { day, mark: *mark }).await.unwrap();
    }
    sealing.drop_owner(&new).await.unwrap();
    sealing.marks().beat(sealing).await.unwrap();
    assert_ne!(sealing.marks().owner(), new);
    assert_eq!(a.readings(&key, EVER, 9).await.unwrap().len(), 3, "all is to be seen again");
}

async fn owners_are_taken_over_when_they_are_gone(a: &dyn Store, b: &dyn Store) {
    let (first, other) = (a.sealing().unwrap(), b.sealing().unwrap());
    let key = key(&fresh("gone"), "d", "m");
    write_readings(a, vec![reading(&key, NOON_US, id(1, 1), 1.)]).await;
    first.marks().beat(first).await.unwrap();
    let owner = first.marks().owner();
    let due = async |keeper: &mut Keeper| {
        let due = keeper.due(other).await.unwrap();
        due.into_iter().filter(|due| due.mark.day.site == key.site).collect::<Vec<_>>()
    };
    let mut patient = Keeper::new(Duration::ZERO, Duration::from_secs(3_600));
    let mut hasty = Keeper::new(Duration::ZERO, Duration::ZERO);
    assert_eq!(due(&mut patient).await, [], "it may be alive");
    let taken = due(&mut hasty).await;
    assert_eq!(taken.len(), 1);
    // It lives after all (its machine slept), sees what others did, and goes on under another name.
    first.marks().beat(first).await.unwrap();
    assert_ne!(first.marks().owner(), owner);
    seal_within(other, &owner, &taken[0].mark, 1_000).await.unwrap();
    let owner = first.marks().owner();
    // As long as it beats it is not gone.
    let mut keeper = Keeper::new(Duration::ZERO, Duration::from_millis(400));
    for _ in 0..4 {
        assert_eq!(due(&mut keeper).await, []);
        tokio::time::sleep(Duration::from_millis(150)).await;
        first.marks().beat(first).await.unwrap();
    }
    first.marks().leave(first).await.unwrap();
    let found = due(&mut patient).await;
    assert_eq!(found.len(), 1, "it has left");
    assert_eq!(found[0].owner, owner);
    seal_within(other, &owner, &found[0].mark, 1_000).await.unwrap();
    let left = other.owners(Look::Sure).await.unwrap();
    assert!(left.contains(&(owner.clone(), LEFT)));
    // What the other cases left with this name is sealed too; then the name goes.
    for due in patient.due(other).await.unwrap() {
        if due.owner == owner {
            seal_within(other, &owner, &due.mark, 1_000).await.unwrap();
        }
    }
    patient.due(other).await.unwrap();
    let left = other.owners(Look::Sure).await.unwrap();
    assert!(left.iter().all(|(name, _)| *name != owner), "an owner without marks is forgotten");
    drop_sealed(other, [&key].into_iter()).await;
    assert_eq!(b.readings(&key, EVER, 9).await.unwrap().len(), 1);
}
