//! Verify: is the archive what its manifests say?
//!
//! In: a catalogue, manifests, the bytes of objects. Out: [`Fault`]s, each with what is wrong and where. The
//! judgements are pure; [`verify`] walks the chains, two objects in memory at a time. What can go wrong: the
//! target does not answer, then nothing is said of the rest.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};
use weir_models::ident::Stream;

use crate::archive::{
    Archive, ArchiveError, Catalogue, Chain, Entry, Hours, Manifest, StreamRange, hex, identities,
};

/// Objects that are read and checked at once.
const AT_ONCE: usize = 2;

/// What is wrong with one object, or between two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(super) enum Fault {
    #[error("the object is gone, its manifest is there")]
    NoObject,
    #[error("the manifest is gone, the object is there")]
    NoManifest,
    #[error("the manifest cannot be read")]
    DamagedManifest,
    #[error("the manifest is the one of `{of}`")]
    OtherManifest { of: String },
    #[error("{found} bytes, {expected} by its manifest")]
    Size { expected: u64, found: u64 },
    #[error("its SHA-256 is {found}, {expected} by its manifest")]
    Sha256 { expected: String, found: String },
    #[error("it cannot be read: {reason}")]
    Unreadable { reason: String },
    #[error("{found} rows, {expected} by its manifest")]
    Rows { expected: u64, found: u64 },
    #[error("its offsets do not rise from {first} to below {next}")]
    Offsets { first: i64, next: i64 },
    #[error("of stream {stream} it holds {found}, {expected} by its manifest")]
    Numbers { stream: Stream, expected: String, found: String },
    #[error("offsets {from} to {to} are in no object before it")]
    Gap { from: i64, to: i64 },
    #[error("the object before it reaches to offset {to}")]
    Overlap { to: i64 },
    #[error("`{object}` lies within its offsets, and it was not merged of that one")]
    Foreign { object: String },
    #[error(
        "`{object}` begins within its offsets and was not merged into it: offsets {from} to {to} of that one do not count"
    )]
    Uncounted { object: String, from: i64, to: i64 },
    #[error("{count} offsets before its end never came from Kafka")]
    Skipped { count: u64 },
    #[error("no object and no manifest of ours")]
    Stray,
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// The object, or the stray file.
    pub(super) object: String,
    #[serde(flatten)]
    pub(super) fault: Fault,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Looked {
    pub(super) objects: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) faults: u64,
    /// Objects that do not count: what a merge has left over.
    pub(super) left_over: u64,
}

/// What the rows of an object say.
#[derive(Debug, Default)]
struct Contents {
    rows: u64,
    first: i64,
    last: i64,
    rises: bool,
    streams: BTreeMap<Stream, StreamRange>,
}

fn contents(data: Bytes) -> Result<Contents, String> {
    let mut found = Contents { rises: true, ..Contents::default() };
    identities(data, |row| {
        if found.rows == 0 {
            found.first = row.offset;
        } else {
            found.rises &= row.offset > found.last;
        }
        found.last = row.offset;
        found.rows += 1;
        let range = found.streams.entry(row.id.stream).or_insert_with(|| StreamRange {
            agent: row.agent.into(),
            stream: row.id.stream,
            first_seq: row.id.seq,
            last_seq: row.id.seq,
            events: 0,
        });
        range.first_seq = range.first_seq.min(row.id.seq);
        range.last_seq = range.last_seq.max(row.id.seq);
        range.events += 1;
    })?;
    Ok(found)
}

/// Whether the bytes of an object are those that its manifest was made of.
pub(super) fn intact(manifest: &Manifest, data: &Bytes) -> Result<(), Fault> {
    let found = data.len() as u64;
    if found != manifest.bytes {
        return Err(Fault::Size { expected: manifest.bytes, found });
    }
    let found = hex(&Sha256::digest(data));
    if found != manifest.sha256 {
        return Err(Fault::Sha256 { expected: manifest.sha256.clone(), found });
    }
    Ok(())
}

/// Compares the bytes of an object with its manifest. When size or hash differ, the rows are not looked at.
pub(super) fn compare(manifest: &Manifest, data: &Bytes) -> Vec<Fault> {
    if let Err(fault) = intact(manifest, data) {
        return vec![fault];
    }
    match contents(data.clone()) {
        Ok(contents) => compare_rows(manifest, &contents),
        Err(reason) => vec![Fault::Unreadable { reason }],
    }
}

