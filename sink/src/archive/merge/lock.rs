//! Lock: one merge of an archive at a time.
//!
//! In: the archive. Out: a file in it, as long as the merge runs. Two merges with other settings could cut the same objects in
//! other ways. Promises: whoever finds the file younger than its limit stays away; one that was left by a crash is
//! taken over. Where a store cannot write "only if it is not there", two that begin in the same moment both go on: with the same
//! settings they make the same bytes.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::time::Instant;
use weir_models::time::{now_us, rfc3339};

use super::super::{Archive, ArchiveError};
use super::MergeError;

const PATH: &str = "_weir_merging";
/// How often the file is written anew.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// The right to merge.
pub(super) struct Lock<'a> {
    archive: &'a Archive,
    renewed: Instant,
}

impl<'a> Lock<'a> {
    /// Takes it; a file that was not renewed for `stale` counts as left.
    pub(super) async fn take(archive: &'a Archive, stale: Duration) -> Result<Self, MergeError> {
        let path = Path::from(PATH);
        match archive.target.head(&path).await {
            Ok(found) => {
                let renewed_us = found.last_modified.timestamp_micros();
                let age = u64::try_from(now_us().saturating_sub(renewed_us)).unwrap_or(0);
                if Duration::from_micros(age) < stale {
                    return Err(MergeError::Held { since: rfc3339(renewed_us) });
                }
                archive.write(PATH, text()).await?;
            }
            Err(Error::NotFound { .. }) => begin(archive, &path).await?,
            Err(source) => return Err(ArchiveError::of("read", PATH)(source).into()),
        }
        Ok(Self { archive, renewed: Instant::now() })
    }

    /// Says that it is still needed.
    pub(super) async fn renew(&mut self) -> Result<(), ArchiveError> {
        if self.renewed.elapsed() >= RENEW_EVERY {
            self.archive.write(PATH, text()).await?;
            self.renewed = Instant::now();
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) async fn release(self) -> Result<(), ArchiveError> {
        self.archive.remove(PATH).await
    }
}

/// Writes the file where it is not there.
async fn begin(archive: &Archive, path: &Path) -> Result<(), MergeError> {
    let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match archive.target.put_opts(path, text().into(), only_new).await {
        Ok(_) => Ok(()),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
            Err(MergeError::Held { since: rfc3339(now_us()) })
        }
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            Ok(archive.write(PATH, text()).await?)
        }
        Err(source) => Err(ArchiveError::of("write", PATH)(source).into()),
    }
}

/// For people who find the file.
fn text() -> Bytes {
    format!("weir-sink merges small objects since {}\n", rfc3339(now_us())).into()
}
