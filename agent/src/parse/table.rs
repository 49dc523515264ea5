//! Rows of a table of readings (CSV): cells, and the stamp of a row.
//!
//! In: one line, or the text of one cell. Out: the cells, or microseconds since the Unix epoch. Never fails and never
//! panics: what is no stamp is `None`.

use std::borrow::Cow;

use super::json::{LATEST_US, scaled};
use super::{Zone, stamp};

/// The separator of a table, by its head line: the one of comma, semicolon and tab that occurs most; a comma where
/// none does.
#[must_use]
pub fn separator(head: &str) -> char {
    let count = |separator: char| head.matches(separator).count();
    let most = [',', ';', '\t'].into_iter().rev().max_by_key(|separator| count(*separator));
    most.unwrap_or(',')
}

/// The cells of a line, without the blanks around them. A cell in double quotes may hold the separator, and a double
/// quote written twice (RFC 4180); a line end within quotes is not understood.
#[must_use]
pub fn cells(line: &str, separator: char) -> Vec<Cow<'_, str>> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let text = rest.trim_start_matches([' ']);
        let (cell, after) = match text.strip_prefix('"').and_then(quoted) {
            Some((cell, after)) => (cell, after.find(separator).map(|at| &after[at + 1..])),
            None => match rest.find(separator) {
                Some(at) => (Cow::Borrowed(rest[..at].trim()), Some(&rest[at + 1..])),
                None => (Cow::Borrowed(rest.trim()), None),
            },
        };
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return cells,
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let end = from + text.get(from..)?.find('"')?;
        match text[end + 1..].strip_prefix('"') {
            Some(_) => from = end + 2,
            None if from == 0 => return Some((Cow::Borrowed(&text[..end]), &text[end + 1..])),
            None => return Some((text[..end].replace("\"\"", "\"").into(), &text[end + 1..])),
        }
    }
}

/// Reads `2014-04-01 00:05:00.5` (in `zone`), RFC 3339, or a number since the Unix epoch, whose size says its unit:
/// below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds.
#[must_use]
pub fn time_us(text: &str, zone: &Zone) -> Option<i64> {
    if let Some((found, end)) = stamp::read_iso(text.as_bytes())
        && end == text.len()
        && let Some((ts_us, _)) = found.resolve(0, zone)
    {
        return Some(ts_us);
    }
    let is_number = text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.matches('.').count() <= 1
        && text.bytes().any(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    let whole = text.trim_start_matches('-').split('.').next().unwrap_or_default();
    let exponent = match whole.trim_start_matches('0').len() {
        0..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        _ => -3,
    };
    scaled(text, exponent).filter(|ts_us| LATEST_US.contains(ts_us))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn cells_are_taken_apart() {
        for (line, expected) in [
            ("a,b", vec!["a", "b"]),
            ("a, b ,", vec!["a", "b", ""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("x, \"say \"\"no\"\"\"", vec!["x", "say \"no\""]),
            ("\"open,b", vec!["\"open", "b"]),
            ("", vec![""]),
        ] {
            assert_eq!(cells(line, ','), expected, "{line}");
        }
        assert_eq!(separator("datetime;a,b;c"), ';');
        assert_eq!(separator("timestamp,value"), ',');
        assert_eq!(separator("one"), ',');
    }

    #[test]
    fn stamps_of_every_form_are_the_same_instant() {
        let at = 1_396_310_700_500_000;
        for text in [
            "2014-04-01 00:05:00.5",
            "2014-04-01T00:05:00.500000Z",
            "2014-04-01T02:05:00.5+02:00",
            "1396310700.5",
            "1396310700500",
            "1396310700500000",
            "1396310700500000000",
        ] {
            assert_eq!(time_us(text, &Zone::fixed(0).unwrap()), Some(at), "{text}");
        }
        for text in ["", "-", ".", "noon", "12:00", "1e9", "2014-13-01 00:00:00", "1.2.3"] {
            assert_eq!(time_us(text, &Zone::fixed(0).unwrap()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, separator in proptest::sample::select(vec![',', ';', '\t'])) {
            let _ = time_us(&text, &Zone::fixed(3_600).unwrap());
            proptest::prop_assert!(!cells(&text, separator).is_empty());
        }
    }
}
