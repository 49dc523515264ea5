#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use weir_models::central::{Centre, Level, POINTS, RERANK_WIDTH, Rerank, Shapes};
use weir_models::event::{Body, Event, Log};

use super::*;
use crate::central::scene::head;
use crate::score::tests::{MINUTE_US, calm, event, reading};
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
    let names = Rerank::new(0.0, weights.clone()).unwrap();
    let drift = names.weights().position(|(name, _)| name == "drift").unwrap();
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

/// Says this of every alert.
fn rerank_all(scope: [&str; 3], intercept: f64) -> Order {
    order(scope, 1, Model::Rerank(Rerank::new(intercept, vec![0.0; RERANK_WIDTH]).unwrap()))
}

#[test]
fn of_models_for_patterns_the_closest_counts_in_any_order() {
    let all = [
        (["*", "*", "*"], -1.0),
        (["a", "*", "*"], -2.0),
        (["a", "pump*", "*"], -3.0),
        (["a", "pu*", "*"], -4.0),
        (["a", "*", "temp"], -5.0),
    ];
    let best = |scopes: &[([&str; 3], f64)]| {
        let mut ranks = Ranks::default();
        scopes.iter().for_each(|(scope, it)| ranks.order(&rerank_all(*scope, *it)));
        match ranks.models.find(Kind::Rerank, ["a", "pump", "temp"]) {
            Some(Model::Rerank(model)) => model.judge(&[0.0; RERANK_WIDTH]),
            other => panic!("{other:?}"),
        }
    };
    let mut back = all;
    back.reverse();
    for known in [2, 3, 4, 5] {
        let wanted = [0.0, 0.0, -2.0, -3.0, -3.0, -5.0][known];
        let rank = weir_models::central::sigmoid(wanted);
        assert_eq!(best(&all[..known]), rank, "{known}");
        assert_eq!(best(&back[5 - known..]), rank, "{known}, backwards");
    }
}

#[test]
fn a_level_is_of_the_series_of_that_name_and_no_pattern() {
    let mut advice = Advice::default();
    advice.order(&level(["a", "*", "temp"], 3.0));
    assert!(advice.find(Kind::Level, ["a", "pump", "temp"]).is_none());
    assert!(advice.find(Kind::Level, ["a", "*", "temp"]).is_some());
}

