#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use weir_models::time::{DAY_US, HOUR_US};

use super::*;
use crate::store::conformance;
use crate::store::seal::close::seal;
use crate::store::seal::keeper::Keeper;
use crate::store::seal::{BEFORE_SEALING, hour_of};

async fn open_in(folder: &tempfile::TempDir) -> Result<SqliteStore, StoreError> {
    let path = folder.path().join("deep/weir.db");
    SqliteStore::open(&SqliteConfig { path }).await
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    assert_eq!(
        store.migrate().await.unwrap(),
        ["0001_first_tables", "0002_sealing", "0003_log_blocks", "0006_feedback"]
    );
    conformance::all(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_seal_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (open_in(&folder).await.unwrap(), open_in(&folder).await.unwrap());
    a.migrate().await.unwrap();
    conformance::two(&a, &b).await;
}

#[tokio::test]
async fn the_schema_must_be_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    let missing = store.check_schema().await.unwrap_err().to_string();
    assert!(missing.contains("run `weir-sink migrate`"), "{missing}");
    let early = store.latest("s").await.unwrap_err().to_string();
    assert!(early.contains("run `weir-sink migrate`"), "{early}");
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    let other = open_in(&folder).await.unwrap();
    assert!(other.migrate().await.unwrap().is_empty());
    let raw = Connection::open(&store.path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    for error in [store.check_schema().await.unwrap_err(), store.migrate().await.unwrap_err()] {
        assert!(error.to_string().contains("newer than this program"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    let settings = |connection: &mut Connection| {
        let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let sync = connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
        Ok((get("journal_mode")?, sync?))
    };
    let (journal, synchronous) = store.with(&store.writer, settings).await.unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2), "2 is FULL");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, but long enough to be looked at ".repeat(20)).unwrap();
    let config = SqliteConfig { path: path.clone() };
    let error = SqliteStore::open(&config).await.err().unwrap();
    assert!(matches!(&error, StoreError::Fatal(m) if m.contains("no SQLite file")), "{error:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
    let folder_itself = SqliteConfig { path: folder.path().into() };
    let error = SqliteStore::open(&folder_itself).await.err().unwrap();
    assert!(error.to_string().contains("store.sqlite.path"), "{error}");
}

#[tokio::test]
async fn rows_from_before_sealing_are_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    let raw = Connection::open(&store.path).unwrap();
    raw.execute_batch(MIGRATIONS[0].1).unwrap();
    raw.pragma_update(None, "user_version", 1).unwrap();
    let old_us = now_us() - 5 * DAY_US;
    let put = "INSERT INTO readings VALUES ('s', 'd', 'm', ?1, 1, 1, 2.5, NULL)";
    raw.execute(put, [old_us]).unwrap();
    raw.execute("INSERT INTO series VALUES ('s', 'd', 'm', NULL, ?1, ?1)", [old_us]).unwrap();
    raw.execute("INSERT INTO sites VALUES ('s')", []).unwrap();
    assert_eq!(
        store.migrate().await.unwrap(),
        ["0002_sealing", "0003_log_blocks", "0006_feedback"]
    );
    let mut keeper = Keeper::new(Duration::ZERO, Duration::from_secs(3_600));
    let due = keeper.due(&store).await.unwrap();
    assert_eq!((due.len(), due[0].owner.as_str()), (1, BEFORE_SEALING));
    assert_eq!(seal(&store, &due[0].owner, &due[0].mark).await.unwrap().rows, 1);
    assert_eq!(keeper.due(&store).await.unwrap(), []);
    let key = SeriesKey { site: "s".into(), device: "d".into(), metric: "m".into() };
    let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
    store.drop_hot(&key, ever).await.unwrap();
    assert_eq!(store.readings(&key, ever, 9).await.unwrap()[0].value, 2.5);
}

#[tokio::test]
async fn lines_from_before_sealing_of_lines_are_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    let raw = Connection::open(&store.path).unwrap();
    raw.execute_batch(MIGRATIONS[0].1).unwrap();
    raw.execute_batch(MIGRATIONS[1].1).unwrap();
    raw.pragma_update(None, "user_version", 2).unwrap();
    let old_us = now_us() - 5 * DAY_US;
    let stamps = [old_us, old_us + 1, i64::MIN, -1, 0];
    let put = "INSERT INTO logs (site, host, ts_us, stream, seq, device, message) VALUES ('s', \
               'h', ?1, 1, 1, 'd', 'an old line')";
    for stamp in stamps {
        raw.execute(put, [stamp]).unwrap();
    }
    let put = "INSERT INTO hosts VALUES ('s', 'h', ?1, ?2)";
    raw.execute(put, [i64::MIN, old_us + 1]).unwrap();
    raw.execute("INSERT INTO sites VALUES ('s')", []).unwrap();
    // Whatever comes after the transaction, such as the end of the process, the lines are marked.
    let done = store.with(&store.writer, migrate).await.unwrap();
    assert_eq!(done.unwrap(), ["0003_log_blocks", "0006_feedback"]);
    assert!(store.migrate().await.unwrap().is_empty());
    let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
    let query = LogQuery { words: Some("old".into()), ..LogQuery::of_site("s", ever, 9) };
    assert_eq!(store.logs(&query).await.unwrap().len(), stamps.len());
    let mut keeper = Keeper::new(Duration::ZERO, Duration::from_secs(3_600));
    let mut rows = 0;
    for due in keeper.due(&store).await.unwrap() {
        assert_eq!(due.owner, BEFORE_SEALING);
        rows += seal(&store, &due.owner, &due.mark).await.unwrap().rows;
    }
    assert_eq!(rows, stamps.len());
    assert_eq!(keeper.due(&store).await.unwrap(), []);
    for stamp in stamps {
        store.drop_hot_lines("s", hour_of(stamp)).await.unwrap();
    }
    assert_eq!(store.logs(&query).await.unwrap().len(), stamps.len());
}

#[tokio::test]
async fn a_late_mark_does_not_hide_lines_of_the_last_hours() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await.unwrap();
    store.migrate().await.unwrap();
    // As where another datacentre wrote: the lines are here, their marks are not yet.
    let raw = Connection::open(&store.path).unwrap();
    let (first_us, last_us) = (now_us() - 2 * HOUR_US, now_us());
    for stamp in [first_us, last_us] {
        let put = "INSERT INTO logs (site, host, ts_us, stream, seq, device, message) VALUES ('s', \
                   'h', ?1, 1, 1, 'd', 'a line')";
        raw.execute(put, [stamp]).unwrap();
    }
    raw.execute("INSERT INTO hosts VALUES ('s', 'h', ?1, ?2)", [first_us, last_us]).unwrap();
    let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
    assert_eq!(store.logs(&LogQuery::of_site("s", ever, 9)).await.unwrap().len(), 2);
}
