//! One pass over a message: tokens at white space (and control characters), with what varies from line to line masked.
//!
//! | mask | stands for |
//! | --- | --- |
//! | `<num>` | digits, with sign and decimals; also at the end of a word (`eth0` is `eth<num>`) |
//! | `<time>` | a time of day, a number with a unit of time (`12ms`, `<1 sec`), with the names of day and month before it |
//! | `<size>` | a number with a unit of bytes (`1.5GiB`, `317.1 KB`, `0 bytes`) |
//! | `<hex>` | `0x…`, or eight and more hexadecimal digits, letters among them |
//! | `<ip>` | IPv4 and IPv6 addresses; a port stays apart (`<ip>:<num>`) |
//! | `<mac>` | six and more pairs of hexadecimal digits |
//! | `<uuid>` | 8-4-4-4-12 |
//! | `<id>` | any other word of letters and digits mixed |
//! | `<path>` | an absolute path or a URL |
//! | `<name>` | a name of three and more parts with points or slashes between them: hosts, classes, packages |
//! | `<mail>` | name, `@`, domain with a dot |
//! | `<*>` | the value behind `=`, what stands in quotes, true, false and null, a word too long to be one |
//!
//! **Lists.** The same mask again and again is written once, whether in one token (`10.0.0.1,10.0.0.2`) or in several
//! (`blk_1 blk_2 blk_3`, `[1, 2, 3]`, `node1 0x1f node2 0x2f`): how many things a line lists does not make it
//! another kind of line.
//!
//! What is masked depends on the message alone, so two gateways mask alike. Work is linear in the message for all
//! that people write; it is bounded for what they do not: only the first [`MAX_TOKENS`] tokens and about
//! [`MAX_TEXT_BYTES`] of masked text are kept, the rest is `<...>`.

mod memo;
mod scan;
mod special;

use super::eights;
use memo::Memo;
use scan::Scan;

/// Tokens kept.
pub(super) const MAX_TOKENS: usize = 96;
/// Masked text that ends the look, in bytes. One token more may follow.
pub(super) const MAX_TEXT_BYTES: usize = 1024;
/// Tokens longer than this, and masked ones, are no words, in bytes.
const MAX_TOKEN_BYTES: usize = 64;
/// Tokens longer than this are not scanned, in bytes.
const MAX_SCAN_BYTES: usize = 512;
/// How far the end of a quoted value is looked for, in bytes.
const MAX_QUOTED_BYTES: usize = 128;
/// What stands for anything.
pub(super) const WILDCARD: &str = "<*>";
const REST: &[u8] = b"<...>";
/// Stands for a mask in what is written. No part of any character in UTF-8.
const HOLE: u8 = 0xff;

/// What a hole stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    Any,
    Number,
    Time,
    Size,
    Hex,
    Ip,
    Mac,
    Uuid,
    Id,
    Path,
    Name,
    Mail,
}

impl Mask {
    pub(super) const ALL: [Self; 12] = [
        Self::Any,
        Self::Number,
        Self::Time,
        Self::Size,
        Self::Hex,
        Self::Ip,
        Self::Mac,
        Self::Uuid,
        Self::Id,
        Self::Path,
        Self::Name,
        Self::Mail,
    ];

    /// Both may be things of one list: a number may look like an id, but no size like a time.
    fn lists_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time, other) | (other, Self::Time) => matches!(other, Self::Time | Self::Number),
            (Self::Size, other) | (other, Self::Size) => other == Self::Size,
            _ => true,
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Any => WILDCARD,
            Self::Number => "<num>",
            Self::Time => "<time>",
            Self::Size => "<size>",
            Self::Hex => "<hex>",
            Self::Ip => "<ip>",
            Self::Mac => "<mac>",
            Self::Uuid => "<uuid>",
            Self::Id => "<id>",
            Self::Path => "<path>",
            Self::Name => "<name>",
            Self::Mail => "<mail>",
        }
    }
}

/// What a token is made of, and so what it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No mask in it.
    Word,
    /// Masks and punctuation.
    Pure,
    /// Masks and letters: `blk_<num>`.
    Lettered,
    /// Masks behind a key, or punctuation alone: a constant. `uid=<num>`, `total:<num>`, `state....<num>`.
    Keyed,
}

/// A token as it is compared: what stays of it, its [`Kind`] and what the masks stand for, in one word. For
/// comparisons in memory: nothing stored depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape(u64);

