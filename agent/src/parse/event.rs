//! From what a parser read to an event.
//!
//! In: a raw payload and the settings of its source. Out: an event without identity ([`Parsed`]),
//! complete but for metadata and scores. Promises: every payload gives one event; what the payload
//! does not say is filled by what the source knows (labels, the sender's address) and last by the
//! agent's own site, the name of this machine (lines only) and the receive time; the raw bytes go along unless the source says otherwise.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_models::event::{Body, Clock, Event, Log, Loss, MetaState, ParseState, RawBytes, Value};
use weir_models::ident::{EventId, Stream};
use weir_models::limit::{METRICS_MAX, NAME_BYTES_MAX};

use super::json::{self, Fields};
use super::line::{self, LineFields, Precision};
use super::syslog::{self, Syslog};
use super::texts::Texts;
use super::{Limits, Readable, Reading, StampRule, Zone, text};
use crate::clock::EARLIEST_US;
use crate::config::{Config, host_name};
use crate::enrich::Enricher;
use crate::source::{Format, Labels, Raw, Source, SourceSettings, TimeUnit};

/// Device of a payload that names none and came from nowhere.
const NO_DEVICE: &str = "unknown";
/// Room for a message that is kept for the next one, bytes.
const MESSAGE_KEPT_MAX: usize = 4_096;
/// The metric of a payload that is a bare number.
const BARE: &str = "value";

/// An event as its payload tells it.
#[derive(Debug)]
pub struct Parsed {
    event: Box<Event>,
    ts_rule: StampRule,
}

/// An event with what is known of its device.
#[derive(Debug)]
pub struct Enriched(Box<Event>);

/// Parses the payloads of all sources.
#[derive(Debug)]
pub struct Parser {
    agent: Arc<str>,
    site: String,
    /// Name of this machine: lines of its own programs, through a unix socket, a file or a pipe,
    /// often name no host.
    host: String,
    sources: Vec<Settings>,
    limits: Limits,
    /// The last event that was written: the next one is filled into it.
    spare: Option<Box<Event>>,
    texts: Texts,
    /// Stamps before it are not to be trusted.
    believed_from_us: i64,
}

/// How the payloads of one source are read.
#[derive(Clone, Debug)]
struct Settings {
    zone: Zone,
    keep_raw: bool,
    fields: Fields,
    line: LineFields,
}

impl Settings {
    fn new(source: &SourceSettings) -> Result<Self, String> {
        let zone = match &source.zone {
            None => Zone::local(),
            Some(name) => {
                name.parse().map_err(|error| format!("source `{}`: {error}", source.name))?
            }
        };
        Ok(Self {
            zone,
            keep_raw: source.keep_raw,
            fields: source.fields.clone(),
            line: source.line.clone(),
        })
    }
}

impl Parser {
    /// The parser for all sources of a configuration.
    ///
    /// # Errors
    /// When a source's time zone is not known.
    pub fn new(agent: &Arc<str>, config: &Config) -> Result<Self, String> {
        Self::of_sources(agent, &config.agent.site, &config.source.settings())
    }

    /// The parser for these sources; the place in the list is the index of the source.
    ///
    /// # Errors
    /// When a source's time zone is not known.
    pub fn of_sources(
        agent: &Arc<str>,
        site: &str,
        sources: &[SourceSettings],
    ) -> Result<Self, String> {
        Ok(Self {
            agent: agent.clone(),
            site: bounded_name(site),
            host: host_name(),
            sources: sources.iter().map(Settings::new).collect::<Result<_, _>>()?,
            limits: Limits::default(),
            spare: None,
            texts: Texts::default(),
            believed_from_us: EARLIEST_US,
        })
    }

