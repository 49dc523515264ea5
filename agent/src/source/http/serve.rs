//! The server: connections, with limits on their number and on waiting.
//!
//! In: connections. Out: requests to the routes. At a stop no connection is accepted any more, and
//! requests that are being answered get a few seconds; then the rest is cut.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::super::listen::watch_peer;
use super::super::stopping;
use super::super::tls::{Door, Stream};
use super::routes::{self, Peer};

/// How long a connection may take for the head of a request, and wait between two of them.
const HEAD_WAIT: Duration = Duration::from_secs(75);
/// How long requests may take at a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

type Routes = TowerToHyperService<axum::Router>;

/// Serves until the agent stops.
pub(super) async fn run(
    listener: TcpListener,
    connections_max: usize,
    door: Door,
    shared: Arc<routes::Door>,
    mut stop: watch::Receiver<bool>,
) {
    let (door, outlet) = (Arc::new(door), shared.lines.clone());
    let routes = TowerToHyperService::new(routes::router(shared));
    let free = Arc::new(Semaphore::new(connections_max));
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
            tracing::warn!(source = %outlet.name(), %peer, max = connections_max, "refused a connection: raise `connections_max`, or find out who opens so many");
            continue;
        };
        if let Err(error) = watch_peer(&stream).and_then(|()| stream.set_nodelay(true)) {
            tracing::debug!(source = %outlet.name(), %peer, %error, "cannot set the options of a connection");
        }
        let refused = outlet.clone();
        let (door, routes, mut stop) = (Arc::clone(&door), routes.clone(), stop.clone());
        connections.spawn(async move {
            match door.open(stream, peer, &mut stop).await {
                Some(stream) => {
                    connection(stream, peer.ip().to_canonical(), routes, stop).await;
                }
                None => refused.refused(),
            }
            drop(permit);
        });
    }
    drop((listener, outlet, routes));
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: Stream, peer: IpAddr, routes: Routes, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        routes.call(request)
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
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
        tracing::debug!(%peer, %error, "a connection broke");
    }
}
