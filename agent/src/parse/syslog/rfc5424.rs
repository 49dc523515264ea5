//! RFC 5424, section 6: `VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID SP SD [SP MSG]`.
//!
//! In: what follows the PRI. Out: `true` and the fields, or `false` where the text does not begin
//! with a version and something that means to be a stamp.
//!
//! What breaks the form is tolerated and named in the reason: a stamp that is none, spaces where
//! one should be, missing structured data, a message that looks like structured data, an end in
//! the header. Check Point puts a space into the stamp, Meraki sends epoch seconds and then host
//! and type only, some Cisco firewalls a header of RFC 3164 after the stamp: dialect
//! `rfc5424_loose`.

use super::sd::{NoSd, StructuredData};
use super::tag::{self, Tag};
use super::{Context, Dialect, Syslog, header};
use crate::parse::stamp;

/// Reads what follows the PRI, if it is of this form.
#[inline]
pub(super) fn read<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) -> bool {
    let Some(rest) = after_version(out, text) else {
        return false;
    };
    if is_spaced_date(rest) && !rest.split(' ').nth(6).is_some_and(|sd| sd.starts_with(['-', '[']))
    {
        // Aruba and others: a version, but then a header as in RFC 3164.
        return false;
    }
    let rest = read_stamp(out, rest, context);
    if out.dialect == Dialect::Rfc5424Loose && is_epoch(text) {
        read_meraki(out, rest, context);
    } else {
        read_fields(out, rest, context);
    }
    true
}

/// The version (1 to 999) and its space. Returns `None` where the text is of another form.
#[inline]
fn after_version<'a>(out: &mut Syslog<'a>, text: &'a str) -> Option<&'a str> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'1') && bytes.get(1) == Some(&b' ') {
        return means_stamp(&text[2..]).then(|| text[2..].trim_start_matches(' '));
    }
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&digits)
        || bytes[0] == b'0'
        || bytes.get(digits) != Some(&b' ')
        || out.facility.is_none()
    {
        return None;
    }
    let rest = &text[digits + 1..];
    if !means_stamp(rest) {
        return None;
    }
    out.complain("the version is not 1, read as RFC 5424 nevertheless");
    Some(rest)
}

/// `yyyy-mm-dd` and a space.
fn is_spaced_date(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _, b' ', ..])
}

/// Whether a nil value, a date or epoch seconds follow.
fn means_stamp(text: &str) -> bool {
    let bytes = text.trim_start_matches(' ').as_bytes();
    match bytes.first() {
        Some(b'-') => bytes.get(1).is_none_or(|&b| b == b' '),
        Some(b'0'..=b'9') => {
            bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-') || is_epoch_digits(bytes)
        }
        _ => false,
    }
}

fn is_epoch(text: &str) -> bool {
    text.split_ascii_whitespace().nth(1).is_some_and(|word| is_epoch_digits(word.as_bytes()))
}

fn is_epoch_digits(bytes: &[u8]) -> bool {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count() == 10 && bytes.get(10) == Some(&b'.')
}

#[inline]
fn read_stamp<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) -> &'a str {
    out.dialect = Dialect::Rfc5424;
    if let Some(rest) = text.strip_prefix('-') {
        return rest;
    }
    let bytes = text.as_bytes();
    match stamp::read_iso(bytes) {
        Some((stamp, end)) if matches!(bytes.get(end), None | Some(b' ')) => {
            out.set_stamp(&stamp, context);
            if bytes[10] == b' ' {
                out.dialect = Dialect::Rfc5424Loose;
            } else if stamp.offset_s.is_none() {
                out.complain("the time stamp has no zone, the source's is taken");
            }
            &text[end..]
        }
        _ => match stamp::read(text) {
            Some((stamp, end)) => {
                out.set_stamp(&stamp, context);
                out.dialect = Dialect::Rfc5424Loose;
                &text[end..]
            }
            None => {
                out.complain("the time stamp is not of RFC 3339");
                &text[text.find(' ').unwrap_or(text.len())..]
            }
        },
    }
}

