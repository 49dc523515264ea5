//! Measures the agent as a whole: CPU seconds per million syslog events, idle and peak memory.
//!
//! In: the path of a release build of `weir-agent`. Out: a table. A million RFC 5424 messages (real
//! texts of `fixtures/`, 1,000 hosts, each with metadata) go over one TCP connection, are parsed, looked
//! up, scored, spooled, compressed and published to a real Kafka with `acks=all`; the figure counts
//! when Kafka has all. Run by `cargo dev bench agent`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails so")]
#![allow(clippy::print_stdout, reason = "the table is the output of this command")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use weir_tests::services::{self, unique};
use weir_tests::{Launch, fixtures, free_port, wait_until};

const HOSTS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    let mut args = std::env::args().skip(1);
    let usage = "weir-bench PATH-OF-WEIR-AGENT [EVENTS]";
    let agent = std::fs::canonicalize(PathBuf::from(args.next().expect(usage))).expect(usage);
    let events: usize = args.next().map_or(1_000_000, |events| events.parse().expect(usage));
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("bench"));
    for topic in ["readings", "logs", "alerts"] {
        kafka.create_topic(&format!("{prefix}{topic}"), 4);
    }
    let port = free_port();
    let config = format!(
        "agent = {{ site = \"bench\", id = \"bench\", data_dir = \"data\" }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
         metadata = {{ files = [\"devices.csv\"] }}\n\
         status = {{ listen = \"\" }}\n\
         [[source.syslog]]\nlisten = \"tcp://127.0.0.1:{port}\"\nzone = \"UTC\"\n",
        kafka.bootstrap
    );
    let launch = Launch::at("weir-agent", agent)
        .file("agent.toml", config)
        .file("devices.csv", devices())
        .args(["run", "-c", "agent.toml"]);
    let mut program = launch.start();
    program.wait_line("agent is running", Duration::from_secs(20));
    std::thread::sleep(IDLE);
    let (idle_bytes, idle_cpu) = (program.rss_bytes(), program.cpu_seconds());

    let started = Instant::now();
    send(port, events);
    let logs = format!("{prefix}logs");
    wait_until("all events in Kafka", Duration::from_secs(600), || {
        let there = kafka.count(&logs);
        if there >= i64::try_from(events).unwrap() { Ok(()) } else { Err(there) }
    });
    let seconds = started.elapsed().as_secs_f64();
    let millions = events as f64 / 1e6;
    println!("events                      {events}");
    println!(
        "wall                        {seconds:.1} s ({:.0} events a second)",
        events as f64 / seconds
    );
    println!("CPU per million events      {:.2} s", (program.cpu_seconds() - idle_cpu) / millions);
    println!("memory idle                 {:.1} MiB", mib(idle_bytes));
    println!("memory peak                 {:.1} MiB", mib(program.rss_peak_bytes()));
    program.term(Duration::from_secs(20));
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn devices() -> String {
    let mut out = String::from("site,device,hall,line\n");
    for host in 0..HOSTS {
        writeln!(out, "bench,host-{host},{},{}", host % 7, host % 31).unwrap();
    }
    out
}

/// RFC 5424 messages of about 150 bytes, LF-framed.
fn send(port: u16, events: usize) {
    let log = std::fs::read_to_string(fixtures().join("syslog/auth.rfc3164.log")).unwrap();
    // What follows stamp and host in the file: the tag and the text.
    let texts: Vec<&str> = log.lines().filter_map(|line| line.splitn(5, ' ').last()).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut out = Vec::with_capacity(1 << 17);
    for i in 0..events {
        let (host, text) = (i % HOSTS, texts[i % texts.len()]);
        let (second, milli) = (i / 1_000 % 60, i % 1_000);
        let stamp = format!("2026-11-21T10:{:02}:{second:02}.{milli:03}Z", i / 60_000 % 60);
        writeln!(out, "<86>1 {stamp} host-{host} sshd {} - - {text}", 1_000 + i % 9_000).unwrap();
        if out.len() > 100_000 {
            stream.write_all(&out).unwrap();
            out.clear();
        }
    }
    stream.write_all(&out).unwrap();
}
