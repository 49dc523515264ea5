//! Answer: results and errors as Prometheus writes them.
//!
//! In: rows, lists, faults. Out: JSON. Values are texts, as in Prometheus, because JSON has no `NaN`.

use std::fmt::Write;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::compute::{Grid, Row, Value};
use super::fold::Sample;
use super::names::Labels;
use crate::api::Problem;
use crate::store::StoreError;

/// What went wrong, in Prometheus' form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PrometheusError {
    #[serde(skip)]
    code: u16,
    /// Always `error`.
    #[schema(example = "error")]
    status: &'static str,
    /// Which error, for programs.
    #[serde(rename = "errorType")]
    #[schema(example = "bad_data")]
    kind: &'static str,
    /// What is wrong this time, and what to do about it.
    error: String,
}

pub(super) use PrometheusError as Fault;

/// What came to pass, in Prometheus' form.
#[derive(Debug, Serialize, ToSchema)]
pub struct PrometheusAnswer {
    /// Always `success`.
    #[schema(example = "success")]
    pub status: &'static str,
    /// What was asked for, as Prometheus writes it.
    pub data: serde_json::Value,
    /// What is not wrong, but good to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Fault {
    fn new(code: StatusCode, kind: &'static str, error: impl Into<String>) -> Self {
        Self { code: code.as_u16(), status: "error", kind, error: error.into() }
    }

    /// 400: a parameter or the query cannot be used.
    pub(super) fn bad_data(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", error)
    }

    /// 400: this parameter cannot be used.
    pub(super) fn parameter(name: &str, error: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {error}"))
    }

    /// 422: the query is one, but it cannot be answered.
    pub(super) fn execution(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", error)
    }

    /// 500: a fault of ours.
    pub(super) fn internal(error: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
    }

    /// 404: there is no such path.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "weir does not have this part of the Prometheus API; /v1/openapi.json lists what it has",
        )
    }
}

impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        let status = problem.status();
        let (code, kind) = match status {
            StatusCode::UNAUTHORIZED => (status, "unauthorized"),
            StatusCode::FORBIDDEN => (status, "forbidden"),
            StatusCode::NOT_FOUND => (status, "not_found"),
            StatusCode::UNPROCESSABLE_ENTITY => (status, "execution"),
            // As Prometheus: also what took too long is not available.
            StatusCode::GATEWAY_TIMEOUT => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            StatusCode::SERVICE_UNAVAILABLE => (status, "unavailable"),
            _ if status.is_client_error() => (status, "bad_data"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(code, kind, problem.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::from(&Problem::from(error))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(self)).into_response();
        if code == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A problem that was made around the handlers (token, too many at once, time, body) in Prometheus' form.
pub(super) async fn shaped(response: Response) -> Response {
    let Some(problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    let mut shaped = Fault::from(problem).into_response();
    for name in [
        header::WWW_AUTHENTICATE,
        header::ALLOW,
        header::CACHE_CONTROL,
        header::X_CONTENT_TYPE_OPTIONS,
    ] {
        if let Some(value) = response.headers().get(&name) {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    shaped
}

/// A list, or a map of lists, that came to pass.
#[derive(Debug, Serialize)]
pub(super) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// What is said where a list was cut.
const CUT: &str = "results truncated due to limit";

/// `data` as a success; with a warning where the list was cut.
pub(super) fn success<T: Serialize>(data: T, cut: bool) -> Response {
    let warnings = if cut { vec![CUT.to_owned()] } else { Vec::new() };
    Json(Success { status: "success", data, warnings }).into_response()
}

/// A number as Prometheus writes it.
pub(super) fn number(out: &mut String, value: f64) {
    let size = value.abs();
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0. { "+Inf" } else { "-Inf" })
    } else if size != 0. && !(1e-6..1e21).contains(&size) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
}

/// `[seconds, "number"]`
fn point(out: &mut String, at_ms: i64, value: f64) {
    let _ = write!(out, "[{}", at_ms.div_euclid(1_000));
    match at_ms.rem_euclid(1_000) {
        0 => {}
        ms if at_ms >= 0 => {
            let _ = write!(out, ".{ms:03}");
        }
        // Before 1970 the fraction goes the other way.
        _ => {
            out.truncate(out.rfind('[').map_or(0, |at| at + 1));
            let _ = write!(out, "{}", at_ms as f64 / 1_000.);
        }
    }
    out.push_str(",\"");
    number(out, value);
    out.push_str("\"]");
}

fn labels(out: &mut String, labels: &Labels) {
    out.push_str("{\"metric\":");
    // Texts only, which are always JSON.
    out.push_str(&serde_json::to_string(labels).unwrap_or_else(|_| "{}".into()));
}

fn response(kind: &str, result: &str, cut: bool) -> Response {
    let warnings = if cut { format!(",\"warnings\":[\"{CUT}\"]") } else { String::new() };
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{result}}}{warnings}}}"
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn list<T>(items: &[T], write: impl FnMut(&mut String, &T) -> bool) -> String {
    some(items, usize::MAX, write).0
}

