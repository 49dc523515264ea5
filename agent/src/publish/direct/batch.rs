//! A group as batches for real partitions.
//!
//! In: a group of the spool and the number of partitions each of its topics has. Out: batches in the
//! order in which they have to go. Frames that were reckoned with the same number go as they are, without
//! a look at their records; the others are taken apart ([`super::regroup`]).
//!
//! Why it is sound: groups follow each other in `seq`, and so do the frames of a group that are of one
//! topic and partition, unless some of its events may be dropped and others not: frames that go as
//! they are keep the order that the sink asks for. As soon as one frame of a topic was reckoned with
//! another number, or begins before the one before it in its partition has ended, all frames of
//! this topic in the group are sorted by `seq` and packed anew for the real number.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_models::wire::WireError;

use super::regroup::regroup;
use crate::spool::{Frame, Group};

/// One record batch for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    /// Records in it.
    pub(super) records: u32,
    /// As in the spool: not stamped yet.
    pub(super) bytes: Bytes,
}

/// The number of partitions of each topic.
pub(super) type Counts = BTreeMap<Arc<str>, u32>;

/// The batches of `group`.
///
/// # Errors
/// When a batch that has to be taken apart cannot be read.
pub(super) fn arrange(group: &Group, counts: &Counts) -> Result<Vec<Batch>, WireError> {
    let mut batches = Vec::with_capacity(group.frames.len());
    for (topic, count) in counts {
        let frames = || group.frames.iter().filter(|frame| frame.topic == *topic);
        if may_go(frames(), *count) {
            batches.extend(frames().map(|frame| Batch {
                topic: topic.clone(),
                partition: frame.partition,
                records: frame.records,
                bytes: frame.batch.clone(),
            }));
        } else {
            let frames: Vec<Frame> = frames().cloned().collect();
            batches.extend(regroup(&frames, *count)?);
        }
    }
    Ok(batches)
}

/// Whether [`arrange`] has to take something apart, which takes a while.
pub(super) fn is_to_regroup(group: &Group, counts: &Counts) -> bool {
    let frames = || group.frames.iter();
    frames().any(|frame| !counts.contains_key(&frame.topic))
        || counts
            .iter()
            .any(|(topic, count)| !may_go(frames().filter(|frame| frame.topic == *topic), *count))
}

/// Whether the frames of a topic go as they are: reckoned with the real number of partitions, and in
/// the order of `seq` in each of them.
fn may_go<'a>(mut frames: impl Iterator<Item = &'a Frame>, count: u32) -> bool {
    let mut ends = vec![0; count as usize];
    frames.all(|frame| {
        let Some(end) = ends.get_mut(frame.partition as usize) else { return false };
        let follows = frame.first_seq > *end;
        *end = frame.last_seq;
        follows && frame.partitions == count
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::regroup::unpack;
    use super::*;
    use crate::spool::{Lane, Spool, SpoolConfig, WhenFull};

    fn group(reckoned: &[(&str, u32)]) -> Group {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, [.., mut reader]) =
            Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
        for n in 0..60 {
            for (topic, partitions) in reckoned {
                let (topic, key) = (Arc::from(*topic), format!("key {n}"));
                spool.append(Lane::Rest, &topic, *partitions, key.as_bytes(), 1, |id, out| {
                    out.extend_from_slice(format!("{{\"seq\":{}}}", id.seq).as_bytes());
                });
            }
        }
        spool.flush().unwrap();
        reader.next_group().unwrap().unwrap()
    }

    #[test]
    fn frames_go_as_they_are_where_the_number_of_partitions_is_right() {
        let group = group(&[("a", 4), ("b", 3)]);
        let counts = |a, b| Counts::from([("a".into(), a), ("b".into(), b)]);
        let untouched = |topic: &str, batches: &[Batch]| {
            let frames = group.frames.iter().filter(|frame| &*frame.topic == topic);
            let of_topic = batches.iter().filter(|batch| &*batch.topic == topic);
            frames.map(|frame| &frame.batch).eq(of_topic.map(|batch| &batch.bytes))
        };
        let check = |a, b, a_untouched, b_untouched| {
            let batches = arrange(&group, &counts(a, b)).unwrap();
            assert_eq!(batches.iter().map(|batch| batch.records).sum::<u32>(), 120);
            assert_eq!(
                (untouched("a", &batches), untouched("b", &batches)),
                (a_untouched, b_untouched)
            );
            assert_eq!(is_to_regroup(&group, &counts(a, b)), !(a_untouched && b_untouched));
        };
        check(4, 3, true, true);
        check(5, 3, false, true);
        check(4, 2, true, false);
        check(12, 12, false, false);
    }

    #[test]
    fn events_that_may_be_dropped_and_others_meet_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, [.., mut reader]) =
            Spool::open(dir.path(), &SpoolConfig::default()).unwrap();
        for n in 0..20 {
            spool.set_when_full(if n % 2 == 0 { WhenFull::Block } else { WhenFull::DropLowest });
            spool.append(Lane::Rest, &"a".into(), 1, b"key", 1, |id, out| {
                out.extend_from_slice(format!("{{\"seq\":{}}}", id.seq).as_bytes());
            });
        }
        spool.flush().unwrap();
        let group = reader.next_group().unwrap().unwrap();
        let batches = arrange(&group, &Counts::from([("a".into(), 1)])).unwrap();
        let records = batches.iter().flat_map(|batch| unpack(&batch.bytes).unwrap());
        let numbers: Vec<_> = records.map(|record| record.seq()).collect();
        assert_eq!(numbers, (1..=20).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn frames_of_two_numbers_of_partitions_meet_in_order() {
        // The number became known between two events of one group.
        let group = group(&[("a", 6), ("a", 4)]);
        assert!(group.frames.iter().any(|frame| frame.partitions == 6));
        assert!(group.frames.iter().any(|frame| frame.partitions == 4));
        let batches = arrange(&group, &Counts::from([("a".into(), 4)])).unwrap();
        assert_eq!(batches.iter().map(|batch| batch.records).sum::<u32>(), 120);
        assert!(batches.iter().all(|batch| batch.partition < 4));
    }
}
