//! The mark of a wrong clock in a batch.
//!
//! In: a batch of events that were stamped by a clock nobody trusts. Out: the same with a [`Mark`],
//! by which the stamps can be corrected later, also by the next process of the same boot. It lies in
//! the two fields of a record batch that no checksum of Kafka covers and whoever sends it fills: base
//! offset (what the wall clock showed at the boot) and leader epoch (the boot). Batches without a mark
//! have 0 and -1 there, as those of earlier versions.

use crate::clock::Mark;

const OFFSET: std::ops::Range<usize> = 0..8;
const BOOT: std::ops::Range<usize> = 12..16;

/// Marks a finished batch.
pub(super) fn put(batch: &mut [u8], mark: Mark) {
    if batch.len() >= BOOT.end {
        batch[OFFSET].copy_from_slice(&mark.offset_us.to_be_bytes());
        batch[BOOT].copy_from_slice(&mark.boot.to_be_bytes());
    }
}

/// The mark of a batch; none if it has none.
pub(super) fn of(batch: &[u8]) -> Option<Mark> {
    let offset_us = i64::from_be_bytes(*batch.get(OFFSET)?.first_chunk()?);
    let boot = u32::from_be_bytes(*batch.get(BOOT)?.first_chunk()?);
    (boot != 0 && boot != u32::MAX).then_some(Mark { boot, offset_us })
}
