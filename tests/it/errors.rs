//! What is wrong is said, with what to do: configuration, ports, brokers, schema, disks, records.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::kafka::Kafka;
use weir_tests::program::Finished;
use weir_tests::services::{self, Private};
use weir_tests::{Launch, Program, free_port, http, parquet_rows, unique, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// What is wrong with Kafka has to be told within this.
const TOLD: Duration = Duration::from_secs(10);

/// Waits for a 503 of `/readyz` that says all of `parts`.
#[track_caller]
pub(crate) fn wait_not_ready(program: &mut Program, port: u16, parts: &[&str], timeout: Duration) {
    let url = format!("http://127.0.0.1:{port}/readyz");
    program.wait(&format!("{parts:?} from {url}"), timeout, |_| {
        let answer = http::try_get(&url).map_err(|error| error.to_string())?;
        let text = answer.text();
        let is_told = answer.status == 503 && parts.iter().all(|part| text.contains(part));
        if is_told { Ok(()) } else { Err(format!("{} {text}", answer.status)) }
    });
}

/// Ended with this code, and everything of `parts` was said.
#[track_caller]
fn check_end(finished: &Finished, code: i32, parts: &[&str]) {
    let said = &finished.stderr;
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert_eq!(finished.status.code(), Some(code), "{said}");
}

#[track_caller]
fn run(program: &str, args: &[&str], config: &str) -> Finished {
    Launch::ours(program).file("c.toml", config).args(args).args(["-c", "c.toml"]).run(SOON)
}

#[test]
fn a_wrong_key_is_named_with_line_and_nearest_key() {
    let agent =
        "agent = { site = \"a\" }\nkafka = { brokers = [\"k:9092\"] }\n[spool]\nflush_sm = 9\n";
    let hint = ["c.toml:4:1: ", "unknown field `flush_sm`", "did you mean `flush_ms`?"];
    check_end(&run("weir-agent", &["check"], agent), 2, &hint);
    check_end(&run("weir-agent", &["run"], agent), 2, &hint);

    let sink = "[kafka]\nbrokers = [\"k:9092\"]\n[store.sqlite]\npath = \"s\"\n[archive]\npath = \"a\"\n[consume]\ngruop = \"g\"\n";
    let hint = ["c.toml:8:1: ", "unknown field `gruop`", "did you mean `group`?"];
    for command in ["check", "run", "migrate"] {
        check_end(&run("weir-sink", &[command], sink), 2, &hint);
    }

    let site = "[site]\nname = \"s\"\ndata_dri = \"d\"\n";
    let hint = ["c.toml:3:1: ", "unknown field `data_dri`", "did you mean `data_dir`?"];
    check_end(&run("weir", &["up"], site), 2, &hint);

    let missing = Launch::ours("weir-agent").args(["check", "-c", "none.toml"]).run(SOON);
    check_end(&missing, 2, &["cannot read the configuration `none.toml`"]);
}

fn agent_config(broker: &str, prefix: &str, status: u16) -> String {
    format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
         status = {{ listen = \"127.0.0.1:{status}\" }}\n\
         kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{prefix}\" }}\n"
    )
}

fn sink_config(broker: &str, name: &str, http: u16) -> String {
    format!(
        "http = {{ listen = \"127.0.0.1:{http}\" }}\n\
         store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
         archive = {{ path = \"archive\", close_after_s = 1 }}\n\
         consume = {{ group = \"{name}\" }}\n\
         topics = {{ partitions = 1 }}\n\
         kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{name}.\" }}\n"
    )
}

/// An address where nobody listens.
fn nowhere() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A sink whose store has its schema; what `migrate` says of Kafka is for the caller.
fn migrated(config: &str) -> (Launch, Finished) {
    let sink = Launch::ours("weir-sink").file("sink.toml", config);
    let migrate = sink.clone().args(["migrate", "-c", "sink.toml"]).run(Duration::from_secs(60));
    (sink.args(["run", "-c", "sink.toml"]), migrate)
}

#[test]
fn an_agent_without_a_source_says_how_to_add_one() {
    let agent = agent_config(&nowhere(), "x.", 0);
    check_end(&run("weir-agent", &["run"], &agent), 1, &["no source", "[[source.syslog]]"]);
}

#[test]
fn a_busy_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");

    let agent = agent_config(&nowhere(), "x.", 0);
    let source = format!("{agent}[[source.syslog]]\nlisten = \"tcp://{address}\"\n");
    let advice = format!("ss -tlpn 'sport = :{port}'");
    check_end(&run("weir-agent", &["run"], &source), 1, &[&address, &advice]);
    let any = "[[source.syslog]]\nlisten = \"udp://127.0.0.1:0\"\n";
    let status = agent_config(&nowhere(), "x.", port) + any;
    check_end(&run("weir-agent", &["run"], &status), 1, &[&address, "set `status.listen`"]);

    let (sink, _) = migrated(&sink_config(&nowhere(), &unique("busy"), port));
    check_end(&sink.run(SOON), 1, &[&address, "set `http.listen` to a free address"]);

    let site = format!(
        "site = {{ name = \"s\", data_dir = \"d\" }}\nhttp = {{ listen = \"{address}\" }}\n"
    );
    check_end(&run("weir", &["up"], &site), 1, &[&address, "set `http.listen` to a free address"]);
}

#[test]
fn an_agent_without_broker_takes_input_and_says_so() {
    let (status, input) = (free_port(), free_port());
    let source = format!("[[source.http]]\nlisten = \"127.0.0.1:{input}\"\n");
    let mut agent = Program::agent(&(agent_config(&nowhere(), "x.", status) + &source));
    wait_not_ready(&mut agent, status, &["is the broker up", "`kafka.brokers`"], TOLD);
    let url = format!("http://127.0.0.1:{input}/v1/events");
    for n in 0..5 {
        let body = json!({"temperature": n}).to_string();
        assert_eq!(http::post(&url, "application/json", body.as_bytes()).status, 204);
    }
    assert_eq!(http::get(&format!("http://127.0.0.1:{status}/healthz")).status, 200);
    // What it took stays: a stop is not held up by the broker, and a start finds it again.
    assert!(agent.term(SOON).success());
    agent.restart();
    agent.wait("what waits in the spool", SOON, |_| {
        let url = format!("http://127.0.0.1:{status}/metrics");
        let text = http::try_get(&url).map_err(|error| error.to_string())?.text();
        let line = text.lines().find(|line| line.starts_with("weir_agent_spool_waiting_events"));
        let line = line.unwrap_or_default().to_owned();
        if line.ends_with(" 5") { Ok(()) } else { Err(line) }
    });
}

#[test]
fn a_sink_without_broker_or_schema_says_so() {
    let http = free_port();
    let config = sink_config(&nowhere(), &unique("nobroker"), http);
    let early = Launch::ours("weir-sink").file("sink.toml", &config);
    let early = early.args(["run", "-c", "sink.toml"]).run(SOON);
    check_end(&early, 1, &["run `weir-sink migrate`"]);

    let (sink, migrate) = migrated(&config);
    check_end(&migrate, 1, &["Kafka does not answer", "check `[kafka] brokers`"]);
    let mut sink = sink.start();
    wait_not_ready(&mut sink, http, &["no broker answers", "check `[kafka] brokers`"], TOLD);
    assert!(sink.term(SOON).success());
}

/// What is told of a broken connection, in `/readyz` and in the log.
#[track_caller]
fn check_refused(tls: &str, user: &str, agent_says: &str, sink_says: &str, broker: &str) {
    let kafka = format!(
        "[kafka]\nbrokers = [\"{broker}\"]\ntls = {tls}\n[kafka.sasl]\n\
         mechanism = \"SCRAM-SHA-512\"\nusername = \"{user}\"\npassword = {{ env = \"PASSWORD\" }}\n"
    );
    let start = |program: &str, config: String| {
        let launch = Launch::ours(program).file("c.toml", config).env("PASSWORD", "wrong");
        launch.args(["run", "-c", "c.toml"]).start()
    };
    let (status, http, input) = (free_port(), free_port(), free_port());
    let head = format!(
        "agent = {{ site = \"plant\", data_dir = \"data\" }}\n\
         status = {{ listen = \"127.0.0.1:{status}\" }}\n"
    );
    let source = format!("[[source.http]]\nlisten = \"127.0.0.1:{input}\"\n");
    let mut agent = start("weir-agent", head + &kafka + &source);
    wait_not_ready(&mut agent, status, &[agent_says], TOLD);
    agent.wait_line(agent_says, TOLD);

    // The schema comes from a migration that fails at Kafka.
    let head = format!(
        "http = {{ listen = \"127.0.0.1:{http}\" }}\n\
         store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
         archive = {{ path = \"archive\" }}\n"
    );
    let sink = Launch::ours("weir-sink").file("c.toml", head + &kafka).env("PASSWORD", "wrong");
    let migrate = sink.clone().args(["migrate", "-c", "c.toml"]).run(Duration::from_secs(60));
    check_end(&migrate, 1, &["Kafka does not answer, check `[kafka] brokers`, user and network"]);
    let mut sink = sink.args(["run", "-c", "c.toml"]).start();
    wait_not_ready(&mut sink, http, &[sink_says], TOLD);
    sink.wait_line(sink_says, TOLD);
}

#[test]
fn a_wrong_password_and_an_unknown_authority_are_told() {
    let private = Private::kafka(&["--secure"]);
    let broker = private.env("KAFKA_BOOTSTRAP");
    let trusted = format!("{{ ca_file = \"{}\" }}", private.env("KAFKA_CA"));
    // At the same time: a migration that fails takes its time to give up.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            check_refused(&trusted, "agent", "check `kafka.sasl`", "check `[kafka.sasl]`", broker);
        });
        // The system's authorities do not know the one of the tests.
        check_refused("{}", "agent", "check `kafka.tls`", "check `[kafka.tls]`", broker);
    });
}

#[test]
fn a_full_spool_holds_senders_back_and_loses_nothing() {
    const EVENTS: usize = 300;
    let private = Private::kafka(&[]);
    let kafka = private.as_kafka();
    kafka.create_topic("full.readings", 1);
    private.node(1, "stop");
    let (status, input) = (free_port(), free_port());
    let mut agent = Program::agent(&format!(
        "{}spool = {{ max_bytes = 4194304, segment_bytes = 65536, zstd_level = 0, flush_ms = 5 }}\n\
         score = {{ readings = false, logs = false }}\n\
         [[source.http]]\nlisten = \"127.0.0.1:{input}\"\n",
        agent_config(&kafka.bootstrap, "full.", status)
    ));
    agent.wait_line("agent is running", SOON);
    // 40 KB each: 300 of them are three times what the spool may hold.
    let url = format!("http://127.0.0.1:{input}/v1/events");
    let sender = std::thread::spawn(move || {
        (0..EVENTS)
            .map(|n| {
                let body = json!({"n": n, "pad": "x".repeat(40_000)}).to_string();
                http::post(&url, "application/json", body.as_bytes()).status
            })
            .collect::<Vec<u16>>()
    });
    wait_not_ready(&mut agent, status, &["spool is full", "see that Kafka is reachable"], SOON);
    assert!(!sender.is_finished(), "the sender was not held back");
    private.node(1, "start");
    let answers = sender.join().unwrap();
    assert_eq!(answers, [204; EVENTS]);
    agent.wait_http(&format!("http://127.0.0.1:{status}/readyz"), SOON);
    assert!(agent.term(SOON).success());
    let messages = kafka.read("full.readings");
    let mut found: Vec<f64> =
        messages.iter().map(|m| m.json()["values"]["n"]["v"].as_f64().unwrap()).collect();
    found.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..EVENTS).map(|n| n as f64).collect();
    assert_eq!(found, expected);
}

