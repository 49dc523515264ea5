//! Scores of several metrics of one device together, and the life of the alerts.
//!
//! In: all values of one reading. Out: the score of the group, and alert drafts, whose metric is `group` and whose reason
//! is the metric that lies farthest. A group is a device and the names of its metrics: a payload that lacks one is
//! another group. One entry a group, the least recently used leaves when there are too many.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use weir_models::alert::{AlertData, AlertKind, Model};
use weir_models::detect::group::{CHANNELS_MAX, Group};
use weir_models::detect::life::{Life, LifeConfig, Signal, Transition};
use weir_models::event::Value;
use weir_models::topic::write_key;

use super::central::{At, GroupSaid};
use super::{Draft, alert_data, alert_id};
use crate::recent::Recent;

/// The metric of an alert about a group.
const METRIC: &str = "group";

#[derive(Debug)]
pub(super) struct Groups {
    agent: Arc<str>,
    model: Model,
    groups: Recent<Box<Tracked>>,
    /// Alerts that fire, at least.
    firing: usize,
    key: String,
}

#[derive(Debug, Default)]
struct Tracked {
    group: Group,
    life: Life<String>,
}

/// What is said of a group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupScore {
    pub(super) score: f32,
    /// The metric that lies farthest.
    pub(super) metric: String,
}

impl Groups {
    pub(super) fn new(agent: Arc<str>, most: NonZeroUsize) -> Self {
        let model = Model { name: Group::MODEL.name.into(), version: Group::MODEL.version.into() };
        Self { agent, model, groups: Recent::new(most), firing: 0, key: String::new() }
    }

    pub(super) fn resize(&mut self, most: NonZeroUsize) {
        self.groups.resize(most);
    }

    /// Whether an alert of a group fires.
    pub(super) fn firing(&self) -> bool {
        self.firing > 0
    }

    /// Judges the values of one reading; nothing where there are fewer than two.
    pub(super) fn score(
        &mut self,
        (site, device): (&str, &str),
        ts_us: i64,
        values: &BTreeMap<String, Value>,
        (level, life): (f32, &LifeConfig),
        drafts: &mut Vec<Draft>,
    ) -> Option<GroupScore> {
        if values.len() < 2 {
            return None;
        }
        write_key(
            &mut self.key,
            [site, device].into_iter().chain(values.keys().map(String::as_str)),
        );
        let mut vector = [0.0; CHANNELS_MAX];
        for (into, value) in vector.iter_mut().zip(values.values()) {
            *into = value.v;
        }
        let vector = &vector[..values.len().min(CHANNELS_MAX)];
        let (verdict, change) = self.groups.with(&self.key, Box::default, |tracked| {
            let verdict = tracked.group.update(vector)?;
            let signal = Signal {
                score: verdict.score,
                alarm: verdict.score >= level,
                calm: verdict.score < 0.5 * level,
            };
            Some((verdict, tracked.life.step(life, ts_us, signal, alert_id)))
        })?;
        let metric = values.keys().nth(verdict.channel).cloned().unwrap_or_default();
        if let Some(change) = change {
            self.firing = match change {
                Transition::Fired { .. } => self.firing + 1,
                Transition::Worse { .. } => self.firing,
                Transition::Resolved { .. } => self.firing.saturating_sub(1),
            };
            drafts.push(self.draft((site, device), &metric, level, change));
        }
        Some(GroupScore { score: verdict.score, metric })
    }

    /// What a central model says of a device.
    pub(super) fn draft_of(&self, at: At<'_>, said: GroupSaid) -> Draft {
        let about = (at.site, at.device, METRIC);
        let told = (&self.agent, &said.name);
        let data = alert_data(told, AlertKind::Reading, about, said.threshold, said.change);
        Draft(AlertData { why: said.metric, ..data })
    }

    fn draft(
        &self,
        (site, device): (&str, &str),
        metric: &str,
        level: f32,
        change: Transition<String>,
    ) -> Draft {
        let told = (&self.agent, &self.model);
        let about = (site, device, METRIC);
        let data = alert_data(told, AlertKind::Reading, about, level, change);
        Draft(AlertData { why: metric.into(), ..data })
    }
}
