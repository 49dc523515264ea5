//! What tokens became when they were scanned before: most marked tokens of a log look like one that came lately.
//!
//! In: the key of a token (`eights::outline`), which tokens share that differ in their digits only. Out: what such a
//! token was written as, its masks and its shape. Bounded: a place for each of [`PLACES`] remainders of the key, and the
//! latest one stays. What is found here is what a scan would give: the tests hold it to that.

use super::{Mask, Shape};

/// Tokens remembered, a power of two: 20 KiB, and more kinds than a log has in use at the same time.
const PLACES: usize = 256;
/// What is written longer than this is not remembered, in bytes.
const WRITTEN_BYTES: usize = 32;
/// What has more masks than this is not remembered.
const MASKS: usize = 4;

/// What a scan gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    key: u64,
    /// None where the token is a word.
    shape: Option<Shape>,
    written_bytes: u8,
    mask_count: u8,
    masks: [Mask; MASKS],
    written: [u8; WRITTEN_BYTES],
}

impl Known {
    const NONE: Self = Self {
        key: 0,
        shape: None,
        written_bytes: 0,
        mask_count: 0,
        masks: [Mask::Any; MASKS],
        written: [0; WRITTEN_BYTES],
    };

    /// Nothing where the token is a word.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.written[..usize::from(self.written_bytes)]
    }

    pub(super) fn masks(&self) -> &[Mask] {
        &self.masks[..usize::from(self.mask_count)]
    }
}

/// Keeps what the latest tokens became.
#[derive(Debug, Default)]
pub(super) struct Memo {
    places: Vec<Known>,
}

impl Memo {
    pub(super) fn find(&self, key: u64) -> Option<&Known> {
        self.places.get(key as usize % PLACES).filter(|known| known.key == key)
    }

    /// Remembers a word.
    pub(super) fn put_word(&mut self, key: u64) {
        *self.place(key) = Known { key, ..Known::NONE };
    }

    /// Remembers what is not a word, if it is short enough.
    pub(super) fn put(&mut self, key: u64, shape: Shape, written: &[u8], masks: &[Mask]) {
        if written.len() > WRITTEN_BYTES || masks.len() > MASKS {
            return;
        }
        let known = self.place(key);
        (known.key, known.shape) = (key, Some(shape));
        (known.written_bytes, known.mask_count) = (written.len() as u8, masks.len() as u8);
        known.written[..written.len()].copy_from_slice(written);
        known.masks[..masks.len()].copy_from_slice(masks);
    }

    fn place(&mut self, key: u64) -> &mut Known {
        if self.places.is_empty() {
            self.places.resize(PLACES, Known::NONE);
        }
        &mut self.places[key as usize % PLACES]
    }
}
