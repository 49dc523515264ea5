//! A reader of JSON (RFC 8259) that visits leaves with their paths.
//!
//! In: text. Out: calls of [`Visit::leaf`] in the order of the text, or the fault and where it is.
//!
//! Why not the reader of `serde_json`: the digits of numbers are needed as they stand (a stamp
//! with microseconds does not survive a float, a large integer wants to be noticed), and `NaN`,
//! which Python writes, is to cost one field and not the payload. It is tested against it.
//!
//! Nothing is built up: one path, a list of open objects bounded by the depth, and an owned
//! string only where one holds an escape.

use std::borrow::Cow;

use crate::parse::Limits;

/// A value that is no object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf<'a> {
    Null,
    Boolean(bool),
    /// A number by its digits.
    Number(&'a str),
    /// `NaN`, `Infinity` or `-Infinity`, which JSON has not.
    NotANumber,
    Text(Cow<'a, str>),
    /// A whole array, passed over.
    Array,
}

/// Who wants the leaves.
pub(super) trait Visit<'a> {
    /// A leaf, its path, and its own key (none if the payload is a leaf).
    fn leaf(&mut self, path: &str, key: Option<&Cow<'a, str>>, leaf: Leaf<'a>);
}

/// Why a text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("not JSON: {what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    #[error("nested deeper than the limit")]
    Depth,
    #[error("a name is longer than the limit")]
    Name,
    #[error("an array of messages: the payload must be one object")]
    Array,
}

pub(super) struct Reader<'a, 'c> {
    text: &'a str,
    at: usize,
    path: String,
    limits: &'c Limits,
}

impl<'a, 'c> Reader<'a, 'c> {
    pub(super) fn new(text: &'a str, limits: &'c Limits) -> Self {
        Self {
            text,
            at: 0,
            path: String::new(),
            limits,
        }
    }

    /// Reads the whole text.
    pub(super) fn read(mut self, visit: &mut impl Visit<'a>) -> Result<(), Fault> {
        self.skip_white();
        match self.peek() {
            Some(b'{') => self.object(visit, 1)?,
            Some(b'[') => return Err(Fault::Array),
            _ => {
                let leaf = self.leaf(0)?;
                visit.leaf("", None, leaf);
            }
        }
        self.skip_white();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.fault("something after the end"))
        }
    }

    /// An object; its depth counts from 1. The recursion is bounded by the limit.
    fn object(&mut self, visit: &mut impl Visit<'a>, depth: usize) -> Result<(), Fault> {
        if depth > self.limits.json_depth {
            return Err(Fault::Depth);
        }
        self.at += 1;
        self.skip_white();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            let outer = self.path.len();
            if outer > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if self.path.len() > self.limits.field_bytes {
                return Err(Fault::Name);
            }
            self.skip_white();
            if !self.take(b':') {
                return Err(self.fault("a colon is missing"));
            }
            self.skip_white();
            if self.peek() == Some(b'{') {
                self.object(visit, depth + 1)?;
            } else {
                let leaf = self.leaf(depth)?;
                visit.leaf(&self.path, Some(&key), leaf);
            }
            self.path.truncate(outer);
            self.skip_white();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault("a comma or the end of an object is missing"));
            }
            self.skip_white();
        }
    }

    fn leaf(&mut self, depth: usize) -> Result<Leaf<'a>, Fault> {
        const WORDS: [(&str, Leaf<'static>); 6] = [
            ("true", Leaf::Boolean(true)),
            ("false", Leaf::Boolean(false)),
            ("null", Leaf::Null),
            ("NaN", Leaf::NotANumber),
            ("Infinity", Leaf::NotANumber),
            ("-Infinity", Leaf::NotANumber),
        ];
        match self.peek() {
            Some(b'"') => return self.string().map(Leaf::Text),
            Some(b'[') => return self.array(depth + 1).map(|()| Leaf::Array),
            Some(b'-' | b'0'..=b'9') => {
                if let Some(length) = number_length(&self.text.as_bytes()[self.at..]) {
                    let digits = &self.text[self.at..self.at + length];
                    self.at += length;
                    return Ok(Leaf::Number(digits));
                }
            }
            _ => {}
        }
        for (word, leaf) in WORDS {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(leaf);
            }
        }
        Err(self.fault("a value is missing"))
    }

    /// Passes over an array; what is in it must be JSON too.
    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > self.limits.json_depth {
            return Err(Fault::Depth);
        }
        self.at += 1;
        self.skip_white();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            if self.peek() == Some(b'{') {
                self.object(&mut Nobody, depth + 1)?;
            } else {
                self.leaf(depth)?;
            }
            self.skip_white();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault("a comma or the end of an array is missing"));
            }
            self.skip_white();
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        if !self.take(b'"') {
            return Err(self.fault("a string is missing"));
        }
        let start = self.at;
        loop {
            match self.peek() {
                None => return Err(self.fault("a string does not end")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
                }
                Some(b'\\') => return self.escaped_string(start).map(Cow::Owned),
                Some(0..=0x1f) => return Err(self.fault("a control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// The string from `start`, from its first escape on.
    fn escaped_string(&mut self, start: usize) -> Result<String, Fault> {
        let mut out = String::from(&self.text[start..self.at]);
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else {
                return Err(self.fault("a string does not end"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                '\0'..='\u{1f}' => return Err(self.fault("a control character in a string")),
                c => {
                    self.at += c.len_utf8();
                    out.push(c);
                }
            }
        }
    }

    /// What follows a backslash. Half of a surrogate pair becomes U+FFFD.
    fn escape(&mut self) -> Result<char, Fault> {
        let kind = self.peek();
        self.at += 1;
        Ok(match kind {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.hex()?;
                if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with("\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        return Ok(char::from_u32(
                            0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                        )
                        .unwrap_or('\u{fffd}'));
                    }
                    self.at = back;
                }
                char::from_u32(unit).unwrap_or('\u{fffd}')
            }
            _ => {
                self.at -= 1;
                return Err(self.fault("an unknown escape"));
            }
        })
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let number = digits.and_then(|digits| {
            digits.iter().try_fold(0, |number, &b| {
                Some(number * 16 + char::from(b).to_digit(16)?)
            })
        });
        match number {
            Some(number) => {
                self.at += 4;
                Ok(number)
            }
            None => Err(self.fault("four hexadecimal digits are missing")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn skip_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault::Syntax { what, at: self.at }
    }
}

/// Visitor of what is passed over.
struct Nobody;

impl<'a> Visit<'a> for Nobody {
    fn leaf(&mut self, _path: &str, _key: Option<&Cow<'a, str>>, _leaf: Leaf<'a>) {}
}

/// Length of the number at the begin of the bytes, by JSON's grammar.
pub(super) fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        bytes
            .get(from..)
            .unwrap_or(&[])
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}
