//! Object: the archive object of one partition that is being filled.
//!
//! In: rows in the order of their offsets. Out: a [`Sealed`] object: Parquet bytes and their
//! manifest, complete in memory, under a name that follows from its first row alone. Promises: rows
//! that come again after a crash give the same name, so what was written and never committed is
//! overwritten and not doubled. What can go wrong: nothing outside; memory is bounded by whoever
//! seals.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use weir_models::ident::Stream;
use weir_models::time::{date, hour_of_day};
use weir_models::topic::Topic;

use super::columns::{Row, RowBody, Source, record_batch};
use super::packed::Packed;
use crate::consume::Partition;
use crate::decode::dedupe::Snapshot;

/// Rows are turned into columns when so many wait.
const ENCODE_ROWS: usize = 1_024;
/// Rows are turned into columns when about so many bytes wait.
const ENCODE_BYTES: usize = 1024 * 1024;
/// The same for an object that is packed: its rows wait beside those of many others.
const PACK_ROWS: usize = 128;
const PACK_BYTES: usize = 128 * 1024;
/// Memory of the compressors of an object that is being written, which its writer does not count: one for each column
/// that is compressed, with tables for pages of about a MB in two of them.
const COMPRESSORS_BYTES: usize = 3 * 1024 * 1024;
/// A row group is closed at so many rows.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// A page ends at so many rows: what a reader can skip.
const PAGE_ROWS: usize = 8 * 1024;
/// Columns of which queries name a value; those that a topic has not are passed over.
const SOUGHT: [&str; 2] = ["device", "host"];
/// How often a Bloom filter may say yes where no is right.
const BLOOM_FPP: f64 = 0.01;
/// Different values of a row group that a Bloom filter has room for: 32 KiB of memory for each open object, less
/// on disk where fewer came.
const BLOOM_VALUES_MAX: u64 = 16 * 1024;
/// Columns of numbers that grow from row to row: differences, packed into as few bits as they need.
const GROWING: [&str; 5] = ["seq", "ts_us", "received_us", "offset", "kafka_ts_ms"];
/// Columns of few different values, which their dictionaries make small enough. A column that is compressed takes some
/// hundred KiB of memory for each open object, and most of the time to write it.
const FEW_VALUES: [&str; 27] = [
    "agent",
    "stream",
    "site",
    "device",
    "clock",
    "source",
    "dialect",
    "parse",
    "parse_reason",
    "meta.key_value.key",
    "meta.key_value.value",
    "meta_state",
    "meta_age_s",
    "facility",
    "severity",
    "host",
    "app",
    "msgid",
    "template",
    "topic",
    "partition",
    "lost_count",
    "lost_stream",
    "lost_first_seq",
    "lost_last_seq",
    "lost_reason",
    "lost_lane",
];
/// Zstd level: 3 is zstd's own default, and what most of the size is won with.
const ZSTD_LEVEL: i32 = 3;
pub(super) const HOUR_MS: i64 = 3_600_000;

/// What an object holds, kept beside it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this record.
    pub version: u32,
    /// Path of the object in the archive.
    pub object: String,
    /// Full name of the topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the first row.
    pub first_offset: i64,
    /// The offset after the last record that is accounted for here: rows, duplicates and dead
    /// letters.
    pub next_offset: i64,
    /// The offset from which on this object accounts for the partition: the `next_offset` of the
    /// object before it. Not in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_offset: Option<i64>,
    /// Offsets between `from_offset` and `next_offset` that Kafka never gave out: removed before
    /// they were read, or markers of transactions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Rows in the object.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// What it holds of each stream.
    pub streams: Vec<StreamRange>,
    /// What the duplicate memory of the partition holds at `next_offset`.
    pub dedupe: Snapshot,
    /// The objects that it was merged of, in their order; none for one that the sink wrote as its rows came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Part>,
}

/// An object that became part of a merged one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The path that it had.
    pub object: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Whether these are the bytes that it was made of.
    #[must_use]
    pub fn fits(&self, data: &Bytes) -> bool {
        data.len() as u64 == self.bytes && hex(&Sha256::digest(data)) == self.sha256
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an object holds of one stream. A stream is spread over partitions, so the numbers between
/// the first and the last are not all here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRange {
    /// The agent.
    pub agent: Arc<str>,
    /// Its stream.
    pub stream: Stream,
    /// Lowest number in the object.
    pub first_seq: u64,
    /// Highest number in the object.
    pub last_seq: u64,
    /// How many events of the stream are in the object.
    pub events: u64,
}

