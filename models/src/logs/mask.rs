//! One pass over a message: tokens at white space (and control characters), with what varies from line to line masked.
//!
//! | mask | stands for |
//! | --- | --- |
//! | `<num>` | digits, with sign and decimals; also at the end of a word (`eth0` is `eth<num>`), before a short unit (`<num>ms`) |
//! | `<hex>` | `0x…`, or eight and more hexadecimal digits, letters among them |
//! | `<ip>` | IPv4 and IPv6 addresses; a port stays apart (`<ip>:<num>`) |
//! | `<mac>` | six and more pairs of hexadecimal digits |
//! | `<uuid>` | 8-4-4-4-12 |
//! | `<id>` | any other word of letters and digits mixed |
//! | `<path>` | an absolute path with a digit in it; others are words, the program's own and few |
//! | `<mail>` | name, `@`, domain with a dot |
//! | `<*>` | a word too long to be one |
//!
//! What is masked depends on the message alone, so two gateways mask alike. Work is linear in the message for all
//! that people write; it is bounded for what they do not: only the first [`MAX_TOKENS`] tokens and about
//! [`MAX_TEXT_BYTES`] of masked text are looked at, the rest is `<...>`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::eights;

/// Tokens looked at.
pub(super) const MAX_TOKENS: usize = 96;
/// Masked text that ends the look, in bytes. One token more may follow.
pub(super) const MAX_TEXT_BYTES: usize = 1024;
/// Masked tokens longer than this are no words, in bytes.
const MAX_TOKEN_BYTES: usize = 64;
/// Tokens longer than this are not scanned, in bytes.
const MAX_SCAN_BYTES: usize = 512;
/// What stands for anything.
pub(super) const WILDCARD: &str = "<*>";
const REST: &str = "<...>";

/// A masked message. Kept and filled again, so that a message costs no allocation.
///
/// The text of a message is wanted only where a template begins or changes, the hashes of its tokens always:
/// so words stay where they are, and only what is masked is written.
#[derive(Debug, Default)]
pub(super) struct Masked {
    /// What the tokens that are no words became, one behind the other.
    written: Vec<u8>,
    /// Each token, at most [`MAX_TOKENS`] and one.
    pub(super) tokens: Vec<Token>,
    /// Bytes of the text so far.
    text_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Equal tokens have equal hashes. Nothing stored depends on it.
    pub(super) hash: u64,
    /// Where it lies, in the message or in what was written.
    start: u32,
    end: u32,
    is_word: bool,
}

impl Masked {
    /// Masks a message, in place of what was here.
    pub(super) fn fill(&mut self, message: &str) {
        self.written.clear();
        self.tokens.clear();
        self.text_bytes = 0;
        let bytes = message.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if *byte <= b' ' {
                at += 1;
                continue;
            }
            if self.tokens.len() == MAX_TOKENS || self.text_bytes >= MAX_TEXT_BYTES {
                self.push_written(|written| written.extend_from_slice(REST.as_bytes()));
                return;
            }
            let found = eights::token(&bytes[at..]);
            let (start, end) = (at, at + found.length);
            at = end;
            // Most tokens are words: they stay as they are.
            if !found.is_marked && found.length <= MAX_TOKEN_BYTES {
                let (start, end) = (start as u32, end as u32);
                self.push(Token { hash: found.hash, start, end, is_word: true });
            } else {
                self.push_written(|written| mask_token(&bytes[start..end], written));
            }
        }
    }

    /// The tokens with one blank between them; `message` is the one that was masked.
    pub(super) fn write_text(&self, message: &str, text: &mut String) {
        for (at, token) in self.tokens.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(&self.word(message, token));
        }
    }

    /// The text of a token; `message` is the one that was masked.
    pub(super) fn word<'a>(&'a self, message: &'a str, token: &Token) -> Cow<'a, str> {
        let from = if token.is_word { message.as_bytes() } else { &self.written };
        // Only whole characters are left out or put in, so nothing is lost here.
        String::from_utf8_lossy(&from[token.start as usize..token.end as usize])
    }

    fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.written.len();
        write(&mut self.written);
        if self.written.len() - start > MAX_TOKEN_BYTES {
            self.written.truncate(start);
            self.written.extend_from_slice(WILDCARD.as_bytes());
        }
        let end = self.written.len();
        let hash = eights::token(&self.written[start..]).hash;
        self.push(Token { hash, start: start as u32, end: end as u32, is_word: false });
    }

    fn push(&mut self, token: Token) {
        self.text_bytes += usize::from(!self.tokens.is_empty());
        self.text_bytes += (token.end - token.start) as usize;
        self.tokens.push(token);
    }
}