/// Sends log lines through an agent that reads a pipe.
#[track_caller]
fn send_lines(kafka: &Kafka, prefix: &str, lines: &[String]) {
    let config = agent_config(&kafka.bootstrap, prefix, 0) + "[source.stdin]\nformat = \"text\"\n";
    let agent = Launch::ours("weir-agent").file("a.toml", config).args(["run", "-c", "a.toml"]);
    agent.stdin(lines.join("\n") + "\n").run(SOON).ok();
}

/// The lines in the archive, in order.
fn archived(folder: &Path) -> Vec<String> {
    let rows = parquet_rows(folder);
    let mut lines: Vec<String> =
        rows.iter().filter_map(|row| row.row["raw"].as_str().map(str::to_owned)).collect();
    lines.sort();
    lines
}

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n:05}")).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn a_full_archive_commits_nothing_and_goes_on_when_there_is_room() {
    let disk = Disk::new();
    let Some(disk) = disk else {
        return println!("skipped: this user may not mount a small file system");
    };
    let (kafka, name, http) = (services::kafka(), unique("fulldisk"), free_port());
    let config = sink_config(&kafka.bootstrap, &name, http);
    let archive = disk.folder.path().display().to_string();
    let config = config.replace("path = \"archive\"", &format!("path = \"{archive}\""));
    let (sink, migrate) = migrated(&config);
    migrate.ok();
    let mut sink = sink.start();
    sink.wait_http(&format!("http://127.0.0.1:{http}/readyz"), SOON);
    let ballast = disk.folder.path().join("ballast");
    // Ends when the disk is full.
    assert!(fs::write(&ballast, vec![0; 4 << 20]).is_err());
    let lines = numbered(0, 200);
    send_lines(kafka, &format!("{name}."), &lines);
    wait_not_ready(&mut sink, http, &["make room on its disk"], SOON);
    let topics = [format!("{name}.logs")];
    assert_eq!(kafka.uncommitted(&name, &topics), 200);

    fs::remove_file(&ballast).unwrap();
    wait_until("all to be committed", SOON, || match kafka.uncommitted(&name, &topics) {
        0 => Ok(()),
        left => Err(format!("{left} are not")),
    });
    sink.wait_http(&format!("http://127.0.0.1:{http}/readyz"), SOON);
    assert_eq!(archived(disk.folder.path()), lines);
    assert!(sink.term(SOON).success());
}

