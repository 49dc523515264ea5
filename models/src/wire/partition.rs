//! Which partition a key belongs to, exactly as the Java client and `murmur2_random` of
//! librdkafka choose it, so that every producer agrees.

/// Murmur2, 32 bits, with the seed of Kafka's `org.apache.kafka.common.utils.Utils.murmur2`.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // The Java client mixes in the length as an i32; keys are far below that.
    let mut hash = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of `key` in a topic of `partitions` partitions (0 counts as 1).
#[must_use]
pub fn partition_for(key: &[u8], partitions: u32) -> u32 {
    // `Utils.toPositive` clears the sign, it does not take the absolute value.
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}
