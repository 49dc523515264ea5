//! `weir-sink replay`: the archive sent to a topic again, or written to the store.
//!
//! In: objects of a range of hours, partition by partition in the order of their offsets. Out: records with the
//! keys, stamps and partitions that they had, or rows by the code that the running sink uses. Each object is
//! held against the hash in its manifest first. Promises: all of it may be done again, also after it was
//! stopped half-way: a sink drops what it has, a store writes the same rows. With a position file it goes
//! on where it was, but for the last second. What can go wrong: an object is damaged or gone, the target is
//! away; the message names it and what to do.

mod pace;
mod position;
mod target;

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use weir_models::topic::Topic;

use self::pace::Pace;
use self::position::{Position, Reached, open_from};
use self::target::{Target, Targets};
use super::archive::Part;
use super::progress::bar;
use super::verify::intact;
use super::{Say, text};
use crate::archive::{Archive, Chain, Entry, Row, rows};
use crate::config::Config;

/// Batches of rows that wait for the target.
const READ_AHEAD: usize = 2;

/// What to replay, and where to.
#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["to_topic", "to_store"])]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    part: Part,
    /// Sends the records to this topic; it needs as many partitions as the archive has. Asks for `--topic`.
    #[arg(long, value_name = "NAME", requires = "topic")]
    to_topic: Option<String>,
    /// Writes the rows to the configured store.
    #[arg(long)]
    to_store: bool,
    /// At most so many events a second.
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Notes in this file what is done, and goes on from there.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
}

impl ReplayOptions {
    /// What a position belongs to.
    fn task(&self) -> String {
        let Part { topic, when } = &self.part;
        let topic = topic.map_or("all topics", Topic::suffix);
        let target =
            self.to_topic.as_deref().map_or("the store".into(), |name| format!("topic {name}"));
        format!("{topic} {when} to {target}")
    }
}

/// `weir-sink replay`.
pub(crate) async fn run_replay(
    config: &Config,
    options: &ReplayOptions,
    say: Say<'_>,
) -> Result<(), String> {
    let archive = Archive::existing(&config.archive).map_err(text)?;
    let hours = options.part.hours()?;
    let mut position = Position::open(options.position.as_deref(), &options.task())?;
    let catalogue = archive.catalogue(&options.part.topics()).await.map_err(text)?;
    let targets = Targets::open(config, options.to_topic.as_deref(), &catalogue).await?;
    let bar = bar("replaying", catalogue.count(&hours));
    let mut replay =
        Replay { archive, targets, pace: Pace::new(options.rate), objects: 0, events: 0 };
    for chain in &catalogue.chains {
        let entries = chain.entries.iter().filter(|entry| hours.hold(entry));
        replay.chain(chain, entries, &mut position, &bar).await.map_err(|error| {
            format!("{error}; what came before it is done, run the same again to go on")
        })?;
    }
    position.save()?;
    replay.targets.leave().await?;
    bar.finish_and_clear();
    say(&format!("replayed {} objects, {} events", replay.objects, replay.events));
    Ok(())
}

struct Replay {
    archive: Archive,
    targets: Targets,
    pace: Pace,
    objects: u64,
    events: u64,
}

impl Replay {
    async fn chain(
        &mut self,
        chain: &Chain,
        entries: impl Iterator<Item = &Entry>,
        position: &mut Position,
        bar: &ProgressBar,
    ) -> Result<(), String> {
        let mut target = self.targets.of(chain.partition);
        let mut merged: Option<Entry> = None;
        let reached = position.of(chain);
        for entry in entries {
            if merged.is_some_and(|merged| merged.covers(entry)) {
                // Sent as part of the object that it was merged into meanwhile.
            } else if let Some(from) = open_from(reached, entry) {
                let done = self.object(chain, *entry, from, &mut target, position).await;
                let (read, sent) =
                    done.map_err(|error| format!("`{}`: {error}", chain.path(entry)))?;
                merged = Some(read);
                self.objects += u64::from(sent > 0);
                self.events += sent;
            } else {
                // Passed already: only how far its streams went is of interest.
                self.passed(chain, entry, reached, &mut target).await?;
            }
            bar.inc(1);
        }
        Ok(())
    }

    /// Takes note of an object that was sent before.
    async fn passed(
        &self,
        chain: &Chain,
        entry: &Entry,
        reached: Option<Reached>,
        target: &mut Target,
    ) -> Result<(), String> {
        let manifest = match self.archive.manifest(&chain.path(entry)).await.map_err(text)? {
            Some(manifest) => Some(manifest),
            // Merged since it was listed. Where not all of that was sent, whoever sends the rest notes what comes before it.
            None => match self.archive.successor(chain, entry).await.map_err(text)? {
                Some(merged) if open_from(reached, &merged).is_none() => {
                    self.archive.manifest(&chain.path(&merged)).await.map_err(text)?
                }
                _ => None,
            },
        };
        if let Some(manifest) = manifest {
            target.passed(&manifest);
        }
        Ok(())
    }

    /// Sends the rows of an object from offset `reached` on; says which object had them, and how many they were.
    async fn object(
        &mut self,
        chain: &Chain,
        entry: Entry,
        reached: i64,
        target: &mut Target,
        position: &mut Position,
    ) -> Result<(Entry, u64), String> {
        let gone = "it is gone, its manifest is there; restore it from a copy";
        if !entry.has_object {
            return Err(gone.into());
        }
        let read = self.archive.bytes_now(chain, &entry).await;
        let (read, from, data) = read
            .map_err(|error| if error.is_gone() { gone.to_owned() } else { error.to_string() })?;
        let from = from.max(reached);
        if let Some(manifest) = self.archive.manifest(&chain.path(&read)).await.map_err(text)? {
            intact(&manifest, &data).map_err(|fault| format!("{fault}; restore it from a copy"))?;
        }
        let mut batches = read_rows(chain.partition.topic, data);
        let mut sent = 0;
        while let Some(batch) = batches.recv().await {
            let mut batch = batch?;
            let passed = batch.partition_point(|row| row.offset < from);
            target.pass(batch.drain(..passed));
            while let Some(last) = batch.last().map(|row| row.offset) {
                let more = batch.split_off(self.pace.share(batch.len()));
                let events = batch.len() as u64;
                let next = more.first().map_or(last + 1, |row| row.offset);
                target.take(batch).await?;
                sent += events;
                position.reached(chain, &entry, next)?;
                self.pace.wait(events).await;
                batch = more;
            }
        }
        Ok((read, sent))
    }
}

/// Reads the rows of an object on a thread, a batch at a time.
fn read_rows(topic: Topic, data: Bytes) -> mpsc::Receiver<Result<Vec<Row>, String>> {
    let (send, batches) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(reason) = rows(topic, data, |batch| send.blocking_send(Ok(batch)).is_ok()) {
            // Whoever stopped listening has a reason of its own.
            let _ = send.blocking_send(Err(reason));
        }
    });
    batches
}

#[cfg(test)]
mod tests;
