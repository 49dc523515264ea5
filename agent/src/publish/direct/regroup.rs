//! The slow path: takes batches apart and packs the records anew.
//!
//! In: frames of one topic in one group, whose partitions were reckoned with another number of
//! partitions than the topic has; or a batch that the broker refuses. Out: batches for the real
//! partitions, in the order of `seq`; or two halves. Promises: the same input gives the same batches,
//! record by record, so that a batch sent again after a restart is recognised by its sequence.

use std::sync::Arc;

use bytes::Bytes;
use weir_models::wire::{
    BatchBuilder, BatchView, Codec, Compressor, MAX_RAW_BYTES, WireError, partition_for,
};

use super::batch::Batch;
use crate::publish::Refused;
use crate::publish::order::in_order;
use crate::spool::Frame;

/// A batch is closed at this many bytes before compression, as in the spool.
const BATCH_BYTES: usize = 256 << 10;
/// A batch is closed at this many records, as in the spool.
const BATCH_RECORDS: u32 = 1_000;
/// As the spool compresses by default.
const ZSTD_LEVEL: i32 = 1;

/// A record on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Single {
    ts_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl Single {
    /// What is told of it when Kafka will never take it.
    pub(super) fn refused(&self, topic: &Arc<str>, reason: String) -> Refused {
        Refused {
            topic: topic.clone(),
            key: self.key.clone().unwrap_or_default(),
            value: self.value.clone().unwrap_or_default(),
            id: None,
            reason,
        }
    }

    /// Its number in its stream.
    #[cfg(test)]
    pub(super) fn seq(&self) -> Option<u64> {
        crate::publish::order::seq(self.value.as_deref().unwrap_or_default())
    }

    /// The same, at another time.
    pub(super) fn at(self, ts_ms: i64) -> Self {
        Self { ts_ms, ..self }
    }
}

/// The records of a batch.
///
/// # Errors
/// When it cannot be read.
pub(super) fn unpack(batch: &[u8]) -> Result<Vec<Single>, WireError> {
    let (batch, _) = BatchView::parse(batch)?;
    let records = batch.records(MAX_RAW_BYTES)?;
    let own = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let single = |record: Result<weir_models::wire::Record<'_>, WireError>| {
        record.map(|record| Single {
            ts_ms: record.ts_ms,
            key: record.key.map(own),
            value: record.value.map(own),
        })
    };
    records.iter().map(single).collect()
}

/// One batch of all these records.
pub(super) fn pack(records: &[Single], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.push(record.ts_ms, record.key.as_deref(), record.value.as_deref(), &[]);
    }
    let mut out = Vec::new();
    builder.finish(&mut Compressor::new(codec, ZSTD_LEVEL), &mut out);
    out.into()
}

/// Packs the records of `frames`, which are all of one topic and group, for `partitions`.
///
/// # Errors
/// When a batch cannot be read.
pub(super) fn regroup(frames: &[Frame], partitions: u32) -> Result<Vec<Batch>, WireError> {
    let mut records = Vec::new();
    for frame in frames {
        records.extend(unpack(&frame.batch)?);
    }
    in_order(&mut records, |record| record.value.as_deref().unwrap_or_default());
    let Some(topic) = frames.first().map(|frame| frame.topic.clone()) else {
        return Ok(Vec::new());
    };
    let mut packer = Packer {
        topic,
        open: Vec::new(),
        compressor: Compressor::new(Codec::Zstd, ZSTD_LEVEL),
        batches: Vec::new(),
    };
    packer.open.resize_with(partitions.max(1) as usize, BatchBuilder::new);
    for record in &records {
        let key = record.key.as_deref();
        let partition = partition_for(key.unwrap_or_default(), partitions) as usize;
        packer.push(partition, record);
    }
    for partition in 0..packer.open.len() {
        packer.close(partition);
    }
    Ok(packer.batches)
}

struct Packer {
    topic: Arc<str>,
    open: Vec<BatchBuilder>,
    compressor: Compressor,
    batches: Vec<Batch>,
}

impl Packer {
    fn push(&mut self, partition: usize, record: &Single) {
        let builder = &mut self.open[partition];
        builder.push(record.ts_ms, record.key.as_deref(), record.value.as_deref(), &[]);
        if builder.raw_bytes() >= BATCH_BYTES || builder.count() >= BATCH_RECORDS {
            self.close(partition);
        }
    }

    fn close(&mut self, partition: usize) {
        let mut bytes = Vec::new();
        let info = self.open[partition].finish(&mut self.compressor, &mut bytes);
        if info.records > 0 {
            self.batches.push(Batch {
                topic: self.topic.clone(),
                partition: partition as u32,
                records: info.records,
                bytes: bytes.into(),
            });
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spool::{Lane, Spool, SpoolConfig};

    /// Frames of one group, reckoned with `partitions`.
    fn frames(partitions: u32, values: usize, value_bytes: usize) -> Vec<Frame> {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, [.., mut reader]) =
            Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
        for n in 0..values {
            let key = format!("plant/pump-{}", n % 41);
            spool.append(
                Lane::Rest,
                &"t".into(),
                partitions,
                key.as_bytes(),
                n as i64,
                |id, out| {
                    out.extend_from_slice(format!("{{\"seq\":{},\"pad\":\"", id.seq).as_bytes());
                    out.resize(out.len() + value_bytes, b'x');
                    out.extend_from_slice(b"\"}");
                },
            );
        }
        spool.flush().unwrap();
        reader.next_group().unwrap().unwrap().frames
    }

    #[test]
    fn records_come_into_their_partition_in_order_and_none_is_missing() {
        for (reckoned, real, values, bytes) in
            [(4, 12, 3_000, 10), (4, 3, 3_000, 10), (6, 1, 500, 3_000), (1, 5, 40, 0)]
        {
            let frames = frames(reckoned, values, bytes);
            let batches = regroup(&frames, real).unwrap();
            let mut seqs = BTreeMap::<u32, Vec<u64>>::new();
            let mut count = 0;
            for batch in &batches {
                let (view, _) = BatchView::parse(&batch.bytes).unwrap();
                let records = view.records(MAX_RAW_BYTES).unwrap();
                assert!(records.raw_bytes() < BATCH_BYTES + 4_096);
                assert_eq!(records.count(), batch.records);
                for record in &records {
                    let record = record.unwrap();
                    assert_eq!(partition_for(record.key.unwrap(), real), batch.partition);
                    let seq = crate::publish::order::seq(record.value.unwrap()).unwrap();
                    assert_eq!(record.ts_ms + 1, seq as i64);
                    seqs.entry(batch.partition).or_default().push(seq);
                    count += 1;
                }
            }
            assert_eq!(count, values);
            for (partition, seqs) in seqs {
                assert!(seqs.is_sorted_by(|a, b| a < b), "{partition}");
            }
            // What is sent again has to be the same.
            assert_eq!(regroup(&frames, real).unwrap(), batches);
        }
    }

    #[test]
    fn a_batch_comes_apart_and_together() {
        let frame = frames(1, 5, 3).remove(0);
        let records = unpack(&frame.batch).unwrap();
        assert_eq!(records.len(), 5);
        for codec in [Codec::None, Codec::Zstd] {
            assert_eq!(unpack(&pack(&records, codec)).unwrap(), records);
        }
        let half = unpack(&pack(&records[..2], Codec::Zstd)).unwrap();
        assert_eq!(half, records[..2]);
        assert_eq!(unpack(&pack(&[records[0].clone().at(9)], Codec::None)).unwrap()[0].ts_ms, 9);
    }
}
