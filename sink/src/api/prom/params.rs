//! Params: what a request of the Prometheus API says, in its URL or in a form.
//!
//! In: a GET or a POST. Out: checked values, or what cannot be used. As in Prometheus, what is not known is
//! ignored, and what is in both comes from the form.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::response::IntoResponse;
use weir_models::limit::QUERY_STEPS_MAX;
use weir_models::time::{now_us, parse_rfc3339};

use super::answer::Fault;
use super::compute::Grid;
use super::lex::{duration_us, seconds_us};
use crate::api::Problem;
use crate::api::body::is_of;
use crate::store::TimeRange;

const FORM: &str = "application/x-www-form-urlencoded";
/// Times taken are at most so far from 1970, milliseconds: 9999-12-31.
const TIME_MS_MAX: i64 = 253_402_300_799_000;
/// How long a selector without a range looks back, as in Prometheus.
const LOOKBACK_US: i64 = 300_000_000;

/// Names and values, those of the form first.
#[derive(Debug)]
pub(in crate::api) struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let url = request.uri().query().unwrap_or_default().to_owned();
        let mut all = Vec::new();
        if request.method() == Method::POST {
            let is_form = is_of(request.headers(), FORM);
            let body = Bytes::from_request(request, state).await.map_err(|rejection| {
                let response = rejection.into_response();
                let hint = "a query has a few kilobytes at most";
                Fault::from(&Problem::body(response.status(), "the body cannot be read", hint))
            })?;
            if !is_form && !body.is_empty() {
                return Err(Fault::bad_data(format!(
                    "the body is not said to be a form: send `Content-Type: {FORM}`"
                )));
            }
            all.extend(form_urlencoded::parse(&body).into_owned());
        }
        all.extend(form_urlencoded::parse(url.as_bytes()).into_owned());
        Ok(Self(all))
    }
}

impl Form {
    /// The first value of a parameter; empty is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text of the query.
    pub(super) fn query(&self) -> Result<&str, Fault> {
        self.get("query").ok_or_else(|| {
            Fault::parameter("query", "unknown position: parse error: no expression found in input")
        })
    }

    /// A time, milliseconds since the Unix epoch.
    pub(super) fn time_ms(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
        let ms = match seconds {
            Some(seconds) => Some((seconds * 1_000.).round() as i64),
            None => parse_rfc3339(text).ok().map(|us| us.div_euclid(1_000)),
        };
        let ms = ms.filter(|ms| (-TIME_MS_MAX..=TIME_MS_MAX).contains(ms));
        let shown: String = text.chars().take(60).collect();
        let fault = || {
            Fault::parameter(
                name,
                format!(
                    "cannot parse \"{shown}\" to a valid timestamp: write seconds since 1970 or RFC 3339"
                ),
            )
        };
        ms.map(Some).ok_or_else(fault)
    }

    fn needed_ms(&self, name: &str) -> Result<i64, Fault> {
        let missing = || Fault::parameter(name, "cannot parse \"\" to a valid timestamp");
        self.time_ms(name)?.ok_or_else(missing)
    }

    /// A length of time, microseconds.
    fn duration_us(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let us = match text.parse::<f64>() {
            Ok(seconds) => seconds_us(seconds),
            Err(_) => duration_us(text),
        };
        let shown: String = text.chars().take(60).collect();
        let fault =
            || Fault::parameter(name, format!("cannot parse \"{shown}\" to a valid duration"));
        us.map(Some).ok_or_else(fault)
    }

    /// How far a selector without a range looks back.
    pub(super) fn lookback_us(&self) -> Result<i64, Fault> {
        let asked = self.duration_us("lookback_delta")?;
        Ok(asked.filter(|asked| *asked > 0).unwrap_or(LOOKBACK_US))
    }

    /// The one time of an instant query; now where none is said.
    pub(super) fn instant(&self) -> Result<Grid, Fault> {
        Ok(Grid::at(self.time_ms("time")?.unwrap_or_else(|| now_us().div_euclid(1_000))))
    }

    /// The times of a range query.
    pub(super) fn grid(&self) -> Result<Grid, Fault> {
        let (start_ms, end_ms) = (self.needed_ms("start")?, self.needed_ms("end")?);
        if end_ms < start_ms {
            return Err(Fault::parameter("end", "end timestamp must not be before start time"));
        }
        let step = self.duration_us("step")?;
        let step =
            step.ok_or_else(|| Fault::parameter("step", "cannot parse \"\" to a valid duration"))?;
        let step_ms = step.div_euclid(1_000);
        if step_ms <= 0 {
            return Err(Fault::parameter(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        let more = (end_ms - start_ms) / step_ms;
        if more > QUERY_STEPS_MAX {
            return Err(Fault::bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        let steps = usize::try_from(more).unwrap_or_default() + 1;
        Ok(Grid { start_ms, step_ms, steps, moved_us: 0 })
    }

    /// The span of a list, where one is said.
    pub(super) fn span(&self) -> Result<Option<TimeRange>, Fault> {
        let (start, end) = (self.time_ms("start")?, self.time_ms("end")?);
        if start.is_none() && end.is_none() {
            return Ok(None);
        }
        let (start_ms, end_ms) = (start.unwrap_or(-TIME_MS_MAX), end.unwrap_or(TIME_MS_MAX));
        if end_ms < start_ms {
            return Err(Fault::parameter("end", "end timestamp must not be before start time"));
        }
        Ok(Some(TimeRange { from_us: start_ms * 1_000, to_us: end_ms * 1_000 + 1 }))
    }

    /// Most things in a list, never more than `max`; zero and less is as many as there are.
    pub(super) fn limit(&self, name: &str, max: usize) -> Result<usize, Fault> {
        let Some(text) = self.get(name) else {
            return Ok(max);
        };
        let limit = text
            .parse::<i64>()
            .map_err(|_| Fault::parameter(name, "limit must be a whole number"))?;
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        Ok(limit.map_or(max, |limit| limit.min(max)))
    }
}
