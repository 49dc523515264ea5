//! Reading events back from their JSON.
//!
//! In: JSON as the agent writes it. Out: the event, or why it is none. A [`Reader`] remembers what
//! events have in common (the agent, the source, the metadata of a device), so that thousands of events in memory
//! share it. Promises: what is remembered is bounded and changes no answer.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Body, Clock, Event, Log, Loss, Meta, MetaState, ParseState, RawBytes, StructuredData, Value,
};
use crate::ident::{EventId, Stream, TemplateId};

/// So many names, and as many devices' metadata, are remembered; then all is forgotten.
const REMEMBERED_MAX: usize = 4_096;

/// A record that is no event.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// Not the JSON of an event.
    #[error("not an event: {0}")]
    Json(#[from] serde_json::Error),
    /// The bytes of `raw_b64` are not base64.
    #[error("`raw_b64` is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A value that is not a finite number cannot be stored.
    #[error("value of metric `{0}` is not finite")]
    NotFinite(String),
}

impl RawBytes {
    /// The bytes as received of an event in JSON, and nothing else of it; none where they were not kept,
    /// or where this is no event.
    #[must_use]
    pub fn of_json(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(borrow)]
            raw: Option<Cow<'a, str>>,
            #[serde(borrow)]
            raw_b64: Option<Cow<'a, str>>,
        }
        let Raw { raw, raw_b64 } = serde_json::from_slice(json).ok()?;
        let bytes = match (raw, raw_b64) {
            (Some(text), _) => text.into_owned().into_bytes(),
            (None, Some(text)) => BASE64.decode(text.as_bytes()).ok()?,
            (None, None) => return None,
        };
        Some(Self(bytes.into()))
    }
}

/// Reads events and remembers what they have in common.
#[derive(Debug, Default)]
pub struct Reader {
    names: HashSet<Arc<str>>,
    /// By their JSON.
    metas: HashMap<Box<str>, Arc<Meta>>,
}

impl Reader {
    /// Reads one event.
    ///
    /// # Errors
    /// When the bytes are not the JSON of an event; the message names the field and the place.
    pub fn read(&mut self, json: &[u8]) -> Result<Event, BadEvent> {
        let flat: Flat<'_> = serde_json::from_slice(json)?;
        flat.unflatten(self)
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.names.len() >= REMEMBERED_MAX {
            self.names.clear();
        }
        self.names.insert(Arc::clone(&name));
        name
    }

    fn meta(&mut self, json: Option<&RawValue>) -> Result<Arc<Meta>, BadEvent> {
        let Some(json) = json.map(RawValue::get) else {
            return Ok(Arc::default());
        };
        if let Some(known) = self.metas.get(json) {
            return Ok(Arc::clone(known));
        }
        let entries: BTreeMap<String, String> = serde_json::from_str(json)?;
        let meta = Arc::new(Meta::from(entries));
        if self.metas.len() >= REMEMBERED_MAX {
            self.metas.clear();
        }
        self.metas.insert(json.into(), Arc::clone(&meta));
        Ok(meta)
    }
}

/// The wire form, flat: which body it is shows by the fields that are there.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct Flat<'a> {
    /// The agent that took it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    #[serde(borrow)]
    agent: Cow<'a, str>,
    /// With `seq` its identity: a stream is unique in the world.
    stream: Stream,
    /// Its number in the stream; rises by one.
    seq: u64,
    /// Site, after enrichment.
    site: String,
    /// Device within the site, after enrichment; for logs the host's device.
    device: String,
    /// Event time, microseconds since the Unix epoch, UTC.
    ts_us: i64,
    /// When the agent received it, same unit.
    received_us: i64,
    /// How far the gateway's clock could be trusted.
    #[serde(default)]
    clock: Clock,
    /// Name of the input as configured.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    source: Cow<'a, str>,
    /// Parser rule that took it.
    #[serde(default)]
    dialect: String,
    /// How much was understood.
    #[serde(default)]
    parse: ParseState,
    /// Why not all, when not all.
    #[serde(default)]
    parse_reason: Option<String>,
    /// Metadata joined at the edge.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    meta: Option<&'a RawValue>,
    /// Where the metadata came from.
    #[serde(default)]
    meta_state: MetaState,
    /// Seconds since the metadata was in step with its origin.
    #[serde(default)]
    meta_age_s: Option<u64>,
    /// The bytes as received, when they are UTF-8.
    #[serde(default)]
    raw: Option<String>,
    /// The bytes as received in base64, when they are not UTF-8.
    #[serde(default)]
    raw_b64: Option<String>,
    /// Measured values of one device: metric to value.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Measured>>))]
    values: Option<BTreeMap<String, Value>>,
    /// What was lost.
    #[serde(default)]
    lost: Option<Loss>,
    #[serde(default)]
    facility: Option<u8>,
    #[serde(default)]
    severity: Option<u8>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    app: Option<String>,
    #[serde(default)]
    procid: Option<String>,
    #[serde(default)]
    msgid: Option<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, BTreeMap<String, String>>))]
    sd: StructuredData,
    #[serde(default)]
    message: String,
    #[serde(default)]
    template: Option<TemplateId>,
    #[serde(default)]
    score: Option<f32>,
}

/// By its own name utoipa takes it for any JSON.
#[cfg(feature = "openapi")]
type Measured = Value;

/// The schema of an event is that of its wire form, with the fields of each body.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Event {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        <Flat<'_> as utoipa::PartialSchema>::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Event {
    fn name() -> Cow<'static, str> {
        "Event".into()
    }

    fn schemas(list: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        <Flat<'_> as utoipa::ToSchema>::schemas(list);
    }
}

impl Flat<'_> {
    fn unflatten(self, known: &mut Reader) -> Result<Event, BadEvent> {
        let body = match (self.values, self.lost) {
            (Some(values), _) => {
                if let Some((metric, _)) = values.iter().find(|(_, value)| !value.v.is_finite()) {
                    return Err(BadEvent::NotFinite(metric.clone()));
                }
                Body::Reading(values)
            }
            (None, Some(loss)) => Body::Loss(loss),
            (None, None) => Body::Log(Log {
                facility: self.facility,
                severity: self.severity,
                host: self.host,
                app: self.app,
                procid: self.procid,
                msgid: self.msgid,
                sd: self.sd,
                message: self.message,
                template: self.template,
                score: self.score,
            }),
        };
        let raw = match (self.raw, self.raw_b64) {
            (Some(text), _) => Some(RawBytes(text.into_bytes().into())),
            (None, Some(text)) => Some(RawBytes(BASE64.decode(text)?.into())),
            (None, None) => None,
        };
        Ok(Event {
            agent: known.name(&self.agent),
            id: EventId { stream: self.stream, seq: self.seq },
            site: self.site,
            device: self.device,
            ts_us: self.ts_us,
            received_us: self.received_us,
            clock: self.clock,
            source: known.name(&self.source),
            dialect: Cow::Owned(self.dialect),
            parse: self.parse,
            parse_reason: self.parse_reason.map(Cow::Owned),
            meta: known.meta(self.meta)?,
            meta_state: self.meta_state,
            meta_age_s: self.meta_age_s,
            raw,
            body,
        })
    }
}
