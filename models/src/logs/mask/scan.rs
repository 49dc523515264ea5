//! One token that may be more than a word, from its beginning to its end.
//!
//! In: a token. Out: the token as written, with a hole for each mask. The same mask again behind a separator is
//! written once.

use super::special::{self, is_month, run, special};
use super::{HOLE, Kind, MAX_SCAN_BYTES, Mask};

/// What a byte may be; a token has the classes of all its bytes.
pub(super) mod class {
    pub(in super::super) const DIGIT: u16 = 1;
    pub(in super::super) const AT: u16 = 2;
    pub(in super::super) const COLON: u16 = 4;
    pub(in super::super) const DOT: u16 = 8;
    pub(in super::super) const HYPHEN: u16 = 16;
    /// A letter, a digit or a part of a character beyond ASCII: what a word consists of.
    pub(in super::super) const WORD: u16 = 32;
    pub(in super::super) const OTHER: u16 = 64;
    pub(in super::super) const SLASH: u16 = 128;
    pub(in super::super) const BACKSLASH: u16 = 256;
    pub(in super::super) const EQUALS: u16 = 512;
    pub(in super::super) const QUOTE: u16 = 1024;
    /// Of no byte: the token has more than one colon.
    pub(in super::super) const COLONS: u16 = 2048;

    pub(in super::super) const OF: [u16; 256] = {
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
                b'/' => SLASH,
                b'\\' => BACKSLASH,
                b'=' => EQUALS,
                b'"' | b'\'' => QUOTE,
                _ => OTHER,
            };
            byte += 1;
        }
        classes
    };
}

#[inline]
pub(super) fn is_word(b: u8) -> bool {
    class::OF[usize::from(b)] & class::WORD != 0
}

/// The classes of all bytes of a token.
fn classes_of(token: &[u8]) -> u16 {
    let classes = token.iter().fold(0, |all, byte| all | class::OF[usize::from(*byte)]);
    if classes & class::COLON == 0 {
        return classes;
    }
    let colons = token.iter().filter(|byte| **byte == b':').count();
    classes | if colons > 1 { class::COLONS } else { 0 }
}

/// Nothing in a token of these classes can be masked: most that are looked at end a sentence or a heading.
fn is_plain(token: &[u8], classes: u16) -> bool {
    use class::{AT, BACKSLASH, COLONS, DIGIT, DOT, EQUALS, QUOTE, SLASH};
    let points = || token.iter().filter(|b| **b == b'.').count();
    classes & (DIGIT | AT | SLASH | BACKSLASH | EQUALS | QUOTE) == 0
        && (classes & DOT == 0 || points() < 2)
        && (classes & COLONS == 0 || !token.windows(2).any(|two| two == b"::"))
}

/// What a written token with holes is made of.
pub(super) fn kind(written: &[u8]) -> Kind {
    let (mut has_hole, mut has_letter, mut is_keyed, mut has_colon) = (false, false, false, false);
    // All before the first colon is a word.
    let mut is_key = true;
    let mut before = 0;
    for (at, byte) in written.iter().enumerate() {
        match *byte {
            HOLE => has_hole = true,
            b'=' => is_keyed = true,
            b':' => has_colon |= is_key && !has_hole && at >= 2,
            b'.' => is_keyed |= before == b'.',
            byte => {
                has_letter |= is_word(byte);
                is_key &= byte.is_ascii_alphabetic() || byte == b'_';
            }
        }
        before = *byte;
    }
    match has_hole {
        false => Kind::Word,
        true if is_keyed || has_colon => Kind::Keyed,
        true if has_letter => Kind::Lettered,
        true => Kind::Pure,
    }
}

/// A thing of a list: brackets and quotes before it, and punctuation behind it.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) head: &'a [u8],
    pub(super) core: &'a [u8],
    pub(super) tail: &'a [u8],
}

