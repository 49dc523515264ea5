//! Templates of log lines, and how unusual a line is.
//!
//! A message goes in, the identity of its template comes out of the [`Miner`]; what is known of the template and of
//! the host gives a score in [`LogScorer`]. Pure and bounded: no IO, no clock, no regular expressions; the least
//! recently used template leaves when there are too many.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `eights` | the next token of a message, eight bytes at a time |
//! | `identity` | what names a template, the same everywhere and for ever |
//! | `mask` | one pass over a message: tokens, with numbers, addresses and the like masked |
//! | `miner` | groups masked messages into templates |
//! | `score` | novelty, rate, severity and order of a line, and lines that are missing |

mod eights;
mod identity;
mod mask;
mod miner;
mod score;

pub use miner::{DEFAULT_TEMPLATES, Match, Miner};
pub use score::{
    LogLine, LogScorer, LogScorerConfig, LogVerdict, Missing, Orders, SEVERITY, process,
};
