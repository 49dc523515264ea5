//! What comes of rows: names, labels, groups, pairs.

use super::super::parse::parse;
use super::*;

const GRID: Grid = Grid { start_ms: 0, step_ms: 1_000, steps: 2, moved_us: 0 };

fn row(name: &str, device: &str, unit: &str, values: [Option<f64>; 2]) -> Row {
    let labels = [(NAME, name), ("device", device), ("unit", unit)];
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
    Row { labels: labels.map(|(l, v)| (l, v.to_owned())).collect(), values: values.to_vec() }
}

/// Two metrics of two devices; `u` has another unit, and no value of `b` at the second time.
fn rows_of(name: &str) -> Vec<Row> {
    match name {
        "t" => vec![
            row("t", "a", "C", [Some(1.), Some(2.)]),
            row("t", "b", "C", [Some(10.), Some(f64::NAN)]),
        ],
        "u" => vec![row("u", "a", "V", [Some(5.), Some(6.)]), row("u", "b", "V", [Some(7.), None])],
        "s" => vec![row("s", "a", "C", [Some(1.), Some(3.)])],
        _ => Vec::new(),
    }
}

fn compute_text(text: &str) -> Result<Value, String> {
    let query = parse(text)?;
    let mut leaves: Vec<Vec<Row>> = query
        .leaves
        .iter()
        .map(|leaf| {
            let name = leaf.selector.matchers[0].only().unwrap_or_default();
            let mut rows: Vec<Row> =
                name.chars().flat_map(|name| rows_of(&name.to_string())).collect();
            if !leaf.fold.keeps_name() {
                rows.iter_mut().for_each(|row| drop(row.labels.remove(NAME)));
            }
            rows
        })
        .collect();
    compute(&query.expr, &GRID, &mut leaves, &mut Work::left(0))
}

/// Rows as text: `name{label=value} 1 2`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let shown = match compute_text(text).unwrap() {
        Value::Scalar(values) => vec![format!("{values:?}")],
        Value::Vector(rows) => rows.iter().map(shown).collect(),
    };
    assert_eq!(shown, expected, "{text}");
}

fn shown(row: &Row) -> String {
    let labels: Vec<String> =
        row.labels.iter().filter(|(l, _)| **l != NAME).map(|(l, v)| format!("{l}={v}")).collect();
    let values: Vec<String> = row
        .values
        .iter()
        .map(|value| value.map_or("-".into(), |value| value.to_string()))
        .collect();
    let name = row.labels.get(NAME).map_or("", String::as_str);
    format!("{name}{{{}}} {}", labels.join(","), values.join(" "))
}

#[test]
fn scalars() {
    check("1 + 2 * 3", &["[7.0, 7.0]"]);
    check("1 > bool 2", &["[0.0, 0.0]"]);
    check("-7 % 3", &["[-1.0, -1.0]"]);
    check("time()", &["[0.0, 1.0]"]);
    check("scalar(s) + 1", &["[2.0, 4.0]"]);
    check("scalar(t)", &["[NaN, NaN]"]);
    check("vector(1)", &["{} 1 1"]);
}

#[test]
fn what_is_no_number_is_sorted_last() {
    let (a, b) = ("u{device=a,unit=V} 5 6", "u{device=b,unit=V} 7 -");
    // Of both signs.
    for nan in ["0 * s / 0", "-(0 * s / 0)"] {
        check(&format!("sort(u or {nan})"), &[a, b, "{device=a,unit=C} NaN NaN"]);
        check(&format!("sort_desc(u or {nan})"), &[b, a, "{device=a,unit=C} NaN NaN"]);
    }
}

#[test]
fn a_name_stays_only_where_a_comparison_filters() {
    check("t + on (__name__, device) t", &["{device=a} 2 4", "{device=b} 20 NaN"]);
    check("s == bool on (__name__) s", &["{} 1 1"]);
    check("s == on (__name__) s", &["s{} 1 3"]);
    check("s == on (device) s", &["{device=a} 1 3"]);
}

