#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use expect_test::{Expect, expect};
use std::io::Write;

fn device(name: &str, alias: &str, line: &str, updated_us: i64) -> Device {
    Device {
        site: "a".into(),
        device: name.into(),
        aliases: vec![alias.into()],
        meta: [("line".to_owned(), line.to_owned())].into(),
        updated_us,
        ..Device::default()
    }
}

fn enricher(table: &Arc<Table>) -> Enricher {
    Enricher::new(&MetadataConfig::default(), table.clone())
}

fn line_of(found: &Found) -> Option<String> {
    found.device.as_ref().and_then(|device| device.meta.get("line").cloned())
}

#[test]
fn a_device_is_found_by_name_and_alias_after_a_restart_without_network() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.redb");
    let table = Table::open(&path).unwrap();
    table.apply(&[Update::Put(device("pump", "10.0.0.7", "4", 1))]).unwrap();
    table.in_step(1_000 * SECOND_US);
    drop(table);

    let table = Arc::new(Table::open(&path).unwrap());
    let mut enricher = enricher(&table);
    for name in ["pump", "10.0.0.7", "pump"] {
        let found = enricher.look_up("a", name, 1_012 * SECOND_US);
        let renamed = found.device.as_ref().unwrap().renamed.as_deref();
        assert_eq!(renamed, (name != "pump").then_some("pump"));
        assert_eq!((found.state, found.age_s), (MetaState::Hit, Some(12)));
    }
    let late = enricher.look_up("a", "pump", (1_000 + 86_401) * SECOND_US);
    assert_eq!(late.state, MetaState::Stale);
    assert_eq!(enricher.look_up("b", "pump", 0).state, MetaState::Miss);
}

#[test]
fn an_update_reaches_entries_that_are_hot_and_an_older_one_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let table = Arc::new(Table::open(&dir.path().join("m.redb")).unwrap());
    let mut enricher = enricher(&table);
    assert_eq!(enricher.look_up("a", "pump", 0).state, MetaState::Miss);
    table.apply(&[Update::Put(device("pump", "x", "4", 5))]).unwrap();
    assert_eq!(line_of(&enricher.look_up("a", "pump", 0)).as_deref(), Some("4"));
    assert_eq!(table.apply(&[Update::Put(device("pump", "x", "3", 4))]).unwrap(), 0);
    assert_eq!(line_of(&enricher.look_up("a", "pump", 0)).as_deref(), Some("4"));
    // The alias moves with the device's newest record.
    table.apply(&[Update::Put(device("pump", "y", "5", 6))]).unwrap();
    assert_eq!(enricher.look_up("a", "x", 0).state, MetaState::Miss);
    assert_eq!(line_of(&enricher.look_up("a", "y", 0)).as_deref(), Some("5"));
    table.apply(&[Update::Delete("a/pump".into())]).unwrap();
    assert_eq!(enricher.look_up("a", "y", 0).state, MetaState::Miss);
    assert!(table.is_empty());
}

#[test]
fn a_damaged_table_is_put_aside_and_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.redb");
    std::fs::write(&path, b"this is no table at all, but there are many bytes of it").unwrap();
    let table = Table::open(&path).unwrap();
    table.apply(&[Update::Put(device("pump", "x", "4", 5))]).unwrap();
    assert!(path.with_extension("broken").exists());
}

#[track_caller]
fn check_file(text: &str, expected: Expect) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let told = match read_devices(file.path(), "home") {
        Ok(devices) => devices
            .iter()
            .map(|d| format!("{} {:?} {:?} {:?}\n", d.key(), d.aliases, d.meta, d.units))
            .collect(),
        Err(error) => error.to_string().replace(&file.path().display().to_string(), "FILE"),
    };
    expected.assert_eq(&told);
}

#[test]
fn files_are_csv_or_json() {
    check_file(
        "site,device,aliases,line,unit:temp\nb,pump,10.0.0.1 p1,\"4, left\",C\n,fan,,,\n",
        expect![[r#"
            b/pump ["10.0.0.1", "p1"] {"line": "4, left"} {"temp": "C"}
            home/fan [] {} {}
        "#]],
    );
    check_file(
        "{\"site\":\"b\",\"device\":\"pump\",\"meta\":{\"line\":\"4\"}}\n",
        expect![[r#"
            b/pump [] {"line": "4"} {}
        "#]],
    );
}

#[test]
fn a_bad_line_refuses_the_file_and_is_named() {
    check_file(
        "device,line\npump\n",
        expect!["metadata file `FILE`, line 2: 1 cells, but the header has 2"],
    );
    check_file(
        "name\npump\n",
        expect!["metadata file `FILE`, line 1: the header needs a column `device`"],
    );
    check_file("device\n\"pump\n", expect!["metadata file `FILE`, line 2: a quote is not closed"]);
    check_file(
        "{\"site\":\"b\",\"devise\":\"pump\"}\n",
        expect![
            "metadata file `FILE`, line 1: unknown field `devise`, expected one of `site`, `device`, `aliases`, `meta`, `units`, `updated_us` at line 1 column 20"
        ],
    );
}
