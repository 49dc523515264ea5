//! Columns: how events and alerts stand in Parquet.
//!
//! In: rows of one topic. Out: one record batch; its schema depends on the topic only. Readings and
//! logs share their first columns and their last ones. Everything an event carries is a column, so
//! that the store can be made again from the archive alone. 64-bit numbers are signed (Spark and many
//! others cannot read unsigned ones); a stream is its 16 hexadecimal digits.

use std::sync::Arc;

use arrow_array::builder::{OffsetBufferBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, MapArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use bytes::Bytes;
use serde::Serialize;
use weir_models::alert::Alert;
use weir_models::event::{Body, Event, Log, Loss, Value};
use weir_models::ident::Stream;
use weir_models::topic::Topic;

/// One row: a record that was taken.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its offset.
    pub offset: i64,
    /// Kafka's stamp, milliseconds since the Unix epoch.
    pub kafka_ms: i64,
    /// What it says.
    pub body: RowBody,
}

/// What a row says.
#[derive(Clone, Debug)]
pub enum RowBody {
    /// A reading, a log line or a loss marker.
    Event(Arc<Event>),
    /// An alert, with its JSON as it came.
    Alert(Arc<Alert>, Bytes),
}

/// Where rows are from; the same in all rows of an object.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) topic: Topic,
    pub(super) topic_name: Arc<str>,
    pub(super) number: i32,
}

/// The rows as columns.
///
/// # Errors
/// Never for rows that `decode` let through; an error is a defect of this file.
pub(super) fn record_batch(source: &Source, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::default();
    if source.topic == Topic::Alerts {
        let alerts = rows.iter().filter_map(|row| match &row.body {
            RowBody::Alert(alert, json) => Some((&**alert, &**json)),
            RowBody::Event(_) => None,
        });
        add_alerts(&mut columns, &alerts.collect::<Vec<_>>());
    } else {
        let events = rows.iter().filter_map(|row| match &row.body {
            RowBody::Event(event) => Some(&**event),
            RowBody::Alert(..) => None,
        });
        let events: Vec<_> = events.collect();
        add_head(&mut columns, &events)?;
        if source.topic == Topic::Readings {
            columns.add("values", false, values(&events)?);
        } else {
            add_log(&mut columns, &events);
        }
        add_loss(&mut columns, &events);
    }
    add_position(&mut columns, source, rows);
    columns.finish()
}

#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(&mut self, name: &str, nullable: bool, array: impl Array + 'static) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(Arc::new(array));
    }

    fn text<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        self.add(name, false, StringArray::from_iter_values(values));
    }

    /// The texts of values that are mostly as the one before.
    fn text_of<T: PartialEq>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = T>,
        text: impl Fn(&T) -> String,
    ) {
        let mut column = StringBuilder::new();
        let mut last: Option<(T, String)> = None;
        for value in values {
            match &last {
                Some((of, text)) if *of == value => column.append_value(text),
                _ => {
                    let text = text(&value);
                    column.append_value(&text);
                    last = Some((value, text));
                }
            }
        }
        self.add(name, false, column.finish());
    }

    fn text_or_null<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a str>>) {
        self.add(name, true, values.collect::<StringArray>());
    }

    fn number(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        self.add(name, false, Int64Array::from_iter_values(values.map(signed)));
    }

    fn stamp_us(&mut self, name: &str, values: impl Iterator<Item = i64>) {
        let array = TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC");
        self.add(name, false, array);
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
    }
}

/// `decode` lets only numbers through that fit; counts and ages above are cut.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The name of an enum's variant as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn add_head(columns: &mut Columns, events: &[&Event]) -> Result<(), ArrowError> {
    columns.text("agent", events.iter().map(|e| &*e.agent));
    columns.text_of("stream", events.iter().map(|e| e.id.stream), Stream::to_string);
    columns.number("seq", events.iter().map(|e| e.id.seq));
    columns.text("site", events.iter().map(|e| &*e.site));
    columns.text("device", events.iter().map(|e| &*e.device));
    columns.stamp_us("ts_us", events.iter().map(|e| e.ts_us));
    columns.stamp_us("received_us", events.iter().map(|e| e.received_us));
    columns.text_of("clock", events.iter().map(|e| e.clock), word);
    columns.text("source", events.iter().map(|e| &*e.source));
    columns.text("dialect", events.iter().map(|e| &*e.dialect));
    columns.text_of("parse", events.iter().map(|e| e.parse), word);
    let reasons = events.iter().map(|e| e.parse_reason.as_deref());
    columns.text_or_null("parse_reason", reasons);
    columns.add("meta", false, meta(events)?);
    columns.text_of("meta_state", events.iter().map(|e| e.meta_state), word);
    let ages = events.iter().map(|e| e.meta_age_s.map(signed));
    columns.add("meta_age_s", true, ages.collect::<Int64Array>());
    let raw = events.iter().map(|e| e.raw.as_ref().map(|raw| &*raw.0));
    columns.add("raw", true, raw.collect::<BinaryArray>());
    Ok(())
}

