#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use weir_models::central::{Centre, Level, POINTS, RERANK_WIDTH, Rerank, Shapes};
use weir_models::event::{Body, Event};

use super::*;
use crate::central::scene::head;
use crate::score::tests::{MINUTE_US, calm, reading};
use crate::score::{ScoreConfig, Scorer};

fn order(scope: [&str; 3], version: u64, model: Model) -> Order {
    let [site, device, metric] = scope;
    let head = head(site, device, metric, version);
    let key = head.key(model.kind()).into();
    Order::Force { key, central: Arc::new(Central { head, model }) }
}

fn level(scope: [&str; 3], factor: f32) -> Order {
    order(scope, 1, Model::Level(Level::new(factor).unwrap()))
}

/// Wants alerts of `drift` and nothing else.
fn rerank() -> Order {
    let mut weights = vec![0.0; RERANK_WIDTH];
    let drift = 12 + 5;
    weights[drift] = 8.0;
    order(["a", "*", "*"], 1, Model::Rerank(Rerank::new(-4.0, weights).unwrap()))
}

fn withdraw(kind: Kind, scope: &str) -> Order {
    Order::Withdraw { key: format!("{kind}/{scope}").into() }
}

fn begin() -> Order {
    let (told, _) = tokio::sync::mpsc::channel(1);
    Order::Begin { told, shadow_us: 0 }
}

#[test]
fn a_model_of_the_series_goes_before_one_for_a_pattern_until_it_is_gone() {
    let mut advice = Advice::default();
    let factor = |advice: &Advice| match advice.find(Kind::Level, ["a", "pump", "temp"]) {
        Some(Model::Level(level)) => level.factor(),
        None => 1.0,
        other => panic!("{other:?}"),
    };
    let steps = [
        (level(["a", "*", "*"], 2.0), 2.0),
        (level(["a", "pump", "*"], 3.0), 2.0),
        (level(["b", "pump", "temp"], 1.2), 2.0),
        (level(["a", "pump", "temp"], 1.5), 1.5),
        (level(["a", "pump", "temp"], 0.8), 0.8),
        (rerank(), 0.8),
        (withdraw(Kind::Level, "a/pump/temp"), 2.0),
        (withdraw(Kind::Level, "a/*/*"), 3.0),
        (begin(), 1.0),
        (withdraw(Kind::Level, "a/pump/*"), 1.0),
    ];
    for (n, (order, expected)) in steps.into_iter().enumerate() {
        advice.order(&order);
        assert_eq!(factor(&advice), expected, "step {n}");
    }
}

/// A jump at reading 2000 that lasts, one at 2900; `each` may tell the scorer something before a reading.
fn run(config: &ScoreConfig, mut each: impl FnMut(i64, &mut Scorer)) -> (Vec<AlertData>, Vec<f32>) {
    let mut scorer = Scorer::new(&"gw".into(), config);
    let (mut drafts, mut scores) = (Vec::new(), Vec::new());
    for i in 0..3_500 {
        each(i, &mut scorer);
        let jumps = [2_000..2_020, 2_900..2_920].iter().any(|at| at.contains(&i));
        let value = if jumps { 80.0 } else { calm(i) };
        let mut event: Event = reading(i * 5 * MINUTE_US, value);
        scorer.score(&mut event, &mut drafts);
        let Body::Reading(values) = &event.body else { unreachable!() };
        scores.push(values["temp"].score.unwrap());
    }
    (drafts.into_iter().map(|Draft(alert)| alert).collect(), scores)
}

fn at_jumps(alerts: &[AlertData]) -> Vec<&AlertData> {
    let begins = |at: &&AlertData| {
        let n = at.fired_us / (5 * MINUTE_US);
        (2_000..2_020).contains(&n) || (2_900..2_920).contains(&n)
    };
    alerts.iter().filter(begins).collect()
}

#[test]
fn an_alert_says_how_many_there_were_and_how_likely_it_is_wanted() {
    let config = ScoreConfig::default();
    let (alerts, before) = run(&config, |_, _| {});
    let told = at_jumps(&alerts);
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().all(|alert| alert.rank.is_none()));
    // Three days, of seven.
    assert!(told[0].recent.is_some() && told[1].recent.is_none());
    assert!(told[2].recent.unwrap() >= 1, "{told:#?}");

    let (alerts, after) = run(&config, |i, scorer| {
        if i == 2_500 {
            scorer.order(rerank());
        }
    });
    let told = at_jumps(&alerts);
    let ranks: Vec<_> = told.iter().map(|alert| alert.rank.map(|rank| rank < 0.02)).collect();
    assert_eq!(ranks, [None, None, Some(true), None]);
    assert_eq!(before, after, "a rank changes no score");
}

