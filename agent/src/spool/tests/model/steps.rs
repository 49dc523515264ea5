//! What may happen to a spool.

use proptest::prelude::*;
use proptest::sample::Index;

use super::LANES;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Append {
        lane: usize,
        key: u8,
        bytes: usize,
    },
    Flush,
    Sync,
    /// The next write ends half-way: the disk is full, or failing.
    FailWrite {
        bytes: usize,
        full: bool,
    },
    /// Time passes, so that what waits is late.
    Later,
    /// Reads some groups of a strand and acknowledges them.
    Acknowledge {
        lane: usize,
        strand: Index,
        groups: usize,
    },
    Rewind {
        lane: usize,
        strand: Index,
    },
    /// The process is killed and started again.
    Kill,
    /// A clean end, then a reboot.
    Close,
    /// A power cut takes the end of the newest segment of a strand.
    Cut {
        lane: usize,
        strand: Index,
        at: Index,
    },
    /// A power cut takes everything that was not synced, or a part of it.
    PowerCut {
        kept: Index,
        zeros: bool,
    },
    /// The flash changes a byte of any segment.
    Flip {
        lane: usize,
        segment: Index,
        at: Index,
        bit: u8,
        /// In the first bytes, where the heads are.
        near: bool,
    },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let lane = || 0..LANES.len();
    prop_oneof![
        20 => (lane(), any::<u8>(), 0usize..12_000)
            .prop_map(|(lane, key, bytes)| Step::Append { lane, key, bytes }),
        10 => Just(Step::Flush),
        1 => Just(Step::Sync),
        4 => Just(Step::Later),
        6 => (lane(), any::<Index>(), 1usize..4)
            .prop_map(|(lane, strand, groups)| Step::Acknowledge { lane, strand, groups }),
        1 => (lane(), any::<Index>()).prop_map(|(lane, strand)| Step::Rewind { lane, strand }),
        2 => (0usize..20_000, any::<bool>())
            .prop_map(|(bytes, full)| Step::FailWrite { bytes, full }),
        2 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => (lane(), any::<Index>(), any::<Index>())
            .prop_map(|(lane, strand, at)| Step::Cut { lane, strand, at }),
        1 => (any::<Index>(), any::<bool>())
            .prop_map(|(kept, zeros)| Step::PowerCut { kept, zeros }),
        3 => (lane(), any::<Index>(), any::<Index>(), 0u8..8, any::<bool>()).prop_map(
            |(lane, segment, at, bit, near)| Step::Flip { lane, segment, at, bit, near }
        ),
    ]
}
