//! The tag: the program and its process id, before the message of RFC 3164.
//!
//! In: text at whose begin a tag may stand. Out: the tag and what follows it, or nothing.
//!
//! Sure forms: `name:`, `name[pid]:`, `name [pid]:`, `name[pid] ` and Cisco's `%…-6-…:`. A name
//! holds letters (of any script), digits and `_ - . / @ % + ( ) # ~ $ ! , & *`; `::` within it is no
//! end.
//! Likely forms, only after a host: a first word that looks like a program's name rather than like
//! a word of a sentence, as MikroTik's `firewall,info` or `apache_error [Tue …`; and several words
//! before a numeric process id.

/// A tag and what follows it, the separator taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    pub(super) app: &'a str,
    pub(super) procid: Option<&'a str>,
    /// A number of the event that stood before the name.
    pub(super) event: Option<&'a str>,
    pub(super) rest: &'a str,
}

/// Longer names are words of a message (RFC 3164 allows 32; container names need more).
const LONGEST_NAME: usize = 128;
const LONGEST_PID: usize = 64;

/// Which bytes may stand in a name.
const NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || !b.is_ascii()
            || matches!(
                b,
                b'_' | b'-'
                    | b'.'
                    | b'/'
                    | b'@'
                    | b'%'
                    | b'+'
                    | b'('
                    | b')'
                    | b'#'
                    | b'~'
                    | b'$'
                    | b'!'
                    | b','
                    | b'&'
                    | b'*'
            );
        byte += 1;
    }
    table
};

/// Reads a tag of one of the sure forms.
#[inline]
pub(super) fn sure<'a>(text: &'a str) -> Option<Tag<'a>> {
    let bytes = text.as_bytes();
    let mut end = name_end(bytes, 0);
    loop {
        if end == 0 || end > LONGEST_NAME {
            return None;
        }
        match bytes.get(end) {
            Some(b':') if bytes.get(end + 1) == Some(&b':') => end = name_end(bytes, end + 2),
            Some(b':') => return after_colon(text, end),
            Some(b'[') => return with_pid(text, end, end),
            Some(b' ') => return spaced(text, end),
            _ => return None,
        }
    }
}

/// Reads a tag of one of the sure or likely forms.
#[inline]
pub(super) fn likely<'a>(text: &'a str) -> Option<Tag<'a>> {
    if let Some(tag) = sure(text) {
        return Some(tag);
    }
    let bytes = text.as_bytes();
    let end = name_end(bytes, 0);
    let word = &text[..end];
    match bytes.get(end)? {
        // Snare and other senders of columns.
        b'\t' if end > 0 => {
            Some(Tag { app: word, procid: None, event: None, rest: &text[end + 1..] })
        }
        b' ' => {
            let rest = text[end + 1..].trim_start_matches(' ');
            // F5 and BusyBox put the severity, relays the first address between host and tag.
            if is_severity(word)
                || is_printed_priority(word)
                || word.parse::<std::net::IpAddr>().is_ok()
            {
                return sure(rest);
            }
            // HP's switches put the number of the event there.
            if word.bytes().all(|b| b.is_ascii_digit()) {
                return sure(rest).map(|tag| Tag { event: Some(word), ..tag });
            }
            if end <= LONGEST_NAME && is_program(word) && !rest.starts_with("message repeated ") {
                return Some(Tag { app: word, procid: None, event: None, rest });
            }
            several_words(text)
        }
        _ => None,
    }
}

/// `Some Program[12]:`: up to four words, then a numeric process id and a colon.
fn several_words(text: &str) -> Option<Tag<'_>> {
    let begin = crate::parse::prefix(text, 64);
    let open = begin.find(['[', ':']).filter(|&open| begin.as_bytes()[open] == b'[')?;
    let name = &text[..open];
    let words = name.split(' ').count() <= 4
        && name
            .split(' ')
            .all(|word| !word.is_empty() && name_end(word.as_bytes(), 0) == word.len());
    let numeric = begin[open + 1..]
        .split(']')
        .next()
        .is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit()));
    if !words || !numeric || !begin[open..].contains("]:") {
        return None;
    }
    with_pid(text, open, open)
}

#[inline]
fn name_end(bytes: &[u8], from: usize) -> usize {
    let mut end = from;
    while end < bytes.len() && NAME_BYTE[usize::from(bytes[end])] {
        end += 1;
    }
    end
}

