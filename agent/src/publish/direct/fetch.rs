//! Asks a leader for the records of some partitions, and reads its answers.
//!
//! In: where each partition is read ([`Place`]). Out: requests, and the changes that answers hold.
//! Promises: a partition goes on where its last batch ended, also over holes, empty batches and batches
//! that cannot be read (each is told in the log); records of transactions that were given up
//! are left out; memory is bounded by one answer and one decompressed batch.

use std::collections::HashSet;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use tokio::sync::mpsc;
use weir_models::wire::{BATCH_HEADER_BYTES, BatchView, WireError};

use super::inflate;
use crate::publish::Followed;

/// Newest versions for which this was written.
pub(super) const FETCH_VERSION: i16 = 12;
pub(super) const LIST_OFFSETS_VERSION: i16 = 7;

/// How long a leader waits for something new; so often we are told that we are still in step.
const WAIT_MS: i32 = 5_000;
const ANSWER_BYTES: i32 = 1 << 20;
/// Of one partition; a batch that is larger comes alone.
const PARTITION_BYTES: i32 = 512 << 10;
/// A decompressed batch; producers make them of about 1 MiB at most.
const RAW_BYTES_MAX: usize = 8 << 20;
/// Records of transactions only once these have ended well.
const READ_COMMITTED: i8 = 1;
/// "The first offset there is."
const EARLIEST: i64 = -2;
const OFFSET_OUT_OF_RANGE: i16 = 1;
/// Bit of a control record's type: the transaction has ended well.
const COMMIT: u8 = 1;

/// Where a partition is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    /// The next offset; none before the start is known.
    pub(super) next: Option<i64>,
    /// Whether there was more than we had read, as last heard.
    pub(super) is_behind: bool,
}

/// Why reading does not go on as it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// The broker refuses.
    #[error("the leader says {0}")]
    Code(i16),
    /// Nobody listens any more.
    #[error("nobody listens")]
    Unheard,
    /// An answer that makes no sense.
    #[error("the leader's answer {0}")]
    Nonsense(&'static str),
}

impl Place {
    /// At the start of a partition, wherever that is.
    pub(super) fn start(partition: i32) -> Self {
        Self { partition, next: None, is_behind: true }
    }
}

/// Asks where the partitions begin of which it is not known.
pub(super) fn ask_starts(topic: &TopicName, places: &[Place]) -> ListOffsetsRequest {
    let unknown = places.iter().filter(|place| place.next.is_none());
    let partitions = unknown.map(|place| {
        ListOffsetsPartition::default()
            .with_partition_index(place.partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(EARLIEST)
    });
    let topic =
        ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(READ_COMMITTED)
        .with_topics(vec![topic])
}

/// Takes the answer to [`ask_starts`].
pub(super) fn take_starts(
    answer: &ListOffsetsResponse,
    places: &mut [Place],
) -> Result<(), FetchError> {
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        if partition.error_code != 0 {
            return Err(FetchError::Code(partition.error_code));
        }
        let place = places.iter_mut().find(|place| place.partition == partition.partition_index);
        if let Some(place) = place.filter(|place| place.next.is_none()) {
            place.next = Some(partition.offset.max(0));
        }
    }
    let all_known = places.iter().all(|place| place.next.is_some());
    all_known.then_some(()).ok_or(FetchError::Nonsense("leaves partitions out"))
}

