//! Search: log lines from blocks and hot rows, newest first.
//!
//! In: a [`LogQuery`]. Out: chunks of lines that match, each line once. Heads of blocks are read first, in groups of
//! parts of one day, and only those blocks are fetched that may hold a line of the answer, the newest first; it ends
//! when nothing older can belong to the answer. Promises: no more in memory than the heads of some groups, a few
//! blocks and about twice the lines that are wanted; at most [`PARTITIONS_MAX`] blocks and as many partitions are read;
//! whoever drops the stream stops it, after at most the blocks under way. A part that is listed and not there, or
//! damaged, is an error and never fewer lines. When others merge parts while they are read, the stretch of time is
//! looked at again.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::time::now_us;

use super::plan::{Piece, plan};
use super::{DeviceDay, LINES, Look, Seal, SealStore, hour_of, hour_range};
use crate::store::bucket::PARTITIONS_MAX;
use crate::store::sealed::{Block, Damaged, Head, heads_of};
use crate::store::select::{LogFilter, Newest};
use crate::store::{Lines, LogQuery, LogRow, StoreError, TimeRange};

/// Lines of parts whose heads are read at once: below 1 MB.
const GROUP_WEIGHT: usize = 400_000;
/// How many blocks are fetched and searched at once.
const AHEAD: usize = 8;
/// How many hours a mark may come after its lines, and they are found all the same: as long as Cassandra keeps hints.
pub(super) const LATE_HOURS: i64 = 3;
/// How often a stretch of time is looked at again because its parts were merged meanwhile.
const TRIES: usize = 4;

/// Heads of the blocks of a part, by hour and part.
type Heads = BTreeMap<(i64, i64), Vec<Head>>;

/// A block that may hold a line of the answer.
struct Candidate {
    hour: DeviceDay,
    id: i64,
    number: usize,
    t1_us: i64,
}

/// The lines of a query, newest first.
pub(crate) async fn logs(
    store: &dyn SealStore,
    query: &LogQuery,
) -> Result<Vec<LogRow>, StoreError> {
    find(store, query).try_concat().await
}

/// The same, chunk by chunk.
pub(crate) fn find<'a>(store: &'a dyn SealStore, query: &'a LogQuery) -> Lines<'a> {
    let groups = async move {
        let mut groups = groups(pieces(store, query).await?);
        // The oldest one first, to be taken from the end.
        groups.reverse();
        let state = (groups, query.limit, TRIES, Arc::new(Cost::default()));
        Ok::<_, StoreError>(stream::try_unfold(state, move |state| step(store, query, state)))
    };
    stream::once(groups).try_flatten().boxed()
}

/// What a search has read so far.
#[derive(Debug, Default)]
struct Cost {
    blocks: AtomicUsize,
    /// Of hot lines.
    partitions: AtomicUsize,
}

type State = (Vec<Vec<Piece>>, usize, usize, Arc<Cost>);

/// Searches the newest group that is left.
async fn step(
    store: &dyn SealStore,
    query: &LogQuery,
    (mut left, limit, tries, cost): State,
) -> Result<Option<(Vec<LogRow>, State)>, StoreError> {
    let Some(group) = left.pop().filter(|_| limit > 0) else {
        return Ok(None);
    };
    match search(store, query, &group, limit, &cost).await? {
        Ok(rows) => {
            let limit = limit - rows.len();
            Ok(Some((rows, (left, limit, TRIES, cost))))
        }
        Err((hour, id)) => {
            let fresh = store.seals("", &hour.device, hour.span, hour.span, Look::Usual).await?;
            let listed = fresh.iter().flat_map(|(_, seal)| &seal.parts).any(|part| part.id == id);
            if listed || tries == 0 {
                return Err(missing(&hour, id));
            }
            let mut again = groups(planned(store, query, whole(&group)).await?);
            again.reverse();
            left.extend(again);
            Ok(Some((Vec::new(), (left, limit, tries - 1, cost))))
        }
    }
}

/// Where the range of a query is read from, ascending.
async fn pieces(store: &dyn SealStore, query: &LogQuery) -> Result<Vec<Piece>, StoreError> {
    let extent = store.extent_of_lines(&query.site, query.host.as_deref()).await?;
    let Some(extent) = extent.filter(|_| query.limit > 0) else {
        return Ok(Vec::new());
    };
    let mut range = query.range.intersect(extent);
    if let Some(before) = query.before {
        range.to_us = range.to_us.min(before.ts_us.saturating_add(1));
    }
    if range.is_empty() { Ok(Vec::new()) } else { planned(store, query, range).await }
}