/// `name:` with a space, an end or a message right behind the colon.
#[inline]
fn after_colon(text: &str, end: usize) -> Option<Tag<'_>> {
    let name = &text[..end];
    // `@cee:` announces JSON.
    if name.starts_with('@') {
        return None;
    }
    let rest = &text[end + 1..];
    match rest.as_bytes().first() {
        None | Some(b' ' | b'\t') => {
            let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            (!numeric).then(|| Tag {
                app: name,
                procid: None,
                event: None,
                rest: rest.trim_start_matches([' ', '\t']),
            })
        }
        // `CEF:0|…` and `LEEF:2.0|…` are whole messages that name their format first.
        Some(b'0'..=b'9') if matches!(name, "CEF" | "LEEF") => {
            Some(Tag { app: name, procid: None, event: None, rest: text })
        }
        // Cisco leaves the space out at times.
        Some(_) if name.starts_with('%') => {
            Some(Tag { app: name, procid: None, event: None, rest })
        }
        // An address, a time, a URL or a path is no tag.
        Some(b'/' | b'\\' | b'0'..=b'9') => None,
        Some(_) => name.as_bytes()[0].is_ascii_alphabetic().then_some(Tag {
            app: name,
            procid: None,
            event: None,
            rest,
        }),
    }
}

/// `name[pid]` with or without a colon; `open` is where the bracket stands.
#[inline]
fn with_pid(text: &str, end: usize, open: usize) -> Option<Tag<'_>> {
    let bytes = text.as_bytes();
    let length = bytes[open + 1..].iter().take(LONGEST_PID + 1).position(|&b| b == b']')?;
    let pid = &text[open + 1..open + 1 + length];
    let rest = &text[open + length + 2..];
    let after = match rest.as_bytes().first() {
        Some(b':') => &rest[1..],
        // Some relays put a space before the colon.
        Some(b' ') if rest[1..].starts_with(": ") => &rest[2..],
        None | Some(b' ' | b'\t') if is_pid(pid) && open == end => rest,
        _ => return None,
    };
    let procid = (!pid.is_empty()).then_some(pid);
    Some(Tag {
        app: &text[..end],
        procid,
        event: None,
        rest: after.trim_start_matches([' ', '\t']),
    })
}

/// `name [pid]:` and `%FACILITY-6-MNEMONIC :`.
fn spaced(text: &str, end: usize) -> Option<Tag<'_>> {
    let bytes = text.as_bytes();
    match (bytes.get(end + 1)?, bytes.get(end + 2)) {
        (b'[', Some(b'0'..=b'9')) => with_pid(text, end, end + 1),
        (b':', None | Some(b' ')) => Some(Tag {
            app: &text[..end],
            procid: None,
            event: None,
            rest: text[end + 2..].trim_start_matches(' '),
        }),
        _ => None,
    }
}

fn is_pid(pid: &str) -> bool {
    !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'x')
}

/// Whether a word is one of the names of a severity.
pub(super) fn is_severity(word: &str) -> bool {
    const NAMES: [&str; 12] = [
        "emerg", "panic", "alert", "crit", "critical", "err", "error", "warning", "warn", "notice",
        "info", "debug",
    ];
    NAMES.iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// `daemon.info`, as BusyBox and OpenWrt print facility and severity.
pub(super) fn is_printed_priority(word: &str) -> bool {
    const FACILITIES: [&str; 14] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "security", "ftp", "ntp",
    ];
    let Some((facility, severity)) = word.split_once('.') else {
        return false;
    };
    is_severity(severity)
        && (FACILITIES.contains(&facility)
            || facility.strip_prefix("local").is_some_and(|n| n.len() == 1))
}

/// Whether a word without a colon, and no severity, is rather a program than the begin of a sentence: it begins like
/// a name and is in lower case, or has a mark, a digit or a capital within.
fn is_program(word: &str) -> bool {
    let bytes = word.as_bytes();
    let Some((&first, others)) = bytes.split_first() else {
        return false;
    };
    let begins = first.is_ascii_alphabetic() || matches!(first, b'/' | b'_' | b'%');
    let ends = bytes.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b')');
    let capital_after_small =
        bytes.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    let marked =
        others.iter().any(|b| b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.' | b'/'));
    begins && ends && (first.is_ascii_lowercase() || first == b'/' || marked || capital_after_small)
}
