//! One pass over a message: tokens at white space, with what varies from line to line masked.
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

use std::net::{Ipv4Addr, Ipv6Addr};

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
#[derive(Debug, Default)]
pub(super) struct Masked {
    /// Tokens with one blank between them.
    pub(super) text: String,
    /// Where each token ends in `text`, and the hash of it.
    pub(super) tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) end: u32,
    pub(super) hash: u64,
}

impl Masked {
    /// Masks a message, in place of what was here.
    pub(super) fn fill(&mut self, message: &str) {
        self.text.clear();
        self.tokens.clear();
        for token in message.split_ascii_whitespace() {
            if self.tokens.len() == MAX_TOKENS || self.text.len() >= MAX_TEXT_BYTES {
                self.push(|text| text.push_str(REST));
                return;
            }
            self.push(|text| mask_token(token, text));
        }
    }

    fn push(&mut self, write: impl FnOnce(&mut String)) {
        if !self.tokens.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        write(&mut self.text);
        if self.text.len() - start > MAX_TOKEN_BYTES {
            self.text.truncate(start);
            self.text.push_str(WILDCARD);
        }
        let hash = hash(&self.text.as_bytes()[start..]);
        self.tokens.push(Token { end: self.text.len() as u32, hash });
    }
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

fn mask_token(token: &str, out: &mut String) {
    let bytes = token.as_bytes();
    if bytes.len() > MAX_SCAN_BYTES {
        out.push_str(WILDCARD);
        return;
    }
    // Most tokens are words: they are copied as they are.
    if !bytes.iter().any(|b| b.is_ascii_digit() || matches!(b, b'@' | b':')) {
        out.push_str(token);
        return;
    }
    let mut at = 0;
    // The first byte that is not yet in `out`.
    let mut copied = 0;
    while at < bytes.len() {
        let boundary = at == 0 || !is_word(bytes[at - 1]);
        let found = if boundary { special(token, at) } else { None };
        if let Some((mask, end)) = found {
            out.push_str(&token[copied..at]);
            out.push_str(mask);
            (at, copied) = (end, end);
        } else if is_word(bytes[at]) {
            let end = at + run(&bytes[at..], is_word);
            out.push_str(&token[copied..at]);
            mask_word(&token[at..end], out);
            (at, copied) = (end, end);
        } else {
            at += 1;
        }
    }
    out.push_str(&token[copied..]);
}

/// A letter, a digit or a part of a character beyond ASCII: what a word consists of.
fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || !b.is_ascii()
}

/// Bytes at the beginning that fulfil a condition.
fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !of(*b)).unwrap_or(bytes.len())
}

/// A word with digits in it, or without.
fn mask_word(word: &str, out: &mut String) {
    let bytes = word.as_bytes();
    let letters = run(bytes, |b| !b.is_ascii_digit());
    let digits = run(&bytes[letters..], |b| b.is_ascii_digit());
    let rest = bytes.len() - letters - digits;
    let hex = bytes.len() >= 8 && bytes.iter().all(u8::is_ascii_hexdigit);
    match (letters, digits, rest) {
        (_, 0, _) => out.push_str(word),
        (0, _, 0) => out.push_str("<num>"),
        _ if hex || (word.starts_with("0x") && bytes[2..].iter().all(u8::is_ascii_hexdigit)) => {
            out.push_str("<hex>");
        }
        // A unit: `12ms`, `3GiB`.
        (0, _, 1..=3) if !bytes[digits..].iter().any(u8::is_ascii_digit) => {
            out.push_str("<num>");
            out.push_str(&word[digits..]);
        }
        (_, _, 0) => {
            out.push_str(&word[..letters]);
            out.push_str("<num>");
        }
        _ => out.push_str("<id>"),
    }
}

/// What begins at a boundary and is more than a word: the mask and where it ends.
fn special(token: &str, at: usize) -> Option<(&'static str, usize)> {
    let rest = &token.as_bytes()[at..];
    let first = rest[0];
    let found = match first {
        b'/' => path(rest).map(|n| ("<path>", n)),
        b':' => ipv6(&token[at..]).map(|n| ("<ip>", n)),
        b'-' | b'+' => {
            let starts = at == 0
                || matches!(token.as_bytes()[at - 1], b'=' | b'(' | b'[' | b',' | b':' | b'"');
            if starts { number(rest) } else { None }.map(|n| ("<num>", n))
        }
        _ if is_word(first) => {
            let hex = first.is_ascii_hexdigit();
            let address = if hex { address(&token[at..]) } else { None };
            address
                .or_else(|| {
                    if first.is_ascii_digit() { number(rest).map(|n| ("<num>", n)) } else { None }
                })
                .or_else(|| mail(rest).map(|n| ("<mail>", n)))
        }
        _ => None,
    };
    found.map(|(mask, n)| (mask, at + n))
}