/// An object that is complete and not yet written.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its partition.
    pub partition: Partition,
    /// Its path in the archive.
    pub path: String,
    /// The Parquet file.
    pub data: Bytes,
    /// What it holds.
    pub manifest: Manifest,
}

/// When an object is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseAt {
    /// So long after its first row.
    pub age: std::time::Duration,
    /// At so many rows.
    pub rows: u64,
    /// At about so many bytes of Parquet.
    pub bytes: usize,
}

/// An object being filled.
pub struct Open {
    partition: Partition,
    source: Source,
    path: String,
    first_offset: i64,
    from_offset: Option<i64>,
    skipped: u64,
    hour: i64,
    since: Instant,
    rows: u64,
    waiting: Vec<Row>,
    waiting_bytes: usize,
    /// What takes the rows, where they are not written as they come.
    packed: Option<Packed>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    /// Bytes of Parquet so far, or packed ones, as of the last encoding.
    encoded_bytes: usize,
    /// Memory of the writer, or of what is packed, as of the last encoding.
    writer_bytes: usize,
    streams: BTreeMap<Stream, StreamRange>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// The path of the object whose first row is the record at `first_offset` with Kafka stamp `kafka_ms`.
#[must_use]
pub fn object_path(
    partition: Partition,
    topic_name: &str,
    first_offset: i64,
    kafka_ms: i64,
) -> String {
    let folder = hour_folder(partition.topic, kafka_ms);
    format!("{folder}/{topic_name}-{}-{first_offset:020}.parquet", partition.number)
}

/// The path of the object that accounts for these offsets, the second one not included, and was merged of others.
pub(super) fn merged_path(
    partition: Partition,
    topic_name: &str,
    (first_offset, next_offset): (i64, i64),
    kafka_ms: i64,
) -> String {
    let (folder, number) = (hour_folder(partition.topic, kafka_ms), partition.number);
    format!("{folder}/{topic_name}-{number}-{first_offset:020}-{next_offset:020}.parquet")
}

/// The folder of an hour.
pub(super) fn hour_folder(topic: Topic, kafka_ms: i64) -> String {
    let us = kafka_ms.saturating_mul(1_000);
    format!("{}/date={}/hour={:02}", topic.suffix(), date(us), hour_of_day(us))
}

/// The path of the manifest of an object.
#[must_use]
pub fn manifest_path(object_path: &str) -> String {
    let stem = object_path.strip_suffix(".parquet").unwrap_or(object_path);
    format!("{stem}.json")
}

impl Open {
    /// An object that begins with the record at `first_offset`.
    #[must_use]
    pub fn new(
        partition: Partition,
        topic_name: &Arc<str>,
        first_offset: i64,
        kafka_ms: i64,
        now: Instant,
    ) -> Self {
        Self {
            partition,
            source: Source {
                topic: partition.topic,
                topic_name: Arc::clone(topic_name),
                number: partition.number,
            },
            path: object_path(partition, topic_name, first_offset, kafka_ms),
            first_offset,
            from_offset: None,
            skipped: 0,
            hour: kafka_ms.div_euclid(HOUR_MS),
            since: now,
            rows: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            packed: None,
            writer: None,
            encoded_bytes: 0,
            writer_bytes: 0,
            streams: BTreeMap::new(),
        }
    }

    /// Says from which offset on it accounts for its partition, and how many offsets since then never
    /// came.
    #[must_use]
    pub fn accounting(mut self, from_offset: Option<i64>, skipped: u64) -> Self {
        self.from_offset = from_offset;
        self.skipped = skipped;
        self
    }

    /// Lets its rows wait packed until it is closed: a little memory, and they are written twice.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.packed = Some(Packed::default());
        self
    }

    /// Whether its rows are not written before it is closed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Adds a row of about `bytes` bytes.
    ///
    /// # Errors
    /// Only on a defect: rows that `decode` let through can be written.
    pub fn push(&mut self, row: Row, bytes: usize) -> Result<(), ParquetError> {
        self.note(&row);
        self.rows += 1;
        self.waiting.push(row);
        self.waiting_bytes += bytes;
        let (rows, bytes) =
            if self.is_packed() { (PACK_ROWS, PACK_BYTES) } else { (ENCODE_ROWS, ENCODE_BYTES) };
        if self.waiting.len() >= rows || self.waiting_bytes >= bytes {
            self.encode()?;
        }
        Ok(())
    }

