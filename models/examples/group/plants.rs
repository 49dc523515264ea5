//! Machines that were made up, and real sensor boards, cut into windows: what a group of metrics does in normal work.
//!
//! In: a kind of plant and a number. Out: of each channel what is caused by the machine (`signal`) and what is not
//! (`noise`), row by row, so that a fault can act on either. The same number gives the same plant. The kinds were written
//! down before any detector was tried on them.

use std::f64::consts::TAU;

/// Rows of a window: some 18 minutes at one a second.
pub(crate) const ROWS: usize = 1_100;

/// Numbers from a fixed generator (xorshift64), for so many rows.
pub(crate) struct Dice {
    state: u64,
    rows: usize,
}

impl Dice {
    pub(crate) fn new(seed: usize, rows: usize) -> Self {
        let state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = Self { state, rows };
        for _ in 0..8 {
            dice.unit();
        }
        dice
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }

    pub(crate) fn sign(&mut self) -> f64 {
        if self.unit() < 0.5 { -1.0 } else { 1.0 }
    }

    /// Mean 0, variance 1, nearly normal.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A plant in normal work. `signal[channel][row]`, and so on.
pub(crate) struct Plant {
    pub(crate) signal: Vec<Vec<f64>>,
    pub(crate) noise: Vec<Vec<f64>>,
    /// What a sensor resolves; 0 for everything.
    pub(crate) steps: Vec<f64>,
}

/// What kinds there are.
pub(crate) const KINDS: [&str; 6] = ["pump", "loop", "factors", "cycle", "still", "board"];

/// A board of real sensors: `channels[channel][row]`.
pub(crate) type Board = Vec<Vec<f64>>;

impl Plant {
    pub(crate) fn make(kind: &str, number: usize, rows: usize, boards: &[Board]) -> Self {
        let mut dice = Dice::new(number, rows);
        let dice = &mut dice;
        match kind {
            "pump" => pump(dice),
            "loop" => control(dice),
            "factors" => factors(dice),
            "cycle" => cycle(dice),
            "still" => still(dice),
            _ => board(dice, &boards[number % boards.len()]),
        }
    }

    pub(crate) fn channels(&self) -> usize {
        self.signal.len()
    }

