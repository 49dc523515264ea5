//! Feedback: what a person says of an alert.
//!
//! In: a verdict by the API of the sink. Out: a record of `weir.feedback`, whose key is the id of the alert. The newest
//! record of an alert is what counts; the same record twice is harmless. It is no command: nothing at the edge listens
//! to it. The centre learns from it (`weir-sink train --kind rerank` and `--kind level`) and signs what it learnt.

use serde::{Deserialize, Serialize};

/// What an alert was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verdict {
    /// Something was wrong, and it was good to be told.
    True,
    /// Nothing was wrong.
    False,
    /// It was unusual, and somebody knew of it before: maintenance, a test.
    Expected,
}

impl Verdict {
    /// Its word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Expected => "expected",
        }
    }
}

/// What a person said of one alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Feedback {
    /// The alert.
    pub alert_id: String,
    /// Its site.
    pub site: String,
    /// Its device.
    pub device: String,
    /// Its metric.
    pub metric: String,
    /// When the alert fired, microseconds since the Unix epoch.
    pub fired_us: i64,
    /// What it was.
    pub verdict: Verdict,
    /// What there is to say besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who says so, as they name themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was said, microseconds since the Unix epoch, by the clock of the sink.
    pub given_us: i64,
}
