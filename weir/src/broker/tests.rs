#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;

use bytes::Bytes;
use tempfile::TempDir;
use weir_agent::publish::{Followed, Transport};
use weir_sink::consume::{Committed, Consumer, Partition as Place, Polled, Producer, Record};

use super::*;

const WAIT: Duration = Duration::from_secs(20);

fn open(folder: &TempDir) -> Arc<Broker> {
    Broker::open(folder.path(), TopicNames::default()).unwrap()
}

/// Closes the broker: the task that syncs holds it for a moment now and then.
async fn close(broker: Arc<Broker>) {
    let weak = Arc::downgrade(&broker);
    drop(broker);
    let gone = async {
        while weak.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WAIT, gone).await.unwrap();
}

async fn send(broker: &Arc<Broker>, topic: Topic, key: &str, value: &str) {
    let embedded = Embedded(broker.clone());
    Producer::send(&embedded, topic, key.as_bytes(), Some(value.as_bytes()), &[]).await.unwrap();
}

/// All that a new member of the group is given now: its assignment and the records.
async fn read(broker: &Arc<Broker>) -> (Vec<(Place, Option<Committed>)>, Vec<Record>) {
    let mut member = Member::new(broker.clone());
    let (mut assigned, mut records) = (Vec::new(), Vec::new());
    loop {
        let polled = member.poll(100, Duration::ZERO).await.unwrap();
        if polled.is_empty() {
            return (assigned, records);
        }
        for polled in polled {
            match polled {
                Polled::Assigned(place, committed) => assigned.push((place, committed)),
                Polled::Records(some) => records.extend(some),
                Polled::Revoked(..) => unreachable!("there is one member"),
            }
        }
    }
}

fn values(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
    records.iter().map(text).collect()
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

async fn commit(broker: &Arc<Broker>, place: Place, offset: i64, note: &str) {
    let committed = Committed { offset, note: note.into() };
    Member::new(broker.clone()).commit(&[(place, committed)]).await.unwrap();
}

/// What a new follower is told until it is in step.
async fn told(broker: &Arc<Broker>, topic: &str) -> Vec<(Bytes, Option<Bytes>)> {
    let mut followed = Embedded(broker.clone()).follow(topic);
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(WAIT, followed.recv()).await.unwrap().unwrap() {
            Followed::Record { key, value } => told.push((key, value)),
            Followed::InStep => return told,
        }
    }
}

/// The newest segment of a partition.
fn segment(folder: &TempDir, partition: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder.path().join("topics").join(partition)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).max().unwrap()
}

#[tokio::test]
async fn records_and_positions_are_there_after_opening_again() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    for n in 0..10 {
        send(&broker, Topic::Logs, "site/host", &n.to_string()).await;
    }
    let (assigned, records) = read(&broker).await;
    assert_eq!(assigned.len(), 3 * PARTITIONS as usize + 3, "all topics but the dead letters");
    assert!(assigned.iter().all(|(_, committed)| committed.is_none()));
    assert_eq!(offsets(&records), (0..10).collect::<Vec<_>>());
    let place = records[0].partition;
    commit(&broker, place, 4, "a note").await;
    close(broker).await;

    let broker = open(&folder);
    send(&broker, Topic::Logs, "site/host", "10").await;
    let (assigned, records) = read(&broker).await;
    let committed = assigned.iter().find(|(at, _)| *at == place).unwrap().1.clone();
    assert_eq!(committed, Some(Committed { offset: 4, note: "a note".into() }));
    assert_eq!(assigned.iter().filter(|(_, committed)| committed.is_some()).count(), 1);
    assert_eq!(offsets(&records), (4..11).collect::<Vec<_>>());
    assert_eq!(values(&records), ["4", "5", "6", "7", "8", "9", "10"]);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_written_over() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    for n in 0..3 {
        send(&broker, Topic::Agents, "gw", &n.to_string()).await;
    }
    close(broker).await;
    let path = segment(&folder, "agents-0");
    let bytes = std::fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes - 3).unwrap();

    let broker = open(&folder);
    send(&broker, Topic::Agents, "gw", "new").await;
    let (_, records) = read(&broker).await;
    assert_eq!(
        (values(&records), offsets(&records)),
        (["0", "1", "new"].map(Into::into).into(), vec![0, 1, 2])
    );
}

/// A log that was lost (a bad disk, a folder deleted by hand) must not leave the group waiting for
/// offsets that are long committed.
#[tokio::test]
async fn what_comes_after_a_lost_log_is_consumed() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    for n in 0..5 {
        send(&broker, Topic::Agents, "gw", &n.to_string()).await;
    }
    commit(&broker, Place { topic: Topic::Agents, number: 0 }, 5, "").await;
    close(broker).await;
    std::fs::remove_dir_all(folder.path().join("topics")).unwrap();

    let broker = open(&folder);
    send(&broker, Topic::Agents, "gw", "new").await;
    let (_, records) = read(&broker).await;
    assert_eq!((values(&records), offsets(&records)), (vec!["new".into()], vec![5]));
}

