#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use std::sync::Arc;
use weir_models::event::{Clock, Log, Loss, MetaState, ParseState, Value};
use weir_models::ident::{EventId, Stream};

fn event(body: Body) -> Event {
    Event {
        agent: "gw".into(),
        id: EventId { stream: Stream(1), seq: 1 },
        site: "a".into(),
        device: "pump".into(),
        ts_us: 0,
        received_us: 0,
        clock: Clock::Synced,
        source: "udp".into(),
        dialect: "rfc3164".into(),
        parse: ParseState::Ok,
        parse_reason: None,
        meta: Arc::new(
            std::collections::BTreeMap::from([("line".to_owned(), "4".to_owned())]).into(),
        ),
        meta_state: MetaState::Hit,
        meta_age_s: None,
        raw: None,
        body,
    }
}

fn log(severity: u8, app: &str, message: &str) -> Event {
    event(Body::Log(Log {
        severity: Some(severity),
        host: "web-1".into(),
        app: Some(app.into()),
        message: message.into(),
        ..Log::default()
    }))
}

fn reading(metrics: &[&str]) -> Event {
    let value = || Value { v: 1.0, ..Value::default() };
    event(Body::Reading(metrics.iter().map(|name| ((*name).to_owned(), value())).collect()))
}

fn filter(toml: &str) -> Filter {
    #[derive(Deserialize)]
    struct Rules {
        filter: Vec<Rule>,
    }
    let rules: Rules = toml::from_str(toml).unwrap();
    rules.filter.iter().for_each(|rule| rule.check().unwrap());
    Filter::new(rules.filter)
}

#[track_caller]
fn check(toml: &str, mut event: Event, expected: Verdict) {
    assert_eq!(filter(toml).apply(&mut event), expected);
}

#[test]
fn each_field_is_matched() {
    let hit = Verdict::Drop;
    for (rule, expected) in [
        ("severity_at_least = 6", hit),
        ("severity_at_least = 7", Verdict::Keep),
        ("host = 'web-*'", hit),
        ("host = 'db-*'", Verdict::Keep),
        ("app = 'sshd'", hit),
        ("message = 'Accepted'", hit),
        ("message = 'Refused'", Verdict::Keep),
        ("source = 'u*p'", hit),
        ("device = 'pump'\nsite = 'a'", hit),
        ("meta = { line = '4' }", hit),
        ("meta = { line = '5' }", Verdict::Keep),
        ("meta = { hall = '*' }", Verdict::Keep),
        ("metric = '*'", Verdict::Keep),
    ] {
        let rule = format!("[[filter]]\nname = 'r'\naction = 'drop'\n{rule}\n");
        check(&rule, log(6, "sshd", "Accepted password"), expected);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "[[filter]]\nname='keep'\naction='keep'\napp='sshd'\n\
                 [[filter]]\nname='low'\naction='lower'\nseverity_at_least=6\n\
                 [[filter]]\nname='rest'\naction='drop'\n";
    check(rules, log(6, "sshd", ""), Verdict::Keep);
    check(rules, log(6, "cron", ""), Verdict::Lower);
    check(rules, log(5, "cron", ""), Verdict::Drop);
}

#[test]
fn one_in_n_is_kept_beginning_with_the_first() {
    let mut filter = filter("[[filter]]\nname='s'\naction='sample'\nkeep_one_in=3\n");
    let kept: Vec<bool> =
        (0..7).map(|_| filter.apply(&mut log(6, "x", "")) == Verdict::Keep).collect();
    assert_eq!(kept, [true, false, false, true, false, false, true]);
    assert_eq!(filter.counts().collect::<Vec<_>>(), [("s", 4)]);
}

#[test]
fn a_rule_on_a_metric_takes_just_that_metric() {
    let mut filter = filter("[[filter]]\nname='m'\naction='drop'\nmetric='co*'\n");
    let mut both = reading(&["co2", "temp"]);
    assert_eq!(filter.apply(&mut both), Verdict::Keep);
    assert_eq!(both, reading(&["temp"]));
    assert_eq!(filter.apply(&mut reading(&["co2"])), Verdict::Drop);
    assert_eq!(filter.apply(&mut log(6, "x", "")), Verdict::Keep);
}

#[test]
fn a_loss_marker_is_never_filtered() {
    let marker = event(Body::Loss(Loss { count: 1, reason: "udp".into(), ..Loss::default() }));
    check("[[filter]]\nname='all'\naction='drop'\n", marker, Verdict::Keep);
}

#[test]
fn contradictions_are_told() {
    let rule = |text: &str| toml::from_str::<Rule>(text).unwrap().check().is_err();
    assert!(rule("name='a'\naction='sample'"));
    assert!(rule("name='a'\naction='drop'\nkeep_one_in=2"));
    assert!(rule("name='a'\naction='sample'\nkeep_one_in=0"));
    assert!(rule("name='a'\naction='drop'\nmetric='t'\napp='x'"));
    assert!(!rule("name='a'\naction='drop'\nmetric='t'"));
}

#[test]
fn counts_go_on_when_the_rules_change() {
    const NOISE: &str = "[[filter]]\nname='noise'\naction='sample'\nkeep_one_in=3\napp='a'\n";
    const DROP: &str = "[[filter]]\nname='drop'\naction='drop'\napp='b'\n";
    let mut filter = filter(&format!("{NOISE}{DROP}"));
    let counts = |filter: &Filter| -> BTreeMap<String, u64> {
        filter.counts().map(|(name, dropped)| (name.to_owned(), dropped)).collect()
    };
    let kept = |filter: &mut Filter, app: &str| filter.apply(&mut log(6, app, "")) == Verdict::Keep;
    assert_eq!([0; 4].map(|_| kept(&mut filter, "a")), [true, false, false, true]);
    assert!(!kept(&mut filter, "b"));
    // `noise` stays as it is and goes on in the middle of its three; `drop` is gone.
    filter.set_rules(super::tests::filter(NOISE).rules);
    assert_eq!([0; 3].map(|_| kept(&mut filter, "a")), [false, false, true]);
    assert!(kept(&mut filter, "b"));
    assert_eq!(counts(&filter), [("drop".into(), 1), ("noise".into(), 4)].into());
    // Back, and another one of the same name.
    let other = NOISE.replace("'a'", "'c'");
    filter.set_rules(super::tests::filter(&format!("{DROP}{other}")).rules);
    assert!(!kept(&mut filter, "b"));
    assert!(kept(&mut filter, "c"), "it begins anew");
    assert_eq!(counts(&filter), [("drop".into(), 2), ("noise".into(), 4)].into());
}
