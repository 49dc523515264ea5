//! Merge: small objects of an hour that is over become larger ones.
//!
//! In: the catalogue and a rule. Out: in place of a run of small objects one that accounts for the same offsets, with the same
//! rows in the same order:
//!
//! ```text
//! readings/date=2026-03-01/hour=10/weir.readings-3-00000000000000001200-00000000000000005000.parquet
//! ```
//!
//! Its steps, each of which may be the last one before a crash:
//!
//! 1. The object is written: it does not count yet.
//! 2. Its manifest is written: from now on it counts, and its sources do not (`catalogue`).
//! 3. Both are read back and held against each other.
//! 4. The hour is marked, for who lists the archive meanwhile (`marks`).
//! 5. The sources are removed, the first one first.
//!
//! Promises: at any moment the catalogue has each row once. What was begun is done again by the next run under the same
//! name; what was left over is removed by it, as long as it is what was merged. What another object begins in the midst of stays. What can go wrong: the target does not answer ([`ArchiveError`]); objects that are
//! not what their manifests say, or have other columns, stay as they are and are told.

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use weir_models::time::{HOUR_US, now_us};
use weir_models::topic::Topic;

use self::build::{Builder, GAP, Unfit, follows};
use self::lock::Lock;
use self::plan::{Rule, Run, plan};
use super::catalogue::entry_of;
use super::{
    Archive, ArchiveError, Chain, Entry, Hours, Manifest, MergeConfig, Part, Sealed, hex,
    manifest_path,
};

pub mod background;
mod build;
mod lock;
mod plan;

/// A merge that gave no sign for so long is dead.
const STALE: Duration = Duration::from_secs(30 * 60);

/// Partitions that may fail before a merge gives up.
const FAILED_MAX: usize = 3;

/// A merge came to an end.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The archive does not answer or refuses. The same merge may be run again.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Another one runs.
    #[error(
        "another merge is at work, or was until {since}: if it died, this can go on half an hour after that"
    )]
    Held {
        /// When it last gave a sign, RFC 3339.
        since: String,
    },
}

/// What to merge.
#[derive(Clone, Debug)]
pub struct Merge {
    topics: Vec<Topic>,
    hours: Hours,
    limit: u64,
    is_dry: bool,
    is_gentle: bool,
    rule: Rule,
    stale: Duration,
}

/// What was done with some objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Step {
    /// They would become one.
    Planned {
        /// The first of them.
        object: String,
        /// How many.
        objects: u64,
        /// Their size.
        bytes: u64,
    },
    /// They became one.
    Merged {
        /// The new object.
        object: String,
        /// How many it was made of.
        objects: u64,
        /// Its rows.
        rows: u64,
        /// Its size.
        bytes: u64,
    },
    /// It had been merged before, and was removed.
    Removed {
        /// The object.
        object: String,
    },
    /// It stays as it is.
    Left {
        /// The object.
        object: String,
        /// Why.
        why: String,
    },
}

impl Merge {
    /// A merge of everything that is over, at this moment.
    #[must_use]
    pub fn new(config: &MergeConfig, topics: &[Topic], hours: Hours) -> Self {
        let rule = Rule {
            over_before: now_us().div_euclid(HOUR_US) - i64::from(config.after_hours),
            target_bytes: config.target_bytes,
        };
        let topics = topics.to_vec();
        Self { topics, hours, limit: u64::MAX, is_dry: false, is_gentle: false, rule, stale: STALE }
    }

    /// Ends after so many merged objects.
    #[must_use]
    pub fn limit(mut self, objects: u64) -> Self {
        self.limit = objects;
        self
    }

    /// Only says what would be done.
    #[must_use]
    pub fn dry(mut self, is_dry: bool) -> Self {
        self.is_dry = is_dry;
        self
    }

    /// Rests after each object for as long as that took.
    #[must_use]
    pub fn gently(mut self) -> Self {
        self.is_gentle = true;
        self
    }

