//! The command line of `weir`.
//!
//! In: arguments. Out: an exit code: 0 when all went well, 1 when something was lost or could not be
//! done, 2 when the arguments or the configuration are wrong. Reports go to standard output, everything
//! else to standard error.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{demo, up};

/// The whole line from gateway to store in one process.
#[derive(Debug, Parser)]
#[command(name = "weir", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Feeds real data through the whole line and shows what arrived.
    Demo(demo::Options),
    /// Runs a small site with real sources on an embedded broker and store.
    Up {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: String,
    },
}

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo talks by its report; a site by its log.
    let level = if matches!(cli.command, Command::Demo(_)) { "error" } else { "info" };
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("weir: cannot start the runtime: {error}"), 1),
    };
    let outcome = match cli.command {
        Command::Demo(options) => runtime.block_on(demo::run(options)),
        Command::Up { config } => match load(&config) {
            Ok(config) => runtime.block_on(up::run(config)),
            Err(error) => return say(&error, 2),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir: {error:#}"), 1),
    }
}

fn load(file: &str) -> Result<up::Config, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the configuration `{file}`: {error}"))?;
    up::Config::parse(file, &text).map_err(|error| error.to_string())
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to a person")]
fn say(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
