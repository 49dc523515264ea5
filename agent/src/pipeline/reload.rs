//! Reload: a running agent takes over another configuration.
//!
//! In: the new configuration, checked. Out: the plan that was made true, or the reason why nothing
//! has changed. Promises: all of it or nothing; what is not in the plan is not touched: sockets and
//! connections of sources that stay as they are live on, what was learnt and counted goes on. First
//! everything new is opened; only then something is stopped, and what it has read is passed on first.
//!
//! What can go wrong: something new cannot be had (a busy port, a missing file), the plan needs a
//! restart, or the spool takes nothing, so that a source that leaves could not pass on what it has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::worker::Swap;
use super::{Agent, SourceError, StatusError, serve};
use crate::config::Config;
use crate::memory;
use crate::plan::{Action, Plan};
use crate::source::{OneSource, Switch};
use crate::status::Served;
use crate::tap;

/// Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What a running agent cannot change.
    #[error("{0}")]
    Restart(String),
    /// There would be nothing to take events from.
    #[error("no source is configured: add one, or stop the agent")]
    NoSource,
    /// Sources could not pass on what they have.
    #[error(
        "sources that leave could not pass on what they have read: {0}; reload again when that is over"
    )]
    SpoolFull(String),
    /// A source cannot start.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A setting of a source that only the parser knows.
    #[error("{0}")]
    Parse(String),
    /// The status address is not to be had.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// There is nothing left to change.
    #[error("the agent is stopping")]
    Stopping,
}

impl Agent {
    /// What it would do about another configuration.
    #[must_use]
    pub fn plan(&self, new: &Config) -> Plan {
        let mut plan = Plan::of(&self.config, new);
        for source in self.sources.with_other_secrets() {
            plan.start_anew(source);
        }
        plan
    }

    /// Takes over another configuration: all of it, or nothing.
    ///
    /// # Errors
    /// See [`ReloadError`]; the configuration from before is in force then.
    pub async fn reload(&mut self, new: Config) -> Result<Plan, ReloadError> {
        let plan = self.plan(&new);
        if let Some(refusal) = plan.refusal() {
            return Err(ReloadError::Restart(refusal));
        }
        if plan.is_empty() {
            return Ok(plan);
        }
        let inputs = self.inputs.upgrade().ok_or(ReloadError::Stopping)?;
        let sources = new.source.all();
        if sources.is_empty() {
            return Err(ReloadError::NoSource);
        }
        let of = |names: &[&str]| -> Vec<OneSource> {
            let is_of = |source: &&OneSource| names.contains(&source.name().as_str());
            sources.iter().filter(is_of).cloned().collect()
        };
        let leaving =
            plan.sources(|action| matches!(action, Action::Remove | Action::Replace { .. }));
        let coming =
            of(&plan.sources(|action| matches!(action, Action::Add | Action::Replace { .. })));
        let read_differently = of(&plan.sources(|action| action == Action::Swap));
        if let (false, Some(problem)) = (leaving.is_empty(), self.status.counters.spool_problem()) {
            return Err(ReloadError::SpoolFull(problem));
        }

        let (settings, indices) = self.settings_for(&read_differently, &coming);
        let changed = ["metadata", "filter", "score"].map(|table| plan.has_table(table));
        let (swap, swapped) = Swap::new(&new, &settings, changed).map_err(ReloadError::Parse)?;
        let data_dir = PathBuf::from(&new.agent.data_dir);
        let switch = Switch::prepare(&self.sources, leaving, coming, &data_dir)?;
        let moves = new.status.listen != self.config.status.listen;
        if moves {
            self.serve_at(&new.status.listen).await?;
        }
        let ready = match switch.make(&mut self.sources, &inputs).await {
            Ok(ready) => ready,
            Err(error) => {
                if moves {
                    let before = self.config.status.listen.clone();
                    self.serve_at(&before).await?;
                }
                return Err(error.into());
            }
        };
        // From here on nothing can fail, unless the pipeline ends.
        self.swaps.send(swap).await.map_err(|_| ReloadError::Stopping)?;
        swapped.await.map_err(|_| ReloadError::Stopping)?;
        self.settings = settings;
        for ready in ready {
            let Some(index) = indices.get(&ready.name()) else { continue };
            self.sources.run(ready, *index, &inputs);
        }
        read_differently.into_iter().for_each(|source| self.sources.settle(source));
        self.restart_tasks(&plan, &new).await;
        self.config = new;
        Ok(plan)
    }

    /// The parse settings of all sources by index, and the index of each that comes.
    fn settings_for(
        &self,
        read_differently: &[OneSource],
        coming: &[OneSource],
    ) -> (Vec<crate::source::SourceSettings>, BTreeMap<String, usize>) {
        let mut settings = self.settings.clone();
        for source in read_differently {
            if let Some(index) = self.sources.index(&source.name()) {
                settings[index] = source.settings();
            }
        }
        let mut indices = BTreeMap::new();
        for source in coming {
            // Never an index of before: inputs of the one that had it may still be on their way.
            indices.insert(source.name(), settings.len());
            settings.push(source.settings());
        }
        (settings, indices)
    }

    /// Serves metrics and health at another address.
    async fn serve_at(&mut self, listen: &str) -> Result<(), StatusError> {
        // First the old one, which may be in the way: 127.0.0.1:9598 of 0.0.0.0:9598.
        let before = self.served.as_ref().map(|served| served.address.to_string());
        if let Some(served) = self.served.take() {
            Served::end(served).await;
        }
        match serve(listen, self.status.clone()).await {
            Ok(served) => {
                self.served = served;
                Ok(())
            }
            Err(error) => {
                let before = serve(&before.unwrap_or_default(), self.status.clone()).await;
                self.served = before.unwrap_or_else(|error| {
                    tracing::error!(%error, "metrics and health are no longer served");
                    None
                });
                Err(error)
            }
        }
    }

    /// Tasks beside the line that do not look at the configuration again.
    async fn restart_tasks(&mut self, plan: &Plan, new: &Config) {
        let other_site = self.config.agent.site != new.agent.site;
        if plan.has_table("metadata") || other_site {
            self.metadata.replace(|| self.stages.follow_metadata(new, &self.status)).await;
        }
        let is_scored = |config: &Config| (config.score.readings, config.score.uses_models());
        if plan.has_table("models") || other_site || is_scored(&self.config) != is_scored(new) {
            let (stages, status, orders) = (&self.stages, &self.status, &self.orders);
            self.models.replace(|| stages.keep_models(new, status, orders)).await;
        }
        memory::show_plan(new);
        if !new.status.tap {
            if let Some(tapping) = self.tapping.take() {
                tapping.end().await;
            }
        } else if self.tapping.is_none() {
            // It was not wanted, or not to be had before.
            self.tapping = tap::serve(Path::new(&new.agent.data_dir), &self.taps);
        }
        if plan.has_table("agent") || plan.has_table("limits") {
            self.heartbeat.replace(|| self.stages.beat(new, &self.status)).await;
        }
    }
}

#[cfg(test)]
mod tests;
