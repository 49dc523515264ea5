//! Which stream a lane writes, and whether it may go on with it.
//!
//! A stream's numbers must never name two events: the sink drops what it has seen. After a power
//! cut the end of the lane may be gone although Kafka has it. So a lane goes on with its stream
//! only where its end is known:
//!
//! - on the same boot of the machine (a killed process loses nothing that was written), or
//! - after another boot, if the lane was synced and closed cleanly and ends where it ended then;
//! - and in both cases only if nothing was cut from its tail, its newest segment is the one that it
//!   was (whole files go where headers are damaged), and the checkpoint is not beyond it.
//!
//! In any other case a new stream begins. The segments of the old one keep its number and are
//! published as they are. A new stream costs nothing but an entry in the sink's memory.
//!
//! The state lies in the file `stream` of the lane's folder, sealed, replaced as a whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use weir_models::ident::Stream;

use super::log::{Tag, sync_folder};
use super::seal::{Fields, seal, unseal};

const MAGIC: [u8; 4] = *b"WST2";
const CONTENT_BYTES: usize = 16 + 16 + 8 + 8;
/// Stands for an end that is not known, and for a segment that is not there.
const OPEN: u64 = u64::MAX;

/// A stream and the log ordinal of its first event, whose number (`seq`) is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) stream: Stream,
    pub(super) base: u64,
}

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) identity: Identity,
    /// The boot of the machine on which the lane was opened last; zero if not known.
    pub(super) boot: [u8; 16],
    /// The next ordinal at a clean end; none while the lane is open.
    pub(super) closed_at: Option<u64>,
    /// The base ordinal of the newest segment; none if there was no segment.
    pub(super) newest: Option<u64>,
}

/// What the log looks like when the lane is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) tag: Option<Tag>,
    pub(super) next: u64,
    pub(super) newest: Option<u64>,
    pub(super) torn_bytes: u64,
    pub(super) checkpoint: u64,
    pub(super) boot: [u8; 16],
}

impl Identity {
    /// A new stream that begins at the log ordinal `base`.
    pub(super) fn draw(base: u64) -> Result<Identity, getrandom::Error> {
        loop {
            let bits = getrandom::u64()?;
            if bits != 0 {
                return Ok(Identity { stream: Stream(bits), base });
            }
        }
    }

    /// The number in the stream of the event at `ordinal`.
    pub(super) fn seq(self, ordinal: u64) -> u64 {
        ordinal.saturating_sub(self.base).saturating_add(1)
    }

    pub(super) fn tag(self) -> Tag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&self.stream.0.to_be_bytes());
        tag[8..].copy_from_slice(&self.base.to_be_bytes());
        tag
    }

    pub(super) fn from_tag(tag: Tag) -> Identity {
        let mut fields = Fields(&tag);
        let stream = Stream(fields.u64().unwrap_or_default());
        Identity { stream, base: fields.u64().unwrap_or_default() }
    }
}

impl State {
    /// The stored state; none if there is no whole one.
    pub(super) fn read(path: &Path) -> Option<State> {
        let bytes = std::fs::read(path).ok()?;
        let content: [u8; CONTENT_BYTES] = unseal(MAGIC, &bytes)?;
        let mut fields = Fields(&content);
        let identity = Identity::from_tag(fields.array()?);
        let boot = fields.array()?;
        let closed_at = Some(fields.u64()?).filter(|at| *at != OPEN);
        let newest = Some(fields.u64()?).filter(|at| *at != OPEN);
        Some(State { identity, boot, closed_at, newest })
    }

    /// Stores the state and brings it to the disk.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut content = Vec::with_capacity(CONTENT_BYTES);
        content.extend_from_slice(&self.identity.tag());
        content.extend_from_slice(&self.boot);
        content.extend_from_slice(&self.closed_at.unwrap_or(OPEN).to_be_bytes());
        content.extend_from_slice(&self.newest.unwrap_or(OPEN).to_be_bytes());
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(&seal(MAGIC, &content))?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        match path.parent() {
            Some(folder) => sync_folder(folder),
            None => Ok(()),
        }
    }

    /// Whether the lane may go on with this stream.
    pub(super) fn continues(&self, found: Found) -> bool {
        let same_boot = self.boot != [0; 16] && self.boot == found.boot;
        found.tag == Some(self.identity.tag())
            && self.identity.stream.0 != 0
            && found.torn_bytes == 0
            && found.newest == self.newest
            && found.checkpoint <= found.next
            && self.closed_at.map_or(same_boot, |at| at == found.next)
    }
}

/// The number of this boot of the machine; zero where the system has none.
pub(crate) fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { stream: Stream(5), base: 10 };
    const OPENED: State =
        State { identity: IDENTITY, boot: [1; 16], closed_at: None, newest: Some(15) };

    fn found() -> Found {
        Found {
            tag: Some(IDENTITY.tag()),
            next: 30,
            newest: Some(15),
            torn_bytes: 0,
            checkpoint: 20,
            boot: [1; 16],
        }
    }

    #[track_caller]
    fn check(state: State, found: Found, expected: bool) {
        assert_eq!(state.continues(found), expected, "{state:?} {found:?}");
    }

    #[test]
    fn a_stream_goes_on_only_where_its_end_is_known() {
        let closed = State { closed_at: Some(30), ..OPENED };
        let rebooted = Found { boot: [2; 16], ..found() };
        check(OPENED, found(), true);
        check(OPENED, rebooted, false);
        check(closed, rebooted, true);
        check(closed, Found { next: 29, ..rebooted }, false);
        check(OPENED, Found { torn_bytes: 1, ..found() }, false);
        check(OPENED, Found { newest: Some(12), ..found() }, false);
        check(OPENED, Found { checkpoint: 31, ..found() }, false);
        check(OPENED, Found { tag: None, ..found() }, false);
        check(OPENED, Found { tag: Some([9; 16]), ..found() }, false);
        check(State { boot: [0; 16], ..OPENED }, Found { boot: [0; 16], ..found() }, false);
    }

    #[test]
    fn the_state_comes_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        assert_eq!(State::read(&path), None);
        let state = State { closed_at: Some(3), ..OPENED };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path), Some(state));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(State::read(&path), None);
    }

    #[test]
    fn the_first_event_of_a_stream_is_number_one() {
        assert_eq!(IDENTITY.seq(10), 1);
        assert_eq!(Identity::from_tag(IDENTITY.tag()), IDENTITY);
    }

    #[test]
    fn this_machine_has_a_boot_number() {
        assert_ne!(boot(), [0; 16]);
    }
}
