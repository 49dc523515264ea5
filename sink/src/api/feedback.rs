//! `POST /v1/alerts/{id}/feedback`: what a person says of an alert; goes to `weir.feedback` and from there to the store.
//!
//! In: a verdict. Out: a record whose key is the alert, of which the newest counts: who changes their mind says it
//! again, and it is later than what the store has, whatever the clocks of several sinks say. It is answered with 202: it is safe in Kafka, and shows in `GET /v1/alerts` once this or another sink has
//! consumed it. What is said of an alert that the store does not have is refused. The store keeps alerts by site and
//! time, so the site has to be told, and the more else is told, the less is searched.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use weir_models::alert::AlertData;
use weir_models::feedback::{Feedback, Verdict};
use weir_models::limit::{NAME_BYTES_MAX, NOTE_BYTES_MAX};
use weir_models::time::{DAY_US, now_us};
use weir_models::topic::Topic;

use super::body::read_json;
use super::openapi::{Problems, TooWide};
use super::params::{self, Params, When};
use super::{Api, Problem};
use crate::store::{AlertQuery, TimeRange};

/// How far back is looked where nobody tells when the alert fired.
const LOOK_BACK_US: i64 = 30 * DAY_US;
/// Most alerts that are looked through.
const LOOKED_AT_MAX: usize = 5_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site of the alert.
    site: String,
    /// When it fired, as the alert tells it, `fired_us`: the alert is then found at once. Without it, it is looked for
    /// among the newest 5000 of the last 30 days.
    #[param(value_type = Option<String>, example = "1763721946000000")]
    fired_us: Option<When>,
    /// Device of the alert; together with `metric`. The alert is then looked for among those of the series.
    device: Option<String>,
    /// Metric of the alert; together with `device`.
    metric: Option<String>,
}

/// What a person says of an alert; replaces what was said before.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedbackBody {
    /// What the alert was.
    verdict: Verdict,
    /// What there is to say besides: at most 2000 bytes.
    note: Option<String>,
    /// Who says so: at most 256 bytes.
    by: Option<String>,
}

/// Says what an alert was.
#[utoipa::path(
    post, path = "/v1/alerts/{id}/feedback", operation_id = "give_feedback", tag = "data",
    params(("id" = String, Path, description = "The alert, `alert_id`"), Query),
    request_body = FeedbackBody,
    responses(
        (status = 202, description = "The record, safe in Kafka and on its way to the store", body = Feedback),
        (status = 404, description = "The alert is not known", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
        TooWide,
    )
)]
pub(super) async fn post(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params<Query>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Feedback>), Problem> {
    let body: FeedbackBody = read_json(
        &headers,
        body,
        &["application/json"],
        "send an object with `verdict` (`true`, `false` or `expected`, a text), and `note` and `by` (texts) if you like",
    )?;
    let Path(id) = path.map_err(|rejection| {
        Problem::parameter(rejection.body_text(), "send the `alert_id` of the alert")
    })?;
    let note = checked("note", body.note, NOTE_BYTES_MAX)?;
    let by = checked("by", body.by, NAME_BYTES_MAX)?;
    let id = params::name("id", id)?;
    let AlertData { alert_id, site, device, metric, fired_us, .. } = find(&api, &id, query).await?;
    let before = api.store.feedback_on(&site, &[(fired_us, id.clone())]).await?;
    let before_us = before.get(&id).map_or(i64::MIN, |said| said.given_us);
    let (verdict, given_us) = (body.verdict, now_us().max(before_us.saturating_add(1)));
    let said = Feedback { alert_id, site, device, metric, fired_us, verdict, note, by, given_us };
    let json = serde_json::to_vec(&said)
        .map_err(|error| Problem::parameter(error.to_string(), "send text that JSON can hold"))?;
    api.producer.send(Topic::Feedback, id.as_bytes(), Some(&json), &[]).await?;
    let verdict = said.verdict.as_str();
    tracing::info!(alert = id, verdict, "somebody said what an alert was");
    Ok((StatusCode::ACCEPTED, Json(said)))
}

/// The alert in the store.
async fn find(api: &Api, id: &str, query: Query) -> Result<AlertData, Problem> {
    let range = match query.fired_us {
        Some(When(us)) => TimeRange { from_us: us, to_us: us + 1 },
        None => params::range(None, None, LOOK_BACK_US)?,
    };
    let query = AlertQuery {
        series: params::series_if(query.device, query.metric)?,
        site: params::name("site", query.site)?,
        range,
        state: None,
        after: None,
        limit: LOOKED_AT_MAX,
    };
    let alerts = api.store.alerts(&query).await?;
    let found = alerts.into_iter().find(|alert| alert.data.alert_id == id);
    found.map(|alert| alert.data).ok_or_else(|| {
        Problem::not_found(
            "the store has no such alert",
            "send `site` and `fired_us` as the alert has them; a new alert takes a moment to get into the store",
        )
    })
}

/// A text within its bound; line ends and tabs are fine in it.
fn checked(what: &str, text: Option<String>, max: usize) -> Result<Option<String>, Problem> {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    match text {
        Some(text) if text.len() > max || text.chars().any(is_odd) => Err(Problem::body(
            StatusCode::BAD_REQUEST,
            format!("`{what}` cannot be used"),
            format!("this takes at most {max} bytes and no control characters"),
        )),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}
