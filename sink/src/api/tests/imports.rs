//! Lists of devices at once.

use std::sync::atomic::Ordering::Relaxed;

use futures_util::stream;

use super::super::Limits;
use super::*;
use crate::consume::ProduceError;
use crate::registry::{Entry, Registry};

const CSV: (&str, &str) = ("content-type", "text/csv; charset=utf-8");
const LIST: &str = "site,device,aliases,meta.line,units.temp\n\
                    hall,press,10.0.0.7,5,°C\n\
                    hall,new,,4,\n";

fn import(server: &Server, query: &str, list: &str) -> Answer {
    server.request("POST", &format!("/v1/devices/import{query}"), &[CSV], list)
}

fn counts(report: &Value) -> [u64; 4] {
    ["created", "changed", "unchanged", "refused"].map(|count| report[count].as_u64().unwrap())
}

#[test]
fn a_dry_run_says_what_the_import_then_does() {
    let server = Server::start(rows());
    let dry = import(&server, "?dry_run=true", LIST);
    assert_eq!((dry.status, counts(&dry.json())), (200, [1, 1, 0, 0]), "{}", dry.text);
    assert!(server.producer.sent.lock().unwrap().is_empty());
    let done = import(&server, "", LIST);
    assert_eq!((done.status, &done.json()["dry_run"]), (202, &json!(false)));
    assert_eq!(done.json()["changes"], dry.json()["changes"]);
    let changes = json!([
        {"line": 2, "site": "hall", "device": "press", "created": false,
         "fields": ["aliases", "meta.line", "units.temp"]},
        {"line": 3, "site": "hall", "device": "new", "created": true, "fields": ["meta.line"]},
    ]);
    assert_eq!(done.json()["changes"], changes);
    // The same again changes nothing, before and after it is stored.
    for _ in 0..2 {
        let again = import(&server, "", LIST);
        assert_eq!((again.status, counts(&again.json())), (202, [0, 0, 2, 0]), "{}", again.text);
        server.consume();
        assert!(server.producer.sent.lock().unwrap().is_empty());
    }
    assert_eq!(server.get("/v1/devices/hall/press").json()["meta"], json!({"line": "5"}));
    // A column that is not there leaves things as they are; an empty cell takes away.
    let part = import(&server, "", "site,device,meta.line,meta.hall\nhall,press,,B\n");
    assert_eq!(counts(&part.json()), [0, 1, 0, 0]);
    let press = server.get("/v1/devices/hall/press").json();
    assert_eq!((&press["meta"], &press["aliases"]), (&json!({"hall": "B"}), &json!(["10.0.0.7"])));
}

