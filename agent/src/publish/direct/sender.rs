//! One strand of a lane on its way to the brokers.
//!
//! In: groups, one after the other. Out: Produce requests, at most five batches of a partition at a
//! time, and what tells the end of each group. What is sent and what follows from an answer is
//! decided by [`Producer`]; here is the network.
//!
//! An epoch keeps the leaders and the connections it began with: when one of them changes, the
//! epoch ends, and nothing can overtake by another way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::ProduceResponse;
use tokio::sync::Notify;
use weir_models::wire::stamp;

use super::batch::{Batch, Counts, arrange, is_to_regroup};
use super::cluster::{Cluster, View, topic_name};
use super::connection::{CallError, Connection};
use super::problems::{Failure, Part};
use super::producer::{CONFIRMED_WITHIN, Entry, HandedOver, Producer, Renewal};
use super::state::{Here, ProducerId, sequence};
use crate::publish::{Begun, Delivered, Delivery, PublishError};
use crate::spool::{Group, Strand};

/// A request is closed at this many bytes.
const REQUEST_BYTES: usize = 1 << 20;
/// How long a broker may wait for the in-sync replicas.
const ACKS_TIMEOUT_MS: i32 = 20_000;
/// How often a group that is under way is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Failures in a row after which a passing one is shown.
const SHOWN_AFTER: u32 = 3;

/// One strand.
pub(super) struct Sender {
    part: Part,
    pub(super) cluster: Arc<Cluster>,
    here: Here,
    producer: Mutex<Producer>,
    /// What this epoch goes by.
    way: Mutex<Way>,
    /// Something was answered, or failed.
    moved: Notify,
}

#[derive(Clone, Default)]
struct Way {
    view: Arc<View>,
    connections: HashMap<i32, Arc<Connection>>,
}

/// A batch with its place.
pub(super) struct Piece {
    pub(super) entry: Entry,
    pub(super) bytes: Bytes,
}

fn now_ms() -> i64 {
    weir_models::time::now_us() / 1_000
}

fn failed(failure: &Failure) -> PublishError {
    PublishError::Failed(failure.text.clone())
}

impl Sender {
    pub(super) fn new(strand: Strand, cluster: Arc<Cluster>, here: Here) -> Self {
        Self {
            part: Part::Strand(strand),
            cluster,
            here,
            producer: Mutex::default(),
            way: Mutex::default(),
            moved: Notify::new(),
        }
    }

    pub(super) fn producer(&self) -> MutexGuard<'_, Producer> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster as it was when the epoch began.
    pub(super) fn view(&self) -> Arc<View> {
        self.way().view.clone()
    }

    pub(super) fn now(&self) -> Here {
        self.here.later()
    }

    /// Nothing is wrong with it any more: it has ended.
    pub(super) fn forget(&self) {
        self.cluster.problems.over(self.part);
    }

    /// Begins an epoch at the checkpoint beside which `stored` lies.
    pub(super) async fn begin(&self, stored: &[u8]) -> Result<Begun, PublishError> {
        let begun = self.try_begin(stored).await;
        begun.map_err(|failure| {
            self.producer().failures += 1;
            self.cluster.problems.met(self.part, &failure, self.is_shown(&failure));
            failed(&failure)
        })
    }

    async fn try_begin(&self, stored: &[u8]) -> Result<Begun, Failure> {
        let (wanted, is_stale) = {
            let producer = self.producer();
            (producer.wanted().clone(), producer.is_view_stale)
        };
        if is_stale || self.cluster.view().id.is_empty() {
            self.cluster.refresh().await?;
        }
        let view = self.cluster.with_topics(&wanted).await?;
        let mut plan = self.producer().plan(stored, self.now(), &view);
        if plan.renewal == Some(Renewal::Id) {
            plan.state.producer = self.cluster.new_producer_id().await?;
        }
        *self.way() = Way { view, connections: HashMap::new() };
        Ok(self.producer().begin(plan, stored, self.now()))
    }

