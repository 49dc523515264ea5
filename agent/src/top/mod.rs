//! `weir-agent top`: how a running agent fares, in a terminal.
//!
//! In: the address of its status. Out: a table that renews itself until `q`; or once, as a table or as JSON. Figures a second
//! are of the time between two looks. Promises: the terminal is left as it was found, also at a signal; keys and signals are
//! obeyed while an answer is waited for; an agent that cannot be reached is told and asked again. Exit codes: 0 asked to
//! end, 1 nobody answers (with `--once`), 2 wrong arguments.

mod ask;
mod figures;
mod screen;

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, StatusConfig};
use ask::get;
use figures::{Sample, figures};
use screen::Screen;

/// How often keys are looked at, and whether there is an answer.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// How long one answer may take.
const WAIT: Duration = Duration::from_secs(3);
/// What stands below all.
const KEYS: &str = "\nq: end\n";
/// What ends it.
const ENDS: [SignalKind; 4] =
    [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];

/// What was seen last and is not shown yet.
type Latest = Arc<Mutex<Option<Result<Sample, String>>>>;

/// The options of `top`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The configuration of the agent, for the address of its status.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// The address of its status itself; default: 127.0.0.1:9598.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    at: Option<String>,
    /// Seconds between two looks, a day at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    /// Writes one table and ends; so it does where standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// Writes one JSON object and ends.
    #[arg(long)]
    json: bool,
}

/// Shows how the agent fares.
///
/// # Errors
/// When nobody answers and it is to be shown once, or nothing can be written.
pub(crate) async fn run(options: &Options, config: Option<&Config>) -> Result<(), String> {
    let listen = config.map_or_else(StatusConfig::default, |config| config.status.clone()).listen;
    let at = options.at.clone().unwrap_or(listen);
    if at.is_empty() {
        return Err(
            "this agent serves no status: set `status.listen`, for example to `127.0.0.1:9598`"
                .into(),
        );
    }
    let every = Duration::from_secs(options.every);
    let is_once = options.once || options.json || !std::io::stdout().is_terminal();
    if !is_once {
        return watch(&at, every)
            .await
            .map_err(|error| format!("cannot use the terminal: {error}"));
    }
    let before = look(&at)?;
    tokio::time::sleep(every).await;
    let figures = figures(&before, &look(&at)?);
    let text = if options.json { format!("{figures}\n") } else { table(&at, &figures) };
    // Whoever reads may have seen enough, as `head` does.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// What the agent says of itself now.
fn look(at: &str) -> Result<Sample, String> {
    let told = |(_, text): (bool, String)| text;
    let metrics = get(at, "/metrics", WAIT).map(told)?;
    let (is_ready, text) = get(at, "/readyz", WAIT)?;
    let problem = text.lines().next().filter(|_| !is_ready).map(str::to_owned);
    Ok(Sample::new(Instant::now(), &metrics, problem))
}

/// Shows it until somebody has seen enough.
async fn watch(at: &str, every: Duration) -> std::io::Result<()> {
    let mut ends = Vec::new();
    for kind in ENDS {
        ends.push(signal(kind)?);
    }
    let mut asked_to_end = poll_fn(|cx| {
        let is_asked = ends.iter_mut().any(|end| end.poll_recv(cx).is_ready());
        if is_asked { Poll::Ready(()) } else { Poll::Pending }
    });
    let mut screen = Screen::open()?;
    screen.show(&format!("asking {at}\n{KEYS}"))?;
    let latest = keep_looking(at.into(), every)?;
    let mut before = None;
    loop {
        let looked = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(looked) = looked {
            let text = match &looked {
                Ok(now) => table(at, &figures(before.as_ref().unwrap_or(now), now)),
                Err(error) => format!("{error}\n"),
            };
            before = looked.ok();
            screen.show(&format!("{text}{KEYS}"))?;
        }
        tokio::select! {
            () = &mut asked_to_end => return Ok(()),
            () = tokio::time::sleep(KEYS_EVERY) => {}
        }
        if screen.is_to_end() {
            return Ok(());
        }
    }
}

/// Looks again and again, on a thread of its own: a name that is not found, or an agent that does not answer, holds up
/// nothing else. Nobody waits for its end.
fn keep_looking(at: String, every: Duration) -> std::io::Result<Latest> {
    let latest = Latest::default();
    let ours = Arc::clone(&latest);
    std::thread::Builder::new().name("look".into()).spawn(move || {
        loop {
            let looked = look(&at);
            *ours.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
            std::thread::sleep(every);
        }
    })?;
    Ok(latest)
}

/// The figures as a person reads them.
fn table(at: &str, figures: &Value) -> String {
    let mib = |name: &str| figures[name].as_f64().unwrap_or_default() / 1_048_576.0;
    let number = |name: &str| figures[name].as_f64().unwrap_or_default();
    let state = figures["problem"].as_str().unwrap_or("ready");
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "weir-agent at {at}: {state}");
    let _ = writeln!(
        out,
        "cpu {:.1} %, memory {:.1} of {:.1} MiB, spool {:.1} of {:.0} MiB",
        number("cpu_percent"),
        mib("memory_bytes"),
        mib("memory_budget_bytes"),
        mib("spool_bytes"),
        mib("spool_max_bytes"),
    );
    let _ = writeln!(
        out,
        "events/s: {:.1} taken, {:.1} filtered, {:.1} spooled, {:.1} to Kafka; {:.0} wait",
        number("taken_per_s"),
        number("filtered_per_s"),
        number("spooled_per_s"),
        number("published_per_s"),
        number("waiting"),
    );
    let _ = writeln!(
        out,
        "lost {:.0}, dead letters {:.0}, alerts fired {:.0}, of them open {:.0}",
        number("lost"),
        number("dead_letters"),
        number("alerts_fired"),
        number("alerts_open"),
    );
    for (class, count) in figures["kafka_errors"].as_object().into_iter().flatten() {
        let count = count.as_f64().unwrap_or_default();
        let _ = writeln!(out, "errors of Kafka since the start, {class}: {count:.0}");
    }
    rows(&mut out, "source", &figures["sources"], &figures::SOURCE_COLUMNS);
    rows(&mut out, "lane", &figures["lanes"], &figures::LANE_COLUMNS);
    out
}

/// A row for each entry of `all`, below the names of its `columns`.
fn rows(out: &mut String, title: &str, all: &Value, columns: &[&str]) {
    let _ = write!(out, "\n{title:<20}");
    for column in columns {
        let _ = write!(out, "{:>12}", column.replace("_per_s", "/s").replace('_', " "));
    }
    out.push('\n');
    for row in all.as_array().into_iter().flatten() {
        let _ = write!(out, "{:<20}", row["name"].as_str().unwrap_or_default());
        for column in columns {
            let value = row[column].as_f64().unwrap_or_default();
            let decimals = usize::from(column.ends_with("_s"));
            let _ = write!(out, "{value:>12.decimals$}");
        }
        out.push('\n');
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
