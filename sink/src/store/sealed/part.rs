//! Part: the points of all series of one device, encoded together, and read back series by series.
//!
//! In: per metric its points in the order of the store. Out: a [`Part`]: the stamps blob, and one episode
//! per metric with its values, its scores, which of the events it has a value of, and its rollups. What
//! can go wrong: a blob is damaged, or belongs to other stamps.

use sha2::{Digest, Sha256};
use weir_models::time::{HOUR_US, SECOND_US};

use super::frame::{Damaged, Reader, Writer, bounded};
use super::numbers::{pack, pack_floats, unpack, unpack_floats};
use super::roll::{encode_rolls, rolls_of};
use super::stamps::{Identity, Stamps};
use super::{EVENTS_MAX, roll};
use crate::store::Point;

/// What is sealed of one device in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Names the content: the first 64 bits of its SHA-256.
    pub id: i64,
    /// First stamp, microseconds since the Unix epoch.
    pub t0_us: i64,
    /// Last stamp.
    pub t1_us: i64,
    /// Number of events.
    pub events: usize,
    /// Stamps and numbers of the events, for [`Stamps::decode`].
    pub stamps: Vec<u8>,
    /// One for each metric.
    pub episodes: Vec<Episode>,
}

/// The values of one series in a [`Part`].
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Metric.
    pub metric: String,
    /// First stamp of this series, microseconds since the Unix epoch.
    pub t0_us: i64,
    /// Last stamp of this series.
    pub t1_us: i64,
    /// Number of values.
    pub n: usize,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Values and scores, for [`decode`].
    pub body: Vec<u8>,
    /// Rollups by minute, for [`super::decode_rolls`]; empty where they would hold fewer than
    /// [`roll::POINTS_MIN`] values each: then they are to be made of the points.
    pub minutes: Vec<u8>,
    /// Rollups by hour, likewise.
    pub hours: Vec<u8>,
}

/// By what points of a series are ordered: the stamp, then the event as signed numbers, as every store
/// keeps them.
fn order(&(ts_us, id): &Identity) -> (i64, i64, i64) {
    (ts_us, id.stream.as_i64(), id.seq.cast_signed())
}

fn identity(point: &Point) -> Identity {
    (point.ts_us, point.id())
}

/// Encodes the points of the series of a device, each ascending by stamp, stream and number (as signed
/// numbers), each event once in a series. Series without points are left out.
///
/// # Errors
/// More than [`EVENTS_MAX`] events.
pub fn encode(series: &[(String, Vec<Point>)]) -> Result<Part, Damaged> {
    let series: Vec<_> = series.iter().filter(|(_, points)| !points.is_empty()).collect();
    let stamps = union(&series);
    let blob = stamps.encode()?;
    let episodes = series
        .iter()
        .map(|(metric, points)| episode(&stamps, metric, points))
        .collect::<Result<Vec<_>, _>>()?;
    let ends = stamps.0.first().zip(stamps.0.last());
    let (t0_us, t1_us) = ends.map_or((0, 0), |(first, last)| (first.0, last.0));
    Ok(Part {
        id: id(&blob, &episodes),
        t0_us,
        t1_us,
        events: stamps.len(),
        stamps: blob,
        episodes,
    })
}

/// Every event that any of the series has, once.
fn union(series: &[&(String, Vec<Point>)]) -> Stamps {
    let Some(((_, first), others)) = series.split_first() else {
        return Stamps::default();
    };
    let mut events: Vec<Identity> = first.iter().map(identity).collect();
    for (_, points) in others {
        // Mostly one payload carries all metrics, and nothing is to be sorted.
        let same = points.len() == events.len()
            && points.iter().zip(&events).all(|(point, event)| identity(point) == *event);
        if !same {
            events.extend(points.iter().map(identity));
            events.sort_unstable_by_key(order);
            events.dedup();
        }
    }
    Stamps(events)
}