    /// The parser of one source (index 0) for somebody who asks what a payload says: no field is
    /// filled with the name of this machine, and the receive time is taken as it is.
    ///
    /// # Errors
    /// When the time zone is not known.
    pub fn of_one(site: &str, source: &SourceSettings) -> Result<Self, String> {
        Ok(Self {
            agent: Arc::default(),
            site: bounded_name(site),
            host: String::new(),
            sources: vec![Settings::new(source)?],
            limits: Limits::default(),
            spare: None,
            texts: Texts::default(),
            believed_from_us: i64::MIN,
        })
    }

    /// The same on a machine that is called `host`.
    #[must_use]
    pub fn on_host(mut self, host: &str) -> Self {
        fill(&mut self.host, host);
        self
    }

    /// Receive times before it are not to be trusted from now on.
    pub fn believe_from(&mut self, believed_from_us: i64) {
        self.believed_from_us = believed_from_us;
    }

    /// Parses one payload.
    #[must_use]
    pub fn parse(
        &mut self,
        source: &Source,
        peer: Option<IpAddr>,
        labels: Option<&Labels>,
        raw: &Raw,
    ) -> Parsed {
        let Some(settings) = self.sources.get(source.index) else {
            // Sources are numbered by the list that `new` read.
            unreachable!("source `{}` is not configured", source.name)
        };
        let no_labels = Labels::default();
        let labels = labels.unwrap_or(&no_labels);
        let bytes = &raw.bytes;
        let mut ts_rule = StampRule::None;
        let mut event =
            self.spare.take().unwrap_or_else(|| Box::new(blank("", Body::Log(Log::default()))));
        match source.format {
            Format::Syslog => {
                let text = Readable::new(bytes, &self.limits);
                let read = syslog::parse(&text, raw.received_us, &settings.zone, &self.limits);
                ts_rule = read.ts_rule;
                fill_log(&mut event, &read, &mut self.texts);
                // A wrong clock gives a wrong year, and that is not to be corrected later: the receive
                // time, which is, comes nearer.
                if raw.received_us < self.believed_from_us && ts_rule.guesses_the_year() {
                    (event.ts_us, ts_rule) = (UNKNOWN_TIME, StampRule::None);
                }
            }
            Format::Text => {
                let text = Readable::new(bytes, &self.limits);
                fill_log(&mut event, &text::parse(&text), &mut self.texts);
            }
            Format::Json => {
                let read = json::parse(bytes, &settings.fields, &settings.zone, &self.limits);
                *event = reading_event("json", read, labels);
            }
            Format::Line => {
                let mut fields = Cow::Borrowed(&settings.line);
                if let Some(precision) = labels.time_unit.map(precision_of)
                    && precision != fields.precision
                {
                    fields.to_mut().precision = precision;
                }
                *event = match line::parse(bytes, &fields, &self.limits) {
                    Some(line) => reading_event("line", line.reading, labels),
                    None => raw_event("line", "an empty line or a comment"),
                };
            }
        }
        if let Body::Log(log) = &mut event.body
            && event.parse == ParseState::Raw
            && log.message.is_empty()
        {
            log.message = String::from_utf8_lossy(bytes).into_owned();
        }
        if raw.cut {
            event.parse = event.parse.max(ParseState::Partial);
            event.parse_reason.get_or_insert(Cow::Borrowed("only a part of what was sent"));
        }
        if settings.keep_raw {
            event.raw = Some(RawBytes(bytes.clone()));
        }
        self.complete(&mut event, source, peer, labels, raw.received_us);
        Parsed { event, ts_rule }
    }

    /// Takes an event that has been written: the next one is filled into it, so that its strings are used again
    /// and nothing of its size is moved.
    #[inline]
    pub fn recycle(&mut self, mut event: Box<Event>) {
        // Of what was received together all is held while a piece is.
        event.raw = None;
        if let Body::Log(log) = &mut event.body
            && log.message.capacity() > MESSAGE_KEPT_MAX
        {
            // One large line must not be held for ever.
            log.message = String::new();
        }
        self.spare = Some(event);
    }

