//! `weir-agent spool`: looks into the queue on disk, checks it, mends it, prints what is in it.
//!
//! In: the configuration or the data folder. Out: on standard output what was asked for, on standard
//! error what is said to a person. Exit codes: 0 all well, 1 damage was found or the work could not
//! be done, 2 wrong arguments. All but `repair` only read and may run beside the agent; `repair`
//! takes the spool's lock, so it does not.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_models::event::{Loss, RawBytes};

use super::log::Log;
use super::survey::{LaneReport, LaneSurvey, PartitionReport};
use super::writer::lock;
use super::{Lane, SpoolConfig, SpoolError, folders};
use crate::config::Config;
use crate::publish::DeadLetters;

/// `weir-agent spool`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows lanes, streams, events that wait, bytes and losses.
    Inspect(Look),
    /// Reads everything and checks every checksum; exit code 1 if something is damaged.
    Verify(Look),
    /// Writes damaged segments anew with every whole batch; what is lost is told to Kafka later.
    /// The agent must not run.
    Repair(Look),
    /// Prints the events that wait for Kafka as NDJSON.
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    place: Place,
    /// Writes one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    place: Place,
    /// Also what Kafka has already, as far as it is still on disk.
    #[arg(long)]
    all: bool,
    /// Only this lane: alerts, urgent, readings or rest.
    #[arg(long, value_name = "LANE", value_parser = lane_named)]
    lane: Option<Lane>,
    /// The bytes as received, one event a line, instead of JSON; alerts have none.
    #[arg(long)]
    raw: bool,
    /// The records that Kafka refused, with the reason, instead of the spool.
    #[arg(long, conflicts_with_all = ["all", "lane", "raw"])]
    dead: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The agent's configuration.
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,
    /// The agent's data folder (`agent.data_dir`).
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn lane_named(name: &str) -> Result<Lane, String> {
    let found = Lane::ALL.into_iter().find(|lane| lane.name() == name);
    found.ok_or_else(|| "it is one of alerts, urgent, readings and rest".into())
}

/// Work that could not be done.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{0}")]
    Misused(String),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<super::log::LogError> for CliError {
    fn from(error: super::log::LogError) -> Self {
        CliError::Spool(error.into())
    }
}

/// Runs the command; `load` reads a configuration.
pub fn run(args: &Args, load: impl Fn(&str) -> Result<Config, String>) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match &args.command {
        Command::Inspect(look) => look
            .place
            .find(load)
            .map_err(CliError::Misused)
            .and_then(|dir| inspect(&dir, look.json, &mut out)),
        Command::Verify(look) => look
            .place
            .find(load)
            .map_err(CliError::Misused)
            .and_then(|dir| verify(&dir, look.json, &mut out)),
        Command::Repair(look) => look
            .place
            .find(load)
            .map_err(CliError::Misused)
            .and_then(|dir| repair(&dir, look.json, &mut out)),
        Command::Export(export) => export
            .place
            .find(load)
            .map_err(CliError::Misused)
            .and_then(|dir| export.print(&dir, &mut out)),
    };
    match done.and_then(|fine| Ok(out.flush().map(|()| fine)?)) {
        Ok(fine) => ExitCode::from(u8::from(!fine)),
        // Whoever reads has seen enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("weir-agent: {error}"));
            ExitCode::from(if matches!(error, CliError::Misused(_)) { 2 } else { 1 })
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

impl Place {
    /// The data folder.
    ///
    /// # Errors
    /// When it has no spool.
    pub(crate) fn find(
        &self,
        load: impl Fn(&str) -> Result<Config, String>,
    ) -> Result<PathBuf, String> {
        let dir = match (&self.config, &self.dir) {
            (Some(file), _) => PathBuf::from(load(file)?.agent.data_dir),
            (None, dir) => dir.clone().unwrap_or_default(),
        };
        if dir.join("spool").is_dir() {
            return Ok(dir);
        }
        let dir = dir.display();
        Err(format!(
            "{dir} has no folder `spool`: name the folder that is `agent.data_dir` in the configuration"
        ))
    }
}

/// What is found in all lanes.
struct Report {
    in_use: bool,
    lanes: Vec<LaneReport>,
}

impl Report {
    fn read(spool: &Path) -> Result<Report, CliError> {
        let in_use = in_use(spool);
        let survey = |lane| LaneSurvey::open(spool, lane);
        let surveys = Lane::ALL.into_iter().map(survey).collect::<Result<Vec<_>, _>>()?;
        let mut progress = Progress::new(surveys.iter().map(LaneSurvey::bytes).sum());
        let mut lanes = Vec::new();
        for survey in surveys {
            lanes.push(survey.read(|bytes| progress.tell(bytes), |_, _| Ok(()))?);
        }
        Ok(Report { in_use, lanes })
    }

    fn is_damaged(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_damaged(self.in_use))
    }

    fn json(&self) -> serde_json::Value {
        json!({ "in_use": self.in_use, "damaged": self.is_damaged(), "lanes": self.lanes })
    }

    fn damage(&self, out: &mut impl Write) -> io::Result<()> {
        for lane in &self.lanes {
            let name = lane.lane;
            for (losses, what) in [(&lane.damaged, "damaged"), (&lane.lost, "lost before")] {
                for loss in losses {
                    writeln!(out, "{name}: {what}: {}", told(loss))?;
                }
            }
            for path in &lane.not_segments {
                writeln!(out, "{name}: not a segment: {}", path.display())?;
            }
            for path in &lane.others {
                writeln!(out, "{name}: left over, may be deleted: {}", path.display())?;
            }
            if lane.torn_bytes > 0 {
                let what = if self.in_use { "being written" } else { "torn tail" };
                writeln!(out, "{name}: {what}: {} bytes", lane.torn_bytes)?;
            }
            if lane.bad_batches > 0 {
                writeln!(out, "{name}: batches Kafka would refuse: {}", lane.bad_batches)?;
            }
        }
        Ok(())
    }
}

