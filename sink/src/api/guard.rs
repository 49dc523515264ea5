//! Guards around every request: token, number at once, time, count.
//!
//! In: any request. Out: the answer of its handler, or the problem that kept it from one. Promises:
//! a token is compared in a time that does not tell how much of it was right; a path that is not
//! ours never becomes a label of a metric.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use weir_models::config::Secret;
use weir_models::metric::SINK_HTTP_REQUESTS;

use super::{Api, Problem, prom};

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
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Err(problem) = authorize(&api, request.method(), request.uri().path(), request.headers())
    {
        return problem.into_response();
    }
    let Ok(_permit) = Arc::clone(&api.requests).try_acquire_owned() else {
        return Problem::busy("too many requests at once").into_response();
    };
    let answer = tokio::time::timeout(api.limits.timeout, next.run(request)).await;
    let mut response =
        answer.unwrap_or_else(|_| Problem::timeout(api.limits.timeout.as_secs()).into_response());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn authorize(api: &Api, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(expected) = &api.token else {
        return Ok(());
    };
    // A query may come as a POST; what it asks changes nothing.
    let reads = matches!(*method, Method::GET | Method::HEAD) || path.starts_with(prom::PREFIX);
    if api.open_reads && reads {
        return Ok(());
    }
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized("the request carries no token"));
    };
    let (scheme, token) =
        given.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") && same(token.trim(), expected) {
        Ok(())
    } else {
        Err(Problem::unauthorized("the token is not the right one"))
    }
}

/// Compares digests, all bytes of them: the time tells nothing about the token, its length included.
fn same(given: &str, expected: &Secret) -> bool {
    let given = Sha256::digest(given.as_bytes());
    let expected = Sha256::digest(expected.expose().as_bytes());
    let difference = given.iter().zip(&expected[..]).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}
