//! Files of tests.
//!
//! In: TOML with tables `[[test]]`. Out: [`Case`]s with their places in the file. Unknown keys, and fields that no event has,
//! are refused with the nearest one; so is a test that expects nothing, because it could not fail.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use weir_models::config::{line_and_column, nearest, parse};
use weir_models::time::parse_rfc3339;

use super::compare::{ABSENT, ALERT_FIELDS, EVENT_FIELDS, texts};
use crate::config::Config;
use crate::source::OneSource;

/// The clock of a test that sets none.
const NOW: &str = "2026-01-01T00:00:00Z";
/// The time zone that stands for the machine's, likewise.
const ZONE: &str = "UTC";
/// The most that may pass after the inputs, in seconds: a week.
const THEN_MAX_S: u32 = 7 * 24 * 3_600;

/// A file; what stands above the tests is for all that do not say it themselves.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    now: Option<toml::Value>,
    zone: Option<String>,
    devices: Option<String>,
    #[serde(default)]
    test: Vec<Spanned<Test>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    source: Option<String>,
    now: Option<toml::Value>,
    zone: Option<String>,
    devices: Option<String>,
    peer: Option<String>,
    to: Option<String>,
    input: Option<toml::Value>,
    file: Option<String>,
    #[serde(default)]
    then_s: u32,
    events: Option<usize>,
    alerts: Option<usize>,
    filtered: Option<toml::Table>,
    #[serde(default)]
    event: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    alert: Vec<Spanned<toml::Table>>,
}

/// One test.
#[derive(Debug)]
pub(super) struct Case {
    /// The file, as the user named it.
    pub(super) file: String,
    /// Its line there.
    pub(super) line: usize,
    pub(super) name: String,
    /// The source, and its place among all of the configuration.
    pub(super) source: (OneSource, usize),
    /// The clock, microseconds since the Unix epoch.
    pub(super) now_us: i64,
    /// Stands for the machine's time zone.
    pub(super) zone: String,
    /// What is known of devices, as the text of a metadata file.
    pub(super) devices: String,
    /// Who sends.
    pub(super) peer: Option<IpAddr>,
    /// The topic of MQTT, or the path of HTTP.
    pub(super) to: Option<String>,
    pub(super) payloads: Vec<Bytes>,
    /// Seconds that pass afterwards, in which nothing comes.
    pub(super) then_s: u32,
    /// How many events come, if that is said.
    pub(super) events: Option<usize>,
    pub(super) alerts: Option<usize>,
    /// What filter rules take away, by rule.
    pub(super) filtered: Option<Value>,
    pub(super) event: Vec<Expected>,
    pub(super) alert: Vec<Expected>,
}

/// Fields that one event or alert has to have.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) line: usize,
    pub(super) fields: BTreeMap<String, Value>,
}

/// Adds the tests in `file` to `cases`.
///
/// # Errors
/// Names file, line and what to do.
pub(super) fn read(file: &str, config: &Config, cases: &mut Vec<Case>) -> Result<(), String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the tests `{file}`: {error}"))?;
    let mut all: File = parse(file, &text).map_err(|error| error.to_string())?;
    if all.test.is_empty() {
        return Err(format!("{file}: there is no test: begin one with `[[test]]`"));
    }
    for test in std::mem::take(&mut all.test) {
        let line = line_and_column(&text, test.span().start).0;
        let case = Reading { file, text: &text, all: &all, config }.case(line, test.into_inner());
        cases.push(case.map_err(|(line, why)| format!("{file}:{line}: {why}"))?);
    }
    Ok(())
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    all: &'a File,
    config: &'a Config,
}

