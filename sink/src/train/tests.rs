use smartcore::decomposition::pca::{PCA, PCAParameters};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::ridge_regression::RidgeRegressionParameters;
use weir_models::central::{
    Central, Centre, FEATURES_MAX, Head, Kind, POINTS, Regressor, Row, Scope, Shapes, Smoothed,
    Subspace, SubspaceParts, Version, seal,
};
use weir_models::detect::{Suite, SuiteConfig};
use weir_models::ident::SeriesKey;

use super::series::{Matrix, Ridge, Trees};
use super::shapes::Means;
use super::*;

/// Rows of a comparison with smartcore.
const ROWS: usize = 10_000;
const WIDTH: usize = 16;
const HOUR_US: i64 = 3_600_000_000;

/// Numbers from -1 to 1 from a fixed generator.
fn noise() -> impl FnMut() -> f64 {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Rows of numbers that `f32` holds, as gateways have them.
fn rows(n: usize, noise: &mut impl FnMut() -> f64) -> Vec<Vec<f64>> {
    (0..n).map(|_| (0..WIDTH).map(|_| f64::from(noise() as f32)).collect()).collect()
}

fn narrow(row: &[f64]) -> Row {
    let mut narrow = [0.0; FEATURES_MAX + 1];
    narrow.iter_mut().zip(row).for_each(|(to, from)| *to = *from as f32);
    narrow
}

fn matrix(rows: &[Vec<f64>]) -> Matrix {
    DenseMatrix::from_2d_vec(&rows.to_vec()).unwrap()
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    let off = (ours - theirs).abs() / theirs.abs().max(1e-3);
    assert!(off <= 1e-5, "{ours} is not {theirs}");
}

/// What is learnt from: bent, so that trees have something to split.
fn target(row: &[f64]) -> f64 {
    3.0 * row[0] - row[1] + 2.0 * row[2].abs() + if row[3] > 0.2 { 5.0 } else { -1.0 }
}

#[test]
fn ridge_regression_says_what_smartcore_says() {
    let mut noise = noise();
    let train = rows(2_000, &mut noise);
    let y: Vec<f64> = train.iter().map(|row| target(row) + 0.1 * noise()).collect();
    let parameters = RidgeRegressionParameters::default().with_alpha(1.0);
    let theirs = Ridge::fit(&matrix(&train), &y, parameters).unwrap();
    let ours = series::linear(&theirs).unwrap();
    let test = rows(ROWS, &mut noise);
    for (row, theirs) in test.iter().zip(theirs.predict(&matrix(&test)).unwrap()) {
        close(ours.predict(&narrow(row)), theirs);
    }
}

#[test]
fn a_forest_says_what_smartcore_says() {
    let mut noise = noise();
    let train = rows(2_000, &mut noise);
    let y: Vec<f64> = train.iter().map(|row| target(row) + 0.1 * noise()).collect();
    let theirs = Trees::fit(&matrix(&train), &y, series::forest_parameters()).unwrap();
    let ours = flatten::forest(&theirs, WIDTH).unwrap();
    assert_eq!(ours.size().0, 50);
    let mut test = rows(ROWS - train.len(), &mut noise);
    // Readings that were learnt from lie nearest to thresholds.
    test.extend(train);
    for (row, theirs) in test.iter().zip(theirs.predict(&matrix(&test)).unwrap()) {
        close(ours.predict(&narrow(row)), theirs);
    }
}

#[test]
fn what_the_principal_directions_leave_is_what_smartcore_leaves() {
    let mut noise = noise();
    let train = rows(2_000, &mut noise);
    let kept = 5;
    let theirs =
        PCA::fit(&matrix(&train), PCAParameters::default().with_n_components(kept)).unwrap();
    let directions = (0..kept).flat_map(|k| (0..WIDTH).map(move |i| (i, k)));
    let directions = directions.map(|at| *theirs.components().get(at)).collect();
    let mean: Vec<f64> =
        (0..WIDTH).map(|i| train.iter().map(|row| row[i]).sum::<f64>() / 2_000.0).collect();
    let mut inverse = vec![0.0; WIDTH * (WIDTH + 1) / 2];
    (0..WIDTH).for_each(|i| inverse[i * (i + 1) / 2 + i] = 1.0);
    let ours = Subspace::new(SubspaceParts {
        metrics: (0..WIDTH).map(|i| format!("m{i}").into()).collect(),
        smoothing: 1.0,
        mean: mean.clone(),
        scale: vec![1.0; WIDTH],
        inverse,
        directions,
        t2_limit: 1.0,
        q_limit: 1.0,
    })
    .unwrap();
    let test = rows(ROWS, &mut noise);
    let along = theirs.transform(&matrix(&test)).unwrap();
    for (i, row) in test.iter().enumerate() {
        let all: f64 = row.iter().zip(&mean).map(|(v, m)| (v - m).powi(2)).sum();
        let held: f64 = (0..kept).map(|k| along.get((i, k)).powi(2)).sum();
        let distances = ours.distances(row);
        close(distances.t2, all);
        close(distances.q, all - held);
    }
}

#[test]
fn the_nearest_centre_is_that_of_smartcore() {
    let mut noise = noise();
    let eight = |row: &Vec<f64>| row[..POINTS].to_vec();
    let train: Vec<_> = rows(2_000, &mut noise).iter().map(eight).collect();
    let theirs = Means::fit(&matrix(&train), shapes::parameters()).unwrap();
    let centre = |(points, _): (Vec<f64>, usize)| Centre {
        points: std::array::from_fn(|i| points[i] as f32),
        weight: 1,
    };
    let centres = flatten::centres(&theirs).unwrap().into_iter().map(centre).collect();
    let ours = Shapes::new(centres).unwrap();
    let test: Vec<_> = rows(ROWS, &mut noise).iter().map(eight).collect();
    let mut differ = 0;
    for (row, theirs) in test.iter().zip(theirs.predict(&matrix(&test)).unwrap()) {
        let shape = std::array::from_fn(|i| row[i] as f32);
        let (nearest, distance) = ours.nearest(&shape);
        let there = ours.centres()[usize::try_from(theirs).unwrap()].points;
        let theirs_off = there.iter().zip(&shape).map(|(a, b)| f64::from(a - b).powi(2));
        // Where two centres are as near as `f32` can tell, either is right.
        close(distance, theirs_off.sum::<f64>().sqrt());
        differ += usize::from(nearest != usize::try_from(theirs).unwrap());
    }
    assert!(differ <= 2, "{differ} of {ROWS}");
}

fn series_of(n: usize, value: impl FnMut(usize) -> f64) -> Series {
    let key = SeriesKey { site: "s".into(), device: "d".into(), metric: "m".into() };
    let at = |i: usize| i as i64 * HOUR_US / 4;
    Series { key, readings: (0..n).map(at).zip((0..n).map(value)).collect() }
}

/// Rises and falls by the hour of the day, with noise, far from zero.
fn daily(n: usize) -> Series {
    let mut noise = noise();
    series_of(n, |i| {
        let hour = (i / 4 % 24) as f64;
        1e6 + 10.0 * (hour - 12.0).abs() + noise()
    })
}

#[test]
fn a_series_with_a_day_is_expected_as_it_goes_on() {
    let all = daily(96 * 30);
    let (before, after) = all.readings.split_at(96 * 20);
    let (trained, chosen) =
        fit_series(&Series { key: all.key.clone(), readings: before.to_vec() }).unwrap();
    assert!(!chosen.took_forest, "{chosen:?}");
    let Model::Expected(model) = &trained.model else { panic!() };
    let mut course = model.begin();
    let (mut judged, mut outside) = (0, 0);
    for (ts_us, value) in after {
        if let Some(outlook) = model.judge(&mut course, *ts_us, *value) {
            assert!((outlook.expected - value).abs() < 6.0, "{ts_us} {value} {outlook:?}");
            judged += 1;
            outside += u32::from(outlook.score > 0.0);
        }
    }
    // A band for 98.5 %, of some 860 readings.
    assert!(judged > 800 && outside < 40, "{outside} of {judged}");
    let (next_us, _) = after.last().unwrap();
    let jump = model.judge(&mut course, next_us + HOUR_US / 4, 1e6 + 300.0).unwrap();
    assert!(jump.score > 5.0, "{jump:?}");
    assert_eq!(trained, fit_series(&Series { key: all.key, readings: before.to_vec() }).unwrap().0);
}

#[test]
fn a_back_test_says_what_a_gateway_would() {
    let all = daily(96 * 12);
    let (trained, _) = fit_series(&all).unwrap();
    let Model::Expected(model) = &trained.model else { panic!() };
    let mut history = History::default();
    // As an archive may give them: backwards, and one twice.
    for (ts_us, value) in all.readings.iter().rev().chain(&all.readings[5..6]) {
        history.add("s", "d", "m", *ts_us, *value);
    }
    history.settle();
    let mut lines = Vec::new();
    backtest::backtest(&trained.model, &history, &SuiteConfig::default(), true, &mut |line| {
        lines.push(line.to_owned())
    })
    .unwrap();
    let (mut course, mut suite) = (model.begin(), Suite::new(&SuiteConfig::default()));
    let mut expected = Vec::new();
    for (ts_us, value) in all.readings {
        let verdict = suite.update(ts_us, value);
        if let Some(outlook) = model.judge(&mut course, ts_us, value) {
            expected.push((
                ts_us,
                outlook.score.to_bits(),
                outlook.expected.to_bits(),
                verdict.score.to_bits(),
            ));
        }
    }
    let read = |line: &String| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let bits = |name: &str| row[name].as_f64().unwrap().to_bits();
        let streaming = row["streaming"].as_f64().unwrap() as f32;
        (row["ts_us"].as_i64().unwrap(), bits("score"), bits("expected"), streaming.to_bits())
    };
    assert!(expected.len() > 1_000);
    assert_eq!(lines.iter().map(read).collect::<Vec<_>>(), expected);
}

