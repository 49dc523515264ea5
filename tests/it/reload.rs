//! A running agent takes over a changed configuration: what stays does not notice, what changes loses
//! nothing, and what cannot be used changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::line::metric;
use weir_tests::{Launch, free_port, http, senders, wait_until};

use crate::senders::{Gateway, events, feed, head};

const SOON: Duration = Duration::from_secs(60);

/// An agent whose configuration changes.
struct Rig {
    gateway: Gateway,
    status: String,
}

impl Rig {
    fn start(name: &str, tables: &str) -> Self {
        let mut gateway = Gateway::start(name, tables);
        let status = gateway.status();
        Self { gateway, status }
    }

    /// Writes the file.
    fn write(&self, tables: &str) {
        let text = format!("{}{tables}", head(&self.gateway.prefix));
        fs::write(self.gateway.agent.dir().join("agent.toml"), text).unwrap();
    }

    /// How many reloads had this result.
    fn reloads(&self, result: &str) -> f64 {
        let name = format!("weir_agent_reloads_total{{result=\"{result}\"");
        metric(&format!("http://{}/metrics", self.status), &name).unwrap()
    }

    /// Writes the file, sends SIGHUP and waits for the result; gives back what was said.
    #[track_caller]
    fn reload(&mut self, tables: &str, result: &str) -> String {
        let before = self.reloads(result);
        self.write(tables);
        self.gateway.agent.signal(Signal::HUP);
        self.wait_reload(result, before + 1.0)
    }