/// What a byte may be; a token has the classes of all its bytes.
mod class {
    pub(super) const DIGIT: u8 = 1;
    pub(super) const AT: u8 = 2;
    pub(super) const COLON: u8 = 4;
    pub(super) const DOT: u8 = 8;
    pub(super) const HYPHEN: u8 = 16;
    /// A letter, a digit or a part of a character beyond ASCII: what a word consists of.
    pub(super) const WORD: u8 = 32;
    pub(super) const OTHER: u8 = 64;
    /// Of no byte: the token has more than one colon.
    pub(super) const COLONS: u8 = 128;

    pub(super) const OF: [u8; 256] = {
        let mut classes = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            classes[byte] = match byte as u8 {
                b'0'..=b'9' => DIGIT | WORD,
                b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => WORD,
                b'@' => AT,
                b':' => COLON,
                b'.' => DOT,
                b'-' => HYPHEN,
                _ => OTHER,
            };
            byte += 1;
        }
        classes
    };
}

/// FNV-1a, 64 bits (RFC 9923), with the finaliser of splitmix64 so that all bits depend on all bytes. Part of
/// the identity of templates: never change it.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in bytes {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(h)
}

/// The finaliser of splitmix64.
pub(super) fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

/// Writes a token that may be more than a word.
fn mask_token(token: &[u8], out: &mut Vec<u8>) {
    if token.len() > MAX_SCAN_BYTES {
        out.extend_from_slice(WILDCARD.as_bytes());
        return;
    }
    let classes = classes_of(token);
    if classes & !(class::DIGIT | class::WORD) == 0 {
        return mask_word(token, out);
    }
    let mut rest = token;
    let mut before = None;
    while let Some(&first) = rest.first() {
        let is_inside = before.is_some_and(is_word);
        let special = if is_inside { None } else { special(rest, before, classes) };
        let taken = if let Some((mask, taken)) = special {
            out.extend_from_slice(mask);
            taken
        } else if is_word(first) {
            let taken = run(rest, is_word);
            mask_word(&rest[..taken], out);
            taken
        } else {
            out.push(first);
            1
        };
        before = Some(rest[taken - 1]);
        rest = &rest[taken..];
    }
}

/// The classes of all its bytes.
fn classes_of(token: &[u8]) -> u8 {
    let classes = token.iter().fold(0, |all, byte| all | class::OF[usize::from(*byte)]);
    if classes & class::COLON == 0 {
        return classes;
    }
    let colons = token.iter().filter(|byte| **byte == b':').count();
    classes | if colons > 1 { class::COLONS } else { 0 }
}

#[inline]
fn is_word(b: u8) -> bool {
    class::OF[usize::from(b)] & class::WORD != 0
}

/// Bytes at the beginning that fulfil a condition.
#[inline]
fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !of(*b)).unwrap_or(bytes.len())
}

#[inline]
fn digits(bytes: &[u8]) -> usize {
    run(bytes, |b| b.is_ascii_digit())
}