async fn planned(
    store: &dyn SealStore,
    query: &LogQuery,
    range: TimeRange,
) -> Result<Vec<Piece>, StoreError> {
    let (first, last) = (hour_of(range.from_us), hour_of(range.to_us - 1));
    let seals = store.seals("", &query.site, first, last, Look::Usual).await?;
    let mut pieces: Vec<Piece> = Vec::new();
    let recent = recent_hours();
    let mut seals: BTreeMap<i64, Seal> = seals.into_iter().collect();
    for hour in first.max(*recent.start())..=last.min(*recent.end()) {
        seals.entry(hour).or_default();
    }
    // Without a mark, now or before, nothing was written: an hour without a seal is empty.
    for (hour, seal) in seals {
        if seal.parts.is_empty() && seal.marks.is_empty() && !recent.contains(&hour) {
            continue;
        }
        let range = hour_range(hour).intersect(range);
        for piece in plan(range, LINES, &[(hour, seal)], range, hour_range) {
            match pieces.last_mut() {
                Some(last)
                    if last.parts.is_empty()
                        && piece.parts.is_empty()
                        && last.range.to_us == piece.range.from_us =>
                {
                    last.range.to_us = piece.range.to_us;
                }
                _ => pieces.push(piece),
            }
        }
    }
    Ok(pieces)
}

/// The hours in which hot lines are looked for without a mark, too: one that was made in another datacentre may come
/// after the lines it is for.
fn recent_hours() -> RangeInclusive<i64> {
    let now = hour_of(now_us());
    now - LATE_HOURS..=now + 1
}

