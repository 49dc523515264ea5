//! Sealing: what was sealed is read as what was not, whatever happens in between.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::{EVER, NOON_US, fresh, id, key, reading, write_readings};
use crate::store::seal::close::seal_within;
use crate::store::seal::{DeviceDay, Look, Mark, Position, SealStore, span_of, span_range};
use crate::store::sealed::{Episode, Part, Roll, rolls_of};
use crate::store::{Point, ReadingRow, Store, StoreError, TimeRange};

const MINUTE_US: i64 = 60 * SECOND_US;

pub(super) async fn all(store: &dyn Store) {
    let sealing = store.sealing().unwrap();
    sealed_rows_are_read_as_hot_ones(store, sealing).await;
    a_late_row_is_kept(store, sealing).await;
    sealing_twice_is_harmless(store, sealing).await;
    many_parts_become_one(store, sealing).await;
    far_days_can_be_sealed(store, sealing).await;
    a_part_that_is_not_there_is_an_error(store, sealing).await;
    a_damaged_part_is_an_error(store, sealing).await;
}

/// Random numbers that the seed repeats (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.unsigned_abs()).cast_signed()
    }
}

/// What a store should hold of some series.
#[derive(Default)]
pub(super) struct Model(BTreeMap<SeriesKey, BTreeMap<Position, Point>>);

impl Model {
    pub(super) fn add(&mut self, rows: &[ReadingRow]) {
        for row in rows {
            let point = Point {
                ts_us: row.ts_us,
                value: row.value,
                score: row.score,
                stream: row.id.stream,
                seq: row.id.seq,
            };
            let series = self.0.entry(row.key.clone()).or_default();
            series.insert(Position::of(&point), point);
        }
    }

    fn points(&self, key: &SeriesKey, range: TimeRange) -> Vec<Point> {
        let (from, to) = (Position::at(range.from_us), Position::at(range.to_us));
        let Some(points) = self.0.get(key).filter(|_| !range.is_empty()) else {
            return Vec::new();
        };
        points.range(from..to).map(|(_, point)| point.clone()).collect()
    }

    /// Everything that is to be had of a range is what the model has.
    pub(super) async fn check(&self, store: &dyn Store, key: &SeriesKey, range: TimeRange) {
        let expected = self.points(key, range);
        let found = store.readings(key, range, 1_000_000).await.unwrap();
        assert_eq!(found, expected, "{key} {range:?}");
        let some = expected.len() / 2 + 1;
        let found = store.readings(key, range, some).await.unwrap();
        assert_eq!(found, expected[..some.min(expected.len())], "{key} {range:?} up to {some}");
        let chunks: Vec<Vec<Point>> = store.scan(key, range).try_collect().await.unwrap();
        assert_eq!(chunks.concat(), expected, "scan of {key} {range:?}");
        if range == EVER {
            return;
        }
        for step_us in [MINUTE_US, HOUR_US, DAY_US] {
            let down = |us: i64| us.div_euclid(step_us) * step_us;
            let whole =
                TimeRange { from_us: down(range.from_us), to_us: down(range.to_us - 1) + step_us };
            let expected = rolls_of(&self.points(key, whole), step_us);
            let found = store.rollups(key, range, step_us).await.unwrap();
            same_rolls(&found.rolls, &expected);
        }
    }
}

/// The same but for the last bits of a sum, which depend on the order of adding.
#[track_caller]
fn same_rolls(found: &[Roll], expected: &[Roll]) {
    let without_sum = |rolls: &[Roll]| {
        let rolls = rolls.iter().cloned();
        rolls.map(|roll| Roll { sum: 0., ..roll }).collect::<Vec<_>>()
    };
    assert_eq!(without_sum(found), without_sum(expected));
    for (found, expected) in found.iter().zip(expected) {
        let off = (found.sum - expected.sum).abs();
        let largest = expected.min.abs().max(expected.max.abs());
        assert!(off <= 1e-9 * (1. + expected.n as f64 * largest), "{found:?}");
    }
}

/// The marks of an owner at a site.
pub(super) async fn marks_at(store: &dyn SealStore, owner: &str, site: &str) -> Vec<Mark> {
    let marks = store.marks_of(owner).await.unwrap();
    marks.into_iter().filter(|mark| mark.day.site == site).collect()
}

/// Seals all that this instance marked at a site.
pub(super) async fn seal_all(store: &dyn SealStore, site: &str, rows_max: usize) -> usize {
    let owner = store.marks().owner();
    let mut rows = 0;
    for mark in marks_at(store, &owner, site).await {
        rows += seal_within(store, &owner, &mark, rows_max).await.unwrap().rows;
    }
    rows
}

