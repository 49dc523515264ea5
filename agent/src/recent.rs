//! What is remembered of the names used most recently, at most so many.
//!
//! In: a name, and how to make what is remembered of it. Out: it. When there is no room the name that
//! was not used for longest leaves. Unlike a plain `LruCache` a use does not move the name to the front
//! each time, because that touches its neighbours' memory, too, which is seldom in a cache of the
//! processor: it moves when a quarter of the room may have passed it. So what leaves was not used while
//! names for three quarters of the room were.

use std::num::NonZeroUsize;

use lru::LruCache;

/// A value for each of the most recently used names.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    entries: LruCache<String, Entry<V>>,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    /// The use that last moved it to the front.
    moved: u64,
    value: V,
}

impl<V> Recent<V> {
    /// Remembers at most `room` names.
    pub(crate) fn new(room: NonZeroUsize) -> Self {
        Self { entries: LruCache::new(room), uses: 0 }
    }

    /// Uses what is remembered of `name`; `make` makes it the first time.
    pub(crate) fn with<R>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> V,
        use_it: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.uses += 1;
        let patience = self.entries.cap().get() as u64 / 4;
        if let Some(entry) = self.entries.peek_mut(name) {
            let result = use_it(&mut entry.value);
            if self.uses - entry.moved > patience {
                entry.moved = self.uses;
                self.entries.promote(name);
            }
            return result;
        }
        let mut value = make();
        let result = use_it(&mut value);
        self.entries.put(name.to_owned(), Entry { moved: self.uses, value });
        result
    }

    /// Everything, in no order that matters.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut V)> {
        self.entries.iter_mut().map(|(name, entry)| (name, &mut entry.value))
    }

    /// Other room; what has none leaves.
    pub(crate) fn resize(&mut self, room: NonZeroUsize) {
        self.entries.resize(room);
    }

    /// How many names are remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
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
        // Three quarters of the room are remembered whatever else happened.
        assert_eq!(made(&mut recent, 34..40), [0; 0]);
        assert_eq!(made(&mut recent, [1]), [1]);
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
