//! Faults that are put into a plant's normal work.
//!
//! In: a plant, a kind of fault and a number. Out: the rows that its sensors show, and in which of them the fault lasts: it
//! begins between row 400 and 600, lasts for 20 to 45 % of the window, and is gone afterwards. Sizes are in standard
//! deviations of the channel within the first 400 rows. Small ones are among them that nobody can see.

use crate::plants::{Dice, Plant};

/// Rows before which there is never a fault.
pub(crate) const NORMAL: usize = 400;

/// What kinds there are.
pub(crate) const KINDS: [&str; 8] =
    ["shift", "gain", "stick", "variance", "leak", "lag", "several", "load"];

/// One window: `rows[row][channel]`.
pub(crate) struct Case {
    pub(crate) plant: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) rows: Vec<Vec<f64>>,
    pub(crate) faulty: Vec<bool>,
    /// The fault is of the larger half of its kind.
    pub(crate) is_large: bool,
}

/// What sensors show, channel by channel.
fn shown(plant: &Plant) -> Vec<Vec<f64>> {
    let sum = |(signal, noise): (&Vec<f64>, &Vec<f64>)| {
        signal.iter().zip(noise).map(|(a, b)| a + b).collect()
    };
    plant.signal.iter().zip(&plant.noise).map(sum).collect()
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt()
}

/// Below 0 where one falls when the other rises.
fn together(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = a.iter().sum::<f64>() / n;
    a.iter().zip(b).map(|(a, b)| (a - mean) * b).sum()
}

/// Adds to a channel what `much` says of how far the fault is gone (0 to 1).
fn add(channel: &mut [f64], from: usize, to: usize, much: impl Fn(f64) -> f64) {
    for (i, v) in channel[from..to].iter_mut().enumerate() {
        *v += much(i as f64 / (to - from) as f64);
    }
}

impl Case {
    pub(crate) fn make(
        (plant_kind, fault): (&'static str, &'static str),
        mut plant: Plant,
        number: usize,
    ) -> Self {
        let rows = plant.rows();
        let mut dice = Dice::new(number + 1_000_000, rows);
        let from = NORMAL + dice.below(200);
        let to = (from + (dice.between(0.2, 0.45) * rows as f64) as usize).min(rows);
        let sizes: Vec<f64> =
            shown(&plant).iter().map(|channel| deviation(&channel[..NORMAL])).collect();
        let is_large = act(&mut plant, &mut dice, &sizes, fault, (from, to));
        let mut channels = shown(&plant);
        if fault == "stick" {
            let which = dice.below(channels.len());
            let last = channels[which][from - 1];
            channels[which][from..to].fill(last);
        }
        for (channel, step) in channels.iter_mut().zip(&plant.steps).filter(|(_, s)| **s > 0.0) {
            channel.iter_mut().for_each(|v| *v = (*v / step).round() * step);
        }
        let row = |row: usize| channels.iter().map(|channel| channel[row]).collect();
        Self {
            plant: plant_kind,
            fault,
            rows: (0..rows).map(row).collect(),
            faulty: (0..rows).map(|row| (from..to).contains(&row)).collect(),
            is_large,
        }
    }

    /// How much the mean and the deviation of a channel change within the fault, for pictures.
    pub(crate) fn change(&self, channel: usize) -> f64 {
        let of = |is_faulty: bool| -> Vec<f64> {
            let rows = self.rows.iter().zip(&self.faulty);
            rows.filter(|(_, f)| **f == is_faulty).map(|(row, _)| row[channel]).collect()
        };
        let (inside, outside) = (of(true), of(false));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let size = deviation(&outside).max(1e-12);
        let ratio = deviation(&inside).max(1e-3 * size) / size;
        (mean(&inside) - mean(&outside)).abs() / size + ratio.ln().abs()
    }
}

/// Puts the fault in; says whether it is of the larger half of its kind.
fn act(
    plant: &mut Plant,
    dice: &mut Dice,
    sizes: &[f64],
    fault: &str,
    (from, to): (usize, usize),
) -> bool {
    let which = dice.below(plant.channels());
    let sign = dice.sign();
    match fault {
        "shift" => {
            let size = dice.between(0.5, 5.0);
            add(&mut plant.noise[which], from, to, |_| sign * size * sizes[which]);
            size > 2.75
        }
        "gain" => {
            let by = if sign > 0.0 { dice.between(1.3, 2.5) } else { dice.between(-0.2, 0.7) };
            plant.signal[which][from..to].iter_mut().for_each(|v| *v *= by);
            !(0.25..1.9).contains(&by)
        }
        "variance" => {
            let by =
                if dice.unit() < 0.7 { dice.between(1.5, 5.0) } else { dice.between(0.1, 0.5) };
            // What creeps does not creep faster.
            let base = plant.noise[which][from];
            plant.noise[which][from..to].iter_mut().for_each(|v| *v = base + (*v - base) * by);
            !(0.3..3.25).contains(&by)
        }
        "leak" => {
            let (size, other) = (sign * dice.between(1.0, 6.0), dice.below(plant.channels()));
            add(&mut plant.noise[which], from, to, |at| at * size * sizes[which]);
            if other != which {
                add(&mut plant.noise[other], from, to, |at| -0.5 * at * size * sizes[other]);
            }
            size.abs() > 3.5
        }
        "lag" => {
            let late = 5 + dice.below(36);
            let before = plant.signal[which].clone();
            for (row, v) in plant.signal[which].iter_mut().enumerate().take(to).skip(from) {
                *v = before[row - late];
            }
            late > 22
        }
        "several" => {
            let mut most = 0.0;
            for _ in 0..2 + dice.below(3) {
                let which = dice.below(plant.channels());
                let size = dice.sign() * dice.between(0.5, 2.5) * sizes[which];
                add(&mut plant.noise[which], from, to, |_| size);
                most = f64::max(most, size.abs() / sizes[which]);
            }
            most > 1.9
        }
        // All that depends on the load goes along as it should, further than it ever did.
        "load" => {
            let by = sign * dice.between(1.5, 5.0);
            let first = plant.signal[0].clone();
            for channel in &mut plant.signal {
                let size = deviation(&channel[..NORMAL]);
                let way =
                    if together(&channel[..NORMAL], &first[..NORMAL]) < 0.0 { -1.0 } else { 1.0 };
                add(channel, from, to, |_| by * size * way);
            }
            by.abs() > 3.25
        }
        // A value that sticks is put in where the sensor shows it.
        _ => true,
    }
}