#[test]
fn trees_are_taken_where_a_line_does_not_do() {
    let mut x = 0.3;
    let map = series_of(4_000, |_| {
        x = 3.9 * x * (1.0 - x);
        x
    });
    let (trained, chosen) = fit_series(&map).unwrap();
    assert!(chosen.took_forest && chosen.forest < 0.5 * chosen.ridge, "{chosen:?}");
    let Model::Expected(model) = &trained.model else { panic!() };
    assert!(matches!(model.regressor(), Regressor::Forest(_)));
}

#[test]
fn what_cannot_be_learnt_is_told() {
    let error = |series: &Series| fit_series(series).unwrap_err();
    assert!(matches!(error(&daily(100)), TrainError::TooFew { found: 100, .. }));
    assert!(matches!(error(&series_of(1_000, |_| 7.0)), TrainError::Still(_)));
}

#[test]
fn history_is_in_order_and_once() {
    let mut history = History::default();
    for (metric, ts_us, value) in [
        ("b", 3, 30.0),
        ("b", 1, 10.0),
        ("a", 3, 3.0),
        ("a", 2, 2.0),
        ("b", 3, 30.0),
        ("c", 1, 0.0),
        ("c", 3, 5.0),
    ] {
        history.add("s", "d", metric, ts_us, value);
    }
    history.add("s", "alone", "a", 1, 1.0);
    history.settle();
    let series: Vec<_> =
        history.series().map(|series| (series.key.to_string(), series.readings)).collect();
    assert_eq!(series[0], ("s/alone/a".into(), vec![(1, 1.0)]));
    assert_eq!(series[2], ("s/d/b".into(), vec![(1, 10.0), (3, 30.0)]));
    let groups = history.groups();
    let [group] = &groups[..] else { panic!() };
    assert_eq!(group.metrics, ["a", "b", "c"].map(Into::into));
    assert_eq!(group.rows, [(3, vec![3.0, 30.0, 5.0])]);
}

