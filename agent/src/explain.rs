//! `weir-agent explain`: what the agent makes of a line, without starting anything.
//!
//! In: lines. With `--json` each is an object `{"raw": text}` or `{"raw_b64": base64}`, else the line
//! itself is the payload. Out: for each line, in order, one JSON event or a few lines for a person.
//! Promises: the same parser as `run`; one answer a line, whatever the line holds, so that answers
//! can be matched by their number; nothing is filled in that the payload did not say but what the
//! options give (no host name of this machine). Bounded: a line longer than 1 MiB is an error line.
//! Does not: join metadata (the cache belongs to the running agent), score.

use std::io::{self, BufRead, Read, Write};
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weir_models::event::{Body, Event, Log, ParseState};
use weir_models::time::now_us;

use crate::config::Config;
use crate::filter::{Filter, Verdict};
use crate::parse::StampRule;
use crate::parse::event::Parser;
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::source::{Format, Raw, Source, SourceSettings};

/// Longest line of input, in bytes: a payload of the greatest length with every byte escaped fits.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The options of `explain`.
#[derive(Debug, Args)]
pub struct Options {
    /// Reads {"raw": …} or {"raw_b64": …} a line, writes one JSON event a line.
    #[arg(long)]
    json: bool,
    /// The receive time, which settles the year of stamps that have none; default: now.
    #[arg(long, value_name = "RFC3339")]
    received_at: Option<Timestamp>,
    /// The time zone of stamps that have none, such as Europe/Berlin; default: the source's, else
    /// this machine's.
    #[arg(long)]
    zone: Option<String>,
    /// The address of the sender, which is the host where a line names none.
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,
    /// Takes the settings of a source and the filter rules from this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// Which source of the configuration; default: the first.
    #[arg(long, value_name = "NAME", requires = "config")]
    source: Option<String>,
}

/// Explains line after line.
#[derive(Debug)]
pub struct Explainer {
    parser: Parser,
    source: Source,
    filter: Option<Filter>,
    received_us: Option<i64>,
    peer: Option<IpAddr>,
    json: bool,
}

/// One line of input with `--json`. Other keys are passed over.
#[derive(Deserialize)]
struct Asked {
    raw: Option<String>,
    raw_b64: Option<String>,
}

/// One line of output with `--json`: the event, and how it came about.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// How the time was found; `none`: it is the receive time.
    ts_rule: StampRule,
    /// What the filter rules of the configuration do with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
}

/// One line of output for a line of input that cannot be understood.
#[derive(Serialize)]
struct Fault {
    line: u64,
    error: String,
}

impl Explainer {
    /// By the options, and the configuration they name.
    ///
    /// # Errors
    /// When the configuration has no such source, or the time zone is not known.
    pub fn new(options: &Options, config: Option<&Config>) -> Result<Self, String> {
        let mut settings = match config {
            Some(config) => chosen(config, options.source.as_deref())?,
            None => plain(),
        };
        if let Some(zone) = &options.zone {
            settings.zone = Some(zone.clone());
        }
        let site = config.map_or("", |config| &config.agent.site);
        Ok(Self {
            parser: Parser::of_one(site, &settings)?,
            source: Source { name: settings.name.into(), index: 0, format: settings.format },
            filter: config.map(|config| Filter::new(config.filter.clone())),
            received_us: options.received_at.map(Timestamp::as_microsecond),
            peer: options.peer,
            json: options.json,
        })
    }

    /// Answers every line of `input`.
    ///
    /// # Errors
    /// When the input cannot be read or the output cannot be written.
    pub fn run(&mut self, mut input: impl BufRead, output: &mut impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            match read_line(&mut input, &mut line)? {
                Line::End => break,
                Line::TooLong => {
                    let error = format!("longer than {LINE_BYTES_MAX} bytes, left out");
                    self.fault(output, number, error)?;
                }
                Line::Whole => self.answer(output, number, &line)?,
            }
            // Whoever looks on sees each answer at once; a buffer behind us makes it cheap.
            output.flush()?;
        }
        Ok(())
    }

    fn answer(&mut self, output: &mut impl Write, number: u64, line: &[u8]) -> io::Result<()> {
        let payload = if self.json { payload(line) } else { Ok(Bytes::copy_from_slice(line)) };
        let bytes = match payload {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(output, number, error),
        };
        let raw = Raw { bytes, received_us: self.received_us.unwrap_or_else(now_us), cut: false };
        let parsed = self.parser.parse(&self.source, self.peer, None, &raw);
        let ts_rule = parsed.ts_rule();
        let mut event = parsed.into_event();
        let filter = self.filter.as_mut().map(|filter| verdict(filter, &mut event));
        if self.json {
            serde_json::to_writer(&mut *output, &Answer { event: &event, ts_rule, filter })?;
            writeln!(output)
        } else {
            write_for_a_person(output, number, &event, ts_rule, filter)
        }
    }

    fn fault(&self, output: &mut impl Write, line: u64, error: String) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *output, &Fault { line, error })?;
            writeln!(output)
        } else {
            writeln!(output, "line {line}: {error}")
        }
    }
}

