//! `GET /v1/openapi.json`: the description of the API, made from the handlers themselves.
//!
//! A copy lies in `docs/openapi.json`; a test keeps it equal.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::{
    Problem, PrometheusError, alerts, archive, devices, etag, feedback, history, imports, lists,
    logs, losses, prom, readings, rollups, summary, watch,
};

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
        .map(|(status, description)| {
            let schema = Ref::from_schema_name("Problem");
            let response = ResponseBuilder::new().description(description).content(
                "application/problem+json",
                ContentBuilder::new().schema(Some(schema)).build(),
            );
            (status.to_owned(), RefOr::T(response.build()))
        })
        .collect()
    }
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
        get,
    ),
    components(schemas(Problem, PrometheusError)),
    modifiers(&BearerToken),
    security((), ("token" = [])),
    tags(
        (name = "data", description = "Readings, logs and alerts"),
        (name = "fleet", description = "Sites, gateways and devices"),
        (name = "prometheus", description = "Readings by PromQL, as Prometheus' HTTP API has it; errors in its form"),
        (name = "api", description = "The API itself"),
    ),
)]
struct Description;

/// The description as JSON text.
pub(super) static JSON: LazyLock<String> = LazyLock::new(|| {
    // The description holds text and numbers only, which are always JSON.
    Description::openapi().to_pretty_json().unwrap_or_default()
});

/// This description.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "describe_api", tag = "api",
    responses((status = 200, description = "The OpenAPI document; needs no token", body = Object, content_type = "application/json"))
)]
pub(super) async fn get(headers: HeaderMap) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| etag::tag_of(JSON.as_bytes()));
    let common = [
        (header::ETAG, TAG.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if etag::is_known(&headers, &TAG) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}
