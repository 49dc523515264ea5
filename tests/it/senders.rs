//! Senders that nobody here wrote: logger, rsyslog, syslog-ng, mosquitto; and files and pipes.
//!
//! Each test runs an agent on the shared Kafka under a prefix of its own, and reads the topics.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_tests::mosquitto::Mosquitto;
use weir_tests::{Launch, Program, fixtures, free_port, senders, services, unique, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// An agent between senders and the shared Kafka.
pub(crate) struct Gateway {
    /// The program.
    pub(crate) agent: Program,
    /// Before the names of its topics.
    pub(crate) prefix: String,
}

/// The head of every configuration here; `[source…]` follows. No scores: a test counts events.
pub(crate) fn head(prefix: &str) -> String {
    format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\", heartbeat_s = 3600 }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
         score = {{ readings = false, logs = false }}\n\
         status = {{ listen = \"127.0.0.1:0\" }}\n",
        services::kafka().bootstrap
    )
}

/// A prefix of its own, with the topics of events.
fn prefix(name: &str) -> String {
    let prefix = format!("{}.", unique(name));
    for topic in ["logs", "readings"] {
        services::kafka().create_topic(&format!("{prefix}{topic}"), 3);
    }
    prefix
}

impl Gateway {
    /// Starts it with these tables `[[source.…]]`.
    #[track_caller]
    pub(crate) fn start(name: &str, sources: &str) -> Self {
        let prefix = prefix(name);
        let mut agent = Program::agent(&format!("{}{sources}", head(&prefix)));
        agent.wait_line("agent is running", SOON);
        Self { agent, prefix }
    }

    /// The address of metrics and health.
    pub(crate) fn status(&mut self) -> String {
        let line = self.agent.wait_line("agent is running", SOON);
        let at = line.find("status=Some(").unwrap() + "status=Some(".len();
        line[at..].split(')').next().unwrap().to_owned()
    }

    /// How many events Kafka has.
    pub(crate) fn count(&self) -> i64 {
        let topic = |name| services::kafka().count(&format!("{}{name}", self.prefix));
        topic("logs") + topic("readings")
    }

    /// Waits until Kafka has so many events, or more.
    #[track_caller]
    pub(crate) fn wait_count(&mut self, count: usize) {
        let (prefix, wanted) = (self.prefix.clone(), count as i64);
        self.agent.wait(&format!("{count} events in {prefix}"), SOON, |_| {
            let topic = |name| services::kafka().count(&format!("{prefix}{name}"));
            let now = topic("logs") + topic("readings");
            if now >= wanted { Ok(()) } else { Err(format!("{now}")) }
        });
    }

    /// All events, when Kafka has at least so many and the agent has stopped with nothing left.
    #[track_caller]
    pub(crate) fn finish(mut self, count: usize) -> Vec<Value> {
        self.wait_count(count);
        assert!(self.agent.term(SOON).success());
        events(&self.prefix)
    }
}

/// All events under a prefix.
pub(crate) fn events(prefix: &str) -> Vec<Value> {
    let topics = ["logs", "readings"].map(|name| format!("{prefix}{name}"));
    let messages = topics.iter().flat_map(|topic| services::kafka().read(topic));
    messages.map(|message| message.json()).collect()
}

/// Lines of one host's `auth.log` that name a process, each once.
pub(crate) fn auth_lines(count: usize) -> Vec<String> {
    let text = fs::read_to_string(fixtures().join("syslog/auth.rfc3164.log")).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.contains("]: ")) {
        if lines.len() == count {
            break;
        }
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    assert_eq!(lines.len(), count);
    lines
}

/// `Mar 27 13:06:56 HOST APP[PROCID]: MESSAGE`, cut by hand.
pub(crate) fn cut(line: &str) -> [String; 4] {
    let rest = &line["Mar 27 13:06:56 ".len()..];
    let (host, rest) = rest.split_once(' ').unwrap();
    let (tag, message) = rest.split_once("]: ").unwrap();
    let (app, procid) = tag.split_once('[').unwrap();
    [host, app, procid, message].map(str::to_owned)
}

fn text(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap_or_default().to_owned()
}

/// Everything that was sent through `source` is there once, in order, with every part right.
#[track_caller]
pub(crate) fn check_lines(events: &[Value], source: &str, expected: &[[String; 4]]) {
    let ours = events.iter().filter(|event| event["source"] == source);
    let mut ours: Vec<&Value> = ours.collect();
    ours.sort_by_key(|event| event["seq"].as_u64());
    for event in &ours {
        assert_eq!(event["parse"], "ok", "{source}: {event}");
    }
    let found: Vec<[String; 4]> =
        ours.iter().map(|e| ["host", "app", "procid", "message"].map(|key| text(e, key))).collect();
    let differ = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = differ {
        panic!(
            "{source}, event {at}:\n{:?}\nexpected:\n{:?}\n{}",
            found[at], expected[at], ours[at]
        );
    }
    assert_eq!(found.len(), expected.len(), "events of {source}");
}

#[test]
fn logger_over_udp_tcp_and_a_unix_socket() {
    let (udp, tcp, folder) = (free_port(), free_port(), weir_tests::temp_dir("socket"));
    let socket = folder.path().join("log.sock").display().to_string();
    let sources = format!(
        "[[source.syslog]]\nname = \"udp\"\nlisten = \"udp://127.0.0.1:{udp}\"\n\
         [[source.syslog]]\nname = \"tcp\"\nlisten = \"tcp://127.0.0.1:{tcp}\"\n\
         [[source.syslog]]\nname = \"unix\"\nlisten = \"unix://{socket}\"\n"
    );
    let mut gateway = Gateway::start("logger", &sources);
    let messages: Vec<String> = auth_lines(40).iter().map(|line| cut(line)[3].clone()).collect();
    let messages = [messages, vec!["Grüße über den Überlauf: 100 %".to_owned()]].concat();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (udp, tcp) = (udp.to_string(), tcp.to_string());
    let net = |port| vec!["--server", "127.0.0.1", "--port", port];
    let runs: [(&str, &str, Vec<&str>); 7] = [
        ("udp", "udp3164", [net(&udp), vec!["--udp", "--rfc3164"]].concat()),
        ("udp", "udp5424", [net(&udp), vec!["--udp", "--rfc5424"]].concat()),
        ("tcp", "tcp3164", [net(&tcp), vec!["--tcp", "--rfc3164"]].concat()),
        ("tcp", "tcp5424", [net(&tcp), vec!["--tcp", "--rfc5424"]].concat()),
        ("tcp", "tcp3164oc", [net(&tcp), vec!["--tcp", "--rfc3164", "--octet-count"]].concat()),
        ("tcp", "tcp5424oc", [net(&tcp), vec!["--tcp", "--rfc5424", "--octet-count"]].concat()),
        ("unix", "unixsock", vec!["-u", &socket]),
    ];
    for (n, (_, tag, how)) in runs.iter().enumerate() {
        let launch = Launch::tool("logger").args(how).args(["-t", tag, "--id=4711"]);
        let launch = launch.args(["-p", "local3.warning"]);
        launch.stdin(messages.join("\n") + "\n").run(SOON).ok();
        // One sender after the other, so that each is in order.
        gateway.wait_count((n + 1) * messages.len());
    }
    let events = gateway.finish(runs.len() * messages.len());
    assert_eq!(events.len(), runs.len() * messages.len());
    for (source, tag, _) in &runs {
        let of = |app: &str| [host.clone(), app.into(), "4711".into()];
        let expected: Vec<[String; 4]> = messages
            .iter()
            .map(|message| {
                let [host, app, procid] = of(tag);
                [host, app, procid, message.clone()]
            })
            .collect();
        let ours: Vec<Value> = events.iter().filter(|e| e["app"] == *tag).cloned().collect();
        check_lines(&ours, source, &expected);
        assert!(ours.iter().all(|e| e["severity"] == 4 && e["facility"] == 19), "{}", ours[0]);
    }
}

/// Sends the lines with a priority to a syslog daemon.
pub(crate) fn feed(port: u16, lines: &[String], daemon: &mut Program) {
    let mut stream = daemon.wait("the daemon to listen", SOON, |_| {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    let text: String = lines.iter().map(|line| format!("<86>{line}\n")).collect();
    stream.write_all(text.as_bytes()).unwrap();
}

/// Sources whose sender puts a space before the message: rsyslog's own template for RFC 5424, by
/// which everything after the first space belongs to the message.
const SPACED: &str = "rsyslog-5424";

/// Runs a forwarding daemon that gets the lines on one port and has to hand each on to every one
/// of `sources`.
#[track_caller]
fn check_forwarding(name: &str, sources: &[&str], start: impl FnOnce(u16, &[u16]) -> Program) {
    let ports: Vec<u16> = sources.iter().map(|_| free_port()).collect();
    let tables = sources.iter().zip(&ports).map(|(source, port)| {
        format!("[[source.syslog]]\nname = \"{source}\"\nlisten = \"tcp://127.0.0.1:{port}\"\n")
    });
    let gateway = Gateway::start(name, &tables.collect::<String>());
    let lines = auth_lines(400);
    let input = free_port();
    let mut daemon = start(input, &ports);
    feed(input, &lines, &mut daemon);
    let events = gateway.finish(lines.len() * sources.len());
    for source in sources {
        let mut expected: Vec<[String; 4]> = lines.iter().map(|line| cut(line)).collect();
        if source.starts_with(SPACED) {
            expected.iter_mut().for_each(|parts| parts[3].insert(0, ' '));
        }
        check_lines(&events, source, &expected);
    }
    assert_eq!(events.len(), lines.len() * sources.len());
}

#[test]
fn rsyslog_forwards_in_every_form() {
    // (template, framing) of each action
    let forms = [
        ("RSYSLOG_SyslogProtocol23Format", "traditional"),
        ("RSYSLOG_SyslogProtocol23Format", "octet-counted"),
        ("RSYSLOG_TraditionalForwardFormat", "traditional"),
        ("RSYSLOG_TraditionalForwardFormat", "octet-counted"),
        ("RSYSLOG_TraditionalFileFormat", "traditional"),
    ];
    let sources = ["rsyslog-5424-lf", "rsyslog-5424-counted", "old-lf", "old-counted", "file-lf"];
    check_forwarding("rsyslog", &sources, |input, ports| {
        let actions = forms.iter().zip(ports).map(|((template, framing), port)| {
            format!(
                "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" \
                 template=\"{template}\" TCP_Framing=\"{framing}\")\n"
            )
        });
        senders::rsyslog(&format!(
            "module(load=\"imptcp\")\ninput(type=\"imptcp\" address=\"127.0.0.1\" port=\"{input}\")\n{}",
            actions.collect::<String>()
        ))
    });
}

#[test]
fn syslog_ng_forwards_in_both_forms() {
    check_forwarding("syslogng", &["bsd", "ietf"], |input, ports| {
        senders::syslog_ng(&format!(
            "options {{ keep-hostname(yes); }};\n\
             source s {{ network(ip(\"127.0.0.1\") port({input}) transport(\"tcp\")); }};\n\
             destination bsd {{ network(\"127.0.0.1\" port({}) transport(\"tcp\")); }};\n\
             destination ietf {{ syslog(\"127.0.0.1\" port({}) transport(\"tcp\")); }};\n\
             log {{ source(s); destination(bsd); destination(ietf); flags(flow-control); }};",
            ports[0], ports[1]
        ))
    });
}

/// How often each raw payload is there.
fn by_content<'a>(payloads: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for payload in payloads {
        *counts.entry(payload).or_insert(0) += 1;
    }
    counts
}

/// Publishes messages of the fixture, each on the topic of its device, with QoS 1.
#[track_caller]
fn publish(mosquitto: &Mosquitto, messages: &[&str]) {
    let mut by_device: BTreeMap<String, String> = BTreeMap::new();
    for message in messages {
        let device = serde_json::from_str::<Value>(message).unwrap();
        let lines = by_device.entry(text(&device, "device")).or_default();
        *lines += &format!("{message}\n");
    }
    let port = mosquitto.port.to_string();
    for (device, lines) in by_device {
        let launch =
            Launch::tool("mosquitto_pub").args(["-h", "127.0.0.1", "-p", &port, "-q", "1"]);
        launch.args(["-l", "-t", &format!("sensors/{device}")]).stdin(lines).run(SOON).ok();
    }
}

#[track_caller]
fn check_mqtt(protocol: &str) {
    let fixture = fs::read_to_string(fixtures().join("sensors/iot-mqtt.ndjson")).unwrap();
    let messages: Vec<&str> = fixture.lines().take(900).collect();
    let mut mosquitto = Mosquitto::start();
    let source = format!(
        "[[source.mqtt]]\nurl = \"mqtt://127.0.0.1:{}\"\nprotocol = \"{protocol}\"\n\
         topics = [\"sensors/{{device}}\"]\nfields = {{ values = \"data\", time = \"ts\" }}\n",
        mosquitto.port
    );
    let mut gateway = Gateway::start("mqtt", &source);
    // Nobody tells when the broker has taken the subscription but the first message that comes.
    wait_until("the subscription", SOON, || {
        mosquitto.publish("sensors/probe", b"{\"data\":{\"probe\":1}}", 1);
        if gateway.count() > 0 { Ok(()) } else { Err("nothing came") }
    });

    // Killed with messages on their way, and away while more are published.
    publish(&mosquitto, &messages[..200]);
    gateway.agent.kill9();
    publish(&mosquitto, &messages[200..500]);
    gateway.agent.restart();
    wait_for_content(&gateway.prefix, &messages[..500]);
    // The broker away for a moment: the agent comes back by itself.
    assert!(mosquitto.program.term(SOON).success());
    mosquitto.program.restart();
    mosquitto.wait_ready();
    publish(&mosquitto, &messages[500..]);
    wait_for_content(&gateway.prefix, &messages);

    let events = gateway.finish(messages.len());
    for event in events.iter().filter(|event| event["device"] != "probe") {
        assert_eq!(event["parse"], "ok", "{event}");
        let sent: Value = serde_json::from_str(event["raw"].as_str().unwrap()).unwrap();
        assert_eq!(event["device"], sent["device"]);
        assert_eq!(event["values"]["temp"]["v"], sent["data"]["temp"]);
        let ts_us = (sent["ts"].as_f64().unwrap() * 1e6).round();
        assert!((event["ts_us"].as_f64().unwrap() - ts_us).abs() <= 1.0, "{event}");
    }
    // What the kill may double is only what was on its way then.
    let raws: Vec<String> = events.iter().map(|event| text(event, "raw")).collect();
    let found = by_content(raws.iter().map(String::as_str));
    for (message, sent) in by_content(messages[500..].iter().copied()) {
        assert_eq!(found[message], sent, "{message}");
    }
}

/// Waits until each message is there at least as often as it was sent.
#[track_caller]
fn wait_for_content(prefix: &str, messages: &[&str]) {
    let sent = by_content(messages.iter().copied());
    wait_until("every message", SOON, || {
        let raws: Vec<String> = events(prefix).iter().map(|event| text(event, "raw")).collect();
        let found = by_content(raws.iter().map(String::as_str));
        let is_there = |(message, n): (&&str, &usize)| found.get(*message).is_some_and(|f| f >= n);
        let there = sent.iter().filter(|&entry| is_there(entry)).count();
        if there == sent.len() { Ok(()) } else { Err(format!("{there} of {}", sent.len())) }
    });
}

#[test]
fn mqtt_3_1_1_brings_everything_through_kill_and_broker_restart() {
    check_mqtt("3.1.1");
}

#[test]
fn mqtt_5_brings_everything_through_kill_and_broker_restart() {
    check_mqtt("5");
}

fn append(file: &Path, lines: &[String]) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
}

#[test]
fn a_file_is_followed_through_rotation_truncation_and_restarts() {
    let folder = weir_tests::temp_dir("log");
    let file = folder.path().join("auth.log");
    let lines = auth_lines(700);
    append(&file, &lines[..100]);
    let source = format!("[[source.file]]\npaths = [\"{}\"]\n", file.display());
    let mut gateway = Gateway::start("file", &source);
    gateway.wait_count(100);

    // Renamed, while its writer goes on for a moment.
    append(&file, &lines[100..200]);
    let rotated = folder.path().join("auth.log.1");
    fs::rename(&file, &rotated).unwrap();
    append(&rotated, &lines[200..210]);
    append(&file, &lines[210..300]);
    gateway.wait_count(300);

    // Grown and rotated while the agent is away.
    assert!(gateway.agent.term(SOON).success());
    append(&file, &lines[300..400]);
    fs::rename(&rotated, folder.path().join("auth.log.2")).unwrap();
    fs::rename(&file, &rotated).unwrap();
    append(&file, &lines[400..500]);
    gateway.agent.restart();
    gateway.wait_count(500);

    // Copied and truncated, as logrotate's `copytruncate` does.
    append(&file, &lines[500..600]);
    gateway.wait_count(600);
    fs::copy(&file, folder.path().join("auth.log.copy")).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    append(&file, &lines[600..]);

    let events = gateway.finish(700);
    let mut found: Vec<String> = events.iter().map(|event| text(event, "raw")).collect();
    let mut expected = lines;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let lines = auth_lines(1_000);
    let prefix = prefix("stdin");
    let launch = Launch::ours("weir-agent")
        .file("agent.toml", head(&prefix) + "[source.stdin]\n")
        .args(["run", "-c", "agent.toml"]);
    let finished = launch.stdin(lines.join("\n") + "\n").run(Duration::from_secs(60));
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let expected: Vec<[String; 4]> = lines.iter().map(|line| cut(line)).collect();
    check_lines(&events(&prefix), "stdin", &expected);
}
