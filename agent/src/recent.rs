//! What is remembered of the names used most recently, at most so many.
//!
//! In: a name, and how to make what is remembered of it. Out: it. When there is no room the name that
//! was not used for longest leaves. A gateway has thousands of names, of which each comes again only when
//! the caches of the processor have forgotten it: so a use touches as few lines of memory as can be. A
//! name of up to 46 bytes lies in one line with what is remembered of it, and no list is kept of the order
//! of use: who leaves is found by a pass over all, for the next 64 names or more.

use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;

use hashbrown::{DefaultHashBuilder, HashTable};

/// How many names one pass finds that are to leave, at least; of many names one in 32.
const LEAVING: usize = 64;
/// Longest name that needs no memory of its own, in bytes.
const SHORT_BYTES: usize = 46;

/// A value for each of the most recently used names. A large one is best boxed.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    slots: HashTable<Slot<V>>,
    hashes: DefaultHashBuilder,
    room: NonZeroUsize,
    uses: u64,
    /// The names that were not used for longest when they were looked for, that one last, and their
    /// last use then.
    leaving: Vec<(u64, Name)>,
}

/// One line of memory, where the value is a pointer.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<V> {
    name: Name,
    /// The number of its last use.
    used: u64,
    value: V,
}

#[derive(Clone, Debug)]
enum Name {
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    Long(Box<str>),
}

impl Name {
    fn new(name: &str) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(own), Ok(length)) => {
                own.copy_from_slice(name.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(name.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(name) => name.as_bytes(),
        }
    }
}

impl<V> Recent<V> {
    /// Remembers at most `room` names.
    pub(crate) fn new(room: NonZeroUsize) -> Self {
        let hashes = DefaultHashBuilder::default();
        Self { slots: HashTable::new(), hashes, room, uses: 0, leaving: Vec::new() }
    }

    /// Uses what is remembered of `name`; `make` makes it the first time.
    pub(crate) fn with<R>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> V,
        use_it: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.uses += 1;
        let hash = self.hashes.hash_one(name.as_bytes());
        if let Some(slot) =
            self.slots.find_mut(hash, |slot| slot.name.as_bytes() == name.as_bytes())
        {
            slot.used = self.uses;
            return use_it(&mut slot.value);
        }
        let mut value = make();
        let result = use_it(&mut value);
        self.make_room(self.room.get() - 1);
        let slot = Slot { name: Name::new(name), used: self.uses, value };
        let hashes = &self.hashes;
        self.slots.insert_unique(hash, slot, |slot| hashes.hash_one(slot.name.as_bytes()));
        result
    }

    /// Lets names leave until there are at most `most`.
    fn make_room(&mut self, most: usize) {
        while self.slots.len() > most {
            let Some((used, name)) = self.leaving.pop() else {
                self.look_for_leaving();
                continue;
            };
            let hash = self.hashes.hash_one(name.as_bytes());
            // One that was used since stays: others are older now.
            let is_it = |slot: &Slot<V>| slot.used == used;
            if let Ok(slot) = self.slots.find_entry(hash, is_it) {
                slot.remove();
            }
        }
    }

    fn look_for_leaving(&mut self) {
        let mut uses: Vec<u64> = self.slots.iter().map(|slot| slot.used).collect();
        if uses.is_empty() {
            return;
        }
        let last = LEAVING.max(uses.len() / 32).min(uses.len()) - 1;
        let (_, bound, _) = uses.select_nth_unstable(last);
        let oldest = self.slots.iter().filter(|slot| slot.used <= *bound);
        self.leaving.extend(oldest.map(|slot| (slot.used, slot.name.clone())));
        self.leaving.sort_unstable_by_key(|(used, _)| std::cmp::Reverse(*used));
    }

    /// Everything, in no order that matters.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut V)> {
        self.slots.iter_mut().map(|slot| {
            // A name was a text when it came.
            (std::str::from_utf8(slot.name.as_bytes()).unwrap_or_default(), &mut slot.value)
        })
    }

    /// Other room; what has none leaves.
    pub(crate) fn resize(&mut self, room: NonZeroUsize) {
        self.room = room;
        self.make_room(room.get());
        let hashes = &self.hashes;
        self.slots.shrink_to_fit(|slot| hashes.hash_one(slot.name.as_bytes()));
    }

    /// How many names are remembered.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.leaving.clear();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Uses the names in turn; tells which had to be made.
    fn made(recent: &mut Recent<u32>, names: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut made = Vec::new();
        for name in names {
            let make = || {
                made.push(name);
                name
            };
            assert_eq!(recent.with(&name.to_string(), make, |value| *value), name);
        }
        made
    }

    #[test]
    fn what_was_not_used_for_longest_leaves() {
        let mut recent = Recent::new(NonZeroUsize::new(8).unwrap());
        assert_eq!(made(&mut recent, 0..8), (0..8).collect::<Vec<_>>());
        assert_eq!(made(&mut recent, 0..8), [0; 0]);
        // 0 is used again and again while others come for more than all the room.
        let mixed = (8..40).flat_map(|name| [0, name]);
        assert_eq!(made(&mut recent, mixed), (8..40).collect::<Vec<_>>());
        assert_eq!(recent.len(), 8);
        assert_eq!(made(&mut recent, (33..40).chain([0])), [0; 0]);
        assert_eq!(made(&mut recent, [1, 33]), [1, 33]);
    }

    #[test]
    fn it_is_always_the_oldest_that_leaves() {
        let (room, names) = (200, 300);
        let mut recent = Recent::new(NonZeroUsize::new(room).unwrap());
        // As it would be written without haste: the last is the one used last.
        let mut plain: Vec<u32> = Vec::new();
        let mut state = 1_u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Some names come often.
            let name = if state >> 31 == 0 { state >> 8 } else { (state >> 8) % 20 } % names;
            let is_new = !plain.contains(&name);
            plain.retain(|other| *other != name);
            plain.push(name);
            if plain.len() > room {
                plain.remove(0);
            }
            assert_eq!(made(&mut recent, [name]).len(), usize::from(is_new));
            assert_eq!(recent.len(), plain.len());
        }
    }

    #[test]
    fn names_of_any_length_are_told_apart() {
        let mut recent = Recent::new(NonZeroUsize::new(1_000).unwrap());
        let names: Vec<String> = (0..200).map(|length| "x".repeat(length)).collect();
        for pass in [0, 1] {
            for name in &names {
                let found = recent.with(
                    name,
                    || 0,
                    |value| {
                        *value += 1;
                        *value
                    },
                );
                assert_eq!(found, pass + 1, "{name}");
            }
        }
        let mut found: Vec<&str> = recent.iter_mut().map(|(name, _)| name).collect();
        found.sort_unstable();
        assert_eq!(found, names);
    }

    #[test]
    fn with_less_room_the_oldest_leave() {
        let mut recent = Recent::new(NonZeroUsize::new(8).unwrap());
        made(&mut recent, 0..8);
        recent.resize(NonZeroUsize::new(2).unwrap());
        assert_eq!(made(&mut recent, 6..8), [0; 0]);
        recent.clear();
        assert_eq!((recent.len(), made(&mut recent, [7])), (0, vec![7]));
    }
}
