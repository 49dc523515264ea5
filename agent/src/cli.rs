//! The command line of `weir-agent`.
//!
//! In: arguments. Out: an exit code: 0 when all went well, 1 when the program could not do its job, 2
//! when the arguments or the configuration are wrong, and for `plan` two more where that is asked for. What is said to a person goes to standard
//! error, what is for a program to standard output.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime::Runtime;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[cfg(feature = "workstation")]
use crate::cases;
use crate::config::{Config, Written, file};
use crate::explain::{self, Explainer};
use crate::plan::Plan;
use crate::run::run_until_signal;
use crate::score::{ScoreConfig, table};
use crate::spool;
use crate::tap;
use crate::templates;
use crate::top;

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of wrong arguments or a wrong configuration.
const MISUSED: u8 = 2;
/// What is said of a command that this build does not have.
#[cfg(not(feature = "workstation"))]
const LEFT_OUT: &str = "this build has no `test`: run it with the ordinary build on a workstation (`cargo build --release -p weir-agent`)";
/// Exit codes of `plan --detailed-exitcode`.
const CHANGES: u8 = 3;
const RESTART: u8 = 4;

/// Takes syslog and sensor readings, enriches and scores them, and publishes them to Kafka without
/// loss.
#[derive(Debug, Parser)]
#[command(name = "weir-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How to write the log to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent until SIGTERM or SIGINT; SIGHUP takes over the changed configuration.
    Run {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: String,
    },
    /// Says what a running agent would do about a changed configuration, and does nothing.
    Plan(PlanArgs),
    /// Checks a configuration, without starting anything.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: String,
    },
    /// Tests what a configuration makes of given inputs, without starting anything; the builds for gateways lack it.
    #[cfg(feature = "workstation")]
    Test(cases::Options),
    /// Not in this build: run it with the ordinary build on a workstation.
    #[cfg(not(feature = "workstation"))]
    #[command(disable_help_flag = true)]
    Test(LeftOut),
    /// Shows events of the running agent as they pass.
    Tap(tap::Options),
    /// Shows how the running agent fares, in a terminal.
    Top(top::Options),
    /// Looks into the queue on disk, checks it, mends it, or prints what is in it.
    Spool(spool::cli::Args),
    /// Says what the parser makes of the lines on standard input.
    Explain(explain::Options),
    /// Scores a table of readings (CSV) as the running agent would, without starting anything.
    Score(table::Options),
    /// Groups the messages on standard input, one a line, into templates.
    Templates(templates::Options),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The configuration file that is to be taken over.
    #[arg(short, long, value_name = "FILE")]
    config: String,
    /// The one that is in force; default: what the agent with the same data folder took over last.
    #[arg(long, value_name = "FILE")]
    against: Option<String>,
    /// Exit with 0 when there is nothing to do, 3 when a reload does it, 4 when it takes a restart;
    /// without this with 0 when a reload does it, 1 when it takes a restart.
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Whatever stands behind a command that this build does not have.
#[cfg(not(feature = "workstation"))]
#[derive(Debug, clap::Args)]
struct LeftOut {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<std::ffi::OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log);
    match cli.command {
        Command::Check { config } => match load(&config) {
            Ok(_) => say(&format!("{config}: ok"), 0),
            Err(error) => say(&error, MISUSED),
        },
        Command::Explain(options) => explain(&options),
        Command::Score(options) => score(&options),
        Command::Templates(options) => templates(&options),
        #[cfg(feature = "workstation")]
        Command::Test(options) => test(&options),
        #[cfg(not(feature = "workstation"))]
        Command::Test(_) => say(LEFT_OUT, MISUSED),
        Command::Tap(options) => tap(&options),
        Command::Top(options) => top(&options),
        Command::Run { config } => match Written::read(&config) {
            Ok(written) => run(&config, written),
            Err(error) => say(&error, MISUSED),
        },
        Command::Plan(args) => plan(&args),
        Command::Spool(args) => spool::cli::run(&args, load),
    }
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to a person")]
fn say(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}

fn start_log(format: LogFormat) {
    // Levels by target; filters by span and field would bring a regex engine onto the gateway.
    let told = std::env::var("WEIR_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = told.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    match format {
        LogFormat::Text => tracing_subscriber::registry().with(layer).with(filter).init(),
        LogFormat::Json => tracing_subscriber::registry().with(layer.json()).with(filter).init(),
    }
}

fn load(file: &str) -> Result<Config, String> {
    Written::read(file).map(|written| written.config)
}

fn explain(options: &explain::Options) -> ExitCode {
    let config = match options.config.as_deref().map(load).transpose() {
        Ok(config) => config,
        Err(error) => return say(&error, MISUSED),
    };
    let mut explainer = match Explainer::new(options, config.as_ref()) {
        Ok(explainer) => explainer,
        Err(error) => return say(&error, MISUSED),
    };
    let outcome = explainer.run(std::io::stdin().lock(), &mut std::io::stdout().lock());
    end_of_output("explain", outcome)
}

