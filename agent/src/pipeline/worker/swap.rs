//! Swap: other settings for the stages, between two events.
//!
//! In: the settings that are to count from now on. Out: stages that go on with what they have learnt
//! and counted. Promises: no event is lost, and none sees half of a change. What can go wrong is found
//! when the swap is made up, before anything changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Worker;
use crate::config::Config;
use crate::enrich::{Enricher, MetadataConfig};
use crate::filter::Rule;
use crate::parse::event::Parser;
use crate::score::ScoreConfig;
use crate::source::SourceSettings;
use crate::source::pace::set_flush_every;
use crate::spool::WhenFull;

/// Other settings.
pub(in crate::pipeline) struct Swap {
    parser: Parser,
    when_full: Vec<WhenFull>,
    /// Those that do not change are left alone.
    metadata: Option<MetadataConfig>,
    filter: Option<Vec<Rule>>,
    score: Option<ScoreConfig>,
    partitions_assumed: u32,
    flush_every: Duration,
    sync_every: Duration,
    /// Told when they count.
    done: oneshot::Sender<()>,
}

impl Swap {
    /// The settings of `config`; `sources` are those of all sources by their index. Metadata, filter and
    /// score are touched where `changed` says so. Answers also what tells that they count.
    ///
    /// # Errors
    /// When a source's time zone is not known.
    pub(in crate::pipeline) fn new(
        config: &Config,
        sources: &[SourceSettings],
        changed: [bool; 3],
    ) -> Result<(Self, oneshot::Receiver<()>), String> {
        let agent: Arc<str> = config.id().into();
        let [metadata, filter, score] = changed;
        let (done, is_done) = oneshot::channel();
        let swap = Self {
            parser: Parser::of_sources(&agent, &config.agent.site, sources)?,
            when_full: sources.iter().map(|source| source.when_full).collect(),
            metadata: metadata.then(|| config.metadata.clone()),
            filter: filter.then(|| config.filter.clone()),
            score: score.then(|| config.score.clone()),
            partitions_assumed: config.agent.partitions_assumed,
            flush_every: Duration::from_millis(config.spool.flush_ms),
            sync_every: Duration::from_millis(config.spool.sync_ms),
            done,
        };
        Ok((swap, is_done))
    }
}

impl Worker {
    /// Goes on with other settings.
    pub(super) fn swap(&mut self, swap: Swap) {
        self.parser = swap.parser;
        self.look_at_clock();
        self.when_full = swap.when_full;
        if let Some(metadata) = swap.metadata {
            self.enricher = Enricher::new(&metadata, self.shared.table.clone());
        }
        if let Some(rules) = swap.filter {
            self.filter.set_rules(rules);
        }
        if let Some(score) = swap.score {
            self.scorer.configure(&score);
        }
        self.partitions_assumed = swap.partitions_assumed;
        self.flush_every = swap.flush_every;
        set_flush_every(swap.flush_every);
        self.sync_every = swap.sync_every;
        // Whoever asked may have given up.
        let _ = swap.done.send(());
    }
}
