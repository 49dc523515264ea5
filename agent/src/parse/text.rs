//! A plain line (format `text`): a log event whose message is the line.
//!
//! In: the bytes of one line. Out: a [`Syslog`] of dialect `text` without header fields. The line's
//! end and NULs at the end are taken off; bytes that are not UTF-8 become U+FFFD and the state partial.

use super::Limits;
use super::syslog::{Dialect, Syslog, readable};

/// Takes a line as the message. Never fails.
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Syslog<'a> {
    let mut out = Syslog::new(Dialect::Text);
    let (text, lossy_from) = readable(&mut out, input, limits);
    out.message = match lossy_from {
        None => text.into(),
        Some(cut) => String::from_utf8_lossy(cut),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::ParseState;

    #[track_caller]
    fn check(input: &[u8], message: &str, state: ParseState) {
        let limits = Limits {
            line_bytes: 12,
            ..Limits::default()
        };
        let out = parse(input, &limits);
        assert_eq!((out.message.as_ref(), out.state), (message, state));
        assert_eq!(out.reason.is_some(), state != ParseState::Ok);
    }

    #[test]
    fn lines_are_messages() {
        check(b"", "", ParseState::Ok);
        check(b"  <13>a b\r\n", "  <13>a b", ParseState::Ok);
        check(b"caf\xe9 x", "caf\u{fffd} x", ParseState::Partial);
        check(b"0123456789abcdef", "0123456789ab", ParseState::Partial);
        // The cut falls into a character.
        check(
            "0123456789aé".as_bytes(),
            "0123456789a",
            ParseState::Partial,
        );
    }
}
