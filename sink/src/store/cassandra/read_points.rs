//! Read points: hot rows of a series, in order, from the buckets of all widths that hold.
//!
//! In: a place in a series, where to end, and how many. Out: at most so many points, each event once; of one that was
//! written again under a narrower width, what was written there. Promises: no more than about twice the points that
//! are asked for in memory, and what some buckets have that are read at once: of those of the first width, of which one is a day,
//! some; of narrower ones a few, for sealing one. Of a narrower width nothing is read behind the last point that
//! belongs to the answer. What can go wrong: [`StoreError::TooWide`]; narrower buckets do not count, they lie beside one
//! that does.

use std::future::Future;

use futures_util::stream::{self, StreamExt};
use weir_models::ident::{SeriesKey, Stream};

use super::CassandraStore;
use super::read::{AT_ONCE, looking, part_of, recorded};
use crate::store::bucket::{PARTITIONS_MAX, Widths};
use crate::store::seal::{Look, Position};
use crate::store::{Point, StoreError, TimeRange};

/// Narrower buckets of a page that are read at once: each may have as many rows as are asked for.
const NARROW_AT_ONCE: usize = 4;

/// A row as it is stored.
type Row = (i64, i64, i64, f64, Option<f32>);

/// How many buckets of a width are read at once, and at most.
#[derive(Clone, Copy)]
struct Reads {
    at_once: usize,
    max: usize,
}

impl Reads {
    /// For the `nth` width of a range: the first one comes first.
    fn of(nth: usize, look: Look) -> Self {
        let at_once = match (nth, look) {
            (0, _) => AT_ONCE,
            // Sealing asks for many rows at once.
            (_, Look::Sure) => 1,
            _ => NARROW_AT_ONCE,
        };
        Self { at_once, max: if nth == 0 { PARTITIONS_MAX } else { usize::MAX } }
    }
}

impl CassandraStore {
    pub(super) async fn read_points(
        &self,
        key: &SeriesKey,
        from: Position,
        to_us: i64,
        limit: usize,
        look: Look,
    ) -> Result<Vec<Point>, StoreError> {
        let mut points = Vec::new();
        if limit == 0 {
            return Ok(points);
        }
        let known = self.series_record(key, look).await?;
        let range = recorded(&known, TimeRange { from_us: from.ts_us, to_us });
        let first = known.layout.first();
        let layout = if look == Look::Unmarked { &first } else { &known.layout };
        let mut to_us = range.to_us;
        for (nth, (widths, range)) in layout.covers(range).into_iter().enumerate() {
            let range = range.intersect(TimeRange { to_us, ..range });
            let reads = Reads::of(nth, look);
            let own = self.points_of_width(key, from, (&*widths, range), limit, look, reads);
            points = first_of(points, own.await?, limit);
            if let Some(last) = points.last().filter(|_| points.len() >= limit) {
                to_us = last.ts_us.saturating_add(1);
            }
        }
        Ok(points)
    }

    async fn points_of_width(
        &self,
        key: &SeriesKey,
        from: Position,
        (widths, range): (&Widths, TimeRange),
        limit: usize,
        look: Look,
        reads: Reads,
    ) -> Result<Vec<Point>, StoreError> {
        let statements = self.statements().await?;
        let statement = &looking(statements, &statements.readings, look);
        let cql_limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let parts = widths.ascending(range).map(|bucket| {
            let part = part_of(range, bucket);
            let from = from.max(Position::at(part.from_us));
            let values = (
                &key.site,
                &key.device,
                &key.metric,
                bucket.number,
                from.ts_us,
                from.stream,
                from.seq,
                part.to_us,
                cql_limit,
            );
            self.rows::<Row>(statement, values)
        });
        gather(parts, limit, reads).await
    }
}

/// The first points of buckets that are told in order.
async fn gather<F>(
    parts: impl Iterator<Item = F>,
    limit: usize,
    reads: Reads,
) -> Result<Vec<Point>, StoreError>
where
    F: Future<Output = Result<Vec<Row>, StoreError>>,
{
    let mut parts = std::pin::pin!(stream::iter(parts).buffered(reads.at_once));
    let (mut points, mut read) = (Vec::new(), 0);
    while let Some(part) = parts.next().await {
        read += 1;
        if read > reads.max {
            return Err(StoreError::TooWide { partitions_max: PARTITIONS_MAX });
        }
        points.extend(part?.into_iter().map(point));
        if points.len() >= limit {
            points.truncate(limit);
            break;
        }
    }
    Ok(points)
}

fn point((ts_us, stream, seq, value, score): Row) -> Point {
    let stream = Stream::from_i64(stream);
    Point { ts_us, value, score, stream, seq: seq.cast_unsigned() }
}

/// The first points of two runs that are in order; of one that is in both the one of the narrower width.
fn first_of(wide: Vec<Point>, mut narrow: Vec<Point>, limit: usize) -> Vec<Point> {
    if narrow.is_empty() {
        return wide;
    }
    if !wide.is_empty() {
        narrow.extend(wide);
        // Runs that are in order are merged, not sorted; it is stable, and the first one of two stays.
        narrow.sort_by_key(Position::of);
        narrow.dedup_by_key(|point| Position::of(point));
        narrow.truncate(limit);
    }
    narrow
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn few_narrow_buckets_are_read_at_once_and_none_counts() {
        let read = AtomicUsize::new(0);
        let bucket = |number: i64, rows: i64| {
            let read = &read;
            async move {
                read.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let rows = (0..rows).map(|n| (number * 1_000 + n, 1, 1, 0.0, None));
                Ok::<Vec<Row>, StoreError>(rows.collect())
            }
        };
        // Each bucket has as many rows as are asked for: what is read in vain is what is read at once.
        for (nth, look, most) in [(1, Look::Sure, 1), (3, Look::Usual, NARROW_AT_ONCE)] {
            let parts = (0..144).map(|number| bucket(number, 100));
            let points = gather(parts, 100, Reads::of(nth, look)).await;
            assert_eq!(points.map(|points| points.len()).ok(), Some(100));
            assert!((1..=most).contains(&read.swap(0, Ordering::SeqCst)), "{nth} {look:?}");
        }
        let many = i64::try_from(PARTITIONS_MAX).unwrap_or_default() + 1;
        let empty = || (0..many).map(|number| bucket(number, 0));
        let narrow = gather(empty(), 100, Reads::of(1, Look::Usual)).await;
        assert_eq!(narrow.map(|points| points.len()).ok(), Some(0));
        let first = gather(empty(), 100, Reads::of(0, Look::Usual)).await;
        assert!(matches!(first, Err(StoreError::TooWide { .. })));
    }

    #[test]
    fn what_was_written_again_is_the_narrower_one() {
        let run = |stamps: &[i64], value: f64| -> Vec<Point> {
            stamps.iter().map(|&ts_us| point((ts_us, 1, 1, value, None))).collect()
        };
        let of = |wide: &[i64], narrow: &[i64], limit| -> Vec<(i64, f64)> {
            let points = first_of(run(wide, 0.0), run(narrow, 1.0), limit);
            points.iter().map(|point| (point.ts_us, point.value)).collect()
        };
        assert_eq!(of(&[1, 2, 5], &[2, 3], 9), [(1, 0.0), (2, 1.0), (3, 1.0), (5, 0.0)]);
        assert_eq!(of(&[1, 2, 5], &[2, 3], 2), [(1, 0.0), (2, 1.0)]);
        assert_eq!(of(&[], &[2, 3], 2), [(2, 1.0), (3, 1.0)]);
        assert_eq!(of(&[2], &[], 2), [(2, 0.0)]);
    }
}
