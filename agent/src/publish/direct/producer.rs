//! What a lane has sent, what Kafka has taken, and what follows from an answer. No network here.
//!
//! In: groups as batches, and the answers of Kafka. Out: sequences to stamp, groups that are done,
//! and how the next epoch begins.
//!
//! The rules:
//! - Sequences are given in the order of the lane's groups, per topic and partition, from the
//!   checkpoint on. The same groups get the same sequences again, so what Kafka has already is
//!   recognised there; what we know it has is not even sent.
//! - Whatever would give a record another sequence takes a new epoch of the producer id: then all
//!   sequences begin at 0, and Kafka takes nothing more of the old ones.
//! - At most five batches of a partition are under way, because that many are remembered by the
//!   broker. Only one, while the broker may not know our id there: it would take any sequence then, also
//!   one that comes too early because the batch before it failed.
//! - After a restart up to four groups may have been sent already. Batches of them that are older than
//!   the five that the broker remembers are answered by 45: they are passed over, and
//!   count as taken as soon as a later one of the partition is taken.

mod plan;
mod search;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch::{Batch, Counts};
use super::cluster::View;
use super::errors::{Class, class};
use super::problems::Failure;
use super::state::{Here, ProducerId, State};
use crate::publish::PublishError;
use crate::spool::{Group, Position};

pub(super) use plan::Renewal;

/// What a broker remembers of a producer and partition.
const BATCHES_IN_FLIGHT_MAX: usize = 5;
/// Requests of a strand under way at a time: up to seven strands, two of each lane but that of alerts,
/// share a connection, which takes a hundred.
const REQUESTS_MAX: usize = 12;
/// For how long a broker surely remembers a producer, counted from the time stamp of its last batch
/// (`producer.id.expiration.ms` is a day).
const REMEMBERED_MS: i64 = 12 * 3_600_000;
/// The year 2020: a clock before it is not set yet, so the age of a time stamp is not known.
const CLOCK_SET_MS: i64 = 1_577_836_800_000;
/// How long to wait for a later batch to confirm those that were passed over.
pub(super) const CONFIRMED_WITHIN: Duration = Duration::from_millis(900);
/// Longest time without any answer while something is under way.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How a group is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) counts: Counts,
    /// One batch of it was refused: find the bad record.
    pub(super) is_slow: bool,
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which group of the epoch it is of.
    pub(super) serial: u64,
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    /// Records sent before it, and with it.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Largest time stamp in it.
    pub(super) max_ts_ms: i64,
}

/// A group that was handed over.
pub(super) struct HandedOver {
    pub(super) producer: ProducerId,
    pub(super) serial: u64,
    /// By batch; none where Kafka has it already.
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) done: oneshot::Receiver<Result<Bytes, PublishError>>,
    /// It may have been sent by an earlier process.
    pub(super) is_doubtful: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Partition {
    /// Records that Kafka has.
    taken: u64,
    /// Batches under way in this epoch.
    in_flight: usize,
    /// Largest time stamp of the last batch taken.
    taken_ts_ms: i64,
}

struct UnderWay {
    serial: u64,
    end: Position,
    /// By topic and partition, what has to be taken.
    targets: Vec<(Arc<str>, u32, u64)>,
    /// The state after it.
    after: Bytes,
    done: oneshot::Sender<Result<Bytes, PublishError>>,
}

