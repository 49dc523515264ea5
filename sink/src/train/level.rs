//! Level: fits where the alarm level of a series lies best by what people said of its alerts.
//!
//! In: alerts of the streaming detectors of one series, how far they went, and what they were; the factor that is in force,
//! which let them through. Out: a factor on the level that is set, within [`Level::MIN`] and [`Level::MAX`]: the one at which
//! false alarms that are told, and twice the true ones that are not, are fewest. Of several the one nearest to what is in
//! force. Where nothing was false, and the level was not raised, it falls a little: what is like the true ones may lie just
//! below it.

use std::collections::BTreeSet;

use weir_models::central::{Level, Model};
use weir_models::detect::Suite;
use weir_models::feedback::Verdict;
use weir_models::time::DAY_US;

use super::feedback::{Judged, sources};
use super::{TrainError, Trained};

/// Verdicts below which nothing is fitted.
const VERDICTS_MIN: usize = 5;
/// Days on which alerts were false before a level rises.
const DAYS_MIN: usize = 2;
/// A true one that is not told weighs as much as so many false ones that are.
const LOST: f64 = 2.0;
/// So much less trouble is worth another level.
const GAIN_MIN: f64 = 2.0;
/// Where all were true.
const ALL_TRUE: f32 = 0.85;

/// Fits a factor for agents whose `score.suite.alarm_level` is `set`, and that now take it times `factor`.
///
/// # Errors
/// When too little was said, or the level that is in force is best.
pub fn fit_level(said: &[Judged], set: f32, factor: f32) -> Result<Trained, TrainError> {
    let now = factor;
    // Peaks of the same scale, of which it is known whether something was wrong.
    let counts = |one: &&Judged| &*one.alert.model.name == Suite::MODEL.name;
    let said: Vec<&Judged> = said.iter().filter(counts).collect();
    let of = |verdict| said.iter().filter(move |one| one.verdict == verdict);
    let (yes, no) = (of(Verdict::True).count(), of(Verdict::False).count());
    if yes + no < VERDICTS_MIN {
        return Err(TrainError::FewOfSeries { found: yes + no, needed: VERDICTS_MIN });
    }
    let trouble = |factor: f32| {
        let told = of(Verdict::False).filter(|one| one.peak >= factor * set).count();
        let lost = of(Verdict::True).filter(|one| one.peak < factor * set).count();
        told as f64 + LOST * lost as f64
    };
    let factor = if no == 0 && now <= 1.0 {
        ALL_TRUE.min(now)
    } else {
        // Just above each peak something changes.
        let above = said.iter().map(|one| one.peak / set * 1.01);
        let candidates = above.filter(|it| (Level::MIN..=Level::MAX).contains(it)).chain([1.0]);
        let far = |factor: f32| (factor - now).abs();
        let better = |a: f32, b: f32| {
            let (of_a, of_b) = (trouble(a), trouble(b));
            if of_a < of_b || (of_a <= of_b && far(a) <= far(b)) { a } else { b }
        };
        let best = candidates.fold(now, better);
        if trouble(now) - trouble(best) < GAIN_MIN { now } else { best }
    };
    if (factor - now).abs() < 0.005 {
        return Err(TrainError::LevelIsBest { factor: now, yes, no });
    }
    let days: BTreeSet<_> =
        of(Verdict::False).map(|one| one.alert.fired_us.div_euclid(DAY_US)).collect();
    if factor > now && days.len() < DAYS_MIN {
        return Err(TrainError::OneDay { needed: DAYS_MIN });
    }
    let told = |factor: f32| said.iter().filter(|one| one.peak >= factor * set).count();
    let report = format!(
        "level times {factor:.2}, now {now:.2}, by {yes} true and {no} false alerts; of {} alerts {} would be told\n  {}",
        said.len(),
        told(factor),
        sources(said.iter().copied()),
    );
    let until_us = said.iter().map(|one| one.alert.fired_us).max().unwrap_or(0);
    let golden = (1..=8).map(|n| vec![f64::from(n) * 0.5]).collect();
    let level = Level::new(factor)?.fitted_to(set)?;
    Ok(Trained { model: Model::Level(level), golden, until_us, report })
}
