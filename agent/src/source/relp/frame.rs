//! RELP frames: a stream of bytes into commands.
//!
//! In: bytes, read straight into [`Framer::buffer`]. Out: commands, in order. Promises: they do not
//! depend on where the stream was cut into reads; no more than one payload of [`LINE_BYTES_MAX`] waits
//! inside, because a longer message comes out in several pieces, each marked; what a command that
//! nobody knows carries is skipped and never kept. What can go wrong: bytes that are no frame. After
//! those nobody can tell where the next frame begins, so the [`BadFrame`] ends the connection.
//!
//! `TXNR SP COMMAND SP DATALEN [SP DATA] LF`: a number of up to 9 digits that the answer repeats, a
//! command of up to 32 letters, the length of the data in up to 9 digits (the RELP specification, and
//! librelp, which leaves out the space where there is no data).

use bytes::{Bytes, BytesMut};
use weir_models::limit::LINE_BYTES_MAX;

use super::super::framing::READ_BYTES;
use super::super::outlet::{cut_at, trimmed};

/// With less room than this, in bytes, a new buffer is made.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// Most digits of a number.
const DIGITS_MAX: usize = 9;
/// Longest name of a command, in bytes.
const COMMAND_BYTES_MAX: usize = 32;
/// Largest data of `open`, in bytes; librelp sends about 100.
pub(super) const OPEN_BYTES_MAX: usize = 4 * 1024;

/// Something that the peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `open`.
    Open {
        /// The number that the answer repeats.
        txnr: u32,
        /// What the peer offers.
        offers: Bytes,
    },
    /// `syslog`, or a piece of it.
    Syslog {
        /// The number that the answer repeats.
        txnr: u32,
        /// The message.
        bytes: Bytes,
        /// Whether it is only a piece.
        cut: bool,
        /// Whether nothing follows of it: it is to be answered.
        is_last: bool,
    },
    /// `close`.
    Close {
        /// The number that the answer repeats.
        txnr: u32,
    },
    /// Anything else.
    Unknown {
        /// The number that the answer repeats.
        txnr: u32,
        /// What the peer calls it.
        name: String,
    },
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It does not begin with a number.
    #[error("a frame has to begin with its number, 1 to 9 digits, and a space")]
    Number,
    /// No command follows.
    #[error("the number of a frame has to be followed by a command of 1 to 32 letters and a space")]
    Name,
    /// No length follows.
    #[error("a command has to be followed by the length of its data, 1 to 9 digits, and a space")]
    Length,
    /// The data do not end where they should.
    #[error("the data of a frame have to be followed by a line feed")]
    End,
    /// The offers are too large.
    #[error("`open` has more than {OPEN_BYTES_MAX} bytes")]
    Open,
}

#[derive(Clone, Debug)]
enum Kind {
    Open,
    Syslog { cut: bool },
    Close,
    Unknown(String),
}

/// Where in the stream the first byte of the buffer is.
#[derive(Debug)]
enum State {
    /// Between frames.
    Header,
    /// Inside the data, of which so many bytes are still to come.
    Data { txnr: u32, kind: Kind, left: usize },
}

/// A frame's beginning.
struct Header {
    txnr: u32,
    kind: Kind,
    data_bytes: usize,
    /// So long it is itself.
    bytes: usize,
}

/// One step through the buffer.
struct Step {
    /// What was found, with the place of its data.
    found: Option<(u32, Found)>,
    /// Where the next step begins.
    next: usize,
}

enum Found {
    Open(std::ops::Range<usize>),
    Syslog { at: std::ops::Range<usize>, cut: bool, is_last: bool },
    Close,
    Unknown(String),
}

