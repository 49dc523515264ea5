//! Lock: one merge of an archive at a time.
//!
//! In: the archive. Out: a file in it that names its owner, as long as the merge runs. Two merges with other settings could cut the
//! same objects in other ways. Promises: whoever finds the file younger than its limit stays away; one that was left by a crash is
//! taken over; who lost it notices before it writes an object. Where a store cannot write "only if it is not there", two that
//! begin in the same moment are told apart by who wrote last.

use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::time::{Instant, sleep};
use weir_models::time::{now_us, rfc3339};

use super::super::{Archive, ArchiveError};
use super::MergeError;

const PATH: &str = "_weir_merging";
/// How often the file is written anew.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// The right to merge.
pub(super) struct Lock<'a> {
    archive: &'a Archive,
    /// What the file says: for people who find it, and to know it again.
    text: String,
    renewed: Instant,
}

impl<'a> Lock<'a> {
    /// Takes it; a file that was not renewed for `stale` counts as left.
    pub(super) async fn take(archive: &'a Archive, stale: Duration) -> Result<Self, MergeError> {
        let owner = getrandom::u64().unwrap_or_default();
        let text =
            format!("weir-sink merges small objects since {}, {owner:016x}\n", rfc3339(now_us()));
        let lock = Self { archive, text, renewed: Instant::now() };
        let path = Path::from(PATH);
        match archive.target.head(&path).await {
            Ok(found) => {
                let renewed_us = found.last_modified.timestamp_micros();
                let age = u64::try_from(now_us().saturating_sub(renewed_us)).unwrap_or(0);
                if Duration::from_micros(age) < stale {
                    return Err(MergeError::Held { since: rfc3339(renewed_us) });
                }
                lock.write().await?;
            }
            Err(Error::NotFound { .. }) => lock.begin(&path).await?,
            Err(source) => return Err(ArchiveError::of("read", PATH)(source).into()),
        }
        lock.check().await?;
        Ok(lock)
    }

    /// Writes the file where it is not there.
    async fn begin(&self, path: &Path) -> Result<(), MergeError> {
        let only_new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let text = self.text.clone().into_bytes();
        match self.archive.target.put_opts(path, text.into(), only_new).await {
            // It may be ours, of a try whose answer was lost: `check` knows.
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(source) => {
                let error = ArchiveError::of("write", PATH)(source);
                if error.is_unsupported() { Ok(self.write().await?) } else { Err(error.into()) }
            }
        }
    }

    async fn write(&self) -> Result<(), ArchiveError> {
        self.archive.write(PATH, self.text.clone().into()).await
    }

    async fn is_ours(&self) -> Result<bool, ArchiveError> {
        match self.archive.bytes(PATH).await {
            Ok(found) => Ok(found == self.text.as_bytes()),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it is still ours.
    pub(super) async fn check(&self) -> Result<(), MergeError> {
        if self.is_ours().await? {
            Ok(())
        } else {
            Err(MergeError::Held { since: rfc3339(now_us()) })
        }
    }

    /// Says that it is still needed.
    pub(super) async fn renew(&mut self) -> Result<(), MergeError> {
        if self.renewed.elapsed() >= RENEW_EVERY {
            self.check().await?;
            self.write().await?;
            self.renewed = Instant::now();
        }
        Ok(())
    }

    /// Does nothing for a while.
    pub(super) async fn rest(&mut self, rest: Duration) -> Result<(), MergeError> {
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(RENEW_EVERY)).await;
            self.renew().await?;
        }
    }

    /// Gives it back.
    pub(super) async fn release(self) -> Result<(), ArchiveError> {
        if self.is_ours().await? { self.archive.remove(PATH).await } else { Ok(()) }
    }
}
