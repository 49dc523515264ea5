//! The command line of `weir-agent`.
//!
//! In: arguments. Out: an exit code: 0 when all went well, 1 when the program could not do its job, 2
//! when the arguments or the configuration are wrong. What is said to a person goes to standard
//! error, what is for a program to standard output.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir_models::kafka::Publisher;

use crate::config::Config;
use crate::pipeline;
use crate::publish::{Direct, Transport};
use crate::status::describe_metrics;

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of wrong arguments or a wrong configuration.
const MISUSED: u8 = 2;

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
    /// Runs the agent until SIGTERM or SIGINT.
    Run {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: String,
    },
    /// Checks a configuration, without starting anything.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: String,
    },
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
        Command::Run { config } => match load(&config) {
            Ok(config) => run(config),
            Err(error) => say(&error, MISUSED),
        },
    }
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to a person")]
fn say(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn load(file: &str) -> Result<Config, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the configuration `{file}`: {error}"))?;
    Config::parse(file, &text).map_err(|error| error.to_string())
}

fn run(config: Config) -> ExitCode {
    // Two threads: one waits for sockets while the other writes to Kafka; the stages have their own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run_until_signal(config)),
        Err(error) => Err(format!("cannot start the runtime: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir-agent: {error}"), FAILED),
    }
}

async fn run_until_signal(config: Config) -> Result<(), String> {
    let prometheus = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| format!("cannot record metrics: {error}"))?;
    describe_metrics();
    let transport = transport(&config)?;
    let mut agent = pipeline::start(config, transport, Some(prometheus))
        .await
        .map_err(|error| error.to_string())?;
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.finished() => {}
    }
    agent.stop().await;
    Ok(())
}

fn transport(config: &Config) -> Result<Arc<dyn Transport>, String> {
    match config.kafka.publisher.unwrap_or_default() {
        Publisher::Direct => {
            let data_dir = Path::new(&config.agent.data_dir);
            let direct = Direct::new(&config.kafka, Some(data_dir));
            Ok(Arc::new(direct.map_err(|error| error.to_string())?))
        }
        Publisher::Librdkafka => librdkafka(config),
    }
}

#[cfg(feature = "rdkafka")]
fn librdkafka(config: &Config) -> Result<Arc<dyn Transport>, String> {
    let password = config.kafka_password()?;
    let settings = config.kafka.librdkafka_settings(password.as_ref());
    let transport = crate::publish::Librdkafka::new(settings).map_err(|error| error.to_string())?;
    Ok(Arc::new(transport))
}

#[cfg(not(feature = "rdkafka"))]
fn librdkafka(_: &Config) -> Result<Arc<dyn Transport>, String> {
    // The check of the configuration has refused it before.
    Err("this binary was built without librdkafka: build it with the feature `rdkafka`".into())
}