#[test]
fn a_line_that_cannot_be_is_told_and_holds_up_no_other() {
    let server = Server::start(rows());
    let long = "x".repeat(1_025);
    let list = format!(
        "site,device,meta.hall\nhall,a,A\nhall,b\nhall,a,B\n,c,C\nha/ll,d,D\nhall,\"e\ne\",E\nhall,f,{long}\nhall,g,G\n"
    );
    let report = import(&server, "", &list).json();
    assert_eq!(counts(&report), [2, 0, 0, 6]);
    let errors = report["errors"].as_array().unwrap();
    let told = [
        (3, "2 cells, but there are 3 columns"),
        (4, "stands in line 2 already"),
        (5, "site: `` cannot be used"),
        (6, "the site contains a slash"),
        (7, "device: `e\\ne` cannot be used"),
        (9, "this takes 0 to 1024 bytes"),
    ];
    assert_eq!(errors.len(), told.len(), "{report}");
    for (error, (line, part)) in errors.iter().zip(told) {
        assert_eq!(error["line"], line, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let sent = server.producer.sent.lock().unwrap();
    let keys: std::collections::BTreeSet<_> =
        sent.iter().map(|(_, key, _)| key.as_slice()).collect();
    assert_eq!(keys, [b"hall/a".as_slice(), b"hall/g"].into());
}

#[test]
fn a_list_that_cannot_be_read_changes_nothing() {
    let server = Server::start(rows());
    import(&server, "", "").is_problem(400, "bad-body");
    import(&server, "", "site;device\nhall;press\n").is_problem(400, "bad-body");
    import(&server, "", "site,device\nhall,\"press\n").is_problem(400, "bad-body");
    import(&server, "?dry_run=perhaps", LIST).is_problem(400, "bad-parameter");
    let many = format!("site,device\n{}", "a,b\n".repeat(50_001));
    import(&server, "", &many).is_problem(400, "bad-body");
    let path = "/v1/devices/import";
    let large = "x".repeat(16 * 1024 * 1024 + 1);
    server.request("POST", path, &[CSV], &large).is_problem(413, "bad-body");
    let json = [("content-type", "application/json")];
    server.request("POST", path, &json, LIST).is_problem(415, "bad-body");
    server.get(path).is_problem(405, "method-not-allowed");
    assert!(server.producer.sent.lock().unwrap().is_empty());
}

#[test]
fn an_import_may_take_longer_than_a_query_but_not_for_ever() {
    let short = std::time::Duration::from_millis(50);
    let limits = Limits { timeout: short, ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(limits));
    server.producer.slow.store(true, Relaxed);
    let done = import(&server, "", LIST);
    assert_eq!(done.status, 202, "{}", done.text);
    let limits = Limits { import_timeout: short, ..Limits::default() };
    let server = Server::start_with(rows(), |api| api.limits(limits));
    server.producer.slow.store(true, Relaxed);
    let late = import(&server, "", LIST);
    late.is_problem(504, "timeout");
    assert!(late.text.contains("send the same list again"), "{}", late.text);
}

/// The store and what was sent are looked at when a line is sent, not only when the list is read.
#[tokio::test]
async fn a_change_made_while_a_list_is_imported_is_kept() {
    let (store, producer) = (Arc::new(MemoryStore::default()), Arc::new(MemoryProducer::default()));
    *store.rows.lock().unwrap() = rows();
    let registry = Arc::new(Registry::new(store.clone(), producer.clone()));
    let list = "site,device,meta.line\nhall,press,5\n".to_owned();
    let changing = store.clone();
    // Another instance changes the device between the two.
    *store.behind_a_list.lock().unwrap() = Some(Box::new(move || {
        let mut rows = changing.rows.lock().unwrap();
        let mut change = rows.devices[0].clone();
        change.record.as_mut().unwrap().meta.insert("hall".into(), "B".into());
        rows.devices.push(change);
    }));
    registry.import().unwrap().run(list, false, None).await.unwrap();
    let sent = producer.sent.lock().unwrap();
    let record: Device = serde_json::from_slice(sent[0].2.as_ref().unwrap()).unwrap();
    assert_eq!(serde_json::json!(record.meta), json!({"hall": "B", "line": "5"}));
}

#[test]
fn a_large_list_is_taken_and_one_that_fails_half_way_may_come_again() {
    let server = Server::start(rows());
    let lines = (0..5_000).map(|n| format!("hall,device-{n},{}\n", "x".repeat(200)));
    let list = format!("site,device,meta.text\n{}", lines.collect::<String>());
    assert!(list.len() > 1024 * 1024);
    *server.producer.fails.lock().unwrap() = Some(|| ProduceError::Retry("away".into()));
    import(&server, "", &list).is_problem(503, "kafka-unavailable");
    *server.producer.fails.lock().unwrap() = None;
    let report = import(&server, "", &list).json();
    // Lines that were on their way when the first list failed may have arrived since.
    let [created, changed, unchanged, refused] = counts(&report);
    assert_eq!((created + unchanged, changed, refused), (5_000, 0, 0));
    // As many are told one by one as fit.
    assert_eq!(report["changes"].as_array().unwrap().len(), 1_000);
    assert_eq!(server.producer.sent.lock().unwrap().len(), 5_000);
}

#[tokio::test]
async fn rows_that_break_off_are_told_up_to_there() {
    let (store, producer) = (Arc::new(MemoryStore::default()), Arc::new(MemoryProducer::default()));
    producer.slow.store(true, Relaxed);
    let registry = Arc::new(Registry::new(store, producer.clone()));
    let row = |n: usize| {
        let (site, device) = ("hall".to_owned(), format!("device-{n}"));
        Ok((n, Ok(Entry { site, device, patch: json!({"meta": {"n": n.to_string()}}) })))
    };
    let rows = || (1..=300).map(row).chain([Err("the table is gone".to_owned())]);
    let import = || registry.import().unwrap();
    let (report, ended) = import().flow(stream::iter(rows()), false, "test").await;
    assert_eq!((report.created, report.changes.len()), (300, 300));
    assert_eq!(producer.sent.lock().unwrap().len(), 300);
    let why = ended.unwrap_err();
    assert!(why.starts_with("after 300 rows: the table is gone; import it again"), "{why}");
    // Where nobody takes anything, no more rows are asked for than are under way.
    *producer.fails.lock().unwrap() = Some(|| ProduceError::Retry("away".into()));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let others = (1_000..9_000).map(row).inspect(|_| {
        asked.fetch_add(1, Relaxed);
    });
    let (report, ended) = import().flow(stream::iter(others), false, "test").await;
    assert!(report.created == 0 && ended.unwrap_err().contains("after 0 rows"), "{report:?}");
    assert!(asked.load(Relaxed) < 1_000, "{asked:?}");
}
