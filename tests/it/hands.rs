//! Commands with which a person looks at a configuration or at a running agent: `test`, `tap`, `top`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::line::metric;
use weir_tests::python::python;
use weir_tests::{Launch, Program, free_port, http, root, wait_until};

const SOON: Duration = Duration::from_secs(30);

fn example(name: &str) -> String {
    fs::read_to_string(root().join("examples/agent").join(name)).unwrap()
}

#[test]
fn tests_of_a_configuration_end_with_what_they_found() {
    #[track_caller]
    fn check(tests: &str, code: i32, parts: &[&str]) {
        let launch = Launch::ours("weir-agent").file("agent.toml", example("agent.toml"));
        let launch = launch.file("agent.tests.toml", tests);
        let finished = launch.clone().args(["test", "-c", "agent.toml"]).run(SOON);
        let text = finished.stdout + &finished.stderr;
        assert_eq!(finished.status.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
        // Nothing but the two files: no spool, no data.
        assert_eq!(fs::read_dir(launch.dir()).unwrap().count(), 2);
    }
    let tests = example("agent.tests.toml");
    check(&tests, 0, &["5 passed, 0 failed"]);
    let other = tests.replace("severity = 2", "severity = 3");
    check(&other, 1, &["FAILED agent.tests.toml:9", "`severity` expected 3, got 2", "4 passed, 1"]);
    let other = tests.replace("severity = 2", "severty = 2");
    check(
        &other,
        2,
        &["agent.tests.toml:14: there is no field `severty`; did you mean `severity`?"],
    );
    check(&tests.replace("peer =", "per ="), 2, &["unknown field `per`", "did you mean `peer`?"]);
}

/// An agent that takes readings and lines by HTTP and has no Kafka.
struct Rig {
    agent: Program,
    input: String,
    status: String,
    config: String,
}

impl Rig {
    fn start() -> Self {
        let (input, status) = (free_port(), free_port());
        let config = format!(
            "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\", reload = \"signal\" }}\n\
             kafka = {{ brokers = [\"127.0.0.1:1\"] }}\n\
             [[source.http]]\nname = \"machines\"\nlisten = \"127.0.0.1:{input}\"\nline = {{ device = \"m\" }}\n\
             [[filter]]\nname = \"no load\"\naction = \"drop\"\nmetric = \"load\"\n\
             [[score.rules]]\nmetric = \"t\"\nrule = {{ kind = \"range\", name = \"too hot\", max = 90.0 }}\n\
             [status]\nlisten = \"127.0.0.1:{status}\"\n"
        );
        let mut agent = Program::agent(&config);
        agent.wait_line("agent is running", SOON);
        let input = format!("http://127.0.0.1:{input}/v1/write?precision=s");
        Self { agent, input, status: format!("127.0.0.1:{status}"), config }
    }

    #[track_caller]
    fn send(&self, lines: &str) {
        assert_eq!(http::post(&self.input, "text/plain", lines.as_bytes()).status, 204);
    }

    fn data(&self) -> String {
        self.agent.dir().join("data").display().to_string()
    }

    /// A command that taps, once the agent says that it does.
    fn tap(&mut self, args: &[&str]) -> Program {
        let before = self.taps();
        let launch = Launch::ours("weir-agent").args(["tap", "--dir", &self.data()]);
        let tap = launch.args(args).start();
        self.wait_taps(before + 1);
        tap
    }

    fn taps(&self) -> usize {
        self.agent.lines().iter().filter(|line| line.text.contains("a tap is opened")).count()
    }

    fn wait_taps(&mut self, count: usize) {
        wait_until("a tap", SOON, || if self.taps() >= count { Ok(()) } else { Err("none") });
    }

    fn metric(&self, name: &str) -> Result<f64, String> {
        metric(&format!("http://{}/metrics", self.status), name)
    }
}

fn lines(tap: &Program) -> Vec<Value> {
    tap.lines().iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect()
}

#[test]
fn a_tap_shows_what_passes() {
    let mut rig = Rig::start();
    let mut all = rig.tap(&["--json", "--dropped", "--limit", "4"]);
    let mut press = rig.tap(&["--device", "press-*", "--text", "\"t\"", "--limit", "2"]);
    rig.send(
        "t,m=oven value=20 1700000000\nload,m=press-7 value=1 1700000001\nt,m=press-7 value=95 1700000002",
    );
    assert!(all.wait_exit(SOON).success());
    assert!(press.wait_exit(SOON).success());
    let all = lines(&all);
    let seen = |name: &str| all.iter().map(|it| it[name].clone()).collect::<Vec<_>>();
    assert_eq!(seen("lane"), ["readings", "dropped", "readings", "alerts"]);
    // The numbers are those of the stream; what is dropped has none.
    assert_eq!(seen("seq"), [json!(1), json!(0), json!(2), Value::Null]);
    assert_eq!(all[0]["values"]["t"]["v"], 20.0);
    assert_eq!(all[1]["values"]["load"]["v"], 1.0);
    assert_eq!(all[3]["data"]["why"], "too hot");
    let press = press.lines();
    assert!(press[0].text.contains("readings machines press-7  t 95"), "{press:?}");
    assert!(press[1].text.contains("firing: t, too hot: "), "{press:?}");

    // Who is away is told what to do.
    let args = ["tap", "--dir", &rig.data()];
    rig.agent.term(SOON);
    let finished = Launch::ours("weir-agent").args(args).run(SOON);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("it has to run"), "{}", finished.stderr);
}