    /// A loss marker in the name of a source.
    #[must_use]
    pub fn marker(&mut self, source: &Source, now_us: i64, loss: Loss) -> Box<Event> {
        let mut event = Box::new(blank("loss", Body::Loss(loss)));
        event.device = source.name.to_string();
        bound_name(&mut event.device);
        self.complete(&mut event, source, None, &Labels::default(), now_us);
        event
    }

    /// Fills what the payload did not say.
    fn complete(
        &mut self,
        event: &mut Event,
        source: &Source,
        peer: Option<IpAddr>,
        labels: &Labels,
        received_us: i64,
    ) {
        share(&mut event.agent, &self.agent);
        share(&mut event.source, &source.name);
        event.received_us = received_us;
        let is_believed = received_us >= self.believed_from_us;
        event.clock = if is_believed { Clock::Synced } else { Clock::Unsynced };
        if event.ts_us == UNKNOWN_TIME {
            event.ts_us = received_us;
        }
        if event.site.is_empty() {
            event.site.push_str(labels.site.as_ref().unwrap_or(&self.site));
            if labels.site.is_some() {
                bound_name(&mut event.site);
            }
        }
        if event.device.is_empty() {
            event.device = match (&labels.device, peer) {
                (Some(device), _) => device.clone(),
                (None, Some(peer)) => peer.to_canonical().to_string(),
                (None, None) if matches!(source.format, Format::Syslog | Format::Text) => {
                    self.host.clone()
                }
                (None, None) => NO_DEVICE.into(),
            };
            bound_name(&mut event.device);
        }
        if let Body::Log(log) = &mut event.body
            && log.host.is_empty()
        {
            log.host.clone_from(&event.device);
        }
    }
}

impl Parsed {
    /// How the time of a syslog message was found.
    #[must_use]
    pub fn ts_rule(&self) -> StampRule {
        self.ts_rule
    }

    /// The event without metadata.
    #[must_use]
    pub fn into_event(mut self) -> Box<Event> {
        if !self.event.meta.is_empty() {
            self.event.meta = Arc::default();
        }
        self.event
    }

    /// Joins what is known of the device.
    #[must_use]
    #[inline]
    pub fn enrich(mut self, enricher: &mut Enricher) -> Enriched {
        enricher.join(&mut self.event);
        Enriched(self.event)
    }
}

impl Enriched {
    /// The event for the stages after this one.
    #[must_use]
    #[inline]
    pub fn into_event(self) -> Box<Event> {
        self.0
    }
}

fn precision_of(unit: TimeUnit) -> Precision {
    match unit {
        TimeUnit::Nanoseconds => Precision::Ns,
        TimeUnit::Microseconds => Precision::Us,
        TimeUnit::Milliseconds => Precision::Ms,
        TimeUnit::Seconds => Precision::S,
    }
}

/// Stands for a time that the payload does not tell.
const UNKNOWN_TIME: i64 = i64::MIN;

fn blank(dialect: &'static str, body: Body) -> Event {
    Event {
        agent: Arc::default(),
        // The spool names it.
        id: EventId { stream: Stream(0), seq: 0 },
        site: String::new(),
        device: String::new(),
        ts_us: UNKNOWN_TIME,
        received_us: 0,
        clock: Clock::Synced,
        source: Arc::default(),
        dialect: Cow::Borrowed(dialect),
        parse: ParseState::Ok,
        parse_reason: None,
        meta: Arc::default(),
        meta_state: MetaState::Miss,
        meta_age_s: None,
        raw: None,
        body,
    }
}

fn raw_event(dialect: &'static str, reason: &'static str) -> Event {
    let mut event = blank(dialect, Body::Log(Log::default()));
    event.parse = ParseState::Raw;
    event.parse_reason = Some(Cow::Borrowed(reason));
    event
}

