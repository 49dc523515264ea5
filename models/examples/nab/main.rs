//! Scores the default detector on the Numenta Anomaly Benchmark:
//! `cargo run --release -p weir-models --example nab -- FOLDER [--csv OUT] [--plot OUT] [--advice]`
//!
//! In: a folder in NAB's layout: `data/<group>/<name>.csv` with a head line and the columns `timestamp,value`, and the
//! labelled windows in `labels/combined_windows.json` (or `windows.json`). Out, on standard output: the benchmark's
//! three scores with one level for all files, chosen on all of them (as its leaderboard does) and on one half to be
//! scored on the other; the windows found at fixed budgets of false alarm rows; what the alarms of the default
//! configuration find. With `--csv` the scores as well, one file a series, for other scorers; with `--plot` a picture of each
//! series; with `--advice` what a warm start and weights of the members give.
//!
//! The score is that of Lavin and Ahmad (2015), "Evaluating Real-time Anomaly Detection Algorithms: the Numenta
//! Anomaly Benchmark" (arXiv:1510.03336), as its program computes it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use weir_models::detect::stuck::Stuck;
use weir_models::detect::{Suite, SuiteConfig};

mod inject;
mod plot;
mod warm;

type Fault = Box<dyn Error>;

/// What a hit, a false alarm row and a miss weigh.
struct Profile {
    name: &'static str,
    hit: f64,
    false_row: f64,
    miss: f64,
}

const PROFILES: [Profile; 3] = [
    Profile { name: "standard", hit: 1.0, false_row: 0.11, miss: 1.0 },
    Profile { name: "low false positives", hit: 1.0, false_row: 0.22, miss: 1.0 },
    Profile { name: "low false negatives", hit: 1.0, false_row: 0.11, miss: 2.0 },
];
const MONTH_US: f64 = 30.0 * 86_400e6;

struct Series {
    path: String,
    stamps: Vec<String>,
    times_us: Vec<i64>,
    values: Vec<f64>,
    /// Of each row: the window it lies in, and the weight of its place from -1 to 1.
    places: Vec<(Option<usize>, f64)>,
    windows: usize,
    scores: Vec<f32>,
    alarms: Vec<bool>,
    /// The continuous score, and the level of an alarm.
    continuous: Vec<f32>,
    levels: Vec<f32>,
}

/// A row that may be told: its score, series, window and weight.
#[derive(Clone, Copy)]
struct Row {
    score: f32,
    series: usize,
    window: Option<usize>,
    weight: f64,
}

fn sigmoid(y: f64) -> f64 {
    if y > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * y).exp()) - 1.0 }
}

impl Series {
    fn read(folder: &Path, path: &str, windows: &[[String; 2]]) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(folder.join("data").join(path))?;
        let (mut stamps, mut times_us, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (i, line) in text.lines().enumerate().skip(1) {
            let (stamp, value) =
                line.split_once(',').ok_or_else(|| format!("{path}: line {}: no comma", i + 1))?;
            times_us.push(time_us(stamp)?);
            stamps.push(stamp.to_owned());
            values.push(value.trim().parse()?);
        }
        let mut spans = Vec::new();
        for [from, to] in windows {
            let row = |stamp: &str| -> Result<usize, Fault> {
                let at = time_us(stamp)?;
                let found = times_us.iter().position(|t| *t == at);
                found.ok_or_else(|| format!("{path}: no row at {stamp}, where a window is").into())
            };
            spans.push((row(from)?, row(to)?));
        }
        spans.sort_unstable();
        let places = places(values.len(), &spans);
        let windows = spans.len();
        Ok(Self {
            path: path.to_owned(),
            stamps,
            times_us,
            values,
            places,
            windows,
            scores: Vec::new(),
            alarms: Vec::new(),
            continuous: Vec::new(),
            levels: Vec::new(),
        })
    }

    fn run(&mut self, config: &SuiteConfig) {
        self.run_by(Suite::new(config), &inject::ALIKE, 1.0);
    }

