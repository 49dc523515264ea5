//! `GET /v1/alerts`: alerts of a site, newest first, each once with its present state.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use weir_models::alert::{Alert, AlertState};
use weir_models::time::DAY_US;

use super::lists::Items;
use super::openapi::Problems;
use super::params::{self, Params, When};
use super::{Api, Problem, cursor};
use crate::store::AlertQuery;

const LIMIT_DEFAULT: usize = 200;
const LIMIT_MAX: usize = 5_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site.
    site: String,
    /// Only this device; together with `metric`.
    device: Option<String>,
    /// Only this metric; together with `device`.
    metric: Option<String>,
    /// Only alerts in this state now.
    #[param(value_type = Option<AlertState>, inline)]
    state: Option<AlertState>,
    /// First time of firing, RFC 3339 or microseconds since the Unix epoch; default: seven days
    /// before `to`.
    #[param(value_type = Option<String>, example = "2026-11-21T10:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T11:00:00Z")]
    to: Option<When>,
    /// At most so many alerts; default 200.
    #[param(minimum = 1, maximum = 5_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

/// The alerts up to the place of a cursor are all that fired later, and of those that fired at `fired_us` these.
struct Told {
    fired_us: i64,
    ids: Vec<String>,
}

impl Told {
    fn read(text: &str) -> Result<Self, Problem> {
        let mut place = cursor::read("alerts", text)?;
        let ids = place.split_off(1);
        let fired_us = place.first().and_then(|us| us.parse().ok());
        let fired_us = fired_us.filter(|us: &i64| *us < i64::MAX);
        let fired_us = fired_us.ok_or_else(|| {
            Problem::parameter(
                "`cursor` is none of this API",
                "send `next` of the page before as it came",
            )
        })?;
        Ok(Self { fired_us, ids })
    }

    fn has(&self, alert: &Alert) -> bool {
        alert.data.fired_us == self.fired_us && self.ids.contains(&alert.data.alert_id)
    }

    /// What is told after one more page.
    fn after(before: Option<Self>, page: &[Alert]) -> Option<String> {
        let fired_us = page.last()?.data.fired_us;
        let mut ids =
            before.filter(|told| told.fired_us == fired_us).map_or(Vec::new(), |told| told.ids);
        let of_it = page.iter().filter(|alert| alert.data.fired_us == fired_us);
        ids.extend(of_it.map(|alert| alert.data.alert_id.clone()));
        let fired = fired_us.to_string();
        Some(cursor::write(
            "alerts",
            std::iter::once(&*fired).chain(ids.iter().map(String::as_str)),
        ))
    }
}

/// Alerts of a site.
#[utoipa::path(
    get, path = "/v1/alerts", operation_id = "list_alerts", tag = "data", params(Query),
    responses((status = 200, description = "The alerts, newest first", body = Items<Alert>), Problems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Items<Alert>>, Problem> {
    let device = params::name_if("device", query.device)?;
    let metric = params::name_if("metric", query.metric)?;
    let series = match (device, metric) {
        (Some(device), Some(metric)) => Some((device, metric)),
        (None, None) => None,
        _ => {
            return Err(Problem::parameter(
                "only one of `device` and `metric`",
                "a series is named by both; leave both out for the whole site",
            ));
        }
    };
    let limit = params::limit(query.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    let told = query.cursor.as_deref().map(Told::read).transpose()?;
    let mut range = params::range(query.from, query.to, 7 * DAY_US)?;
    if let Some(told) = &told {
        range.to_us = range.to_us.min(told.fired_us + 1);
    }
    let mut alerts = api
        .store
        .alerts(&AlertQuery {
            site: params::name("site", query.site)?,
            series,
            range,
            state: query.state,
            limit: limit + 1 + told.as_ref().map_or(0, |told| told.ids.len()),
        })
        .await?;
    alerts.retain(|alert| !told.as_ref().is_some_and(|told| told.has(alert)));
    let mut page = Items::cut(alerts, limit);
    if page.truncated {
        page.next = Told::after(told, &page.items);
    }
    Ok(Json(page))
}
