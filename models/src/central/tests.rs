use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;

use super::*;

/// A key from nothing but a number.
fn key(n: u8) -> SigningKey {
    // PKCS#8 of RFC 8410, section 7: version, algorithm 1.3.101.112, and 32 bytes.
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([n; 32]);
    assert!(Ed25519KeyPair::from_seed_unchecked(&[n; 32]).is_ok());
    SigningKey::from_pkcs8(&der).unwrap()
}

fn head(version: u64) -> Head {
    let scope = Scope { site: "north".into(), device: "pump-*".into(), metric: "temp".into() };
    let (valid_from_us, trained_until_us) = (1_000, 999);
    let min_agent = Version([0, 1, 0]);
    Head { scope, version, valid_from_us, trained_until_us, min_agent, rollback: false }
}

fn linear_model() -> Model {
    let features = vec![Feature::Lag(1), Feature::Lag(3), Feature::DayHat(5), Feature::Weekend];
    let regressor = Regressor::Linear(Linear::new(0.5, vec![0.7, 0.2, -1.0, 0.1]).unwrap());
    let unit = Unit { origin: 20.0, scale: 2.0 };
    let band = Band::new(0.5, 0.25).unwrap();
    let schema = Schema::new(features).unwrap();
    Model::Expected(Expected::new(schema, unit, 60_000_000, band, regressor).unwrap())
}

/// Three trees over two features, one of them a leaf alone.
fn trees() -> Vec<Vec<Node>> {
    vec![
        vec![
            Node::split(0, 1.0, 1),
            Node::leaf(10.0),
            Node::split(1, 2.0, 1),
            Node::leaf(20.0),
            Node::leaf(30.0),
        ],
        vec![Node::leaf(5.0)],
        vec![Node::split(1, 0.0, 1), Node::leaf(-6.0), Node::leaf(6.0)],
    ]
}

fn forest_model() -> Model {
    let forest = Regressor::Forest(Forest::new(&trees(), 2).unwrap());
    let schema = Schema::new(vec![Feature::DayFraction, Feature::WeekDay]).unwrap();
    let unit = Unit { origin: 0.0, scale: 1.0 };
    let band = Band::new(0.5, 0.25).unwrap();
    Model::Expected(Expected::new(schema, unit, 60_000_000, band, forest).unwrap())
}

fn group_model() -> Model {
    // Correlation 0.6: the inverse is [1, -0.6; -0.6, 1] / 0.64.
    let half = 0.5_f64.sqrt();
    Model::Group(
        Subspace::new(SubspaceParts {
            metrics: vec!["flow".into(), "pressure".into()],
            smoothing: 0.1,
            mean: vec![10.0, 5.0],
            scale: vec![2.0, 1.0],
            inverse: vec![1.0 / 0.64, -0.6 / 0.64, 1.0 / 0.64],
            directions: vec![half, half],
            t2_limit: 9.0,
            q_limit: 1.5,
        })
        .unwrap(),
    )
}

fn shapes_model() -> Model {
    let centre = |v: f32| Centre { points: [v; POINTS], weight: 100 };
    Model::Shapes(Shapes::new(vec![centre(0.0), centre(1.0), centre(-2.0)]).unwrap())
}

fn models() -> Vec<Model> {
    let weights = (0..RERANK_WIDTH).map(|n| 0.5 - n as f64 * 0.1).collect();
    let rerank = Model::Rerank(Rerank::new(-1.0, weights).unwrap());
    let level = Model::Level(Level::new(1.5).unwrap().fitted_to(1.2).unwrap());
    vec![linear_model(), forest_model(), group_model(), shapes_model(), rerank, level]
}

fn golden(model: &Model) -> Vec<Vec<f64>> {
    let row = |i: usize| (0..model.width()).map(|j| (i * 7 + j * 3) as f64 * 0.25 - 4.0).collect();
    (0..20).map(row).collect()
}

fn sealed(model: &Model) -> Vec<u8> {
    seal(&head(7), model, &golden(model), &key(1)).unwrap()
}