    /// Sends a group; returns when all of it is under way.
    pub(super) async fn publish(
        self: &Arc<Self>,
        epoch: u64,
        group: Arc<Group>,
    ) -> Result<Delivery, PublishError> {
        let (began, view) = (self.view(), self.cluster.view());
        let layout = self.producer().layout(epoch, &group, &began, &view)?;
        let batches = arranged(&group, layout.counts).await?;
        if layout.is_slow {
            let refused = self.search(epoch, batches).await?;
            let state = self.producer().done_slowly(group.end, self.now());
            return Ok(Box::pin(async move { Ok(Delivered { refused, state }) }));
        }
        let handed = self.producer().hand_over(epoch, group.end, &batches, self.now())?;
        let HandedOver { producer, serial, entries, mut done, is_doubtful } = handed;
        let pieces = entries
            .into_iter()
            .zip(batches)
            .filter_map(|(entry, batch)| entry.map(|entry| Piece { entry, bytes: batch.bytes }));
        let sent = self.send_all(epoch, producer, pieces.collect()).await;
        self.producer().is_handing = false;
        if let Err(failure) = sent {
            self.fail(epoch, serial, &failure);
            return Err(failed(&failure));
        }
        let lane = self.clone();
        let look_every = if is_doubtful { CONFIRMED_WITHIN } else { LOOK_EVERY };
        Ok(Box::pin(async move {
            loop {
                tokio::select! {
                    ended = &mut done => {
                        let over = PublishError::Failed("another epoch has begun".into());
                        let state = ended.unwrap_or(Err(over))?;
                        lane.cluster.problems.over(lane.part);
                        return Ok(Delivered { refused: Vec::new(), state });
                    }
                    () = tokio::time::sleep(look_every) => lane.look_after(epoch).await,
                }
            }
        }))
    }

    async fn look_after(&self, epoch: u64) {
        let failure = self.producer().watch(epoch);
        let Some(failure) = failure else { return };
        if failure.class == "stuck" {
            self.cluster.disconnect_all().await;
        }
        self.tell(&failure);
    }

    /// Ends the epoch from a group on.
    fn fail(&self, epoch: u64, serial: u64, failure: &Failure) {
        let mut producer = self.producer();
        // Whatever ended the epoch before has been told.
        let is_first = producer.check(epoch).is_ok();
        if producer.epoch() == epoch {
            producer.fail(serial, failure);
        }
        drop(producer);
        if is_first {
            self.tell(failure);
        }
        self.moved.notify_one();
    }

    pub(super) fn tell(&self, failure: &Failure) {
        self.cluster.problems.met(self.part, failure, self.is_shown(failure));
    }

    fn is_shown(&self, failure: &Failure) -> bool {
        !failure.is_passing || self.producer().failures >= SHOWN_AFTER
    }

    /// Returns when nothing of this lane is under way.
    pub(super) async fn idle(&self, epoch: u64) -> Result<(), PublishError> {
        loop {
            let moved = self.moved.notified();
            {
                let producer = self.producer();
                producer.check(epoch)?;
                if producer.is_idle() {
                    return Ok(());
                }
            }
            moved.await;
        }
    }

    async fn send_all(
        self: &Arc<Self>,
        epoch: u64,
        producer: ProducerId,
        pieces: Vec<Piece>,
    ) -> Result<(), Failure> {
        let view = self.view();
        for (node, pieces) in requests(pieces, &view)? {
            self.room(epoch, &pieces).await?;
            let connection = self.ready(&view, node).await?;
            self.start(epoch, producer, node, &connection, pieces)?;
        }
        Ok(())
    }

    /// Waits until these may leave.
    async fn room(&self, epoch: u64, pieces: &[Piece]) -> Result<(), Failure> {
        let entries: Vec<&Entry> = pieces.iter().map(|piece| &piece.entry).collect();
        loop {
            let moved = self.moved.notified();
            {
                let producer = self.producer();
                if let Err(over) = producer.check(epoch) {
                    return Err(Failure::passing("retry", over.to_string()));
                }
                if producer.has_room(&entries, now_ms()) {
                    return Ok(());
                }
            }
            moved.await;
        }
    }

    /// The connection of this epoch to a broker that is willing to take something now.
    pub(super) async fn ready(&self, view: &View, node: i32) -> Result<Arc<Connection>, Failure> {
        let known = self.way().connections.get(&node).cloned();
        // While nothing is under way nothing can be overtaken by another connection. Brokers close
        // those that are idle for long.
        let is_over = |known: &Connection| known.is_expiring() || known.is_closed();
        let known = known.filter(|known| !(is_over(known) && self.producer().is_free()));
        let connection = match known {
            Some(known) => known,
            None => {
                let new = self.cluster.connection(view, node).await?;
                self.way().connections.insert(node, new.clone());
                new
            }
        };
        while let Some(until) = self.cluster.held_until(node) {
            tokio::time::sleep_until(until).await;
        }
        Ok(connection)
    }

    fn start(
        self: &Arc<Self>,
        epoch: u64,
        producer: ProducerId,
        node: i32,
        connection: &Arc<Connection>,
        pieces: Vec<Piece>,
    ) -> Result<(), Failure> {
        let request = produce(producer, &pieces);
        let version = connection.versions().newest::<ProduceRequest>(9)?;
        let entries: Vec<Entry> = pieces.into_iter().map(|piece| piece.entry).collect();
        let pending = connection.start(version, &request)?;
        self.producer().leave(&entries.iter().collect::<Vec<_>>());
        // The answer counts whether or not the lane waits for it just now.
        let (lane, connection) = (self.clone(), connection.clone());
        tokio::spawn(async move {
            let answer = pending.await;
            drop(connection);
            lane.answered(epoch, producer, node, entries, answer);
        });
        Ok(())
    }

