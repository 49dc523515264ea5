//! `weir-sink explain`: where the sink puts a record, without starting or reaching anything.
//!
//! In: lines. A line is the value of a record, as a consumer of a topic prints it, or an object
//! `{"topic", "key", "value" or "value_b64", "partition", "offset", "ts_ms"}`, of which all but the value may be left
//! out. Out: for each line, in order, one JSON object or a few lines for a person: the rows with the values of their
//! partition keys, the object of the archive, or why the record would be a dead letter. Promises: the same decoding and
//! the same division into partitions as `run`; one answer a line, whatever the line holds. Bounded: a line longer
//! than 4 MiB is an error line. Does not: look for duplicates, nor know of widths of buckets that a series has of its own
//! (they stand in `series.widths`).

use std::io::{self, BufRead, Read as _, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_models::event::{Body, Reader};
use weir_models::time::{DAY_US, now_us};
use weir_models::topic::{Topic, TopicNames};

use crate::archive::object_path;
use crate::consume::{Partition, Record};
use crate::decode::{Decoded, add_event, decode};
use crate::store::bucket::{
    ALERTS_WIDTH_US, LOGS_WIDTH_US, READINGS_WIDTH_US, SERIES_ALERTS_WIDTH_US, Widths,
    changes_bucket, shard,
};
use crate::store::{Batch, DeviceChange};

/// Longest line of input, in bytes: a record of the greatest size, with every byte escaped, is not much longer.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// The topic of lines that name none; default: what the value looks like.
    #[arg(long, value_enum)]
    topic: Option<Of>,
    /// Writes one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Takes the prefix of the topics from this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<String>,
}

/// A topic that the sink reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Readings,
    Logs,
    Alerts,
    Metadata,
    Agents,
}

impl Of {
    fn topic(self) -> Topic {
        match self {
            Self::Readings => Topic::Readings,
            Self::Logs => Topic::Logs,
            Self::Alerts => Topic::Alerts,
            Self::Metadata => Topic::Metadata,
            Self::Agents => Topic::Agents,
        }
    }
}

/// A line that says more than a value.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    topic: Option<String>,
    key: Option<String>,
    value: Option<Value>,
    value_b64: Option<String>,
    partition: i32,
    offset: i64,
    ts_ms: Option<i64>,
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    /// The line, from 1.
    line: u64,
    topic: &'static str,
    /// What the record is; none of one that cannot be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Why it would be a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<String>,
    rows: Vec<Row>,
    /// The object of the archive, if the record were the first one in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<String>,
}

/// A row of the store.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    table: &'static str,
    /// The values of the partition key.
    partition: Pairs,
    /// The values of the rest of the primary key.
    row: Pairs,
}

/// Columns with their values, in the order of the key.
#[derive(Clone, Debug, PartialEq)]
struct Pairs(Vec<(&'static str, Value)>);

impl Serialize for Pairs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(column, value)| (column, value)))
    }
}

/// Answers every line of `input`.
///
/// # Errors
/// When the input cannot be read or the output cannot be written.
pub(crate) fn explain(
    options: &ExplainOptions,
    names: &TopicNames,
    mut input: impl BufRead,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let answer = if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            skip_line(&mut input)?;
            Err(format!("longer than {LINE_BYTES_MAX} bytes, left out"))
        } else {
            record(options.topic.map(Of::topic), names, line.trim_ascii())
                .map(|record| answer(number, names, &record))
        };
        match answer {
            Ok(answer) if options.json => {
                serde_json::to_writer(&mut *output, &answer)?;
                writeln!(output)?;
            }
            Ok(answer) => for_a_person(output, &answer)?,
            Err(error) if options.json => {
                writeln!(output, "{}", json!({ "line": number, "error": error }))?
            }
            Err(error) => writeln!(output, "line {number}: {error}")?,
        }
        output.flush()?;
    }
    Ok(())
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let held = input.fill_buf()?;
        let end = held.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(held.len(), |end| end + 1);
        let is_over = end.is_some() || held.is_empty();
        input.consume(used);
        if is_over {
            return Ok(());
        }
    }
}