#[test]
fn what_is_sealed_opens_as_it_was() {
    for model in models() {
        let opened =
            Central::open(&sealed(&model), &[key(9).public(), key(1).public()], Version::own());
        assert_eq!(opened, Ok(Central { head: head(7), model }));
    }
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let keys = [key(1).public()];
    for model in models() {
        let bytes = sealed(&model);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Central::open(&changed, &keys, Version::own()).is_err(), "{at}");
            assert!(Central::open(&bytes[..at], &keys, Version::own()).is_err(), "{at}");
        }
    }
}

#[test]
fn refusals_say_why() {
    let bytes = sealed(&linear_model());
    let own = Version::own();
    let open = |bytes: &[u8], n| Central::open(bytes, &[key(n).public()], own).unwrap_err();
    assert_eq!(open(&bytes, 2), OpenError::Signature);
    assert_eq!(Central::open(&bytes, &[], own), Err(OpenError::Signature));
    assert_eq!(open(b"", 1), OpenError::Foreign);
    assert_eq!(open(b"{\"a\": 1}", 1), OpenError::Foreign);
    let large = vec![0; MODEL_BYTES_MAX + 1];
    assert!(matches!(open(&large, 1), OpenError::TooLarge { .. }));
    let mut other = bytes.clone();
    other[4] = 2;
    assert_eq!(open(&other, 1), OpenError::Format { found: 2, expected: 1 });
    let mut payload = bytes.clone();
    *payload.last_mut().unwrap() ^= 1;
    assert_eq!(open(&payload, 1), OpenError::Payload);
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(open(&longer, 1), OpenError::Length);

    let newer = Head { min_agent: Version([9, 0, 0]), ..head(1) };
    let bytes = seal(&newer, &linear_model(), &golden(&linear_model()), &key(1)).unwrap();
    assert_eq!(open(&bytes, 1), OpenError::Program { needs: Version([9, 0, 0]), own });
}

#[test]
fn a_golden_row_that_differs_is_refused_though_it_is_signed() {
    let model = linear_model();
    let bytes = sealed(&model);
    // The first output of the first row: behind four inputs.
    let rows = bytes.len() - model.encode().len() - 64 - 32 - 4 - GOLDEN_ROWS * 6 * 8;
    let mut signed = bytes[..rows + GOLDEN_ROWS * 6 * 8 + 36].to_vec();
    let at = rows + 4 * 8;
    let output = f64::from_le_bytes(signed[at..at + 8].try_into().unwrap());
    let reseal = |signed: &[u8]| {
        let mut out = signed.to_vec();
        out.extend(key(1).sign(signed));
        out.extend(model.encode());
        Central::open(&out, &[key(1).public()], Version::own())
    };
    assert!(reseal(&signed).is_ok());
    signed[at..at + 8].copy_from_slice(&(output + 1e-3).to_le_bytes());
    assert!(matches!(reseal(&signed), Err(OpenError::Golden { row: 0, .. })));
}

#[test]
fn versions_rise_also_where_an_older_model_is_gone_back_to() {
    let central = Central { head: head(7), model: linear_model() };
    for (current, taken) in [(6, true), (7, false), (8, false)] {
        assert_eq!(central.may_replace(current).is_ok(), taken, "{current}");
    }
    let marked = mark_rollback(&sealed(&linear_model()), u64::MAX - 1, &key(2)).unwrap();
    let opened = Central::open(&marked, &[key(2).public()], Version::own()).unwrap();
    let expected = Head { rollback: true, version: u64::MAX - 1, ..head(7) };
    assert_eq!((opened.head, opened.model), (expected, linear_model()));
    assert!(mark_rollback(b"WRCM", 1, &key(2)).is_err());
    let scope = head(1).scope;
    assert!(scope.holds("north", "pump-7", "temp") && !scope.holds("north", "fan", "temp"));
    assert_eq!(head(7).key(Kind::Expected), "expected/north/pump-*/temp");
    assert!("0.1".parse::<Version>().is_err() && "0.1.x".parse::<Version>().is_err());
    assert_eq!("1.2.3-rc.1".parse(), Ok(Version([1, 2, 3])));
}

