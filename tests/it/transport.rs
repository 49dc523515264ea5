//! One suite for every line between agent and sink: the embedded broker, and our own client and
//! librdkafka with a real Kafka. Groups come out of a real spool; what arrived is read by the sink's consumer of the same
//! line, up to a mark that is sent after it, so that what is too much shows as well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use weir_agent::publish::{Followed, PublishError};
use weir_agent::spool::{Group, Lane, LaneReader, Spool, SpoolConfig, Strand};
use weir_models::topic::Topic;
use weir_models::wire::partition_for;
use weir_sink::consume::{Committed, Partition, Record};
use weir_tests::temp_dir;

mod ends;

use ends::{Carrier, Client};

const SOON: Duration = Duration::from_secs(30);
/// How the value of a mark begins.
const MARK: &str = "mark ";
/// Partitions of the data topics, on any line that is not asked for another number.
const PARTITIONS: u32 = 4;
/// The strand that publishes.
const STRAND: Strand = Strand { lane: Lane::Readings, number: 0 };

/// Stamp, key and value of a record.
type Sent = (i64, String, Vec<u8>);

/// A spool with the records that went into it, in order.
struct Filled {
    folder: TempDir,
    sent: Vec<Sent>,
}

impl Filled {
    /// One group for each `Vec` of values. Keys repeat, so that there is an order to keep.
    fn new(topic: &Arc<str>, groups: &[Vec<Vec<u8>>]) -> Self {
        let folder = temp_dir("spool");
        let mut sent = Vec::new();
        // Kafka deletes what is older than it is to keep.
        let now_ms = weir_models::time::now_us() / 1_000;
        let (mut spool, _) = open_spool(folder.path().into());
        for values in groups {
            for value in values {
                let n = sent.len() as i64;
                let (ts_ms, key) = (now_ms + n * 17, format!("plant/pump-{}", n % 23));
                spool.append(Lane::Readings, topic, PARTITIONS, key.as_bytes(), ts_ms, |_, out| {
                    out.extend_from_slice(value);
                });
                sent.push((ts_ms, key, value.clone()));
            }
            spool.flush().unwrap();
        }
        spool.close().unwrap();
        Self { folder, sent }
    }

    /// All groups, read by a spool that was opened anew.
    fn groups(&self) -> Vec<Group> {
        let (_spool, mut reader) = open_spool(self.folder.path().into());
        std::iter::from_fn(|| reader.next_group().unwrap()).collect()
    }

    /// The records that belong into a partition, in order.
    fn of_partition(&self, partition: i32, partitions: u32) -> Vec<Sent> {
        let belongs =
            |(_, key, _): &&Sent| partition_for(key.as_bytes(), partitions) == partition as u32;
        self.sent.iter().filter(belongs).cloned().collect()
    }
}

fn open_spool(folder: PathBuf) -> (Spool, LaneReader) {
    let (spool, readers) = Spool::open(&folder, &SpoolConfig::default()).unwrap();
    let reader = readers.into_iter().find(|reader| reader.lane() == Lane::Readings).unwrap();
    (spool, reader)
}

/// Groups of so many small records.
fn small(groups: &[usize]) -> Vec<Vec<Vec<u8>>> {
    let value = |group: usize, n: usize| {
        json!({"group": group, "seq": group * 100_000 + n + 1, "v": "µ"}).to_string()
    };
    let values = |(group, count): (usize, &usize)| {
        (0..*count).map(|n| value(group, n).into_bytes()).collect()
    };
    groups.iter().enumerate().map(values).collect()
}

fn plain(records: &[Record]) -> Vec<Sent> {
    let text = |record: &Record| String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
    let value = |record: &Record| record.value.clone().unwrap().to_vec();
    records.iter().map(|record| (record.ts_ms, text(record), value(record))).collect()
}

/// What was published arrives whole, in order, where every Kafka client looks for it; what is sent
/// again after a restart comes again, in order, and nothing else does.
async fn groups_arrive_in_order(carrier: Carrier) {
    let topic = carrier.names().name(Topic::Readings).clone();
    let filled = Filled::new(&topic, &small(&[1, 700, 2_500]));
    let mut ends = carrier.open().await;
    let groups = filled.groups();
    assert_eq!(groups.len(), 3);
    assert!(ends.publish(&groups).await.iter().all(Vec::is_empty));
    let arrived = ends.arrived(Topic::Readings).await;
    assert_eq!(arrived.len(), PARTITIONS as usize);
    for (number, records) in &arrived {
        assert_eq!(plain(records), filled.of_partition(*number, PARTITIONS), "partition {number}");
        let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>());
    }
    assert!(ends.assigned.values().all(Option::is_none), "nobody has committed");
    let known = async {
        while ends.line.transport.partitions(&topic) != Some(PARTITIONS) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, known).await.expect("the number of partitions");
    drop(ends);

    let mut ends = carrier.open().await;
    assert!(ends.publish(&filled.groups()[1..]).await.iter().all(Vec::is_empty));
    for (number, records) in ends.arrived(Topic::Readings).await {
        let once = filled.of_partition(number, PARTITIONS);
        let again = once.iter().filter(|sent| **sent != filled.sent[0]);
        let expected: Vec<Sent> = once.iter().chain(again).cloned().collect();
        assert_eq!(plain(&records), expected, "partition {number}");
    }
}

