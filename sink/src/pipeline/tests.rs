#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use weir_models::ident::{EventId, Stream};
use weir_models::topic::Topic;

use super::*;
use crate::archive::Manifest;
use world::{Dice, Flaky, World};

mod world;

const HOUR_MS: i64 = 3_600_000;

fn partition(topic: Topic, number: i32) -> Partition {
    Partition { topic, number }
}

fn log(stream: u64, seq: u64) -> String {
    format!(
        r#"{{"agent":"gw-1","stream":"{stream:016x}","seq":{seq},"site":"a","device":"d","ts_us":{seq},"received_us":1,"host":"h","message":"m","raw":"m"}}"#
    )
}

fn reading(stream: u64, seq: u64) -> String {
    format!(
        r#"{{"agent":"gw-1","stream":"{stream:016x}","seq":{seq},"site":"a","device":"d","ts_us":{seq},"received_us":1,"values":{{"t":{{"v":1}}}}}}"#
    )
}

fn settings() -> Settings {
    Settings {
        topics: TopicNames::default(),
        batch_records: 40,
        gather: Duration::from_millis(50),
        gather_bytes: 20_000,
        close: CloseAt { age: Duration::from_secs(1), rows: 25, bytes: 1 << 20 },
        archive_memory_bytes: 200_000,
        dedupe: Bounds::default(),
        stop_within: Duration::from_secs(600),
    }
}

struct Bench {
    world: World,
    objects: Arc<InMemory>,
    status: Arc<Status>,
}

impl Bench {
    fn new(seed: u64, failing: u64) -> Self {
        Self {
            world: World::new(seed, failing),
            objects: Arc::new(InMemory::new()),
            status: Status::new(),
        }
    }

    fn start(&self, stop: watch::Receiver<bool>) -> tokio::task::JoinHandle<Result<(), SinkError>> {
        let flaky = Flaky { world: self.world.clone(), objects: Arc::clone(&self.objects) };
        let sink = Sink::new(
            settings(),
            self.world.consumer(),
            Arc::new(self.world.clone()),
            Arc::new(self.world.clone()),
            Archive::new(Arc::new(flaky)),
            broadcast::channel(16).0,
            Arc::clone(&self.status),
        );
        tokio::spawn(sink.run(stop))
    }

    /// Runs the pipeline for a while and lets it die in the middle of whatever it does.
    async fn crash_after(&self, wait: Duration) {
        let (_keep, stop) = watch::channel(false);
        let run = self.start(stop);
        tokio::time::sleep(wait).await;
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
    }