/// Asks for what comes next; waits for something new only when there was nothing left.
pub(super) fn ask(topic: &TopicName, places: &[Place]) -> FetchRequest {
    let is_behind = places.iter().any(|place| place.is_behind);
    let partitions = places.iter().map(|place| {
        FetchPartition::default()
            .with_partition(place.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(place.next.unwrap_or(0))
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(PARTITION_BYTES)
    });
    let topic =
        FetchTopic::default().with_topic(topic.clone()).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(if is_behind { 0 } else { WAIT_MS })
        .with_min_bytes(1)
        .with_max_bytes(ANSWER_BYTES)
        .with_isolation_level(READ_COMMITTED)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Tells what an answer has of one partition; answers whether we came further.
pub(super) async fn take(
    data: &PartitionData,
    place: &mut Place,
    told: &mpsc::Sender<Followed>,
) -> Result<bool, FetchError> {
    match data.error_code {
        0 => {}
        OFFSET_OUT_OF_RANGE => {
            // Cut off below us, or the topic is another one by now: all of it is new to us.
            *place = Place::start(place.partition);
            return Ok(false);
        }
        code => return Err(FetchError::Code(code)),
    }
    let before = place.next;
    let mut aborted = Aborted::new(data);
    let mut rest: &[u8] = data.records.as_ref().map_or(&[], |records| records);
    while !rest.is_empty() {
        let Some((next, after)) = take_batch(rest, place, &mut aborted, told).await? else { break };
        place.next = place.next.max(Some(next));
        rest = after;
    }
    let end =
        if data.last_stable_offset >= 0 { data.last_stable_offset } else { data.high_watermark };
    place.is_behind = place.next.is_none_or(|next| next < end);
    Ok(place.next != before)
}

/// Tells the first batch; answers the offset after it and the bytes after it. None when it is not all here.
async fn take_batch<'a>(
    bytes: &'a [u8],
    place: &Place,
    aborted: &mut Aborted,
    told: &mpsc::Sender<Followed>,
) -> Result<Option<(i64, &'a [u8])>, FetchError> {
    let from = place.next.unwrap_or(0);
    let (batch, after) = match BatchView::parse(bytes) {
        Ok(parsed) => parsed,
        Err(WireError::Short { .. }) => return Ok(None),
        Err(error) => {
            let skipped = skip(bytes, from)?;
            tracing::error!(%error, partition = place.partition, offset = from, "a batch cannot be read and is left out");
            return Ok(Some(skipped));
        }
    };
    let next =
        batch.base_offset().saturating_add(i64::from(batch.last_offset_delta())).saturating_add(1);
    if next <= from || aborted.holds(&batch) {
        return Ok(Some((next, after)));
    }
    if let Err(error) = tell(&batch, from, told).await {
        match error {
            TellError::Unheard => return Err(FetchError::Unheard),
            TellError::Unreadable(error) => {
                tracing::error!(%error, partition = place.partition, offset = from, "records cannot be read and are left out");
            }
        }
    }
    Ok(Some((next, after)))
}

enum TellError {
    Unheard,
    Unreadable(WireError),
}

async fn tell(
    batch: &BatchView<'_>,
    from: i64,
    told: &mpsc::Sender<Followed>,
) -> Result<(), TellError> {
    let records = inflate::records(batch, RAW_BYTES_MAX).map_err(TellError::Unreadable)?;
    for record in &records {
        let record = record.map_err(TellError::Unreadable)?;
        // A batch comes whole, also when we ask for the middle of it.
        if batch.base_offset().saturating_add(i64::from(record.offset_delta)) < from {
            continue;
        }
        let change = Followed::Record {
            key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
            value: record.value.map(Bytes::copy_from_slice),
        };
        told.send(change).await.map_err(|_| TellError::Unheard)?;
    }
    Ok(())
}

/// The offset and the bytes after a batch that cannot be read, as far as its header can be believed.
fn skip(bytes: &[u8], from: i64) -> Result<(i64, &[u8]), FetchError> {
    let at = |at: usize| bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    let impossible = FetchError::Nonsense("cannot be taken apart into batches");
    let (Some(base), Some(length)) = (bytes.first_chunk(), at(8)) else { return Err(impossible) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (batch, after) = bytes.split_at_checked(length.saturating_add(12)).ok_or(impossible)?;
    let base = i64::from_be_bytes(*base);
    let last = match batch {
        _ if batch.len() >= BATCH_HEADER_BYTES && batch[16] == 2 => {
            at(23).map_or(0, |delta| i64::from(i32::from_be_bytes(*delta)))
        }
        // Formats before Kafka 0.11 have the last offset where the first one is now.
        _ => 0,
    };
    Ok((base.saturating_add(last.max(0)).saturating_add(1).max(from + 1), after))
}

/// Which transactions of an answer were given up (KIP-98): the broker names producers and the offsets
/// from which on they count, and a control record ends each.
struct Aborted {
    coming: Vec<(i64, i64)>,
    producers: HashSet<i64>,
}

impl Aborted {
    fn new(data: &PartitionData) -> Self {
        let named = data.aborted_transactions.iter().flatten();
        let mut coming: Vec<_> =
            named.map(|aborted| (aborted.first_offset, aborted.producer_id.0)).collect();
        coming.sort_unstable();
        coming.reverse();
        Self { coming, producers: HashSet::new() }
    }

    /// Whether a batch holds nothing for us: of an aborted transaction, or a control record.
    fn holds(&mut self, batch: &BatchView<'_>) -> bool {
        while let Some((_, producer)) =
            self.coming.pop_if(|(first, _)| *first <= batch.base_offset())
        {
            self.producers.insert(producer);
        }
        if batch.is_control() {
            // Key of a control record: version and type, 16 bits each; 0 = abort.
            let is_abort = batch.records(BATCH_HEADER_BYTES + 64).is_ok_and(|records| {
                records.iter().flatten().any(|record| {
                    record.key.and_then(|key| key.get(3)).is_some_and(|kind| *kind != COMMIT)
                })
            });
            if is_abort {
                self.producers.remove(&batch.producer_id());
            }
            return true;
        }
        batch.is_transactional() && self.producers.contains(&batch.producer_id())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
