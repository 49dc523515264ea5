//! A terminal that shows a text in place of the one before.
//!
//! In: the text. Out: what fits of it. Promises: however it ends (but by a kill), the terminal is as it was found. Signals are
//! for the caller to see to.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Another screen without a cursor, and the one from before.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";
/// Interrupt, as a key.
const CTRL_C: u8 = 3;

/// The terminal, until it is dropped.
pub(super) struct Screen {
    /// How standard input was set, if that is a terminal.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        // Who panics is gone before anything is dropped.
        let (found, told) = (before.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            give_back(found.as_ref());
            told(panic);
        }));
        // From here on what has changed is set right again.
        let screen = Self { before };
        if let Some(before) = &screen.before {
            let mut keys = before.clone();
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            // A look at the keys answers at once.
            keys.special_codes[SpecialCodeIndex::VMIN] = 0;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
        }
        write(BEGIN)?;
        Ok(screen)
    }

    /// Shows `text`.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        // A serial line may not know its size.
        let size =
            tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        let mut out = String::from("\x1b[H");
        for (n, line) in text.lines().take(usize::from(rows)).enumerate() {
            let line: String =
                line.chars().filter(|c| !c.is_control()).take(usize::from(columns)).collect();
            let feed = if n == 0 { "" } else { "\r\n" };
            // Writing to a string cannot fail.
            let _ = write!(out, "{feed}{line}\x1b[K");
        }
        out.push_str("\x1b[J");
        write(&out)
    }

    /// Whether a key was pressed that ends it.
    pub(super) fn is_to_end(&mut self) -> bool {
        let mut keys = [0; 16];
        let read = match &self.before {
            Some(_) => io::stdin().read(&mut keys).unwrap_or_default(),
            None => 0,
        };
        keys[..read].iter().any(|key| [b'q', b'Q', CTRL_C].contains(key))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(self.before.as_ref());
    }
}

/// Makes the terminal what it was.
fn give_back(before: Option<&Termios>) {
    // There is nobody left to be told of an error.
    let _ = write(END);
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
