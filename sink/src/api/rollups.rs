//! `GET /v1/rollups`: the windows of a series, from a minute to a day wide.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::openapi::{Problems, TooWide};
use super::params::{self, Params, When};
use super::{Api, Problem};
use crate::store::sealed::Roll;

/// Most windows that a range may span.
const WINDOWS_MAX: i64 = 50_000;

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
    /// First time, RFC 3339 or microseconds since the Unix epoch; default: a day before `to`.
    #[param(value_type = Option<String>, example = "2026-11-01T00:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T00:00:00Z")]
    to: Option<When>,
    /// Width of the windows: `1m`, `5m`, `15m`, `1h` (default), `6h` or `1d`. The range may span at most 50,000 of
    /// them.
    #[param(value_type = Option<String>, example = "1h")]
    step: Option<Step>,
}

/// Width of the windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Step {
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    Quarter,
    /// An hour.
    #[default]
    #[serde(rename = "1h")]
    Hour,
    /// Six hours.
    #[serde(rename = "6h")]
    SixHours,
    /// A UTC day.
    #[serde(rename = "1d")]
    Day,
}

impl Step {
    fn us(self) -> i64 {
        match self {
            Self::Minute => 60 * SECOND_US,
            Self::FiveMinutes => 5 * 60 * SECOND_US,
            Self::Quarter => 15 * 60 * SECOND_US,
            Self::Hour => HOUR_US,
            Self::SixHours => 6 * HOUR_US,
            Self::Day => DAY_US,
        }
    }
}

/// The values of one window.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Window {
    /// Begin of the window, microseconds since the Unix epoch; its width is `step_us`.
    pub ts_us: i64,
    /// Number of values.
    pub n: u64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Mean value.
    pub mean: f64,
    /// The value with the latest time.
    pub last: f64,
    /// Highest score, when any value was scored.
    pub score: Option<f32>,
    /// How many values have a score above 1.
    pub anomalies_n: u64,
}

impl From<Roll> for Window {
    fn from(roll: Roll) -> Self {
        let mean = roll.mean();
        let Roll { ts_us, n, min, max, last, score, anomalies_n, .. } = roll;
        Self { ts_us, n, min, max, mean, last, score, anomalies_n }
    }
}

/// The windows of one series.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Rollups {
    /// Begin of the range, microseconds since the Unix epoch: that of its first window.
    pub from_us: i64,
    /// End of the range, not included: that of its last window.
    pub to_us: i64,
    /// Width of a window in microseconds.
    pub step_us: i64,
    /// The windows that hold values, oldest first; each is whole, also at both ends of the range.
    pub windows: Vec<Window>,
}

/// A series as windows of a minute to a day.
#[utoipa::path(
    get, path = "/v1/rollups", operation_id = "read_rollups", tag = "data", params(Query),
    responses(
        (status = 200, description = "The windows", body = Rollups),
        Problems,
        TooWide,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Rollups>, Problem> {
    let asked = params::range(query.from, query.to, DAY_US)?;
    let key = params::series(query.site, query.device, query.metric)?;
    let step_us = query.step.unwrap_or_default().us();
    let range = asked.whole_windows(step_us);
    let windows = (range.to_us - range.from_us) / step_us;
    if windows > WINDOWS_MAX {
        return Err(Problem::parameter(
            format!("the range spans {windows} windows"),
            format!("it may span up to {WINDOWS_MAX}; take a wider `step` or a shorter range"),
        ));
    }
    let rolls = api.store.rollups(&key, range, step_us).await?;
    let windows = rolls.rolls.into_iter().map(Window::from).collect();
    Ok(Json(Rollups { from_us: range.from_us, to_us: range.to_us, step_us, windows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_is_too_large_leaves_a_mean_between_the_values() {
        let roll = Roll {
            ts_us: 0,
            n: 2,
            min: 1e308,
            max: 1.5e308,
            sum: f64::INFINITY,
            last: 1e308,
            last_us: 1,
            score: None,
            anomalies_n: 0,
        };
        assert_eq!(Window::from(roll).mean, 1.25e308);
    }
}
