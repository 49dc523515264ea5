//! Sealed log lines: found as hot ones are, whatever happens in between.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use futures_util::TryStreamExt;
use weir_models::ident::Stream;
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::logs::{line, query, write};
use super::sealing::Dice;
use super::{EVER, NOON_US, fresh};
use crate::store::seal::close::seal_within;
use crate::store::seal::{DeviceDay, Look, Mark, Position, SealStore, hour_of};
use crate::store::sealed::{LinePart, encode_lines};
use crate::store::{LogFilter, LogQuery, LogRow, Store, StoreError, TimeRange};

pub(super) async fn all(store: &dyn Store) {
    let sealing = store.sealing().unwrap();
    sealed_lines_are_found_as_hot_ones(store, sealing).await;
    a_late_line_is_kept(store, sealing).await;
    sealing_lines_twice_is_harmless(store, sealing).await;
    many_parts_of_lines_become_one(store, sealing).await;
    pages_have_every_line_once(store, sealing).await;
    far_hours_can_be_sealed(store, sealing).await;
    blocks_that_are_not_there_or_damaged_are_errors(store, sealing).await;
}

/// What a store should hold of the lines of a site.
#[derive(Default)]
pub(super) struct Model(BTreeMap<(i64, i64, i64, String), LogRow>);

impl Model {
    pub(super) fn add(&mut self, rows: &[LogRow]) {
        for row in rows {
            let (stream, seq) = (row.stream.as_i64(), row.seq.cast_signed());
            self.0.insert((row.ts_us, stream, seq, row.host.clone()), row.clone());
        }
    }

    /// What the query asks for is what the model has, at once and chunk by chunk.
    pub(super) async fn check(&self, store: &dyn Store, query: &LogQuery) {
        let filter = LogFilter::of(query);
        let own = self.0.values().rev().filter(|row| filter.matches(row));
        let expected: Vec<LogRow> = own.take(query.limit).cloned().collect();
        let found = store.logs(query).await.unwrap();
        assert_eq!(found, expected, "{query:?}");
        let chunks: Vec<Vec<LogRow>> = store.find_logs(query).try_collect().await.unwrap();
        assert_eq!(chunks.concat(), expected, "{query:?}, as found");
    }
}

/// The marks of lines of a site that an owner has.
pub(super) async fn line_marks(store: &dyn SealStore, owner: &str, site: &str) -> Vec<Mark> {
    let marks = store.marks_of(owner).await.unwrap();
    marks.into_iter().filter(|mark| mark.day.lines() == Some(site)).collect()
}

/// Seals all lines that this instance marked at a site.
pub(super) async fn seal_lines(store: &dyn SealStore, site: &str, rows_max: usize) -> usize {
    let owner = store.marks().owner();
    let mut rows = 0;
    for mark in line_marks(store, &owner, site).await {
        rows += seal_within(store, &owner, &mark, rows_max).await.unwrap().rows;
    }
    rows
}

/// Deletes the hot lines of hours that are sealed, as time does.
pub(super) async fn drop_sealed_lines(store: &dyn SealStore, site: &str) {
    for (hour, seal) in store.seals("", site, i64::MIN, i64::MAX, Look::Sure).await.unwrap() {
        if seal.marks.is_empty() {
            store.drop_hot_lines(site, hour).await.unwrap();
        }
    }
}

async fn parts_of(store: &dyn SealStore, site: &str, ts_us: i64) -> usize {
    let hour = hour_of(ts_us);
    let seals = store.seals("", site, hour, hour, Look::Usual).await.unwrap();
    seals.iter().map(|(_, seal)| seal.parts.len()).sum()
}

async fn hot_of(store: &dyn SealStore, site: &str) -> Vec<LogRow> {
    store.newest_hot_lines(&query(site, 10), &AtomicUsize::new(0)).await.unwrap()
}

