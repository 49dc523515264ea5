//! The real input of `fixtures/`, sent as its senders would, and what has to come of each line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_models::time::parse_rfc3339;
use weir_tests::cassandra::Row;
use weir_tests::line::{Line, SITE, metric};
use weir_tests::{fixtures, http, wait_until};

/// Rows of the machine's temperature: beyond the second labelled anomaly.
const TEMPERATURES: usize = 5_000;
/// Lines in a request.
const BATCH: usize = 1_000;
/// Datagrams sent without looking whether they arrived: they fit the smallest receive buffer.
const DATAGRAMS: usize = 32;
/// Priority of every second line of `auth.log`: authpriv, info.
const PRIORITY: &str = "<86>";
const SOON: Duration = Duration::from_secs(30);

/// The lines, by the source that takes them.
pub(super) struct Input {
    pub(super) udp: Vec<String>,
    pub(super) tcp: Vec<String>,
    pub(super) temperatures: Vec<String>,
    pub(super) boards: Vec<String>,
}

impl Input {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(fixtures().join(path)).unwrap();
        let mut mixed: Vec<_> = fs::read_dir(fixtures().join("syslog/mixed"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        mixed.sort();
        let mixed: Vec<String> = mixed.iter().map(|p| fs::read_to_string(p).unwrap()).collect();
        let csv = text("sensors/nab/machine_temperature_system_failure.csv");
        let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
        Self {
            udp: mixed
                .iter()
                .flat_map(|file| lines(file))
                .filter(|l| !l.trim().is_empty())
                .collect(),
            // Every second one with a priority, which is how its framing is known.
            tcp: lines(&text("syslog/auth.rfc3164.log"))
                .into_iter()
                .enumerate()
                .map(|(i, line)| if i % 2 == 0 { format!("{PRIORITY}{line}") } else { line })
                .collect(),
            temperatures: csv.lines().skip(1).take(TEMPERATURES).map(as_line_protocol).collect(),
            boards: lines(&text("sensors/iot-mqtt.ndjson")),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.udp.len() + self.tcp.len() + self.temperatures.len() + self.boards.len()
    }
}

/// `2013-12-02 21:15:00,73.96732207` as a reading of `press-7`.
fn as_line_protocol(row: &str) -> String {
    let (stamp, value) = row.split_once(',').unwrap();
    format!("temperature,device=press-7 value={value} {}", utc_us(stamp) / 1_000_000)
}

/// `2013-12-10 06:25:00` as microseconds.
pub(super) fn utc_us(stamp: &str) -> i64 {
    parse_rfc3339(&format!("{}Z", stamp.replacen(' ', "T", 1))).unwrap()
}

/// Syslog over TCP: octet counting and line feeds, mixed in one connection.
#[track_caller]
pub(super) fn send_tcp(line: &Line, lines: &[String]) {
    let mut stream = TcpStream::connect(line.tcp()).unwrap();
    for line in lines {
        let counted = line.starts_with(PRIORITY);
        let framed = if counted { format!("{} {line}", line.len()) } else { format!("{line}\n") };
        stream.write_all(framed.as_bytes()).unwrap();
    }
}

/// Syslog over UDP, no faster than the agent takes it: what finds the receive buffer full is lost,
/// and nobody could tell that from a defect.
#[track_caller]
pub(super) fn send_udp(line: &Line, lines: &[String]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let metrics = line.agent_status("/metrics");
    let mut sent = 0;
    for chunk in lines.chunks(DATAGRAMS) {
        for text in chunk {
            socket.send_to(text.as_bytes(), line.udp()).unwrap();
            sent += 1;
        }
        wait_until("the datagrams to be received", SOON, || {
            match metric(&metrics, r#"weir_agent_received_events_total{source="udp""#)? {
                taken if taken >= f64::from(sent) => Ok(()),
                taken => Err(format!("{taken} of {sent}")),
            }
        });
    }
}

/// Readings over HTTP.
#[track_caller]
pub(super) fn send_http(line: &Line, path: &str, lines: &[String]) {
    for chunk in lines.chunks(BATCH) {
        let answer = http::post(&line.input(path), "text/plain", chunk.join("\n").as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

impl Input {
    /// Fails unless each line is there as often as it was sent, and says what it said.
    #[track_caller]
    pub(super) fn check<'a>(&self, events: impl Iterator<Item = &'a Row>) {
        let http = [&self.temperatures[..], &self.boards].concat();
        let mut left: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (source, lines) in [("udp", &self.udp), ("tcp", &self.tcp), ("http", &http)] {
            for line in lines {
                *left.entry((source, line)).or_default() += 1;
            }
        }
        for event in events {
            let (source, raw) = (event["source"].as_str().unwrap(), event["raw"].as_str().unwrap());
            *left.entry((source, raw)).or_default() -= 1;
            match source {
                "tcp" => check_auth(event, raw),
                "http" if raw.starts_with('{') => check_board(event, raw),
                "http" => check_temperature(event, raw),
                _ => assert_ne!(event["parse"], "raw", "{event:?}"),
            }
        }
        left.retain(|_, count| *count != 0);
        let some: Vec<_> = left.iter().take(5).collect();
        assert!(left.is_empty(), "{} lines lost (above 0) or double: {some:?}", left.len());
    }
}

/// `Mar 27 13:06:56 HOST APP[PROCID]: MESSAGE`, or without `[PROCID]`.
#[track_caller]
fn check_auth(event: &Row, raw: &str) {
    let (priority, line) = match raw.strip_prefix(PRIORITY) {
        Some(line) => (json!([10, 6]), line),
        None => (json!([null, null]), raw),
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(json!([event["facility"], event["severity"]]), priority, "{event:?}");
    assert_eq!(event["host"], words[3], "{event:?}");
    let app = words[4].trim_end_matches(':').split('[').next();
    assert_eq!(event["app"].as_str(), app, "{event:?}");
    let (_, message) = line.split_once(": ").unwrap();
    assert_eq!(event["message"], message.trim_start(), "{event:?}");
}

#[track_caller]
fn check_board(event: &Row, raw: &str) {
    let sent: Value = serde_json::from_str(raw).unwrap();
    let number = |value: &Value| value.as_bool().map_or(value.clone(), |b| json!(f64::from(b)));
    let values = sent["data"].as_object().unwrap().iter();
    let values: Map<String, Value> = values.map(|(k, v)| (k.clone(), number(v))).collect();
    assert_eq!(values_of(event), values, "{event:?}");
    assert_eq!((&event["device"], event["site"].as_str()), (&sent["device"], Some(SITE)));
    // The stamp has seven decimals.
    let off_us = event["ts_us"].as_f64().unwrap() - sent["ts"].as_f64().unwrap() * 1e6;
    assert!(off_us.abs() < 2.0, "{off_us} µs off: {event:?}");
}

#[track_caller]
fn check_temperature(event: &Row, raw: &str) {
    let words: Vec<&str> = raw.split([' ', '=']).collect();
    let [_, device, _, value, stamp_s] = words[..] else { panic!("{raw}") };
    let values = json!({"temperature": value.parse::<f64>().unwrap()});
    assert_eq!(Value::Object(values_of(event)), values, "{event:?}");
    assert_eq!(event["device"], device);
    assert_eq!(event["ts_us"], stamp_s.parse::<i64>().unwrap() * 1_000_000, "{event:?}");
}

fn values_of(event: &Row) -> Map<String, Value> {
    let values = event["values"].as_array().unwrap().iter();
    values.map(|v| (v["metric"].as_str().unwrap().to_string(), v["v"].clone())).collect()
}
