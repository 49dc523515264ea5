//! Reading the archive back: which events are in it.
//!
//! In: the target. Out: the identity of every row of every object, in the order of the objects'
//! names, each as often as it is there. Reads object by object, two columns only. What can go wrong:
//! the target does not answer, or an object is no Parquet of ours; both name the object.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_models::ident::{EventId, Stream};
use weir_models::topic::Topic;

use super::{Archive, ArchiveError};

/// The archive cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The target does not answer.
    #[error(transparent)]
    Target(#[from] ArchiveError),
    /// An object is not what we write.
    #[error(
        "`{path}` in the archive is damaged: {reason}; restore it from a copy, or replay its offsets from Kafka"
    )]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// What an archive holds of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Objects.
    pub objects: u64,
    /// Identity of each row.
    pub ids: Vec<EventId>,
}

impl Archive {
    /// The identity of every archived record of a topic.
    ///
    /// # Errors
    /// When the target does not answer or an object is damaged.
    pub async fn contents(&self, topic: Topic) -> Result<Contents, ReadError> {
        let folder = object_store::path::Path::from(topic.suffix());
        let listed: Vec<_> = self
            .target
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|source| ArchiveError { what: "list", path: topic.suffix().into(), source })?;
        let mut paths: Vec<_> = listed.into_iter().map(|object| object.location).collect();
        paths.retain(|path| path.as_ref().ends_with(".parquet"));
        paths.sort();
        let mut contents = Contents::default();
        for path in paths {
            let read = async { self.target.get(&path).await?.bytes().await };
            let data = read.await.map_err(|source| ArchiveError {
                what: "read",
                path: path.to_string(),
                source,
            })?;
            contents.objects += 1;
            ids(data, &mut contents.ids)
                .map_err(|reason| ReadError::Damaged { path: path.to_string(), reason })?;
        }
        Ok(contents)
    }
}

fn ids(data: bytes::Bytes, out: &mut Vec<EventId>) -> Result<(), String> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(data).map_err(|error| error.to_string())?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["stream", "seq"]);
    let reader = builder.with_projection(columns).build().map_err(|error| error.to_string())?;
    for batch in reader {
        ids_of_batch(&batch.map_err(|error| error.to_string())?, out)?;
    }
    Ok(())
}

fn ids_of_batch(batch: &RecordBatch, out: &mut Vec<EventId>) -> Result<(), String> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"))
    };
    let streams =
        column("stream")?.as_string_opt::<i32>().ok_or("the column `stream` holds no text")?;
    let seqs = column("seq")?;
    for row in 0..batch.num_rows() {
        let text = streams.value(row);
        let stream: Stream = text.parse().map_err(|error| format!("row {row}: {error}"))?;
        let seq = match seqs.as_primitive_opt::<UInt64Type>() {
            Some(seqs) => seqs.value(row),
            None => seqs
                .as_primitive_opt::<Int64Type>()
                .map(|seqs| seqs.value(row).cast_unsigned())
                .ok_or("the column `seq` holds no integers")?,
        };
        out.push(EventId { stream, seq });
    }
    Ok(())
}
