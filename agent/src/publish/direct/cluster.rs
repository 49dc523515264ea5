//! The cluster as the brokers tell of it, and a connection to each of them.
//!
//! In: metadata, asked for at the start, every few minutes, and whenever something fails. Out: who
//! leads which partition, how many there are, connections that are made when needed. Promises: each
//! broker that is known is tried, and those of the configuration after them; nothing wakes up in
//! between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::counts::PartitionCounts;
use super::problems::{Failure, Part, Problems};
use super::settings::Settings;
use super::state::ProducerId;

/// How long one broker may take to answer what any of them can.
const ASK: Duration = Duration::from_secs(5);
/// How old metadata gets.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// First and longest wait between tries to get metadata.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a topic may take to appear after it was asked for, and how often to look.
const APPEARS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// The longest wait that a broker can ask for.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    at: Option<Instant>,
    /// Empty if the brokers tell none.
    pub(super) id: Arc<str>,
    brokers: BTreeMap<i32, Arc<str>>,
    /// The topics that were asked for.
    pub(super) topics: BTreeMap<Arc<str>, TopicView>,
}

/// A topic at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicView {
    /// Error code; 0 if all is well.
    pub(super) code: i16,
    /// Its id, zero if not told.
    pub(super) id: [u8; 16],
    /// Who leads each partition.
    pub(super) leaders: Vec<Option<i32>>,
}

/// One broker.
#[derive(Debug, Default)]
struct Link {
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    hold_until: Mutex<Option<Instant>>,
}

/// All that the publisher has in common.
#[derive(Debug)]
pub(super) struct Cluster {
    settings: Arc<Settings>,
    view: RwLock<Arc<View>>,
    /// One asks, the others wait for the same answer.
    asking: tokio::sync::Mutex<()>,
    links: Mutex<HashMap<i32, Arc<Link>>>,
    interest: Mutex<BTreeSet<Arc<str>>>,
    interested: Notify,
    counts: PartitionCounts,
    /// What is wrong.
    pub(super) problems: Problems,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// The topic, if it can be written to.
    pub(super) fn topic(&self, name: &str) -> Option<&TopicView> {
        self.topics.get(name).filter(|topic| topic.code == 0 && !topic.leaders.is_empty())
    }

    /// Who leads a partition.
    pub(super) fn leader(&self, topic: &str, partition: u32) -> Option<i32> {
        *self.topic(topic)?.leaders.get(partition as usize)?
    }

    fn new(response: &MetadataResponse) -> Self {
        let text = |bytes: &StrBytes| Arc::<str>::from(bytes.as_str());
        let brokers = response.brokers.iter().map(|broker| {
            let host = broker.host.as_str();
            let address = if host.contains(':') {
                format!("[{host}]:{}", broker.port)
            } else {
                format!("{host}:{}", broker.port)
            };
            (broker.node_id.0, address.into())
        });
        let topics = response
            .topics
            .iter()
            .filter_map(|topic| Some((text(&topic.name.as_ref()?.0), TopicView::new(topic))));
        Self {
            at: Some(Instant::now()),
            id: response.cluster_id.as_ref().map(text).unwrap_or_default(),
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }
}

impl TopicView {
    fn new(topic: &MetadataResponseTopic) -> Self {
        let mut leaders = vec![None; topic.partitions.len()];
        for partition in &topic.partitions {
            let slot = usize::try_from(partition.partition_index).ok();
            if let Some(leader) = slot.and_then(|slot| leaders.get_mut(slot)) {
                *leader = Some(partition.leader_id.0).filter(|id| *id >= 0);
            }
        }
        Self { code: topic.error_code, id: topic.topic_id.into_bytes(), leaders }
    }

    /// How many partitions it has.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.leaders.len()).unwrap_or(u32::MAX)
    }
}

impl Cluster {
    /// Nothing is asked yet. Partition counts are remembered in `file`.
    pub(super) fn new(settings: Settings, file: Option<PathBuf>) -> Self {
        Self {
            settings: Arc::new(settings),
            view: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            links: Mutex::default(),
            interest: Mutex::default(),
            interested: Notify::new(),
            counts: PartitionCounts::open(file),
            problems: Problems::default(),
        }
    }

