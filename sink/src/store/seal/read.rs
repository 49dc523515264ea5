//! Read: the points of a series from parts and hot rows, as one ascending stream.
//!
//! In: a series and a range. Out: chunks of points, each event once. Promises: no more in memory than some
//! pieces of a day and a page of hot rows; a part is decoded once; a part that is listed and not there, or
//! damaged, is an error and never fewer points. When others merge parts while they are read, the day is
//! looked at again.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use weir_models::ident::{EventId, SeriesKey};
use weir_models::time::{DAY_US, HOUR_US, now_us};

use super::plan::{Piece, join, plan};
use super::search::LATE_HOURS;
use super::{DeviceDay, Look, PartRef, Position, SealStore, search, span_of, span_range};
use crate::store::bucket::PARTITIONS_MAX;
use crate::store::sealed::{Block, Damaged, Stamps, decode};
use crate::store::{Point, StoreError, TimeRange};

/// Hot rows read at once: about 1 MB.
const PAGE_ROWS: usize = 20_000;
/// How many pieces are fetched ahead.
const AHEAD: usize = 4;
/// How often a day is looked at again because its parts were merged meanwhile.
const TRIES: usize = 4;

/// A piece with the points of its parts.
struct Loaded {
    range: TimeRange,
    points: Vec<Point>,
    hot: Option<Look>,
}

/// Chunks of the points of a series, ascending.
pub(crate) fn scan<'a>(
    store: &'a dyn SealStore,
    key: &'a SeriesKey,
    range: TimeRange,
    page_rows: usize,
) -> BoxStream<'a, Result<Vec<Point>, StoreError>> {
    let page_rows = page_rows.clamp(1, PAGE_ROWS);
    let pieces = async move {
        let pieces = pieces(store, key, range).await?;
        let loads = stream::iter(pieces.into_iter().enumerate())
            .map(move |(place, piece)| load_bounded(store, key, place, piece))
            .buffered(AHEAD)
            .map_ok(move |loaded| {
                let chunks = loaded.into_iter().map(Ok::<_, StoreError>);
                stream::iter(chunks)
                    .map_ok(move |loaded| chunks_of(store, key, loaded, page_rows))
                    .try_flatten()
            })
            .try_flatten();
        Ok::<_, StoreError>(loads)
    };
    stream::once(pieces).try_flatten().boxed()
}

/// The first `limit` points.
pub(crate) async fn readings(
    store: &dyn SealStore,
    key: &SeriesKey,
    range: TimeRange,
    limit: usize,
) -> Result<Vec<Point>, StoreError> {
    let mut points = Vec::new();
    if limit == 0 {
        return Ok(points);
    }
    let mut chunks = scan(store, key, range, limit);
    while let Some(chunk) = chunks.try_next().await? {
        points.extend(chunk);
        if points.len() >= limit {
            points.truncate(limit);
            break;
        }
    }
    Ok(points)
}

/// Where a range is read from.
pub(super) async fn pieces(
    store: &dyn SealStore,
    key: &SeriesKey,
    range: TimeRange,
) -> Result<Vec<Piece>, StoreError> {
    let Some(extent) = store.extent(key).await? else {
        return Ok(Vec::new());
    };
    let range = range.intersect(extent);
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let (first, last) = (span_of(range.from_us), span_of(range.to_us - 1));
    let seals = store.seals(&key.site, &key.device, first, last, Look::Usual).await?;
    Ok(plan(range, &key.metric, &seals, recent_days(), span_range))
}

/// The days in which a mark that was made in another datacentre may come after the rows it is for.
fn recent_days() -> TimeRange {
    let now_us = now_us();
    let first = span_of(now_us.saturating_sub(LATE_HOURS * HOUR_US));
    let last = span_of(now_us.saturating_add(DAY_US));
    TimeRange { from_us: span_range(first).from_us, to_us: span_range(last).to_us }
}

async fn load_bounded(
    store: &dyn SealStore,
    key: &SeriesKey,
    place: usize,
    piece: Piece,
) -> Result<Vec<Loaded>, StoreError> {
    if place >= PARTITIONS_MAX {
        return Err(StoreError::TooWide { partitions_max: PARTITIONS_MAX });
    }
    load(store, key, piece).await
}

/// Reads the parts of a piece. When they were merged since, the piece falls into others.
async fn load(
    store: &dyn SealStore,
    key: &SeriesKey,
    piece: Piece,
) -> Result<Vec<Loaded>, StoreError> {
    let mut pieces = vec![piece];
    let mut loaded = Vec::new();
    let mut tries = 0;
    while let Some(piece) = pieces.pop() {
        let day =
            DeviceDay { site: key.site.clone(), device: key.device.clone(), span: piece.span() };
        match points_of(store, &day, &key.metric, &piece.parts).await? {
            Found::All(mut points) => {
                let from = points.partition_point(|point| point.ts_us < piece.range.from_us);
                let to = points.partition_point(|point| point.ts_us < piece.range.to_us);
                points.truncate(to);
                points.drain(..from);
                loaded.push(Loaded { range: piece.range, points, hot: piece.hot });
            }
            Found::Missing(id) => {
                tries += 1;
                let (span, look) = (day.span, Look::Usual);
                let fresh = store.seals(&day.site, &day.device, span, span, look).await?;
                let listed = |id| fresh.iter().flat_map(|(_, s)| &s.parts).any(|p| p.id == id);
                if listed(id) || tries >= TRIES {
                    return Err(missing(&day, &key.metric, id));
                }
                let mut again = plan(piece.range, &key.metric, &fresh, recent_days(), span_range);
                again.reverse();
                pieces.extend(again);
            }
        }
    }
    Ok(loaded)
}

