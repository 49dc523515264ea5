//! One lane on its way to Kafka.
//!
//! In: groups read from the spool behind the checkpoint. Out: the checkpoint, moved in order, and
//! beside it what the transport has to know to go on there. A few groups are under way at a time, so
//! that the network is never waited for; after any failure the lane forgets them, waits (growing,
//! with jitter) and begins again at its checkpoint.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::watch;
use weir_models::ident::EventId;
use weir_models::metric;

use super::{Begun, DeadLetters, Delivered, PublishError, Transport, order};
use crate::source::stopping;
use crate::spool::{Group, LaneReader};

/// Groups of one lane under way at a time.
pub(super) const GROUPS_IN_FLIGHT_MAX: usize = 4;
/// First and longest wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(10);

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
}

impl Clone for Lanes {
    fn clone(&self) -> Self {
        Self {
            transport: self.transport.clone(),
            dead: self.dead.clone(),
            flushed: self.flushed.clone(),
            published: self.published.clone(),
        }
    }
}

/// Publishes a lane until `stop`. What is under way then is sent again after the next start.
pub async fn publish_lane(
    mut reader: LaneReader,
    mut lanes: Lanes,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = WAIT_MIN;
    loop {
        let published_before = lanes.published.load(Ordering::Relaxed);
        let ended = tokio::select! {
            () = stopping(&mut stop) => return,
            ended = lanes.publish_until_end(&mut reader) => ended,
        };
        reader.rewind();
        let reason = match ended {
            PublishError::Failed(reason) => reason,
            PublishError::BeginAgain(reason) => {
                tracing::debug!(reason, "the lane begins anew");
                continue;
            }
        };
        if lanes.published.load(Ordering::Relaxed) > published_before {
            wait = WAIT_MIN;
        }
        metrics::counter!(metric::AGENT_PUBLISH_ERRORS.name).increment(1);
        let (lane, wait_ms) = (reader.lane().name(), wait.as_millis());
        tracing::warn!(lane, reason, wait_ms, "publishing starts again from the checkpoint");
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

impl Lanes {
    /// Sends groups from the checkpoint on, in one epoch, and answers why that ended.
    async fn publish_until_end(&mut self, reader: &mut LaneReader) -> PublishError {
        match self.publish_epoch(reader).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn publish_epoch(&mut self, reader: &mut LaneReader) -> Result<Infallible, PublishError> {
        // An epoch begins when there is something to publish: an idle lane asks nothing of Kafka.
        let mut next = loop {
            match reader.next_group().map_err(failed)? {
                Some(group) => break Some(group),
                None => flushed(&mut self.flushed).await,
            }
        };
        let lane = reader.lane();
        let Begun { epoch, state } = self.transport.begin(lane, reader.state()).await?;
        if let Some(state) = state {
            reader.keep(&state).map_err(failed)?;
        }
        let mut under_way = FuturesOrdered::new();
        // Set when nothing more can be handed over in this epoch; what is under way may still end well.
        let mut over = None;
        loop {
            while over.is_none() && under_way.len() < GROUPS_IN_FLIGHT_MAX {
                let group = match next.take().map_or_else(|| reader.next_group(), |g| Ok(Some(g))) {
                    Ok(Some(group)) => Arc::new(group),
                    Ok(None) => break,
                    Err(error) => {
                        over = Some(failed(error));
                        break;
                    }
                };
                match self.transport.publish(lane, epoch, group.clone()).await {
                    Ok(delivery) => {
                        under_way.push_back(async move { (group, delivery.await) });
                    }
                    Err(error) => over = Some(error),
                }
            }
            if let Some(reason) = over.take_if(|_| under_way.is_empty()) {
                return Err(reason);
            }
            let may_read = over.is_none() && under_way.len() < GROUPS_IN_FLIGHT_MAX;
            tokio::select! {
                () = flushed(&mut self.flushed), if may_read => {}
                Some((group, sent)) = under_way.next() => self.done(reader, &group, sent?)?,
            }
        }
    }

    fn done(
        &self,
        reader: &mut LaneReader,
        group: &Group,
        mut delivered: Delivered,
    ) -> Result<(), PublishError> {
        for record in &mut delivered.refused {
            let seq = order::seq(&record.value);
            record.id = seq.map(|seq| EventId { stream: group.stream, seq });
            seq.into_iter().for_each(|seq| reader.refused(group, seq));
        }
        self.dead.keep(&delivered.refused);
        reader.acknowledge_with(group.end, &delivered.state).map_err(failed)?;
        let events = group.last_seq - group.first_seq + 1;
        self.published.fetch_add(events, Ordering::Relaxed);
        metrics::counter!(metric::AGENT_PUBLISHED.name).increment(events);
        Ok(())
    }
}

fn failed(error: impl Display) -> PublishError {
    PublishError::Failed(error.to_string())
}

/// Returns after the next flush; never once the pipeline has ended.
async fn flushed(flushed: &mut watch::Receiver<u64>) {
    if flushed.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Between half of the wait and all of it, so that a fleet does not come back in step.
fn jittered(wait: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    wait.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests;