/// At most `limit` of what is written, and whether there is more.
fn some<T>(
    items: &[T],
    limit: usize,
    mut write: impl FnMut(&mut String, &T) -> bool,
) -> (String, bool) {
    let mut out = String::from("[");
    let (mut written, mut cut) = (0, false);
    for item in items {
        let before = out.len();
        if out.len() > 1 {
            out.push(',');
        }
        if !write(&mut out, item) {
            out.truncate(before);
        } else if written == limit {
            out.truncate(before);
            cut = true;
            break;
        } else {
            written += 1;
        }
    }
    out.push(']');
    (out, cut)
}

fn rows_of(rows: &[Row], grid: &Grid, limit: usize) -> (String, bool) {
    some(rows, limit, |out, row| {
        labels(out, &row.labels);
        out.push_str(",\"values\":");
        let values: Vec<(usize, f64)> = row
            .values
            .iter()
            .enumerate()
            .filter_map(|(step, value)| Some((step, (*value)?)))
            .collect();
        out.push_str(&list(&values, |out, (step, value)| {
            point(out, grid.at_ms(*step), *value);
            true
        }));
        out.push('}');
        !values.is_empty()
    })
}

/// The answer of a range query: at most `limit` rows, by labels; a scalar is a row without any.
pub(super) fn of_range(value: Value, grid: &Grid, limit: usize) -> Response {
    let mut rows = match value {
        Value::Scalar(values) => {
            vec![Row { labels: Labels::new(), values: values.into_iter().map(Some).collect() }]
        }
        Value::Vector(rows) => rows,
    };
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    let (rows, cut) = rows_of(&rows, grid, limit);
    response("matrix", &rows, cut)
}

/// The answer of an instant query: at most `limit` rows, in the order that was computed.
pub(super) fn of_instant(value: &Value, grid: &Grid, limit: usize) -> Response {
    match value {
        Value::Scalar(values) => {
            let mut out = String::new();
            point(&mut out, grid.at_ms(0), values.first().copied().unwrap_or(f64::NAN));
            response("scalar", &out, false)
        }
        Value::Vector(rows) => {
            let (rows, cut) = some(rows, limit, |out, row| {
                let Some(value) = row.values.first().copied().flatten() else {
                    return false;
                };
                labels(out, &row.labels);
                out.push_str(",\"value\":");
                point(out, grid.at_ms(0), value);
                out.push('}');
                true
            });
            response("vector", &rows, cut)
        }
    }
}

/// The answer of an instant query for values as they are: at most `limit` rows. Times have milliseconds: of the
/// values within one the last counts.
pub(super) fn of_matrix(rows: &[(Labels, Vec<Sample>)], limit: usize) -> Response {
    let ms = |sample: &Sample| sample.ts_us.div_euclid(1_000);
    let (rows, cut) = some(rows, limit, |out, (row, samples)| {
        labels(out, row);
        out.push_str(",\"values\":");
        let last_of: Vec<&Sample> =
            samples.chunk_by(|a, b| ms(a) == ms(b)).filter_map(<[Sample]>::last).collect();
        out.push_str(&list(&last_of, |out, sample| {
            point(out, ms(sample), sample.value);
            true
        }));
        out.push('}');
        true
    });
    response("matrix", &rows, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_as_prometheus_does() {
        for (value, expected) in [
            (1., "1"),
            (0., "0"),
            (-0.5, "-0.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (1e-7, "1e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            let mut out = String::new();
            number(&mut out, value);
            assert_eq!(out, expected);
        }
        for (at_ms, expected) in [
            (1_435_781_430_781, "[1435781430.781,\"1\"]"),
            (1_435_781_430_000, "[1435781430,\"1\"]"),
            (5, "[0.005,\"1\"]"),
            (-1_500, "[-1.5,\"1\"]"),
        ] {
            let mut out = String::new();
            point(&mut out, at_ms, 1.);
            assert_eq!(out, expected);
        }
    }
}