#[test]
fn arithmetic_drops_the_name_and_comparison_keeps_it() {
    check("s * 2", &["{device=a,unit=C} 2 6"]);
    check("10 - s", &["{device=a,unit=C} 9 7"]);
    check("-s", &["{device=a,unit=C} -1 -3"]);
    check("abs(-s)", &["{device=a,unit=C} 1 3"]);
    check("s > 1", &["s{device=a,unit=C} - 3"]);
    check("1 < s", &["s{device=a,unit=C} - 3"]);
    check("s > bool 1", &["{device=a,unit=C} 0 1"]);
    check("t == t", &["t{device=a,unit=C} 1 2", "t{device=b,unit=C} 10 -"]);
}

#[test]
fn functions_of_values() {
    check("clamp(s, 2, 2.5)", &["{device=a,unit=C} 2 2.5"]);
    check("clamp(s, 3, 2)", &["{device=a,unit=C} - -"]);
    check("clamp_min(s, 2)", &["{device=a,unit=C} 2 3"]);
    check("clamp_max(s, 2)", &["{device=a,unit=C} 1 2"]);
    check("round(s / 4)", &["{device=a,unit=C} 0 1"]);
    check("round(s * 1.26, 0.1)", &["{device=a,unit=C} 1.3 3.8"]);
    check("sgn(s - 1)", &["{device=a,unit=C} 0 1"]);
    check("absent(s)", &["{} - -"]);
    check("absent(x)", &["{} 1 1"]);
}

#[test]
fn groups() {
    check("sum(u)", &["{} 12 6"]);
    check("avg by (unit) (u)", &["{unit=V} 6 6"]);
    check("max(t)", &["{} 10 2"]);
    check("min without (device) (t)", &["{unit=C} 1 2"]);
    check("count by (unit) (tu)", &["{unit=C} 2 2", "{unit=V} 2 1"]);
    check("sum by (__name__) (s)", &["s{} 1 3"]);
    check("sum by (nothing) (s)", &["{} 1 3"]);
    check("group(u)", &["{} 1 1"]);
    check("stddev(u)", &["{} 1 0"]);
    check("quantile(0.5, u)", &["{} 6 6"]);
    check("sum(x)", &[]);
}

#[test]
fn the_first_and_the_last_rows() {
    check("topk(1, u)", &["u{device=a,unit=V} - 6", "u{device=b,unit=V} 7 -"]);
    // What is no number comes last, at both ends.
    check("topk(1, t)", &["t{device=a,unit=C} - 2", "t{device=b,unit=C} 10 -"]);
    check("bottomk(1, t)", &["t{device=a,unit=C} 1 2"]);
    check("topk(0, t)", &[]);
    check("count(topk(5, t))", &["{} 2 2"]);
}

#[test]
fn pairs_agree_in_all_labels_but_the_name() {
    check("t - s", &["{device=a,unit=C} 0 -1"]);
    check("t + u", &[]);
    check("t * on (device) u", &["{device=a} 5 12", "{device=b} 70 -"]);
    check("t * ignoring (unit) u", &["{device=a} 5 12", "{device=b} 70 -"]);
    check("t < s", &["t{device=a,unit=C} - 2"]);
    check("t < bool s", &["{device=a,unit=C} 0 1"]);
    check("u > on (device) t", &["{device=a} 5 6"]);
    let error = compute_text("s * on (unit) t").unwrap_err();
    assert!(
        error.contains("duplicate series for the match group {unit=\"C\"} on the right"),
        "{error}"
    );
    let error = compute_text("t * on (unit) s").unwrap_err();
    assert!(error.contains("on the left"), "{error}");
}

#[test]
fn sets() {
    check("t and s", &["t{device=a,unit=C} 1 2"]);
    check("t unless s", &["t{device=b,unit=C} 10 NaN"]);
    check("s or t", &["s{device=a,unit=C} 1 3", "t{device=b,unit=C} 10 NaN"]);
    check("(u > 5) or u", &["u{device=a,unit=V} 5 6", "u{device=b,unit=V} 7 -"]);
}

#[test]
fn rows_that_become_alike_are_refused() {
    let error = compute_text("rate(st[5m])").unwrap_err();
    assert!(error.contains("same labelset"), "{error}");
    check(
        "rate(su[5m])",
        &["{device=a,unit=C} 1 3", "{device=a,unit=V} 5 6", "{device=b,unit=V} 7 -"],
    );
}
