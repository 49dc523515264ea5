//! Plan: which stretch of time of a series is read from where. Pure.
//!
//! In: a range, and the seals of the device in it. Out: [`Piece`]s in order, without gap or overlap: of
//! parts, of hot rows, or of both. Parts whose times overlap are in one piece, so that a reader needs no
//! more than one piece in memory.

use super::{PartRef, Position, Seal, span_of};
use crate::store::{Point, TimeRange};

/// A stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// Its stamps; within one day when there are parts.
    pub(super) range: TimeRange,
    /// Parts that have rows of the metric in it.
    pub(super) parts: Vec<PartRef>,
    /// Whether hot rows are read, too.
    pub(super) hot: bool,
}

impl Piece {
    /// The day it is in.
    pub(super) fn span(&self) -> i64 {
        span_of(self.range.from_us)
    }
}

/// Where a range of a series is read from. Days without parts are read from hot rows. What a seal covers `covers`
/// tells of its `span`: a day, of lines an hour.
pub(super) fn plan(
    range: TimeRange,
    metric: &str,
    seals: &[(i64, Seal)],
    covers: impl Fn(i64) -> TimeRange,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from_us = range.from_us;
    for (span, seal) in seals.iter().filter(|(_, seal)| !seal.parts.is_empty()) {
        let day = covers(*span).intersect(range);
        if day.is_empty() {
            continue;
        }
        hot(&mut pieces, from_us, day.from_us);
        plan_day(&mut pieces, day, metric, seal);
        from_us = day.to_us;
    }
    hot(&mut pieces, from_us, range.to_us);
    pieces
}

fn plan_day(pieces: &mut Vec<Piece>, day: TimeRange, metric: &str, seal: &Seal) {
    let marked = !seal.marks.is_empty();
    let mut from_us = day.from_us;
    for (stretch, parts) in clusters(seal.parts.iter().filter(|part| part.has(metric))) {
        let range = stretch.intersect(day);
        if range.is_empty() {
            continue;
        }
        if marked {
            hot(pieces, from_us, range.from_us);
        }
        let touches = |part: &PartRef| part.t0_us < range.to_us && part.t1_us >= range.from_us;
        let parts = parts.into_iter().filter(touches).collect();
        pieces.push(Piece { range, parts, hot: marked });
        from_us = range.to_us;
    }
    if marked {
        hot(pieces, from_us, day.to_us);
    }
}

/// Adds a piece of hot rows only, or makes the one before it longer.
fn hot(pieces: &mut Vec<Piece>, from_us: i64, to_us: i64) {
    if from_us >= to_us {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.parts.is_empty() && last.range.to_us == from_us => {
            last.range.to_us = to_us;
        }
        _ => {
            let range = TimeRange { from_us, to_us };
            pieces.push(Piece { range, parts: Vec::new(), hot: true });
        }
    }
}

/// Parts whose times overlap together, in order of time.
pub(super) fn clusters<'a>(
    parts: impl Iterator<Item = &'a PartRef>,
) -> Vec<(TimeRange, Vec<PartRef>)> {
    let mut parts: Vec<&PartRef> = parts.collect();
    parts.sort_by_key(|part| (part.t0_us, part.t1_us, part.id));
    let mut clusters: Vec<(TimeRange, Vec<PartRef>)> = Vec::new();
    for part in parts {
        let to_us = part.t1_us.saturating_add(1);
        match clusters.last_mut() {
            Some((range, together)) if part.t0_us < range.to_us => {
                range.to_us = range.to_us.max(to_us);
                together.push(part.clone());
            }
            _ => clusters.push((TimeRange { from_us: part.t0_us, to_us }, vec![part.clone()])),
        }
    }
    clusters
}

/// Joins points of several sources, each event once; every source is in order.
pub(super) fn join(mut sources: Vec<Vec<Point>>) -> Vec<Point> {
    sources.retain(|source| !source.is_empty());
    if sources.len() < 2 {
        return sources.pop().unwrap_or_default();
    }
    let mut all = sources.concat();
    // Runs that are in order are merged, not sorted.
    all.sort_by_key(Position::of);
    all.dedup_by_key(|point| Position::of(point));
    all
}

/// Takes out of `points` what `held` has; both are in order.
pub(super) fn without(points: Vec<Point>, held: &[Point]) -> Vec<Point> {
    if held.is_empty() {
        return points;
    }
    let mut held = held.iter().map(Position::of).peekable();
    let keep = |point: &Point| {
        let place = Position::of(point);
        while held.next_if(|other| *other < place).is_some() {}
        held.peek() != Some(&place)
    };
    let mut keep = keep;
    points.into_iter().filter(|point| keep(point)).collect()
}

/// The parts that are better one, when there are more than `parts_max` that together hold at most
/// `rows_max` values; the smallest first.
pub(super) fn too_many(parts: &[PartRef], parts_max: usize, rows_max: usize) -> Vec<PartRef> {
    let mut small: Vec<&PartRef> = parts.iter().collect();
    small.sort_by_key(|part| (part.rows(), part.id));
    let mut rows = 0usize;
    let together: Vec<PartRef> = small
        .into_iter()
        .take_while(|part| {
            rows = rows.saturating_add(part.rows());
            rows <= rows_max
        })
        .cloned()
        .collect();
    if together.len() > parts_max { together } else { Vec::new() }
}
