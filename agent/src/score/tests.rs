#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::*;
use weir_models::alert::AlertState;
use weir_models::event::{Clock, Log, MetaState, ParseState, Value};
use weir_models::ident::Stream;

pub(super) const MINUTE_US: i64 = 60_000_000;

pub(super) fn event(ts_us: i64, body: Body) -> Event {
    Event {
        agent: "gw".into(),
        id: EventId { stream: Stream(1), seq: 1 },
        site: "a".into(),
        device: "pump".into(),
        ts_us,
        received_us: ts_us,
        clock: Clock::Synced,
        source: "http".into(),
        dialect: Cow::Borrowed("line"),
        parse: ParseState::Ok,
        parse_reason: None,
        meta: Arc::default(),
        meta_state: MetaState::Miss,
        meta_age_s: None,
        raw: None,
        body,
    }
}

pub(super) fn reading(ts_us: i64, v: f64) -> Event {
    let values = BTreeMap::from([("temp".to_owned(), Value { v, ..Value::default() })]);
    event(ts_us, Body::Reading(values))
}

/// A calm, slightly noisy signal (no random numbers: the same every time).
pub(super) fn calm(i: i64) -> f64 {
    20.0 + (i * 7_919 % 101) as f64 / 100.0
}

pub(super) fn run(config: &ScoreConfig, values: impl Iterator<Item = f64>) -> Vec<AlertData> {
    let mut scorer = Scorer::new(&"gw".into(), config);
    let mut drafts = Vec::new();
    for (i, v) in values.enumerate() {
        let mut event = reading(i64::try_from(i).unwrap() * 5 * MINUTE_US, v);
        scorer.score(&mut event, &mut drafts);
        let Body::Reading(values) = &event.body else { unreachable!() };
        assert!(values["temp"].score.unwrap().is_finite());
    }
    drafts.into_iter().map(|draft| draft.0).collect()
}

#[test]
fn a_jump_fires_once_and_is_resolved_under_the_same_id() {
    let jump = |i: i64| if (2_000..2_020).contains(&i) { 80.0 } else { calm(i) };
    let alerts = run(&ScoreConfig::default(), (0..3_000).map(jump));
    let at_jump: Vec<_> = alerts.iter().filter(|a| a.fired_us / (5 * MINUTE_US) >= 1_990).collect();
    assert_eq!(at_jump.len(), 2, "{at_jump:#?}");
    assert_eq!(at_jump[0].state, AlertState::Firing);
    assert_eq!(at_jump[1].state, AlertState::Resolved);
    assert_eq!(at_jump[0].alert_id, at_jump[1].alert_id);
    let baseline = at_jump[0].baseline.clone().unwrap();
    assert!(baseline.low < 22.0 && baseline.expected < 40.0, "{baseline:?}");
    assert_eq!(at_jump[0].last_values.len(), 8);
    assert_eq!(at_jump[0].last_values[7].v, 80.0);
}

#[test]
fn what_is_held_back_is_a_probability() {
    for (text, fine) in [("0", true), ("0.3", true), ("1.0", true), ("1.1", false), ("nan", false)]
    {
        let config: ScoreConfig = toml::from_str(&format!("suppress_below = {text}")).unwrap();
        let checked = config.check();
        assert_eq!(checked.is_ok(), fine, "{text}: {checked:?}");
        assert!(fine || checked.unwrap_err().contains("suppress_below is"));
    }
}

#[test]
fn a_rule_fires_under_its_name() {
    let text = "[[rules]]\nmetric='te*'\nrule={kind='range', name='too hot', max=21.5}\n";
    let config: ScoreConfig = toml::from_str(text).unwrap();
    config.check().unwrap();
    let alerts = run(&config, (0..100).map(|i| if i == 50 { 21.6 } else { calm(i) }));
    let hot: Vec<_> = alerts.iter().filter(|a| a.why == "too hot").collect();
    assert_eq!(hot.len(), 2);
    assert_eq!(&*hot[0].model.name, "rule");
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let text = "[[rules]]\nrule={kind='range', name='x', min=3.0, max=1.0}\n";
    let config: ScoreConfig = toml::from_str(text).unwrap();
    assert!(config.check().unwrap_err().contains("min above its max"));
}

#[test]
fn series_are_bounded() {
    let config = ScoreConfig {
        series_max: std::num::NonZeroUsize::new(3).unwrap(),
        ..ScoreConfig::default()
    };
    let mut scorer = Scorer::new(&"gw".into(), &config);
    for i in 0..10 {
        let mut event = reading(i, 1.0);
        event.device = format!("d{i}");
        scorer.score(&mut event, &mut Vec::new());
    }
    assert_eq!(scorer.series(), 3);
}

#[test]
fn lines_of_one_template_share_its_id() {
    let mut scorer = Scorer::new(&"gw".into(), &ScoreConfig::default());
    let mut template = |message: &str| {
        let log = Log { message: message.into(), ..Log::default() };
        let mut event = event(0, Body::Log(log));
        scorer.score(&mut event, &mut Vec::new());
        event.log().unwrap().template.unwrap()
    };
    let first = template("Accepted password for root from 10.0.0.1 port 22");
    assert_eq!(template("Accepted password for root from 10.0.0.9 port 4711"), first);
    assert_ne!(template("Server listening on 0.0.0.0 port 22."), first);
}

/// Alerts of the last `after` of the values, which come under other settings than those before.
fn run_changed(before: &str, after: &str, values: &[f64], changed_at: usize) -> Vec<AlertData> {
    let [before, after] = [before, after].map(|text| toml::from_str::<ScoreConfig>(text).unwrap());
    let mut scorer = Scorer::new(&"gw".into(), &before);
    let mut drafts = Vec::new();
    for (i, v) in values.iter().enumerate() {
        if i == changed_at {
            scorer.configure(&after);
        }
        let mut event = reading(i64::try_from(i).unwrap() * 5 * MINUTE_US, *v);
        scorer.score(&mut event, &mut drafts);
    }
    drafts.into_iter().map(|draft| draft.0).collect()
}

