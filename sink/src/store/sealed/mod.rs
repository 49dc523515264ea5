//! Sealed: the long-term form of readings. Pure.
//!
//! In: the points of all series of one device in some span of time. Out: a [`Part`], that is one blob of
//! stamps which all its series share, one compressed [`Episode`] per series, and rollups by minute and
//! hour. And back: the points, bit for bit. Promises: lossless for every value, score and event id; the
//! same points give the same bytes, and so the same id, whoever seals them; a blob that was damaged or
//! cut is [`Damaged`], never other points, and never a panic.
//!
//! Numbers are compressed by pcodec (M. Loncaric, "Pcodec: Better Compression for Numerical Sequences",
//! 2025, <https://arxiv.org/abs/2502.06112>); what is ours is the choice of the numbers it is given, see
//! [`numbers`].

pub mod frame;
pub mod numbers;
pub mod part;
pub mod roll;
pub mod stamps;

pub use self::frame::Damaged;
pub use self::part::{Episode, Part, decode, encode};
pub use self::roll::{Roll, decode_rolls, rolls_of};
pub use self::stamps::Stamps;

/// Most events in one part: what a reader is ready to hold.
pub const EVENTS_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests;
