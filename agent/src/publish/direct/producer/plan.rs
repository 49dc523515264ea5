//! How an epoch of a lane begins.
//!
//! In: what lies beside the checkpoint, what the epoch before has shown, and the cluster. Out: the
//! state to begin with, and whether sequences go on or begin anew. What lies beside the checkpoint counts,
//! not what we remember: the lane goes on from there.

use tokio::time::Instant;

use super::{Partition, Producer};
use crate::publish::Begun;
use crate::publish::direct::cluster::View;
use crate::publish::direct::state::{Here, State, TopicState};
use crate::spool::GROUPS_IN_FLIGHT_MAX;

/// How a producer gets new sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::publish::direct) enum Renewal {
    /// The same id, its next epoch.
    Epoch,
    /// A new id.
    Id,
}

/// How an epoch is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::publish::direct) struct Plan {
    pub(in crate::publish::direct) state: State,
    /// Its sequences begin anew. With [`Renewal::Id`] the id is still to be asked for.
    pub(in crate::publish::direct) renewal: Option<Renewal>,
    /// It goes on where another process stopped.
    is_resumed: bool,
}

impl Producer {
    /// How to begin at the checkpoint beside which `stored` lies.
    pub(in crate::publish::direct) fn plan(&self, stored: &[u8], here: Here, view: &View) -> Plan {
        let stored = State::decode(stored);
        let mut renewal = self.renewal;
        let mut renew = |kind: Renewal| renewal = renewal.max(Some(kind));
        let mut is_resumed = false;
        let mut state = match (&self.state, stored) {
            (None, Some((state, at))) if state.is_fit(at, here, &view.id) => {
                is_resumed = true;
                state
            }
            (Some(now), Some((state, _))) if state.producer == now.producer => state,
            (now, stored) => {
                renew(if now.is_some() { Renewal::Epoch } else { Renewal::Id });
                let base = stored.map(|(state, _)| state).or_else(|| now.clone());
                let mut base = base.unwrap_or_else(|| State::new(view.id.clone()));
                if let Some(now) = now {
                    base.producer = now.producer;
                }
                base
            }
        };
        if state.cluster != view.id {
            renew(Renewal::Id);
            state.cluster = view.id.clone();
            // Its topics are others, with other numbers of partitions.
            state.topics.clear();
        }
        for (name, topic) in &mut state.topics {
            let Some(seen) = view.topic(name) else { continue };
            let is_other = seen.id != topic.id && seen.id != [0; 16] && topic.id != [0; 16];
            let count = seen.leaders.len();
            let is_less = count < topic.sent.len() && topic.id == [0; 16];
            if is_other || is_less {
                // The topic was made anew: nothing of it is known to anybody.
                renew(Renewal::Id);
                *topic = TopicState { id: seen.id, sent: vec![0; count] };
            } else if self.is_to_recount && count > topic.sent.len() {
                renew(Renewal::Epoch);
                topic.sent.resize(count, 0);
            }
        }
        for name in &self.wanted {
            if let Some(seen) = view.topic(name) {
                let new = || TopicState { id: seen.id, sent: vec![0; seen.leaders.len()] };
                state.topics.entry(name.clone()).or_insert_with(new);
            }
        }
        if renewal == Some(Renewal::Epoch) {
            match state.producer.epoch.checked_add(1) {
                Some(epoch) => state.producer.epoch = epoch,
                None => renewal = Some(Renewal::Id),
            }
        }
        if renewal.is_some() {
            for topic in state.topics.values_mut() {
                topic.sent.fill(0);
            }
        }
        state.unfit = self.refused_in.is_some();
        let is_resumed = is_resumed && renewal.is_none();
        Plan { state, renewal, is_resumed }
    }

    /// Begins an epoch as planned.
    pub(in crate::publish::direct) fn begin(
        &mut self,
        plan: Plan,
        stored: &[u8],
        here: Here,
    ) -> Begun {
        let Plan { state, renewal, is_resumed } = plan;
        let stored = State::decode(stored).map(|(state, _)| state);
        if self.state.is_none() && stored.is_some() {
            self.doubtful = GROUPS_IN_FLIGHT_MAX;
            self.resumed = if is_resumed { GROUPS_IN_FLIGHT_MAX } else { 0 };
        }
        if renewal.is_some() {
            self.resumed = 0;
            self.partitions.clear();
        }
        for (name, topic) in &state.topics {
            let partitions = self.partitions.entry(name.clone()).or_default();
            partitions.resize(topic.sent.len(), Partition::default());
            for (partition, sent) in partitions.iter_mut().zip(&topic.sent) {
                // What lies before the checkpoint was taken.
                partition.taken = partition.taken.max(*sent);
                partition.in_flight = 0;
            }
        }
        self.epoch += 1;
        self.under_way.clear();
        self.in_flight = 0;
        self.requests = 0;
        self.is_handing = false;
        self.over = None;
        self.renewal = None;
        self.wanted.clear();
        self.is_to_recount = false;
        self.is_view_stale = false;
        self.progress = Instant::now();
        let is_new = stored.as_ref() != Some(&state);
        let encoded = is_new.then(|| state.encode(here).into());
        self.state = Some(state);
        Begun { epoch: self.epoch, state: encoded }
    }
}
