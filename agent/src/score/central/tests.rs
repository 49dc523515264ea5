use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use weir_models::alert::{AlertData, AlertState};
use weir_models::central::{Central, Model, Subspace, SubspaceParts};
use weir_models::event::Value;

use crate::central::scene::{head, linear};
use crate::central::{Became, Order, Outcome};
use crate::score::readings::ReadingStage;
use crate::score::{Draft, ScoreConfig, SeriesTier, Tier};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

fn central(device: &str, metric: &str, version: u64, model: Model) -> Arc<Central> {
    let head = head("a", device, metric, version);
    Arc::new(Central { head, model })
}

/// "Always so", give or take one.
fn always(device: &str, version: u64, value: f64) -> Arc<Central> {
    central(device, "temp", version, linear(value, 0.0))
}

/// Flow and pressure go together.
fn together(version: u64) -> Arc<Central> {
    let group = Subspace::new(SubspaceParts {
        metrics: vec!["flow".into(), "pressure".into()],
        smoothing: 1.0,
        mean: vec![10.0, 5.0],
        scale: vec![1.0, 1.0],
        inverse: vec![1.0 / 0.19, -0.9 / 0.19, 1.0 / 0.19],
        directions: Vec::new(),
        t2_limit: 9.0,
        q_limit: 100.0,
    });
    central("pump", "*", version, Model::Group(group.unwrap()))
}

/// A stage, and what it tells.
struct Rig {
    stage: ReadingStage,
    tell: mpsc::Sender<Outcome>,
    told: mpsc::Receiver<Outcome>,
    at_us: i64,
}

impl Rig {
    fn new() -> Self {
        let config = ScoreConfig::default();
        let mut stage = ReadingStage::new("gw".into(), &config, 0);
        let (tell, told) = mpsc::channel(8);
        stage.order(Order::Begin { told: tell.clone(), shadow_us: HOUR_US });
        Self { stage, tell, told, at_us: 0 }
    }

    fn force(&mut self, central: Arc<Central>) {
        let key = central.head.key(central.model.kind()).into();
        self.stage.order(Order::Force { key, central });
    }

    fn try_out(&mut self, central: Arc<Central>) {
        let key = central.head.key(central.model.kind()).into();
        self.stage.order(Order::Try { key, central });
    }

