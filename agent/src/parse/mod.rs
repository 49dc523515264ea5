//! Parse: from the bytes of one datagram, line or payload to what they say.
//!
//! In: bytes, the time they were received, and what the source's configuration knows (time zone,
//! names of fields, limits). Out: a [`syslog::Syslog`] or a [`Reading`], borrowed from the input
//! where possible.
//!
//! Promises: pure functions; they never fail and never panic. What is not understood is handed on
//! as it is, with a [`ParseState`] and the reason. Everything is bounded by [`Limits`].
//!
//! Does not: keep the raw bytes (the caller has them), look anything up, know other lines.

pub mod event;
pub mod json;
pub mod line;
mod readable;
mod stamp;
pub mod syslog;
pub mod table;
pub mod text;
mod texts;
pub mod zone;

use std::borrow::Cow;

pub use readable::Readable;
pub use stamp::StampRule;
pub use weir_models::event::ParseState;
pub use zone::Zone;

/// Bounds on what one input may become. What goes over a bound is cut or left out, and the state
/// is then [`ParseState::Partial`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line or payload, in bytes; the rest is cut.
    pub line_bytes: usize,
    /// Longest header field, name or text, in bytes. RFC 5424's own limits (255, 48, 128, 32) are
    /// tolerated up to this.
    pub field_bytes: usize,
    /// Most structured data elements of a message.
    pub sd_elements: usize,
    /// Most structured data parameters of a message, all elements together.
    pub sd_params: usize,
    /// Most values, tags and texts of a reading, each.
    pub reading_fields: usize,
    /// Deepest nesting of a JSON payload.
    pub json_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 64 * 1024,
            field_bytes: 1024,
            sd_elements: 64,
            sd_params: 512,
            reading_fields: 256,
            json_depth: 16,
        }
    }
}

/// One metric of a reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<'a> {
    /// Name of the metric.
    pub name: Cow<'a, str>,
    /// The value; a boolean is 0 or 1. Always finite.
    pub v: f64,
    /// Unit, if the configuration knows it.
    pub unit: Option<&'a str>,
}

/// What a sensor payload or line says: the metrics of one device at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading<'a> {
    /// Site, if the payload names it.
    pub site: Option<Cow<'a, str>>,
    /// Device, if the payload names it.
    pub device: Option<Cow<'a, str>>,
    /// Event time in microseconds since the Unix epoch, if the payload tells it.
    pub ts_us: Option<i64>,
    /// Numeric and boolean fields, in the order of the payload, each name once.
    pub values: Vec<Value<'a>>,
    /// Tags of the InfluxDB line protocol that are neither site nor device.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Fields that hold text.
    pub texts: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// How much of the payload was understood.
    pub state: ParseState,
    /// The first thing that was not.
    pub reason: Option<Cow<'static, str>>,
}

impl<'a> Reading<'a> {
    /// A reading of which nothing could be understood.
    fn raw(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { state: ParseState::Raw, reason: Some(reason.into()), ..Self::default() }
    }

    /// Notes that something was not understood; the first reason stays.
    fn complain(&mut self, reason: impl FnOnce() -> Cow<'static, str>) {
        self.state = self.state.max(ParseState::Partial);
        if self.reason.is_none() {
            self.reason = Some(reason());
        }
    }

    /// Adds a value. A name that is there already gets the later value: that is what every JSON
    /// reader does, and a line protocol server too.
    fn push(&mut self, name: Cow<'a, str>, v: f64, unit: Option<&'a str>, limits: &Limits) {
        if let Some(earlier) = self.values.iter_mut().find(|earlier| earlier.name == name) {
            earlier.v = v;
            self.complain(|| {
                format!("field `{}` occurs twice, the last one counts", clip(&name)).into()
            });
        } else if self.values.len() >= limits.reading_fields {
            self.complain(|| {
                format!("more than {} values, the rest is left out", limits.reading_fields).into()
            });
        } else {
            self.values.push(Value { name, v, unit });
        }
    }

    /// Sets a field of text aside.
    fn push_text(&mut self, name: Cow<'a, str>, text: Cow<'a, str>, limits: &Limits) {
        if self.texts.len() >= limits.reading_fields {
            self.complain(|| {
                format!("more than {} texts, the rest is left out", limits.reading_fields).into()
            });
        } else {
            self.texts.push((name, text));
        }
    }
}

/// The beginning of a text, short enough for a reason.
fn clip(text: &str) -> &str {
    prefix(text, 64)
}

/// The longest prefix of at most `bytes` bytes that ends between two characters.
fn prefix(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
