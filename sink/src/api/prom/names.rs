//! Names: a series of weir as a name and labels of Prometheus, and the matchers that choose among them. Pure.
//!
//! | label | what |
//! | --- | --- |
//! | `__name__` | the metric, each character that Prometheus does not know made `_` |
//! | `site`, `device` | as they are |
//! | `unit` | the unit, when known |
//! | `metric` | the metric as it is, only where the name had to differ from it |
//!
//! So two series never have the same labels, and a metric whose name is legal has no label `metric` that would
//! keep `voltage * current` from finding each other.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::store::Series;

/// The label that holds the name.
pub(super) const NAME: &str = "__name__";
/// Largest compiled pattern, in bytes, beside what its own length needs.
const PATTERN_BYTES_MAX: usize = 128 * 1024;
/// What a list of plain names needs for each of their bytes when it is compiled, about.
const BYTES_OF_BYTE: usize = 64;

/// Every label that a series may have.
pub(super) const LABELS: [&str; 5] = [NAME, "device", "metric", "site", "unit"];

/// The labels of a row. Only those of [`LABELS`] exist.
pub(super) type Labels = BTreeMap<&'static str, String>;

/// The labels of a series.
pub(super) fn labels_of(series: &Series) -> Labels {
    let name = legal(&series.key.metric);
    let mut labels = Labels::new();
    if name != series.key.metric {
        labels.insert("metric", series.key.metric.clone());
    }
    labels.insert(NAME, name);
    labels.insert("site", series.key.site.clone());
    labels.insert("device", series.key.device.clone());
    if let Some(unit) = series.unit.as_ref().filter(|unit| !unit.is_empty()) {
        labels.insert("unit", unit.clone());
    }
    labels
}

/// A metric as Prometheus may write it.
pub(super) fn legal(metric: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut name: String = metric.chars().map(|c| if known(c) { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Whether Prometheus takes this as the name of a label.
pub(super) fn is_label(name: &str) -> bool {
    !name.is_empty() && !name.contains(':') && legal(name) == name
}

/// The value of a label; a label that is not there is empty.
pub(super) fn value<'a>(labels: &'a Labels, label: &str) -> &'a str {
    labels.get(label).map_or("", String::as_str)
}

/// A condition on one label.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    /// The label.
    pub(super) label: String,
    /// What its value has to be.
    pub(super) test: Test,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`, of the whole value
    Match(Regex),
    /// `!~`, of the whole value
    NoMatch(Regex),
}

impl Matcher {
    /// `label sign "text"`; the error says why the pattern is none.
    pub(super) fn new(label: &str, sign: &str, text: String) -> Result<Self, String> {
        let compiled = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(PATTERN_BYTES_MAX + BYTES_OF_BYTE * text.len())
                .build()
                .map_err(|error| format!("`{text}` is not a regular expression: {error}"))
        };
        // Alone first: a text may close the group that anchors it, as `a)|(?:b` does.
        let pattern = |text: &str| compiled(text).and_then(|_| compiled(&format!("^(?s:{text})$")));
        let test = match sign {
            "=~" => Test::Match(pattern(&text)?),
            "!~" => Test::NoMatch(pattern(&text)?),
            "!=" => Test::NotEqual(text),
            _ => Test::Equal(text),
        };
        Ok(Self { label: label.to_owned(), test })
    }

    /// Whether a value fulfils it.
    pub(super) fn takes(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Match(pattern) => pattern.is_match(value),
            Test::NoMatch(pattern) => !pattern.is_match(value),
        }
    }

    /// The only value that fulfils it.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.test {
            Test::Equal(wanted) => Some(wanted),
            _ => None,
        }
    }
}

/// Whether labels fulfil all of them.
pub(super) fn all_take(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.takes(value(labels, &matcher.label)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use weir_models::ident::SeriesKey;

    use super::*;

    fn series(metric: &str, unit: Option<&str>) -> Series {
        let key = SeriesKey { site: "hall".into(), device: "p/7".into(), metric: metric.into() };
        Series { key, unit: unit.map(Into::into), first_us: 0, last_us: 0 }
    }

    #[test]
    fn a_series_has_a_legal_name_and_tells_its_own_where_it_differs() {
        let labels = labels_of(&series("temp", Some("°C")));
        let expected = [(NAME, "temp"), ("device", "p/7"), ("site", "hall"), ("unit", "°C")];
        assert_eq!(labels, expected.map(|(name, value)| (name, value.to_owned())).into());
        for (metric, name) in
            [("a.b", "a_b"), ("a-b", "a_b"), ("4-20 mA", "_4_20_mA"), ("Öl", "_l"), ("", "_")]
        {
            let labels = labels_of(&series(metric, None));
            assert_eq!((value(&labels, NAME), value(&labels, "metric")), (name, metric));
            assert!(!labels.contains_key("unit"));
        }
    }

    #[test]
    fn matchers_are_of_the_whole_value_and_take_a_label_that_is_missing_as_empty() {
        let labels = labels_of(&series("temp", None));
        let takes = |label: &str, sign: &str, text: &str| {
            all_take(&[Matcher::new(label, sign, text.into()).unwrap()], &labels)
        };
        assert!(takes(NAME, "=", "temp") && !takes(NAME, "!=", "temp"));
        assert!(!takes(NAME, "=~", "tem") && takes(NAME, "=~", "tem.|x"));
        assert!(takes(NAME, "!~", "em") && !takes(NAME, "!~", "te.*"));
        assert!(takes("unit", "=", "") && takes("other", "=~", ".*") && !takes("other", "!=", ""));
        assert!(Matcher::new("a", "=~", "(".into()).unwrap_err().contains("regular expression"));
        for bad in ["(x{9999}){9999}", "a)|(?:b", "\\w{60}"] {
            assert!(Matcher::new("a", "=~", bad.into()).is_err(), "{bad}");
        }
        assert!(Matcher::new("a", "=~", r"\w+-\w+".into()).unwrap().takes("straße-ü"));
        // All names that a query has room for.
        let many = vec!["press-4711"; 740].join("|");
        assert!(Matcher::new("a", "=~", many).unwrap().takes("press-4711"));
    }
}