fn told(loss: &Loss) -> String {
    let Loss { count, range, reason, .. } = loss;
    match range {
        Some((stream, first, last)) => {
            format!("{count} events of stream {stream}, seq {first} to {last} ({reason})")
        }
        None => format!("{count} events of a stream that is gone ({reason})"),
    }
}

fn inspect(dir: &Path, as_json: bool, out: &mut impl Write) -> Result<bool, CliError> {
    let spool = dir.join("spool");
    let report = Report::read(&spool)?;
    if as_json {
        writeln!(out, "{}", report.json())?;
        return Ok(true);
    }
    let state = if report.in_use { "in use by a running agent" } else { "not in use" };
    writeln!(out, "{}: {state}", spool.display())?;
    writeln!(
        out,
        "{:<10}{:>12}{:>12}{:>10}{:>10}{:>14}",
        "lane", "waiting", "events", "batches", "segments", "bytes"
    )?;
    for lane in &report.lanes {
        let LaneReport { lane: name, waiting, events, batches, segments, bytes, .. } = lane;
        writeln!(out, "{name:<10}{waiting:>12}{events:>12}{batches:>10}{segments:>10}{bytes:>14}")?;
        for of in &lane.streams {
            let (stream, first, last) = (of.stream, of.first_seq, of.last_seq);
            writeln!(out, "  stream {stream}: seq {first} to {last}, {} waiting", of.waiting)?;
        }
        for of in &lane.partitions {
            let PartitionReport { topic, partition, of, batches, events } = of;
            let of = of.map_or_else(String::new, |of| format!(" of {of}"));
            writeln!(
                out,
                "  {topic}, partition {partition}{of}: {events} events in {batches} batches"
            )?;
        }
    }
    for path in folders::left_over(&spool) {
        writeln!(out, "left over, goes with the next start: {}", path.display())?;
    }
    report.damage(out)?;
    Ok(true)
}

fn verify(dir: &Path, as_json: bool, out: &mut impl Write) -> Result<bool, CliError> {
    let report = Report::read(&dir.join("spool"))?;
    let fine = !report.is_damaged();
    if as_json {
        writeln!(out, "{}", report.json())?;
        return Ok(fine);
    }
    report.damage(out)?;
    let sum = |of: fn(&LaneReport) -> u64| report.lanes.iter().map(of).sum::<u64>();
    let (batches, events) = (sum(|lane| lane.batches), sum(|lane| lane.events));
    let verdict = if fine {
        "ok"
    } else {
        "damaged; the agent goes on all the same, `spool repair` mends it"
    };
    writeln!(out, "{batches} batches with {events} events: {verdict}")?;
    Ok(fine)
}