    /// How connections are made.
    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The cluster as last heard of.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many partitions a topic has, as last heard; asks in the background if that is never.
    pub(super) fn partitions(&self, topic: &str) -> Option<u32> {
        let count = self.counts.get(topic);
        if count.is_none() && locked(&self.interest).insert(topic.into()) {
            self.interested.notify_one();
        }
        count
    }

    /// Keeps the metadata fresh; ends with the task.
    pub(super) async fn keep_fresh(&self) {
        let mut retry = RETRY_MIN;
        loop {
            let wait = match self.refresh().await {
                Ok(_) => {
                    retry = RETRY_MIN;
                    REFRESH_EVERY
                }
                Err(_) => {
                    retry = (retry * 2).min(RETRY_MAX);
                    retry
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Asking more often than that helps nobody.
                () = self.interested.notified() => tokio::time::sleep(RETRY_MIN).await,
            }
        }
    }

    /// Asks anew, unless an answer comes in that somebody else has asked for.
    ///
    /// # Errors
    /// When no broker answers.
    pub(super) async fn refresh(&self) -> Result<Arc<View>, Failure> {
        let asked_at = Instant::now();
        let _one = self.asking.lock().await;
        let view = self.view();
        if view.at.is_some_and(|at| at >= asked_at) {
            return Ok(view);
        }
        let topics = locked(&self.interest).iter().cloned().collect::<Vec<_>>();
        let topics = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(true);
        match self.ask_any(12, &request).await {
            Ok(response) => {
                let view = Arc::new(View::new(&response));
                let heard = view.topics.iter().filter(|(name, _)| view.topic(name).is_some());
                let heard: Vec<_> = heard.map(|(name, t)| (name.clone(), t.count())).collect();
                self.counts.learn(&heard);
                *self.view.write().unwrap_or_else(PoisonError::into_inner) = view.clone();
                self.problems.over(Part::Cluster);
                Ok(view)
            }
            Err(failure) => {
                self.problems.met(Part::Cluster, &failure, true);
                Err(failure)
            }
        }
    }

    /// The cluster with these topics in it, asked for anew if one is not known.
    ///
    /// # Errors
    /// When no broker answers, or a topic cannot be had.
    pub(super) async fn with_topics(
        &self,
        topics: &BTreeSet<Arc<str>>,
    ) -> Result<Arc<View>, Failure> {
        locked(&self.interest).extend(topics.iter().cloned());
        let mut view = self.view();
        let until = Instant::now() + APPEARS_WITHIN;
        let mut is_first = true;
        loop {
            let missing = topics.iter().find(|topic| view.topic(topic).is_none());
            let Some(missing) = missing else {
                return Ok(view);
            };
            // What was not asked for is not there yet.
            let code = view.topics.get(missing).map_or(3, |topic| topic.code);
            // A topic that was just made has no leader for a moment.
            let may_appear = matches!(code, 0 | 3 | 5) && Instant::now() < until;
            if !is_first && !may_appear {
                let code = if code == 0 { 5 } else { code };
                let failure = Failure::answered(code, &format!("the topic {missing}"), None);
                // That it is missing does not end by itself.
                let is_passing = failure.is_passing && code != 3;
                return Err(Failure { is_passing, ..failure });
            }
            if !std::mem::take(&mut is_first) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            view = self.refresh().await?;
        }
    }

    /// A new producer id.
    ///
    /// # Errors
    /// When no broker answers, or none gives one.
    pub(super) async fn new_producer_id(&self) -> Result<ProducerId, Failure> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.ask_any(4, &request).await?;
        if answer.error_code != 0 {
            return Err(Failure::answered(answer.error_code, "a new producer id", None));
        }
        let producer = ProducerId { id: answer.producer_id.0, epoch: answer.producer_epoch };
        tracing::debug!(?producer, "new producer id");
        Ok(producer)
    }

