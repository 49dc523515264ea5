//! The identities of templates, which gateways share and archives keep: never change what a text is hashed to.

use super::mask::{Mask, WILDCARD};

/// FNV-1a, 64 bits (RFC 9923), with the finaliser of splitmix64 so that all bits depend on all bytes. Part of
/// the identity of templates: never change it.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(FNV_BASIS, fnv))
}

/// The hash of a text with every mask in it taken for `<*>`: equal for two texts that differ in what their masks
/// stand for only. Part of the identity of templates: never change it.
pub(super) fn identity(text: &str) -> u64 {
    let mut h = FNV_BASIS;
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        h = rest[..open].bytes().fold(h, |h, b| fnv(h, &b));
        rest = &rest[open..];
        let mask = Mask::ALL.iter().map(|mask| mask.text()).find(|mask| rest.starts_with(mask));
        h = mask.map_or("<", |_| WILDCARD).bytes().fold(h, |h, b| fnv(h, &b));
        rest = &rest[mask.map_or(1, str::len)..];
    }
    mix(rest.bytes().fold(h, |h, b| fnv(h, &b)))
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(h: u64, byte: &u8) -> u64 {
    (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The finaliser of splitmix64.
pub(super) const fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Identities of templates are stored for years: these two values are a contract.
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash(b"New session <num> of user <*>."), 0xf32f_3815_7974_4176);
    }
}
