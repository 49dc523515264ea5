//! Fields: typed columns of what is read back.
//!
//! In: the bytes of an object, and which columns are wanted. Out: record batches, and their columns by
//! name. What can go wrong: the bytes are no Parquet, a column is missing or holds something else; the
//! text says which.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, UInt64Type,
};
use arrow_array::{Array, PrimitiveArray, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use weir_models::ident::{EventId, Stream};

/// The batches of an object; only these columns, as far as they are there, or all.
pub(crate) fn batches(
    data: Bytes,
    wanted: Option<&[&str]>,
) -> Result<ParquetRecordBatchReader, String> {
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(data).map_err(|e| e.to_string())?;
    if let Some(wanted) = wanted {
        let columns = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied());
        builder = builder.with_projection(columns);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The columns of a batch by name.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a RecordBatch);

/// What a column of another kind is.
fn other(name: &str) -> String {
    format!("the column `{name}` holds something else")
}

impl<'a> Fields<'a> {
    /// A column of any kind.
    pub(crate) fn column(self, name: &str) -> Result<&'a dyn Array, String> {
        let column = self.0.column_by_name(name);
        column.map(|column| &**column).ok_or_else(|| format!("there is no column `{name}`"))
    }

    pub(crate) fn text(self, name: &str) -> Result<&'a StringArray, String> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| other(name))
    }

    pub(crate) fn primitive<T: ArrowPrimitiveType>(
        self,
        name: &str,
    ) -> Result<&'a PrimitiveArray<T>, String> {
        self.column(name)?.as_primitive_opt::<T>().ok_or_else(|| other(name))
    }

    pub(crate) fn stamps_us(
        self,
        name: &str,
    ) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>, String> {
        self.primitive(name)
    }

    pub(crate) fn stamps_ms(
        self,
        name: &str,
    ) -> Result<&'a PrimitiveArray<TimestampMillisecondType>, String> {
        self.primitive(name)
    }

    /// Stream and number of each row.
    pub(crate) fn ids(self) -> Result<Vec<EventId>, String> {
        let streams = self.text("stream")?;
        // Version 1 of the first archives had unsigned numbers.
        let seqs: Vec<u64> = match self.column("seq")?.as_primitive_opt::<UInt64Type>() {
            Some(seqs) => seqs.values().to_vec(),
            None => {
                let seqs = self.primitive::<Int64Type>("seq")?;
                seqs.values().iter().map(|seq| seq.cast_unsigned()).collect()
            }
        };
        let id = |(row, seq): (usize, u64)| {
            let stream: Result<Stream, _> = streams.value(row).parse();
            let stream = stream.map_err(|error| format!("row {row}: {error}"))?;
            Ok(EventId { stream, seq })
        };
        seqs.into_iter().enumerate().map(id).collect()
    }
}

/// The value of a row, if it has one.
pub(crate) fn value<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    row: usize,
) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

/// The text of a row, if it has one.
pub(crate) fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
