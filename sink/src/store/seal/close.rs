//! Close: seals one device-day, or the lines of a site in an hour.
//!
//! In: a mark and its owner. Out: every row that was written under it is in a listed part, and the mark is
//! gone. Promises: it may be broken off at any point and done again, by whoever; several may do it at once.
//! Memory is bounded by half a million readings, or an eighth of that in lines: a day that has more becomes several
//! parts. What can go wrong: a listed part is missing or damaged; others change the seal again and again.
//!
//! The order is what makes it safe: the mark is forgotten, so that later rows come under another; the
//! writes that may have used it have ended; only then are the rows read. Parts are confirmed before they
//! are listed, and they are listed in the same transaction that takes the mark away. It is the same for readings
//! and lines; what differs is a `Kind`.

use async_trait::async_trait;

use super::close_lines::Lines;
use super::close_readings::Readings;
use super::plan::too_many;
use super::{DeviceDay, Look, Mark, PartRef, Seal, SealStore};
use crate::fault::{self, Point};
use crate::store::sealed::Damaged;
use crate::store::{StoreError, TimeRange};

/// Most readings that are sealed at once: some 40 MB while they are read, compared and encoded, and with scores 6 MB of
/// one blob, well below the 16 MB that Cassandra takes in one write.
const ROWS_MAX: usize = 500_000;
/// Most lines that are sealed at once, long ones counted by the KiB: some 60 MB.
const LINES_MAX: usize = 65_536;
/// More parts of a day than this are merged, as far as they fit into memory.
const PARTS_MAX: usize = 8;
/// How often a transaction that lost is done again before others are let have their way.
const TRIES: usize = 20;

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Rows that no part held before.
    pub rows: usize,
    /// Parts that were written.
    pub parts: usize,
    /// Their bytes, rollups included.
    pub bytes: usize,
}

/// What is sealed: readings or lines.
#[async_trait]
pub(super) trait Kind: Send + Sync {
    /// Rows in memory.
    type Rows: Send + Sync;

    /// The hot rows of a window; none when they are more than `rows_max` and the window can be halved.
    async fn hot(
        &self,
        store: &dyn SealStore,
        window: TimeRange,
        rows_max: usize,
    ) -> Result<Option<Self::Rows>, StoreError>;
    /// How much of `rows_max` they take.
    fn weight(rows: &Self::Rows) -> usize;
    /// The rows that no listed part holds, together with all of the parts that are merged.
    async fn content(
        &self,
        store: &dyn SealStore,
        rows: &Self::Rows,
        seal: &Seal,
        merged: &[PartRef],
    ) -> Result<Result<Content<Self::Rows>, Gone>, StoreError>;
    /// Encodes and writes a part; its bytes beside it.
    async fn put(
        &self,
        store: &dyn SealStore,
        rows: Self::Rows,
    ) -> Result<(PartRef, usize), StoreError>;
    /// The error of a part that really is gone.
    fn missing(&self, gone: &Gone) -> StoreError;
}

/// A part that was listed and is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) metric: String,
    pub(super) id: i64,
}

/// What goes into a part.
pub(super) struct Content<R> {
    pub(super) rows: R,
    /// How many rows no part held before.
    pub(super) new: usize,
}

/// Seals the device-day or site-hour of `mark`, which `owner` has listed.
///
/// # Errors
/// The store's; to be done again later. Nothing is lost meanwhile.
pub async fn seal(store: &dyn SealStore, owner: &str, mark: &Mark) -> Result<Sealed, StoreError> {
    let rows_max = if mark.day.lines().is_some() { LINES_MAX } else { ROWS_MAX };
    seal_within(store, owner, mark, rows_max).await
}

/// The same with another bound on the rows in memory.
pub(crate) async fn seal_within(
    store: &dyn SealStore,
    owner: &str,
    mark: &Mark,
    rows_max: usize,
) -> Result<Sealed, StoreError> {
    store.marks().let_go(mark).await;
    fault::passed(Point::SealBefore);
    let mut sealed = Sealed::default();
    if is_in_seal(store, mark).await? {
        match mark.day.lines() {
            Some(site) => {
                let lines = Lines { hour: &mark.day, site };
                add_all(store, &lines, mark, rows_max, &mut sealed).await?;
            }
            None => {
                let readings = Readings::of(store, &mark.day).await?;
                add_all(store, &readings, mark, rows_max, &mut sealed).await?;
            }
        }
    } else {
        // One that timed out may come later.
        store.remove_mark(mark).await?;
    }
    fault::passed(Point::SealAfter);
    store.forget_mark(owner, mark).await?;
    Ok(sealed)
}