/// `map<text, text>`, with the inner names of the Parquet specification.
fn meta(events: &[&Event]) -> Result<MapArray, ArrowError> {
    let mut offsets = OffsetBufferBuilder::<i32>::new(events.len());
    for event in events {
        offsets.push_length(event.meta.len());
    }
    let entries = || events.iter().flat_map(|event| event.meta.iter());
    let keys = StringArray::from_iter_values(entries().map(|(key, _)| key));
    let values = StringArray::from_iter_values(entries().map(|(_, value)| value));
    let fields = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]);
    let field = Field::new("key_value", DataType::Struct(fields.clone()), false);
    let entries = StructArray::try_new(fields, vec![Arc::new(keys), Arc::new(values)], None)?;
    MapArray::try_new(Arc::new(field), offsets.finish(), entries, None, false)
}

/// `list<struct<metric, v, unit, score>>`.
fn values(events: &[&Event]) -> Result<ListArray, ArrowError> {
    fn of(event: &Event) -> impl Iterator<Item = (&String, &Value)> {
        match &event.body {
            Body::Reading(values) => Some(values.iter()),
            Body::Log(_) | Body::Loss(_) => None,
        }
        .into_iter()
        .flatten()
    }
    let mut offsets = OffsetBufferBuilder::<i32>::new(events.len());
    for event in events {
        offsets.push_length(of(event).count());
    }
    let all = || events.iter().flat_map(|event| of(event));
    let metric = StringArray::from_iter_values(all().map(|(metric, _)| metric));
    let v = Float64Array::from_iter_values(all().map(|(_, value)| value.v));
    let unit: StringArray = all().map(|(_, value)| value.unit.as_deref()).collect();
    let score: Float32Array = all().map(|(_, value)| value.score).collect();
    let fields = Fields::from(vec![
        Field::new("metric", DataType::Utf8, false),
        Field::new("v", DataType::Float64, false),
        Field::new("unit", DataType::Utf8, true),
        Field::new("score", DataType::Float32, true),
    ]);
    let field = Field::new("element", DataType::Struct(fields.clone()), false);
    let arrays: Vec<ArrayRef> =
        vec![Arc::new(metric), Arc::new(v), Arc::new(unit), Arc::new(score)];
    let elements = StructArray::try_new(fields, arrays, None)?;
    ListArray::try_new(Arc::new(field), offsets.finish(), Arc::new(elements), None)
}

fn add_log(columns: &mut Columns, events: &[&Event]) {
    let logs: Vec<Option<&Log>> = events.iter().map(|e| e.log()).collect();
    let logs = || logs.iter().copied();
    let level = |pick: fn(&Log) -> Option<u8>| -> Int16Array {
        logs().map(|log| log.and_then(pick).map(i16::from)).collect()
    };
    columns.add("facility", true, level(|log| log.facility));
    columns.add("severity", true, level(|log| log.severity));
    columns.text_or_null("host", logs().map(|log| log.map(|log| &*log.host)));
    let app = logs().map(|log| log.and_then(|log| log.app.as_deref()));
    columns.text_or_null("app", app);
    let procid = logs().map(|log| log.and_then(|log| log.procid.as_deref()));
    columns.text_or_null("procid", procid);
    let msgid = logs().map(|log| log.and_then(|log| log.msgid.as_deref()));
    columns.text_or_null("msgid", msgid);
    // Structured data is nested and rarely searched: JSON text reads everywhere.
    let sd: Vec<Option<String>> = logs()
        .map(|log| log.filter(|log| !log.sd.is_empty()))
        .map(|log| log.and_then(|log| serde_json::to_string(&log.sd).ok()))
        .collect();
    columns.text_or_null("sd", sd.iter().map(|sd| sd.as_deref()));
    columns.text_or_null("message", logs().map(|log| log.map(|log| &*log.message)));
    let template: Vec<Option<String>> =
        logs().map(|log| log.and_then(|log| log.template).map(|id| id.to_string())).collect();
    columns.text_or_null("template", template.iter().map(|template| template.as_deref()));
    let score = logs().map(|log| log.and_then(|log| log.score));
    columns.add("score", true, score.collect::<Float32Array>());
}

