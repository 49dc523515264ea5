//! What breaks a rule, what is said of it, and when it is over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use weir_models::alert::AlertState;
use weir_models::detect::Suite;
use weir_models::event::Body;

use super::super::tests::{MINUTE_US, calm, event, reading, run};
use super::super::{ScoreConfig, Scorer};
use super::*;

const QUIET: &str = "suite = { alarm_level = 50.0 }\n";

fn config(text: &str) -> ScoreConfig {
    let config: ScoreConfig = toml::from_str(&format!("{QUIET}{text}")).unwrap();
    config.check().unwrap();
    config
}

/// Of each alert: whether it fires, its rule, and the reason.
fn said(alerts: &[AlertData]) -> Vec<(bool, &str, &str)> {
    let of = |alert: &'_ AlertData| alert.state == AlertState::Firing;
    alerts
        .iter()
        .map(|alert| (of(alert), &*alert.why, alert.message.as_deref().unwrap_or_default()))
        .collect()
}

/// Alerts of values five minutes apart, in a unit.
fn run_in(unit: &str, config: &ScoreConfig, values: &[f64]) -> Vec<AlertData> {
    let mut scorer = Scorer::new(&"gw".into(), config);
    let mut drafts = Vec::new();
    for (i, v) in (0..).zip(values) {
        let value = Value { v: *v, unit: Some(unit.into()), score: None };
        let values = BTreeMap::from([("temp".to_owned(), value)]);
        scorer.score(&mut event(i * 5 * MINUTE_US, Body::Reading(values)), &mut drafts);
    }
    drafts.into_iter().map(|draft| draft.0).collect()
}

/// Two weeks, with a day in the middle where it stands still.
fn stuck(i: i64) -> f64 {
    if (8 * 288..9 * 288).contains(&i) { 20.505 } else { calm(i) }
}

#[test]
fn what_is_stuck_is_told_without_a_rule() {
    let why = "20.505 since 1970-01-09T00:00:00Z, 30 readings; never more than 1 before";
    let two_weeks = || (0..14 * 288).map(stuck);
    let alerts = run(&config(""), two_weeks());
    assert_eq!(said(&alerts), [(true, "stuck", why), (false, "stuck", "")]);
    assert_eq!(alerts[0].alert_id, alerts[1].alert_id);
    assert_eq!((&*alerts[0].model.name, alerts[0].last_values.len()), ("rule", 8));
    assert_eq!(said(&run(&config("[defaults]\nstuck = false"), two_weeks())), []);
    // A rule `flat` says what counts; one for another series does not.
    let flat = "[[rules]]\nrule = { kind = 'flat', name = 'f', flat_s = 1e6 }\n";
    assert_eq!(said(&run(&config(flat), two_weeks())), []);
    let other = flat.replace("rule =", "metric = 'level'\nrule =");
    assert_eq!(said(&run(&config(&other), two_weeks())).len(), 2);
}

#[test]
fn what_a_unit_cannot_be_is_told_without_a_rule() {
    let mut values = vec![20.0; 20];
    values[5] = -300.0;
    let why = "-300 °C: no sensor measures less than -273.15";
    let alerts = run_in("°C", &config(""), &values);
    assert_eq!(said(&alerts), [(true, "unit", why), (false, "unit", "")]);
    assert_eq!(said(&run_in("K", &config(""), &values)), []);
    assert_eq!(said(&run_in("°C", &config("[defaults]\nunits = false"), &values)), []);
    let own = "[[rules]]\nrule = { kind = 'range', name = 'r', min = -400.0 }\n";
    assert_eq!(said(&run_in("°C", &config(own), &values)), []);
}

