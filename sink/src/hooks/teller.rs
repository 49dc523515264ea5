//! Teller: tells one receiver all alerts, in their order, for as long as it takes.
//!
//! In: the topic of alerts, by a consumer group of the receiver's own. Out: POSTs; committed offsets. One loop owns all state; a
//! try is a task beside it, at most one at a time, so that the group is kept while a receiver is slow.
//!
//! Promises: a record is told before its offset is committed, so at least once; the next record of any alert is
//! not tried before the one before it was taken or refused for good, so in order. A receiver that is away
//! stops this loop and nothing else: memory is bounded by what is read ahead, and the rest waits in Kafka. A partition is given back
//! when the try that runs has ended, so that nobody else tells the same at the same time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use weir_models::alert::AlertState;
use weir_models::event::Reader;
use weir_models::metric::{SINK_HOOK_BEHIND, SINK_HOOK_FAILED, SINK_HOOK_REFUSED, SINK_HOOK_TOLD};
use weir_models::time::now_us;

use super::lanes::{Due, Lanes};
use super::memory::{FIRING_MAX, Firing, Known, Name, Place, TIDY_EVERY, repeated_since};
use super::receiver::{Letter, Receiver};
use super::verdict::Verdict;
use crate::backoff::Backoff;
use crate::consume::{ConsumeError, Consumer, Partition, Polled, Record};
use crate::decode::{Decoded, decode};
use crate::status::{Part, Status};

/// Records that are read ahead.
const AHEAD: usize = 32;
/// Alerts of one repetition.
const REPEATED: usize = 64;
/// The loop goes round at least so often.
const ROUND: Duration = Duration::from_secs(1);
/// What was told is committed after so long: what a crash tells twice.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// How long the try that runs may still take at a stop, and then the commit.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// One try.
enum Try {
    New(Box<Head>),
    Repeat(Vec<Place>),
}

/// The record that is told next.
struct Head {
    place: Place,
    ts_ms: i64,
    letter: Letter,
}

/// Who waits until partitions were let go.
type GivingBack = oneshot::Sender<()>;

/// The state of one hook.
pub(super) struct Teller {
    receiver: Arc<Receiver>,
    part: Part,
    consumer: Box<dyn Consumer>,
    status: Arc<Status>,
    lanes: Lanes,
    ahead: VecDeque<Record>,
    head: Option<Box<Head>>,
    known: Known,
    firing: Firing,
    trying: JoinSet<(Try, Verdict)>,
    /// Stamp of the record that is being told.
    telling_ms: Option<i64>,
    /// Whether the last try was a repetition: both have their turn.
    was_repeat: bool,
    backoff: Backoff,
    committing: Backoff,
    /// Most that is repeated at once.
    batch: usize,
    commit_at: Instant,
    tidy_at: Instant,
    giving_back: Vec<GivingBack>,
}

impl Teller {
    pub(super) fn new(
        receiver: Arc<Receiver>,
        part: Part,
        consumer: Box<dyn Consumer>,
        status: Arc<Status>,
    ) -> Self {
        let now = Instant::now();
        Self {
            receiver,
            part,
            consumer,
            status,
            lanes: Lanes::default(),
            ahead: VecDeque::new(),
            head: None,
            known: Known::default(),
            firing: Firing::default(),
            trying: JoinSet::new(),
            telling_ms: None,
            was_repeat: false,
            backoff: Backoff::default(),
            batch: REPEATED,
            committing: Backoff::default(),
            commit_at: now,
            tidy_at: now + TIDY_EVERY,
            giving_back: Vec::new(),
        }
    }

