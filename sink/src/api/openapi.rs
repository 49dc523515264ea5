//! `GET /v1/openapi.json`: the description of the API, made from the handlers themselves.
//!
//! In: the types of the handlers, and who may ask this sink. Out: the description, with what needs a token here. A copy
//! of that of a sink without tokens lies in `docs/openapi.json`; a test keeps it equal. `exact` says what the types
//! cannot; schemathesis holds a running sink against it (`tests/it/api.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Object, Ref, RefOr, ResponseBuilder, Type};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::{
    Problem, PrometheusAnswer, PrometheusError, alerts, archive, devices, etag, feedback, history,
    imports, lists, logs, losses, prom, readings, rollups, summary, watch,
};
use crate::access::Access;

mod exact;

use self::exact::Exact;

/// The problems that every path may answer with.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [
            ("400", "A parameter or the body cannot be used"),
            ("401", "A valid token is needed"),
            ("403", "The token has a role that may not do this"),
            ("500", "The store needs a person"),
            ("503", "The API is busy, or store or Kafka are away: try again"),
            ("504", "The answer took too long"),
        ]
        .into_iter()
        .map(|(status, description)| (status.to_owned(), problem(status, description)))
        .collect()
    }
}

/// The problem of a range that no store reads at once.
pub(super) struct TooWide;

impl IntoResponses for TooWide {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let response = problem("422", "The query would read too much: narrow the range");
        BTreeMap::from([("422".to_owned(), response)])
    }
}

fn problem(status: &str, description: &str) -> RefOr<utoipa::openapi::Response> {
    let schema = Ref::from_schema_name("Problem");
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build());
    for (of, name, kind, what) in [
        ("401", "WWW-Authenticate", Type::String, "What to send"),
        ("403", "WWW-Authenticate", Type::String, "The role that is needed, as `scope`"),
        ("503", "Retry-After", Type::Integer, "Seconds to wait"),
    ] {
        if of == status {
            let header = HeaderBuilder::new().schema(Some(Object::with_type(kind)));
            response = response.header(name, header.description(Some(what)).build());
        }
    }
    RefOr::T(response.build())
}

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, doc: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of the sink's configuration, when it has any; what changes something needs the role `devices` or `admin`"));
        doc.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "weir",
        description = "Time series, logs and alerts from the edge. Times are microseconds since the Unix epoch, UTC; errors are RFC 9457 problem details with a hint.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        readings::get,
        rollups::get,
        lists::latest,
        lists::series,
        lists::sites,
        lists::agents,
        logs::get,
        summary::get,
        alerts::get,
        losses::get,
        archive::get,
        feedback::post,
        devices::list,
        devices::get,
        devices::put,
        devices::patch,
        devices::delete,
        history::get,
        imports::post,
        watch::get,
        prom::query,
        prom::query_range,
        prom::lists::labels,
        prom::lists::values,
        prom::lists::series,
        prom::lists::metadata,
        prom::lists::buildinfo,
        describe,
    ),
    components(schemas(Problem, PrometheusError, PrometheusAnswer)),
    modifiers(&BearerToken, &Exact),
    security((), ("token" = [])),
    tags(
        (name = "data", description = "Readings, logs and alerts"),
        (name = "fleet", description = "Sites, gateways and devices"),
        (name = "prometheus", description = "Readings by PromQL, as Prometheus' HTTP API has it; errors in its form"),
        (name = "api", description = "The API itself"),
    ),
)]
struct Description;

/// The path of the description for a sink that lets in whom `access` lets in.
pub(super) fn route<S: Clone + Send + Sync + 'static>(access: &Access) -> MethodRouter<S> {
    // The description holds text and numbers only, which are always JSON.
    let json = exact::guarded(Description::openapi(), access).to_pretty_json().unwrap_or_default();
    let answer: Arc<(String, String)> = Arc::new((etag::tag_of(json.as_bytes()), json));
    get(async move |headers: HeaderMap| describe(&headers, &answer))
        .fallback(async || Problem::method())
}

/// This description.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "describe_api", tag = "api", security(()),
    responses((status = 200, description = "The OpenAPI document; needs no token", body = Object, content_type = "application/json"))
)]
fn describe(headers: &HeaderMap, (tag, json): &(String, String)) -> Response {
    let common = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if etag::is_known(headers, tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, "application/json")], json.clone()).into_response()
}
