//! Message: alerts in the languages of their receivers.
//!
//! In: an alert as it came from Kafka. Out: headers and a body. Pure but for nothing: the time is given.
//!
//! Alertmanager (API v2, `POST /api/v2/alerts`, [OpenAPI]): a list of labels, annotations, `startsAt`, `endsAt` and
//! `generatorURL`. The labels are the identity, so an alert has the same ones when it fires and when it is resolved, and
//! `alert_id` is one of them: several rules and models may judge one series at the same time. What fires says
//! that it ends after four intervals of repetition, as Prometheus does, so that one repetition that is late does not
//! resolve it. What is resolved ends in the past, however wrong the gateway's clock is.
//!
//! Webhook: the record's bytes as they are, CloudEvents in structured mode, with the headers of Standard Webhooks.
//!
//! [OpenAPI]: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::Serialize;
use weir_models::alert::{Alert, AlertKind};
use weir_models::time::{SECOND_US, rfc3339};

use super::config::Url;
use super::sign::{Signer, header_id};

/// The path of Alertmanager's API.
pub(super) const ALERTS_PATH: &str = "api/v2/alerts";
/// Longest label, in bytes: as long as names may be.
const LABEL_BYTES_MAX: usize = 256;
/// Longest annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 1_024;
/// An alert that fires ends after so many intervals of repetition, unless it is repeated.
const INTERVALS: u32 = 4;

/// What Alertmanager is told of an alert each time, of bounded size.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Card {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    fired_us: i64,
    resolved_us: Option<i64>,
    generator_url: Option<String>,
}

/// An alert as the API has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Postable<'a> {
    labels: &'a BTreeMap<&'static str, String>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<&'a str>,
}

/// The beginning of a text, of whole characters.
fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

impl Card {
    /// Makes the card of an alert; `page` is where people reach the sink.
    pub(super) fn new(alert: &Alert, page: Option<&Url>) -> Self {
        let data = &alert.data;
        let (name, kind) = match data.kind {
            AlertKind::Reading => ("WeirReading", "reading"),
            AlertKind::Log => ("WeirLog", "log"),
            AlertKind::Silence => ("WeirSilence", "silence"),
        };
        let labels = [
            ("alertname", name),
            ("alert_id", &data.alert_id),
            ("kind", kind),
            ("agent", &data.agent),
            ("site", &data.site),
            ("device", &data.device),
            ("metric", &data.metric),
        ];
        let annotations = [
            ("summary", format!("{}: {}", alert.subject, data.why)),
            ("description", data.message.clone().unwrap_or_default()),
            ("why", data.why.clone()),
            ("model", format!("{}@{}", data.model.name, data.model.version)),
            ("score", format!("{:.3}", data.score)),
            ("threshold", format!("{:.3}", data.threshold)),
        ];
        // An empty label is none, to Alertmanager.
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        let annotations = annotations.into_iter().filter(|(_, value)| !value.is_empty());
        Self {
            labels: labels.map(|(name, value)| (name, cut(value, LABEL_BYTES_MAX))).collect(),
            annotations: annotations
                .map(|(name, value)| (name, cut(&value, ANNOTATION_BYTES_MAX)))
                .collect(),
            fired_us: data.fired_us,
            resolved_us: data.resolved_us,
            generator_url: page.map(|page| link(page, alert)),
        }
    }

    fn postable(&self, now_us: i64, repeat: Duration) -> Postable<'_> {
        let (starts_us, ends_us) = match self.resolved_us {
            Some(resolved_us) => {
                let ends_us = resolved_us.min(now_us);
                (self.fired_us.min(ends_us), ends_us)
            }
            None => {
                let lasts = i64::try_from((repeat * INTERVALS).as_secs()).unwrap_or(i64::MAX);
                let starts_us = self.fired_us.min(now_us);
                (starts_us, now_us.saturating_add(lasts.saturating_mul(SECOND_US)))
            }
        };
        Postable {
            labels: &self.labels,
            annotations: &self.annotations,
            starts_at: rfc3339(starts_us),
            ends_at: rfc3339(ends_us),
            generator_url: self.generator_url.as_deref(),
        }
    }
}

/// Where the page shows what an alert is about: the series, or for logs the alerts of the site.
fn link(page: &Url, alert: &Alert) -> String {
    let data = &alert.data;
    let part = |text: &str| {
        let mut encoded = String::with_capacity(text.len());
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    };
    match data.kind {
        AlertKind::Reading if !data.metric.is_empty() => page.join(&format!(
            "#/series/{}/{}/{}",
            part(&data.site),
            part(&data.device),
            part(&data.metric)
        )),
        _ => page.join(&format!("#/alerts?site={}", part(&data.site))),
    }
}