    /// Asks the brokers one after the other, those to which there is a connection first.
    async fn ask_any<R: Request>(&self, at_most: i16, request: &R) -> Result<R::Response, Failure> {
        let view = self.view();
        let connected: BTreeSet<i32> = {
            let links = locked(&self.links);
            let is_open = |link: &Link| link.connection.try_lock().is_ok_and(|c| c.is_some());
            links.iter().filter(|(_, link)| is_open(link)).map(|(node, _)| *node).collect()
        };
        let others = view.brokers.keys().filter(|node| !connected.contains(node));
        let mut last: Option<Failure> = None;
        for node in connected.iter().chain(others) {
            let asked = timeout(ASK, async {
                let connection = self.connection(&view, *node).await?;
                ask(&connection, at_most, request).await
            });
            match asked.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => keep_worse(&mut last, failure),
                Err(_) => {
                    self.disconnect(*node).await;
                    keep_worse(&mut last, silent(&format!("{node}")));
                }
            }
        }
        for address in &self.settings.bootstrap {
            let opened = timeout(2 * ASK, Connection::open(address, &self.settings));
            let asked = async {
                let connection = opened.await.map_err(|_| silent(address))??;
                timeout(ASK, ask(&connection, at_most, request))
                    .await
                    .map_err(|_| silent(address))?
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(failure) => keep_worse(&mut last, failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::passing("connection", "no broker is known")))
    }

    /// A connection to a broker, made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn connection(
        &self,
        view: &View,
        node: i32,
    ) -> Result<Arc<Connection>, Failure> {
        let Some(address) = view.brokers.get(&node) else {
            return Err(Failure::passing("leader", format!("the broker {node} is not known yet")));
        };
        let link = self.link(node);
        let mut slot = link.connection.lock().await;
        if let Some(open) = &*slot
            && !open.is_closed()
            && !open.is_expiring()
            && open.address() == &**address
        {
            return Ok(open.clone());
        }
        *slot = None;
        let open = Arc::new(Connection::open(address, &self.settings).await?);
        *slot = Some(open.clone());
        Ok(open)
    }

    /// Gives all connections up: nothing has come of them for too long.
    pub(super) async fn disconnect_all(&self) {
        let nodes: Vec<i32> = locked(&self.links).keys().copied().collect();
        for node in nodes {
            self.disconnect(node).await;
        }
    }

    async fn disconnect(&self, node: i32) {
        // Whoever makes a new connection at this moment has no old one to give up.
        if let Ok(mut slot) = self.link(node).connection.try_lock() {
            *slot = None;
        }
    }

    /// Notes that a broker wants to be left alone for a while.
    pub(super) fn throttle(&self, node: i32, throttle_ms: i32) {
        let Ok(wait_ms @ 1..) = u64::try_from(throttle_ms) else { return };
        let until = Instant::now() + Duration::from_millis(wait_ms).min(THROTTLE_MAX);
        let link = self.link(node);
        let mut hold = locked(&link.hold_until);
        *hold = Some(hold.map_or(until, |hold| hold.max(until)));
    }

    /// Until when a broker wants to be left alone.
    pub(super) fn held_until(&self, node: i32) -> Option<Instant> {
        let link = self.link(node);
        let mut hold = locked(&link.hold_until);
        *hold = hold.filter(|until| *until > Instant::now());
        *hold
    }

    fn link(&self, node: i32) -> Arc<Link> {
        locked(&self.links).entry(node).or_default().clone()
    }
}

/// A topic's name as the protocol has it.
pub(super) fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

async fn ask<R: Request>(
    connection: &Connection,
    at_most: i16,
    request: &R,
) -> Result<R::Response, Failure> {
    let version = connection.versions().newest::<R>(at_most)?;
    Ok(connection.start(version, request)?.await?)
}

fn silent(broker: &str) -> Failure {
    let text = format!("the broker {broker} does not answer; is it up, and is the network right?");
    Failure { class: "connection", text, is_passing: false, refresh: true }
}

/// Of several brokers' failures that one is told that waiting does not help against.
fn keep_worse(last: &mut Option<Failure>, failure: Failure) {
    if last.as_ref().is_none_or(|last| last.class != "security") {
        *last = Some(failure);
    }
}
