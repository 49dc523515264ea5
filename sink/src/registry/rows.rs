//! Rows: where `weir-sink devices import` gets rows from that are no file.
//!
//! In: the name of a table of Cassandra, or of a topic of JSON records, and what its columns are. Out: a stream of
//! devices and patches, numbered from 1. Promises: of a table a page is held at a time, of a topic the newest record of
//! each key, within [`TOPIC_BYTES_MAX`]; nothing is written or committed there. What can go wrong: there is no such table,
//! column or topic; a record that is no JSON object (it is refused, the others are taken).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use rdkafka::Message as _;
use serde_json::Value;

use super::flow::ROWS_MAX;
use super::mapping::{Mapped, Mapping, cells};
use crate::config::Config;
use crate::consume::scan::{From, ScanError, scan};
use crate::store::cassandra::table;
use crate::store::config::CassandraConfig;

/// Most bytes of keys and values of a topic that are held.
const TOPIC_BYTES_MAX: usize = 256 * 1024 * 1024;

pub(super) type Rows = BoxStream<'static, Result<Mapped, String>>;

/// The rows of a table, of the cluster in `[store.cassandra]` or of the one that `other` names.
pub(super) async fn of_table(
    config: &Config,
    other: Option<&Path>,
    name: &str,
    mapping: Mapping,
) -> Result<Rows, String> {
    let cluster = match other {
        Some(file) => cluster(file)?,
        None => config.store.cassandra.clone().ok_or(
            "the configuration has no `[store.cassandra]` to read the table from: name the cluster in a file, `--cassandra FILE`",
        )?,
    };
    let rows = table::rows(&cluster, name, mapping.columns()).await;
    let rows = rows.map_err(|error| error.to_string())?;
    Ok(rows
        .enumerate()
        .map(move |(number, row)| {
            let cells = row.map_err(|error| error.to_string())?;
            Ok((number + 1, mapping.entry(cells)))
        })
        .boxed())
}

/// A file with the keys of `[store.cassandra]`.
fn cluster(file: &Path) -> Result<CassandraConfig, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    weir_models::config::parse(&shown.to_string(), &text)
        .map_err(|error| format!("{error} (it takes the keys of `[store.cassandra]`)"))
}

/// The newest record of each key of a topic, in the order in which they were written to a partition.
pub(super) async fn of_topic(
    connection: BTreeMap<String, String>,
    topic: String,
    mapping: Mapping,
) -> Result<Rows, String> {
    let read = tokio::task::spawn_blocking(move || newest(&connection, &topic));
    let newest = read.await.map_err(|error| error.to_string())??;
    let rows = newest.into_iter().enumerate().map(move |(number, value)| {
        let record = serde_json::from_slice::<Value>(&value).map_err(|error| error.to_string());
        let entry = match record {
            Ok(record @ Value::Object(_)) => mapping.entry(cells(&record, mapping.columns())),
            Ok(_) => Err("the record is no JSON object".to_owned()),
            Err(why) => Err(format!("the record is no JSON: {why}")),
        };
        Ok((number + 1, entry))
    });
    Ok(stream::iter(rows).boxed())
}

/// A record with no value says that its key is gone; what is known of the device stays.
fn newest(connection: &BTreeMap<String, String>, topic: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut held: HashMap<Vec<u8>, (usize, Vec<u8>)> = HashMap::new();
    let (mut bytes, mut order, mut too_much) = (0, 0, false);
    scan(connection, topic, From::Beginning, |record| {
        order += 1;
        // Records without a key are one each.
        let key = record.key().map_or_else(|| format!("\0{order}").into_bytes(), <[u8]>::to_vec);
        if let Some((_, old)) = held.remove(&key) {
            bytes -= key.len() + old.len();
        }
        if let Some(value) = record.payload() {
            bytes += key.len() + value.len();
            held.insert(key, (order, value.to_vec()));
        }
        too_much = bytes > TOPIC_BYTES_MAX || held.len() > ROWS_MAX;
        !too_much
    })
    .map_err(|error| match error {
        ScanError::Absent(topic) => format!("topic `{topic}` is not there: give its whole name"),
        error => error.to_string(),
    })?;
    if too_much {
        return Err(format!(
            "`{topic}` has more than 1,000,000 keys or 256 MiB of newest records: is it the topic of the devices, and compacted?"
        ));
    }
    let mut newest: Vec<_> = held.into_values().collect();
    newest.sort_unstable_by_key(|(order, _)| *order);
    Ok(newest.into_iter().map(|(_, value)| value).collect())
}
