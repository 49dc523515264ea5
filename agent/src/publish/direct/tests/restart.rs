//! A killed agent starts again: what Kafka has already is recognised there, or begins anew.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::broker::{Act, Brokers};
use super::{Agent, SOON, TOPIC, as_the_sink, check_once};

/// Spools, is killed when Kafka has more than the checkpoint tells of, and starts again.
async fn killed_behind(acknowledged: u64, groups: &[usize]) -> (Brokers, Agent) {
    let brokers = Brokers::start(1, TOPIC, 2).await;
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(20);
    agent.start();
    agent.drained().await;
    // Taken, and answered so late that the kill comes first.
    brokers.script(&[Act::Late(60_000)]);
    for records in groups {
        agent.spool(*records);
    }
    let taken = async {
        while (brokers.logs(TOPIC).iter().map(Vec::len).sum::<usize>() as u64) < acknowledged {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, taken).await.unwrap();
    agent.killed(&brokers).await;
    (brokers, agent)
}

#[tokio::test]
async fn what_a_killed_lane_sends_again_is_recognised() {
    let (brokers, mut agent) = killed_behind(21, &[700, 300, 10]).await;
    agent.start();
    agent.drained().await;
    check_once(&brokers, 20 + 1_010);
    assert_eq!(brokers.world().ids, 1, "it goes on with its id");
}

/// Takes the stored checkpoint back to an older one, as if more had been under way at the kill.
struct Checkpoint(PathBuf, Vec<u8>);

impl Checkpoint {
    fn of(agent: &Agent) -> Self {
        let file = agent.folder.path().join("spool/2-readings/checkpoint");
        let bytes = std::fs::read(&file).unwrap();
        Self(file, bytes)
    }

    fn back(&self) {
        std::fs::write(&self.0, &self.1).unwrap();
    }
}

/// Kafka has four groups more than the checkpoint tells of, of more batches than it remembers.
async fn killed_far_behind() -> (Brokers, Agent) {
    let brokers = Brokers::start(1, TOPIC, 2).await;
    let mut agent = Agent::new(&brokers, 2);
    agent.spool(20);
    agent.start();
    agent.drained().await;
    let checkpoint = Checkpoint::of(&agent);
    for _ in 0..4 {
        agent.spool(5_000);
    }
    agent.drained().await;
    checkpoint.back();
    agent.killed(&brokers).await;
    (brokers, agent)
}

#[tokio::test]
async fn what_the_broker_has_forgotten_is_passed_over() {
    let (brokers, mut agent) = killed_far_behind().await;
    assert_eq!(agent.waiting(), 20_000);
    agent.spool(300);
    agent.start();
    agent.drained().await;
    check_once(&brokers, 20 + 20_000 + 300);
    assert_eq!(brokers.world().ids, 1);
}

#[tokio::test]
async fn nothing_is_passed_over_for_good_before_something_is_taken() {
    let (brokers, mut agent) = killed_far_behind().await;
    {
        // It is another log than it was: nothing of it is there, and the memory is wrong.
        let mut world = brokers.world();
        for partition in world.topics.get_mut(TOPIC).unwrap() {
            partition.log.truncate(20);
            partition.mix_up();
        }
    }
    let had: usize = brokers.logs(TOPIC).iter().map(Vec::len).sum();
    agent.start();
    agent.drained().await;
    let logs: Vec<Vec<String>> = brokers.logs(TOPIC);
    let after = logs.iter().map(Vec::len).sum::<usize>() - had;
    assert_eq!(after, 20_000, "everything behind the checkpoint was sent anew");
    assert_eq!(brokers.world().ids, 1, "by another epoch");
}

#[tokio::test]
async fn another_cluster_gets_everything_anew() {
    let (brokers, mut agent) = killed_far_behind().await;
    {
        let mut world = brokers.world();
        world.cluster = "another".into();
        world.topic_id = 8;
        world.topics.clear();
        world.partitions(TOPIC, 3);
    }
    agent.start();
    agent.drained().await;
    let found = as_the_sink(&brokers.logs(TOPIC));
    assert_eq!(found, (21..=20_020).collect::<Vec<_>>());
    assert_eq!(brokers.world().ids, 2);
}
