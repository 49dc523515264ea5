//! Fuzz targets: functions that take any bytes, and panic when a promise is broken.
//!
//! Two ways use them: libFuzzer (`fuzz_targets/`, grown by coverage) and the test `replay`, which
//! runs every seed and mutates them on the stable toolchain, for the CI.

use std::path::{Path, PathBuf};

use weir_agent::parse::event::Parser;
use weir_agent::parse::json::Fields;
use weir_agent::parse::line::LineFields;
use weir_agent::parse::{Limits, ParseState, Readable, Zone, json, line, syslog, text};
use weir_agent::source::framing::{Framer, Framing};
use weir_agent::source::mqtt::Pattern;
use weir_agent::source::relp::frame;
use weir_agent::source::{Format, Raw, Source, SourceSettings};
use weir_agent::spool::{Lane, Spool, SpoolConfig};
use weir_models::central::{
    Band, Central, Centre, Expected, Feature, Forest, Kind, Level, Linear, Model, Node, POINTS,
    RERANK_WIDTH, Regressor, Rerank, Schema, Shapes, Subspace, SubspaceParts, Unit, Version,
};
use weir_models::event::Event;
use weir_models::limit::LINE_BYTES_MAX;
use weir_models::wire::BatchView;

/// A target.
pub type Target = fn(&[u8]);

/// All targets, with the names of their corpora.
pub const TARGETS: [(&str, Target); 10] = [
    ("syslog", syslog),
    ("line", line),
    ("json", json),
    ("event", event),
    ("topic", topic),
    ("framing", framing),
    ("relp", relp),
    ("wire", wire),
    ("model", model),
    ("spool", spool),
];

/// 2026-06-15T12:00:00Z.
const RECEIVED_US: i64 = 1_781_524_800_000_000;

/// Limits that a short input reaches.
fn tight() -> Limits {
    Limits {
        line_bytes: 300,
        field_bytes: 20,
        sd_elements: 3,
        sd_params: 4,
        reading_fields: 3,
        json_depth: 3,
    }
}

/// Syslog: fields are bounded, and a reason is there where not all was understood.
pub fn syslog(bytes: &[u8]) {
    let zones = [Zone::UTC, Zone::fixed(-12_600).unwrap_or(Zone::UTC)];
    for (limits, zone) in [Limits::default(), tight()].iter().zip(&zones) {
        let readable = Readable::new(bytes, limits);
        let out = syslog::parse(&readable, RECEIVED_US, zone, limits);
        assert_eq!(out.state == ParseState::Ok, out.reason.is_none());
        assert_eq!(out.facility.is_some(), out.severity.is_some());
        assert!(out.facility.is_none_or(|facility| facility < 24));
        assert!(out.severity.is_none_or(|severity| severity < 8));
        for field in [out.host, out.app, out.procid, out.msgid].into_iter().flatten() {
            assert!(!field.is_empty() && field.len() <= limits.field_bytes);
        }
        let (elements, params) = out
            .sd
            .elements()
            .fold((0, 0), |(elements, params), e| (elements + 1, params + e.params().count()));
        assert!(elements <= limits.sd_elements && params <= limits.sd_params);
        assert_eq!(text::parse(&readable).message, readable.text());
    }
}

/// The line protocol: values are finite and bounded.
pub fn line(bytes: &[u8]) {
    for limits in [Limits::default(), tight()] {
        if let Some(line) = line::parse(bytes, &LineFields::default(), &limits) {
            assert!(line.reading.values.len() <= limits.reading_fields);
            assert!(line.reading.values.iter().all(|value| value.v.is_finite()));
        }
    }
}

/// JSON payloads: the same.
pub fn json(bytes: &[u8]) {
    for limits in [Limits::default(), tight()] {
        let fields = Fields::default();
        let reading = json::parse(bytes, &fields, &Zone::UTC, &limits);
        assert!(reading.values.len() <= limits.reading_fields);
        assert!(reading.values.iter().all(|value| value.v.is_finite()));
    }
}

/// From a payload to the record and back: what is written is what serde writes, and reads as it was.
/// The first byte picks the format.
pub fn event(bytes: &[u8]) {
    let Some((first, payload)) = bytes.split_first() else {
        return;
    };
    let format = [Format::Syslog, Format::Text, Format::Json, Format::Line][usize::from(first % 4)];
    let settings = SourceSettings {
        when_full: Default::default(),
        name: "fuzz".into(),
        format,
        zone: Some("UTC".into()),
        keep_raw: true,
        fields: Fields::default(),
        line: LineFields::default(),
    };
    let Ok(mut parser) = Parser::of_one("site", &settings) else {
        panic!("UTC is a time zone");
    };
    let source = Source { name: "fuzz".into(), index: 0, format };
    let raw = Raw {
        bytes: bytes::Bytes::copy_from_slice(payload),
        received_us: RECEIVED_US,
        cut: first & 4 != 0,
    };
    let event = parser.parse(&source, None, None, &raw).into_event();
    let mut written = Vec::new();
    event.write_json(&mut written);
    assert_eq!(serde_json::to_vec(&event).ok(), Some(written.clone()));
    match Event::from_json(&written) {
        Ok(read) => assert_eq!(read, *event),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&written)),
    }
}

