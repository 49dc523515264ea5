//! Follows a compacted topic without a group.
//!
//! In: the name of a topic. Out: every record from the beginning, then [`Followed::InStep`], then each
//! change; and `InStep` again every few seconds for as long as all leaders answer. Promises: what
//! cannot be read now is tried again for as long as somebody listens, with growing waits; a topic that
//! is deleted and made again is told from its beginning. One connection a leader; nothing else runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::select_all;
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::connection::{CallError, Connection};
use super::fetch::{self, FETCH_VERSION, FetchError, LIST_OFFSETS_VERSION, Place};
use super::leaders::{self, NOT_GRANTED, not_granted};
use super::opening::OpenError;
use super::problems::{Failure, Part as Met};
use crate::publish::Followed;

/// Waits between attempts: from the first to the second of these, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(8);
/// A topic that is not there may be made any time.
const ABSENT: Duration = Duration::from_secs(5);
/// After so long partitions and leaders are looked up again: a topic may have grown.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Least time between two words that nothing has changed.
const IN_STEP_EVERY: Duration = Duration::from_secs(2);
/// A leader that was silent for so long may have something new for us.
const SILENT: Duration = Duration::from_secs(15);
/// A broker that asks for a longer pause does not get it.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// Reads a topic from its beginning until the receiver is dropped.
pub(super) async fn follow(cluster: Arc<Cluster>, topic: String, told: mpsc::Sender<Followed>) {
    let mut follower = Follower {
        cluster,
        topic: TopicName(StrBytes::from_string(topic)),
        told: told.clone(),
        topic_id: 0,
        places: BTreeMap::new(),
        brokers: Vec::new(),
        connections: HashMap::new(),
        trouble: None,
        wait: RETRY_FIRST,
    };
    tokio::select! {
        () = follower.run() => {}
        () = told.closed() => {}
    }
}

struct Follower {
    cluster: Arc<Cluster>,
    topic: TopicName,
    told: mpsc::Sender<Followed>,
    topic_id: u128,
    /// Where each partition is read, kept over changes of leaders.
    places: BTreeMap<i32, Place>,
    /// Brokers that were heard of last; those of the settings may all be gone by now.
    brokers: Vec<String>,
    connections: HashMap<String, Connection>,
    /// What was logged last.
    trouble: Option<String>,
    wait: Duration,
}

/// Why a round ended that had begun well.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// None: it is only time to look again.
    #[error("it is time to look for leaders again")]
    Renew,
}

impl Follower {
    async fn run(&mut self) {
        loop {
            match leaders::find(self.cluster.settings(), &self.brokers, &self.topic).await {
                Ok(Some(leaders)) => match self.round(leaders).await {
                    Trouble::Renew => continue,
                    trouble => {
                        let failure = self.failure(trouble);
                        self.note(failure);
                    }
                },
                Ok(None) => {
                    // Kafka answers, and there is nothing to follow yet.
                    self.cluster.problems.over(Met::Followed);
                    self.trouble = None;
                    self.places.clear();
                    self.wait = RETRY_FIRST;
                    sleep(ABSENT).await;
                    continue;
                }
                Err(failure) => self.note(failure),
            }
            sleep(jittered(self.wait)).await;
            self.wait = (self.wait * 2).min(RETRY_LAST);
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let topic = self.topic.as_str();
        match trouble {
            Trouble::Open(error) => error.into(),
            Trouble::Call(error) => error.into(),
            Trouble::Fetch(FetchError::Code(NOT_GRANTED)) => not_granted(topic),
            Trouble::Fetch(FetchError::Code(code)) => {
                Failure::answered(code, &format!("the topic {topic}"), None)
            }
            other => Failure::passing("follow", format!("the topic {topic}: {other}")),
        }
    }

    /// Logs what is new, and shows what does not end by itself.
    fn note(&mut self, failure: Failure) {
        self.cluster.problems.met(Met::Followed, &failure, !failure.is_passing);
        if self.trouble.as_ref() != Some(&failure.text) {
            let topic = self.topic.as_str();
            tracing::warn!(error = failure.text, topic, "cannot read the topic now, trying on");
            self.trouble = Some(failure.text);
        }
    }

    /// Reads from these leaders until something goes wrong, or for some minutes.
    async fn round(&mut self, found: leaders::Leaders) -> Trouble {
        if found.topic_id != self.topic_id {
            self.topic_id = found.topic_id;
            self.places.clear();
        }
        self.brokers = found.brokers;
        let mut parts = Vec::new();
        for (index, (address, partitions)) in found.partitions.into_iter().enumerate() {
            let kept = self.connections.remove(&address);
            let usable = kept.filter(|old| !old.is_closed() && !old.is_expiring());
            let connection = match usable {
                Some(connection) => connection,
                None => match Connection::open(&address, self.cluster.settings()).await {
                    Ok(connection) => connection,
                    Err(error) => return error.into(),
                },
            };
            let place = |partition: &i32| {
                let start = || Place::start(*partition);
                self.places.get(partition).cloned().unwrap_or_else(start)
            };
            let places = partitions.iter().map(place).collect();
            parts.push(Part { index, connection, places });
        }
        self.connections.clear();
        let progress = Mutex::new(Progress::new(parts.len()));
        let trouble = {
            let follower = &*self;
            let runs = parts.iter_mut().map(|part| Box::pin(part.run(follower, &progress)));
            let all = select_all(runs);
            tokio::select! {
                (trouble, ..) = all => trouble,
                () = sleep(LOOK_AGAIN) => Trouble::Renew,
            }
        };
        for part in parts {
            self.places.extend(part.places.into_iter().map(|place| (place.partition, place)));
            let address = part.connection.address().to_owned();
            self.connections.insert(address, part.connection);
        }
        // What had been read shows that this was not the same trouble all along.
        if progress.into_inner().unwrap_or_else(PoisonError::into_inner).told.is_some() {
            self.trouble = None;
            self.wait = RETRY_FIRST;
        }
        trouble
    }
}

/// The partitions of one leader.
struct Part {
    index: usize,
    connection: Connection,
    places: Vec<Place>,
}

impl Part {
    async fn run(&mut self, follower: &Follower, progress: &Mutex<Progress>) -> Trouble {
        let (topic, told) = (&follower.topic, &follower.told);
        loop {
            match self.step(topic, told).await {
                Ok(has_news) => {
                    let in_step = !self.places.iter().any(|place| place.is_behind);
                    // The guard is gone before the next await.
                    let is_due = {
                        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                        progress.note(self.index, in_step, has_news, Instant::now())
                    };
                    if is_due {
                        follower.cluster.problems.over(Met::Followed);
                        if told.send(Followed::InStep).await.is_err() {
                            return FetchError::Unheard.into();
                        }
                    }
                }
                Err(trouble) => return trouble,
            }
            if self.connection.is_expiring() {
                return Trouble::Renew;
            }
        }
    }

