//! One RELP session.
//!
//! In: a connection. Out: one input for all messages that a read completed, and an answer to each once
//! the spool holds it. Promises: answers to messages go out in the order of the messages; many go out
//! in one write; nothing is read while too many wait, or while the peer does not take its answers, so
//! that memory is bounded and the peer is slowed down. What can go wrong: a peer that does not speak
//! RELP is told so where it can be, and its connection ends. A session whose messages the pipeline does
//! not take for a minute ends without an answer to them: the peer would give up as well (librelp after
//! 90 s) and open another one, and dead ones would use up the connections.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use weir_models::time::now_us;

use super::super::outlet::Outlet;
use super::super::peers::Guest;
use super::super::tls::Stream;
use super::super::{Raw, stopping};
use super::frame::{Command, Framer};
use super::offers;

/// How long a peer may take to open its session.
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// How long the pipeline may take to take an input.
const TAKE_WAIT: Duration = Duration::from_secs(60);
/// How long the last messages may take into the spool, and their answers to the peer.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Most inputs that wait for the spool.
const WAITING_MAX: usize = 64;
/// Answers that the peer has not taken, in bytes; above it nothing is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const OK: &str = "200 OK";

/// Messages on their way into the spool.
struct Waiting {
    txnrs: Vec<u32>,
    safe: oneshot::Receiver<()>,
}

/// Why a session ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer closes, and its messages are answered.
    Closed,
    /// The connection is gone.
    Gone,
    /// The agent is stopping.
    Stopping,
    /// We end it; the reason is for the log.
    Refused(String),
}

/// One session.
pub(super) struct Session {
    guest: Guest,
    outlet: Outlet,
    misunderstood: Counter,
    framer: Framer,
    is_open: bool,
    /// The number of the peer's `close`.
    close: Option<u32>,
    waiting: VecDeque<Waiting>,
    answers: BytesMut,
    /// Whether answers are on their way out.
    is_writing: bool,
}

impl Session {
    /// A session before its first byte.
    pub(super) fn new(guest: Guest, outlet: Outlet, misunderstood: Counter) -> Self {
        Self {
            guest,
            outlet,
            misunderstood,
            framer: Framer::new(),
            is_open: false,
            close: None,
            waiting: VecDeque::new(),
            answers: BytesMut::new(),
            is_writing: false,
        }
    }

    /// Runs until one of the two ends it, or the agent stops.
    pub(super) async fn run(mut self, stream: Stream, mut stop: watch::Receiver<bool>) {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let open_until = Instant::now() + OPEN_WAIT;
        let end = loop {
            if self.close.is_some() && self.waiting.is_empty() {
                break End::Closed;
            }
            let reads = self.close.is_none()
                && self.waiting.len() < WAITING_MAX
                && self.answers.len() < ANSWER_BYTES_MAX;
            tokio::select! {
                biased;
                () = stopping(&mut stop) => break End::Stopping,
                written = write(&mut writing, &mut self.answers), if self.is_writing => match written {
                    Ok(()) => self.is_writing = false,
                    Err(_) => break End::Gone,
                },
                is_safe = first(&mut self.waiting), if !self.waiting.is_empty() => {
                    if !is_safe {
                        self.forget();
                        break End::Stopping;
                    }
                    if let Err(end) = self.acknowledge() {
                        break end;
                    }
                }
                read = read(&self.guest, &mut reading, &mut self.framer), if reads => match read {
                    Ok(0) | Err(_) => break End::Gone,
                    Ok(_) => if let Err(end) = self.take().await {
                        break end;
                    },
                },
                () = tokio::time::sleep_until(open_until), if !self.is_open => {
                    break End::Refused(format!("it did not open its session within {} s", OPEN_WAIT.as_secs()));
                }
            }
        };
        self.finish(end, &mut writing).await;
    }

    /// Takes what was read.
    async fn take(&mut self) -> Result<(), End> {
        let (commands, framed) = self.framer.take();
        let received_us = now_us();
        let (mut items, mut txnrs) = (Vec::new(), Vec::new());
        let mut refused = framed.map_err(|bad| End::Refused(bad.to_string()));
        for command in commands {
            match command {
                Command::Syslog { txnr, bytes, cut, is_last } if self.is_open => {
                    if !bytes.is_empty() {
                        items.push(Raw { bytes, received_us, cut });
                    }
                    if is_last {
                        txnrs.push(txnr);
                    }
                }
                Command::Open { txnr, offers } if !self.is_open => match offers::answer(&offers) {
                    Ok(answer) => {
                        self.is_open = true;
                        self.answer(txnr, &answer);
                    }
                    Err(reason) => {
                        refused = self.refuse(txnr, reason);
                        break;
                    }
                },
                Command::Open { txnr, .. } => {
                    refused = self.refuse(txnr, "the session is open already");
                    break;
                }
                Command::Syslog { txnr, .. } => {
                    refused = self.refuse(txnr, "the session has to be opened first");
                    break;
                }
                Command::Close { txnr } => {
                    self.close = Some(txnr);
                    break;
                }
                Command::Unknown { txnr, name } => {
                    tracing::debug!(source = %self.outlet.name(), peer = %self.guest.peer(), name, "a RELP command that is not known");
                    self.answer(txnr, "500 this command is not known here");
                }
            }
        }
        self.pass_on(items, txnrs).await?;
        refused
    }

