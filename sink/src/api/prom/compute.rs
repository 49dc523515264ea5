//! Compute: the tree of a query over the rows of its leaves. Pure.
//!
//! In: the tree, the times of evaluation, and for each leaf its rows. Out: a number for each time, or rows. All
//! times are computed together, a row after the other. Promises: work is bounded, by the numbers of all nodes together.
//! What can go wrong: rows that cannot be told apart, too much work.

use std::collections::BTreeMap;

use super::aggregate::aggregate;
use super::ast::{Expr, Function, Operator};
use super::names::{Labels, NAME};
use super::pair::pair;
use crate::store::TimeRange;
use weir_models::limit::QUERY_SAMPLES_MAX;

/// The times of evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// The first, milliseconds since the Unix epoch.
    pub(super) start_ms: i64,
    /// From one to the next, milliseconds.
    pub(super) step_ms: i64,
    /// Their number, at least one.
    pub(super) steps: usize,
    /// How far all of them are moved, microseconds.
    pub(super) moved_us: i64,
}

impl Grid {
    /// One time.
    pub(super) fn at(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 0, steps: 1, moved_us: 0 }
    }

    /// The time of a step, milliseconds since the Unix epoch.
    pub(super) fn at_ms(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    /// The time of a step where it was moved to, microseconds since the Unix epoch.
    pub(super) fn at_us(&self, step: usize) -> i64 {
        self.at_ms(step) * 1_000 + self.moved_us
    }

    /// From one time to the next, microseconds.
    pub(super) fn step_us(&self) -> i64 {
        self.step_ms * 1_000
    }

    /// The same times, moved.
    pub(super) fn moved(self, by_us: i64) -> Self {
        Self { moved_us: self.moved_us + by_us, ..self }
    }

    /// What windows of `range_us` that end at these times hold; open at their begin, closed at their end.
    pub(super) fn span(&self, range_us: i64) -> TimeRange {
        TimeRange {
            from_us: self.at_us(0) - range_us + 1,
            to_us: self.at_us(self.steps.saturating_sub(1)) + 1,
        }
    }
}

/// A row: labels, and a number or none for each time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Labels.
    pub(super) labels: Labels,
    /// Numbers.
    pub(super) values: Vec<Option<f64>>,
}

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number for each time.
    Scalar(Vec<f64>),
    /// Rows, each with labels of its own.
    Vector(Vec<Row>),
}

/// How many numbers a query may still look at.
pub(super) struct Work(u64);

impl Work {
    /// What is left after so many.
    pub(super) fn left(done: u64) -> Self {
        Self(QUERY_SAMPLES_MAX.saturating_sub(done))
    }

    /// Takes what a value holds: whoever made it looked at that, and so does whoever takes it.
    fn take(&mut self, value: &Value, steps: usize) -> Result<(), String> {
        let numbers = match value {
            Value::Scalar(_) => steps,
            Value::Vector(rows) => rows.len() * steps,
        };
        self.0 = self.0.checked_sub(numbers as u64).ok_or_else(too_much)?;
        Ok(())
    }
}

/// What to change when a query looks at too many numbers.
pub(super) fn too_much() -> String {
    format!(
        "the query would look at more than {QUERY_SAMPLES_MAX} values: take shorter windows, a wider `step`, fewer series or fewer operators"
    )
}

/// Computes `expr`; each leaf is taken out of `leaves`.
pub(super) fn compute(
    expr: &Expr,
    grid: &Grid,
    leaves: &mut [Vec<Row>],
    work: &mut Work,
) -> Result<Value, String> {
    let value = node(expr, grid, leaves, work)?;
    work.take(&value, grid.steps)?;
    Ok(value)
}

