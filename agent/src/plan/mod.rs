//! Plan: what a reload does, or would do.
//!
//! In: the configuration that runs and the one that is to. Out: a change for each source and each table
//! that differs, and what is done about it. Pure. Whatever is not in the plan is not touched. What a
//! running agent cannot change makes all of a reload impossible, so that a file is in force as a
//! whole or not at all.
//!
//! | differs | what is done |
//! | --- | --- |
//! | a source is new, or gone | it starts, or passes on what it has read and stops |
//! | a source, only in how its payloads are parsed | the parser goes on with the other settings; the source does not notice |
//! | a source, in anything else | it stops and starts anew, on the same sockets where it listens at the same place |
//! | metadata, filter, score, models, status, most of agent | other settings between two events |
//! | who the agent is, where its data lies, Kafka, most of the spool, standard input | only a restart can |

mod words;

use crate::config::Config;
use crate::source::OneSource;
use crate::spool::SpoolConfig;

/// What a reload does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Everything that differs.
    pub changes: Vec<Change>,
    /// Sources that stay as they are.
    pub kept: usize,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What differs.
    pub part: Part,
    /// What is done about it.
    pub action: Action,
}

/// A part of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The source of this name.
    Source(String),
    /// A table of this name.
    Table(&'static str),
}

/// What is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The source starts.
    Add,
    /// The source passes on what it has read and stops.
    Remove,
    /// The source stops and starts anew; whether it listens at the same place.
    Replace {
        /// Whether its sockets stay open.
        keeps_place: bool,
    },
    /// Other settings count from the next event on.
    Swap,
    /// It takes a restart, and why.
    Restart(&'static str),
}

impl Plan {
    /// What takes a running agent from `old` to `new`.
    #[must_use]
    pub fn of(old: &Config, new: &Config) -> Self {
        let mut plan = Self::default();
        plan.add_tables(old, new);
        plan.add_sources(&old.source.all(), &new.source.all());
        plan
    }

    fn add(&mut self, part: Part, action: Action) {
        self.changes.push(Change { part, action });
    }

    fn add_tables(&mut self, old: &Config, new: &Config) {
        // So that a table that is added is thought of here.
        let Config {
            agent,
            kafka,
            source: _,
            metadata,
            filter,
            score,
            models,
            spool,
            status,
            limits,
        } = old;
        let mut compare = |name, is_equal: bool, action| {
            if !is_equal {
                self.add(Part::Table(name), action);
            }
        };
        let action = if agent.id != new.agent.id {
            Action::Restart("its name is in its streams, topics and heartbeats")
        } else if agent.data_dir != new.agent.data_dir {
            Action::Restart("the spool is open there")
        } else {
            Action::Swap
        };
        compare("agent", *agent == new.agent, action);
        let lanes = "what is on its way to Kafka has to end first";
        compare("kafka", *kafka == new.kafka, Action::Restart(lanes));
        compare("metadata", *metadata == new.metadata, Action::Swap);
        compare("filter", *filter == new.filter, Action::Swap);
        compare("score", *score == new.score, Action::Swap);
        compare("models", *models == new.models, Action::Swap);
        let (flush_ms, sync_ms) = (new.spool.flush_ms, new.spool.sync_ms);
        let action = if (SpoolConfig { flush_ms, sync_ms, ..spool.clone() }) == new.spool {
            Action::Swap
        } else {
            Action::Restart("the spool is open with these settings")
        };
        compare("spool", *spool == new.spool, action);
        compare("status", *status == new.status, Action::Swap);
        compare("limits", *limits == new.limits, Action::Swap);
    }

    fn add_sources(&mut self, old: &[OneSource], new: &[OneSource]) {
        let find =
            |all: &[OneSource], name: &str| all.iter().find(|one| one.name() == name).cloned();
        for one in old {
            let name = one.name();
            let action = match find(new, &name) {
                Some(other) if other == *one => {
                    self.kept += 1;
                    continue;
                }
                Some(other) if other.takes_the_same(one) => Action::Swap,
                Some(other) if is_stdin(one) || is_stdin(&other) => STDIN,
                Some(other) => Action::Replace { keeps_place: one.has_place_of(&other) },
                None if is_stdin(one) => STDIN,
                None => Action::Remove,
            };
            self.add(Part::Source(name), action);
        }
        for one in new {
            let name = one.name();
            if find(old, &name).is_none() {
                let action = if is_stdin(one) { STDIN } else { Action::Add };
                self.add(Part::Source(name), action);
            }
        }
    }

    /// Lets a source start anew of which the file does not show that it changes: its secrets have.
    pub(crate) fn start_anew(&mut self, source: &OneSource) {
        let part = Part::Source(source.name());
        let action = Action::Replace { keeps_place: source.has_place_of(source) };
        match self.changes.iter_mut().find(|change| change.part == part) {
            None => {
                self.kept = self.kept.saturating_sub(1);
                self.add(part, action);
            }
            Some(change) if change.action == Action::Swap => change.action = action,
            Some(_) => {}
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What only a restart can change, and why; nothing of the plan is done then.
    pub fn refusals(&self) -> impl Iterator<Item = (&Part, &'static str)> {
        self.changes.iter().filter_map(|change| match change.action {
            Action::Restart(why) => Some((&change.part, why)),
            _ => None,
        })
    }

    /// The names of sources about which this is done.
    pub(crate) fn sources(&self, is_it: impl Fn(Action) -> bool) -> Vec<&str> {
        self.changes
            .iter()
            .filter(|change| is_it(change.action))
            .filter_map(|change| match &change.part {
                Part::Source(name) => Some(name.as_str()),
                Part::Table(_) => None,
            })
            .collect()
    }

    /// Whether the table `name` differs.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.changes.iter().any(|change| matches!(change.part, Part::Table(table) if table == name))
    }
}

const STDIN: Action = Action::Restart("a read of standard input cannot be taken back");

fn is_stdin(source: &OneSource) -> bool {
    matches!(source, OneSource::Stdin(_))
}

#[cfg(test)]
mod tests;
