//! Widths: what writes so many rows that its partitions are divided more finely is read and sealed as before. A store with
//! a low bound divides in these cases all the time; one without partitions has nothing to divide.

use weir_models::ident::{SeriesKey, Stream};
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::log_blocks::{Model as Lines, drop_sealed_lines, seal_lines};
use super::logs::{line, query, write};
use super::sealing::{Model, drop_sealed, seal_all};
use super::{EVER, NOON_US, fresh, id, key, reading, write_readings};
use crate::store::seal::SealStore;
use crate::store::{LogQuery, LogRow, ReadingRow, Store, TimeRange};

const MINUTE_US: i64 = 60 * SECOND_US;
/// Rows of each series in a batch.
const ROWS: i64 = 50;

pub(super) async fn all(store: &dyn Store) {
    let sealing = store.sealing().unwrap();
    a_hot_series_is_read_whole(store, sealing).await;
    what_comes_again_is_there_once(store, sealing).await;
    a_hot_host_is_found_whole(store, sealing).await;
}

/// Two instances write one series and one host in turn.
pub(super) async fn two(a: &dyn Store, b: &dyn Store) {
    let site = fresh("two-hot");
    let key = key(&site, "d", "m");
    let (mut model, mut lines) = (Model::default(), Lines::default());
    for step in 0..24 {
        // Each looks away for some steps, and has been told nothing of what the other one has found meanwhile.
        let store = if step / 3 % 2 == 0 { a } else { b };
        let rows = minutes(std::slice::from_ref(&key), step, NOON_US + step * HOUR_US);
        write_readings(store, rows.clone()).await;
        model.add(&rows);
        let rows = line_minutes(&site, step, NOON_US + step * HOUR_US / 4);
        write(store, rows.clone()).await;
        lines.add(&rows);
        for store in [a, b] {
            model.check(store, &key, EVER).await;
            lines.check(store, &query(&site, 10_000)).await;
        }
        if step % 7 == 6 {
            // What one has marked the other one has written to as well.
            seal_all(a.sealing().unwrap(), &site, 1_000_000).await;
            seal_lines(b.sealing().unwrap(), &site, 1_000_000).await;
            model.check(b, &key, EVER).await;
            lines.check(a, &query(&site, 10_000)).await;
        }
    }
    for store in [a, b] {
        seal_all(store.sealing().unwrap(), &site, 1_000_000).await;
        seal_lines(store.sealing().unwrap(), &site, 1_000_000).await;
    }
    drop_sealed(a.sealing().unwrap(), [&key].into_iter()).await;
    drop_sealed_lines(b.sealing().unwrap(), &site).await;
    model.check(b, &key, EVER).await;
    lines.check(a, &query(&site, 10_000)).await;
}

/// A row a minute of each series; every fifth batch has some of the day before, too.
fn minutes(keys: &[SeriesKey], step: i64, begin_us: i64) -> Vec<ReadingRow> {
    let mut rows = Vec::new();
    for n in 0..ROWS {
        let late_us = if step % 5 == 4 && n % 4 == 0 { DAY_US } else { 0 };
        let ts_us = begin_us + n * MINUTE_US - late_us;
        let event = id(7, (step * ROWS + n) as u64 + 1);
        rows.extend(keys.iter().map(|key| reading(key, ts_us, event, (step * n) as f64)));
    }
    rows
}

fn line_minutes(site: &str, step: i64, begin_us: i64) -> Vec<LogRow> {
    let row = |n: i64| {
        let late_us = if step % 5 == 4 && n % 4 == 0 { 3 * HOUR_US } else { 0 };
        let ts_us = begin_us + n * 15 * SECOND_US - late_us;
        let mut row = line(site, "h", ts_us, (step * ROWS + n) as u64 + 1, "link up of port 7");
        row.stream = Stream(9);
        row
    };
    (0..ROWS).map(row).collect()
}

