//! A plain line (format `text`): a log event whose message is the line.
//!
//! In: the text of one line. Out: a [`Syslog`] of dialect `text` without header fields.

use super::Readable;
use super::syslog::{Dialect, Syslog};

/// Takes a line as the message. Never fails.
#[must_use]
pub fn parse<'a>(input: &'a Readable<'_>) -> Syslog<'a> {
    let mut out = Syslog::of(Dialect::Text, input);
    out.message = input.text();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, ParseState};

    #[track_caller]
    fn check(input: &[u8], message: &str, state: ParseState) {
        let limits = Limits { line_bytes: 12, ..Limits::default() };
        let text = Readable::new(input, &limits);
        let out = parse(&text);
        assert_eq!((out.message, out.state), (message, state));
        assert_eq!(out.reason.is_some(), state != ParseState::Ok);
    }

    #[test]
    fn lines_are_messages() {
        check(b"", "", ParseState::Ok);
        check(b"  <13>a b\r\n", "  <13>a b", ParseState::Ok);
        check(b"caf\xe9 x", "caf\u{fffd} x", ParseState::Partial);
        check(b"0123456789abcdef", "0123456789ab", ParseState::Partial);
        // The cut falls into a character.
        check("0123456789aé".as_bytes(), "0123456789a", ParseState::Partial);
    }
}