/// Three metrics of which two belong together, and one that never moves.
fn group(n: usize) -> Group {
    let mut noise = noise();
    let mut load = 0.0;
    let row = |i: usize| {
        load = 0.9 * load + noise();
        (i as i64, vec![50.0 + 5.0 * load, 7.0, 3.0 - load + 0.05 * noise(), noise()])
    };
    Group {
        site: "s".into(),
        device: "d".into(),
        metrics: ["a", "b", "c", "d"].map(Into::into).into(),
        rows: (0..n).map(row).collect(),
    }
}

#[test]
fn metrics_that_part_are_seen() {
    let group = group(6_000);
    let (before, after) = group.rows.split_at(4_000);
    let trained = fit_group(&Group { rows: before.to_vec(), ..group.clone() }).unwrap();
    let Model::Group(model) = &trained.model else { panic!() };
    assert_eq!(model.parts().metrics, ["a", "c", "d"].map(Into::into));
    let mut state = Smoothed::default();
    let mut judge = |row: &[f64]| model.update(&mut state, &[row[0], row[2], row[3]]).unwrap();
    let beyond = after.iter().take(1_500).filter(|(_, row)| judge(row).score > 1.0).count();
    assert!(beyond < 75, "{beyond} of 1500");
    // `c` within its range, but with `a` in place of against it.
    let last = after
        .iter()
        .skip(1_500)
        .map(|(_, row)| judge(&[row[0], row[1], 3.0 + (row[0] - 50.0) / 5.0, row[3]]));
    let most = last.map(|far| far.score).fold(0.0, f64::max);
    assert!(most > 3.0, "{most}");
}

