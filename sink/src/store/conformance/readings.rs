//! Values, newest values, series.

use weir_models::ident::SeriesKey;
use weir_models::time::{DAY_US, now_us};

use super::{EVER, NOON_US, fresh, id, key, reading, write_readings};
use crate::store::{Batch, Latest, Store, TimeRange};

pub(super) async fn all(store: &dyn Store) {
    twice_is_once(store).await;
    equal_stamps_both_stay(store).await;
    ranges_and_limits(store).await;
    any_stamp(store).await;
    any_name(store).await;
    latest_never_goes_back(store).await;
    a_wrong_clock_does_not_pin_the_latest(store).await;
    units_stay_known(store).await;
    series_and_their_extents(store).await;
    a_large_batch(store).await;
}

async fn values(store: &dyn Store, key: &SeriesKey, range: TimeRange, limit: usize) -> Vec<f64> {
    let points = store.readings(key, range, limit).await.unwrap();
    assert!(
        points.is_sorted_by_key(|p| (p.ts_us, p.stream.as_i64(), p.seq)),
        "values come in the order of time: {points:?}"
    );
    points.into_iter().map(|point| point.value).collect()
}

async fn the_latest(store: &dyn Store, key: &SeriesKey) -> Latest {
    let all = store.latest(&key.site).await.unwrap();
    all.into_iter().find(|latest| latest.key == *key).unwrap()
}

async fn twice_is_once(store: &dyn Store) {
    let key = key(&fresh("twice"), "d", "m");
    let mut rows =
        vec![reading(&key, NOON_US, id(1, 1), 1.25), reading(&key, NOON_US + 1, id(1, 2), -0.1)];
    rows[0].score = Some(3.5);
    for _ in 0..2 {
        write_readings(store, rows.clone()).await;
        let points = store.readings(&key, EVER, 10).await.unwrap();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].value, points[0].score), (1.25, Some(3.5)));
        assert_eq!((points[1].value, points[1].score), (-0.1, None));
        assert_eq!((points[0].stream, points[0].seq), (id(1, 1).stream, 1));
    }
}

async fn equal_stamps_both_stay(store: &dyn Store) {
    let key = key(&fresh("equal"), "d", "m");
    let large = u64::MAX - 5;
    let rows = [(7, 1), (7, 2), (large, 1)];
    for (at, (stream, seq)) in rows.into_iter().enumerate() {
        write_readings(store, vec![reading(&key, NOON_US, id(stream, seq), at as f64)]).await;
    }
    let points = store.readings(&key, EVER, 10).await.unwrap();
    assert_eq!(points.len(), 3, "two readings of one stamp both stay: {points:?}");
    assert!(points.iter().any(|p| p.stream.0 == large && p.value == 2.0));
    let ids = store.event_ids().await.unwrap();
    assert!(ids.is_sorted(), "event ids come in order");
    for (stream, seq) in rows {
        assert_eq!(ids.iter().filter(|&&found| found == id(stream, seq)).count(), 1);
    }
    let latest = the_latest(store, &key).await;
    assert_eq!(latest.value, 2.0, "of equal stamps the larger event id is the latest");
    write_readings(store, vec![reading(&key, NOON_US, id(7, 1), 0.0)]).await;
    assert_eq!(the_latest(store, &key).await.value, 2.0, "in either order");
}

async fn ranges_and_limits(store: &dyn Store) {
    let key = key(&fresh("ranges"), "d", "m");
    let midnight_us = NOON_US + DAY_US / 2;
    let stamps = [-DAY_US, -1, 0, 1, DAY_US - 1, DAY_US, 3 * DAY_US];
    let rows = stamps.iter().zip(1u64..);
    let rows = rows.map(|(us, seq)| reading(&key, midnight_us + us, id(2, seq), seq as f64));
    write_readings(store, rows.collect()).await;
    let range = |from_us: i64, to_us: i64| TimeRange {
        from_us: midnight_us.saturating_add(from_us),
        to_us: midnight_us.saturating_add(to_us),
    };
    assert_eq!(values(store, &key, EVER, 100).await, [1., 2., 3., 4., 5., 6., 7.]);
    assert_eq!(values(store, &key, range(-1, 1), 100).await, [2., 3.]);
    assert_eq!(values(store, &key, range(0, DAY_US), 100).await, [3., 4., 5.]);
    assert_eq!(values(store, &key, range(0, DAY_US + 1), 100).await, [3., 4., 5., 6.]);
    assert_eq!(values(store, &key, range(2, DAY_US - 1), 100).await, [0.; 0]);
    assert_eq!(values(store, &key, range(5, 5), 100).await, [0.; 0]);
    assert_eq!(values(store, &key, range(9, 5), 100).await, [0.; 0]);
    assert_eq!(values(store, &key, EVER, 0).await, [0.; 0]);
    assert_eq!(values(store, &key, EVER, 3).await, [1., 2., 3.]);
    assert_eq!(values(store, &key, range(-1, i64::MAX), 4).await, [2., 3., 4., 5.]);
    let other = super::key(&key.site, "d", "other");
    assert_eq!(values(store, &other, EVER, 9).await, [0.; 0]);
}

