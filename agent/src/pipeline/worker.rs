//! The stages from parse to spool, on one thread.
//!
//! In: inputs from the sources. Out: events in the spool, then the word to the sources that they are
//! safe; a loss marker in the lane of whatever the spool has lost. When the spool takes nothing
//! (budget or disk full, and nothing that may give way) nothing more is taken from the sources until
//! it does: they wait, and their peers with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use weir_models::device::LaneStatus;
use weir_models::event::{Clock, Event, Loss};
use weir_models::ident::EventId;
use weir_models::metric;
use weir_models::time::now_us;
use weir_models::topic::{Topic, TopicNames};

use super::route::{lane_of, record_key};
use super::tally::Tally;
use crate::central::Order;
use crate::clock::GatewayClock;
use crate::config::Config;
use crate::enrich::{Enricher, Table};
use crate::filter::{Filter, Verdict};
use crate::parse::event::{Parsed, Parser};
use crate::publish::Transport;
use crate::score::{Draft, Scorer};
use crate::source::pace::{Much, Pace, set_flush_every};
use crate::source::{Format, Input, Source, at, stopping};
use crate::spool::log::Cause;
use crate::spool::{Lane, LaneStats, Spool, WhenFull};
use crate::status::Counters;
use crate::tap::{Passing, Taps};
pub(super) use swap::Swap;

mod report;
mod silence;
mod swap;

/// So many payloads are not left for a while.
const MUCH: Much = Much { short: 512, long: 2_048 };
/// So long at most an answer waits for the flush: meanwhile its peer may send nothing (HTTP) or not much
/// (the window of RELP, messages in flight of MQTT).
const ANSWER: Duration = Duration::from_millis(25);
/// How long to wait before a flush that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How the spool fares.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each lane.
    pub lanes: Vec<LaneStatus>,
    /// Events in memory, before the next flush.
    pub pending: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Each lane's counters, with its name.
    pub spool: Vec<(&'static str, LaneStats)>,
    /// Events taken away, by filter rule.
    pub filtered: BTreeMap<String, u64>,
    /// Devices that are known.
    pub devices: u64,
    /// When what is known of them was last in step with its origin, microseconds since the Unix epoch.
    pub metadata_us: Option<i64>,
    /// Series being scored.
    pub series: u64,
    /// Whether the clock is to be trusted.
    pub clock: Clock,
    /// Bytes of memory that parts hold, as far as they know, with their names.
    pub memory: Vec<(&'static str, u64)>,
}

impl Report {
    /// Events lost in the spool since the start, by lane and reason.
    pub fn lost(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.spool.iter().flat_map(|(lane, stats)| {
            let damaged = (*lane, Cause::Damaged.reason(), stats.skipped_events);
            let dropped = (*lane, Cause::Dropped.reason(), stats.dropped_events);
            [damaged, dropped].into_iter().filter(|(.., count)| *count > 0)
        })
    }

    /// Stamp of the oldest event on disk that Kafka does not have yet, milliseconds since the Unix epoch.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.spool.iter().filter_map(|(_, stats)| stats.oldest_ms).min()
    }

    /// Events that Kafka does not have yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.pending + self.lanes.iter().map(|lane| lane.waiting).sum::<u64>()
    }
}

/// What the worker shares with the other tasks.
pub(super) struct Shared {
    pub(super) table: Arc<Table>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) names: TopicNames,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Arc<GatewayClock>,
    pub(super) taps: Arc<Taps>,
}

/// The stages.
pub(super) struct Worker {
    enricher: Enricher,
    shared: Shared,
    parser: Parser,
    filter: Filter,
    scorer: Scorer,
    spool: Spool,
    partitions_assumed: u32,
    /// Of readings and of logs, as they were known when the last wake-up began.
    partitions: [u32; 2],
    flush_every: Duration,
    sync_every: Duration,
    flushed: watch::Sender<u64>,
    /// Sources to tell after the next flush.
    waiting: Vec<oneshot::Sender<()>>,
    /// Whether peers wait for some of them.
    is_awaited: bool,
    drafts: Vec<Draft>,
    tally: Tally,
    /// Seconds since the start in which inputs were taken.
    open_s: u32,
    /// Of the record at hand; kept, so that it costs no allocation.
    key: String,
    /// By the index of a source.
    when_full: Vec<WhenFull>,
    /// Whether somebody looks on, as it was when the input at hand came.
    is_tapped: bool,
    /// In whose name the spool's losses are marked.
    marker: Source,
    losses: Arc<Notify>,
}

