//! What a long time without faults gives, and a state that stays.
//!
//! In: plants of 20,000 rows (five and a half hours at one a second). Out, on standard output: how often the score reaches a
//! level, and how long it takes until a shift that stays is how the plant is.

use std::io::Write;

use crate::plants::{KINDS, Plant};
use crate::{Fault, scores};

const ROWS: usize = 20_000;
/// Of the first rows the detector knows too little.
const FIRST: usize = 1_000;
/// Plants of each kind.
const EACH: usize = 4;
/// Where a channel shifts, and by how many standard deviations.
const SHIFT: (usize, f64) = (5_000, 6.0);
/// Rows of which the mean score says whether it is over.
const SPAN: usize = 500;
/// So many rows below a level before the next time counts as another one.
const APART: usize = 60;

fn plants() -> Vec<Vec<Vec<f64>>> {
    let made = KINDS.iter().filter(|kind| **kind != "board");
    let numbered = made.flat_map(|kind| (0..EACH).map(move |number| (kind, 50_000 + number)));
    let rows = numbered.map(|(kind, number)| {
        let plant = Plant::make(kind, number, ROWS, &[]);
        let value = |i: usize, row: usize| plant.signal[i][row] + plant.noise[i][row];
        (0..ROWS).map(|row| (0..plant.channels()).map(|i| value(i, row)).collect()).collect()
    });
    rows.collect()
}

fn usual(scores: &[f32]) -> f32 {
    scores.iter().sum::<f32>() / scores.len() as f32
}

pub(crate) fn print(out: &mut impl Write) -> Result<(), Fault> {
    let mut plants = plants();
    let scored: Vec<Vec<f32>> = plants.iter().map(|rows| scores(rows)).collect();
    let rows = (plants.len() * (ROWS - FIRST)) as f64;
    writeln!(out, "{} plants of {ROWS} rows without faults, after row {FIRST}:", plants.len())?;
    for level in [1.0, 1.5, 2.0, 3.0] {
        let (mut above, mut times) = (0.0, 0.0);
        for scores in &scored {
            let mut last = None;
            for (row, _) in scores.iter().enumerate().skip(FIRST).filter(|(_, s)| **s >= level) {
                above += 1.0;
                times += f64::from(u8::from(last.is_none_or(|last| row - last > APART)));
                last = Some(row);
            }
        }
        writeln!(
            out,
            "  at {level:.1} or above: {:.2} % of rows, {:.2} times in 10,000 rows",
            100.0 * above / rows,
            10_000.0 * times / rows
        )?;
    }
    let mut ends: Vec<usize> = Vec::new();
    for rows in &mut plants {
        let (from, size) = SHIFT;
        let n = from as f64;
        let mean = rows[..from].iter().map(|row| row[0]).sum::<f64>() / n;
        let squares = rows[..from].iter().map(|row| (row[0] - mean) * (row[0] - mean));
        let size = size * (squares.sum::<f64>() / n).sqrt();
        rows[from..].iter_mut().for_each(|row| row[0] += size);
        let scores = scores(rows);
        // Until a span in which it is like before.
        let is_over = |row: &usize| usual(&scores[*row..*row + SPAN]) < 1.2;
        let end = (from + SPAN..ROWS - SPAN).find(is_over).unwrap_or(ROWS);
        ends.push(end - from);
    }
    ends.sort_unstable();
    writeln!(
        out,
        "a shift of {} deviations that stays is told for {} rows in the middle of all ({} to {})",
        SHIFT.1,
        ends[ends.len() / 2],
        ends[0],
        ends[ends.len() - 1]
    )?;
    Ok(())
}
