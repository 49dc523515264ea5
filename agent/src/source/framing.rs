//! Framing: a stream of bytes into frames.
//!
//! In: bytes as a stream gives them, read straight into [`Framer::buffer`]. Out: all complete
//! frames, as slices of one buffer. Promises: the frames do not depend on where the stream was cut
//! into reads, every byte but terminators and byte counts comes out exactly once, and no more than
//! one frame of [`LINE_BYTES_MAX`] waits inside. Nothing fails: a frame that is longer is cut and
//! the rest follows as further frames, each marked.
//!
//! Syslog over TCP knows two framings (RFC 6587, section 3.4), told apart for each frame: `123 <13>…`
//! counts its bytes, everything else ends with LF, or with NUL, which some senders use.

use bytes::{Bytes, BytesMut};
use weir_models::limit::LINE_BYTES_MAX;

use super::outlet::{cut_at, trimmed};

/// How much is read at once at most, in bytes.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// With less room than this, in bytes, a new buffer is made. Small reads share one buffer, so that
/// a slow sender does not hold a whole one for each line.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// Longest byte count taken for one; no message is longer than 9,999,999 bytes.
const COUNT_DIGITS_MAX: usize = 7;

/// How frames end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Octet counting or LF or NUL, told apart for each frame.
    Syslog,
    /// LF only: files and standard input.
    Lines,
}

/// One frame, without its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether it is only a part of what was sent.
    pub cut: bool,
}

/// Where in the stream the first byte of the buffer is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Between frames.
    Start,
    /// Inside a line that was cut.
    CutLine,
    /// Inside a counted frame of which so many bytes are still to come.
    Counted { left: usize, cut: bool },
}

/// What one step through the buffer found.
struct Piece {
    /// The frame's bytes; empty for mere framing.
    start: usize,
    end: usize,
    cut: bool,
    /// Where the next step begins.
    next: usize,
}

/// What the beginning of a frame says.
enum Count {
    /// More bytes are needed to tell.
    Unknown,
    /// It has no byte count.
    None,
    /// So many bytes follow after a header of so many.
    Bytes { count: usize, header: usize },
}

/// Makes frames of a stream.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    buffer: BytesMut,
    state: State,
    /// So many bytes of the buffer are known to hold no terminator.
    scanned: usize,
}

impl Framer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new(), state: State::Start, scanned: 0 }
    }

    /// Where to read into: has room for some bytes, at most 64 KiB mostly.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// Bytes that wait for the end of their frame.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes all complete frames out of the buffer. What is no longer waiting afterwards has been
    /// given out.
    pub fn take(&mut self) -> Vec<Frame> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(piece) = self.step(at) {
            at = piece.next;
            self.scanned = 0;
            if piece.start < piece.end {
                pieces.push(piece);
            }
        }
        let taken = self.buffer.split_to(at).freeze();
        let frame =
            |piece: Piece| Frame { bytes: taken.slice(piece.start..piece.end), cut: piece.cut };
        pieces.into_iter().map(frame).collect()
    }

    /// The stream has ended: what waits is the last frame.
    pub fn finish(&mut self) -> Vec<Frame> {
        let mut frames = self.take();
        let cut = !matches!(self.state, State::Start);
        let rest = self.buffer.split().freeze();
        let bytes = rest.slice(..trimmed(&rest).len());
        if !bytes.is_empty() {
            frames.push(Frame { bytes, cut });
        }
        self.state = State::Start;
        self.scanned = 0;
        frames
    }

    /// The next piece from `at` on; `None` when more bytes are needed.
    fn step(&mut self, at: usize) -> Option<Piece> {
        let rest = &self.buffer[at..];
        match self.state {
            State::Start => {
                let empty =
                    rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
                if empty > 0 {
                    return Some(Piece::framing(at + empty));
                }
                match self.count(rest) {
                    Count::Unknown => None,
                    Count::None => self.line(at, false),
                    Count::Bytes { count, header } => {
                        self.state = State::Counted { left: count, cut: false };
                        Some(Piece::framing(at + header))
                    }
                }
            }
            State::CutLine => self.line(at, true),
            State::Counted { left, cut } => self.counted(at, left, cut),
        }
    }

    fn count(&self, rest: &[u8]) -> Count {
        if rest.is_empty() {
            return Count::Unknown;
        }
        if self.framing == Framing::Lines || rest[0] == b'0' {
            return Count::None;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.take(COUNT_DIGITS_MAX + 1).count();
        if digits == 0 || digits > COUNT_DIGITS_MAX {
            return Count::None;
        }
        match (rest.get(digits), rest.get(digits + 1)) {
            (None, _) | (Some(b' '), None) => Count::Unknown,
            (Some(b' '), Some(b'<')) => Count::Bytes {
                count: rest[..digits]
                    .iter()
                    .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')),
                header: digits + 1,
            },
            _ => Count::None,
        }
    }

    fn line(&mut self, at: usize, cut: bool) -> Option<Piece> {
        let rest = &self.buffer[at..];
        // One byte more than a frame may have, because its terminator may be there.
        let window = &rest[..rest.len().min(LINE_BYTES_MAX + 1)];
        let found = match self.framing {
            Framing::Syslog => memchr::memchr2(b'\n', 0, &window[self.scanned..]),
            Framing::Lines => memchr::memchr(b'\n', &window[self.scanned..]),
        };
        if let Some(end) = found.map(|found| found + self.scanned) {
            self.state = State::Start;
            return Some(Piece {
                start: at,
                end: at + trimmed(&rest[..end]).len(),
                cut,
                next: at + end + 1,
            });
        }
        if rest.len() > LINE_BYTES_MAX {
            let end = at + cut_at(rest, LINE_BYTES_MAX);
            self.state = State::CutLine;
            return Some(Piece::cut(at, end));
        }
        self.scanned = rest.len();
        None
    }

    fn counted(&mut self, at: usize, left: usize, cut: bool) -> Option<Piece> {
        let rest = &self.buffer[at..];
        if left > LINE_BYTES_MAX {
            if rest.len() <= LINE_BYTES_MAX {
                return None;
            }
            let taken = cut_at(rest, LINE_BYTES_MAX);
            self.state = State::Counted { left: left - taken, cut: true };
            return Some(Piece::cut(at, at + taken));
        }
        let frame = rest.get(..left)?;
        let end = at + trimmed(frame).len();
        self.state = State::Start;
        Some(Piece { start: at, end, cut, next: at + left })
    }
}

impl Piece {
    fn framing(next: usize) -> Self {
        Self { start: next, end: next, cut: false, next }
    }

    fn cut(start: usize, end: usize) -> Self {
        Self { start, end, cut: true, next: end }
    }
}

#[cfg(test)]
mod tests;
