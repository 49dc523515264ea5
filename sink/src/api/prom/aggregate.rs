//! Aggregate: many rows as one for each group. Pure.
//!
//! In: rows, and which labels make a group. Out: a row for each group; of `topk` and `bottomk` the rows themselves
//! with those numbers that are among the chosen.

use std::collections::BTreeMap;

use super::ast::{Aggregation, Grouping};
use super::compute::{Row, order_down, order_up};
use super::fold::{mean, quantile, sum, variance};
use super::names::{Labels, NAME};

/// The rows of each group in a few.
pub(super) fn aggregate(
    how: Aggregation,
    param: &[f64],
    grouping: &Grouping,
    rows: &[Row],
    steps: usize,
) -> Vec<Row> {
    let mut groups: BTreeMap<Labels, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(&row.labels, grouping)).or_default().push(row);
    }
    let best = matches!(how, Aggregation::Topk | Aggregation::Bottomk);
    let made = groups.into_iter().flat_map(|(labels, rows)| {
        if best {
            ranked(how, param, &rows, steps)
        } else {
            vec![united(how, param, labels, &rows, steps)]
        }
    });
    made.filter(|row| row.values.iter().any(Option::is_some)).collect()
}

/// What a row has in common with its group. The name belongs to it only where it is asked for.
pub(super) fn key(labels: &Labels, grouping: &Grouping) -> Labels {
    let kept = |label: &str| match grouping {
        Grouping::Only(names) => names.iter().any(|name| name == label),
        Grouping::AllBut(names) => label != NAME && !names.iter().any(|name| name == label),
    };
    labels
        .iter()
        .filter(|(label, _)| kept(label))
        .map(|(label, value)| (*label, value.clone()))
        .collect()
}

fn united(how: Aggregation, param: &[f64], labels: Labels, rows: &[&Row], steps: usize) -> Row {
    let mut inside = Vec::with_capacity(rows.len());
    let value = |step: usize| {
        inside.clear();
        inside.extend(rows.iter().filter_map(|row| row.values[step]));
        (!inside.is_empty()).then(|| {
            let values = inside.iter().copied();
            match how {
                Aggregation::Avg => mean(values),
                Aggregation::Min => values.reduce(f64::min).unwrap_or(f64::NAN),
                Aggregation::Max => values.reduce(f64::max).unwrap_or(f64::NAN),
                Aggregation::Count => inside.len() as f64,
                Aggregation::Group => 1.,
                Aggregation::Stddev => variance(values).sqrt(),
                Aggregation::Stdvar => variance(values),
                Aggregation::Quantile => {
                    quantile(param.get(step).copied().unwrap_or(f64::NAN), inside.clone())
                }
                Aggregation::Sum | Aggregation::Topk | Aggregation::Bottomk => sum(values),
            }
        })
    };
    Row { labels, values: (0..steps).map(value).collect() }
}

fn ranked(how: Aggregation, param: &[f64], rows: &[&Row], steps: usize) -> Vec<Row> {
    let nothing = |row: &&Row| Row { labels: row.labels.clone(), values: vec![None; steps] };
    let mut chosen: Vec<Row> = rows.iter().map(nothing).collect();
    for step in 0..steps {
        let mut values: Vec<(f64, usize)> = rows
            .iter()
            .enumerate()
            .filter_map(|(place, row)| row.values[step].map(|value| (value, place)))
            .collect();
        values.sort_by(|(a, _), (b, _)| match how {
            Aggregation::Topk => order_down(*a, *b),
            _ => order_up(*a, *b),
        });
        let k = param.get(step).map_or(0, |k| k.max(0.) as usize);
        for (value, place) in values.into_iter().take(k) {
            chosen[place].values[step] = Some(value);
        }
    }
    if steps == 1 {
        // An answer with one time shows them in order.
        let key = |row: &Row| row.values[0].unwrap_or(f64::NAN);
        chosen.sort_by(|a, b| match how {
            Aggregation::Topk => order_down(key(a), key(b)),
            _ => order_up(key(a), key(b)),
        });
    }
    chosen
}
