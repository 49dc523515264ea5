//! `weir-sink devices`: lists of devices by command.
//!
//! In: a CSV file, a table of Cassandra or a topic, or the store. Out: changes on Kafka and a report, or CSV. What can go
//! wrong: lines that cannot be; they are told, the others are taken, and the exit code is 1.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::mapping::Mapping;
use super::{ImportReport, Registry, csv, rows};
use crate::config::Config;
use crate::consume::producer::KafkaProducer;
use crate::program::Secrets;
use crate::store::{self, Store};

/// Who changed a device by this command, in its history.
const BY: &str = "weir-sink devices import";

/// What is known of devices, as lists.
#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Takes devices from a CSV file with the columns site, device, aliases, meta.NAME, units.METRIC, or from a table or topic.
    ///
    /// A column that is not there leaves what is known as it is, an empty cell takes it away. The same list again
    /// changes nothing.
    Import(Import),
    /// Writes all devices, or those of one site, as CSV that `import` takes.
    Export {
        /// Only this site.
        #[arg(long)]
        site: Option<String>,
    },
}

/// Where devices come from.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The CSV file.
    #[arg(
        required_unless_present_any = ["from_table", "from_topic"],
        conflicts_with_all = ["from_table", "from_topic", "map", "set"]
    )]
    file: Option<PathBuf>,
    /// Takes the rows of this table, through `[store.cassandra]`.
    #[arg(long, value_name = "KEYSPACE.TABLE", conflicts_with = "from_topic", requires = "map")]
    from_table: Option<String>,
    /// The table is in another cluster: a file with the keys of `[store.cassandra]`.
    #[arg(long, value_name = "FILE", requires = "from_table")]
    cassandra: Option<PathBuf>,
    /// Takes the newest JSON record of each key and each device of this topic, through `[kafka]`.
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    /// Which column of the table, or name in the records, is which field: site, device, aliases, meta.NAME, units.METRIC,
    /// or meta and units for a map. Of records that have these names already it can be left out.
    #[arg(long, value_name = "COLUMN=FIELD")]
    map: Vec<String>,
    /// What is the same for all.
    #[arg(long, value_name = "FIELD=TEXT")]
    set: Vec<String>,
    /// Only says what would become of each line.
    #[arg(long)]
    dry_run: bool,
    /// Writes one JSON object.
    #[arg(long)]
    json: bool,
}

/// Does the command.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) async fn run_devices(
    config: &Config,
    command: &DevicesCommand,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    // What can be seen to be wrong is said before anybody is asked.
    let mapping = match command {
        DevicesCommand::Import(options) if options.file.is_none() => {
            Some(Mapping::parse(&options.map, &options.set)?)
        }
        _ => None,
    };
    let text = |error: store::StoreError| error.to_string();
    let store = store::open(&config.store).await.map_err(text)?;
    store.check_schema().await.map_err(text)?;
    match command {
        DevicesCommand::Export { site } => {
            let sites = match site {
                Some(site) => vec![site.clone()],
                None => store.sites().await.map_err(text)?,
            };
            let mut devices = Vec::new();
            for site in sites {
                devices.extend(store.devices(&site).await.map_err(text)?);
            }
            let list = csv::write(&devices);
            // Saying ends the last line; the blanks before it belong to its last cell.
            say(list.strip_suffix('\n').unwrap_or(&list));
            Ok(())
        }
        DevicesCommand::Import(options) => import(config, options, mapping, store, say).await,
    }
}

async fn import(
    config: &Config,
    options: &Import,
    mapping: Option<Mapping>,
    store: Arc<dyn Store>,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let Import { file, from_table, cassandra, from_topic, dry_run, json, .. } = options;
    let secrets = Secrets::fetch(config).map_err(|error| error.to_string())?;
    let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
    let rows = match (mapping, from_table, from_topic) {
        (Some(mapping), Some(table), _) => {
            Some(rows::of_table(config, cassandra.as_deref(), table, mapping).await?)
        }
        (Some(mapping), None, Some(topic)) => {
            Some(rows::of_topic(connection.clone(), topic.clone(), mapping).await?)
        }
        _ => None,
    };
    let list = file.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read `{}`: {error}", file.display()))
    });
    let list = list.transpose()?.unwrap_or_default();
    let producer = KafkaProducer::start(&connection, &config.topic_names());
    let producer = producer.map_err(|error| error.to_string())?;
    let registry = Arc::new(Registry::new(store, Arc::new(producer)));
    let import = registry.import().ok_or("another import runs")?;
    match rows {
        Some(rows) => {
            let (report, ended) = import.flow(rows, *dry_run, BY).await;
            let told = tell("row", &report, *json, say);
            ended.and(told)
        }
        None => {
            let report = import.run(list, *dry_run, Some(BY)).await;
            tell("line", &report.map_err(|error| error.to_string())?, *json, say)
        }
    }
}

/// `of` is what a line is called.
fn tell(
    of: &str,
    report: &ImportReport,
    json: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    if json {
        say(&serde_json::to_string(report).unwrap_or_default());
    } else {
        for line in &report.changes {
            let verb = if line.created { "new" } else { "change" };
            let fields = line.fields.join(", ");
            say(&format!("{of} {}: {verb} {}/{}: {fields}", line.line, line.site, line.device));
        }
        for line in &report.errors {
            say(&format!("{of} {}: refused: {}", line.line, line.message));
        }
        let ImportReport { created, changed, unchanged, refused, .. } = report;
        let end = if report.dry_run { "; nothing was sent (--dry-run)" } else { "" };
        say(&format!(
            "{created} created, {changed} changed, {unchanged} unchanged, {refused} refused{end}"
        ));
    }
    match report.refused {
        0 => Ok(()),
        refused => Err(format!("{refused} {of}s were refused: mend them and import again")),
    }
}
