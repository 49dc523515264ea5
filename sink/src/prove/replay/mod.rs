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
use self::position::Position;
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
    let archive = Archive::existing(&config.archive.path).map_err(text)?;
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
        for entry in entries {
            let path = chain.path(entry);
            let skip = position.done(chain, entry);
            if skip.is_none() {
                // Passed already: only how far its streams went is of interest.
                if let Some(manifest) = self.archive.manifest(&path).await.map_err(text)? {
                    target.passed(&manifest);
                }
            } else {
                let skip = skip.unwrap_or(0);
                let done = self.object(chain, entry, &path, skip, &mut target, position).await;
                let sent = done.map_err(|error| format!("`{path}`: {error}"))?;
                self.objects += u64::from(sent > 0);
                self.events += sent;
            }
            bar.inc(1);
        }
        Ok(())
    }

    /// Sends the rows of an object but for the first `skip`; says how many.
    async fn object(
        &mut self,
        chain: &Chain,
        entry: &Entry,
        path: &str,
        skip: u64,
        target: &mut Target,
        position: &mut Position,
    ) -> Result<u64, String> {
        if !entry.has_object {
            return Err("it is gone, its manifest is there; restore it from a copy".into());
        }
        let data = self.archive.bytes(path).await.map_err(text)?;
        if let Some(manifest) = self.archive.manifest(path).await.map_err(text)? {
            intact(&manifest, &data).map_err(|fault| format!("{fault}; restore it from a copy"))?;
        }
        let mut batches = read(chain.partition.topic, data);
        let (mut passed, mut sent) = (0, 0);
        while let Some(batch) = batches.recv().await {
            let mut batch = batch?;
            let of_this =
                batch.len().min(usize::try_from(skip - passed.min(skip)).unwrap_or(usize::MAX));
            target.pass(batch.drain(..of_this));
            passed += of_this as u64;
            while !batch.is_empty() {
                let more = batch.split_off(self.pace.share(batch.len()));
                let events = batch.len() as u64;
                target.take(batch).await?;
                (passed, sent) = (passed + events, sent + events);
                position.reached(chain, entry, passed)?;
                self.pace.wait(events).await;
                batch = more;
            }
        }
        Ok(sent)
    }
}

/// Reads the rows of an object on a thread, a batch at a time.
fn read(topic: Topic, data: Bytes) -> mpsc::Receiver<Result<Vec<Row>, String>> {
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
