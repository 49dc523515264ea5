//! Prom: the part of Prometheus' HTTP API that Grafana needs, over the readings.
//!
//! In: requests under `/api/v1`, as GET or as POST of a form. Out: answers and errors in Prometheus' JSON.
//! Promises: nothing is changed, so that a POST needs no more than a GET; a query is bounded in length, parts,
//! times, series, points and values; what is not supported is an error that names it. What can go wrong: the store
//! is away (503, `unavailable`).
//!
//! What computes and waits for nothing is kept from the runtime's workers, a few queries at once (`apart`).
//!
//! `lex` and `parse` make a tree (`ast`) of a query; `read` has the store's answer for each selector, made by
//! `fold`; `compute`, `aggregate` and `pair` do the rest; `answer` writes it. `names` says what a series is called.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};

use self::answer::{Fault, of_instant, of_matrix, of_range};
use self::ast::{Expr, Query};
use self::compute::{Grid, Value, Work, compute};
use self::params::Form;
use self::parse::parse;
use self::read::Reader;
use super::{Api, BODY_BYTES_MAX, Problem, guard};

mod aggregate;
mod answer;
mod ast;
mod compute;
mod fold;
pub(super) mod lists;
mod lex;
mod names;
mod pair;
mod params;
mod parse;
mod read;

pub use answer::{PrometheusAnswer, PrometheusError};

/// The routes, guarded.
pub(super) fn router(api: &Api) -> Router {
    Router::new()
        .route("/api/v1/query", both(get(query).post(query)))
        .route("/api/v1/query_range", both(get(query_range).post(query_range)))
        .route("/api/v1/labels", both(get(lists::labels).post(lists::labels)))
        .route("/api/v1/label/{name}/values", both(get(lists::values)))
        .route("/api/v1/series", both(get(lists::series).post(lists::series)))
        .route("/api/v1/metadata", both(get(lists::metadata)))
        .route("/api/v1/status/buildinfo", both(get(lists::buildinfo)))
        .route("/api/v1/{*rest}", any(async || Fault::not_found()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(map_response(answer::shaped))
        .with_state(api.clone())
}

fn both(route: MethodRouter<Api>) -> MethodRouter<Api> {
    route.fallback(async || Problem::method())
}

/// A query at one time, in PromQL.
#[utoipa::path(
    get, path = "/api/v1/query", operation_id = "prometheus_query", tag = "prometheus",
    params(
        ("query" = String, Query, description = "The query, in PromQL", example = "temperature{site=\"plant\"}"),
        ("time" = Option<String>, Query, description = "The time, RFC 3339 or seconds since the Unix epoch; default: now"),
        ("lookback_delta" = Option<String>, Query, description = "How far a selector without a range looks back; default: 5m"),
        ("limit" = Option<i64>, Query, description = "At most so many rows, with a warning when there are more; default, and of 0 and less: all"),
    ),
    responses((status = 200, description = "A vector, a scalar, or values of a range, as Prometheus writes them", body = PrometheusAnswer), lists::Faults)
)]
pub(super) async fn query(State(api): State<Api>, form: Form) -> Result<Response, Fault> {
    let (grid, limit) = (form.instant()?, form.limit("limit", usize::MAX)?);
    let query = parsed(&api, &form).await?;
    let reader = Reader::new(&*api.store, form.lookback_us()?, api.limits.scan_rows_max);
    if let Expr::Matrix(selector, range_us) = &query.expr {
        let rows = reader.matrix(selector, *range_us, grid.at_us(0)).await?;
        return apart(&api, move || Ok(of_matrix(&rows, limit))).await;
    }
    let answer = move |value| of_instant(&value, &grid, limit);
    evaluated(&api, query, &reader, grid, answer).await
}

/// A query at many times, in PromQL.
#[utoipa::path(
    get, path = "/api/v1/query_range", operation_id = "prometheus_query_range", tag = "prometheus",
    params(
        ("query" = String, Query, description = "The query, in PromQL", example = "avg by (device) (avg_over_time(temperature{site=\"plant\"}[1h]))"),
        ("start" = String, Query, description = "First time, RFC 3339 or seconds since the Unix epoch"),
        ("end" = String, Query, description = "Last time, same forms; it is one of the times where it is a step"),
        ("step" = String, Query, description = "From one time to the next: seconds, or as 5m; at most 11,000 steps", example = "60"),
        ("lookback_delta" = Option<String>, Query, description = "How far a selector without a range looks back; default: 5m"),
        ("limit" = Option<i64>, Query, description = "At most so many rows, with a warning when there are more; default, and of 0 and less: all"),
    ),
    responses((status = 200, description = "Rows of values, as Prometheus writes them", body = PrometheusAnswer), lists::Faults)
)]
pub(super) async fn query_range(State(api): State<Api>, form: Form) -> Result<Response, Fault> {
    let (grid, limit) = (form.grid()?, form.limit("limit", usize::MAX)?);
    let query = parsed(&api, &form).await?;
    if matches!(query.expr, Expr::Matrix(..)) {
        let error = "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
        return Err(Fault::parameter("query", error));
    }
    let reader = Reader::new(&*api.store, form.lookback_us()?, api.limits.scan_rows_max);
    evaluated(&api, query, &reader, grid, move |value| of_range(value, &grid, limit)).await
}

async fn parsed(api: &Api, form: &Form) -> Result<Query, Fault> {
    let text = form.query()?.to_owned();
    apart(api, move || parse(&text).map_err(|error| Fault::parameter("query", error))).await
}

async fn evaluated(
    api: &Api,
    query: Query,
    reader: &Reader<'_>,
    grid: Grid,
    answer: impl FnOnce(Value) -> Response + Send + 'static,
) -> Result<Response, Fault> {
    let mut leaves = Vec::with_capacity(query.leaves.len());
    for leaf in &query.leaves {
        leaves.push(reader.rows(leaf, grid).await?);
    }
    let mut work = Work::left(reader.samples());
    let computed = move || compute(&query.expr, &grid, &mut leaves, &mut work).map(answer);
    apart(api, move || computed().map_err(Fault::execution)).await
}

/// Does `work` on a thread of its own: a worker of the runtime that computes for a second holds up the pipeline.
/// When the request ends before, the work goes on until it is done, which its bounds make soon, and keeps its place
/// among the few until then.
async fn apart<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let place = Arc::clone(&api.computing).acquire_owned().await;
    let place = place.map_err(|_| Fault::from(&Problem::busy("the sink is stopping")))?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.unwrap_or_else(|error| Err(Fault::internal(error.to_string())))
}
