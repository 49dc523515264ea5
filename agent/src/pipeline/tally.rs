//! Counts of one input, told to the metrics once for all its events.

use weir_models::event::{Event, MetaState, ParseState};
use weir_models::metric;

#[derive(Debug, Default)]
pub(super) struct Tally {
    partial: u64,
    raw: u64,
    hits: u64,
    misses: u64,
    stale: u64,
    firing: u64,
    resolved: u64,
}

impl Tally {
    pub(super) fn event(&mut self, event: &Event) {
        match event.parse {
            ParseState::Ok => {}
            ParseState::Partial => self.partial += 1,
            ParseState::Raw => self.raw += 1,
        }
        match event.meta_state {
            MetaState::Hit => self.hits += 1,
            MetaState::Miss => self.misses += 1,
            MetaState::Stale => self.stale += 1,
        }
    }

    pub(super) fn alert(&mut self, fires: bool) {
        if fires {
            self.firing += 1;
        } else {
            self.resolved += 1;
        }
    }

    /// Tells the metrics, and begins anew.
    pub(super) fn tell(&mut self, source: &str) {
        let now = std::mem::take(self);
        for (state, count) in [("partial", now.partial), ("raw", now.raw)] {
            if count > 0 {
                let source = source.to_owned();
                metrics::counter!(metric::AGENT_UNPARSED.name, "source" => source, "state" => state)
                    .increment(count);
            }
        }
        for (name, state, count) in [
            (metric::AGENT_LOOKUPS.name, "hit", now.hits),
            (metric::AGENT_LOOKUPS.name, "miss", now.misses),
            (metric::AGENT_LOOKUPS.name, "stale", now.stale),
            (metric::AGENT_ALERTS.name, "firing", now.firing),
            (metric::AGENT_ALERTS.name, "resolved", now.resolved),
        ] {
            if count > 0 {
                metrics::counter!(name, "state" => state).increment(count);
            }
        }
    }
}