/// Makes the event at hand that of a log line. Its strings are filled again; one that this line has not goes to `texts`.
/// Its metadata stays until it is joined or given out.
fn fill_log(event: &mut Event, read: &Syslog<'_>, texts: &mut Texts) {
    if !matches!(event.body, Body::Log(_)) {
        event.body = Body::Log(Log::default());
    }
    let Body::Log(log) = &mut event.body else { return };
    log.facility = read.facility;
    log.severity = read.severity;
    fill(&mut log.host, read.host.unwrap_or_default());
    bound_name(&mut log.host);
    texts.fill(&mut log.app, read.app);
    texts.fill(&mut log.procid, read.procid);
    texts.fill(&mut log.msgid, read.msgid);
    if !log.sd.is_empty() {
        log.sd.clear();
    }
    for element in read.sd.elements() {
        let params = log.sd.entry(element.id.to_owned()).or_default();
        for (name, value) in element.params() {
            params.insert(name.to_owned(), value.into_owned());
        }
    }
    fill(&mut log.message, read.message);
    log.template = None;
    log.score = None;

    // The spool names it.
    event.id = EventId { stream: Stream(0), seq: 0 };
    fill(&mut event.device, &log.host);
    event.site.clear();
    event.ts_us = read.ts_us.unwrap_or(UNKNOWN_TIME);
    event.dialect = Cow::Borrowed(read.dialect.as_str());
    event.parse = read.state;
    event.parse_reason = read.reason.map(Cow::Borrowed);
    event.meta_state = MetaState::Miss;
    event.meta_age_s = None;
}

/// The text in place of what is in the string.
#[inline]
fn fill(string: &mut String, text: &str) {
    string.clear();
    string.push_str(text);
}

/// Shares what another one has. Mostly it is the same already, and to count it up and down again would be work.
#[inline]
pub(crate) fn share<T: ?Sized>(own: &mut Arc<T>, other: &Arc<T>) {
    if !Arc::ptr_eq(own, other) {
        *own = other.clone();
    }
}

fn reading_event(dialect: &'static str, read: Reading<'_>, labels: &Labels) -> Event {
    let mut values = BTreeMap::new();
    let mut clipped = None;
    for value in read.values {
        // A topic that names the metric goes with a payload that is the number alone.
        let name = match &labels.metric {
            Some(metric) if value.name == BARE => metric.clone(),
            _ => value.name.into_owned(),
        };
        if name.len() > NAME_BYTES_MAX || values.len() == METRICS_MAX {
            clipped = Some(Cow::Borrowed("a metric's name is too long, or there are too many"));
            continue;
        }
        let unit = value.unit.map(Into::into);
        values.insert(name, Value { v: value.v, unit, score: None });
    }
    let tag = |wanted: &str| {
        read.tags.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.to_string())
    };
    let device = read.device.map(Cow::into_owned).or_else(|| tag("device")).or_else(|| tag("host"));
    let site = read.site.map(Cow::into_owned).or_else(|| tag("site"));
    // Nothing measured: what came is kept as a log line, with the reason.
    let body = if values.is_empty() { Body::Log(Log::default()) } else { Body::Reading(values) };
    let nothing = matches!(body, Body::Log(_));
    let mut event = blank(dialect, body);
    event.device = device.unwrap_or_default();
    event.site = site.unwrap_or_default();
    bound_name(&mut event.device);
    bound_name(&mut event.site);
    event.ts_us = read.ts_us.unwrap_or(UNKNOWN_TIME);
    event.parse = read.state;
    event.parse_reason = read.reason;
    if clipped.is_some() {
        event.parse = event.parse.max(ParseState::Partial);
        event.parse_reason = event.parse_reason.or(clipped);
    }
    if nothing {
        event.parse = ParseState::Raw;
        event.parse_reason.get_or_insert(Cow::Borrowed("holds no number"));
    }
    event
}

fn bounded_name(name: &str) -> String {
    let mut name = name.to_owned();
    bound_name(&mut name);
    name
}

/// Names are parts of keys: bounded, and without the separator.
fn bound_name(name: &mut String) {
    if name.len() > NAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    }
    if name.contains('/') {
        *name = name.replace('/', "_");
    }
}

#[cfg(test)]
mod tests;
