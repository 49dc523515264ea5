//! Parameters: reading the query string and checking its bounds.
//!
//! In: the query of a request. Out: checked values, or a [`Problem`] that names the parameter and
//! says what to do. Unknown parameters are refused: a misspelt one that is ignored would answer
//! another question than the one asked.

use std::fmt;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use weir_models::ident::SeriesKey;
use weir_models::limit::NAME_BYTES_MAX;
use weir_models::time::{now_us, parse_rfc3339};

use super::problem::Problem;
use crate::store::TimeRange;

/// The query string as a `T`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let detail =
                    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(Problem::parameter(
                    detail.chars().take(500).collect::<String>(),
                    "/v1/openapi.json lists the parameters of each path",
                ))
            }
        }
    }
}

/// A point in time: RFC 3339 text, or whole microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When(pub(super) i64);

/// 9999-12-31T23:59:59Z, the last second RFC 3339 can write, in microseconds; times outside
/// of plus and minus this are refused, so that differences never overflow.
pub(super) const WHEN_US_MAX: i64 = 253_402_300_799_000_000;

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = When;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<When, E> {
                let us = text.parse::<i64>().ok().or_else(|| parse_rfc3339(text).ok());
                us.filter(|us| (-WHEN_US_MAX..=WHEN_US_MAX).contains(us)).map(When).ok_or_else(|| {
                    let shown: String = text.chars().take(60).collect();
                    E::custom(format!(
                        "`{shown}` is not a time: expected RFC 3339 (2026-11-21T10:45:46Z; write \
                             a `+` as %2B) or microseconds since 1970"
                    ))
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The asked range; without `to` up to now, without `from` so long before `to`.
pub(super) fn range(
    from: Option<When>,
    to: Option<When>,
    default_us: i64,
) -> Result<TimeRange, Problem> {
    // A gateway's clock may be a little ahead: what arrives right now is not to be missed.
    const AHEAD_US: i64 = 60_000_000;
    let to_us = to.map_or_else(|| now_us() + AHEAD_US, |when| when.0);
    let from_us = from.map_or(to_us - default_us, |when| when.0);
    if from_us < to_us {
        Ok(TimeRange { from_us, to_us })
    } else {
        Err(Problem::parameter(
            "`from` is not before `to`",
            "the range is half-open: from <= time < to; swap the two or leave one out",
        ))
    }
}

/// The asked number of rows.
pub(super) fn limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    bounded("limit", asked.unwrap_or(default), 1, max)
}

/// A number within bounds.
pub(super) fn bounded(name: &str, value: usize, min: usize, max: usize) -> Result<usize, Problem> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Problem::parameter(
            format!("`{name}` is {value}"),
            format!("it may be from {min} to {max}; ask for the rest by `from` and `to`"),
        ))
    }
}

/// The name of a site, device, metric, host or application.
pub(super) fn name(what: &str, text: String) -> Result<String, Problem> {
    let problem = |detail: &str| {
        Problem::parameter(
            format!("`{what}` {detail}"),
            format!(
                "a name has 1 to {NAME_BYTES_MAX} bytes and no control characters; leave the parameter out to get all"
            ),
        )
    };
    if text.is_empty() {
        Err(problem("is empty"))
    } else if text.len() > NAME_BYTES_MAX {
        Err(problem("is too long"))
    } else if text.chars().any(char::is_control) {
        Err(problem("contains a control character"))
    } else {
        Ok(text)
    }
}

/// The series of a query.
pub(super) fn series(site: String, device: String, metric: String) -> Result<SeriesKey, Problem> {
    Ok(SeriesKey {
        site: name("site", site)?,
        device: name("device", device)?,
        metric: name("metric", metric)?,
    })
}

/// Device and metric of a series that may be left out, both together.
pub(super) fn series_if(
    device: Option<String>,
    metric: Option<String>,
) -> Result<Option<(String, String)>, Problem> {
    match (name_if("device", device)?, name_if("metric", metric)?) {
        (Some(device), Some(metric)) => Ok(Some((device, metric))),
        (None, None) => Ok(None),
        _ => Err(Problem::parameter(
            "only one of `device` and `metric`",
            "a series is named by both; leave both out for the whole site",
        )),
    }
}

/// A name that may be left out.
pub(super) fn name_if(what: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    text.map(|text| name(what, text)).transpose()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn when(text: &str) -> Result<i64, serde_json::Error> {
        serde_json::from_value::<When>(text.into()).map(|when| when.0)
    }

    #[test]
    fn a_time_is_text_or_a_number() {
        assert_eq!(when("1970-01-01T00:00:01Z").unwrap(), 1_000_000);
        assert_eq!(when("1970-01-01T01:00:01+01:00").unwrap(), 1_000_000);
        assert_eq!(when("-5").unwrap(), -5);
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        let far = ["9223372036854775807", "-9223372036854775808"];
        for text in ["", "yesterday", "2026-11-21", "1e9"].into_iter().chain(far) {
            let message = when(text).unwrap_err().to_string();
            assert!(message.contains("2026-11-21T10:45:46Z"), "{text}: {message}");
        }
    }

    #[test]
    fn a_range_ends_after_it_begins() {
        assert!(range(Some(When(2)), Some(When(1)), 10).is_err());
        assert!(range(Some(When(1)), Some(When(1)), 10).is_err());
        let before = range(None, Some(When(100)), 10).unwrap();
        assert_eq!((before.from_us, before.to_us), (90, 100));
        assert!(range(Some(When(0)), None, 10).unwrap().to_us >= now_us());
    }

    #[test]
    fn names_are_bounded() {
        for text in ["", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(name("site", text.into()).is_err(), "{text}");
        }
        assert_eq!(name("site", "Straße 5/α".into()).unwrap(), "Straße 5/α");
    }
}