/// The record that a line is about.
fn record(topic: Option<Topic>, names: &TopicNames, line: &[u8]) -> Result<Record, String> {
    let value: Option<Value> = serde_json::from_slice(line).ok();
    let says_more = value.as_ref().is_some_and(|value| {
        ["value", "value_b64"].iter().any(|field| value.get(field).is_some())
            && value.get("agent").is_none()
    });
    let asked: Asked = if says_more {
        serde_json::from_slice(line).map_err(|error| format!("this is no record: {error}"))?
    } else {
        Asked::default()
    };
    let bytes = match (&asked.value, &asked.value_b64) {
        (_, Some(text)) => {
            let bytes = BASE64.decode(text);
            Some(bytes.map_err(|error| format!("`value_b64` is not base64: {error}"))?)
        }
        (Some(Value::String(text)), None) => Some(text.clone().into_bytes()),
        (Some(value), None) => Some(value.to_string().into_bytes()),
        // A deletion.
        (None, None) if says_more => None,
        (None, None) => Some(line.to_vec()),
    };
    let named = asked.topic.as_deref().map(|name| {
        let known =
            names.topic(name).or_else(|| Topic::ALL.into_iter().find(|t| t.suffix() == name));
        known.ok_or_else(|| format!("`{name}` is no topic of ours"))
    });
    let bytes = bytes.map(Bytes::from);
    let topic = named.transpose()?.or(topic).unwrap_or_else(|| guessed(bytes.as_deref()));
    let key = asked.key.or_else(|| key_of(topic, bytes.as_deref()));
    Ok(Record {
        partition: Partition { topic, number: asked.partition },
        offset: asked.offset,
        ts_ms: asked.ts_ms.unwrap_or_else(|| now_us() / 1_000),
        key: key.map(|key| key.into_bytes().into()),
        value: bytes,
        retried: 0,
        by: None,
        again: None,
    })
}

/// The topic whose records look like this.
fn guessed(value: Option<&[u8]>) -> Topic {
    let value: Value = value.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let has = |field: &str| value.get(field).is_some();
    if has("specversion") {
        Topic::Alerts
    } else if has("events_in") {
        Topic::Agents
    } else if has("values") {
        Topic::Readings
    } else if has("aliases") || has("meta") && !has("stream") || has("updated_us") {
        Topic::Metadata
    } else {
        Topic::Logs
    }
}

/// The key that a record of a compacted topic has, by its value.
fn key_of(topic: Topic, value: Option<&[u8]>) -> Option<String> {
    let value: Value = serde_json::from_slice(value?).ok()?;
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    match topic {
        Topic::Metadata => Some(format!("{}/{}", text("site")?, text("device")?)),
        Topic::Agents => text("agent").map(Into::into),
        _ => None,
    }
}

fn answer(line: u64, names: &TopicNames, record: &Record) -> Answer {
    let Partition { topic, number } = record.partition;
    let mut answer = Answer {
        line,
        topic: topic.suffix(),
        kind: None,
        dead_letter: None,
        rows: Vec::new(),
        archive: None,
    };
    let decoded = match decode(record, &mut Reader::default()) {
        Ok(decoded) => decoded,
        Err(poison) => {
            answer.dead_letter = Some(poison.to_string());
            return answer;
        }
    };
    let mut batch = Batch::default();
    let kind = match decoded {
        Decoded::Event(event) => {
            add_event(&event, &mut batch);
            match event.body {
                Body::Reading(_) => "reading",
                Body::Log(_) => "log",
                Body::Loss(_) => "loss",
            }
        }
        Decoded::Alert(alert) => {
            batch.alerts.push((*alert).clone());
            "alert"
        }
        Decoded::Device(change) => {
            batch.devices.push(change);
            "device"
        }
        Decoded::Agent(status) => {
            batch.agents.push(status);
            "agent"
        }
        Decoded::Feedback(said) => {
            batch.feedback.push(said);
            "feedback"
        }
        Decoded::Ignored => "nothing",
    };
    answer.kind = Some(kind);
    answer.rows = rows(&batch);
    answer.archive = topic.is_data().then(|| {
        let partition = Partition { topic, number };
        object_path(partition, names.name(topic), record.offset, record.ts_ms)
    });
    answer
}

fn bucket(width_us: i64, ts_us: i64) -> i64 {
    Widths::constant(width_us).bucket(ts_us).number
}

macro_rules! pairs {
    ($($column:literal: $value:expr),+) => { Pairs(vec![$(($column, json!($value))),+]) };
}

