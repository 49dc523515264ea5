//! The sequences of a group that is searched for its bad record.
//!
//! In: batches, one at a time. Out: their sequences. They depend on what is refused, so they are never
//! given again: while the search lasts the stored state is marked (`State::unfit`), and when it
//! fails the next epoch takes new ones.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Entry, Producer, Renewal, failed};
use crate::publish::PublishError;
use crate::publish::direct::batch::Batch;
use crate::publish::direct::problems::Failure;
use crate::publish::direct::state::{Here, ProducerId};
use crate::spool::Position;

impl Producer {
    /// A sequence for one batch of the group that is searched for its bad record. Such sequences
    /// depend on what is refused, so they are never given again: see `State::unfit`.
    ///
    /// # Errors
    /// When the epoch is over.
    pub(in crate::publish::direct) fn number_slowly(
        &mut self,
        epoch: u64,
        batch: &Batch,
    ) -> Result<(ProducerId, Entry), PublishError> {
        self.check(epoch)?;
        let serial = self.next_serial;
        let entry = self.number(serial, batch);
        match (entry, &self.state) {
            (Some(entry), Some(state)) => Ok((state.producer, entry)),
            _ => Err(failed("a batch is for a partition that does not exist")),
        }
    }

    /// Kafka took it, or never will.
    pub(in crate::publish::direct) fn settled(&mut self, entry: &Entry, is_taken: bool) {
        self.progress = Instant::now();
        if is_taken {
            if let Some(partition) = self.partition_mut(&entry.topic, entry.partition) {
                partition.taken = entry.end;
                partition.taken_ts_ms = entry.max_ts_ms;
            }
            return;
        }
        let topic = self.state.as_mut().and_then(|state| state.topics.get_mut(&entry.topic));
        if let Some(sent) = topic.and_then(|t| t.sent.get_mut(entry.partition as usize)) {
            *sent = entry.start;
        }
    }

    /// The search failed; its sequences must not be given again.
    pub(in crate::publish::direct) fn fail_slowly(&mut self, failure: &Failure) {
        self.renewal = self.renewal.max(Some(Renewal::Epoch));
        self.fail(self.next_serial, failure);
    }

    /// The group that was searched is done; answers the state after it.
    pub(in crate::publish::direct) fn done_slowly(&mut self, end: Position, here: Here) -> Bytes {
        self.refused_in = None;
        self.next_serial += 1;
        self.handed_to = self.handed_to.max(Some(end));
        self.done();
        let Some(state) = &mut self.state else { return Bytes::new() };
        state.unfit = false;
        state.encode(here).into()
    }
}
