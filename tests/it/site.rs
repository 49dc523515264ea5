//! The all-in-one as people start it: the demo on its own parts and on real services, and a small
//! site that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use weir_tests::{Launch, Program, free_port, http, parquet_rows, services, wait_for};

const SOON: Duration = Duration::from_secs(60);
/// The demo's input: both labelled series, the sensor boards, `auth.log`, the lines of many senders.
const DEMO_EVENTS: u64 = 22_695 + 4_032 + 4_000 + 4_500 + 223;

#[track_caller]
fn check_demo(more: &[&str]) {
    let launch = Launch::ours("weir").args(["demo", "--exit", "--json"]);
    let launch = launch.args(["--listen", "127.0.0.1:0"]).args(more);
    let said = launch.run(Duration::from_secs(180)).ok();
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for count in ["events_in", "events_stored", "events_archived"] {
        assert_eq!(report[count], DEMO_EVENTS, "{count} of {report}");
    }
    assert_eq!((&report["lost"], &report["double"]), (&0.into(), &0.into()), "{report}");
    let number = |key: &str| report[key].as_f64().unwrap();
    assert_eq!(number("windows"), 6.0, "{report}");
    assert!(number("windows_hit") >= 4.0 && number("windows_hit") <= 6.0, "{report}");
    assert!(number("alerts") >= number("windows_hit"), "{report}");
    assert!(number("seconds") > 0.0, "{report}");
}

#[test]
fn the_demo_loses_nothing() {
    check_demo(&[]);
}

/// Twice, because the second one finds topics and tables full of the first one.
#[test]
fn the_demo_loses_nothing_on_real_services() {
    let contact_points = services::cassandra().contact_points.join(",");
    let kafka = &services::kafka().bootstrap;
    for _ in 0..2 {
        check_demo(&["--kafka", kafka, "--cassandra", &contact_points]);
    }
}

/// A small site with syslog over TCP and readings over HTTP.
struct Mill {
    program: Program,
    page: String,
    input: String,
    syslog: u16,
}

impl Mill {
    fn start() -> Self {
        let (page, input, syslog) = (free_port(), free_port(), free_port());
        let config = format!(
            "[site]\nname = \"mill\"\ndata_dir = \"data\"\narchive_close_after_s = 1\n\
             [[source.syslog]]\nlisten = \"tcp://127.0.0.1:{syslog}\"\nzone = \"UTC\"\n\
             [[source.http]]\nlisten = \"127.0.0.1:{input}\"\n\
             [http]\nlisten = \"127.0.0.1:{page}\"\n"
        );
        let launch = Launch::ours("weir").file("weir.toml", config);
        let program = launch.args(["up", "-c", "weir.toml"]).start();
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let mut mill = Self { program, page: address(page), input: address(input), syslog };
        mill.wait_up();
        mill
    }

    fn wait_up(&mut self) {
        self.program.wait_line("site is up", SOON);
        let page = http::get(&format!("{}/", self.page));
        assert!(page.content_type.starts_with("text/html"), "{}", page.content_type);
        assert!(page.text().contains("<title>weir</title>"), "{}", page.text());
    }

    /// Readings with these numbers; the answer says that they are safe.
    fn send_readings(&self, numbers: std::ops::Range<u32>) {
        let numbers: Vec<u32> = numbers.collect();
        for chunk in numbers.chunks(1_000) {
            let line =
                |n: &u32| format!("flow,device=pump-{} value={n} {}\n", n % 3, 1_000_000 + n);
            let body: String = chunk.iter().map(line).collect();
            let url = format!("{}/v1/write?precision=s", self.input);
            let answer = http::post(&url, "text/plain", body.as_bytes());
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }

    /// Log lines with these numbers; a person who sends them is told nothing.
    fn send_lines(&self, numbers: std::ops::Range<u32>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.syslog)).unwrap();
        for n in numbers {
            writeln!(stream, "<13>1 2025-06-15T00:00:00Z saw mill - - - line number {n}").unwrap();
        }
    }

    /// The values of all readings that the API shows, each as often as it is there.
    fn readings(&self) -> Vec<u32> {
        let mut values = Vec::new();
        for pump in 0..3 {
            let query = format!("site=mill&device=pump-{pump}&metric=flow&from=0&limit=100000");
            let answer = http::get_json(&format!("{}/v1/readings?{query}", self.page));
            let points = answer["points"].as_array().unwrap();
            values.extend(points.iter().map(|point| point["value"].as_f64().unwrap() as u32));
        }
        values.sort_unstable();
        values
    }

    /// The same for the log lines.
    fn lines(&self) -> Vec<u32> {
        let url = format!("{}/v1/logs?site=mill&from=0&limit=10000", self.page);
        let answer = http::get_json(&url);
        let items = answer["items"].as_array().unwrap();
        let number = |item: &Value| {
            let message = item["message"].as_str().unwrap();
            message.strip_prefix("line number ").unwrap().parse::<u32>().unwrap()
        };
        let mut numbers: Vec<u32> = items.iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether every event that has to be there is there once.
    #[track_caller]
    fn wait_arrived(&self, readings: u32, lines: u32) {
        wait_for("lines by the API", (0..lines).collect(), SOON, || self.lines());
        wait_for("readings by the API", (0..readings).collect(), SOON, || self.readings());
    }
}

/// Event identities as stream (16 digits) and number.
type Ids = BTreeMap<(String, i64), u32>;

fn ids_stored(store: &Path) -> Ids {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut ids = Ids::new();
    for table in ["readings", "logs"] {
        let mut rows = connection.prepare(&format!("SELECT stream, seq FROM {table}")).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        for row in rows.query_map([], row).unwrap() {
            let (stream, seq) = row.unwrap();
            *ids.entry((format!("{stream:016x}"), seq)).or_default() += 1;
        }
    }
    ids
}

fn ids_archived(archive: &Path) -> Ids {
    let mut ids = Ids::new();
    for row in parquet_rows(archive) {
        let object = row.object.display().to_string();
        if object.contains("readings") || object.contains("logs") {
            let stream = row.row["stream"].as_str().unwrap().to_string();
            *ids.entry((stream, row.row["seq"].as_i64().unwrap())).or_default() += 1;
        }
    }
    ids
}

/// Killed while the sink is at work on what the agent has promised, and again while it catches up.
#[test]
fn a_small_site_keeps_everything_through_kills() {
    let mut mill = Mill::start();
    mill.send_lines(0..300);
    mill.wait_arrived(0, 300);
    mill.send_readings(0..6_000);
    mill.program.kill9();
    mill.program.restart();
    mill.wait_up();
    mill.send_readings(6_000..9_000);
    mill.program.kill9();
    mill.program.restart();
    mill.wait_up();
    mill.send_readings(9_000..9_300);
    mill.send_lines(300..400);
    mill.wait_arrived(9_300, 400);

    let data = mill.program.dir().join("data");
    let stored = ids_stored(&data.join("store.sqlite"));
    assert_eq!(stored.len(), 9_700, "events in the store");
    assert!(stored.values().all(|rows| *rows == 1), "one value, one row");
    wait_for("the archive holds as many events", stored.len(), SOON, || {
        ids_archived(&data.join("archive")).len()
    });
    // Once all is archived nothing is added; the ended program changes nothing more either.
    assert!(mill.program.term(SOON).success());
    let archived = ids_archived(&data.join("archive"));
    let twice: BTreeSet<_> = archived.iter().filter(|(_, rows)| **rows != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(archived, stored);
}
