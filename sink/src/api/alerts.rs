//! `GET /v1/alerts`: alerts of a site, newest first, each once with its present state.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::alert::{Alert, AlertState};
use weir_models::feedback::Feedback;
use weir_models::time::DAY_US;

use super::lists::Items;
use super::openapi::{Problems, TooWide};
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

/// An alert, and what was said of it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct AlertItem {
    /// The alert as it is now.
    #[serde(flatten)]
    pub alert: Alert,
    /// What a person said of it, once somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// When the last alert of the page before fired, and its id.
fn place_of(cursor: &str) -> Result<(i64, String), Problem> {
    cursor::place("alerts", cursor, |place| match place {
        [fired_us, id] => {
            let fired_us = fired_us.parse().ok().filter(|us| *us < i64::MAX)?;
            Some((fired_us, id.clone()))
        }
        _ => None,
    })
}

/// Alerts of a site.
#[utoipa::path(
    get, path = "/v1/alerts", operation_id = "list_alerts", tag = "data", params(Query),
    responses((status = 200, description = "The alerts, newest first", body = Items<AlertItem>), Problems, TooWide)
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Items<AlertItem>>, Problem> {
    let series = params::series_if(query.device, query.metric)?;
    let limit = params::limit(query.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = query.cursor.as_deref().map(place_of).transpose()?;
    let mut range = params::range(query.from, query.to, 7 * DAY_US)?;
    if let Some((fired_us, _)) = &after {
        range.to_us = range.to_us.min(fired_us + 1);
    }
    let query = AlertQuery {
        site: params::name("site", query.site)?,
        series,
        range,
        state: query.state,
        after,
        limit: limit + 1,
    };
    let alerts = api.store.alerts(&query).await?;
    let Items { items, truncated, .. } = Items::cut(alerts, limit);
    let place = |alert: &Alert| (alert.data.fired_us, alert.data.alert_id.clone());
    let next = items.last().filter(|_| truncated).map(place);
    let places: Vec<_> = items.iter().map(place).collect();
    let mut said = api.store.feedback_on(&query.site, &places).await?;
    let next = next.map(|(us, id)| cursor::write("alerts", [us.to_string().as_str(), id.as_str()]));
    let with_feedback = |alert: Alert| {
        let feedback = said.remove(&alert.data.alert_id);
        AlertItem { alert, feedback }
    };
    Ok(Json(Items { items: items.into_iter().map(with_feedback).collect(), truncated, next }))
}