fn templates(options: &templates::Options) -> ExitCode {
    let config = match options.config.as_deref().map(load).transpose() {
        Ok(config) => config.map_or_else(ScoreConfig::default, |config| config.score),
        Err(error) => return say(&error, MISUSED),
    };
    let (input, output) = (std::io::stdin().lock(), &mut std::io::stdout().lock());
    end_of_output("templates", templates::run(options, &config, input, output))
}

#[cfg(feature = "workstation")]
fn test(options: &cases::Options) -> ExitCode {
    let config = match load(&options.config) {
        Ok(config) => config,
        Err(error) => return say(&error, MISUSED),
    };
    match cases::run(options, &config, &mut std::io::stdout().lock()) {
        Ok(as_expected) => ExitCode::from(if as_expected { 0 } else { FAILED }),
        // Whoever reads has seen enough, but not all tests have run.
        Err(cases::Fault::Write(error)) => say(&format!("weir-agent: test: {error}"), FAILED),
        Err(cases::Fault::Tests(error)) => say(&error, MISUSED),
    }
}

fn tap(options: &tap::Options) -> ExitCode {
    let dir = match options.place.find(load) {
        Ok(dir) => dir,
        Err(error) => return say(&format!("weir-agent: tap: {error}"), MISUSED),
    };
    match tap::run(options, &dir, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(tap::Fault::Write(error)) => end_of_output("tap", Err(error)),
        Err(error) => say(&format!("weir-agent: tap: {error}"), FAILED),
    }
}

fn end_of_output(command: &str, outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir-agent: {command}: {error}"), FAILED),
    }
}

fn score(options: &table::Options) -> ExitCode {
    let config = match options.config.as_deref().map(load).transpose() {
        Ok(config) => config,
        Err(error) => return say(&error, MISUSED),
    };
    match table::run(options, config.as_ref(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(table::Fault::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ table::Fault::Write(_)) => say(&format!("weir-agent: score: {error}"), FAILED),
        Err(error) => say(&format!("weir-agent: score: {error}"), MISUSED),
    }
}

fn run(file: &str, written: Written) -> ExitCode {
    match run_on_threads(file, written) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir-agent: {error}"), FAILED),
    }
}

fn top(options: &top::Options) -> ExitCode {
    let config = match options.config.as_deref().map(load).transpose() {
        Ok(config) => config,
        Err(error) => return say(&error, MISUSED),
    };
    let outcome =
        runtime().and_then(|runtime| runtime.block_on(top::run(options, config.as_ref())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir-agent: top: {error}"), FAILED),
    }
}

fn runtime() -> Result<Runtime, String> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| format!("cannot start the runtime: {error}"))
}

/// A thread for what comes in, one for the stages and one for what goes out: each wakes up once where
/// several that share their work would wake each other, and a slow disk under the publishers does not
/// keep datagrams waiting.
fn run_on_threads(file: &str, written: Written) -> Result<(), String> {
    let (taking, publishing) = (runtime()?, runtime()?);
    let out = publishing.handle().clone();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let publisher = std::thread::Builder::new()
        .name("publish".into())
        .spawn(move || publishing.block_on(ended))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let outcome = taking.block_on(run_until_signal(file, written, &out));
    drop(end);
    // It ends by the channel's end, and a panic there has told so already.
    let _ = publisher.join();
    outcome
}

/// Says what a reload would do.
fn plan(args: &PlanArgs) -> ExitCode {
    let new = match Written::read(&args.config) {
        Ok(new) => new,
        Err(error) => return say(&error, MISUSED),
    };
    let old = match &args.against {
        Some(file) => Written::read(file).map(|old| (old, file.clone())),
        None => file::running(&new.config.agent.data_dir),
    };
    let (old, what) = match old {
        Ok(old) => old,
        Err(error) => return say(&error, FAILED),
    };
    let plan = Plan::of(&old.config, &new.config);
    let mut text = format!("{} in place of {what}:\n", args.config);
    for line in plan.lines(&old, &new).into_iter().chain([plan.summary()]) {
        text.push_str(&line);
        text.push('\n');
    }
    // Whoever reads may have seen enough, as `head` does.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let is_refused = plan.refusal().is_some();
    ExitCode::from(match args.detailed_exitcode {
        true if is_refused => RESTART,
        true if !plan.is_empty() => CHANGES,
        _ if is_refused => FAILED,
        _ => 0,
    })
}

#[cfg(all(test, not(feature = "workstation")))]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_left_out_is_known_whatever_stands_behind_it() {
        for words in [&["test"][..], &["test", "--help"], &["test", "-c", "a.toml", "--json", "b"]]
        {
            let cli = Cli::try_parse_from([&["weir-agent"], words].concat());
            assert!(matches!(cli.map(|cli| cli.command), Ok(Command::Test(_))), "{words:?}");
        }
        assert!(Cli::try_parse_from(["weir-agent", "tast"]).is_err());
    }
}
