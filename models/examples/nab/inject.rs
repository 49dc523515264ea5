//! Weights of the members by faults that are put into a series' own past: what they would give.
//!
//! In: series. Out, on standard output: of faults that are put into places which no weight was fitted to, how many are
//! found at the same budget of false alarms, with all members alike and with weights fitted to other places; and the
//! benchmark's scores with those weights. Nothing is drawn by chance, nothing of the labels is used for the fit.

use std::io::Write;

use weir_models::detect::{Suite, SuiteConfig};

use super::{Fault, PROFILES, Series, best, normalised, told};

/// Of a series, oldest first, so much is its past.
const PAST: f64 = 0.4;
/// Of the past so much is for learning, before the first fault.
const LEARN: f64 = 0.3;
const PAST_MIN: usize = 400;
/// Places of faults in the past of a series; every second one is held out.
const PLACES: usize = 40;
/// Readings of a fault.
const LENGTH: usize = 60;
/// One clean reading in so many may reach the level.
const BUDGET: usize = 300;
const STEPS: [f32; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// A weight has to bring so much.
const GAIN_MIN: f64 = 0.002;
/// Weights are as they are.
pub(crate) const ALIKE: Weights = [1.0; 8];

pub(crate) type Weights = [f32; 8];
type Held = [f32; 8];

/// A fault: the value of its `i`th reading, where the series had `value`. `unit` is its usual distance from `level`.
type Kind = (&'static str, fn(i: usize, value: f64, level: f64, unit: f64, size: f64) -> f64);

const KINDS: [Kind; 5] = [
    ("spike", |i, value, _, unit, size| if i < 2 { value + 2.0 * size * unit } else { value }),
    ("shift", |_, value, _, unit, size| value + size * unit),
    ("flat", |_, _, level, _, _| level),
    ("drift", |i, value, _, unit, size| value + size * unit * i as f64 / (LENGTH / 2) as f64),
    ("variance", |_, value, level, _, size| level + (value - level) * (1.0 + size)),
];
const SIZES: [f64; 2] = [1.5, 3.0];

/// What the members say of a past as it was, and of each fault in it.
struct Seen {
    clean: Vec<Held>,
    faults: Vec<(usize, Vec<Held>)>,
}

/// What the members of a suite say, as it puts them together.
fn score(held: &Held, weights: &Weights) -> f32 {
    let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
    for (held, weight) in held.iter().zip(weights) {
        sum += weight * held;
        squares += weight * held * held;
        n += weight;
    }
    0.5 * (sum / n + (squares / n).sqrt())
}

impl Seen {
    /// `held_out`: the faults of every second place, or those of the others.
    fn of(series: &Series, held_out: bool) -> Option<Self> {
        let past = (series.values.len() as f64 * PAST) as usize;
        let learn = (past as f64 * LEARN) as usize;
        let values = series.values.get(..past).filter(|_| past >= PAST_MIN)?;
        let level = values.iter().sum::<f64>() / past as f64;
        let unit = values.iter().map(|v| (v - level).abs()).sum::<f64>() / past as f64;
        let mut suite = Suite::new(&SuiteConfig::default());
        let (mut clean, mut faults) = (Vec::new(), Vec::new());
        let every = ((past - learn - LENGTH) / PLACES).max(1);
        for (i, value) in values.iter().enumerate() {
            let place = i.checked_sub(learn).filter(|at| at % every == 0).map(|at| at / every);
            if place.is_some_and(|n| (n % 2 == 1) == held_out) && i + LENGTH <= past {
                faults.extend(inject(&suite, series, i, (level, unit)));
            }
            suite.update(series.times_us[i], *value);
            if i >= learn {
                clean.push(suite.members());
            }
        }
        Some(Self { clean, faults })
    }

    /// The level that so many clean readings reach.
    fn level(&self, weights: &Weights) -> f32 {
        let mut scores: Vec<f32> = self.clean.iter().map(|held| score(held, weights)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.get(scores.len() / BUDGET).copied().unwrap_or(0.0).max(0.05)
    }

    /// How near the faults come to the level; 1 for those that reach it.
    fn near(&self, weights: &Weights) -> f64 {
        let level = self.level(weights);
        let near = self.highest(weights).map(|(_, highest)| f64::from(highest / level).min(1.0));
        near.sum::<f64>() / self.faults.len().max(1) as f64
    }

    fn highest<'a>(&'a self, weights: &'a Weights) -> impl Iterator<Item = (usize, f32)> + 'a {
        let top = |held: &[Held]| held.iter().map(|held| score(held, weights)).fold(0.0, f32::max);
        self.faults.iter().map(move |(kind, held)| (*kind, top(held)))
    }

    /// Of each kind of fault, how many are found, of how many.
    fn found(&self, weights: &Weights) -> [(usize, usize); KINDS.len()] {
        let (level, mut found) = (self.level(weights), [(0, 0); KINDS.len()]);
        for (kind, highest) in self.highest(weights) {
            found[kind].0 += usize::from(highest >= level);
            found[kind].1 += 1;
        }
        found
    }
}

fn inject(
    suite: &Suite,
    series: &Series,
    from: usize,
    (level, unit): (f64, f64),
) -> Vec<(usize, Vec<Held>)> {
    let mut faults = Vec::new();
    for (kind, (_, fault)) in KINDS.iter().enumerate() {
        for size in SIZES {
            let mut suite = suite.clone();
            // A flat line stays where the series was.
            let before = series.values.get(from.wrapping_sub(1)).copied().unwrap_or(level);
            let level = if kind == 2 { before } else { level };
            let held = (0..LENGTH).map(|i| {
                let value = series.values[from + i];
                suite.update(series.times_us[from + i], fault(i, value, level, unit, size));
                suite.members()
            });
            faults.push((kind, held.collect()));
        }
    }
    faults
}

/// The weights by which faults come nearest to the level, one after the other, twice.
fn fit(seen: &[&Seen]) -> Weights {
    let near = |weights: &Weights| seen.iter().map(|seen| seen.near(weights)).sum::<f64>();
    let (mut weights, mut most) = (ALIKE, near(&ALIKE));
    for _ in 0..2 {
        for member in 0..weights.len() {
            for step in STEPS {
                let mut tried = weights;
                tried[member] = step;
                let is = near(&tried);
                if is > most + GAIN_MIN * seen.len() as f64 {
                    (weights, most) = (tried, is);
                }
            }
        }
    }
    weights
}

/// Prints what weights give, each series its own and one set for all.
pub(crate) fn compare(out: &mut impl Write, all: &mut [Series]) -> Result<(), Fault> {
    let seen: Vec<_> = all.iter().map(|series| Seen::of(series, false)).collect();
    let held_out: Vec<_> = all.iter().map(|series| Seen::of(series, true)).collect();
    let common = fit(&seen.iter().flatten().collect::<Vec<_>>());
    let own = seen.iter().map(|seen| seen.as_ref().map_or(ALIKE, |seen| fit(&[seen])));
    let own: Vec<Weights> = own.collect();
    writeln!(out, "one set for all: {common:?}")?;
    for (name, of) in [
        ("all members alike", vec![ALIKE; all.len()]),
        ("one set for all", vec![common; all.len()]),
        ("each series its own", own),
    ] {
        writeln!(out, "{name}")?;
        let mut sum = [(0, 0); KINDS.len()];
        for (seen, weights) in held_out.iter().zip(&of) {
            let found = seen.as_ref().map_or(sum.map(|_| (0, 0)), |seen| seen.found(weights));
            sum.iter_mut().zip(found).for_each(|(to, from)| *to = (to.0 + from.0, to.1 + from.1));
        }
        for ((kind, _), (found, faults)) in KINDS.iter().zip(sum) {
            writeln!(out, "  {kind:<10} held out: {found} of {faults} found")?;
        }
        for (k, series) in all.iter_mut().enumerate() {
            // What reaches the level of the weights is to reach that of all alike.
            let scale =
                seen[k].as_ref().map_or(1.0, |seen| seen.level(&ALIKE) / seen.level(&of[k]));
            let suite = Suite::new(&SuiteConfig::default());
            series.run_by(suite, &of[k], scale.clamp(0.5, 2.0));
        }
        let everything: Vec<usize> = (0..all.len()).collect();
        let rows = told(all, &everything);
        for profile in &PROFILES {
            let (level, gain, windows, _) = best(&rows, profile);
            let points = normalised(all, &everything, profile, gain);
            writeln!(
                out,
                "  {:<20} {points:9.6}  level {level:.4}  windows {windows}",
                profile.name
            )?;
        }
    }
    Ok(())
}
