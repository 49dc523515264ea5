//! Rows: what `columns` wrote, read back as it was.
//!
//! In: the bytes of an object. Out: its rows, in the order of their offsets: each event and each alert
//! equal to what was archived. One batch of rows is in memory at a time, beside the bytes. What can go
//! wrong: the bytes are not what we write; the text says where.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int16Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use weir_models::alert::Alert;
use weir_models::event::{Body, Event, Log, Loss, RawBytes, Value};
use weir_models::ident::{EventId, TemplateId};
use weir_models::topic::Topic;

use super::columns::{Row, RowBody};
use super::fields::{Fields, batches, text, value};
use super::readings::Values;

/// Hands the rows of an object of this topic to `each`, a batch at a time, until that says no.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn rows(
    topic: Topic,
    data: Bytes,
    mut each: impl FnMut(Vec<Row>) -> bool,
) -> Result<(), String> {
    for batch in batches(data, None)? {
        let batch = batch.map_err(|error| error.to_string())?;
        let bodies = match topic {
            Topic::Alerts => alerts(&batch)?,
            _ => events(&batch, topic)?,
        };
        let fields = Fields(&batch);
        let (offsets, stamps) =
            (fields.primitive::<Int64Type>("offset")?, fields.stamps_ms("kafka_ts_ms")?);
        let row = |(at, body)| Row { offset: offsets.value(at), kafka_ms: stamps.value(at), body };
        if !each(bodies.into_iter().enumerate().map(row).collect()) {
            break;
        }
    }
    Ok(())
}

fn alerts(batch: &RecordBatch) -> Result<Vec<RowBody>, String> {
    let jsons = Fields(batch).text("json")?;
    let alert = |row: usize| {
        let json = jsons.value(row);
        let alert: Alert =
            serde_json::from_str(json).map_err(|error| format!("row {row}: {error}"))?;
        Ok(RowBody::Alert(Arc::new(alert), Bytes::copy_from_slice(json.as_bytes())))
    };
    (0..batch.num_rows()).map(alert).collect()
}

/// The variant of an enum by its name in JSON.
fn variant<T: DeserializeOwned>(name: &str, word: &str) -> Result<T, String> {
    serde_json::from_value(word.into()).map_err(|error| format!("the column `{name}`: {error}"))
}

fn events(batch: &RecordBatch, topic: Topic) -> Result<Vec<RowBody>, String> {
    let fields = Fields(batch);
    let losses = losses(fields)?;
    let bodies: Vec<Body> = match topic {
        Topic::Readings => readings(fields)?,
        _ => logs(fields)?,
    };
    let metas = metas(fields)?;
    let other = |name: &str| format!("the column `{name}` holds something else");
    let raws = fields.column("raw")?.as_binary_opt::<i32>().ok_or_else(|| other("raw"))?;
    let [agents, sites, devices, clocks, sources] =
        texts(fields, ["agent", "site", "device", "clock", "source"])?;
    let [dialects, parses, reasons, states] =
        texts(fields, ["dialect", "parse", "parse_reason", "meta_state"])?;
    let (stamps, received) = (fields.stamps_us("ts_us")?, fields.stamps_us("received_us")?);
    let ages = fields.primitive::<Int64Type>("meta_age_s")?;
    let parts = fields.ids()?.into_iter().zip(bodies).zip(losses).zip(metas).enumerate();
    let event = |(row, (((id, body), loss), meta)): (usize, (((EventId, Body), _), _))| {
        let event = Event {
            agent: agents.value(row).into(),
            id,
            site: sites.value(row).into(),
            device: devices.value(row).into(),
            ts_us: stamps.value(row),
            received_us: received.value(row),
            clock: variant("clock", clocks.value(row))?,
            source: sources.value(row).into(),
            dialect: dialects.value(row).to_owned().into(),
            parse: variant("parse", parses.value(row))?,
            parse_reason: text(reasons, row).map(|reason| reason.to_owned().into()),
            meta: Arc::new(BTreeMap::into(meta)),
            meta_state: variant("meta_state", states.value(row))?,
            meta_age_s: value(ages, row).map(i64::cast_unsigned),
            raw: raws.is_valid(row).then(|| RawBytes(Bytes::copy_from_slice(raws.value(row)))),
            body: Option::map_or(loss, body, Body::Loss),
        };
        Ok(RowBody::Event(Arc::new(event)))
    };
    parts.map(event).collect()
}

fn texts<'a, const N: usize>(
    fields: Fields<'a>,
    names: [&str; N],
) -> Result<[&'a arrow_array::StringArray; N], String> {
    let columns = names.into_iter().map(|name| fields.text(name)).collect::<Result<Vec<_>, _>>()?;
    columns.try_into().map_err(|_| "a column is missing".into())
}

