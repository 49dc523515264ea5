//! Level: fits where the alarm level of a series lies best by what people said of its alerts.
//!
//! In: alerts of the streaming detectors of one series, how far they went, and what they were. Out: a factor on the level
//! that is set, within [`Level::MIN`] and [`Level::MAX`]: the one at which false alarms that are told, and twice the true
//! ones that are not, are fewest. Of several the one nearest to what is set. Where nothing was false the level falls a
//! little: what is like the true ones may lie just below it.

use weir_models::central::{Level, Model};
use weir_models::detect::Suite;
use weir_models::feedback::Verdict;

use super::feedback::Judged;
use super::{TrainError, Trained};

/// Verdicts below which nothing is fitted.
const VERDICTS_MIN: usize = 5;
/// A true one that is not told weighs as much as so many false ones that are.
const LOST: f64 = 2.0;
/// So much less trouble is worth another level.
const GAIN_MIN: f64 = 2.0;
/// Where all were true.
const ALL_TRUE: f32 = 0.85;

/// Fits a factor for agents whose `score.suite.alarm_level` is `set`.
///
/// # Errors
/// When too little was said, or the level that is set is best.
pub fn fit_level(said: &[Judged], set: f32) -> Result<Trained, TrainError> {
    // Peaks of the same scale, of which it is known whether something was wrong.
    let counts = |one: &&Judged| &*one.alert.model.name == Suite::MODEL.name;
    let said: Vec<&Judged> = said.iter().filter(counts).collect();
    let of = |verdict| said.iter().filter(move |one| one.verdict == verdict).map(|one| one.peak);
    let (yes, no) = (of(Verdict::True).count(), of(Verdict::False).count());
    if yes + no < VERDICTS_MIN {
        return Err(TrainError::FewOfSeries { found: yes + no, needed: VERDICTS_MIN });
    }
    let trouble = |level: f32| {
        let told = of(Verdict::False).filter(|peak| *peak >= level).count();
        let lost = of(Verdict::True).filter(|peak| *peak < level).count();
        told as f64 + LOST * lost as f64
    };
    let factor = if no == 0 {
        ALL_TRUE
    } else {
        // Just above each peak something changes.
        let above = said.iter().map(|one| one.peak / set * 1.01);
        let candidates = above.filter(|factor| (Level::MIN..=Level::MAX).contains(factor));
        let far = |factor: f32| (factor - 1.0).abs();
        let better = |a: f32, b: f32| {
            let (of_a, of_b) = (trouble(a * set), trouble(b * set));
            if of_a < of_b || (of_a <= of_b && far(a) < far(b)) { a } else { b }
        };
        let best = candidates.fold(1.0, |best, factor| better(factor, best));
        if trouble(set) - trouble(best * set) < GAIN_MIN {
            return Err(TrainError::LevelIsBest { yes, no });
        }
        best
    };
    let told = |level: f32| said.iter().filter(|one| one.peak >= level).count();
    let report = format!(
        "level times {factor:.2} by {yes} true and {no} false alerts; of {} alerts {} would be told",
        said.len(),
        told(factor * set),
    );
    let until_us = said.iter().map(|one| one.alert.fired_us).max().unwrap_or(0);
    let golden = (1..=8).map(|n| vec![f64::from(n) * 0.5]).collect();
    Ok(Trained { model: Model::Level(Level::new(factor)?), golden, until_us, report })
}
