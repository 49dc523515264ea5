//! Where an event goes: its lane in the spool, its topic, its key.
//!
//! In: an event that the stages are done with, and the filter's verdict. Out: the lane, and topic and key of the record.
//! Pure. The pipeline asks here, and so do tests of a configuration.

use weir_models::event::{Body, Event};
use weir_models::topic::{Topic, write_key};

use crate::filter::Verdict;
use crate::spool::Lane;

/// Logs at most this severe (numerically) go before readings: warning and worse.
const URGENT_SEVERITY: u8 = 4;

/// The lane of an event.
pub(crate) fn lane_of(event: &Event, verdict: Verdict) -> Lane {
    match &event.body {
        _ if verdict == Verdict::Lower => Lane::Rest,
        Body::Reading(_) => Lane::Readings,
        Body::Log(log) if log.severity.is_some_and(|s| s <= URGENT_SEVERITY) => Lane::Urgent,
        Body::Log(_) | Body::Loss(_) => Lane::Rest,
    }
}

/// The topic of an event; its key is written in place of what is in `key`.
#[inline]
pub(crate) fn record_key(event: &Event, key: &mut String) -> Topic {
    let (topic, who) = match &event.body {
        Body::Reading(_) => (Topic::Readings, event.device.as_str()),
        Body::Log(log) if !log.host.is_empty() => (Topic::Logs, log.host.as_str()),
        Body::Log(_) | Body::Loss(_) => (Topic::Logs, event.device.as_str()),
    };
    write_key(key, [&*event.site, who]);
    topic
}
