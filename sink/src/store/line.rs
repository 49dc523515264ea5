//! Line: a log line that is to be written, as a view of its event.
//!
//! In: an event, which archive and store share. Out: the columns of its row. Nothing is copied: of a
//! backlog tens of thousands of lines are in memory at a time. Promises: a host is what fits a
//! primary key; the archive has all of it.

use std::borrow::Cow;
use std::sync::Arc;

use weir_models::event::{Body, Event, Log};
use weir_models::ident::{EventId, Stream, TemplateId};
use weir_models::limit::NAME_BYTES_MAX;

use super::LogRow;

/// The columns of a log event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) event: &'a Event,
    pub(crate) log: &'a Log,
}

impl<'a> Line<'a> {
    /// None for an event that is no log line.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        event.log().map(|log| Self { event, log })
    }

    /// Host as the sender names itself, cut to what a key may hold; the device where it has no name.
    pub(crate) fn host(&self) -> &'a str {
        let host = if self.log.host.is_empty() { &self.event.device } else { &self.log.host };
        &host[..host.floor_char_boundary(NAME_BYTES_MAX)]
    }

    /// The template's id as it is stored: 16 hexadecimal digits.
    pub(crate) fn template(&self) -> Option<String> {
        self.log.template.map(|template| template.to_string())
    }
}

impl From<Line<'_>> for LogRow {
    fn from(line: Line<'_>) -> Self {
        let (event, log) = (line.event, line.log.clone());
        Self {
            site: event.site.clone(),
            host: line.host().to_owned(),
            ts_us: event.ts_us,
            stream: event.id.stream,
            seq: event.id.seq,
            device: event.device.clone(),
            facility: log.facility,
            severity: log.severity,
            app: log.app,
            procid: log.procid,
            msgid: log.msgid,
            message: log.message,
            template: line.template(),
            score: log.score,
        }
    }
}

/// An event that is stored as this row.
impl From<LogRow> for Event {
    fn from(row: LogRow) -> Self {
        Self {
            agent: Arc::default(),
            id: EventId { stream: row.stream, seq: row.seq },
            site: row.site,
            device: row.device,
            ts_us: row.ts_us,
            received_us: row.ts_us,
            clock: Default::default(),
            source: Arc::default(),
            dialect: Cow::Borrowed(""),
            parse: Default::default(),
            parse_reason: None,
            meta: Arc::default(),
            meta_state: Default::default(),
            meta_age_s: None,
            raw: None,
            body: Body::Log(Log {
                facility: row.facility,
                severity: row.severity,
                host: row.host,
                app: row.app,
                procid: row.procid,
                msgid: row.msgid,
                message: row.message,
                template: row
                    .template
                    .and_then(|digits| digits.parse().ok())
                    .map(|Stream(bits)| TemplateId(bits)),
                score: row.score,
                ..Log::default()
            }),
        }
    }
}