fn compare_rows(manifest: &Manifest, found: &Contents) -> Vec<Fault> {
    let mut faults = Vec::new();
    if found.rows != manifest.rows {
        faults.push(Fault::Rows { expected: manifest.rows, found: found.rows });
    }
    let Manifest { first_offset: first, next_offset: next, .. } = *manifest;
    if !found.rises || found.first != first || found.last >= next {
        faults.push(Fault::Offsets { first, next });
    }
    let told: BTreeMap<_, _> = manifest.streams.iter().map(|range| (range.stream, range)).collect();
    let streams: std::collections::BTreeSet<_> =
        told.keys().chain(found.streams.keys()).copied().collect();
    for stream in streams {
        let (expected, found) = (told.get(&stream).copied(), found.streams.get(&stream));
        if expected != found {
            let (expected, found) = (numbers(expected), numbers(found));
            faults.push(Fault::Numbers { stream, expected, found });
        }
    }
    faults
}

fn numbers(range: Option<&StreamRange>) -> String {
    range.map_or("nothing".into(), |range| {
        let StreamRange { agent, first_seq, last_seq, events, .. } = range;
        format!("{events} events from {first_seq} to {last_seq} of agent {agent}")
    })
}

/// Compares where an object begins with where the one before it in its partition ends.
pub(super) fn link(before_ends: Option<i64>, this: &Manifest) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(to) = before_ends {
        let from = this.from_offset.unwrap_or(this.first_offset);
        if from > to {
            faults.push(Fault::Gap { from: to, to: from - 1 });
        }
        if this.first_offset < to || from < to {
            faults.push(Fault::Overlap { to: to - 1 });
        }
    }
    if this.skipped > 0 {
        faults.push(Fault::Skipped { count: this.skipped });
    }
    faults
}

/// Checks every object of these hours, and how it follows on the one before it; tells each fault, and
/// calls `step` after each object. What is merged meanwhile is checked as it lies then.
///
/// # Errors
/// When the archive does not answer.
pub(super) async fn verify(
    archive: &Archive,
    catalogue: &Catalogue,
    hours: &Hours,
    mut tell: impl FnMut(&Found),
    step: impl Fn(),
) -> Result<Looked, ArchiveError> {
    let mut looked = Looked::default();
    let mut tell = |looked: &mut Looked, object: &str, fault: Fault| {
        looked.faults += 1;
        tell(&Found { object: object.into(), fault });
    };
    for stray in &catalogue.strays {
        tell(&mut looked, stray, Fault::Stray);
    }
    for chain in &catalogue.chains {
        // The one before the first and the one after the last are needed for what is between.
        let near = |at: usize| chain.entries.get(at).is_some_and(|entry| hours.hold(entry));
        let wanted = chain.entries.iter().enumerate();
        let wanted = wanted.filter(|&(at, _)| near(at) || near(at + 1));
        let wanted = wanted.map(|(at, entry)| (at, entry, near(at)));
        let checks = wanted.map(|(at, entry, whole)| check(archive, chain, at, entry, whole));
        let mut checks = futures_util::stream::iter(checks).buffered(AT_ONCE);
        let mut passed = Passed::default();
        while let Some(checked) = checks.next().await {
            let checked = checked?;
            let before = passed.before(&checked, &mut looked);
            if before == Before::ThisOne {
                step();
                continue;
            }
            for fault in &checked.faults {
                tell(&mut looked, &checked.path, fault.clone());
            }
            if let (Some(this), true) = (&checked.manifest, checked.whole) {
                for fault in link(before.next(), this) {
                    tell(&mut looked, &checked.path, fault);
                }
                looked.rows += this.rows;
                looked.bytes += this.bytes;
            }
            if checked.whole {
                looked.objects += 1;
                step();
            }
            passed.add(checked);
        }
        looked.left_over += left_over(chain, hours);
    }
    Ok(looked)
}

/// Objects that a merge has left over or not finished. They do not count, and the next merge sees to them.
fn left_over(chain: &Chain, hours: &Hours) -> u64 {
    let left = chain.covered.iter().chain(&chain.unfinished);
    left.filter(|entry| hours.hold(entry)).count() as u64
}

/// What stands before an object that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// The very same: it was merged of several that the listing still had.
    ThisOne,
    /// One that ends at this offset.
    EndsAt(i64),
    /// None, or one of which it cannot be said.
    Unknown,
}

impl Before {
    fn next(self) -> Option<i64> {
        match self {
            Self::EndsAt(next) => Some(next),
            Self::ThisOne | Self::Unknown => None,
        }
    }
}

/// An object of a chain that was checked.
struct One {
    at: usize,
    entry: Entry,
    next: Option<i64>,
    counted: Option<(u64, u64)>,
}

/// The objects of a chain that were checked.
#[derive(Default)]
struct Passed(Vec<One>);

impl Passed {
    fn add(&mut self, checked: Checked) {
        let Checked { at, entry, manifest, whole, .. } = checked;
        let counted = manifest.as_ref().filter(|_| whole).map(|this| (this.rows, this.bytes));
        let next = manifest.map(|manifest| manifest.next_offset);
        // Only a merge looks further back than one.
        self.0.push(One { at, entry, next, counted });
    }

