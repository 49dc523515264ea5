//! All stages of the pipeline in a row, as its worker has them, without sources and publisher.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use weir_agent::config::Config;
use weir_agent::enrich::Enricher;
use weir_agent::filter::{Filter, Verdict};
use weir_agent::parse::event::Parser;
use weir_agent::score::{Draft, Scorer};
use weir_agent::source::{Format, Raw, Source};
use weir_agent::spool::{Lane, LaneReader, Spool};
use weir_models::event::{Body, Event};
use weir_models::topic::write_key;

use super::devices::{enricher, table};
use super::lines::RECEIVED_US;

/// Events between two flushes.
pub const FLUSH: usize = 1_000;
/// Of the hosts so many are known.
const KNOWN: usize = 900;
const PARTITIONS: u32 = 6;

pub struct Stages {
    parser: Parser,
    source: Source,
    enricher: Enricher,
    filter: Filter,
    scorer: Scorer,
    spool: Spool,
    reader: LaneReader,
    topics: [Arc<str>; 2],
    received_us: i64,
    drafts: Vec<Draft>,
    key: String,
    _folder: TempDir,
}

impl Stages {
    /// Everything on, as by default, with two rules of a filter.
    pub fn new(format: Format) -> Self {
        let name = match format {
            Format::Syslog => "syslog",
            Format::Line => "line",
            Format::Json => "json",
            Format::Text => "text",
        };
        let text = format!(
            "agent = {{ site = \"plant\", id = \"gw-17\" }}\n\
             kafka = {{ brokers = [\"localhost:9092\"] }}\n\
             [source.stdin]\nformat = \"{name}\"\nzone = \"UTC\"\n\
             line = {{ device = \"device\" }}\n\
             [[filter]]\nname = \"debug\"\nseverity_at_least = 7\naction = \"drop\"\n\
             [[filter]]\nname = \"pump\"\ndevice = \"pump-*\"\naction = \"lower\"\n"
        );
        let config = Config::parse("bench.toml", &text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (spool, readers) = Spool::open(&folder.path().join("spool"), &config.spool).unwrap();
        let [_, _, _, reader] = readers;
        let agent: Arc<str> = "gw-17".into();
        Self {
            parser: Parser::new(&agent, &config).unwrap(),
            source: Source { name: "stdin".into(), index: 0, format },
            enricher: enricher(table(folder.path(), KNOWN), 4_096),
            filter: Filter::new(config.filter.clone()),
            scorer: Scorer::new(&agent, &config.score),
            spool,
            reader,
            topics: ["weir.readings".into(), "weir.logs".into()],
            received_us: RECEIVED_US,
            drafts: Vec::new(),
            key: String::new(),
            _folder: folder,
        }
    }

    /// From bytes as received to JSON in a batch of the spool.
    pub fn take(&mut self, bytes: &Bytes) {
        let mut event = self.enriched(bytes);
        if self.filter.apply(&mut event) == Verdict::Drop {
            return;
        }
        self.score(&mut event);
        let is_log = matches!(event.body, Body::Log(_));
        write_key(&mut self.key, [&*event.site, &event.device]);
        let (topic, ts_ms) = (&self.topics[usize::from(is_log)], event.received_us / 1_000);
        self.spool.append(Lane::Rest, topic, PARTITIONS, self.key.as_bytes(), ts_ms, |id, out| {
            event.id = id;
            event.write_json(out);
        });
        self.parser.recycle(event);
    }

    /// Parsed, and with what is known of the device.
    pub fn enriched(&mut self, bytes: &Bytes) -> Box<Event> {
        self.received_us += 10;
        let raw = Raw { bytes: bytes.clone(), received_us: self.received_us, cut: false };
        let parsed = self.parser.parse(&self.source, None, None, &raw);
        parsed.enrich(&mut self.enricher).into_event()
    }

    /// Parsed, and no longer needed.
    pub fn parse(&mut self, bytes: &Bytes) {
        self.received_us += 10;
        let raw = Raw { bytes: bytes.clone(), received_us: self.received_us, cut: false };
        let parsed = self.parser.parse(&self.source, None, None, &raw);
        self.parser.recycle(parsed.into_event());
    }

    /// Scored.
    pub fn score(&mut self, event: &mut Event) {
        self.scorer.score(event, &mut self.drafts);
        self.drafts.clear();
    }

    /// Takes all of them, with a flush after each [`FLUSH`].
    pub fn take_all(&mut self, lines: &[Bytes]) {
        for lines in lines.chunks(FLUSH) {
            lines.iter().for_each(|line| self.take(line));
            self.spool.flush().unwrap();
        }
    }

    /// Empties the spool, as a publisher would.
    pub fn publish(&mut self) {
        while let Some(group) = self.reader.next_group().unwrap() {
            self.reader.acknowledge(group.end).unwrap();
        }
    }
}