/// A word with digits in it, or without.
fn mask_word(word: &[u8], out: &mut Vec<u8>) {
    let letters = run(word, |b| !b.is_ascii_digit());
    if letters == word.len() {
        out.extend_from_slice(word);
        return;
    }
    let numbers = digits(&word[letters..]);
    let unit = &word[letters + numbers..];
    let hexadecimal = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match (letters, unit.len()) {
        (0, 0) => out.extend_from_slice(NUMBER),
        _ if word.len() >= 8 && hexadecimal(word) => out.extend_from_slice(b"<hex>"),
        _ if word.starts_with(b"0x") && hexadecimal(&word[2..]) => out.extend_from_slice(b"<hex>"),
        // A unit: `12ms`, `3GiB`.
        (0, 1..=3) if !unit.iter().any(u8::is_ascii_digit) => {
            out.extend_from_slice(NUMBER);
            out.extend_from_slice(unit);
        }
        (_, 0) => {
            out.extend_from_slice(&word[..letters]);
            out.extend_from_slice(NUMBER);
        }
        _ => out.extend_from_slice(b"<id>"),
    }
}

const NUMBER: &[u8] = b"<num>";
const ADDRESS: &[u8] = b"<ip>";

/// What is more than a word, not inside of one: the mask and its bytes. The classes of the token rule out most of it
/// without a look.
fn special(rest: &[u8], before: Option<u8>, classes: u8) -> Option<(&'static [u8], usize)> {
    let has = |class: u8| classes & class != 0;
    let masked = |mask: &'static [u8], taken: Option<usize>| taken.map(|taken| (mask, taken));
    let first = rest[0];
    if is_word(first) {
        let marked = has(class::COLONS | class::DOT | class::HYPHEN);
        let may_be_address = marked && first.is_ascii_hexdigit();
        let address = if may_be_address { address(rest, classes) } else { None };
        return address
            .or_else(|| masked(NUMBER, if first.is_ascii_digit() { number(rest) } else { None }))
            .or_else(|| masked(b"<mail>", if has(class::AT) { mail(rest) } else { None }));
    }
    match first {
        b'/' if has(class::DIGIT) => masked(b"<path>", path(rest)),
        b':' if rest.get(1) == Some(&b':') => masked(ADDRESS, ipv6(rest)),
        b'-' | b'+' => {
            let begins =
                before.is_none_or(|b| matches!(b, b'=' | b'(' | b'[' | b',' | b':' | b'"'));
            masked(NUMBER, if begins { number(rest) } else { None })
        }
        _ => None,
    }
}

/// UUID, MAC and IP addresses.
fn address(rest: &[u8], classes: u8) -> Option<(&'static [u8], usize)> {
    let masked = |mask: &'static [u8], class: u8, found: fn(&[u8]) -> Option<usize>| {
        if classes & class == 0 { None } else { found(rest).map(|taken| (mask, taken)) }
    };
    masked(b"<uuid>", class::HYPHEN, uuid)
        .or_else(|| masked(b"<mac>", class::COLONS | class::HYPHEN, mac))
        .or_else(|| masked(ADDRESS, class::DOT, ipv4))
        .or_else(|| masked(ADDRESS, class::COLONS, ipv6))
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
    let unit = run(&bytes[end..], |b| b.is_ascii_alphabetic());
    (unit <= 3 && ends_at(bytes, end + unit) && bytes[sign..end].contains(&b'.')).then_some(end)
}

/// An absolute path of two parts and more with a digit in it.
fn path(bytes: &[u8]) -> Option<usize> {
    let n = run(bytes, |b| {
        is_word(b) || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b'~' | b'%' | b'@' | b'#')
    });
    let path = &bytes[..n];
    let parts = path.iter().filter(|b| **b == b'/').count();
    let end = path.iter().rposition(|b| *b != b'.').map_or(0, |i| i + 1);
    (parts >= 2 && path.get(1) != Some(&b'/') && path.iter().any(u8::is_ascii_digit)).then_some(end)
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

#[cfg(test)]
mod tests;