#[test]
fn a_tap_that_nobody_reads_holds_nothing_up() {
    const REQUESTS: usize = 80;
    const LINES: usize = 500;
    let mut rig = Rig::start();
    let socket = rig.agent.dir().join("data/tap.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stalled = UnixStream::connect(&socket).unwrap();
    let wants = json!({"kind": "reading", "sample": 1, "per_s": 0});
    writeln!(stalled, "{wants}").unwrap();
    rig.wait_taps(1);
    // Some 50 MB of records, of which nobody reads any.
    let note = "x".repeat(1_000);
    let before = rig.agent.rss_bytes();
    for request in 0..REQUESTS {
        let line = |n: usize| {
            format!("t,m=a value={n},note=\"{note}\" {}\n", 1_700_000_000 + request * LINES + n)
        };
        rig.send(&(0..LINES).map(line).collect::<String>());
    }
    let all = (REQUESTS * LINES) as f64;
    // (alerts have a lane of their own)
    assert_eq!(rig.metric("weir_agent_lane_waiting_events{lane=\"readings\"}"), Ok(all));
    let grown = rig.agent.rss_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");

    // Another one is not held up either.
    let mut other = rig.tap(&["--limit", "1", "--device", "late"]);
    rig.send("t,m=late value=1 1800000000");
    assert!(other.wait_exit(SOON).success());

    // Now it is read: what is missing is told in its place, to the last record.
    let (line, read) = mpsc::sync_channel(1_000);
    let reader = thread::spawn(move || {
        for text in BufReader::new(stalled).lines().map_while(Result::ok) {
            line.send(serde_json::from_str::<Value>(&text).unwrap()).unwrap();
        }
    });
    let (mut last, mut left_out) = (0, None);
    let patience = Instant::now() + SOON;
    loop {
        let line = match read.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if Instant::now() < patience => {
                // What is missing is told before what comes next.
                rig.send("t,m=late value=2 1800000001");
                continue;
            }
            Err(why) => panic!("the tap ended, or nothing was left out: {why}"),
        };
        let Some(seq) = line["seq"].as_u64() else {
            left_out = line["left_out"]["no_room"].as_u64();
            continue;
        };
        assert_eq!(seq, last + 1 + left_out.unwrap_or(0));
        last = seq;
        if left_out.is_some_and(|count| count > 0) {
            break;
        }
    }

    // A reload takes the socket away, and the tap with it.
    let config = rig.config.replace("[status]", "[status]\ntap = false");
    fs::write(rig.agent.dir().join("agent.toml"), config).unwrap();
    rig.agent.signal(Signal::HUP);
    rig.agent.wait_line("reload done", SOON);
    assert!(!socket.exists());
    drop(read.iter().last());
    reader.join().unwrap();
    rig.send("t,m=late value=3 1800000002");
}

