//! The harness itself: what it hands out does real work, and ends when it has to.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_tests::browser::Browser;
use weir_tests::mosquitto::Mosquitto;
use weir_tests::python::python;
use weir_tests::services::{self, Private};
use weir_tests::{Launch, free_port, senders, unique, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn kafka_gives_back_what_was_sent() {
    let kafka = services::kafka();
    let topic = format!("{}.readings", unique("kafka"));
    kafka.create_topic(&topic, 3);
    let sent: Vec<(String, String)> =
        (0..100).map(|n| (format!("site/{}", n % 7), json!({"n": n}).to_string())).collect();
    kafka.send(&topic, &sent);

    let messages = kafka.read(&topic);
    let mut got: Vec<(String, i64)> =
        messages.iter().map(|m| (m.key_text(), m.json()["n"].as_i64().unwrap())).collect();
    got.sort_by_key(|(_, n)| *n);
    let expected: Vec<(String, i64)> = (0..100).map(|n| (format!("site/{}", n % 7), n)).collect();
    assert_eq!(got, expected);
    assert!(messages.iter().any(|m| m.partition > 0), "all in one partition");
    assert!(kafka.read(&unique("nothing")).is_empty());
}

#[test]
fn cassandra_gives_back_what_was_inserted() {
    let cassandra = services::cassandra();
    let keyspace = cassandra.keyspace("cassandra");
    cassandra.cql(&format!(
        "CREATE TABLE {keyspace}.t (site text, ts_us bigint, v double, tags map<text, int>, \
         raw blob, PRIMARY KEY (site, ts_us))"
    ));
    cassandra.cql(&format!(
        "INSERT INTO {keyspace}.t (site, ts_us, v, tags, raw) \
         VALUES ('a', 17, 2.5, {{'x': 1}}, 0x00ff)"
    ));
    cassandra.cql(&format!("INSERT INTO {keyspace}.t (site, ts_us) VALUES ('a', 18)"));
    let rows = cassandra.cql(&format!("SELECT * FROM {keyspace}.t WHERE site = 'a'"));
    assert_eq!(
        json!(rows),
        json!([
            {"site": "a", "ts_us": 17, "v": 2.5, "tags": {"x": 1}, "raw": "00ff"},
            {"site": "a", "ts_us": 18, "v": null, "tags": null, "raw": null},
        ])
    );
    assert!(cassandra.try_cql("SELECT * FROM nowhere.t").is_err());
}

#[tokio::test]
async fn clients_work_inside_a_runtime() {
    assert_eq!(services::cassandra().cql("SELECT key FROM system.local").len(), 1);
}

#[test]
fn a_private_kafka_keeps_its_data_through_a_kill() {
    let private = Private::kafka(&[]);
    let kafka = private.as_kafka();
    kafka.create_topic("t", 1);
    kafka.send("t", &[("k", "before")]);
    private.node(1, "kill");
    private.node(1, "start");
    kafka.send("t", &[("k", "after")]);
    let payloads: Vec<_> = kafka.read("t").into_iter().map(|m| m.payload.unwrap()).collect();
    assert_eq!(payloads, [b"before".to_vec(), b"after".to_vec()]);
    let folder = private.env("KAFKA_DIR").to_string();
    assert!(Path::new(&folder).exists());
    drop(private);
    assert!(!Path::new(&folder).exists(), "{folder} stayed behind");
}

/// What keeps a killed test run from leaving services behind: the pipe ends, the service ends.
#[test]
fn a_service_ends_when_its_holder_is_gone() {
    // The holder is a process that has only the pipe, and is killed as the tests may be.
    let script = format!(
        "exec 3> >(exec setsid {}/tests/services/hold kafka {}); exec sleep 1000",
        weir_tests::root().display(),
        unique("hold"),
    );
    let mut holder = Launch::tool("bash").args(["-c", &script]).start();
    holder.wait_line("READY", Duration::from_secs(120));
    let line = holder.wait_line("KAFKA_DIR=", SOON);
    let folder = line.strip_prefix("KAFKA_DIR=").unwrap();
    assert!(Path::new(folder).exists());
    holder.kill9();
    wait_for("the service's folder to be there", false, SOON, || Path::new(folder).exists());
}

#[test]
fn the_reaper_kills_what_is_open_and_removes_the_folder() {
    let mut open = Launch::tool("sleep").arg("1000").start();
    let mut closed = Launch::tool("sleep").arg("1000").start();
    let folder = weir_tests::temp_dir("reaped");
    std::fs::write(folder.path().join("file"), "left").unwrap();
    let reaper = Launch::at("reaper", weir_tests::root().join("tests/services/reaper"));
    let (a, b) = (open.pid(), closed.pid());
    reaper.arg(folder.path()).stdin(format!("+{a}\n+{b}\n-{b}\n")).run(SOON).ok();
    assert!(!open.wait_exit(SOON).success());
    assert_eq!(closed.try_status(), None);
    assert!(!folder.path().exists());
}

#[test]
fn mosquitto_hands_on_what_is_published() {
    let mut mosquitto = Mosquitto::start();
    let mut subscriber = mosquitto.subscribe("site/+/temperature");
    mosquitto.publish("site/a/humidity", b"7", 1);
    mosquitto.publish("site/a/temperature", b"21.5", 1);
    subscriber.wait_line("site/a/temperature 21.5", SOON);
    assert!(!subscriber.lines().iter().any(|line| line.text.contains("humidity ")));

    mosquitto.program.kill9();
    mosquitto.program.restart();
    mosquitto.wait_ready();
    mosquitto.publish("site/a/temperature", b"22.5", 1);
}

#[test]
fn chromium_opens_reads_and_clicks() {
    let browser = Browser::start();
    let page = "<!doctype html><title>weir</title><h1>Fleet</h1><p id=n>0</p>\
                <button onclick='setTimeout(() => n.textContent = 42, 100)'>go</button>\
                <script>console.error('dry')</script>";
    browser.open(&format!("data:text/html,{page}"));
    assert_eq!(browser.text("h1").as_deref(), Some("Fleet"));
    assert_eq!(browser.text("h2"), None);
    assert_eq!(browser.texts("h1, p"), ["Fleet", "0"]);
    browser.click("button");
    browser.wait_text("#n", |text| text == "42");
    let console = browser.console();
    assert!(console.iter().any(|line| line.starts_with("SEVERE") && line.contains("dry")));

    let folder = weir_tests::temp_dir("picture");
    let picture = folder.path().join("page.png");
    browser.screenshot(&picture);
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn python_reads_what_rust_sent() {
    let kafka = services::kafka();
    let topic = unique("python");
    kafka.create_topic(&topic, 1);
    kafka.send(&topic, &[("key", "value")]);
    let script = "\
import sys, confluent_kafka
c = confluent_kafka.Consumer({'bootstrap.servers': sys.argv[1], 'group.id': sys.argv[2],
                              'auto.offset.reset': 'earliest'})
c.subscribe([sys.argv[2]])
m = c.poll(30)
print(m.key().decode(), m.value().decode())
c.close()
";
    let said = python(script, &[&kafka.bootstrap, &topic]).run(Duration::from_secs(60)).ok();
    assert_eq!(said, "key value\n");
}

/// A sender gets a line on UDP and forwards it to us over TCP.
#[track_caller]
fn check_forwarding(start: impl FnOnce(u16, u16) -> weir_tests::Program) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let input = free_port();
    let mut sender = start(input, listener.local_addr().unwrap().port());
    let received = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    });
    // Over UDP nobody says when the sender listens, so it is told until something comes out.
    wait_until("a forwarded line", SOON, || {
        let port = input.to_string();
        let args = ["--server", "127.0.0.1", "--port", &port, "--udp", "--rfc3164", "-t", "weir"];
        Launch::tool("logger").args(args).arg("over the dam").run(SOON).ok();
        assert_eq!(sender.try_status(), None, "the sender has ended");
        if received.is_finished() { Ok(()) } else { Err("nothing yet") }
    });
    let line = received.join().unwrap();
    assert!(line.contains("weir") && line.contains("over the dam"), "{line}");
}