#[test]
fn a_series_without_rules_holds_nothing_for_them() {
    let about = About { site: "a", device: "pump", metric: "temp" };
    let (agent, model) = (Arc::from("gw"), Model { name: "rule".into(), version: "1".into() });
    let life = LifeConfig { calm_readings: 1, calm_s: 0 };
    let (now_s, defaults) = (0, Defaults::default());
    let teller = Teller { agent: &agent, model: &model, life: &life, defaults, now_s };
    let (mut plant, last, mut drafts) = (Plant::default(), LastValues::new(), Vec::new());
    let mut held = |v: f64| {
        let value = Value { v, unit: Some("°C".into()), score: None };
        let broken = plant.look(&teller, "temp", 0, &value);
        plant.tell(&teller, &about, (0, &value), &broken, &last, &mut drafts);
        plant.ruled.is_some()
    };
    assert_eq!(
        [20.0, -300.0, -301.0, 20.0, 20.0].map(&mut held),
        [false, true, true, false, false]
    );
    assert_eq!(drafts.len(), 2);
    // What the memory plan reckons with, beside the name and the place in the map.
    assert!(size_of::<Plant>() <= 48, "{}", size_of::<Plant>());
    assert!(size_of::<LastValues>() + size_of::<Plant>() + size_of::<Suite>() <= 1_472);
}

const COUNTER: &str = "[[rules]]\nrule = { kind = 'counter', name = 'restart' }\n";

#[test]
fn a_counter_that_begins_anew_is_no_drop() {
    // Ten a reading, a bit more or less; it begins anew once.
    let value = |i: i64| (10 * (i % 2_000)) as f64 + calm(i);
    let level = "suite = { alarm_level = 1.2 }\n";
    let scored = |text: &str| {
        let config: ScoreConfig = toml::from_str(&format!("{level}{text}")).unwrap();
        run(&config, (0..3_000).map(value))
    };
    let near = |alerts: &[AlertData]| -> Vec<String> {
        let at = |alert: &&AlertData| (1_990..2_050).contains(&(alert.fired_us / (5 * MINUTE_US)));
        alerts.iter().filter(at).map(|alert| alert.why.clone()).collect()
    };
    let plain = near(&scored(""));
    assert!(!plain.is_empty() && !plain.contains(&"restart".to_owned()), "{plain:?}");
    let alerts = scored(COUNTER);
    assert_eq!(near(&alerts), ["restart", "restart"]);
    let why = alerts.iter().find_map(|alert| alert.message.clone()).unwrap();
    assert!(why.starts_with("reset: it counted to 200") && why.contains("now at 20"), "{why}");
}

#[test]
fn expected_values_of_a_counter_are_in_its_own_terms() {
    let mut values: Vec<f64> = (0..400).map(|i| f64::from(i) * 10.0).collect();
    values.extend((0..400).map(|i| f64::from(i) * 10.0));
    values.push(1e6);
    let text = format!("suite = {{ alarm_level = 1.2 }}\n{COUNTER}");
    let alerts = run(&toml::from_str(&text).unwrap(), values.into_iter());
    let last = alerts.iter().rfind(|alert| alert.baseline.is_some()).unwrap();
    let baseline = last.baseline.clone().unwrap();
    // As the counter has counted since it began anew, not as if it had gone on.
    assert!((1.0..3_990.0).contains(&baseline.expected), "{baseline:?}");
    assert!(baseline.low < baseline.expected && baseline.expected < baseline.high, "{baseline:?}");
}

/// Alerts where readings come every ten seconds but for a silence, and seconds pass all the time.
fn run_silence(config: &ScoreConfig, silent_s: std::ops::Range<u32>) -> Vec<AlertData> {
    let mut scorer = Scorer::new(&"gw".into(), config);
    let mut drafts = Vec::new();
    for s in 1..1_000 {
        if scorer.watches() {
            scorer.pass(s, &mut drafts);
        }
        if s % 10 == 0 && !silent_s.contains(&s) {
            let at_us = 1_700_000_000_000_000 + i64::from(s) * 1_000_000;
            scorer.score(&mut reading(at_us, 20.0), &mut drafts);
        }
    }
    drafts.into_iter().map(|draft| draft.0).collect()
}

