//! Problems: every error of the API as RFC 9457 problem details, with a hint what to do.
//!
//! In: what went wrong in a handler. Out: `application/problem+json`. Nothing of the inside (paths,
//! addresses, secrets) is told; that goes to the log.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Role;
use crate::consume::ProduceError;
use crate::registry::{Invalid, RegistryError};
use crate::store::StoreError;

/// What went wrong (RFC 9457), and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Which problem, for programs: `urn:weir:problem:` and a word that does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:weir:problem:bad-parameter")]
    kind: String,
    /// The problem in a few words.
    #[schema(example = "A parameter cannot be used")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// What to do about it.
    hint: String,
    /// The role that would have been needed, for the header.
    #[serde(skip)]
    need: Option<Role>,
    /// Seconds after which a 503 may be over, for the header.
    #[serde(skip)]
    again_s: u16,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:weir:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            hint: hint.into(),
            need: None,
            again_s: 1,
        }
    }

    /// 400: a parameter is missing, unknown or out of bounds.
    pub(super) fn parameter(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-parameter",
            "A parameter cannot be used",
            detail,
            hint,
        )
    }

    /// 400, 413 or 415: the body is not what it should be.
    pub(super) fn body(
        status: StatusCode,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(status, "bad-body", "The body cannot be used", detail, hint)
    }

    /// 401: the token is missing or wrong; `need` would do.
    pub(super) fn unauthorized(detail: &str, need: Role) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid token is needed",
            detail,
            format!(
                "send the header `Authorization: Bearer <token>` with a token of the role {}",
                need.or_above()
            ),
        )
    }

    /// 403: the token `name` is valid and may do less than `need`.
    pub(super) fn forbidden(name: &str, has: Role, need: Role) -> Self {
        let mut problem = Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The token may not do this",
            format!("the token `{name}` has the role `{has}`, this needs `{need}`"),
            format!(
                "use a token of the role {}; `weir-sink token new --role {need}` makes one",
                need.or_above()
            ),
        );
        problem.need = Some(need);
        problem
    }

    /// 404: nothing is known of the device.
    pub(super) fn unknown_device() -> Self {
        Self::not_found(
            "this device has no metadata",
            "PUT the same path to say what is known of it",
        )
    }

    /// 412: somebody else has changed the thing meanwhile.
    fn changed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            "The record is another one now",
            "the record is not the version that `If-Match` names, or is there already",
            "GET it again, see what has changed, and send your change with the `ETag` of now",
        )
    }

    /// 404: no such path or thing.
    pub(super) fn not_found(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail, hint)
    }

    /// 405: the path is there, the method is not.
    pub(super) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This path does not take this method",
            "the path is there, but not for this method",
            "the header `Allow` and /v1/openapi.json tell which methods it takes",
        )
    }

    /// 503: there is no store to ask yet.
    pub(super) fn starting() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "The sink is starting",
            "the store is not open yet",
            "try again in a second; if it stays, look at /readyz and the sink's log",
        )
    }

    /// 503: too many requests at once.
    pub(super) fn busy(detail: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many requests at once",
            detail,
            "try again in a second, with fewer requests at once",
        )
    }

    /// 503: another import runs, for minutes maybe.
    pub(super) fn importing() -> Self {
        let mut problem = Self::busy("another import runs");
        problem.hint = "try again when it has ended; a long one takes minutes".to_owned();
        problem.again_s = 10;
        problem
    }

    /// 503: the archive is away.
    pub(super) fn archive(detail: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "archive-unavailable",
            "The archive does not answer",
            detail,
            "try again; if it stays, look at /readyz and the sink's log",
        )
    }

    /// 504: the answer took too long.
    pub(super) fn timeout(seconds: u64, hint: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "The answer took too long",
            format!("no answer within {seconds} seconds"),
            hint,
        )
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.detail, self.hint)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a query failed");
        match error {
            // What it says may name a user or an address: that is for the log.
            StoreError::Refused(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "The store refuses the sink",
                "the store does not take the sink's password, certificate or rights",
                "the sink's log and /readyz say what to grant; then try again",
            ),
            StoreError::Retry(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "The store does not answer",
                "the store is away or overloaded",
                "try again; if it stays, look at /readyz and the sink's log",
            ),
            StoreError::TooWide { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-wide",
                "The query would read too much",
                error.to_string(),
                "ask for a shorter range (`from`, `to`), or name one host",
            ),
            StoreError::Fatal(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store-failed",
                "The store refuses the query",
                "the store needs a person",
                "the sink's log says what is wrong and what to do",
            ),
        }
    }
}

impl From<Invalid> for Problem {
    fn from(Invalid { detail, hint }: Invalid) -> Self {
        Self::body(StatusCode::BAD_REQUEST, detail, hint)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Changed => Self::changed(),
            RegistryError::Unknown => Self::unknown_device(),
            RegistryError::Invalid(invalid) => invalid.into(),
            RegistryError::Store(error) => error.into(),
            RegistryError::Produce(error) => error.into(),
        }
    }
}

impl From<ProduceError> for Problem {
    fn from(error: ProduceError) -> Self {
        tracing::warn!(%error, "a record could not be sent");
        match error {
            ProduceError::Retry(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "kafka-unavailable",
                "Kafka does not take the record",
                "the record may or may not have been written",
                "send the same request again; doing it twice is harmless",
            ),
            ProduceError::Refused(_) => Self::new(
                StatusCode::BAD_GATEWAY,
                "kafka-refused",
                "Kafka refuses the record",
                "Kafka will never take this record",
                "the sink's log says why; a smaller record or a topic setting may help",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(&self)).into_response();
        let (need, again_s) = (self.need, self.again_s);
        // For who tells it in another form.
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(again_s));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"weir\""),
            );
        }
        if let Some(need) = need
            && let Ok(asked) = HeaderValue::try_from(format!(
                "Bearer realm=\"weir\", error=\"insufficient_scope\", scope=\"{need}\""
            ))
        {
            headers.insert(header::WWW_AUTHENTICATE, asked);
        }
        response
    }
}
