//! How well scores part faulty rows from normal ones, row by row, with one level for all windows.
//!
//! In: scores and truth of all windows. Out: F1 with the level chosen on the same windows, and with the level chosen on one
//! half of the windows for the other; how often a faulty row scores higher than a normal one.

use crate::faults::NORMAL;
use crate::plants::Dice;

/// The scores of one window, and where the fault was.
pub(crate) struct Scored {
    pub(crate) name: (&'static str, &'static str),
    /// The fault is one of the larger half of its kind.
    pub(crate) is_large: bool,
    pub(crate) scores: Vec<f32>,
    pub(crate) faulty: Vec<bool>,
}

/// Rows counted at one level.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) hits: f64,
    pub(crate) false_rows: f64,
    pub(crate) faulty: f64,
    pub(crate) normal: f64,
}

impl Counts {
    pub(crate) fn f1(&self) -> f64 {
        let all = self.hits + self.false_rows + self.faulty;
        if all > 0.0 { 2.0 * self.hits / all } else { 0.0 }
    }

    /// Share of normal rows called faulty.
    pub(crate) fn far(&self) -> f64 {
        self.false_rows / self.normal.max(1.0)
    }

    /// Share of faulty rows called normal.
    pub(crate) fn mar(&self) -> f64 {
        1.0 - self.hits / self.faulty.max(1.0)
    }

    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.false_rows += other.false_rows;
        self.faulty += other.faulty;
        self.normal += other.normal;
    }
}

/// What counts of a window: all after the first rows.
fn rows(of: &Scored) -> impl Iterator<Item = (f32, bool)> + '_ {
    of.scores.iter().copied().zip(of.faulty.iter().copied()).skip(NORMAL)
}

pub(crate) fn at<'a>(windows: impl IntoIterator<Item = &'a Scored>, level: f32) -> Counts {
    let mut counts = Counts::default();
    for (score, is_faulty) in windows.into_iter().flat_map(rows) {
        let is_called = score >= level;
        let (called, total) = if is_faulty {
            (&mut counts.hits, &mut counts.faulty)
        } else {
            (&mut counts.false_rows, &mut counts.normal)
        };
        *called += f64::from(u8::from(is_called));
        *total += 1.0;
    }
    counts
}

/// The level with the highest F1.
pub(crate) fn best<'a>(windows: impl IntoIterator<Item = &'a Scored>) -> f32 {
    let mut all: Vec<(f32, bool)> = windows.into_iter().flat_map(rows).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let faulty = all.iter().filter(|row| row.1).count() as f64;
    let mut counts = Counts { faulty, ..Counts::default() };
    let (mut level, mut highest) = (f32::INFINITY, 0.0);
    for (i, (score, is_faulty)) in all.iter().enumerate() {
        *(if *is_faulty { &mut counts.hits } else { &mut counts.false_rows }) += 1.0;
        if all.get(i + 1).is_none_or(|next| next.0 < *score) && counts.f1() > highest {
            (level, highest) = (*score, counts.f1());
        }
    }
    level
}

/// How often a faulty row scores higher than a normal one: no level is needed (the area under the ROC curve).
pub(crate) fn ordered<'a>(windows: impl IntoIterator<Item = &'a Scored>) -> f64 {
    let mut all: Vec<(f32, bool)> = windows.into_iter().flat_map(rows).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut lower, mut pairs, mut faulty) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0.to_bits() == b.0.to_bits()) {
        let hits = equal.iter().filter(|row| row.1).count() as f64;
        let normal = equal.len() as f64 - hits;
        pairs += hits * (lower + 0.5 * normal);
        (lower, faulty) = (lower + normal, faulty + hits);
    }
    pairs / (lower * faulty).max(1.0)
}

/// With the level of the other half, both ways, ten times.
pub(crate) fn crossed(all: &[&Scored]) -> Counts {
    let mut dice = Dice::new(77, 0);
    let mut counts = Counts::default();
    for _ in 0..10 {
        let mut order: Vec<usize> = (0..all.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, dice.below(i + 1));
        }
        let (a, b) = order.split_at(all.len() / 2);
        for (learn, judge) in [(a, b), (b, a)] {
            let level = best(learn.iter().map(|k| all[*k]));
            counts.add(at(judge.iter().map(|k| all[*k]), level));
        }
    }
    counts
}
