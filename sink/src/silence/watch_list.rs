//! Watch list: who was heard when, and what follows. Pure: time comes in.
//!
//! In: all agents, again and again; the alerts of one that fire. Out: which agents to look at closer, and then the
//! records to tell. A record is told again at each look until the store shows that it has arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::device::AgentStatus;
use weir_models::ident::Stream;

use super::SilenceConfig;

/// The metric of these alerts.
pub(super) const METRIC: &str = "heartbeat";
const SOURCE: &str = "/weir/sink";

/// What is known of one agent.
struct Watched {
    /// The stamp of its newest heartbeat: its name, not a time that is trusted.
    ts_us: i64,
    /// When that heartbeat was new here.
    heard: Instant,
    /// Alerts of it may fire.
    may_fire: bool,
    /// It is silent, and the store has the alert: nothing is to be done until it is heard.
    is_told: bool,
}

impl Watched {
    fn is_silent(&self, config: &SilenceConfig, agent: &AgentStatus, now: Instant) -> bool {
        now - self.heard >= config.patience(agent)
    }
}

/// All agents.
pub(super) struct WatchList {
    config: SilenceConfig,
    agents: BTreeMap<Arc<str>, Watched>,
}

impl WatchList {
    pub(super) fn new(config: SilenceConfig) -> Self {
        Self { config, agents: BTreeMap::new() }
    }

    /// Nobody could be heard until now: all have the whole time again.
    pub(super) fn forgive(&mut self, now: Instant) {
        for watched in self.agents.values_mut() {
            watched.heard = now;
        }
    }

    /// Takes in what is known of the agents, and says which are silent, or were heard while alerts of theirs may fire.
    /// Those that are not there any more are forgotten.
    pub(super) fn look<'a>(
        &mut self,
        agents: impl Iterator<Item = &'a AgentStatus>,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let (mut before, mut changed) = (std::mem::take(&mut self.agents), Vec::new());
        for agent in agents {
            // Of one that is seen for the first time an alert may fire from before this sink began.
            let begun =
                || Watched { ts_us: agent.ts_us, heard: now, may_fire: true, is_told: false };
            let mut watched = before.remove(&agent.agent).unwrap_or_else(begun);
            if watched.ts_us != agent.ts_us {
                (watched.ts_us, watched.heard) = (agent.ts_us, now);
                watched.is_told = false;
            }
            let is_due = if watched.is_silent(&self.config, agent, now) {
                !watched.is_told
            } else {
                watched.may_fire
            };
            if is_due {
                changed.push(Arc::clone(&agent.agent));
            }
            self.agents.insert(Arc::clone(&agent.agent), watched);
        }
        changed
    }

    /// What is to be told of an agent, given its alerts that fire.
    pub(super) fn alerts(
        &mut self,
        agent: &AgentStatus,
        open: &[Alert],
        now: Instant,
        now_us: i64,
    ) -> Vec<Alert> {
        let Some(watched) = self.agents.get_mut(&agent.agent) else { return Vec::new() };
        let own = alert_id(agent);
        let is_told = open.iter().any(|alert| alert.data.alert_id == own);
        // It was heard since these began.
        let ended = open.iter().filter(|alert| alert.data.alert_id != own);
        let mut alerts: Vec<Alert> = ended.map(|alert| resolved(alert, now_us)).collect();
        // One of this heartbeat that fires ends with the next heartbeat: it has to be looked for then.
        watched.may_fire = is_told || !alerts.is_empty();
        if watched.is_silent(&self.config, agent, now) {
            (watched.may_fire, watched.is_told) = (true, is_told);
            if !is_told {
                let silent_s = (now - watched.heard).as_secs();
                alerts.push(firing(agent, &self.config, silent_s, now_us));
            }
        }
        alerts
    }
}

