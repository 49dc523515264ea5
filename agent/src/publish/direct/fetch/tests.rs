use super::super::inflate::tests::batch;
use super::*;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};

const TRANSACTIONAL: u8 = 1 << 4;
const CONTROL: u8 = 1 << 5;

/// A batch as a broker has it.
fn stored(offset: i64, records: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut batch = batch(records);
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch
}

fn with_crc(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// The same batch, of a producer in a transaction.
fn of_transaction(mut batch: Vec<u8>, producer: i64, bits: u8) -> Vec<u8> {
    batch[22] |= TRANSACTIONAL | bits;
    batch[43..51].copy_from_slice(&producer.to_be_bytes());
    with_crc(batch)
}

/// The same batch, compacted: its records end before its offsets do.
fn reaching(mut batch: Vec<u8>, last_offset_delta: i32) -> Vec<u8> {
    batch[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    with_crc(batch)
}

fn empty(offset: i64, last_offset_delta: i32) -> Vec<u8> {
    let mut batch = reaching(stored(offset, &[("gone", None)]), last_offset_delta);
    batch.truncate(BATCH_HEADER_BYTES);
    batch[8..12].copy_from_slice(&(BATCH_HEADER_BYTES as u32 - 12).to_be_bytes());
    batch[57..61].fill(0);
    with_crc(batch)
}

fn answer(batches: &[Vec<u8>], end: i64) -> PartitionData {
    PartitionData::default()
        .with_records(Some(batches.concat().into()))
        .with_high_watermark(end)
        .with_last_stable_offset(end)
}

fn at(offset: i64) -> Place {
    Place { partition: 0, next: Some(offset), is_behind: true }
}

/// What is told of an answer, as `key=value` or `key-`, and where it goes on.
async fn taken(data: &PartitionData, place: &mut Place) -> (Result<bool, FetchError>, String) {
    let (sender, mut receiver) = mpsc::channel(100);
    let result = take(data, place, &sender).await;
    drop(sender);
    let mut told = Vec::new();
    while let Some(change) = receiver.recv().await {
        let Followed::Record { key, value } = change else { panic!("in step") };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        told.push(match value {
            Some(value) => format!("{}={}", text(&key), text(&value)),
            None => format!("{}-", text(&key)),
        });
    }
    (result, told.join(" "))
}

async fn check(batches: &[Vec<u8>], from: i64, expected: &str, next: i64) {
    let mut place = at(from);
    let (result, told) = taken(&answer(batches, next), &mut place).await;
    assert_eq!((result, told.as_str()), (Ok(next > from), expected));
    assert_eq!(place, Place { partition: 0, next: Some(next), is_behind: false });
}

#[tokio::test]
async fn records_are_told_and_the_place_moves_on() {
    let first = stored(0, &[("a", Some("1")), ("b", Some("2"))]);
    let second = stored(2, &[("a", None)]);
    check(&[first.clone(), second.clone()], 0, "a=1 b=2 a-", 3).await;
    // In the middle of a batch.
    check(&[first.clone(), second.clone()], 1, "b=2 a-", 3).await;
    // A broker may begin before what was asked for.
    check(&[first, second], 2, "a-", 3).await;
    check(&[], 3, "", 3).await;
}

#[tokio::test]
async fn holes_and_empty_batches_are_passed() {
    let hole = stored(10, &[("a", Some("1"))]);
    check(std::slice::from_ref(&hole), 0, "a=1", 11).await;
    let compacted = reaching(hole, 7);
    check(&[compacted, empty(18, 4)], 0, "a=1", 23).await;
}

#[tokio::test]
async fn a_piece_of_a_batch_at_the_end_is_read_next_time() {
    let first = stored(0, &[("a", Some("1"))]);
    let mut data = answer(&[first, stored(1, &[("b", Some("2"))])], 2);
    let records = data.records.take().unwrap();
    data.records = Some(records.slice(..records.len() - 3));
    let mut place = at(0);
    let (result, told) = taken(&data, &mut place).await;
    assert_eq!((result, told.as_str()), (Ok(true), "a=1"));
    assert_eq!(place, Place { partition: 0, next: Some(1), is_behind: true });
}

#[tokio::test]
async fn what_cannot_be_read_is_passed() {
    let last = stored(5, &[("z", Some("9"))]);
    let mut flipped = stored(0, &[("a", Some("1")), ("b", Some("2"))]);
    *flipped.last_mut().unwrap() ^= 1;
    check(&[flipped, last.clone()], 0, "z=9", 6).await;
    // Kafka before 0.11: offset, length, CRC, magic 1.
    let mut old = 3i64.to_be_bytes().to_vec();
    old.extend_from_slice(&60u32.to_be_bytes());
    old.extend_from_slice(&[0; 60]);
    old[16] = 1;
    check(&[old, last.clone()], 0, "z=9", 6).await;
    // Whole, but with a codec that nobody knows.
    let mut unknown = stored(0, &[("a", Some("1"))]);
    unknown[22] |= 6;
    check(&[with_crc(unknown), last], 0, "z=9", 6).await;
    // No batches at all.
    let mut place = at(0);
    let (result, _) = taken(&answer(&[vec![0xff; 200]], 5), &mut place).await;
    assert!(matches!(result, Err(FetchError::Nonsense(_))), "{result:?}");
}

#[tokio::test]
async fn transactions_that_were_given_up_are_left_out() {
    let before = of_transaction(stored(0, &[("a", Some("0"))]), 7, 0);
    let given_up = of_transaction(stored(1, &[("a", Some("1"))]), 7, 0);
    let plain = stored(2, &[("b", Some("2"))]);
    let control = |offset: i64, kind: &str| {
        let marker = stored(offset, &[(&format!("\0\0\0{kind}"), Some("v"))]);
        of_transaction(marker, 7, CONTROL)
    };
    let (abort, commit) = (control(3, "\0"), control(5, "\u{1}"));
    let after = of_transaction(stored(4, &[("a", Some("4"))]), 7, 0);
    let aborted =
        AbortedTransaction::default().with_producer_id(ProducerId(7)).with_first_offset(1);
    let data = answer(&[before, given_up, plain, abort, after, commit], 6)
        .with_aborted_transactions(Some(vec![aborted]));
    let mut place = at(0);
    let (result, told) = taken(&data, &mut place).await;
    assert_eq!((result, told.as_str()), (Ok(true), "a=0 b=2 a=4"));
    assert_eq!(place.next, Some(6));
}

#[tokio::test]
async fn a_place_that_is_gone_is_read_from_the_start() {
    let mut place = at(50);
    let data = PartitionData::default().with_error_code(OFFSET_OUT_OF_RANGE);
    assert_eq!(taken(&data, &mut place).await.0, Ok(false));
    assert_eq!(place, Place::start(0));

    let other = PartitionData::default().with_error_code(6);
    let mut place = at(50);
    assert_eq!(taken(&other, &mut place).await.0, Err(FetchError::Code(6)));
    assert_eq!(place, at(50));
}

#[tokio::test]
async fn nobody_who_listens_ends_it() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let data = answer(&[stored(0, &[("a", Some("1"))])], 1);
    assert_eq!(take(&data, &mut at(0), &sender).await, Err(FetchError::Unheard));
}

#[test]
fn the_starts_of_all_partitions_have_to_be_known() {
    let answer = |partitions: &[(i32, i64, i16)]| {
        let one = |(index, offset, code): &(i32, i64, i16)| {
            let partition = ListOffsetsPartitionResponse::default();
            partition.with_partition_index(*index).with_offset(*offset).with_error_code(*code)
        };
        let partitions = partitions.iter().map(one).collect();
        let topic = ListOffsetsTopicResponse::default().with_partitions(partitions);
        ListOffsetsResponse::default().with_topics(vec![topic])
    };
    let mut places = [at(9), Place::start(1), Place::start(2)];
    let topic = TopicName("t".into());
    let asked = &ask_starts(&topic, &places).topics[0].partitions;
    assert_eq!(asked.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [1, 2]);
    assert!(take_starts(&answer(&[(1, 5, 0)]), &mut places).is_err());
    assert_eq!(take_starts(&answer(&[(2, 0, 6)]), &mut places), Err(FetchError::Code(6)));
    assert_eq!(take_starts(&answer(&[(0, 1, 0), (2, 3, 0)]), &mut places), Ok(()));
    assert_eq!(places.map(|place| place.next), [Some(9), Some(5), Some(3)]);
}

#[test]
fn a_leader_waits_for_news_only_when_there_is_nothing_left() {
    let topic = TopicName("t".into());
    let (behind, mut in_step) = (at(1), at(2));
    in_step.is_behind = false;
    assert_eq!(ask(&topic, &[in_step.clone(), behind]).max_wait_ms, 0);
    assert_eq!(ask(&topic, &[in_step]).max_wait_ms, WAIT_MS);
}
