//! Runs an agent that was built for another machine, under an emulator, against a real Kafka.
//!
//! In: `weir-smoke AGENT [EMULATOR ARGS...]`. Out: an exit status; a panic says what was not so. The
//! agent has to refuse a wrong configuration and take the one that its packages bring, say which command it was built without, listen on TCP
//! and HTTP, keep what comes while Kafka is away through a SIGKILL, publish all of it in the order of
//! `seq` without a gap, tell the service manager how it fares, and end when told to. Run by `cargo dev cross ARCH --test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]
#![allow(clippy::print_stdout, reason = "the figures are for the reader of the output")]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_tests::services::Private;
use weir_tests::{Launch, Program, fixtures, free_port, http, root, wait_until};

/// For anything: an emulator is slow, and so may be the machine.
const LIMIT: Duration = Duration::from_secs(90);
const PREFIX: &str = "smoke.";

fn main() {
    let mut args = std::env::args().skip(1);
    let agent = args.next().expect("weir-smoke AGENT [EMULATOR ARGS...]");
    let emulator: Vec<String> = args.collect();
    let begun = Instant::now();
    refuses_and_takes(&emulator, &agent);

    let kafka = Private::kafka(&[]);
    let client = kafka.as_kafka();
    for topic in ["readings", "logs", "alerts", "agents"] {
        client.create_topic(&format!("{PREFIX}{topic}"), 3);
    }
    kafka.node(1, "kill");

    let ports = Ports { tcp: free_port(), http: free_port(), status: free_port() };
    let launch = with_config(&emulator, &agent, &config(&client.bootstrap, &ports));
    let manager = Manager::start(&launch.dir().join("notify"));
    let launch = launch.env("NOTIFY_SOCKET", &manager.socket).env("WATCHDOG_USEC", "1000000");
    let mut program = launch.args(["run", "-c", "agent.toml"]).start();
    manager.wait("READY=1");
    let health = format!("http://127.0.0.1:{}/healthz", ports.status);
    program.wait_http(&health, LIMIT);

    let input = Input::read();
    let (first, second) = input.lines.split_at(input.lines.len() / 2);
    send_lines(&ports, first);
    wait_received(&mut program, &ports, first.len());
    // The answer is the promise that these, and what came before them, are on the disk.
    send_readings(&ports, &input.readings);
    manager.wait("WATCHDOG=1");
    program.kill9();

    kafka.node(1, "start");
    manager.forget();
    program.restart();
    manager.wait("READY=1");
    program.wait_http(&health, LIMIT);
    send_lines(&ports, second);
    let topics = ["logs", "readings"].map(|topic| format!("{PREFIX}{topic}"));
    program.wait("all events in Kafka", LIMIT, |_| {
        let there: i64 = topics.iter().map(|topic| client.count(topic)).sum();
        let wanted = (input.lines.len() + input.readings.len()) as i64;
        if there >= wanted { Ok(()) } else { Err(format!("{there} of {wanted}")) }
    });
    program.wait_http(&format!("http://127.0.0.1:{}/readyz", ports.status), LIMIT);
    let status = program.term(LIMIT);
    manager.wait("STOPPING=1");
    assert!(status.success(), "it ended with {status}");
    let events = check(&client, &input);
    println!("{events} events, each once and in order, in {:.1} s", begun.elapsed().as_secs_f64());
}

/// Hears what is for the service manager.
struct Manager {
    socket: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn start(socket: &Path) -> Self {
        let listener = UnixDatagram::bind(socket).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ours = heard.clone();
        // Reads all the time: the kernel holds only a few datagrams.
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(n) = listener.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..n]).into_owned();
                ours.lock().unwrap().push(message);
            }
        });
        Self { socket: socket.display().to_string(), heard }
    }

    fn wait(&self, message: &str) {
        wait_until(&format!("{message} for the service manager"), LIMIT, || {
            let heard = self.heard.lock().unwrap();
            if heard.iter().any(|m| m == message) { Ok(()) } else { Err(format!("{heard:?}")) }
        });
    }

    fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }
}

struct Ports {
    tcp: u16,
    http: u16,
    status: u16,
}

fn config(brokers: &str, ports: &Ports) -> String {
    format!(
        "agent = {{ site = \"plant\", id = \"smoke\", data_dir = \"data\" }}\n\
         kafka = {{ brokers = [\"{brokers}\"], topic_prefix = \"{PREFIX}\" }}\n\
         metadata = {{ topic = false }}\n\
         status = {{ listen = \"127.0.0.1:{}\" }}\n\
         [[source.syslog]]\nlisten = \"tcp://127.0.0.1:{}\"\nzone = \"UTC\"\n\
         [[source.http]]\nlisten = \"127.0.0.1:{}\"\n",
        ports.status, ports.tcp, ports.http
    )
}

