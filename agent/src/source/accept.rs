//! Accepting connections: one loop for all sources that listen for streams.
//!
//! In: a listening socket, its door and limits. Out: a task for each connection that was let in and,
//! with TLS, has shaken hands. Promises: no limit is passed; a peer that dies without a word is found
//! out; at a stop nothing more is accepted, and what is there comes to its end first. What can go
//! wrong: there are no file descriptors left; then it is tried again for as long as it takes, and peers
//! wait in the kernel.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listen::watch_peer;
use super::peers::{Guest, Limits, Peers};
use super::stopping;
use super::tls::{Door, Stream};

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

/// Where connections of one source come in.
pub(super) struct Entrance {
    /// Name of the source.
    pub(super) name: Arc<str>,
    /// The listening socket.
    pub(super) listener: TcpListener,
    /// Makes TLS of connections where that is configured.
    pub(super) door: Door,
    /// What peers may do.
    pub(super) limits: Limits,
}

impl Entrance {
    /// Runs `serve` for each connection until the source stops, then waits for those there are.
    pub(super) async fn run<Served>(
        self,
        mut stop: watch::Receiver<bool>,
        serve: impl FnOnce(Guest, Stream, watch::Receiver<bool>) -> Served + Clone + Send + 'static,
    ) where
        Served: Future<Output = ()> + Send + 'static,
    {
        let Self { name, listener, door, limits } = self;
        let (door, peers) = (Arc::new(door), Peers::new(&name, limits));
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
                    tracing::warn!(source = %name, %error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                    continue;
                }
            };
            let Some(guest) = peers.admit(peer.ip().to_canonical()) else {
                continue;
            };
            if let Err(error) = set_options(&stream) {
                tracing::debug!(source = %name, %peer, %error, "cannot set the options of a connection");
            }
            let (door, serve, mut stop) = (Arc::clone(&door), serve.clone(), stop.clone());
            connections.spawn(async move {
                if let Some(stream) = door.open(stream, peer, &mut stop).await {
                    serve(guest, stream, stop).await;
                }
            });
        }
        // Nothing but the connections may hold the channel open.
        drop((listener, serve));
        while connections.join_next().await.is_some() {}
    }
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    watch_peer(stream)?;
    // Answers are short, and the peer waits for them.
    stream.set_nodelay(true)
}
