//! Tables of rules and readings.

use super::*;
use proptest::prelude::*;

fn rules(toml: &str) -> Result<Rules, String> {
    #[derive(Deserialize)]
    struct File {
        rules: Vec<Rule>,
    }
    let file: File = toml::from_str(toml).map_err(|e| e.to_string())?;
    Rules::new(file.rules.into()).map_err(|e| e.to_string())
}

/// Readings are seconds and values; the answer is the indices of broken rules per reading.
#[track_caller]
fn check(toml: &str, readings: &[(f64, f64)], expected: &[&[usize]]) {
    let mut rules = rules(toml).unwrap();
    let got: Vec<Vec<usize>> = readings
        .iter()
        .map(|(s, v)| rules.update(*s as u32, (s * 1e6) as i64, *v).iter().collect())
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn range() {
    check(
        "rules = [{kind='range', name='frost', min=2.0}, {kind='range', name='boil', max=90.0}]",
        &[(0.0, 2.0), (1.0, 1.9), (2.0, 90.0), (3.0, 90.1), (4.0, f64::NAN)],
        &[&[], &[0], &[], &[1], &[]],
    );
}

#[test]
fn rate_of_change() {
    check(
        "rules = [{kind='rate', name='jump', max_per_s=2.0}]",
        // The reading at 11 s comes late, after the one at 12 s, and is not measured.
        &[
            (0.0, 0.0),
            (10.0, 20.0),
            (11.0, 22.1),
            (12.0, 20.0),
            (11.0, 500.0),
            (13.0, 21.0),
            (13.0, 90.0),
        ],
        &[&[], &[], &[0], &[0], &[], &[], &[]],
    );
}

#[test]
fn a_clock_set_back_starts_again() {
    check(
        "rules = [{kind='rate', name='jump', max_per_s=2.0}, {kind='flat', name='stuck', flat_s=60}]",
        &[(1000.0, 5.0), (1061.0, 5.0), (0.0, 5.0), (30.0, 5.0), (31.0, 50.0)],
        &[&[], &[1], &[], &[], &[0]],
    );
}

#[test]
fn flat_line() {
    check(
        "rules = [{kind='flat', name='stuck', flat_s=60, tolerance=0.1}]",
        &[(0.0, 5.0), (60.0, 5.1), (61.0, 5.0), (62.0, 5.2), (100.0, 5.2), (123.0, 5.2)],
        &[&[], &[], &[0], &[], &[], &[0]],
    );
}

#[test]
fn nonsense_is_refused_with_what_to_do() {
    for (toml, message) in [
        (
            "rules = [{kind='range', name='a'}]",
            "rule \"a\" has neither min nor max: give at least one",
        ),
        (
            "rules = [{kind='range', name='a', min=3, max=2}]",
            "rule \"a\" has a min above its max: swap them",
        ),
        (
            "rules = [{kind='range', name='a', min=nan}]",
            "rule \"a\" has a min above its max: swap them",
        ),
        ("rules = [{kind='rate', name='a', max_per_s=0}]", "rule \"a\" needs a max_per_s above 0"),
        ("rules = [{kind='flat', name='a', flat_s=-1}]", "rule \"a\" needs a flat_s above 0"),
        (
            "rules = [{kind='flat', name='a', flat_s=1, tolerance=-1}]",
            "rule \"a\" needs a tolerance of 0 or more",
        ),
        (
            "rules = [{kind='gap', name='a'}]",
            "rule \"a\" has neither gap_s nor intervals: give at least one",
        ),
        ("rules = [{kind='gap', name='a', gap_s=0}]", "rule \"a\" needs a gap_s above 0"),
        ("rules = [{kind='gap', name='a', intervals=1}]", "rule \"a\" needs intervals above 1"),
        ("rules = [{kind='resolution', name='a', factor=nan}]", "rule \"a\" needs factor above 1"),
        (
            "rules = [{kind='range', name='', min=1}]",
            "a rule has an empty name: give it one, alerts carry it",
        ),
        (
            "rules = [{kind='range', name='a', min=1}, {kind='rate', name='a', max_per_s=1}]",
            "two rules are called \"a\": rename one",
        ),
    ] {
        assert_eq!(rules(toml).unwrap_err(), message);
    }
    let unknown =
        rules("rules = [{kind='rate', name='a', max_per_s=1, per_minute=3}]").unwrap_err();
    assert!(unknown.contains("per_minute"), "{unknown}");
}

/// Readings every so many seconds, silence, readings again: at which seconds of the silence a rule is broken first.
#[track_caller]
fn check_gap(toml: &str, heard_s: &[u32], until_s: u32, expected: Option<(u32, &str)>) {
    let mut rules = rules(toml).unwrap();
    for s in heard_s {
        // Event time says nothing: the sender's clock stands still.
        assert!(rules.update(*s, 7_000_000, 1.0).is_empty());
    }
    let last_s = heard_s.last().copied().unwrap_or_default();
    let broken_s = (last_s..until_s).find(|s| rules.silent(*s).contains(0));
    let got = broken_s.map(|s| (s, rules.explain(0, s)));
    assert_eq!(got, expected.map(|(s, why)| (s, why.to_owned())));
    if broken_s.is_some() {
        assert_eq!(rules.heard_us(), Some(7_000_000));
        rules.update(until_s, 8_000_000, 1.0);
        assert!(rules.silent(until_s).is_empty(), "a reading ends it");
    }
}

#[test]
fn silence() {
    let every = |s: usize, n: u32| (100..100 + s as u32 * n).step_by(s).collect::<Vec<_>>();
    let fixed = "rules = [{kind='gap', name='silent', gap_s=30}]";
    let since = "no reading since 1970-01-01T00:00:07Z: none for";
    check_gap(fixed, &[], 9_999, None);
    check_gap(fixed, &[100], 130, None);
    check_gap(fixed, &[100], 999, Some((131, &format!("{since} 31 s, allowed are 30 s"))));
    let own = "rules = [{kind='gap', name='silent', intervals=5}]";
    // Eight gaps must have been seen.
    check_gap(own, &every(10, 8), 9_999, None);
    check_gap(own, &every(10, 9), 9_999, Some((231, &format!("{since} 51 s, allowed are 50 s"))));
    check_gap(
        own,
        &every(60, 20),
        9_999,
        Some((1_541, &format!("{since} 301 s, allowed are 300 s"))),
    );
    // Sixty readings in one second, once a minute, are one interval of a minute.
    let batches: Vec<u32> = every(60, 20).into_iter().flat_map(|s| [s; 60]).collect();
    check_gap(own, &batches, 9_999, Some((1_541, &format!("{since} 301 s, allowed are 300 s"))));
    let both = "rules = [{kind='gap', name='silent', intervals=5, gap_s=120}]";
    check_gap(both, &every(10, 4), 9_999, None);
    check_gap(
        both,
        &every(10, 9),
        9_999,
        Some((301, &format!("{since} 121 s, allowed are 120 s"))),
    );
    check_gap(
        both,
        &every(60, 20),
        9_999,
        Some((1_541, &format!("{since} 301 s, allowed are 300 s"))),
    );
}

#[test]
fn a_long_silence_does_not_hide_the_next_one_and_another_interval_is_learnt() {
    let mut rules = rules("rules = [{kind='gap', name='silent', intervals=5}]").unwrap();
    let mut now_s = 0;
    let mut hear = |after_s: u32| {
        let silent = rules.silent(now_s + after_s).contains(0);
        now_s += after_s;
        rules.update(now_s, 0, 1.0);
        silent
    };
    assert!((0..20).all(|_| !hear(10)));
    assert!(hear(86_400));
    assert!((0..20).all(|_| !hear(10)));
    assert!(hear(101));
    // From now on every ten minutes: told a few times, then this is how the series is.
    let told = (0..50).filter(|_| hear(600)).count();
    assert!((1..=5).contains(&told), "{told}");
}

#[test]
fn counters() {
    check(
        "rules = [{kind='counter', name='reset'}]",
        &[
            (0.0, 100.0),
            (10.0, 110.0),
            (20.0, 110.0),
            // Late, and then as if it had not been there.
            (15.0, 105.0),
            (30.0, 120.0),
            (40.0, 3.0),
            (50.0, 13.0),
            (60.0, 9.0),
        ],
        &[&[], &[], &[], &[], &[], &[0], &[], &[0]],
    );
}

/// What is said of the last of the values, and the value that the score sees.
#[track_caller]
fn check_counter(values: &[f64], expected: &str, goes_on_at: f64) {
    let mut rules = rules("rules = [{kind='counter', name='reset'}]").unwrap();
    let mut said = String::new();
    for (s, value) in (0..).zip(values) {
        let hits = rules.update(s, i64::from(s) * 1_000_000, *value);
        said = if hits.is_empty() { String::new() } else { rules.explain(0, s) };
    }
    let last = values.last().copied().unwrap_or_default();
    assert_eq!((said.as_str(), last + rules.offset()), (expected, goes_on_at));
}

#[test]
fn a_counter_that_begins_anew_goes_on_for_the_score() {
    let reset = "reset: it counted to 520 and began anew, now at 3";
    check_counter(&[500.0, 520.0, 3.0], reset, 523.0);
    check_counter(&[500.0, 520.0, 3.0, 23.0, 43.0], "", 563.0);
    let fell = "fell from 520 to 400: no reset, which would begin near 0";
    check_counter(&[500.0, 520.0, 400.0], fell, 400.0);
    check_counter(&[500.0, 520.0, -3.0], &fell.replace("400", "-3"), -3.0);
    // The end of 16 and of 32 bits is no reset where the step across it is like the one before.
    check_counter(&[65_500.0, 65_520.0, 4.0], "", 65_540.0);
    check_counter(&[4_294_967_000.0, 4_294_967_290.0, 4.0], "", 4_294_967_300.0);
    let far = "reset: it counted to 65000 and began anew, now at 4";
    check_counter(&[64_980.0, 65_000.0, 4.0], far, 65_004.0);
}

/// A walk on a grid of `step`, always the same.
fn walk(step: f64, n: usize, value: &mut f64, noise: &mut u64) -> Vec<f64> {
    (0..n)
        .map(|_| {
            *noise ^= *noise << 13;
            *noise ^= *noise >> 7;
            *noise ^= *noise << 17;
            let up = (*noise >> 33) % 9;
            *value = ((*value / step).round() + up as f64 - 4.0) * step;
            *value
        })
        .collect()
}

/// What is said of walks, each on its grid for so many values; a grid of 0 is none.
#[track_caller]
fn check_resolution(walks: &[(f64, usize)], expected: &[&str]) {
    let mut rules = rules("rules = [{kind='resolution', name='steps'}]").unwrap();
    let (mut value, mut noise) = (20.0, 0x2545_f491_4f6c_dd1d);
    let mut said = Vec::new();
    for (step, n) in walks {
        let fine = if *step == 0.0 { 1e-9 } else { *step };
        for v in walk(fine, *n, &mut value, &mut noise) {
            // Without a grid changes of any size, few of them alike.
            let v = if *step == 0.0 { (v * 1e9).sin() } else { v };
            if !rules.update(0, 0, v).is_empty() {
                said.push(rules.explain(0, 0));
            }
        }
    }
    assert_eq!(said, expected);
}

#[test]
fn resolution() {
    let coarse = "values now move in steps of 0.500000, before in steps of 0.100000";
    let fine = "values now move in steps of 0.100000, before in steps of 0.500000";
    check_resolution(&[(0.1, 2_000), (0.5, 2_000)], &[coarse]);
    check_resolution(&[(0.5, 2_000), (0.1, 2_000), (0.5, 2_000)], &[fine, coarse]);
    // 0.1 to 0.15 is less than the factor; a step that is hardly known is not told; nor is what has none.
    check_resolution(&[(0.1, 2_000), (0.15, 2_000)], &[]);
    check_resolution(&[(0.1, 300), (0.5, 2_000)], &[]);
    check_resolution(&[(0.0, 20_000)], &[]);
    check_resolution(&[(0.1, 2_000), (0.0, 20_000)], &[]);
}

#[test]
fn traffic_is_no_resolution() {
    // A counter that grows by one to three at night and by fifty to a hundred a day.
    let mut rules = rules("rules = [{kind='resolution', name='steps'}]").unwrap();
    let mut value = 0.0;
    for i in 0..20_000u32 {
        let busy = i / 1_000 % 2 == 1;
        value += f64::from(if busy { 50 + i * 7_919 % 51 } else { 1 + i * 7_919 % 3 });
        assert!(rules.update(i, 0, value).is_empty(), "{i}");
    }
}

#[test]
fn a_smallest_change_that_others_are_no_multiples_of_is_no_step() {
    // From tenths to changes by five tenths and seven, always the same.
    let mut rules = rules("rules = [{kind='resolution', name='steps'}]").unwrap();
    let (mut value, mut noise) = (20.0, 0x2545_f491_4f6c_dd1d);
    let mut values = walk(0.1, 2_000, &mut value, &mut noise);
    for i in 0..2_000 {
        value += [0.5, -0.7, 0.7, -0.5][i % 4];
        values.push(value);
    }
    assert!(values.iter().all(|v| rules.update(0, 0, *v).is_empty()));
}

#[test]
fn a_rule_takes_few_bytes() {
    assert!(size_of::<Memory>() <= 56, "{}", size_of::<Memory>());
}

#[test]
fn what_was_seen_and_what_is_allowed_is_said() {
    #[track_caller]
    fn check(toml: &str, readings: &[(u32, f64)], expected: &str) {
        let mut rules = rules(toml).unwrap();
        let hits: Vec<Hits> =
            readings.iter().map(|(s, v)| rules.update(*s, i64::from(*s) * 1_000_000, *v)).collect();
        assert!(hits.last().is_some_and(|hits| hits.contains(0)), "{hits:?}");
        assert_eq!(rules.explain(0, 0), expected);
    }
    let range = "rules = [{kind='range', name='a', min=2, max=21.5}]";
    check(range, &[(0, 21.6)], "21.6 is above 21.5");
    check(range, &[(0, -3.0)], "-3 is below 2");
    let rate = "rules = [{kind='rate', name='a', max_per_s=2}]";
    check(rate, &[(0, 0.0), (10, -25.0)], "changed by 2.500000 a second, allowed are 2");
    let flat = "rules = [{kind='flat', name='a', flat_s=60}]";
    check(flat, &[(0, 1.0), (3, 5.0), (64, 5.0)], "5 since 1970-01-01T00:00:03Z, allowed are 60 s");
}

proptest! {
    #[test]
    fn whatever_comes_nothing_overflows_and_reasons_are_given(
        readings in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<f64>(), 0..4u8), 1..600),
    ) {
        let mut rules = rules(
            "rules = [{kind='range', name='a', min=1, max=2}, {kind='rate', name='b', max_per_s=1}, \
             {kind='flat', name='c', flat_s=1}, {kind='gap', name='d', intervals=2, gap_s=1}, \
             {kind='counter', name='e'}, {kind='resolution', name='f'}]",
        ).unwrap();
        let mut last = 0.0;
        for (now_s, ts_us, value, kind) in readings {
            let value = match kind { 0 => value, 1 => 1e30f64.copysign(value), 2 => last, _ => last + 1.0 };
            let hits = rules.update(now_s, ts_us, value);
            for i in hits.iter() {
                prop_assert!(!rules.explain(i, now_s).is_empty(), "{i}");
            }
            if judgeable(value).is_ok() {
                prop_assert!(rules.silent(now_s).is_empty(), "it has just been heard");
                last = value;
                prop_assert!(rules.offset().is_finite());
            }
        }
    }
}