/// MQTT: a pattern on the first line, a topic on the second.
pub fn topic(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, topic) = text.split_once('\n').unwrap_or(("plant/{site}/{device}/#", &text));
    if let Ok(pattern) = Pattern::try_from(pattern.to_owned()) {
        assert!(!pattern.filter().contains(['{', '}']));
        let _ = pattern.labels(topic);
    }
}

/// A stream in reads of `size` bytes, or in one.
fn reads(stream: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    stream.chunks(if size == 0 { stream.len().max(1) } else { size })
}

/// Streams into frames, as TCP and files do it: however the stream is cut into reads, the frames are
/// the same, and what comes out went in, in this order. The first byte picks the framing and the reads.
pub fn framing(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let framing = if first & 1 == 0 { Framing::Syslog } else { Framing::Lines };
    let frames = |size: usize| {
        let mut framer = Framer::new(framing);
        let mut frames = Vec::new();
        for read in reads(stream, size) {
            framer.buffer().extend_from_slice(read);
            frames.extend(framer.take());
            assert!(framer.waiting_bytes() <= LINE_BYTES_MAX + read.len());
        }
        frames.extend(framer.finish());
        assert_eq!(framer.waiting_bytes(), 0);
        frames
    };
    let whole = frames(0);
    assert_eq!(whole, frames(1 + usize::from(first >> 1)));
    let mut rest = stream;
    for frame in &whole {
        assert!(!frame.bytes.is_empty() && frame.bytes.len() <= LINE_BYTES_MAX);
        let at = rest.windows(frame.bytes.len()).position(|window| window == frame.bytes);
        assert!(at.is_some(), "a frame that nobody sent");
        rest = &rest[at.unwrap_or_default() + frame.bytes.len()..];
    }
    if framing == Framing::Lines && stream.len() <= LINE_BYTES_MAX {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        let text = |line: &[u8]| line.iter().any(|byte| !is_end(byte));
        assert_eq!(whole.len(), stream.split(|byte| *byte == b'\n').filter(|l| text(l)).count());
    }
}

/// RELP: the same, up to the first bytes that are no frame.
pub fn relp(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let commands = |size: usize| {
        let mut framer = frame::Framer::new();
        let mut commands = Vec::new();
        for read in reads(stream, size) {
            framer.buffer().extend_from_slice(read);
            let (some, end) = framer.take();
            commands.extend(some);
            if end.is_err() {
                return (commands, end);
            }
        }
        (commands, Ok(()))
    };
    let whole = commands(0);
    assert_eq!(whole, commands(1 + usize::from(*first)));
    for command in &whole.0 {
        if let frame::Command::Syslog { bytes, .. } = command {
            assert!(bytes.len() <= LINE_BYTES_MAX);
        }
    }
}

/// Record batches: memory stays within the limit, whatever the header promises.
pub fn wire(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let mut rest = bytes;
    while let Ok((batch, after)) = BatchView::parse(rest) {
        assert!(after.len() < rest.len());
        rest = after;
        if let Ok(records) = batch.records(LIMIT) {
            assert!(records.raw_bytes() <= LIMIT);
            for record in records.iter() {
                if record.is_err() {
                    break;
                }
            }
        }
    }
}

/// Central models: nothing is believed without a key, and a payload that is taken is evaluated and written as it was. The
/// first byte picks the kind.
pub fn model(bytes: &[u8]) {
    assert!(Central::open(bytes, &[], Version::own()).is_err());
    let Some((first, payload)) = bytes.split_first() else {
        return;
    };
    let kind = Kind::ALL[usize::from(*first) % Kind::ALL.len()];
    if let Ok(model) = Model::decode(kind, payload) {
        assert_eq!(model.encode(), payload);
        let _ = model.evaluate(&vec![0.5; model.width()]);
    }
}

/// The spool: it opens on any segment, reads to an end, and takes new events.
pub fn spool(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    write_segment(folder.path(), bytes);
    let config =
        SpoolConfig { max_bytes: 4 << 20, segment_bytes: 64 << 10, ..SpoolConfig::default() };
    let (mut spool, mut readers) = match Spool::open(folder.path(), &config) {
        Ok(opened) => opened,
        Err(error) => panic!("the spool did not open: {error}"),
    };
    let topic = "weir.logs".into();
    let id = spool.append(Lane::Rest, &topic, 1, b"key", 0, |_, out| out.extend(b"{}"));
    if let Err(error) = spool.flush() {
        panic!("the spool takes nothing: {error}");
    }
    let [_, _, _, reader] = &mut readers;
    let mut last = None;
    // Each group read takes some bytes of the segment, so there cannot be more than bytes.
    for _ in 0..=bytes.len() + 1 {
        match reader.next_group() {
            Ok(Some(group)) => last = Some((group.stream, group.last_seq)),
            Ok(None) => break,
            Err(error) => panic!("the spool cannot be read: {error}"),
        }
    }
    assert_eq!(last, Some((id.stream, id.seq)), "what was appended is not read");
}

