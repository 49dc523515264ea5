//! Groups messages into templates while they come, in bounded memory, with the same settings for every system.
//!
//! In: the text of a message, without the syslog header. Out: the identity of its template, whether it is new, its
//! text. A message is masked (`mask`). If its tokens are those of a message before, but for what the masks stand for,
//! one look into a table is all. Otherwise it is compared with the templates of as many tokens (Drain: He et al.,
//! ICWS 2017, begins so, too) and joins the one with which it shares most words, if every other token may vary
//! (`likeness`). Otherwise it is a template of its own.
//!
//! **Words that vary.** A word is a constant (`opened` is not `closed`) until many templates differ in nothing but
//! it: then they become one, with `<*>` in its place (`siblings`). A word that differs where `user` or `host` stands
//! before it takes two, one elsewhere three to eight: the less there is around it that is equal, the more. So a line
//! may get another template later, and whoever kept the older ids is told by [`Match::absorbed`].
//!
//! **Identity.** The id of a template is a hash of the text it had first, with `<*>` for every mask, and stays when
//! the text is generalised: nothing that was counted or stored under it has to move. Masks depend on the message
//! alone, so gateways that see the same kind of message name it alike, as long as only masked parts vary. Where other
//! words vary (a user name), two gateways may start from different first texts, and have two ids for what becomes the
//! same text. Every match that changes the text says so ([`Match::generalised`]); whoever records id and text then has
//! the alias: ids with the same latest text ([`Match::text_id`]) are one template. A template that left and comes
//! back from the same first text has the same id again.
//!
//! The same messages in the same order give the same templates. With too many templates the least recently used one
//! leaves.

mod likeness;
mod sketch;

use super::identity::{hash, identity, mix};
use super::mask::{Masked, Shape, WILDCARD};
use likeness::{Likeness, Places, Sibling, merges};
use lru::LruCache;
use sketch::{Row, Sketch};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Templates kept by default: far more than one machine writes, and about a mebibyte.
pub const DEFAULT_TEMPLATES: usize = 2048;
/// Templates with the same number of tokens: bounds the work of a message. Of too many the oldest leaves.
const ROW_TEMPLATES: usize = 256;
/// Templates looked at for what varies between them.
const SIBLINGS: usize = 32;
/// Ways to write a template that are known by heart, per template kept. All are forgotten when there are more.
const FRAMES: usize = 4;

/// The template of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'a> {
    /// Identity of the template.
    pub id: u64,
    /// The message is the first of its kind among the templates kept.
    pub is_new: bool,
    /// The message made the text of the template more general.
    pub generalised: bool,
    text: &'a str,
    absorbed: &'a [u64],
}

impl<'a> Match<'a> {
    /// The text of the template as it is now, with masks.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Hash of the text as it is now: ids with the same latest one are the same template (see the module).
    #[must_use]
    pub fn text_id(&self) -> u64 {
        identity(self.text)
    }

    /// Ids of templates that are this one from now on: the message showed that they differ in what varies only.
    #[must_use]
    pub fn absorbed(&self) -> &'a [u64] {
        self.absorbed
    }
}

#[derive(Debug, Default)]
struct Template {
    id: u64,
    /// Rises with every template begun: two templates never have the same.
    born: u64,
    /// Rises with every match in any template: the lowest is the least recently used.
    used: u64,
    /// The match that last made it the first in the order of use.
    promoted: u64,
    text: String,
    tokens: Vec<Shape>,
}

/// For maps by what is mixed already: leaves, ids of templates.
pub(super) type ById = BuildHasherDefault<Mixed>;

/// The hash of what is mixed already is that itself.
#[derive(Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, mixed: u64) {
        self.0 = mixed;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }
}

/// All templates of one source of lines.
#[derive(Debug)]
pub struct Miner {
    cap: usize,
    templates: Vec<Template>,
    /// Slots without a template.
    free: Vec<u32>,
    /// Slots of templates by number of tokens.
    rows: HashMap<u64, Row, ById>,
    /// Slot and birth of the template that messages of these frames had before.
    frames: HashMap<u64, (u32, u64), ById>,
    /// Slots, least recently used first out. A template moves to the front only when a quarter of the
    /// room may have passed it: what leaves was not used for the other three quarters.
    recency: LruCache<u32, ()>,
    used: u64,
    evicted: u64,
    masked: Masked,
    absorbed: Vec<u64>,
}

