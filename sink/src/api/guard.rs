//! Guards around every request: token and role, number at once, time, count.
//!
//! In: any request. Out: the answer of its handler, which finds the [`Caller`] among the extensions of the request,
//! or the problem that kept it from one. Promises: a token is never logged; a path that is not ours never becomes a
//! label of a metric.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use weir_models::metric::SINK_HTTP_REQUESTS;

use super::{Api, Problem, imports};
use crate::access::{self, Caller, Denied};

/// What to do when an answer took too long.
pub(super) const SHORTER: &str = "ask for a shorter range (`from`, `to`) or fewer rows (`limit`)";

/// Counts the request.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(SINK_HTTP_REQUESTS.name, "path" => path, "status" => status).increment(1);
    response
}

/// Lets the request through when it may, when there is room, and for as long as it may take.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match authorize(&api, &request) {
        Ok(caller) => drop(request.extensions_mut().insert(caller)),
        Err(problem) => return problem.into_response(),
    }
    let Ok(_permit) = Arc::clone(&api.requests).try_acquire_owned() else {
        return Problem::busy("too many requests at once").into_response();
    };
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let is_import = route == imports::PATH;
    let within = if is_import { api.limits.import_timeout } else { api.limits.timeout };
    let answer = tokio::time::timeout(within, next.run(request)).await;
    let late = || {
        let hint = if is_import { imports::AGAIN } else { SHORTER };
        Problem::timeout(within.as_secs(), hint).into_response()
    };
    let mut response = answer.unwrap_or_else(|_| late());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Who asks, when it may.
fn authorize(api: &Api, request: &Request) -> Result<Caller, Problem> {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let need = access::need(request.method(), route);
    api.access.admit(need, request.headers()).map_err(|denied| match denied {
        Denied::Missing => Problem::unauthorized("the request carries no token", need),
        Denied::Unknown => Problem::unauthorized("nobody has this token", need),
        Denied::Role { name, has } => {
            tracing::info!(token = %name, %has, %need, method = %request.method(), route, "a token may not do this");
            Problem::forbidden(&name, has, need)
        }
    })
}