/// A commit with its note outlives the line: reading goes on exactly there. What was never committed
/// is read from its beginning.
async fn reading_goes_on_at_the_commit(carrier: Carrier) {
    let filled = Filled::new(carrier.names().name(Topic::Readings), &small(&[600, 600]));
    let mut ends = carrier.open().await;
    ends.publish(&filled.groups()).await;
    let arrived = ends.arrived(Topic::Readings).await;
    // In the middle of a batch, one after its end, and two not at all.
    let at = |number: u32| Partition { topic: Topic::Readings, number: number as i32 };
    let end = arrived[&1].len() as i64;
    let note = json!({"stream": "00ff", "seq": 17, "text": "µ \"quoted\""}).to_string();
    let commits = [
        (at(0), Committed { offset: 5, note: "an older one".into() }),
        (at(0), Committed { offset: 7, note: note.clone() }),
        (at(1), Committed { offset: end, note: String::new() }),
    ];
    for commit in &commits {
        ends.commit(commit).await;
    }
    drop(ends);

    let mut ends = carrier.open().await;
    let arrived_again = ends.arrived(Topic::Readings).await;
    assert_eq!(ends.assigned[&at(0)], Some(commits[1].1.clone()));
    assert_eq!(ends.assigned[&at(1)], Some(commits[2].1.clone()));
    assert_eq!((&ends.assigned[&at(2)], &ends.assigned[&at(3)]), (&None, &None));
    assert_eq!(arrived_again[&0], arrived[&0][7..]);
    assert_eq!(arrived_again.get(&1), None, "all of it was committed");
    assert_eq!((&arrived_again[&2], &arrived_again[&3]), (&arrived[&2], &arrived[&3]));
}

/// Changes by key, in order, until the follower is in step.
async fn told(followed: &mut Receiver<Followed>, told: &mut BTreeMap<String, Vec<Option<String>>>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    loop {
        match timeout(SOON, followed.recv()).await.expect("a change or in step").unwrap() {
            Followed::InStep => return,
            Followed::Record { key, value } => {
                told.entry(text(&key)).or_default().push(value.map(|value| text(&value)));
            }
        }
    }
}