#[test]
fn a_public_key_is_one_line() {
    let public = key(1).public();
    assert_eq!(public.to_string().len(), 44);
    assert_eq!(public.to_string().parse(), Ok(public));
    assert_eq!("AAAA".parse::<PublicKey>(), Err(BadKey::Public));
    assert!(SigningKey::from_pkcs8(b"no").is_err());
    assert!(!public.verifies(b"b", &key(1).sign(b"a")));
    assert!(public.verifies(b"a", &key(1).sign(b"a")));
}

#[test]
fn trees_part_at_their_thresholds() {
    let forest = Forest::new(&trees(), 2).unwrap();
    let check = |x: [f32; 2], expected: f64| {
        let mut row = [0.0; FEATURES_MAX + 1];
        row[..2].copy_from_slice(&x);
        assert_eq!(forest.predict(&row), expected / 3.0, "{x:?}");
    };
    check([1.0, 0.0], 10.0 + 5.0 - 6.0);
    check([1.0_f32.next_up(), 2.0], 20.0 + 5.0 + 6.0);
    check([3.0, 2.5], 30.0 + 5.0 + 6.0);
    check([3.0, -1.0], 20.0 + 5.0 - 6.0);
}

#[test]
fn more_trees_than_lanes_say_the_same() {
    let all: Vec<_> = std::iter::repeat_with(trees).take(7).flatten().collect();
    let mut row = [0.0; FEATURES_MAX + 1];
    row[0] = 1.5;
    let one = Forest::new(&trees(), 2).unwrap().predict(&row);
    assert!((Forest::new(&all, 2).unwrap().predict(&row) - one).abs() < 1e-12);
}

#[test]
fn trees_that_lead_astray_are_refused() {
    for tree in [
        vec![],
        vec![Node::split(0, 1.0, 1), Node::leaf(1.0)],
        vec![Node::split(2, 1.0, 1), Node::leaf(1.0), Node::leaf(1.0)],
        vec![Node::split(0, 1.0, 0), Node::leaf(1.0), Node::leaf(1.0)],
        vec![Node::leaf(f32::NAN)],
    ] {
        assert!(Forest::new(std::slice::from_ref(&tree), 2).is_err(), "{tree:?}");
    }
    let chain = |n| {
        let mut tree: Vec<_> =
            std::iter::repeat_n([Node::split(0, 1.0, 1), Node::leaf(0.0)], n).flatten().collect();
        tree.push(Node::leaf(1.0));
        Forest::new(&[tree], 2)
    };
    assert!(chain(32).is_ok());
    assert!(matches!(chain(33), Err(OpenError::TooMany { what: "levels in a tree", .. })));
    let many = vec![vec![Node::leaf(0.0)]; TREES_MAX + 1];
    assert!(matches!(Forest::new(&many, 2), Err(OpenError::TooMany { what: "trees", .. })));
}

#[test]
fn a_day_of_hats_adds_up_to_one_and_lags_count_back() {
    let hats: Vec<_> = (0..24).map(Feature::DayHat).collect();
    let schema = Schema::new(hats).unwrap();
    let history = History::new(&schema);
    let mut row = [0.0; FEATURES_MAX + 1];
    for minute in (-3_000..3_000).step_by(7) {
        assert!(history.fill(&schema, minute * 60_000_000, &mut row));
        assert!((row[..24].iter().sum::<f32>() - 1.0).abs() < 1e-6, "{minute}");
    }
    history.fill(&schema, 90 * 60_000_000, &mut row);
    assert_eq!(row[..4], [0.0, 0.5, 0.5, 0.0]);

    let schema = Schema::new(vec![Feature::Lag(1), Feature::Lag(3), Feature::WeekDay]).unwrap();
    let mut history = History::new(&schema);
    for value in [1.0, 2.0, 3.0, 4.0, 5.0_f32] {
        let known = history.fill(&schema, 0, &mut row);
        assert_eq!(known, value > 3.0);
        history.push(value);
    }
    assert!(history.fill(&schema, 4 * 86_400_000_000, &mut row));
    // A Monday: four days behind the Thursday with which the epoch begins.
    assert_eq!(row[..3], [5.0, 3.0, 0.0]);
    history.clear();
    assert!(!history.fill(&schema, 0, &mut row));
}

