#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weir_models::ident::Stream;
use weir_models::time::{HOUR_US, SECOND_US};

use super::*;
use crate::store::Point;

fn point(ts_us: i64, seq: u64, value: f64) -> Point {
    Point { ts_us, value, score: None, stream: Stream(7), seq }
}

fn named(series: &[&[Point]]) -> Vec<(String, Vec<Point>)> {
    (0..).zip(series).map(|(i, points)| (format!("m{i}"), points.to_vec())).collect()
}

/// Values as bits, so that -0.0 and 0.0 differ.
fn bits(points: &[Point]) -> Vec<(i64, u64, Option<u32>, Stream, u64)> {
    let bits = |p: &Point| (p.ts_us, p.value.to_bits(), p.score.map(f32::to_bits), p.stream, p.seq);
    points.iter().map(bits).collect()
}

#[track_caller]
fn check(series: &[(String, Vec<Point>)]) -> Part {
    let part = encode(series).unwrap();
    let stamps = Stamps::decode(&part.stamps).unwrap();
    assert_eq!(stamps.len(), part.events);
    let with_points: Vec<_> = series.iter().filter(|(_, points)| !points.is_empty()).collect();
    assert_eq!(part.episodes.len(), with_points.len());
    for (episode, (metric, points)) in part.episodes.iter().zip(with_points) {
        assert_eq!((&episode.metric, episode.n), (metric, points.len()));
        assert_eq!(bits(&decode(&stamps, &episode.body).unwrap()), bits(points));
        for (step_us, blob) in [(60 * SECOND_US, &episode.minutes), (HOUR_US, &episode.hours)] {
            if !blob.is_empty() {
                let mut rolls = Vec::new();
                decode_rolls(blob, &mut rolls).unwrap();
                assert_eq!(rolls, rolls_of(points, step_us));
            }
        }
    }
    assert_eq!(encode(series).unwrap().id, part.id);
    part
}

#[test]
fn stamps_are_kept_once_for_all_metrics() {
    let one: Vec<Point> =
        (0..3_600).map(|i| point(i * SECOND_US + (i * i) % 977, i as u64, 20.5)).collect();
    let alone = check(&named(&[&one]));
    let four = check(&named(&[&one, &one, &one, &one]));
    assert_eq!(alone.stamps, four.stamps);
    let values: usize = four.episodes.iter().map(|episode| episode.body.len()).sum();
    assert!(values < alone.stamps.len(), "{values} bytes of four constant series");
}

#[test]
fn metrics_that_miss_events_keep_their_places() {
    let all: Vec<Point> = (0..100).map(|i| point(i * 10, i as u64, i as f64)).collect();
    let some: Vec<Point> = all.iter().filter(|p| p.seq % 3 == 1).cloned().collect();
    let part = check(&named(&[&some, &all, &[], &all[90..]]));
    assert_eq!(part.events, 100);
    assert_eq!((part.t0_us, part.t1_us), (0, 990));
    check(&[]);
}

#[test]
fn scores_of_some_points_are_kept() {
    let mut points: Vec<Point> = (0..50).map(|i| point(i, i as u64, 0.1)).collect();
    points[3].score = Some(0.7);
    points[40].score = Some(-0.0);
    check(&named(&[&points]));
    for point in &mut points {
        point.score = Some(point.seq as f32 / 3.0);
    }
    check(&named(&[&points]));
}

#[test]
fn sparse_series_have_no_rollups() {
    let every_half_minute: Vec<Point> =
        (0..2_880).map(|i| point(i * 30 * SECOND_US, i as u64, 1.0)).collect();
    let part = check(&named(&[&every_half_minute]));
    assert!(part.episodes[0].minutes.is_empty());
    assert!(!part.episodes[0].hours.is_empty());
}

