//! Syslog over TCP (RFC 6587), plain or TLS (RFC 5425).
//!
//! In: connections. Out: one input a read, of all frames it completed. While the channel is full
//! nothing is read, the window of the connection closes and the sender waits; so it does when it is
//! faster than its limit. Connections beyond a limit are closed at once and counted. While a
//! plain connection brings little but steadily it is read by the clock (see
//! [`pace`](super::super::pace)).
//! At a stop what the kernel already acknowledged is read out, and an unfinished last frame is passed
//! on, marked.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use weir_models::time::now_us;

use super::super::accept::Entrance;
use super::super::framing::{Frame, Framer, Framing, READ_BYTES};
use super::super::outlet::{Closed, Outlet, raws};
use super::super::pace::{Much, Pace};
use super::super::peers::{Guest, Limits};
use super::super::stopping;
use super::super::tls::{Door, Stream};
use super::Config;

/// So much is read from a connection at a stop at most, in bytes.
const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A read of less, in bytes, found most of the connection's buffers empty.
const MUCH_BYTES: usize = READ_BYTES / 2;
/// How much is asked for at once when reading by the clock, in bytes.
const CLOCK_READ_BYTES: usize = 8 * 1024;
/// No more is left for a whole period, in bytes.
const LONG_BYTES_MAX: usize = 2 * READ_BYTES;

/// Accepts connections until the source stops, then waits for those there are.
pub(super) async fn run(
    config: &Config,
    listener: TcpListener,
    door: Door,
    outlet: Outlet,
    stop: watch::Receiver<bool>,
) {
    let limits = Limits {
        connections_max: config.connections_max,
        peer_connections_max: config.peer_connections_max,
        peer_events_per_s_max: config.peer_events_per_s_max,
    };
    let entrance = Entrance { name: Arc::clone(outlet.name()), listener, door, limits };
    let idle = (config.idle_s > 0).then(|| Duration::from_secs(config.idle_s));
    let serve = move |guest, stream, stop| {
        let connection = Connection {
            guest,
            framer: Framer::new(Framing::Syslog),
            outlet,
            pace: Pace::default(),
            idle,
            stop,
        };
        async move {
            // `Closed` ends the connection like any other end: there is nobody to tell.
            match stream {
                Stream::Plain(stream) => drop(connection.run(stream).await),
                stream => drop(connection.run_tls(stream).await),
            }
        }
    };
    entrance.run(stop, serve).await;
}

/// Why a way of reading ends.
enum Until {
    /// The agent stops.
    Stop,
    /// The connection has ended.
    End,
    /// The other way suits better.
    Other,
}