#[test]
fn schemas_differ_by_their_hash() {
    let hash = |features: &[Feature]| Schema::new(features.to_vec()).unwrap().hash();
    assert_ne!(hash(&[Feature::Lag(1)]), hash(&[Feature::Lag(2)]));
    assert_ne!(
        hash(&[Feature::Lag(1), Feature::Weekend]),
        hash(&[Feature::Weekend, Feature::Lag(1)])
    );
    for bad in [vec![], vec![Feature::Lag(0)], vec![Feature::Lag(513)], vec![Feature::DayHat(24)]] {
        assert!(Schema::new(bad).is_err());
    }
    assert!(Schema::new(vec![Feature::Weekend; FEATURES_MAX + 1]).is_err());
}

#[test]
fn an_expected_value_comes_with_its_band_and_a_gap_begins_anew() {
    let Model::Expected(model) = linear_model() else { panic!() };
    let mut course = model.begin();
    let second = |s: i64| s * 1_000_000;
    for s in 0..3 {
        assert_eq!(model.judge(&mut course, second(s), 20.0), None);
    }
    // All lags 0 in units of the model: the intercept alone, 0.5 x 2 + 20; half the band is 0.5 x 2.
    let outlook = model.judge(&mut course, second(3), 24.0).unwrap();
    assert_eq!((outlook.expected, outlook.low, outlook.high), (21.0, 20.0, 22.0));
    // Off by 1.5 units, 1 beyond the band, in units of 0.25.
    assert_eq!(outlook.score, 4.0);
    assert_eq!(model.judge(&mut course, second(3), 20.0), None, "late");
    assert_eq!(model.judge(&mut course, second(4), f64::NAN), None);
    assert!(model.judge(&mut course, second(4), 20.0).is_some());
    assert_eq!(model.judge(&mut course, second(70), 20.0), None, "after a gap");
    // A stamp of the future mutes nothing but itself.
    let far = 80 * 365 * 86_400;
    let mut course = model.begin();
    let judged: Vec<bool> = [0, 1, 2, 3, far, 4, 5, 6, 7, 8]
        .map(|s| model.judge(&mut course, second(s), 20.0).is_some())
        .into();
    assert!(judged[3] && !judged[4] && judged[9], "{judged:?}");
}

#[test]
fn a_band_covers_what_it_promises() {
    assert_eq!(Band::of(&mut []), None);
    assert_eq!(Band::of(&mut vec![1.0; 65]), None);
    let mut residuals: Vec<f64> = (1..=1_000).rev().map(|i| -f64::from(i)).collect();
    let band = Band::of(&mut residuals).unwrap();
    // ceil(1001 x 0.985) = 986.
    assert_eq!(band.half_width(), 986.0);
    assert_eq!((band.score(-986.0), band.score(1e12)), (0.0, SCORE_MAX));
    let still = Band::of(&mut vec![0.0; 100]).unwrap();
    assert_eq!((still.score(0.0), still.score(1.0)), (0.0, SCORE_MAX));
}