#[test]
fn what_is_held_back_is_so_to_its_end_and_only_where_it_is_allowed() {
    let allowed = ScoreConfig { suppress_below: 0.5, ..ScoreConfig::default() };
    let (alerts, _) = run(&allowed, |i, scorer| match i {
        1_000 => scorer.order(rerank()),
        // The model leaves while the alert is held back: its end is held back all the same.
        2_005 => scorer.order(withdraw(Kind::Rerank, "a/*/*")),
        _ => {}
    });
    let told = at_jumps(&alerts);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|alert| alert.fired_us >= 2_900 * 5 * MINUTE_US));
    assert_eq!(told[0].alert_id, told[1].alert_id);
}

#[test]
fn rules_and_silence_are_never_held_back() {
    let mut ranks = Ranks::default();
    ranks.order(&rerank());
    let (alerts, _) = run(&ScoreConfig::default(), |_, _| {});
    let first = at_jumps(&alerts)[0].clone();
    let mut of_rule = first.clone();
    of_rule.model.name = RULE.into();
    let silence = AlertData { kind: AlertKind::Silence, ..first.clone() };
    let elsewhere = AlertData { site: "b".into(), ..first.clone() };
    let mut drafts: Vec<_> =
        [&first, &of_rule, &silence, &elsewhere, &first].map(|a| Draft(a.clone())).into();
    ranks.look(&mut drafts, 1, 1.0);
    // The first was there before, the last is held back.
    assert_eq!(drafts.iter().map(|Draft(a)| a.rank).collect::<Vec<_>>(), [None; 4]);
    assert_eq!(ranks.held, std::slice::from_ref(&first.alert_id));
    // So many are held back, and no more.
    ranks.held = vec![String::from("other"); HELD_MAX];
    let mut drafts = vec![Draft(first)];
    ranks.look(&mut drafts, 0, 1.0);
    assert_eq!((drafts.len(), ranks.held.len()), (1, HELD_MAX));
}

#[test]
fn a_level_moves_the_threshold_of_its_series_from_the_next_reading_on() {
    let config = ScoreConfig::default();
    let thresholds = |factor: Option<f32>| {
        let (alerts, scores) = run(&config, |i, scorer| match (i, factor) {
            (1_000, Some(factor)) => scorer.order(level(["a", "pump", "temp"], factor)),
            (2_500, Some(_)) => scorer.order(withdraw(Kind::Level, "a/pump/temp")),
            // Other settings do not take it away, nor does it take theirs.
            (1_500, _) => scorer
                .configure(&ScoreConfig { series_max: 7.try_into().unwrap(), ..config.clone() }),
            _ => {}
        });
        let told = at_jumps(&alerts);
        (told[0].threshold, told[2].threshold, scores)
    };
    let (first, second, before) = thresholds(None);
    let (raised, back, after) = thresholds(Some(1.5));
    assert!((raised / first - 1.5).abs() < 0.2, "{first} {raised}");
    assert!((back / second - 1.0).abs() < 0.2, "{second} {back}");
    assert_eq!(before, after, "a level changes no score");
}

#[test]
fn shapes_are_what_a_new_series_begins_with_to_the_bit() {
    let centre = |v: f32| Centre { points: [v; POINTS], weight: 100 };
    let shapes = Shapes::new(vec![centre(-1.0), centre(0.0), centre(1.0)]).unwrap();
    let (_, cold) = run(&ScoreConfig::default(), |_, _| {});
    let from = |wanted: i64| {
        let told = |i: i64, scorer: &mut Scorer| {
            if i == wanted {
                scorer.order(order(["a", "*", "temp"], 1, Model::Shapes(shapes.clone())));
            }
        };
        run(&ScoreConfig::default(), told).1
    };
    let warm = from(0);
    let mut suite = Suite::new(&SuiteConfig::default());
    suite.begin_with(&shapes);
    let by_the_centre: Vec<f32> = (0..3_500)
        .map(|i| {
            let jumps = [2_000..2_020, 2_900..2_920].iter().any(|at| at.contains(&i));
            let value = if jumps { 80.0 } else { calm(i) };
            suite.update(i * 5 * MINUTE_US, value).score
        })
        .collect();
    assert_eq!(warm, by_the_centre);
    assert_ne!(warm, cold);
    // A series that was there before goes on with what it has learnt.
    assert_eq!(from(100), cold);
}
