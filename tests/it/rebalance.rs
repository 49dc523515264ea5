//! Partitions that a member of the group loses while they are paused, and gets back, are read on. librdkafka keeps the
//! pause of a partition that is not assigned any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_models::topic::TopicNames;
use weir_sink::consume::kafka::{KafkaConsumer, Reading};
use weir_sink::consume::{Consumer, Polled};
use weir_sink::status::Status;
use weir_tests::{services, unique};

const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
/// In each partition, about: more than may wait.
const RECORDS: usize = 3_000;

/// A member, and what it was given.
struct Member {
    consumer: KafkaConsumer,
    /// Times that a partition became its own, less the times that it was taken away.
    owned: i32,
    /// Records by partition.
    read: BTreeMap<i32, usize>,
}

impl Member {
    fn join(prefix: &str) -> Self {
        let brokers = services::kafka().bootstrap.clone();
        let settings = [("bootstrap.servers", brokers), ("session.timeout.ms", "6000".into())];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        let (names, status) = (TopicNames::new(prefix), Status::new());
        let consumer = KafkaConsumer::start(&settings, prefix, &names, status, Reading::HOOK);
        Self { consumer: consumer.unwrap(), owned: 0, read: BTreeMap::new() }
    }

    /// Takes what there is, at most `max` records.
    async fn poll(&mut self, max: usize) {
        for change in self.consumer.poll(max, Duration::from_millis(50)).await.unwrap() {
            match change {
                Polled::Assigned(..) => self.owned += 1,
                Polled::Revoked(partitions, done) => {
                    self.owned -= partitions.len() as i32;
                    done.send(()).unwrap();
                }
                Polled::Records(records) => {
                    for record in records {
                        *self.read.entry(record.partition.number).or_default() += 1;
                    }
                }
            }
        }
    }
}

/// Polls both until something holds.
#[track_caller]
fn until(what: &str, members: &[&Member], begun: Instant) {
    let seen: Vec<_> = members.iter().map(|member| (member.owned, &member.read)).collect();
    assert!(begun.elapsed() < SOON, "{what}: not after {SOON:?}; owned and read: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_while_it_was_paused_is_read_when_it_comes_back() {
    let (kafka, prefix) = (services::kafka(), format!("{}.", unique("rebalance")));
    let topic = format!("{prefix}alerts");
    kafka.create_topic(&topic, PARTITIONS);
    // Keys that go to all partitions.
    let records: Vec<_> = (0..RECORDS * PARTITIONS as usize)
        .map(|n| (format!("k{}", n % 64), n.to_string()))
        .collect();
    kafka.send(&topic, &records);
    let mut first = Member::join(&prefix);
    let begun = Instant::now();
    while first.owned < PARTITIONS {
        first.poll(0).await;
        until("the first has all", &[&first], begun);
    }
    // Nobody takes what waits, so that all of it is paused.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut second = Member::join(&prefix);
    let begun = Instant::now();
    while first.owned > PARTITIONS / 2 || second.owned < PARTITIONS / 2 {
        first.poll(0).await;
        second.poll(0).await;
        until("half of it goes to the second", &[&first, &second], begun);
    }
    // What waits is taken, so that what is left is paused no more.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        first.poll(10_000).await;
    }
    drop(second);
    let begun = Instant::now();
    let total = kafka.count(&topic) as usize;
    while first.owned < PARTITIONS || first.read.values().sum::<usize>() < total {
        first.poll(10_000).await;
        until("the first has all again, and reads it", &[&first], begun);
    }
}