/// The rows that a record writes; lists of names, which follow from them, are left out.
fn rows(batch: &Batch) -> Vec<Row> {
    let readings = batch.readings.iter().map(|row| {
        let (key, bucket) = (&row.key, bucket(READINGS_WIDTH_US, row.ts_us));
        Row {
            table: "readings",
            partition: pairs!("site": key.site, "device": key.device, "metric": key.metric, "bucket": bucket),
            row: pairs!("ts_us": row.ts_us, "stream": row.id.stream.as_i64(), "seq": row.id.seq),
        }
    });
    let logs = batch.lines().map(|line| {
        let (event, bucket) = (line.event, bucket(LOGS_WIDTH_US, line.event.ts_us));
        Row {
            table: "logs",
            partition: pairs!("site": event.site, "host": line.host(), "bucket": bucket),
            row: pairs!("ts_us": event.ts_us, "stream": event.id.stream.as_i64(), "seq": event.id.seq),
        }
    });
    let alerts = batch.alerts.iter().flat_map(|alert| {
        let (data, fired_us) = (&alert.data, alert.data.fired_us);
        let row = pairs!("ts_us": fired_us, "id": data.alert_id);
        let day = bucket(ALERTS_WIDTH_US, fired_us);
        let bucket = bucket(SERIES_ALERTS_WIDTH_US, fired_us);
        let by_day = pairs!("site": data.site, "day": day);
        let by_series = pairs!("site": data.site, "device": data.device, "metric": data.metric, "bucket": bucket);
        [
            Row { table: "alerts", partition: by_day, row: row.clone() },
            Row { table: "alerts_by_series", partition: by_series, row },
        ]
    });
    let devices = batch.devices.iter().flat_map(device_rows);
    let agents = batch.agents.iter().map(|status| Row {
        table: "agents",
        partition: pairs!("shard": shard(&status.agent)),
        row: pairs!("agent": *status.agent),
    });
    let feedback = batch.feedback.iter().map(|said| Row {
        table: "feedback",
        partition: pairs!("site": said.site, "bucket": bucket(SERIES_ALERTS_WIDTH_US, said.fired_us)),
        row: pairs!("fired_us": said.fired_us, "id": said.alert_id),
    });
    let losses = batch.losses.iter().map(|loss| Row {
        table: "losses",
        partition: pairs!("site": loss.site, "day": loss.ts_us.div_euclid(DAY_US)),
        row: pairs!("ts_us": loss.ts_us, "stream": loss.stream.as_i64(), "seq": loss.seq),
    });
    let rows = readings.chain(logs).chain(alerts).chain(devices).chain(agents);
    rows.chain(feedback).chain(losses).collect()
}

fn device_rows(change: &DeviceChange) -> [Row; 2] {
    let DeviceChange { site, device, ts_us, position, .. } = change;
    let bucket = changes_bucket(*ts_us);
    [
        Row {
            table: "devices",
            partition: pairs!("site": site, "shard": shard(device)),
            row: pairs!("device": device),
        },
        Row {
            table: "device_changes",
            partition: pairs!("site": site, "device": device, "bucket": bucket),
            row: pairs!("ts_us": ts_us, "position": position),
        },
    ]
}

fn for_a_person(output: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let Answer { line, topic, kind, dead_letter, rows, archive } = answer;
    if let Some(why) = dead_letter {
        return writeln!(output, "line {line}: {topic}: dead letter: {why}");
    }
    writeln!(output, "line {line}: {topic}: {}", kind.unwrap_or_default())?;
    for Row { table, partition, row } in rows {
        writeln!(output, "  {table:<17} {} | {}", written(partition), written(row))?;
    }
    if rows.iter().any(|row| matches!(row.table, "readings" | "logs")) {
        // Only the store knows.
        writeln!(
            output,
            "  {:<17} or a narrower one, where the series or host has `narrower`",
            "bucket"
        )?;
    }
    if let Some(path) = archive {
        writeln!(output, "  {:<17} {path}", "archive")?;
    }
    Ok(())
}

/// `a=1 b=x`
fn written(Pairs(pairs): &Pairs) -> String {
    let pairs = pairs.iter().map(|(column, value)| match value {
        Value::String(text) => format!("{column}={}", text.escape_debug()),
        other => format!("{column}={other}"),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
