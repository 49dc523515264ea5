//! Lists of devices from somebody else's table and topic, by command.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::program::Finished;
use weir_tests::{Launch, free_port, http, services, unique};

const SOON: Duration = Duration::from_secs(60);
/// Rows of the table: more than come with one page.
const MACHINES: usize = 1_200;

/// A sink on SQLite, with a table of machines in a Cassandra that it does not know.
struct Centre {
    launch: Launch,
    name: String,
    table: String,
    api: String,
}

impl Centre {
    #[track_caller]
    fn new() -> Self {
        let (name, port) = (unique("inventory"), free_port());
        let config = format!(
            "[kafka]\nbrokers = [\"{}\"]\ntopic_prefix = \"{name}.\"\n[consume]\ngroup = \"{name}\"\n\
             [topics]\npartitions = 2\n[store.sqlite]\npath = \"store.sqlite\"\n\
             [archive]\npath = \"archive\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
            services::kafka().bootstrap,
        );
        let points = services::cassandra().contact_points.join("\", \"");
        let launch = Launch::ours("weir-sink")
            .file("sink.toml", &config)
            .file("erp.toml", format!("contact_points = [\"{points}\"]\n"));
        launch.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let keyspace = services::cassandra().keyspace("erp");
        let table = format!("{keyspace}.machines");
        Self { launch, name, table, api: format!("http://127.0.0.1:{port}") }
    }

    /// The table, with a machine whose name cannot be one of a device.
    #[track_caller]
    fn fill(&self) {
        let cassandra = services::cassandra();
        cassandra.cql(&format!(
            "CREATE TABLE {} (name text PRIMARY KEY, \"Hall\" int, hosts set<inet>, \
             attrs map<text, text>, unit text, photo blob)",
            self.table
        ));
        for begin in (0..MACHINES).step_by(100) {
            let insert = |n: usize| {
                format!(
                    "INSERT INTO {} (name, \"Hall\", hosts, attrs, unit, photo) VALUES \
                     ('press-{n}', {}, {{'10.0.{}.{}'}}, {{'line': '{}'}}, 'K', 0x00);",
                    self.table,
                    n % 7,
                    n / 250,
                    n % 250,
                    n % 3,
                )
            };
            let rows: String = (begin..begin + 100).map(insert).collect();
            cassandra.cql(&format!("BEGIN UNLOGGED BATCH {rows} APPLY BATCH"));
        }
        cassandra.cql(&format!("INSERT INTO {} (name) VALUES ('a\nb')", self.table));
    }

    fn import(&self, args: &[&str]) -> Finished {
        let launch = self.launch.clone().args(["devices", "-c", "sink.toml", "import"]);
        launch.args(args).run(SOON)
    }

    fn take_table(&self, more: &[&str]) -> Finished {
        let table = ["--from-table", self.table.as_str(), "--cassandra", "erp.toml"];
        let maps = [
            "name=device",
            "Hall=meta.hall",
            "hosts=aliases",
            "attrs=meta",
            "unit=units.temperature",
        ];
        let maps: Vec<&str> = maps.into_iter().flat_map(|map| ["--map", map]).collect();
        self.import(&[&table[..], &maps[..], &["--set", "site=plant"][..], more].concat())
    }

    fn records(&self) -> Vec<Value> {
        let records = services::kafka().read(&format!("{}.metadata", self.name));
        records.iter().map(weir_tests::kafka::Message::json).collect()
    }
}

fn counts(report: &Value) -> [u64; 4] {
    ["created", "changed", "unchanged", "refused"].map(|count| report[count].as_u64().unwrap())
}