/// A file system of 1 MiB.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Option<Self> {
        let folder = weir_tests::temp_dir("disk");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "weir-tests"]).arg(folder.path());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        is_mounted.then_some(Self { folder })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a sink that is killed a moment later may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn a_poison_record_goes_to_the_dead_letters_and_stops_nothing() {
    let (kafka, name, http) = (services::kafka(), unique("poison"), free_port());
    let (sink, migrate) = migrated(&sink_config(&kafka.bootstrap, &name, http));
    migrate.ok();
    let (logs, prefix) = (format!("{name}.logs"), format!("{name}."));
    send_lines(kafka, &prefix, &numbered(0, 20));
    kafka.send(&logs, &[("plant/gw", "{ this is no event")]);
    send_lines(kafka, &prefix, &numbered(20, 40));

    let mut sink = sink.start();
    let letters = sink.wait("the dead letter", SOON, |_| {
        let letters = kafka.read(&format!("{name}.dlq"));
        if letters.is_empty() { Err("none".to_owned()) } else { Ok(letters) }
    });
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key_text(), "plant/gw");
    assert_eq!(letters[0].payload.as_deref(), Some(&b"{ this is no event"[..]));
    let headers: Vec<(String, String)> = letters[0]
        .headers
        .iter()
        .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    let header =
        |key: &str| headers.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    assert!(header("reason").is_some_and(|reason| !reason.is_empty()), "{headers:?}");
    assert_eq!(header("topic"), Some(logs.as_str()));
    assert_eq!((header("partition"), header("offset")), (Some("0"), Some("20")));

    let topics = [logs];
    wait_until("all to be committed", SOON, || match kafka.uncommitted(&name, &topics) {
        0 => Ok(()),
        left => Err(format!("{left} are not")),
    });
    assert_eq!(archived(&sink.dir().join("archive").join("logs")), numbered(0, 40));
    let url = format!("http://127.0.0.1:{http}/readyz");
    let ready: Value = http::get_json(&url);
    assert_eq!(ready["ready"], true, "{ready}");
}
