//! The first token of some bytes, eight at a time.
//!
//! In: bytes. Out: how long their first token is, whether it may be more than a word, and its hash. A message is
//! looked at byte by byte only where this says so: most of it are words.

use super::identity::mix;

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
// In place, because it is called for each word of a message.
#[inline(always)]
pub(super) fn token(bytes: &[u8]) -> Found {
    let (length, marks, hash) = scan(bytes);
    let is_marked = marks && bytes[..length].iter().any(|b| MARKS[usize::from(*b)]);
    Found { length, is_marked, hash }
}

/// The hash of the token at the beginning.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    scan(bytes).2
}

/// Equal for tokens of which a scan makes the same: those that differ in their digits only. Where it matters which
/// digits they are, it is equal for equal tokens: three points may be those of an IPv4 address, whose numbers have
/// a limit, and `0x` stands before hexadecimal digits.
pub(super) fn outline(token: &[u8]) -> u64 {
    let (mut all, mut outline, mut points, mut exes) = (0, 1, 0, 0);
    let mut rest = token;
    while !rest.is_empty() {
        let word = eight(rest);
        rest = rest.get(8..).unwrap_or_default();
        points += (equal_to(word, b'.') >> 7).wrapping_mul(ONES) >> 56;
        exes |= equal_to(word, b'x');
        all = hashed(all, word);
        outline = hashed(outline, word & !((digits_in(word) >> 7) * 0xf));
    }
    // The length ends a word of zeros, of which a token has none.
    mix(if points >= 3 || exes != 0 { all } else { outline })
}

/// The hash of a token of one byte, which is no blank.
pub(super) const fn hash_of_byte(byte: u8) -> u64 {
    mix(hashed(0, byte as u64))
}

/// The hash so far with eight bytes more.
const fn hashed(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25_u64).rotate_left(29)
}

/// The length of the token at the beginning, whether there may be a mark in it, and its hash.
#[inline(always)]
fn scan(bytes: &[u8]) -> (usize, bool, u64) {
    let (mut length, mut marks, mut hash) = (0, 0, 0);
    loop {
        let word = eight(&bytes[length..]);
        let blank = up_to(word, 0x21);
        let found = if blank == 0 { 8 } else { blank.trailing_zeros() as usize / 8 };
        let own = if found == 8 { u64::MAX } else { (1 << (8 * found)) - 1 };
        let word = word & own;
        // All marks lie below the letters, but for the backslash; so does other punctuation.
        marks |= up_to(word | !own, 0x41) | up_to(word ^ (ONES * 0x5c), 1);
        hash = hashed(hash, word);
        length += found;
        if found < 8 {
            return (length, marks != 0, mix(hash));
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
#[inline(always)]
fn eight(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => fewer(bytes),
    }
}

/// Fewer than eight bytes, and zeros. Some of them are put twice to the same place.
#[inline]
fn fewer(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let [first, last] = [first, last].map(|four| u64::from(u32::from_le_bytes(*four)));
        return first | last << (8 * (n - 4));
    }
    let Some(last) = bytes.last() else { return 0 };
    let put = |byte: u8, at: usize| u64::from(byte) << (8 * at);
    put(bytes[0], 0) | put(bytes[n / 2], n / 2) | put(*last, n - 1)
}

/// Sets the high bit of the first byte that is less than `bound`, and none below it; some above it may be set
/// wrongly. `bound` is at most 128.
#[inline]
fn up_to(word: u64, bound: u64) -> u64 {
    word.wrapping_sub(ONES * bound) & !word & HIGHS
}

/// Sets the high bit of each byte that is `byte`, and no other one.
#[inline]
fn equal_to(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * byte as u64);
    !(((other & !HIGHS) + !HIGHS) | other) & HIGHS
}

/// Sets the high bit of each byte that is a digit, and no other one.
#[inline]
fn digits_in(word: u64) -> u64 {
    let value = word ^ (ONES * b'0' as u64);
    !(((value & !HIGHS) + ONES * (0x80 - 10)) | value) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fewer_than_eight_bytes_are_a_word_with_zeros_behind() {
        let bytes = [0x81, 0x02, 0xf3, 0x04, 0x95, 0x06, 0xe7];
        for n in 0..=7 {
            let mut word = [0; 8];
            word[..n].copy_from_slice(&bytes[..n]);
            assert_eq!(fewer(&bytes[..n]), u64::from_le_bytes(word), "{n} bytes");
        }
    }

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

    #[test]
    fn bytes_of_a_kind_are_found_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                for around in [b'/', b'0', b'9', b':', b'.', 0xff] {
                    let mut bytes = [around; 8];
                    bytes[at] = byte;
                    let word = u64::from_le_bytes(bytes);
                    let marked = |is: fn(&u8) -> bool| {
                        u64::from_le_bytes(bytes.map(|b| if is(&b) { 0x80 } else { 0 }))
                    };
                    assert_eq!(digits_in(word), marked(u8::is_ascii_digit), "{byte} at {at}");
                    assert_eq!(equal_to(word, b'.'), marked(|b| *b == b'.'), "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn tokens_of_one_outline_differ_in_digits_that_do_not_matter() {
        let same = |one: &str, other: &str| outline(one.as_bytes()) == outline(other.as_bytes());
        assert!(same("sshd[1291]:", "sshd[4040]:"));
        assert!(same("blk_38865049064139660", "blk_10000000000000009"));
        assert!(!same("sshd[129]:", "sshd[1291]:"), "another length");
        assert!(!same("10.0.0.1", "10.0.0.2"), "an address has numbers up to 255");
        assert!(!same("0x12", "1x12"), "hexadecimal digits begin so");
        assert!(!same("eth1", "etx1"));
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
        fn a_hash_is_the_same_however_it_is_asked_for(bytes: Vec<u8>, byte in 0x21..=0xff_u8) {
            prop_assert_eq!(hash(&bytes), token(&bytes).hash);
            prop_assert_eq!(hash(&[byte]), hash_of_byte(byte));
        }

        #[test]
        fn other_tokens_have_other_hashes(one in "[a-z<>]{1,20}", other in "[a-z<>]{1,20}") {
            prop_assert_eq!(one == other, token(one.as_bytes()).hash == token(other.as_bytes()).hash);
        }
    }
}