#[test]
fn rolls_merge_into_those_of_all_points() {
    let mut points: Vec<Point> =
        (0..200).map(|i| point(i * SECOND_US, i as u64, (i % 17) as f64)).collect();
    points[20].score = Some(1.5);
    let (odd, even): (Vec<Point>, Vec<Point>) =
        points.iter().cloned().partition(|p| p.seq % 2 == 1);
    let mut merged = rolls_of(&even, 60 * SECOND_US);
    for (roll, other) in merged.iter_mut().zip(rolls_of(&odd, 60 * SECOND_US)) {
        roll.merge(&other);
    }
    assert_eq!(merged, rolls_of(&points, 60 * SECOND_US));
    assert_eq!((merged[0].anomalies_n, merged[0].n, merged[0].last), (1, 60, 59.0 % 17.0));
}

#[test]
fn any_damage_is_noticed() {
    let points: Vec<Point> = (0..300).map(|i| point(i * 7, i as u64, i as f64 / 10.0)).collect();
    let part = encode(&named(&[&points])).unwrap();
    let stamps = Stamps::decode(&part.stamps).unwrap();
    let body = &part.episodes[0].body;
    for at in 0..body.len() {
        let mut turned = body.clone();
        turned[at] ^= 0x10;
        assert!(decode(&stamps, &turned).is_err(), "byte {at}");
        assert!(decode(&stamps, &body[..at]).is_err(), "cut at {at}");
    }
    for at in 0..part.stamps.len() {
        let mut turned = part.stamps.clone();
        turned[at] ^= 0x01;
        assert!(Stamps::decode(&turned).is_err(), "byte {at}");
        assert!(Stamps::decode(&part.stamps[..at]).is_err(), "cut at {at}");
    }
    let fewer = encode(&named(&[&points[1..]])).unwrap();
    let fewer = Stamps::decode(&fewer.stamps).unwrap();
    let error = decode(&fewer, body).unwrap_err().to_string();
    assert!(error.contains("other stamps"), "{error}");
}

/// A series: points by their identity, so that each event is there once, in the store's order.
fn series() -> impl Strategy<Value = Vec<Point>> {
    let key = (-5i64..2_000, 0u64..3, 0u64..40);
    let value =
        (any::<u64>(), proptest::option::of(any::<f32>().prop_filter("a score", |s| !s.is_nan())));
    btree_map(key, value, 0..80).prop_map(|points| {
        let point =
            |((ts, stream, seq), (bits, score)): ((i64, u64, u64), (u64, Option<f32>))| Point {
                ts_us: ts * 7_919_000,
                value: f64::from_bits(bits),
                score,
                // Streams on both sides of the sign, as the store's order knows signs.
                stream: Stream([1, u64::MAX, 1 << 63][stream as usize]),
                seq,
            };
        let mut points: Vec<Point> = points.into_iter().map(point).collect();
        points.sort_by_key(|p| (p.ts_us, p.stream.as_i64(), p.seq));
        points
    })
}

proptest! {
    #[test]
    fn everything_comes_back(all in vec(series(), 0..5)) {
        let part = encode(&(0..).zip(&all).map(|(i, p)| (format!("m{i}"), p.clone())).collect::<Vec<(String, _)>>()).unwrap();
        let stamps = Stamps::decode(&part.stamps).unwrap();
        let mut episodes = part.episodes.iter();
        for points in all.iter().filter(|points| !points.is_empty()) {
            let episode = episodes.next().unwrap();
            prop_assert_eq!(bits(&decode(&stamps, &episode.body).unwrap()), bits(points));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        // With a checksum that is right, so that what is behind it is reached.
        let mut blob = vec![1, 0, 0, 0, 0];
        blob.extend(&bytes);
        let sum = crc32c::crc32c(&blob[5..]).to_le_bytes();
        blob[1..5].copy_from_slice(&sum);
        let _ = Stamps::decode(&blob);
        let _ = decode(&Stamps::default(), &blob);
        let _ = decode_rolls(&blob, &mut Vec::new());
    }
}
