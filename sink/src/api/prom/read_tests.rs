//! Windows of values and of rollups.

use super::*;

const MINUTE_MS: i64 = 60_000;

fn grid(start_ms: i64, step_ms: i64, steps: usize) -> Grid {
    Grid { start_ms, step_ms, steps, moved_us: 0 }
}

fn windows(sweep: Sweep, values: &[(i64, f64)]) -> Vec<Option<f64>> {
    let mut windows = Windows::of(sweep);
    for (ms, value) in values {
        windows.push(ms * 1_000, *value);
    }
    windows.finish().0
}

#[test]
fn a_window_is_open_at_its_begin_and_closed_at_its_end() {
    let sweep = Sweep { fold: Fold::Count, range_us: 60_000_000, ends: grid(60_000, MINUTE_MS, 3) };
    // As in Prometheus 3: a value on the border counts once.
    let at = |ms: &[i64]| windows(sweep, &ms.iter().map(|ms| (*ms, 1.)).collect::<Vec<_>>());
    assert_eq!(at(&[0, 60_000, 120_000, 180_000]), [Some(1.), Some(1.), Some(1.)]);
    assert_eq!(at(&[1, 60_001]), [Some(1.), Some(1.), None]);
    assert_eq!(at(&[180_001]), [None, None, None]);
}

#[test]
fn a_selector_looks_back_and_no_further() {
    let sweep = Sweep { fold: Fold::Last, range_us: 300_000_000, ends: grid(0, MINUTE_MS, 8) };
    let seen = windows(sweep, &[(30_000, 1.), (90_000, 2.)]);
    let [one, two] = [Some(1.), Some(2.)];
    // The newest is at 90 s: 390 s is five minutes later and no longer sees it; a step at 360 s does.
    assert_eq!(seen, [None, one, two, two, two, two, two, None]);
    let exact = Sweep { ends: grid(390_000, 1, 2), ..sweep };
    assert_eq!(windows(exact, &[(90_000, 2.)]), [None, None]);
    let exact = Sweep { ends: grid(389_999, 1, 1), ..sweep };
    assert_eq!(windows(exact, &[(90_000, 2.)]), [two]);
}

#[test]
fn windows_that_overlap_share_their_values() {
    let sweep = Sweep { fold: Fold::Sum, range_us: 120_000_000, ends: grid(0, MINUTE_MS, 6) };
    let values: Vec<(i64, f64)> = (0..4).map(|i| (i * 60_000, 2f64.powi(i as i32))).collect();
    let expected = [1., 3., 6., 12., 8.].map(Some);
    assert_eq!(windows(sweep, &values), [&expected[..], &[None]].concat());
}

#[test]
fn of_values_of_one_stamp_the_last_counts() {
    let sweep = Sweep { fold: Fold::Count, range_us: 60_000_000, ends: grid(60_000, 1, 1) };
    assert_eq!(windows(sweep, &[(1, 5.), (1, 6.)]), [Some(1.)]);
    assert_eq!(windows(Sweep { fold: Fold::Sum, ..sweep }, &[(1, 5.), (1, 6.)]), [Some(6.)]);
}

#[test]
fn rollups_are_read_when_windows_are_made_of_them() {
    let (minute, hour) = (60_000_000, HOUR_US);
    let width = |fold, range_us, start_ms, step_ms: i64, span_h: i64| {
        let steps = span_h * 3_600_000 / step_ms + 1;
        let ends = grid(start_ms, step_ms, usize::try_from(steps).unwrap_or_default());
        Sweep { fold, range_us, ends }.roll_width_us()
    };
    let hour_ms = 3_600_000;
    assert_eq!(width(Fold::Last, 5 * minute, 0, hour_ms, 48), Some(minute));
    assert_eq!(width(Fold::Last, 5 * minute, 0, 2 * hour_ms, 2_000), Some(2 * hour), "many");
    assert_eq!(width(Fold::Last, 5 * minute, 0, 7 * hour_ms, 2_100), Some(hour));
    assert_eq!(width(Fold::Max, 2 * hour, 0, 2 * hour_ms, 48), Some(2 * hour));
    assert_eq!(width(Fold::Avg, 5 * minute, 0, hour_ms, 48), Some(5 * minute));
    assert_eq!(width(Fold::Avg, hour, 90_000, hour_ms, 48), None, "half a minute");
    assert_eq!(width(Fold::Avg, hour, 120_000, hour_ms, 48), Some(2 * minute));
    assert_eq!(width(Fold::Avg, minute / 2, 0, hour_ms, 48), None);
    assert_eq!(width(Fold::Rate, hour, 0, hour_ms, 48), None, "no rollup knows resets");
    assert_eq!(width(Fold::Last, 5 * minute, 0, 300_000, 23), None, "a short span");
    assert_eq!(width(Fold::Last, 5 * minute, 0, 61 * 60_000, 61 * 100), None, "too many");
}

