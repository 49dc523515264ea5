//! A cluster in the process that keeps Kafka's rules of idempotence, and does what a script says.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;
use weir_models::wire::{BatchView, MAX_RAW_BYTES};

use crate::publish::direct::peer::{Asked, Peer, Side};

/// What happens to a Produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// As Kafka does.
    Take,
    /// All its batches are answered by this code, and none is taken.
    Code(i16),
    /// The connection is closed, nothing is taken.
    Close,
    /// It is taken, and the connection closed instead of an answer.
    TakeAndClose,
    /// It is taken and answered after so many milliseconds.
    Late(u64),
    /// It is taken, and the answer asks for a pause of so many milliseconds.
    Throttle(i32),
    /// It is taken, and never answered.
    Silent,
}

/// What brokers remember of a producer in a partition.
#[derive(Debug, Default)]
struct Memory {
    epoch: i16,
    /// First and last sequence of the last five batches.
    last: VecDeque<(i32, i32)>,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) leader: i32,
    /// Key and value of each record.
    pub(super) log: Vec<(Vec<u8>, String)>,
    producers: HashMap<i64, Memory>,
}

/// All that the brokers share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) cluster: String,
    pub(super) topics: BTreeMap<String, Vec<Partition>>,
    pub(super) topic_id: u128,
    addresses: Vec<String>,
    /// For the next Produce requests; then all are taken.
    pub(super) script: VecDeque<Act>,
    /// For the next requests of a producer id.
    pub(super) id_codes: VecDeque<i16>,
    /// The code of any topic's metadata, if it is not to be told.
    pub(super) topic_code: i16,
    /// Batches with a record that has this text are refused with this code.
    pub(super) refuse: Option<(String, i16)>,
    pub(super) ids: i64,
    /// How long a broker works on a Produce request; it takes the requests of a connection one by one.
    pub(super) pace: Duration,
    /// Requests are read and never answered; nor are later ones on the same connection.
    pub(super) is_deaf: bool,
    /// Produce requests that came.
    pub(super) requests: usize,
    /// When the last two of them came.
    pub(super) came: Vec<tokio::time::Instant>,
}

/// The cluster.
pub(super) struct Brokers {
    pub(super) address: String,
    world: Arc<Mutex<World>>,
}

impl Partition {
    /// As `UnifiedLog` and `ProducerAppendInfo` of Kafka.
    fn append(&mut self, batch: &[u8], refuse: Option<&(String, i16)>) -> i16 {
        let Ok((view, rest)) = BatchView::parse(batch) else { return 2 };
        assert!(rest.is_empty(), "one batch of a partition in a request");
        if view.base_offset() != 0 {
            return 87;
        }
        let mut records = Vec::new();
        for record in view.records(MAX_RAW_BYTES).unwrap().iter() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            records.push((record.key.unwrap().to_vec(), value));
        }
        assert_eq!(records.len(), view.count() as usize);
        if let Some((text, code)) = refuse
            && records.iter().any(|(_, value)| value.contains(text))
        {
            return *code;
        }
        if view.producer_id() < 0 {
            self.log.extend(records);
            return 0;
        }
        let first = view.base_sequence();
        let last = first.wrapping_add(view.count() - 1);
        let known = self.producers.entry(view.producer_id());
        let is_new = matches!(known, std::collections::hash_map::Entry::Vacant(_));
        let known = known.or_default();
        if view.producer_epoch() < known.epoch {
            return 47;
        }
        if is_new || view.producer_epoch() > known.epoch {
            if !is_new && first != 0 {
                return 45;
            }
            *known = Memory { epoch: view.producer_epoch(), last: VecDeque::new() };
        } else if known.last.contains(&(first, last)) {
            return 0;
        } else if known.last.back().is_some_and(|(_, last)| last.wrapping_add(1) != first) {
            return 45;
        }
        known.last.push_back((first, last));
        if known.last.len() > 5 {
            known.last.pop_front();
        }
        self.log.extend(records);
        0
    }

    /// The broker forgets what it has, but not that there were producers.
    pub(super) fn mix_up(&mut self) {
        for memory in self.producers.values_mut() {
            memory.last = [(1_000_000, 1_000_001)].into();
        }
    }
}

impl World {
    pub(super) fn partitions(&mut self, topic: &str, count: usize) {
        let partitions = self.topics.entry(topic.into()).or_default();
        partitions.resize_with(count, || Partition { leader: 1, ..Partition::default() });
    }
}