impl<'a> Item<'a> {
    pub(super) fn of(written: &'a [u8]) -> Self {
        let head = run(written, |b| matches!(b, b'(' | b'[' | b'{' | b'<' | b'"' | b'\''));
        let is_tail = |b: &u8| b",;.:)]}>\"'".contains(b);
        let end = written.iter().rposition(|b| !is_tail(b)).map_or(head, |at| (at + 1).max(head));
        Self { head: &written[..head], core: &written[head..end], tail: &written[end..] }
    }
}

/// Writes one token.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    out: &'a mut Vec<u8>,
    masks: &'a mut Vec<Mask>,
    begin: usize,
    /// The token ends within a value in these quotes.
    pub(super) open_quote: Option<u8>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, masks: &'a mut Vec<Mask>) -> Self {
        let begin = out.len();
        Self { out, masks, begin, open_quote: None }
    }

    /// A token that is a value as a whole.
    pub(super) fn value_token(&mut self, token: &[u8]) {
        let core = token.iter().rposition(|b| !b",;.)]}>".contains(b)).map_or(0, |at| at + 1);
        self.value(&token[..core]);
        self.text(&token[core..]);
    }

    /// Any token; false where nothing is written because it is a word.
    pub(super) fn token(&mut self, token: &[u8]) -> bool {
        if token.len() > MAX_SCAN_BYTES {
            self.mask(Mask::Any);
            return true;
        }
        let classes = classes_of(token);
        if is_plain(token, classes) {
            return false;
        }
        if classes & !(class::DIGIT | class::WORD) == 0 {
            self.word(token, false);
            return true;
        }
        let is_dated = classes & class::DIGIT != 0 && classes & (class::HYPHEN | class::SLASH) != 0;
        let mut rest = token;
        let mut before = None;
        while let Some(&first) = rest.first() {
            let is_inside = before.is_some_and(is_word);
            let special = if is_inside { None } else { special(rest, before, classes) };
            let taken = if let Some((mask, taken)) = special {
                let letters = match mask {
                    Mask::Number => run(&rest[taken..], |b| b.is_ascii_alphabetic()),
                    _ => 0,
                };
                let unit = special::unit(&rest[taken..taken + letters]);
                self.mask(unit.unwrap_or(mask));
                taken + if unit.is_some() { letters } else { 0 }
            } else if is_word(first) {
                let taken = run(rest, is_word);
                self.word(&rest[..taken], is_dated);
                taken
            } else if matches!(first, b'"' | b'\'') && !is_inside {
                self.quoted(rest)
            } else if first == b'=' {
                self.assigned(rest, before)
            } else {
                self.out.push(first);
                1
            };
            before = Some(rest[taken - 1]);
            rest = &rest[taken..];
        }
        true
    }

    fn text(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// A mask; behind another one and a separator, both are one.
    fn mask(&mut self, mask: Mask) {
        let written = &self.out[self.begin..];
        let near = written.len().saturating_sub(3);
        let hole = written[near..].iter().rposition(|b| *b == HOLE).map(|at| near + at);
        if let (Some(hole), Some(last)) = (hole, self.masks.last_mut())
            && let Some(joined) = joined(*last, mask, &written[hole + 1..])
        {
            *last = joined;
            self.out.truncate(self.begin + hole + 1);
            return;
        }
        self.out.push(HOLE);
        self.masks.push(mask);
    }

    /// A word with digits in it, or without.
    fn word(&mut self, word: &[u8], is_dated: bool) {
        let letters = run(word, |b| !b.is_ascii_digit());
        if letters == word.len() {
            if is_dated && is_month(word) {
                return self.mask(Mask::Number);
            }
            return self.text(word);
        }
        let numbers = special::digits(&word[letters..]);
        let unit = &word[letters + numbers..];
        let hexadecimal = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match (letters, unit) {
            (0, [] | [b'Z']) => self.mask(Mask::Number),
            _ if word.len() >= 8 && hexadecimal(word) => self.mask(Mask::Hex),
            // `de9231`: an id, not the thing of a kind `de`.
            (1.., []) if word.len() >= 6 && hexadecimal(word) => self.mask(Mask::Id),
            _ if word.starts_with(b"0x") && hexadecimal(&word[2..]) => self.mask(Mask::Hex),
            // The date and the time of day: `17T12`.
            (0, [b'T', hour @ ..]) if hour.len() == 2 && hour.iter().all(u8::is_ascii_digit) => {
                self.mask(Mask::Number);
            }
            (0, unit) if unit.len() <= 5 && !unit.iter().any(u8::is_ascii_digit) => {
                match special::unit(unit) {
                    Some(mask) => self.mask(mask),
                    None if unit.len() <= 3 => {
                        self.mask(Mask::Number);
                        self.text(unit);
                    }
                    None => self.mask(Mask::Id),
                }
            }
            (_, []) => {
                self.text(&word[..letters]);
                self.mask(Mask::Number);
            }
            _ => self.mask(Mask::Id),
        }
    }

    /// What stands in quotes is a value, if the quotes end within the token.
    fn quoted(&mut self, rest: &[u8]) -> usize {
        let quote = rest[0];
        match rest[1..].iter().position(|b| *b == quote) {
            Some(length) if length > 0 => {
                self.text(&[quote]);
                self.value(&rest[1..=length]);
                self.text(&[quote]);
                length + 2
            }
            _ => {
                self.text(&[quote]);
                1
            }
        }
    }

    /// What stands behind `=` is a value, whatever it is; none is one, too.
    fn assigned(&mut self, rest: &[u8], before: Option<u8>) -> usize {
        self.text(b"=");
        let is_key =
            before.is_some_and(|b| is_word(b) || matches!(b, b'_' | b']' | b')' | b'"' | b'-'));
        if !is_key || rest.get(1) == Some(&b'=') {
            return 1;
        }
        let length = self.value_length(&rest[1..]);
        let value = &rest[1..=length];
        self.value(value);
        1 + length
    }

    /// Up to what cannot belong to the value: brackets and quotes in it close again.
    fn value_length(&mut self, rest: &[u8]) -> usize {
        if let [quote @ (b'"' | b'\''), inside @ ..] = rest {
            return match inside.iter().position(|b| b == quote) {
                Some(length) => length + 2,
                None => {
                    self.open_quote = Some(*quote);
                    rest.len()
                }
            };
        }
        let mut depth = 0_u32;
        run(rest, |b| match b {
            b'(' | b'[' | b'{' | b'<' => {
                depth += 1;
                true
            }
            b')' | b']' | b'}' | b'>' if depth > 0 => {
                depth -= 1;
                true
            }
            b')' | b']' | b'}' | b'>' | b'"' | b'\'' => false,
            b',' | b';' | b'|' | b'&' => depth > 0,
            _ => true,
        })
    }

    /// One mask for all of it.
    fn value(&mut self, value: &[u8]) {
        let number = special::digits(value);
        let mask = if number > 0 && number == value.len() {
            Mask::Number
        } else {
            match value.is_empty() {
                true => Mask::Any,
                false => special(value, Some(b'='), !0)
                    .filter(|(_, taken)| *taken == value.len())
                    .map_or(Mask::Any, |(mask, _)| mask),
            }
        };
        self.mask(mask);
    }
}

/// What two masks with these separators between them are together, if they are one thing or things of one list.
fn joined(one: Mask, other: Mask, separators: &[u8]) -> Option<Mask> {
    use Mask::{Any, Id, Ip, Name, Number, Path, Time};
    let is_list = |b: &u8| b",;|#_-/.~:+".contains(b);
    if separators.len() > 2 || !separators.iter().all(is_list) {
        return None;
    }
    let is_port = matches!(one, Ip | Name | Path) && other == Number && !separators.is_empty();
    match (one, other) {
        _ if is_port && !separators.contains(&b'/') => None,
        (Ip, Number) => Some(Ip),
        (Time, Number | Time) | (Number, Time) => Some(Time),
        _ if separators.contains(&b':') => None,
        (Id, Number) if separators.contains(&b'-') => Some(Id),
        (one, other) if one == other => Some(one),
        _ => Some(Any),
    }
}
