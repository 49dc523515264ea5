//! Rows: which rows of the store an event becomes.
//!
//! In: an event. Out: rows appended to a batch.

use std::sync::Arc;

use weir_models::event::{Body, Event};
use weir_models::ident::SeriesKey;

use crate::store::{Batch, LossRow, ReadingRow};

/// Appends the rows of `event` to `batch`.
pub fn add_event(event: &Arc<Event>, batch: &mut Batch) {
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
        Body::Log(_) => batch.logs.push(Arc::clone(event)),
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
