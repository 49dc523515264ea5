//! Known faults, and promises that hold for every group.

use super::*;

/// Two metrics that move together, and one of its own; numbers from a fixed generator.
fn readings(n: usize) -> impl Iterator<Item = [f64; 3]> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let mut load = 0.0;
    (0..n).map(move |_| {
        load = 0.98 * load + noise();
        [100.0 + 10.0 * load, 5.0 + load + 0.1 * noise(), noise()]
    })
}

#[test]
fn sees_metrics_part_that_belong_together() {
    let mut group = Group::default();
    let mut usual = 0;
    for (i, mut values) in readings(3_000).enumerate() {
        if i >= 2_500 {
            // Within the range of each of them, but against each other.
            values[1] = 10.0 - values[1];
        }
        let verdict = group.update(&values).unwrap();
        usual += u32::from((1_000..2_500).contains(&i) && verdict.score > 3.0);
        if i == 2_600 {
            assert!(verdict.score > 3.5, "{verdict:?}");
        }
    }
    assert!(usual < 15, "{usual} of 1500 above 3");
}

#[test]
fn names_the_metric_that_jumps() {
    let mut group = Group::default();
    let mut last = None;
    for (i, mut values) in readings(1_000).enumerate() {
        values[2] += if i >= 950 { 20.0 } else { 0.0 };
        last = group.update(&values);
    }
    let last = last.unwrap();
    assert!(last.score > 5.0 && last.channel == 2, "{last:?}");
}

#[test]
fn what_repeats_another_or_never_moves_is_no_harm() {
    let mut group = Group::default();
    for values in readings(2_000) {
        let [a, _, c] = values;
        let verdict = group.update(&[a, a, 2.0 * a, 7.0, c]).unwrap();
        assert!(verdict.score.is_finite() && verdict.score < 10.0, "{verdict:?}");
    }
    let before = group.clone();
    assert_eq!(group.update(&[1.0, f64::NAN, 1.0, 7.0, 0.0]), None);
    assert_eq!(group.update(&[1.0]), None);
    assert_eq!(group, before);
}

proptest::proptest! {
    #[test]
    fn every_score_is_a_number(readings in proptest::collection::vec((proptest::num::f64::ANY, proptest::num::f64::ANY, -3.0..3.0), 1..300)) {
        let mut group = Group::default();
        for (a, b, c) in readings {
            if let Some(verdict) = group.update(&[a, b, c]) {
                proptest::prop_assert!(verdict.score.is_finite() && verdict.score >= 0.0);
            }
        }
    }
}

/// The scores, where from one row to before another the second metric is shifted by 3.
fn shifted(n: usize, from: usize, to: usize) -> Vec<f32> {
    let mut group = Group::default();
    let rows = readings(n).enumerate().map(|(i, mut values)| {
        values[2] += if (from..to).contains(&i) { 3.0 } else { 0.0 };
        group.update(&values).unwrap().score
    });
    rows.collect()
}

#[test]
fn the_score_lasts_as_long_as_a_fault_and_goes_back() {
    let scores = shifted(2_000, 600, 1_000);
    assert!(scores[..200].iter().all(|score| *score == 0.0));
    assert!(scores[625..1_000].iter().all(|score| *score > 2.0), "{:?}", &scores[600..1_000]);
    let after = scores[1_100..].iter().filter(|score| **score > 2.0).count();
    assert!(after < 45, "{after} of 900");
}

#[test]
fn what_stays_is_usual_in_the_end() {
    let scores = shifted(12_000, 600, 12_000);
    assert!(scores[700..1_000].iter().all(|score| *score > 2.0));
    let late = scores[9_000..].iter().filter(|score| **score > 2.0).count();
    assert!(late < 600, "{late} of 3000");
}

#[test]
fn sees_what_sticks_and_what_shakes() {
    for by in [0.0, 4.0] {
        let mut group = Group::default();
        let mut far = 0;
        for (i, mut values) in readings(1_000).enumerate() {
            // Within all that it was before.
            values[2] *= if i >= 700 { by } else { 1.0 };
            let verdict = group.update(&values).unwrap();
            far += usize::from(i >= 800 && verdict.score > 2.0);
        }
        assert!(far > 180, "{far} of 200 at {by}");
    }
}

#[test]
fn units_do_not_count() {
    let (mut one, mut other) = (Group::default(), Group::default());
    for [a, b, c] in readings(700) {
        // Powers of two keep every number exact.
        let (one, other) = (one.update(&[a, b, c]), other.update(&[a * 1024.0, b / 256.0, c]));
        assert_eq!(one.unwrap().score.to_bits(), other.unwrap().score.to_bits());
    }
}

#[test]
fn fits_its_budget() {
    assert!(size_of::<Group>() <= 2_304, "{}", size_of::<Group>());
}

/// Bits of the scores of a fixed series. Whoever changes them on purpose changes the version of the model, too: alerts
/// carry it.
#[test]
fn the_scores_of_this_version_are_these() {
    let mut bits = 0u64;
    for score in shifted(2_000, 600, 1_000) {
        bits = bits.rotate_left(5) ^ u64::from(score.to_bits());
    }
    assert_eq!((Group::MODEL.version, format!("{bits:016x}").as_str()), ("2", "25565f7549c49b26"));
}