/// What to begin with: the files of the corpus, real lines, what a real spool makes, and nothing.
///
/// # Errors
/// When a file cannot be read, or the folder for the spool not be written.
pub fn seeds(target: &str) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = vec![Vec::new()];
    if let Ok(folder) = std::fs::read_dir(here.join("corpus").join(target)) {
        let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            seeds.push(std::fs::read(path)?);
        }
    }
    if matches!(target, "syslog" | "event") {
        let forms = std::fs::read_to_string(here.join("../fixtures/syslog/forms.ndjson"))?;
        for line in forms.lines() {
            let form: serde_json::Value = serde_json::from_str(line)?;
            let raw = form["raw"].as_str().unwrap_or_default().as_bytes();
            // The first byte of an event picks the format.
            let first: &[u8] = if target == "event" { b"\0" } else { b"" };
            seeds.push([first, raw].concat());
        }
    }
    if target == "model" {
        seeds.extend(models()?);
    }
    if matches!(target, "spool" | "wire") {
        let (segment, batch) = segment_and_batch()?;
        assert!(!segment.is_empty() && !batch.is_empty());
        seeds.push(if target == "spool" { segment } else { batch });
    }
    Ok(seeds)
}

/// A payload of each kind, behind the byte that picks it.
fn models() -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let schema = || Schema::new(vec![Feature::Lag(1), Feature::DayHat(3)]);
    let unit = Unit { origin: 20.0, scale: 2.0 };
    let expected = |regressor| -> Result<_, Box<dyn std::error::Error>> {
        let band = Band::new(1.0, 0.5)?;
        Ok(Model::Expected(Expected::new(schema()?, unit, 60_000_000, band, regressor)?))
    };
    let tree = vec![Node::split(1, 0.5, 1), Node::leaf(1.0), Node::leaf(2.0)];
    let group = SubspaceParts {
        metrics: vec!["a".into(), "b".into()],
        smoothing: 0.1,
        mean: vec![1.0, 2.0],
        scale: vec![1.0, 0.5],
        inverse: vec![1.0, 0.0, 1.0],
        directions: vec![1.0, 0.0],
        t2_limit: 9.0,
        q_limit: 4.0,
    };
    let models = [
        expected(Regressor::Linear(Linear::new(0.5, vec![0.7, 0.2])?))?,
        expected(Regressor::Forest(Forest::new(&[tree], 2)?))?,
        Model::Group(Subspace::new(group)?),
        Model::Shapes(Shapes::new(vec![Centre { points: [1.0; POINTS], weight: 3 }])?),
        Model::Rerank(Rerank::new(-1.0, vec![0.5; RERANK_WIDTH])?),
        Model::Level(Level::new(1.5)?),
    ];
    let with_kind = |model: &Model| {
        let at = Kind::ALL.iter().position(|kind| *kind == model.kind()).unwrap_or_default();
        [&[u8::try_from(at).unwrap_or_default()], &model.encode()[..]].concat()
    };
    Ok(models.iter().map(with_kind).collect())
}

/// A segment of a real spool and the record batch in it.
fn segment_and_batch() -> Result<(Vec<u8>, Vec<u8>), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (mut spool, mut readers) = Spool::open(folder.path(), &SpoolConfig::default())?;
    let topic = "weir.logs".into();
    let mut batch = Vec::new();
    for text in ["one", "two"] {
        spool.append(Lane::Rest, &topic, 1, b"key", 0, |_, out| out.extend(text.bytes()));
        spool.flush()?;
    }
    let [_, _, _, reader] = &mut readers;
    while let Some(group) = reader.next_group()? {
        batch.extend(group.frames.iter().flat_map(|frame| frame.batch.to_vec()));
    }
    spool.close()?;
    let mut segment = Vec::new();
    for entry in std::fs::read_dir(lane_folder(folder.path()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            segment = std::fs::read(path)?;
        }
    }
    Ok((segment, batch))
}

fn write_segment(folder: &Path, bytes: &[u8]) {
    let lane = lane_folder(folder);
    let written = std::fs::create_dir_all(&lane)
        .and_then(|()| std::fs::write(lane.join("00000000000000000001.seg"), bytes));
    assert!(written.is_ok(), "{written:?}");
}

/// Where the spool keeps the lane; `segment_and_batch` finds nothing when this is no longer so.
fn lane_folder(folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}", Lane::Rest as usize, Lane::Rest.name()))
}