#[test]
fn shapes_of_several_series_become_centres() {
    let trained = fit_shapes(&[daily(5_000), daily(3_000)]).unwrap();
    let Model::Shapes(shapes) = &trained.model else { panic!() };
    assert!(shapes.centres().len() >= 4, "{shapes:?}");
    let two_shapes = |i: usize| if i % 64 < 32 { (i % 4) as f64 } else { -3.0 };
    assert!(fit_shapes(&[series_of(3_000, two_shapes)]).is_ok());
    assert!(matches!(fit_shapes(&[daily(300)]), Err(TrainError::TooFew { .. })));
    assert!(matches!(fit_shapes(&[series_of(3_000, |_| 1.0)]), Err(TrainError::Still(_))));
}

#[test]
fn what_is_trained_is_sealed_and_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let key = keys::new(&at("key.pem")).unwrap();
    assert!(keys::new(&at("key.pem")).is_err(), "an existing key is kept");
    assert_eq!(keys::read(&at("key.pem")).unwrap().public(), key.public());
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(at("key.pem")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(at("other"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
        .unwrap();
    assert!(keys::read(&at("other")).is_err() && keys::read(&at("none")).is_err());

    let trained = [
        fit_series(&daily(2_000)).unwrap().0,
        fit_group(&group(1_000)).unwrap(),
        fit_shapes(&[daily(2_000)]).unwrap(),
    ];
    for Trained { model, golden, until_us, .. } in trained {
        let scope = Scope { site: "s".into(), device: "d/../x".into(), metric: "*".into() };
        let head = Head {
            scope,
            version: 5,
            valid_from_us: until_us + 1,
            trained_until_us: until_us,
            min_agent: Version::own(),
            rollback: false,
        };
        let bytes = seal(&head, &model, &golden, &key).unwrap();
        let name = release::file_name(model.kind(), &head);
        assert!(!name.contains('/') && name.ends_with("-5.model"), "{name}");
        let file = release::write(&folder.path().join("models"), &name, &bytes).unwrap();
        let read = |keys: &[_]| release::read(&file.display().to_string(), keys);
        let (found, central) = read(&[key.public()]).unwrap();
        assert_eq!((found, central), (bytes, Central { head, model }));
        assert!(read(&[]).is_err());
    }
    let head = |device: &str| Head {
        scope: Scope { site: "s".into(), device: device.into(), metric: "*".into() },
        version: 1,
        valid_from_us: 0,
        trained_until_us: 0,
        min_agent: Version::own(),
        rollback: false,
    };
    let name = |device: &str| release::file_name(Kind::Group, &head(device));
    assert_ne!(name("a b"), name("a/b"));
}