/// Deletes the hot rows of days that are sealed, as time does.
pub(super) async fn drop_sealed(store: &dyn SealStore, keys: impl Iterator<Item = &SeriesKey>) {
    for key in keys {
        let (site, device) = (&key.site, &key.device);
        let seals = store.seals(site, device, i64::MIN, i64::MAX, Look::Sure).await.unwrap();
        for (span, seal) in seals {
            if seal.marks.is_empty() {
                store.drop_hot(key, span_range(span)).await.unwrap();
            }
        }
    }
}

/// A batch of some metrics: mostly dense, with equal stamps, late rows and all kinds of values.
fn some_rows(dice: &mut Dice, keys: &[SeriesKey], seq: &mut u64) -> Vec<ReadingRow> {
    let mut rows = Vec::new();
    let day_us = NOON_US - DAY_US / 2 + dice.below(4) * DAY_US;
    let begin_us = day_us + dice.below(4) * 6 * HOUR_US;
    for step in 0..dice.below(60) {
        let ts_us = match dice.below(10) {
            0 => begin_us + dice.below(5) * MINUTE_US,
            1 => day_us + dice.below(3) * DAY_US / 2,
            _ => begin_us + step * 5 * SECOND_US,
        };
        *seq += 1;
        let event = id([1, 2, u64::MAX - 3][dice.below(3) as usize], *seq);
        for key in keys.iter().filter(|_| dice.below(5) > 0).collect::<Vec<_>>() {
            let value = [-0.0, 0.0, 1.5, -1e300, 20.25, f64::MIN_POSITIVE][dice.below(6) as usize];
            let mut row = reading(key, ts_us, event, value + dice.below(7) as f64 / 4.);
            row.score = (dice.below(3) == 0).then(|| dice.below(40) as f32 / 16.);
            rows.push(row);
        }
    }
    rows
}

async fn sealed_rows_are_read_as_hot_ones(store: &dyn Store, sealing: &dyn SealStore) {
    for seed in 0..6u64 {
        let site = fresh("sealed");
        let mut dice = Dice::new(seed + 1);
        let keys: Vec<SeriesKey> = ["a", "b", "c"].map(|metric| key(&site, "d", metric)).into();
        let (mut model, mut seq) = (Model::default(), seed << 32);
        let mut written: Vec<ReadingRow> = Vec::new();
        for _ in 0..12 {
            let mut rows = some_rows(&mut dice, &keys, &mut seq);
            // Some come again, as after a crash.
            rows.extend(
                written.iter().filter(|_| dice.below(50) == 0).cloned().collect::<Vec<_>>(),
            );
            write_readings(store, rows.clone()).await;
            model.add(&rows);
            written.extend(rows);
            if dice.below(2) == 0 {
                let rows_max = [40, 300, 1_000_000][dice.below(3) as usize];
                seal_all(sealing, &site, rows_max).await;
            }
            if dice.below(2) == 0 {
                drop_sealed(sealing, keys.iter()).await;
            }
            for key in &keys {
                let from_us = NOON_US - DAY_US + dice.below(5 * 24) * HOUR_US + dice.below(HOUR_US);
                let to_us = from_us + 1 + dice.below(3 * DAY_US);
                model.check(store, key, TimeRange { from_us, to_us }).await;
            }
        }
        seal_all(sealing, &site, 1_000_000).await;
        drop_sealed(sealing, keys.iter()).await;
        for key in &keys {
            model.check(store, key, EVER).await;
            let all = TimeRange { from_us: NOON_US - 3 * DAY_US, to_us: NOON_US + 9 * DAY_US };
            model.check(store, key, all).await;
            assert_eq!(hot_of(sealing, key).await, [], "nothing is left for the hot table");
        }
        let ids = store.event_ids().await.unwrap();
        for row in &written {
            assert!(ids.binary_search(&row.id).is_ok(), "{:?} is in no part", row.id);
        }
    }
}

pub(super) async fn hot_of(store: &dyn SealStore, key: &SeriesKey) -> Vec<Point> {
    store.hot(key, Position::at(i64::MIN), i64::MAX, 10, Look::Sure).await.unwrap()
}

fn day_of(key: &SeriesKey, ts_us: i64) -> DeviceDay {
    DeviceDay { site: key.site.clone(), device: key.device.clone(), span: span_of(ts_us) }
}

