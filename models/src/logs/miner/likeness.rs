//! Whether a message belongs to a template, and when templates that differ in a word are one.
//!
//! In: the tokens of both. Out: how much is equal, or that they are two things. Pure.

use crate::logs::mask::{Kind, Shape, Token};

/// Places in a message, a bit each. There are at most 97.
pub(super) type Places = u128;

/// How much of a message a template has; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Likeness {
    /// Tokens that are equal, without those that the template has as anything.
    equal: u32,
}

impl Likeness {
    /// None where the template may not take the message. Words and keys have to be equal. Values that are written
    /// in other ways may take each other's place, and a value may take that of a name, where enough words are equal.
    pub(super) fn of(template: &[Shape], message: &[Token]) -> Option<Self> {
        if template.len() != message.len() {
            return None;
        }
        let (mut equal, mut words, mut lettered, mut named) = (0_u32, 0_u32, 0_u32, 0_u32);
        for (own, token) in template.iter().zip(message) {
            let (own, other) = (*own, token.shape);
            if own == Shape::WILD && other.kind() != Kind::Keyed {
                continue;
            }
            if own.frame() == other.frame() {
                equal += 1;
                words += u32::from(matches!(own.kind(), Kind::Word | Kind::Keyed));
                continue;
            }
            match (own.kind(), other.kind()) {
                (Kind::Pure, Kind::Pure) => {}
                (Kind::Pure, Kind::Lettered) | (Kind::Lettered, Kind::Pure) => lettered += 1,
                (Kind::Pure, Kind::Word) | (Kind::Word, Kind::Pure) => named += 1,
                _ => return None,
            }
        }
        (words >= lettered + 2 * named + u32::from(named > 0)).then_some(Self { equal })
    }
}

/// In so many words two templates may differ that are to become one.
pub(super) const WORDS_MAX: u32 = 2;

/// A template that differs from another one in words at these places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sibling {
    pub(super) slot: u32,
    /// Where both have words, and other ones.
    pub(super) places: Places,
    /// Where one of them has anything.
    pub(super) wild: Places,
}

impl Sibling {
    /// None where they differ in more than two words, or in something else.
    pub(super) fn of(slot: u32, one: &[Shape], other: &[Shape]) -> Option<Self> {
        let (mut places, mut wild): (Places, Places) = (0, 0);
        for (at, (one, other)) in one.iter().zip(other).enumerate() {
            if one.frame() == other.frame() {
                continue;
            }
            let is_wild = *one == Shape::WILD || *other == Shape::WILD;
            match (one.kind(), other.kind()) {
                (Kind::Keyed, _) | (_, Kind::Keyed) => return None,
                _ if is_wild => wild |= 1 << at,
                (Kind::Word | Kind::Lettered, Kind::Word | Kind::Lettered) => places |= 1 << at,
                _ => return None,
            }
            if places.count_ones() > WORDS_MAX {
                return None;
            }
        }
        (places != 0).then_some(Self { slot, places, wild })
    }
}

/// All that a template has is in another one, which has anything in some places.
pub(super) fn is_part(whole: &[Shape], part: &[Shape]) -> bool {
    whole.iter().zip(part).all(|(whole, part)| {
        whole.frame() == part.frame() || *whole == Shape::WILD && part.kind() != Kind::Keyed
    })
}

/// The places in which enough templates differ from this one, and from each other, to take the words there for
/// values, and those where they have anything already; `words` is its text.
pub(super) fn merges(
    own: &[Shape],
    words: &[&str],
    siblings: &[Sibling],
    shape_of: impl Fn(&Sibling, usize) -> Shape,
) -> Option<Places> {
    let constants = own.iter().filter(|shape| matches!(shape.kind(), Kind::Word | Kind::Keyed));
    let constants = constants.count();
    let mut tried: Vec<Places> = Vec::new();
    for sibling in siblings {
        let places = sibling.places;
        if tried.contains(&places) {
            continue;
        }
        tried.push(places);
        let at: Vec<usize> = (0..own.len()).filter(|at| places >> at & 1 == 1).collect();
        let alike = || siblings.iter().filter(|other| other.places & !places == 0);
        let is_enough = at.iter().all(|place| {
            let mut values: Vec<u64> =
                alike().map(|s| shape_of(s, *place).frame()).chain([own[*place].frame()]).collect();
            values.sort_unstable();
            values.dedup();
            let numbered = alike()
                .map(|s| shape_of(s, *place))
                .chain([own[*place]])
                .filter(|shape| shape.kind() == Kind::Lettered);
            let numbered = match numbered.count() {
                0 => Numbered::None,
                n if n > alike().count() => Numbered::All,
                _ => Numbered::Some,
            };
            values.len() >= needed(words, *place, numbered, constants, at.len())
        });
        if is_enough && is_value(words, &at) {
            return Some(alike().fold(places, |places, other| places | other.wild));
        }
    }
    None
}

/// Words without a letter or a digit are structure, never values.
fn is_value(words: &[&str], at: &[usize]) -> bool {
    at.iter().all(|place| words[*place].chars().any(char::is_alphanumeric))
}

/// How many of the words in a place have a number in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbered {
    None,
    Some,
    All,
}

/// How many different words it takes.
fn needed(
    words: &[&str],
    place: usize,
    numbered: Numbered,
    constants: usize,
    places: usize,
) -> usize {
    // The word itself is one of them.
    let around = constants.saturating_sub(places);
    let before = place.checked_sub(1).map_or("", |before| words[before]);
    let before = before.trim_end_matches([':', '=', '[', '(', '"']);
    let is_label = words[place].ends_with(':');
    let base = match around {
        0 => return usize::MAX,
        1 => 8,
        2 => 6,
        3..=7 => 5,
        _ => 4,
    };
    let base = if announces(before) && around >= 2 && !is_label {
        2
    } else {
        match numbered {
            // A thing with a number is one of many, and what stands in its place is another one.
            Numbered::Some if around >= 5 => 2,
            Numbered::Some | Numbered::All => base.min(3),
            Numbered::None => base,
        }
    };
    base + 2 * (places - 1) + usize::from(is_label)
}

/// A word that announces a name.
fn announces(word: &str) -> bool {
    const NOUNS: [&str; 27] = [
        "user",
        "users",
        "username",
        "account",
        "group",
        "host",
        "hostname",
        "node",
        "device",
        "interface",
        "service",
        "process",
        "domain",
        "file",
        "directory",
        "module",
        "package",
        "daemon",
        "unit",
        "queue",
        "topic",
        "table",
        "database",
        "container",
        "volume",
        "client",
        "server",
    ];
    NOUNS.iter().any(|noun| noun.eq_ignore_ascii_case(word))
}
