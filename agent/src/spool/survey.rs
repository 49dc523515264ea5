//! What is in a spool, read without touching it; also beside the agent that writes it.
//!
//! In: the spool's folder. Out: one report a lane, over all its strands, and its events. Everything is
//! read and every checksum checked, the broker's of each batch too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use weir_models::event::Loss;
use weir_models::ident::Stream;
use weir_models::wire::{BatchView, MAX_RAW_BYTES, WireError};

use super::checkpoint::Checkpoint;
use super::identity::Identity;
use super::log::{self, Cause, Found, FrameHead, Lost, SegmentFile};
use super::reader::unpacked;
use super::strand::loss_of;
use super::{Lane, SpoolError, Strand, folders};

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LaneReport {
    pub(super) lane: &'static str,
    /// Logs of the lane: one, and one for each backlog that was overtaken.
    pub(super) strands: usize,
    pub(super) segments: usize,
    pub(super) bytes: u64,
    /// Events on disk.
    pub(super) events: u64,
    /// Those of them that Kafka has not acknowledged.
    pub(super) waiting: u64,
    pub(super) batches: u64,
    /// Oldest first.
    pub(super) streams: Vec<StreamReport>,
    /// By topic, partition and number of partitions.
    pub(super) partitions: Vec<PartitionReport>,
    /// Lost and written down: a marker tells it when the publisher comes there.
    pub(super) lost: Vec<Loss>,
    /// Lost to damage that nobody has come across yet.
    pub(super) damaged: Vec<Loss>,
    /// Batches that Kafka would refuse although they are as they were written.
    pub(super) bad_batches: u64,
    /// Bytes behind the last whole group.
    pub(super) torn_bytes: u64,
    /// Files that are no segments, although they are named so.
    pub(super) not_segments: Vec<PathBuf>,
    /// Files that were set aside or left over.
    pub(super) others: Vec<PathBuf>,
}

/// What a lane holds for a partition of a topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PartitionReport {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    /// The number of partitions that was reckoned with; none where an older agent did not note it.
    pub(super) of: Option<u32>,
    pub(super) batches: u64,
    pub(super) events: u64,
}

/// One stream in a lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StreamReport {
    pub(super) stream: Stream,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) events: u64,
    pub(super) waiting: u64,
}

impl LaneReport {
    /// Whether the agent, or `spool repair`, would have something to mend. A write that is going
    /// on looks like a torn one.
    pub(super) fn is_damaged(&self, in_use: bool) -> bool {
        let torn = self.torn_bytes > 0 && !in_use;
        torn || !self.damaged.is_empty() || !self.not_segments.is_empty() || self.bad_batches > 0
    }
}

/// A lane as it lies on disk.
#[derive(Debug)]
pub(super) struct LaneSurvey {
    lane: Lane,
    strands: Vec<StrandSurvey>,
}

/// A strand as it lies on disk.
#[derive(Debug)]
struct StrandSurvey {
    segments: Vec<SegmentFile>,
    others: Vec<PathBuf>,
    /// The ordinal after the last one that Kafka has acknowledged.
    checkpoint: u64,
}

/// By topic and the frame's field: batches and events.
type Partitions = BTreeMap<(Arc<str>, u32), (u64, u64)>;

impl LaneSurvey {
    pub(super) fn open(spool: &Path, lane: Lane) -> Result<LaneSurvey, SpoolError> {
        let found =
            folders::strands(spool, lane).map_err(|error| SpoolError::writing(spool, error))?;
        let strands = found.into_iter().map(|strand| StrandSurvey::open(spool, strand));
        Ok(LaneSurvey { lane, strands: strands.collect::<Result<_, _>>()? })
    }

    /// Bytes to read.
    pub(super) fn bytes(&self) -> u64 {
        self.strands.iter().flat_map(|strand| &strand.segments).map(|segment| segment.bytes).sum()
    }

    /// Reads everything. `watch` hears of the bytes read, `event` is shown each event's JSON and
    /// whether it waits for Kafka.
    pub(super) fn read(
        &self,
        mut watch: impl FnMut(u64),
        mut event: impl FnMut(&[u8], bool) -> Result<(), SpoolError>,
    ) -> Result<LaneReport, SpoolError> {
        let mut report = LaneReport {
            lane: self.lane.name(),
            strands: self.strands.len(),
            segments: self.strands.iter().map(|strand| strand.segments.len()).sum(),
            bytes: self.bytes(),
            events: 0,
            waiting: 0,
            batches: 0,
            streams: Vec::new(),
            partitions: Vec::new(),
            lost: Vec::new(),
            damaged: Vec::new(),
            bad_batches: 0,
            torn_bytes: 0,
            not_segments: Vec::new(),
            others: Vec::new(),
        };
        let mut partitions = Partitions::new();
        for strand in &self.strands {
            strand.name_others(&mut report);
            for segment in &strand.segments {
                segment
                    .read(|found| strand.take(&mut report, &mut partitions, found, &mut event))?;
                watch(segment.bytes);
            }
        }
        let of = |((topic, field), (batches, events))| {
            let (partition, of) = unpacked(field);
            let of = Some(of).filter(|of| *of > 0);
            PartitionReport { topic, partition, of, batches, events }
        };
        report.partitions = partitions.into_iter().map(of).collect();
        Ok(report)
    }
}