    fn note(&mut self, row: &Row) {
        let (agent, id) = match &row.body {
            RowBody::Event(event) => (&event.agent, event.id),
            RowBody::Alert(alert, _) => (&alert.data.agent, alert.event_id()),
        };
        let range = self.streams.entry(id.stream).or_insert_with(|| StreamRange {
            agent: Arc::clone(agent),
            stream: id.stream,
            first_seq: id.seq,
            last_seq: id.seq,
            events: 0,
        });
        range.first_seq = range.first_seq.min(id.seq);
        range.last_seq = range.last_seq.max(id.seq);
        range.events += 1;
    }

    fn encode(&mut self) -> Result<(), ParquetError> {
        let batch = record_batch(&self.source, &self.waiting)?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        if let Some(packed) = &mut self.packed {
            packed.add(&batch)?;
            self.encoded_bytes = packed.bytes();
            self.writer_bytes = packed.bytes();
            return Ok(());
        }
        self.write(&batch)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties()?))?;
                none.insert(writer)
            }
        };
        writer.write(batch)?;
        self.encoded_bytes = writer.bytes_written() + writer.in_progress_size();
        self.writer_bytes = writer.inner().capacity() + writer.memory_size() + COMPRESSORS_BYTES;
        Ok(())
    }

    /// Whether a record with this stamp belongs into the next object: its hour is a later one. An
    /// earlier hour does not end an object, else two gateways, one of them behind, would make an
    /// object of each record.
    #[must_use]
    pub fn ends_before(&self, kafka_ms: i64) -> bool {
        kafka_ms.div_euclid(HOUR_MS) > self.hour
    }

    /// Whether it is to be closed now.
    #[must_use]
    pub fn due(&self, now: Instant, at: CloseAt) -> bool {
        now.duration_since(self.since) >= at.age || self.full(at)
    }

    /// Whether it holds as much as it may.
    #[must_use]
    pub fn full(&self, at: CloseAt) -> bool {
        self.rows >= at.rows || self.encoded_bytes >= at.bytes
    }

    /// About how many bytes of memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.waiting_bytes + self.writer_bytes
    }

    /// Closes it. `next_offset` is the first offset that is not accounted for, `dedupe` the memory there.
    ///
    /// # Errors
    /// Only on a defect, as [`Open::push`].
    pub fn seal(mut self, next_offset: i64, dedupe: Snapshot) -> Result<Sealed, ParquetError> {
        if !self.waiting.is_empty() || self.rows == 0 {
            self.encode()?;
        }
        for batch in self.packed.take().into_iter().flat_map(Packed::batches) {
            self.write(&batch?)?;
        }
        let data = match self.writer.take() {
            Some(writer) => Bytes::from(writer.into_inner()?),
            None => Bytes::new(),
        };
        let manifest = Manifest {
            version: 1,
            object: self.path.clone(),
            topic: self.source.topic_name.to_string(),
            partition: self.partition.number,
            first_offset: self.first_offset,
            next_offset,
            from_offset: self.from_offset,
            skipped: self.skipped,
            rows: self.rows,
            bytes: data.len() as u64,
            sha256: hex(&Sha256::digest(&data)),
            streams: self.streams.into_values().collect(),
            dedupe,
            merged: Vec::new(),
        };
        Ok(Sealed { partition: self.partition, path: self.path, data, manifest })
    }
}

/// How Parquet is written: with the smallest and largest value of each page, so that readers skip pages, and with
/// Bloom filters of what queries name, so that they skip row groups. Rows keep the order of their offsets: replay sends them so.
pub(super) fn properties() -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("weir-sink ", env!("CARGO_PKG_VERSION")).into());
    for column in GROWING.map(ColumnPath::from) {
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_compression(column, Compression::UNCOMPRESSED);
    }
    for column in FEW_VALUES.map(path_of) {
        properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
    }
    for column in SOUGHT {
        properties = properties
            .set_column_bloom_filter_enabled(ColumnPath::from(column), true)
            .set_column_bloom_filter_fpp(ColumnPath::from(column), BLOOM_FPP)
            .set_column_bloom_filter_max_ndv(ColumnPath::from(column), BLOOM_VALUES_MAX);
    }
    Ok(properties.build())
}

/// A column by the names from the outermost inwards, with dots between.
fn path_of(column: &str) -> ColumnPath {
    ColumnPath::new(column.split('.').map(str::to_owned).collect())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