    /// Tells until `stop` becomes true or its sender is gone, then leaves the group.
    ///
    /// # Errors
    /// When its client of Kafka is broken for good; another one may go on.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ConsumeError> {
        let result = self.until_stopped(&mut stop).await;
        // Leaving the group waits for the broker, so it is done where waiting is allowed.
        let left = tokio::task::spawn_blocking(move || drop(self.consumer)).await;
        if let Err(error) = left {
            tracing::warn!(%error, "a hook did not leave its group");
        }
        result
    }

    async fn until_stopped(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), ConsumeError> {
        loop {
            self.find_head();
            self.start_try();
            tokio::select! {
                biased;
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => return self.end().await,
                committed = self.commit_due() => committed?,
            }
            self.show();
            let wait = self.wait();
            let room = if self.ahead.is_empty() { AHEAD } else { 0 };
            tokio::select! {
                biased;
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => return self.end().await,
                Some(done) = self.trying.join_next() => match done {
                    Ok((tried, verdict)) => self.tried(tried, &verdict),
                    // A defect in the task: its record is still the next one when it is read again.
                    Err(error) => return Err(ConsumeError::Fatal(error.to_string())),
                },
                polled = self.consumer.poll(room, wait) => self.polled(polled?),
            }
        }
    }

    /// Finishes the try that runs, if it ends soon, and commits what was told.
    async fn end(&mut self) -> Result<(), ConsumeError> {
        if let Ok(Some(Ok((tried, verdict)))) = timeout(STOP_WITHIN, self.trying.join_next()).await
        {
            self.tried(tried, &verdict);
        }
        self.trying.abort_all();
        let offsets = self.lanes.to_commit(|partition| self.firing.oldest(partition));
        let commit = timeout(STOP_WITHIN, self.consumer.commit(&offsets));
        if !offsets.is_empty() && !matches!(commit.await, Ok(Ok(()))) {
            let hook = &self.receiver.name;
            tracing::warn!(hook, "what was told last is told again at the next start");
        }
        Ok(())
    }

    fn polled(&mut self, polled: Vec<Polled>) {
        for change in polled {
            match change {
                Polled::Assigned(partition, committed) => {
                    self.lanes.assigned(partition, committed, now_us() / 1_000);
                }
                Polled::Revoked(partitions, done) => self.revoked(&partitions, done),
                Polled::Records(records) => self.ahead.extend(records),
            }
        }
    }

    fn revoked(&mut self, partitions: &[Partition], done: GivingBack) {
        self.lanes.revoked(partitions);
        self.ahead.retain(|record| !partitions.contains(&record.partition));
        self.head.take_if(|head| partitions.contains(&head.place.0));
        let lanes = &self.lanes;
        self.firing.retain(i64::MIN, |partition| lanes.has(partition));
        if self.head.is_none() && self.trying.is_empty() {
            self.worked();
        }
        self.giving_back.push(done);
        self.give_back();
    }

    /// Lets go of partitions when nothing is told any more.
    fn give_back(&mut self) {
        if self.trying.is_empty() {
            for done in self.giving_back.drain(..) {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    /// Goes through what was read until something is to be told.
    fn find_head(&mut self) {
        while self.head.is_none()
            && self.telling_ms.is_none()
            && let Some(record) = self.ahead.pop_front()
        {
            let due = self.lanes.judge(&record, now_us() / 1_000);
            let (partition, offset, ts_ms) = (record.partition, record.offset, record.ts_ms);
            // What is no alert became a dead letter in the pipeline.
            if due != Due::Nothing
                && let Ok(Decoded::Alert(alert)) = decode(&record, &mut Reader::default())
                && self.receiver.wants(alert.data.kind)
            {
                let name = Name::of(&alert);
                let is_known = self.known.has(name, alert.data.state);
                let letter = Letter { alert, json: record.value.unwrap_or_default() };
                let head = Box::new(Head { place: (partition, offset), ts_ms, letter });
                if due == Due::Tell && !is_known {
                    self.head = Some(head);
                    continue;
                } else if !self.known.is_resolved(name) {
                    // Also what is known to fire: after its partition went and came back it is to be repeated again.
                    self.remember(&head, ts_ms.min(now_us() / 1_000), Instant::now());
                }
            }
            self.lanes.done(partition, offset);
        }
    }

    fn start_try(&mut self) {
        let now = Instant::now();
        if !self.trying.is_empty() || !self.giving_back.is_empty() || !self.backoff.ready(now) {
            return;
        }
        let repeats = (self.head.is_none() || !self.was_repeat)
            .then(|| self.firing.due(now, self.batch, |partition| self.lanes.is_whole(partition)));
        let receiver = Arc::clone(&self.receiver);
        if let Some((places, cards)) = repeats.filter(|(places, _)| !places.is_empty()) {
            self.was_repeat = true;
            self.trying.spawn(async move {
                let verdict = receiver.repeat_now(&cards).await;
                (Try::Repeat(places), verdict)
            });
        } else if let Some(head) = self.head.take() {
            self.was_repeat = false;
            self.telling_ms = Some(head.ts_ms);
            self.trying.spawn(async move {
                let verdict = receiver.tell(&head.letter).await;
                (Try::New(head), verdict)
            });
        }
    }

    fn tried(&mut self, tried: Try, verdict: &Verdict) {
        let now = Instant::now();
        self.judged(verdict, now);
        self.telling_ms = None;
        let is_done = matches!(verdict, Verdict::Told | Verdict::Refused(_));
        match tried {
            Try::New(head) if is_done => self.told(&head, verdict, now),
            // Its partition may be somebody else's by now.
            Try::New(head) if self.lanes.has(head.place.0) => self.head = Some(head),
            Try::New(_) => self.worked(),
            Try::Repeat(places) if is_done => self.repeated(&places, verdict, now),
            Try::Repeat(_) => {}
        }
        self.give_back();
    }

    /// What still fires was told again. When all of it is refused, fewer are tried, until the one that cannot be
    /// taken is alone: it is left out, and the others are not resolved for its sake.
    fn repeated(&mut self, places: &[Place], verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Refused(_) if places.len() > 1 => self.batch = places.len() / 2,
            Verdict::Refused(why) => {
                let hook = &self.receiver.name;
                tracing::warn!(hook, why, "an alert that fires is not taken again; it is left out");
                places.iter().for_each(|place| self.firing.leave_out(*place));
            }
            _ => {
                self.batch = (2 * self.batch).min(REPEATED);
                self.firing.repeated(places, now + self.receiver.repeat().unwrap_or(ROUND));
            }
        }
    }

    /// What a verdict says of the receiver.
    fn judged(&mut self, verdict: &Verdict, now: Instant) {
        let name = self.receiver.name.clone();
        if let Some(reason) = verdict.label() {
            counter!(SINK_HOOK_FAILED.name, "hook" => name.clone(), "reason" => reason)
                .increment(1);
        }
        match verdict {
            Verdict::Told | Verdict::Refused(_) => self.worked(),
            Verdict::Again(why, away) => {
                self.backoff.failed_for(now, *away);
                self.status
                    .problem(self.part, format!("hook `{name}`: {why}; alerts wait in Kafka"));
            }
            Verdict::Wrong(why) => {
                self.backoff.failed(now);
                self.status
                    .problem(self.part, format!("hook `{name}`: {why}; alerts wait in Kafka"));
            }
        }
    }

    /// The receiver answers, or there is nothing to tell.
    fn worked(&mut self) {
        if self.backoff.failing() {
            self.lanes.waited(now_us() / 1_000);
        }
        self.backoff.worked();
        self.status.fine(self.part);
    }

    /// A record was told, or refused for good.
    fn told(&mut self, head: &Head, verdict: &Verdict, now: Instant) {
        let (name, alert) = (self.receiver.name.clone(), &head.letter.alert);
        let is_resolved = alert.data.state == AlertState::Resolved;
        let state = if is_resolved { "resolved" } else { "firing" };
        if let Verdict::Refused(why) = verdict {
            tracing::error!(
                hook = name,
                id = alert.id,
                subject = alert.subject,
                why,
                "the receiver refuses this alert; it is left out"
            );
            counter!(SINK_HOOK_REFUSED.name, "hook" => name, "state" => state).increment(1);
        } else {
            counter!(SINK_HOOK_TOLD.name, "hook" => name, "state" => state).increment(1);
        }
        // What is refused is not repeated, and what is resolved no longer.
        if *verdict == Verdict::Told || is_resolved {
            let due = now + self.receiver.repeat().unwrap_or(ROUND);
            self.remember(head, now_us() / 1_000, due);
        } else {
            self.known.add(Name::of(alert), alert.data.state);
        }
        self.lanes.done(head.place.0, head.place.1);
    }

    /// Remembers what was told, and to repeat from `due` on what fires since `since_ms`.
    fn remember(&mut self, head: &Head, since_ms: i64, due: Instant) {
        let alert = &head.letter.alert;
        let name = Name::of(alert);
        self.known.add(name, alert.data.state);
        if self.receiver.repeat().is_none() || !self.lanes.has(head.place.0) {
            return;
        }
        let is_old = since_ms < repeated_since(now_us() / 1_000);
        if alert.data.state == AlertState::Resolved || is_old {
            self.firing.remove(name);
            return;
        }
        let card = Arc::new(self.receiver.card(alert));
        if self.firing.add(name, head.place, card, since_ms, due) {
            tracing::warn!(
                hook = self.receiver.name,
                most = FIRING_MAX,
                "too many alerts fire at once: the oldest one is no longer repeated"
            );
        }
    }

    async fn commit_due(&mut self) -> Result<(), ConsumeError> {
        let now = Instant::now();
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY_EVERY;
            self.firing.retain(repeated_since(now_us() / 1_000), |_| true);
        }
        if now < self.commit_at || !self.committing.ready(now) {
            return Ok(());
        }
        let offsets = self.lanes.to_commit(|partition| self.firing.oldest(partition));
        if offsets.is_empty() {
            return Ok(());
        }
        let result = self.consumer.commit(&offsets).await;
        self.commit_at = Instant::now() + COMMIT_EVERY;
        match result {
            Ok(()) => {
                self.lanes.committed(offsets);
                self.committing.worked();
            }
            Err(fatal @ ConsumeError::Fatal(_)) => return Err(fatal),
            // The next round tries again, or learns that the partition is gone.
            Err(error) => {
                self.committing.failed(Instant::now());
                tracing::debug!(hook = self.receiver.name, %error, "cannot commit yet");
            }
        }
        Ok(())
    }

    /// How far the receiver is behind.
    fn show(&self) {
        let head_ms = self.head.as_ref().map(|head| head.ts_ms);
        let oldest_ms = self.telling_ms.or(head_ms);
        let behind_ms = oldest_ms.map_or(0, |ms| (now_us() / 1_000 - ms).max(0));
        let behind_s = Duration::from_millis(behind_ms.unsigned_abs()).as_secs_f64();
        gauge!(SINK_HOOK_BEHIND.name, "hook" => self.receiver.name.clone()).set(behind_s);
    }

    /// Until when nothing happens by itself.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let mut next = now + ROUND;
        if self.trying.is_empty() {
            if self.head.is_some() {
                next = next.min(self.backoff.until(now));
            } else if let Some(due) =
                self.firing.next_due(|partition| self.lanes.is_whole(partition))
            {
                next = next.min(due.max(self.backoff.until(now)));
            }
        }
        let commit = self.commit_at.max(self.committing.until(now));
        if commit > now {
            next = next.min(commit);
        }
        next.saturating_duration_since(now).max(Duration::from_millis(1))
    }
}

/// Tells one receiver until `stop`, with a new client of Kafka whenever one is broken for good.
pub(super) async fn keep(
    receiver: Receiver,
    part: Part,
    connect: impl Fn(&str) -> Result<Box<dyn Consumer>, ConsumeError> + Send,
    status: Arc<Status>,
    mut stop: watch::Receiver<bool>,
) {
    let receiver = Arc::new(receiver);
    let mut backoff = Backoff::default();
    loop {
        let ended = match connect(&receiver.name) {
            Ok(consumer) => {
                status.fine(part);
                let teller =
                    Teller::new(Arc::clone(&receiver), part, consumer, Arc::clone(&status));
                teller.run(stop.clone()).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        status.problem(part, format!("hook `{}`: {error}; it begins anew", receiver.name));
        let now = Instant::now();
        backoff.failed(now);
        tokio::select! {
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => return,
            () = sleep(backoff.until(now) - now) => {}
        }
    }
}
