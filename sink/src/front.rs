//! Front: the HTTP address of the sink, from the first moment on.
//!
//! In: an address; later the routes of API and page. Out: health, readiness and metrics at once, the rest
//! as soon as there is a store to ask; until then 503. Promises: the address is bound once, so nobody
//! else can take it meanwhile, and a connection that was opened early is served like any other
//! later. What can go wrong: the address is taken ([`FrontError`] says what to do).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::api;
use crate::status::{self, Status};

/// The address is not to be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on `{listen}` for the API: {source}; set `http.listen` to a free address (`ss -ltnp` shows who has it)"
)]
pub struct FrontError {
    listen: String,
    source: std::io::Error,
}

/// A bound address that is served.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    status: Arc<Status>,
    /// API and page.
    routes: Arc<OnceLock<Router>>,
}

impl Front {
    /// Binds the address and serves what needs no store.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub async fn bind(
        listen: &str,
        status: Arc<Status>,
        prometheus: Option<PrometheusHandle>,
    ) -> Result<Self, FrontError> {
        let failed = |source| FrontError { listen: listen.into(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let routes = Arc::new(OnceLock::<Router>::new());
        let opened = Arc::clone(&routes);
        let rest = async move |request: Request| match opened.get() {
            Some(routes) => routes.clone().oneshot(request).await.into_response(),
            None => api::starting().into_response(),
        };
        let router = status::router(Arc::clone(&status), prometheus).fallback(rest);
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the API is no longer served");
            }
        });
        Ok(Self { address, status, routes })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves API and page from now on.
    pub(crate) fn open(&self, routes: Router) {
        // Whoever comes second would have another store; there is one.
        let _ = self.routes.set(routes);
        self.status.opened();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// Asks over a connection that stays open; answers the status line.
    async fn ask(connection: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: sink\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4_096];
        let read = connection.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_connection_from_before_the_start_is_served_like_any_other_after_it() {
        let front = Front::bind("127.0.0.1:0", Status::new(), None).await.unwrap();
        let mut early = TcpStream::connect(front.address()).await.unwrap();
        let away = "HTTP/1.1 503 Service Unavailable";
        assert_eq!(ask(&mut early, "/healthz").await, "HTTP/1.1 200 OK");
        assert_eq!(ask(&mut early, "/readyz").await, away);
        assert_eq!(ask(&mut early, "/v1/sites").await, away);
        front.open(Router::new().route("/v1/sites", get(async || "all")));
        assert_eq!(ask(&mut early, "/readyz").await, "HTTP/1.1 200 OK");
        assert_eq!(ask(&mut early, "/v1/sites").await, "HTTP/1.1 200 OK");
        assert_eq!(ask(&mut early, "/v1/none").await, "HTTP/1.1 404 Not Found");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told() {
        let front = Front::bind("127.0.0.1:0", Status::new(), None).await.unwrap();
        let listen = front.address().to_string();
        let error = Front::bind(&listen, Status::new(), None).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on `{listen}` for the API: ")),
            "{error}"
        );
    }
}
