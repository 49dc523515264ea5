//! Verdict: what an answer, or none, means for an alert.
//!
//! In: a status code, or why there was no answer. Out: [`Verdict`]. Pure. What another try can heal is tried again;
//! what only a person can mend waits and tells; what is about this one alert leaves it out, so that one
//! bad alert does not stop all that come after it.

use std::time::Duration;

/// Longest time to stay away that a receiver may ask for.
const AWAY_MAX: Duration = Duration::from_secs(300);

/// An answer, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// `Retry-After`, where it was given in seconds.
    pub(super) retry_after_s: Option<u64>,
    /// The beginning of the body, for the log.
    pub(super) text: String,
}

/// What becomes of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has it.
    Told,
    /// Passing: try again, not before the given time.
    Again(String, Duration),
    /// The configuration is wrong, here or there: try again, and tell.
    Wrong(String),
    /// The receiver will never take this alert.
    Refused(String),
}

impl Verdict {
    /// A short, bounded label for the metric of failures; none when the alert was told.
    pub(super) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Told => None,
            Self::Again(..) => Some("away"),
            Self::Wrong(_) => Some("configuration"),
            Self::Refused(_) => Some("refused"),
        }
    }

    /// Judges an answer, or why there was none.
    pub(super) fn of(answer: Result<Answer, String>) -> Self {
        let Answer { status, retry_after_s, text } = match answer {
            Ok(answer) => answer,
            Err(why) => return Self::Again(why, Duration::ZERO),
        };
        let colon = if text.is_empty() { "" } else { ": " };
        let told = format!("it answers {status}{colon}{text}");
        let away = Duration::from_secs(retry_after_s.unwrap_or(0)).min(AWAY_MAX);
        match status {
            200..=299 => Self::Told,
            408 | 425 | 429 | 500..=599 => Self::Again(told, away),
            400 | 413 | 422 => Self::Refused(told),
            300..=399 => Self::Wrong(format!("{told}; redirects are not followed, check `url`")),
            401 | 403 => {
                Self::Wrong(format!("{told}; check `token` or `secret`, and its rights there"))
            }
            404 | 405 | 410 => Self::Wrong(format!("{told}; check `url`, above all its path")),
            _ => Self::Wrong(format!("{told}; check `url` and the receiver")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Result<Answer, String> {
        Ok(Answer { status, retry_after_s: None, text: String::new() })
    }

    #[test]
    fn each_status_has_its_class() {
        let class = |status| Verdict::of(answer(status)).label().unwrap_or("told");
        for (statuses, expected) in [
            (&[200, 202, 204, 299][..], "told"),
            (&[408, 425, 429, 500, 502, 503, 504, 599], "away"),
            (&[400, 413, 422], "refused"),
            (
                &[100, 301, 302, 308, 401, 402, 403, 404, 405, 409, 410, 411, 415, 451],
                "configuration",
            ),
        ] {
            for status in statuses {
                assert_eq!(class(*status), expected, "{status}");
            }
        }
        assert_eq!(Verdict::of(Err("refused".into())).label(), Some("away"));
    }

    #[test]
    fn a_receiver_may_ask_for_time_within_a_bound() {
        for (asked, expected) in [(None, 0), (Some(7), 7), (Some(1_000_000), 300)] {
            let answer = Answer { status: 503, retry_after_s: asked, text: "busy".into() };
            let again =
                Verdict::Again("it answers 503: busy".into(), Duration::from_secs(expected));
            assert_eq!(Verdict::of(Ok(answer)), again);
        }
    }
}
