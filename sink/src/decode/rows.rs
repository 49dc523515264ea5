//! Rows: which rows of the store an event becomes.
//!
//! In: an event. Out: rows appended to a batch.

use weir_models::event::{Body, Event, Log};
use weir_models::ident::SeriesKey;
use weir_models::limit::NAME_BYTES_MAX;

use crate::store::{Batch, LogRow, LossRow, ReadingRow};

/// Appends the rows of `event` to `batch`.
pub fn add_event(event: &Event, batch: &mut Batch) {
    match &event.body {
        Body::Reading(values) => {
            for (metric, value) in values {
                batch.readings.push(ReadingRow {
                    key: SeriesKey {
                        site: event.site.clone(),
                        device: event.device.clone(),
                        metric: metric.clone(),
                    },
                    ts_us: event.ts_us,
                    id: event.id,
                    value: value.v,
                    score: value.score,
                    unit: value.unit.as_deref().map(Into::into),
                });
            }
        }
        Body::Log(log) => batch.logs.push(log_row(event, log)),
        Body::Loss(loss) => batch.losses.push(LossRow {
            site: event.site.clone(),
            agent: (*event.agent).into(),
            ts_us: event.ts_us,
            stream: event.id.stream,
            seq: event.id.seq,
            source: (*event.source).into(),
            loss: loss.clone(),
        }),
    }
}

fn log_row(event: &Event, log: &Log) -> LogRow {
    // The host comes from the sender's own text; it is part of the primary key, so it is cut to
    // what a key may hold. The archive has all of it.
    let host = if log.host.is_empty() { &event.device } else { &log.host };
    let mut cut = host.len().min(NAME_BYTES_MAX);
    while !host.is_char_boundary(cut) {
        cut -= 1;
    }
    LogRow {
        site: event.site.clone(),
        host: host[..cut].to_owned(),
        ts_us: event.ts_us,
        stream: event.id.stream,
        seq: event.id.seq,
        device: event.device.clone(),
        facility: log.facility,
        severity: log.severity,
        app: log.app.clone(),
        procid: log.procid.clone(),
        msgid: log.msgid.clone(),
        message: log.message.clone(),
        template: log.template.map(|template| template.to_string()),
        score: log.score,
    }
}
