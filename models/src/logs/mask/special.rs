//! What is more than a word: addresses, numbers, paths, names, and the words of time and size.
//!
//! In: the rest of a token. Out: the mask at its beginning and how many bytes it stands for. Each looks at every
//! byte a bounded number of times.

use std::net::Ipv6Addr;

use super::Mask;
use super::scan::{class, is_word};

/// Bytes at the beginning that fulfil a condition.
#[inline]
pub(super) fn run(bytes: &[u8], mut of: impl FnMut(u8) -> bool) -> usize {
    bytes.iter().position(|b| !of(*b)).unwrap_or(bytes.len())
}

#[inline]
pub(super) fn digits(bytes: &[u8]) -> usize {
    run(bytes, |b| b.is_ascii_digit())
}

/// What a number with this behind it is.
pub(super) fn unit(word: &[u8]) -> Option<Mask> {
    // Mostly there is nothing, or a longer word.
    if !(1..=12).contains(&word.len()) {
        return None;
    }
    match word {
        b"ns" | b"us" | b"ms" | b"s" | b"h" | b"sec" | b"secs" | b"second" | b"seconds"
        | b"msec" | b"msecs" | b"usec" | b"min" | b"mins" | b"minute" | b"minutes" | b"hr"
        | b"hrs" | b"hour" | b"hours" | b"day" | b"days" | b"week" | b"weeks" | b"millis"
        | b"milliseconds" | b"MILLISECONDS" | b"SECONDS" | b"MINUTES" => Some(Mask::Time),
        b"B" | b"b" | b"K" | b"KB" | b"kB" | b"Kb" | b"kb" | b"KiB" | b"MB" | b"Mb" | b"MiB"
        | b"GB" | b"Gb" | b"GiB" | b"TB" | b"TiB" | b"byte" | b"bytes" | b"Bytes" | b"kbytes" => {
            Some(Mask::Size)
        }
        _ => None,
    }
}

/// A value though it is a word, maybe with a comma behind it.
pub(super) fn is_constant(token: &[u8]) -> bool {
    if !(4..=6).contains(&token.len()) {
        return false;
    }
    let word = &token[..run(token, |b| b.is_ascii_alphabetic())];
    let rest = &token[word.len()..];
    matches!(rest, [] | [b',' | b';' | b'.' | b')'])
        && matches!(word, b"true" | b"false" | b"null" | b"True" | b"False" | b"None" | b"NULL")
}

/// The short name of a month.
pub(super) fn is_month(word: &[u8]) -> bool {
    matches!(
        word,
        b"Jan"
            | b"Feb"
            | b"Mar"
            | b"Apr"
            | b"May"
            | b"Jun"
            | b"Jul"
            | b"Aug"
            | b"Sep"
            | b"Oct"
            | b"Nov"
            | b"Dec"
    )
}