async fn any_stamp(store: &dyn Store) {
    let key = key(&fresh("stamps"), "d", "m");
    let year_2200_us = 230 * 365 * DAY_US;
    let stamps = [-40 * DAY_US, -1, 0, year_2200_us];
    let rows = stamps.iter().zip(1u64..);
    let rows = rows.map(|(&us, seq)| reading(&key, us, id(3, seq), seq as f64));
    write_readings(store, rows.collect()).await;
    for (us, value) in stamps.iter().zip([1., 2., 3., 4.]) {
        let range = TimeRange { from_us: *us, to_us: us + 1 };
        assert_eq!(values(store, &key, range, 9).await, [value], "at {us}");
    }
    let early = TimeRange { to_us: DAY_US, ..EVER };
    assert_eq!(values(store, &key, early, 9).await, [1., 2., 3.]);
    let far = super::key(&key.site, "d", "far");
    write_readings(
        store,
        vec![reading(&far, i64::MAX - 1, id(3, 9), 5.), reading(&far, i64::MAX - 2, id(3, 8), 6.)],
    )
    .await;
    assert_eq!(values(store, &far, EVER, 9).await, [6., 5.]);
    let old = super::key(&key.site, "d", "old");
    write_readings(store, vec![reading(&old, i64::MIN, id(3, 10), 7.)]).await;
    assert_eq!(values(store, &old, EVER, 9).await, [7.]);
    assert_eq!(the_latest(store, &old).await.ts_us, i64::MIN);
}

async fn any_name(store: &dyn Store) {
    let site = fresh("Käserei 東京 '\"; --");
    for (device, metric) in [("", ""), ("", "m"), ("d", ""), ("Ω/📈", "Temp °C"), ("a\nb", "\0")]
    {
        let key = key(&site, device, metric);
        write_readings(store, vec![reading(&key, NOON_US, id(4, 1), 1.)]).await;
        assert_eq!(values(store, &key, EVER, 9).await, [1.], "{key:?}");
        assert_eq!(the_latest(store, &key).await.value, 1.);
    }
    let series = store.series(&site, None).await.unwrap();
    assert_eq!(series.len(), 5);
    assert!(series.is_sorted_by(|a, b| a.key < b.key), "{series:?}");
    let of_none = store.series(&site, Some("")).await.unwrap();
    assert_eq!(of_none.len(), 2, "an empty name is a name: {of_none:?}");
    assert!(store.sites().await.unwrap().contains(&site));
    let nameless = key("", &fresh("d"), "m");
    write_readings(store, vec![reading(&nameless, NOON_US, id(4, 2), 2.)]).await;
    assert_eq!(values(store, &nameless, EVER, 9).await, [2.]);
    assert!(store.sites().await.unwrap().contains(&String::new()));
}

async fn latest_never_goes_back(store: &dyn Store) {
    let key = key(&fresh("latest"), "d", "m");
    for (us, seq, expected) in [(10, 5, 5.), (9, 6, 5.), (10, 4, 5.), (11, 1, 1.), (-5, 9, 1.)] {
        let rows = vec![reading(&key, NOON_US + us, id(5, seq), seq as f64)];
        write_readings(store, rows).await;
        let latest = the_latest(store, &key).await;
        assert_eq!(latest.value, expected, "after {us}, {seq}");
    }
    let batch = vec![
        reading(&key, NOON_US + 30, id(5, 20), 20.),
        reading(&key, NOON_US + 40, id(5, 21), 21.),
        reading(&key, NOON_US + 20, id(5, 22), 22.),
    ];
    write_readings(store, batch).await;
    let latest = the_latest(store, &key).await;
    assert_eq!((latest.value, latest.ts_us), (21., NOON_US + 40));
    assert_eq!(store.latest(&key.site).await.unwrap().len(), 1);
    let before_1970 = super::key(&key.site, "d", "old");
    for (us, expected) in [(-20, 1.), (-10, 2.), (-30, 2.)] {
        let value = if us == -20 {
            1.
        } else if us == -10 {
            2.
        } else {
            3.
        };
        write_readings(store, vec![reading(&before_1970, us, id(5, 1), value)]).await;
        assert_eq!(the_latest(store, &before_1970).await.value, expected);
    }
}

