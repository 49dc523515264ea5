//! Syslog, as senders really write it.
//!
//! In: the text of one message (a datagram, a frame or a line of a file). Out: a [`Syslog`] that
//! borrows from it. Nothing is allocated.
//!
//! ```text
//! octet count ─ <PRI> ─┬─ version ─────────── rfc5424 ── sd
//!                      ├─ stamp? ─ host? ─ tag? ── header ── tag
//!                      │  └─ counters, uptimes … ─ cisco
//!                      └─ name=value … ─ pairs
//! ```
//!
//! Promises: every input gives a result; fields are substrings of the input; what is not
//! understood stands in the message, and `state` and `reason` say why. RFC 5424 is read by its
//! section 6, RFC 3164 and its many dialects by what senders do (see `header.rs`).
//!
//! Does not: guess a severity or facility where no PRI was sent, correct clocks, split frames.

mod cisco;
mod header;
mod pairs;
mod rfc5424;
mod sd;
mod tag;

pub use sd::{SdElement, StructuredData};

use super::stamp::{Stamp, StampRule};
use super::{Limits, ParseState, Readable, Zone};

/// The rule set that a message was read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// RFC 5424.
    Rfc5424,
    /// A header like that of RFC 5424 with something of its own (Check Point, Meraki).
    Rfc5424Loose,
    /// PRI and a stamp that begins with the month, as RFC 3164 has it.
    Rfc3164,
    /// The same without a PRI, as it stands in files.
    Rfc3164File,
    /// PRI and an ISO 8601 stamp, then host and tag.
    Iso,
    /// The same without a PRI, as it stands in files.
    IsoFile,
    /// Cisco: message counters, clock marks, `%FACILITY-SEVERITY-MNEMONIC`.
    Cisco,
    /// MikroTik: a list of topics in place of the tag.
    Mikrotik,
    /// Firewalls: `name=value` pairs from the first word on, date and time among them.
    Pairs,
    /// A PRI without a stamp.
    PriOnly,
    /// A plain line of a source that is not syslog.
    Text,
    /// Nothing known.
    Unknown,
}

impl Dialect {
    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfc5424 => "rfc5424",
            Self::Rfc5424Loose => "rfc5424_loose",
            Self::Rfc3164 => "rfc3164",
            Self::Rfc3164File => "rfc3164_file",
            Self::Iso => "iso",
            Self::IsoFile => "iso_file",
            Self::Cisco => "cisco",
            Self::Mikrotik => "mikrotik",
            Self::Pairs => "pairs",
            Self::PriOnly => "pri_only",
            Self::Text => "text",
            Self::Unknown => "unknown",
        }
    }
}

/// What a syslog message says. Fields that were not sent (or sent as `-`) are `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Syslog<'a> {
    /// Facility, 0 to 23.
    pub facility: Option<u8>,
    /// Severity, 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// Event time in microseconds since the Unix epoch.
    pub ts_us: Option<i64>,
    /// How the event time was found.
    pub ts_rule: StampRule,
    /// The sender's name or address.
    pub host: Option<&'a str>,
    /// Program: RFC 5424's APP-NAME, RFC 3164's TAG without the process id.
    pub app: Option<&'a str>,
    /// Process id, mostly but not always a number.
    pub procid: Option<&'a str>,
    /// RFC 5424's MSGID.
    pub msgid: Option<&'a str>,
    /// RFC 5424's structured data, read when iterated.
    pub sd: StructuredData<'a>,
    /// The message; the whole input where nothing was understood.
    pub message: &'a str,
    /// The rules it was read by.
    pub dialect: Dialect,
    /// How much was understood.
    pub state: ParseState,
    /// The first thing that was not.
    pub reason: Option<&'static str>,
}

/// What a parser needs to know beside the text.
struct Context<'c> {
    received_us: i64,
    zone: &'c Zone,
    limits: &'c Limits,
}

/// Reads one message. `received_us` (microseconds since the epoch) settles the year of stamps
/// without one, `zone` their time zone. Never fails.
pub fn parse<'a>(
    input: &'a Readable<'_>,
    received_us: i64,
    zone: &Zone,
    limits: &Limits,
) -> Syslog<'a> {
    let context = Context { received_us, zone, limits };
    let mut out = Syslog::of(Dialect::Unknown, input);
    let text = input.text();
    read(&mut out, skip_octet_count(skip_white(text)), &context);
    if out.state == ParseState::Raw {
        // With what was passed over before it: a line of a stack trace keeps its indentation.
        out.message = text;
    }
    out
}