/// What [`TERMINAL`] says of a program that behaves.
const AS_IT_WAS: &str = "canonical while it runs: False\nended: 0\nas before: True\n";

/// Runs a program in a terminal of its own until it shows a word; ends it by a signal or a key. Says how it ended, and
/// whether the terminal is set as before.
const TERMINAL: &str = r#"
import os, pty, select, signal, sys, termios, time

how, awaited, program = sys.argv[1], sys.argv[2].encode(), sys.argv[3:]
parent, child = pty.openpty()
before = termios.tcgetattr(child)
pid = os.fork()
if pid == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.dup2(child, fd)
    os.execv(program[0], program)

shown, until = b"", time.time() + 30

def read_until(part):
    global shown
    while part not in shown:
        assert time.time() < until, shown
        if select.select([parent], [], [], 0.1)[0]:
            shown += os.read(parent, 65536)

read_until(awaited)
keys = termios.tcgetattr(child)
print("canonical while it runs:", bool(keys[3] & termios.ICANON))
if how == "q":
    os.write(parent, b"q")
else:
    os.kill(pid, getattr(signal, how))
read_until(b"\x1b[?1049l")
_, status = os.waitpid(pid, 0)
print("ended:", os.waitstatus_to_exitcode(status))
print("as before:", termios.tcgetattr(child) == before)
print("shows the source:", b"machines" in shown)
"#;

#[test]
fn top_shows_an_agent_and_leaves_the_terminal_as_it_was() {
    let mut rig = Rig::start();
    rig.send("t,m=a value=1 1700000000\nt,m=a value=2 1700000001\nload,m=a value=2 1700000001");
    let top = |args: &[&str]| Launch::ours("weir-agent").args(["top", "--every", "1"]).args(args);
    let figures = top(&["--json", "--at", &rig.status]).run(SOON).ok();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures["sources"][0]["name"], "machines");
    assert_eq!(figures["sources"][0]["events"], 3.0);
    let waiting = figures["lanes"].as_array().unwrap().iter().map(|lane| lane["waiting"].as_f64());
    assert_eq!(waiting.map(Option::unwrap).sum::<f64>(), 2.0, "{figures}");
    for name in ["cpu_percent", "memory_bytes", "spool_max_bytes", "waiting"] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
    assert!(figures["problem"].is_string(), "there is no Kafka: {figures}");

    // Where it writes to no terminal it writes once.
    let config = rig.agent.dir().join("agent.toml").display().to_string();
    let table = top(&["-c", &config]).run(SOON).ok();
    assert!(table.contains("\nmachines ") && table.contains("\nreadings "), "{table}");

    let program = top(&["--at", &rig.status]).program().display().to_string();
    for how in ["q", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] {
        let said = python(TERMINAL, &[how, "lane", &program, "top", "--at", &rig.status]);
        assert_eq!(said.run(SOON).ok(), format!("{AS_IT_WAS}shows the source: True\n"), "{how}");
    }
    let finished = top(&["--every", "18446744073709551615"]).run(SOON);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);

    // Whoever it asks: what holds up the answer holds up nobody at the keys.
    let drips = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = drips.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in drips.incoming() {
            let mut stream = stream.unwrap();
            while stream.write_all(b"HTTP/1.0 200 OK\r\n").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    for how in ["q", "SIGTERM"] {
        let said = python(TERMINAL, &[how, "asking", &program, "top", "--at", &at]).run(SOON).ok();
        assert_eq!(said, format!("{AS_IT_WAS}shows the source: False\n"), "{how}");
    }

    rig.agent.term(SOON);
    let finished = top(&["--once", "--at", &rig.status]).run(SOON);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("no agent answers"), "{}", finished.stderr);
}
