//! Plan: which stretch of time of a series is read from where. Pure.
//!
//! In: a range, and the seals of the device in it. Out: [`Piece`]s in order, without gap or overlap: of
//! parts, of hot rows, or of both. Parts whose times overlap are in one piece, so that a reader needs no
//! more than one piece in memory.

use super::{Look, PartRef, Position, Seal, span_of};
use crate::store::{Point, TimeRange};

/// A stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// Its stamps; within one day when there are parts.
    pub(super) range: TimeRange,
    /// Parts that have rows of the metric in it.
    pub(super) parts: Vec<PartRef>,
    /// How hot rows are looked for, where they are.
    pub(super) hot: Option<Look>,
}

impl Piece {
    /// The day it is in.
    pub(super) fn span(&self) -> i64 {
        span_of(self.range.from_us)
    }
}

/// Where a range of a series is read from. Days without parts are read from hot rows; where they have no marks either
/// and are not `recent`, what is there is from before there were narrower buckets. What a seal covers `covers` tells of its
/// `span`: a day, of lines an hour.
pub(super) fn plan(
    range: TimeRange,
    metric: &str,
    seals: &[(i64, Seal)],
    recent: TimeRange,
    covers: impl Fn(i64) -> TimeRange,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from_us = range.from_us;
    for (span, seal) in seals {
        let day = covers(*span).intersect(range);
        if day.is_empty() || (seal.parts.is_empty() && seal.marks.is_empty()) {
            continue;
        }
        unmarked(&mut pieces, TimeRange { from_us, to_us: day.from_us }, recent);
        match seal.parts.is_empty() {
            true => hot(&mut pieces, day.from_us, day.to_us, Look::Usual),
            false => plan_day(&mut pieces, day, metric, seal),
        }
        from_us = day.to_us;
    }
    unmarked(&mut pieces, TimeRange { from_us, to_us: range.to_us }, recent);
    pieces
}

/// A stretch without marks: the recent part of it may have got some that are not here yet.
fn unmarked(pieces: &mut Vec<Piece>, range: TimeRange, recent: TimeRange) {
    let (from_us, to_us) = (range.from_us, range.to_us);
    hot(pieces, from_us, to_us.min(recent.from_us), Look::Unmarked);
    hot(pieces, from_us.max(recent.from_us), to_us.min(recent.to_us), Look::Usual);
    hot(pieces, from_us.max(recent.from_us).max(recent.to_us), to_us, Look::Unmarked);
}

fn plan_day(pieces: &mut Vec<Piece>, day: TimeRange, metric: &str, seal: &Seal) {
    let marked = (!seal.marks.is_empty()).then_some(Look::Usual);
    let mut from_us = day.from_us;
    for (stretch, parts) in clusters(seal.parts.iter().filter(|part| part.has(metric))) {
        let range = stretch.intersect(day);
        if range.is_empty() {
            continue;
        }
        if let Some(look) = marked {
            hot(pieces, from_us, range.from_us, look);
        }
        let touches = |part: &PartRef| part.t0_us < range.to_us && part.t1_us >= range.from_us;
        let parts = parts.into_iter().filter(touches).collect();
        pieces.push(Piece { range, parts, hot: marked });
        from_us = range.to_us;
    }
    if let Some(look) = marked {
        hot(pieces, from_us, day.to_us, look);
    }
}

/// Adds a piece of hot rows only, or makes the one before it longer.
fn hot(pieces: &mut Vec<Piece>, from_us: i64, to_us: i64, look: Look) {
    if from_us >= to_us {
        return;
    }
    match pieces.last_mut() {
        Some(last)
            if last.parts.is_empty() && last.hot == Some(look) && last.range.to_us == from_us =>
        {
            last.range.to_us = to_us;
        }
        _ => {
            let range = TimeRange { from_us, to_us };
            pieces.push(Piece { range, parts: Vec::new(), hot: Some(look) });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_nobody_marked_is_looked_at_under_the_first_width() {
        let marked = Seal { marks: BTreeSet::from([7]), ..Seal::default() };
        let (t0_us, t1_us) = (52, 53);
        let part = PartRef { id: 1, t0_us, t1_us, n: 2, metrics: vec!["m".to_owned()] };
        let sealed = Seal { parts: vec![part], ..Seal::default() };
        // Marked, once marked and found empty, marked beside what is recent, sealed; days of 10.
        let seals = [(1, marked.clone()), (3, Seal::default()), (4, marked), (5, sealed)];
        let of = |range, recent| -> Vec<(i64, i64, Option<Look>)> {
            let days = |span| TimeRange { from_us: span * 10, to_us: span * 10 + 10 };
            let pieces = plan(range, "m", &seals, recent, days).into_iter();
            pieces.map(|piece| (piece.range.from_us, piece.range.to_us, piece.hot)).collect()
        };
        let (usual, unmarked) = (Some(Look::Usual), Some(Look::Unmarked));
        let recent = TimeRange { from_us: 30, to_us: 70 };
        assert_eq!(
            of(TimeRange { from_us: -50, to_us: 900 }, recent),
            [
                (-50, 10, unmarked),
                (10, 20, usual),
                (20, 30, unmarked),
                (30, 50, usual),
                (52, 54, None),
                (60, 70, usual),
                (70, 900, unmarked),
            ]
        );
        let never = TimeRange { from_us: 0, to_us: 0 };
        assert_eq!(
            of(TimeRange { from_us: 15, to_us: 45 }, never),
            [(15, 20, usual), (20, 40, unmarked), (40, 45, usual)]
        );
        let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
        assert_eq!(of(TimeRange { from_us: 5, to_us: 45 }, ever), [(5, 45, usual)]);
    }
}
