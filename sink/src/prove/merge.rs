//! `weir-sink archive merge`: larger objects of small ones, by command.

use clap::Args;

use super::archive::Part;
use super::{Say, json, text};
use crate::archive::Archive;
use crate::archive::merge::{Merge, Step};
use crate::config::Config;

/// Which part of the archive to merge, and how much.
#[derive(Debug, Args)]
pub(crate) struct MergeOptions {
    #[command(flatten)]
    part: Part,
    /// Only says what would become one; changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Ends after so many merged objects.
    #[arg(long, value_name = "OBJECTS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Writes JSON, an object a line.
    #[arg(long)]
    json: bool,
}

/// Merges, and tells what became of what. What is left as it is, is no failure.
pub(super) async fn run_merge(
    archive: &Archive,
    config: &Config,
    options: &MergeOptions,
    say: Say<'_>,
) -> Result<(), String> {
    let hours = options.part.hours()?;
    let merge = Merge::new(&config.archive.merge, &options.part.topics(), hours)
        .limit(options.limit.unwrap_or(u64::MAX))
        .dry(options.dry_run);
    let (mut merged, mut sources, mut left) = (0_u64, 0_u64, 0_u64);
    let ended = merge.run(archive, |step| {
        match step {
            Step::Merged { objects, .. } | Step::Planned { objects, .. } => {
                (merged, sources) = (merged + 1, sources + objects);
            }
            Step::Left { .. } => left += 1,
            Step::Removed { .. } => {}
        }
        say(&if options.json { json(step) } else { line(step) });
    });
    ended.await.map_err(text)?;
    if !options.json {
        let would = if options.dry_run { "would become" } else { "became" };
        say(&format!("{sources} objects {would} {merged}, {left} left as they are"));
    }
    Ok(())
}

fn line(step: &Step) -> String {
    match step {
        Step::Planned { object, objects, bytes } => {
            format!("{object} and the next, {objects} objects of {bytes} bytes, would become one")
        }
        Step::Merged { object, objects, rows, bytes } => {
            format!("{object}: of {objects} objects, {rows} rows, {bytes} bytes")
        }
        Step::Removed { object } => format!("{object}: removed, it had been merged before"),
        Step::Left { object, why } => format!("{object}: left as it is: {why}"),
    }
}
