//! Close: seals one device-day.
//!
//! In: a mark and its owner. Out: every row that was written under it is in a listed part, and the mark is
//! gone. Promises: it may be broken off at any point and done again, by whoever; several may do it at once.
//! Memory is bounded by half a million rows: a day that has more becomes several parts. What can go wrong: a
//! listed part is missing or damaged; others change the seal again and again.
//!
//! The order is what makes it safe: the mark is forgotten, so that later rows come under another; the
//! writes that may have used it have ended; only then are the rows read. Parts are confirmed before they
//! are listed, and they are listed in the same transaction that takes the mark away.

use std::collections::BTreeSet;

use super::plan::{clusters, join, too_many, without};
use super::read::{Found, missing, points_of};
use super::{DeviceDay, Look, Mark, PartRef, Position, Seal, SealStore, span_range};
use crate::store::sealed::{Part, encode};
use crate::store::{Point, StoreError, TimeRange};

/// Most rows that are sealed at once: some 40 MB while they are read, compared and encoded, and with scores 6 MB of
/// one blob, well below the 16 MB that Cassandra takes in one write.
const ROWS_MAX: usize = 500_000;
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

type Rows = Vec<(String, Vec<Point>)>;

/// Seals the device-day of `mark`, which `owner` has listed.
///
/// # Errors
/// The store's; to be done again later. Nothing is lost meanwhile.
pub async fn seal(store: &dyn SealStore, owner: &str, mark: &Mark) -> Result<Sealed, StoreError> {
    seal_within(store, owner, mark, ROWS_MAX).await
}

