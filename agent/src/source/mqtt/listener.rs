//! The listener: keeps a session with the broker and takes its messages.
//!
//! In: messages. Out: inputs, as many messages in one as came together, and PUBACK once the spool has
//! them. Promises: those of [`super`]; while the pipeline takes nothing the broker is not read, and the
//! connection stays. What can go wrong: the connection ends, and is made again with growing, jittered
//! waits; what was not acknowledged then comes again.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use weir_models::limit::LINE_BYTES_MAX;
use weir_models::time::now_us;

use super::codec::{Heard, Message};
use super::ledger::{Arrival, Ledger, Token};
use super::session::{Session, advice};
use super::topic::Pattern;
use super::{Settings, labels};
use crate::recent::Recent;
use crate::source::outlet::{Outlet, bounded};
use crate::source::{Inputs, Labels, Raw, Source, at, stopping, tls};

/// How long to wait at a stop for the spool to hold the last messages.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for the goodbye to be written.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// First wait after a lost connection; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait between two tries to connect.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// After messages came: how long more of them may gather, so that not each one wakes us.
const GATHER: Duration = Duration::from_millis(4);
/// Topics whose labels are remembered.
const TOPICS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Why a session ended.
enum End {
    /// The agent or the source stops.
    Stop,
    /// The connection was lost, or never made.
    Lost(String),
}

impl From<String> for End {
    fn from(error: String) -> Self {
        Self::Lost(error)
    }
}

/// Takes messages until the source stops or the pipeline ends.
pub(super) async fn run(
    settings: Settings,
    source: Arc<Source>,
    inputs: Inputs,
    mut stop: watch::Receiver<bool>,
) {
    let outlet = Outlet::new(source, inputs);
    let mut listener = Listener {
        filters: settings.config.topics.iter().map(Pattern::filter).collect(),
        settings,
        ledger: Ledger::default(),
        labels: Recent::new(TOPICS_MAX),
        in_flight: FuturesUnordered::new(),
        in_flight_messages: 0,
        acknowledged: Vec::new(),
        is_subscribed: false,
        tries: 0,
    };
    let session = loop {
        let mut session = None;
        match listener.listen(&mut session, &outlet, &mut stop).await {
            End::Stop => break session,
            End::Lost(error) => {
                listener.ledger.disconnected();
                listener.acknowledged.clear();
                let wait = wait(listener.tries);
                listener.tries += 1;
                tracing::warn!(source = %outlet.name(), error, wait_s = wait.as_secs_f32(), "no connection to the MQTT broker: {}", advice(&error));
                tokio::select! {
                    () = stopping(&mut stop) => break None,
                    () = sleep(wait) => {}
                }
                listener.renew_trust(outlet.name());
            }
        }
    };
    drop(outlet);
    let Some(session) = session else { return };
    if timeout(STOP_WAIT, listener.finish(session)).await.is_err() {
        tracing::warn!(
            "the spool did not take the last messages in time; the broker will send them again"
        );
    }
}

/// Messages of which it is known whether the spool holds them.
struct Settled {
    messages: usize,
    /// The acknowledgements that the broker waits for.
    awaited: Vec<(u16, Token)>,
    is_safe: bool,
}

/// What is known of the messages.
struct Listener {
    settings: Settings,
    filters: Vec<String>,
    ledger: Ledger,
    /// What the topics say, by topic.
    labels: Recent<Arc<Labels>>,
    /// Messages on their way into the spool.
    in_flight: FuturesUnordered<BoxFuture<'static, Settled>>,
    in_flight_messages: usize,
    /// Acknowledgements that are not written yet.
    acknowledged: Vec<u16>,
    is_subscribed: bool,
    /// Tries to connect since the last session.
    tries: u32,
}

/// Messages that came together.
#[derive(Default)]
struct Batch {
    items: Vec<Raw>,
    labels: Vec<Arc<Labels>>,
    awaited: Vec<(u16, Token)>,
}