    /// What stands before this one. What was merged into it since the listing is not counted any more.
    fn before(&mut self, checked: &Checked, looked: &mut Looked) -> Before {
        while let Some(last) = self.0.pop_if(|last| checked.entry.covers(&last.entry)) {
            if let Some((rows, bytes)) = last.counted {
                looked.rows -= rows;
                looked.bytes -= bytes;
                looked.objects -= 1;
            }
        }
        let Some(last) = self.0.last_mut() else {
            return Before::Unknown;
        };
        if last.entry == checked.entry {
            last.at = checked.at;
            return Before::ThisOne;
        }
        let is_next = last.at + 1 == checked.at || checked.is_new;
        last.next.filter(|_| is_next).map_or(Before::Unknown, Before::EndsAt)
    }
}

struct Checked {
    at: usize,
    /// As it was listed, or the one that it was merged into since.
    entry: Entry,
    is_new: bool,
    path: String,
    manifest: Option<Manifest>,
    faults: Vec<Fault>,
    whole: bool,
}

/// Reads a manifest, and for the `whole` check its object, too.
async fn check(
    archive: &Archive,
    chain: &Chain,
    at: usize,
    entry: &Entry,
    whole: bool,
) -> Result<Checked, ArchiveError> {
    let checked = check_as_listed(archive, chain, at, *entry, whole).await?;
    if checked.faults.contains(&Fault::NoObject) || checked.manifest.is_none() {
        // Somebody may have merged it since it was listed.
        if let Some(merged) = archive.successor(chain, entry).await? {
            let now = check_as_listed(archive, chain, at, merged, whole).await?;
            return Ok(Checked { is_new: true, ..now });
        }
    }
    Ok(checked)
}

async fn check_as_listed(
    archive: &Archive,
    chain: &Chain,
    at: usize,
    entry: Entry,
    whole: bool,
) -> Result<Checked, ArchiveError> {
    let path = chain.path(&entry);
    let mut faults = Vec::new();
    // Also where the listing had none: the sink writes it behind its object.
    let mut manifest = archive.manifest(&path).await?;
    let of = manifest.as_ref().map(|manifest| &manifest.object).filter(|of| **of != path);
    if let Some(of) = of.cloned() {
        faults.push(Fault::OtherManifest { of });
        manifest = None;
    } else if manifest.is_none() {
        let fault = if entry.has_manifest { Fault::DamagedManifest } else { Fault::NoManifest };
        faults.push(fault);
    }
    let is_new = false;
    if !whole {
        return Ok(Checked { at, entry, is_new, path, manifest, faults: Vec::new(), whole });
    }
    if !entry.has_object {
        faults.push(Fault::NoObject);
    } else if let Some(of_listing) = manifest.clone() {
        let mut found = held_against(archive, &path, of_listing).await?;
        if !found.is_empty() {
            // The last object of a partition is written anew until its records are committed: look once more.
            manifest = archive.manifest(&path).await?;
            if let Some(manifest) = manifest.clone() {
                found = held_against(archive, &path, manifest).await?;
            }
        }
        faults.extend(found);
    }
    if let Some(manifest) = &manifest {
        faults.extend(foreign(archive, chain, &entry, manifest).await?);
    }
    Ok(Checked { at, entry, is_new, path, manifest, faults, whole })
}

/// Objects that lie within the offsets of a merged one, which was not made of them.
async fn foreign(
    archive: &Archive,
    chain: &Chain,
    entry: &Entry,
    manifest: &Manifest,
) -> Result<Vec<Fault>, ArchiveError> {
    let mut faults = Vec::new();
    for covered in chain.covered.iter().filter(|one| entry.covers(one)) {
        let object = chain.path(covered);
        let found = archive.manifest(&object).await?;
        // Under the name of a part another object may have been written since.
        let is_same = |sha256: &String| found.as_ref().is_none_or(|found| found.sha256 == *sha256);
        let mut parts = manifest.merged.iter().filter(|part| part.object == object);
        if parts.any(|part| is_same(&part.sha256)) {
            continue;
        }
        let from = manifest.next_offset;
        let next = found.as_ref().map(|found| found.next_offset);
        faults.push(match next.filter(|next| *next > from) {
            Some(next) => Fault::Uncounted { object, from, to: next - 1 },
            None => Fault::Foreign { object },
        });
    }
    Ok(faults)
}

/// What is wrong with an object by its manifest.
async fn held_against(
    archive: &Archive,
    path: &str,
    manifest: Manifest,
) -> Result<Vec<Fault>, ArchiveError> {
    let data = match archive.bytes(path).await {
        Ok(data) => data,
        Err(error) if error.is_gone() => return Ok(vec![Fault::NoObject]),
        Err(error) => return Err(error),
    };
    // Hashing and decompressing would hold up others.
    let compared = tokio::task::spawn_blocking(move || compare(&manifest, &data)).await;
    Ok(compared.unwrap_or_else(|error| {
        vec![Fault::Unreadable { reason: format!("please report this: {error}") }]
    }))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
