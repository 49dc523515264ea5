//! One strand of a lane on its way to Kafka.
//!
//! In: groups read from the spool behind the checkpoint. Out: the checkpoint, moved in order, and
//! beside it what the transport has to know to go on there. A few groups are under way at a time, so
//! that the network is never waited for; after any failure the strand forgets them, waits (growing,
//! with jitter) and begins again at its checkpoint.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::watch;
use weir_models::ident::EventId;
use weir_models::metric;

use super::correct::{self, corrected, is_unsynced};
use super::lane::{Lanes, Turn};
use super::{Begun, Delivered, PublishError, order};
use crate::spool::{GROUPS_IN_FLIGHT_MAX, Group, LaneReader, Strand};

/// Bytes of a backlog after which no further group of it is handed over: what comes now waits behind
/// that much. On a line with 200 ms to and fro it is 1.3 MB a second, some 25,000 events.
const BACKLOG_BYTES_IN_FLIGHT_MAX: usize = 256 << 10;
/// First and longest wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Publishes a strand, and answers it when a later one has taken its place and Kafka has all of it.
pub(super) async fn publish_strand(
    reader: LaneReader,
    lanes: Lanes,
    turn: watch::Receiver<Turn>,
) -> Strand {
    let strand = reader.strand();
    let mut publishing = Publishing { strand, reader, lanes, turn };
    let mut wait = WAIT_MIN;
    loop {
        let published_before = publishing.lanes.published.load(Ordering::Relaxed);
        let ended = publishing.publish_epoch().await;
        publishing.reader.rewind();
        let reason = match ended {
            Ok(()) => return strand,
            Err(PublishError::Failed(reason)) => reason,
            Err(PublishError::BeginAgain(reason)) => {
                tracing::debug!(reason, "the strand begins anew");
                continue;
            }
        };
        if publishing.lanes.published.load(Ordering::Relaxed) > published_before {
            wait = WAIT_MIN;
        }
        metrics::counter!(metric::AGENT_PUBLISH_ERRORS.name).increment(1);
        let wait_ms = wait.as_millis();
        tracing::warn!(%strand, reason, wait_ms, "publishing starts again from the checkpoint");
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

struct Publishing {
    strand: Strand,
    reader: LaneReader,
    lanes: Lanes,
    turn: watch::Receiver<Turn>,
}

impl Publishing {
    /// Sends groups from the checkpoint on, in one epoch, until the strand is finished.
    async fn publish_epoch(&mut self) -> Result<(), PublishError> {
        // An epoch begins when there is something to publish: an idle strand asks nothing of Kafka.
        let mut next = loop {
            if self.may_read(0, 0) {
                match self.reader.next_group().map_err(failed)? {
                    Some(group) => break Some(group),
                    None if self.reader.finish().map_err(failed)? => return Ok(()),
                    None => {}
                }
            }
            self.woken().await;
        };
        let Begun { epoch, state } =
            self.lanes.transport.begin(self.strand, self.reader.state()).await?;
        if let Some(state) = state {
            self.reader.keep(&state).map_err(failed)?;
        }
        let mut under_way = FuturesOrdered::new();
        let mut bytes_under_way = 0;
        // Set when nothing more can be handed over in this epoch; what is under way may still end well.
        let mut over = None;
        loop {
            while over.is_none() && self.may_read(under_way.len(), bytes_under_way) {
                let group =
                    match next.take().map_or_else(|| self.reader.next_group(), |g| Ok(Some(g))) {
                        Ok(Some(group)) if is_unsynced(&group) => {
                            let clock = &self.lanes.clock;
                            if clock.is_awaited() && !under_way.is_empty() {
                                // What is under way ends first, and is not kept waiting.
                                next = Some(group);
                                break;
                            }
                            clock.settled().await;
                            Arc::new(corrected(group, clock).await)
                        }
                        Ok(Some(group)) => Arc::new(group),
                        Ok(None) => break,
                        Err(error) => {
                            over = Some(failed(error));
                            break;
                        }
                    };
                let bytes = bytes_of(&group);
                match self.lanes.transport.publish(self.strand, epoch, group.clone()).await {
                    Ok(delivery) => {
                        bytes_under_way += bytes;
                        under_way.push_back(async move { (group, delivery.await) });
                    }
                    Err(error) => over = Some(error),
                }
            }
            if under_way.is_empty() {
                if let Some(reason) = over {
                    return Err(reason);
                }
                if next.is_none() && self.reader.finish().map_err(failed)? {
                    return Ok(());
                }
            }
            let waits = over.is_none() && under_way.len() < GROUPS_IN_FLIGHT_MAX;
            tokio::select! {
                () = self.woken(), if waits => {}
                Some((group, sent)) = under_way.next() => {
                    bytes_under_way -= bytes_of(&group);
                    self.done(&group, sent?)?;
                }
            }
        }
    }

    /// Whether another group may be handed over.
    fn may_read(&self, groups: usize, bytes: usize) -> bool {
        let turn = *self.turn.borrow();
        let has_room = turn.newest == self.strand || bytes < BACKLOG_BYTES_IN_FLIGHT_MAX;
        turn.is_of(self.strand) && groups < GROUPS_IN_FLIGHT_MAX && (has_room || groups == 0)
    }

    fn done(&mut self, group: &Group, mut delivered: Delivered) -> Result<(), PublishError> {
        for record in &mut delivered.refused {
            let seq = order::seq(&record.value);
            record.id = seq.map(|seq| EventId { stream: group.stream, seq });
            seq.into_iter().for_each(|seq| self.reader.refused(group, seq));
        }
        self.lanes.dead.keep(&delivered.refused);
        self.reader.acknowledge_with(group.end, &delivered.state).map_err(failed)?;
        let events = group.last_seq - group.first_seq + 1;
        self.lanes.published.fetch_add(events, Ordering::Relaxed);
        metrics::counter!(metric::AGENT_PUBLISHED.name).increment(events);
        let corrected = correct::count(group);
        if corrected > 0 {
            metrics::counter!(metric::AGENT_CORRECTED.name).increment(corrected);
        }
        Ok(())
    }

    /// Returns after the next flush, or when the turn changes; never once the pipeline has ended.
    async fn woken(&mut self) {
        tokio::select! {
            () = changed(&mut self.lanes.flushed) => {}
            () = changed(&mut self.turn) => {}
        }
    }
}

async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}

fn bytes_of(group: &Group) -> usize {
    group.frames.iter().map(|frame| frame.batch.len()).sum()
}

fn failed(error: impl Display) -> PublishError {
    PublishError::Failed(error.to_string())
}

/// Between half of the wait and all of it, so that a fleet does not come back in step.
fn jittered(wait: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    wait.mul_f64(0.5 + random / 2.0)
}