impl Listener {
    /// One session, from connecting to its end.
    async fn listen(
        &mut self,
        session: &mut Option<Session>,
        outlet: &Outlet,
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let opened = tokio::select! {
            biased;
            () = stopping(stop) => return End::Stop,
            opened = Session::open(&self.settings) => opened,
        };
        let (opened, session_present) = match opened {
            Ok(opened) => opened,
            Err(error) => return End::Lost(error),
        };
        let session = session.insert(opened);
        self.tries = 0;
        let host = &self.settings.host;
        tracing::info!(source = %outlet.name(), host, session_present, "connected to the MQTT broker");
        match self.serve(session, session_present, outlet, stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve(
        &mut self,
        session: &mut Session,
        session_present: bool,
        outlet: &Outlet,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Infallible, End> {
        if !session_present {
            self.ledger.forget();
        }
        // At the first connection always: the topics may be others than in the last run.
        if !session_present || !self.is_subscribed {
            session.subscribe(&self.filters)?;
            self.is_subscribed = true;
        }
        let in_flight_max = usize::from(self.settings.config.in_flight_max);
        let mut gather_until = None;
        loop {
            self.flush(session).await?;
            let (has_room, ping_at) = (self.in_flight_messages < in_flight_max, session.ping_at);
            tokio::select! {
                biased;
                () = stopping(stop) => return Err(End::Stop),
                Some(settled) = self.in_flight.next() => self.settled(settled, session),
                () = at(gather_until), if gather_until.is_some() => gather_until = None,
                filled = session.fill(), if has_room && gather_until.is_none() => {
                    filled?;
                    let mut batch = Batch::default();
                    // What came before an end is taken all the same: the ledger has it.
                    let heard = self.hear(&mut batch, session, outlet);
                    if !batch.items.is_empty() {
                        gather_until = Some(Instant::now() + GATHER);
                        self.take(batch, session, outlet, stop).await?;
                    }
                    heard?;
                }
                () = at(ping_at) => {
                    if !has_room {
                        session.excuse_silence();
                    }
                    session.ping()?;
                }
            }
        }
    }

    /// Everything that was read and is whole; messages go to `batch`.
    fn hear(
        &mut self,
        batch: &mut Batch,
        session: &mut Session,
        outlet: &Outlet,
    ) -> Result<(), End> {
        let received_us = now_us();
        while let Some(heard) = session.next()? {
            match heard {
                Heard::Message(message) => self.sort(message, received_us, batch, session),
                Heard::SubscriptionRefused(answers) => {
                    tracing::error!(source = %outlet.name(), filters = ?self.filters, answers, "the broker refused a subscription: check what it allows this user");
                }
                Heard::Ended(why) => {
                    return Err(End::Lost(format!("the broker ended the connection: {why}")));
                }
                Heard::Connected { .. } | Heard::Refused(_) | Heard::Nothing => {}
            }
        }
        Ok(())
    }

    /// Puts a message into `batch`, unless it was taken before.
    fn sort(
        &mut self,
        message: Message,
        received_us: i64,
        batch: &mut Batch,
        session: &mut Session,
    ) {
        let mut awaited = None;
        if let Some(packet) = message.packet {
            match self.ledger.arrived(packet, message.is_duplicate) {
                Arrival::New(token) => awaited = Some((packet, token)),
                Arrival::Taken => return,
                Arrival::Safe => return self.acknowledge(packet, session),
            }
        }
        if message.is_retained && !self.settings.config.retained {
            let awaited = awaited.into_iter().collect();
            return self.safe(awaited, session);
        }
        let topics = &self.settings.config.topics;
        let topic = String::from_utf8_lossy(&message.topic);
        let of_topic = || Arc::new(labels(topics, &topic));
        batch.labels.push(self.labels.with(&topic, of_topic, |labels| Arc::clone(labels)));
        batch.items.push(bounded(message.payload, LINE_BYTES_MAX, received_us));
        batch.awaited.extend(awaited);
    }

    /// Puts a batch on its way. The pipeline may take nothing for long; the connection stays meanwhile.
    async fn take(
        &mut self,
        batch: Batch,
        session: &mut Session,
        outlet: &Outlet,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), End> {
        let Batch { items, labels, awaited } = batch;
        let messages = items.len();
        let mut input = outlet.input(items);
        input.labels = labels;
        let mut sending = pin!(outlet.send_awaited(input));
        // Also when the connection is lost meanwhile: the ledger has the messages.
        let mut alive = Ok(());
        let sent = loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent,
                () = stopping(stop) => return Err(End::Stop),
                () = at(session.ping_at), if alive.is_ok() => {
                    session.excuse_silence();
                    alive = session.ping();
                    if alive.is_ok() {
                        alive = self.flush(session).await;
                    }
                }
            }
        };
        // Without a pipeline there is nothing to listen for.
        let Ok(safe) = sent else { return Err(End::Stop) };
        self.in_flight_messages += messages;
        self.in_flight.push(Box::pin(async move {
            let is_safe = safe.await.is_ok();
            Settled { messages, awaited, is_safe }
        }));
        Ok(alive?)
    }

    /// Acknowledges what is safe of `settled`, and of all others that are.
    fn settled(&mut self, settled: Settled, session: &mut Session) {
        let mut next = Some(settled);
        while let Some(Settled { messages, awaited, is_safe }) = next {
            self.in_flight_messages -= messages;
            if is_safe {
                self.safe(awaited, session);
            }
            next = self.in_flight.next().now_or_never().flatten();
        }
    }

    fn safe(&mut self, awaited: Vec<(u16, Token)>, session: &mut Session) {
        for (packet, token) in awaited {
            if self.ledger.safe(packet, token) {
                self.acknowledge(packet, session);
            }
        }
    }

    fn acknowledge(&mut self, packet: u16, session: &mut Session) {
        session.acknowledge(packet);
        self.acknowledged.push(packet);
    }

    async fn flush(&mut self, session: &mut Session) -> Result<(), String> {
        session.flush().await?;
        for packet in self.acknowledged.drain(..) {
            self.ledger.acknowledged(packet);
        }
        Ok(())
    }

    /// Waits until what was taken is acknowledged; what comes now is left to the next session.
    async fn finish(mut self, mut session: Session) {
        while let Some(settled) = self.in_flight.next().await {
            self.settled(settled, &mut session);
            if self.flush(&mut session).await.is_err() {
                return;
            }
        }
        let _ = timeout(GOODBYE_WAIT, session.close()).await;
    }

    /// Reads the certificates for the next try to connect, because they may have been renewed.
    fn renew_trust(&mut self, source: &str) {
        let Some(config) = &self.settings.tls else { return };
        match tls::client(config) {
            Ok(trust) => self.settings.trust = Some(Arc::new(trust)),
            Err(error) => {
                tracing::warn!(%source, %error, "the certificates cannot be used; those from before stay in force");
            }
        }
    }
}

/// The wait after so many tries: from half of it to all of it, so that a thousand agents do not come
/// back at once.
fn wait(tries: u32) -> Duration {
    let wait = WAIT_MIN.saturating_mul(1 << tries.min(10)).min(WAIT_MAX);
    let random = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_differ() {
        for (tries, expected) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let wait = wait(tries as u32).as_secs_f64();
            let expected = f64::from(expected);
            assert!(wait >= expected / 2.0 && wait <= expected, "{wait} {expected}");
        }
        let first: Vec<_> = (0..20).map(|_| wait(0)).collect();
        assert!(first.iter().any(|wait| *wait != first[0]));
    }
}
