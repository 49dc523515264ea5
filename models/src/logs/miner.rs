//! Groups messages into templates while they come (after Drain: He et al., ICWS 2017), in bounded memory.
//!
//! In: the text of a message, without the syslog header. Out: the identity of its template, whether it is new, its
//! text. A message is masked (`mask`), looked up by its number of tokens and its first one, and joins the template in
//! there with which it shares most tokens, if they are at least half; tokens that differ become `<*>`. Otherwise it is
//! a template of its own. With too many templates the least recently used one leaves.
//!
//! **Identity.** The id of a template is a hash of the text it had first, and stays when the text is generalised:
//! nothing that was counted or stored under it has to move. Masks depend on the message alone, so gateways that see
//! the same kind of message name it alike, as long as only masked parts vary. Where other words vary (a user name),
//! two gateways may start from different first texts, and have two ids for what becomes the same text. Every
//! match that changes the text says so ([`Match::generalised`]); whoever records id and text then has the alias: ids
//! with the same latest text ([`Match::text_id`]) are one template. A template that left and comes back from the same
//! first text has the same id again.

use super::eights;
use super::mask::{Masked, WILDCARD, hash, mix};
use lru::LruCache;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Templates kept by default: far more than one machine writes, and less than a mebibyte.
pub const DEFAULT_TEMPLATES: usize = 2048;
/// Share of tokens that must be equal. Drain's default is 0.4 without masks; masked tokens are equal by themselves.
const SIMILARITY: f32 = 0.5;
/// Templates with the same length and first token: bounds the work of a message. A full leaf gives up its oldest.
const LEAF_TEMPLATES: usize = 128;

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
        hash(self.text.as_bytes())
    }
}

#[derive(Debug, Default)]
struct Template {
    id: u64,
    leaf: u64,
    /// Rises with every match in any template: the lowest is the least recently used.
    used: u64,
    /// The match that last made it the first in the order of use.
    promoted: u64,
    text: String,
    /// Hash of each token of `text`.
    tokens: Vec<u64>,
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
    /// Slots of templates by length and first token.
    leaves: HashMap<u64, Vec<u32>, ById>,
    /// Slots, least recently used first out. A template moves to the front only when a quarter of the
    /// room may have passed it: what leaves was not used for the other three quarters.
    recency: LruCache<u32, ()>,
    used: u64,
    evicted: u64,
    masked: Masked,
    wildcard: u64,
}

impl Miner {
    /// A miner that keeps at most `cap` templates (at least one).
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            cap: cap.clamp(1, u32::MAX as usize),
            templates: Vec::new(),
            leaves: HashMap::default(),
            recency: LruCache::unbounded(),
            used: 0,
            evicted: 0,
            masked: Masked::default(),
            wildcard: eights::token(WILDCARD.as_bytes()).hash,
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

    /// Finds the template of a message, or makes one. Any text is right; the empty one has a template too.
    pub fn learn(&mut self, message: &str) -> Match<'_> {
        self.masked.fill(message);
        self.used += 1;
        let leaf = self.leaf_of_message();
        let (slot, is_new, generalised) = match self.most_similar(leaf) {
            Some(slot) => (slot, false, self.generalise(slot, message)),
            None => (self.insert(leaf, message), true, false),
        };
        let template = &mut self.templates[slot as usize];
        template.used = self.used;
        if is_new || self.used - template.promoted > self.cap as u64 / 4 {
            template.promoted = self.used;
            self.recency.put(slot, ());
        }
        Match { id: template.id, is_new, generalised, text: &template.text }
    }

    /// Number of tokens and the first one.
    fn leaf_of_message(&self) -> u64 {
        let first = self.masked.tokens.first().map_or(0, |t| t.hash);
        mix(first.wrapping_add(self.masked.tokens.len() as u64))
    }

    fn most_similar(&self, leaf: u64) -> Option<u32> {
        let tokens = &self.masked.tokens;
        let needed = (tokens.len() as f32 * SIMILARITY).ceil() as usize;
        let mut best: Option<(usize, u32)> = None;
        for slot in self.leaves.get(&leaf)? {
            let template = &self.templates[*slot as usize];
            // A collision of leaves costs a comparison, never a wrong match.
            if template.tokens.len() != tokens.len() {
                continue;
            }
            let equal = template.tokens.iter().zip(tokens).filter(|(a, b)| **a == b.hash).count();
            if equal == tokens.len() {
                return Some(*slot);
            }
            if equal >= needed && best.is_none_or(|(most, _)| equal > most) {
                best = Some((equal, *slot));
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// Makes `<*>` of the tokens of a template that differ from the message; says whether there was one.
    fn generalise(&mut self, slot: u32, message: &str) -> bool {
        let template = &mut self.templates[slot as usize];
        let mut changed = false;
        for (token, of_message) in template.tokens.iter_mut().zip(&self.masked.tokens) {
            if *token != of_message.hash && *token != self.wildcard {
                *token = self.wildcard;
                changed = true;
            }
        }
        if changed {
            // Wherever the template is no wildcard, its tokens are those of the message.
            template.text.clear();
            let tokens = template.tokens.iter().zip(&self.masked.tokens);
            for (at, (token, of_message)) in tokens.enumerate() {
                if at > 0 {
                    template.text.push(' ');
                }
                let is_wildcard = *token == self.wildcard;
                let word = self.masked.word(message, of_message);
                template.text.push_str(if is_wildcard { WILDCARD } else { &word });
            }
        }
        changed
    }

    fn insert(&mut self, leaf: u64, message: &str) -> u32 {
        let crowded = self.leaves.get(&leaf).filter(|slots| slots.len() >= LEAF_TEMPLATES);
        let oldest = crowded.and_then(|slots| {
            slots.iter().min_by_key(|s| self.templates[**s as usize].used).copied()
        });
        let full = self.recency.len() >= self.cap;
        let leaves_now =
            oldest.or_else(|| self.recency.peek_lru().filter(|_| full).map(|(slot, ())| *slot));
        let slot = match leaves_now {
            Some(slot) => self.evict(slot),
            None => {
                self.templates.push(Template::default());
                (self.templates.len() - 1) as u32
            }
        };
        let template = &mut self.templates[slot as usize];
        template.leaf = leaf;
        template.text.clear();
        self.masked.write_text(message, &mut template.text);
        template.tokens.clear();
        template.tokens.extend(self.masked.tokens.iter().map(|t| t.hash));
        template.id = hash(template.text.as_bytes());
        self.leaves.entry(leaf).or_default().push(slot);
        slot
    }

    /// Takes a template out; its slot, and the memory of it, is the caller's.
    fn evict(&mut self, slot: u32) -> u32 {
        self.evicted += 1;
        self.recency.pop(&slot);
        let leaf = self.templates[slot as usize].leaf;
        if let Some(slots) = self.leaves.get_mut(&leaf) {
            slots.retain(|s| *s != slot);
            if slots.is_empty() {
                self.leaves.remove(&leaf);
            }
        }
        slot
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
