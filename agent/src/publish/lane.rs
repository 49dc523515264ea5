//! One lane on its way to Kafka.
//!
//! In: groups read from the spool behind the checkpoint. Out: the checkpoint, moved in order. A few
//! groups are under way at a time, so that the network is never waited for; after any failure the
//! lane forgets them, waits (growing, with jitter) and begins again at its checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::watch;
use weir_models::metric;

use super::{DeadLetters, Transport};
use crate::source::stopping;
use crate::spool::{Group, LaneReader};

/// Groups of one lane under way at a time.
const GROUPS_IN_FLIGHT_MAX: usize = 4;
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
        let reason = tokio::select! {
            () = stopping(&mut stop) => return,
            reason = lanes.publish_until_failure(&mut reader) => reason,
        };
        if lanes.published.load(Ordering::Relaxed) > published_before {
            wait = WAIT_MIN;
        }
        metrics::counter!(metric::AGENT_PUBLISH_ERRORS.name).increment(1);
        let wait_ms = wait.as_millis();
        tracing::warn!(reason, wait_ms, "publishing starts again from the checkpoint");
        reader.rewind();
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

impl Lanes {
    /// Sends groups from the checkpoint on, in one epoch, and answers why that ended.
    async fn publish_until_failure(&mut self, reader: &mut LaneReader) -> String {
        let epoch = self.transport.epoch();
        let mut under_way = FuturesOrdered::new();
        // Set when nothing more can be handed over in this epoch; what is under way may still end well.
        let mut over = None;
        loop {
            while over.is_none() && under_way.len() < GROUPS_IN_FLIGHT_MAX {
                let group = match reader.next_group() {
                    Ok(Some(group)) => Arc::new(group),
                    Ok(None) => break,
                    Err(error) => {
                        over = Some(error.to_string());
                        break;
                    }
                };
                match self.transport.publish(epoch, group.clone()).await {
                    Ok(delivery) => {
                        under_way.push_back(async move { (group, delivery.await) });
                    }
                    Err(error) => over = Some(error.to_string()),
                }
            }
            if let Some(reason) = over.take_if(|_| under_way.is_empty()) {
                return reason;
            }
            let may_read = over.is_none() && under_way.len() < GROUPS_IN_FLIGHT_MAX;
            tokio::select! {
                _ = self.flushed.changed(), if may_read => {}
                Some((group, sent)) = under_way.next() => {
                    let done = match sent {
                        Ok(refused) => self.done(reader, &group, &refused),
                        Err(error) => Err(error.to_string()),
                    };
                    if let Err(reason) = done {
                        return reason;
                    }
                }
            }
        }
    }

    fn done(
        &self,
        reader: &mut LaneReader,
        group: &Group,
        refused: &[super::Refused],
    ) -> Result<(), String> {
        self.dead.keep(refused);
        refused.iter().filter_map(|record| record.id).for_each(|id| reader.refused(group, id.seq));
        reader.acknowledge(group.end).map_err(|error| error.to_string())?;
        let events = group.last_seq - group.first_seq + 1;
        self.published.fetch_add(events, Ordering::Relaxed);
        metrics::counter!(metric::AGENT_PUBLISHED.name).increment(events);
        Ok(())
    }
}

/// Between half of the wait and all of it, so that a fleet does not come back in step.
fn jittered(wait: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    wait.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests;
