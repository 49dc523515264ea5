//! The server: connections, with limits on their number and on waiting.
//!
//! In: connections. Out: requests to the routes. At a stop no connection is accepted any more, and
//! requests that are being answered get a few seconds; then the rest is cut.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::listen::watch_peer;
use super::super::peers::{Guest, Limits, Peers};
use super::super::stopping;
use super::super::tls::{Door, Stream};
use super::Config;
use super::routes::{self, Peer, Shared};

/// How long requests may take at a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

type Routes = TowerToHyperService<axum::Router>;

/// Serves until the agent stops.
pub(super) async fn run(
    config: &Config,
    listener: TcpListener,
    door: Door,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let (door, outlet) = (Arc::new(door), shared.lines.clone());
    let routes = TowerToHyperService::new(routes::router(shared));
    let limits = Limits {
        connections_max: config.connections_max,
        peer_connections_max: config.peer_connections_max,
        peer_events_per_s_max: config.peer_events_per_s_max,
    };
    let peers = Peers::new(outlet.name(), limits);
    let idle = (config.idle_s > 0).then(|| Duration::from_secs(config.idle_s));
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
        let Some(guest) = peers.admit(peer.ip().to_canonical()) else {
            continue;
        };
        if let Err(error) = watch_peer(&stream).and_then(|()| stream.set_nodelay(true)) {
            tracing::debug!(%peer, %error, "cannot set the options of a connection");
        }
        let (door, routes, mut stop) = (Arc::clone(&door), routes.clone(), stop.clone());
        connections.spawn(async move {
            if let Some(stream) = door.open(stream, peer, &mut stop).await {
                connection(stream, guest, idle, routes, stop).await;
            }
        });
    }
    drop((listener, outlet, routes));
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: Stream,
    guest: Guest,
    idle: Option<Duration>,
    routes: Routes,
    mut stop: watch::Receiver<bool>,
) {
    let peer = guest.peer();
    let guest = Arc::new(guest);
    let shown = Arc::clone(&guest);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(Arc::clone(&shown)));
        routes.call(request)
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        biased;
        served = serving.as_mut() => served,
        () = stopping(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(STOP_WAIT, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            guest.is_idle();
        }
        tracing::debug!(%peer, %error, "a connection broke");
    }
}