/// UUID, MAC and IP addresses.
fn address(rest: &str) -> Option<(&'static str, usize)> {
    let bytes = rest.as_bytes();
    uuid(bytes)
        .map(|n| ("<uuid>", n))
        .or_else(|| mac(bytes).map(|n| ("<mac>", n)))
        .or_else(|| ipv4(rest).map(|n| ("<ip>", n)))
        .or_else(|| ipv6(rest).map(|n| ("<ip>", n)))
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

fn ipv4(rest: &str) -> Option<usize> {
    let n = run(rest.as_bytes(), |b| b.is_ascii_digit() || b == b'.');
    // A full stop behind an address ends a sentence.
    let candidate = rest[..n].trim_end_matches('.');
    let is_address = (7..=15).contains(&candidate.len()) && candidate.parse::<Ipv4Addr>().is_ok();
    (is_address && ends_at(rest.as_bytes(), candidate.len())).then_some(candidate.len())
}

fn ipv6(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let n = run(bytes, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    if !(2..=46).contains(&n) || !ends_at(bytes, n) {
        return None;
    }
    // A single colon or full stop behind an address is punctuation.
    let candidate = rest[..n].trim_end_matches('.');
    let punctuated = candidate.ends_with(':') && !candidate.ends_with("::");
    let candidate = if punctuated { &candidate[..candidate.len() - 1] } else { candidate };
    // Letters alone (`a::b`) are more often names of a program than addresses.
    let likely =
        candidate == "::" && n == rest.len() || candidate.bytes().any(|b| b.is_ascii_digit());
    (likely && candidate.parse::<Ipv6Addr>().is_ok()).then_some(candidate.len())
}

/// Sign, digits, and digits behind points or commas; nothing of a word behind it.
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |at: usize| run(bytes.get(at..).unwrap_or_default(), |b| b.is_ascii_digit());
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let mut end = sign + digits(sign);
    if end == sign {
        return None;
    }
    while matches!(bytes.get(end), Some(b'.' | b',')) && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    // A unit is left to the next word: `1.5ms` is `<num>ms`, but `1.5e3x7` is not one number.
    let unit = run(&bytes[end..], |b| b.is_ascii_alphabetic());
    let fits = ends_at(bytes, end)
        || (unit <= 3 && ends_at(bytes, end + unit) && bytes[sign..end].contains(&b'.'));
    fits.then_some(end)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let mut masked = Masked::default();
        masked.fill(message);
        assert_eq!(masked.text, expected);
    }

    #[test]
    fn masks_what_varies() {
        for (message, expected) in [
            ("", ""),
            ("  two   blanks ", "two blanks"),
            ("port 22 ssh2", "port <num> ssh<num>"),
            ("took 12ms, 1.5GiB, -3.2%", "took <num>ms, <num>GiB, <num>%"),
            ("temp=-40.5 (x=+3)", "temp=<num> (x=<num>)"),
            ("1,234,567 rows", "<num> rows"),
            ("from 10.77.20.248:8080.", "from <ip>:<num>."),
            ("at 10.77.20.248.", "at <ip>."),
            ("version 1.2.3.4.5", "version <num>"),
            ("on :: port 22.", "on <ip> port <num>."),
            ("[fe80::1c2:3%eth0]: up", "[<ip>%eth<num>]: up"),
            ("2001:db8::8:800:200c:417a: gone", "<ip>: gone"),
            ("std::vector Foo::Bar a::b", "std::vector Foo::Bar a::b"),
            ("at 12:30:45", "at <num>:<num>:<num>"),
            ("MAC=00:1a:2b:3c:4d:5e:ff:ff:ff:ff:ff:ff:08:00 SRC", "MAC=<mac> SRC"),
            ("00-1A-2B-3C-4D-5E", "<mac>"),
            ("id 123e4567-e89b-12d3-a456-426614174000!", "id <uuid>!"),
            ("at 0xdeadBEEF and deadbeef01", "at <hex> and <hex>"),
            ("deadbeef facade decade", "deadbeef facade decade"),
            ("blk_38865049064139660 user_7", "blk_<num> user_<num>"),
            ("SHA256:Kl8kPGZrTiz7g4FO1hyqHdsSBBb5Fge6NWOobN03XJg", "SHA<num>:<id>"),
            ("on /dev/input/event0 (/usr/bin/curl)", "on <path> (/usr/bin/curl)"),
            ("TTY=pts/0 ; PWD=/home/u1/x.", "TTY=pts/<num> ; PWD=<path>."),
            ("to=<some.one@example.com>, x@y", "to=<<mail>>, x@y"),
            ("müller7 größe=9µs", "müller<num> größe=<num>µs"),
            ("a-5 5-a", "a-<num> <num>-a"),
        ] {
            check(message, expected);
        }
    }

    #[test]
    fn is_bounded() {
        check(&"x".repeat(65), "<*>");
        check(&"1:".repeat(5000), "<*>");
        let mut masked = Masked::default();
        masked.fill(&"word ".repeat(500));
        assert_eq!(masked.tokens.len(), MAX_TOKENS + 1);
        assert!(masked.text.ends_with(" word <...>"));
        masked.fill(&format!("{} ", "x".repeat(60)).repeat(90));
        assert!(masked.text.len() < MAX_TEXT_BYTES + 64 + 8, "{}", masked.text.len());
    }

    #[test]
    fn the_hash_never_changes() {
        // Identities of templates are stored for years: these two values are a contract.
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash(b"New session <num> of user <*>."), 0xf32f_3815_7974_4176);
    }

    proptest! {
        #[test]
        fn takes_anything(message in "\\PC{0,80}|[0-9a-f:.@/+,-]{0,60}") {
            let mut masked = Masked::default();
            masked.fill(&message);
            prop_assert_eq!(masked.tokens.len(), message.split_ascii_whitespace().count());
            prop_assert_eq!(masked.tokens.last().map_or(0, |t| t.end as usize), masked.text.len());
        }
    }
}
