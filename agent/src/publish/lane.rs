//! One lane on its way to Kafka: its strands beside each other.
//!
//! In: the readers of the lane's strands. Out: each strand published. The newest one, which holds what
//! comes now, and the oldest one, which holds the longest backlog, go at the same time; any between them
//! wait until they are the oldest. Live data takes what it needs, which is the intake, and the backlog
//! the rest of the line: at its turn it has only so many bytes under way that live data is never far
//! behind it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};

use super::strand::publish_strand;
use super::{DeadLetters, Transport};
use crate::clock::GatewayClock;
use crate::source::{received, stopping};
use crate::spool::{LaneReader, Strand};

/// What all lanes share.
pub struct Lanes {
    /// Where to.
    pub transport: Arc<dyn Transport>,
    /// Where refused records go.
    pub dead: Arc<DeadLetters>,
    /// Rises with each flush of the spool.
    pub flushed: watch::Receiver<u64>,
    /// Events that Kafka acknowledged since the start.
    pub published: Arc<AtomicU64>,
    /// By which stamps are corrected.
    pub clock: Arc<GatewayClock>,
}

impl Clone for Lanes {
    fn clone(&self) -> Self {
        Self {
            transport: self.transport.clone(),
            dead: self.dead.clone(),
            flushed: self.flushed.clone(),
            published: self.published.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// Which strands of a lane may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) oldest: Strand,
    pub(super) newest: Strand,
}

impl Turn {
    /// Those of strands in their order; none if there is none.
    fn of(strands: &[Strand]) -> Option<Self> {
        Some(Self { oldest: *strands.first()?, newest: *strands.last()? })
    }

    pub(super) fn is_of(self, strand: Strand) -> bool {
        strand == self.oldest || strand == self.newest
    }
}

/// Publishes a lane until `stop`. What is under way then is sent again after the next start.
pub async fn publish_lane(mut reader: LaneReader, lanes: Lanes, mut stop: watch::Receiver<bool>) {
    let mut later = reader.later();
    let mut readers = vec![reader];
    while let Some(reader) = later.as_mut().and_then(|later| later.try_recv().ok()) {
        readers.push(reader);
    }
    let mut strands: Vec<Strand> = readers.iter().map(LaneReader::strand).collect();
    let Some(turn) = Turn::of(&strands) else { return };
    let (turns, turn) = watch::channel(turn);
    let publish = |reader| publish_strand(reader, lanes.clone(), turn.clone());
    let mut under_way: FuturesUnordered<_> = readers.into_iter().map(publish).collect();
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            Some(reader) = next_reader(&mut later) => {
                strands.push(reader.strand());
                under_way.push(publish(reader));
            }
            Some(strand) = under_way.next() => {
                strands.retain(|other| *other != strand);
                lanes.transport.forget(strand);
            }
        }
        if let Some(turn) = Turn::of(&strands) {
            turns.send_replace(turn);
        }
    }
}

/// The next reader that comes; never where none can.
async fn next_reader(later: &mut Option<mpsc::Receiver<LaneReader>>) -> Option<LaneReader> {
    let reader = received(later).await;
    if reader.is_none() {
        *later = None;
    }
    reader
}

#[cfg(test)]
mod tests;
