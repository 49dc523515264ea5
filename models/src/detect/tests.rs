//! Known series, and promises that hold for every series.

use super::*;
use proptest::prelude::*;

const STEP_US: i64 = 300_000_000;

/// Noise from -1 to 1 from a fixed generator (xorshift64), the same on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Ten days of a daily swing with noise, five minutes apart, each value changed by `disturb`.
fn series(disturb: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    (0..2880)
        .map(|i| {
            let swing = (i as f64 / 288.0 * std::f64::consts::TAU).sin();
            disturb(i, 50.0 + 10.0 * swing + noise.next())
        })
        .collect()
}

fn verdicts(values: &[f64]) -> Vec<Verdict> {
    let mut suite = Suite::new(&SuiteConfig::default());
    values.iter().enumerate().map(|(i, v)| suite.update(i as i64 * STEP_US, *v)).collect()
}

/// Every alarm after the fourth day lies from `from` for `within` readings, and there is one.
#[track_caller]
fn check(values: &[f64], from: usize, within: usize) -> Verdict {
    let verdicts = verdicts(values);
    let alarms: Vec<usize> = (1152..values.len()).filter(|i| verdicts[*i].alarm).collect();
    assert!(alarms.iter().any(|i| (from..from + within).contains(i)), "missed: {alarms:?}");
    let false_alarms = alarms.iter().filter(|i| !(from..from + within).contains(*i)).count();
    assert!(false_alarms <= 1, "{alarms:?}");
    verdicts[from]
}

#[test]
fn finds_a_spike() {
    let at = check(&series(|i, v| if i == 2000 { v + 40.0 } else { v }), 2000, 3);
    assert!(at.score >= 1.0, "{at:?}");
    assert!(at.low < at.expected && at.expected < at.high && at.high < 90.0, "{at:?}");
    assert!(at.member.starts_with("kmeans_diff"), "{at:?}");
}

#[test]
fn finds_a_level_shift() {
    check(&series(|i, v| if i >= 2000 { v + 25.0 } else { v }), 2000, 100);
}

#[test]
fn finds_a_flat_middle() {
    check(&series(|i, v| if (1900..2200).contains(&i) { 50.0 } else { v }), 1900, 400);
}

#[test]
fn an_ordinary_series_is_quiet() {
    let verdicts = verdicts(&series(|_, v| v));
    assert!(verdicts.iter().skip(1152).filter(|v| v.alarm).count() <= 1);
    let inside = verdicts
        .iter()
        .zip(series(|_, v| v))
        .skip(1152)
        .filter(|(d, v)| d.low <= *v && *v <= d.high)
        .count();
    assert!(inside > 1640, "{inside} of 1728 within the usual range");
}

#[test]
fn a_constant_scores_nothing_until_it_changes() {
    let mut values = vec![7.0; 1000];
    values.push(8.0);
    let verdicts = verdicts(&values);
    assert!(verdicts[..1000].iter().all(|v| v.score == 0.0 && v.expected == 7.0));
    assert!(verdicts[1000].alarm, "{:?}", verdicts[1000]);
}

#[test]
fn a_switch_does_not_alarm_for_ever() {
    // On or off every 40 readings: after the first changes this is how the series is.
    let values: Vec<f64> = (0..8000).map(|i| f64::from((i / 40) % 2)).collect();
    let late = verdicts(&values).iter().skip(4000).filter(|v| v.alarm).count();
    assert!(late <= 2, "{late}");
}

#[test]
fn a_small_movement_on_a_large_level_counts_the_same() {
    let values = series(|i, v| if i == 2000 { v + 40.0 } else { v });
    // Powers of two keep every difference exact, so scores are the same to the bit.
    let lifted: Vec<f64> =
        values.iter().map(|v| (v * 1024.0).round() / 1024.0 + 1_073_741_824.0).collect();
    let rounded: Vec<f64> = lifted.iter().map(|v| v - 1_073_741_824.0).collect();
    for (a, b) in verdicts(&rounded).iter().zip(verdicts(&lifted)) {
        assert_eq!(a.score.to_bits(), b.score.to_bits());
    }
}

#[test]
fn what_cannot_be_judged_changes_nothing() {
    let mut suite = Suite::new(&SuiteConfig::default());
    for (i, v) in series(|_, v| v).iter().enumerate().take(500) {
        suite.update(i as i64 * STEP_US, *v);
    }
    let before = suite.clone();
    for (value, refusal) in [
        (f64::NAN, Refusal::NotFinite),
        (f64::INFINITY, Refusal::NotFinite),
        (f64::NEG_INFINITY, Refusal::NotFinite),
        (1e31, Refusal::TooLarge),
        (-f64::MAX, Refusal::TooLarge),
    ] {
        let verdict = suite.update(0, value);
        assert_eq!(verdict.refused, Some(refusal));
        assert_eq!((verdict.score, verdict.alarm), (0.0, false));
        assert!(verdict.low <= verdict.expected && verdict.expected <= verdict.high);
        assert_eq!(suite, before);
    }
}