/// What is due when.
struct Timers {
    flush_at: Option<Instant>,
    sync_at: Option<Instant>,
    blocked: bool,
}

impl Timers {
    /// The next flush is no later than so.
    fn flush_within(&mut self, wait: Duration) {
        let latest = Instant::now() + wait;
        self.flush_at = Some(self.flush_at.map_or(latest, |at| at.min(latest)));
    }
}

impl Worker {
    /// The stages with nothing learnt yet.
    pub(super) fn new(
        agent: &Arc<str>,
        config: &Config,
        parser: Parser,
        spool: Spool,
        flushed: watch::Sender<u64>,
        shared: Shared,
    ) -> Self {
        let settings = config.source.settings();
        // Asked for before the first event: what is reckoned with another count has to be taken apart.
        for topic in [Topic::Alerts, Topic::Readings, Topic::Logs] {
            let _ = shared.transport.partitions(shared.names.name(topic));
        }
        let flush_every = Duration::from_millis(config.spool.flush_ms);
        set_flush_every(flush_every);
        let mut worker = Self {
            when_full: settings.iter().map(|source| source.when_full).collect(),
            marker: Source { name: "spool".into(), index: usize::MAX, format: Format::Json },
            losses: spool.losses(),
            enricher: Enricher::new(&config.metadata, shared.table.clone()),
            shared,
            parser,
            filter: Filter::new(config.filter.clone()),
            scorer: Scorer::new(agent, &config.score),
            spool,
            partitions_assumed: config.agent.partitions_assumed,
            partitions: [config.agent.partitions_assumed; 2],
            flush_every,
            sync_every: Duration::from_millis(config.spool.sync_ms),
            flushed,
            waiting: Vec::new(),
            is_awaited: false,
            drafts: Vec::new(),
            tally: Tally::default(),
            open_s: 0,
            key: String::new(),
            is_tapped: false,
        };
        worker.look_at_clock();
        worker
    }
}