#[test]
fn silence_is_told_while_it_lasts_and_over_with_the_first_reading() {
    #[track_caller]
    fn check(rule: &str, silent_s: std::ops::Range<u32>, expected: &[(bool, &str, &str)]) {
        let alerts = run_silence(&config(&format!("[[rules]]\nrule = {rule}\n")), silent_s);
        assert_eq!(said(&alerts), expected);
    }
    let fixed = "{ kind = 'gap', name = 'silent', gap_s = 60.0 }";
    let since = "no reading since 2023-11-14T22:21:40Z: none for";
    let told = |why: &'static str| [(true, "silent", why)];
    check(fixed, 0..0, &[]);
    check(fixed, 501..560, &[]);
    let why = format!("{since} 65 s, allowed are 60 s").leak();
    check(fixed, 501..600, &[told(why)[0], (false, "silent", "")]);
    check(fixed, 501..9_999, &told(why));
    let own = "{ kind = 'gap', name = 'silent', intervals = 3.0 }";
    check(own, 501..9_999, &told(format!("{since} 35 s, allowed are 30 s").leak()));
    // Not in a series that no rule is for.
    let other = "{ kind = 'gap', name = 'silent', gap_s = 60.0 }\nmetric = 'level'";
    check(other, 501..9_999, &[]);

    let alerts = run_silence(&config(&format!("[[rules]]\nrule = {fixed}\n")), 501..600);
    assert_eq!(alerts[0].kind, AlertKind::Silence);
    // It began with the last reading, and ended with the first.
    let span = (alerts[1].fired_us, alerts[1].resolved_us);
    assert_eq!(span, (1_700_000_500_000_000, Some(1_700_000_600_000_000)));
    assert_eq!(alerts[0].fired_us, span.0);
}

/// Scores of the metrics, and of which metrics alerts were, where the two part from each other for a while.
fn run_tiers(tiers: &str) -> (Vec<&'static str>, Vec<String>) {
    let config: ScoreConfig = toml::from_str(tiers).unwrap();
    let mut scorer = Scorer::new(&"gw".into(), &config);
    let (mut drafts, mut scored) = (Vec::new(), Vec::new());
    for i in 0..2_000 {
        let load = calm(i) + calm(i / 3);
        let parts = (1_500..1_600).contains(&i);
        let flow = if parts { 41.0 - load } else { load } * 2.0 + calm(i * 5);
        let value = |v| Value { v, ..Value::default() };
        let values = BTreeMap::from([("load".into(), value(load)), ("flow".into(), value(flow))]);
        let mut event = event(i * 5 * MINUTE_US, Body::Reading(values));
        scorer.score(&mut event, &mut drafts);
        let Body::Reading(values) = &event.body else { panic!() };
        let names = ["load", "flow"].into_iter();
        scored = names.filter(|name| values[*name].score.is_some()).collect();
    }
    let alerts = drafts.into_iter().map(|draft| draft.0);
    (scored, alerts.filter(|alert| alert.metric == "group").map(|alert| alert.why).collect())
}

#[test]
fn tiers_say_how_much_is_done() {
    let tiers = |list: &[(&str, &str)]| -> String {
        let tier = |(metric, tier)| format!("[[tiers]]\nmetric = '{metric}'\ntier = '{tier}'\n");
        list.iter().copied().map(tier).collect()
    };
    #[track_caller]
    fn check(tiers: &str, scored: &[&str], groups: usize) {
        let (found, group) = run_tiers(tiers);
        assert_eq!((&found[..], group.len()), (scored, groups), "{tiers}");
    }
    check("", &["load", "flow"], 0);
    check(&tiers(&[("f*", "T1")]), &["load"], 0);
    check(&tiers(&[("*", "T3")]), &["load", "flow"], 2);
    check(&tiers(&[("f*", "T3")]), &["load", "flow"], 0);
    // The first that names it counts.
    check(&tiers(&[("flow", "T2"), ("*", "T1")]), &["flow"], 0);
    assert!(toml::from_str::<ScoreConfig>(&tiers(&[("*", "T4")])).is_err());
}