/// The short name of a month or a day, maybe with a comma.
pub(super) fn is_calendar(word: &[u8]) -> bool {
    let name = word.strip_suffix(b",").unwrap_or(word);
    let is_day = matches!(name, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun");
    is_day || is_month(name)
}

/// What is more than a word, not inside of one: the mask and its bytes. The classes of the token rule out most of it
/// without a look.
pub(super) fn special(rest: &[u8], before: Option<u8>, classes: u16) -> Option<(Mask, usize)> {
    let has = |class: u16| classes & class != 0;
    let masked = |mask: Mask, taken: Option<usize>| taken.map(|taken| (mask, taken));
    let first = rest[0];
    if is_word(first) {
        let marked = has(class::COLONS | class::DOT | class::HYPHEN);
        let may_be_address = marked && first.is_ascii_hexdigit();
        let address = if may_be_address { address(rest, classes) } else { None };
        return address
            .or_else(|| masked(Mask::Time, if has(class::COLON) { clock(rest) } else { None }))
            .or_else(|| {
                masked(Mask::Number, if first.is_ascii_digit() { number(rest) } else { None })
            })
            .or_else(|| masked(Mask::Mail, if has(class::AT) { mail(rest) } else { None }))
            .or_else(|| masked(Mask::Path, if has(class::COLON) { remote(rest) } else { None }))
            .or_else(|| {
                masked(Mask::Name, if has(class::DOT | class::SLASH) { name(rest) } else { None })
            });
    }
    match first {
        b'/' => masked(Mask::Path, path(rest)),
        b'\\' if rest.get(1) == Some(&b'\\') => masked(Mask::Path, Some(windows(rest))),
        b':' if rest.get(1) == Some(&b':') => masked(Mask::Ip, ipv6(rest)),
        b'-' | b'+' => {
            let begins =
                before.is_none_or(|b| matches!(b, b'=' | b'(' | b'[' | b',' | b':' | b'"' | b'_'));
            masked(Mask::Number, if begins { number(rest) } else { None })
        }
        _ => None,
    }
}

/// UUID, MAC and IP addresses.
fn address(rest: &[u8], classes: u16) -> Option<(Mask, usize)> {
    let masked = |mask: Mask, class: u16, found: fn(&[u8]) -> Option<usize>| {
        if classes & class == 0 { None } else { found(rest).map(|taken| (mask, taken)) }
    };
    masked(Mask::Uuid, class::HYPHEN, uuid)
        .or_else(|| masked(Mask::Mac, class::COLONS | class::HYPHEN, mac))
        .or_else(|| masked(Mask::Ip, class::DOT, ipv4))
        .or_else(|| masked(Mask::Ip, class::COLONS, ipv6))
}

/// True where a word does not go on.
fn ends_at(bytes: &[u8], end: usize) -> bool {
    bytes.get(end).is_none_or(|b| !is_word(*b))
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    let candidate = bytes.get(..36)?;
    let fits = candidate.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    (fits && ends_at(bytes, 36)).then_some(36)
}

/// Six pairs or more: the kernel's packet filter logs fourteen in a row (two addresses and a type).
fn mac(bytes: &[u8]) -> Option<usize> {
    let separator = *bytes.get(2)?;
    if !matches!(separator, b':' | b'-') {
        return None;
    }
    let pair =
        |at: usize| bytes.get(at..at + 2).is_some_and(|p| p.iter().all(u8::is_ascii_hexdigit));
    if !pair(0) {
        return None;
    }
    let mut end = 2;
    while bytes.get(end) == Some(&separator) && pair(end + 1) && ends_at(bytes, end + 3) {
        end += 3;
    }
    (end >= 17).then_some(end)
}

/// Four numbers of up to three digits, 255 at most and without zeros in front.
fn ipv4(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
        let digits = digits(&bytes[end..]);
        let number = &bytes[end..end + digits.min(3)];
        let value = number.iter().fold(0, |value, digit| 10 * value + u16::from(digit - b'0'));
        if !matches!(digits, 1..=3) || value > 255 || (digits > 1 && number[0] == b'0') {
            return None;
        }
        end += digits;
    }
    // A full stop behind an address ends a sentence.
    let behind = &bytes[end..];
    let goes_on = behind.get(run(behind, |b| b == b'.')).is_some_and(u8::is_ascii_digit);
    (!goes_on && ends_at(bytes, end)).then_some(end)
}

