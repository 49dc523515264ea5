//! Archive: the raw data, for ever, as Parquet in a folder or in a bucket.
//!
//! In: rows per partition. Out: one object per topic, partition and offset range, and a manifest
//! beside each:
//!
//! ```text
//! readings/date=2026-03-01/hour=10/weir.readings-3-00000000000000001200.parquet
//! readings/date=2026-03-01/hour=10/weir.readings-3-00000000000000001200.json
//! ```
//!
//! Date and hour are those of the Kafka stamp of the first record. Promises: [`Archive::put`]
//! returns `Ok` only when object and manifest are safe: synced to the disk, folder entries too, or confirmed by the
//! store; an object shows up whole or not at all. An object is committed when the group's offset is at or above its
//! `next_offset`; at most one per partition is not, and that one is overwritten when its records come
//! again (unless Kafka has removed its first record by then). `merge` makes larger objects of small ones; `catalogue`
//! knows which of them count. What can go wrong: the target is
//! away, full or refuses ([`ArchiveError`]; the same call may work later).

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use crate::decode::dedupe::Snapshot;
use crate::fault::{self, Point};

mod catalogue;
mod columns;
mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod fields;
mod marks;
pub mod merge;
mod object;
mod packed;
mod read;
pub(crate) mod readings;
pub(crate) mod rows;
mod s3;

pub use catalogue::{Catalogue, Chain, Entry, Hours};
pub use columns::{Row, RowBody};
pub use config::{ArchiveConfig, MergeConfig, S3Config};
pub use error::ArchiveError;
pub(crate) use fields::{Fields, batches};
pub(crate) use object::hex;
pub use object::{CloseAt, Manifest, Open, Part, Sealed, StreamRange, manifest_path, object_path};
pub use read::{Contents, Identity, ReadError, identities};
pub use readings::Archived;
pub use rows::rows;

/// Parts of one object that are on their way at once.
const PARTS_AT_ONCE: usize = 3;

/// The archive target.
#[derive(Clone)]
pub struct Archive {
    target: Arc<dyn ObjectStore>,
    /// Objects of more than two parts are sent in parts of so many bytes.
    part_bytes: Option<usize>,
}

// By hand: a store knows the keys that it is reached with.
impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({})", self.target)
    }
}

impl Archive {
    /// An archive in any object store.
    #[must_use]
    pub fn new(target: Arc<dyn ObjectStore>) -> Self {
        Self { target, part_bytes: None }
    }

    /// The archive as configured, for who writes to it: a folder is created when it is not there. A request to a store is
    /// tried once.
    ///
    /// # Errors
    /// When the folder cannot be created, or a secret is missing.
    pub fn open(config: &ArchiveConfig) -> Result<Self, ArchiveError> {
        match (&config.s3, &config.path) {
            (Some(s3), _) => Self::bucket(s3, s3::Tries::Once),
            (None, Some(path)) => Self::local(path),
            (None, None) => Err(nowhere()),
        }
    }

    /// The archive as configured, for commands: the folder has to be there, a request to a store is tried again for half a
    /// minute.
    ///
    /// # Errors
    /// When there is no such folder, or a secret is missing.
    pub fn existing(config: &ArchiveConfig) -> Result<Self, ArchiveError> {
        match (&config.s3, &config.path) {
            (Some(s3), _) => Self::bucket(s3, s3::Tries::Some),
            (None, Some(path)) => Self::in_folder(path, |path| std::fs::read_dir(path).map(drop)),
            (None, None) => Err(nowhere()),
        }
    }