/// The metadata of each row.
fn metas(fields: Fields<'_>) -> Result<Vec<BTreeMap<String, String>>, String> {
    let other = || "the column `meta` holds something else".to_owned();
    let column = fields.column("meta")?.as_map_opt().ok_or_else(other)?;
    let keys = column.keys().as_string_opt::<i32>().ok_or_else(other)?;
    let values = column.values().as_string_opt::<i32>().ok_or_else(other)?;
    let entries = |row: usize| {
        let [first, end] = [row, row + 1].map(|at| column.value_offsets()[at] as usize);
        (first..end).map(|at| (keys.value(at).to_owned(), values.value(at).to_owned())).collect()
    };
    Ok((0..column.len()).map(entries).collect())
}

/// The loss marker of each row that is one.
pub(crate) fn losses(fields: Fields<'_>) -> Result<Vec<Option<Loss>>, String> {
    let counts = fields.primitive::<Int64Type>("lost_count")?;
    let [streams, reasons] = texts(fields, ["lost_stream", "lost_reason"])?;
    let firsts = fields.primitive::<Int64Type>("lost_first_seq")?;
    let lasts = fields.primitive::<Int64Type>("lost_last_seq")?;
    // Objects of older versions lack it, and so does who asks for fewer columns.
    let lanes = fields.text("lost_lane").ok();
    let loss = |row: usize| {
        let Some(count) = value(counts, row) else {
            return Ok(None);
        };
        let range = match (text(streams, row), value(firsts, row), value(lasts, row)) {
            (Some(stream), Some(first), Some(last)) => {
                let stream = stream.parse().map_err(|error| format!("row {row}: {error}"))?;
                Some((stream, first.cast_unsigned(), last.cast_unsigned()))
            }
            _ => None,
        };
        let reason = text(reasons, row).unwrap_or_default().to_owned();
        let lane = lanes.and_then(|lanes| text(lanes, row)).map(ToOwned::to_owned);
        Ok(Some(Loss { count: count.cast_unsigned(), range, reason, lane }))
    };
    (0..counts.len()).map(loss).collect()
}

fn readings(fields: Fields<'_>) -> Result<Vec<Body>, String> {
    let values = Values::of(fields)?;
    let other = || "the column `values` holds something else".to_owned();
    let parts = values.lists.values().as_struct_opt().ok_or_else(other)?;
    let units = parts.column_by_name("unit").and_then(|column| column.as_string_opt::<i32>());
    let scores =
        parts.column_by_name("score").and_then(|column| column.as_primitive_opt::<Float32Type>());
    let (Some(units), Some(scores)) = (units, scores) else {
        return Err(other());
    };
    let reading = |row: usize| {
        let one = |at: usize| {
            let v = values.numbers.value(at);
            let unit = text(units, at).map(Into::into);
            (values.metrics.value(at).to_owned(), Value { v, unit, score: value(scores, at) })
        };
        Body::Reading(values.places(row).map(one).collect())
    };
    Ok((0..values.lists.len()).map(reading).collect())
}

fn logs(fields: Fields<'_>) -> Result<Vec<Body>, String> {
    let (facilities, severities) =
        (fields.primitive::<Int16Type>("facility")?, fields.primitive::<Int16Type>("severity")?);
    let [hosts, apps, procids, msgids] = texts(fields, ["host", "app", "procid", "msgid"])?;
    let [sds, messages, templates] = texts(fields, ["sd", "message", "template"])?;
    let scores = fields.primitive::<Float32Type>("score")?;
    let level = |column, row| value::<Int16Type>(column, row).and_then(|n| u8::try_from(n).ok());
    let log = |row: usize| {
        let wrong = |what: &dyn std::fmt::Display| format!("row {row}: {what}");
        let owned = |column| text(column, row).map(str::to_owned);
        let sd = text(sds, row).map_or(Ok(BTreeMap::new()), serde_json::from_str);
        let template = text(templates, row).map(str::parse::<weir_models::ident::Stream>);
        Ok(Body::Log(Log {
            facility: level(facilities, row),
            severity: level(severities, row),
            host: owned(hosts).unwrap_or_default(),
            app: owned(apps),
            procid: owned(procids),
            msgid: owned(msgids),
            sd: sd.map_err(|error| wrong(&error))?,
            message: owned(messages).unwrap_or_default(),
            template: template
                .transpose()
                .map_err(|error| wrong(&error))?
                .map(|bits| TemplateId(bits.0)),
            score: value(scores, row),
        }))
    };
    (0..scores.len()).map(log).collect()
}