impl Miner {
    /// A miner that keeps at most `cap` templates (at least one).
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            cap: cap.clamp(1, u32::MAX as usize),
            templates: Vec::new(),
            free: Vec::new(),
            rows: HashMap::default(),
            frames: HashMap::default(),
            recency: LruCache::unbounded(),
            used: 0,
            evicted: 0,
            masked: Masked::default(),
            absorbed: Vec::new(),
        }
    }

    /// Templates kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recency.len()
    }

    /// True before the first message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recency.is_empty()
    }

    /// Templates that had to leave so far.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Id and text of every template kept, in no particular order.
    pub fn templates(&self) -> impl Iterator<Item = (u64, &str)> {
        self.recency.iter().map(|(slot, ())| {
            let template = &self.templates[*slot as usize];
            (template.id, template.text.as_str())
        })
    }

    /// The text of a template that is kept. Looks at all of them.
    #[must_use]
    pub fn text(&self, id: u64) -> Option<&str> {
        self.templates().find(|(other, _)| *other == id).map(|(_, text)| text)
    }

    /// Finds the template of a message, or makes one. Any text is right; the empty one has a template too.
    pub fn learn(&mut self, message: &str) -> Match<'_> {
        self.masked.fill(message);
        self.used += 1;
        self.absorbed.clear();
        let frame = self.frame();
        let (slot, is_new, generalised) = match self.known(frame) {
            Some((slot, true)) => (slot, false, false),
            Some((slot, false)) => (slot, false, self.generalise(slot, message)),
            None => self.unknown(frame, message),
        };
        let template = &mut self.templates[slot as usize];
        template.used = self.used;
        if is_new || self.used - template.promoted > self.cap as u64 / 4 {
            template.promoted = self.used;
            self.recency.put(slot, ());
        }
        Match {
            id: template.id,
            is_new,
            generalised,
            text: &template.text,
            absorbed: &self.absorbed,
        }
    }

    /// What all messages share that differ in what their masks stand for only.
    fn frame(&self) -> u64 {
        let tokens = &self.masked.tokens;
        mix(tokens.iter().fold(tokens.len() as u64, |frame, token| {
            (frame ^ token.shape.frame()).wrapping_mul(0x9fb2_1c65_1e98_df25_u64).rotate_left(29)
        }))
    }

    /// The template of messages like this one before, and whether nothing in it has to change. A collision of
    /// frames costs a comparison, never a wrong match.
    fn known(&self, frame: u64) -> Option<(u32, bool)> {
        let (slot, born) = self.frames.get(&frame)?;
        let template = &self.templates[*slot as usize];
        let tokens = &self.masked.tokens;
        if template.born != *born || template.tokens.len() != tokens.len() {
            return None;
        }
        let mut is_equal = true;
        for (own, token) in template.tokens.iter().zip(tokens) {
            if *own != token.shape && *own != Shape::WILD {
                if own.frame() != token.shape.frame() {
                    return None;
                }
                is_equal = false;
            }
        }
        Some((*slot, is_equal))
    }

    /// A message of frames not met before: slot, whether it is new, whether a text changed.
    fn unknown(&mut self, frame: u64, message: &str) -> (u32, bool, bool) {
        let found = match self.most_alike() {
            Some(slot) => {
                let changed = self.generalise(slot, message);
                (if changed { self.absorb(slot, 0) } else { slot }, false, changed)
            }
            None => {
                let slot = self.insert(message);
                match self.join_siblings(slot) {
                    Some(survivor) => (survivor, false, true),
                    None => (slot, true, false),
                }
            }
        };
        if self.frames.len() >= FRAMES * self.cap {
            self.frames.clear();
        }
        self.frames.insert(frame, (found.0, self.templates[found.0 as usize].born));
        found
    }

    fn row(&self) -> Option<&Row> {
        self.rows.get(&mix(self.masked.tokens.len() as u64))
    }

    /// Of the message.
    fn sketch(&self) -> Sketch {
        Sketch::of(self.masked.tokens.iter().map(|token| token.shape))
    }

    /// The template that shares most with the message, if one may take it; of two the older.
    fn most_alike(&self) -> Option<u32> {
        let mut best: Option<(Likeness, u64, u32)> = None;
        let sketch = self.sketch();
        // A word has to be the same word.
        for slot in self.row().iter().flat_map(|row| row.near(&sketch, 0)) {
            let template = &self.templates[slot as usize];
            let Some(likeness) = Likeness::of(&template.tokens, &self.masked.tokens) else {
                continue;
            };
            let is_better = best.as_ref().is_none_or(|(most, born, _)| {
                likeness > *most || likeness == *most && template.born < *born
            });
            if is_better {
                best = Some((likeness, template.born, slot));
            }
        }
        best.map(|(_, _, slot)| slot)
    }

    /// Makes `<*>` of what differs between a template and the message; says whether there was something.
    fn generalise(&mut self, slot: u32, message: &str) -> bool {
        let template = &mut self.templates[slot as usize];
        let (mut changed, mut is_wider) = (false, false);
        let mut text = String::new();
        let mut words = template.text.split(' ');
        for (at, (own, token)) in template.tokens.iter_mut().zip(&self.masked.tokens).enumerate() {
            let word = words.next().unwrap_or(WILDCARD);
            if at > 0 {
                text.push(' ');
            }
            if *own == Shape::WILD || *own == token.shape {
                text.push_str(word);
                continue;
            }
            let from = text.len();
            if own.frame() == token.shape.frame() {
                // Only what a mask stands for is another thing; it may have been told before.
                self.masked.write_token(message, token, false, &mut text);
            } else {
                *own = Shape::WILD;
                is_wider = true;
                text.push_str(WILDCARD);
            }
            changed |= text[from..] != *word;
        }
        if changed {
            template.text = text;
        }
        if is_wider {
            self.resketch(slot);
        }
        changed
    }

    /// After tokens of a template became anything.
    fn resketch(&mut self, slot: u32) {
        let tokens = &self.templates[slot as usize].tokens;
        let sketch = Sketch::of(tokens.iter().copied());
        if let Some(row) = self.rows.get_mut(&mix(tokens.len() as u64)) {
            row.change(slot, sketch);
        }
    }

    /// Joins the template that just began with those that differ from it in what varies only.
    fn join_siblings(&mut self, slot: u32) -> Option<u32> {
        let own = &self.templates[slot as usize];
        let mut siblings: Vec<Sibling> = Vec::new();
        let sketch = Sketch::of(own.tokens.iter().copied());
        let near = self.row().into_iter().flat_map(|row| row.near(&sketch, likeness::WORDS_MAX));
        for other in near.filter(|other| *other != slot) {
            let tokens = &self.templates[other as usize].tokens;
            siblings.extend(Sibling::of(other, &own.tokens, tokens));
            if siblings.len() == SIBLINGS {
                break;
            }
        }
        if siblings.is_empty() {
            return None;
        }
        let words: Vec<&str> = own.text.split(' ').collect();
        let shape_of =
            |sibling: &Sibling, place: usize| self.templates[sibling.slot as usize].tokens[place];
        let places = merges(&own.tokens, &words, &siblings, shape_of)?;
        Some(self.absorb(slot, places))
    }

    /// Makes `<*>` of these places of a template, and takes in all that are only parts of it then. It has the id of
    /// the oldest of them.
    fn absorb(&mut self, slot: u32, places: Places) -> u32 {
        self.generalise_places(slot, places);
        let whole = &self.templates[slot as usize];
        let row = self.rows.get(&mix(whole.tokens.len() as u64)).map_or(&[][..], Row::slots);
        let is_part = |other: &u32| {
            let part = &self.templates[*other as usize];
            *other != slot && likeness::is_part(&whole.tokens, &part.tokens)
        };
        let parts: Vec<u32> = row.iter().copied().filter(is_part).collect();
        let (mut id, mut born) = (whole.id, whole.born);
        // One that began with this message was told to nobody.
        let mut is_untold = born == self.used;
        for part in parts {
            let other = &self.templates[part as usize];
            let (younger, is_told) = if other.born < born {
                let younger = (id, !is_untold);
                (id, born, is_untold) = (other.id, other.born, false);
                younger
            } else {
                (other.id, true)
            };
            if is_told {
                self.absorbed.push(younger);
            }
            self.remove(part);
            self.free.push(part);
        }
        let template = &mut self.templates[slot as usize];
        (template.id, template.born) = (id, born);
        slot
    }

    fn generalise_places(&mut self, slot: u32, places: Places) {
        if places == 0 {
            return;
        }
        let template = &mut self.templates[slot as usize];
        let mut text = String::new();
        for (at, word) in template.text.split(' ').enumerate() {
            if at > 0 {
                text.push(' ');
            }
            if places >> at & 1 == 1 {
                template.tokens[at] = Shape::WILD;
                text.push_str(WILDCARD);
            } else {
                text.push_str(word);
            }
        }
        template.text = text;
        self.resketch(slot);
    }

    fn insert(&mut self, message: &str) -> u32 {
        let row = self.row().map_or(&[][..], Row::slots);
        let oldest = (row.len() >= ROW_TEMPLATES)
            .then(|| row.iter().min_by_key(|s| self.templates[**s as usize].used).copied())
            .flatten();
        let full = self.recency.len() >= self.cap;
        let leaves_now =
            oldest.or_else(|| self.recency.peek_lru().filter(|_| full).map(|(slot, ())| *slot));
        let slot = match leaves_now {
            Some(slot) => {
                self.evicted += 1;
                self.remove(slot);
                slot
            }
            None => self.free.pop().unwrap_or_else(|| {
                self.templates.push(Template::default());
                (self.templates.len() - 1) as u32
            }),
        };
        let template = &mut self.templates[slot as usize];
        template.born = self.used;
        template.used = self.used;
        template.text.clear();
        self.masked.write_text(message, &mut template.text);
        template.tokens.clear();
        template.tokens.extend(self.masked.tokens.iter().map(|t| t.shape));
        template.id = identity(&template.text);
        let tokens = &template.tokens;
        let sketch = Sketch::of(tokens.iter().copied());
        self.rows.entry(mix(tokens.len() as u64)).or_default().push(slot, sketch);
        self.recency.put(slot, ());
        slot
    }

    /// Takes a template out; its slot, and the memory of it, is the caller's.
    fn remove(&mut self, slot: u32) {
        self.recency.pop(&slot);
        let template = &mut self.templates[slot as usize];
        // No frame leads here any more.
        template.born = 0;
        let row = mix(template.tokens.len() as u64);
        if let Some(of) = self.rows.get_mut(&row) {
            of.remove(slot);
            if of.slots().is_empty() {
                self.rows.remove(&row);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