/// The same for all sinks: of this agent and this heartbeat.
fn named(agent: &AgentStatus) -> u64 {
    let mut hash = Sha256::new();
    hash.update(agent.agent.as_bytes());
    hash.update([0]);
    hash.update(agent.ts_us.to_be_bytes());
    hash.finalize().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn alert_id(agent: &AgentStatus) -> String {
    format!("{:016x}", named(agent))
}

fn firing(agent: &AgentStatus, config: &SilenceConfig, silent_s: u64, now_us: i64) -> Alert {
    let patience_s = config.patience(agent).as_secs().max(1);
    let stream = Stream(named(agent));
    let data = AlertData {
        alert_id: alert_id(agent),
        state: AlertState::Firing,
        kind: AlertKind::Silence,
        agent: Arc::clone(&agent.agent),
        stream,
        seq: 1,
        site: agent.site.clone(),
        device: agent.agent.to_string(),
        metric: METRIC.into(),
        fired_us: now_us,
        resolved_us: None,
        score: (silent_s as f32 / patience_s as f32).max(1.0),
        threshold: 1.0,
        model: Model { name: METRIC.into(), version: "1".into() },
        why: "no heartbeat".into(),
        baseline: None,
        last_values: Vec::new(),
        message: Some(format!(
            "nothing heard for {silent_s} s; a heartbeat is due every {} s",
            agent.interval_s
        )),
        cause_stream: stream,
        cause_seq: 0,
        recent: None,
        rank: None,
    };
    Alert::new(SOURCE, now_us, data)
}

fn resolved(alert: &Alert, now_us: i64) -> Alert {
    let data = AlertData {
        state: AlertState::Resolved,
        seq: 2,
        resolved_us: Some(now_us.max(alert.data.fired_us)),
        ..alert.data.clone()
    };
    Alert::new(SOURCE, now_us, data)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use weir_models::event::Clock;

    use super::*;

    fn agent(ts_us: i64) -> AgentStatus {
        AgentStatus {
            agent: "gw-1".into(),
            site: "plant".into(),
            version: "0.1.0".into(),
            ts_us,
            started_us: 0,
            interval_s: 30,
            clock: Clock::Synced,
            events_in: 0,
            events_out: 0,
            filtered: BTreeMap::new(),
            lost: BTreeMap::new(),
            spool_bytes: 0,
            lanes: Vec::new(),
            devices: 0,
            series: 0,
            ..AgentStatus::default()
        }
    }

    /// A list, the moment, and what the store knows to fire.
    struct World {
        list: WatchList,
        now: Instant,
        open: Vec<Alert>,
    }

    impl World {
        fn new() -> Self {
            let list = WatchList::new(SilenceConfig::default());
            Self { list, now: Instant::now(), open: Vec::new() }
        }

        /// Seconds later a look at the agent as the store knows it; what is told arrives in the store.
        fn look(&mut self, seconds: u64, agent: &AgentStatus) -> Vec<Alert> {
            self.now += Duration::from_secs(seconds);
            let mut told = Vec::new();
            for _ in self.list.look([agent].into_iter(), self.now) {
                told.extend(self.list.alerts(agent, &self.open, self.now, 7));
            }
            for alert in &told {
                self.open.retain(|open| open.data.alert_id != alert.data.alert_id);
                if alert.data.state == AlertState::Firing {
                    self.open.push(alert.clone());
                }
            }
            told
        }
    }

    #[test]
    fn silence_fires_once_and_ends_with_the_next_heartbeat() {
        let mut world = World::new();
        let first = agent(1);
        assert!(world.look(0, &first).is_empty());
        assert!(world.look(89, &first).is_empty(), "three heartbeats of 30 s");
        let told = world.look(1, &first);
        assert_eq!((told.len(), told[0].data.state), (1, AlertState::Firing));
        assert_eq!(told[0].subject, "plant/gw-1/heartbeat");
        let message = told[0].data.message.as_deref().unwrap();
        assert_eq!(message, "nothing heard for 90 s; a heartbeat is due every 30 s");
        assert!(world.look(1_000, &first).is_empty(), "once");
        let ended = world.look(10, &agent(2));
        assert_eq!((ended.len(), ended[0].data.state), (1, AlertState::Resolved));
        assert_eq!(ended[0].data.alert_id, told[0].data.alert_id);
        assert_eq!((ended[0].data.stream, ended[0].data.seq), (told[0].data.stream, 2));
        assert!(world.look(10, &agent(3)).is_empty());
        // The stamp need not rise: a clock may be set back.
        assert!(world.look(89, &agent(2)).is_empty());
    }

    #[test]
    fn what_has_not_arrived_is_told_again_under_the_same_name() {
        let mut world = World::new();
        world.look(0, &agent(1));
        let told = world.look(90, &agent(1));
        world.open.clear();
        let again = world.look(10, &agent(1));
        assert_eq!(again[0].id, told[0].id);
        assert_eq!(again[0].event_id(), told[0].event_id());
        let ended = world.look(10, &agent(2));
        world.open = again;
        let ended_again = world.look(10, &agent(2));
        assert_eq!(ended_again[0].event_id(), ended[0].event_id());
    }

    #[test]
    fn a_sink_that_begins_ends_what_another_one_told() {
        let mut before = World::new();
        before.look(0, &agent(1));
        before.look(90, &agent(1));
        let mut world = World { open: before.open.clone(), ..World::new() };
        assert!(world.look(0, &agent(1)).is_empty(), "it is still silent");
        assert!(world.look(500, &agent(1)).is_empty(), "and that was told");
        assert_eq!(world.look(10, &agent(2)).len(), 1);
        let mut late = World { open: before.open, ..World::new() };
        assert_eq!(late.look(0, &agent(2)).len(), 1, "it came back while no sink looked");
    }

    #[test]
    fn while_nothing_can_be_heard_nobody_is_silent() {
        let mut world = World::new();
        world.look(0, &agent(1));
        world.now += Duration::from_secs(1_000);
        world.list.forgive(world.now);
        assert!(world.look(89, &agent(1)).is_empty());
        assert_eq!(world.look(1, &agent(1)).len(), 1);
    }

    #[test]
    fn agents_that_are_gone_are_forgotten() {
        let mut world = World::new();
        world.look(0, &agent(1));
        assert!(world.list.look(std::iter::empty(), world.now).is_empty());
        assert!(world.list.agents.is_empty());
    }
}