/// The chunks of a piece: its parts as they are, or joined with its hot rows page by page.
fn chunks_of<'a>(
    store: &'a dyn SealStore,
    key: &'a SeriesKey,
    loaded: Loaded,
    page_rows: usize,
) -> impl stream::Stream<Item = Result<Vec<Point>, StoreError>> + Send + 'a {
    let Loaded { range, points, hot } = loaded;
    let from = Some(Position::at(range.from_us));
    stream::try_unfold((points, from), move |(mut points, from)| async move {
        let Some(from) = from else {
            return Ok(None);
        };
        let Some(look) = hot else {
            return Ok(Some((points, (Vec::new(), None))));
        };
        let page = store.hot(key, from, range.to_us, page_rows, look).await?;
        let last = page.last().filter(|_| page.len() >= page_rows).map(Position::of);
        let later = match last {
            Some(last) => {
                points.split_off(points.partition_point(|point| Position::of(point) <= last))
            }
            None => Vec::new(),
        };
        Ok(Some((join(vec![points, page]), (later, last.and_then(Position::next)))))
    })
}

/// What was found of some parts.
pub(super) enum Found {
    /// Every point of the metric, in order, each event once.
    All(Vec<Point>),
    /// This part is not there.
    Missing(i64),
}

/// The points of a metric in parts of a day.
pub(super) async fn points_of(
    store: &dyn SealStore,
    day: &DeviceDay,
    metric: &str,
    parts: &[PartRef],
) -> Result<Found, StoreError> {
    let ids: Vec<i64> = parts.iter().filter(|part| part.has(metric)).map(|part| part.id).collect();
    if ids.is_empty() {
        return Ok(Found::All(Vec::new()));
    }
    let (stamps, bodies) =
        try_join(store.stamps(day, &ids), store.episodes(day, metric, &ids)).await?;
    let mut sources = Vec::with_capacity(ids.len());
    for id in ids {
        let find = |blobs: &'_ [(i64, Vec<u8>)]| blobs.iter().position(|(own, _)| *own == id);
        let (Some(stamp), Some(body)) = (find(&stamps), find(&bodies)) else {
            return Ok(Found::Missing(id));
        };
        let decoded =
            Stamps::decode(&stamps[stamp].1).and_then(|stamps| decode(&stamps, &bodies[body].1));
        sources.push(decoded.map_err(|error| damaged(day, metric, id, &error))?);
    }
    Ok(Found::All(join(sources)))
}

pub(super) fn missing(day: &DeviceDay, metric: &str, id: i64) -> StoreError {
    let DeviceDay { site, device, span } = day;
    StoreError::Retry(format!(
        "part {id} of {site}/{device}/{metric}, day {span}, is listed but not here yet: if this \
         stays, repair the tables `stamps` and `episodes`"
    ))
}

pub(super) fn damaged(day: &DeviceDay, metric: &str, id: i64, error: &Damaged) -> StoreError {
    let DeviceDay { site, device, span } = day;
    StoreError::Fatal(format!(
        "part {id} of {site}/{device}/{metric}, day {span}: {error}; restore the row from a backup \
         or another replica"
    ))
}

/// Every event id in hot rows, log lines and listed parts, in order.
pub(crate) async fn event_ids(store: &dyn SealStore) -> Result<Vec<EventId>, StoreError> {
    // Seals first: what is sealed meanwhile is still among the hot rows.
    let seals = store.all_seals().await?;
    let mut ids: BTreeSet<EventId> = store.hot_ids().await?;
    for (day, seal) in seals {
        if day.lines().is_some() {
            for part in &seal.parts {
                let blocks = search::lines_of(store, &day, part.id).await?;
                for blob in blocks.ok_or_else(|| search::missing(&day, part.id))? {
                    let block = Block::decode(&blob);
                    let block = block.map_err(|error| search::damaged(&day, part.id, &error))?;
                    ids.extend(block.ids());
                }
            }
            continue;
        }
        let wanted: Vec<i64> = seal.parts.iter().map(|part| part.id).collect();
        let stamps = store.stamps(&day, &wanted).await?;
        for id in wanted {
            let Some((_, blob)) = stamps.iter().find(|(own, _)| *own == id) else {
                return Err(missing(&day, "", id));
            };
            let stamps = Stamps::decode(blob).map_err(|error| damaged(&day, "", id, &error))?;
            ids.extend(stamps.iter().map(|(_, id)| id));
        }
    }
    Ok(ids.into_iter().collect())
}
