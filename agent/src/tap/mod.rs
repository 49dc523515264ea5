//! A tap: records of the running agent as they leave the stages, for somebody who looks on.
//!
//! In: from the pipeline's thread each record as it is written to the spool, while a tap is open; from who looks on, what is
//! wanted ([`Wants`]). Out: lines of JSON: the record, with the lane it goes to. Promises: while no tap is open the pipeline
//! pays a relaxed load an input. It never waits for who looks on: each tap has room for [`ROOM_BYTES`], and what does not fit
//! is left out, counted, and told in its place. At most [`TAPS_MAX`] at a time, which together hold [`HELD_BYTES_MAX`].

mod client;
mod serve;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use weir_models::event::{Body, Event};
use weir_models::pattern::glob;

pub(crate) use client::{Fault, Options, run};
pub(crate) use serve::{Served, serve};

/// Taps that may be open at a time.
const TAPS_MAX: usize = 4;
/// What waits for one tap, in bytes; a single record may be larger.
const ROOM_BYTES: usize = 128 << 10;
/// The most beside a record: its lane, and what is told of a gap.
const FRAME_BYTES: usize = 128;
/// What all taps hold at most, in bytes: what waits for each, and what is being written to it.
pub(crate) const HELD_BYTES_MAX: u64 = 2 * (TAPS_MAX * ROOM_BYTES) as u64;
/// The socket, in the data folder.
const SOCKET: &str = "tap.sock";

/// What somebody wants to see.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wants {
    /// Only events of this source; `*` stands for any text, also below.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only of this device or host.
    #[arg(long, alias = "host", value_name = "NAME")]
    device: Option<String>,
    /// Only of this kind.
    #[arg(long, value_parser = ["log", "reading", "loss", "alert"])]
    kind: Option<String>,
    /// Only records whose JSON holds this text.
    #[arg(long)]
    text: Option<String>,
    /// Also events that a filter rule drops.
    #[arg(long)]
    dropped: bool,
    /// One in so many of those that fit.
    #[arg(long, value_name = "N", default_value_t = 1)]
    sample: u64,
    /// At most so many a second; 0: no limit.
    #[arg(long, value_name = "N", default_value_t = 100)]
    per_s: u64,
}

/// A record that passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing<'a> {
    kind: &'static str,
    source: &'a str,
    device: &'a str,
    host: &'a str,
    /// The lane, or `dropped`.
    lane: &'static str,
    json: &'a [u8],
}

/// The lane of what a filter rule drops.
const DROPPED: &str = "dropped";

impl<'a> Passing<'a> {
    /// An event on its way to a lane, none where it is dropped, and its JSON.
    pub(crate) fn event(event: &'a Event, lane: Option<&'static str>, json: &'a [u8]) -> Self {
        let (kind, host) = match &event.body {
            Body::Reading(_) => ("reading", ""),
            Body::Log(log) => ("log", log.host.as_str()),
            Body::Loss(_) => ("loss", ""),
        };
        let lane = lane.unwrap_or(DROPPED);
        Self { kind, source: &event.source, device: &event.device, host, lane, json }
    }

    /// An alert, and its JSON.
    pub(crate) fn alert(device: &'a str, json: &'a [u8]) -> Self {
        Self { kind: "alert", source: "", device, host: "", lane: "alerts", json }
    }
}

impl Wants {
    fn fits(&self, it: &Passing<'_>) -> bool {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| glob(pattern, text))
        };
        let has_text =
            |text: &String| std::str::from_utf8(it.json).is_ok_and(|json| json.contains(text));
        (self.dropped || it.lane != DROPPED)
            && self.kind.as_ref().is_none_or(|kind| kind == it.kind)
            && fits(&self.source, it.source)
            && (fits(&self.device, it.device) || fits(&self.device, it.host))
            && self.text.as_ref().is_none_or(has_text)
    }
}

