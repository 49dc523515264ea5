//! The header of RFC 3164 and of everything that is sent in its name: `[stamp] [host] [tag] message`.
//!
//! In: what follows the PRI, or a whole line of a file. Out: the fields. RFC 3164 describes rather
//! than rules, so each part is optional and these rules decide:
//! - A first word after the stamp that is a sure tag (`sshd[4]:`, `su:`) is the tag and there is
//!   no host: local sockets, FreeBSD, pfSense. But an address, and a name before Cisco's `%`, is
//!   the host.
//! - Otherwise the first word is the host, if it can be one; JSON, key=value pairs and the like
//!   are the message.
//! - After the host, what is no tag by `tag.rs` is the message: `host Use the BFG!` has no tag.
//! - Spaces between the tag and the message do not belong to the message.

use std::net::IpAddr;

use super::tag::{self, Tag};
use super::{Context, Dialect, Syslog, cisco, pairs};
use crate::parse::stamp;

/// Reads a header of any form. The rest is the message.
pub(super) fn read<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) {
    let text = text.trim_start_matches(' ');
    let (found, from) = match stamp::read(text) {
        // A version before a stamp of RFC 3164: some senders mix the two.
        None if out.facility.is_some() && text.starts_with("1 ") => {
            (stamp::read(&text[2..]), &text[2..])
        }
        found => (found, text),
    };
    let Some((stamp, end)) = found else {
        if !cisco::read(out, text, context) && !pairs::read(out, text, context) {
            read_without_stamp(out, text, context);
        }
        return;
    };
    out.set_stamp(&stamp, context);
    // `2026-…` and epoch seconds, but not `2026 Oct 11 …` and `11 Oct 2026 …`.
    let iso =
        from.bytes().take(4).all(|b| b.is_ascii_digit()) && from.as_bytes().get(4) != Some(&b' ');
    out.dialect = match (iso, out.facility.is_some()) {
        (true, true) => Dialect::Iso,
        (true, false) => Dialect::IsoFile,
        (false, true) => Dialect::Rfc3164,
        (false, false) => Dialect::Rfc3164File,
    };
    read_after_stamp(out, from[end..].trim_start_matches([' ', '\t']), context);
}

/// Host, tag and message.
fn read_after_stamp<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) {
    let text = match text.as_bytes().first() {
        // Cisco: `stamp: %…`; otherwise a bare colon says that there is no host.
        Some(b':') if !text.starts_with("::") => {
            return set_tag(out, text[1..].trim_start_matches(' '), tag::sure, context);
        }
        // FreeBSD's `syslogd -v` prints facility and severity.
        Some(b'<') => skip_printed_priority(text),
        // AIX names the relay's client in words.
        Some(b'M') => match forwarded(text) {
            Some((host, rest)) => {
                out.host = out.field(host, context.limits);
                return set_tag(out, rest, tag::sure, context);
            }
            None => text,
        },
        Some(b'l') if text.starts_with("last message repeated ") => {
            out.message = text;
            return;
        }
        _ => text,
    };
    let (word, rest) = first_word(text);
    // What BusyBox calls a host without a name.
    if word == "(none)" {
        return set_tag(out, rest, tag::likely, context);
    }
    // OpenWrt's `logread` prints facility and severity, and no host.
    if word.contains('.') && tag::is_printed_priority(word) {
        return set_tag(out, rest, tag::sure, context);
    }
    // UniFi puts model, address and version in place of the host, in brackets or before a colon.
    if word.contains(',')
        && let Some(device) = unifi_device(word)
    {
        out.host = out.field(device, context.limits);
        return set_tag(out, rest, tag::likely, context);
    }
    if word.bytes().any(|b| matches!(b, b':' | b'[')) && !is_address(word) {
        if let Some(host) = host_with_colon(word, rest) {
            out.host = out.field(host, context.limits);
            return set_tag(out, rest, tag::sure, context);
        }
        if let Some(tag) = tag::sure(text) {
            return take_tag(out, tag, context);
        }
    }
    if !is_host(word) {
        out.message = text;
        return;
    }
    if let Some((host, rest)) = forwarded(rest) {
        out.host = out.field(host, context.limits);
        return set_tag(out, rest, tag::sure, context);
    }
    out.host = out.field(word, context.limits);
    let rest = rest.strip_prefix(": ").unwrap_or(rest);
    let rest = cisco::after_relay(rest).unwrap_or_else(|| after_unifi_model(rest));
    set_tag(out, rest, tag::likely, context);
}