    /// By a suite that has seen nothing, with weights of its members, and scores that are as much higher.
    fn run_by(&mut self, mut suite: Suite, weights: &inject::Weights, scale: f32) {
        self.scores.clear();
        self.alarms.clear();
        self.continuous.clear();
        self.levels.clear();
        for (at, value) in self.times_us.iter().zip(&self.values) {
            let verdict = suite.update_weighed(*at, *value, weights);
            self.scores.push(verdict.peak * scale);
            self.alarms.push(verdict.alarm);
            self.continuous.push(verdict.score);
            self.levels.push(verdict.threshold);
        }
    }

    fn picture(&self) -> String {
        let stamp = |stamp: Option<&String>| stamp.map_or("", String::as_str).to_owned();
        let span = [stamp(self.stamps.first()), stamp(self.stamps.last())];
        let picture = plot::Picture {
            title: self.path.strip_suffix(".csv").unwrap_or(&self.path),
            span: [&span[0], &span[1]],
            values: &self.values,
            scores: &self.continuous,
            levels: &self.levels,
            alarms: &self.alarms,
            labelled: self.places.iter().map(|(window, _)| window.is_some()).collect(),
        };
        picture.svg()
    }

    /// The first row that counts: before it a detector may learn.
    fn first(&self) -> usize {
        self.values.len() * 15 / 100
    }

    fn rows(&self, series: usize) -> impl Iterator<Item = (usize, Row)> + '_ {
        let from = self.first().min(750);
        (from..self.values.len()).map(move |i| {
            let (window, weight) = self.places[i];
            (i, Row { score: self.scores[i], series, window, weight })
        })
    }
}

fn time_us(stamp: &str) -> Result<i64, Fault> {
    let at = stamp.trim().parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC)?;
    Ok(at.timestamp().as_microsecond())
}

/// Inside a window an early row weighs most; behind one, the farther the worse; before the first, worst.
fn places(rows: usize, spans: &[(usize, usize)]) -> Vec<(Option<usize>, f64)> {
    (0..rows)
        .map(|i| {
            let inside = spans.iter().position(|(from, to)| (*from..=*to).contains(&i));
            if let Some(window) = inside {
                let (from, to) = spans[window];
                return (inside, sigmoid(-((to - i + 1) as f64) / (to - from + 1) as f64));
            }
            let weight = match spans.iter().rev().find(|(_, to)| *to < i) {
                Some((from, to)) => sigmoid((i - to) as f64 / (to - from) as f64),
                None => -1.0,
            };
            (None, weight)
        })
        .collect()
}

/// Rows that say something, highest score first.
fn told(all: &[Series], which: &[usize]) -> Vec<Row> {
    let rows = which.iter().flat_map(|k| all[*k].rows(*k)).map(|(_, row)| row);
    let mut rows: Vec<Row> = rows.filter(|row| row.score > 0.0).collect();
    rows.sort_by(|a, b| b.score.total_cmp(&a.score));
    rows
}

/// Goes through the levels from the highest down; tells after each the level, the gain over a detector that says
/// nothing, the windows found and the false rows.
fn sweep(rows: &[Row], profile: &Profile, mut each: impl FnMut(f32, f64, usize, usize)) {
    let mut found: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let (mut gain, mut false_rows) = (0.0, 0);
    for (i, row) in rows.iter().enumerate() {
        match row.window {
            None => {
                gain += profile.false_row * row.weight;
                false_rows += 1;
            }
            Some(window) => {
                let worth = profile.hit * row.weight / sigmoid(-1.0);
                let best = found.entry((row.series, window)).or_insert(-profile.miss);
                if worth > *best {
                    gain += worth - *best;
                    *best = worth;
                }
            }
        }
        if rows.get(i + 1).is_none_or(|next| next.score < row.score) {
            each(row.score, gain, found.len(), false_rows);
        }
    }
}

/// The best level, its gain, the windows found and the false rows.
fn best(rows: &[Row], profile: &Profile) -> (f32, f64, usize, usize) {
    let mut best = (f32::INFINITY, 0.0, 0, 0);
    sweep(rows, profile, |level, gain, found, false_rows| {
        if gain > best.1 {
            best = (level, gain, found, false_rows);
        }
    });
    best
}

