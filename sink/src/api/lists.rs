//! Lists of what there is: `/v1/sites`, `/v1/series`, `/v1/latest`, `/v1/agents`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::device::AgentStatus;
use weir_models::time::now_us;

use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem};
use crate::store::{Latest, Series};

/// A list of things.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Items<T> {
    /// The things.
    pub items: Vec<T>,
    /// Whether there are more than the limit let through.
    pub truncated: bool,
}

impl<T> Items<T> {
    /// At most `max` of `items`.
    pub(super) fn cut(mut items: Vec<T>, max: usize) -> Self {
        let truncated = items.len() > max;
        items.truncate(max);
        Self { items, truncated }
    }
}

/// Most things in a list that has no limit of its own.
pub(super) const LIST_MAX: usize = 50_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SiteQuery {
    /// Site.
    site: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// Site.
    site: String,
    /// Only series of this device.
    device: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// A gateway as last heard of.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Agent {
    /// Its last heartbeat.
    #[serde(flatten)]
    pub status: AgentStatus,
    /// Whether three heartbeats in a row are missing.
    pub silent: bool,
}

/// All gateways.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Agents {
    /// The sink's clock, microseconds since the Unix epoch, to tell ages by.
    pub now_us: i64,
    /// The gateways, by name.
    pub items: Vec<Agent>,
    /// Whether there are more than the limit let through.
    pub truncated: bool,
}

/// Known sites.
#[utoipa::path(
    get, path = "/v1/sites", operation_id = "list_sites", tag = "fleet",
    responses((status = 200, description = "The sites, by name", body = Items<String>), Problems)
)]
pub(super) async fn sites(
    State(api): State<Api>,
    Params(NoQuery {}): Params<NoQuery>,
) -> Result<Json<Items<String>>, Problem> {
    let mut sites = api.store.sites().await?;
    sites.sort_unstable();
    Ok(Json(Items::cut(sites, LIST_MAX)))
}

/// Known series of a site.
#[utoipa::path(
    get, path = "/v1/series", operation_id = "list_series", tag = "data", params(SeriesQuery),
    responses((status = 200, description = "The series, by device and metric", body = Items<Series>), Problems)
)]
pub(super) async fn series(
    State(api): State<Api>,
    Params(query): Params<SeriesQuery>,
) -> Result<Json<Items<Series>>, Problem> {
    let site = params::name("site", query.site)?;
    let device = params::name_if("device", query.device)?;
    let mut series = api.store.series(&site, device.as_deref()).await?;
    series.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(Json(Items::cut(series, LIST_MAX)))
}

/// Newest value of every series of a site.
#[utoipa::path(
    get, path = "/v1/latest", operation_id = "list_latest", tag = "data", params(SiteQuery),
    responses((status = 200, description = "The values, by device and metric", body = Items<Latest>), Problems)
)]
pub(super) async fn latest(
    State(api): State<Api>,
    Params(query): Params<SiteQuery>,
) -> Result<Json<Items<Latest>>, Problem> {
    let site = params::name("site", query.site)?;
    let mut latest = api.store.latest(&site).await?;
    latest.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(Json(Items::cut(latest, LIST_MAX)))
}

/// The gateways as last heard of.
#[utoipa::path(
    get, path = "/v1/agents", operation_id = "list_agents", tag = "fleet",
    responses((status = 200, description = "The gateways, by name", body = Agents), Problems)
)]
pub(super) async fn agents(
    State(api): State<Api>,
    Params(NoQuery {}): Params<NoQuery>,
) -> Result<Json<Agents>, Problem> {
    let now_us = now_us();
    let agents = api.store.agents().await?.into_values();
    let agents = agents.map(|status| Agent { silent: is_silent(&status, now_us), status });
    let Items { items, truncated } = Items::cut(agents.collect(), LIST_MAX);
    Ok(Json(Agents { now_us, items, truncated }))
}

fn is_silent(status: &AgentStatus, now_us: i64) -> bool {
    let interval_us =
        i64::try_from(status.interval_s.max(1)).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    now_us.saturating_sub(status.ts_us) > interval_us.saturating_mul(3)
}