fn some_lines(dice: &mut Dice, site: &str, seq: &mut u64) -> Vec<LogRow> {
    let begin_us = NOON_US + dice.below(4) * HOUR_US;
    let words = ["Disk full", "link UP", "Übergabe 7", "login of root", "k=v", ""];
    let mut rows = Vec::new();
    for step in 0..dice.below(60) {
        let ts_us = match dice.below(8) {
            0 => begin_us + dice.below(3),
            1 => begin_us - dice.below(3) * HOUR_US,
            2 => NOON_US + DAY_US,
            _ => begin_us + step * 40 * SECOND_US,
        };
        *seq += 1;
        let host = ["a", "b", ""][dice.below(3) as usize];
        let message = format!(
            "{} {}",
            words[dice.below(words.len() as i64) as usize],
            words[dice.below(words.len() as i64) as usize]
        );
        let mut row = line(site, host, ts_us, *seq, &message);
        row.stream = Stream([1, 2, u64::MAX - 3][dice.below(3) as usize]);
        row.severity = (dice.below(4) > 0).then(|| dice.below(8) as u8);
        row.app = (dice.below(3) > 0).then(|| ["x", "y"][dice.below(2) as usize].into());
        row.procid = (dice.below(3) > 0).then(|| dice.below(90_000).to_string());
        row.template = (dice.below(2) > 0).then(|| format!("{:016x}", dice.below(3)));
        row.score = (dice.below(4) == 0).then(|| dice.below(40) as f32 / 16.);
        rows.push(row);
    }
    rows
}

fn some_query(dice: &mut Dice, site: &str) -> LogQuery {
    let from_us = NOON_US - 3 * HOUR_US + dice.below(30) * HOUR_US + dice.below(HOUR_US);
    let range = TimeRange { from_us, to_us: from_us + 1 + dice.below(DAY_US) };
    let words = ["disk", "FULL link", "übergabe", "7", "ink"];
    let mut some = |of: &[&str]| {
        let n = of.len() as i64;
        (dice.below(3) == 0).then(|| of[dice.below(n) as usize].to_owned())
    };
    LogQuery {
        host: some(&["a", "b", "", "nobody"]),
        app: some(&["x", "z"]),
        template: some(&["0000000000000001"]),
        words: some(&words),
        text: some(&["ink u", "full", "root  "]),
        severity_max: some(&["4"]).map(|_| 4),
        ..LogQuery::of_site(site, range, 1 + dice.below(80) as usize)
    }
}

async fn sealed_lines_are_found_as_hot_ones(store: &dyn Store, sealing: &dyn SealStore) {
    for seed in 0..4u64 {
        let site = fresh("blocks");
        let mut dice = Dice::new(seed + 71);
        let (mut model, mut seq) = (Model::default(), seed << 32);
        let mut written: Vec<LogRow> = Vec::new();
        for _ in 0..10 {
            let mut rows = some_lines(&mut dice, &site, &mut seq);
            // Some come again, as after a crash.
            let again = written.iter().filter(|_| dice.below(40) == 0);
            rows.extend(again.cloned().collect::<Vec<_>>());
            write(store, rows.clone()).await;
            model.add(&rows);
            written.extend(rows);
            if dice.below(2) == 0 {
                let rows_max = [15, 60, 1_000_000][dice.below(3) as usize];
                seal_lines(sealing, &site, rows_max).await;
            }
            if dice.below(2) == 0 {
                drop_sealed_lines(sealing, &site).await;
            }
            for _ in 0..4 {
                model.check(store, &some_query(&mut dice, &site)).await;
            }
        }
        seal_lines(sealing, &site, 1_000_000).await;
        drop_sealed_lines(sealing, &site).await;
        assert_eq!(hot_of(sealing, &site).await, [], "nothing is left for the hot table");
        model.check(store, &query(&site, 10_000)).await;
        for _ in 0..10 {
            model.check(store, &some_query(&mut dice, &site)).await;
        }
        let ids = store.event_ids().await.unwrap();
        for row in &written {
            let is_there = ids.iter().any(|id| (id.stream, id.seq) == (row.stream, row.seq));
            assert!(is_there, "{row:?} is in no block");
        }
    }
}