    fn answered(
        &self,
        epoch: u64,
        producer: ProducerId,
        node: i32,
        entries: Vec<Entry>,
        answer: Result<ProduceResponse, CallError>,
    ) {
        match answer {
            Ok(response) => {
                self.cluster.throttle(node, response.throttle_time_ms);
                let codes = codes(&response, entries);
                let failure = self.producer().answered(epoch, producer, codes);
                if let Some(failure) = failure {
                    self.tell(&failure);
                }
            }
            Err(error) => {
                let first = entries.iter().map(|entry| entry.serial).min().unwrap_or_default();
                self.fail(epoch, first, &Failure::from(error));
            }
        }
        self.moved.notify_one();
    }
}

/// The batches of a group; what has to be packed anew is, on a thread that may take its time.
async fn arranged(group: &Arc<Group>, counts: Counts) -> Result<Vec<Batch>, PublishError> {
    let arranged = if is_to_regroup(group, &counts) {
        let group = group.clone();
        let task = tokio::task::spawn_blocking(move || arrange(&group, &counts));
        task.await.map_err(|error| PublishError::Failed(error.to_string()))?
    } else {
        arrange(group, &counts)
    };
    arranged.map_err(|e| PublishError::Failed(format!("unreadable batch in the spool: {e}")))
}

/// Puts batches into requests: one of a partition in each, those of a partition one after the other.
fn requests(pieces: Vec<Piece>, view: &View) -> Result<Vec<(i32, Vec<Piece>)>, Failure> {
    let mut requests: Vec<(i32, Vec<Piece>)> = Vec::new();
    // The last request to each leader, and its size.
    let mut open: HashMap<i32, (usize, usize)> = HashMap::new();
    for piece in pieces {
        let (topic, partition) = (&piece.entry.topic, piece.entry.partition);
        let Some(leader) = view.leader(topic, partition) else {
            return Err(Failure::answered(
                5,
                &format!("the topic {topic}, partition {partition}"),
                None,
            ));
        };
        let bytes = piece.bytes.len();
        let fitting = open.get(&leader).filter(|(at, size)| {
            let same =
                |other: &Piece| other.entry.partition == partition && other.entry.topic == *topic;
            size + bytes <= REQUEST_BYTES && !requests[*at].1.iter().any(same)
        });
        match fitting.copied() {
            Some((at, size)) => {
                requests[at].1.push(piece);
                open.insert(leader, (at, size + bytes));
            }
            None => {
                open.insert(leader, (requests.len(), bytes));
                requests.push((leader, vec![piece]));
            }
        }
    }
    Ok(requests)
}

/// The request that carries these batches, stamped.
pub(super) fn produce(producer: ProducerId, pieces: &[Piece]) -> ProduceRequest {
    let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
    for Piece { entry, bytes } in pieces {
        let mut bytes = BytesMut::from(&bytes[..]);
        let base = if producer.id < 0 { -1 } else { sequence(entry.start) };
        // Only less than a header is refused, and a batch of the spool has one.
        let _ = stamp(&mut bytes, 0, producer.id, producer.epoch, base);
        topics.entry(&entry.topic).or_default().push(
            PartitionProduceData::default()
                .with_index(i32::try_from(entry.partition).unwrap_or(i32::MAX))
                .with_records(Some(bytes.freeze())),
        );
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(partitions)
    });
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(ACKS_TIMEOUT_MS)
        .with_topic_data(topics.collect())
}

/// The error code of each batch, and what the broker says of it.
pub(super) fn codes(
    response: &ProduceResponse,
    entries: Vec<Entry>,
) -> Vec<(Entry, i16, Option<String>)> {
    let answer = |entry: &Entry| {
        let topic =
            response.responses.iter().find(|topic| *topic.name.0.as_str() == *entry.topic)?;
        let mut partitions = topic.partition_responses.iter();
        partitions.find(|partition| i64::from(partition.index) == i64::from(entry.partition))
    };
    let told = |entry: Entry| match answer(&entry) {
        Some(partition) => {
            let record = partition.record_errors.first();
            let record = record.and_then(|record| record.batch_index_error_message.as_ref());
            let message = partition.error_message.as_ref().or(record);
            let message = message.map(|message| message.as_str().to_owned());
            (entry, partition.error_code, message)
        }
        None => (entry, -1, Some("it says nothing of this partition".into())),
    };
    entries.into_iter().map(told).collect()
}
