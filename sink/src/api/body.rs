//! Body: what a request carries, once it is said to be of the right kind.
//!
//! In: headers and bytes. Out: a value, or the problem that says what to send. Promises: a body of another kind is not
//! read. A form or plain text could be sent by a foreign page without the browser asking first.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::Problem;

/// Whether the body is said to be of this kind, whatever else is said of it.
pub(super) fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    let essence = said.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(kind)
}

/// Refuses a body that is said to be of none of these kinds; people call them `name`.
pub(super) fn check_kind(headers: &HeaderMap, kinds: &[&str], name: &str) -> Result<(), Problem> {
    if kinds.iter().any(|kind| is_of(headers, kind)) {
        return Ok(());
    }
    Err(Problem::body(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("the body is not said to be {name}"),
        format!("send the header `Content-Type: {}`", kinds.first().unwrap_or(&"")),
    ))
}

/// A JSON body of one of these kinds; `hint` says what to send.
pub(super) fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    kinds: &[&str],
    hint: &str,
) -> Result<T, Problem> {
    check_kind(headers, kinds, "JSON")?;
    let body = body.map_err(|rejection| {
        let hint = "a body is a few kilobytes at most";
        Problem::body(rejection.status(), rejection.body_text(), hint)
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::body(StatusCode::BAD_REQUEST, error.to_string(), hint))
}
