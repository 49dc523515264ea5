//! `weir-sink archive`: what lies in the archive, and whether it is whole.

use clap::{Args, Subcommand};
use serde_json::Value;
use weir_models::topic::Topic;

use super::merge::{MergeOptions, run_merge};
use super::progress::bar;
use super::verify::{Found, verify};
use super::{Say, json, text};
use crate::archive::{Archive, ArchiveError, Chain, Entry, Hours, Manifest};
use crate::config::Config;
use crate::train::When;

/// Looks into the archive.
#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// Lists objects with their rows, offsets and bytes.
    Ls(Look),
    /// Reads every object and checks it against its manifest, and that no offset is missing between two.
    /// Exit code 1 if anything is wrong.
    Verify(Look),
    /// Makes larger objects of the small ones of hours that are over, with the same rows and offsets. May be stopped at any
    /// time: the next run goes on.
    Merge(MergeOptions),
}

/// Which part of the archive, and how to show it.
#[derive(Debug, Args)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(super) part: Part,
    /// Writes JSON, an object a line.
    #[arg(long)]
    pub(super) json: bool,
}

/// Which part of the archive.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// Only this topic: readings, logs or alerts.
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub(super) topic: Option<Topic>,
    #[command(flatten)]
    pub(super) when: When,
}

/// The topics that are archived.
pub(super) const TOPICS: [Topic; 3] = [Topic::Readings, Topic::Logs, Topic::Alerts];

fn topic(name: &str) -> Result<Topic, String> {
    let found = TOPICS.into_iter().find(|topic| topic.suffix() == name);
    found.ok_or_else(|| "it is one of readings, logs and alerts".into())
}

impl Part {
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.topic.map_or_else(|| TOPICS.to_vec(), |topic| vec![topic])
    }

    pub(super) fn hours(&self) -> Result<Hours, String> {
        Ok(Hours::of(self.when.range()?))
    }
}

/// `weir-sink archive`.
pub(crate) async fn run_archive(
    config: &Config,
    command: &ArchiveCommand,
    say: Say<'_>,
) -> Result<(), String> {
    let archive = Archive::existing(&config.archive).map_err(text)?;
    match command {
        ArchiveCommand::Merge(options) => run_merge(&archive, config, options, say).await,
        ArchiveCommand::Ls(look) => list(&archive, look, say).await,
        ArchiveCommand::Verify(look) => prove(&archive, look, say).await,
    }
}

async fn list(archive: &Archive, look: &Look, say: Say<'_>) -> Result<(), String> {
    let hours = look.part.hours()?;
    let catalogue = archive.catalogue(&look.part.topics()).await.map_err(text)?;
    let (mut objects, mut rows, mut bytes, mut without) = (0_u64, 0_u64, 0_u64, 0_u64);
    for chain in &catalogue.chains {
        let mut counted: Vec<(Entry, u64, u64)> = Vec::new();
        for entry in chain.entries.iter().filter(|entry| hours.hold(entry)) {
            if counted.last().is_some_and(|(last, ..)| last.covers(entry)) {
                continue;
            }
            let (entry, manifest) = now(archive, chain, entry).await.map_err(text)?;
            let path = chain.path(&entry);
            let Some(manifest) = manifest.filter(|_| entry.has_object) else {
                let what = if entry.has_object { "no manifest" } else { "no object" };
                without += 1;
                say(&if look.json {
                    json(&serde_json::json!({ "object": path, "fault": what.replace(' ', "_") }))
                } else {
                    format!("{path}: {what}")
                });
                continue;
            };
            // What was listed before it was merged into this one.
            while let Some((_, of_rows, of_bytes)) = counted.pop_if(|(one, ..)| entry.covers(one)) {
                (objects, rows, bytes) = (objects - 1, rows - of_rows, bytes - of_bytes);
            }
            counted.push((entry, manifest.rows, manifest.bytes));
            (objects, rows, bytes) = (objects + 1, rows + manifest.rows, bytes + manifest.bytes);
            if look.json {
                let mut record = serde_json::to_value(&manifest).map_err(text)?;
                // The sink's own; it may be much longer than the rest.
                if let Value::Object(fields) = &mut record {
                    fields.remove("dedupe");
                }
                say(&json(&record));
            } else {
                let last = manifest.next_offset - 1;
                let (rows, bytes) = (manifest.rows, manifest.bytes);
                let (first, streams) = (manifest.first_offset, manifest.streams.len());
                say(&format!(
                    "{path}: {rows} rows, offsets {first} to {last}, {streams} streams, {bytes} bytes"
                ));
            }
        }
    }
    let mut left_over = 0;
    for chain in &catalogue.chains {
        let left = chain.covered.iter().chain(&chain.unfinished);
        for entry in left.filter(|entry| hours.hold(entry)) {
            left_over += 1;
            let path = chain.path(entry);
            say(&if look.json {
                json(&serde_json::json!({ "object": path, "left_over": true }))
            } else {
                format!("{path}: does not count, left over by a merge")
            });
        }
    }
    if !look.json {
        say(&format!("{objects} objects, {rows} rows, {bytes} bytes{}", and_left(left_over)));
    }
    match without {
        0 => Ok(()),
        _ => Err(format!("{without} without object or manifest: see `weir-sink archive verify`")),
    }
}

/// An object of a chain and its manifest; where it was merged since the chain was listed, those of what it was merged into.
async fn now(
    archive: &Archive,
    chain: &Chain,
    entry: &Entry,
) -> Result<(Entry, Option<Manifest>), ArchiveError> {
    if let Some(manifest) = archive.manifest(&chain.path(entry)).await? {
        return Ok((*entry, Some(manifest)));
    }
    match archive.successor(chain, entry).await? {
        Some(merged) => Ok((merged, archive.manifest(&chain.path(&merged)).await?)),
        None => Ok((*entry, None)),
    }
}

fn and_left(left_over: u64) -> String {
    match left_over {
        0 => String::new(),
        some => format!(", {some} left over by a merge (the next one removes them)"),
    }
}

async fn prove(archive: &Archive, look: &Look, say: Say<'_>) -> Result<(), String> {
    let hours = look.part.hours()?;
    let catalogue = archive.catalogue(&look.part.topics()).await.map_err(text)?;
    let bar = bar("verifying", catalogue.count(&hours));
    let mut tell = |found: &Found| {
        let line =
            if look.json { json(found) } else { format!("{}: {}", found.object, found.fault) };
        bar.suspend(|| say(&line));
    };
    let looked = verify(archive, &catalogue, &hours, &mut tell, || bar.inc(1)).await;
    bar.finish_and_clear();
    let looked = looked.map_err(text)?;
    if look.json {
        say(&json(&looked));
    } else {
        let (objects, rows, bytes) = (looked.objects, looked.rows, looked.bytes);
        let left = and_left(looked.left_over);
        say(&format!(
            "{objects} objects, {rows} rows, {bytes} bytes{left}, {} faults",
            looked.faults
        ));
    }
    match looked.faults {
        0 => Ok(()),
        faults => Err(format!(
            "the archive has {faults} faults: restore what is damaged from a copy; what else can be done \
             stands in docs/prove.md"
        )),
    }
}