impl Worker {
    /// Runs until the sources are gone; `ended` is told then. After that it still answers, until
    /// `stop`.
    pub(super) async fn run(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut asked: mpsc::Receiver<oneshot::Sender<Report>>,
        mut swaps: mpsc::Receiver<Swap>,
        mut models: mpsc::Receiver<Order>,
        ended: oneshot::Sender<()>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut timers = Timers { flush_at: None, sync_at: None, blocked: false };
        let mut pace = Pace::default();
        // While inputs come steadily: when they are looked at, so that not each of them wakes us.
        let mut look_at = None;
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                input = inputs.recv(), if look_at.is_none() && !timers.blocked => match input {
                    Some(input) => {
                        let taken = self.take_all(Some(input), &mut inputs);
                        let by_clock = pace.read(Instant::now(), taken, MUCH);
                        look_at = by_clock.then(|| pace.next_look_behind());
                    }
                    None => break,
                },
                () = at(look_at), if look_at.is_some() && !timers.blocked => {
                    let taken = self.take_all(None, &mut inputs);
                    // While peers wait the looks become shorter; asked before the flush, which answers them.
                    let long = if self.is_awaited { 0 } else { MUCH.long };
                    if pace.is_long() {
                        self.flush(&mut timers);
                    }
                    let much = Much { long, ..MUCH };
                    let is_steady = pace.look_for_flush(taken, much, self.flush_every);
                    let goes_on = is_steady && !inputs.is_closed();
                    look_at = goes_on.then(|| pace.next_look_behind());
                }
                () = at(timers.flush_at) => self.flush(&mut timers),
                () = at(timers.sync_at) => self.sync(&mut timers),
                () = self.losses.notified() => self.mark_losses(&mut timers),
                _ = seconds.tick(), if self.scorer.watches() && !timers.blocked => self.pass(),
                Some(answer) = asked.recv() => drop(answer.send(self.report())),
                Some(swap) = swaps.recv() => self.swap(swap),
                Some(order) = models.recv() => self.scorer.order(order),
                () = stopping(&mut stop) => return,
            }
            if self.spool.flush_due() && !timers.blocked {
                self.flush(&mut timers);
            } else if !timers.blocked && self.has_to_flush() {
                let wait = if self.is_awaited { ANSWER } else { self.flush_every };
                timers.flush_within(wait.min(self.flush_every));
            }
        }
        self.flush(&mut timers);
        let _ = ended.send(());
        loop {
            tokio::select! {
                () = at(timers.flush_at) => self.flush(&mut timers),
                () = at(timers.sync_at) => self.sync(&mut timers),
                () = self.losses.notified() => self.mark_losses(&mut timers),
                Some(answer) = asked.recv() => drop(answer.send(self.report())),
                () = stopping(&mut stop) => return,
            }
        }
    }

    /// Whether events are in memory, or sources wait: what the filter takes away has to be
    /// acknowledged, too.
    fn has_to_flush(&self) -> bool {
        self.spool.pending().events > 0 || !self.waiting.is_empty()
    }

    /// The last flush and sync.
    pub(super) fn close(self) {
        if let Err(error) = self.spool.close() {
            tracing::error!(%error, "the spool was not closed cleanly");
        }
    }

    /// Takes an input and what else is there, up to a flush. Answers how many payloads that were.
    fn take_all(&mut self, first: Option<Input>, inputs: &mut mpsc::Receiver<Input>) -> usize {
        let mut taken = 0;
        self.partitions = [Topic::Readings, Topic::Logs]
            .map(|topic| self.partitions(self.shared.names.name(topic)));
        let mut next = first.or_else(|| inputs.try_recv().ok());
        while let Some(input) = next {
            taken += input.items.len();
            self.take(input);
            next = if self.spool.flush_due() { None } else { inputs.try_recv().ok() };
        }
        taken
    }

    fn take(&mut self, input: Input) {
        self.is_tapped = self.shared.taps.is_open();
        if input.lost > 0 {
            self.mark_loss(&input);
        }
        let when_full = self.when_full.get(input.source.index).copied().unwrap_or_default();
        self.spool.set_when_full(when_full);
        for (raw, labels) in input.items() {
            let parsed = self.parser.parse(&input.source, input.peer, labels, raw);
            self.take_event(parsed);
        }
        self.tally.tell(&input.source.name);
        self.waiting.extend(input.done);
        self.is_awaited |= input.is_awaited;
    }

    fn take_event(&mut self, parsed: Parsed) {
        let mut event = parsed.enrich(&mut self.enricher).into_event();
        self.tally.event(&event);
        // A rule on a metric takes the values away: nothing would be left to be shown.
        let whole = (self.is_tapped && self.shared.taps.want_dropped()).then(|| event.clone());
        let verdict = self.filter.apply(&mut event);
        if verdict == Verdict::Drop {
            if let Some(whole) = whole {
                self.show_dropped(&whole);
            }
            return self.parser.recycle(event);
        }
        self.scorer.score(&mut event, &mut self.drafts);
        let lane = lane_of(&event, verdict);
        let received_us = event.received_us;
        let cause = self.append(lane, event);
        if !self.drafts.is_empty() {
            self.append_alerts(cause, received_us);
        }
    }

    fn append_alerts(&mut self, cause: EventId, received_us: i64) {
        for draft in std::mem::take(&mut self.drafts) {
            self.tally.alert(draft.fires());
            let topic = self.shared.names.name(Topic::Alerts).clone();
            let partitions = self.partitions(&topic);
            let (key, now) = (draft.key(), now_us());
            let taps = self.is_tapped.then_some(&self.shared.taps);
            self.spool.append(
                Lane::Alerts,
                &topic,
                partitions,
                key.as_bytes(),
                received_us / 1_000,
                |id, out| {
                    let from = out.len();
                    let alert = draft.seal(id, cause, now);
                    alert.write_json(out);
                    if let Some(taps) = taps {
                        taps.show(Passing::alert(&alert.data.device, &out[from..]));
                    }
                },
            );
        }
    }

    fn append(&mut self, lane: Lane, mut event: Box<Event>) -> EventId {
        let [of_readings, of_logs] = self.partitions;
        let topic = record_key(&event, &mut self.key);
        let partitions = if topic == Topic::Readings { of_readings } else { of_logs };
        let topic = self.shared.names.name(topic);
        // The broker checks its stamp, and keeps the record by it: the receive time is sane even
        // where the event's own is from 1970.
        let kafka_ts_ms = event.received_us / 1_000;
        let taps = self.is_tapped.then_some(&self.shared.taps);
        let id = self.spool.append(
            lane,
            topic,
            partitions,
            self.key.as_bytes(),
            kafka_ts_ms,
            |id, out| {
                event.id = id;
                let from = out.len();
                event.write_json(out);
                if let Some(taps) = taps {
                    taps.show(Passing::event(&event, Some(lane.name()), &out[from..]));
                }
            },
        );
        self.parser.recycle(event);
        id
    }

    /// Shows what a filter rule takes away; nobody else sees it.
    #[cold]
    fn show_dropped(&self, event: &Event) {
        let mut json = Vec::new();
        event.write_json(&mut json);
        self.shared.taps.show(Passing::event(event, None, &json));
    }

    fn partitions(&self, topic: &str) -> u32 {
        self.shared.transport.partitions(topic).unwrap_or(self.partitions_assumed)
    }

    /// Puts a loss marker where the events should be.
    fn mark_loss(&mut self, input: &Input) {
        let source = input.source.name.to_string();
        tracing::warn!(
            source,
            lost = input.lost,
            "the kernel dropped datagrams before we read them: raise `receive_buffer_bytes` of the source, or send less"
        );
        self.shared.counters.lost_at_source.fetch_add(input.lost, Ordering::Relaxed);
        metrics::counter!(metric::AGENT_LOST.name, "reason" => "receive_buffer")
            .increment(input.lost);
        let loss = Loss { count: input.lost, reason: "receive_buffer".into(), ..Loss::default() };
        let event = self.parser.marker(&input.source, now_us(), loss);
        self.append_marker(Lane::Rest, event);
    }

    /// A marker never gives way: what it tells would be forgotten.
    fn append_marker(&mut self, lane: Lane, event: Box<Event>) {
        self.spool.set_when_full(WhenFull::Block);
        self.append(lane, event);
    }

    /// Puts a loss marker for what the spool has lost at the end of its lane.
    fn mark_losses(&mut self, timers: &mut Timers) {
        for (lane, mut loss) in self.spool.take_losses() {
            loss.lane = Some(lane.name().into());
            let Loss { count, range, reason, .. } = &loss;
            let stream = range.map(|(stream, ..)| tracing::field::display(stream));
            let (first_seq, last_seq) = (range.map(|r| r.1), range.map(|r| r.2));
            tracing::error!(
                lane = lane.name(),
                stream,
                first_seq,
                last_seq,
                count,
                reason,
                "events are lost, a loss marker tells it"
            );
            let event = self.parser.marker(&self.marker, now_us(), loss);
            self.append_marker(lane, event);
        }
        timers.flush_within(self.flush_every);
    }

    fn flush(&mut self, timers: &mut Timers) {
        timers.flush_at = None;
        let events = self.spool.pending().events;
        if events == 0 && self.waiting.is_empty() {
            return;
        }
        self.look_at_clock();
        if let Err(error) = self.spool.flush() {
            self.shared.counters.tell_spool(Some(error.to_string()));
            // Markers wait in memory with the rest. Room comes only from the checkpoint, so it must
            // not wait for them.
            self.spool.losses_are_told();
            timers.blocked = true;
            timers.flush_at = Some(Instant::now() + RETRY);
            return;
        }
        timers.blocked = false;
        self.spool.losses_are_told();
        self.shared.counters.tell_spool(None);
        self.shared.counters.events_in.fetch_add(events, Ordering::Relaxed);
        metrics::counter!(metric::AGENT_SPOOLED.name).increment(events);
        self.is_awaited = false;
        for done in self.waiting.drain(..) {
            // The source may be gone; its payloads are safe all the same.
            let _ = done.send(());
        }
        self.flushed.send_modify(|count| *count += 1);
        if timers.sync_at.is_none() {
            timers.sync_at = Some(Instant::now() + self.sync_every);
        }
    }

    /// From now on events are stamped as the clock deserves.
    fn look_at_clock(&mut self) {
        let look = self.shared.clock.look();
        self.parser.believe_from(look.believed_from_us);
        self.spool.set_clock(look.clock, look.mark);
    }

    fn sync(&mut self, timers: &mut Timers) {
        timers.sync_at = None;
        if let Err(error) = self.spool.sync() {
            self.shared.counters.tell_spool(Some(error.to_string()));
            timers.sync_at = Some(Instant::now() + RETRY);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
