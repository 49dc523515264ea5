use super::super::inflate::tests::batch;
use super::super::peer::{Peer, Side, settings};
use super::*;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchResponse, ListOffsetsResponse, MetadataResponse,
};
use tokio::net::TcpStream;

/// A broker with a topic of one partition.
struct Broker {
    peer: Peer,
    /// Offset, key, value; what is not there is compacted away.
    records: Vec<(i64, &'static str, Option<&'static str>)>,
    topic_id: u128,
}

impl Broker {
    async fn new() -> Self {
        Self { peer: Peer::new().await, records: Vec::new(), topic_id: 1 }
    }

    /// Tells the client who leads, on a connection of its own.
    async fn tell_leader(&self) {
        let mut side = self.peer.greeted().await;
        let asked = side.asked().await.unwrap();
        let request: kafka_protocol::messages::MetadataRequest = asked.read();
        assert!(!request.allow_auto_topic_creation);
        let (host, port) = self.peer.address.rsplit_once(':').unwrap();
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(1))
            .with_host(StrBytes::from_string(host.into()))
            .with_port(port.parse().unwrap());
        let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1));
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName("t".into())))
            .with_topic_id(format!("{:032x}", self.topic_id).parse().unwrap())
            .with_partitions(vec![partition]);
        let answer = MetadataResponse::default().with_brokers(vec![broker]);
        side.answer(&asked, &answer.with_topics(vec![topic])).await;
    }

    async fn tell_start(&self, side: &mut Side<TcpStream>) {
        let asked = side.asked().await.unwrap();
        assert_eq!(asked.key, ApiKey::ListOffsets as i16);
        let start = self.records.first().map_or(0, |(offset, ..)| *offset);
        let partition = ListOffsetsPartitionResponse::default().with_offset(start);
        let topic = ListOffsetsTopicResponse::default()
            .with_name(TopicName("t".into()))
            .with_partitions(vec![partition]);
        side.answer(&asked, &ListOffsetsResponse::default().with_topics(vec![topic])).await;
    }

    /// Answers one Fetch with at most `count` batches; answers how long the client would have waited.
    async fn tell_records(&self, side: &mut Side<TcpStream>, count: usize) -> i32 {
        let asked = side.asked().await.unwrap();
        let request: FetchRequest = asked.read();
        let from = request.topics[0].partitions[0].fetch_offset;
        let end = self.records.last().map_or(0, |(offset, ..)| offset + 1);
        let wanted = self.records.iter().filter(|(offset, ..)| *offset >= from).take(count);
        let batches = wanted.map(|(offset, key, value)| {
            let mut batch = batch(&[(key, *value)]);
            batch[..8].copy_from_slice(&offset.to_be_bytes());
            batch
        });
        let data = PartitionData::default()
            .with_high_watermark(end)
            .with_last_stable_offset(end)
            .with_records(Some(batches.collect::<Vec<_>>().concat().into()));
        self.answer_fetch(side, &asked, data).await;
        request.max_wait_ms
    }

    async fn answer_fetch(
        &self,
        side: &mut Side<TcpStream>,
        asked: &super::super::peer::Asked,
        data: PartitionData,
    ) {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName("t".into()))
            .with_partitions(vec![data]);
        side.answer(asked, &FetchResponse::default().with_responses(vec![topic])).await;
    }

    fn followed(&self) -> mpsc::Receiver<Followed> {
        let (told, receiver) = mpsc::channel(1);
        let cluster = Cluster::new(settings(&self.peer.address), None);
        tokio::spawn(follow(Arc::new(cluster), "t".into(), told));
        receiver
    }
}

async fn check(receiver: &mut mpsc::Receiver<Followed>, expected: &str) {
    let mut told = Vec::new();
    for _ in expected.split(' ') {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        told.push(match receiver.recv().await.unwrap() {
            Followed::Record { key, value: Some(value) } => {
                format!("{}={}", text(&key), text(&value))
            }
            Followed::Record { key, value: None } => format!("{}-", text(&key)),
            Followed::InStep => "|".into(),
        });
    }
    assert_eq!(told.join(" "), expected);
}

