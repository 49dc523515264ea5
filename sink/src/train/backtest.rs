//! Back-test: a model over the archive, beside the streaming detectors.
//!
//! In: a model and history. Out: a line for each series or device, or with JSON one for each reading that the model
//! judges. It is the code of the gateway: the same readings in the same order give the same bits.

use serde::Serialize;
use weir_models::central::{Expected, Model, Outlook, Smoothed, Subspace};
use weir_models::detect::{Suite, SuiteConfig};

use super::command::Say;
use super::{Group, History, Series};

/// One reading of a series.
#[derive(Debug, Serialize)]
struct Judged<'a> {
    series: &'a str,
    ts_us: i64,
    value: f64,
    score: f64,
    expected: f64,
    low: f64,
    high: f64,
    /// Score of the streaming detectors.
    streaming: f32,
}

/// One reading of a series by the streaming detectors.
#[derive(Debug, Serialize)]
struct Advised<'a> {
    series: &'a str,
    ts_us: i64,
    value: f64,
    score: f32,
    threshold: f32,
    alarm: bool,
}

/// The metrics of a device at one time.
#[derive(Debug, Serialize)]
struct JudgedGroup<'a> {
    device: &'a str,
    ts_us: i64,
    score: f64,
    t2: f64,
    q: f64,
    metric: &'a str,
}

/// Runs `model` over all that it is for; `set` is what agents have.
pub(super) fn backtest(
    model: &Model,
    history: &History,
    set: &SuiteConfig,
    json: bool,
    say: Say<'_>,
) -> Result<(), String> {
    match model {
        Model::Expected(model) => {
            history.series().try_for_each(|series| expected(model, &series, json, say))
        }
        Model::Group(model) => {
            history.groups().iter().try_for_each(|group| together(model, group, json, say))
        }
        Model::Shapes(shapes) => {
            let begin = |suite: &mut Suite| suite.begin_with(shapes);
            history.series().try_for_each(|series| advised(&series, set, begin, json, say))
        }
        Model::Level(level) => {
            let alarm_level = set.alarm_level * level.factor();
            let begin = |suite: &mut Suite| suite.configure(&SuiteConfig { alarm_level, ..*set });
            history.series().try_for_each(|series| advised(&series, set, begin, json, say))
        }
        Model::Rerank(_) => Err(
            "a model of feedback judges no readings: `train` told how it does on verdicts that it did not see"
                .into(),
        ),
    }
}

/// The streaming detectors with the advice of a model, and without.
fn advised(
    series: &Series,
    set: &SuiteConfig,
    begin: impl Fn(&mut Suite),
    json: bool,
    say: Say<'_>,
) -> Result<(), String> {
    let name = series.key.to_string();
    let mut plain = Suite::new(set);
    let mut suite = plain.clone();
    begin(&mut suite);
    let (mut alarms, mut without) = (0_u64, 0_u64);
    for (ts_us, value) in series.readings.iter().copied() {
        let verdict = suite.update(ts_us, value);
        alarms += u64::from(verdict.alarm);
        without += u64::from(plain.update(ts_us, value).alarm);
        if json {
            let (series, score) = (&*name, verdict.score);
            let (threshold, alarm) = (verdict.threshold, verdict.alarm);
            line(&Advised { series, ts_us, value, score, threshold, alarm }, say)?;
        }
    }
    if !json {
        let n = series.readings.len();
        say(&format!("{name}: {n} readings, {alarms} alarms, without the model {without}"));
    }
    Ok(())
}

fn line(row: &impl Serialize, say: Say<'_>) -> Result<(), String> {
    say(&serde_json::to_string(row).map_err(|error| error.to_string())?);
    Ok(())
}

fn expected(model: &Expected, series: &Series, json: bool, say: Say<'_>) -> Result<(), String> {
    let name = series.key.to_string();
    let (mut course, mut suite) = (model.begin(), Suite::new(&SuiteConfig::default()));
    let (mut judged, mut outside, mut off, mut alarms) = (0_u64, 0_u64, 0.0, 0_u64);
    for (ts_us, value) in series.readings.iter().copied() {
        let verdict = suite.update(ts_us, value);
        alarms += u64::from(verdict.alarm);
        let Some(outlook) = model.judge(&mut course, ts_us, value) else { continue };
        let Outlook { expected, low, high, score } = outlook;
        judged += 1;
        outside += u64::from(score > 0.0);
        off += (value - expected).abs();
        if json {
            let (series, streaming) = (&*name, verdict.score);
            line(&Judged { series, ts_us, value, score, expected, low, high, streaming }, say)?;
        }
    }
    if !json {
        let off = off / judged.max(1) as f64;
        say(&format!(
            "{name}: {judged} readings judged, {outside} outside the band, off by {off:.4} in the mean; streaming detectors: {alarms} alarms"
        ));
    }
    Ok(())
}

fn together(model: &Subspace, group: &Group, json: bool, say: Say<'_>) -> Result<(), String> {
    let device = format!("{}/{}", group.site, group.device);
    let metrics = &model.parts().metrics;
    let place = |name: &str| group.metrics.iter().position(|metric| &**metric == name);
    let Some(places) = metrics.iter().map(|name| place(name)).collect::<Option<Vec<_>>>() else {
        tracing::warn!(device, "not all metrics of the model came together");
        return Ok(());
    };
    let mut state = Smoothed::default();
    let (mut judged, mut beyond) = (0_u64, 0_u64);
    for (ts_us, row) in &group.rows {
        let values: Vec<f64> = places.iter().map(|at| row[*at]).collect();
        let Some(far) = model.update(&mut state, &values) else { continue };
        judged += 1;
        beyond += u64::from(far.score > 1.0);
        if json {
            let metric = metrics.get(far.channel).map_or("", |name| name);
            let (device, ts_us) = (&*device, *ts_us);
            line(
                &JudgedGroup { device, ts_us, score: far.score, t2: far.t2, q: far.q, metric },
                say,
            )?;
        }
    }
    if !json {
        say(&format!("{device}: {judged} rows judged, {beyond} beyond the limits"));
    }
    Ok(())
}