impl StrandSurvey {
    fn open(spool: &Path, strand: Strand) -> Result<StrandSurvey, SpoolError> {
        let dir = spool.join(strand.folder());
        let path = dir.join("checkpoint");
        // Before the segments: what is acknowledged meanwhile may be gone, and is not missed.
        let checkpoint = if path.is_file() {
            Checkpoint::open(&path).map_err(|error| SpoolError::writing(&path, error))?.ordinal()
        } else {
            0
        };
        let log::Survey { segments, others } = log::survey(&dir)?;
        Ok(StrandSurvey { segments, others, checkpoint })
    }

    /// Names the files that are no segments.
    fn name_others(&self, report: &mut LaneReport) {
        for path in &self.others {
            let named = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
            if path.extension().is_some_and(|extension| extension == "seg") {
                // One that has gone meanwhile was given back.
                report.not_segments.extend(path.exists().then(|| path.clone()));
            } else if !named(&["checkpoint", "stream"]) {
                report.others.push(path.clone());
            }
        }
    }

    fn take(
        &self,
        report: &mut LaneReport,
        partitions: &mut Partitions,
        found: Found,
        event: &mut impl FnMut(&[u8], bool) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        // What Kafka has is not missed.
        let missed = |lost: &&Lost| lost.last >= self.checkpoint;
        match found {
            Found::Torn(bytes) => report.torn_bytes += bytes,
            Found::Damaged(lost) => {
                report.damaged.extend([&lost].into_iter().filter(missed).map(loss_of))
            }
            Found::Group { group, holes, damaged } => {
                let waits = group.first >= self.checkpoint;
                report.damaged.extend(damaged.iter().filter(missed).map(loss_of));
                for hole in holes.iter().filter(missed) {
                    let cause = hole.cause;
                    debug_assert!(cause != Cause::Refused, "only in memory");
                    report.lost.push(loss_of(hole));
                }
                let identity = Identity::from_tag(group.tag);
                let mut events = 0;
                for frame in &group.frames {
                    let FrameHead { topic, partition, .. } = &frame.head;
                    let of = partitions.entry((topic.clone(), *partition)).or_default();
                    *of = (of.0 + 1, of.1 + u64::from(frame.head.records));
                    report.batches += 1;
                    match records(&frame.batch, frame.head.records, |json| event(json, waits))? {
                        Ok(count) => events += count,
                        Err(error) => {
                            tracing::warn!(lane = report.lane, %error, "a batch that Kafka would refuse");
                            report.bad_batches += 1;
                        }
                    }
                }
                let (first, last) = (identity.seq(group.first), identity.seq(group.last));
                report.count(identity.stream, first, last, events, waits);
            }
        }
        Ok(())
    }
}

impl LaneReport {
    fn count(&mut self, stream: Stream, first_seq: u64, last_seq: u64, events: u64, waits: bool) {
        let waiting = if waits { events } else { 0 };
        self.events += events;
        self.waiting += waiting;
        match self.streams.last_mut().filter(|last| last.stream == stream) {
            Some(last) => {
                last.last_seq = last_seq;
                last.events += events;
                last.waiting += waiting;
            }
            None => {
                self.streams.push(StreamReport { stream, first_seq, last_seq, events, waiting });
            }
        }
    }
}

/// Shows the values of a batch, and answers how many there are.
fn records(
    batch: &[u8],
    promised: u32,
    mut show: impl FnMut(&[u8]) -> Result<(), SpoolError>,
) -> Result<Result<u64, WireError>, SpoolError> {
    let parsed = BatchView::parse(batch).and_then(|(view, _)| view.records(MAX_RAW_BYTES));
    let records = match parsed {
        Ok(records) if records.count() == promised => records,
        Ok(records) => return Ok(Err(WireError::Record { index: records.count() })),
        Err(error) => return Ok(Err(error)),
    };
    for record in &records {
        match record {
            Ok(record) => show(record.value.unwrap_or_default())?,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(u64::from(promised)))
}
