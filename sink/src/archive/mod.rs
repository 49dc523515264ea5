//! Archive: the raw data, for ever, as Parquet in an object store.
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
//! returns `Ok` only when object and manifest are synced to the disk, folder entries too; an object shows
//! up whole or not at all. An object is committed when the group's offset is at or above its
//! `next_offset`; at most one per partition is not, and that one is overwritten when its records come
//! again (unless Kafka has removed its first record by then). What can go wrong: the target is
//! away, full or refuses ([`ArchiveError`]; the same call may work later).

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::decode::dedupe::Snapshot;

mod catalogue;
mod columns;
mod fields;
mod object;
mod read;
pub(crate) mod readings;
pub(crate) mod rows;

pub use catalogue::{Catalogue, Chain, Entry, Hours};
pub use columns::{Row, RowBody};
pub(crate) use fields::{Fields, batches};
pub(crate) use object::hex;
pub use object::{CloseAt, Manifest, Open, Sealed, StreamRange, manifest_path, object_path};
pub use read::{Contents, Identity, ReadError, identities};
pub use readings::Archived;
pub use rows::rows;

/// The archive target does not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}` in the archive: {source}{}", hint(source))]
pub struct ArchiveError {
    what: &'static str,
    path: String,
    source: object_store::Error,
}

/// What to do about it, where the cause tells.
fn hint(error: &object_store::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "; make room on its disk, the sink goes on by itself"
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    "; let the sink's user write to the folder `[archive] path`"
                }
                std::io::ErrorKind::NotADirectory => "; `[archive] path` has to be a folder",
                std::io::ErrorKind::NotFound => "; check `[archive] path`",
                _ => "",
            };
        }
        cause = error.source();
    }
    ""
}

/// The archive target.
#[derive(Clone, Debug)]
pub struct Archive {
    target: Arc<dyn ObjectStore>,
}

impl Archive {
    /// An archive in any object store.
    #[must_use]
    pub fn new(target: Arc<dyn ObjectStore>) -> Self {
        Self { target }
    }

    /// An archive in a local folder, which is created when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn local(folder: &FilePath) -> Result<Self, ArchiveError> {
        let open = || {
            std::fs::create_dir_all(folder).map_err(|error| object_store::Error::Generic {
                store: "local folder",
                source: Box::new(error),
            })?;
            LocalFileSystem::new_with_prefix(folder)
        };
        match open() {
            Ok(target) => Ok(Self::new(Arc::new(target.with_fsync(true)))),
            Err(source) => {
                Err(ArchiveError { what: "open", path: folder.display().to_string(), source })
            }
        }
    }

    /// An archive in a local folder that is there: for who only reads.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn existing(folder: &FilePath) -> Result<Self, ArchiveError> {
        let open = || {
            std::fs::read_dir(folder).map_err(|error| object_store::Error::Generic {
                store: "local folder",
                source: Box::new(error),
            })?;
            LocalFileSystem::new_with_prefix(folder)
        };
        let path = || folder.display().to_string();
        match open() {
            Ok(target) => Ok(Self::new(Arc::new(target.with_fsync(true)))),
            Err(source) => Err(ArchiveError { what: "open", path: path(), source }),
        }
    }

    /// Tries whether the archive can be written.
    ///
    /// # Errors
    /// Says what is in the way.
    pub async fn check(&self) -> Result<(), ArchiveError> {
        // A leading underscore keeps Spark and others from taking it for data.
        let probe = "_weir_probe";
        self.write(probe, PutPayload::from_static(b"weir-sink was here\n")).await?;
        self.remove(probe).await
    }

    /// Writes an object and its manifest.
    ///
    /// # Errors
    /// When either is not safely there; the same call may be made again.
    pub async fn put(&self, sealed: &Sealed) -> Result<(), ArchiveError> {
        self.write(&sealed.path, sealed.data.clone().into()).await?;
        let json = serde_json::to_vec(&sealed.manifest).unwrap_or_default();
        self.write(&manifest_path(&sealed.path), json.into()).await
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
        let read = async { self.target.get(&Path::from(&*path)).await?.bytes().await };
        match read.await {
            Ok(json) => Ok(serde_json::from_slice(&json)
                .inspect_err(|error| tracing::error!(path, %error, "this is no manifest"))
                .ok()),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(ArchiveError { what: "read", path, source }),
        }
    }

    async fn write(&self, path: &str, payload: PutPayload) -> Result<(), ArchiveError> {
        match self.target.put(&Path::from(path), payload).await {
            Ok(_) => Ok(()),
            Err(source) => Err(ArchiveError { what: "write", path: path.into(), source }),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), ArchiveError> {
        match self.target.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(ArchiveError { what: "remove", path: path.into(), source }),
        }
    }
}

#[cfg(test)]
mod tests;
