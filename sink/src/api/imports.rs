//! `POST /v1/devices/import`: a list of devices at once.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::check_kind;
use super::openapi::Problems;
use super::params::Params;
use super::{Api, Problem};
use crate::access::Caller;
use crate::registry::{IMPORT_BYTES_MAX, ImportReport};

/// The path, as the router has it; it may take longer than others.
pub(super) const PATH: &str = "/v1/devices/import";
/// What to do when it took too long all the same.
pub(super) const AGAIN: &str = "send the same list again: what is so already is not sent twice";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Only say what would become of each line; default false.
    #[serde(default)]
    dry_run: bool,
}

/// Takes a list of devices as CSV.
///
/// The first line names the columns: `site`, `device` and, as far as wanted, `aliases` (separated by blanks; one with blanks in double quotes),
/// `meta.NAME`, `units.METRIC`. A column that is not there leaves what is known as it is, an empty cell takes it
/// away. A line that cannot be is refused and holds up no other. The same list again changes nothing.
#[utoipa::path(
    post, path = "/v1/devices/import", operation_id = "import_devices", tag = "fleet", params(ImportQuery),
    request_body(content = String, content_type = "text/csv", description = "At most 16 MiB, 50,000 lines and 4,000,000 cells"),
    responses(
        (status = 200, description = "What would become of the list; nothing was sent", body = ImportReport),
        (status = 202, description = "What became of the list, safe in Kafka and on its way to agents and store", body = ImportReport),
        (status = 413, description = "The list is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be CSV", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses a record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn post(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Params(ImportQuery { dry_run }): Params<ImportQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ImportReport>), Problem> {
    check_kind(&headers, &["text/csv"], "CSV")?;
    // Before the body is read: it may be large.
    let import = api.registry.import().ok_or_else(Problem::importing)?;
    // Whoever sends it slowly keeps others from theirs.
    let read = tokio::time::timeout(api.limits.timeout, to_bytes(body, IMPORT_BYTES_MAX)).await;
    let read = read.map_err(|_| {
        let hint = "the list has to come within this time: send it in parts";
        Problem::timeout(api.limits.timeout.as_secs(), hint)
    })?;
    let bytes = read.map_err(|error| {
        let hint = "16 MiB at most: send the list in parts, with all of its columns in each";
        Problem::body(StatusCode::PAYLOAD_TOO_LARGE, error.to_string(), hint)
    })?;
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        let detail = format!("the list is not UTF-8: {error}");
        Problem::body(StatusCode::BAD_REQUEST, detail, "save it as \"CSV UTF-8\"")
    })?;
    let report = import.run(text, dry_run, caller.name.as_deref()).await?;
    Ok((if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(report)))
}