impl Reading<'_> {
    /// One test, or the line that is wrong and why.
    fn case(&self, line: usize, test: Test) -> Result<Case, (usize, String)> {
        let wrong = |why: String| (line, format!("test `{}`: {why}", test.name));
        let now = test.now.as_ref().or(self.all.now.as_ref()).map(json);
        let now = now.as_ref().map_or(Some(NOW), Value::as_str).unwrap_or_default();
        let now_us = parse_rfc3339(now)
            .map_err(|_| wrong(format!("`now` is no time with an offset, such as {NOW}")))?;
        let peer = test.peer.as_ref().map(|peer| peer.parse::<IpAddr>()).transpose();
        let event = self.expected(&test.event, EVENT_FIELDS)?;
        let alert = self.expected(&test.alert, ALERT_FIELDS)?;
        let says = test.events.or(test.alerts).is_some() || test.filtered.is_some();
        if !says && event.is_empty() && alert.is_empty() {
            let how = "add `[[test.event]]` with fields, `events = 0`, or `filtered`";
            return Err(wrong(format!("it expects nothing: {how}")));
        }
        if test.filtered.as_ref().is_some_and(toml::Table::is_empty) {
            let how = "name a rule and how often it takes something away, or leave it out";
            return Err(wrong(format!("`filtered` is empty: {how}")));
        }
        if test.then_s > THEN_MAX_S {
            return Err(wrong(format!("`then_s` is more than a week, {THEN_MAX_S}")));
        }
        for (count, described) in [(test.events, event.len()), (test.alerts, alert.len())] {
            if count.is_some_and(|count| count < described) {
                return Err(wrong(format!("it describes {described}, more than it counts")));
            }
        }
        let or_all = |own: &Option<String>, all: &Option<String>, default: &str| {
            own.clone().or_else(|| all.clone()).unwrap_or_else(|| default.into())
        };
        Ok(Case {
            source: self.source(test.source.as_deref()).map_err(wrong)?,
            payloads: self.payloads(&test).map_err(wrong)?,
            peer: peer.map_err(|_| wrong("`peer` is no IP address".into()))?,
            file: self.file.into(),
            line,
            now_us,
            zone: or_all(&test.zone, &self.all.zone, ZONE),
            devices: or_all(&test.devices, &self.all.devices, ""),
            to: test.to,
            then_s: test.then_s,
            events: test.events,
            alerts: test.alerts,
            filtered: test.filtered.map(|table| json(&toml::Value::Table(table))),
            event,
            alert,
            name: test.name,
        })
    }

    fn source(&self, name: Option<&str>) -> Result<(OneSource, usize), String> {
        let all = self.config.source.all();
        let names: Vec<String> = all.iter().map(OneSource::name).collect();
        let at = match name {
            None if all.len() == 1 => Some(0),
            None => None,
            Some(name) => names.iter().position(|known| known == name),
        };
        match at.zip(at.and_then(|at| all.into_iter().nth(at))) {
            Some((at, source)) => Ok((source, at)),
            None => {
                let names = names.join("`, `");
                Err(format!("set `source` to one that the configuration has: `{names}`"))
            }
        }
    }

    fn payloads(&self, test: &Test) -> Result<Vec<Bytes>, String> {
        match (test.input.as_ref().map(json), &test.file) {
            (Some(Value::String(text)), None) => Ok(vec![text.into()]),
            (Some(Value::Array(texts)), None) => {
                let text = |text: &Value| text.as_str().map(|text| text.to_owned().into());
                let texts: Option<Vec<Bytes>> = texts.iter().map(text).collect();
                texts.ok_or_else(|| "`input` holds something that is no text".into())
            }
            (None, Some(name)) => {
                // Beside the tests, wherever they are run from.
                let path = Path::new(self.file).with_file_name(name);
                let bytes = std::fs::read(&path)
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                let bytes = Bytes::from(bytes);
                let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                Ok(lines.map(|line| bytes.slice_ref(line)).collect())
            }
            _ => Err("set either `input` (a text, or a list of texts) or `file`".into()),
        }
    }

    fn expected(
        &self,
        tables: &[Spanned<toml::Table>],
        known: &[&str],
    ) -> Result<Vec<Expected>, (usize, String)> {
        let mut all = Vec::new();
        for table in tables {
            let line = line_and_column(self.text, table.span().start).0;
            let mut fields = BTreeMap::new();
            for (name, value) in table.get_ref() {
                let value = json(value);
                is_known(name, known).map_err(|why| (line, why))?;
                if name == ABSENT {
                    let names = texts(&value).ok_or_else(|| {
                        (line, "`absent` is the name of a field, or a list of names".to_owned())
                    })?;
                    for name in names {
                        is_known(name, known).map_err(|why| (line, why))?;
                    }
                }
                fields.insert(name.clone(), value);
            }
            all.push(Expected { line, fields });
        }
        Ok(all)
    }
}

fn is_known(name: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&name) {
        return Ok(());
    }
    let hint = match nearest(name, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(format!("there is no field `{name}`; {hint}"))
}

/// The value as JSON would have it; a time is its text.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(is_it) => (*is_it).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => Value::Array(values.iter().map(json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}
