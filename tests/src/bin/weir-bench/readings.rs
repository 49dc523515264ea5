//! Readings: what a million of them cost the agent, over HTTP as line protocol and over MQTT.
//!
//! In: how many. Out: CPU seconds per million, wall rate and memory of each way. A reading has two metrics, both
//! scored, and comes from one of 250 devices. Every run reads the topic back by the stamps, of which
//! each reading has another one.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use weir_tests::mosquitto::Mosquitto;
use weir_tests::services::{self, unique};
use weir_tests::{Launch, free_port, http};

use crate::measure::{PARTITIONS, STALLED, arrived_at, create_topics, mib};

const DEVICES: usize = 250;
/// Lines of a request.
const LINES: usize = 1_000;
/// Stamp of the first reading, milliseconds since the Unix epoch; each is a millisecond later.
const FIRST_MS: usize = 1_790_000_000_000;
const IDLE: Duration = Duration::from_secs(3);

/// Runs both.
pub(crate) fn readings(agent: &Path, readings: usize) {
    println!("{readings} readings with two metrics each, {DEVICES} devices");
    println!("                    CPU s per M   readings/s   peak MiB   missing   double");
    one(agent, readings, "line protocol", "", |port| {
        let ends = [0, readings / 2, readings];
        let senders = ends.windows(2).map(|ends| {
            let (from, to) = (ends[0], ends[1]);
            spawn(move || post(port, from, to))
        });
        senders.collect::<Vec<_>>().into_iter().for_each(|sender| sender.join().unwrap());
    });
    let mosquitto = Mosquitto::start_with("max_queued_messages 0\nmax_inflight_messages 0\n");
    let source = format!(
        "[[source.mqtt]]\nurl = \"mqtt://127.0.0.1:{}\"\nprotocol = \"5\"\ntopics = [\"sensors/{{device}}\"]\n\
         fields = {{ values = \"data\", time = \"ts\", time_unit = \"ms\" }}\n",
        mosquitto.port
    );
    one(agent, readings, "MQTT", &source, |_| publish(mosquitto.port, readings));
}

fn one(agent: &Path, readings: usize, name: &str, source: &str, send: impl FnOnce(u16)) {
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("bench"));
    let topic = format!("{prefix}readings");
    create_topics(kafka, &prefix, PARTITIONS);
    let (port, status) = (free_port(), free_port());
    let config = format!(
        "agent = {{ site = \"bench\", id = \"bench\", data_dir = \"data\" }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
         status = {{ listen = \"127.0.0.1:{status}\" }}\n\
         [[source.http]]\nlisten = \"127.0.0.1:{port}\"\n{source}",
        kafka.bootstrap
    );
    let launch = Launch::at("weir-agent", agent.into()).file("agent.toml", config);
    let mut program = launch.args(["run", "-c", "agent.toml"]).start();
    program.wait_http(&format!("http://127.0.0.1:{status}/readyz"), Duration::from_secs(30));
    sleep(IDLE);
    let (cpu_before, began) = (program.cpu_seconds(), Instant::now());
    send(port);
    let changed = arrived_at(kafka, &topic, readings, STALLED);
    let seconds = changed.duration_since(began).as_secs_f64();
    let cpu_s = program.cpu_seconds() - cpu_before;
    let peak_mib = mib(program.rss_peak_bytes());
    program.term(Duration::from_secs(60));
    let (mut seen, mut distinct, mut double) = (vec![false; readings], 0, 0);
    kafka.for_each_payload(&topic, |payload| {
        let Some(number) = number(payload).filter(|number| *number < readings) else { return };
        match std::mem::replace(&mut seen[number], true) {
            true => double += 1,
            false => distinct += 1,
        }
    });
    println!(
        "{name:<20}{:>11.2}{:>13.0}{peak_mib:>11.1}{:>10}{double:>9}",
        cpu_s / (distinct.max(1) as f64 / 1e6),
        distinct as f64 / seconds,
        readings - distinct
    );
}

/// The number of a reading, by its stamp, if it was scored.
fn number(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    let (_, rest) = text.split_once("\"ts_us\":")?;
    let (stamp_us, rest) = rest.split_once(',')?;
    assert!(rest.matches("\"score\":").count() == 2, "not scored: {text}");
    (stamp_us.parse::<usize>().ok()? / 1_000).checked_sub(FIRST_MS)
}

/// Temperature and pressure of reading `i`: slow waves with some noise, as sensors show them.
fn values(i: usize) -> (f64, f64) {
    let (time, noise) = ((i / DEVICES) as f64, ((i * 7_919) % 101) as f64 / 100.0);
    (20.0 + 5.0 * (time / 60.0).sin() + noise, 3.0 + 0.5 * (time / 90.0).cos() + 0.1 * noise)
}

fn post(port: u16, from: usize, to: usize) {
    let url = format!("http://127.0.0.1:{port}/v1/write?precision=ms");
    for begin in (from..to).step_by(LINES) {
        let mut body = String::new();
        for i in begin..to.min(begin + LINES) {
            let ((temperature, pressure), device) = (values(i), i % DEVICES);
            writeln!(
                body,
                "plant,device=press-{device} temperature={temperature:.2},pressure={pressure:.3} {}",
                FIRST_MS + i
            )
            .unwrap();
        }
        let answer = http::post(&url, "text/plain", body.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// MQTT 3.1.1 at quality of service 1; the answers are read and not looked at.
fn publish(port: u16, readings: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00").unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reader = spawn(move || {
        // CONNACK, and a PUBACK each: four bytes.
        let mut left = 4 * (readings + 1);
        let mut chunk = [0; 64 << 10];
        while left > 0 {
            left -= answers.read(&mut chunk).unwrap().min(left);
        }
    });
    let mut packets = Vec::new();
    for i in 0..readings {
        let ((temperature, pressure), stamp_ms) = (values(i), FIRST_MS + i);
        let topic = format!("sensors/press-{}", i % DEVICES);
        let payload = format!(
            r#"{{"ts":{stamp_ms},"data":{{"temperature":{temperature:.2},"pressure":{pressure:.3}}}}}"#
        );
        let length = 2 + topic.len() + 2 + payload.len();
        packets.push(0x32);
        match length {
            0..128 => packets.push(length as u8),
            _ => packets.extend([(length % 128) as u8 | 0x80, (length / 128) as u8]),
        }
        packets.extend((topic.len() as u16).to_be_bytes());
        packets.extend(topic.as_bytes());
        packets.extend(((i % 65_535) as u16 + 1).to_be_bytes());
        packets.extend(payload.as_bytes());
        if packets.len() > 64 << 10 {
            stream.write_all(&packets).unwrap();
            packets.clear();
        }
    }
    stream.write_all(&packets).unwrap();
    reader.join().unwrap();
}