#[test]
fn fits_its_budget() {
    assert!(size_of::<Suite>() <= 1280, "{}", size_of::<Suite>());
    let mut bytes = Vec::new();
    Suite::new(&SuiteConfig::default()).snapshot(&mut bytes);
    assert!(bytes.len() <= 1280, "{}", bytes.len());
}

#[test]
fn a_restored_detector_goes_on_to_the_bit() {
    let values = series(|i, v| if i % 700 == 0 { v + 30.0 } else { v });
    for cut in [0, 1, 49, 333, 1001, 2500] {
        let mut suite = Suite::new(&SuiteConfig::default());
        let feed = |suite: &mut Suite, i: usize| suite.update(i as i64 * STEP_US, values[i]);
        for i in 0..cut {
            feed(&mut suite, i);
        }
        let mut bytes = vec![1, 2, 3];
        suite.snapshot(&mut bytes);
        let mut restored = Suite::new(&SuiteConfig::default());
        restored.restore(&bytes[3..]).unwrap();
        assert_eq!(restored, suite);
        for i in cut..values.len() {
            assert_eq!(feed(&mut suite, i), feed(&mut restored, i), "reading {i} after {cut}");
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        suite.snapshot(&mut one);
        restored.snapshot(&mut other);
        assert_eq!(one, other);
    }
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut suite = Suite::new(&SuiteConfig::default());
    let mut bytes = Vec::new();
    suite.snapshot(&mut bytes);
    let mut check = |bytes: &[u8], expected| assert_eq!(suite.restore(bytes), Err(expected));
    check(&[], RestoreError::Length);
    check(&bytes[..bytes.len() - 1], RestoreError::Checksum);
    check(b"something else altogether", RestoreError::Foreign);
    let with = |at: usize, v: u8| {
        let mut changed = bytes.clone();
        changed[at] = v;
        changed
    };
    check(&with(4, 9), RestoreError::Version { found: 9, expected: 2 });
    check(&with(100, 1), RestoreError::Checksum);
    // Impossible content under a right checksum: a "started" that is neither 0 nor 1.
    let mut forged = with(6, 7);
    let body = forged.len() - 4;
    let crc = crc32c::crc32c(&forged[..body]);
    forged[body..].copy_from_slice(&crc.to_le_bytes());
    check(&forged, RestoreError::Value);
}

proptest! {
    #[test]
    fn every_number_is_finite_whatever_comes(
        readings in proptest::collection::vec((any::<i64>(), any::<f64>(), 0..4u8), 1..600),
    ) {
        let mut suite = Suite::new(&SuiteConfig::default());
        let mut last = 0.0;
        for (ts_us, value, kind) in readings {
            // Raw bits, the limits, repeats and small steps: each reaches other branches.
            let value = match kind {
                0 => value,
                1 => MAX_ABS.copysign(value),
                2 => last,
                _ => last + 1.0,
            };
            let v = suite.update(ts_us, value);
            prop_assert!(v.score.is_finite() && (0.0..=20.0).contains(&v.score), "{v:?}");
            prop_assert!(v.expected.is_finite() && v.low.is_finite() && v.high.is_finite(), "{v:?}");
            prop_assert!(v.low <= v.high, "{v:?}");
            prop_assert_eq!(v.refused.is_some(), judgeable(value).is_err());
            if v.refused.is_none() {
                last = value;
            }
        }
        let mut bytes = Vec::new();
        suite.snapshot(&mut bytes);
        prop_assert_eq!(Suite::new(&SuiteConfig::default()).restore(&bytes), Ok(()));
    }

    #[test]
    fn no_bytes_make_restore_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0..1500usize, v: u8) {
        let mut suite = Suite::new(&SuiteConfig::default());
        prop_assert!(suite.restore(&bytes).is_err());
        let mut snapshot = Vec::new();
        suite.snapshot(&mut snapshot);
        if let Some(b) = snapshot.get_mut(at) {
            *b = v;
        }
        let _ = suite.restore(&snapshot);
        suite.update(0, 1.0);
    }
}

/// Bits of the scores of a fixed series, made by `+ - * /` alone as the scores are, so that they are the same on every
/// machine. Whoever changes them on purpose changes the version of the model, too: alerts carry it.
#[test]
fn the_scores_of_this_version_are_these() {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut suite = Suite::new(&SuiteConfig::default());
    let mut bits = 0u64;
    for i in 0..2880u16 {
        let swing = f64::from(i % 288) / 288.0 - 0.5;
        let spike = if i % 700 == 0 { 30.0 } else { 0.0 };
        let value = 50.0 + 20.0 * swing.abs() + noise.next() + spike;
        let verdict = suite.update(i64::from(i) * STEP_US, value);
        for score in [verdict.score, verdict.peak] {
            bits = bits.rotate_left(5) ^ u64::from(score.to_bits());
        }
    }
    assert_eq!((Suite::MODEL.version, format!("{bits:016x}").as_str()), ("2", "83026b63be8bb89f"));
}