/// The agent under its emulator, with a configuration in its folder.
fn with_config(emulator: &[String], agent: &str, config: &str) -> Launch {
    let mut words = emulator.iter().map(String::as_str).chain([agent]);
    let program = PathBuf::from(words.next().unwrap());
    Launch::at("weir-agent", program).args(words).file("agent.toml", config)
}

/// `check` on a wrong configuration and on the one of the packages.
fn refuses_and_takes(emulator: &[String], agent: &str) {
    let wrong = fs::read_to_string(fixtures().join("config/agent/invalid/unknown-key.toml"));
    let ours = fs::read_to_string(root().join("agent/packaging/agent.toml"));
    for (config, code) in [(wrong.unwrap(), 2), (ours.unwrap(), 0)] {
        let launch = with_config(emulator, agent, &config).args(["check", "-c", "agent.toml"]);
        let finished = launch.run(LIMIT);
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains("agent.toml"), "{}", finished.stderr);
    }
    // What belongs to a workstation is left out, and says so.
    let finished = with_config(emulator, agent, "").args(["test", "-c", "agent.toml"]).run(LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("this build has no `test`"), "{}", finished.stderr);
}

/// Real input. What is sent twice is told apart by a number at its end.
struct Input {
    lines: Vec<String>,
    readings: Vec<String>,
}

impl Input {
    fn read() -> Self {
        let mut lines = Vec::new();
        let mut files: Vec<_> =
            fs::read_dir(fixtures().join("syslog/mixed")).unwrap().flatten().collect();
        files.sort_by_key(fs::DirEntry::path);
        for file in &files {
            lines.extend(fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned));
        }
        let auth = fs::read_to_string(fixtures().join("syslog/auth.rfc3164.log")).unwrap();
        lines.extend(auth.lines().take(1_000).map(str::to_owned));
        lines.retain(|line| !line.trim().is_empty());
        let lines = lines.into_iter().enumerate().map(|(n, line)| format!("{line} #{n}")).collect();
        let reading = |n| format!("oven,device=oven-{} temperature={}.5 {n}", n % 5, 180 + n % 9);
        Self { lines, readings: (0..500).map(reading).collect() }
    }
}

fn send_lines(ports: &Ports, lines: &[String]) {
    let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp)).unwrap();
    stream.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
}

fn send_readings(ports: &Ports, readings: &[String]) {
    let url = format!("http://127.0.0.1:{}/v1/write?precision=s", ports.http);
    let answer = http::post(&url, "text/plain", readings.join("\n").as_bytes());
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// TCP acknowledges nothing: the agent's metrics tell when it has read all of it.
fn wait_received(program: &mut Program, ports: &Ports, wanted: usize) {
    let url = format!("http://127.0.0.1:{}/metrics", ports.status);
    program.wait("all lines with the agent", LIMIT, |_| {
        let text = http::get(&url).text();
        let counts = text.lines().filter(|l| l.starts_with("weir_agent_received_events_total{"));
        let counts = counts.filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok());
        let received: usize = counts.sum();
        if received >= wanted { Ok(()) } else { Err(format!("{received} of {wanted}")) }
    });
}

/// Every line and reading is there once; the numbers of each stream rise in a partition, and over
/// all of them none is missing. Answers how many events there are.
fn check(kafka: &weir_tests::kafka::Kafka, input: &Input) -> usize {
    let mut raw = Vec::new();
    let mut streams: BTreeMap<String, HashSet<u64>> = BTreeMap::new();
    let mut last: BTreeMap<(String, String, i32), u64> = BTreeMap::new();
    for topic in ["logs", "readings", "alerts"] {
        for message in kafka.read(&format!("{PREFIX}{topic}")) {
            let event = message.json();
            // An alert carries its identity as attributes of the envelope.
            let stream = event["stream"].as_str().unwrap_or_default().to_owned();
            let Some(seq) = event["seq"].as_u64() else {
                assert_eq!(topic, "alerts", "{event}");
                continue;
            };
            assert!(streams.entry(stream.clone()).or_default().insert(seq), "twice: {event}");
            let place = (stream, message.topic.clone(), message.partition);
            let before = last.insert(place, seq).unwrap_or(0);
            assert!(seq > before, "{seq} after {before}: {event}");
            if topic != "alerts" {
                raw.push(event["raw"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    for (stream, seqs) in &streams {
        let gapless = (1..=seqs.len() as u64).all(|seq| seqs.contains(&seq));
        assert!(gapless, "stream {stream} has a gap");
    }
    let mut sent: Vec<&String> = input.lines.iter().chain(&input.readings).collect();
    let mut got: Vec<&String> = raw.iter().collect();
    sent.sort();
    got.sort();
    assert!(sent == got, "sent {} and got {} that differ", sent.len(), got.len());
    got.len()
}