fn points_of(values: &[(i64, f64)]) -> Vec<crate::store::Point> {
    let point = |(ms, value): &(i64, f64)| crate::store::Point {
        ts_us: ms * 1_000,
        value: *value,
        score: None,
        stream: weir_models::ident::Stream(1),
        seq: 1,
    };
    values.iter().map(point).collect()
}

/// Devices that send on the minute: each time of evaluation sees what is there, as of values.
#[test]
fn the_newest_value_is_seen_also_where_it_is_on_the_grid() {
    // Every so many minutes a value; a window of so many; a step of so many.
    for (every, range_min, step_min) in [(5, 5, 10), (15, 15, 15), (15, 15, 60), (60, 5, 60)] {
        let days_min = 7 * 1_440;
        let values: Vec<(i64, f64)> =
            (0..days_min / every).map(|i| (i * every * MINUTE_MS, i as f64)).collect();
        let steps = usize::try_from(days_min / step_min).unwrap_or_default();
        let ends = grid(0, step_min * MINUTE_MS, steps);
        let sweep = Sweep { fold: Fold::Last, range_us: range_min * 60_000_000, ends };
        let width_us = sweep.roll_width_us().unwrap_or_default();
        let (found, _) = sweep.windows_of_rolls(&rolls_of(&points_of(&values), width_us), width_us);
        assert!(found.iter().all(Option::is_some), "{sweep:?}");
        assert_eq!(found, windows(sweep, &values), "{sweep:?}");
        // The last one lies where the range of rollups ends.
        let range = sweep.roll_range(width_us).whole_windows(width_us);
        assert!(range.to_us > ends.at_us(steps - 1));
    }
}

/// A window that is longer than minutes can be in memory for sees the newest value before the time.
#[test]
fn the_newest_value_of_wide_rollups_may_be_as_old_as_the_window() {
    let values: Vec<(i64, f64)> = (0..24_000).map(|i| (i * 5 * MINUTE_MS, i as f64)).collect();
    let ends = grid(0, 60 * MINUTE_MS, 2_000);
    let sweep = Sweep { fold: Fold::Last, range_us: 300_000_000, ends };
    let width_us = sweep.roll_width_us().unwrap_or_default();
    assert_eq!(width_us, HOUR_US);
    let (found, _) = sweep.windows_of_rolls(&rolls_of(&points_of(&values), width_us), width_us);
    assert_eq!(found[..3], [None, Some(11.), Some(23.)]);
    assert!(found[1..].iter().all(Option::is_some));
}

/// A window of rollups holds its begin and not its end, as one of values does when all come a moment later. Only
/// the newest is also seen at its end, when no other is in that minute.
#[test]
fn rollups_answer_as_values_do() {
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as i64
    };
    let values: Vec<(i64, f64)> = {
        let mut stamp = || {
            let ms = random() % (72 * 3_600_000);
            // A third on whole minutes, some of them on the borders of windows.
            if random() % 3 == 0 { ms - ms % MINUTE_MS } else { ms }
        };
        let mut stamps: Vec<i64> = (0..4_000).map(|_| stamp()).collect();
        stamps.sort_unstable();
        stamps.dedup();
        stamps.retain(|ms| !(10 * 3_600_000..16 * 3_600_000).contains(ms));
        stamps.into_iter().map(|ms| (ms, (random() % 1_000) as f64)).collect()
    };
    let points = points_of(&values);
    let later: Vec<(i64, f64)> = values.iter().map(|(ms, value)| (ms + 1, *value)).collect();
    let alone_at = |at_ms: i64| {
        let mut inside = values.iter().filter(|(ms, _)| (at_ms..at_ms + MINUTE_MS).contains(ms));
        inside.next().filter(|(ms, _)| *ms == at_ms && inside.next().is_none())
    };
    for (range_min, step_min) in [(5, 60), (60, 60), (180, 60), (90, 20), (1_440, 720)] {
        for fold in
            [Fold::Last, Fold::Avg, Fold::Min, Fold::Max, Fold::Sum, Fold::Count, Fold::Present]
        {
            let steps = usize::try_from(72 * 60 / step_min).unwrap_or_default() + 1;
            let ends = grid(0, step_min * MINUTE_MS, steps);
            let sweep = Sweep { fold, range_us: range_min * 60_000_000, ends };
            let width_us = sweep.roll_width_us();
            let Some(width_us) = width_us else {
                unreachable!("{sweep:?} is not made of rollups");
            };
            let (of_rolls, _) = sweep.windows_of_rolls(&rolls_of(&points, width_us), width_us);
            let mut of_values = windows(sweep, &later);
            if fold == Fold::Last {
                assert_eq!(width_us, 60_000_000);
                for (step, value) in of_values.iter_mut().enumerate() {
                    *value = alone_at(ends.at_ms(step)).map_or(*value, |(_, there)| Some(*there));
                }
            }
            for (step, (a, b)) in of_rolls.iter().zip(&of_values).enumerate() {
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
                assert!(
                    match (a, b) {
                        (Some(a), Some(b)) => near(*a, *b),
                        (a, b) => a == b,
                    },
                    "{fold:?} [{range_min}m] step {step}: {a:?}, {b:?}"
                );
            }
        }
    }
}