fn ipv6(bytes: &[u8]) -> Option<usize> {
    let n = run(bytes, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    if !(2..=46).contains(&n) || !ends_at(bytes, n) {
        return None;
    }
    // Most of what comes here is a word or a time of day.
    let colons = bytes[..n].iter().filter(|b| **b == b':').count();
    if colons < 6 && !bytes[..n].windows(2).any(|two| two == b"::") {
        return None;
    }
    let found = std::str::from_utf8(&bytes[..n]).ok()?;
    // A single colon or full stop behind an address is punctuation.
    let candidate = found.trim_end_matches('.');
    let punctuated = candidate.ends_with(':') && !candidate.ends_with("::");
    let candidate = if punctuated { &candidate[..candidate.len() - 1] } else { candidate };
    // Letters alone (`a::b`) are more often names of a program than addresses.
    let likely =
        candidate == "::" && n == bytes.len() || candidate.bytes().any(|b| b.is_ascii_digit());
    (likely && candidate.parse::<Ipv6Addr>().is_ok()).then_some(candidate.len())
}

/// Minutes and seconds, maybe with hours before them and a fraction behind.
fn clock(bytes: &[u8]) -> Option<usize> {
    let first = digits(bytes);
    if !(1..=2).contains(&first) {
        return None;
    }
    let two = |at: usize| bytes.get(at) == Some(&b':') && digits(&bytes[at + 1..]) == 2;
    let mut end = first;
    for _ in 0..2 {
        end += if two(end) { 3 } else { 0 };
    }
    if end > first && matches!(bytes.get(end), Some(b'.' | b',')) {
        let fraction = digits(&bytes[end + 1..]);
        end += if fraction > 0 { fraction + 1 } else { 0 };
    }
    end += usize::from(bytes.get(end) == Some(&b'Z'));
    // A third colon makes something else of it.
    let goes_on =
        bytes.get(end) == Some(&b':') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    (end > first && !goes_on && ends_at(bytes, end)).then_some(end)
}

/// Sign, digits, and digits behind points or commas; nothing of a word behind it.
fn number(bytes: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let mut end = sign + digits(&bytes[sign..]);
    if end == sign {
        return None;
    }
    while let Some(b'.' | b',') = bytes.get(end) {
        let decimals = digits(&bytes[end + 1..]);
        if decimals == 0 {
            break;
        }
        end += 1 + decimals;
    }
    if ends_at(bytes, end) {
        return Some(end);
    }
    // A unit is left to the next word: `1.5ms` is `<num>ms`, but `1.5e3x7` is not one number.
    let word = run(&bytes[end..], |b| b.is_ascii_alphabetic());
    let is_unit = word <= 3 && ends_at(bytes, end + word);
    (is_unit && bytes[sign..end].contains(&b'.')).then_some(end)
}

/// An absolute path: of two parts and more, or one without a point (`/10.0.0.1` is an address behind a slash).
fn path(bytes: &[u8]) -> Option<usize> {
    let n = run(bytes, |b| {
        is_word(b)
            || matches!(
                b,
                b'/' | b'.' | b'_' | b'-' | b'+' | b'~' | b'%' | b'@' | b'#' | b'*' | b'$'
            )
    });
    let path = &bytes[..n];
    let parts = path.iter().filter(|b| **b == b'/').count();
    let end = path.iter().rposition(|b| *b != b'.').map_or(0, |i| i + 1);
    let is_path = match path.get(1)? {
        b'/' => false,
        b'.' | b'_' | b'~' | b'$' => parts >= 2,
        _ => parts >= 2 || !path.contains(&b'.'),
    };
    // `host/10.0.0.1:80` and `/10.0.0.1/host` begin with an address.
    (is_path && ipv4(&bytes[1..]).is_none()).then_some(end)
}

/// A URL, or a path that begins with a drive.
fn remote(bytes: &[u8]) -> Option<usize> {
    let scheme = run(bytes, |b| b.is_ascii_alphanumeric() || b == b'+');
    let behind = &bytes[scheme..];
    if scheme == 1 && behind.starts_with(b":\\") {
        return Some(windows(bytes));
    }
    if scheme < 2 || !behind.starts_with(b"://") {
        return None;
    }
    let n = run(bytes, |b| !matches!(b, b',' | b';' | b')' | b']' | b'}' | b'>' | b'"' | b'\''));
    let end = bytes[..n].iter().rposition(|b| !matches!(b, b'.' | b':')).map_or(0, |i| i + 1);
    (end > scheme + 3).then_some(end)
}

/// A path with backslashes.
fn windows(bytes: &[u8]) -> usize {
    run(bytes, |b| !matches!(b, b',' | b';' | b'"' | b'\'' | b'<' | b'>' | b'|' | b')' | b']'))
}

/// A name of three and more parts with points or slashes between them, or a host of two parts with a port. What is
/// assigned to or called is a constant, whatever its name; points in a row lead the eye to a value.
fn name(bytes: &[u8]) -> Option<usize> {
    let n = run(bytes, |b| {
        is_word(b) || matches!(b, b'.' | b'_' | b'-' | b'/' | b'$' | b'@' | b'~' | b'%' | b'+')
    });
    let end = bytes[..n].iter().rposition(|b| is_word(*b)).map_or(0, |i| i + 1);
    let name = &bytes[..end];
    let count = |byte: u8| name.iter().filter(|b| **b == byte).count();
    let (points, slashes) = (count(b'.'), count(b'/'));
    if points + slashes == 0 || name.windows(2).any(|two| two == b"..") {
        return None;
    }
    let behind = &bytes[n..];
    let is_host = points == 1
        && slashes == 0
        && behind.first() == Some(&b':')
        && behind.get(1).is_some_and(u8::is_ascii_digit);
    let is_constant = matches!(behind.first(), Some(b'=' | b'(' | b'['));
    ((points + slashes >= 2 || is_host) && !is_constant).then_some(end)
}

fn mail(bytes: &[u8]) -> Option<usize> {
    let name =
        run(bytes, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-'));
    if bytes.get(name) != Some(&b'@') {
        return None;
    }
    let domain = &bytes[name + 1..];
    let n = run(domain, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let end = domain[..n].iter().rposition(|b| *b != b'.').map_or(0, |i| i + 1);
    domain[..end].contains(&b'.').then_some(name + 1 + end)
}