async fn parts_at(store: &dyn SealStore, day: &DeviceDay) -> usize {
    let seals = store.seals(&day.site, &day.device, day.span, day.span, Look::Usual).await.unwrap();
    seals.iter().map(|(_, seal)| seal.parts.len()).sum()
}

async fn a_late_row_is_kept(store: &dyn Store, sealing: &dyn SealStore) {
    let key = key(&fresh("late"), "d", "m");
    let mut model = Model::default();
    let rows: Vec<_> =
        (0..100).map(|n| reading(&key, NOON_US + n, id(1, n as u64 + 1), n as f64)).collect();
    write_readings(store, rows.clone()).await;
    model.add(&rows);
    seal_all(sealing, &key.site, 1_000_000).await;
    drop_sealed(sealing, [&key].into_iter()).await;
    model.check(store, &key, EVER).await;
    // Late ones: before, between and behind what is sealed; one again, which must not be there twice.
    for (at, seq) in [(-5, 500), (50, 501), (10_000, 502), (50, 501), (7, 8)] {
        let value = if seq == 8 { 7. } else { seq as f64 };
        let rows = vec![reading(&key, NOON_US + at, id(1, seq), value)];
        write_readings(store, rows.clone()).await;
        model.add(&rows);
        model.check(store, &key, EVER).await;
        seal_all(sealing, &key.site, 1_000_000).await;
        model.check(store, &key, EVER).await;
        drop_sealed(sealing, [&key].into_iter()).await;
        model.check(store, &key, EVER).await;
    }
    assert_eq!(hot_of(sealing, &key).await, []);
    assert_eq!(parts_at(sealing, &day_of(&key, NOON_US)).await, 4, "what came again made none");
}

async fn sealing_twice_is_harmless(store: &dyn Store, sealing: &dyn SealStore) {
    let key = key(&fresh("twice"), "d", "m");
    let mut model = Model::default();
    let rows: Vec<_> =
        (0..50).map(|n| reading(&key, NOON_US + n, id(1, n as u64 + 1), n as f64)).collect();
    write_readings(store, rows.clone()).await;
    model.add(&rows);
    let owner = sealing.marks().owner();
    let marks = marks_at(sealing, &owner, &key.site).await;
    assert_eq!(marks.len(), 1);
    let first = seal_within(sealing, &owner, &marks[0], 1_000).await.unwrap();
    assert_eq!((first.rows, first.parts), (50, 1));
    let again = seal_within(sealing, &owner, &marks[0], 1_000).await.unwrap();
    assert_eq!((again.rows, again.parts), (0, 0));
    // The same rows under a mark of somebody else, as after a take-over.
    write_readings(store, rows).await;
    assert_eq!(seal_all(sealing, &key.site, 1_000).await, 0);
    assert_eq!(parts_at(sealing, &day_of(&key, NOON_US)).await, 1);
    assert_eq!(marks_at(sealing, &owner, &key.site).await, []);
    model.check(store, &key, EVER).await;
}

async fn many_parts_become_one(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("merge");
    let keys = [key(&site, "d", "a"), key(&site, "d", "b")];
    let mut model = Model::default();
    for n in 0..9i64 {
        // Metric `b` has its rows in some parts only.
        let count = if n % 3 == 0 { 2 } else { 1 };
        let of = |key| reading(key, NOON_US + 20 - n, id(1, n as u64 + 1), n as f64);
        let rows: Vec<_> = keys[..count].iter().map(of).collect();
        write_readings(store, rows.clone()).await;
        model.add(&rows);
        seal_all(sealing, &site, 1_000).await;
        let expected = n as usize + 1;
        assert_eq!(parts_at(sealing, &day_of(&keys[0], NOON_US)).await, expected);
    }
    drop_sealed(sealing, keys.iter()).await;
    let rows = vec![reading(&keys[0], NOON_US + 50, id(1, 100), 1.)];
    write_readings(store, rows.clone()).await;
    model.add(&rows);
    seal_all(sealing, &site, 1_000).await;
    assert_eq!(parts_at(sealing, &day_of(&keys[0], NOON_US)).await, 1);
    drop_sealed(sealing, keys.iter()).await;
    let range = TimeRange { from_us: NOON_US - HOUR_US, to_us: NOON_US + HOUR_US };
    for key in &keys {
        model.check(store, key, EVER).await;
        model.check(store, key, range).await;
    }
}