#[test]
fn rules_hold_in_every_tier_and_a_tier_may_change() {
    let rule = "[[rules]]\nrule = { kind = 'range', name = 'hot', max = 90.0 }\n";
    let text = format!("[[tiers]]\ntier = 'T1'\n{rule}");
    let mut scorer = Scorer::new(&"gw".into(), &config(&text));
    let mut drafts = Vec::new();
    let mut score = |scorer: &mut Scorer, v: f64| {
        let mut event = reading(0, v);
        scorer.score(&mut event, &mut drafts);
        let Body::Reading(values) = &event.body else { panic!() };
        values["temp"].score.is_some()
    };
    assert!(!score(&mut scorer, 95.0));
    scorer.configure(&config(rule));
    assert!(score(&mut scorer, 20.0));
    scorer.configure(&config(&text));
    assert!(!score(&mut scorer, 20.0));
    let alerts: Vec<AlertData> = drafts.into_iter().map(|draft| draft.0).collect();
    assert_eq!(said(&alerts), [(true, "hot", "95 is above 90")]);
}

/// Scores the values of these readings, five minutes apart.
fn feed(
    scorer: &mut Scorer,
    range: std::ops::Range<i64>,
    v: impl Fn(i64) -> f64,
) -> Vec<AlertData> {
    let mut drafts = Vec::new();
    range.for_each(|i| scorer.score(&mut reading(i * 5 * MINUTE_US, v(i)), &mut drafts));
    drafts.into_iter().map(|draft| draft.0).collect()
}

#[test]
fn an_alert_ends_where_its_series_is_judged_no_more() {
    let mut scorer = Scorer::new(&"gw".into(), &ScoreConfig::default());
    feed(&mut scorer, 0..2_000, calm);
    let fired = feed(&mut scorer, 2_000..2_002, |_| 80.0);
    assert_eq!(fired.len(), 1, "{fired:#?}");
    let rules_only: ScoreConfig = toml::from_str("[[tiers]]\ntier = 'T1'\n").unwrap();
    scorer.configure(&rules_only);
    let ended = feed(&mut scorer, 2_002..2_050, calm);
    assert_eq!(ended.len(), 1, "{ended:#?}");
    assert_eq!(ended[0].state, AlertState::Resolved);
    assert_eq!((&ended[0].alert_id, &ended[0].kind), (&fired[0].alert_id, &fired[0].kind));
}

#[test]
fn a_reload_keeps_what_rules_have_learnt() {
    let mut scorer = Scorer::new(&"gw".into(), &config(COUNTER));
    let counted = |i: i64| (10 * (i % 50)) as f64;
    assert_eq!(feed(&mut scorer, 0..60, counted).len(), 1);
    let offset = |scorer: &mut Scorer| {
        let mut offset = 0.0;
        let stage = scorer.readings.as_mut().unwrap();
        stage.each_plant(|plant| offset = plant.offset());
        offset
    };
    assert_eq!(offset(&mut scorer), 490.0);
    let more = "[[rules]]\nrule = { kind = 'range', name = 'most', max = 1e9 }\n";
    scorer.configure(&config(&format!("{more}{COUNTER}")));
    assert_eq!(offset(&mut scorer), 490.0);
}

#[test]
fn a_silence_whose_rule_is_gone_ends_as_one() {
    let gap = "[[rules]]\nrule = { kind = 'gap', name = 'silent', gap_s = 60.0 }\n";
    let mut scorer = Scorer::new(&"gw".into(), &config(gap));
    feed(&mut scorer, 0..1, calm);
    let mut drafts = Vec::new();
    (1..100).for_each(|now_s| scorer.pass(now_s, &mut drafts));
    assert_eq!((drafts.len(), drafts[0].0.kind), (1, AlertKind::Silence));
    scorer.configure(&config(""));
    let ended = feed(&mut scorer, 1..2, calm);
    assert_eq!(said(&ended), [(false, "silent", "")]);
    assert_eq!(ended[0].kind, AlertKind::Silence);
}