    /// Takes over from a merge that gave no sign for this long.
    #[must_use]
    pub fn stale_after(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// Merges, and tells each step.
    ///
    /// # Errors
    /// When the archive does not answer, or another merge is at work.
    pub async fn run(
        &self,
        archive: &Archive,
        mut tell: impl FnMut(&Step),
    ) -> Result<(), MergeError> {
        if self.is_dry {
            return self.all(archive, None, &mut tell).await;
        }
        let mut lock = Lock::take(archive, self.stale).await?;
        let done = self.all(archive, Some(&mut lock), &mut tell).await;
        // A lock that cannot be given back is taken over later.
        let released = lock.release().await;
        done?;
        Ok(released?)
    }

    async fn all(
        &self,
        archive: &Archive,
        mut lock: Option<&mut Lock<'_>>,
        tell: &mut impl FnMut(&Step),
    ) -> Result<(), MergeError> {
        let catalogue = archive.catalogue(&self.topics).await?;
        let (mut left, mut failed) = (self.limit, Vec::new());
        for chain in &catalogue.chains {
            // One that always fails must not keep those behind it from being merged.
            match self.chain(archive, chain, &mut lock, &mut left, tell).await {
                Err(MergeError::Archive(error)) if failed.len() + 1 < FAILED_MAX => {
                    failed.push(error);
                }
                ended => ended?,
            }
        }
        failed.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }

    async fn chain(
        &self,
        archive: &Archive,
        chain: &Chain,
        lock: &mut Option<&mut Lock<'_>>,
        left: &mut u64,
        tell: &mut impl FnMut(&Step),
    ) -> Result<(), MergeError> {
        if let Some(lock) = lock {
            for merged in chain.entries.iter().filter(|entry| entry.next_offset.is_some()) {
                lock.renew().await?;
                sweep(archive, chain, merged, lock, tell).await?;
            }
        }
        let runs = plan(chain, self.rule).into_iter();
        for run in runs.filter(|run| self.hours.hold(&run.entries[0])) {
            if *left == 0 {
                return Ok(());
            }
            if let Some(lock) = lock {
                let begun = Instant::now();
                for run in cut(archive, chain, run, lock, tell).await? {
                    if *left > 0 && one(archive, chain, &run, lock, tell).await? {
                        *left -= 1;
                    }
                }
                if self.is_gentle {
                    lock.rest(begun.elapsed()).await?;
                }
            } else {
                *left -= 1;
                tell(&planned(chain, &run));
            }
        }
        Ok(())
    }
}

fn planned(chain: &Chain, run: &Run) -> Step {
    Step::Planned {
        object: chain.path(&run.entries[0]),
        objects: run.entries.len() as u64,
        bytes: run.entries.iter().map(|entry| entry.bytes).sum(),
    }
}

/// Cuts a run where one does not go on where the one before it ends. Manifests are small: objects that cannot be merged are not
/// read for that.
async fn cut(
    archive: &Archive,
    chain: &Chain,
    run: Run,
    lock: &mut Lock<'_>,
    tell: &mut impl FnMut(&Step),
) -> Result<Vec<Run>, MergeError> {
    if run.begun.is_some() {
        return Ok(vec![run]);
    }
    let mut pieces: Vec<Vec<Entry>> = Vec::new();
    let (mut before_ends, mut is_told) = (None, false);
    for entry in &run.entries {
        lock.renew().await?;
        let object = chain.path(entry);
        let Some(manifest) = archive.manifest(&object).await? else {
            // Whoever builds it says why it cannot be.
            return Ok(vec![run]);
        };
        let goes_on = before_ends.is_some_and(|ends| follows(ends, &manifest));
        match pieces.last_mut() {
            Some(piece) if goes_on => piece.push(*entry),
            _ => pieces.push(vec![*entry]),
        }
        // One line a run: of a version that did not note where an object goes on, it would be all of them.
        if before_ends.is_some() && !goes_on && !is_told {
            is_told = true;
            tell(&Step::Left { object, why: GAP.into() });
        }
        before_ends = Some(manifest.next_offset);
    }
    let pieces = pieces.into_iter().filter(|entries| entries.len() > 1);
    Ok(pieces.map(|entries| Run { entries, begun: None }).collect())
}

/// Makes one object of a run; says whether it did.
async fn one(
    archive: &Archive,
    chain: &Chain,
    run: &Run,
    lock: &mut Lock<'_>,
    tell: &mut impl FnMut(&Step),
) -> Result<bool, MergeError> {
    let sealed = match build(archive, chain, run, lock).await? {
        Ok(sealed) => sealed,
        Err((object, why)) => {
            tell(&Step::Left { object, why });
            return Ok(false);
        }
    };
    lock.check().await?;
    archive.put(&sealed).await?;
    let Manifest { rows, bytes, .. } = sealed.manifest;
    let object = sealed.path.clone();
    if whole(archive, &sealed.path).await?.as_ref() != Some(&sealed.manifest) {
        // Without a manifest its sources count, and the next run does it again.
        archive.remove(&manifest_path(&sealed.path)).await?;
        let why = "what was written does not come back; its sources stay and count".into();
        tell(&Step::Left { object, why });
        return Ok(false);
    }
    archive.mark(chain.partition.topic, run.entries[0].hour).await?;
    for entry in &run.entries {
        remove(archive, &chain.path(entry)).await?;
    }
    let objects = run.entries.len() as u64;
    tell(&Step::Merged { object, objects, rows, bytes });
    Ok(true)
}

/// The object that a run becomes; or the source that does not fit, and why.
async fn build(
    archive: &Archive,
    chain: &Chain,
    run: &Run,
    lock: &mut Lock<'_>,
) -> Result<Result<Sealed, (String, Unfit)>, MergeError> {
    let mut builder = Builder::new();
    for entry in &run.entries {
        lock.renew().await?;
        let path = chain.path(entry);
        let manifest = archive.manifest(&path).await?.filter(|manifest| manifest.object == path);
        let Some(manifest) = manifest else {
            return Ok(Err((path, "its manifest is another one's, or cannot be read".into())));
        };
        let data = archive.bytes(&path).await?;
        // Decompressing and compressing would hold up others.
        let added = tokio::task::spawn_blocking(move || {
            let added = builder.add(manifest, data);
            (builder, added)
        });
        let added = match added.await {
            Ok((back, added)) => {
                builder = back;
                added
            }
            Err(error) => return Ok(Err((path, format!("please report this: {error}")))),
        };
        if let Err(why) = added {
            return Ok(Err((path, why)));
        }
    }
    let path = chain.path(&run.entries[0]);
    let sealed = builder.finish(chain, &run.entries[0]).map_err(|why| (path.clone(), why));
    let begun = run.begun.as_ref().map(|begun| chain.path(begun));
    Ok(sealed.and_then(|sealed| match begun {
        Some(begun) if begun != sealed.path => {
            Err((path, format!("`{begun}` was begun of it and ends elsewhere; remove that one")))
        }
        _ => match overlapping(chain, run, &sealed.manifest) {
            Some(other) => Err((path, format!("`{}` overlaps with it", chain.path(other)))),
            None => Ok(sealed),
        },
    }))
}

/// An object that is in no run and begins within one: it may reach further, and would not count beside a merged one.
fn overlapping<'a>(chain: &'a Chain, run: &Run, merged: &Manifest) -> Option<&'a Entry> {
    let hour = run.entries.first()?.hour;
    let offsets = merged.first_offset..merged.next_offset;
    let begins = |entry: &&Entry| entry.hour == hour && offsets.contains(&entry.first_offset);
    let mut others = chain.entries.iter().filter(|entry| !run.entries.contains(entry));
    others.find(begins)
}

