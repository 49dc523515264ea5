//! Bloom: which words a block of lines may have.
//!
//! In: hashes of words. Out: ten bits a word, and the answer whether a word may be there. Promises: a word that is
//! there is never missed; of those that are not, about one in a hundred is taken for one that is, and more where the
//! words have fewer bits than that.

/// Bits for each word.
const BITS: usize = 10;
/// Fewer would be full of the first words by chance.
const BYTES_MIN: usize = 8;
/// Bits that are set for a word.
const PROBES: u64 = 7;

/// The places of a hash among `bits` bits.
fn places(hash: u64, bits: u64) -> impl Iterator<Item = u64> {
    // Two hashes of one are as good as seven (Kirsch and Mitzenmacher, 2006); the second one is odd.
    let step = hash.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..PROBES).map(move |n| {
        let mixed = hash.wrapping_add(step.wrapping_mul(n));
        // The high part of the product: as even as a remainder, and without a division.
        ((u128::from(mixed) * u128::from(bits)) >> 64) as u64
    })
}

/// Makes the bits of some words, given by their hashes, each once; about `bytes_max` bytes at most.
pub(super) fn bloom(hashes: &[u64], bytes_max: usize) -> Vec<u8> {
    let bytes = (hashes.len() * BITS).div_ceil(8).min(bytes_max).max(BYTES_MIN);
    let mut bloom = vec![0u8; if hashes.is_empty() { 0 } else { bytes }];
    let bits = bloom.len() as u64 * 8;
    for &hash in hashes {
        for place in places(hash, bits) {
            bloom[(place / 8) as usize] |= 1 << (place % 8);
        }
    }
    bloom
}

/// Whether a word may be there.
pub(super) fn may_have(bloom: &[u8], hash: u64) -> bool {
    let bits = bloom.len() as u64 * 8;
    let is_set = |place: u64| bloom[(place / 8) as usize] & (1 << (place % 8)) != 0;
    bits > 0 && places(hash, bits).all(is_set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::words::{Kind, hash};

    fn hashes(what: &str, n: usize) -> Vec<u64> {
        (0..n).map(|n| hash(Kind::Word, &format!("{what}{n}"))).collect()
    }

    #[test]
    fn what_is_there_is_found_and_little_else() {
        for n in [0, 1, 3, 1_000, 20_000] {
            let own = hashes("word", n);
            let bloom = bloom(&own, usize::MAX);
            assert!(own.iter().all(|&hash| may_have(&bloom, hash)), "{n} words");
            let others = hashes("other", 10_000);
            let wrong = others.iter().filter(|&&hash| may_have(&bloom, hash)).count();
            assert!(wrong < 150, "{wrong} of 10,000 for {n} words");
        }
    }

    #[test]
    fn a_bloom_that_is_too_small_is_slow_and_not_wrong() {
        let own = hashes("word", 10_000);
        let small = bloom(&own, 1_000);
        assert_eq!(small.len(), 1_000);
        assert!(own.iter().all(|&hash| may_have(&small, hash)));
    }
}
