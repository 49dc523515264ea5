//! Words: what a word of a message is, the same for hot lines and sealed ones. Pure.
//!
//! In: a message, and what is looked for. Out: whether it is there. A **word** is a run of letters, digits and
//! `_` that is as long as can be; a letter or digit is what Unicode calls alphanumeric. Case is folded letter by
//! letter, as Unicode makes that one letter small. Nothing else is folded: `e` is not `é`. Promises: a text
//! has a word exactly if [`each_word`] tells of it, whichever way it is looked for.

use memchr::memchr2;

/// What a word is the hash of, so that the words of a message and the names beside it never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A word of the message.
    Word = 0,
    /// The host of a line, letter for letter.
    Host = 1,
    /// Its application.
    App = 2,
    /// Its template.
    Template = 3,
}

/// FNV-1a (64 bits) of the kind and the bytes, then mixed (the end of SplitMix64). It is part of the form of
/// sealed lines: it never changes.
pub(crate) fn hash(kind: Kind, text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let start = (OFFSET ^ kind as u64).wrapping_mul(PRIME);
    let hash = text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn is_of_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

fn is_byte_of_word(byte: &u8) -> bool {
    *byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Tells of each word of a text, folded, as often as it is there.
pub(crate) fn each_word(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    for letter in text.chars() {
        if letter.is_ascii() && is_of_word(letter) {
            word.push(letter.to_ascii_lowercase());
        } else if is_of_word(letter) {
            word.extend(letter.to_lowercase());
        } else if !word.is_empty() {
            each(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        each(&word);
    }
}

/// Whether a text has any word.
pub(crate) fn has_words(text: &str) -> bool {
    text.chars().any(is_of_word)
}

/// Words that a message must have, all of them, wherever they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words(Vec<String>);

impl Words {
    /// The words of a text, each once.
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words.sort();
        words.dedup();
        Self(words)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a message has every one of them.
    pub(crate) fn are_in(&self, message: &str) -> bool {
        if message.is_ascii() {
            let message = message.as_bytes();
            return self.0.iter().all(|word| is_in_ascii(message, word.as_bytes(), true));
        }
        let mut left: Vec<&str> = self.iter().collect();
        each_word(message, |word| left.retain(|other| *other != word));
        left.is_empty()
    }
}

/// A text that a message must hold, letter case ignored, be it in the middle of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether a message holds it.
    pub(crate) fn is_in(&self, message: &str) -> bool {
        if message.is_ascii() {
            return is_in_ascii(message.as_bytes(), self.0.as_bytes(), false);
        }
        message.to_lowercase().contains(&self.0)
    }

    /// Words that every message with this text has: those that end at both sides within it. Of a text beyond ASCII
    /// none are named, for its case is folded in another way than that of words.
    pub(crate) fn inner_words(&self) -> Vec<&str> {
        if !self.0.is_ascii() {
            return Vec::new();
        }
        let mut words: Vec<&str> = self.0.split(|letter: char| !is_of_word(letter)).collect();
        // The first and the last one may go on outside.
        words.pop();
        words.into_iter().skip(1).filter(|word| !word.is_empty()).collect()
    }
}

/// Whether ASCII text holds `part`, which has small letters only; if `whole` as a word of its own.
fn is_in_ascii(text: &[u8], part: &[u8], whole: bool) -> bool {
    let Some(&first) = part.first() else {
        return true;
    };
    let mut begin = 0;
    while let Some(found) =
        text.get(begin..).and_then(|rest| memchr2(first, first.to_ascii_uppercase(), rest))
    {
        let from = begin + found;
        let to = from + part.len();
        let Some(here) = text.get(from..to) else {
            return false;
        };
        let alone = || {
            let before = text[..from].last().is_some_and(is_byte_of_word);
            let behind = text.get(to).is_some_and(is_byte_of_word);
            !before && !behind
        };
        if here.eq_ignore_ascii_case(part) && (!whole || alone()) {
            return true;
        }
        begin = from + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn a_word_is_a_run_of_letters_digits_and_underscores() {
        assert_eq!(words("Disk FULL on /dev/sda1"), ["disk", "full", "on", "dev", "sda1"]);
        assert_eq!(words("a_b=c-d 10.0.0.7:22"), ["a_b", "c", "d", "10", "0", "0", "7", "22"]);
        assert_eq!(words("ÜBERSPANNUNG an Pumpe№5"), ["überspannung", "an", "pumpe", "5"]);
        assert_eq!(words("  \u{0}—"), [""; 0]);
        assert_eq!(words("温度 high"), ["温度", "high"]);
    }

    #[test]
    fn words_are_found_whole_and_in_any_order() {
        let has = |words: &str, message: &str| Words::of(words).are_in(message);
        assert!(has("full disk", "Disk FULL on /dev/sda1"));
        assert!(!has("ful", "Disk FULL"));
        assert!(!has("isk", "Disk FULL"));
        assert!(has("7", "10.0.0.7"));
        assert!(!has("7", "10.0.0.70 a7 7_"));
        assert!(has("straße", "Die STRAßE"));
        assert!(has("k", "300 \u{212a}"), "the sign of Kelvin is a k");
        assert!(has("\u{212a}", "300 K"));
        assert!(has("", "anything"));
        assert!(has(" - ", ""));
    }

    #[test]
    fn inner_words_are_those_that_surely_are_whole() {
        assert_eq!(Text::of("ection refused by pe").inner_words(), ["refused", "by"]);
        assert_eq!(Text::of(" refused ").inner_words(), ["refused"]);
        assert_eq!(Text::of("refused").inner_words(), [""; 0]);
        assert_eq!(Text::of("über den Wolken muß").inner_words(), [""; 0]);
    }

    #[test]
    fn hashes_never_change() {
        // They are in every sealed block.
        let found = [Kind::Word, Kind::Host, Kind::App, Kind::Template].map(|kind| hash(kind, "a"));
        let distinct: std::collections::BTreeSet<u64> = found.into_iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(hash(Kind::Word, "disk"), 4_354_846_140_752_561_586);
    }

    fn text() -> impl Strategy<Value = String> {
        let letters = proptest::sample::select(vec![
            'a', 'A', 'b', 'k', '\u{212a}', 'é', 'É', 'İ', 'Σ', 'ς', 'ß', 'ẞ', '_', '1', ' ', '-',
            '.', '\u{307}', '温',
        ]);
        proptest::collection::vec(letters, 0..24).prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_message_has_its_words_and_no_others(message in text(), looked in text()) {
            let own = words(&message);
            let looked = Words::of(&looked);
            let expected = looked.iter().all(|word| own.iter().any(|own| own == word));
            prop_assert_eq!(looked.are_in(&message), expected);
        }

        #[test]
        fn a_text_is_found_as_by_making_both_small(message in text(), looked in text()) {
            let expected = message.to_lowercase().contains(&looked.to_lowercase());
            prop_assert_eq!(Text::of(&looked).is_in(&message), expected);
        }

        #[test]
        fn a_message_with_a_text_has_its_inner_words(
            message in text(), from in 0usize..24, length in 0usize..24,
        ) {
            let part: String = message.chars().skip(from).take(length).collect();
            let looked = Text::of(&part);
            prop_assume!(looked.is_in(&message));
            let own = words(&message);
            for word in looked.inner_words() {
                prop_assert!(own.iter().any(|own| own == word), "{word} of {part:?}");
            }
        }
    }
}