    /// Runs until everything is committed, then stops in an orderly way.
    async fn finish(&self) {
        let (send, stop) = watch::channel(false);
        let run = self.start(stop);
        let deadline = Instant::now() + Duration::from_secs(3_000);
        while !self.all_committed() {
            assert!(Instant::now() < deadline, "stuck: {:?}", self.status.problems());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        send.send(true).unwrap();
        run.await.unwrap().unwrap();
    }

    fn all_committed(&self) -> bool {
        let state = self.world.lock();
        state.topics.iter().all(|(partition, log)| {
            let committed = state.committed.get(partition).map_or(0, |c| c.offset);
            log.last().is_none_or(|last| committed > last.offset)
        })
    }

    /// How often each event is in the archive, and the manifests by path.
    async fn archived(&self) -> (BTreeMap<EventId, u64>, BTreeMap<String, Manifest>) {
        let (mut events, mut manifests) = (BTreeMap::new(), BTreeMap::new());
        let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        for entry in listed {
            let bytes = self.objects.get(&entry.location).await.unwrap();
            let bytes = bytes.bytes().await.unwrap();
            let path = entry.location.to_string();
            if path.ends_with(".json") {
                let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
                manifests.insert(manifest.object.clone(), manifest);
                continue;
            }
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            for batch in reader.build().unwrap() {
                let batch = batch.unwrap();
                let streams = batch["stream"].as_string::<i32>();
                let seqs = batch["seq"].as_primitive::<Int64Type>();
                for (stream, seq) in streams.iter().zip(seqs) {
                    let id = EventId {
                        stream: stream.unwrap().parse().unwrap(),
                        seq: seq.unwrap() as u64,
                    };
                    *events.entry(id).or_insert(0) += 1;
                }
            }
        }
        (events, manifests)
    }
}

/// Fills the topics: streams whose events are spread over partitions, some sent twice, some
/// records that are nothing; returns what there is and where the poison lies.
fn fill(world: &World, dice: &mut Dice, events: u64) -> (BTreeSet<EventId>, usize) {
    let logs = [partition(Topic::Logs, 0), partition(Topic::Logs, 1)];
    let readings = partition(Topic::Readings, 0);
    let mut sent: Vec<Vec<(Partition, EventId)>> = vec![Vec::new(); 4];
    let (mut all, mut poison) = (BTreeSet::new(), 0);
    let mut ms = 10 * HOUR_MS;
    for _ in 0..events {
        ms += dice.below(3) as i64 * HOUR_MS / 40;
        // A gateway that is behind writes older stamps in between.
        let stamp = if dice.percent(10) { ms - 5 * HOUR_MS } else { ms };
        let lane = dice.below(4) as usize;
        if dice.percent(3) {
            world.send(logs[0], stamp, Some("no event".into()));
            poison += 1;
            continue;
        }
        let text = |at: Partition, id: EventId| match at.topic {
            Topic::Readings => reading(id.stream.0, id.seq),
            _ => log(id.stream.0, id.seq),
        };
        if dice.percent(10) && !sent[lane].is_empty() {
            // The agent sends its last events again, in order, to the same partitions.
            let back = 1 + dice.below(sent[lane].len().min(8) as u64) as usize;
            for &(at, id) in &sent[lane][sent[lane].len() - back..] {
                world.send(at, stamp, Some(text(at, id)));
            }
            continue;
        }
        let id = EventId { stream: Stream(lane as u64 + 1), seq: sent[lane].len() as u64 + 1 };
        let at = if lane == 3 { readings } else { logs[dice.below(2) as usize] };
        sent[lane].push((at, id));
        all.insert(id);
        world.send(at, stamp, Some(text(at, id)));
    }
    (all, poison)
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn heartbeat() -> String {
    r#"{"agent":"gw-1","site":"a","version":"1","ts_us":1,"started_us":1,"interval_s":30,
        "clock":"synced","events_in":1,"events_out":1,"spool_bytes":0,"lanes":[],"devices":0,
        "series":0}"#
        .into()
}

async fn survive(seed: u64, failing: u64, crashes: u64) {
    let bench = Bench::new(seed, failing);
    let mut dice = Dice::new(seed ^ 0xdead);
    let (all, poison) = fill(&bench.world, &mut dice, 400);
    bench.world.send(partition(Topic::Agents, 0), 0, Some(heartbeat()));
    bench.world.send(partition(Topic::Agents, 0), 0, None);
    for _ in 0..crashes {
        bench.crash_after(Duration::from_millis(dice.below(4_000))).await;
    }
    bench.finish().await;

    let (archived, manifests) = bench.archived().await;
    let missing: Vec<_> = all.iter().filter(|id| !archived.contains_key(id)).collect();
    let double: Vec<_> = archived.iter().filter(|(_, count)| **count != 1).collect();
    assert!(missing.is_empty() && double.is_empty(), "lost {missing:?}, double {double:?}");
    assert_eq!(archived.len(), all.len());
    let mut chains: BTreeMap<_, Vec<&Manifest>> = BTreeMap::new();
    for manifest in manifests.values() {
        chains.entry((&manifest.topic, manifest.partition)).or_default().push(manifest);
    }
    for chain in chains.values_mut() {
        chain.sort_by_key(|manifest| manifest.first_offset);
        for pair in chain.windows(2) {
            assert_eq!(pair[1].from_offset, Some(pair[0].next_offset), "{}", pair[1].object);
        }
    }
    let state = bench.world.lock();
    let stored: BTreeSet<_> = state.stored.keys().copied().collect();
    assert_eq!(stored, all);
    assert_eq!(state.dead.len(), poison);
    assert_eq!(state.agents.len(), 1);
    for (partition, committed) in &state.committed {
        if partition.topic.is_data() {
            let manifest = &manifests[&committed.note];
            assert!(manifest.next_offset <= committed.offset);
        }
    }
}

#[test]
fn offsets_that_never_came_are_counted() {
    paused().block_on(async {
        let bench = Bench::new(5, 0);
        let at = partition(Topic::Logs, 0);
        // The stamps 7 and 14 leave an offset out before their record.
        for stamp in [1, 7, 8, 14] {
            bench.world.send(at, stamp, Some(log(1, stamp as u64)));
        }
        bench.finish().await;
        let (_, manifests) = bench.archived().await;
        assert_eq!(manifests.values().map(|manifest| manifest.skipped).sum::<u64>(), 2);
    });
}

#[test]
fn a_letter_sent_again_is_archived_once_also_after_a_restart() {
    paused().block_on(async {
        let bench = Bench::new(6, 0);
        let at = partition(Topic::Logs, 0);
        bench.world.send(at, 1, Some(log(1, 9)));
        bench.world.send_again(at, 2, Some(log(1, 5)), 1);
        bench.finish().await;
        bench.world.send_again(at, 3, Some(log(1, 5)), 1);
        bench.world.send(at, 4, Some(log(1, 8)));
        bench.world.send_again(at, 5, Some("no event".into()), 1);
        bench.finish().await;
        let (archived, _) = bench.archived().await;
        let times = |seq| archived.get(&EventId { stream: Stream(1), seq }).copied();
        assert_eq!([times(9), times(5), times(8)], [Some(1), Some(1), None]);
        assert_eq!(bench.world.lock().dead.len(), 1);
    });
}

#[test]
fn without_faults_all_is_there_once() {
    paused().block_on(survive(1, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_fails_nothing_is_lost_and_nothing_archived_twice(
        seed in any::<u64>(),
        failing in 0u64..40,
        crashes in 0u64..8,
    ) {
        paused().block_on(survive(seed, failing, crashes));
    }
}

#[test]
fn a_store_that_is_away_shows_and_holds_the_offsets() {
    paused().block_on(async {
        let bench = Bench::new(3, 0);
        fill(&bench.world, &mut Dice::new(3), 2_000);
        bench.world.lock().store_away = true;
        let (send, stop) = watch::channel(false);
        let run = bench.start(stop);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(bench.world.lock().committed.is_empty());
        assert!(bench.status.has_problem(Part::Store));
        // One write that fails, what is gathered meanwhile, and a last poll.
        let polled_bytes = bench.world.lock().polled_bytes;
        assert!(polled_bytes < 4 * settings().gather_bytes, "{polled_bytes} bytes are in memory");
        bench.world.lock().store_away = false;
        while !bench.all_committed() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(bench.status.problems(), []);
        send.send(true).unwrap();
        run.await.unwrap().unwrap();
    });
}

#[test]
fn a_stop_commits_what_was_taken_long_before_the_object_is_due() {
    paused().block_on(async {
        let bench = Bench::new(4, 0);
        bench.world.send(partition(Topic::Logs, 0), 0, Some(log(1, 1)));
        let (send, stop) = watch::channel(false);
        let run = bench.start(stop);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!bench.all_committed());
        send.send(true).unwrap();
        run.await.unwrap().unwrap();
        assert!(bench.all_committed());
    });
}

#[test]
fn an_object_that_takes_too_long_does_not_reach_the_archive_after_its_partition_is_gone() {
    paused().block_on(async {
        let bench = Bench::new(7, 0);
        let at = partition(Topic::Logs, 0);
        bench.world.send(at, 1, Some(log(1, 1)));
        bench.world.lock().put_takes = Duration::from_secs(3_600);
        let (send, stop) = watch::channel(false);
        let run = bench.start(stop);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // The next owner takes more into the object of the same name.
        bench.world.send(at, 2, Some(log(1, 2)));
        bench.world.lock().revoke_all = true;
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.world.lock().put_takes = Duration::ZERO;
        tokio::time::sleep(Duration::from_secs(27)).await;
        assert!(bench.all_committed(), "the partition was not let go in time");
        tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
        let (archived, manifests) = bench.archived().await;
        assert_eq!((archived.len(), manifests.len()), (2, 1));
        assert_eq!(manifests.values().map(|manifest| manifest.rows).sum::<u64>(), 2);
        send.send(true).unwrap();
        run.await.unwrap().unwrap();
    });
}