fn gain_at(rows: &[Row], profile: &Profile, level: f32) -> f64 {
    let rows: Vec<Row> = rows.iter().take_while(|row| row.score >= level).copied().collect();
    let mut last = 0.0;
    sweep(&rows, profile, |_, gain, _, _| last = gain);
    last
}

/// 0 is a detector that says nothing, 100 a perfect one. Windows within the learning time cannot be found, yet count.
fn normalised(all: &[Series], which: &[usize], profile: &Profile, gain: f64) -> f64 {
    let windows: usize = which.iter().map(|k| all[*k].windows).sum();
    let mut scored = 0;
    for k in which {
        let mut seen: Vec<usize> = all[*k].rows(*k).filter_map(|(_, row)| row.window).collect();
        seen.dedup();
        scored += seen.len();
    }
    100.0 * gain / (profile.hit * windows as f64 + profile.miss * scored as f64)
}

/// The level chosen on every other series of a shuffled list, scored on the rest, both ways, twenty times.
fn halves(all: &[Series], profile: &Profile) -> (f64, f64, f64) {
    let everything: Vec<usize> = (0..all.len()).collect();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut scores = Vec::new();
    for _ in 0..20 {
        let mut order = everything.clone();
        for i in (1..order.len()).rev() {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            order.swap(i, (x >> 33) as usize % (i + 1));
        }
        let (a, b): (Vec<_>, Vec<_>) = order.iter().enumerate().partition(|(i, _)| i % 2 == 0);
        let [a, b] = [a, b].map(|half| half.into_iter().map(|(_, k)| *k).collect::<Vec<_>>());
        let mut gain = 0.0;
        for (learn, judge) in [(&a, &b), (&b, &a)] {
            let level = best(&told(all, learn), profile).0;
            gain += gain_at(&told(all, judge), profile, level);
        }
        scores.push(normalised(all, &everything, profile, gain));
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    (
        mean,
        scores.iter().copied().fold(f64::MAX, f64::min),
        scores.iter().copied().fold(0.0, f64::max),
    )
}

fn write_csv(all: &[Series], folder: &Path) -> Result<(), Fault> {
    for series in all {
        let path = folder.join(&series.path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut text = String::from("timestamp,score,alarm\n");
        for (i, stamp) in series.stamps.iter().enumerate() {
            writeln!(text, "{stamp},{},{}", series.scores[i], u8::from(series.alarms[i]))?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn write_plots(all: &[Series], folder: &Path) -> Result<(), Fault> {
    for series in all {
        let path = folder.join(&series.path).with_extension("svg");
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, series.picture())?;
    }
    Ok(())
}

/// How often the rule `stuck` fires, which needs no setting.
fn print_stuck(out: &mut impl Write, all: &[Series]) -> Result<(), Fault> {
    let mut begun = [0, 0];
    for series in all {
        let (mut stuck, mut was) = (Stuck::default(), false);
        for (i, (at, value)) in series.times_us.iter().zip(&series.values).enumerate() {
            let is = stuck.update(*at, *value);
            begun[usize::from(series.places[i].0.is_some())] += usize::from(is && !was);
            was = is;
        }
    }
    writeln!(out, "rule stuck: fires {} times inside windows, {} outside", begun[1], begun[0])?;
    Ok(())
}

fn print(out: &mut impl Write, all: &[Series]) -> Result<(), Fault> {
    let everything: Vec<usize> = (0..all.len()).collect();
    let rows = told(all, &everything);
    let windows: usize = all.iter().map(|series| series.windows).sum();
    let scored: usize = all.iter().map(|series| series.rows(0).count()).sum();
    writeln!(out, "{} series, {scored} scored readings, {windows} windows", all.len())?;
    for profile in &PROFILES {
        let (level, gain, found, false_rows) = best(&rows, profile);
        let score = normalised(all, &everything, profile, gain);
        let (mean, low, high) = halves(all, profile);
        writeln!(
            out,
            "{:<20} {score:9.6}  level {level:.4}  windows {found}/{windows}  false rows {false_rows}  \
             level from the other half {mean:.2} ({low:.2}..{high:.2})",
            profile.name
        )?;
    }
    for per in [1_440, 2_880, 8_640, 20_000] {
        let (mut most, mut at) = (0, f32::INFINITY);
        sweep(&rows, &PROFILES[0], |level, _, found, false_rows| {
            if false_rows * per <= scored {
                (most, at) = (found, level);
            }
        });
        writeln!(out, "one false row per {per:>6}: windows {most}/{windows} at level {at:.3}")?;
    }
    Ok(())
}

/// What the alarms of one configuration find; `begin` is what each series begins with.
fn print_alarms(
    out: &mut impl Write,
    all: &mut [Series],
    begin: &[Suite],
    config: &SuiteConfig,
) -> Result<(), Fault> {
    let (mut windows, mut found, mut inside, mut outside, mut months) = (0, 0, 0, 0, 0.0);
    for (k, (series, suite)) in all.iter_mut().zip(begin).enumerate() {
        let mut suite = suite.clone();
        suite.configure(config);
        series.run_by(suite, &inject::ALIKE, 1.0);
        let alarms = series.rows(k).filter(|(i, _)| series.alarms[*i]);
        let (hits, misses): (Vec<_>, Vec<_>) =
            alarms.map(|(_, row)| row.window).partition(Option::is_some);
        (inside, outside) = (inside + hits.len(), outside + misses.len());
        found += BTreeSet::from_iter(hits).len();
        windows += series.windows;
        let first = series.times_us.get(series.first().min(750)).copied().unwrap_or_default();
        let last = series.times_us.last().copied().unwrap_or_default();
        months += (last - first) as f64 / MONTH_US;
    }
    writeln!(
        out,
        "alarm level {:.1}, at most {:.0} a month: windows {found}/{windows}, {inside} alarms inside, {outside} \
         outside, which are {:.2} a series and month",
        config.alarm_level,
        config.alarms_per_month,
        f64::from(outside as u32) / months
    )?;
    Ok(())
}

fn main() -> Result<(), Fault> {
    let (mut folder, mut csv, mut plots, mut advice) = (None, None, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--csv" => csv = Some(args.next().ok_or("name a folder behind --csv")?),
            "--plot" => plots = Some(args.next().ok_or("name a folder behind --plot")?),
            "--advice" => advice = true,
            _ => folder = Some(arg),
        }
    }
    let folder = folder.ok_or("name a folder in the layout of NAB")?;
    let folder = Path::new(&folder);
    let labels = ["labels/combined_windows.json", "windows.json"].map(|name| folder.join(name));
    let labels = labels.iter().find(|path| path.exists());
    let labels =
        labels.ok_or("the folder has no labels/combined_windows.json and no windows.json")?;
    let labels: BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_str(&std::fs::read_to_string(labels)?)?;
    if labels.values().all(Vec::is_empty) {
        return Err("the labels name no window".into());
    }
    let mut all = Vec::new();
    for (path, windows) in &labels {
        all.push(Series::read(folder, path, windows)?);
    }
    let readings: usize = all.iter().map(|series| series.values.len()).sum();
    let begin = Instant::now();
    all.iter_mut().for_each(|series| series.run(&SuiteConfig::default()));
    let ns = begin.elapsed().as_nanos() as f64 / readings as f64;
    let mut stdout = std::io::stdout().lock();
    print(&mut stdout, &all)?;
    let begin = vec![Suite::new(&SuiteConfig::default()); all.len()];
    for alarm_level in [0.8, 1.0, 1.2, 1.5, 2.0, 3.0] {
        for alarms_per_month in [0.0, 4.0] {
            let config = SuiteConfig { alarm_level, alarms_per_month, ..SuiteConfig::default() };
            print_alarms(&mut stdout, &mut all, &begin, &config)?;
        }
    }
    print_alarms(&mut stdout, &mut all, &begin, &SuiteConfig::default())?;
    writeln!(stdout, "{ns:.0} ns a reading, {} bytes a series", size_of::<Suite>())?;
    print_stuck(&mut stdout, &all)?;
    if advice {
        warm::compare(&mut stdout, &mut all)?;
        inject::compare(&mut stdout, &mut all)?;
    }
    if let Some(folder) = csv {
        write_csv(&all, Path::new(&folder))?;
    }
    if let Some(folder) = plots {
        write_plots(&all, Path::new(&folder))?;
    }
    Ok(())
}
