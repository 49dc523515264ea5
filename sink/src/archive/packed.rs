//! Packed: rows of an object that waits for its end in little memory.
//!
//! In: record batches of one schema. Out: the same, in their order, when the object is written. Parquet keeps a
//! compressor and buffers for each column of an object that is being written, some MB in all, which is too much for
//! each of hundreds of partitions; a packed batch takes a few dozen bytes a row and nothing else. It costs to write
//! each row twice, so only what comes beside many other open objects is packed. What can go wrong: nothing outside.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;

/// Zstd level: the fastest of the usual ones; what is archived is compressed anew.
const LEVEL: i32 = 1;

/// Batches as compressed Arrow streams.
#[derive(Debug, Default)]
pub(super) struct Packed {
    chunks: Vec<Chunk>,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    packed: Box<[u8]>,
    /// How long it is unpacked.
    length: usize,
}

impl Packed {
    /// Keeps a batch.
    ///
    /// # Errors
    /// Only when there is no memory.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        stream.write(batch)?;
        let bytes = stream.into_inner()?;
        let packed = zstd::bulk::compress(&bytes, LEVEL)?.into_boxed_slice();
        self.bytes += packed.len() + size_of::<Chunk>();
        self.chunks.push(Chunk { packed, length: bytes.len() });
        Ok(())
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was kept, one batch in memory at a time.
    pub(super) fn batches(self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        self.chunks.into_iter().map(|chunk| {
            let bytes = zstd::bulk::decompress(&chunk.packed, chunk.length)?;
            let mut stream = StreamReader::try_new(Cursor::new(bytes), None)?;
            let lost = || ArrowError::IpcError("a packed batch is empty".into());
            stream.next().unwrap_or_else(|| Err(lost()))
        })
    }
}
