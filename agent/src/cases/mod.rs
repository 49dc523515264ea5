//! `weir-agent test`: does a configuration do what it is meant to do?
//!
//! In: a configuration, and files of tests: inputs of its sources, and what is to come of them. Out: a line for each test, and
//! what differs. Promises: the code that runs is that of the running agent (parse, enrich, filter, score, the place in the
//! spool and on Kafka); a test gives the same whenever and wherever it is run: clock, time zone and known devices are its own,
//! and each begins with nothing learnt. Starts nothing, reaches nobody, writes nothing but the answer. Exit codes: 0 all as
//! expected, 1 something differs, 2 configuration or tests cannot be used.

mod compare;
mod file;
mod stages;

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::config::Config;
use compare::{Difference, differences};
use file::{Case, read};
use stages::Came;

/// The options of `test`.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration to test.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: String,
    /// Files with tests; default: the one beside the configuration, `agent.tests.toml` of `agent.toml`.
    #[arg(value_name = "TESTS")]
    files: Vec<String>,
    /// Writes one JSON object a test, with all that came.
    #[arg(long)]
    json: bool,
}

/// Why tests were not run.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What is in a file cannot be used.
    #[error("{0}")]
    Tests(String),
    /// The answer cannot be written.
    #[error("cannot write what came: {0}")]
    Write(#[from] io::Error),
}

/// Runs the tests against `config`. Answers whether all is as expected.
///
/// # Errors
/// When a file cannot be used, or the answer cannot be written.
pub fn run(options: &Options, config: &Config, output: &mut dyn Write) -> Result<bool, Fault> {
    let mut files = options.files.clone();
    if files.is_empty() {
        let name = options.config.strip_suffix(".toml").unwrap_or(&options.config);
        files.push(format!("{name}.tests.toml"));
    }
    let mut cases = Vec::new();
    for file in &files {
        read(file, config, &mut cases).map_err(Fault::Tests)?;
    }
    let mut failed = 0;
    for case in &cases {
        let at = format!("{}:{}", case.file, case.line);
        let came = stages::run(case, config).map_err(|why| Fault::Tests(format!("{at}: {why}")))?;
        let found = differences(case, &came);
        failed += usize::from(!found.is_empty());
        if options.json {
            writeln!(output, "{}", answer(case, &came, &found))?;
        } else {
            write_for_a_person(output, &at, case, &found)?;
        }
    }
    if !options.json {
        writeln!(output, "{} passed, {failed} failed", cases.len() - failed)?;
    }
    output.flush()?;
    Ok(failed == 0)
}

fn answer(case: &Case, came: &Came, found: &[Difference]) -> Value {
    let one = |it: &Difference| json!({ "line": it.line, "of": it.of, "field": it.field, "expected": it.expected, "got": it.got });
    json!({
        "file": case.file,
        "line": case.line,
        "test": case.name,
        "passed": found.is_empty(),
        "differences": found.iter().map(one).collect::<Vec<_>>(),
        "events": came.events,
        "alerts": came.alerts,
        "filtered": came.filtered,
    })
}

fn write_for_a_person(
    output: &mut dyn Write,
    at: &str,
    case: &Case,
    found: &[Difference],
) -> io::Result<()> {
    let state = if found.is_empty() { "ok    " } else { "FAILED" };
    writeln!(output, "{state} {at}: {}", case.name)?;
    for Difference { line, of, field, expected, got } in found {
        let shown = |value: &Value| match value {
            Value::Null => "nothing".into(),
            value => value.to_string(),
        };
        let (expected, got) = (shown(expected), shown(got));
        writeln!(output, "       line {line}, {of}: `{field}` expected {expected}, got {got}")?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