#[test]
fn a_model_of_the_series_goes_before_one_for_a_pattern_until_it_is_gone() {
    let mut advice = Advice::default();
    let of = |scope, weight| {
        let centres = vec![Centre { points: [0.0; POINTS], weight }];
        order(scope, 1, Model::Shapes(Shapes::new(centres).unwrap()))
    };
    let weight = |advice: &Advice| match advice.find(Kind::Shapes, ["a", "pump", "temp"]) {
        Some(Model::Shapes(shapes)) => shapes.centres()[0].weight,
        None => 0,
        other => panic!("{other:?}"),
    };
    let steps = [
        (of(["a", "*", "*"], 20), 20),
        (of(["a", "pump", "*"], 30), 30),
        (of(["b", "pump", "temp"], 12), 30),
        (of(["a", "pump", "temp"], 15), 15),
        (of(["a", "pump", "temp"], 8), 8),
        (rerank(), 8),
        (withdraw(Kind::Shapes, "a/pump/temp"), 30),
        (withdraw(Kind::Shapes, "a/pump/*"), 20),
        (begin(), 0),
        (withdraw(Kind::Shapes, "a/*/*"), 0),
    ];
    for (n, (order, expected)) in steps.into_iter().enumerate() {
        advice.order(&order);
        assert_eq!(weight(&advice), expected, "step {n}");
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
fn what_is_held_back_is_so_to_its_end_or_until_it_is_not_allowed_any_more() {
    let allowed = ScoreConfig { suppress_below: 0.5, ..ScoreConfig::default() };
    let held = |each: &mut dyn FnMut(&mut Scorer)| {
        let (alerts, _) = run(&allowed, |i, scorer| match i {
            1_000 => scorer.order(rerank()),
            2_005 => each(scorer),
            _ => {}
        });
        at_jumps(&alerts).into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(held(&mut |_| {}), []);
    let withdrawn = held(&mut |scorer| scorer.order(withdraw(Kind::Rerank, "a/*/*")));
    let forbidden = held(&mut |scorer| scorer.configure(&ScoreConfig::default()));
    for told in [withdrawn, forbidden] {
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].resolved_us.is_none() && told[1].resolved_us.is_some());
        assert!(told[0].fired_us < 2_005 * 5 * MINUTE_US, "it fired before it was told");
        assert_eq!(told[0].alert_id, told[1].alert_id);
    }
}

#[test]
fn what_is_held_back_is_told_once_when_it_is_much_worse() {
    // Above a score of about 2 the rank is above a half.
    let mut weights = vec![0.0; RERANK_WIDTH];
    weights[1] = 60.0;
    let of_score = order(["a", "*", "*"], 1, Model::Rerank(Rerank::new(-40.0, weights).unwrap()));
    let mut ranks = Ranks::default();
    ranks.order(&of_score);
    let (alerts, _) = run(&ScoreConfig::default(), |_, _| {});
    let first = AlertData { score: 1.3, recent: Some(7), ..at_jumps(&alerts)[0].clone() };
    let worse = |score| AlertData { score, resolved_us: Some(5), recent: None, ..first.clone() };
    let end = AlertData { state: AlertState::Resolved, ..worse(9.0) };
    let mut look = |alert: &AlertData| {
        let mut drafts = vec![Draft(alert.clone())];
        ranks.look(&mut drafts, 0, 0.5);
        drafts.into_iter().map(|Draft(alert)| (alert.score, alert.resolved_us)).collect::<Vec<_>>()
    };
    assert_eq!(look(&first), []);
    assert_eq!(look(&worse(1.9)), []);
    assert_eq!(look(&worse(4.0)), [(4.0, None)]);
    assert_eq!(look(&worse(9.0)), [], "it was told");
    assert_eq!(look(&end), [(9.0, Some(5))]);
    // Held back to the end: nobody is told of it.
    assert_eq!(look(&first), []);
    assert_eq!(look(&end), []);
}

#[test]
fn a_missing_line_is_told_although_an_alert_of_its_application_is_held_back() {
    let told = |is_ranked: bool| {
        let config = ScoreConfig { suppress_below: 0.5, ..ScoreConfig::default() };
        let mut scorer = Scorer::new(&"gw".into(), &config);
        if is_ranked {
            scorer.order(rerank_all(["*", "*", "*"], -4.0));
        }
        let mut drafts = Vec::new();
        for minute in 0..2 * 24 * 60 {
            let (at_us, stopped) = (minute * MINUTE_US, 36 * 60);
            let mut say = |ts_us: i64, app: &str, severity: u8, message: String| {
                let (app, severity) = (Some(app.into()), Some(severity));
                let log = Log { app, severity, message, ..Log::default() };
                scorer.score(&mut event(ts_us, Body::Log(log)), &mut drafts);
            };
            match minute {
                _ if minute < stopped => say(at_us, "watchdog", 6, format!("alive {minute}")),
                // The last word of the application is an alert of its own, which never ends.
                _ if minute == stopped => say(at_us, "watchdog", 2, "guard of cell open".into()),
                _ => {}
            }
            for second in [20, 40] {
                say(at_us + second * 1_000_000, "poll", 6, format!("read {second}"));
            }
        }
        drafts.into_iter().map(|Draft(alert)| alert).collect::<Vec<_>>()
    };
    let (plain, ranked) = (told(false), told(true));
    let ([first], [missing]) = (&plain[..], &ranked[..]) else { panic!("{plain:#?} {ranked:#?}") };
    assert_eq!((&*first.why, &*missing.why), ("new template", "missing line"));
    assert_eq!(missing.fired_us, first.fired_us);
    assert!(missing.rank.unwrap() < 0.5 && missing.resolved_us.is_none());
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
    let severe = AlertData { kind: AlertKind::Log, why: "severity".into(), ..first.clone() };
    let mut drafts: Vec<_> =
        [&first, &of_rule, &silence, &elsewhere, &severe, &first].map(|a| Draft(a.clone())).into();
    ranks.look(&mut drafts, 1, 1.0);
    // The first was there before, the last is held back.
    let ranked: Vec<_> = drafts.iter().map(|Draft(a)| a.rank.is_some()).collect();
    assert_eq!(ranked, [false, false, false, false, true]);
    let ids = |ranks: &Ranks| ranks.held.iter().map(|a| a.alert_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&ranks), std::slice::from_ref(&first.alert_id));
    // So many are held back, and no more: the oldest is told.
    let mut drafts = Vec::new();
    let long = Some("\u{e4}".repeat(MESSAGE_MAX));
    for n in 0..HELD_MAX {
        let alert_id = n.to_string();
        drafts.push(Draft(AlertData { alert_id, message: long.clone(), ..first.clone() }));
    }
    ranks.look(&mut drafts, 0, 1.0);
    assert_eq!(drafts.iter().map(|Draft(a)| &a.alert_id).collect::<Vec<_>>(), [&first.alert_id]);
    assert_eq!(ranks.held.len(), HELD_MAX);
    assert!(ranks.held.iter().all(|a| a.message.as_ref().unwrap().len() == MESSAGE_MAX));
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
    // One that came while the models were read is as if they had been there; later it goes on with what it has learnt.
    assert_eq!(from(20), warm);
    assert_eq!(from(100), cold);
}