/// Who follows a compacted topic is told what is there, that this is all, and then each change and
/// each deletion, by whichever side they are made.
async fn a_compacted_topic_is_followed(carrier: Carrier) {
    let ends = carrier.open().await;
    let (transport, producer) = (&ends.line.transport, &ends.line.producer);
    let name = ends.names.name(Topic::Metadata);
    let mut followed = transport.follow(name);
    let mut seen = BTreeMap::new();
    told(&mut followed, &mut seen).await;
    assert!(seen.is_empty(), "{seen:?}");

    for (key, value) in [("plant/a", "1"), ("plant/b", "2"), ("plant/a", "3"), ("plant/ä", "4")] {
        transport.send(name, key.as_bytes(), value.as_bytes()).await.unwrap();
    }
    let some = |values: &[&str]| values.iter().map(|v| Some((*v).into())).collect::<Vec<_>>();
    let mut expected = BTreeMap::from([
        ("plant/a".into(), some(&["1", "3"])),
        ("plant/b".into(), some(&["2"])),
        ("plant/ä".into(), some(&["4"])),
    ]);
    let until = async |followed: &mut _, seen: &mut BTreeMap<_, _>, expected: &BTreeMap<_, _>| {
        // In step is told again and again: the changes come before one of the next.
        for _ in 0..20 {
            told(followed, seen).await;
            if seen == expected {
                return;
            }
        }
        assert_eq!(seen, expected);
    };
    until(&mut followed, &mut seen, &expected).await;

    // Who comes later is told all of it before the first "in step".
    let mut later = transport.follow(name);
    let mut seen_later = BTreeMap::new();
    told(&mut later, &mut seen_later).await;
    assert_eq!(seen_later, expected);

    producer.send(Topic::Metadata, b"plant/b", None, &[]).await.unwrap();
    producer.send(Topic::Metadata, b"plant/a", Some(b"5"), &[("h", b"x")]).await.unwrap();
    expected.get_mut("plant/b").unwrap().push(None);
    expected.get_mut("plant/a").unwrap().push(Some("5".into()));
    until(&mut followed, &mut seen, &expected).await;
    until(&mut later, &mut seen_later, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_groups_arrive_in_order() {
    groups_arrive_in_order(Carrier::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_groups_arrive_in_order() {
    groups_arrive_in_order(Carrier::direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafka_groups_arrive_in_order() {
    groups_arrive_in_order(Carrier::librdkafka()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_reading_goes_on_at_the_commit() {
    reading_goes_on_at_the_commit(Carrier::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_reading_goes_on_at_the_commit() {
    reading_goes_on_at_the_commit(Carrier::direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_compacted_topic_is_followed() {
    a_compacted_topic_is_followed(Carrier::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_followed_directly() {
    a_compacted_topic_is_followed(Carrier::direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_followed_by_librdkafka() {
    a_compacted_topic_is_followed(Carrier::librdkafka()).await;
}

/// Two megabytes that do not compress below the limit of a broker, which is one.
fn large() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state % 90) as u8
    };
    (0..2_000_000).map(|_| next()).collect()
}

/// A record that will never be taken is told, and holds up nothing: the others of its group and the
/// groups behind it arrive, and none of them for the first time after a later one of its partition.
async fn too_large_is_refused(carrier: Carrier) {
    let topic = carrier.names().name(Topic::Readings).clone();
    let mut values = small(&[40, 40, 40]);
    values[1][17] = large();
    let filled = Filled::new(&topic, &values);
    let bad = filled.sent[40 + 17].clone();
    let mut ends = carrier.open().await;
    let groups = filled.groups();
    assert_eq!(ends.publish(&groups[..1]).await, [vec![]]);
    let refused = ends.publish(&groups[1..]).await.concat();
    let [refused] = &refused[..] else { panic!("{} were refused", refused.len()) };
    assert_eq!(refused.topic, topic);
    assert_eq!((&refused.key[..], &refused.value[..]), (bad.1.as_bytes(), &bad.2[..]));
    assert!(!refused.reason.is_empty());
    let before = ends.epochs[0];
    assert_ne!(ends.epochs.last(), Some(&before), "something has failed");
    let stale = ends.line.transport.publish(STRAND, before, Arc::new(groups[0].clone())).await;
    assert!(matches!(stale, Err(PublishError::Failed(_))), "a group of an old epoch is taken");

    for (number, records) in ends.arrived(Topic::Readings).await {
        // The sink drops what repeats: what is left has to be everything, in order.
        let mut first_seen = Vec::new();
        for sent in plain(&records) {
            if !first_seen.contains(&sent) {
                first_seen.push(sent);
            }
        }
        let mut expected = filled.of_partition(number, PARTITIONS);
        expected.retain(|sent| *sent != bad);
        assert_eq!(first_seen, expected, "partition {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_for_the_broker_directly() {
    too_large_is_refused(Carrier::direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_for_librdkafka() {
    too_large_is_refused(Carrier::librdkafka()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_for_the_broker_by_librdkafka() {
    let settings = [("message.max.bytes".to_owned(), "10000000".to_owned())];
    let client = Client::Librdkafka(settings.into());
    too_large_is_refused(Carrier::kafka(client, PARTITIONS)).await;
}

/// The spool reckoned with another number of partitions than the topic has: every record comes
/// where every Kafka client looks for it all the same, once and in order.
async fn another_number_of_partitions(by: Client, partitions: u32) {
    let carrier = Carrier::kafka(by, partitions);
    let topic = carrier.names().name(Topic::Readings).clone();
    let filled = Filled::new(&topic, &small(&[300, 5_000, 1, 700]));
    let mut ends = carrier.open().await;
    assert!(ends.publish(&filled.groups()).await.iter().all(Vec::is_empty));
    let arrived = ends.arrived(Topic::Readings).await;
    for number in 0..partitions as i32 {
        let found = arrived.get(&number).map(|records| plain(records)).unwrap_or_default();
        assert_eq!(found, filled.of_partition(number, partitions), "partition {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_partitions_directly() {
    another_number_of_partitions(Client::Direct, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_partitions_directly() {
    another_number_of_partitions(Client::Direct, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_partitions_by_librdkafka() {
    another_number_of_partitions(Client::Librdkafka(BTreeMap::new()), 3).await;
}

/// An agent is killed after Kafka took more than its checkpoint tells of, so much more that the broker
/// does not remember the first of it; it is started again and sends all of that again. The topic
/// holds every record once.
async fn a_killed_lane_sends_nothing_twice(partitions: u32) {
    let carrier = Carrier::kafka(Client::Direct, partitions);
    let topic = carrier.names().name(Topic::Readings).clone();
    // More than five batches for a partition behind the checkpoint.
    let filled = Filled::new(&topic, &small(&[50, 9_000, 9_000, 9_000, 100, 3_000]));
    let groups = filled.groups();
    let mut ends = carrier.open().await;
    ends.publish(&groups[..1]).await;
    let checkpoint = ends.state.clone();
    ends.publish(&groups[1..5]).await;
    drop(ends);

    let mut ends = carrier.open().await;
    ends.state = checkpoint;
    ends.publish(&groups[1..]).await;
    let arrived = ends.arrived(Topic::Readings).await;
    for number in 0..partitions as i32 {
        let found = arrived.get(&number).map(|records| plain(records)).unwrap_or_default();
        assert_eq!(found, filled.of_partition(number, partitions), "partition {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_lane_sends_again_is_recognised() {
    a_killed_lane_sends_nothing_twice(PARTITIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_lane_packs_again_is_recognised() {
    a_killed_lane_sends_nothing_twice(3).await;
}