impl Shape {
    /// Anything: of no message.
    pub(super) const WILD: Self = Self(u64::MAX << 8 | Kind::Pure as u64);

    fn new(hash: u64, kind: Kind, masks: &[Mask]) -> Self {
        let types = masks.iter().fold(0, |types, mask| 5 * types + *mask as u64);
        Self(hash << 8 | (types & 63) << 2 | kind as u64)
    }

    /// Equal where tokens differ at most in what their masks stand for.
    pub(super) fn frame(self) -> u64 {
        self.0 >> 8
    }

    pub(super) fn kind(self) -> Kind {
        match self.0 & 3 {
            0 => Kind::Word,
            1 => Kind::Pure,
            2 => Kind::Lettered,
            _ => Kind::Keyed,
        }
    }
}

/// A masked message. Kept and filled again, so that a message costs no allocation.
///
/// The text of a message is wanted only where a template begins or changes, the shapes of its tokens always:
/// so words stay where they are, and only what is masked is written.
#[derive(Debug, Default)]
pub(super) struct Masked {
    /// What the tokens that are no words became, one behind the other, with [`HOLE`]s.
    written: Vec<u8>,
    /// What the holes stand for.
    masks: Vec<Mask>,
    /// Each token, at most [`MAX_TOKENS`] and one.
    pub(super) tokens: Vec<Token>,
    /// Bytes of the tokens so far.
    text_bytes: usize,
    /// Goes on from message to message.
    memo: Memo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) shape: Shape,
    /// Where it lies, in the message or in what was written.
    start: u32,
    end: u32,
    /// Where its masks begin.
    masks: u32,
    is_word: bool,
}

impl Masked {
    /// Masks a message, in place of what was here.
    pub(super) fn fill(&mut self, message: &str) {
        self.written.clear();
        self.masks.clear();
        self.tokens.clear();
        self.text_bytes = 0;
        let bytes = message.as_bytes();
        let (mut at, mut is_value) = (0, false);
        while let Some(byte) = bytes.get(at) {
            if *byte <= b' ' {
                at += 1;
                continue;
            }
            if self.tokens.len() >= MAX_TOKENS || self.text_bytes >= MAX_TEXT_BYTES {
                let scan = self.begin();
                self.written.extend_from_slice(REST);
                self.end(scan);
                return;
            }
            let found = eights::token(&bytes[at..]);
            let token = &bytes[at..at + found.length];
            if is_value && !token.contains(&b'=') && token.iter().any(|b| scan::is_word(*b)) {
                self.write(|scan| scan.value_token(token));
            } else {
                let is_short = !found.is_marked && found.length <= MAX_TOKEN_BYTES;
                let taken = if is_short {
                    self.is_more_than_word(token).then_some(0)
                } else {
                    self.scanned(bytes, at, at + found.length)
                };
                match taken {
                    Some(taken) => at += taken,
                    None => self.push_word(token, found.hash, at),
                }
                if !is_short {
                    self.join_date(bytes);
                }
            }
            at += found.length;
            is_value =
                token.last() == Some(&b'=') && !matches!(token, b"==" | b"!=" | b">=" | b"<=");
        }
    }

