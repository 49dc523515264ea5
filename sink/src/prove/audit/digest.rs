//! Digest: the readings of a device and a UTC day as a count and a hash. Pure.
//!
//! In: values in any order. Out: the same digest for the same values, whatever their order; values that
//! are there twice count twice. The hash is the sum, modulo 2^128, of the first halves of SHA-256 of each.

use sha2::{Digest as _, Sha256};
use weir_models::ident::EventId;

/// Count and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) values: u64,
    pub(super) hash: u128,
}

impl Digest {
    /// Adds one value of a device's metric.
    pub(super) fn add(&mut self, metric: &str, ts_us: i64, id: EventId, value: f64) {
        let mut sha = Sha256::new();
        sha.update(ts_us.to_le_bytes());
        sha.update(id.stream.0.to_le_bytes());
        sha.update(id.seq.to_le_bytes());
        // SQLite keeps no sign of a zero.
        sha.update((value + 0.0).to_bits().to_le_bytes());
        sha.update(metric.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&sha.finalize()[..16]);
        self.values += 1;
        self.hash = self.hash.wrapping_add(u128::from_le_bytes(half));
    }

    /// Adds what another one holds.
    pub(super) fn merge(&mut self, other: Self) {
        self.values += other.values;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

#[cfg(test)]
mod tests {
    use weir_models::ident::Stream;

    use super::*;

    fn of(values: &[(&str, i64, u64, u64, f64)]) -> Digest {
        let mut digest = Digest::default();
        for &(metric, ts_us, stream, seq, value) in values {
            digest.add(metric, ts_us, EventId { stream: Stream(stream), seq }, value);
        }
        digest
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let (a, b) = (("t", 1, 7, 1, 0.5), ("p", 2, 7, 1, 0.0));
        let both = of(&[a, b]);
        assert_eq!(both, of(&[b, a]));
        let mut merged = of(&[b]);
        merged.merge(of(&[a]));
        assert_eq!(both, merged);
        assert_eq!(both, of(&[a, ("p", 2, 7, 1, -0.0)]));
        let others = [
            vec![a],
            vec![a, b, b],
            // Twice the same is not nothing.
            vec![a, a],
            vec![b, b],
            vec![("u", 1, 7, 1, 0.5), b],
            vec![("t", 2, 7, 1, 0.5), b],
            vec![("t", 1, 8, 1, 0.5), b],
            vec![("t", 1, 7, 2, 0.5), b],
            vec![("t", 1, 7, 1, 0.25), b],
        ];
        for other in others {
            assert_ne!(of(&other), both, "{other:?}");
        }
    }
}