impl Brokers {
    /// So many brokers, and one topic that the first one leads.
    pub(super) async fn start(brokers: usize, topic: &str, partitions: usize) -> Self {
        let mut peers = Vec::new();
        for _ in 0..brokers {
            peers.push(Peer::new().await);
        }
        let mut world = World {
            cluster: "the-cluster".into(),
            topics: BTreeMap::new(),
            topic_id: 7,
            addresses: peers.iter().map(|peer| peer.address.clone()).collect(),
            script: VecDeque::new(),
            id_codes: VecDeque::new(),
            topic_code: 0,
            refuse: None,
            ids: 0,
            pace: Duration::ZERO,
            is_deaf: false,
            requests: 0,
            came: Vec::new(),
        };
        if partitions > 0 {
            world.partitions(topic, partitions);
        }
        let (world, address) = (Arc::new(Mutex::new(world)), peers[0].address.clone());
        for (at, peer) in peers.into_iter().enumerate() {
            let world = world.clone();
            tokio::spawn(async move {
                loop {
                    let side = peer.accept().await;
                    tokio::spawn(serve(side, at as i32 + 1, world.clone()));
                }
            });
        }
        Self { address, world }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn script(&self, acts: &[Act]) {
        self.world().script.extend(acts);
    }

    /// The values of all partitions of a topic.
    pub(super) fn logs(&self, topic: &str) -> Vec<Vec<String>> {
        let world = self.world();
        let values = |p: &Partition| p.log.iter().map(|(_, value)| value.clone()).collect();
        world.topics.get(topic).map(|t| t.iter().map(values).collect()).unwrap_or_default()
    }
}

async fn serve(mut side: Side<TcpStream>, node: i32, world: Arc<Mutex<World>>) {
    let mut is_deaf = false;
    while let Some(asked) = side.asked().await {
        is_deaf |= world.lock().unwrap().is_deaf;
        if is_deaf {
            continue;
        }
        match ApiKey::try_from(asked.key).unwrap() {
            ApiKey::ApiVersions => side.greet_to(&asked).await,
            ApiKey::Metadata => {
                let answer = metadata(&asked, &world.lock().unwrap());
                side.answer(&asked, &answer).await;
            }
            ApiKey::InitProducerId => {
                let _: InitProducerIdRequest = asked.read();
                let answer = {
                    let mut world = world.lock().unwrap();
                    let code = world.id_codes.pop_front().unwrap_or(0);
                    world.ids += i64::from(code == 0);
                    let answer = InitProducerIdResponse::default().with_error_code(code);
                    answer.with_producer_id((4_000 + world.ids).into()).with_producer_epoch(0)
                };
                side.answer(&asked, &answer).await;
            }
            ApiKey::Produce => {
                let pace = world.lock().unwrap().pace;
                tokio::time::sleep(pace).await;
                let (act, answer) = produce(&asked, node, &mut world.lock().unwrap());
                match act {
                    Act::Close | Act::TakeAndClose => return,
                    Act::Silent => continue,
                    Act::Late(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    _ => {}
                }
                side.answer(&asked, &answer).await;
            }
            other => panic!("{other:?} was not expected"),
        }
    }
}

fn metadata(asked: &Asked, world: &World) -> MetadataResponse {
    let request: MetadataRequest = asked.read();
    let brokers = world.addresses.iter().enumerate().map(|(at, address)| {
        let (host, port) = address.rsplit_once(':').unwrap();
        MetadataResponseBroker::default()
            .with_node_id((at as i32 + 1).into())
            .with_host(StrBytes::from_string(host.into()))
            .with_port(port.parse().unwrap())
    });
    let topics = request.topics.unwrap().into_iter().map(|topic| {
        let name = topic.name.unwrap();
        let partitions = world.topics.get(name.as_str());
        let code = if partitions.is_none() { 3 } else { world.topic_code };
        let partition = |(at, partition): (usize, &Partition)| {
            MetadataResponsePartition::default()
                .with_partition_index(at as i32)
                .with_leader_id(partition.leader.into())
        };
        let partitions = partitions.filter(|_| code == 0).into_iter().flatten().enumerate();
        MetadataResponseTopic::default()
            .with_name(Some(name))
            .with_topic_id(format!("{:032x}", world.topic_id).parse().unwrap())
            .with_error_code(code)
            .with_partitions(partitions.map(partition).collect())
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_string(world.cluster.clone())))
        .with_topics(topics.collect())
}

fn produce(asked: &Asked, node: i32, world: &mut World) -> (Act, ProduceResponse) {
    let request: ProduceRequest = asked.read();
    assert_eq!(request.acks, -1);
    world.requests += 1;
    world.came.push(tokio::time::Instant::now());
    let act = world.script.pop_front().unwrap_or(Act::Take);
    let refuse = world.refuse.clone();
    let mut topics = Vec::new();
    for topic in request.topic_data {
        let mut answers = Vec::new();
        for data in topic.partition_data {
            let partition = world.topics.get_mut(topic.name.as_str());
            let partition = partition.and_then(|t| t.get_mut(data.index as usize));
            let code = match (act, partition) {
                (_, None) => 3,
                (Act::Code(code), _) => code,
                (Act::Close, _) => 0,
                (_, Some(partition)) if partition.leader != node => 6,
                (_, Some(partition)) => partition.append(&data.records.unwrap(), refuse.as_ref()),
            };
            let answer = PartitionProduceResponse::default().with_index(data.index);
            answers.push(answer.with_error_code(code));
        }
        topics.push(
            TopicProduceResponse::default().with_name(topic.name).with_partition_responses(answers),
        );
    }
    let throttle_ms = if let Act::Throttle(ms) = act { ms } else { 0 };
    let response = ProduceResponse::default().with_responses(topics);
    (act, response.with_throttle_time_ms(throttle_ms))
}