    /// One question, one answer; answers whether there was something new.
    async fn step(
        &mut self,
        topic: &TopicName,
        told: &mpsc::Sender<Followed>,
    ) -> Result<bool, Trouble> {
        if self.places.iter().any(|place| place.next.is_none()) {
            let version =
                self.connection.versions().newest::<ListOffsetsRequest>(LIST_OFFSETS_VERSION)?;
            let question = fetch::ask_starts(topic, &self.places);
            let answer = self.connection.start(version, &question)?.await?;
            fetch::take_starts(&answer, &mut self.places)?;
        }
        // Only the first partition that has something gets a batch larger than its share.
        self.places.rotate_left(1);
        let version = self.connection.versions().newest::<FetchRequest>(FETCH_VERSION)?;
        let question = fetch::ask(topic, &self.places);
        let answer = self.connection.start(version, &question)?.await?;
        if answer.error_code != 0 {
            return Err(FetchError::Code(answer.error_code).into());
        }
        let mut has_news = false;
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let mut places = self.places.iter_mut();
            if let Some(place) = places.find(|place| place.partition == data.partition_index) {
                has_news |= fetch::take(data, place, told).await?;
            }
        }
        let pause = Duration::from_millis(u64::try_from(answer.throttle_time_ms).unwrap_or(0));
        if !pause.is_zero() {
            sleep(pause.min(THROTTLE_MAX)).await;
        }
        if !has_news && self.places.iter().any(|place| place.is_behind) {
            return Err(FetchError::Nonsense("has nothing where there has to be more").into());
        }
        Ok(has_news)
    }
}

/// Who is in step, and what was told of it.
struct Progress {
    /// Of each leader: in step, and when it answered last.
    leaders: Vec<(bool, Option<Instant>)>,
    /// Something came since we told.
    is_new: bool,
    told: Option<Instant>,
}

impl Progress {
    fn new(leaders: usize) -> Self {
        Self { leaders: vec![(false, None); leaders], is_new: true, told: None }
    }

    /// Takes down an answer; answers whether to tell that we are in step.
    fn note(&mut self, leader: usize, in_step: bool, has_news: bool, now: Instant) -> bool {
        if let Some(entry) = self.leaders.get_mut(leader) {
            *entry = (in_step, Some(now));
        }
        self.is_new |= has_news;
        let is_fresh = |answered: &Option<Instant>| {
            answered.is_some_and(|answered| now.duration_since(answered) <= SILENT)
        };
        let all_in_step =
            self.leaders.iter().all(|(in_step, answered)| *in_step && is_fresh(answered));
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= IN_STEP_EVERY);
        if !all_in_step || !(self.is_new || is_due) {
            return false;
        }
        self.told = Some(now);
        self.is_new = false;
        true
    }
}

/// Half to all of it: agents that lost the same broker do not come back as one.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0];
    // Without random numbers all of it.
    let share = if getrandom::fill(&mut random).is_ok() { random[0] } else { u8::MAX };
    wait.mul_f64(0.5 + f64::from(share) / 510.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
