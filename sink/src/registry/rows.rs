//! Rows: where `weir-sink devices import` gets rows from that are no file.
//!
//! In: the name of a table of Cassandra, or of a topic of JSON records, and what its columns are. Out: a stream of
//! devices and patches, numbered from 1. Promises: of a table a page is held at a time, of a topic the newest record of
//! each key, and of those for one device the newest, within [`TOPIC_BYTES_MAX`]; nothing is written or committed there. What can go wrong: there is no such table,
//! column or topic; a record that is no JSON object (it is refused, the others are taken).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde_json::Value;

use super::flow::ROWS_MAX;
use super::mapping::{Entry, Mapped, Mapping, cells};
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

/// Where a record stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    partition: i32,
    /// By the record's own time stamp, in milliseconds.
    ms: i64,
    /// How many were read before it.
    order: usize,
}

impl Stand {
    fn of(record: &BorrowedMessage<'_>, order: usize) -> Self {
        let ms = record.timestamp().to_millis().unwrap_or_default();
        Self { partition: record.partition(), ms, order }
    }

    /// Whether it was written after `other`: a partition has an order, between two (keys change theirs when partitions
    /// are added) there are only the times.
    fn is_after(self, other: Self) -> bool {
        if self.partition == other.partition {
            self.order > other.order
        } else {
            (self.ms, self.order) > (other.ms, other.order)
        }
    }
}

/// The newest record of each key of a topic, and of those for one device the newest, in the order in which they were
/// read.
pub(super) async fn of_topic(
    connection: BTreeMap<String, String>,
    topic: String,
    mapping: Mapping,
) -> Result<Rows, String> {
    let read = tokio::task::spawn_blocking(move || {
        let records = newest_of_keys(&connection, &topic)?;
        let records = newest_of_devices(records, &mapping);
        Ok::<_, String>((records, mapping))
    });
    let (records, mapping) = read.await.map_err(|error| error.to_string())??;
    let rows = records.into_iter().enumerate();
    Ok(stream::iter(rows.map(move |(number, value)| Ok((number + 1, entry(&mapping, &value)))))
        .boxed())
}

/// What a record says.
fn entry(mapping: &Mapping, value: &[u8]) -> Result<Entry, String> {
    match serde_json::from_slice::<Value>(value) {
        Ok(record @ Value::Object(_)) => mapping.entry(cells(&record, mapping.columns())),
        Ok(_) => Err("the record is no JSON object".to_owned()),
        Err(why) => Err(format!("the record is no JSON: {why}")),
    }
}

/// What is said anew by a later record of the same.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Is(Vec<u8>),
    /// Records without a key are one each, by their order.
    None(usize),
}

/// A record without a value says that its key is gone; what is known of the device stays.
fn newest_of_keys(
    connection: &BTreeMap<String, String>,
    topic: &str,
) -> Result<Vec<(Stand, Vec<u8>)>, String> {
    // Of a key that is gone it is kept when: an older record may be read later.
    let mut held: HashMap<Key, (Stand, Option<Vec<u8>>)> = HashMap::new();
    let (mut bytes, mut order, mut too_much) = (0, 0, false);
    scan(connection, topic, From::Beginning, |record| {
        order += 1;
        let stand = Stand::of(record, order);
        let key = record.key().map_or(Key::None(order), |key| Key::Is(key.to_vec()));
        if held.get(&key).is_some_and(|(old, _)| !stand.is_after(*old)) {
            return true;
        }
        let key_bytes = record.key().map_or(0, <[u8]>::len);
        bytes += key_bytes + record.payload().map_or(0, <[u8]>::len);
        if let Some((_, old)) = held.insert(key, (stand, record.payload().map(<[u8]>::to_vec))) {
            bytes -= key_bytes + old.map_or(0, |old| old.len());
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
    let records = held.into_values().filter_map(|(stand, value)| Some((stand, value?)));
    let mut records: Vec<_> = records.collect();
    records.sort_unstable_by_key(|(stand, _)| stand.order);
    Ok(records)
}

/// Leaves out what a newer record of another key, or of none, says of the same device. What cannot be read stays, to be
/// refused.
fn newest_of_devices(records: Vec<(Stand, Vec<u8>)>, mapping: &Mapping) -> Vec<Vec<u8>> {
    let mut newest: HashMap<(String, String), Stand> = HashMap::new();
    let mut read = Vec::with_capacity(records.len());
    for (stand, value) in records {
        let device = entry(mapping, &value).ok().map(|entry| (entry.site, entry.device));
        if let Some(device) = device {
            let known = newest.entry(device).or_insert(stand);
            if stand.is_after(*known) {
                *known = stand;
            }
            read.push((stand, value, true));
        } else {
            read.push((stand, value, false));
        }
    }
    let kept: HashSet<usize> = newest.into_values().map(|stand| stand.order).collect();
    let keeps =
        |&(stand, _, is_device): &(Stand, Vec<u8>, bool)| !is_device || kept.contains(&stand.order);
    read.into_iter().filter(keeps).map(|(_, value, _)| value).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn stand(partition: i32, ms: i64, order: usize) -> Stand {
        Stand { partition, ms, order }
    }

    #[test]
    fn a_partition_has_an_order_and_between_two_there_are_times() {
        assert!(stand(0, 5, 2).is_after(stand(0, 9, 1)), "a clock that was set back");
        assert!(!stand(1, 5, 2).is_after(stand(0, 9, 1)), "read later, written before");
        assert!(stand(1, 9, 2).is_after(stand(0, 5, 3)));
        assert!(stand(1, 5, 2).is_after(stand(0, 5, 1)));
    }

    #[test]
    fn of_a_device_the_newest_record_is_taken() {
        let set = ["site=plant".to_owned()];
        let mapping = Mapping::parse(&["id=device".to_owned()], &set).unwrap();
        let record = |stand: Stand, text: &str| (stand, text.as_bytes().to_vec());
        let records = vec![
            record(stand(0, 1, 1), r#"{"id": "a", "n": 1}"#),
            record(stand(0, 2, 2), "no JSON"),
            record(stand(0, 3, 3), r#"{"id": "a", "n": 2}"#),
            record(stand(1, 2, 4), r#"{"id": "a", "n": 3}"#),
            record(stand(1, 4, 5), r#"{"id": "b"}"#),
            record(stand(1, 5, 6), "no JSON"),
        ];
        let kept = newest_of_devices(records, &mapping);
        let kept: Vec<_> =
            kept.into_iter().map(|value| String::from_utf8(value).unwrap()).collect();
        assert_eq!(kept, ["no JSON", r#"{"id": "a", "n": 2}"#, r#"{"id": "b"}"#, "no JSON"]);
    }
}