fn episode(stamps: &Stamps, metric: &str, points: &[Point]) -> Result<Episode, Damaged> {
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let scored: Vec<u32> = places(points, |point| point.score.is_some());
    let scores: Vec<f64> = points.iter().filter_map(|p| p.score).map(f64::from).collect();
    let mut body = Writer::new();
    body.number(points.len())?;
    let every = points.len() == stamps.len();
    body.section(&if every { Vec::new() } else { pack(&present(stamps, points))? })?;
    body.section(&pack_floats(&values)?)?;
    body.number(scores.len())?;
    let some = !scores.is_empty() && scores.len() < points.len();
    body.section(&if some { pack(&scored)? } else { Vec::new() })?;
    body.section(&pack_floats(&scores)?)?;
    let rolls = |step_us| match rolls_of(points, step_us) {
        rolls if points.len() < roll::POINTS_MIN * rolls.len() => Ok(Vec::new()),
        rolls => encode_rolls(&rolls, step_us),
    };
    Ok(Episode {
        metric: metric.into(),
        t0_us: points.first().map_or(0, |point| point.ts_us),
        t1_us: points.last().map_or(0, |point| point.ts_us),
        n: points.len(),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sum: values.iter().sum(),
        body: body.finish(),
        minutes: rolls(60 * SECOND_US)?,
        hours: rolls(HOUR_US)?,
    })
}

/// The places of those for which `holds`.
fn places(points: &[Point], holds: impl Fn(&Point) -> bool) -> Vec<u32> {
    (0u32..).zip(points).filter(|(_, point)| holds(point)).map(|(place, _)| place).collect()
}

/// The places in `stamps` of the events of `points`, which are among them in the same order.
fn present(stamps: &Stamps, points: &[Point]) -> Vec<u32> {
    let mut points = points.iter().map(identity).peekable();
    let mut present = Vec::with_capacity(points.len());
    for (place, event) in (0u32..).zip(&stamps.0) {
        if points.next_if_eq(event).is_some() {
            present.push(place);
        }
    }
    present
}

fn id(stamps: &[u8], episodes: &[Episode]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(stamps);
    for episode in episodes {
        hash.update((episode.metric.len() as u64).to_le_bytes());
        hash.update(&episode.metric);
        hash.update((episode.body.len() as u64).to_le_bytes());
        hash.update(&episode.body);
    }
    first_bits(hash)
}

/// What names content: the first 64 bits of its hash.
pub(super) fn first_bits(hash: Sha256) -> i64 {
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_le_bytes(*first)
}

/// Reads the points of an episode, whose part has the stamps `stamps`, in the order of the store.
///
/// # Errors
/// `body` was damaged, or belongs to other stamps.
pub fn decode(stamps: &Stamps, body: &[u8]) -> Result<Vec<Point>, Damaged> {
    let mut body = Reader::new(body)?;
    let n = bounded(body.number()?, EVENTS_MAX)?;
    let present = body.section()?;
    let values = unpack_floats(body.section()?, n)?;
    let scores_n = bounded(body.number()?, n)?;
    let scored = body.section()?;
    let scores = unpack_floats(body.section()?, scores_n)?;
    let point = |&(ts_us, id): &Identity, value| Point {
        ts_us,
        value,
        score: None,
        stream: id.stream,
        seq: id.seq,
    };
    let other = || Damaged("it belongs to other stamps".into());
    let mut points = Vec::with_capacity(n);
    if present.is_empty() {
        if n != stamps.len() {
            return Err(other());
        }
        points.extend(stamps.0.iter().zip(values).map(|(event, value)| point(event, value)));
    } else {
        for (place, value) in unpack::<u32>(present, n)?.into_iter().zip(values) {
            points.push(point(stamps.0.get(place as usize).ok_or_else(other)?, value));
        }
    }
    if scored.is_empty() {
        for (point, score) in points.iter_mut().zip(scores) {
            point.score = Some(score as f32);
        }
    } else {
        for (place, score) in unpack::<u32>(scored, scores_n)?.into_iter().zip(scores) {
            points.get_mut(place as usize).ok_or_else(other)?.score = Some(score as f32);
        }
    }
    Ok(points)
}
