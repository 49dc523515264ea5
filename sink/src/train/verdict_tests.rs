//! What becomes of people's verdicts.

use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind, AlertState, Model as Named};
use weir_models::central::{Level, Model};
use weir_models::detect::Suite;
use weir_models::feedback::Verdict;
use weir_models::ident::Stream;

use super::{Judged, TrainError, fit_level, fit_rerank, rerank};

/// The `n`th alert, ten hours after the one before.
fn judged(n: i64, why: &str, peak: f32, verdict: Verdict) -> Judged {
    let alert = AlertData {
        alert_id: format!("a{n}"),
        state: AlertState::Firing,
        kind: AlertKind::Reading,
        agent: Arc::from("gw"),
        stream: Stream(1),
        seq: n.unsigned_abs() + 1,
        site: "plant".into(),
        device: "pump".into(),
        metric: "temp".into(),
        fired_us: n * 36_000_000_000,
        resolved_us: None,
        score: 1.3,
        threshold: 1.2,
        model: Named { name: Suite::MODEL.name.into(), version: "2".into() },
        why: why.into(),
        baseline: None,
        last_values: Vec::new(),
        message: None,
        cause_stream: Stream(1),
        cause_seq: 1,
        recent: None,
        rank: None,
    };
    let by = (n % 2 == 0).then(|| "eva".into());
    Judged { alert, peak, verdict, by, given_us: n * 36_000_000_000 + 1 }
}

/// People want drifts, and one in `noise` of the others.
fn said(n: i64, noise: i64) -> Vec<Judged> {
    let one = |n: i64| {
        let why = if n % 3 == 0 { "drift" } else { "calm" };
        let wants = n % 3 == 0 || n % noise == 0;
        let other = if n % 2 == 0 { Verdict::False } else { Verdict::Expected };
        judged(n, why, 2.0, if wants { Verdict::True } else { other })
    };
    (0..n).map(one).collect()
}

#[test]
fn what_people_want_ranks_high() {
    let said = said(90, 10);
    let trained = fit_rerank(&said).unwrap();
    let Model::Rerank(model) = &trained.model else { panic!("{trained:?}") };
    let rank = |why: &str| model.rank(&judged(100, why, 2.0, Verdict::False).alert);
    assert!(rank("drift") > 0.7 && rank("calm") < 0.3, "{} {}", rank("drift"), rank("calm"));
    assert!(trained.report.contains("90 verdicts, 36 of them true"), "{}", trained.report);
    assert_eq!(trained.until_us, 89 * 36_000_000_000);
    assert_eq!(fit_rerank(&said).unwrap(), trained, "the same again");
}

#[test]
fn logistic_regression_says_what_smartcore_says() {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    let mut number = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1_u32 << 24) as f32
    };
    let rows: Vec<rerank::Row> = (0..10_000).map(|_| std::array::from_fn(|_| number())).collect();
    let seen = &rows[..500];
    let wanted: Vec<bool> = seen.iter().map(|row| row[0] + row[1] > 0.8 + row[2] * 0.3).collect();
    let (theirs, ours) = rerank::fit(seen, &wanted, 0.3).unwrap();
    let classes = theirs.predict(&rerank::matrix(&rows).unwrap()).unwrap();
    assert!(classes.contains(&0) && classes.contains(&1));
    for (row, class) in rows.iter().zip(classes) {
        assert_eq!(i32::from(ours.judge(row) > 0.5), class, "{row:?}");
    }
}

#[test]
fn too_few_verdicts_or_ones_that_say_nothing_make_no_model() {
    let why = |said: &[Judged]| fit_rerank(said).unwrap_err().to_string();
    assert!(why(&said(39, 100)).contains("39 verdicts (13 true, 26 not) are too few"));
    let all: Vec<_> = (0..60).map(|n| judged(n, "drift", 2.0, Verdict::True)).collect();
    assert!(why(&all).contains("(60 true, 0 not)"));
    let mut late: Vec<_> = (0..48).map(|n| judged(n, "calm", 2.0, Verdict::False)).collect();
    late.extend((48..60).map(|n| judged(n, "drift", 2.0, Verdict::True)));
    assert!(
        why(&late).contains("what was true is all of one time (60 verdicts)"),
        "{}",
        why(&late)
    );
    // What a rule says does not count.
    let mut of_rules = said(90, 10);
    of_rules.iter_mut().for_each(|one| one.alert.model.name = "rule".into());
    assert!(why(&of_rules).starts_with("0 verdicts"));
    // All alerts alike: nothing to tell them by.
    let word = |n: i64| if n * 7_919 % 101 < 50 { Verdict::True } else { Verdict::False };
    let alike: Vec<_> = (0..200)
        .map(|n| {
            let mut one = judged(n, "drift", 2.0, word(n));
            one.alert.fired_us = 0;
            one
        })
        .collect();
    assert!(
        matches!(fit_rerank(&alike), Err(TrainError::NoGain { .. })),
        "{:?}",
        fit_rerank(&alike)
    );
}

