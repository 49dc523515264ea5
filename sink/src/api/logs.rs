//! `GET /v1/logs`: log lines of a site, newest first.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use weir_models::time::HOUR_US;

use super::lists::Items;
use super::openapi::Problems;
use super::params::{self, Params, When};
use super::{Api, Problem};
use crate::store::{LogQuery, LogRow};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 1_024;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site.
    site: String,
    /// Only this host.
    host: Option<String>,
    /// Only lines at least this severe: 0 (emergency) to 7 (debug); 3 gives errors and worse.
    #[param(minimum = 0, maximum = 7)]
    severity: Option<u8>,
    /// Only this application.
    app: Option<String>,
    /// Only lines that contain this text, letter case ignored.
    #[param(min_length = 1, max_length = 1024)]
    q: Option<String>,
    /// First time, RFC 3339 or microseconds since the Unix epoch; default: an hour before `to`.
    #[param(value_type = Option<String>, example = "2026-11-21T10:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T11:00:00Z")]
    to: Option<When>,
    /// At most so many lines; default 500.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

/// Log lines of a site.
#[utoipa::path(
    get, path = "/v1/logs", operation_id = "list_logs", tag = "data", params(Query),
    responses((status = 200, description = "The lines, newest first", body = Items<LogRow>), Problems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Items<LogRow>>, Problem> {
    if query.severity.is_some_and(|severity| severity > 7) {
        return Err(Problem::parameter(
            "`severity` is above 7",
            "severities go from 0 (emergency) to 7 (debug)",
        ));
    }
    if let Some(text) = &query.q
        && !(1..=TEXT_BYTES_MAX).contains(&text.len())
    {
        return Err(Problem::parameter(
            "`q` is empty or too long",
            format!("search for 1 to {TEXT_BYTES_MAX} bytes, or leave `q` out"),
        ));
    }
    let limit = params::limit(query.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    let rows = api
        .store
        .logs(&LogQuery {
            site: params::name("site", query.site)?,
            host: params::name_if("host", query.host)?,
            range: params::range(query.from, query.to, HOUR_US)?,
            severity_max: query.severity,
            app: params::name_if("app", query.app)?,
            text: query.q,
            limit: limit + 1,
        })
        .await?;
    Ok(Json(Items::cut(rows, limit)))
}