/// Days before 1970, in the year 2200 and at the ends of time.
async fn far_days_can_be_sealed(store: &dyn Store, sealing: &dyn SealStore) {
    let stamps = [i64::MIN, -40 * DAY_US, -1, 0, 230 * 365 * DAY_US, i64::MAX - 1];
    let site = fresh("far");
    for (ts_us, n) in stamps.into_iter().zip(0u64..) {
        let key = key(&site, &format!("d{n}"), "m");
        let mut model = Model::default();
        let rows = vec![reading(&key, ts_us, id(3, n + 1), 2.5)];
        write_readings(store, rows.clone()).await;
        model.add(&rows);
        assert_eq!(seal_all(sealing, &site, 1_000).await, 1, "at {ts_us}");
        drop_sealed(sealing, [&key].into_iter()).await;
        model.check(store, &key, EVER).await;
        assert_eq!(hot_of(sealing, &key).await, []);
    }
}

async fn sealed_series(store: &dyn Store, sealing: &dyn SealStore) -> SeriesKey {
    let key = key(&fresh("broken"), "d", "m");
    let rows: Vec<_> =
        (0..50).map(|n| reading(&key, NOON_US + n, id(1, n as u64 + 1), n as f64)).collect();
    write_readings(store, rows).await;
    assert_eq!(seal_all(sealing, &key.site, 1_000).await, 50);
    key
}

const AROUND: TimeRange = TimeRange { from_us: NOON_US - HOUR_US, to_us: NOON_US + HOUR_US };

async fn all_fail(store: &dyn Store, key: &SeriesKey, is_right: impl Fn(&StoreError) -> bool) {
    let read = store.readings(key, AROUND, 10).await.unwrap_err();
    assert!(is_right(&read), "{read:?}");
    let scan = store.scan(key, AROUND).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(is_right(&scan), "{scan:?}");
}

async fn a_part_that_is_not_there_is_an_error(store: &dyn Store, sealing: &dyn SealStore) {
    let key = sealed_series(store, sealing).await;
    let day = day_of(&key, NOON_US);
    let seals = sealing.seals(&day.site, &day.device, day.span, day.span, Look::Usual).await;
    let seal = seals.unwrap().remove(0).1;
    sealing.drop_parts(&day, &seal.parts).await.unwrap();
    let not_here = |error: &StoreError| {
        matches!(error, StoreError::Retry(why) if why.contains("not here yet")
            && why.contains(&key.site))
    };
    all_fail(store, &key, not_here).await;
    let rolls = store.rollups(&key, AROUND, MINUTE_US).await.unwrap_err();
    assert!(not_here(&rolls), "{rolls:?}");
    // Nor is anything sealed beside it, nor the mark removed.
    write_readings(store, vec![reading(&key, NOON_US, id(1, 1), 0.)]).await;
    let owner = sealing.marks().owner();
    let mark = marks_at(sealing, &owner, &key.site).await.remove(0);
    let error = seal_within(sealing, &owner, &mark, 1_000).await.unwrap_err();
    assert!(not_here(&error), "{error:?}");
    assert_eq!(marks_at(sealing, &owner, &key.site).await, [mark]);
    // It ends with the part.
    let seals = sealing.seals(&day.site, &day.device, day.span, day.span, Look::Usual).await;
    assert_eq!(seals.unwrap()[0].1.parts, seal.parts);
}

async fn a_damaged_part_is_an_error(store: &dyn Store, sealing: &dyn SealStore) {
    let key = sealed_series(store, sealing).await;
    let day = day_of(&key, NOON_US);
    let seals = sealing.seals(&day.site, &day.device, day.span, day.span, Look::Usual).await;
    let listed = seals.unwrap().remove(0).1.parts.remove(0);
    let broken = Part {
        id: listed.id,
        t0_us: listed.t0_us,
        t1_us: listed.t1_us,
        events: 50,
        stamps: vec![1, 2, 3],
        episodes: vec![Episode {
            metric: "m".into(),
            t0_us: listed.t0_us,
            t1_us: listed.t1_us,
            n: 50,
            min: 0.,
            max: 0.,
            sum: 0.,
            body: vec![1],
            minutes: vec![1],
            hours: vec![1],
        }],
    };
    sealing.put_part(&day, &broken).await.unwrap();
    let names_it = |error: &StoreError| {
        matches!(error, StoreError::Fatal(why) if why.contains(&listed.id.to_string())
            && why.contains(&key.site))
    };
    all_fail(store, &key, names_it).await;
    let rolls = store.rollups(&key, AROUND, MINUTE_US).await.unwrap_err();
    assert!(names_it(&rolls), "{rolls:?}");
}