async fn a_wrong_clock_does_not_pin_the_latest(store: &dyn Store) {
    let key = key(&fresh("clock"), "d", "m");
    let future_us = now_us() + 100 * 365 * DAY_US;
    write_readings(store, vec![reading(&key, future_us, id(6, 1), 1.)]).await;
    let latest = the_latest(store, &key).await;
    assert_eq!((latest.value, latest.ts_us), (1., future_us));
    write_readings(store, vec![reading(&key, NOON_US, id(6, 2), 2.)]).await;
    assert_eq!(the_latest(store, &key).await.value, 1., "an old one changes nothing");
    // A little ahead of the clock, so that it is surely after the moment of the wrong one.
    let soon_us = now_us() + 60_000_000;
    write_readings(store, vec![reading(&key, soon_us, id(6, 3), 3.)]).await;
    assert_eq!(the_latest(store, &key).await.value, 3., "an honest clock takes over");
}

async fn units_stay_known(store: &dyn Store) {
    let key = key(&fresh("units"), "d", "m");
    let mut row = reading(&key, NOON_US, id(7, 1), 1.);
    row.unit = Some("°C".into());
    row.score = Some(0.5);
    write_readings(store, vec![row]).await;
    let latest = the_latest(store, &key).await;
    assert_eq!((latest.unit.as_deref(), latest.score), (Some("°C"), Some(0.5)));
    write_readings(store, vec![reading(&key, NOON_US + 1, id(7, 2), 2.)]).await;
    let latest = the_latest(store, &key).await;
    assert_eq!((latest.unit.as_deref(), latest.score), (Some("°C"), None));
    let mut row = reading(&key, NOON_US + 2, id(7, 3), 3.);
    row.unit = Some("K".into());
    write_readings(store, vec![row]).await;
    let series = store.series(&key.site, None).await.unwrap();
    assert_eq!(series[0].unit.as_deref(), Some("K"));
}

async fn series_and_their_extents(store: &dyn Store) {
    let site = fresh("extents");
    let keys = [key(&site, "b", "m"), key(&site, "a", "n"), key(&site, "a", "m")];
    for (us, seq) in [(10, 1), (20, 2), (5, 3), (15, 4), (3 * DAY_US, 5), (-2 * DAY_US, 6)] {
        let rows = keys.iter().map(|key| reading(key, NOON_US + us, id(8, seq), 0.));
        write_readings(store, rows.collect()).await;
        let series = store.series(&site, None).await.unwrap();
        let found: Vec<&SeriesKey> = series.iter().map(|series| &series.key).collect();
        assert_eq!(found, [&keys[2], &keys[1], &keys[0]]);
        let first_us = [10, 10, 5, 5, 5, -2 * DAY_US][seq as usize - 1];
        let last_us = [10, 20, 20, 20, 3 * DAY_US, 3 * DAY_US][seq as usize - 1];
        for series in &series {
            assert_eq!(series.first_us, NOON_US + first_us, "first after {seq}");
            assert_eq!(series.last_us, NOON_US + last_us, "last after {seq}");
        }
    }
    let of_device = store.series(&site, Some("a")).await.unwrap();
    assert_eq!(of_device.len(), 2);
    assert_eq!(store.series(&site, Some("c")).await.unwrap(), []);
    assert_eq!(store.series(&fresh("nowhere"), None).await.unwrap(), []);
    assert_eq!(store.latest(&fresh("nowhere")).await.unwrap(), []);
}

async fn a_large_batch(store: &dyn Store) {
    let site = fresh("large");
    let keys: Vec<SeriesKey> =
        (0..500).map(|n| key(&site, &format!("d{}", n / 5), &format!("m{}", n % 5))).collect();
    let mut batch = Batch::default();
    for step in 0..40u64 {
        for (key, n) in keys.iter().zip(0u64..) {
            let ts_us = NOON_US + step as i64 * 7_200_000_000;
            batch.readings.push(reading(key, ts_us, id(9, step * 500 + n), step as f64));
        }
    }
    assert_eq!(batch.readings.len(), 20_000);
    store.write(&batch).await.unwrap();
    for key in keys.iter().step_by(99) {
        let expected: Vec<f64> = (0..40u32).map(f64::from).collect();
        assert_eq!(values(store, key, EVER, 100).await, expected);
    }
    assert_eq!(store.series(&site, None).await.unwrap().len(), 500);
    let latest = store.latest(&site).await.unwrap();
    assert_eq!(latest.len(), 500);
    assert!(latest.iter().all(|latest| latest.value == 39.));
}