/// One lane.
pub(super) struct Producer {
    epoch: u64,
    state: Option<State>,
    partitions: BTreeMap<Arc<str>, Vec<Partition>>,
    under_way: VecDeque<UnderWay>,
    /// Batches and requests under way in this epoch.
    in_flight: usize,
    requests: usize,
    /// A group is being handed over.
    pub(super) is_handing: bool,
    /// Groups from the checkpoint on that may have been sent by an earlier process.
    doubtful: usize,
    /// Of them, those that were sent with the present sequences.
    resumed: usize,
    over: Option<PublishError>,
    renewal: Option<Renewal>,
    wanted: BTreeSet<Arc<str>>,
    is_to_recount: bool,
    refused_in: Option<Position>,
    /// Leaders may have changed.
    pub(super) is_view_stale: bool,
    handed_to: Option<Position>,
    next_serial: u64,
    /// Failures in a row.
    pub(super) failures: u32,
    gaps: u32,
    progress: Instant,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            epoch: 0,
            state: None,
            partitions: BTreeMap::new(),
            under_way: VecDeque::new(),
            in_flight: 0,
            requests: 0,
            is_handing: false,
            doubtful: 0,
            resumed: 0,
            over: None,
            renewal: None,
            wanted: BTreeSet::new(),
            is_to_recount: false,
            refused_in: None,
            is_view_stale: false,
            handed_to: None,
            next_serial: 0,
            failures: 0,
            gaps: 0,
            progress: Instant::now(),
        }
    }
}

fn failed(text: &str) -> PublishError {
    PublishError::Failed(text.into())
}

impl Producer {
    /// Topics that are needed for the next group.
    pub(super) fn wanted(&self) -> &BTreeSet<Arc<str>> {
        &self.wanted
    }

    /// How to send the next group. `began` is the cluster as it was when the epoch began, `view` as
    /// it is now.
    ///
    /// # Errors
    /// When the epoch is over, or has to be begun anew for this group.
    pub(super) fn layout(
        &mut self,
        epoch: u64,
        group: &Group,
        began: &View,
        view: &View,
    ) -> Result<Layout, PublishError> {
        self.check(epoch)?;
        let Some(state) = &self.state else { return Err(failed("the lane has not begun")) };
        let mut counts = Counts::new();
        let mut again = None;
        // Once a group was sent for some number of partitions, it is always sent for that number:
        // in other partitions its records would not be recognised as sent before.
        let is_new = self.handed_to < Some(group.end) && self.doubtful <= self.under_way.len();
        for frame in &group.frames {
            let known = state.topics.get(&frame.topic);
            match known.filter(|_| began.topic(&frame.topic).is_some()) {
                None => {
                    self.wanted.insert(frame.topic.clone());
                    again = Some("a topic is new");
                }
                Some(topic) => {
                    let count = topic.sent.len();
                    let grown = view.topic(&frame.topic).is_some_and(|t| t.leaders.len() > count);
                    if grown && is_new {
                        self.is_to_recount = true;
                        self.wanted.insert(frame.topic.clone());
                        again = Some("a topic has more partitions");
                    }
                    counts.insert(frame.topic.clone(), u32::try_from(count).unwrap_or(u32::MAX));
                }
            }
        }
        if let Some(reason) = again {
            let error = PublishError::BeginAgain(reason.into());
            self.over = Some(error.clone());
            return Err(error);
        }
        Ok(Layout { counts, is_slow: self.refused_in == Some(group.end) })
    }

