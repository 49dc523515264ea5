//! Central: what models of the centre say, beside the streaming detectors.
//!
//! In: orders of the keeper, between two readings; then each reading, and what the streaming detectors say of it. Out: a
//! score on their scale, whether an alarm begins, and to the keeper what became of each model. A new model is tried in the
//! shadow first, judges what the one in force judges, and says nothing. One that floods people with alerts gives way to the
//! one before it, or to none. Promises: no lock and, once a series was seen, no allocation; where there are no models
//! it costs a comparison. Where there are models it is an entry a series and one a device, the least recently used leaves.

mod seat;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::mpsc;
use weir_models::alert::Model as Named;
use weir_models::central::{Central, Kind};
use weir_models::detect::Verdict;
use weir_models::detect::life::Transition;
use weir_models::event::Value;
use weir_models::topic::write_key;

use super::trial::Trial;
use crate::central::{Became, Order, Outcome};
use crate::recent::Recent;
pub(super) use seat::{At, How, Said};
use seat::{Input, Seat};

/// All models, and what series have behind them.
#[derive(Debug)]
pub(super) struct CentralStage {
    slots: Vec<Slot>,
    seats: Recent<Box<Seat>>,
    /// Of devices: they must not take the room of series. A device has two at least, so half as many are enough.
    group_seats: Recent<Box<Seat>>,
    told: Option<mpsc::Sender<Outcome>>,
    /// What the keeper had no room for yet.
    untold: Vec<Outcome>,
    shadow_us: i64,
    /// Rises when a series may have another slot.
    generation: u32,
    /// Of the device at hand.
    key: String,
}

/// The models of one key.
#[derive(Debug)]
struct Slot {
    key: Arc<str>,
    current: Option<InForce>,
    previous: Option<InForce>,
    shadow: Option<(Arc<Central>, Trial)>,
}

/// A model in force, and its name in alerts.
#[derive(Clone, Debug)]
struct InForce {
    central: Arc<Central>,
    name: Named,
}

/// A word about a device, for an alert.
pub(super) struct GroupSaid {
    pub(super) name: Named,
    pub(super) threshold: f32,
    pub(super) metric: String,
    pub(super) change: Transition<String>,
}