/// Makes commands of a stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    state: State,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: BytesMut::new(), state: State::Header }
    }

    /// Where to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// Takes all complete commands out of the buffer, up to a bad frame, if there is one: nothing
    /// can be read after it.
    pub fn take(&mut self) -> (Vec<Command>, Result<(), BadFrame>) {
        let mut found = Vec::new();
        let mut at = 0;
        let end = loop {
            match self.step(at) {
                Ok(Some(step)) => {
                    at = step.next;
                    found.extend(step.found);
                }
                Ok(None) => break Ok(()),
                Err(bad) => break Err(bad),
            }
        };
        let taken = self.buffer.split_to(at).freeze();
        let command = |(txnr, found): (u32, Found)| match found {
            Found::Open(at) => Command::Open { txnr, offers: taken.slice(at) },
            Found::Syslog { at, cut, is_last } => {
                Command::Syslog { txnr, bytes: taken.slice(at), cut, is_last }
            }
            Found::Close => Command::Close { txnr },
            Found::Unknown(name) => Command::Unknown { txnr, name },
        };
        (found.into_iter().map(command).collect(), end)
    }

    /// The next step from `at` on; `None` when more bytes are needed.
    fn step(&mut self, at: usize) -> Result<Option<Step>, BadFrame> {
        let rest = &self.buffer[at..];
        match &mut self.state {
            State::Header => {
                let Some(header) = header(rest)? else { return Ok(None) };
                let Header { txnr, kind, data_bytes, bytes } = header;
                self.state = State::Data { txnr, kind, left: data_bytes };
                Ok(Some(Step { found: None, next: at + bytes }))
            }
            State::Data { kind: Kind::Syslog { cut }, left, txnr } if *left > LINE_BYTES_MAX => {
                if rest.len() <= LINE_BYTES_MAX {
                    return Ok(None);
                }
                let end = at + cut_at(rest, LINE_BYTES_MAX);
                *left -= end - at;
                *cut = true;
                let found = Found::Syslog { at: at..end, cut: true, is_last: false };
                Ok(Some(Step { found: Some((*txnr, found)), next: end }))
            }
            State::Data { kind: Kind::Close | Kind::Unknown(_), left, .. } if *left > 0 => {
                let skipped = rest.len().min(*left);
                *left -= skipped;
                Ok((skipped > 0).then_some(Step { found: None, next: at + skipped }))
            }
            State::Data { txnr, kind, left } => {
                let end = at + *left;
                match self.buffer.get(end) {
                    None => return Ok(None),
                    Some(b'\n') => {}
                    Some(_) => return Err(BadFrame::End),
                }
                let found = match kind {
                    Kind::Open => Found::Open(at..end),
                    Kind::Syslog { cut } => {
                        let bytes = trimmed(&self.buffer[at..end]).len();
                        Found::Syslog { at: at..at + bytes, cut: *cut, is_last: true }
                    }
                    Kind::Close => Found::Close,
                    Kind::Unknown(name) => Found::Unknown(std::mem::take(name)),
                };
                let found = Some((*txnr, found));
                self.state = State::Header;
                Ok(Some(Step { found, next: end + 1 }))
            }
        }
    }
}

/// The header at the beginning of `rest`; `None` when more bytes are needed.
fn header(rest: &[u8]) -> Result<Option<Header>, BadFrame> {
    let Some((txnr, digits)) = number(rest, BadFrame::Number)? else { return Ok(None) };
    if rest[digits] != b' ' {
        return Err(BadFrame::Number);
    }
    let name = &rest[digits + 1..];
    let letters = name.iter().take(COMMAND_BYTES_MAX + 1).take_while(|b| b.is_ascii_alphabetic());
    let letters = letters.count();
    match name.get(letters) {
        None if letters <= COMMAND_BYTES_MAX => return Ok(None),
        Some(b' ') if (1..=COMMAND_BYTES_MAX).contains(&letters) => {}
        _ => return Err(BadFrame::Name),
    }
    let (name, length) = (&name[..letters], &name[letters + 1..]);
    let Some((data_bytes, length_digits)) = number(length, BadFrame::Length)? else {
        return Ok(None);
    };
    // The line feed belongs to the end of the frame: it is looked for there.
    let space = match (data_bytes, length[length_digits]) {
        (1.., b' ') => 1,
        (0, b'\n') => 0,
        _ => return Err(BadFrame::Length),
    };
    let data_bytes = data_bytes as usize;
    let kind = match name {
        b"open" if data_bytes > OPEN_BYTES_MAX => return Err(BadFrame::Open),
        b"open" => Kind::Open,
        b"syslog" => Kind::Syslog { cut: false },
        b"close" => Kind::Close,
        other => Kind::Unknown(String::from_utf8_lossy(other).into_owned()),
    };
    let bytes = digits + 1 + letters + 1 + length_digits + space;
    Ok(Some(Header { txnr, kind, data_bytes, bytes }))
}