/// The settings of a line of which nothing is known.
fn plain() -> SourceSettings {
    SourceSettings {
        name: "explain".into(),
        format: Format::Syslog,
        zone: None,
        when_full: crate::spool::WhenFull::Block,
        keep_raw: true,
        fields: Fields::default(),
        line: LineFields::default(),
    }
}

fn chosen(config: &Config, name: Option<&str>) -> Result<SourceSettings, String> {
    let all = config.source.settings();
    let names = all.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join("`, `");
    let found = match name {
        None => all.first(),
        Some(name) => all.iter().find(|source| source.name == name),
    };
    match (found, name) {
        (Some(source), _) => Ok(source.clone()),
        (None, None) => Ok(plain()),
        (None, Some(name)) => {
            Err(format!("the configuration has no source `{name}`; it has `{names}`"))
        }
    }
}

/// The payload that a line of JSON holds.
fn payload(line: &[u8]) -> Result<Bytes, String> {
    let expected = "expected {\"raw\": text} or {\"raw_b64\": base64}";
    let asked: Asked =
        serde_json::from_slice(line).map_err(|error| format!("{expected}: {error}"))?;
    match (asked.raw, asked.raw_b64) {
        (Some(text), _) => Ok(text.into_bytes().into()),
        (None, Some(text)) => match BASE64.decode(text) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("`raw_b64` is not base64: {error}")),
        },
        (None, None) => Err(expected.into()),
    }
}

fn verdict(filter: &mut Filter, event: &mut Event) -> &'static str {
    match filter.apply(event) {
        Verdict::Keep => "keep",
        Verdict::Lower => "lower",
        Verdict::Drop => "drop",
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// The next line without its end (a carriage return before it belongs to the line: parsers know).
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let most = LINE_BYTES_MAX + 1;
    if input.by_ref().take(most as u64).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Whole);
    }
    if line.len() < most {
        return Ok(Line::Whole);
    }
    input.skip_until(b'\n')?;
    Ok(Line::TooLong)
}

fn write_for_a_person(
    output: &mut impl Write,
    number: u64,
    event: &Event,
    ts_rule: StampRule,
    filter: Option<&str>,
) -> io::Result<()> {
    let state = match event.parse {
        ParseState::Ok => "ok",
        ParseState::Partial => "partial",
        ParseState::Raw => "raw",
    };
    write!(output, "line {number}: {}, {state}", event.dialect)?;
    match &event.parse_reason {
        Some(reason) => writeln!(output, ": {reason}")?,
        None => writeln!(output)?,
    }
    let mut tell = |name: &str, text: &str| {
        if text.is_empty() { Ok(()) } else { writeln!(output, "  {name:<9} {text}") }
    };
    let ts = Timestamp::from_microsecond(event.ts_us).map(|ts| ts.to_string()).unwrap_or_default();
    match (&event.body, ts_rule) {
        (Body::Log(_), StampRule::None) => tell("time", &format!("{ts}, when it was received"))?,
        (Body::Log(_), rule) => tell("time", &format!("{ts} ({})", rule.as_str()))?,
        _ => tell("time", &ts)?,
    }
    match &event.body {
        Body::Log(log) => tell_log(log, &mut tell)?,
        Body::Reading(values) => {
            tell("device", &event.device)?;
            for (metric, value) in values {
                let unit = value.unit.as_deref().unwrap_or_default();
                tell(metric, format!("{} {unit}", value.v).trim_end())?;
            }
        }
        Body::Loss(_) => {}
    }
    tell("filter", filter.unwrap_or_default())
}

fn tell_log(log: &Log, tell: &mut impl FnMut(&str, &str) -> io::Result<()>) -> io::Result<()> {
    const FACILITIES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2",
        "local3", "local4", "local5", "local6", "local7",
    ];
    const SEVERITIES: [&str; 8] =
        ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
    let named = |number: Option<u8>, names: &[&str]| {
        let number = number?;
        let name = names.get(usize::from(number))?;
        Some(format!("{number} {name}"))
    };
    tell("facility", &named(log.facility, &FACILITIES).unwrap_or_default())?;
    tell("severity", &named(log.severity, &SEVERITIES).unwrap_or_default())?;
    tell("host", &log.host)?;
    let fields = [("app", &log.app), ("procid", &log.procid), ("msgid", &log.msgid)];
    for (name, text) in fields {
        tell(name, text.as_deref().unwrap_or_default())?;
    }
    for (id, params) in &log.sd {
        let params: Vec<_> =
            params.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        tell("sd", format!("{id} {}", params.join(" ")).trim_end())?;
    }
    tell("message", &log.message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
