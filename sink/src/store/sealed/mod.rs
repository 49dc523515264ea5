//! Sealed: the long-term form of readings and log lines. Pure.
//!
//! In: the points of all series of one device in some span of time. Out: a [`Part`], that is one blob of
//! stamps which all its series share, one compressed [`Episode`] per series, and rollups by minute and
//! hour. The lines of a site become a [`LinePart`], that is [`Block`]s and their [`Head`]s. And back: the points and
//! lines, bit for bit. Promises: lossless for every value, score, text and event
//! id; the same points or lines give the same bytes, and the same id, whoever seals them; a blob that was damaged or
//! cut is [`Damaged`], never other points or lines, and never a panic.
//!
//! Numbers are compressed by pcodec (M. Loncaric, "Pcodec: Better Compression for Numerical Sequences",
//! 2025, <https://arxiv.org/abs/2502.06112>), texts by zstd; what is ours is the choice of the numbers it is given, see
//! [`numbers`].

pub mod block;
mod bloom;
pub mod frame;
pub mod lines;
pub mod numbers;
pub mod part;
pub mod roll;
pub mod stamps;

pub use self::block::Block;
pub use self::frame::Damaged;
pub use self::lines::{
    BLOCK_LINES, Head, LinePart, LinePlace, encode_lines, heads_of, place_of, weight_of,
};
pub use self::part::{Episode, Part, decode, encode};
pub use self::roll::{Roll, decode_rolls, rolls_of};
pub use self::stamps::Stamps;

/// Most events in one part: what a reader is ready to hold.
pub const EVENTS_MAX: usize = 4_000_000;

#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod tests;
