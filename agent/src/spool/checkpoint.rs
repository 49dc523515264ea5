//! How far Kafka has acknowledged a lane.
//!
//! In: the ordinal after the last one acknowledged. Out: the same after a restart. Two slots are
//! written in turn, each sealed, so that a torn write leaves the other one. Between two syncs the
//! file costs one page of cache, not a write of flash per acknowledgement. After a power cut an
//! older one may come back: what is sent twice then is dropped by the sink.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::seal::{Fields, seal, unseal};

const MAGIC: [u8; 4] = *b"WCP1";
/// A page each, so that the device does not write both at once. The room is for the state of the
/// producer.
const SLOT_BYTES: u64 = 4096;
const CONTENT_BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    generation: u64,
    ordinal: u64,
}

impl Checkpoint {
    /// Opens the file at `path`; without a whole slot the ordinal is 0.
    pub(super) fn open(path: &Path) -> io::Result<Checkpoint> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut best = Checkpoint { file, generation: 0, ordinal: 0 };
        for slot in 0..2 {
            let mut bytes = [0; CONTENT_BYTES + super::seal::SEAL_BYTES];
            if best.file.read_exact_at(&mut bytes, slot * SLOT_BYTES).is_err() {
                continue;
            }
            let Some(content) = unseal::<CONTENT_BYTES>(MAGIC, &bytes) else {
                continue;
            };
            let mut fields = Fields(&content);
            if let (Some(generation), Some(ordinal)) = (fields.u64(), fields.u64())
                && generation > best.generation
            {
                (best.generation, best.ordinal) = (generation, ordinal);
            }
        }
        Ok(best)
    }

    /// The ordinal after the last one acknowledged.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Stores `ordinal`; safe from a killed process at once.
    pub(super) fn store(&mut self, ordinal: u64) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut content = [0; CONTENT_BYTES];
        content[..8].copy_from_slice(&generation.to_be_bytes());
        content[8..].copy_from_slice(&ordinal.to_be_bytes());
        self.file.write_all_at(&seal(MAGIC, &content), (generation % 2) * SLOT_BYTES)?;
        (self.generation, self.ordinal) = (generation, ordinal);
        Ok(())
    }

    /// Makes it safe from a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.ordinal(), 0);
        for ordinal in [7, 9, 12] {
            checkpoint.store(ordinal).unwrap();
            assert_eq!(Checkpoint::open(&path).unwrap().ordinal(), ordinal);
        }
        // Generation 3 lies in the second slot.
        checkpoint.file.write_all_at(b"x", SLOT_BYTES + 9).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.ordinal(), 9);
        checkpoint.store(13).unwrap();
        checkpoint.file.write_all_at(b"x", 3).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().ordinal(), 13);
    }
}