    /// The tokens with one blank between them; `message` is the one that was masked.
    pub(super) fn write_text(&self, message: &str, text: &mut String) {
        for (at, token) in self.tokens.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            self.write_token(message, token, true, text);
        }
    }

    /// The text of a token; `message` is the one that was masked. Without types every mask is `<*>`.
    pub(super) fn write_token(&self, message: &str, token: &Token, types: bool, text: &mut String) {
        let range = token.start as usize..token.end as usize;
        let from = if token.is_word { &message.as_bytes()[range] } else { &self.written[range] };
        let mut masks = self.masks[token.masks as usize..].iter();
        for (at, part) in from.split(|byte| *byte == HOLE).enumerate() {
            if at > 0 {
                let mask = masks.next().filter(|_| types).unwrap_or(&Mask::Any);
                text.push_str(mask.text());
            }
            // Only whole characters are left out or put in, so nothing is lost here.
            text.push_str(&String::from_utf8_lossy(part));
        }
    }

    /// A token without a mark: most of them are words and stay as they are. The others are taken here.
    #[inline(always)]
    fn is_more_than_word(&mut self, token: &[u8]) -> bool {
        if let Some(last) = self.tokens.last()
            && !last.is_word
            && self.joins_number(token)
        {
            return true;
        }
        let is_constant = matches!(token[0], b't' | b'f' | b'n' | b'T' | b'F' | b'N')
            && special::is_constant(token);
        if is_constant {
            self.write(|scan| scan.value_token(token));
        }
        is_constant
    }

    #[inline]
    fn push_word(&mut self, token: &[u8], hash: u64, at: usize) {
        let (start, end) = (at as u32, (at + token.len()) as u32);
        let masks = self.masks.len() as u32;
        // Punctuation alone is structure: nothing takes its place.
        let is_word = scan::is_word(token[0]) || token.iter().any(|b| scan::is_word(*b));
        if !is_word && token.len() >= 3 && token.iter().all(|b| *b == b'*') {
            // A value that could not be read, or did not fit.
            return self.write(|scan| scan.value_token(token));
        }
        let shape = Shape::new(hash, if is_word { Kind::Word } else { Kind::Keyed }, &[]);
        let is_behind_mask = self.tokens.last().is_some_and(|last| !last.is_word);
        self.push(Token { shape, start, end, masks, is_word: true });
        if is_behind_mask {
            self.join_repeated();
        }
    }

    /// A token that may be more than a word; says how many bytes behind its end belong to it, nothing where it is a word.
    fn scanned(&mut self, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
        let (from, token) = (self.begin(), &bytes[start..end]);
        let key = eights::outline(token);
        if let Some(known) = self.memo.find(key) {
            let shape = known.shape()?;
            self.written.extend_from_slice(known.written());
            self.masks.extend_from_slice(known.masks());
            self.push_written(shape, from);
            return Some(0);
        }
        let mut scan = self.scan();
        let is_word = !scan.token(token);
        if is_word && token.len() > MAX_TOKEN_BYTES {
            scan.value_token(token);
        }
        let open = scan.open_quote;
        let is_short = self.written.len() - from.0 <= MAX_TOKEN_BYTES;
        if self.masks.len() == from.1 && is_short {
            self.written.truncate(from.0);
            self.memo.put_word(key);
            return None;
        }
        if let Some(quote) = open {
            let taken = self.take_quoted(quote, &bytes[end..]);
            self.end(from);
            return Some(taken);
        }
        let shape = self.shape_of(from);
        self.memo.put(key, shape, &self.written[from.0..], &self.masks[from.1..]);
        self.push_written(shape, from);
        Some(0)
    }

    /// A value in quotes with blanks in it, which began in the token before these bytes: says how many of them belong
    /// to it.
    fn take_quoted(&mut self, quote: u8, behind: &[u8]) -> usize {
        let behind = &behind[..behind.len().min(MAX_QUOTED_BYTES)];
        let Some(close) = behind.iter().position(|b| *b == quote) else { return 0 };
        let rest = &behind[close + 1..];
        let taken = close + 1 + rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
        let punctuation = behind[close + 1..taken].iter().filter(|b| b.is_ascii_punctuation());
        self.written.extend(punctuation);
        taken
    }

    fn scan(&mut self) -> Scan<'_> {
        Scan::new(&mut self.written, &mut self.masks)
    }

    fn begin(&self) -> (usize, usize) {
        (self.written.len(), self.masks.len())
    }

    fn write(&mut self, write: impl FnOnce(&mut Scan<'_>)) {
        let from = self.begin();
        write(&mut self.scan());
        self.end(from);
    }

    /// What was written since is a token.
    fn end(&mut self, from: (usize, usize)) {
        let shape = self.shape_of(from);
        self.push_written(shape, from);
    }

    /// The shape of what was written since, which is a mask and nothing else where it is too long.
    fn shape_of(&mut self, (start, masks): (usize, usize)) -> Shape {
        if self.written.len() - start > MAX_TOKEN_BYTES {
            self.written.truncate(start);
            self.masks.truncate(masks);
            self.written.push(HOLE);
            self.masks.push(Mask::Any);
        }
        let (written, masks) = (&self.written[start..], &self.masks[masks..]);
        if written == [HOLE] {
            // Most are a value and nothing else.
            return Shape::new(const { eights::hash_of_byte(HOLE) }, Kind::Pure, masks);
        }
        Shape::new(eights::hash(written), scan::kind(written), masks)
    }

    fn push_written(&mut self, shape: Shape, (start, masks): (usize, usize)) {
        let end = self.written.len() as u32;
        self.push(Token { shape, start: start as u32, end, masks: masks as u32, is_word: false });
        self.join_lists();
    }

    #[inline]
    fn push(&mut self, token: Token) {
        self.text_bytes += (token.end - token.start) as usize + 1;
        self.tokens.push(token);
    }

    /// The last token is a number, and this word its unit: then both are one token.
    fn joins_number(&mut self, word: &[u8]) -> bool {
        let Some(last) = self.tokens.last().copied() else { return false };
        let is_number = self.written.last() == Some(&HOLE)
            && matches!(self.masks.last(), Some(Mask::Number))
            && self.masks.len() == last.masks as usize + 1;
        if !is_number || word.len() > 16 {
            return false;
        }
        let letters = special::run(word, |b| b.is_ascii_alphabetic());
        let Some(unit) = special::unit(&word[..letters]) else { return false };
        if word[letters..].iter().any(|b| !matches!(b, b',' | b';' | b'.' | b':' | b')' | b']')) {
            return false;
        }
        self.tokens.pop();
        let start = last.start as usize;
        // Less than a second is a time as well.
        if self.written[start..] == [b'<', HOLE] {
            self.written.remove(start);
        }
        if let Some(mask) = self.masks.last_mut() {
            *mask = unit;
        }
        self.written.extend_from_slice(&word[letters..]);
        self.end((start, last.masks as usize));
        true
    }

    /// Takes out what only says again what stands before it, the next thing in a list; says whether it did.
    fn join_lists(&mut self) -> bool {
        let n = self.tokens.len();
        n >= 2
            && (self.tokens[n - 1].shape.kind() != Kind::Keyed && self.joins_last()
                || self.join_repeated())
    }

    /// Takes out two or three tokens that repeat those before them.
    fn join_repeated(&mut self) -> bool {
        let n = self.tokens.len();
        let frame = |at: usize| self.tokens[at].shape.frame();
        let repeats = |period: &usize| {
            n >= 2 * period && (n - period..n).all(|at| frame(at) == frame(at - period))
        };
        let period = [2, 3].iter().find(|period| repeats(period));
        self.tokens.truncate(n - period.unwrap_or(&0));
        period.is_some()
    }

    /// The last two tokens are two things of a list: then one is enough.
    fn joins_last(&mut self) -> bool {
        let [.., before, last] = self.tokens[..] else { return false };
        if before.is_word || before.shape.kind() == Kind::Keyed {
            return false;
        }
        let text = |token: &Token| &self.written[token.start as usize..token.end as usize];
        let (one, other) = (scan::Item::of(text(&before)), scan::Item::of(text(&last)));
        let is_list = matches!(one.tail, [] | [b',' | b';']) && other.head.is_empty();
        let holes = other.core.iter().filter(|b| **b == HOLE).count();
        if !is_list || one.core != other.core || holes == 0 {
            return false;
        }
        let first_mask = before.masks as usize;
        let masks = |token: &Token| &self.masks[token.masks as usize..][..holes];
        let is_same = masks(&before) == masks(&last);
        if !is_same
            && !masks(&before).iter().zip(masks(&last)).all(|(one, other)| one.lists_with(*other))
        {
            return false;
        }
        let last_mask = self.masks[last.masks as usize];
        let core_end = before.start as usize + one.head.len() + one.core.len();
        let tail = last.end as usize - other.tail.len()..last.end as usize;
        let end = core_end + tail.len();
        self.written.copy_within(tail, core_end);
        self.written.truncate(end);
        self.masks.truncate(first_mask + holes);
        if !is_same {
            let is_time = self.masks[first_mask] == Mask::Time || last_mask == Mask::Time;
            self.masks[first_mask..].fill(if is_time { Mask::Time } else { Mask::Any });
        }
        self.tokens.truncate(self.tokens.len() - 2);
        let shape = self.shape_of((before.start as usize, first_mask));
        self.tokens.push(Token { shape, end: end as u32, ..before });
        true
    }

    /// The names of day and month before the last token, which is a number, are a part of it.
    fn join_date(&mut self, message: &[u8]) {
        while let [.., name, last] = self.tokens[..]
            && name.is_word
            && last.shape.kind() == Kind::Pure
            && (3..=4).contains(&(name.end - name.start))
            && special::is_calendar(&message[name.start as usize..name.end as usize])
        {
            self.tokens.truncate(self.tokens.len() - 2);
            self.tokens.push(last);
            if self.join_lists() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
