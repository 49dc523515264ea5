//! Followed files.
//!
//! In: paths. Out: one input a read, of all lines it completed. Promises: a position is remembered
//! only after the spool holds every line before it, so that a restart goes on where it has to, in
//! the middle of a line too; a rotated file is read to its end before its successor is begun; a
//! truncated file is read from its beginning. What can go wrong: lines written to a file after the
//! last look and before it is truncated (`copytruncate`) are gone; rotate by renaming instead.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use weir_models::time::now_us;

use super::outlet::{Outlet, raws};
use super::start::StartError;
use super::{Format, Inputs, Source, stopping};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;
use position::{Position, Positions};
use tail::{Batch, Step, Tail};

mod position;
mod rotated;
mod tail;
#[cfg(test)]
mod tests;

/// Inputs of one file that the spool does not hold yet, at most.
const IN_FLIGHT_MAX: usize = 64;
/// How long to wait at a stop for the spool to hold the last inputs.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Followed files: one table `[[source.file]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics, and of its remembered positions; default: made of
    /// the first file's name, for example `file-app.log`.
    #[serde(default)]
    pub name: Option<String>,
    /// The files; one that does not exist is waited for.
    pub paths: Vec<PathBuf>,
    /// Where to begin with a file that was never seen before: `beginning` or `end`.
    #[serde(default = "default_start")]
    pub start: Start,
    /// How often to look for new lines, in milliseconds.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
    /// How lines are parsed: `syslog`, `line`, `json` or `text`.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Time zone of stamps without one, for example `Europe/Berlin`; default: the machine's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether events carry the bytes as received.
    #[serde(default = "default_keep_raw")]
    pub keep_raw: bool,
    /// What becomes of its events when the spool is full: `block` or `drop_lowest`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// What is what in JSON payloads.
    #[serde(default)]
    pub fields: Fields,
    /// What is what in lines of the line protocol.
    #[serde(default)]
    pub line: LineFields,
}

/// Where to begin with a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With its first line.
    Beginning,
    /// With the next line written to it.
    End,
}

fn default_start() -> Start {
    Start::Beginning
}

fn default_poll_ms() -> u64 {
    250
}

fn default_format() -> Format {
    Format::Syslog
}

fn default_keep_raw() -> bool {
    true
}

impl Config {
    /// The name, configured or derived.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let file = self.paths.first().and_then(|path| path.file_name());
            format!("file-{}", file.unwrap_or_default().to_string_lossy())
        })
    }
}

/// Files and where their positions are remembered, ready to be followed.
pub struct Files {
    files: Vec<(PathBuf, Positions)>,
    start: Start,
    poll: Duration,
}

/// Sees that positions of the files of `config` can be remembered.
///
/// # Errors
/// When positions cannot be kept in `data_dir`.
pub fn open(config: &Config, data_dir: &Path) -> Result<Files, StartError> {
    let name = config.name();
    let open = |path: &PathBuf| {
        let folder = data_dir.join("positions");
        let positions = Positions::open(&folder, &name, path)
            .map_err(|error| StartError::DataDir { name: name.clone(), path: folder, error })?;
        Ok((path.clone(), positions))
    };
    Ok(Files {
        files: config.paths.iter().map(open).collect::<Result<_, StartError>>()?,
        start: config.start,
        poll: Duration::from_millis(config.poll_ms),
    })
}

/// Follows the files until the source stops or the pipeline ends.
pub async fn run(files: Files, source: Arc<Source>, inputs: Inputs, stop: watch::Receiver<bool>) {
    let outlet = Outlet::new(source, inputs);
    let mut followers = JoinSet::new();
    for (path, positions) in files.files {
        // Only now: until here another source may have followed the file, and moved the position.
        let tail = Tail::new(path, files.start, positions.load());
        followers.spawn(follow(tail, positions, outlet.clone(), files.poll, stop.clone()));
    }
    drop(outlet);
    while let Some(ended) = followers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "following a file ended badly");
        }
    }
}