fn node(
    expr: &Expr,
    grid: &Grid,
    leaves: &mut [Vec<Row>],
    work: &mut Work,
) -> Result<Value, String> {
    match expr {
        Expr::Number(value) => Ok(Value::Scalar(vec![*value; grid.steps])),
        Expr::Leaf(n) => {
            let rows = leaves.get_mut(*n).map(std::mem::take).unwrap_or_default();
            Ok(Value::Vector(distinct(rows)?))
        }
        Expr::Matrix(..) => Err("a range vector is only a whole instant query".into()),
        Expr::Negate(of) => each(compute(of, grid, leaves, work)?, |value, _| -value),
        Expr::Call(function, arguments) => {
            let mut values = Vec::new();
            for argument in arguments {
                values.push(compute(argument, grid, leaves, work)?);
            }
            call(*function, values, grid)
        }
        Expr::Aggregate { how, param, grouping, of } => {
            let param = match param {
                Some(param) => scalar(compute(param, grid, leaves, work)?),
                None => Vec::new(),
            };
            let rows = vector(compute(of, grid, leaves, work)?);
            Ok(Value::Vector(aggregate(*how, &param, grouping, &rows, grid.steps)))
        }
        Expr::Binary { operator, is_bool, matching, sides } => {
            let left = compute(&sides[0], grid, leaves, work)?;
            let right = compute(&sides[1], grid, leaves, work)?;
            match (left, right) {
                (Value::Scalar(a), Value::Scalar(b)) => {
                    let pairs = a.into_iter().zip(b);
                    Ok(Value::Scalar(pairs.map(|(a, b)| operator.of(a, b)).collect()))
                }
                (Value::Vector(rows), Value::Scalar(numbers)) => {
                    with_scalar(*operator, *is_bool, rows, &numbers, false)
                }
                (Value::Scalar(numbers), Value::Vector(rows)) => {
                    with_scalar(*operator, *is_bool, rows, &numbers, true)
                }
                (Value::Vector(left), Value::Vector(right)) => {
                    Ok(Value::Vector(pair(*operator, *is_bool, matching, left, right, grid.steps)?))
                }
            }
        }
    }
}

fn with_scalar(
    operator: Operator,
    is_bool: bool,
    rows: Vec<Row>,
    numbers: &[f64],
    scalar_is_left: bool,
) -> Result<Value, String> {
    let of = |value: f64, number: f64| {
        if scalar_is_left { operator.of(number, value) } else { operator.of(value, number) }
    };
    if !operator.is_comparison() || is_bool {
        return each(Value::Vector(rows), |value, step| of(value, numbers[step]));
    }
    let keep = |mut row: Row| {
        for (value, number) in row.values.iter_mut().zip(numbers) {
            *value = value.filter(|value| of(*value, *number) != 0.);
        }
        row
    };
    Ok(Value::Vector(rows.into_iter().map(keep).collect()))
}

/// A number of each number; what comes of it has no name any more.
fn each(value: Value, of: impl Fn(f64, usize) -> f64) -> Result<Value, String> {
    match value {
        Value::Scalar(values) => Ok(Value::Scalar(
            values.into_iter().enumerate().map(|(i, value)| of(value, i)).collect(),
        )),
        Value::Vector(mut rows) => {
            for row in &mut rows {
                row.labels.remove(NAME);
                for (step, value) in row.values.iter_mut().enumerate() {
                    *value = value.map(|value| of(value, step));
                }
            }
            Ok(Value::Vector(distinct(rows)?))
        }
    }
}

