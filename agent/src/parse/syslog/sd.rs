//! Structured data (RFC 5424, section 6.3).
//!
//! In: text that begins with `[`. Out: [`StructuredData`], a checked piece of the input that is
//! taken apart when somebody iterates it: no list is built, and a value is only copied where it
//! holds an escape.
//!
//! Tolerated: names and values longer than the RFC allows (up to the limits), an unescaped `]`
//! within quotes, several spaces between parameters. Not tolerated: parameters without quotes,
//! so that a message that merely begins with a bracket stays a message.

use std::borrow::Cow;
use std::fmt;

use crate::parse::Limits;

/// The structured data of a message; empty if there was none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct StructuredData<'a> {
    /// One or more well-formed elements.
    text: &'a str,
}

/// One element: an id and its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SdElement<'a> {
    /// SD-ID, such as `exampleSDID@32473`.
    pub id: &'a str,
    /// Well-formed parameters, from the first space or the closing bracket on.
    params: &'a str,
}

/// Why a text is no structured data.
pub(super) enum NoSd {
    /// Not of the form.
    LooksLike,
    /// Of the form, but over a limit.
    TooMuch,
}

impl<'a> StructuredData<'a> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As it was sent.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The elements in their order.
    pub fn elements(&self) -> impl Iterator<Item = SdElement<'a>> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            let (element, length) = element(rest)?;
            rest = &rest[length..];
            Some(element)
        })
    }

    /// Reads as many elements as there are. Returns what follows them.
    pub(super) fn read(text: &'a str, limits: &Limits) -> Result<(Self, &'a str), NoSd> {
        let (mut end, mut elements, mut params) = (0, 0, 0);
        while text.as_bytes().get(end) == Some(&b'[') {
            // What follows whole elements and is none itself belongs to the message.
            let Some((length, count)) = measure(&text.as_bytes()[end..], limits) else {
                break;
            };
            end += length;
            elements += 1;
            params += count;
            if elements > limits.sd_elements || params > limits.sd_params {
                return Err(NoSd::TooMuch);
            }
        }
        let spaced = matches!(text.as_bytes().get(end), None | Some(b' '));
        // `[note]text` is a message; `[id a="1"]text` lacks a space only.
        if end == 0 || (!spaced && params == 0) {
            return Err(NoSd::LooksLike);
        }
        Ok((Self { text: &text[..end] }, &text[end..]))
    }
}

impl<'a> SdElement<'a> {
    /// Names and values in their order, escapes resolved.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        let mut rest = self.params;
        std::iter::from_fn(move || {
            let param = rest.trim_start_matches(' ');
            let (name, after) = param.split_once("=\"")?;
            let length = quoted(after.as_bytes())?;
            rest = &after[length + 1..];
            Some((name, unescape(&after[..length])))
        })
    }
}

/// Length and count of parameters of the element at the begin of the bytes.
fn measure(bytes: &[u8], limits: &Limits) -> Option<(usize, usize)> {
    let mut at = 1 + name(&bytes[1..], limits)?;
    let mut count = 0;
    loop {
        let spaces = bytes[at..].iter().take_while(|&&b| b == b' ').count();
        at += spaces;
        if *bytes.get(at)? == b']' {
            return Some((at + 1, count));
        }
        if spaces == 0 {
            return None;
        }
        at += name(&bytes[at..], limits)?;
        if bytes.get(at..at + 2)? != b"=\"" {
            return None;
        }
        at += 2;
        at += quoted(&bytes[at..])? + 1;
        count += 1;
    }
}

/// Length of an SD-NAME: printable ASCII without `=`, space, `]` and `"`.
fn name(bytes: &[u8], limits: &Limits) -> Option<usize> {
    let length = bytes
        .iter()
        .take_while(|&&b| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"'))
        .count();
    (1..=limits.field_bytes).contains(&length).then_some(length)
}

/// Length of a value up to its closing quote.
fn quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Splits a checked text into its first element and the length of that.
fn element(text: &str) -> Option<(SdElement<'_>, usize)> {
    let inner = text.strip_prefix('[')?;
    let id_length = inner.find([' ', ']'])?;
    let bytes = inner.as_bytes();
    let mut at = id_length;
    loop {
        match bytes.get(at)? {
            b']' => break,
            b'"' => at += 2 + quoted(&bytes[at + 1..])?,
            _ => at += 1,
        }
    }
    Some((
        SdElement {
            id: &inner[..id_length],
            params: &inner[id_length..at],
        },
        at + 2,
    ))
}

/// Resolves `\"`, `\\` and `\]`; a backslash before anything else is itself (RFC 5424, 6.3.3).
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&escaped @ ('"' | '\\' | ']'))) => {
                out.push(escaped);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

impl fmt::Debug for StructuredData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl serde::Serialize for StructuredData<'_> {
    /// `{"id": {"name": "value"}}`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.elements().map(|element| (element.id, element)))
    }
}

impl serde::Serialize for SdElement<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.params())
    }
}
