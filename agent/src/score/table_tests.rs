//! Tables in, answers out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;

use serde_json::Value as Json;

use super::*;

fn options(file: &Path, json: bool) -> Options {
    Options {
        file: file.to_string_lossy().into(),
        json,
        values: Vec::new(),
        device: None,
        config: None,
    }
}

fn scored(text: &str) -> Result<Vec<Json>, Fault> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    run(&options(file.path(), true), None, &mut out)?;
    let lines = String::from_utf8(out).unwrap();
    Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A day of twenty-minute swings, and one value far above them.
fn values(i: usize) -> f64 {
    let calm = 20.0 + (i * 7_919 % 101) as f64 / 100.0;
    if i == 1_500 { 90.0 } else { calm }
}

#[test]
fn a_row_is_answered_by_what_the_suite_says() {
    let mut text = String::from("timestamp,value\n");
    let mut suite = weir_models::detect::Suite::new(&ScoreConfig::default().suite);
    let mut expected = Vec::new();
    for i in 0..2_000 {
        let at_s = 1_400_000_000 + 300 * i as i64;
        text += &format!("{at_s},{}\n", values(i));
        expected.push(suite.update(at_s * 1_000_000, values(i)));
    }
    let rows = scored(&text).unwrap();
    assert_eq!(rows.len(), 2_000);
    for (row, verdict) in rows.iter().zip(&expected) {
        assert_eq!(row["score"].as_f64().unwrap() as f32, verdict.peak);
        assert_eq!(row["continuous"].as_f64().unwrap() as f32, verdict.score);
        assert_eq!(row["alarm"].as_bool().unwrap(), verdict.alarm);
        assert_eq!(row["expected"].as_f64().unwrap(), verdict.expected);
    }
    assert!(rows[1_500]["alarm"].as_bool().unwrap());
    assert!(rows[1_500..1_510].iter().any(|row| row["score"].as_f64().unwrap() > 1.0));
    assert_eq!(rows[1_500]["timestamp"], "1400450000");
}

#[test]
fn several_columns_are_metrics_of_one_device() {
    let mut text = String::from("when;a;b\n");
    for i in 0..1_600 {
        let minute = i * 5;
        let (day, hour, minute) = (1 + minute / 1_440, minute / 60 % 24, minute % 60);
        text += &format!("2024-01-{day:02}T{hour:02}:{minute:02}:00Z;1;{}\n", values(i));
    }
    let rows = scored(&text).unwrap();
    assert!(rows[1_500]["alarm"].as_bool().unwrap());
    assert!(rows[1_500]["values"]["b"]["alarm"].as_bool().unwrap());
    assert!(!rows[1_500]["values"]["a"]["alarm"].as_bool().unwrap());
    assert_eq!(rows[1_500]["metric"], "b");
    assert_eq!(rows[1_500]["member"], "group");
    assert!(rows[1_500]["score"].as_f64().unwrap() > 3.0, "{}", rows[1_500]);
    assert!(rows[1_400..1_500].iter().all(|row| row["score"].as_f64().unwrap() < 3.0));
}

#[test]
fn a_bad_cell_is_a_row_with_a_reason_and_changes_nothing() {
    let good = "timestamp,value\n1,5\n2,5\n3,6\n";
    let bad = "timestamp,value\n1,5\n2,\n2,abc\n2,nan\n2,1e40\nnoon,5\n2,5,5\n\n2,5\n3,6\n";
    let rows = scored(bad).unwrap();
    let reasons = ["line 3: ``", "line 4: `abc` in column `value`", "not_finite", "too_large"];
    let reasons = reasons.into_iter().chain(["line 7: `noon` is no stamp", "line 8: 3 cells"]);
    for (row, reason) in rows[1..7].iter().zip(reasons) {
        assert!(row["refused"].as_str().unwrap().contains(reason), "{row}");
        assert_eq!((row["score"].as_f64(), row["alarm"].as_bool()), (Some(0.0), Some(false)));
    }
    let kept = [&rows[..1], &rows[7..]].concat();
    assert_eq!(kept, scored(good).unwrap());
}

#[test]
fn a_head_line_that_is_none_says_what_to_do() {
    for (text, part) in [
        ("", "at least two columns"),
        ("value\n1\n", "at least two columns"),
        ("1,2\n3,4\n", "these are values"),
        ("timestamp,a,a\n", "`a` occurs twice"),
    ] {
        assert!(scored(text).unwrap_err().to_string().contains(part), "{text}");
    }
    let fault = run(&options(Path::new("/none"), true), None, &mut Vec::new()).unwrap_err();
    assert!(fault.to_string().contains("cannot read `/none`"), "{fault}");
}
