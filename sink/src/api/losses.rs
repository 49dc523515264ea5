//! `GET /v1/losses`: what gateways lost, newest first.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use weir_models::time::DAY_US;

use super::lists::Items;
use super::openapi::{Problems, TooWide};
use super::params::{self, Params, When};
use super::{Api, Problem, cursor};
use crate::store::seal::Position;
use crate::store::{LossQuery, LossRow};

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site.
    site: String,
    /// Only losses of this gateway.
    agent: Option<String>,
    /// First time of telling, RFC 3339 or microseconds since the Unix epoch; default: thirty days before `to`.
    #[param(value_type = Option<String>, example = "2026-11-21T10:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T11:00:00Z")]
    to: Option<When>,
    /// At most so many; default 1000.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

/// The place of the last loss of the page before.
fn place_of(cursor: &str) -> Result<Position, Problem> {
    cursor::place("losses", cursor, |place| match place {
        [ts_us, stream, seq] => Some(Position {
            ts_us: ts_us.parse().ok()?,
            stream: stream.parse().ok()?,
            seq: seq.parse().ok()?,
        }),
        _ => None,
    })
}

/// What the gateways of a site lost, by their loss markers.
#[utoipa::path(
    get, path = "/v1/losses", operation_id = "list_losses", tag = "fleet", params(Query),
    responses((status = 200, description = "The losses, newest first", body = Items<LossRow>), Problems, TooWide)
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Items<LossRow>>, Problem> {
    let limit = params::limit(query.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    let query = LossQuery {
        site: params::name("site", query.site)?,
        agent: params::name_if("agent", query.agent)?,
        range: params::range(query.from, query.to, 30 * DAY_US)?,
        before: query.cursor.as_deref().map(place_of).transpose()?,
        limit: limit + 1,
    };
    let mut page = Items::cut(api.store.losses(&query).await?, limit);
    let last = page.items.last().filter(|_| page.truncated).map(LossRow::place);
    page.next = last.map(|Position { ts_us, stream, seq }| {
        let place = [ts_us, stream, seq].map(|number| number.to_string());
        cursor::write("losses", place.iter().map(String::as_str))
    });
    Ok(Json(page))
}