#[test]
fn distances_are_those_of_the_formula() {
    let Model::Group(model) = group_model() else { panic!() };
    // Standardised (1, -1): (1 + 2 x 0.6 + 1) / 0.64 = 5; all of it is off the direction (1, 1): Q = 2.
    let off = model.distances(&[12.0, 4.0]);
    assert!((off.t2 - 5.0).abs() < 1e-12 && (off.q - 2.0).abs() < 1e-12, "{off:?}");
    assert!((off.score - (2.0_f64 / 1.5).sqrt()).abs() < 1e-12);
    let along = model.distances(&[12.0, 6.0]);
    assert!((along.t2 - 1.25).abs() < 1e-12 && along.q < 1e-12, "{along:?}");
    assert_eq!(model.distances(&[10.0, 9.0]).channel, 1);
    let mut state = Smoothed::default();
    assert_eq!(model.update(&mut state, &[1.0]), None);
    assert_eq!(model.update(&mut state, &[1.0, f64::INFINITY]), None);
    assert_eq!(state, Smoothed::default());
    model.update(&mut state, &[10.0, 5.0]).unwrap();
    // One tenth of the way from the mean to four standard deviations.
    let smoothed = model.update(&mut state, &[18.0, 5.0]).unwrap();
    assert!((smoothed.t2 - 0.16 / 0.64).abs() < 1e-12, "{smoothed:?}");
}

#[test]
fn the_nearest_centre_and_the_sigmoid() {
    let Model::Shapes(shapes) = shapes_model() else { panic!() };
    assert_eq!(shapes.nearest(&[0.9; POINTS]).0, 1);
    assert!((shapes.nearest(&[-1.0; POINTS]).1 - 8.0_f64.sqrt()).abs() < 1e-12);
    for i in -4_000..=4_000 {
        let x = f64::from(i) * 0.01;
        let expected = 1.0 / (1.0 + (-x).exp());
        assert!((sigmoid(x) - expected).abs() <= 1e-10 * expected, "{x}");
    }
    assert_eq!((sigmoid(1e300), sigmoid(f64::NAN)), (1.0, 0.5));
    assert!(sigmoid(-1e300) < 1e-300);
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|i| Kind::ALL[i])
}

fn number() -> impl Strategy<Value = f64> {
    proptest::num::f64::ANY
}

proptest! {
    #[test]
    fn thresholds_part_as_before(x in proptest::num::f32::NORMAL | proptest::num::f32::ZERO, ulps in -3..=3_i64) {
        let near = f64::from(x);
        let t = f64::from_bits(near.to_bits().wrapping_add_signed(ulps << 26));
        prop_assume!(t.is_finite());
        prop_assert_eq!(x <= threshold(t), f64::from(x) <= t);
        prop_assert_eq!(x.next_up() <= threshold(t), f64::from(x.next_up()) <= t);
    }

    #[test]
    fn any_bytes_are_a_model_or_a_reason(kind in kind(), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Model::decode(kind, &bytes);
        let _ = Central::open(&bytes, &[key(1).public()], Version::own());
    }

    #[test]
    fn a_damaged_payload_is_a_model_or_a_reason(
        which in 0..6_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        inputs in proptest::collection::vec(number(), 0..80),
    ) {
        let model = models().swap_remove(which);
        let mut payload = model.encode();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Ok(model) = Model::decode(model.kind(), &payload) {
            let _ = model.evaluate(&inputs);
            prop_assert_eq!(model.encode(), payload);
        }
    }

    #[test]
    fn what_is_said_is_a_number(readings in proptest::collection::vec((0..200_000_000_i64, number()), 0..60)) {
        for model in models() {
            let mut ts_us = 0;
            match model {
                Model::Expected(model) => {
                    let mut course = model.begin();
                    for (step, value) in &readings {
                        ts_us += step;
                        if let Some(outlook) = model.judge(&mut course, ts_us, *value) {
                            prop_assert!(outlook.score >= 0.0 && outlook.expected.is_finite());
                        }
                    }
                }
                Model::Group(model) => {
                    let mut state = Smoothed::default();
                    for (_, value) in &readings {
                        if let Some(far) = model.update(&mut state, &[*value, -*value]) {
                            prop_assert!(far.score.is_finite() && far.channel < 2);
                        }
                    }
                }
                Model::Shapes(_) | Model::Rerank(_) | Model::Level(_) => {}
            }
        }
    }
}
