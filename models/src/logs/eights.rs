//! The first token of some bytes, eight at a time.
//!
//! In: bytes. Out: how long their first token is, whether it may be more than a word, and its hash. A message is
//! looked at byte by byte only where this says so: most of it are words.

use super::mask::mix;

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// In bytes: up to white space, a control character or the end.
    pub(super) length: usize,
    /// It has a digit or one of `.` `/` `:` `=` `@` `\` and quotes in it.
    pub(super) is_marked: bool,
    /// Equal tokens have equal hashes. For comparisons in memory: nothing stored may depend on it.
    pub(super) hash: u64,
}

/// The token at the beginning.
#[inline]
pub(super) fn token(bytes: &[u8]) -> Found {
    let (mut length, mut marks, mut hash) = (0, 0, 0);
    loop {
        let word = eight(&bytes[length..]);
        let blank = up_to(word, 0x21);
        let found = if blank == 0 { 8 } else { blank.trailing_zeros() as usize / 8 };
        let own = if found == 8 { u64::MAX } else { (1 << (8 * found)) - 1 };
        let word = word & own;
        // All marks lie below the letters, but for the backslash; so does other punctuation.
        marks |= up_to(word | !own, 0x41) | up_to(word ^ (ONES * 0x5c), 1);
        hash = (hash ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25_u64).rotate_left(29);
        length += found;
        if found < 8 {
            let is_marked = marks != 0 && bytes[..length].iter().any(|b| MARKS[usize::from(*b)]);
            return Found { length, is_marked, hash: mix(hash) };
        }
    }
}

const MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        marks[byte] = matches!(
            byte as u8,
            b'0'..=b'9' | b'.' | b'/' | b':' | b'=' | b'@' | b'\\' | b'"' | b'\''
        );
        byte += 1;
    }
    marks
};

/// The first eight bytes, or fewer and zeros.
#[inline]
fn eight(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*eight);
    }
    let mut eight = [0; 8];
    for (padded, byte) in eight.iter_mut().zip(bytes) {
        *padded = *byte;
    }
    u64::from_le_bytes(eight)
}

/// Sets the high bit of the first byte that is less than `bound`, and none below it; some above it may be set
/// wrongly. `bound` is at most 128.
#[inline]
fn up_to(word: u64, bound: u64) -> u64 {
    word.wrapping_sub(ONES * bound) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As it would be written without haste.
    fn plainly(bytes: &[u8]) -> (usize, bool) {
        let length = bytes.iter().position(|b| *b <= b' ').unwrap_or(bytes.len());
        let marked = |b: &u8| b.is_ascii_digit() || b"./:=@\\\"'".contains(b);
        (length, bytes[..length].iter().any(marked))
    }

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'x'; 20];
                bytes[at] = byte;
                let found = token(&bytes);
                assert_eq!((found.length, found.is_marked), plainly(&bytes), "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn tokens_are_found_and_hashed_whatever_follows(bytes: Vec<u8>, after in "[ \n][a-z ]{0,9}") {
            let found = token(&bytes);
            prop_assert_eq!((found.length, found.is_marked), plainly(&bytes));
            let alone = token(&bytes[..found.length]);
            prop_assert_eq!(alone, found);
            let followed = [&bytes[..found.length], after.as_bytes()].concat();
            prop_assert_eq!(token(&followed), found);
        }

        #[test]
        fn other_tokens_have_other_hashes(one in "[a-z<>]{1,20}", other in "[a-z<>]{1,20}") {
            prop_assert_eq!(one == other, token(one.as_bytes()).hash == token(other.as_bytes()).hash);
        }
    }
}