struct Connection {
    guest: Guest,
    framer: Framer,
    outlet: Outlet,
    pace: Pace,
    idle: Option<Duration>,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, mut stream: TcpStream) -> Result<(), Closed> {
        loop {
            let until = self.at_once(&mut stream).await?;
            // Out of the runtime's sight, so that no segment wakes it.
            let mut hidden = match stream.into_std() {
                Ok(hidden) => hidden,
                Err(error) => {
                    self.broke(&error);
                    break;
                }
            };
            let until = match until {
                Until::Other => self.by_clock(&mut hidden).await?,
                until => until,
            };
            match until {
                Until::Stop => self.drain(&mut hidden).await?,
                Until::End => {}
                Until::Other => match TcpStream::from_std(hidden) {
                    Ok(visible) => {
                        stream = visible;
                        continue;
                    }
                    Err(error) => self.broke(&error),
                },
            }
            break;
        }
        let frames = self.framer.finish();
        self.pass_on(frames).await
    }

    /// TLS: what is inside is not to be seen from outside, so there is nothing to read by the clock.
    async fn run_tls(mut self, mut stream: Stream) -> Result<(), Closed> {
        let until = loop {
            match self.at_once(&mut stream).await? {
                Until::Other => {}
                until => break until,
            }
        };
        if let (Until::Stop, Ok(mut stream)) = (until, stream.into_std()) {
            for _ in 0..DRAIN_BYTES_MAX / CLOCK_READ_BYTES {
                let mut chunk = [0; CLOCK_READ_BYTES];
                let Ok(length @ 1..) = stream.read(&mut chunk) else { break };
                self.framer.buffer().extend_from_slice(&chunk[..length]);
                let frames = self.framer.take();
                self.pass_on(frames).await?;
            }
        }
        let frames = self.framer.finish();
        self.pass_on(frames).await
    }

    fn broke(&self, error: &io::Error) {
        tracing::debug!(source = %self.outlet.name(), peer = %self.guest.peer(), %error, "a connection broke");
    }

    /// Reads whenever something is there, until little comes steadily.
    async fn at_once(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Until, Closed> {
        loop {
            let (guest, framer, idle) = (&self.guest, &mut self.framer, self.idle);
            let read = async {
                guest.may_read().await;
                let read = stream.read_buf(framer.buffer());
                match idle {
                    Some(idle) => tokio::time::timeout(idle, read).await.ok(),
                    None => Some(read.await),
                }
            };
            let read = tokio::select! {
                biased;
                () = stopping(&mut self.stop) => return Ok(Until::Stop),
                read = read => read,
            };
            match read {
                Some(Ok(0)) => return Ok(Until::End),
                Some(Ok(bytes)) => {
                    let frames = self.framer.take();
                    self.pass_on(frames).await?;
                    let much = Much { short: MUCH_BYTES, long: 0 };
                    if self.pace.read(Instant::now(), bytes, much) {
                        return Ok(Until::Other);
                    }
                }
                Some(Err(error)) => {
                    self.broke(&error);
                    return Ok(Until::End);
                }
                None => {
                    self.guest.is_idle();
                    return Ok(Until::End);
                }
            }
        }
    }

    /// Reads by the clock, until nothing or much comes.
    async fn by_clock(&mut self, stream: &mut std::net::TcpStream) -> Result<Until, Closed> {
        loop {
            let (guest, pace) = (&self.guest, &self.pace);
            let look = async {
                pace.next_look().await;
                guest.may_read().await;
            };
            tokio::select! {
                biased;
                () = stopping(&mut self.stop) => return Ok(Until::Stop),
                () = look => {}
            }
            let (bytes, end) = self.read_what_is_there(stream);
            let frames = self.framer.take();
            self.pass_on(frames).await?;
            if let Some(end) = end {
                end.unwrap_or_else(|error| self.broke(&error));
                return Ok(Until::End);
            }
            if !self.pace.look(bytes, much_for(stream)) {
                return Ok(Until::Other);
            }
        }
    }

    /// Reads without waiting up to [`READ_BYTES`]: how much there was, and the end of the connection
    /// if it was reached.
    fn read_what_is_there(
        &mut self,
        stream: &mut (impl Read + ?Sized),
    ) -> (usize, Option<io::Result<()>>) {
        let mut bytes = 0;
        while bytes < LONG_BYTES_MAX {
            let buffer = self.framer.buffer();
            let filled = buffer.len();
            buffer.resize(filled + CLOCK_READ_BYTES, 0);
            let read = stream.read(&mut buffer[filled..]);
            buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return (bytes, Some(Ok(()))),
                Ok(length) => {
                    bytes += length;
                    if length < CLOCK_READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return (bytes, Some(Err(error))),
            }
        }
        (bytes, None)
    }

    /// Reads what is there without waiting for more. Asks the kernel itself: tokio answers from
    /// what it knew when it last looked.
    async fn drain(&mut self, stream: &mut (impl Read + ?Sized)) -> Result<(), Closed> {
        let mut drained = 0;
        while drained < DRAIN_BYTES_MAX {
            let (bytes, end) = self.read_what_is_there(stream);
            let frames = self.framer.take();
            self.pass_on(frames).await?;
            if bytes == 0 || end.is_some() {
                break;
            }
            drained += bytes;
        }
        Ok(())
    }

    async fn pass_on(&self, frames: Vec<Frame>) -> Result<(), Closed> {
        if frames.is_empty() {
            return Ok(());
        }
        self.guest.brought(frames.len());
        let mut input = self.outlet.input(raws(frames, now_us()));
        input.peer = Some(self.guest.peer());
        self.outlet.send(input).await
    }
}

/// A whole period may fill a quarter of the receive buffer, so that the sender is not held up.
fn much_for(stream: &std::net::TcpStream) -> Much {
    let buffer_bytes = SockRef::from(stream).recv_buffer_size().unwrap_or(0);
    Much { short: MUCH_BYTES, long: LONG_BYTES_MAX.min(buffer_bytes / 4) }
}
