//! Lists of what there is: `/v1/sites`, `/v1/series`, `/v1/latest`, `/v1/agents`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::device::AgentStatus;
use weir_models::time::now_us;

use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem, cursor};
use crate::store::{Latest, Series};

/// A list of things.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Items<T> {
    /// The things.
    pub items: Vec<T>,
    /// Whether there are more than the limit let through.
    pub truncated: bool,
    /// When there are more: ask again with this as `cursor`, and the same parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The part of a list that was asked for.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

impl<T> Items<T> {
    /// The page of `items`, which come in the order of `place`, after the place of its cursor.
    pub(super) fn page<const N: usize>(
        list: &str,
        page: Page,
        mut items: Vec<T>,
        place: impl Fn(&T) -> [&str; N],
    ) -> Result<Self, Problem> {
        let limit = params::limit(page.limit, LIST_MAX, LIST_MAX)?;
        if let Some(cursor) = page.cursor {
            let after = cursor::read(list, &cursor)?;
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            items.drain(..items.partition_point(|item| place(item)[..] <= after[..]));
        }
        let mut cut = Self::cut(items, limit);
        let last = cut.items.last().filter(|_| cut.truncated);
        cut.next = last.map(|last| cursor::write(list, place(last)));
        Ok(cut)
    }

    /// At most `max` of `items`.
    pub(super) fn cut(mut items: Vec<T>, max: usize) -> Self {
        let truncated = items.len() > max;
        items.truncate(max);
        Self { items, truncated, next: None }
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
    /// At most so many; default 50000.
    #[param(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// Site.
    site: String,
    /// Only series of this device.
    device: Option<String>,
    /// At most so many; default 50000.
    #[param(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// At most so many; default 50000.
    #[param(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AgentsQuery {
    /// Only this gateway.
    agent: Option<String>,
    /// At most so many; default 50000.
    #[param(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

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
    /// When there are more: ask again with this as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Known sites.
#[utoipa::path(
    get, path = "/v1/sites", operation_id = "list_sites", tag = "fleet", params(PageQuery),
    responses((status = 200, description = "The sites, by name", body = Items<String>), Problems)
)]
pub(super) async fn sites(
    State(api): State<Api>,
    Params(PageQuery { limit, cursor }): Params<PageQuery>,
) -> Result<Json<Items<String>>, Problem> {
    let mut sites = api.store.sites().await?;
    sites.sort_unstable();
    Ok(Json(Items::page("sites", Page { limit, cursor }, sites, |site: &String| [site])?))
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
    let page = Page { limit: query.limit, cursor: query.cursor };
    let items =
        Items::page("series", page, series, |Series { key, .. }| [&key.device, &key.metric])?;
    Ok(Json(items))
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
    let page = Page { limit: query.limit, cursor: query.cursor };
    let items =
        Items::page("latest", page, latest, |Latest { key, .. }| [&key.device, &key.metric])?;
    Ok(Json(items))
}

/// The gateways as last heard of.
#[utoipa::path(
    get, path = "/v1/agents", operation_id = "list_agents", tag = "fleet", params(AgentsQuery),
    responses((status = 200, description = "The gateways, by name", body = Agents), Problems)
)]
pub(super) async fn agents(
    State(api): State<Api>,
    Params(AgentsQuery { agent, limit, cursor }): Params<AgentsQuery>,
) -> Result<Json<Agents>, Problem> {
    let now_us = now_us();
    let agent = params::name_if("agent", agent)?;
    let agents: Vec<AgentStatus> = match agent {
        Some(name) => api.store.agent(&name).await?.into_iter().collect(),
        None => api.store.agents().await?.into_values().collect(),
    };
    let agents =
        agents.into_iter().map(|status| Agent { silent: is_silent(&status, now_us), status });
    let page = Page { limit, cursor };
    let Items { items, truncated, next } =
        Items::page("agents", page, agents.collect(), |agent: &Agent| [&*agent.status.agent])?;
    Ok(Json(Agents { now_us, items, truncated, next }))
}

fn is_silent(status: &AgentStatus, now_us: i64) -> bool {
    let interval_us =
        i64::try_from(status.interval_s.max(1)).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    now_us.saturating_sub(status.ts_us) > interval_us.saturating_mul(3)
}
