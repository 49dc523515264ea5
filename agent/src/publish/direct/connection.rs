//! One connection to one broker.
//!
//! In: an address and [`Settings`]; then requests of the crate `kafka-protocol`. Out: their answers.
//!
//! ```text
//! let connection = Connection::open("host:9092", &settings).await?;       // TCP, TLS, versions, SASL
//! let version = connection.versions().newest::<ProduceRequest>(9)?;      // both sides speak it
//! let pending = connection.start(version, &request)?;                    // not async: order of calls
//! let answer: ProduceResponse = pending.await?;                          // any task, any time
//! ```
//!
//! Promises: requests leave in the order of the calls of [`Connection::start`], and the answers come
//! back in it (Kafka's own promise; an answer out of order ends the connection). Whatever goes wrong
//! (closed by the broker, no answer in time, bytes that are no answer) ends the connection and all
//! that is pending with the same error: make a new one then. An error of `start` alone, other than
//! [`CallError::Closed`], leaves it as it was. Dropping the `Connection` closes it and fails
//! what is pending; dropping a [`Pending`] only forgets its answer. Nothing wakes up while nothing is
//! under way. [`Connection::is_expiring`] says when to make a new one because the broker's
//! session (`connections.max.reauth.ms`) is at 80 % of its time: let what is pending end, then replace it.
//!
//! Versions have to be flexible ones (Produce >= 9, Metadata >= 9, InitProducerId >= 2, Fetch >= 12,
//! ListOffsets >= 6, CreateTopics >= 5): see `frame`. Kafka has them since 2.8.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, Timeout, timeout};

use super::frame;
use super::opening::{OpenError, open};
use super::settings::Settings;
use super::stream::Stream;
use super::versions::Versions;

/// Requests that may wait for their answers. A producer needs 5.
const IN_FLIGHT_MAX: usize = 100;
/// What is read at once; larger answers get memory of their own, which is gone with them.
const READ_BYTES: usize = 4 * 1024;
/// A large answer gets memory as it arrives, in steps of this.
const GROW_BYTES: usize = 64 * 1024;

/// A request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The connection has ended.
    #[error("the connection to the broker {address} has ended: {reason}")]
    Closed {
        /// The broker.
        address: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// No answer came in time; the connection has ended with it.
    #[error("the broker {address} gave no answer within {} s: is it overloaded, or the network cut?", waited.as_secs())]
    TimedOut {
        /// The broker.
        address: Arc<str>,
        /// How long we waited.
        waited: Duration,
    },
    /// The answer cannot be read; the connection has ended with it.
    #[error(
        "the broker {address} answers with what is not Kafka's protocol: {reason}; check `kafka.brokers`"
    )]
    Garbled {
        /// The broker.
        address: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The broker does not speak a version that we do.
    #[error(
        "the broker does not speak the version of API {key} that is needed ({needed}): let it be Kafka 2.8 or newer, or build with the feature `rdkafka`"
    )]
    Version {
        /// API key.
        key: i16,
        /// The lowest version we could use.
        needed: i16,
    },
    /// The request cannot be written in this version.
    #[error("a request to the broker cannot be written: {0}")]
    Encode(String),
    /// More requests are under way than a connection takes.
    #[error("more than {IN_FLIGHT_MAX} requests are under way to one broker: wait for answers")]
    Full,
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Connection {
    address: Arc<str>,
    versions: Versions,
    client_id: StrBytes,
    request_timeout: Duration,
    renew_at: Option<Instant>,
    requests: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

/// What opening a connection has found out.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) versions: Versions,
    /// When the session with the broker ends, if it does.
    pub(super) session: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stop: Notify,
}

#[derive(Debug)]
struct State {
    next_id: i32,
    in_flight: VecDeque<Waiting>,
    ended: Option<CallError>,
}

#[derive(Debug)]
struct Waiting {
    id: i32,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

impl Connection {
    /// Connects, and does all that has to be done before the first request.
    ///
    /// # Errors
    /// [`OpenError`], in words for the operator; nothing is left open then.
    pub(super) async fn open(address: &str, settings: &Arc<Settings>) -> Result<Self, OpenError> {
        let opened = open(address, settings).await?;
        Ok(Self::over(address, opened, settings))
    }

