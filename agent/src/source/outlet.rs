//! One source's way into the channel, with its counters.
//!
//! In: payloads. Out: [`Input`]s on the channel. When the channel is full, sending waits: that is
//! the back-pressure of every source. Counters rise once a batch, after the channel took it.

use std::sync::Arc;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{Semaphore, oneshot};
use weir_models::metric;

use super::framing::Frame;
use super::{Input, Inputs, Raw, Source};

/// What one source may have in the channel, in bytes: as much as the pipeline takes in a few milliseconds.
pub(crate) const QUEUED_BYTES_MAX: usize = 512 << 10;

/// The pipeline has ended and takes nothing any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// One source's way into the channel.
#[derive(Clone)]
pub(super) struct Outlet {
    source: Arc<Source>,
    inputs: Inputs,
    /// The room for what lies in the channel.
    room: Arc<Semaphore>,
    events: Counter,
    bytes: Counter,
}

impl Outlet {
    /// The way of `source` into `inputs`.
    pub(super) fn new(source: Arc<Source>, inputs: Inputs) -> Self {
        let counter = |metric: metric::Metric| metrics::counter!(metric.name, "source" => source.name.to_string());
        Self {
            events: counter(metric::AGENT_RECEIVED),
            bytes: counter(metric::AGENT_RECEIVED_BYTES),
            source,
            inputs,
            room: Arc::new(Semaphore::new(QUEUED_BYTES_MAX)),
        }
    }

    /// The source's name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.source.name
    }

    /// An input of these payloads, with nothing else known.
    pub(super) fn input(&self, items: Vec<Raw>) -> Input {
        Input {
            source: Arc::clone(&self.source),
            peer: None,
            labels: Vec::new(),
            items,
            lost: 0,
            done: None,
            is_awaited: false,
            room: None,
        }
    }

    /// Puts `input` into the channel; waits while it is full.
    pub(super) async fn send(&self, mut input: Input) -> Result<(), Closed> {
        let events = input.items.len() as u64;
        let bytes: usize = input.items.iter().map(|raw| raw.bytes.len()).sum();
        // One that is larger than all the room has it for itself.
        let held = (bytes + size_of_val(&*input.items)).min(QUEUED_BYTES_MAX);
        input.room = Arc::clone(&self.room).acquire_many_owned(held as u32).await.ok();
        self.inputs.send(input).await.map_err(|_| Closed)?;
        self.events.increment(events);
        self.bytes.increment(bytes as u64);
        Ok(())
    }

    /// Like [`send`](Self::send); what it returns is told when the spool holds the payloads.
    pub(super) async fn send_tracked(
        &self,
        mut input: Input,
    ) -> Result<oneshot::Receiver<()>, Closed> {
        let (done, safe) = oneshot::channel();
        input.done = Some(done);
        self.send(input).await?;
        Ok(safe)
    }

    /// Like [`send_tracked`](Self::send_tracked), for a peer that waits for its answer.
    pub(super) async fn send_awaited(
        &self,
        mut input: Input,
    ) -> Result<oneshot::Receiver<()>, Closed> {
        input.is_awaited = true;
        self.send_tracked(input).await
    }
}

/// The payloads of `frames`, all received at `received_us`.
pub(super) fn raws(frames: Vec<Frame>, received_us: i64) -> Vec<Raw> {
    let raw = |Frame { bytes, cut }: Frame| Raw { bytes, received_us, cut };
    frames.into_iter().map(raw).collect()
}

/// A payload without the line ends that some senders put behind it.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    &bytes[..end.map_or(0, |last| last + 1)]
}

/// Where `bytes`, longer than `max` bytes, is to be cut: at `max`, or up to three bytes before it
/// so that no UTF-8 character is torn.
pub(super) fn cut_at(bytes: &[u8], max: usize) -> usize {
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (max.saturating_sub(3)..=max).rev().find(|at| !is_inside(at)).unwrap_or(max)
}

/// `bytes` as a payload: cut where they are longer than `max` bytes.
pub(super) fn bounded(mut bytes: Bytes, max: usize, received_us: i64) -> Raw {
    let cut = bytes.len() > max;
    if cut {
        bytes.truncate(cut_at(&bytes, max));
    }
    Raw { bytes, received_us, cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_tears_a_character() {
        assert_eq!(cut_at("aaé".as_bytes(), 3), 2);
        assert_eq!(cut_at("aaaa".as_bytes(), 3), 3);
        assert_eq!(cut_at("a€b".as_bytes(), 3), 1);
        assert_eq!(cut_at(&[0x80; 9], 8), 8);
        let raw = bounded(Bytes::from_static("aaé".as_bytes()), 3, 7);
        assert_eq!((&*raw.bytes, raw.cut, raw.received_us), (&b"aa"[..], true, 7));
        let raw = bounded(Bytes::from_static(b"aaa"), 3, 7);
        assert_eq!((&*raw.bytes, raw.cut), (&b"aaa"[..], false));
    }

    #[test]
    fn line_ends_are_no_part_of_a_payload() {
        assert_eq!(trimmed(b"a b\r\n\0"), b"a b");
        assert_eq!(trimmed(b"\n\n"), b"");
        assert_eq!(trimmed(b" a "), b" a ");
    }
}
