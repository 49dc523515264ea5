//! What a test gives, as a source would pass it on.
//!
//! In: the settings of a source, one payload (of HTTP: the body of a request), and where it came to: a topic or a path. Out: the
//! [`Input`] that a running source would make of it. Pure. What can go wrong: a payload that would never come in this way; the
//! error says why.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_models::limit::LINE_BYTES_MAX;

use super::framing::{Framer, Framing};
use super::listen::Listen;
use super::outlet::trimmed;
use super::{Input, Labels, OneSource, Raw, Source, http, mqtt};

/// Where JSON events are posted to.
const EVENTS: &str = "/v1/events";

/// The input that `source`, which has the index `index`, makes of `payload`, received at `received_us` from `peer`.
///
/// # Errors
/// Says why it would not come in.
pub(crate) fn given(
    (source, index): (&OneSource, usize),
    payload: Bytes,
    to: Option<&str>,
    peer: Option<IpAddr>,
    received_us: i64,
) -> Result<Input, String> {
    let mut format = source.settings().format;
    let mut labels = Labels::default();
    let payloads = match (source, to) {
        (OneSource::Http(_), target) => {
            let of_request = http::payloads(target.unwrap_or(EVENTS), &payload)?;
            (format, labels) = (of_request.0, of_request.1);
            of_request.2
        }
        (OneSource::Mqtt(config), Some(topic)) => {
            let matching = mqtt::matching(&config.topics, topic);
            labels = matching.ok_or_else(|| {
                format!("the source is not subscribed to `{topic}`: see its `topics`")
            })?;
            vec![payload]
        }
        (OneSource::Mqtt(_), None) => {
            return Err("a message of MQTT has a topic: set `to`".into());
        }
        (_, Some(_)) => {
            return Err(
                "`to` is the topic of MQTT or the path of HTTP; this source has neither".into()
            );
        }
        (source, None) => match framing(source) {
            Some(framing) => {
                let mut framer = Framer::new(framing);
                framer.buffer().extend_from_slice(&payload);
                framer.finish().into_iter().map(|frame| frame.bytes).collect()
            }
            None => vec![payload.slice_ref(trimmed(&payload))],
        },
    };
    if payloads.iter().all(Bytes::is_empty) {
        return Err("nothing comes in of an empty payload".into());
    }
    if payloads.iter().any(|payload| payload.len() > LINE_BYTES_MAX) {
        return Err(format!("a payload has more than {LINE_BYTES_MAX} bytes: it would be cut"));
    }
    let raw = |bytes| Raw { bytes, received_us, cut: false };
    Ok(Input {
        source: Arc::new(Source { name: source.name().into(), index, format }),
        peer,
        labels: vec![Arc::new(labels)],
        items: payloads.into_iter().map(raw).collect(),
        lost: 0,
        done: None,
        is_awaited: false,
        room: None,
    })
}

/// How a source finds payloads in a stream; none where each comes alone.
fn framing(source: &OneSource) -> Option<Framing> {
    match source {
        OneSource::File(_) | OneSource::Stdin(_) => Some(Framing::Lines),
        OneSource::Syslog(config) => {
            let is_stream = matches!(config.listen, Listen::Tcp(_) | Listen::Tls(_));
            is_stream.then_some(Framing::Syslog)
        }
        OneSource::Http(_) | OneSource::Mqtt(_) | OneSource::Relp(_) => None,
    }
}
