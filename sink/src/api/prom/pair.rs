//! Pair: two vectors joined by their labels, one to one. Pure.
//!
//! In: the rows of both sides, and which labels have to agree. Out: rows of both. What can go wrong: a row that
//! would find several.

use std::collections::BTreeMap;

use super::aggregate::key;
use super::ast::{Grouping, Operator};
use super::compute::{Row, distinct};
use super::names::{Labels, NAME};

/// The rows of both sides that have the same labels.
#[derive(Default)]
struct Group {
    left: Vec<Row>,
    right: Vec<Row>,
}

/// The rows of `left operator right`.
pub(super) fn pair(
    operator: Operator,
    is_bool: bool,
    matching: &Grouping,
    left: Vec<Row>,
    right: Vec<Row>,
    steps: usize,
) -> Result<Vec<Row>, String> {
    let mut groups: BTreeMap<Labels, Group> = BTreeMap::new();
    for row in left {
        groups.entry(key(&row.labels, matching)).or_default().left.push(row);
    }
    for row in right {
        groups.entry(key(&row.labels, matching)).or_default().right.push(row);
    }
    let mut made = Vec::new();
    for (labels, group) in groups {
        match operator {
            Operator::And | Operator::Or | Operator::Unless => {
                made.extend(group.joined(operator, steps))
            }
            _ => made.extend(group.computed(operator, is_bool, matching, &labels, steps)?),
        }
    }
    made.retain(|row| row.values.iter().any(Option::is_some));
    distinct(made)
}

/// Which row of a side has a number at a time; an error when several have.
fn alone<'a>(
    rows: &'a [Row],
    step: usize,
    side: &str,
    labels: &Labels,
) -> Result<Option<(&'a Row, f64)>, String> {
    let mut found = rows.iter().filter_map(|row| row.values[step].map(|value| (row, value)));
    let first = found.next();
    if found.next().is_some() {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        return Err(format!(
            "found duplicate series for the match group {{{}}} on the {side} hand-side of the operation: rows are joined one to one; say by `on (…)` or `ignoring (…)` which labels have to agree, or aggregate first",
            labels.join(", ")
        ));
    }
    Ok(first)
}

impl Group {
    fn computed(
        &self,
        operator: Operator,
        is_bool: bool,
        matching: &Grouping,
        labels: &Labels,
        steps: usize,
    ) -> Result<Vec<Row>, String> {
        // Rows of a group differ in their name only, and in that only where it stays.
        let mut rows: BTreeMap<Option<&String>, Vec<Option<f64>>> = BTreeMap::new();
        if self.left.is_empty() || self.right.is_empty() {
            return Ok(Vec::new());
        }
        let filters = operator.is_comparison() && !is_bool;
        for step in 0..steps {
            let right = alone(&self.right, step, "right", labels)?;
            let Some((_, b)) = right else { continue };
            let Some((row, a)) = alone(&self.left, step, "left", labels)? else { continue };
            let value = operator.of(a, b);
            let value = match (filters, value != 0.) {
                (true, true) => a,
                (true, false) => continue,
                (false, _) => value,
            };
            let keeps =
                filters && (matches!(matching, Grouping::AllBut(_)) || labels.contains_key(NAME));
            let name = row.labels.get(NAME).filter(|_| keeps);
            rows.entry(name).or_insert_with(|| vec![None; steps])[step] = Some(value);
        }
        let named = |(name, values): (Option<&String>, _)| {
            let mut labels = labels.clone();
            labels.remove(NAME);
            labels.extend(name.map(|name| (NAME, name.clone())));
            Row { labels, values }
        };
        Ok(rows.into_iter().map(named).collect())
    }

    fn joined(self, operator: Operator, steps: usize) -> Vec<Row> {
        let has = |rows: &[Row]| -> Vec<bool> {
            (0..steps).map(|step| rows.iter().any(|row| row.values[step].is_some())).collect()
        };
        let Self { left, right } = self;
        match operator {
            Operator::And => masked(left, &has(&right), true),
            Operator::Unless => masked(left, &has(&right), false),
            _ => {
                let mask = has(&left);
                [left, masked(right, &mask, false)].concat()
            }
        }
    }
}

/// The rows with only those numbers that stand where `mask` is as wanted.
fn masked(mut rows: Vec<Row>, mask: &[bool], wanted: bool) -> Vec<Row> {
    for row in &mut rows {
        for (value, has) in row.values.iter_mut().zip(mask) {
            *value = value.filter(|_| *has == wanted);
        }
    }
    rows
}
