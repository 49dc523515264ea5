//! Datagrams, one message each, packed into inputs.
//!
//! In: datagrams with their senders. Out: one input a sender for what was there at once. Promises: the
//! order within a sender is kept, and no datagram has memory of its own: they share buffers.

use std::net::IpAddr;

use bytes::BytesMut;
use weir_models::limit::LINE_BYTES_MAX;

use super::super::Raw;
use super::super::outlet::{Closed, Outlet, bounded, trimmed};

/// Most datagrams in one go; with the drain at a stop at most [`DRAIN_ROUNDS`] times as many.
pub(super) const BATCH: usize = 256;
/// So many batches are read at a stop at most: a sender that never pauses must not keep us.
pub(super) const DRAIN_ROUNDS: usize = 64;
/// Datagrams are kept in shared buffers of this size, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// What one go brought, by sender.
pub(super) type Senders = Vec<(Option<IpAddr>, Vec<Raw>)>;

/// Packs datagrams.
#[derive(Default)]
pub(super) struct Packer {
    block: BytesMut,
    senders: Senders,
    count: usize,
    bytes: usize,
}

impl Packer {
    /// Adds a datagram; one without content is none.
    pub(super) fn add(&mut self, datagram: &[u8], peer: Option<IpAddr>, received_us: i64) {
        self.count += 1;
        self.bytes += datagram.len();
        let datagram = trimmed(datagram);
        if datagram.is_empty() {
            return;
        }
        if self.block.capacity() < datagram.len() {
            self.block = BytesMut::with_capacity(BLOCK_BYTES.max(datagram.len()));
        }
        self.block.extend_from_slice(datagram);
        let raw = bounded(self.block.split().freeze(), LINE_BYTES_MAX, received_us);
        match self.senders.iter_mut().rev().find(|(known, _)| *known == peer) {
            Some((_, items)) => items.push(raw),
            None => self.senders.push((peer, vec![raw])),
        }
    }

    /// Datagrams since the last [`take`](Self::take), with the empty ones.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives out what was packed.
    pub(super) fn take(&mut self) -> Senders {
        (self.count, self.bytes) = (0, 0);
        std::mem::take(&mut self.senders)
    }
}

/// Sends what one go brought; `lost` goes with the first input.
pub(super) async fn pass_on(
    outlet: &Outlet,
    senders: Senders,
    mut lost: u64,
) -> Result<(), Closed> {
    for (peer, items) in senders {
        let mut input = outlet.input(items);
        input.peer = peer;
        input.lost = std::mem::take(&mut lost);
        outlet.send(input).await?;
    }
    if lost > 0 {
        let mut input = outlet.input(Vec::new());
        input.lost = lost;
        outlet.send(input).await?;
    }
    Ok(())
}