    fn over(address: &str, opened: Opened, settings: &Settings) -> Self {
        // As many as may be in flight: there is always room for one that may be sent.
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
        let address: Arc<str> = address.into();
        let state = State { next_id: 0, in_flight: VecDeque::new(), ended: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: Notify::new() });
        let driver = Driver {
            address: address.clone(),
            shared: shared.clone(),
            response_bytes_max: settings.response_bytes_max,
            // A listener that wants a user lets us ask for its versions, and then closes.
            may_want_user: settings.sasl.is_none(),
        };
        tokio::spawn(driver.run(opened.stream, outgoing));
        Self {
            address,
            versions: opened.versions,
            client_id: settings.client_id.clone(),
            request_timeout: settings.request_timeout,
            renew_at: opened.session.map(|session| Instant::now() + session.mul_f64(0.8)),
            requests,
            shared,
        }
    }

    /// The address that was connected to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the broker speaks.
    pub(super) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Whether it has ended. It may end at any moment after a `false`.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.lock().ended.is_some()
    }

    /// Whether to replace it soon, because the broker ends sessions after some time.
    pub(super) fn is_expiring(&self) -> bool {
        self.renew_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Sends a request after all earlier ones.
    ///
    /// # Errors
    /// When nothing was sent: the connection has ended, or the request or its version is impossible.
    pub(super) fn start<R: Request>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<Pending<R>, CallError> {
        if !frame::is_flexible::<R>(version) {
            return Err(CallError::Version { key: R::KEY, needed: version });
        }
        let mut bytes =
            frame::request(&self.client_id, version, request).map_err(CallError::Encode)?;
        let (answer, answered) = oneshot::channel();
        let mut state = self.shared.lock();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        if state.in_flight.len() >= IN_FLIGHT_MAX {
            return Err(CallError::Full);
        }
        let id = state.next_id;
        state.next_id = id.checked_add(1).unwrap_or(0);
        frame::number(&mut bytes, id);
        state.in_flight.push_back(Waiting { id, answer });
        // Under the lock, so that the order is the same in both. When the driver has just ended, it
        // fails everything in flight as soon as it gets the lock.
        let _ = self.requests.try_send(bytes.freeze());
        drop(state);
        Ok(Pending {
            answered: Box::pin(timeout(self.request_timeout, answered)),
            version,
            waited: self.request_timeout,
            address: self.address.clone(),
            shared: self.shared.clone(),
            request: PhantomData,
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection, if it has not ended yet, and all that is pending.
    fn end(&self, error: CallError) {
        let mut state = self.lock();
        let error = state.ended.get_or_insert(error).clone();
        for waiting in state.in_flight.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        drop(state);
        self.stop.notify_one();
    }
}

type Answered = oneshot::Receiver<Result<Bytes, CallError>>;

/// The answer to a request, once it is there.
#[must_use = "an answer that nobody waits for is forgotten, and so is its time-out"]
pub(super) struct Pending<R> {
    answered: Pin<Box<Timeout<Answered>>>,
    version: i16,
    waited: Duration,
    address: Arc<str>,
    shared: Arc<Shared>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Future for Pending<R> {
    type Output = Result<R::Response, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let error = match ready!(self.answered.as_mut().poll(cx)) {
            Ok(Ok(Ok(bytes))) => match frame::response::<R>(bytes, self.version) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(reason) => {
                    CallError::Garbled { address: self.address.clone(), reason: reason.into() }
                }
            },
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => closed(&self.address, "it was given up"),
            Err(_) => CallError::TimedOut { address: self.address.clone(), waited: self.waited },
        };
        self.shared.end(error.clone());
        Poll::Ready(Err(error))
    }
}

fn closed(address: &Arc<str>, reason: &str) -> CallError {
    CallError::Closed { address: address.clone(), reason: reason.into() }
}

/// Reads and writes, until one of both fails or nobody needs the connection any more.
struct Driver {
    address: Arc<str>,
    shared: Arc<Shared>,
    response_bytes_max: usize,
    may_want_user: bool,
}

impl Driver {
    async fn run(self, stream: Stream, requests: mpsc::Receiver<Bytes>) {
        let (reader, writer) = tokio::io::split(stream);
        let error = tokio::select! {
            error = self.read(reader) => error,
            error = self.write(writer, requests) => error,
            () = self.shared.stop.notified() => closed(&self.address, "it was given up"),
        };
        self.shared.end(error);
    }

    async fn write(
        &self,
        mut writer: WriteHalf<Stream>,
        mut requests: mpsc::Receiver<Bytes>,
    ) -> CallError {
        while let Some(request) = requests.recv().await {
            let written = async {
                writer.write_all(&request).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                return closed(&self.address, &error.to_string());
            }
        }
        closed(&self.address, "it is not needed any more")
    }

    async fn read(&self, mut reader: ReadHalf<Stream>) -> CallError {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut is_answered = false;
        loop {
            while let Some(length) = frame_length(&buffer) {
                if length > self.response_bytes_max {
                    return self.garbled(format!("an answer of {length} bytes"));
                }
                buffer.advance(frame::LENGTH_BYTES);
                let answer = match take(&mut buffer, length, &mut reader).await {
                    Ok(answer) => answer,
                    Err(error) => return self.lost(&error, is_answered),
                };
                if let Err(error) = self.answer(answer) {
                    return error;
                }
                is_answered = true;
            }
            buffer.reserve(READ_BYTES - buffer.len());
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return self.lost(&std::io::ErrorKind::UnexpectedEof.into(), is_answered),
                Ok(_) => {}
                Err(error) => return self.lost(&error, is_answered),
            }
        }
    }

    /// Gives an answer to who waits for it, or no longer does.
    fn answer(&self, frame: Bytes) -> Result<(), CallError> {
        let id = frame::answered(&frame).ok_or_else(|| self.garbled("an empty answer".into()))?;
        let waiting = self.shared.lock().in_flight.pop_front();
        let Some(waiting) = waiting else {
            return Err(self.garbled("an answer that nobody asked for".into()));
        };
        if waiting.id != id {
            let error = self.garbled(format!("answer {id} where {} is due", waiting.id));
            let _ = waiting.answer.send(Err(error.clone()));
            return Err(error);
        }
        let _ = waiting.answer.send(Ok(frame));
        Ok(())
    }

    fn garbled(&self, reason: String) -> CallError {
        CallError::Garbled { address: self.address.clone(), reason: reason.into() }
    }

    fn lost(&self, error: &std::io::Error, is_answered: bool) -> CallError {
        if error.kind() != std::io::ErrorKind::UnexpectedEof {
            return closed(&self.address, &error.to_string());
        }
        let is_waiting = !self.shared.lock().in_flight.is_empty();
        if self.may_want_user && is_waiting && !is_answered {
            return closed(
                &self.address,
                "the broker closed it at the first request: does it want a user? check `kafka.sasl`",
            );
        }
        closed(&self.address, "the broker closed it")
    }
}

/// The length of the frame that begins here, once it is there.
fn frame_length(buffer: &BytesMut) -> Option<usize> {
    let length = u32::from_be_bytes(*buffer.first_chunk()?);
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

/// The next `length` bytes, in memory of their own: what is read ahead stays small.
async fn take(
    buffer: &mut BytesMut,
    length: usize,
    reader: &mut ReadHalf<Stream>,
) -> std::io::Result<Bytes> {
    if buffer.len() >= length {
        let answer = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        return Ok(answer);
    }
    let mut answer = BytesMut::with_capacity(length.min(GROW_BYTES));
    answer.extend_from_slice(buffer);
    buffer.clear();
    while answer.len() < length {
        let missing = length - answer.len();
        answer.reserve(missing.min(GROW_BYTES));
        if reader.take(missing as u64).read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer.freeze())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
