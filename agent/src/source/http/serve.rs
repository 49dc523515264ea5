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

use super::super::accept::Entrance;
use super::super::peers::{Guest, Limits};
use super::super::stopping;
use super::super::tls::{Door, Stream};
use super::Config;
use super::routes::{self, Peer, Shared};

/// How long requests may take at a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

type Routes = TowerToHyperService<axum::Router>;

/// Serves until the source stops.
pub(super) async fn run(
    config: &Config,
    listener: TcpListener,
    door: Door,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let limits = Limits {
        connections_max: config.connections_max,
        peer_connections_max: config.peer_connections_max,
        peer_events_per_s_max: config.peer_events_per_s_max,
    };
    let entrance = Entrance { name: Arc::clone(shared.lines.name()), listener, door, limits };
    let idle = (config.idle_s > 0).then(|| Duration::from_secs(config.idle_s));
    let routes = TowerToHyperService::new(routes::router(shared));
    let serve = move |guest, stream, stop| connection(stream, guest, idle, routes, stop);
    entrance.run(stop, serve).await;
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
