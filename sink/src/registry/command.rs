//! `weir-sink devices`: lists of devices by command.
//!
//! In: a CSV file, or the store. Out: changes on Kafka and a report, or CSV. What can go wrong: lines that cannot be;
//! they are told, the others are taken, and the exit code is 1.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::{ImportReport, Registry, csv};
use crate::config::Config;
use crate::consume::producer::KafkaProducer;
use crate::program::Secrets;
use crate::store;

/// Who changed a device by this command, in its history.
const BY: &str = "weir-sink devices import";

/// What is known of devices, as lists.
#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Takes devices from a CSV file with the columns site, device, aliases, meta.NAME, units.METRIC.
    ///
    /// A column that is not there leaves what is known as it is, an empty cell takes it away. The same file again
    /// changes nothing.
    Import {
        /// The file.
        file: PathBuf,
        /// Only says what would become of each line.
        #[arg(long)]
        dry_run: bool,
        /// Writes one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Writes all devices, or those of one site, as CSV that `import` takes.
    Export {
        /// Only this site.
        #[arg(long)]
        site: Option<String>,
    },
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
        DevicesCommand::Import { file, dry_run, json } => {
            let list = std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
            let secrets = Secrets::fetch(config).map_err(|error| error.to_string())?;
            let connection = config.kafka.librdkafka_settings(secrets.kafka.as_ref());
            let producer = KafkaProducer::start(&connection, &config.topic_names());
            let producer = producer.map_err(|error| error.to_string())?;
            let registry = Arc::new(Registry::new(store, Arc::new(producer)));
            let import = registry.import().ok_or("another import runs")?;
            let report = import.run(list, *dry_run, Some(BY)).await;
            let report = report.map_err(|error| error.to_string())?;
            tell(&report, *json, say)
        }
    }
}

fn tell(report: &ImportReport, json: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    if json {
        say(&serde_json::to_string(report).unwrap_or_default());
    } else {
        for line in &report.changes {
            let verb = if line.created { "new" } else { "change" };
            let fields = line.fields.join(", ");
            say(&format!("line {}: {verb} {}/{}: {fields}", line.line, line.site, line.device));
        }
        for line in &report.errors {
            say(&format!("line {}: refused: {}", line.line, line.message));
        }
        let ImportReport { created, changed, unchanged, refused, .. } = report;
        let end = if report.dry_run { "; nothing was sent (--dry-run)" } else { "" };
        say(&format!(
            "{created} created, {changed} changed, {unchanged} unchanged, {refused} refused{end}"
        ));
    }
    match report.refused {
        0 => Ok(()),
        refused => {
            Err(format!("{refused} lines were refused: mend them and import the file again"))
        }
    }
}