#[tokio::test]
async fn all_is_told_then_in_step_then_each_change() {
    let mut broker = Broker::new().await;
    broker.records = vec![(3, "a", Some("1")), (7, "b", Some("2")), (8, "c", Some("3"))];
    let mut receiver = broker.followed();
    let listen = async {
        check(&mut receiver, "a=1 b=2 c=3 |").await;
        check(&mut receiver, "a- |").await;
        receiver
    };
    let script = async {
        broker.tell_leader().await;
        let mut side = broker.peer.greeted().await;
        broker.tell_start(&mut side).await;
        assert_eq!(broker.tell_records(&mut side, 2).await, 0);
        assert_eq!(broker.tell_records(&mut side, 2).await, 0);
        broker.records.push((12, "a", None));
        assert_eq!(broker.tell_records(&mut side, 2).await, 5_000);
        // The next one waits; nothing more is asked for.
        let waiting = side.asked().await.unwrap();
        let request: FetchRequest = waiting.read();
        assert_eq!(request.topics[0].partitions[0].fetch_offset, 13);
        side
    };
    let (receiver, mut side) = tokio::join!(listen, script);
    // Nobody listens any more: the connection is closed.
    drop(receiver);
    side.closed().await;
}

#[tokio::test]
async fn an_empty_topic_is_in_step_at_once() {
    let broker = Broker::new().await;
    let mut receiver = broker.followed();
    let script = async {
        broker.tell_leader().await;
        let mut side = broker.peer.greeted().await;
        broker.tell_start(&mut side).await;
        assert_eq!(broker.tell_records(&mut side, 1).await, 0);
        side
    };
    tokio::join!(check(&mut receiver, "|"), script);
}

#[tokio::test]
async fn a_leader_that_is_none_any_more_is_looked_up_and_the_place_is_kept() {
    let mut broker = Broker::new().await;
    broker.records = vec![(0, "a", Some("1"))];
    let mut receiver = broker.followed();
    let script = async {
        broker.tell_leader().await;
        let mut side = broker.peer.greeted().await;
        broker.tell_start(&mut side).await;
        broker.tell_records(&mut side, 1).await;
        let asked = side.asked().await.unwrap();
        let moved = PartitionData::default().with_error_code(6);
        broker.answer_fetch(&mut side, &asked, moved).await;
        // It asks again, and then the same connection; what it has read is not read again.
        broker.tell_leader().await;
        broker.records.push((1, "b", Some("2")));
        broker.tell_records(&mut side, 1).await;
        // Closed by the broker.
        drop(side);
        broker.tell_leader().await;
        let mut side = broker.peer.greeted().await;
        broker.records.push((2, "c", Some("3")));
        broker.tell_records(&mut side, 1).await;
        side
    };
    tokio::join!(check(&mut receiver, "a=1 | b=2 | c=3 |"), script);
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_told_from_its_start() {
    let mut broker = Broker::new().await;
    broker.records = vec![(0, "a", Some("1")), (1, "b", Some("2"))];
    let mut receiver = broker.followed();
    let script = async {
        broker.tell_leader().await;
        let mut side = broker.peer.greeted().await;
        broker.tell_start(&mut side).await;
        broker.tell_records(&mut side, 2).await;
        let asked = side.asked().await.unwrap();
        let gone = PartitionData::default().with_error_code(3);
        broker.answer_fetch(&mut side, &asked, gone).await;
        broker.topic_id = 2;
        broker.records = vec![(0, "x", Some("9")), (1, "y", Some("9")), (2, "z", Some("9"))];
        broker.tell_leader().await;
        broker.tell_start(&mut side).await;
        broker.tell_records(&mut side, 3).await;
        side
    };
    tokio::join!(check(&mut receiver, "a=1 b=2 | x=9 y=9 z=9 |"), script);
}

#[test]
fn in_step_needs_all_leaders_and_is_told_again_after_some_time() {
    let start = Instant::now();
    let after = |ms: u64| start + Duration::from_millis(ms);
    let mut progress = Progress::new(2);
    let mut check = |leader, in_step, has_news, ms, expected| {
        assert_eq!(progress.note(leader, in_step, has_news, after(ms)), expected, "at {ms} ms");
    };
    check(0, true, true, 0, false);
    check(1, false, true, 1, false);
    check(1, true, true, 2, true);
    // Nothing new, and told just now.
    check(0, true, false, 100, false);
    check(0, true, false, 2_100, true);
    // A change is told at once.
    check(0, true, true, 2_200, true);
    // The second leader was silent for too long.
    check(0, true, false, 15_100, false);
    check(1, true, false, 15_200, true);
}

#[test]
fn waits_differ_within_bounds() {
    for _ in 0..100 {
        let wait = jittered(Duration::from_secs(2));
        assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&wait), "{wait:?}");
    }
}
