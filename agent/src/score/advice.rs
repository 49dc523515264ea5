//! Advice: models of the centre that judge no reading themselves.
//!
//! In: orders of the keeper; series and alerts. Out: what the streaming detectors of a series begin with (`shapes`) and
//! where their alarm level lies (`level`); of an alert how likely a person calls it true (`rerank`), and where the
//! configuration allows it, whether it is held back. A model for the series itself goes before those for a pattern, of
//! which the one with the fewest `*` counts, then the one that says most. Promises: an alert that is held back is ranked
//! again when it becomes worse or the model changes, and told then under its own id; its end is told where its beginning
//! was. No rule, no silence, no severe and no missing line is ever held back. Constant memory; where there are no models it
//! costs a comparison.

use std::cmp::Reverse;
use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind, AlertState};
use weir_models::central::{Central, Kind, Model, Rerank, Scope};
use weir_models::detect::{Suite, SuiteConfig};
use weir_models::metric;

use super::{Draft, RULE};
use crate::central::Order;

/// Most alerts that are held back at a time; for one more the oldest is told.
const HELD_MAX: usize = 256;
/// So many bytes of its message are kept of an alert that is held back.
const MESSAGE_MAX: usize = 1_024;

/// Models that advise.
#[derive(Debug, Default)]
pub(super) struct Advice(Vec<(Arc<str>, Arc<Central>)>);

impl Advice {
    /// Takes or drops a model as the keeper says; tells whose series it is about.
    pub(super) fn order(&mut self, order: &Order) -> Option<Scope> {
        let (key, central) = match order {
            Order::Begin { .. } => {
                self.0.clear();
                let any = || Box::from("*");
                return Some(Scope { site: any(), device: any(), metric: any() });
            }
            Order::Force { key, central } | Order::Try { key, central } => (key, Some(central)),
            Order::Withdraw { key } => (key, None),
        };
        let at = self.0.iter().position(|(known, _)| known == key);
        let before = at.map(|at| self.0.remove(at).1);
        let scope = central.or(before.as_ref()).map(|central| central.head.scope.clone());
        if let Some(central) = central {
            let at = at.unwrap_or(self.0.len());
            self.0.insert(at, (key.clone(), central.clone()));
        }
        scope
    }

    /// The model for a series: of those for a pattern the one that says most about it, whenever it came. A level is of one
    /// series, whatever its name.
    fn find(&self, kind: Kind, [site, device, metric]: [&str; 3]) -> Option<&Model> {
        let is_for = |scope: &Scope| match kind {
            Kind::Level => [&*scope.site, &*scope.device, &*scope.metric] == [site, device, metric],
            _ => scope.holds(site, device, metric),
        };
        let is_for =
            |central: &Central| central.model.kind() == kind && is_for(&central.head.scope);
        let of_kind = self.0.iter().filter(|(_, central)| is_for(central));
        let (_, best) = of_kind.min_by(|(a, _), (b, _)| order_of(a).cmp(&order_of(b)))?;
        Some(&best.model)
    }

    /// A detector for a series that is new.
    pub(super) fn suite(&self, config: &SuiteConfig, of: [&str; 3]) -> Box<Suite> {
        let mut suite = Box::new(Suite::new(config));
        if !self.0.is_empty() {
            self.begin(&mut suite, config, of);
        }
        suite
    }

    /// Gives the detector of a series what there is for it; one that has seen shapes goes on with those.
    pub(super) fn begin(&self, suite: &mut Suite, config: &SuiteConfig, of: [&str; 3]) {
        if let Some(Model::Shapes(shapes)) = self.find(Kind::Shapes, of) {
            suite.begin_with(shapes);
        }
        self.tune(suite, config, of);
    }

    /// Sets when the detector of a series raises an alarm.
    pub(super) fn tune(&self, suite: &mut Suite, config: &SuiteConfig, of: [&str; 3]) {
        let factor = match self.find(Kind::Level, of) {
            Some(Model::Level(level)) => level.factor(),
            _ => 1.0,
        };
        suite.configure(&SuiteConfig { alarm_level: config.alarm_level * factor, ..*config });
    }
}

/// The fewest `*` first, then the longest; keys differ.
fn order_of(key: &str) -> (usize, Reverse<usize>, &str) {
    (key.bytes().filter(|byte| *byte == b'*').count(), Reverse(key.len()), key)
}

/// Ranks alerts, and holds some back.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    models: Advice,
    /// Alerts that fire and are held back, the oldest first.
    held: Vec<AlertData>,
    /// What is held back has to be looked at again.
    changed: bool,
}

impl Ranks {
    pub(super) fn order(&mut self, order: &Order) {
        self.models.order(order);
        self.look_again();
    }

    /// Another model or another bound: what they no longer hold back is told with the next event.
    pub(super) fn look_again(&mut self) {
        self.changed = true;
    }

    /// Ranks the alerts from the place `from` on that begin. Those below `suppress_below` leave, and later their ends; what
    /// was held back and is so no longer comes before them.
    pub(super) fn look(&mut self, drafts: &mut Vec<Draft>, from: usize, suppress_below: f32) {
        if drafts.len() == from && !self.changed {
            return;
        }
        let new: Vec<Draft> = drafts.drain(from..).collect();
        if std::mem::take(&mut self.changed) {
            for mut alert in std::mem::take(&mut self.held) {
                let is_weak = self.is_weak(&mut alert, suppress_below);
                if is_weak { self.held.push(alert) } else { drafts.push(Draft(alert)) }
            }
        }
        for Draft(alert) in new {
            self.take(alert, suppress_below, drafts);
        }
    }

    fn take(&mut self, mut alert: AlertData, suppress_below: f32, drafts: &mut Vec<Draft>) {
        let at = self.held.iter().position(|held| held.alert_id == alert.alert_id);
        let held = at.map(|at| self.held.remove(at));
        let is_new = match (alert.state, alert.resolved_us.take()) {
            // What was told needs no more words.
            (AlertState::Firing, Some(_)) if held.is_none() => return,
            (AlertState::Firing, Some(_)) => false,
            (AlertState::Firing, None) => true,
            (AlertState::Resolved, _) if held.is_some() => return,
            (AlertState::Resolved, end) => {
                alert.resolved_us = end;
                return drafts.push(Draft(alert));
            }
        };
        if let Some(held) = held {
            alert.recent = held.recent;
        }
        if !self.is_weak(&mut alert, suppress_below) {
            return drafts.push(Draft(alert));
        }
        if is_new {
            metrics::counter!(metric::AGENT_ALERTS_HELD_BACK.name).increment(1);
        }
        if let Some(message) = &mut alert.message {
            message.truncate(message.floor_char_boundary(MESSAGE_MAX));
        }
        if self.held.len() >= HELD_MAX {
            drafts.push(Draft(self.held.remove(0)));
        }
        self.held.push(alert);
    }

    /// Ranks an alert that fires, and says whether it is held back.
    fn is_weak(&self, alert: &mut AlertData, suppress_below: f32) -> bool {
        if &*alert.model.name == RULE || alert.kind == AlertKind::Silence {
            return false;
        }
        let of = [&*alert.site, &*alert.device, &*alert.metric];
        alert.rank = match self.models.find(Kind::Rerank, of) {
            Some(Model::Rerank(model)) => Some(model.rank(alert) as f32),
            _ => None,
        };
        alert.rank.is_some_and(|rank| rank < suppress_below) && !Rerank::is_grave(alert)
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