    /// Puts messages on their way into the spool.
    async fn pass_on(&mut self, items: Vec<Raw>, txnrs: Vec<u32>) -> Result<(), End> {
        if items.is_empty() {
            // Empty messages are as safe as what came before them.
            match self.waiting.back_mut() {
                Some(last) => last.txnrs.extend(txnrs),
                None => txnrs.into_iter().for_each(|txnr| self.answer(txnr, OK)),
            }
            return Ok(());
        }
        self.guest.brought(items.len());
        let mut input = self.outlet.input(items);
        input.peer = Some(self.guest.peer());
        match timeout(TAKE_WAIT, self.outlet.send_awaited(input)).await {
            Ok(Ok(safe)) => self.waiting.push_back(Waiting { txnrs, safe }),
            Ok(Err(_closed)) => return Err(End::Stopping),
            Err(_) => {
                return Err(End::Refused("the spool takes nothing; it will send again".into()));
            }
        }
        Ok(())
    }

    /// Answers what is at the front, and all behind it that is safe, too.
    fn acknowledge(&mut self) -> Result<(), End> {
        loop {
            if let Some(safe) = self.waiting.pop_front() {
                safe.txnrs.into_iter().for_each(|txnr| self.answer(txnr, OK));
            }
            match self.waiting.front_mut().map(|next| next.safe.try_recv()) {
                Some(Ok(())) => {}
                Some(Err(TryRecvError::Closed)) => {
                    self.forget();
                    return Err(End::Stopping);
                }
                Some(Err(TryRecvError::Empty)) | None => return Ok(()),
            }
        }
    }

    /// What is left will never be safe: the agent is stopping. Nothing of it is answered.
    fn forget(&mut self) {
        self.waiting.clear();
        self.close = None;
    }

    fn answer(&mut self, txnr: u32, text: &str) {
        let data = if text.is_empty() { "0".into() } else { format!("{} {text}", text.len()) };
        self.answers.extend_from_slice(format!("{txnr} rsp {data}\n").as_bytes());
        self.is_writing = true;
    }

    fn refuse(&mut self, txnr: u32, reason: &str) -> Result<(), End> {
        self.answer(txnr, &format!("500 {reason}"));
        Err(End::Refused(reason.into()))
    }

    /// Answers what becomes safe in a moment, and says goodbye.
    async fn finish(mut self, end: End, writing: &mut WriteHalf<Stream>) {
        tracing::debug!(source = %self.outlet.name(), peer = %self.guest.peer(), ?end, "a RELP session ends");
        if end == End::Gone {
            return;
        }
        if let End::Refused(reason) = &end {
            self.misunderstood.increment(1);
            tracing::warn!(source = %self.outlet.name(), peer = %self.guest.peer(), reason, "ended a RELP session");
        }
        let last = async {
            while !self.waiting.is_empty() {
                if !first(&mut self.waiting).await || self.acknowledge().is_err() {
                    self.forget();
                }
            }
        };
        // What is not safe by then is not answered, and will be sent again.
        let _ = timeout(LAST_WAIT, last).await;
        if let (Some(txnr), true) = (self.close, self.waiting.is_empty()) {
            self.answer(txnr, "");
        }
        self.answers.extend_from_slice(b"0 serverclose 0\n");
        let goodbye = async {
            write(writing, &mut self.answers).await?;
            writing.shutdown().await
        };
        // An error says that nobody listens any more.
        let _ = timeout(LAST_WAIT, goodbye).await;
    }
}

/// Whether the spool holds the first of `waiting`; `false` says that it never will.
async fn first(waiting: &mut VecDeque<Waiting>) -> bool {
    match waiting.front_mut() {
        Some(first) => (&mut first.safe).await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Reads, once the peer may be read.
async fn read(
    guest: &Guest,
    from: &mut (impl AsyncRead + Unpin),
    framer: &mut Framer,
) -> io::Result<usize> {
    guest.may_read().await;
    from.read_buf(framer.buffer()).await
}

/// Writes all of `answers`. May be dropped and begun again: what was written is gone from `answers`.
async fn write(to: &mut (impl AsyncWrite + Unpin), answers: &mut BytesMut) -> io::Result<()> {
    while answers.has_remaining() {
        to.write_buf(answers).await?;
    }
    to.flush().await
}
