//! Build: one object and one manifest of several.
//!
//! In: the bytes and the manifests of sources, in the order of their offsets. Out: a [`Sealed`] object that accounts for the
//! same offsets with the same rows in the same order. The same sources give the same bytes. Uses the processor: for
//! a blocking thread. What can go wrong: a source has other columns, is not what its manifest says, or does not
//! follow on the one before it; then nothing is made.

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use sha2::{Digest, Sha256};
use weir_models::ident::Stream;

use super::super::object::{Part, merged_path, properties};
use super::super::{Chain, Entry, Manifest, Sealed, StreamRange, batches, hex};
use crate::archive::object::HOUR_MS;

/// Why sources cannot become one, and stay as they are.
pub(super) type Unfit = String;

/// Why a source cannot be merged with the one before it.
pub(super) const GAP: &str = "it does not go on where the one before it ends";

/// Whether an object goes on where the one before it ends.
pub(super) fn follows(before_ends: i64, manifest: &Manifest) -> bool {
    manifest.from_offset == Some(before_ends) && manifest.first_offset >= before_ends
}

/// An object that is being made.
pub(super) struct Builder {
    writer: Option<(SchemaRef, ArrowWriter<Vec<u8>>)>,
    manifests: Vec<Manifest>,
    rows: u64,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { writer: None, manifests: Vec::new(), rows: 0 }
    }

    /// Adds a source.
    pub(super) fn add(&mut self, manifest: Manifest, data: Bytes) -> Result<(), Unfit> {
        if !manifest.fits(&data) {
            return Err("it is not what its manifest says".into());
        }
        if self.manifests.last().is_some_and(|before| !follows(before.next_offset, &manifest)) {
            return Err(GAP.into());
        }
        for batch in batches(data, None)? {
            let batch = batch.map_err(|error| error.to_string())?;
            let (schema, writer) = match &mut self.writer {
                Some(writer) => writer,
                none => {
                    let properties = properties().map_err(|error| error.to_string())?;
                    let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties));
                    none.insert((batch.schema(), writer.map_err(|error| error.to_string())?))
                }
            };
            if batch.schema().fields() != schema.fields() {
                return Err("its columns are those of another version".into());
            }
            self.rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(|error| error.to_string())?;
        }
        self.manifests.push(manifest);
        Ok(())
    }

    /// The object, of the hour of its first source.
    pub(super) fn finish(self, chain: &Chain, first: &Entry) -> Result<Sealed, Unfit> {
        let (Some((_, writer)), Some(manifest)) = (self.writer, join(&self.manifests)) else {
            return Err("there is nothing to merge".into());
        };
        if manifest.rows != self.rows {
            return Err("its rows are not as many as its manifest says".into());
        }
        let data = Bytes::from(writer.into_inner().map_err(|error| error.to_string())?);
        let offsets = (manifest.first_offset, manifest.next_offset);
        let ms = i64::from(first.hour) * HOUR_MS;
        let path = merged_path(chain.partition, &chain.topic_name, offsets, ms);
        let manifest = Manifest {
            object: path.clone(),
            bytes: data.len() as u64,
            sha256: hex(&Sha256::digest(&data)),
            ..manifest
        };
        Ok(Sealed { partition: chain.partition, path, data, manifest })
    }
}

/// What several manifests say together; path, size and hash are those of the last.
fn join(manifests: &[Manifest]) -> Option<Manifest> {
    let (first, last) = (manifests.first()?, manifests.last()?);
    let mut streams: BTreeMap<Stream, StreamRange> = BTreeMap::new();
    for range in manifests.iter().flat_map(|manifest| &manifest.streams) {
        let all = streams
            .entry(range.stream)
            .or_insert_with(|| StreamRange { events: 0, ..range.clone() });
        all.first_seq = all.first_seq.min(range.first_seq);
        all.last_seq = all.last_seq.max(range.last_seq);
        all.events += range.events;
    }
    let parts = manifests.iter().flat_map(|manifest| {
        let Manifest { object, rows, sha256, .. } = manifest;
        let itself = Part { object: object.clone(), rows: *rows, sha256: sha256.clone() };
        // What it was merged of before may still lie there.
        manifest.merged.iter().cloned().chain([itself])
    });
    Some(Manifest {
        first_offset: first.first_offset,
        from_offset: first.from_offset,
        skipped: manifests.iter().map(|manifest| manifest.skipped).sum(),
        rows: manifests.iter().map(|manifest| manifest.rows).sum(),
        streams: streams.into_values().collect(),
        merged: parts.collect(),
        ..last.clone()
    })
}