    #[track_caller]
    fn wait_reload(&mut self, result: &str, count: f64) -> String {
        let url = format!("http://{}", self.status);
        let name = format!("weir_agent_reloads_total{{result=\"{result}\"");
        self.gateway.agent.wait(&format!("{count} reloads {result}"), SOON, |_| {
            match metric(&format!("{url}/metrics"), &name) {
                Ok(now) if now >= count => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
        let last = &http::get_json(&format!("{url}/reload"))["last_reload"];
        assert_eq!(last["result"], result, "{last}");
        last["message"].as_str().unwrap().to_owned()
    }
}

fn tcp(name: &str, port: u16, more: &str) -> String {
    format!("[[source.syslog]]\nname = \"{name}\"\nlisten = \"tcp://127.0.0.1:{port}\"\n{more}\n")
}

fn udp(name: &str, port: u16, more: &str) -> String {
    format!("[[source.syslog]]\nname = \"{name}\"\nlisten = \"udp://127.0.0.1:{port}\"\n{more}\n")
}

/// A sender that goes on until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Sends numbered lines by `send`, about a thousand a second.
    fn start(mut send: impl FnMut(&str) + Send + 'static) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                send(&format!("<14>Mar 27 13:06:56 gw app[{number}]: number {number}\n"));
                count.store(number + 1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, sent, thread }
    }

    /// Lines over one connection that must never break.
    fn tcp(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Self::start(move |line| stream.write_all(line.as_bytes()).unwrap())
    }

    /// Waits until some more are sent.
    #[track_caller]
    fn wait_more(&self, count: usize) {
        let wanted = self.sent.load(Ordering::Relaxed) + count;
        wait_until("lines to be sent", SOON, || {
            assert!(!self.thread.is_finished(), "the sender has ended");
            let sent = self.sent.load(Ordering::Relaxed);
            if sent >= wanted { Ok(()) } else { Err(format!("{sent} of {wanted}")) }
        });
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// The numbers of the events of a source, in the order of their streams.
fn numbers(events: &[Value], source: &str) -> Vec<usize> {
    let ours = events.iter().filter(|event| event["source"] == source);
    let mut ours: Vec<&Value> = ours.filter(|event| event["app"] == "app").collect();
    ours.sort_by_key(|event| event["seq"].as_u64());
    ours.iter().map(|event| event["procid"].as_str().unwrap().parse().unwrap()).collect()
}

/// One datagram.
fn say(port: u16, text: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(text.as_bytes(), ("127.0.0.1", port)).unwrap();
}

#[test]
fn who_stays_does_not_notice_and_nothing_is_lost_or_doubled() {
    let [stays, goes, comes, replaced] = [(); 4].map(|()| free_port());
    let rule = "[[filter]]\nname = \"noise\"\naction = \"drop\"\napp = \"noise\"\n";
    let one = format!(
        "{}{}{}{rule}",
        tcp("stays", stays, "zone = \"UTC\""),
        tcp("goes", goes, ""),
        udp("replaced", replaced, "receive_buffer_bytes = 1000000"),
    );
    let other = format!(
        "{}{}{}[spool]\nflush_ms = 50\n",
        // Read differently: that is no reason to let go of a connection.
        tcp("stays", stays, "zone = \"Europe/Berlin\""),
        udp("comes", comes, ""),
        udp("replaced", replaced, "receive_buffer_bytes = 2000000"),
    );
    let mut rig = Rig::start("reload", &one);
    let lines = Load::tcp(stays);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = Load::start(move |line| {
        // A refusal of the datagram before shows here.
        assert_eq!(socket.send_to(line.as_bytes(), ("127.0.0.1", replaced)).unwrap(), line.len());
    });
    lines.wait_more(100);
    let metrics = format!("http://{}/metrics", rig.status);
    for round in 1..=5 {
        say(replaced, "<14>Mar 27 13:06:56 gw noise[1]: dropped by the rule\n");
        rig.gateway.agent.wait("the dropped line to be counted", SOON, |_| {
            // Once each time, while the rule is there; the count goes on.
            match metric(&metrics, "weir_agent_filtered_events_total{rule=\"noise\"") {
                Ok(count) if count == f64::from(round) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
        let mut goodbye = TcpStream::connect(("127.0.0.1", goes)).unwrap();
        let said = rig.reload(&other, "applied");
        for part in [
            "~ source `stays` stays as it is, its events are read differently: `zone`",
            "- source `goes` is removed",
            "+ source `comes` is added",
            "* source `replaced` starts anew on the same socket",
            "~ `[[filter]]` changes between two events: rule `noise` is gone",
            "~ `[spool]`",
        ] {
            assert!(said.contains(part), "{part}:\n{said}");
        }
        // Who was connected to what is gone is not left in the dark, and the port is free.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut goodbye, &mut rest);
        TcpListener::bind(("127.0.0.1", goes)).unwrap();
        say(comes, "<14>hello");
        lines.wait_more(100);
        rig.reload(&one, "applied");
        assert_eq!(UdpSocket::bind(("127.0.0.1", comes)).map(drop).map_err(|e| e.kind()), Ok(()));
        lines.wait_more(100);
    }
    // The same again is nothing to do.
    assert_eq!(rig.reload(&one, "unchanged"), "");
    let (lines, datagrams) = (lines.stop(), datagrams.stop());
    let events = rig.gateway.finish(lines + datagrams);
    assert_eq!(numbers(&events, "stays"), (0..lines).collect::<Vec<_>>());
    assert_eq!(numbers(&events, "replaced"), (0..datagrams).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["dialect"] != "loss"), "nothing is told as lost");
    // Some were read by each of the two zones.
    let hours: BTreeSet<i64> = events
        .iter()
        .filter(|event| event["source"] == "stays")
        .map(|event| event["ts_us"].as_i64().unwrap() / 3_600_000_000)
        .collect();
    assert_eq!(hours.len(), 2, "{hours:?}");
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let (port, other) = (free_port(), free_port());
    let source = tcp("tcp", port, "");
    let mut rig = Rig::start("refused", &source);
    let lines = Load::tcp(port);
    let busy = TcpListener::bind(("127.0.0.1", other)).unwrap();
    let cases = [
        (format!("{source}[[source.sylog]]\n"), "did you mean `syslog`?"),
        (format!("{source}zoen = 1\n"), "did you mean `zone`?"),
        (tcp("other", other, ""), "another process listens there"),
        (format!("{source}[spool]\nmax_bytes = 99000000\n"), "takes a restart"),
        (
            format!(
                "{source}[[source.syslog]]\nlisten = \"tls://127.0.0.1:{}\"\n\
                 tls = {{ cert_file = \"nowhere.pem\", key_file = \"nowhere.key\" }}\n",
                free_port()
            ),
            "nowhere.pem",
        ),
        (String::new(), "no source is configured"),
    ];
    let count = cases.len();
    for (tables, reason) in cases {
        lines.wait_more(20);
        let said = rig.reload(&tables, "refused");
        assert!(said.contains(reason), "{reason}:\n{said}");
        rig.gateway.agent.wait_line("reload refused", SOON);
        let ready = http::get(&format!("http://{}/readyz", rig.status));
        assert_eq!(ready.status, 200, "the agent does its work");
        assert!(ready.text().contains("a reload was refused"), "{}", ready.text());
    }
    // The port is free now, and everything is as it should be.
    drop(busy);
    rig.reload(&format!("{source}{}", tcp("other", other, "")), "applied");
    TcpStream::connect(("127.0.0.1", other)).unwrap();
    assert_eq!(http::get(&format!("http://{}/readyz", rig.status)).text(), "ready\n");
    assert_eq!(rig.reloads("refused") as usize, count);
    let lines = lines.stop();
    let events = rig.gateway.finish(lines);
    assert_eq!(numbers(&events, "tcp"), (0..lines).collect::<Vec<_>>());
}

#[test]
fn a_changed_file_is_noticed() {
    let (port, other) = (free_port(), free_port());
    let source = tcp("tcp", port, "");
    let mut rig = Rig::start("noticed", &source);
    // Written anew with the same content: nothing to notice.
    rig.write(&source);
    rig.write(&format!("{source}{}", tcp("other", other, "")));
    rig.wait_reload("applied", 1.0);
    TcpStream::connect(("127.0.0.1", other)).unwrap();
    // What cannot be used is told once, however often the file is looked at.
    rig.write("what = is this\n");
    rig.wait_reload("refused", 1.0);
    rig.write("what = is this\n");
    rig.write(&source);
    rig.wait_reload("applied", 2.0);
    let refused = TcpStream::connect(("127.0.0.1", other)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let counts = ["applied", "refused", "unchanged"].map(|result| rig.reloads(result));
    assert_eq!(counts, [2.0, 1.0, 0.0]);
    assert!(rig.gateway.finish(0).is_empty());
}

#[test]
fn plan_says_what_a_reload_would_do() {
    let (port, other) = (free_port(), free_port());
    let source = tcp("tcp", port, "");
    let mut rig = Rig::start("plan", &source);
    let dir = rig.gateway.agent.dir().to_owned();
    let prefix = rig.gateway.prefix.clone();
    let plan = |tables: &str, more: &[&str]| {
        let text = format!("{}{tables}", head(&prefix)).replace(
            "data_dir = \"data\"",
            &format!("data_dir = \"{}\"", dir.join("data").display()),
        );
        let launch = Launch::ours("weir-agent").file("new.toml", text);
        let finished = launch.args(["plan", "-c", "new.toml"]).args(more).run(SOON);
        (finished.status.code().unwrap(), finished.stdout + &finished.stderr)
    };
    let detailed = ["--detailed-exitcode"];
    // Another folder for data, written down: that takes a restart, and nothing else differs.
    let (code, said) = plan(&source, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("! `[agent]` takes a restart, the spool is open there: `data_dir`"),
        "{said}"
    );

    let absolute = format!("data_dir = \"{}\"", dir.join("data").display());
    let text = format!("{}{source}", head(&prefix)).replace("data_dir = \"data\"", &absolute);
    assert!(rig.gateway.agent.term(SOON).success());
    fs::write(dir.join("agent.toml"), &text).unwrap();
    rig.gateway.agent.restart();
    rig.gateway.agent.wait_line("agent is running", SOON);
    rig.status = rig.gateway.status();

    let (code, said) = plan(&source, &detailed);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("nothing to do"), "{said}");
    let (code, said) = plan(&tcp("other", other, ""), &detailed);
    assert_eq!(code, 3, "{said}");
    for part in ["took over at 2", "- source `tcp` is removed", "+ source `other` is added"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let (code, said) = plan(&format!("{source}[spool]\nmax_bytes = 99000000\n"), &detailed);
    assert_eq!(code, 4, "{said}");
    // It did nothing.
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(rig.reloads("applied"), 0.0);
    // Against a file, with no agent at all; and what is wrong with the new one.
    let old = dir.join("agent.toml").display().to_string();
    let (code, said) = plan(&tcp("other", other, ""), &["--against", &old]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = plan("nonsense", &[]);
    assert_eq!(code, 2, "{said}");
    // After a reload that is what is in force.
    let next = format!("{}{}", head(&prefix), tcp("other", other, ""));
    fs::write(dir.join("agent.toml"), next.replace("data_dir = \"data\"", &absolute)).unwrap();
    rig.gateway.agent.signal(Signal::HUP);
    rig.wait_reload("applied", 1.0);
    let (code, said) = plan(&tcp("other", other, ""), &detailed);
    assert_eq!(code, 0, "{said}");
}

/// Sources that acknowledge: what they have not is sent again, what they have is there.
#[test]
fn relp_and_files_lose_nothing_when_their_source_starts_anew() {
    let (port, input) = (free_port(), free_port());
    let folder = weir_tests::temp_dir("reloaded");
    let path = folder.path().join("app.log");
    let tables = |connections: u32, poll_ms: u32| {
        format!(
            "[[source.relp]]\nname = \"relp\"\nlisten = \"tcp://127.0.0.1:{port}\"\nconnections_max = {connections}\n\
             [[source.file]]\nname = \"file\"\npaths = [\"{}\"]\npoll_ms = {poll_ms}\n",
            path.display()
        )
    };
    let mut rig = Rig::start("anew", &tables(10, 10));
    let mut daemon = senders::rsyslog(&format!(
        "module(load=\"imptcp\")\nmodule(load=\"omrelp\")\n\
         ruleset(name=\"forward\") {{ action(type=\"omrelp\" target=\"localhost\" port=\"{port}\" \
         windowSize=\"2000\" template=\"RSYSLOG_TraditionalForwardFormat\" \
         action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\" queue.type=\"LinkedList\" \
         queue.size=\"100000\") }}\n\
         input(type=\"imptcp\" address=\"127.0.0.1\" port=\"{input}\" ruleset=\"forward\")\n"
    ));
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let lines = Load::start(move |line| file.write_all(line.as_bytes()).unwrap());
    let numbered: Vec<String> =
        (0..30_000).map(|n| format!("Mar 27 13:06:56 gw app[{n}]: number {n}")).collect();
    for (round, part) in numbered.chunks(10_000).enumerate() {
        feed(input, part, &mut daemon);
        lines.wait_more(200);
        let round = u32::try_from(round).unwrap();
        rig.reload(&tables(11 + round, 11 + round), "applied");
    }
    let lines = lines.stop();
    let prefix = rig.gateway.prefix.clone();
    wait_until("every number", SOON, || {
        let found: BTreeSet<usize> = numbers(&events(&prefix), "relp").into_iter().collect();
        let left = 30_000 - found.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} are missing")) }
    });
    let events = rig.gateway.finish(30_000 + lines);
    assert_eq!(numbers(&events, "file"), (0..lines).collect::<Vec<_>>());
    let relp = numbers(&events, "relp");
    // What was in the spool and whose answer did not reach the sender: a window at each reload at most.
    assert!(relp.len() <= 30_000 + 3 * 2_000, "{} lines", relp.len());
}