fn call(function: Function, arguments: Vec<Value>, grid: &Grid) -> Result<Value, String> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next();
    let mut number = || arguments.next().map(scalar);
    let Some(first) = first else {
        let seconds = (0..grid.steps).map(|step| grid.at_ms(step) as f64 / 1_000.);
        return Ok(Value::Scalar(seconds.collect()));
    };
    let (a, b) = (number(), number());
    let at = |numbers: &Option<Vec<f64>>, step: usize, otherwise: f64| {
        numbers.as_ref().and_then(|numbers| numbers.get(step).copied()).unwrap_or(otherwise)
    };
    match function {
        Function::Math(of) => each(first, |value, _| of(value)),
        Function::Clamp => each(first, |value, step| {
            clamp(value, at(&a, step, f64::NEG_INFINITY), at(&b, step, f64::INFINITY))
        })
        .map(|value| without_empty_clamps(value, &a, &b)),
        Function::ClampMin => {
            each(first, |value, step| clamp(value, at(&a, step, 0.), f64::INFINITY))
        }
        Function::ClampMax => {
            each(first, |value, step| clamp(value, f64::NEG_INFINITY, at(&a, step, 0.)))
        }
        // As Prometheus does it: by the inverse, which keeps 0.1 exact.
        Function::Round => each(first, |value, step| {
            let inverse = 1. / at(&a, step, 1.);
            (value * inverse + 0.5).floor() / inverse
        }),
        Function::Vector => {
            let values = scalar(first).into_iter().map(Some).collect();
            Ok(Value::Vector(vec![Row { labels: Labels::new(), values }]))
        }
        Function::Scalar => {
            let rows = vector(first);
            let alone = |step: usize| {
                let mut values = rows.iter().filter_map(|row| row.values[step]);
                values.next().filter(|_| values.next().is_none()).unwrap_or(f64::NAN)
            };
            Ok(Value::Scalar((0..grid.steps).map(alone).collect()))
        }
        Function::Absent => {
            let rows = vector(first);
            let is_absent = |step: &usize| rows.iter().all(|row| row.values[*step].is_none());
            let values: Vec<_> =
                (0..grid.steps).map(|step| is_absent(&step).then_some(1.)).collect();
            Ok(Value::Vector(vec![Row { labels: Labels::new(), values }]))
        }
        Function::Sort | Function::SortDesc => {
            let mut rows = vector(first);
            // Only an answer with one time has an order.
            let key = |row: &Row| row.values.first().copied().flatten().unwrap_or(f64::NAN);
            rows.sort_by(|a, b| match function {
                Function::Sort => order_up(key(a), key(b)),
                _ => order_down(key(a), key(b)),
            });
            Ok(Value::Vector(rows))
        }
        Function::Time => Ok(first),
    }
}

/// From the least up; what is no number comes last.
pub(super) fn order_up(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b))
}

/// From the greatest down; what is no number comes last.
pub(super) fn order_down(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(&a))
}

fn clamp(value: f64, min: f64, max: f64) -> f64 {
    if value.is_nan() || min.is_nan() || max.is_nan() { f64::NAN } else { value.min(max).max(min) }
}

/// Where the least is above the greatest, there is nothing.
fn without_empty_clamps(value: Value, min: &Option<Vec<f64>>, max: &Option<Vec<f64>>) -> Value {
    let (Value::Vector(mut rows), Some(min), Some(max)) = (value, min, max) else {
        return Value::Vector(Vec::new());
    };
    for row in &mut rows {
        for (step, value) in row.values.iter_mut().enumerate() {
            *value = value
                .filter(|_| min[step] <= max[step] || min[step].is_nan() || max[step].is_nan());
        }
    }
    Value::Vector(rows)
}

fn scalar(value: Value) -> Vec<f64> {
    match value {
        Value::Scalar(values) => values,
        Value::Vector(_) => Vec::new(),
    }
}

fn vector(value: Value) -> Vec<Row> {
    match value {
        Value::Vector(rows) => rows,
        Value::Scalar(_) => Vec::new(),
    }
}

/// Rows with the same labels become one, where no two of them have a number at the same time.
pub(super) fn distinct(rows: Vec<Row>) -> Result<Vec<Row>, String> {
    let mut places: BTreeMap<Labels, usize> = BTreeMap::new();
    let mut all: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let place = *places.entry(row.labels.clone()).or_insert(all.len());
        let Some(known) = all.get_mut(place) else {
            all.push(row);
            continue;
        };
        for (value, more) in known.values.iter_mut().zip(row.values) {
            match (&value, more) {
                (Some(_), Some(_)) => {
                    return Err("vector cannot contain metrics with the same labelset: choose one metric, or aggregate first; a function drops the name".into());
                }
                (None, more) => *value = more,
                _ => {}
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "compute_tests.rs"]
mod tests;