/// Puts pieces together whose heads are read at once: those of one day, up to a weight. The newest group is the
/// first one. What is read from hot rows too is a group of its own: each would bring as many lines as are wanted.
fn groups(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let weight = |piece: &Piece| piece.parts.iter().map(|part| part.rows()).sum::<usize>();
    let mut groups: Vec<(usize, Vec<Piece>)> = Vec::new();
    for piece in pieces.into_iter().rev() {
        let own = weight(&piece);
        match groups.last_mut() {
            Some((sum, group))
                if piece.hot.is_none()
                    && group.iter().all(|other| other.hot.is_none())
                    && group.iter().all(|other| other.span() == piece.span())
                    && *sum + own <= GROUP_WEIGHT =>
            {
                *sum += own;
                group.push(piece);
            }
            _ => groups.push((own, vec![piece])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// From the first to the last stamp of a group.
fn whole(group: &[Piece]) -> TimeRange {
    let ranges = || group.iter().map(|piece| piece.range);
    TimeRange {
        from_us: ranges().map(|range| range.from_us).min().unwrap_or_default(),
        to_us: ranges().map(|range| range.to_us).max().unwrap_or_default(),
    }
}

/// A part that was listed and is not there.
type Gone = (DeviceDay, i64);

/// The newest lines of a group.
async fn search(
    store: &dyn SealStore,
    query: &LogQuery,
    group: &[Piece],
    limit: usize,
    cost: &Cost,
) -> Result<Result<Vec<LogRow>, Gone>, StoreError> {
    let mut newest = Newest::new(limit);
    let candidates = match candidates(store, query, group).await? {
        Ok(candidates) => candidates,
        Err(gone) => return Ok(Err(gone)),
    };
    for piece in group.iter().filter(|piece| piece.hot.is_some()) {
        let query = LogQuery { range: piece.range, limit, ..query.clone() };
        newest.add(store.newest_hot_lines(&query, &cost.partitions).await?);
    }
    let query = Arc::new(LogQuery { range: whole(group), limit, ..query.clone() });
    for some in candidates.chunks(AHEAD) {
        let is_older = |floor_us| some.iter().all(|candidate| candidate.t1_us < floor_us);
        if newest.floor_us().is_some_and(is_older) {
            break;
        }
        if cost.blocks.fetch_add(some.len(), Ordering::Relaxed) + some.len() > PARTITIONS_MAX {
            return Err(StoreError::TooWide { partitions_max: PARTITIONS_MAX });
        }
        let found = some.iter().map(|candidate| found_in(store, &query, candidate));
        for found in try_join_all(found).await? {
            match found {
                Ok(rows) => newest.add(rows),
                Err(gone) => return Ok(Err(gone)),
            }
        }
    }
    Ok(Ok(newest.into_rows()))
}

/// The blocks of a group that may hold a line of the answer, the newest first.
async fn candidates(
    store: &dyn SealStore,
    query: &LogQuery,
    group: &[Piece],
) -> Result<Result<Vec<Candidate>, Gone>, StoreError> {
    let wanted: BTreeMap<(i64, i64), TimeRange> = group
        .iter()
        .flat_map(|piece| piece.parts.iter().map(|part| (part, piece.range)))
        .map(|(part, range)| ((hour_of(part.t0_us), part.id), range))
        .collect();
    let Some((first, last)) = wanted.keys().next().zip(wanted.keys().next_back()) else {
        return Ok(Ok(Vec::new()));
    };
    let heads = heads(store, &query.site, first.0, last.0, &wanted).await?;
    let mut candidates = Vec::new();
    for (&(hour, id), &range) in &wanted {
        let hour = DeviceDay::of_lines(&query.site, hour);
        let Some(heads) = heads.get(&(hour.span, id)) else {
            return Ok(Err((hour, id)));
        };
        let query = LogQuery { range, ..query.clone() };
        let filter = LogFilter::of(&query);
        for (number, head) in heads.iter().enumerate().filter(|(_, head)| head.may_have(&filter)) {
            let (hour, t1_us) = (hour.clone(), head.t1_us);
            candidates.push(Candidate { hour, id, number, t1_us });
        }
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.t1_us));
    Ok(Ok(candidates))
}

/// The heads of those parts that are wanted, as far as they are there.
async fn heads(
    store: &dyn SealStore,
    site: &str,
    first: i64,
    last: i64,
    wanted: &BTreeMap<(i64, i64), TimeRange>,
) -> Result<Heads, StoreError> {
    let mut heads = Heads::new();
    for (hour, id, blob) in store.heads(site, first, last).await? {
        if wanted.contains_key(&(hour, id)) {
            let of_part = heads_of(&blob);
            let of_part =
                of_part.map_err(|error| damaged(&DeviceDay::of_lines(site, hour), id, &error))?;
            heads.insert((hour, id), of_part);
        }
    }
    Ok(heads)
}

/// The newest lines of a block that match.
async fn found_in(
    store: &dyn SealStore,
    query: &Arc<LogQuery>,
    candidate: &Candidate,
) -> Result<Result<Vec<LogRow>, Gone>, StoreError> {
    let Candidate { hour, id, number, .. } = candidate;
    let Some(blob) = store.block(hour, *id, *number).await? else {
        return Ok(Err((hour.clone(), *id)));
    };
    let query = Arc::clone(query);
    // Some milliseconds: beside the tasks that must answer quickly.
    let found = tokio::task::spawn_blocking(move || {
        let filter = LogFilter::of(&query);
        Block::decode(&blob)?.find(&filter, query.limit)
    });
    let found = found.await;
    let found = found.map_err(|error| StoreError::Retry(format!("a search broke off: {error}")))?;
    found.map(Ok).map_err(|error| damaged(hour, *id, &error))
}

/// The blocks of a part, in order; none when it is not there.
pub(super) async fn lines_of(
    store: &dyn SealStore,
    hour: &DeviceDay,
    id: i64,
) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
    let rows = store.heads(&hour.device, hour.span, hour.span).await?;
    let Some((_, _, heads)) = rows.into_iter().find(|(_, own, _)| *own == id) else {
        return Ok(None);
    };
    let n = heads_of(&heads).map_err(|error| damaged(hour, id, &error))?.len();
    let blocks = stream::iter((0..n).map(|number| store.block(hour, id, number)));
    let blocks: Vec<Option<Vec<u8>>> = blocks.buffered(AHEAD).try_collect().await?;
    Ok(blocks.into_iter().collect())
}

pub(super) fn missing(hour: &DeviceDay, id: i64) -> StoreError {
    let DeviceDay { device: site, span, .. } = hour;
    StoreError::Retry(format!(
        "part {id} of the lines of {site}, hour {span}, is listed but not here yet: if this stays, \
         repair the tables `log_heads` and `log_blocks`"
    ))
}

pub(super) fn damaged(hour: &DeviceDay, id: i64, error: &Damaged) -> StoreError {
    let DeviceDay { device: site, span, .. } = hour;
    StoreError::Fatal(format!(
        "part {id} of the lines of {site}, hour {span}: {error}; restore the row from a backup or \
         another replica"
    ))
}

#[cfg(test)]
mod tests {
    use weir_models::time::HOUR_US;

    use super::*;
    use crate::store::seal::PartRef;

    #[test]
    fn what_is_hot_is_read_hour_by_hour() {
        let piece = |hour: i64, hot: bool| {
            let range = hour_range(hour);
            let (t0_us, t1_us) = (range.from_us, range.to_us - 1);
            let part = PartRef { id: hour, t0_us, t1_us, n: 9, metrics: vec![LINES.to_owned()] };
            Piece { range, parts: vec![part], hot: hot.then_some(Look::Usual) }
        };
        let hours = |pieces: Vec<Piece>| -> Vec<Vec<i64>> {
            let hours = |group: Vec<Piece>| {
                group.iter().map(|piece| piece.range.from_us / HOUR_US).collect()
            };
            groups(pieces).into_iter().map(hours).collect()
        };
        let sealed = (0..4).map(|hour| piece(hour, false)).collect();
        assert_eq!(hours(sealed), [[3, 2, 1, 0]]);
        let hot = (0..4).map(|hour| piece(hour, true)).collect();
        assert_eq!(hours(hot), [[3], [2], [1], [0]]);
        let mixed = (0..5).map(|hour| piece(hour, hour == 2)).collect();
        assert_eq!(hours(mixed), [vec![4, 3], vec![2], vec![1, 0]]);
    }
}