/// The body for Alertmanager: all of these alerts in one list.
pub(super) fn for_alertmanager<'a>(
    cards: impl IntoIterator<Item = &'a Card>,
    now_us: i64,
    repeat: Duration,
) -> Bytes {
    let list: Vec<_> = cards.into_iter().map(|card| card.postable(now_us, repeat)).collect();
    // Maps of text to text and times: there is nothing in it that JSON does not have.
    serde_json::to_vec(&list).unwrap_or_default().into()
}

/// The headers for Alertmanager.
pub(super) fn alertmanager_headers(token: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        headers.insert(axum::http::header::AUTHORIZATION, token.clone());
    }
    headers
}

/// The headers of a webhook with this `body`, told at `now_us`.
pub(super) fn webhook_headers(signer: &Signer, id: &str, now_us: i64, body: &[u8]) -> HeaderMap {
    let (id, time_s) = (header_id(id), now_us.div_euclid(SECOND_US));
    let signature = signer.sign(&id, time_s, body);
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", time_s.to_string()),
        ("webhook-signature", signature),
    ] {
        // All three are visible ASCII.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::{Value, json};
    use weir_models::config::Secret;

    use super::*;
    use crate::hooks::tests::alert;

    const NOW_US: i64 = 1_700_000_100 * SECOND_US;
    const REPEAT: Duration = Duration::from_secs(60);

    fn body(cards: &[Card]) -> Value {
        serde_json::from_slice(&for_alertmanager(cards, NOW_US, REPEAT)).unwrap()
    }

    #[test]
    fn alertmanager_gets_the_fields_of_its_api() {
        let page = Url::parse("https://weir.example.org").unwrap();
        let firing = Card::new(&alert("a1", "firing"), Some(&page));
        let resolved = Card::new(&alert("a1", "resolved"), None);
        let body = body(&[firing, resolved]);
        assert_eq!(
            body[0],
            json!({
                "labels": {"alertname": "WeirReading", "alert_id": "a1", "kind": "reading",
                    "agent": "gw", "site": "plant", "device": "oven 1", "metric": "temp"},
                "annotations": {"summary": "plant/oven 1/temp: range", "why": "range",
                    "description": "95 is above 90", "model": "rule@1", "score": "1.500", "threshold": "1.000"},
                "startsAt": "2023-11-14T22:13:20Z",
                "endsAt": "2023-11-14T22:19:00Z",
                "generatorURL": "https://weir.example.org/#/series/plant/oven%201/temp",
            })
        );
        // The same identity, and an end that is past.
        assert_eq!(body[1]["labels"], body[0]["labels"]);
        assert_eq!(body[1]["endsAt"], "2023-11-14T22:14:20Z");
        assert_eq!(body[1].get("generatorURL"), None);
    }

    #[test]
    fn a_wrong_clock_makes_no_alert_that_alertmanager_refuses_or_keeps() {
        let mut ahead = alert("a1", "resolved");
        (ahead.data.fired_us, ahead.data.resolved_us) = (NOW_US + 9, Some(NOW_US + 99));
        let mut backwards = alert("a2", "resolved");
        backwards.data.resolved_us = Some(backwards.data.fired_us - 1);
        let mut early = alert("a3", "firing");
        early.data.fired_us = NOW_US + 9_999 * SECOND_US;
        let body = body(&[ahead, backwards, early].map(|alert| Card::new(&alert, None)));
        for n in 0..3 {
            let times = ["startsAt", "endsAt"].map(|key| body[n][key].as_str().unwrap());
            assert!(times[0] <= times[1], "{times:?}");
            assert_eq!(times[1] <= &*rfc3339(NOW_US), n < 2, "{times:?}");
        }
    }

    #[test]
    fn a_card_is_bounded() {
        let mut long = alert("a1", "firing");
        long.data.message = Some("ü".repeat(100_000));
        long.data.why = "w".repeat(100_000);
        long.data.device = String::new();
        let body = body(&[Card::new(&long, None)]);
        assert!(body.to_string().len() < 6_000, "{}", body.to_string().len());
        assert_eq!(body[0]["labels"].get("device"), None);
    }

    #[test]
    fn a_webhook_is_signed_as_it_is_sent() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signer = Signer::new(&Secret::new(secret)).unwrap();
        let headers = webhook_headers(&signer, "a1/firing", NOW_US, b"{}");
        let value = |name| headers[name].to_str().unwrap().to_owned();
        assert_eq!(value("webhook-id"), "a1/firing");
        assert_eq!(value("webhook-timestamp"), "1700000100");
        let expected = signer.sign("a1/firing", 1_700_000_100, b"{}");
        assert_eq!(value("webhook-signature"), expected);
        assert_eq!(value("content-type"), "application/cloudevents+json; charset=utf-8");
    }
}
