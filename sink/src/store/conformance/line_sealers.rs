//! Sealers of lines: two instances that write and seal the same hours, and die at any step: between a block and
//! the list, between the list and the deletion of what was merged.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join3};
use weir_models::ident::Stream;
use weir_models::time::HOUR_US;

use super::log_blocks::{Model, drop_sealed_lines, line_marks, seal_lines};
use super::logs::{line, query, write};
use super::sealers::{Fails, Stepping};
use super::sealing::Dice;
use super::{NOON_US, fresh};
use crate::store::seal::Look;
use crate::store::seal::close::seal_within;
use crate::store::{LogRow, Store};

pub(super) async fn two(a: &dyn Store, b: &dyn Store) {
    whoever_dies_is_taken_over(a, b).await;
    both_write_and_seal_at_once(a, b).await;
}

/// Nine parts of an hour and a line that none holds yet, so that the next seal merges them.
async fn an_hour_to_merge(a: &dyn Store, site: &str, model: &mut Model) {
    let sealing = a.sealing().unwrap();
    for n in 0..10u64 {
        let row = |m: i64| {
            let mut row = line(site, "h", NOON_US + m * 10, n * 10 + m as u64 + 1, "to merge");
            row.stream = Stream(n + 1);
            row
        };
        let rows: Vec<LogRow> = (0..4).map(row).collect();
        write(a, rows.clone()).await;
        model.add(&rows);
        if n < 9 {
            seal_lines(sealing, site, 1_000).await;
        }
    }
    drop_sealed_lines(sealing, site).await;
}

/// A seal is broken off at each step; another instance takes over, and a late line comes.
async fn whoever_dies_is_taken_over(a: &dyn Store, b: &dyn Store) {
    let (first, other) = (a.sealing().unwrap(), b.sealing().unwrap());
    for merges in [false, true] {
        let (mut ended, mut at) = ([false; 2], 0);
        while ended != [true; 2] {
            for (place, fails) in [Fails::Before(at), Fails::After(at)].into_iter().enumerate() {
                let site = fresh("dies");
                let mut model = Model::default();
                if merges {
                    an_hour_to_merge(a, &site, &mut model).await;
                } else {
                    let row = |n: i64| line(&site, "h", NOON_US + n, n as u64 + 1, "a line");
                    let rows: Vec<LogRow> = (0..30).map(row).collect();
                    write(a, rows.clone()).await;
                    model.add(&rows);
                }
                let owner = first.marks().owner();
                let mark = line_marks(first, &owner, &site).await.remove(0);
                let stepping = Stepping::failing(first, fails);
                // Small, so that an hour becomes several parts.
                let rows_max = if merges { 1_000 } else { 12 };
                let died = seal_within(&stepping, &owner, &mark, rows_max).await.is_err();
                ended[place] |= !died;
                let all = query(&site, 1_000);
                for store in [a, b] {
                    model.check(store, &all).await;
                }
                let late = vec![line(&site, "h", NOON_US + 5, 5_000, "late")];
                write(a, late.clone()).await;
                model.add(&late);
                for mark in line_marks(other, &owner, &site).await {
                    seal_within(other, &owner, &mark, 1_000).await.unwrap();
                }
                for store in [a, b] {
                    model.check(store, &all).await;
                }
                drop_sealed_lines(other, &site).await;
                model.check(b, &all).await;
                assert_eq!(line_marks(other, &owner, &site).await, [], "{fails:?}");
                let seals = other.seals("", &site, i64::MIN, i64::MAX, Look::Sure).await.unwrap();
                let marks: usize = seals.iter().map(|(_, seal)| seal.marks.len()).sum();
                assert_eq!(marks, 0, "{fails:?}");
            }
            at += 1;
        }
        assert!(at > 8, "there are only {at} steps");
    }
}

/// What was confirmed, for a reader that looks all the time.
struct Confirmed {
    rows: Mutex<Vec<LogRow>>,
    writers: AtomicUsize,
    next: AtomicU64,
}

async fn both_write_and_seal_at_once(a: &dyn Store, b: &dyn Store) {
    for seed in 1..3u64 {
        let site = fresh("both");
        let confirmed = Confirmed {
            rows: Mutex::default(),
            writers: AtomicUsize::new(2),
            next: AtomicU64::default(),
        };
        let one = write_and_seal(a, &site, &confirmed, seed * 10);
        let two = write_and_seal(b, &site, &confirmed, seed * 10 + 1);
        let readers = join(look(a, &site, &confirmed), look(b, &site, &confirmed));
        join3(one, two, readers).await;
        let mut model = Model::default();
        model.add(&confirmed.rows.lock().unwrap());
        for store in [a, b] {
            seal_lines(store.sealing().unwrap(), &site, 1_000).await;
        }
        drop_sealed_lines(a.sealing().unwrap(), &site).await;
        for store in [a, b] {
            model.check(store, &query(&site, 100_000)).await;
        }
    }
}

/// Writes lines of few stamps and seals their hours again and again, with pauses at each step.
async fn write_and_seal(store: &dyn Store, site: &str, confirmed: &Confirmed, seed: u64) {
    let sealing = store.sealing().unwrap();
    let stepping = Stepping::pausing(sealing, seed);
    let mut dice = Dice::new(seed);
    for _ in 0..20 {
        let mut rows = Vec::new();
        for _ in 0..1 + dice.below(10) {
            let ts_us = NOON_US + dice.below(50) + dice.below(2) * HOUR_US;
            let seq = confirmed.next.fetch_add(1, Ordering::Relaxed) + 1;
            let mut row = line(site, "h", ts_us, seq, "both write");
            row.stream = Stream(seed);
            rows.push(row);
        }
        let written = async {
            write(store, rows.clone()).await;
            confirmed.rows.lock().unwrap().extend(rows);
        };
        let owner = sealing.marks().owner();
        let marks = line_marks(sealing, &owner, site).await;
        let seal = async {
            for mark in &marks {
                seal_within(&stepping, &owner, mark, 1_000).await.unwrap();
            }
        };
        join(written, seal).await;
    }
    confirmed.writers.fetch_sub(1, Ordering::Relaxed);
}

/// Searches as long as somebody writes: all that was confirmed before is found, and nothing twice.
async fn look(store: &dyn Store, site: &str, confirmed: &Confirmed) {
    while confirmed.writers.load(Ordering::Relaxed) > 0 {
        let before: Vec<u64> = confirmed.rows.lock().unwrap().iter().map(|row| row.seq).collect();
        let rows = store.logs(&query(site, 100_000)).await.unwrap();
        let mut found: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        found.sort_unstable();
        let all = found.len();
        found.dedup();
        assert_eq!(found.len(), all, "nothing comes twice");
        let lost: Vec<_> = before.iter().filter(|seq| found.binary_search(seq).is_err()).collect();
        assert!(lost.is_empty(), "confirmed and not there: {lost:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