/// A number at the beginning of `rest` and how many digits it has, when the byte behind it is there.
fn number(rest: &[u8], bad: BadFrame) -> Result<Option<(u32, usize)>, BadFrame> {
    let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit()).count();
    if digits > DIGITS_MAX || (digits == 0 && !rest.is_empty()) {
        return Err(bad);
    }
    let value = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok((digits < rest.len()).then_some((value, digits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> (Vec<Command>, Result<(), BadFrame>) {
        let mut framer = Framer::new();
        framer.buffer().extend_from_slice(bytes);
        framer.take()
    }

    fn syslog(txnr: u32, text: &'static [u8]) -> Command {
        Command::Syslog { txnr, bytes: Bytes::from_static(text), cut: false, is_last: true }
    }

    #[test]
    fn commands_are_read() {
        let (found, end) = all(b"1 open 14 relp_version=0\n2 syslog 5 <13>a\n999999999 syslog 6 a\nb c\n\n1 syslog 0\n0 starttls 2 \n\n\n3 close 0\n4 sys");
        assert_eq!(end, Ok(()));
        let offers = Bytes::from_static(b"relp_version=0");
        assert_eq!(
            found,
            [
                Command::Open { txnr: 1, offers },
                syslog(2, b"<13>a"),
                syslog(999_999_999, b"a\nb c"),
                syslog(1, b""),
                Command::Unknown { txnr: 0, name: "starttls".into() },
                Command::Close { txnr: 3 },
            ]
        );
    }

    #[track_caller]
    fn check_bad(bytes: &str, expected: BadFrame) {
        let whole = format!("7 syslog 1 x\n{bytes}");
        let (found, end) = all(whole.as_bytes());
        assert_eq!((found.len(), end), (1, Err(expected)), "{bytes:?}");
        // It is noticed at the first byte that is wrong: nobody waits for more.
        for cut in 0..whole.len() {
            let (_, early) = all(&whole.as_bytes()[..cut]);
            assert!(early.is_ok(), "{bytes:?} at {cut}");
        }
    }

    #[test]
    fn bad_frames_are_noticed_at_the_first_wrong_byte() {
        check_bad("<", BadFrame::Number);
        check_bad(" ", BadFrame::Number);
        check_bad("\n", BadFrame::Number);
        check_bad("\u{16}", BadFrame::Number);
        check_bad("-", BadFrame::Number);
        check_bad("1x", BadFrame::Number);
        check_bad("1\n", BadFrame::Number);
        check_bad("1000000000", BadFrame::Number);
        check_bad("1  ", BadFrame::Name);
        check_bad("1 1", BadFrame::Name);
        check_bad("1 sys-", BadFrame::Name);
        check_bad("1 syslog\n", BadFrame::Name);
        check_bad(&format!("1 {}", "a".repeat(33)), BadFrame::Name);
        check_bad("1 syslog -", BadFrame::Length);
        check_bad("1 syslog  ", BadFrame::Length);
        check_bad("1 syslog 5x", BadFrame::Length);
        check_bad("1 syslog 5\n", BadFrame::Length);
        check_bad("1 syslog 0 ", BadFrame::Length);
        check_bad("1 syslog 1000000000", BadFrame::Length);
        check_bad("1 syslog 2 abc", BadFrame::End);
        check_bad("1 close 1 xx", BadFrame::End);
        check_bad("1 open 4097 ", BadFrame::Open);
    }

    #[test]
    fn a_long_message_comes_in_pieces_and_only_the_last_says_so() {
        let text = "ä".repeat(LINE_BYTES_MAX);
        let (found, end) = all(format!("5 syslog {} {text}\n", text.len()).as_bytes());
        assert_eq!(end, Ok(()));
        let mut whole = Vec::new();
        for (n, command) in found.iter().enumerate() {
            let Command::Syslog { txnr: 5, bytes, cut: true, is_last } = command else {
                unreachable!("{command:?}");
            };
            assert!(bytes.len() <= LINE_BYTES_MAX && std::str::from_utf8(bytes).is_ok());
            assert_eq!(*is_last, n + 1 == found.len());
            whole.extend_from_slice(bytes);
        }
        assert_eq!(whole, text.as_bytes());
    }

    /// A frame and the command it has to give.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let txnr = 0..=999_999_999u32;
        let name = prop_oneof![Just("syslog".to_owned()), Just("close".to_owned()), "[a-z]{1,32}"];
        let data = proptest::collection::vec(any::<u8>(), 0..300);
        (txnr, name, data).prop_map(|(txnr, name, data)| {
            let mut frame = format!("{txnr} {name} {}", data.len()).into_bytes();
            if !data.is_empty() {
                frame.push(b' ');
            }
            [frame, data, b"\n".to_vec()].concat()
        })
    }

    proptest! {
        #[test]
        fn reads_may_cut_anywhere(
            frames in proptest::collection::vec(frames(), 1..8),
            cuts in proptest::collection::vec(1..40usize, 1..40),
        ) {
            let stream = frames.concat();
            let (expected, end) = all(&stream);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(expected.len(), frames.len());
            let mut framer = Framer::new();
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (read, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                framer.buffer().extend_from_slice(read);
                let (some, end) = framer.take();
                prop_assert_eq!(end, Ok(()));
                found.extend(some);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert!(framer.buffer.is_empty());
        }

        #[test]
        fn noise_never_breaks_it(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = all(&noise);
        }
    }

    #[test]
    fn a_command_nobody_knows_is_not_kept_in_memory() {
        let mut framer = Framer::new();
        framer.buffer().extend_from_slice(b"1 noise 999999999 ");
        for _ in 0..1_000 {
            framer.buffer().extend_from_slice(&[b'x'; 64 * 1024]);
            let (found, end) = framer.take();
            assert!(found.is_empty() && end.is_ok());
            assert!(framer.buffer.is_empty());
        }
        assert!(framer.buffer().capacity() <= 4 * READ_BYTES);
    }
}