async fn follow(
    mut tail: Tail,
    positions: Positions,
    outlet: Outlet,
    poll: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut in_flight = InFlight { waiting: VecDeque::new(), positions, last_error: None };
    let mut last_error = None;
    while !*stop.borrow() {
        if in_flight.waiting.len() < IN_FLIGHT_MAX {
            let stepped = spawn_blocking(move || {
                let step = tail.step();
                (tail, step)
            });
            let Ok((back, step)) = stepped.await else {
                return;
            };
            tail = back;
            let error = step.as_ref().err().map(ToString::to_string);
            if error.is_some() && error != last_error {
                tracing::warn!(source = %outlet.name(), path = %tail.path().display(), error, "cannot follow a file; trying again");
            }
            last_error = error;
            if let Ok(Step::Lines(batch)) = step {
                let sent = tokio::select! {
                    sent = in_flight.send(&outlet, batch) => sent,
                    // The pipeline may take nothing for long; what it does not take stays in the file.
                    () = stopping(&mut stop) => break,
                };
                if !sent || !in_flight.settle_ready() {
                    return;
                }
                continue;
            }
        }
        tokio::select! {
            biased;
            () = stopping(&mut stop) => break,
            goes_on = in_flight.settle(), if !in_flight.waiting.is_empty() => if !goes_on {
                return;
            },
            () = tokio::time::sleep(poll) => {}
        }
    }
    // The pipeline ends when nobody can send any more; what it holds it brings into the spool.
    drop(outlet);
    let settled = async { while !in_flight.waiting.is_empty() && in_flight.settle().await {} };
    if tokio::time::timeout(STOP_WAIT, settled).await.is_err() {
        tracing::warn!(path = %tail.path().display(), "the spool did not take the last lines in time; they will be read again");
    }
    in_flight.positions.sync();
}

/// Inputs that the spool may not hold yet, oldest first, each with the position after it.
struct InFlight {
    waiting: VecDeque<(Option<oneshot::Receiver<()>>, Position)>,
    positions: Positions,
    last_error: Option<String>,
}

impl InFlight {
    /// Sends `batch`; `false` when the pipeline has ended.
    async fn send(&mut self, outlet: &Outlet, batch: Batch) -> bool {
        let mut safe = None;
        if !batch.frames.is_empty() {
            let input = outlet.input(raws(batch.frames, now_us()));
            match outlet.send_tracked(input).await {
                Ok(receiver) => safe = Some(receiver),
                Err(_) => return false,
            }
        }
        self.waiting.push_back((safe, batch.position));
        true
    }

    /// Waits for the oldest input and remembers its position; `false` when an input was given up,
    /// for then no later position may be remembered.
    async fn settle(&mut self) -> bool {
        if let Some((Some(safe), _)) = self.waiting.front_mut() {
            if safe.await.is_err() {
                return false;
            }
            // Asked no second time: a receiver answers once.
            if let Some((safe, _)) = self.waiting.front_mut() {
                *safe = None;
            }
        }
        self.settle_ready()
    }

    /// Remembers the newest position before which everything is safe; never waits.
    fn settle_ready(&mut self) -> bool {
        let mut newest = None;
        let mut goes_on = true;
        while let Some((safe, _)) = self.waiting.front_mut() {
            match safe.as_mut().map_or(Ok(()), oneshot::Receiver::try_recv) {
                Ok(()) => newest = self.waiting.pop_front().map(|(_, position)| position),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => {
                    goes_on = false;
                    break;
                }
            }
        }
        if let Some(position) = newest {
            let error = self.positions.save(&position).err().map(|error| error.to_string());
            if error.is_some() && error != self.last_error {
                tracing::error!(path = %position.path.display(), error, "cannot remember how far a file was read; after a restart lines will come again");
            }
            self.last_error = error;
        }
        goes_on
    }
}