#[tokio::test]
async fn a_rewritten_topic_keeps_the_newest_record_of_each_key_and_deletions() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    let embedded = Embedded(broker.clone());
    let large = "x".repeat(100_000);
    for n in 0..20 {
        send(&broker, Topic::Metadata, "a", &format!("{n}{large}")).await;
    }
    send(&broker, Topic::Metadata, "b", "kept").await;
    send(&broker, Topic::Metadata, "c", "given up").await;
    Producer::send(&embedded, Topic::Metadata, b"c", None, &[]).await.unwrap();
    send(&broker, Topic::Metadata, "a", "newest").await;
    // More than two segments, so that there is something to give back.
    for _ in 0..170 {
        send(&broker, Topic::Metadata, "d", &large).await;
    }
    drop(embedded);
    close(broker).await;

    let broker = open(&folder);
    assert!(broker.disk_bytes() < SEGMENT_BYTES + (1 << 20), "{}", broker.disk_bytes());
    let mut newest = BTreeMap::new();
    for (key, value) in told(&broker, "weir.metadata").await {
        newest.insert(key, value);
    }
    let some = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let key = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let expected = BTreeMap::from([
        (key("a"), some("newest")),
        (key("b"), some("kept")),
        (key("c"), None),
        (key("d"), some(&large)),
    ]);
    assert_eq!(newest, expected);
}

/// A change that is written again is the same change: the history must not have it twice.
#[tokio::test]
async fn a_rewritten_record_keeps_its_time_author_and_place() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    let embedded = Embedded(broker.clone());
    let by: &[(&str, &[u8])] = &[("by", b"ann")];
    Producer::send(&embedded, Topic::Metadata, b"a", Some(b"1"), by).await.unwrap();
    Producer::send(&embedded, Topic::Metadata, b"b", None, by).await.unwrap();
    let (_, before) = read(&broker).await;
    let partition = broker.partition(Topic::Metadata, 0).unwrap();
    for round in 1..=2 {
        broker.rewrite(Topic::Metadata, partition).unwrap();
        let (_, records) = read(&broker).await;
        let again = &records[records.len() - 2..];
        for (record, before) in again.iter().zip(&before) {
            let expected = Record {
                offset: before.offset + 2 * round,
                again: Some(before.offset),
                ..before.clone()
            };
            assert_eq!(*record, expected);
        }
    }
}

/// Many live records are no reason to write them again and again.
#[tokio::test]
async fn a_topic_that_has_not_grown_is_not_rewritten() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    let large = "x".repeat(1 << 20);
    for n in 0..20 {
        send(&broker, Topic::Metadata, &n.to_string(), &large).await;
    }
    let partition = broker.partition(Topic::Metadata, 0).unwrap();
    broker.compact(Topic::Metadata).unwrap();
    let end = partition.lock().next_ordinal();
    assert!(end > 20, "it was rewritten once");
    broker.compact(Topic::Metadata).unwrap();
    assert_eq!(partition.lock().next_ordinal(), end);
    let mut newest = BTreeMap::new();
    newest.extend(told(&broker, "weir.metadata").await);
    assert_eq!(newest.len(), 20);
}

/// What comes while the topic is rewritten stays the newest of its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_a_rewriting_is_kept() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    for n in 0..2_000 {
        let key = format!("{n:04}");
        broker.append_record(Topic::Metadata, key.as_bytes(), Some(b"old"), &[]).unwrap();
    }
    let rewriting = broker.clone();
    let rewriting = std::thread::spawn(move || {
        let partition = rewriting.partition(Topic::Metadata, 0).unwrap();
        rewriting.rewrite(Topic::Metadata, partition).unwrap();
    });
    // The last keys first: they are written again last.
    for n in (0..2_000).rev() {
        let key = format!("{n:04}");
        broker.append_record(Topic::Metadata, key.as_bytes(), Some(b"new"), &[]).unwrap();
    }
    rewriting.join().unwrap();
    let mut newest = BTreeMap::new();
    newest.extend(told(&broker, "weir.metadata").await);
    assert!(newest.values().all(|value| value.as_deref() == Some(b"new".as_slice())));
}

#[tokio::test]
async fn what_is_committed_gives_its_space_back() {
    let folder = TempDir::new().unwrap();
    let broker = open(&folder);
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        send(&broker, Topic::Readings, "site/pump", &large).await;
    }
    let full = broker.disk_bytes();
    assert!(full > 20 << 20, "{full}");
    let (_, records) = read(&broker).await;
    assert_eq!(records.len(), 20);
    commit(&broker, records[0].partition, 10, "").await;
    assert!(broker.disk_bytes() < full - (6 << 20), "{}", broker.disk_bytes());
    let (_, records) = read(&broker).await;
    assert_eq!(offsets(&records), (10..20).collect::<Vec<_>>(), "what is not committed stays");
    commit(&broker, records[0].partition, 20, "").await;
    assert!(broker.disk_bytes() <= SEGMENT_BYTES, "{}", broker.disk_bytes());
    assert_eq!(read(&broker).await.1, []);
}
