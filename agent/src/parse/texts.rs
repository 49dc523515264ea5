//! Strings that are used again.
//!
//! In: texts, and the strings of the event before. Out: the same strings with these texts. An event has eight or
//! more of them and lives for a microsecond: to allocate them anew each time costs more than to fill them. What one
//! event has and the next one has not is kept for those that have it again.

/// So many are kept.
const KEPT_MAX: usize = 16;
/// Larger ones are not kept, in bytes: they are rare, and would be held for ever.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Strings without text, and with room.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<String>);

impl Texts {
    /// The text as a string of its own, in place of what is there; none where there is no text.
    #[inline]
    pub(super) fn fill(&mut self, string: &mut Option<String>, text: Option<&str>) {
        match (string.as_mut(), text) {
            (None, None) => {}
            (Some(string), Some(text)) => {
                string.clear();
                string.push_str(text);
            }
            (None, Some(text)) => {
                let mut own = self.0.pop().unwrap_or_default();
                own.push_str(text);
                *string = Some(own);
            }
            (Some(_), None) => string.take().into_iter().for_each(|string| self.give_back(string)),
        }
    }

    /// Takes a string that nobody needs any more.
    fn give_back(&mut self, mut string: String) {
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
        let mut string = None;
        texts.fill(&mut string, Some("first"));
        let room = string.as_ref().map(|text| text.as_ptr());
        texts.fill(&mut string, None);
        assert_eq!(string, None);
        let mut other = None;
        texts.fill(&mut other, Some("2nd"));
        assert_eq!(
            (other.as_deref(), other.as_ref().map(|text| text.as_ptr())),
            (Some("2nd"), room)
        );
        texts.fill(&mut other, Some("3"));
        assert_eq!((other.as_deref(), other.as_ref().map(|text| text.as_ptr())), (Some("3"), room));
        texts.give_back("x".repeat(KEPT_BYTES_MAX + 1));
        texts.give_back(String::new());
        assert!(texts.0.is_empty());
        for _ in 0..2 * KEPT_MAX {
            texts.give_back("x".into());
        }
        assert_eq!(texts.0.len(), KEPT_MAX);
    }
}