fn repair(dir: &Path, as_json: bool, out: &mut impl Write) -> Result<bool, CliError> {
    let spool = dir.join("spool");
    let _lock = lock(&spool)?;
    let before = Report::read(&spool)?;
    let bytes = before.lanes.iter().filter(|lane| lane.is_damaged(false)).map(|lane| lane.bytes);
    let mut progress = Progress::new(bytes.sum());
    let mut rewritten = 0;
    for (lane, found) in Lane::ALL.into_iter().zip(&before.lanes) {
        if !found.is_damaged(false) {
            continue;
        }
        let strands = folders::strands(&spool, lane);
        for strand in strands.map_err(|error| SpoolError::writing(&spool, error))? {
            let folder = spool.join(strand.folder());
            // It may end earlier than it did: a number must not be given out twice.
            let state = folder.join("stream");
            if state.exists() {
                std::fs::remove_file(&state).map_err(|error| SpoolError::writing(&state, error))?;
            }
            let mut log = Log::open(&folder, SpoolConfig::default().segment_bytes)?;
            rewritten += log.repair(|bytes| progress.tell(bytes))?;
        }
    }
    let after = Report::read(&spool)?;
    if as_json {
        let json = json!({ "rewritten_segments": rewritten, "before": before.json(), "after": after.json() });
        writeln!(out, "{json}")?;
    } else {
        before.damage(out)?;
        let state = if after.is_damaged() { "still damaged" } else { "whole" };
        writeln!(out, "{rewritten} segments written anew, the spool is {state}")?;
    }
    Ok(!after.is_damaged())
}

impl Export {
    fn print(&self, dir: &Path, out: &mut impl Write) -> Result<bool, CliError> {
        if self.dead {
            for path in DeadLetters::files(dir) {
                let mut file = std::fs::File::open(path)?;
                io::copy(&mut file, out)?;
            }
            return Ok(true);
        }
        let spool = dir.join("spool");
        let (mut events, mut without, mut damaged) = (0u64, 0u64, false);
        for lane in Lane::ALL.into_iter().filter(|lane| self.lane.is_none_or(|only| only == *lane))
        {
            let survey = LaneSurvey::open(&spool, lane)?;
            let mut progress = Progress::new(survey.bytes());
            let mut failed = None;
            let report = survey.read(
                |bytes| progress.tell(bytes),
                |event, waits| {
                    if (waits || self.all) && failed.is_none() {
                        match self.line(event, out) {
                            Ok(true) => events += 1,
                            Ok(false) => without += 1,
                            Err(error) => failed = Some(error),
                        }
                    }
                    Ok(())
                },
            )?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            damaged |= !report.damaged.is_empty();
        }
        let left_out =
            if without > 0 { format!(", {without} have no raw bytes") } else { String::new() };
        say(&format!("{events} events{left_out}"));
        if damaged {
            say("some events are damaged and were left out: see `weir-agent spool verify`");
        }
        Ok(true)
    }

    /// Writes an event; false if it has no raw bytes.
    fn line(&self, event: &[u8], out: &mut impl Write) -> io::Result<bool> {
        if !self.raw {
            out.write_all(event)?;
        } else if let Some(raw) = RawBytes::of_json(event) {
            out.write_all(&raw.0)?;
        } else {
            return Ok(false);
        }
        out.write_all(b"\n")?;
        Ok(true)
    }
}

/// Whether a process holds the spool's lock. Asked of the kernel's list, because trying the lock
/// could keep an agent from starting at that moment.
fn in_use(spool: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(spool.join("lock")) else { return false };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{} ", metadata.ino());
    locks.lines().any(|lock| lock.contains("FLOCK") && lock.contains(&inode))
}

/// Tells a person how far long work is.
struct Progress {
    total: u64,
    done: u64,
    told: Instant,
    every: Duration,
}

impl Progress {
    fn new(total: u64) -> Self {
        // A log file wants fewer lines than a screen.
        let every = Duration::from_secs(if io::stderr().is_terminal() { 1 } else { 10 });
        Self { total, done: 0, told: Instant::now(), every }
    }

    fn tell(&mut self, bytes: u64) {
        self.done += bytes;
        if self.told.elapsed() >= self.every {
            self.told = Instant::now();
            say(&format!("{} of {} MiB", self.done >> 20, self.total >> 20));
        }
    }
}

#[cfg(test)]
mod tests;
