//! The heartbeat: how the agent fares, on `weir.agents`.
//!
//! In: counters and the spool's report. Out: one record a while, past the spool, because an old
//! heartbeat is worth nothing. One that cannot be sent is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_models::device::AgentStatus;
use weir_models::time::now_us;
use weir_models::topic::{Topic, TopicNames};

use crate::config::Config;
use crate::memory;
use crate::pipeline::Report;
use crate::source::stopping;
use crate::status::{Counters, Status};

pub(super) struct Heartbeat {
    agent: Arc<str>,
    site: String,
    topic: Arc<str>,
    every_s: u64,
    started_us: i64,
    memory_bytes: Option<u64>,
    takes_more: bool,
    status: Status,
}

impl Heartbeat {
    pub(super) fn new(
        agent: &Arc<str>,
        config: &Config,
        names: &TopicNames,
        started_us: i64,
        status: Status,
    ) -> Self {
        Self {
            agent: agent.clone(),
            site: config.agent.site.clone(),
            topic: names.name(Topic::Agents).clone(),
            every_s: config.agent.heartbeat_s,
            started_us,
            memory_bytes: config.limits.memory_bytes,
            takes_more: false,
            status,
        }
    }

    /// Beats until `stop`, the first time at once.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(Duration::from_secs(self.every_s));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stopping(&mut stop) => return,
                _ = tick.tick() => {}
            }
            self.look_at_memory();
            let Some(beat) = self.beat().await else { continue };
            let json = serde_json::to_vec(&beat).unwrap_or_default();
            let send = self.status.transport.send(&self.topic, self.agent.as_bytes(), &json);
            // One at a time: while Kafka is away the next ones are left out, not queued.
            tokio::select! {
                () = stopping(&mut stop) => return,
                sent = send => if let Err(error) = sent {
                    tracing::debug!(%error, "heartbeat not sent");
                },
            }
        }
    }

    /// Tells when the process begins to take more memory than it is allowed.
    fn look_at_memory(&mut self) {
        let Some((memory_bytes, bytes)) = self.memory_bytes.zip(memory::resident_bytes()) else {
            return;
        };
        let takes_more = bytes > memory_bytes;
        if takes_more && !self.takes_more {
            tracing::warn!(
                bytes,
                memory_bytes,
                "the agent takes more memory than `limits.memory_bytes`: `weir_agent_memory_held_bytes` tells of what"
            );
        }
        self.takes_more = takes_more;
    }

    async fn beat(&self) -> Option<AgentStatus> {
        let report = self.status.report().await?;
        let counters = &self.status.counters;
        let now = now_us();
        let lost = Counters::read(&counters.lost_at_source);
        let oldest_us = report.oldest_ms().map(|ms| ms * 1_000);
        Some(AgentStatus {
            agent: self.agent.clone(),
            site: self.site.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            ts_us: now,
            started_us: self.started_us,
            interval_s: self.every_s,
            clock: report.clock,
            events_in: Counters::read(&counters.events_in),
            events_out: Counters::read(&counters.events_out),
            lost: lost_by_reason(lost, &report),
            filtered: report.filtered,
            spool_bytes: report.disk_bytes,
            oldest_us,
            lanes: report.lanes,
            devices: report.devices,
            metadata_us: report.metadata_us,
            series: report.series,
        })
    }
}

fn lost_by_reason(at_source: u64, report: &Report) -> BTreeMap<String, u64> {
    let in_spool = report.lost().map(|(_, reason, count)| (reason, count));
    let mut all = BTreeMap::new();
    for (reason, count) in in_spool.chain([("receive_buffer", at_source)]) {
        if count > 0 {
            *all.entry(reason.to_owned()).or_default() += count;
        }
    }
    all
}