#[track_caller]
fn level(words: &[(f32, Verdict)], expected: Result<f32, &str>) {
    level_after(1.0, words, expected);
}

#[track_caller]
fn level_after(now: f32, words: &[(f32, Verdict)], expected: Result<f32, &str>) {
    let said: Vec<_> =
        (0..).zip(words).map(|(n, (peak, verdict))| judged(n, "drift", *peak, *verdict)).collect();
    match (fit_level(&said, 1.2, now), expected) {
        (Ok(trained), Ok(factor)) => {
            let Model::Level(found) = trained.model else { panic!("{trained:?}") };
            assert!((found.factor() - factor).abs() < 0.01, "{found:?} {}", trained.report);
        }
        (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn a_level_goes_where_false_alarms_end_and_true_ones_are_still_told() {
    use Verdict::{Expected, False, True};
    let low = [(1.3, False), (1.5, False), (1.8, False), (1.6, False)];
    let high = [(4.0, True), (5.0, True)];
    level(&[&low[..], &high].concat(), Ok(1.8 * 1.01 / 1.2));
    // A true one among the false: twice as bad to lose as one false alarm is to hear.
    level(&[&low[..], &[(1.7, True)], &high].concat(), Ok(1.6 * 1.01 / 1.2));
    // No true one: up to where the last false one ends, within the bounds.
    level(&[&low[..], &[(9.0, False)]].concat(), Ok(1.8 * 1.01 / 1.2));
    level(&[&high[..], &[(3.0, True), (2.0, True), (2.5, True)]].concat(), Ok(0.85));
    level(&low, Err("4 verdicts"));
    level(&[&low[..], &[(9.0, Expected), (9.0, Expected)]].concat(), Err("4 verdicts"));
    level(
        &[(1.3, True), (1.4, True), (1.5, False), (1.6, True), (1.7, False)],
        Err("is best by 3"),
    );
    for words in [&low[..], &high, &[(99.0, False); 9]] {
        let words = [words, &low[..]].concat();
        let said: Vec<_> = words.iter().map(|(peak, v)| judged(0, "drift", *peak, *v)).collect();
        if let Ok(trained) = fit_level(&said, 1.2, 1.0) {
            let Model::Level(level) = trained.model else { panic!("{trained:?}") };
            assert!((Level::MIN..=Level::MAX).contains(&level.factor()));
        }
    }
}

#[test]
fn a_level_that_is_in_force_is_taken_back_or_kept() {
    use Verdict::{False, True};
    let low = |verdict| [1.3, 1.4, 1.5, 1.6, 1.7].map(|peak| (peak, verdict));
    level(&low(False), Ok(1.7 * 1.01 / 1.2));
    // People looked again.
    level_after(1.5, &low(True), Ok(1.0));
    // What was told since is true.
    level_after(1.8, &[3.0, 4.0, 5.0, 6.0, 7.0].map(|peak| (peak, True)), Err("stays"));
    level_after(0.85, &low(True), Err("0.85 times what is set, is best by 5"));
    let found = [(1.05, True), (1.1, True), (1.15, True), (1.1, True), (5.0, False)];
    level_after(0.85, &found, Err("is best by 4"));
}

#[test]
fn a_level_rises_by_alerts_of_more_than_one_day_and_says_by_whom() {
    let said = |hours: i64| {
        let one = |n: i64| {
            let mut one = judged(n, "drift", 1.5, Verdict::False);
            one.alert.fired_us = n * hours * 3_600_000_000;
            one
        };
        (0..6).map(one).collect::<Vec<_>>()
    };
    assert!(matches!(fit_level(&said(4), 1.2, 1.0), Err(TrainError::OneDay { .. })));
    let report = fit_level(&said(5), 1.2, 1.0).unwrap().report;
    assert!(report.contains("level times 1.26, now 1.00, by 0 true and 6 false"), "{report}");
    assert!(
        report.contains("said 3 by \"eva\", 3 by \"nobody named\", from 1970-01-01 to 1970-01-03"),
        "{report}"
    );
    assert!(report.contains("of alerts from 1970-01-01 to 1970-01-02"), "{report}");
}

#[test]
fn a_level_is_of_the_streaming_detectors_alone() {
    let mut said: Vec<_> = (0..9).map(|n| judged(n, "drift", 1.3, Verdict::False)).collect();
    said.iter_mut().for_each(|one| one.alert.model.name = "central-expected".into());
    assert!(matches!(fit_level(&said, 1.2, 1.0), Err(TrainError::FewOfSeries { found: 0, .. })));
}