#[test]
fn rsyslog_forwards() {
    check_forwarding(|input, output| {
        senders::rsyslog(&format!(
            "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{input}\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{output}\" protocol=\"tcp\")"
        ))
    });
}

#[test]
fn syslog_ng_forwards() {
    check_forwarding(|input, output| {
        senders::syslog_ng(&format!(
            "source s {{ network(ip(\"127.0.0.1\") port({input}) transport(\"udp\")); }};\n\
             destination d {{ network(\"127.0.0.1\" port({output}) transport(\"tcp\")); }};\n\
             log {{ source(s); destination(d); }};"
        ))
    });
}

#[test]
fn programs_are_stopped_paused_and_started_again() {
    let script = "echo started; trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done";
    let mut program = Launch::tool("bash").args(["-c", script]).start();
    program.wait_line("started", SOON);
    assert!(program.rss_bytes() > 0 && program.rss_peak_bytes() >= program.rss_bytes());
    program.pause();
    program.resume();
    assert_eq!(program.term(SOON).code(), Some(7));
    program.wait_line("bye", SOON);

    program.restart();
    program.wait_line("started", SOON);
    program.kill9();
    assert_eq!(program.try_status().and_then(|s| s.code()), None, "it ended by itself");
    assert!(!program.lines().iter().any(|line| line.text == "bye"));
}

#[test]
fn a_run_gives_output_and_status() {
    let script = "cat; echo oops >&2; exit 3";
    let finished = Launch::tool("bash").args(["-c", script]).stdin("in").run(SOON);
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("in\n", "oops\n"));
    assert_eq!(finished.status.code(), Some(3));
}

#[test]
fn our_programs_are_built_from_this_source() {
    for name in ["weir", "weir-agent", "weir-sink"] {
        Launch::ours(name).arg("--help").run(SOON).ok();
    }
}
