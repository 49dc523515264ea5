//! `weir-agent tap`: who looks on.
//!
//! In: what is wanted, and the data folder of a running agent. Out: a line a record, for a person or as JSON. Nothing that a
//! record holds can steer the terminal. Exit codes: 0 when as many came as were asked for or nobody reads any more, 1 when
//! there is no agent or it ends the tap, 2 wrong arguments.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use clap::Args;
use serde_json::Value;
use weir_models::time::rfc3339;

use super::{SOCKET, Wants};
use crate::spool::cli::Place;

/// The options of `tap`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    wants: Wants,
    /// Ends after so many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Writes the records as JSON, one a line, with the lane of each.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nobody is there to be asked.
    #[error(
        "cannot reach the agent at `{path}`: {error}; it has to run, with `status.tap` not false, and this as its user or as root"
    )]
    Away { path: String, error: io::Error },
    /// The agent says no, or no more.
    #[error("{0}")]
    Ended(String),
    /// The records cannot be written.
    #[error("cannot write the records: {0}")]
    Write(#[from] io::Error),
}

/// Writes what passes the agent of the data folder `dir`.
///
/// # Errors
/// See [`Fault`].
pub(crate) fn run(options: &Options, dir: &Path, output: &mut dyn Write) -> Result<(), Fault> {
    let path = dir.join(SOCKET);
    let away = |error| Fault::Away { path: path.display().to_string(), error };
    let mut stream = UnixStream::connect(&path).map_err(away)?;
    let wants = serde_json::to_string(&options.wants).unwrap_or_default();
    stream.write_all(format!("{wants}\n").as_bytes()).map_err(away)?;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut lines = BufReader::new(stream).lines();
    while left > 0 {
        let Some(line) = lines.next() else {
            return Err(Fault::Ended("the agent has ended the tap".into()));
        };
        let line = line.map_err(away)?;
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(Value::String(error)) = value.get("error") {
            return Err(Fault::Ended(error.clone()));
        }
        left -= u64::from(value.get("left_out").is_none());
        let line = harmless(&if options.json { line } else { shown(&value) });
        writeln!(output, "{line}")?;
        output.flush()?;
    }
    Ok(())
}

/// A record in a line for a person.
fn shown(record: &Value) -> String {
    if let Some(gap) = record.get("left_out") {
        let (rate, room) = (&gap["above_rate"], &gap["no_room"]);
        return format!(
            "-- left out: {rate} above `--per-s`, {room} because they were not read fast enough"
        );
    }
    // Of an alert, what is in its envelope.
    let record = record.get("data").map_or(record, |data| data);
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let us =
        ["ts_us", "resolved_us", "fired_us"].iter().find_map(|name| record.get(name)?.as_i64());
    let who = Some(text("host")).filter(|host| !host.is_empty()).unwrap_or(text("device"));
    let lane = Some(text("lane")).filter(|lane| !lane.is_empty()).unwrap_or("alerts");
    let mut line = format!("{} {lane:<8}", us.map(rfc3339).unwrap_or_default());
    // An alert has no source.
    for word in [text("source"), who].into_iter().filter(|word| !word.is_empty()) {
        line.push(' ');
        line.push_str(word);
    }
    // Writing to a string cannot fail.
    if let Some(Value::Object(values)) = record.get("values") {
        for (metric, value) in values {
            let unit = value.get("unit").and_then(Value::as_str).unwrap_or_default();
            let _ = write!(line, "  {metric} {}{unit}", value["v"]);
        }
    } else if let Some(lost) = record.get("lost") {
        let reason = lost["reason"].as_str().unwrap_or_default();
        let _ = write!(line, "  lost {}: {reason}", lost["count"]);
    } else if record.get("alert_id").is_some() {
        let _ = write!(line, "  {}: {}, {}", text("state"), text("metric"), text("why"));
        // How it is resolved needs no words.
        if !text("message").is_empty() {
            let _ = write!(line, ": {}", text("message"));
        }
    } else {
        let colon = if text("app").is_empty() { "" } else { ": " };
        let _ = write!(line, "  {}{colon}{}", text("app"), text("message"));
    }
    line
}

/// The text without what could steer a terminal, escaped as JSON does it: JSON stays the same.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &str, expected: &str) {
        let record = serde_json::from_str(record).unwrap_or_default();
        assert_eq!(harmless(&shown(&record)), expected);
    }

    #[test]
    fn a_record_is_a_line_for_a_person() {
        check(
            r#"{"lane":"urgent","ts_us":0,"source":"net","device":"d","host":"h","app":"su","message":"no\u001b[2J\nroot"}"#,
            "1970-01-01T00:00:00Z urgent   net h  su: no\\u001b[2J\\nroot",
        );
        check(
            r#"{"lane":"rest","ts_us":0,"source":"net","device":"d","host":"h","message":"no app"}"#,
            "1970-01-01T00:00:00Z rest     net h  no app",
        );
        check(
            r#"{"lane":"readings","ts_us":0,"source":"s","device":"d","values":{"t":{"v":21.5,"unit":"°C"},"u":{"v":1}}}"#,
            "1970-01-01T00:00:00Z readings s d  t 21.5°C  u 1",
        );
        check(
            r#"{"lane":"rest","ts_us":0,"source":"s","device":"d","lost":{"count":3,"reason":"receive_buffer"}}"#,
            "1970-01-01T00:00:00Z rest     s d  lost 3: receive_buffer",
        );
        check(
            r#"{"lane":"alerts","data":{"alert_id":"a","state":"firing","fired_us":0,"device":"d","metric":"t","why":"range","message":"too hot"}}"#,
            "1970-01-01T00:00:00Z alerts   d  firing: t, range: too hot",
        );
        check(
            r#"{"left_out":{"above_rate":7,"no_room":2}}"#,
            "-- left out: 7 above `--per-s`, 2 because they were not read fast enough",
        );
    }

    #[test]
    fn no_record_steers_the_terminal_and_json_stays_what_it_is() {
        // Our JSON escapes what is below U+0020, but neither DEL nor the second set of controls (CSI is one).
        let written = "{\"message\":\"\u{9b}2J \u{7f}é\"}";
        let out = harmless(written);
        assert_eq!(out, r#"{"message":"\u009b2J \u007fé"}"#);
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        assert!(read(written).is_some());
        assert_eq!(read(&out), read(written));
    }
}
