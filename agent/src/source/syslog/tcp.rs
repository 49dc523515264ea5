//! Syslog over TCP (RFC 6587), plain or TLS (RFC 5425).
//!
//! In: connections. Out: one input a read, of all frames it completed. While the channel is full
//! nothing is read, the window of the connection closes and the sender waits. Connections beyond the
//! limit are closed at once and counted. At a stop what the kernel already acknowledged is read out,
//! and an unfinished last frame is passed on, marked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use weir_models::time::now_us;

use super::super::framing::{Frame, Framer, Framing, READ_BYTES};
use super::super::listen::watch_peer;
use super::super::outlet::{Closed, Outlet, raws};
use super::super::stopping;
use super::super::tls::{Door, Stream};
use super::Config;

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);
/// So much is read from a connection at a stop at most, in bytes.
const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Accepts connections until the agent stops, then waits for those there are.
pub(super) async fn run(
    config: &Config,
    listener: TcpListener,
    door: Door,
    outlet: Outlet,
    mut stop: watch::Receiver<bool>,
) {
    let door = Arc::new(door);
    let free = Arc::new(Semaphore::new(config.connections_max));
    let idle = config.idle_s.map(Duration::from_secs);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(source = %outlet.name(), %error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_WAIT).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            outlet.refused();
            tracing::warn!(source = %outlet.name(), %peer, max = config.connections_max, "refused a connection: raise `connections_max`, or find out who opens so many");
            continue;
        };
        if let Err(error) = watch_peer(&stream) {
            tracing::debug!(source = %outlet.name(), %peer, %error, "no keep-alive for a connection");
        }
        let connection = Connection {
            peer: peer.ip().to_canonical(),
            framer: Framer::new(Framing::Syslog),
            outlet: outlet.clone(),
        };
        let (door, mut stop) = (Arc::clone(&door), stop.clone());
        connections.spawn(async move {
            match door.open(stream, peer, &mut stop).await {
                // `Closed` ends the connection like any other end: there is nobody to tell.
                Some(stream) => drop(connection.run(stream, idle, stop).await),
                None => connection.outlet.refused(),
            }
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

struct Connection {
    peer: IpAddr,
    framer: Framer,
    outlet: Outlet,
}

impl Connection {
    async fn run(
        mut self,
        mut stream: Stream,
        idle: Option<Duration>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Closed> {
        loop {
            let read = async {
                let read = stream.read_buf(self.framer.buffer());
                match idle {
                    Some(idle) => tokio::time::timeout(idle, read).await.ok(),
                    None => Some(read.await),
                }
            };
            let read = tokio::select! {
                biased;
                () = stopping(&mut stop) => {
                    self.drain(stream).await?;
                    break;
                }
                read = read => read,
            };
            match read {
                Some(Ok(0)) => break,
                Some(Ok(_)) => {
                    let frames = self.framer.take();
                    self.pass_on(frames).await?;
                }
                Some(Err(error)) => {
                    tracing::debug!(source = %self.outlet.name(), peer = %self.peer, %error, "a connection broke");
                    break;
                }
                None => {
                    self.outlet.refused();
                    tracing::info!(source = %self.outlet.name(), peer = %self.peer, "closed an idle connection");
                    break;
                }
            }
        }
        let frames = self.framer.finish();
        self.pass_on(frames).await
    }

    /// Reads what is there without waiting for more.
    async fn drain(&mut self, stream: Stream) -> Result<(), Closed> {
        let Ok(mut stream) = stream.into_std() else {
            return Ok(());
        };
        let mut chunk = vec![0; READ_BYTES];
        for _ in 0..DRAIN_BYTES_MAX / READ_BYTES {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    self.framer.buffer().extend_from_slice(&chunk[..length]);
                    let frames = self.framer.take();
                    self.pass_on(frames).await?;
                }
            }
        }
        Ok(())
    }

    async fn pass_on(&self, frames: Vec<Frame>) -> Result<(), Closed> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut input = self.outlet.input(raws(frames, now_us()));
        input.peer = Some(self.peer);
        self.outlet.send(input).await
    }
}
