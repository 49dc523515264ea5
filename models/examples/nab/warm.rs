//! What a warm start with the shapes of other series gives: the member `kmeans_level` of each series begins with eight
//! centres (k-means) of the shapes of all series of the other groups.

use std::io::Write;

use weir_models::central::{CENTRES_MAX, Centre, POINTS, Shapes, WEIGHT_MAX};
use weir_models::detect::{Suite, SuiteConfig, level_shapes};

use super::inject::ALIKE;
use super::{Fault, Series, print, print_alarms};

/// Shapes of one series at most, evenly spread: no series counts for many.
const SHAPES_MAX: usize = 200;
const ROUNDS: usize = 50;

type Shape = [f32; POINTS];

fn distance(a: &Shape, b: &Shape) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn nearest(shape: &Shape, centres: &[Shape]) -> usize {
    let far = |centre: &Shape| distance(shape, centre);
    let order = |a: &usize, b: &usize| far(&centres[*a]).total_cmp(&far(&centres[*b]));
    (0..centres.len()).min_by(order).unwrap_or(0)
}

/// Begins with shapes that are far from each other.
fn centres(shapes: &[Shape]) -> Result<Shapes, Fault> {
    let mut centres = vec![*shapes.first().ok_or("no shapes")?];
    while centres.len() < CENTRES_MAX {
        let alone = |shape: &&Shape| distance(shape, &centres[nearest(shape, &centres)]);
        let farthest = shapes.iter().max_by(|a, b| alone(a).total_cmp(&alone(b)));
        centres.push(*farthest.ok_or("no shapes")?);
    }
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
        let mut sums = vec![[0.0; POINTS]; centres.len()];
        sizes = vec![0_u16; centres.len()];
        for shape in shapes {
            let at = nearest(shape, &centres);
            sums[at].iter_mut().zip(shape).for_each(|(sum, v)| *sum += v);
            sizes[at] = sizes[at].saturating_add(1);
        }
        for ((centre, sum), size) in centres.iter_mut().zip(sums).zip(&sizes) {
            if *size > 0 {
                *centre = sum.map(|sum| sum / f32::from(*size));
            }
        }
    }
    let centre =
        |(points, size): (Shape, u16)| Centre { points, weight: size.clamp(1, WEIGHT_MAX) };
    Ok(Shapes::new(centres.into_iter().zip(sizes).map(centre).collect())?)
}

fn group(series: &Series) -> &str {
    series.path.split('/').next().unwrap_or_default()
}

/// Prints the benchmark and the alarms of the default configuration with a warm start.
pub(crate) fn compare(out: &mut impl Write, all: &mut [Series]) -> Result<(), Fault> {
    let shapes_of = |series: &Series| {
        let shapes: Vec<Shape> = level_shapes(series.values.iter().copied()).collect();
        let every = shapes.len().div_ceil(SHAPES_MAX).max(1);
        shapes.into_iter().step_by(every).collect::<Vec<_>>()
    };
    let known: Vec<(String, Vec<Shape>)> =
        all.iter().map(|series| (group(series).to_owned(), shapes_of(series))).collect();
    writeln!(out, "with a warm start of `kmeans_level` by the other groups of series:")?;
    let config = SuiteConfig::default();
    let mut warm = Vec::new();
    for series in all.iter() {
        let others = known.iter().filter(|(of, _)| *of != group(series));
        let shapes: Vec<Shape> = others.flat_map(|(_, shapes)| shapes.clone()).collect();
        let mut suite = Suite::new(&config);
        suite.begin_with(&centres(&shapes)?);
        warm.push(suite);
    }
    all.iter_mut().zip(&warm).for_each(|(series, suite)| series.run_by(suite.clone(), &ALIKE, 1.0));
    print(out, all)?;
    print_alarms(out, all, &warm, &config)
}