async fn a_late_line_is_kept(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("late");
    let mut model = Model::default();
    let rows: Vec<LogRow> =
        (0..100).map(|n| line(&site, "h", NOON_US + n, n as u64 + 1, "in time")).collect();
    write(store, rows.clone()).await;
    model.add(&rows);
    seal_lines(sealing, &site, 1_000_000).await;
    drop_sealed_lines(sealing, &site).await;
    let all = query(&site, 1_000);
    model.check(store, &all).await;
    // Late ones: before, between and behind what is sealed; some again, which must not be there twice.
    for (at, seq) in [(-5, 500), (50, 501), (10_000, 502), (50, 501), (7, 8)] {
        let message = if seq == 8 { "in time" } else { "late" };
        let rows = vec![line(&site, "h", NOON_US + at, seq, message)];
        write(store, rows.clone()).await;
        model.add(&rows);
        model.check(store, &all).await;
        seal_lines(sealing, &site, 1_000_000).await;
        model.check(store, &all).await;
        drop_sealed_lines(sealing, &site).await;
        model.check(store, &all).await;
    }
    assert_eq!(hot_of(sealing, &site).await, []);
    assert_eq!(parts_of(sealing, &site, NOON_US).await, 3, "what came again made none");
}

async fn sealing_lines_twice_is_harmless(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("twice");
    let rows: Vec<LogRow> =
        (0..50).map(|n| line(&site, "h", NOON_US + n, n as u64 + 1, "x")).collect();
    write(store, rows.clone()).await;
    let owner = sealing.marks().owner();
    let marks = line_marks(sealing, &owner, &site).await;
    assert_eq!(marks.len(), 1);
    let first = seal_within(sealing, &owner, &marks[0], 1_000).await.unwrap();
    assert_eq!((first.rows, first.parts), (50, 1));
    let again = seal_within(sealing, &owner, &marks[0], 1_000).await.unwrap();
    assert_eq!((again.rows, again.parts), (0, 0));
    // The same lines under a mark of somebody else, as after a take-over.
    write(store, rows.clone()).await;
    assert_eq!(seal_lines(sealing, &site, 1_000).await, 0);
    assert_eq!(parts_of(sealing, &site, NOON_US).await, 1);
    assert_eq!(line_marks(sealing, &owner, &site).await, []);
    // The part is named by what it holds.
    let hour = hour_of(NOON_US);
    let seals = sealing.seals("", &site, hour, hour, Look::Usual).await.unwrap();
    assert_eq!(seals[0].1.parts[0].id, encode_lines(&rows).unwrap().id);
}

async fn many_parts_of_lines_become_one(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("merge");
    let mut model = Model::default();
    for n in 0..10u64 {
        let rows = vec![line(&site, "h", NOON_US + 20 - n as i64, n + 1, "x")];
        write(store, rows.clone()).await;
        model.add(&rows);
        if n == 9 {
            drop_sealed_lines(sealing, &site).await;
        }
        seal_lines(sealing, &site, 1_000).await;
        let expected = if n == 9 { 1 } else { n as usize + 1 };
        assert_eq!(parts_of(sealing, &site, NOON_US).await, expected);
    }
    drop_sealed_lines(sealing, &site).await;
    model.check(store, &query(&site, 100)).await;
}