/// A PRI and then no stamp: a tag, `host tag[pid]:`, or a message only. A line without either is
/// no syslog.
fn read_without_stamp<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) {
    if out.facility.is_none() {
        out.message = text;
        return out.give_up("neither a priority nor a time stamp");
    }
    out.dialect = Dialect::PriOnly;
    out.complain("no time stamp");
    let (word, rest) = first_word(text);
    if let Some(host) = host_with_colon(word, rest) {
        out.host = out.field(host, context.limits);
        return set_tag(out, rest, tag::sure, context);
    }
    if let Some(tag) = tag::sure(text) {
        return take_tag(out, tag, context);
    }
    if is_topics(word) {
        out.app = out.field(word, context.limits);
        out.message = rest;
        out.dialect = Dialect::Mikrotik;
        return;
    }
    let after_model = after_unifi_model(rest);
    if is_host(word) && after_model.len() < rest.len() {
        out.host = out.field(word, context.limits);
        return set_tag(out, after_model, tag::likely, context);
    }
    if is_host(word)
        && let Some(tag) = tag::sure(rest)
        && (tag.procid.is_some() || cisco::is_mnemonic(tag.app) || is_address(word))
    {
        out.host = out.field(word, context.limits);
        return take_tag(out, tag, context);
    }
    out.message = text;
}

#[inline]
fn set_tag<'a>(
    out: &mut Syslog<'a>,
    text: &'a str,
    read: impl Fn(&'a str) -> Option<Tag<'a>>,
    context: &Context<'_>,
) {
    match read(text) {
        Some(tag) => take_tag(out, tag, context),
        None => out.message = text,
    }
}

#[inline]
pub(super) fn take_tag<'a>(out: &mut Syslog<'a>, tag: Tag<'a>, context: &Context<'_>) {
    out.app = out.field(tag.app, context.limits);
    out.procid = tag.procid.and_then(|pid| out.field(pid, context.limits));
    out.msgid = tag.event.and_then(|event| out.field(event, context.limits));
    out.message = tag.rest;
    if cisco::is_mnemonic(tag.app) {
        out.dialect = Dialect::Cisco;
    } else if tag.procid.is_none() && is_topics(tag.app) {
        out.dialect = Dialect::Mikrotik;
    }
}

/// MikroTik's topics: small words with commas between.
fn is_topics(app: &str) -> bool {
    app.contains(',')
        && app.split(',').all(|topic| {
            !topic.is_empty()
                && topic.bytes().all(|b| b.is_ascii_lowercase() || b == b'!' || b == b'-')
        })
}

/// The text up to a space or tab, and from the next word on.
fn first_word(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches([' ', '\t']))
}

/// `model,mac,version` of `("model,mac,version")` or `model,mac,version:`.
fn unifi_device(word: &str) -> Option<&str> {
    let quoted = word.strip_prefix("(\"").and_then(|inner| inner.strip_suffix("\")"));
    let device = quoted.or_else(|| word.strip_suffix(':'))?;
    let mut parts = device.split(',');
    let mac = parts.nth(1)?;
    (mac.len() == 12 && mac.bytes().all(|b| b.is_ascii_hexdigit()) && parts.count() == 1)
        .then_some(device)
}

/// `mac,model-version:` before the tag, as newer UniFi devices put it after the host.
fn after_unifi_model(text: &str) -> &str {
    let (word, rest) = first_word(text);
    match word.strip_suffix(':').and_then(|word| word.split_once(',')) {
        Some((mac, _)) if mac.len() == 12 && mac.bytes().all(|b| b.is_ascii_hexdigit()) => rest,
        _ => text,
    }
}

/// `10.0.0.1:` and a name before Cisco's `%` or NetScreen's first words are hosts although a colon
/// follows.
fn host_with_colon<'a>(word: &'a str, rest: &str) -> Option<&'a str> {
    let name = word.strip_suffix(':')?;
    (is_address(name)
        || rest.starts_with('%') && !name.starts_with('%')
        || rest.starts_with("NetScreen device_id="))
    .then_some(name)
}

/// An IP address, with the zone of a link-local one, or in brackets.
fn is_address(word: &str) -> bool {
    let inner = word.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(word);
    inner.split('%').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// Whether a word can be the name or address of a sender. Generous: senders put paths of relays,
/// ports and underscores in; but what begins JSON, a pair or a list is none.
pub(super) fn is_host(word: &str) -> bool {
    let bytes = word.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 255
        && bytes.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || !b.is_ascii()
                || matches!(
                    b,
                    b'-' | b'.'
                        | b'_'
                        | b':'
                        | b'/'
                        | b'@'
                        | b'%'
                        | b'['
                        | b']'
                        | b'#'
                        | b'+'
                        | b'~'
                )
        })
        && bytes.last() != Some(&b':')
        && (word == "-" || bytes.iter().any(|b| b.is_ascii_alphanumeric() || !b.is_ascii()))
        && (bytes[0] != b'[' || is_address(word))
}

/// `<auth.info>` or `<4.6>` and spaces.
fn skip_printed_priority(text: &str) -> &str {
    match text[1..].split_once('>') {
        Some((inner, rest))
            if inner.len() <= 20
                && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') =>
        {
            rest.trim_start_matches(' ')
        }
        _ => text,
    }
}

/// `Message forwarded from host: rest`: the host, not the relay, sent it.
fn forwarded(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = text.strip_prefix("Message forwarded from ")?.split_once(':')?;
    is_host(host).then(|| (host, rest.trim_start_matches(' ')))
}