    /// An archive in a local folder, which is created when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn local(folder: &FilePath) -> Result<Self, ArchiveError> {
        Self::in_folder(folder, |folder| std::fs::create_dir_all(folder))
    }

    fn in_folder(
        folder: &FilePath,
        ready: impl FnOnce(&FilePath) -> std::io::Result<()>,
    ) -> Result<Self, ArchiveError> {
        let open = || {
            ready(folder).map_err(|error| object_store::Error::Generic {
                store: "local folder",
                source: Box::new(error),
            })?;
            LocalFileSystem::new_with_prefix(folder)
        };
        let target = open().map_err(ArchiveError::of("open", &folder.display().to_string()))?;
        Ok(Self::new(Arc::new(target.with_fsync(true))))
    }

    fn bucket(config: &S3Config, tries: s3::Tries) -> Result<Self, ArchiveError> {
        let target = s3::open(config, tries)?;
        Ok(Self { target, part_bytes: Some(s3::PART_BYTES) })
    }

    /// Tries whether the archive can be written.
    ///
    /// # Errors
    /// Says what is in the way.
    pub async fn check(&self) -> Result<(), ArchiveError> {
        // A leading underscore keeps Spark and others from taking it for data.
        let probe = "_weir_probe";
        self.write(probe, Bytes::from_static(b"weir-sink was here\n")).await?;
        self.remove(probe).await
    }

    /// Writes an object and its manifest.
    ///
    /// # Errors
    /// When either is not safely there; the same call may be made again.
    pub async fn put(&self, sealed: &Sealed) -> Result<(), ArchiveError> {
        fault::passed(Point::ObjectBefore);
        self.write(&sealed.path, sealed.data.clone()).await?;
        fault::passed(Point::ObjectAfter);
        let json = serde_json::to_vec(&sealed.manifest).unwrap_or_default();
        self.write(&manifest_path(&sealed.path), json.into()).await?;
        fault::passed(Point::ManifestAfter);
        Ok(())
    }

    /// What the duplicate memory held after this object; none when object or manifest are gone.
    ///
    /// # Errors
    /// When the archive does not answer.
    pub async fn dedupe_after(&self, object: &str) -> Result<Option<Snapshot>, ArchiveError> {
        Ok(self.manifest(object).await?.map(|found| found.dedupe))
    }

    /// The manifest of an object; none when it is not there or not readable as one.
    ///
    /// # Errors
    /// When the archive does not answer.
    pub async fn manifest(&self, object: &str) -> Result<Option<Manifest>, ArchiveError> {
        let path = manifest_path(object);
        match self.bytes(&path).await {
            Ok(json) => Ok(serde_json::from_slice(&json)
                .inspect_err(|error| tracing::error!(path, %error, "this is no manifest"))
                .ok()),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, path: &str, data: Bytes) -> Result<(), ArchiveError> {
        let at = Path::from(path);
        let written = match self.part_bytes {
            Some(part) if data.len() > 2 * part => self.write_in_parts(&at, &data, part).await,
            _ => self.target.put(&at, data.into()).await.map(drop),
        };
        written.map_err(ArchiveError::of("write", path))
    }

    /// The object shows up when all of its parts are there. What a crash leaves of them the store has to remove.
    async fn write_in_parts(
        &self,
        at: &Path,
        data: &Bytes,
        part: usize,
    ) -> object_store::Result<()> {
        let mut upload = self.target.put_multipart(at).await?;
        let written = async {
            let begins = (0..data.len()).step_by(part);
            let parts = begins.map(|from| data.slice(from..data.len().min(from + part)));
            let puts: Vec<_> = parts.map(|part| upload.put_part(part.into())).collect();
            stream::iter(puts).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>().await?;
            upload.complete().await.map(drop)
        };
        let written = written.await;
        if written.is_err() {
            // Why it failed is told; that the parts could not be removed either adds nothing.
            let _ = upload.abort().await;
        }
        written
    }

    async fn remove(&self, path: &str) -> Result<(), ArchiveError> {
        match self.target.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(ArchiveError::of("remove", path)(source)),
        }
    }
}

fn nowhere() -> ArchiveError {
    ArchiveError::Setup { key: "archive", why: "give either `path` or `[archive.s3]`".into() }
}

#[cfg(test)]
mod tests;
