//! How far Kafka has acknowledged a lane, and what the publisher has to know to go on from there.
//!
//! In: the ordinal after the last one acknowledged, with the publisher's state. Out: the same after
//! a restart. Two slots are written in turn, each sealed, so that a torn write leaves the other one.
//! Between two syncs the file costs one page of cache, not a write of flash per acknowledgement.
//! After a power cut an older one may come back: what is sent twice then is dropped by the sink.
//!
//! A slot: the sealed record `WCP1` of generation u64 and ordinal u64; after it the sealed record
//! `WPS1` of the same generation u64, the length u16 and the bytes of the state. A state of another
//! generation than the ordinal's is none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::seal::{Fields, SEAL_BYTES, seal, unseal};

const MAGIC: [u8; 4] = *b"WCP1";
const STATE_MAGIC: [u8; 4] = *b"WPS1";
/// A page each, so that the device does not write both at once.
const SLOT_BYTES: u64 = 4096;
const CONTENT_BYTES: usize = 16;
/// Generation and length before the bytes of a state.
const STATE_HEAD_BYTES: usize = 10;
/// What is left of a slot for the state.
const STATE_BYTES_MAX: usize =
    SLOT_BYTES as usize - 2 * SEAL_BYTES - CONTENT_BYTES - STATE_HEAD_BYTES;

#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    generation: u64,
    ordinal: u64,
    state: Vec<u8>,
}

impl Checkpoint {
    /// Opens the file at `path`; without a whole slot the ordinal is 0.
    pub(super) fn open(path: &Path) -> io::Result<Checkpoint> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut best = Checkpoint { file, generation: 0, ordinal: 0, state: Vec::new() };
        for slot in 0..2 {
            // What lies beyond the end of the file stays zero, and is no sealed record.
            let mut bytes = [0; SLOT_BYTES as usize];
            if read_up_to(&best.file, &mut bytes, slot * SLOT_BYTES).is_err() {
                continue;
            }
            let (head, rest) = bytes.split_at(SEAL_BYTES + CONTENT_BYTES);
            let Some(content) = unseal::<CONTENT_BYTES>(MAGIC, head) else {
                continue;
            };
            let mut fields = Fields(&content);
            if let (Some(generation), Some(ordinal)) = (fields.u64(), fields.u64())
                && generation > best.generation
            {
                (best.generation, best.ordinal) = (generation, ordinal);
                best.state = state_of(rest, generation).unwrap_or_default();
            }
        }
        Ok(best)
    }

    /// The ordinal after the last one acknowledged.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The publisher's state there; empty without one.
    pub(super) fn state(&self) -> &[u8] {
        &self.state
    }

    /// Stores `ordinal` and `state`; safe from a killed process at once. A state that is too large
    /// for the slot is known to this process only.
    pub(super) fn store(&mut self, ordinal: u64, state: &[u8]) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut content = [0; CONTENT_BYTES];
        content[..8].copy_from_slice(&generation.to_be_bytes());
        content[8..].copy_from_slice(&ordinal.to_be_bytes());
        let mut slot = seal(MAGIC, &content);
        if !state.is_empty() && state.len() <= STATE_BYTES_MAX {
            slot.extend_from_slice(&seal_state(generation, state));
        }
        self.file.write_all_at(&slot, (generation % 2) * SLOT_BYTES)?;
        (self.generation, self.ordinal) = (generation, ordinal);
        self.state.clear();
        self.state.extend_from_slice(state);
        Ok(())
    }

    /// Makes it safe from a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn seal_state(generation: u64, state: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(STATE_HEAD_BYTES + state.len());
    content.extend_from_slice(&generation.to_be_bytes());
    // Callers keep to `STATE_BYTES_MAX`.
    content.extend_from_slice(&(state.len() as u16).to_be_bytes());
    content.extend_from_slice(state);
    seal(STATE_MAGIC, &content)
}

/// The state at the start of `bytes`, if it is whole and belongs to `generation`.
fn state_of(bytes: &[u8], generation: u64) -> Option<Vec<u8>> {
    let mut fields = Fields(bytes.get(SEAL_BYTES..)?);
    let _generation = fields.u64()?;
    let length = usize::from(fields.u16()?);
    let state = fields.bytes(length)?;
    let sealed = seal_state(generation, state);
    bytes.starts_with(&sealed).then(|| state.to_vec())
}

fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
        assert_eq!((checkpoint.ordinal(), checkpoint.state()), (0, &b""[..]));
        for (ordinal, state) in [(7, b"seven"), (9, b"nine."), (12, b"dozen")] {
            checkpoint.store(ordinal, state).unwrap();
            let again = Checkpoint::open(&path).unwrap();
            assert_eq!((again.ordinal(), again.state()), (ordinal, &state[..]));
        }
        // Generation 3 lies in the second slot.
        checkpoint.file.write_all_at(b"x", SLOT_BYTES + 9).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!((checkpoint.ordinal(), checkpoint.state()), (9, &b"nine."[..]));
        checkpoint.store(13, b"").unwrap();
        checkpoint.file.write_all_at(b"x", 3).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().ordinal(), 13);
    }

    #[test]
    fn a_state_counts_only_with_the_ordinal_it_was_stored_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        checkpoint.store(7, b"seven").unwrap();
        checkpoint.store(8, b"eight").unwrap();
        // As an older agent writes, or a torn write leaves it: another ordinal, the old state.
        checkpoint.store(9, b"").unwrap();
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!((again.ordinal(), again.state()), (9, &b""[..]));
        // The state of generation 4 is damaged, its ordinal is not.
        checkpoint.store(10, b"ten").unwrap();
        checkpoint.file.write_all_at(b"x", 43).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!((again.ordinal(), again.state()), (10, &b""[..]));
    }

    #[test]
    fn a_state_too_large_for_the_slot_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        for (bytes, stored) in [(STATE_BYTES_MAX, true), (STATE_BYTES_MAX + 1, false)] {
            let mut checkpoint = Checkpoint::open(&path).unwrap();
            let state = vec![1; bytes];
            checkpoint.store(7, &state).unwrap();
            assert_eq!(checkpoint.state(), state);
            assert_eq!(Checkpoint::open(&path).unwrap().state() == state, stored, "{bytes}");
        }
        assert!(std::fs::metadata(&path).unwrap().len() <= 2 * SLOT_BYTES);
    }

    #[test]
    fn a_file_without_states_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let content = [1u64.to_be_bytes(), 42u64.to_be_bytes()].concat();
        std::fs::write(&path, seal(MAGIC, &content)).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!((checkpoint.ordinal(), checkpoint.state()), (42, &b""[..]));
    }
}
