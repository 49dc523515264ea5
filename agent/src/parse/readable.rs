//! From bytes to text, before any field is looked for.
//!
//! In: the bytes of one message or line. Out: [`Readable`], text without the line's end, NULs and
//! what is over the limit; a fault where that or bad UTF-8 changed what is read. Valid UTF-8 is
//! borrowed; only where bytes are replaced (by U+FFFD) is there a copy, so that a name in Latin-1
//! costs its one letter and not the fields after it.

use std::borrow::Cow;

use super::Limits;

/// A text to be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable<'a> {
    text: Cow<'a, str>,
    fault: Option<&'static str>,
}

impl<'a> Readable<'a> {
    /// The text in the bytes.
    #[must_use]
    #[inline]
    pub fn new(input: &'a [u8], limits: &Limits) -> Self {
        let end =
            input.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
        let too_long = end > limits.line_bytes;
        let bytes = &input[..end.min(limits.line_bytes)];
        let cut = too_long.then_some("longer than the limit of a line, the rest is cut");
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => return Self { text: text.into(), fault: cut },
            Err(error) => error,
        };
        if too_long && error.error_len().is_none() {
            // The cut fell into a character.
            let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            return Self { text: text.into(), fault: cut };
        }
        let replaced = cut.or(Some("not UTF-8, the bad bytes are replaced"));
        Self { text: String::from_utf8_lossy(bytes), fault: replaced }
    }

    /// The text.
    #[must_use]
    #[inline]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is not as it was sent.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }
}