impl CentralStage {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self {
            slots: Vec::new(),
            seats: Recent::new(most),
            group_seats: Recent::new(half(most)),
            told: None,
            untold: Vec::new(),
            shadow_us: 0,
            generation: 0,
            key: String::new(),
        }
    }

    pub(super) fn resize(&mut self, most: NonZeroUsize) {
        self.seats.resize(most);
        self.group_seats.resize(half(most));
    }

    /// Does as the keeper says.
    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::Begin { told, shadow_us } => {
                self.slots.clear();
                self.seats.clear();
                self.group_seats.clear();
                self.untold.clear();
                (self.told, self.shadow_us) = (Some(told), shadow_us);
            }
            Order::Force { key, central } => {
                let (slot, is_rollback) = (self.slot(key), central.head.rollback);
                let before = slot.current.replace(InForce::new(central));
                // There is no way back to what a roll-back took the place of.
                slot.previous = before.filter(|_| !is_rollback);
                slot.shadow = None;
            }
            Order::Try { key, central } => {
                self.slot(key).shadow = Some((central, Trial::default()));
            }
            Order::Withdraw { key } => {
                let slot = self.slot(key);
                (slot.current, slot.previous, slot.shadow) = (None, None, None);
            }
        }
    }

    fn slot(&mut self, key: Arc<str>) -> &mut Slot {
        self.generation += 1;
        let found = self.slots.iter().position(|slot| slot.key == key);
        let at = found.unwrap_or_else(|| {
            self.slots.push(Slot { key, current: None, previous: None, shadow: None });
            self.slots.len() - 1
        });
        &mut self.slots[at]
    }

    /// Judges a value of a series, whose name is `key`, by the model that is for it.
    pub(super) fn judge(
        &mut self,
        key: &str,
        at: At<'_>,
        value: f64,
        present: &Verdict,
        how: How<'_>,
    ) -> Option<Said> {
        self.look(key, at, Input::Value(value), present.alarm, how)
    }

    /// Judges the values of a device together. Only where there is an alert to tell something comes back.
    pub(super) fn judge_group(
        &mut self,
        at: At<'_>,
        values: &BTreeMap<String, Value>,
        how: How<'_>,
    ) -> Option<GroupSaid> {
        if self.slots.is_empty() || values.len() < 2 {
            return None;
        }
        let mut key = std::mem::take(&mut self.key);
        write_key(&mut key, [at.site, at.device]);
        let said = self.look(&key, at, Input::Values(values), false, how);
        self.key = key;
        let said = said?;
        let (change, name) = said.change.zip(said.name)?;
        let metric = values.keys().nth(said.metric).cloned().unwrap_or_default();
        Some(GroupSaid { name, threshold: said.threshold, metric, change })
    }

    fn look(
        &mut self,
        key: &str,
        at: At<'_>,
        input: Input<'_>,
        present: bool,
        how: How<'_>,
    ) -> Option<Said> {
        if self.slots.is_empty() {
            return None;
        }
        let Self { slots, seats, group_seats, untold, shadow_us, generation, .. } = self;
        let seats = if at.metric.is_some() { seats } else { group_seats };
        let known = untold.len();
        let said = seats.with(key, Box::default, |seat| {
            seat.find(slots, *generation, key, at);
            let in_force = seat.slot.and_then(|slot| slots.get(slot)?.current.as_ref());
            let said = seat.judge(in_force, at.ts_us, input, how);
            if said.as_ref().is_some_and(Said::fires)
                && seat.flood.alert(at.ts_us, how.suite.alarms_per_month)
                && let Some(slot) = seat.slot.and_then(|slot| slots.get_mut(slot))
            {
                untold.extend(slot.fall_back());
            }
            if let Some(slot) = seat.tried.and_then(|slot| slots.get_mut(slot))
                && let Some(end) = seat.rehearse(slot, at.ts_us, input, present, *shadow_us, how)
            {
                untold.extend(slot.end_trial(end));
            }
            said
        });
        if untold.len() > known {
            *generation += 1;
        }
        self.tell();
        said
    }

    /// Tells the keeper in order. The line never waits for it: what it has no room for it learns at the next reading.
    fn tell(&mut self) {
        let Some(told) = &self.told else { return };
        while !self.untold.is_empty()
            && let Ok(room) = told.try_reserve()
        {
            room.send(self.untold.remove(0));
        }
    }
}

impl InForce {
    fn new(central: Arc<Central>) -> Self {
        let name = format!("central-{}", central.model.kind());
        let version = central.head.version.to_string();
        Self { name: Named { name: name.into(), version: version.into() }, central }
    }
}

impl Slot {
    /// Whether its models are for this series, or device.
    fn is_for(&self, at: At<'_>) -> bool {
        let of_current = self.current.as_ref().map(|model| &model.central);
        let Some(model) = of_current.or(self.shadow.as_ref().map(|(model, _)| model)) else {
            return false;
        };
        let kind = if at.metric.is_some() { Kind::Expected } else { Kind::Group };
        model.model.kind() == kind
            && model.head.scope.holds(at.site, at.device, at.metric.unwrap_or("*"))
    }

    fn end_trial(&mut self, end: Result<(), String>) -> Option<Outcome> {
        let (central, _) = self.shadow.take()?;
        let version = central.head.version;
        let became = match end {
            Ok(()) => {
                self.previous = self.current.replace(InForce::new(central));
                Became::InForce
            }
            Err(reason) => Became::Refused(reason),
        };
        Some(Outcome { key: self.key.clone(), version, became })
    }

    fn fall_back(&mut self) -> Option<Outcome> {
        let model = self.current.take()?;
        self.current = self.previous.take();
        let version = model.central.head.version;
        Some(Outcome { key: self.key.clone(), version, became: Became::Flood })
    }
}

fn half(most: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(most.get() / 2).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
