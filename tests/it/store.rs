//! The real Cassandra as a store: it keeps the contract that SQLite keeps in the sink's unit tests,
//! and answers every query of `docs/cassandra.md`.

use std::sync::Arc;

use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::device::{AgentStatus, Device};
use weir_models::event::{Clock, Loss};
use weir_models::feedback::{Feedback, Verdict};
use weir_models::ident::{EventId, SeriesKey, Stream};
use weir_sink::store::config::CassandraConfig;
use weir_sink::store::seal::close::seal;
use weir_sink::store::{
    Audit, Batch, DeviceChange, LogRow, LossRow, ReadingRow, Store, StoreConfig, TimeRange,
    conformance, open,
};
use weir_tests::python::code_blocks;
use weir_tests::{root, services, unique};

/// A migrated keyspace of the test's own.
async fn migrated(name: &str) -> (Arc<dyn Store>, String) {
    let keyspace = unique(name);
    let points = services::cassandra().contact_points.clone();
    let cassandra = CassandraConfig { keyspace: keyspace.clone(), ..CassandraConfig::at(points) };
    let config = StoreConfig { cassandra: Some(cassandra), ..StoreConfig::default() };
    let store = open(&config).await.unwrap();
    let missing = store.check_schema().await.unwrap_err().to_string();
    assert!(missing.contains("run `weir-sink migrate`"), "{missing}");
    assert!(!store.migrate().await.unwrap().is_empty());
    (store, keyspace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cassandra_passes_the_conformance_suite() {
    let (store, _) = migrated("conformance").await;
    conformance::all(&*store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_seal_one_keyspace() {
    let (a, keyspace) = migrated("sealers").await;
    let points = services::cassandra().contact_points.clone();
    let cassandra = CassandraConfig { keyspace, ..CassandraConfig::at(points) };
    let config = StoreConfig { cassandra: Some(cassandra), ..StoreConfig::default() };
    let b = open(&config).await.unwrap();
    conformance::two(&*a, &*b).await;
}

/// 2025-06-15 00:00 UTC, the time that the queries of the document ask for.
const DAY_US: i64 = 1_749_945_600_000_000;

fn id(seq: u64) -> EventId {
    EventId { stream: Stream(0x8f14_e45f_ceea_167a), seq }
}

fn reading() -> ReadingRow {
    let name = |text: &str| text.to_string();
    ReadingRow {
        key: SeriesKey { site: name("plant"), device: name("pump-1"), metric: name("temperature") },
        ts_us: DAY_US + 1_000_000,
        id: id(1),
        value: 71.5,
        score: Some(0.25),
        unit: Some("°C".into()),
    }
}

fn log() -> LogRow {
    LogRow {
        site: "plant".into(),
        host: "gw-1".into(),
        ts_us: DAY_US + 2_000_000,
        stream: id(2).stream,
        seq: id(2).seq,
        device: "gw-1".into(),
        facility: Some(3),
        severity: Some(4),
        app: Some("sshd".into()),
        procid: Some("17".into()),
        msgid: None,
        message: "Connection closed".into(),
        template: None,
        score: None,
    }
}

fn alert() -> Alert {
    let data = AlertData {
        alert_id: "a-1".into(),
        state: AlertState::Firing,
        kind: AlertKind::Reading,
        agent: "gw-1".into(),
        stream: id(3).stream,
        seq: id(3).seq,
        site: "plant".into(),
        device: "pump-1".into(),
        metric: "temperature".into(),
        fired_us: DAY_US + 1_000_000,
        resolved_us: None,
        score: 5.5,
        threshold: 1.0,
        model: Model { name: "suite".into(), version: "1".into() },
        why: "level".into(),
        baseline: None,
        last_values: Vec::new(),
        message: None,
        cause_stream: id(1).stream,
        cause_seq: id(1).seq,
        recent: None,
        rank: None,
    };
    Alert::new("/weir/agent/gw-1", DAY_US + 1_000_000, data)
}

fn feedback() -> Feedback {
    Feedback {
        alert_id: "a-1".into(),
        site: "plant".into(),
        device: "pump-1".into(),
        metric: "temperature".into(),
        fired_us: DAY_US + 1_000_000,
        verdict: Verdict::Expected,
        note: None,
        by: None,
        given_us: DAY_US + 2_000_000,
    }
}

fn device() -> DeviceChange {
    let record = Device {
        site: "plant".into(),
        device: "pump-1".into(),
        aliases: vec!["10.0.0.7".into()],
        meta: [("hall".into(), "B".into())].into(),
        units: [("temperature".into(), "°C".into())].into(),
        updated_us: DAY_US,
    };
    DeviceChange {
        site: "plant".into(),
        device: "pump-1".into(),
        record: Some(record),
        by: Some("inventory".into()),
        ts_us: DAY_US,
        position: 7,
    }
}

fn agent() -> AgentStatus {
    AgentStatus {
        agent: "gw-1".into(),
        site: "plant".into(),
        version: "0.1.0".into(),
        ts_us: DAY_US,
        started_us: DAY_US - 1,
        interval_s: 30,
        clock: Clock::Synced,
        events_in: 3,
        events_out: 3,
        filtered: Default::default(),
        lost: Default::default(),
        spool_bytes: 0,
        lanes: Vec::new(),
        devices: 1,
        series: 1,
        ..AgentStatus::default()
    }
}

fn loss() -> LossRow {
    LossRow {
        site: "plant".into(),
        agent: "gw-1".into(),
        ts_us: DAY_US + 1_000_000,
        stream: id(1).stream,
        seq: 9,
        source: "spool".into(),
        loss: Loss { count: 120, reason: "spool_full".into(), ..Loss::default() },
    }
}

/// Each block is run as it stands there but for the keyspace, and finds the one row that was
/// written for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cql_of_the_document_finds_its_row() {
    let (store, keyspace) = migrated("document").await;
    let batch = Batch {
        readings: vec![reading()],
        logs: vec![Arc::new(log().into())],
        alerts: vec![alert()],
        devices: vec![device()],
        agents: vec![agent()],
        losses: vec![loss()],
        audits: vec![Audit { ended_us: DAY_US, streams: 1, ..Audit::default() }],
        feedback: vec![feedback()],
    };
    store.write(&batch).await.unwrap();
    // Enough values for rollups, and all of it sealed; a second write marks the day again.
    let mut more = Batch::default();
    for n in 1..40 {
        let ts_us = DAY_US + 1_000_000 - n;
        more.readings.push(ReadingRow { ts_us, id: id(100 + n as u64), ..reading() });
    }
    store.write(&more).await.unwrap();
    let sealing = store.sealing().unwrap();
    let owner = sealing.marks().owner();
    // A day of readings and an hour of lines.
    let mut rows = Vec::new();
    for mark in sealing.marks_of(&owner).await.unwrap() {
        rows.push(seal(sealing, &owner, &mark).await.unwrap().rows);
    }
    rows.sort();
    assert_eq!(rows, [1, 40]);
    let only = TimeRange { from_us: DAY_US, to_us: DAY_US + 1_000_000 };
    sealing.drop_hot(&reading().key, only).await.unwrap();
    store.write(&batch).await.unwrap();
    let blocks = code_blocks(&root().join("docs/cassandra.md"), "cql");
    assert!(blocks.len() >= 10, "only {} queries were found", blocks.len());
    let mut tables = Vec::new();
    for block in blocks {
        let statement = block.trim().trim_end_matches(';');
        let (_, after) = statement.split_once("FROM weir.").expect("a query of our tables");
        let table = after.split_whitespace().next().unwrap().to_string();
        let own = statement.replacen("FROM weir.", &format!("FROM {keyspace}."), 1);
        let rows = services::cassandra().cql(&own);
        let migrations = root().join("sink/src/store/cassandra/migrations");
        let migrations = std::fs::read_dir(migrations).unwrap().count();
        let expected = if table == "schema_migrations" { migrations } else { 1 };
        assert_eq!(rows.len(), expected, "{own}\n{rows:?}");
        let row = &rows[0];
        match table.as_str() {
            "readings" => assert_eq!((&row["value"], &row["score"]), (&71.5.into(), &0.25.into())),
            "latest" => assert_eq!(row["last.value"], 71.5, "{row:?}"),
            "logs" => assert_eq!(row["message"], "Connection closed"),
            "alerts" => assert_eq!((&row["score"], &row["resolved_us"]), (&5.5.into(), &().into())),
            _ => {}
        }
        tables.push(table);
    }
    tables.sort();
    let listed = services::cassandra().cql(&format!(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"
    ));
    let mut there: Vec<&str> = listed.iter().map(|r| r["table_name"].as_str().unwrap()).collect();
    there.sort();
    assert_eq!(tables, there, "each table has its query in the document");
}
