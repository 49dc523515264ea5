//! Advice: models of the centre that judge no reading themselves.
//!
//! In: orders of the keeper; series and alerts. Out: what the streaming detectors of a series begin with (`shapes`) and
//! where their alarm level lies (`level`); of an alert how likely a person calls it true (`rerank`), and where the
//! configuration allows it, whether it is held back. A model for the series itself goes before those for a pattern, of
//! which the first one that came counts. Promises: an alert that is held back is so from its beginning to its end, and
//! no rule and no silence ever is. Constant memory; where there are no models it costs a comparison.

use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind};
use weir_models::central::{Central, Kind, Model, Scope};
use weir_models::detect::{Suite, SuiteConfig};
use weir_models::metric;

use super::{Draft, RULE};
use crate::central::Order;

/// Most alerts that are held back at a time; beyond that they are told.
const HELD_MAX: usize = 1_024;

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

    fn find(&self, kind: Kind, [site, device, metric]: [&str; 3]) -> Option<&Model> {
        let of_kind =
            || self.0.iter().map(|(_, central)| central).filter(|c| c.model.kind() == kind);
        let own = of_kind().find(|central| {
            let Scope { site: s, device: d, metric: m } = &central.head.scope;
            [&**s, &**d, &**m] == [site, device, metric]
        });
        let any = || of_kind().find(|central| central.head.scope.holds(site, device, metric));
        Some(&own.or_else(any)?.model)
    }

    /// A detector for a series that is new.
    pub(super) fn suite(&self, config: &SuiteConfig, of: [&str; 3]) -> Box<Suite> {
        let mut suite = Box::new(Suite::new(config));
        if self.0.is_empty() {
            return suite;
        }
        if let Some(Model::Shapes(shapes)) = self.find(Kind::Shapes, of) {
            suite.begin_with(shapes);
        }
        self.tune(&mut suite, config, of);
        suite
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

/// Ranks alerts, and holds some back.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    models: Advice,
    /// Alerts that are held back until they end.
    held: Vec<String>,
}

impl Ranks {
    pub(super) fn order(&mut self, order: &Order) {
        self.models.order(order);
    }

    /// Ranks the alerts from the place `from` on that begin; those below `suppress_below` leave, and later their ends.
    pub(super) fn look(&mut self, drafts: &mut Vec<Draft>, from: usize, suppress_below: f32) {
        if self.models.0.is_empty() && self.held.is_empty() {
            return;
        }
        let mut at = 0;
        drafts.retain_mut(|Draft(alert)| {
            at += 1;
            at <= from || self.tells(alert, suppress_below)
        });
    }

    fn tells(&mut self, alert: &mut AlertData, suppress_below: f32) -> bool {
        if alert.resolved_us.is_some() {
            let held = self.held.iter().position(|id| *id == alert.alert_id);
            held.map(|at| self.held.swap_remove(at)).is_none()
        } else if &*alert.model.name == RULE || alert.kind == AlertKind::Silence {
            true
        } else {
            let of = [&*alert.site, &*alert.device, &*alert.metric];
            let Some(Model::Rerank(model)) = self.models.find(Kind::Rerank, of) else {
                return true;
            };
            let rank = model.rank(alert) as f32;
            alert.rank = Some(rank);
            if rank >= suppress_below || self.held.len() >= HELD_MAX {
                return true;
            }
            metrics::counter!(metric::AGENT_ALERTS_HELD_BACK.name).increment(1);
            self.held.push(alert.alert_id.clone());
            false
        }
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
