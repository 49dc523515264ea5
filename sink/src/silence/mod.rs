//! Silence: an agent whose heartbeats stay away raises an alert, which ends when they come again.
//!
//! In: the agents as the store knows them, looked at every `look_s`; whether the sink itself is well. Out: alert records on the
//! topic of alerts, as those of agents are: they reach the store, the page and the hooks in the same way. What devices behind a
//! living agent do not send is told by the agent itself (rule `gap`).
//!
//! Promises: how long an agent is silent is measured by this machine's monotonic clock, from the look at which its last heartbeat
//! was new, so no wrong clock of a gateway raises an alert. While the sink cannot hear (Kafka, store or archive have a problem) no
//! time passes, and afterwards every agent has the whole time again. Alert and record have names that follow from the agent and
//! its last heartbeat: several sinks that tell the same make duplicates that everybody recognises, and each looks first whether
//! another one was sooner. What can go wrong: Kafka does not take the record, then it is told at a later look.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use weir_models::alert::{Alert, AlertState};
use weir_models::device::AgentStatus;
use weir_models::time::{DAY_US, now_us};
use weir_models::topic::{Topic, write_key};

use crate::consume::Producer;
use crate::status::Status;
use crate::store::{AlertQuery, Store, StoreError, TimeRange};

mod watch_list;

use watch_list::{METRIC, WatchList};

/// An alert that fires for longer than this is not looked for any more, microseconds.
const OPEN_FOR_US: i64 = 365 * DAY_US;
/// Alerts of one agent that may fire at a time: one, but for races between sinks.
const OPEN_MAX: usize = 16;

/// When an agent is silent, `[silence]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceConfig {
    /// Whether this instance watches.
    pub enabled: bool,
    /// So many heartbeats in a row have to be missing.
    pub heartbeats: u32,
    /// And so many seconds have to have passed.
    pub at_least_s: u64,
    /// Seconds between two looks; each reads all agents from the store.
    pub look_s: u64,
}

impl Default for SilenceConfig {
    fn default() -> Self {
        Self { enabled: true, heartbeats: 3, at_least_s: 60, look_s: 10 }
    }
}

impl SilenceConfig {
    /// How long an agent may say nothing.
    fn patience(&self, agent: &AgentStatus) -> Duration {
        let missing_s = agent.interval_s.saturating_mul(self.heartbeats.into());
        Duration::from_secs(missing_s.max(self.at_least_s))
    }
}

/// Watches until `stop` becomes true or its sender is gone.
pub async fn run(
    config: SilenceConfig,
    store: Arc<dyn Store>,
    producer: Arc<dyn Producer>,
    status: Arc<Status>,
    mut stop: watch::Receiver<bool>,
) {
    if !config.enabled {
        return;
    }
    let watching = watching(config, &*store, &*producer, &status);
    tokio::select! {
        () = watching => {}
        () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
    }
}

async fn watching(
    config: SilenceConfig,
    store: &dyn Store,
    producer: &dyn Producer,
    status: &Status,
) {
    let every = Duration::from_secs(config.look_s.max(1));
    let mut list = WatchList::new(config);
    // So that several sinks do not look at the same moment, and all but the first find the alert there.
    sleep(every.mul_f64(f64::from(std::process::id() % 97) / 97.0)).await;
    loop {
        if !status.is_well() {
            list.forgive(Instant::now());
        } else if let Err(error) = look(&mut list, store, producer).await {
            // The pipeline tells of a store that is away, in more places than one.
            tracing::debug!(%error, "cannot look which agents are silent");
            list.forgive(Instant::now());
        }
        sleep(every).await;
    }
}

/// Looks once, and tells what changed.
async fn look(
    list: &mut WatchList,
    store: &dyn Store,
    producer: &dyn Producer,
) -> Result<(), StoreError> {
    let agents = store.agents().await?;
    let now = Instant::now();
    for name in list.look(agents.values(), now) {
        let Some(agent) = agents.get(&*name) else { continue };
        let open = open(store, agent).await?;
        for alert in list.alerts(agent, &open, now, now_us()) {
            tell(producer, &alert).await;
        }
    }
    Ok(())
}

/// The alerts of an agent's silence that fire, as far as the store knows.
async fn open(store: &dyn Store, agent: &AgentStatus) -> Result<Vec<Alert>, StoreError> {
    let now_us = now_us();
    let query = AlertQuery {
        site: agent.site.clone(),
        series: Some((agent.agent.to_string(), METRIC.into())),
        range: TimeRange { from_us: now_us - OPEN_FOR_US, to_us: now_us + DAY_US },
        state: Some(AlertState::Firing),
        after: None,
        limit: OPEN_MAX,
    };
    store.alerts(&query).await
}

async fn tell(producer: &dyn Producer, alert: &Alert) {
    let (mut key, mut value) = (String::new(), Vec::new());
    write_key(&mut key, [&*alert.data.site, &*alert.data.device]);
    alert.write_json(&mut value);
    match producer.send(Topic::Alerts, key.as_bytes(), Some(&value), &[]).await {
        Ok(()) => {
            let state = alert.data.state;
            tracing::info!(agent = %alert.data.agent, ?state, "an agent's silence was told");
        }
        Err(error) => tracing::warn!(%error, agent = %alert.data.agent, "silence is not told yet"),
    }
}