    pub(crate) fn rows(&self) -> usize {
        self.signal.first().map_or(0, Vec::len)
    }
}

/// A value that returns to 0 within about `pace` rows, of variance 1.
fn wander(dice: &mut Dice, pace: f64) -> Vec<f64> {
    let keep = 1.0 - 1.0 / pace;
    let push = (1.0 - keep * keep).sqrt();
    let mut at = dice.normal();
    let each = (0..dice.rows).map(|_| {
        at = keep * at + push * dice.normal();
        at
    });
    each.collect()
}

/// What follows `of` with a delay of first order.
fn follow(of: &[f64], pace: f64) -> Vec<f64> {
    let mut at = of.first().copied().unwrap_or_default();
    let each = of.iter().map(|v| {
        at += (v - at) / pace.max(1.0);
        at
    });
    each.collect()
}

fn scaled(of: &[f64], by: f64) -> Vec<f64> {
    of.iter().map(|v| v * by).collect()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Noise of a sensor: white, or with a memory of some rows.
fn hiss(dice: &mut Dice, size: f64) -> Vec<f64> {
    let pace = if dice.unit() < 0.5 { 1.0 } else { dice.between(1.5, 8.0) };
    scaled(&wander(dice, pace), size)
}

/// A slow way of a temperature in normal work: a line, a curve that levels off, or a random walk.
fn drift(dice: &mut Dice, size: f64) -> Vec<f64> {
    let way = dice.below(3);
    let sign = dice.sign();
    let mut walk = 0.0;
    let rows = dice.rows as f64;
    let each = (0..dice.rows).map(|row| {
        let at = row as f64 / rows;
        walk += dice.normal() / rows.sqrt();
        let size = size * sign;
        match way {
            0 => size * at,
            1 => size * (1.0 - (-3.0 * at).exp()),
            _ => size * walk,
        }
    });
    each.collect()
}

/// About a quarter of all sensors show steps.
fn steps(dice: &mut Dice, noise: &[Vec<f64>]) -> Vec<f64> {
    let each = noise.iter().map(|noise| {
        let size = (noise.iter().map(|v| v * v).sum::<f64>() / noise.len() as f64).sqrt();
        if dice.unit() < 0.25 { size * dice.between(0.3, 2.0) } else { 0.0 }
    });
    each.collect()
}

fn plant(dice: &mut Dice, signal: Vec<Vec<f64>>, noise: Vec<Vec<f64>>) -> Plant {
    let steps = steps(dice, &noise);
    Plant { signal, noise, steps }
}

/// A load that wanders and is set anew at times drives flow, pressure, current, vibration and temperatures.
fn pump(dice: &mut Dice) -> Plant {
    let pace = dice.between(40.0, 200.0);
    let mut load = wander(dice, pace);
    let (every, mut set) = (dice.between(150.0, 500.0), 0.0);
    for load in &mut load {
        if dice.unit() < 1.0 / every {
            set = dice.between(-1.0, 1.0);
        }
        *load = 0.5 * *load + set;
    }
    let paces = [2.0, 1.0, 1.0, 3.0, 1.0].map(|pace: f64| pace * dice.between(1.0, 3.0));
    let slow = dice.between(150.0, 400.0);
    let flow = follow(&load, paces[0]);
    let pressure: Vec<f64> = follow(&load, paces[1]).iter().map(|l| l + 0.15 * l * l).collect();
    let current = sum(&scaled(&flow, 0.7), &scaled(&pressure, 0.3));
    let heat = scaled(&follow(&current, slow), 2.0);
    let oil = follow(&heat, 80.0);
    let voltage = scaled(&current, -0.1);
    let shake = scaled(&load, 0.2);
    let signal = vec![flow, pressure.clone(), current, voltage, shake, heat, oil, pressure];
    let sizes = [0.15, 0.2, 0.1, 0.3, 0.5, 0.05, 0.05, 0.25];
    let noise = sizes.iter().map(|size| {
        let noise = hiss(dice, size * 2.0);
        let slow = if *size < 0.1 { dice.between(0.2, 1.0) } else { 0.0 };
        sum(&noise, &drift(dice, slow))
    });
    let noise = noise.collect();
    plant(dice, signal, noise)
}

/// A controller holds a set point: a small swing, much noise, and temperatures that creep.
fn control(dice: &mut Dice) -> Plant {
    let period = dice.between(15.0, 70.0);
    let rest = wander(dice, 20.0);
    let swing: Vec<f64> =
        rest.iter().enumerate().map(|(i, r)| (i as f64 * TAU / period).sin() + 0.5 * r).collect();
    let signal = (0..8).map(|_| {
        let (by, pace) = (dice.sign() * dice.between(0.1, 1.0), dice.between(1.0, 10.0));
        scaled(&follow(&swing, pace), by)
    });
    let signal = signal.collect();
    let noise = (0..8).map(|i| {
        let size = dice.between(0.3, 1.0);
        let slow = if i >= 6 { dice.between(1.0, 4.0) } else { 0.0 };
        sum(&hiss(dice, size), &drift(dice, slow))
    });
    let noise = noise.collect();
    plant(dice, signal, noise)
}

/// Three hidden causes of different pace, mixed at random into five to ten channels.
fn factors(dice: &mut Dice) -> Plant {
    let causes = [5.0, 30.0, 120.0].map(|pace| wander(dice, pace));
    let channels = 5 + dice.below(6);
    let signal = (0..channels).map(|_| {
        let by = [dice.normal(), dice.normal(), dice.normal()];
        let mixed = (0..dice.rows).map(|row| (0..3).map(|k| by[k] * causes[k][row]).sum());
        mixed.collect()
    });
    let signal = signal.collect();
    let noise = (0..channels).map(|_| {
        let size = dice.between(0.2, 1.0);
        hiss(dice, size)
    });
    let noise = noise.collect();
    plant(dice, signal, noise)
}

/// A machine that works and rests in turn; six channels follow at their own pace.
fn cycle(dice: &mut Dice) -> Plant {
    let (period, share) = (dice.between(30.0, 120.0), dice.between(0.3, 0.7));
    let mut phase = 0.0;
    let duty: Vec<f64> = (0..dice.rows)
        .map(|_| {
            phase += (1.0 + 0.1 * dice.normal()) / period;
            if phase % 1.0 < share { 1.0 } else { -1.0 }
        })
        .collect();
    let signal = (0..6).map(|_| {
        let (by, pace) = (dice.sign() * dice.between(0.3, 1.5), dice.between(1.0, 30.0));
        scaled(&follow(&duty, pace), by)
    });
    let signal = signal.collect();
    let noise = (0..6).map(|i| {
        let size = dice.between(0.05, 0.4);
        let slow = if i == 5 { dice.between(0.2, 1.5) } else { 0.0 };
        sum(&hiss(dice, size), &drift(dice, slow))
    });
    let noise = noise.collect();
    plant(dice, signal, noise)
}

/// Eight channels that hardly know of each other; some throw single far values, one walks.
fn still(dice: &mut Dice) -> Plant {
    let common = wander(dice, 10.0);
    let signal = (0..8).map(|_| scaled(&common, 0.3 * dice.normal())).collect();
    let noise = (0..8).map(|i| {
        let mut noise = hiss(dice, 1.0);
        if i % 3 == 0 {
            for v in &mut noise {
                *v *= if dice.unit() < 0.005 { 8.0 } else { 1.0 };
            }
        }
        let slow = if i == 7 { dice.between(1.0, 3.0) } else { 0.0 };
        sum(&noise, &drift(dice, slow))
    });
    let noise = noise.collect();
    plant(dice, signal, noise)
}

/// A part of a real board's readings; its mean over some rows is taken for the signal.
fn board(dice: &mut Dice, of: &Board) -> Plant {
    let rows = of.first().map_or(0, Vec::len);
    let take = dice.rows.min(rows);
    let from = dice.below((rows - take).max(1));
    let (mut signal, mut noise) = (Vec::new(), Vec::new());
    for channel in of {
        let values = &channel[from..from + take];
        let smooth: Vec<f64> = (0..values.len())
            .map(|i| {
                let near = &values[i.saturating_sub(7)..(i + 8).min(values.len())];
                near.iter().sum::<f64>() / near.len() as f64
            })
            .collect();
        noise.push(values.iter().zip(&smooth).map(|(v, s)| v - s).collect());
        signal.push(smooth);
    }
    let steps = vec![0.0; of.len()];
    Plant { signal, noise, steps }
}
