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
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use weir_models::kafka::Publisher;

use crate::config::Config;
use crate::explain::{self, Explainer};
use crate::notify::Notifier;
use crate::pipeline;
use crate::publish::{Direct, Transport};
use crate::spool;
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
    /// Looks into the queue on disk, checks it, mends it, or prints what is in it.
    Spool(spool::cli::Args),
    /// Says what the parser makes of the lines on standard input.
    Explain(explain::Options),
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
        Command::Run { config } => match load(&config) {
            Ok(config) => run(config),
            Err(error) => say(&error, MISUSED),
        },
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
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the configuration `{file}`: {error}"))?;
    Config::parse(file, &text).map_err(|error| error.to_string())
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
    match explainer.run(std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => say(&format!("weir-agent: explain: {error}"), FAILED),
    }
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
    let manager = Notifier::from_environment();
    manager.ready();
    let asker = agent.asker();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.finished() => {}
        () = manager.watch(asker) => {}
    }
    manager.stopping();
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
