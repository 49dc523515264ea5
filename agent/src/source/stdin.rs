//! Standard input: lines, until it ends.
//!
//! In: what is piped into the agent. Out: one input a read. Nothing is acknowledged, because a pipe
//! cannot be; while the channel is full nothing is read and the writer waits. A line that comes after
//! the agent was told to stop stays in the pipe.

use std::io::Read;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use weir_models::time::now_us;

use super::framing::{Framer, Framing, READ_BYTES};
use super::outlet::{Closed, Outlet, raws};
use super::{Format, Inputs, Source, stopping};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;

/// Standard input as a source: the table `[source.stdin]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the source, in events and metrics.
    #[serde(default = "default_name")]
    pub name: String,
    /// How lines are parsed: `syslog`, `line`, `json` or `text`.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Time zone of stamps without one, for example `Europe/Berlin`; default: the machine's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether events carry the bytes as received.
    #[serde(default = "default_keep_raw")]
    pub keep_raw: bool,
    /// What becomes of its events when the spool is full: `block` or `drop_lowest`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// What is what in JSON payloads.
    #[serde(default)]
    pub fields: Fields,
    /// What is what in lines of the line protocol.
    #[serde(default)]
    pub line: LineFields,
}

impl Config {
    /// The name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone()
    }
}

fn default_name() -> String {
    "stdin".into()
}

fn default_format() -> Format {
    Format::Syslog
}

fn default_keep_raw() -> bool {
    true
}

/// Takes lines from `input` until it ends or the source stops.
///
/// Reads on a thread of its own that is never waited for: a read of standard input cannot be
/// interrupted, and must not keep the agent from stopping.
pub async fn run(
    input: impl Read + Send + 'static,
    source: Arc<Source>,
    inputs: Inputs,
    mut stop: watch::Receiver<bool>,
) {
    let outlet = Outlet::new(source, inputs);
    let (chunks, mut reads) = mpsc::channel(1);
    let reader = std::thread::Builder::new().name("stdin".into());
    if let Err(error) = reader.spawn(move || read_all(input, &chunks)) {
        tracing::error!(source = %outlet.name(), %error, "cannot start the thread that reads standard input");
        return;
    }
    let mut framer = Framer::new(Framing::Lines);
    loop {
        let chunk = tokio::select! {
            biased;
            () = stopping(&mut stop) => None,
            chunk = reads.recv() => chunk,
        };
        let is_end = chunk.is_none();
        framer.buffer().extend_from_slice(&chunk.unwrap_or_default());
        let frames = if is_end { framer.finish() } else { framer.take() };
        if !frames.is_empty() {
            let input = outlet.input(raws(frames, now_us()));
            if let Err(Closed) = outlet.send(input).await {
                return;
            }
        }
        if is_end {
            return;
        }
    }
}

fn read_all(mut input: impl Read, chunks: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if chunks.blocking_send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "cannot read standard input any further");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &'static str) -> Vec<(String, bool)> {
        let (inputs, mut outputs) = mpsc::channel(8);
        let (_stop, stopped) = watch::channel(false);
        let source = Arc::new(Source { name: "stdin".into(), index: 0, format: Format::Syslog });
        run(text.as_bytes(), source, inputs, stopped).await;
        let mut found = Vec::new();
        while let Some(input) = outputs.recv().await {
            for raw in input.items {
                found.push((String::from_utf8_lossy(&raw.bytes).into_owned(), raw.cut));
            }
        }
        found
    }

    #[tokio::test]
    async fn lines_come_in_order_and_the_end_is_the_end() {
        let expected = [("a", false), ("b", false), ("last", false)];
        assert_eq!(
            lines("a\nb\r\n\nlast").await,
            expected.map(|(line, cut)| (line.to_owned(), cut))
        );
        assert_eq!(lines("").await, []);
    }
}
