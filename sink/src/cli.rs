//! The command line of `weir-sink`.
//!
//! In: arguments. Out: an exit code: 0 when all went well, 1 when the program could not do its job, 2
//! when the arguments or the configuration are wrong. What is said to a person and the log go to
//! standard error, what is for a program to standard output.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use weir_models::topic::TopicNames;

use crate::access::{TokenCommand, run_token};
use crate::archive::Archive;
use crate::config::Config;
use crate::consume::topics;
use crate::explain::{ExplainOptions, explain};
use crate::health;
use crate::program::{self, Secrets};
use crate::prove::{
    ArchiveCommand, AuditOptions, DlqCommand, ReplayOptions, run_archive, run_audit, run_dlq,
    run_replay,
};
use crate::registry::{DevicesCommand, run_devices};
use crate::service::describe_metrics;
use crate::store;
use crate::train::{KeysCommand, ModelsCommand, TrainOptions, run_keys, run_models, run_train};

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of wrong arguments or a wrong configuration.
const MISUSED: u8 = 2;
/// How long tasks may go on after the end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Takes events from Kafka, writes them to a store and to a Parquet archive, and serves queries and a
/// web page.
#[derive(Debug, Parser)]
#[command(name = "weir-sink", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How to write the log to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the sink until SIGTERM or SIGINT.
    Run(File),
    /// Creates missing topics and brings the store's schema up to date; doing it again is harmless.
    Migrate(File),
    /// Checks a configuration, without starting or reaching anything.
    Check {
        #[command(flatten)]
        file: File,
        /// Tries Kafka, store and archive, too.
        #[arg(long)]
        connect: bool,
    },
    /// Asks a running sink whether it is well, as a container's health check.
    Health(File),
    /// Trains central models from the archive and writes them as signed files.
    Train {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        options: TrainOptions,
    },
    /// Tokens for the API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The key that signs models.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Models in files and in the topic of models.
    Models {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// What lies in the archive, and whether it is whole.
    Archive {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: ArchiveCommand,
    },
    /// Dead letters: what could not be taken, to be looked at and sent again.
    Dlq {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// What is known of devices, as lists.
    Devices {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: DevicesCommand,
    },
    /// Says where records would go: rows and their partitions, the object of the archive, or why they would be dead letters.
    ///
    /// A line of standard input is the value of a record, or an object with `value` (or `value_b64`) and, as far as known,
    /// `topic`, `key`, `partition`, `offset`, `ts_ms`. Nothing is started or reached.
    Explain(ExplainOptions),
    /// Proves that every event is archived once, and that the store holds what the archive holds.
    Audit {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        options: AuditOptions,
    },
    /// Sends a part of the archive to a topic again, or writes it to the store.
    Replay {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        options: ReplayOptions,
    },
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: String,
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
    let file = match &cli.command {
        Command::Keys(command) => return ended(run_keys(command, &mut say)),
        Command::Token(command) => return ended(run_token(command, &mut say)),
        Command::Explain(options) => return explained(options),
        Command::Run(file)
        | Command::Migrate(file)
        | Command::Health(file)
        | Command::Check { file, .. }
        | Command::Train { file, .. }
        | Command::Models { file, .. }
        | Command::Archive { file, .. }
        | Command::Dlq { file, .. }
        | Command::Devices { file, .. }
        | Command::Audit { file, .. }
        | Command::Replay { file, .. } => &file.config,
    };
    let config = match load(file) {
        Ok(config) => config,
        Err(error) => return fail(&error, MISUSED),
    };
    let outcome = match &cli.command {
        Command::Run(_) => block_on(run(config)),
        Command::Migrate(_) => block_on(migrate(config)),
        Command::Health(_) => health::ask(&config.http.listen),
        Command::Check { connect: true, .. } => block_on(connect(config)),
        Command::Train { options, .. } => block_on(run_train(&config, options, &mut say)),
        Command::Models { command, .. } => block_on(run_models(&config, command, &mut say)),
        Command::Archive { command, .. } => block_on(run_archive(&config, command, &mut say)),
        Command::Dlq { command, .. } => block_on(run_dlq(&config, command, &mut say)),
        Command::Devices { command, .. } => block_on(run_devices(&config, command, &mut say)),
        Command::Audit { options, .. } => block_on(run_audit(&config, options, &mut say)),
        Command::Replay { options, .. } => block_on(run_replay(&config, options, &mut say)),
        // What needs no configuration was seen to above.
        Command::Check { .. } | Command::Keys(_) | Command::Token(_) | Command::Explain(_) => {
            say(&format!("{file}: ok"));
            Ok(())
        }
    };
    ended(outcome)
}

fn explained(options: &ExplainOptions) -> ExitCode {
    let names = match options.config.as_deref().map(load).transpose() {
        Ok(config) => config.map_or_else(TopicNames::default, |config| config.topic_names()),
        Err(error) => return fail(&error, MISUSED),
    };
    match explain(options, &names, std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("weir-sink: explain: {error}"), FAILED),
    }
}

fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("weir-sink: {error}"), FAILED),
    }
}

/// Says something to a program or a person. A reader that has gone is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[expect(clippy::print_stderr, reason = "this is where the program talks to a person")]
fn fail(text: &str, code: u8) -> ExitCode {
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

fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(END_WITHIN);
    result
}

async fn run(config: Config) -> Result<(), String> {
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| format!("cannot record metrics: {error}"))?;
    describe_metrics();
    let (send, stop) = watch::channel(false);
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let sink = program::run(config, stop, Some(metrics));
    tokio::pin!(sink);
    tokio::select! {
        ended = &mut sink => return ended.map_err(|error| error.to_string()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The sink holds the receiver as long as it runs.
    let _ = send.send(true);
    tokio::select! {
        ended = &mut sink => ended.map_err(|error| error.to_string()),
        _ = terminate.recv() => Err("told twice to stop; what is not committed comes again".into()),
        _ = interrupt.recv() => Err("told twice to stop; what is not committed comes again".into()),
    }
}

async fn migrate(config: Config) -> Result<(), String> {
    let secrets = Secrets::fetch(&config).map_err(|error| error.to_string())?;
    let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
    let names = config.topic_names();
    let store = store::open(&config.store).await.map_err(|error| error.to_string())?;
    for step in store.migrate().await.map_err(|error| error.to_string())? {
        say(&format!("store: {step}"));
    }
    let topics = topics::create_missing(&connection, &names, config.new_topics());
    for line in topics.await.map_err(|error| error.to_string())? {
        say(&format!("kafka: {line}"));
    }
    say("schema and topics are up to date");
    Ok(())
}

/// Tries all that the configuration names, and tells of each.
async fn connect(config: Config) -> Result<(), String> {
    let secrets = Secrets::fetch(&config).map_err(|error| error.to_string())?;
    let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
    let names = config.topic_names();
    let store = async {
        let store = store::open(&config.store).await.map_err(|error| error.to_string())?;
        store.check_schema().await.map_err(|error| error.to_string())
    };
    let archive = async {
        let archive = Archive::open(&config.archive).map_err(|error| error.to_string())?;
        archive.check().await.map_err(|error| error.to_string())
    };
    let missing = topics::missing(&connection, &names);
    let kafka = async {
        match missing.await.map_err(|error| error.to_string())?.join(", ") {
            none if none.is_empty() => Ok(()),
            some => Err(format!("topics are missing, run `weir-sink migrate -c FILE`: {some}")),
        }
    };
    let mut wrong = 0;
    for (what, result) in
        [("kafka", kafka.await), ("store", store.await), ("archive", archive.await)]
    {
        wrong += usize::from(result.is_err());
        say(&format!("{what}: {}", result.err().unwrap_or_else(|| "ok".into())));
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of 3 do not work")) }
}