/// Page by page, over blocks and hot lines, with many lines of one stamp.
async fn pages_have_every_line_once(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("pages");
    let row = |n: i64| {
        line(&site, "h", NOON_US + n / 7 * 60 * SECOND_US, n as u64 + 1, &format!("page {n}"))
    };
    write(store, (0..400).map(row).collect()).await;
    seal_lines(sealing, &site, 1_000).await;
    drop_sealed_lines(sealing, &site).await;
    write(store, (400..500).map(row).collect()).await;
    let (mut before, mut seqs) = (None, Vec::new());
    loop {
        let page = LogQuery { before, words: Some("PAGE".into()), ..query(&site, 33) };
        let rows = store.logs(&page).await.unwrap();
        seqs.extend(rows.iter().map(|row| row.seq));
        let Some(last) = rows.last() else {
            break;
        };
        let (stream, seq) = (last.stream.as_i64(), last.seq.cast_signed());
        before = Some(Position { ts_us: last.ts_us, stream, seq });
    }
    assert_eq!(seqs, (1..=500).rev().collect::<Vec<u64>>());
}

/// Hours before 1970, in the year 2200 and at the ends of time.
async fn far_hours_can_be_sealed(store: &dyn Store, sealing: &dyn SealStore) {
    for ts_us in [i64::MIN, -40 * DAY_US, -1, 0, 230 * 365 * DAY_US, i64::MAX - 1] {
        let site = fresh("far");
        let mut model = Model::default();
        let rows = vec![line(&site, "h", ts_us, 1, "far away")];
        write(store, rows.clone()).await;
        model.add(&rows);
        assert_eq!(seal_lines(sealing, &site, 1_000).await, 1, "at {ts_us}");
        drop_sealed_lines(sealing, &site).await;
        assert_eq!(hot_of(sealing, &site).await, []);
        model.check(store, &LogQuery { words: Some("far".into()), ..query(&site, 9) }).await;
    }
}

async fn blocks_that_are_not_there_or_damaged_are_errors(
    store: &dyn Store,
    sealing: &dyn SealStore,
) {
    let site = fresh("broken");
    let rows: Vec<LogRow> =
        (0..50).map(|n| line(&site, "h", NOON_US + n, n as u64 + 1, "x")).collect();
    write(store, rows.clone()).await;
    assert_eq!(seal_lines(sealing, &site, 1_000).await, 50);
    let hour = DeviceDay::of_lines(&site, hour_of(NOON_US));
    let seals = sealing.seals("", &site, hour.span, hour.span, Look::Usual).await.unwrap();
    let listed = seals[0].1.parts.clone();
    let all = LogQuery { range: TimeRange { to_us: NOON_US + HOUR_US, ..EVER }, ..query(&site, 9) };

    let sound = encode_lines(&rows).unwrap();
    let broken_block = LinePart { blocks: vec![vec![1, 2, 3]], ..sound.clone() };
    let broken_heads = LinePart { heads: vec![1, 2, 3], ..sound.clone() };
    for broken in [broken_block, broken_heads] {
        sealing.put_lines(&hour, &broken).await.unwrap();
        let error = store.logs(&all).await.unwrap_err();
        let names_it = matches!(&error, StoreError::Fatal(why)
            if why.contains(&listed[0].id.to_string()) && why.contains(&site));
        assert!(names_it, "{error:?}");
    }
    sealing.drop_parts(&hour, &listed).await.unwrap();
    let not_here = |error: &StoreError| matches!(error, StoreError::Retry(why) if why.contains("not here yet") && why.contains(&site));
    let error = store.logs(&all).await.unwrap_err();
    assert!(not_here(&error), "{error:?}");
    // Nor is anything sealed beside it, nor the mark removed.
    write(store, vec![line(&site, "h", NOON_US, 1, "x")]).await;
    let owner = sealing.marks().owner();
    let mark = line_marks(sealing, &owner, &site).await.remove(0);
    let error = seal_within(sealing, &owner, &mark, 1_000).await.unwrap_err();
    assert!(not_here(&error), "{error:?}");
    assert_eq!(line_marks(sealing, &owner, &site).await, [mark]);
    // It ends with the part.
    sealing.put_lines(&hour, &sound).await.unwrap();
    assert_eq!(store.logs(&all).await.unwrap().len(), 9);
}