#[test]
fn what_was_learnt_stays_when_settings_change() {
    let values: Vec<f64> = (0..2_100).map(|i| if i >= 2_050 { 80.0 } else { calm(i) }).collect();
    let fired = |after: &str| {
        let alerts = run_changed("suite = { alarm_level = 50.0 }", after, &values, 2_040);
        // Of the detector: what is also stuck is told by a rule.
        let of =
            |alert: &&AlertData| alert.state == AlertState::Firing && &*alert.model.name != RULE;
        alerts.iter().filter(of).count()
    };
    // A scorer that began anew at the change would need more than ten readings to call this a jump.
    assert_eq!(fired("suite = { alarm_level = 0.8 }"), 1);
    assert_eq!(fired("suite = { alarm_level = 40.0 }"), 0);
    assert_eq!(fired("readings = false"), 0);
}

#[test]
fn alerts_of_rules_go_on_and_end_when_the_rules_change() {
    let rule = |name: &str, max: f64| {
        format!("[[rules]]\nrule={{kind='range', name='{name}', max={max:?}}}\n")
    };
    let quiet = "suite = { alarm_level = 50.0 }\n";
    let mut values = vec![10.0; 5];
    values.extend([1.0; 40]);
    #[track_caller]
    fn check(before: &str, after: &str, values: &[f64], expected: &[(&str, AlertState)]) {
        let alerts = run_changed(before, after, values, 3);
        let found: Vec<_> = alerts.iter().map(|alert| (alert.why.as_str(), alert.state)).collect();
        assert_eq!(found, expected);
        let ids: std::collections::BTreeSet<_> = alerts.iter().map(|a| &a.alert_id).collect();
        assert_eq!(ids.len() * 2, alerts.len(), "each ends under the id it began with");
    }
    let one = format!("{quiet}{}", rule("a", 5.0));
    let two = format!("{quiet}{}{}", rule("b", 8.0), rule("a", 5.0));
    let (fires, ends) = (AlertState::Firing, AlertState::Resolved);
    // The one that stays does not fire again, the new one does.
    check(&one, &two, &values, &[("a", fires), ("b", fires), ("b", ends), ("a", ends)]);
    // What is gone ends after calm readings, whatever the values are.
    check(&one, quiet, &vec![10.0; 40], &[("a", fires), ("a", ends)]);
}

/// A line of an application, with one number in it.
fn line(ts_us: i64, app: &str, message: String) -> Event {
    let log = Log { app: Some(app.into()), message, severity: Some(6), ..Log::default() };
    event(ts_us, Body::Log(log))
}

/// A host that says that it lives each minute, until it does not, and something else in between: its alerts.
fn heartbeats(stopped: i64) -> Vec<AlertData> {
    let mut scorer = Scorer::new(&"gw".into(), &ScoreConfig::default());
    let mut drafts = Vec::new();
    for minute in 0..2 * 24 * 60 {
        let ts_us = minute * MINUTE_US;
        if minute < stopped {
            scorer.score(&mut line(ts_us, "watchdog", format!("alive {minute}")), &mut drafts);
        }
        for second in [20, 40] {
            let mut other = line(ts_us + second * 1_000_000, "poll", format!("read {second}"));
            scorer.score(&mut other, &mut drafts);
            let Body::Log(log) = &other.body else { unreachable!() };
            assert!(log.template.is_some() && log.score.is_some());
        }
    }
    drafts.into_iter().map(|draft| draft.0).collect()
}

#[test]
fn a_line_that_no_longer_comes_is_an_alert_of_its_application() {
    assert_eq!(heartbeats(i64::MAX), []);
    let alerts = heartbeats(36 * 60);
    let [alert] = &alerts[..] else { unreachable!("{alerts:#?}") };
    assert_eq!((alert.metric.as_str(), alert.why.as_str()), ("watchdog", "missing line"));
    let message = alert.message.as_deref().unwrap();
    assert!(message.starts_with("alive <num> (every 60 s, none for "), "{message}");
    assert!(alert.score >= alert.threshold, "{alert:?}");
}

#[test]
fn metrics_that_part_are_one_alert_of_the_group() {
    let config: ScoreConfig = toml::from_str("group_level = 3.0").unwrap();
    let mut scorer = Scorer::new(&"gw".into(), &config);
    let mut drafts = Vec::new();
    for i in 0..2_000 {
        let load = calm(i) + calm(i / 3);
        let flow = if (1_500..1_600).contains(&i) { 41.0 - load } else { load } * 2.0 + calm(i * 5);
        let value = |v| Value { v, ..Value::default() };
        let values = BTreeMap::from([("load".into(), value(load)), ("flow".into(), value(flow))]);
        let mut event = event(i * 5 * MINUTE_US, Body::Reading(values));
        scorer.score(&mut event, &mut drafts);
    }
    let alerts: Vec<AlertData> = drafts.into_iter().map(|draft| draft.0).collect();
    let groups: Vec<_> = alerts.iter().filter(|alert| alert.metric == "group").collect();
    let [fired, resolved] = groups[..] else { panic!("{groups:#?}") };
    assert_eq!((fired.state, resolved.state), (AlertState::Firing, AlertState::Resolved));
    assert!((1_500..1_600).contains(&(fired.fired_us / (5 * MINUTE_US))), "{fired:?}");
    assert!(["load", "flow"].contains(&fired.why.as_str()) && &*fired.model.name == "mewma");
}
