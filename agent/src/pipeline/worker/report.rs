//! What the pipeline says of itself, for heartbeats and metrics.
//!
//! In: the spool, the filter, the scorer as they are. Out: a [`Report`]. It costs a look at each part and is made when
//! somebody asks, not for each event.

use std::sync::atomic::Ordering;

use weir_models::device::{LaneStatus, StreamStatus};

use super::{Report, Worker};
use crate::memory::{DEVICE_BYTES, SERIES_BYTES};
use crate::spool::Lane;

impl Worker {
    fn lane_status(&self, lane: Lane) -> LaneStatus {
        let mut streams = self.spool.streams(lane).map(|state| StreamStatus {
            stream: state.stream,
            last_seq: state.last_seq,
            waiting: state.waiting,
        });
        let last_seq = streams.next().map_or(0, |written| written.last_seq);
        LaneStatus {
            lane: lane.name().into(),
            stream: self.spool.stream(lane),
            last_seq,
            waiting: self.spool.stats(lane).waiting_events,
            backlog: streams.filter(|stream| stream.waiting > 0).collect(),
        }
    }

    pub(super) fn report(&self) -> Report {
        let lanes = Lane::ALL.into_iter().map(|lane| self.lane_status(lane)).collect();
        let series = u64::try_from(self.scorer.series()).unwrap_or(u64::MAX);
        let pending = self.spool.pending();
        self.shared.counters.series.store(series, Ordering::Relaxed);
        Report {
            disk_bytes: self.spool.disk_bytes(),
            spool: Lane::ALL.map(|lane| (lane.name(), self.spool.stats(lane))).into(),
            filtered: self.filter.counts().map(|(name, n)| (name.to_owned(), n)).collect(),
            devices: self.shared.table.len(),
            metadata_us: Some(self.shared.table.in_step_us()).filter(|&us| us > 0),
            series,
            clock: self.shared.clock.look().clock,
            pending: pending.events,
            lanes,
            memory: vec![
                ("spool", pending.bytes),
                ("series", series * SERIES_BYTES),
                ("metadata", self.enricher.held() * DEVICE_BYTES),
                ("taps", self.shared.taps.held_bytes()),
            ],
        }
    }
}