/// All taps of an agent.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// How many there are; what the pipeline looks at.
    open: AtomicUsize,
    all: Mutex<Vec<Arc<Queue>>>,
}

/// One tap; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Tap {
    queue: Arc<Queue>,
    taps: Arc<Taps>,
}

#[derive(Debug)]
struct Queue {
    wants: Wants,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// Records that fitted.
    fitted: u64,
    /// The second at hand, and how many came in it.
    second: (Instant, u64),
    /// What is still to be told: records above `per_s`, and records for which there was no room.
    above_rate: u64,
    no_room: u64,
}

impl Taps {
    /// Whether somebody looks on.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Shows a record to all who want to see it.
    #[cold]
    pub(crate) fn show(&self, it: Passing<'_>) {
        for queue in self.all().iter().filter(|queue| queue.wants.fits(&it)) {
            if locked(&queue.waiting).add(&queue.wants, it) {
                queue.filled.notify_one();
            }
        }
    }

    /// Opens a tap; none when there are enough.
    pub(crate) fn tap(self: &Arc<Self>, wants: Wants) -> Option<Tap> {
        let mut all = self.all();
        if all.len() >= TAPS_MAX {
            return None;
        }
        let waiting = Waiting {
            lines: Vec::with_capacity(ROOM_BYTES),
            fitted: 0,
            second: (Instant::now(), 0),
            above_rate: 0,
            no_room: 0,
        };
        let queue = Queue { wants, waiting: Mutex::new(waiting), filled: Notify::new() };
        let queue = Arc::new(queue);
        all.push(Arc::clone(&queue));
        self.open.store(all.len(), Ordering::Relaxed);
        Some(Tap { queue, taps: Arc::clone(self) })
    }

    /// Whether somebody wants to see what filter rules drop.
    #[cold]
    pub(crate) fn want_dropped(&self) -> bool {
        self.all().iter().any(|queue| queue.wants.dropped)
    }

    /// Bytes that wait for who looks on.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.all().iter().map(|queue| locked(&queue.waiting).lines.len() as u64).sum()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        locked(&self.all)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in there can be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Whether the record was taken.
    fn add(&mut self, wants: &Wants, it: Passing<'_>) -> bool {
        self.fitted += 1;
        if !(self.fitted - 1).is_multiple_of(wants.sample.max(1)) {
            return false;
        }
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        if wants.per_s > 0 && self.second.1 >= wants.per_s {
            self.above_rate += 1;
            return false;
        }
        if !self.lines.is_empty() && self.lines.len() + it.json.len() + FRAME_BYTES > ROOM_BYTES {
            self.no_room += 1;
            return false;
        }
        self.second.1 += 1;
        self.tell_gap();
        // Writing into memory cannot fail. The record is an object: its first brace is ours.
        let _ = write!(self.lines, "{{\"lane\":\"{}\",", it.lane);
        self.lines.extend_from_slice(it.json.get(1..).unwrap_or_default());
        self.lines.push(b'\n');
        true
    }

    /// Tells what is missing here.
    fn tell_gap(&mut self) {
        let (above_rate, no_room) = (self.above_rate, self.no_room);
        if above_rate + no_room > 0 {
            let _ = writeln!(
                self.lines,
                "{{\"left_out\":{{\"above_rate\":{above_rate},\"no_room\":{no_room}}}}}"
            );
        }
        (self.above_rate, self.no_room) = (0, 0);
    }
}

impl Tap {
    /// The next lines.
    pub(crate) async fn next(&self) -> Vec<u8> {
        loop {
            {
                let mut waiting = locked(&self.queue.waiting);
                if !waiting.lines.is_empty() {
                    // All of the room at once: a buffer that doubles as it fills takes more in the end.
                    let next = Vec::with_capacity(ROOM_BYTES);
                    return std::mem::replace(&mut waiting.lines, next);
                }
            }
            self.queue.filled.notified().await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut all = self.taps.all();
        all.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.taps.open.store(all.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
