//! `GET /v1/readings`: the values of one series, as they are or as bins for a plot.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::ident::SeriesKey;
use weir_models::time::HOUR_US;

use super::bins::Bin;
use super::openapi::{Problems, TooWide};
use super::params::{self, Params, When};
use super::plot::plot;
use super::{Api, Problem};
use crate::store::{Point, Store, StoreError, TimeRange};

const LIMIT_DEFAULT: usize = 10_000;
const LIMIT_MAX: usize = 100_000;
const POINTS_MIN: usize = 10;
const POINTS_MAX: usize = 5_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site of the series.
    site: String,
    /// Device of the series.
    device: String,
    /// Metric of the series.
    metric: String,
    /// First time, RFC 3339 or microseconds since the Unix epoch; default: an hour before `to`.
    #[param(value_type = Option<String>, example = "2026-11-21T10:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T11:00:00Z")]
    to: Option<When>,
    /// At most so many values, oldest first; default 10000. Not together with `max_points`.
    #[param(minimum = 1, maximum = 100_000)]
    limit: Option<usize>,
    /// When the range holds more values than this, bins instead: at most so many. For plots.
    #[param(minimum = 10, maximum = 5_000)]
    max_points: Option<usize>,
}

/// Values of one series: either `points`, or `bins` with `anomalies`.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Readings {
    /// Begin of the range, microseconds since the Unix epoch.
    pub from_us: i64,
    /// End of the range, not included.
    pub to_us: i64,
    /// Number of stored values that this answer was made of.
    pub n: u64,
    /// How many of them have a score above 1.
    pub anomalies_n: u64,
    /// The values, oldest first, when they are not binned.
    pub points: Vec<Point>,
    /// Width of a bin in microseconds, when binned.
    pub bin_us: Option<i64>,
    /// The bins that hold values, oldest first.
    pub bins: Vec<Bin>,
    /// When binned: the point with the highest score above 1 of each bin.
    pub anomalies: Vec<Point>,
    /// Whether the range holds more than was read.
    pub truncated: bool,
    /// When truncated: ask again from here. Values of exactly this time may come twice (same
    /// `stream` and `seq`).
    pub next_from_us: Option<i64>,
}

/// Values of one series.
#[utoipa::path(
    get, path = "/v1/readings", operation_id = "read_readings", tag = "data", params(Query),
    responses(
        (status = 200, description = "The values", body = Readings),
        Problems,
        TooWide,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Readings>, Problem> {
    let range = params::range(query.from, query.to, HOUR_US)?;
    let key = params::series(query.site, query.device, query.metric)?;
    let answer = match (query.max_points, query.limit) {
        (Some(_), Some(_)) => {
            return Err(Problem::parameter(
                "`limit` and `max_points` together",
                "use `limit` for values as they are, `max_points` for a plot",
            ));
        }
        (Some(points), None) => {
            let points = params::bounded("max_points", points, POINTS_MIN, POINTS_MAX)?;
            plot(&*api.store, &key, range, points, api.limits.scan_rows_max).await?
        }
        (None, limit) => {
            let limit = params::limit(limit, LIMIT_DEFAULT, LIMIT_MAX)?;
            raw(&*api.store, &key, range, limit).await?
        }
    };
    Ok(Json(answer))
}

async fn raw(
    store: &dyn Store,
    key: &SeriesKey,
    range: TimeRange,
    limit: usize,
) -> Result<Readings, StoreError> {
    let mut points = store.readings(key, range, limit + 1).await?;
    let next = points.get(limit).map(|point| point.ts_us);
    points.truncate(limit);
    Ok(Readings {
        from_us: range.from_us,
        to_us: range.to_us,
        n: points.len() as u64,
        anomalies_n: count_anomalies(&points),
        points,
        truncated: next.is_some(),
        next_from_us: next,
        ..Readings::default()
    })
}

fn count_anomalies(points: &[Point]) -> u64 {
    points.iter().filter(|point| point.is_anomaly()).count() as u64
}
