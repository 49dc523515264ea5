//! Lines and payloads.

use bytes::Bytes;
use weir_models::time::rfc3339;

/// 2026-06-15T12:00:00Z.
pub const RECEIVED_US: i64 = 1_781_524_800_000_000;
/// Hosts that send.
pub const HOSTS: usize = 1_000;

pub const RFC3164: &str = "<38>Mar 27 13:06:56 ip-10-77-20-248 sshd[1291]: Failed password for invalid user admin from 10.0.0.1 port 52220";
pub const FILE: &str = "Mar 27 13:06:56 ip-10-77-20-248 sshd[1291]: Failed password for invalid user admin from 10.0.0.1 port 52220";
pub const ISO: &str = "<38>2023-08-17T16:55:35.689651+02:00 mono endlessh[34256]: ACCEPT host=::ffff:124.222.66.99 port=43202 fd=5 n=1/4096";
pub const RFC5424: &str = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"][examplePriority@32473 class=\"high\"] An application event log entry";
pub const CISCO: &str = "<189>123: rtr1: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)";
pub const JSON: &str = r#"{"data":{"co":0.004532068199369834,"humidity":58.20000076293945,"light":true,"lpg":0.007171643599248804,"motion":false,"smoke":0.019048703779119838,"temp":27.0},"device_id":"5e:44:3b:f3:79:c8","ts":1594598735.7727768}"#;
pub const LINE: &str =
    "weather,location=us-midwest,host=d1 temperature=82.5,humidity=71i,ok=t 1465839830100400200";

const AUTH_LOG: &str = include_str!("../../../fixtures/syslog/auth.rfc3164.log");

/// Name of a host.
pub fn host(n: usize) -> String {
    format!("host-{:04}", n % HOSTS)
}

/// Who sends log lines, and how often.
#[derive(Clone, Copy)]
pub struct Traffic {
    /// Hosts in turn.
    pub hosts: usize,
    /// Time of the first line, microseconds since the Unix epoch.
    pub from_us: i64,
    /// Time between two lines, in microseconds.
    pub step_us: i64,
}

/// A thousand hosts, 5,000 lines a second.
pub const GATEWAY: Traffic =
    Traffic { hosts: HOSTS, from_us: RECEIVED_US - 1_000_000, step_us: 200 };

/// As much of each host as on that gateway, but of so few that each of them says all its texts within 4,500 lines.
pub const FEW: Traffic = Traffic { hosts: 50, step_us: 4_000, ..GATEWAY };

/// The texts of a real log.
fn texts() -> Vec<&'static str> {
    AUTH_LOG.lines().filter_map(|line| Some(line.split_once(": ")?.1)).collect()
}

/// RFC 5424 messages with the texts of a real log.
pub fn log_lines(count: usize, traffic: Traffic) -> Vec<Bytes> {
    let texts = texts();
    let line = |n: usize| {
        // Seven has no divisor in common with the number of hosts: each has its turn.
        let (host, text) = (host(n * 7 % traffic.hosts), texts[n % texts.len()]);
        let time = rfc3339(traffic.from_us + n as i64 * traffic.step_us);
        let pid = 1_000 + n % 30_000;
        format!("<38>1 {time} {host} sshd {pid} - - {text}").into()
    };
    (0..count).map(line).collect()
}

/// Readings in line protocol: two metrics each, of 100 devices.
pub fn reading_lines(count: usize) -> Vec<Bytes> {
    let line = |n: usize| {
        let (host, t_ns) = (host(n % 100), (RECEIVED_US + n as i64 * 10_000) * 1_000);
        let swing = (n as f64 / 700.0).sin();
        let (temperature, humidity) = (20.0 + 5.0 * swing, 60.0 - 9.0 * swing);
        format!("climate,device={host} temperature={temperature:.2},humidity={humidity:.2} {t_ns}")
            .into()
    };
    (0..count).map(line).collect()
}