    /// Whether the epoch goes on.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn check(&self, epoch: u64) -> Result<(), PublishError> {
        match &self.over {
            _ if epoch != self.epoch => Err(failed("another epoch has begun")),
            Some(over) => Err(over.clone()),
            None => Ok(()),
        }
    }

    /// The present epoch.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether no answer is waited for.
    pub(super) fn is_free(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.in_flight == 0
    }

    /// Gives sequences to a group.
    ///
    /// # Errors
    /// When the epoch is over.
    pub(super) fn hand_over(
        &mut self,
        epoch: u64,
        end: Position,
        batches: &[Batch],
        here: Here,
    ) -> Result<HandedOver, PublishError> {
        self.check(epoch)?;
        let serial = self.next_serial;
        let mut entries = Vec::with_capacity(batches.len());
        let mut targets: Vec<(Arc<str>, u32, u64)> = Vec::new();
        for batch in batches {
            let Some(entry) = self.number(serial, batch) else {
                return Err(failed("a batch is for a partition that does not exist"));
            };
            let same = |t: &&mut (Arc<str>, u32, u64)| t.0 == entry.topic && t.1 == entry.partition;
            match targets.iter_mut().find(same) {
                Some(target) => target.2 = entry.end,
                None => targets.push((entry.topic.clone(), entry.partition, entry.end)),
            }
            let is_taken =
                self.partition(&entry.topic, entry.partition).is_some_and(|p| p.taken >= entry.end);
            entries.push((!is_taken).then_some(entry));
        }
        let Some(state) = &self.state else { return Err(failed("the lane has not begun")) };
        let (producer, after) = (state.producer, state.encode(here).into());
        let is_doubtful = self.under_way.len() < self.resumed;
        let (done, receiver) = oneshot::channel();
        self.under_way.push_back(UnderWay { serial, end, targets, after, done });
        self.next_serial += 1;
        self.handed_to = self.handed_to.max(Some(end));
        self.is_handing = true;
        self.progress = Instant::now();
        self.complete();
        Ok(HandedOver { producer, serial, entries, done: receiver, is_doubtful })
    }

    /// The next sequences of a partition, for one batch.
    fn number(&mut self, serial: u64, batch: &Batch) -> Option<Entry> {
        let topic = self.state.as_mut()?.topics.get_mut(&batch.topic)?;
        let sent = topic.sent.get_mut(batch.partition as usize)?;
        let start = *sent;
        *sent += u64::from(batch.records);
        let max_ts_ms = max_ts_ms(&batch.bytes);
        let (topic, partition) = (batch.topic.clone(), batch.partition);
        Some(Entry { serial, topic, partition, start, end: *sent, max_ts_ms })
    }

    fn partition(&self, topic: &str, number: u32) -> Option<&Partition> {
        self.partitions.get(topic)?.get(number as usize)
    }

    fn partition_mut(&mut self, topic: &str, number: u32) -> Option<&mut Partition> {
        self.partitions.get_mut(topic)?.get_mut(number as usize)
    }

    /// Whether these may leave now.
    pub(super) fn has_room(&self, entries: &[&Entry], now_ms: i64) -> bool {
        let is_free = |entry: &&Entry| {
            self.partition(&entry.topic, entry.partition)
                .is_none_or(|partition| partition.in_flight < partition.in_flight_max(now_ms))
        };
        self.requests < REQUESTS_MAX && entries.iter().all(is_free)
    }

    /// These leave now.
    pub(super) fn leave(&mut self, entries: &[&Entry]) {
        self.requests += 1;
        for entry in entries {
            if let Some(partition) = self.partition_mut(&entry.topic, entry.partition) {
                partition.in_flight += 1;
            }
            self.in_flight += 1;
        }
    }

    /// These were answered, each by an error code; answers why the epoch is over, if it is now.
    pub(super) fn answered(
        &mut self,
        epoch: u64,
        producer: ProducerId,
        answers: Vec<(Entry, i16, Option<String>)>,
    ) -> Option<Failure> {
        // An answer to an older epoch tells as well what Kafka has, as long as sequences go on.
        if self.state.as_ref().map(|state| state.producer) != Some(producer) {
            return None;
        }
        let mut first = None;
        let is_now = epoch == self.epoch;
        self.requests = self.requests.saturating_sub(usize::from(is_now));
        for (entry, code, told) in answers {
            let left = usize::from(is_now);
            self.in_flight = self.in_flight.saturating_sub(left);
            let Some(partition) = self.partition_mut(&entry.topic, entry.partition) else {
                continue;
            };
            partition.in_flight = partition.in_flight.saturating_sub(left);
            if class(code) == Class::Done {
                if entry.end > partition.taken {
                    partition.taken = entry.end;
                    partition.taken_ts_ms = entry.max_ts_ms;
                    self.gaps = 0;
                }
            } else if is_now {
                let failure = self.refused(&entry, code, told.as_deref());
                first = first.or(failure);
            }
        }
        self.progress = Instant::now();
        self.complete();
        first
    }

    fn refused(&mut self, entry: &Entry, code: i16, told: Option<&str>) -> Option<Failure> {
        let what = format!("the topic {}, partition {}", entry.topic, entry.partition);
        let failure = Failure::answered(code, &what, told);
        let is_over = self.over.is_some();
        let mut renewal = None;
        match class(code) {
            Class::Gap => {
                let place = self.under_way.iter().position(|group| group.serial == entry.serial);
                if place.is_some_and(|place| place < self.resumed) {
                    // Older than what the broker remembers, or so it seems: see `watch`.
                    return None;
                }
                if !is_over {
                    self.gaps += 1;
                    renewal = (self.gaps > 1).then_some(Renewal::Epoch);
                }
            }
            Class::Renew => renewal = Some(if code == 59 { Renewal::Epoch } else { Renewal::Id }),
            Class::Refused if !is_over => renewal = Some(Renewal::Epoch),
            _ => {}
        }
        if class(code) == Class::Refused && !is_over {
            let group = self.under_way.iter().find(|group| group.serial == entry.serial);
            self.refused_in = group.map(|group| group.end);
        }
        self.renewal = self.renewal.max(renewal);
        self.fail(entry.serial, &failure);
        (!is_over).then_some(failure)
    }

    /// Ends the epoch: this group and those after it have failed, those before it may still end well.
    pub(super) fn fail(&mut self, serial: u64, failure: &Failure) {
        if self.over.is_none() {
            self.failures += 1;
        }
        self.is_view_stale |= failure.refresh;
        let error = PublishError::Failed(failure.text.clone());
        self.over.get_or_insert_with(|| error.clone());
        while self.under_way.back().is_some_and(|group| group.serial >= serial) {
            if let Some(group) = self.under_way.pop_back() {
                let _ = group.done.send(Err(error.clone()));
            }
        }
    }

    /// The groups that are done now, in order.
    fn complete(&mut self) {
        while let Some(group) = self.under_way.front() {
            let is_taken = |(topic, number, end): &(Arc<str>, u32, u64)| {
                self.partition(topic, *number).is_some_and(|partition| partition.taken >= *end)
            };
            if !group.targets.iter().all(is_taken) {
                return;
            }
            let Some(group) = self.under_way.pop_front() else { return };
            self.done();
            let _ = group.done.send(Ok(group.after));
        }
    }

    fn done(&mut self) {
        self.doubtful = self.doubtful.saturating_sub(1);
        self.resumed = self.resumed.saturating_sub(1);
        self.failures = 0;
    }

    /// Looks whether a group that is not done will ever be; answers why not.
    pub(super) fn watch(&mut self, epoch: u64) -> Option<Failure> {
        if epoch != self.epoch || self.over.is_some() || self.is_handing {
            return None;
        }
        let serial = self.under_way.front()?.serial;
        let failure = if self.in_flight == 0 {
            if self.progress.elapsed() < CONFIRMED_WITHIN {
                return None;
            }
            // All was passed over, and nothing was taken: the broker has lost what it knew of us.
            self.renewal = self.renewal.max(Some(Renewal::Epoch));
            Failure::passing("gap", "Kafka no longer knows our sequences; they begin anew")
        } else if self.progress.elapsed() >= STUCK_AFTER {
            Failure::passing(
                "stuck",
                "nothing was answered for a minute; connections are made anew",
            )
        } else {
            return None;
        };
        self.fail(serial, &failure);
        Some(failure)
    }
}

impl Partition {
    /// Batches that may be under way at a time.
    fn in_flight_max(&self, now_ms: i64) -> usize {
        let is_remembered = now_ms > CLOCK_SET_MS
            && self.taken_ts_ms > CLOCK_SET_MS
            && now_ms.saturating_sub(self.taken_ts_ms) < REMEMBERED_MS;
        if is_remembered { BATCHES_IN_FLIGHT_MAX } else { 1 }
    }
}

/// The largest time stamp of a batch; 0 if it is none.
fn max_ts_ms(batch: &[u8]) -> i64 {
    const AT: usize = 35;
    let field = batch.get(AT..).and_then(|rest| rest.first_chunk());
    field.copied().map_or(0, i64::from_be_bytes)
}