    /// Readings of a minute each; the alerts, and the highest score.
    fn run<const N: usize>(
        &mut self,
        readings: impl IntoIterator<Item = [(&'static str, f64); N]>,
    ) -> (Vec<AlertData>, f32) {
        let (mut drafts, mut highest) = (Vec::new(), 0.0_f32);
        for reading in readings {
            let value = |(name, v): (&str, f64)| (name.to_owned(), Value { v, ..Value::default() });
            let mut values: BTreeMap<_, _> = reading.map(value).into();
            self.stage.score("a", "pump", self.at_us, &mut values, &mut drafts);
            let scores = values.values().filter_map(|value| value.score);
            highest = scores.fold(highest, f32::max);
            self.at_us += MINUTE_US;
        }
        (drafts.into_iter().map(|Draft(data)| data).collect(), highest)
    }

    fn temps(&mut self, values: impl IntoIterator<Item = f64>) -> (Vec<AlertData>, f32) {
        self.run(values.into_iter().map(|v| [("temp", v)]))
    }

    fn outcomes(&mut self) -> Vec<(u64, Became)> {
        let mut outcomes = Vec::new();
        while let Ok(Outcome { version, became, .. }) = self.told.try_recv() {
            outcomes.push((version, became));
        }
        outcomes
    }
}

fn even(n: usize) -> impl Iterator<Item = [(&'static str, f64); 2]> {
    (0..n).map(|_| [("flow", 10.0), ("pressure", 5.0)])
}

fn calm(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(|i| 20.0 + (i * 7_919 % 101) as f64 / 200.0)
}

#[test]
fn a_model_in_force_raises_an_alert_that_names_it_and_ends() {
    let mut rig = Rig::new();
    rig.force(always("pump", 7, 20.0));
    let (alerts, highest) = rig.temps(calm(30));
    assert_eq!((alerts.len(), highest), (0, 0.0));
    // The streaming detectors know nothing yet; the model does.
    let (alerts, highest) = rig.temps([30.0].into_iter().chain(calm(30)));
    let [fired, resolved] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((fired.state, resolved.state), (AlertState::Firing, AlertState::Resolved));
    for alert in &alerts {
        assert_eq!((&*alert.model.name, &*alert.model.version), ("central-expected", "7"));
        assert_eq!(alert.why, "expected");
    }
    let baseline = fired.baseline.clone().unwrap();
    assert_eq!((baseline.expected, baseline.low, baseline.high), (20.0, 19.0, 21.0));
    // (10 - 1) / 0.5 = 18, of 3.5 where the streaming detectors have 1.2.
    assert!((highest - 18.0 / 3.5 * 1.2).abs() < 1e-5, "{highest}");
    assert_eq!((fired.score, fired.threshold), (highest, 1.2));
}

#[test]
fn what_is_in_the_shadow_says_nothing_and_judges_after_the_time() {
    let mut rig = Rig::new();
    rig.try_out(together(7));
    let strange = [[("flow", 12.0), ("pressure", 3.5)]];
    rig.run(even(5));
    let by_central = |alerts: Vec<AlertData>| {
        let names =
            alerts.into_iter().map(|alert| alert.model).filter(|m| &*m.name == "central-group");
        names.map(|model| model.version.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(by_central(rig.run(strange).0), [""; 0]);
    rig.run(even(53));
    assert_eq!(rig.outcomes(), []);
    rig.run(even(10));
    assert_eq!(rig.outcomes(), [(7, Became::InForce)]);
    assert_eq!(by_central(rig.run(strange).0), ["7"]);
}

#[test]
fn one_that_fails_in_the_shadow_leaves_the_one_before_in_force() {
    let mut rig = Rig::new();
    rig.force(always("pump", 7, 20.0));
    rig.temps(calm(5));
    rig.try_out(always("pump", 8, 50.0));
    rig.temps(calm(20));
    let [(8, Became::Refused(reason))] = &rig.outcomes()[..] else { panic!() };
    assert!(reason.contains("lie outside"), "{reason}");
    let (alerts, _) = rig.temps([30.0]);
    assert_eq!(&*alerts[0].model.version, "7");
}

#[test]
fn a_flood_of_alerts_gives_the_place_to_the_one_before_and_then_to_none() {
    let mut rig = Rig::new();
    rig.force(always("pump", 7, 25.0));
    rig.force(always("pump", 8, 20.0));
    let spells = |n: usize| (0..n).flat_map(|_| [30.0].into_iter().chain(calm(15)));
    rig.temps(calm(1));
    let (alerts, _) = rig.temps(spells(16));
    assert_eq!(rig.outcomes(), []);
    assert!(alerts.iter().filter(|alert| &*alert.model.version == "8").count() > 20, "{alerts:?}");
    rig.temps(spells(1));
    assert_eq!(rig.outcomes(), [(8, Became::Flood)]);
    // The older one finds all of it strange; its one alert goes on.
    let (alerts, highest) = rig.temps(calm(30));
    assert!(alerts.iter().all(|alert| &*alert.model.version != "8"), "{alerts:?}");
    assert!(highest > 1.2);
    rig.stage.order(Order::Withdraw { key: "expected/a/pump/temp".into() });
    let (alerts, highest) = rig.temps(calm(30));
    assert!(highest < 1.2, "{highest}");
    assert!(alerts.iter().all(|alert| alert.state == AlertState::Resolved), "{alerts:?}");
}

#[test]
fn metrics_of_a_device_are_judged_together_and_an_alert_ends_also_without_the_model() {
    let mut rig = Rig::new();
    rig.force(together(3));
    assert_eq!(rig.run(even(30)).0, []);
    // Both are usual alone; one up, the other down, are not.
    let (alerts, _) = rig.run([[("flow", 12.0), ("pressure", 3.5)]]);
    let [fired] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((&*fired.metric, &*fired.why), ("group", "flow"));
    assert_eq!((&*fired.model.name, &*fired.model.version), ("central-group", "3"));
    rig.stage.order(Order::Withdraw { key: "group/a/pump/*".into() });
    let (alerts, _) = rig.run(even(30));
    let [resolved] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((resolved.state, &resolved.alert_id), (AlertState::Resolved, &fired.alert_id));
}

#[test]
fn a_model_of_its_own_goes_before_one_for_many_also_when_it_comes_later() {
    let mut rig = Rig::new();
    rig.force(always("pu*", 3, 20.0));
    rig.temps(calm(5));
    assert!(rig.temps([25.0]).1 > 1.2);
    rig.force(always("pump", 2, 25.0));
    rig.temps([25.0]);
    let highest = rig.temps((0..5).map(|_| 25.0)).1;
    assert!(highest < 1.2, "{highest}");
    rig.force(always("fan", 2, 25.0));
    assert!(rig.temps([20.0]).1 > 1.2);
}

#[test]
fn readings_from_before_it_is_valid_are_not_judged() {
    let mut rig = Rig::new();
    let mut model = always("pump", 7, 20.0);
    Arc::make_mut(&mut model).head.valid_from_us = 10 * MINUTE_US;
    rig.force(model);
    assert_eq!(rig.temps((0..10).map(|_| 40.0)).0, []);
    assert_eq!(&*rig.temps([40.0]).0[0].model.version, "7");
}

#[test]
fn a_roll_back_leaves_nothing_to_fall_back_to() {
    let mut rig = Rig::new();
    rig.force(always("pump", 7, 25.0));
    rig.force(always("pump", 8, 25.0));
    let mut back = always("pump", 9, 20.0);
    Arc::make_mut(&mut back).head.rollback = true;
    rig.force(back);
    rig.temps((0..18).flat_map(|_| [30.0].into_iter().chain(calm(15))));
    assert_eq!(rig.outcomes(), [(9, Became::Flood)]);
    // The older ones would find it strange.
    rig.temps(calm(30));
    let (_, highest) = rig.temps(calm(5));
    assert!(highest < 1.2, "{highest}");
}

#[test]
fn a_flood_that_could_not_be_told_is_told_later() {
    let mut rig = Rig::new();
    rig.force(always("pump", 8, 20.0));
    let other = Outcome { key: "other".into(), version: 1, became: Became::InForce };
    while rig.tell.try_send(other.clone()).is_ok() {}
    rig.temps((0..18).flat_map(|_| [30.0].into_iter().chain(calm(15))));
    assert!(rig.outcomes().iter().all(|outcome| *outcome == (1, Became::InForce)));
    rig.temps([20.0]);
    assert_eq!(rig.outcomes(), [(8, Became::Flood)]);
    rig.temps([20.0]);
    assert_eq!(rig.outcomes(), []);
}

#[test]
fn one_for_many_goes_on_until_the_own_one_is_accepted_and_after_it_was_withdrawn() {
    let mut rig = Rig::new();
    rig.force(always("pu*", 3, 20.0));
    rig.temps(calm(5));
    // The same version is another model under another key.
    rig.try_out(always("pump", 3, 25.0));
    let (_, highest) = rig.temps([25.0]);
    assert!(highest > 1.2, "{highest}");
    rig.temps((0..70).map(|_| 25.0));
    assert_eq!(rig.outcomes(), [(3, Became::InForce)]);
    let (_, highest) = rig.temps((0..5).map(|_| 25.0));
    assert!(highest < 1.2, "{highest}");
    rig.stage.order(Order::Withdraw { key: "expected/a/pump/temp".into() });
    // It looks at the reading before.
    let (_, highest) = rig.temps([25.0, 25.0]);
    assert!(highest > 1.2, "{highest}");
}

#[test]
fn an_alert_ends_under_the_name_that_it_was_raised_with() {
    let mut rig = Rig::new();
    rig.force(always("pump", 7, 20.0));
    rig.temps(calm(5));
    let (alerts, _) = rig.temps([30.0]);
    assert_eq!(alerts.len(), 1);
    let tier = SeriesTier { device: "*".into(), metric: "*".into(), tier: Tier::T1 };
    rig.stage.configure(&ScoreConfig { tiers: vec![tier], ..ScoreConfig::default() });
    let (alerts, _) = rig.temps(calm(30));
    let [resolved] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((&*resolved.model.name, &*resolved.model.version), ("central-expected", "7"));
    assert_eq!((resolved.state, &*resolved.why), (AlertState::Resolved, "expected"));

    let mut rig = Rig::new();
    rig.force(together(3));
    rig.run(even(5));
    assert_eq!(rig.run([[("flow", 12.0), ("pressure", 3.5)]]).0.len(), 1);
    rig.force(together(4));
    let (alerts, _) = rig.run(even(30));
    let [resolved] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((resolved.state, &*resolved.model.version), (AlertState::Resolved, "3"));
}

#[test]
fn the_plan_for_memory_holds_what_a_series_or_a_device_has_behind_it() {
    use crate::memory::{GROUP_SEAT_BYTES, SEAT_BYTES};
    // A place in the map, the name of an alert; beside the state of the model in force that of the one tried.
    let place = 64 + 40 + size_of::<super::seat::Seat>();
    let device = place + 2 * size_of::<weir_models::central::Smoothed>();
    let series = place + 2 * usize::from(weir_models::central::LAG_MAX) * size_of::<f32>();
    assert!(device as u64 <= GROUP_SEAT_BYTES && series as u64 <= SEAT_BYTES, "{device} {series}");
}
