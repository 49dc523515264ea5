//! The real Cassandra as a store: it keeps the contract that SQLite keeps in the sink's unit tests,
//! and answers every query of `docs/cassandra.md`.

use std::sync::Arc;

use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::device::{AgentStatus, Device};
use weir_models::event::{Clock, Loss};
use weir_models::feedback::{Feedback, Verdict};
use weir_models::ident::{EventId, SeriesKey, Stream};
use weir_models::time::now_us;
use weir_sink::store::cassandra::CassandraStore;
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
    conformance::two(&*a, &*narrow(&keyspace, 100_000).await).await;
}

/// An instance whose partitions are to have few rows.
async fn narrow(keyspace: &str, partition_rows: u64) -> Arc<dyn Store> {
    let points = services::cassandra().contact_points.clone();
    let keyspace = keyspace.to_owned();
    let cassandra = CassandraConfig { keyspace, partition_rows, ..CassandraConfig::at(points) };
    open(&StoreConfig { cassandra: Some(cassandra), ..StoreConfig::default() }).await.unwrap()
}

/// How many series and hosts have narrower buckets.
fn narrowed(keyspace: &str) -> [usize; 2] {
    ["series", "hosts"].map(|table| {
        let rows = services::cassandra().cql(&format!("SELECT narrower FROM {keyspace}.{table}"));
        rows.iter().filter(|row| !row["narrower"].is_null()).count()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_get_narrower_all_the_time_keep_the_contract() {
    let (_, keyspace) = migrated("narrow").await;
    let store = narrow(&keyspace, 20).await;
    conformance::all(&*store).await;
    let [series, hosts] = narrowed(&keyspace);
    assert!(series >= 20 && hosts >= 3, "{series} series and {hosts} hosts have got narrower");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_divide_one_keyspace() {
    let (_, keyspace) = migrated("dividers").await;
    let (a, b) = (narrow(&keyspace, 20).await, narrow(&keyspace, 30).await);
    conformance::two(&*a, &*b).await;
    assert!(narrowed(&keyspace).iter().all(|count| *count > 0));
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

/// What decision 24 rests on: a window of compaction is that of the write, and all in it lives equally long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_row_is_in_the_window_of_its_write_and_leaves_with_it() {
    let (store, keyspace) = migrated("late").await;
    let began_us = now_us();
    let now = ReadingRow { ts_us: began_us, id: id(50), ..reading() };
    let line = LogRow { ts_us: began_us, seq: 51, ..log() };
    let logs = [log(), line].map(|row| Arc::new(row.into()));
    let batch = Batch { readings: vec![reading(), now], logs: logs.into(), ..Batch::default() };
    store.write(&batch).await.unwrap();
    for (table, column) in [("readings", "value"), ("logs", "message")] {
        let rows = services::cassandra().cql(&format!(
            "SELECT ts_us, writetime({column}) AS written_us, ttl({column}) AS left_s FROM {keyspace}.{table}"
        ));
        assert_eq!(rows.len(), 2, "one of last year, one of now: {rows:?}");
        for row in rows {
            let written_us = row["written_us"].as_i64().unwrap();
            assert!((began_us - 60_000_000..=now_us()).contains(&written_us), "{row:?}");
            let left_s = row["left_s"].as_i64().unwrap();
            assert!((30 * 86_400 - 120..=30 * 86_400).contains(&left_s), "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_changed_is_told() {
    let (store, keyspace) = migrated("changed").await;
    let points = services::cassandra().contact_points.clone();
    let config = CassandraConfig { keyspace: keyspace.clone(), ..CassandraConfig::at(points) };
    let own = CassandraStore::connect(&config).await.unwrap();
    assert_eq!(own.advice().await.unwrap(), Vec::<String>::new());
    let alter = |what: &str| services::cassandra().cql(&format!("ALTER TABLE {keyspace}.{what}"));
    alter("logs WITH default_time_to_live = 864000");
    alter("readings WITH compaction = {'class': 'LeveledCompactionStrategy'}");
    let advice = own.advice().await.unwrap();
    assert_eq!(advice.len(), 2, "{advice:?}");
    // What it says mends it.
    let (_, statement) = advice[0].split_once("set it with ").unwrap();
    services::cassandra().cql(statement);
    assert!(advice[1].contains("weir-sink migrate"), "{advice:?}");
    store.migrate().await.unwrap();
    assert_eq!(own.advice().await.unwrap(), Vec::<String>::new());
    alter("logs WITH default_time_to_live = 3600");
    let refused = store.check_schema().await.unwrap_err().to_string();
    assert!(refused.contains("before they are sealed"), "{refused}");
}