/// The columns of loss markers; empty in all other rows.
fn add_loss(columns: &mut Columns, events: &[&Event]) {
    let losses: Vec<Option<&Loss>> = events
        .iter()
        .map(|event| match &event.body {
            Body::Loss(loss) => Some(loss),
            Body::Reading(_) | Body::Log(_) => None,
        })
        .collect();
    let losses = || losses.iter().copied();
    let ranges = || losses().map(|loss| loss.and_then(|loss| loss.range));
    let count = losses().map(|loss| loss.map(|loss| signed(loss.count)));
    columns.add("lost_count", true, count.collect::<Int64Array>());
    let streams: Vec<_> =
        ranges().map(|range| range.map(|(stream, ..)| stream.to_string())).collect();
    columns.text_or_null("lost_stream", streams.iter().map(|s| s.as_deref()));
    let first = ranges().map(|range| range.map(|(_, first, _)| signed(first)));
    columns.add("lost_first_seq", true, first.collect::<Int64Array>());
    let last = ranges().map(|range| range.map(|(.., last)| signed(last)));
    columns.add("lost_last_seq", true, last.collect::<Int64Array>());
    let reason = losses().map(|loss| loss.map(|loss| &*loss.reason));
    columns.text_or_null("lost_reason", reason);
    let lane = losses().map(|loss| loss.and_then(|loss| loss.lane.as_deref()));
    columns.text_or_null("lost_lane", lane);
}

fn add_alerts(columns: &mut Columns, alerts: &[(&Alert, &[u8])]) {
    let data = || alerts.iter().map(|(alert, _)| &alert.data);
    columns.text("id", alerts.iter().map(|(alert, _)| &*alert.id));
    columns.text("alert_id", data().map(|d| &*d.alert_id));
    columns.text_of("state", data().map(|d| d.state), word);
    columns.text_of("kind", data().map(|d| d.kind), word);
    columns.text("agent", data().map(|d| &*d.agent));
    columns.text_of("stream", data().map(|d| d.stream), Stream::to_string);
    columns.number("seq", data().map(|d| d.seq));
    columns.text("site", data().map(|d| &*d.site));
    columns.text("device", data().map(|d| &*d.device));
    columns.text("metric", data().map(|d| &*d.metric));
    columns.stamp_us("fired_us", data().map(|d| d.fired_us));
    let resolved: TimestampMicrosecondArray = data().map(|d| d.resolved_us).collect();
    columns.add("resolved_us", true, resolved.with_timezone("UTC"));
    let score = Float32Array::from_iter_values(data().map(|d| d.score));
    columns.add("score", false, score);
    let threshold = Float32Array::from_iter_values(data().map(|d| d.threshold));
    columns.add("threshold", false, threshold);
    columns.text("model", data().map(|d| &*d.model.name));
    columns.text("model_version", data().map(|d| &*d.model.version));
    columns.text("why", data().map(|d| &*d.why));
    columns.text_or_null("message", data().map(|d| d.message.as_deref()));
    columns.text_of("cause_stream", data().map(|d| d.cause_stream), Stream::to_string);
    columns.number("cause_seq", data().map(|d| d.cause_seq));
    let json: Vec<_> = alerts.iter().map(|(_, json)| String::from_utf8_lossy(json)).collect();
    columns.text("json", json.iter().map(|json| &**json));
}

fn add_position(columns: &mut Columns, source: &Source, rows: &[Row]) {
    columns.text("topic", rows.iter().map(|_| &*source.topic_name));
    let numbers = Int32Array::from_iter_values(rows.iter().map(|_| source.number));
    columns.add("partition", false, numbers);
    let offsets = Int64Array::from_iter_values(rows.iter().map(|row| row.offset));
    columns.add("offset", false, offsets);
    let stamps = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.kafka_ms));
    columns.add("kafka_ts_ms", false, stamps.with_timezone("UTC"));
}