fn read<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) {
    let rest = match read_pri(text) {
        Pri::Priority(priority, rest) => {
            out.facility = Some(priority >> 3);
            out.severity = Some(priority & 7);
            rest
        }
        Pri::TooHigh => {
            out.message = text;
            return out.give_up("the priority is above 191");
        }
        Pri::Absent => text,
    };
    let rest = rest.trim_start_matches(' ');
    if !rfc5424::read(out, rest, context) {
        header::read(out, rest, context);
    }
}

enum Pri<'a> {
    Priority(u8, &'a str),
    TooHigh,
    Absent,
}

/// `<PRI>`: one to three digits, at most 191 (RFC 5424, 6.2.1). Leading zeros are tolerated.
#[inline]
fn read_pri(text: &str) -> Pri<'_> {
    let [b'<', digits @ ..] = text.as_bytes() else { return Pri::Absent };
    let mut priority = 0_u16;
    for at in 0..=3 {
        match digits.get(at) {
            Some(digit @ b'0'..=b'9') if at < 3 => {
                priority = priority * 10 + u16::from(digit - b'0');
            }
            Some(b'>') if at > 0 => {
                return match u8::try_from(priority) {
                    Ok(priority @ 0..=191) => Pri::Priority(priority, &text[at + 2..]),
                    _ => Pri::TooHigh,
                };
            }
            _ => break,
        }
    }
    Pri::Absent
}

fn skip_white(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b'<') => text,
        _ => text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']),
    }
}

/// Takes off the length that RFC 6587's octet counting puts before a message, where it was left.
fn skip_octet_count(text: &str) -> &str {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.get(digits..) {
        Some(rest) if (1..=7).contains(&digits) && rest.starts_with(" <") => {
            let message = &rest[1..];
            if matches!(read_pri(message), Pri::Priority(..)) { message } else { text }
        }
        _ => text,
    }
}

impl<'a> Syslog<'a> {
    /// A message of which nothing is known yet.
    pub(super) fn of(dialect: Dialect, input: &Readable<'_>) -> Self {
        let mut out = Self {
            facility: None,
            severity: None,
            ts_us: None,
            ts_rule: StampRule::None,
            host: None,
            app: None,
            procid: None,
            msgid: None,
            sd: StructuredData::default(),
            message: "",
            dialect,
            state: ParseState::Ok,
            reason: None,
        };
        if let Some(fault) = input.fault() {
            out.complain(fault);
        }
        out
    }

    /// Notes that something was not understood; the first reason stays.
    fn complain(&mut self, reason: &'static str) {
        self.state = self.state.max(ParseState::Partial);
        self.reason.get_or_insert(reason);
    }

    /// Notes that nothing was understood.
    fn give_up(&mut self, reason: &'static str) {
        self.state = ParseState::Raw;
        self.reason.get_or_insert(reason);
    }

    #[inline]
    fn set_stamp(&mut self, stamp: &Stamp, context: &Context<'_>) {
        match stamp.resolve(context.received_us, context.zone) {
            Some((ts_us, rule)) => {
                self.ts_us = Some(ts_us);
                self.ts_rule = rule;
            }
            None => self.complain("no year fits the time stamp"),
        }
    }

    /// A header field within the bound; nil (`-`) and empty are none.
    #[inline]
    fn field(&mut self, field: &'a str, limits: &Limits) -> Option<&'a str> {
        if field.len() > limits.field_bytes {
            self.complain("a header field is longer than the limit, it is cut");
            return Some(super::prefix(field, limits.field_bytes));
        }
        (!field.is_empty() && field != "-").then_some(field)
    }
}

/// [`parse`] of bytes; the text stays in memory, of which a test has enough.
#[cfg(test)]
fn parse_bytes<'a>(input: &'a [u8], received_us: i64, zone: &Zone, limits: &Limits) -> Syslog<'a> {
    parse(Box::leak(Box::new(Readable::new(input, limits))), received_us, zone, limits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod differential;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod fixtures;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod forms;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod properties;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking; a table is as long as it is"
)]
mod tests;
