//! One test through the stages.
//!
//! In: a test and the configuration. Out: what came: events and alerts as the JSON of their records, with the lane of the spool
//! and topic and key on Kafka, and what each filter rule took away. The order of the stages is that of the pipeline's thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use weir_models::event::Event;
use weir_models::ident::{EventId, Stream};
use weir_models::time::{SECOND_US, rfc3339};
use weir_models::topic::{Topic, TopicNames};

use super::file::Case;
use crate::config::Config;
use crate::enrich::{Enricher, Table, Update, parse_devices};
use crate::filter::{Filter, Verdict};
use crate::parse::StampRule;
use crate::parse::event::Parser;
use crate::pipeline::route::{lane_of, record_key};
use crate::score::{Draft, Scorer};
use crate::source::given;
use crate::spool::Lane;

/// What came of a test's inputs.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) events: Vec<Value>,
    pub(super) alerts: Vec<Value>,
    /// How often each rule took something away.
    pub(super) filtered: BTreeMap<String, u64>,
}

struct Stages {
    parser: Parser,
    enricher: Enricher,
    filter: Filter,
    scorer: Scorer,
    names: TopicNames,
    drafts: Vec<Draft>,
    came: Came,
}

/// Runs a test.
///
/// # Errors
/// Says what in the test cannot be used.
pub(super) fn run(case: &Case, config: &Config) -> Result<Came, String> {
    let mut stages = Stages::new(case, config)?;
    let (source, index) = &case.source;
    for payload in &case.payloads {
        let to = case.to.as_deref();
        let input = given((source, *index), payload.clone(), to, case.peer, case.now_us)?;
        for (raw, labels) in input.items() {
            let parsed = stages.parser.parse(&input.source, input.peer, labels, raw);
            let ts_rule = parsed.ts_rule();
            let event = parsed.enrich(&mut stages.enricher).into_event();
            stages.take(event, ts_rule);
        }
    }
    for second in 1..=case.then_s {
        stages.pass(second, case.now_us);
    }
    stages.came.filtered =
        stages.filter.counts().map(|(rule, count)| (rule.to_owned(), count)).collect();
    Ok(stages.came)
}

impl Stages {
    fn new(case: &Case, config: &Config) -> Result<Self, String> {
        let agent: Arc<str> = config.id().into();
        let mut settings = config.source.settings();
        for source in &mut settings {
            // The machine's is not to show, said or not.
            let is_of_machine = |zone: &String| zone.eq_ignore_ascii_case("local");
            if source.zone.as_ref().is_none_or(is_of_machine) {
                source.zone = Some(case.zone.clone());
            }
        }
        let table = Table::in_memory().map_err(|error| error.to_string())?;
        let devices = parse_devices(&case.devices, &config.agent.site, case.now_us)
            .map_err(|(line, why)| format!("`devices`, line {line}: {why}"))?;
        let updates: Vec<Update> = devices.into_iter().map(Update::Put).collect();
        table.apply(&updates).map_err(|error| error.to_string())?;
        table.in_step(case.now_us);
        Ok(Self {
            // Of this machine nothing may show.
            parser: Parser::of_sources(&agent, &config.agent.site, &settings)?.on_host(&agent),
            enricher: Enricher::new(&config.metadata, Arc::new(table)),
            filter: Filter::new(config.filter.clone()),
            scorer: Scorer::new(&agent, &config.score),
            names: TopicNames::new(&config.kafka.topic_prefix),
            drafts: Vec::new(),
            came: Came::default(),
        })
    }

    fn take(&mut self, mut event: Box<Event>, ts_rule: StampRule) {
        let verdict = self.filter.apply(&mut event);
        if verdict == Verdict::Drop {
            return self.parser.recycle(event);
        }
        self.scorer.score(&mut event, &mut self.drafts);
        let mut key = String::new();
        let topic = record_key(&event, &mut key);
        let mut json = Vec::new();
        event.write_json(&mut json);
        let mut record = self.record(&json, lane_of(&event, verdict), topic, key);
        record.insert("ts_rule".into(), ts_rule.as_str().into());
        self.came.events.push(Value::Object(record));
        self.alert(event.id, event.received_us);
        self.parser.recycle(event);
    }

    /// So many seconds have passed since the inputs, which came at `now_us`.
    fn pass(&mut self, second: u32, now_us: i64) {
        self.scorer.pass(second, &mut self.drafts);
        // Nothing came: no event is the cause.
        let nobody = EventId { stream: Stream(0), seq: 0 };
        self.alert(nobody, now_us + i64::from(second) * SECOND_US);
    }

    fn alert(&mut self, cause: EventId, now_us: i64) {
        for draft in std::mem::take(&mut self.drafts) {
            let key = draft.key();
            let mut json = Vec::new();
            draft.seal(cause, cause, now_us).write_json(&mut json);
            let record = self.record(&json, Lane::Alerts, Topic::Alerts, key);
            self.came.alerts.push(Value::Object(record));
        }
    }

    /// The JSON of a record, of an alert its `data`, with what can be said of its way.
    fn record(&self, json: &[u8], lane: Lane, topic: Topic, key: String) -> Map<String, Value> {
        let mut record: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        if let Some(Value::Object(data)) = record.remove("data") {
            record = data;
        }
        // The spool gives these.
        for name in ["stream", "seq", "cause_stream", "cause_seq"] {
            record.remove(name);
        }
        for (name, of) in super::compare::TIMES {
            if let Some(us) = record.get(of).and_then(Value::as_i64) {
                record.insert(name.into(), rfc3339(us).into());
            }
        }
        record.insert("lane".into(), lane.name().into());
        record.insert("kafka_topic".into(), Value::from(&**self.names.name(topic)));
        record.insert("kafka_key".into(), key.into());
        record
    }
}
