//! Strings that are used again.
//!
//! In: texts, and strings of events that have been written. Out: strings. An event has eight or
//! more of them and lives for a microsecond: to allocate them anew each time costs more than to fill them.

/// So many are kept.
const KEPT_MAX: usize = 16;
/// Larger ones are not kept, in bytes: they are rare, and would be held for ever.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Strings without text, and with room.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<String>);

impl Texts {
    /// The text as a string of its own.
    pub(super) fn own(&mut self, text: &str) -> String {
        let mut string = self.0.pop().unwrap_or_default();
        string.push_str(text);
        string
    }

    /// Takes a string that nobody needs any more.
    pub(super) fn give_back(&mut self, mut string: String) {
        if (1..=KEPT_BYTES_MAX).contains(&string.capacity()) && self.0.len() < KEPT_MAX {
            string.clear();
            self.0.push(string);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_and_little_is_kept() {
        let mut texts = Texts::default();
        let first = texts.own("first");
        let room = first.as_ptr();
        texts.give_back(first);
        let again = texts.own("2nd");
        assert_eq!((again.as_str(), again.as_ptr()), ("2nd", room));
        texts.give_back("x".repeat(KEPT_BYTES_MAX + 1));
        texts.give_back(String::new());
        assert!(texts.0.is_empty());
        for _ in 0..2 * KEPT_MAX {
            texts.give_back("x".into());
        }
        assert_eq!(texts.0.len(), KEPT_MAX);
    }
}