/// The same with another bound on the rows in memory.
pub(crate) async fn seal_within(
    store: &dyn SealStore,
    owner: &str,
    mark: &Mark,
    rows_max: usize,
) -> Result<Sealed, StoreError> {
    store.marks().let_go(mark).await;
    let day = &mark.day;
    let mut sealed = Sealed::default();
    if is_in_seal(store, mark).await? {
        let metrics = store.metrics(&day.site, &day.device).await?;
        let mut windows = vec![span_range(day.span)];
        while let Some(window) = windows.pop() {
            match hot_rows(store, day, &metrics, window, rows_max).await? {
                None => windows.extend(halves(window)),
                Some(rows) => {
                    let done = windows.is_empty().then_some(mark);
                    add(store, day, &rows, done, rows_max, &mut sealed).await?;
                }
            }
        }
    } else {
        // One that timed out may come later.
        store.remove_mark(mark).await?;
    }
    store.forget_mark(owner, mark).await?;
    Ok(sealed)
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

/// The hot rows of a window by metric; none when they are more than `rows_max` and the window can be
/// halved.
async fn hot_rows(
    store: &dyn SealStore,
    day: &DeviceDay,
    metrics: &[String],
    window: TimeRange,
    rows_max: usize,
) -> Result<Option<Rows>, StoreError> {
    let from = Position::at(window.from_us);
    let one_stamp = window.to_us - window.from_us <= 1;
    let mut left = rows_max;
    let mut rows = Rows::new();
    for metric in metrics {
        let limit = if one_stamp { usize::MAX } else { left + 1 };
        let key = day.key(metric);
        let points = store.hot(&key, from, window.to_us, limit, Look::Sure).await?;
        if points.len() > left && !one_stamp {
            return Ok(None);
        }
        left = left.saturating_sub(points.len());
        if !points.is_empty() {
            rows.push((metric.clone(), points));
        }
    }
    Ok(Some(rows))
}

/// Puts rows into a part and lists it; takes `mark` away in the same step.
async fn add(
    store: &dyn SealStore,
    day: &DeviceDay,
    rows: &Rows,
    mark: Option<&Mark>,
    rows_max: usize,
    sealed: &mut Sealed,
) -> Result<(), StoreError> {
    let mut lost = None;
    for _ in 0..TRIES {
        let seals = store.seals(&day.site, &day.device, day.span, day.span, Look::Serial).await?;
        let seal = seals.into_iter().next().map(|(_, seal)| seal).unwrap_or_default();
        let fresh: usize = rows.iter().map(|(_, points)| points.len()).sum();
        let merged = too_many(&seal.parts, PARTS_MAX, rows_max.saturating_sub(fresh));
        let content = match content(store, day, rows, &seal, &merged).await? {
            Ok(content) => content,
            // The same part twice: nobody has merged it, it really is not there.
            Err(gone) if lost.as_ref() == Some(&gone) => {
                return Err(missing(day, &gone.metric, gone.id));
            }
            Err(gone) => {
                lost = Some(gone);
                continue;
            }
        };
        if content.new == 0 && merged.is_empty() {
            if let Some(mark) = mark {
                store.remove_mark(mark).await?;
            }
            return Ok(());
        }
        let part = encoded(day, content.rows).await?;
        store.put_part(day, &part).await?;
        let mut parts = seal.parts;
        parts.retain(|old| !merged.contains(old) && old.id != part.id);
        parts.push(PartRef::of(&part));
        if store.replace(day, seal.version, &parts, mark.map(|mark| mark.mark)).await? {
            sealed.rows += content.new;
            sealed.parts += 1;
            sealed.bytes += bytes(&part);
            let gone: Vec<PartRef> = merged.into_iter().filter(|old| old.id != part.id).collect();
            return if gone.is_empty() { Ok(()) } else { store.drop_parts(day, &gone).await };
        }
    }
    Err(StoreError::Retry(format!(
        "others change the seal of {}/{}, day {}, all the time: it is tried again later",
        day.site, day.device, day.span
    )))
}

/// A part that was listed and is not there.
#[derive(Debug, PartialEq, Eq)]
struct Gone {
    metric: String,
    id: i64,
}

struct Content {
    /// What goes into the part, by metric in order of their names.
    rows: Rows,
    /// How many rows no part held before.
    new: usize,
}

/// The rows that no listed part holds, together with all of the parts that are merged.
async fn content(
    store: &dyn SealStore,
    day: &DeviceDay,
    rows: &Rows,
    seal: &Seal,
    merged: &[PartRef],
) -> Result<Result<Content, Gone>, StoreError> {
    let mut content = Content { rows: Rows::new(), new: 0 };
    let names = rows.iter().map(|(metric, _)| metric);
    let names: BTreeSet<&String> =
        names.chain(merged.iter().flat_map(|part| &part.metrics)).collect();
    for metric in names {
        let own = rows.iter().find(|(name, _)| name == metric);
        let mut fresh = own.map(|(_, points)| points.clone()).unwrap_or_default();
        // Part by part, so that never more than one is in memory.
        for (range, parts) in clusters(seal.parts.iter().filter(|part| part.has(metric))) {
            let touches = |point: &Point| range.from_us <= point.ts_us && point.ts_us < range.to_us;
            if !fresh.iter().any(touches) {
                continue;
            }
            for part in &parts {
                match points_of(store, day, metric, std::slice::from_ref(part)).await? {
                    Found::All(held) => fresh = without(fresh, &held),
                    Found::Missing(id) => return Ok(Err(Gone { metric: metric.clone(), id })),
                }
            }
        }
        content.new += fresh.len();
        let points = match points_of(store, day, metric, merged).await? {
            Found::All(old) => join(vec![old, fresh]),
            Found::Missing(id) => return Ok(Err(Gone { metric: metric.clone(), id })),
        };
        if !points.is_empty() {
            content.rows.push((metric.clone(), points));
        }
    }
    Ok(Ok(content))
}

/// Encodes beside the tasks that must answer quickly.
async fn encoded(day: &DeviceDay, rows: Rows) -> Result<Part, StoreError> {
    let made = tokio::task::spawn_blocking(move || encode(&rows)).await;
    let made = made.map_err(|error| StoreError::Retry(format!("encoding broke off: {error}")))?;
    made.map_err(|error| {
        StoreError::Fatal(format!(
            "{}/{}, day {} cannot be sealed, please report this: {error}",
            day.site, day.device, day.span
        ))
    })
}

fn bytes(part: &Part) -> usize {
    let episodes = part.episodes.iter();
    part.stamps.len()
        + episodes.map(|e| e.body.len() + e.minutes.len() + e.hours.len()).sum::<usize>()
}