/// The manifest of an object whose bytes are as it says.
async fn whole(archive: &Archive, path: &str) -> Result<Option<Manifest>, ArchiveError> {
    let Some(manifest) = archive.manifest(path).await?.filter(|manifest| manifest.object == path)
    else {
        return Ok(None);
    };
    let data = match archive.bytes(path).await {
        Ok(data) => data,
        Err(error) if error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(manifest.fits(&data).then_some(manifest))
}

/// Removes what a merged object was made of, and that is still there.
async fn sweep(
    archive: &Archive,
    chain: &Chain,
    merged: &Entry,
    lock: &mut Lock<'_>,
    tell: &mut impl FnMut(&Step),
) -> Result<(), MergeError> {
    let left: Vec<_> = chain.covered.iter().filter(|entry| merged.covers(entry)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let object = chain.path(merged);
    let Some(manifest) = whole(archive, &object).await? else {
        let why = if undone(archive, chain, &object).await? {
            "it was damaged; what it was merged of is whole and counts again"
        } else {
            "it is damaged, what it was merged of stays: see `weir-sink archive verify`"
        };
        tell(&Step::Left { object, why: why.into() });
        return Ok(());
    };
    archive.mark(chain.partition.topic, merged.hour).await?;
    for entry in left {
        lock.renew().await?;
        let path = chain.path(entry);
        let part = manifest.merged.iter().find(|part| part.object == path);
        let is_same = match part {
            Some(part) => has_only(archive, part).await?,
            None => false,
        };
        if is_same {
            remove(archive, &path).await?;
            tell(&Step::Removed { object: path });
        } else {
            let why = format!("`{object}` has its offsets and was not made of it");
            tell(&Step::Left { object: path, why });
        }
    }
    Ok(())
}

/// Whether nothing lies under the name of a part but the part: the sink may have written another object there since.
async fn has_only(archive: &Archive, part: &Part) -> Result<bool, ArchiveError> {
    let object = match archive.bytes(&part.object).await {
        Ok(data) => Some(hex(&Sha256::digest(&data))),
        Err(error) if error.is_gone() => None,
        Err(error) => return Err(error),
    };
    let manifest = match archive.bytes(&manifest_path(&part.object)).await {
        Ok(json) => match serde_json::from_slice::<Manifest>(&json) {
            Ok(manifest) => Some(manifest.sha256),
            Err(_) => return Ok(false),
        },
        Err(error) if error.is_gone() => None,
        Err(error) => return Err(error),
    };
    Ok(object.into_iter().chain(manifest).all(|found| found == part.sha256))
}

/// Whether all that a damaged object was merged of is there: then its manifest is removed, so that they count.
async fn undone(archive: &Archive, chain: &Chain, object: &str) -> Result<bool, ArchiveError> {
    let Some(manifest) = archive.manifest(object).await?.filter(|found| found.object == object)
    else {
        return Ok(false);
    };
    if manifest.merged.is_empty() {
        return Ok(false);
    }
    let topic = chain.partition.topic;
    let entries: Vec<_> =
        manifest.merged.iter().map(|part| entry_of(topic, &part.object)).collect();
    for (part, entry) in manifest.merged.iter().zip(&entries) {
        // A part of a part was removed when that one was made.
        let is_within = |entry: &Entry| entries.iter().flatten().any(|other| other.covers(entry));
        if entry.as_ref().is_some_and(is_within) {
            continue;
        }
        let found = whole(archive, &part.object).await?;
        if found.is_none_or(|found| found.sha256 != part.sha256) {
            return Ok(false);
        }
    }
    archive.remove(&manifest_path(object)).await?;
    Ok(true)
}

/// Removes an object and its manifest.
async fn remove(archive: &Archive, path: &str) -> Result<(), ArchiveError> {
    archive.remove(path).await?;
    archive.remove(&manifest_path(path)).await
}

#[cfg(test)]
mod tests;