#[test]
fn a_table_is_taken_page_by_page_and_again_without_change() {
    let centre = Centre::new();
    centre.fill();
    let all = MACHINES as u64;
    let dry = centre.take_table(&["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", dry.stderr);
    let end =
        format!("{all} created, 0 changed, 0 unchanged, 1 refused; nothing was sent (--dry-run)\n");
    assert!(dry.stdout.ends_with(&end), "{}", dry.stdout);
    assert!(dry.stdout.contains("refused: device: `a\\nb` cannot be used"), "{}", dry.stdout);
    assert_eq!(centre.records().len(), 0, "a dry run has sent something");

    let done = centre.take_table(&["--json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(counts(&report), [all, 0, 0, 1]);
    assert_eq!(report["changes"].as_array().map(Vec::len), Some(1_000));
    let records = centre.records();
    assert_eq!(records.len(), MACHINES);
    let press = records.iter().find(|record| record["device"] == "press-8").unwrap();
    assert_eq!(press["aliases"], json!(["10.0.0.8"]));
    assert_eq!(press["meta"], json!({"hall": "1", "line": "2"}));
    assert_eq!((&press["site"], &press["units"]), (&json!("plant"), &json!({"temperature": "K"})));

    let mut sink = centre.launch.clone().args(["run", "-c", "sink.toml"]).start();
    let list = format!("{}/v1/devices?site=plant", centre.api);
    sink.wait_http(&format!("{}/readyz", centre.api), SOON);
    sink.wait("all devices in the store", SOON, |_| {
        match http::get_json(&list)["items"].as_array().map_or(0, Vec::len) {
            MACHINES => Ok(()),
            some => Err(some.to_string()),
        }
    });
    // What the table says no more is left, what it says to be nothing is taken away.
    let cassandra = services::cassandra();
    let table = &centre.table;
    cassandra.cql(&format!("UPDATE {table} SET \"Hall\" = 9, attrs = {{}} WHERE name = 'press-8'"));
    cassandra.cql(&format!("UPDATE {table} SET unit = null WHERE name = 'press-9'"));
    let said = centre.take_table(&[]).stdout;
    assert!(said.contains("change plant/press-8: meta.hall\n"), "{said}");
    assert!(said.contains("change plant/press-9: units.temperature\n"), "{said}");
    let end = format!("0 created, 2 changed, {} unchanged, 1 refused\n", all - 2);
    assert!(said.ends_with(&end), "{said}");
    assert!(sink.term(SOON).success());
}

#[test]
fn what_is_wrong_with_a_table_is_said() {
    let centre = Centre::new();
    let cassandra = services::cassandra();
    cassandra.cql(&format!("CREATE TABLE {} (name text PRIMARY KEY, photo blob)", centre.table));
    cassandra.cql(&format!("INSERT INTO {} (name, photo) VALUES ('p', 0x00)", centre.table));
    let (table, absent) = (centre.table.as_str(), format!("{}s", centre.table));
    let site = ["--set", "site=plant", "--cassandra", "erp.toml"];
    let device = ["--map", "name=device"];
    let import = |more: &[&str]| centre.import(&[&["--from-table"][..], more, &site[..]].concat());
    for (more, part) in [
        (&[absent.as_str(), "--map", "name=device"][..], "has no table `"),
        (&["machines", "--map", "name=device"], "is not KEYSPACE.TABLE"),
        (&[table, "--map", "nam=device"], "has no column `nam`: it has name, photo"),
        (&[table, "--map", "name=meta.hall"], "nothing says what the device is"),
        (&[table], "--map"),
    ] {
        let refused = import(more);
        assert_ne!(refused.status.code(), Some(0), "{more:?}");
        assert!(refused.stderr.contains(part), "{more:?}: {}", refused.stderr);
    }
    let own =
        centre.import(&[&["--from-table", table, "--set", "site=x"][..], &device[..]].concat());
    assert!(own.stderr.contains("no `[store.cassandra]`"), "{}", own.stderr);
    // A row that cannot be is one line of the report.
    let blob = import(&[&[table, "--map", "photo=meta.photo"][..], &device[..]].concat());
    assert!(
        blob.stdout.contains("row 1: refused: `photo`: a blob cannot be a text"),
        "{}",
        blob.stdout
    );
    // Nobody is there.
    let nobody = format!("contact_points = [\"127.0.0.1:{}\"]\n", free_port());
    let launch = centre.launch.clone().file("erp.toml", nobody);
    let args = ["devices", "-c", "sink.toml", "import", "--from-table", table];
    let away = launch.args(args).args(device).args(site).run(SOON);
    assert!(away.stderr.contains("cannot reach Cassandra"), "{}", away.stderr);
}

#[test]
fn the_newest_records_of_a_topic_are_taken() {
    let centre = Centre::new();
    let (kafka, topic) = (services::kafka(), format!("{}.assets", centre.name));
    kafka.create_topic(&topic, 1);
    let press =
        |hall: &str| json!({"id": "press-1", "hall": hall, "hosts": ["10.0.0.7"]}).to_string();
    let fan = json!({"id": "fan", "hall": null}).to_string();
    // The last of them says of the device anew what another key has said.
    let broken = "no JSON".to_owned();
    let sent = [("1", press("A")), ("2", fan), ("3", broken), ("1", press("B")), ("4", press("C"))];
    kafka.send(&topic, &sent);
    let maps = ["--map", "id=device", "--map", "hall=meta.hall", "--map", "hosts=aliases"];
    let args = [&["--from-topic", topic.as_str(), "--set", "site=plant"][..], &maps[..]].concat();
    let done = centre.import(&args);
    assert!(done.stdout.contains("row 2: refused: the record is no JSON"), "{}", done.stdout);
    assert!(
        done.stdout.ends_with("2 created, 0 changed, 0 unchanged, 1 refused\n"),
        "{}",
        done.stdout
    );
    let records = centre.records();
    let press = records.iter().find(|record| record["device"] == "press-1").unwrap();
    assert_eq!((&press["meta"], &press["aliases"]), (&json!({"hall": "C"}), &json!(["10.0.0.7"])));
    let absent = centre.import(&["--from-topic", "nowhere", "--set", "site=plant"]);
    assert!(absent.stderr.contains("topic `nowhere` is not there"), "{}", absent.stderr);
}