/// Host to message. `rest` begins with the space after the stamp.
#[inline]
fn read_fields<'a>(out: &mut Syslog<'a>, rest: &'a str, context: &Context<'_>) {
    let limits = context.limits;
    let (host, rest) = word(out, rest);
    out.host = out.field(host, limits);
    if let Some(tag) = tag_in_place(rest) {
        out.dialect = Dialect::Rfc5424Loose;
        out.complain("a tag of RFC 3164 where application to structured data should be");
        return header::take_tag(out, tag, context);
    }
    let (app, rest) = word(out, rest);
    out.app = out.field(app, limits);
    let (procid, rest) = word(out, rest);
    out.procid = out.field(procid, limits);
    let (msgid, rest) = word(out, rest);
    out.msgid = out.field(msgid, limits);
    let Some(mut rest) = rest.strip_prefix(' ') else {
        return out.complain("it ends within the header");
    };
    let spaces_off = rest.trim_start_matches(' ');
    if spaces_off.len() < rest.len() && spaces_off.starts_with(['-', '[']) {
        out.complain("more than one space between two header fields");
        rest = spaces_off;
    }
    match rest.as_bytes() {
        [b'-'] => {}
        [b'-', b' ', ..] => set_message(out, &rest[2..]),
        [b'[', ..] => match StructuredData::read(rest, limits) {
            Ok((sd, after)) => {
                out.sd = sd;
                match after.strip_prefix(' ') {
                    Some(message) => set_message(out, message),
                    None if after.is_empty() => {}
                    None => {
                        out.complain("no space after the structured data");
                        set_message(out, after);
                    }
                }
            }
            Err(fault) => {
                out.complain(match fault {
                    NoSd::LooksLike => {
                        "what stands for structured data is none, it is in the message"
                    }
                    NoSd::TooMuch => "more structured data than the limit, it is in the message",
                });
                out.message = rest;
            }
        },
        _ => {
            out.complain("no structured data, not even a nil value");
            set_message(out, rest);
        }
    }
}

/// The tag of a sender that puts version and stamp before a header of RFC 3164: `app[pid]: ` or
/// Cisco's `: %…: `, and no structured data where it belongs.
#[inline]
fn tag_in_place(rest: &str) -> Option<Tag<'_>> {
    let text = rest.strip_prefix(' ')?;
    let end = text.bytes().position(|b| b == b' ').unwrap_or(text.len());
    if !text[..end].ends_with(':')
        || text.split(' ').nth(3).is_some_and(|sd| sd.starts_with(['-', '[']))
    {
        return None;
    }
    tag::sure(text.strip_prefix(": ").unwrap_or(text))
}

/// The next field, after its one space.
#[inline]
fn word<'a>(out: &mut Syslog<'a>, text: &'a str) -> (&'a str, &'a str) {
    let Some(mut text) = text.strip_prefix(' ') else {
        return ("", text);
    };
    if text.starts_with(' ') {
        out.complain("more than one space between two header fields");
        text = text.trim_start_matches(' ');
    }
    let end = text.bytes().position(|b| b == b' ').unwrap_or(text.len());
    text.split_at(end)
}

/// The message, without the byte order mark that announces UTF-8.
#[inline]
fn set_message<'a>(out: &mut Syslog<'a>, text: &'a str) {
    out.message = text.strip_prefix('\u{feff}').unwrap_or(text);
}

/// Meraki: `host type message`; some models leave the rest of the header out.
fn read_meraki<'a>(out: &mut Syslog<'a>, rest: &'a str, context: &Context<'_>) {
    let (host, rest) = word(out, rest);
    out.host = out.field(host, context.limits);
    let (app, rest) = word(out, rest);
    out.app = out.field(app, context.limits);
    out.message = rest.strip_prefix(' ').unwrap_or(rest);
}