async fn a_hot_series_is_read_whole(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("hot");
    let keys = ["a", "b"].map(|metric| key(&site, "d", metric));
    let mut model = Model::default();
    for step in 0..19 {
        let begin_us = NOON_US + step * 3 * HOUR_US;
        let rows = minutes(&keys, step, begin_us);
        write_readings(store, rows.clone()).await;
        model.add(&rows);
        if step % 6 == 5 {
            seal_all(sealing, &site, 1_000_000).await;
        }
        if step % 9 == 8 {
            drop_sealed(sealing, keys.iter()).await;
        }
        for key in &keys {
            model.check(store, key, EVER).await;
            let from_us = begin_us - 2 * HOUR_US;
            let to_us = begin_us + 25 * MINUTE_US + step;
            model.check(store, key, TimeRange { from_us, to_us }).await;
        }
    }
    assert!(seal_all(sealing, &site, 200).await > 0);
    drop_sealed(sealing, keys.iter()).await;
    for key in &keys {
        model.check(store, key, EVER).await;
        assert_eq!(super::sealing::hot_of(sealing, key).await, [], "all of it was sealed");
    }
    let ids = store.event_ids().await.unwrap();
    for seq in 1..=19 * ROWS as u64 {
        assert!(ids.binary_search(&id(7, seq)).is_ok(), "{seq}");
    }
}

async fn what_comes_again_is_there_once(store: &dyn Store, sealing: &dyn SealStore) {
    let key = key(&fresh("again"), "d", "m");
    let mut model = Model::default();
    let mut lines = Lines::default();
    // The second time round it is known that there are many, and they have another value and score: what was written last
    // counts, and is what is sealed.
    for round in 0..3 {
        let again = f64::from(round.min(1));
        for step in 0..4 {
            let begin_us = NOON_US + step * 40 * MINUTE_US;
            let mut rows = minutes(std::slice::from_ref(&key), step, begin_us);
            rows.iter_mut().for_each(|row| row.value += again);
            let mut again_lines = line_minutes(&key.site, step, begin_us);
            again_lines.iter_mut().for_each(|row| row.score = Some(again as f32));
            write(store, again_lines.clone()).await;
            lines.add(&again_lines);
            write_readings(store, rows.clone()).await;
            model.add(&rows);
        }
        model.check(store, &key, EVER).await;
        lines.check(store, &query(&key.site, 10_000)).await;
        if round == 1 {
            let new = seal_all(sealing, &key.site, 1_000_000).await;
            assert_eq!(new, 4 * ROWS as usize);
            seal_lines(sealing, &key.site, 1_000_000).await;
            drop_sealed_lines(sealing, &key.site).await;
            lines.check(store, &query(&key.site, 10_000)).await;
        }
    }
    assert_eq!(seal_all(sealing, &key.site, 1_000_000).await, 0, "nothing is new");
}

async fn a_hot_host_is_found_whole(store: &dyn Store, sealing: &dyn SealStore) {
    let site = fresh("hot-host");
    let mut model = Lines::default();
    for step in 0..15 {
        let begin_us = NOON_US + step * 20 * MINUTE_US;
        let rows = line_minutes(&site, step, begin_us);
        write(store, rows.clone()).await;
        model.add(&rows);
        if step % 6 == 5 {
            seal_lines(sealing, &site, 1_000_000).await;
            drop_sealed_lines(sealing, &site).await;
        }
        let of_host = LogQuery { host: Some("h".into()), ..query(&site, 10_000) };
        let some = LogQuery { words: Some("port 7".into()), ..query(&site, 70) };
        let range = TimeRange { from_us: begin_us - HOUR_US, to_us: begin_us + 3 * MINUTE_US };
        let few = LogQuery { range, ..query(&site, 25) };
        for query in [query(&site, 10_000), of_host, some, few] {
            model.check(store, &query).await;
        }
    }
    assert!(seal_lines(sealing, &site, 100).await > 0);
    drop_sealed_lines(sealing, &site).await;
    model.check(store, &query(&site, 10_000)).await;
}
