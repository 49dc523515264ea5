//! Cisco's header: `[counter:] [host:] [sequence:] [*|.]stamp[ zone]: %FACILITY-SEVERITY-MNEMONIC: message`.
//!
//! In: what follows the PRI and is no stamp. Out: `true` and the fields, or `false` where it is of
//! another form. The mnemonic with its `%` is the app, as collectors agree.
//!
//! `*` (clock not set) and `.` (not synchronised) before the stamp are passed over; IOS XR puts
//! the node (`RP/0/RSP0/CPU0:`) right before the stamp and the process after it; controllers put
//! a task (`*spamApTask0:`) there. A stamp that is an uptime (`1w2d`, `00:00:46`) is none.

use super::header::{is_host, take_tag};
use super::{Context, Dialect, Syslog, tag};
use crate::parse::stamp::{self, Stamp};

/// Counter, host, sequence number, node or task, stamp: no header has more words.
const MOST_WORDS: usize = 6;

/// What stood before the mnemonic or message.
#[derive(Default)]
struct Prefix<'a> {
    host: Option<&'a str>,
    counted: bool,
    marked: bool,
    stamp: Option<Stamp>,
    uptime: bool,
    rest: &'a str,
}

/// Reads the header, if it is of this form.
pub(super) fn read<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) -> bool {
    let Some(prefix) = read_prefix(text) else {
        return false;
    };
    let tag = tag::sure(prefix.rest);
    let named = tag.as_ref().is_some_and(|tag| is_mnemonic(tag.app));
    let timed = (prefix.stamp.is_some() || prefix.uptime) && (prefix.counted || prefix.marked);
    if !named && !timed {
        return false;
    }
    out.host = prefix.host.and_then(|host| out.field(host, context.limits));
    match (&prefix.stamp, prefix.uptime) {
        (Some(stamp), _) => out.set_stamp(stamp, context),
        (None, true) => out.complain("the time stamp is an uptime"),
        (None, false) => out.complain("no time stamp"),
    }
    match tag {
        Some(tag) => take_tag(out, tag, context),
        None => out.message = prefix.rest,
    }
    out.dialect = Dialect::Cisco;
    true
}

fn read_prefix(text: &str) -> Option<Prefix<'_>> {
    let mut prefix = Prefix { rest: text, ..Prefix::default() };
    if let Some(rest) = text.strip_prefix(": ") {
        prefix.rest = rest;
        prefix.counted = true;
    }
    for _ in 0..MOST_WORDS {
        prefix.rest = prefix.rest.trim_start_matches(' ');
        if prefix.rest.starts_with('%') || prefix.stamp.is_some() || prefix.uptime {
            break;
        }
        let unmarked = prefix.rest.strip_prefix(['*', '.']).unwrap_or(prefix.rest);
        prefix.marked |= unmarked.len() < prefix.rest.len();
        if let Some((stamp, end)) = stamp::read(unmarked) {
            prefix.rest = unmarked[end..].trim_start_matches(' ').strip_prefix(':')?;
            prefix.stamp = Some(stamp);
            continue;
        }
        let (word, rest) = word_with_colon(unmarked)?;
        if word.bytes().all(|b| b.is_ascii_digit()) {
            prefix.counted = true;
        } else if is_uptime(word) {
            prefix.uptime = true;
        } else if word.contains("/CPU") || prefix.marked {
            // A node or a task: no field of ours.
            prefix.counted = true;
        } else if prefix.host.is_none() && is_host(word) {
            prefix.host = Some(word);
        } else {
            return None;
        }
        prefix.rest = rest;
    }
    Some(prefix)
}

/// A word that ends with a colon and a space, or with a colon right before a stamp; or a host
/// before an IOS XR node.
fn word_with_colon(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(' ')?;
    if let Some(name) = word.strip_suffix(':') {
        return (!name.is_empty()).then_some((name, rest));
    }
    if let Some((name, _)) = word.rsplit_once(':') {
        let rest = &text[name.len() + 1..];
        return stamp::read(rest).map(|_| (name, rest));
    }
    let node = rest.split(' ').next().unwrap_or_default();
    node.contains("/CPU").then_some((word, rest))
}

/// Whether a tag is `%FACILITY-…`; devices in the field also send `%ASA` alone.
#[inline]
pub(super) fn is_mnemonic(app: &str) -> bool {
    matches!(app.as_bytes(), [b'%', b'A'..=b'Z', ..])
}

/// What a relay leaves of a Cisco header after the host it found: from the `%` on. A firewall puts
/// its own name there too (other devices the process, which is the app).
pub(super) fn after_relay(text: &str) -> Option<&str> {
    const FIREWALLS: [&str; 4] = ["%ASA-", "%FTD-", "%PIX-", "%FWSM-"];
    if let Some((word, rest)) = text.split_once(' ')
        && rest.starts_with('%')
        && let Some(name) = word.strip_suffix(':')
        && FIREWALLS.iter().any(|firewall| rest.starts_with(firewall))
        && is_host(name)
    {
        return Some(rest);
    }
    let begins = match text.as_bytes().first()? {
        b'0'..=b'9' | b'*' | b'.' => true,
        b'A'..=b'Z' => stamp::read(text).is_some(),
        _ => false,
    };
    if !begins {
        return None;
    }
    let percent = crate::parse::prefix(text, 80).find(": %")? + 2;
    is_mnemonic(&text[percent..]).then_some(&text[percent..])
}

/// `00:00:46`, `3d05h`, `1w2d`, `2y10w`.
fn is_uptime(word: &str) -> bool {
    let clock = word.contains(':') && word.bytes().all(|b| b.is_ascii_digit() || b == b':');
    let spans = word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().last().is_some_and(|b| b"ywdhms".contains(&b))
        && word.bytes().all(|b| b.is_ascii_digit() || b"ywdhms".contains(&b));
    clock || spans
}
