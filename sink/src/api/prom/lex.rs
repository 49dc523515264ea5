//! Lex: the text of a query as tokens. Pure.
//!
//! In: text in PromQL. Out: tokens, each with the byte where it begins. What can go wrong: a character that
//! begins no token, a text without an end, a number or a duration that is none.

use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

/// Longest duration taken, microseconds: a hundred years.
const DURATION_US_MAX: f64 = 100. * 365. * DAY_US as f64;

/// A piece of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `1`, `1.5e3`, `0x1f`
    Number(f64),
    /// `5m`, `1h30m`, in microseconds
    Duration(i64),
    /// `"…"`, `'…'` or `` `…` ``, without quotes and escapes
    Text(String),
    /// A name or a keyword.
    Word(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of the query.
    End,
}

/// Longest first, so that `==` is not two of `=`.
const SIGNS: [&str; 23] = [
    "==", "!=", "=~", "!~", "<=", ">=", "(", ")", "{", "}", "[", "]", ",", "=", "<", ">", "+", "-",
    "*", "/", "%", "^", "@",
];

/// The tokens of `text`, the last one [`Token::End`]; the error says where and what.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (token, length) = match first {
            '#' => {
                let line = rest.find('\n').unwrap_or(rest.len());
                rest = rest[line..].trim_start();
                continue;
            }
            '"' | '\'' | '`' => quoted(rest, first),
            '0'..='9' => number_or_duration(rest),
            '.' => number(rest),
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c) && !c.is_ascii_digit());
                let length = length.unwrap_or(rest.len());
                Ok((Token::Word(rest[..length].to_owned()), length))
            }
            _ => SIGNS
                .iter()
                .find(|sign| rest.starts_with(**sign))
                .map(|sign| (Token::Sign(sign), sign.len()))
                .ok_or_else(|| format!("`{first}` begins nothing that a query can hold")),
        }
        .map_err(|error| format!("{}: {error}", place(text, at)))?;
        found.push((token, at));
        rest = rest[length..].trim_start();
    }
    found.push((Token::End, text.len()));
    Ok(found)
}

/// Line and column of a byte, counted from 1.
pub(super) fn place(text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((Token::Text(text), at + 1)),
            '\n' if quote != '`' => break,
            '\\' if quote != '`' => text.push(escaped(&mut chars)?),
            _ => text.push(c),
        }
    }
    Err("the text has no end: a quote is missing".into())
}

fn escaped(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, String> {
    let digits = match chars.next().map(|(_, c)| c) {
        Some('n') => return Ok('\n'),
        Some('t') => return Ok('\t'),
        Some('r') => return Ok('\r'),
        Some(c @ ('\\' | '"' | '\'')) => return Ok(c),
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        _ => return Err("after `\\` comes one of n t r \\ \" ' x u U".into()),
    };
    let hex: String = chars.take(digits).map(|(_, c)| c).collect();
    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
    code.and_then(char::from_u32).ok_or_else(|| format!("`{hex}` is not the code of a character"))
}

fn number_or_duration(rest: &str) -> Result<(Token, usize), String> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let unit = rest[digits..].chars().next();
    if !unit.is_some_and(|unit| "smhdwy".contains(unit)) {
        return number(rest);
    }
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let us = duration_us(&rest[..length]).ok_or_else(|| {
        format!("`{}` is not a duration: write 30s, 5m, 1h30m, 1d", &rest[..length])
    })?;
    Ok((Token::Duration(us), length))
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let hex = rest.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let mut length = if hex { 2 } else { 0 };
    for c in rest[length..].chars() {
        let sign = matches!(c, '+' | '-') && !hex && rest[..length].ends_with(['e', 'E']);
        if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
            break;
        }
        length += 1;
    }
    let text = &rest[..length];
    let value = if hex {
        u64::from_str_radix(&text[2..], 16).ok().map(|value| value as f64)
    } else {
        text.parse().ok()
    };
    value
        .map(|value| (Token::Number(value), length))
        .ok_or_else(|| format!("`{text}` is not a number"))
}

/// Microseconds of `1h30m`: units from large to small, each at most once, whole numbers.
pub(super) fn duration_us(text: &str) -> Option<i64> {
    let units = [
        ("y", 365 * DAY_US),
        ("w", 7 * DAY_US),
        ("d", DAY_US),
        ("h", HOUR_US),
        ("m", 60 * SECOND_US),
        ("s", SECOND_US),
        ("ms", 1_000),
    ];
    let (mut rest, mut from, mut total) = (text, 0, 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let at = units.iter().skip(from).position(|(name, _)| *name == &rest[..length])? + from;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        rest = &rest[length..];
        from = at + 1;
    }
    (!text.is_empty() && total as f64 <= DURATION_US_MAX).then_some(total)
}

/// Microseconds of a number of seconds; nothing when it is no duration.
pub(super) fn seconds_us(seconds: f64) -> Option<i64> {
    let us = (seconds * SECOND_US as f64).round();
    (us.abs() <= DURATION_US_MAX).then_some(us as i64)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_from_large_to_small() {
        for (text, seconds) in [
            ("5m", 300.),
            ("1h30m", 5_400.),
            ("1d", 86_400.),
            ("1w", 604_800.),
            ("1y", 31_536_000.),
            ("250ms", 0.25),
            ("1m250ms", 60.25),
        ] {
            assert_eq!(duration_us(text), seconds_us(seconds), "{text}");
        }
        for text in ["", "5", "5x", "1m1h", "1m1m", "m", "1.5h", "200y", "99999999999999999999s"] {
            assert_eq!(duration_us(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_texts_and_signs() {
        let all = |text: &str| {
            let tokens = tokens(text).unwrap().into_iter();
            tokens.map(|(token, _)| token).collect::<Vec<_>>()
        };
        assert_eq!(all("1e3 0x1F .5 2.5e-3"), {
            let [a, b, c, d] = [1_000., 31., 0.5, 0.0025].map(Token::Number);
            [a, b, c, d, Token::End]
        });
        let text = |text: &str| Token::Text(text.into());
        assert_eq!(
            all(r#"'it\'s' "\u00b0C" `\d`"#),
            [text("it's"), text("°C"), text(r"\d"), Token::End]
        );
        assert_eq!(all("a!=b # rest\n")[1], Token::Sign("!="));
        assert_eq!(all("x[5m]")[2], Token::Duration(300_000_000));
    }

    #[test]
    fn what_is_no_token_is_told_with_its_place() {
        for (text, place) in [("a\n  $", "2:3"), ("\"a", "1:1"), ("1 5q", "1:3"), ("'\\q'", "1:1")]
        {
            let error = tokens(text).unwrap_err();
            assert!(error.starts_with(place), "{text}: {error}");
        }
    }
}