/// Puts all rows into parts, window by window; the last one takes the mark away.
async fn add_all<K: Kind>(
    store: &dyn SealStore,
    kind: &K,
    mark: &Mark,
    rows_max: usize,
    sealed: &mut Sealed,
) -> Result<(), StoreError> {
    let mut windows = vec![mark.day.range()];
    while let Some(window) = windows.pop() {
        match kind.hot(store, window, rows_max).await? {
            None => windows.extend(halves(window)),
            Some(rows) => {
                let done = windows.is_empty().then_some(mark);
                add(store, kind, &mark.day, &rows, done, rows_max, sealed).await?;
            }
        }
    }
    Ok(())
}

/// Whether the mark stands in its seal, as far as any instance confirmed it. If not, nothing was written
/// under it, or it has been seen to.
async fn is_in_seal(store: &dyn SealStore, mark: &Mark) -> Result<bool, StoreError> {
    let DeviceDay { site, device, span } = &mark.day;
    let seals = store.seals(site, device, *span, *span, Look::Sure).await?;
    Ok(seals.iter().any(|(_, seal)| seal.marks.contains(&mark.mark)))
}

/// Both halves, the earlier one last.
fn halves(window: TimeRange) -> [TimeRange; 2] {
    let middle_us = window.from_us + (window.to_us - window.from_us) / 2;
    [TimeRange { from_us: middle_us, ..window }, TimeRange { to_us: middle_us, ..window }]
}

/// Puts rows into a part and lists it; takes `mark` away in the same step.
async fn add<K: Kind>(
    store: &dyn SealStore,
    kind: &K,
    day: &DeviceDay,
    rows: &K::Rows,
    mark: Option<&Mark>,
    rows_max: usize,
    sealed: &mut Sealed,
) -> Result<(), StoreError> {
    let mut lost = None;
    for _ in 0..TRIES {
        let seals = store.seals(&day.site, &day.device, day.span, day.span, Look::Serial).await?;
        let seal = seals.into_iter().next().map(|(_, seal)| seal).unwrap_or_default();
        let left = rows_max.saturating_sub(K::weight(rows));
        let merged = too_many(&seal.parts, PARTS_MAX, left);
        let content = match kind.content(store, rows, &seal, &merged).await? {
            Ok(content) => content,
            // The same part twice: nobody has merged it, it really is not there.
            Err(gone) if lost.as_ref() == Some(&gone) => return Err(kind.missing(&gone)),
            Err(gone) => {
                lost = Some(gone);
                continue;
            }
        };
        let new = content.new;
        if new == 0 && merged.is_empty() {
            if let Some(mark) = mark {
                store.remove_mark(mark).await?;
            }
            return Ok(());
        }
        let (part, bytes) = kind.put(store, content.rows).await?;
        fault::passed(Point::PartAfter);
        let id = part.id;
        let mut parts = seal.parts;
        parts.retain(|old| !merged.contains(old) && old.id != id);
        parts.push(part);
        if store.replace(day, seal.version, &parts, mark.map(|mark| mark.mark)).await? {
            sealed.rows += new;
            sealed.parts += 1;
            sealed.bytes += bytes;
            let gone: Vec<PartRef> = merged.into_iter().filter(|old| old.id != id).collect();
            return if gone.is_empty() { Ok(()) } else { store.drop_parts(day, &gone).await };
        }
    }
    Err(StoreError::Retry(format!(
        "others change the seal of {}/{}, day {}, all the time: it is tried again later",
        day.site, day.device, day.span
    )))
}

/// Encodes beside the tasks that must answer quickly.
pub(super) async fn encoded<P: Send + 'static>(
    day: &DeviceDay,
    encode: impl FnOnce() -> Result<P, Damaged> + Send + 'static,
) -> Result<P, StoreError> {
    let made = tokio::task::spawn_blocking(encode).await;
    let made = made.map_err(|error| StoreError::Retry(format!("encoding broke off: {error}")))?;
    made.map_err(|error| {
        StoreError::Fatal(format!(
            "{}/{}, day {} cannot be sealed, please report this: {error}",
            day.site, day.device, day.span
        ))
    })
}
