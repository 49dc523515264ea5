//! Stamps: when the events of a part happened, and which events they were.
//!
//! In: the identities (stamp, stream, number) of events, ascending and each once. Out: one blob that all
//! series of the device share, because one payload carries several metrics. Streams are few: they are a
//! list, and each event has a place in it unless there is one only; a number is kept as what it is ahead
//! of the number before it in its stream.

use std::collections::BTreeMap;

use weir_models::ident::{EventId, Stream};

use super::EVENTS_MAX;
use super::frame::{Damaged, Reader, Writer, bounded};
use super::numbers::{pack, unpack};

/// An event as the order of a series sees it.
pub(super) type Identity = (i64, EventId);

/// The identities of a part's events, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(pub(super) Vec<Identity>);

impl Stamps {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events, ascending by stamp (microseconds since the Unix epoch), stream and number.
    pub fn iter(&self) -> impl Iterator<Item = (i64, EventId)> + '_ {
        self.0.iter().copied()
    }

    /// Writes the blob.
    ///
    /// # Errors
    /// More than [`EVENTS_MAX`] events.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Damaged> {
        let n = bounded(self.len(), EVENTS_MAX)?;
        let mut streams: Vec<Stream> = Vec::new();
        let mut places: BTreeMap<Stream, usize> = BTreeMap::new();
        let mut last: Vec<u64> = Vec::new();
        let (mut at, mut ahead) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for &(_, EventId { stream, seq }) in &self.0 {
            let place = *places.entry(stream).or_insert_with(|| {
                streams.push(stream);
                last.push(0);
                streams.len() - 1
            });
            at.push(place as u32);
            ahead.push(seq.wrapping_sub(last[place]).cast_signed());
            last[place] = seq;
        }
        let stamps: Vec<i64> = self.0.iter().map(|&(ts_us, _)| ts_us).collect();
        let streams: Vec<u8> = streams.iter().flat_map(|stream| stream.0.to_le_bytes()).collect();
        let mut blob = Writer::new();
        blob.number(n)?;
        blob.section(&streams)?;
        blob.section(&pack(&stamps)?)?;
        let several = places.len() > 1;
        blob.section(&if several { pack(&at)? } else { Vec::new() })?;
        blob.section(&pack(&ahead)?)?;
        Ok(blob.finish())
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// It is not one that [`super::encode`] made.
    pub fn decode(blob: &[u8]) -> Result<Self, Damaged> {
        let mut blob = Reader::new(blob)?;
        let n = bounded(blob.number()?, EVENTS_MAX)?;
        let (streams, _) = blob.section()?.as_chunks::<8>();
        let stamps = unpack::<i64>(blob.section()?, n)?;
        let at = match streams.len() {
            0 | 1 => {
                blob.section()?;
                vec![0; n]
            }
            _ => unpack::<u32>(blob.section()?, n)?,
        };
        let ahead = unpack::<i64>(blob.section()?, n)?;
        let mut last = vec![0u64; streams.len()];
        let mut events = Vec::with_capacity(n);
        for ((ts_us, place), ahead) in stamps.into_iter().zip(at).zip(ahead) {
            let place = place as usize;
            let (Some(stream), Some(last)) = (streams.get(place), last.get_mut(place)) else {
                return Err(Damaged("a stream is missing".into()));
            };
            *last = last.wrapping_add_signed(ahead);
            let id = EventId { stream: Stream(u64::from_le_bytes(*stream)), seq: *last };
            events.push((ts_us, id));
        }
        Ok(Self(events))
    }
}
