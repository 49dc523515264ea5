//! The real input of the demo, inside the program: it runs wherever the binary is.
//!
//! In: the files of `fixtures/` (origin and licences in its README). Out: lines to send, and the
//! anomaly windows that people labelled.

use serde::Deserialize;
use std::collections::BTreeMap;
use weir_models::time::parse_rfc3339;

/// The site of all demo devices.
pub(super) const SITE: &str = "demo";
/// Device and metric of the labelled series, by fixture.
pub(super) const LABELLED: [(&str, &str, &str); 2] = [
    ("machine_temperature_system_failure.csv", "press-7", "temperature"),
    ("ec2_cpu_utilization_5f5533.csv", "server-5f5533", "cpu"),
];

const AUTH: &str = include_str!("../../../fixtures/syslog/auth.rfc3164.log");
const IOT: &str = include_str!("../../../fixtures/sensors/iot-mqtt.ndjson");
const MACHINE: &str =
    include_str!("../../../fixtures/sensors/nab/machine_temperature_system_failure.csv");
const EC2: &str = include_str!("../../../fixtures/sensors/nab/ec2_cpu_utilization_5f5533.csv");
const WINDOWS: &str = include_str!("../../../fixtures/sensors/nab/windows.json");
const MIXED: [&str; 12] = [
    include_str!("../../../fixtures/syslog/mixed/bind9-syslog.log"),
    include_str!("../../../fixtures/syslog/mixed/dovecot-logs.log"),
    include_str!("../../../fixtures/syslog/mixed/endlessh-syslogs.log"),
    include_str!("../../../fixtures/syslog/mixed/iptables-scan-multi-port.log"),
    include_str!("../../../fixtures/syslog/mixed/mikrotik-scan-multi_ports.log"),
    include_str!("../../../fixtures/syslog/mixed/pf-scan-multi-port.log"),
    include_str!("../../../fixtures/syslog/mixed/postfix-logs.log"),
    include_str!("../../../fixtures/syslog/mixed/proxmox-logs.log"),
    include_str!("../../../fixtures/syslog/mixed/pureftpd-logs.log"),
    include_str!("../../../fixtures/syslog/mixed/ssh-time-based-bf.log"),
    include_str!("../../../fixtures/syslog/mixed/sshd-logs.log"),
    include_str!("../../../fixtures/syslog/mixed/synology-dsm-logs.log"),
];

/// The lines of one host's `auth.log`.
pub(super) fn auth_lines() -> impl Iterator<Item = &'static str> {
    AUTH.lines()
}

/// Lines of many senders.
pub(super) fn mixed_lines() -> impl Iterator<Item = &'static str> {
    MIXED.iter().flat_map(|file| file.lines()).filter(|line| !line.trim().is_empty())
}

/// JSON messages of three sensor boards.
pub(super) fn iot_messages() -> impl Iterator<Item = &'static str> {
    IOT.lines().filter(|line| !line.is_empty())
}

/// The labelled series as line protocol with stamps in seconds.
///
/// # Errors
/// When a row is not `stamp,value`.
pub(super) fn labelled_lines() -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for ((_, device, metric), csv) in LABELLED.iter().zip([MACHINE, EC2]) {
        for row in csv.lines().skip(1) {
            let (stamp, value) =
                row.split_once(',').ok_or_else(|| anyhow::anyhow!("`{row}` is no row"))?;
            let ts_s = utc(stamp)? / 1_000_000;
            out.push(format!("{metric},device={device} value={value} {ts_s}"));
        }
    }
    Ok(out)
}

/// A labelled anomaly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Device of the series.
    pub(super) device: String,
    /// Metric of the series.
    pub(super) metric: String,
    /// First and last microsecond.
    pub(super) range_us: (i64, i64),
}

/// The labelled anomalies of both series.
///
/// # Errors
/// When the labels cannot be read.
pub(super) fn windows() -> anyhow::Result<Vec<Window>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Labels(BTreeMap<String, Vec<(String, String)>>);
    let Labels(labels) = serde_json::from_str(WINDOWS)?;
    let mut out = Vec::new();
    for (file, device, metric) in LABELLED {
        for (from, to) in labels.get(file).into_iter().flatten() {
            out.push(Window {
                device: device.into(),
                metric: metric.into(),
                range_us: (utc(from)?, utc(to)?),
            });
        }
    }
    Ok(out)
}

/// `2013-12-10 06:25:00[.000000]` as UTC microseconds.
fn utc(stamp: &str) -> anyhow::Result<i64> {
    Ok(parse_rfc3339(&format!("{}Z", stamp.replacen(' ', "T", 1)))?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_all_there() {
        assert_eq!(auth_lines().count(), 4_500);
        assert_eq!(mixed_lines().count(), 223);
        assert_eq!(iot_messages().count(), 4_000);
        let lines = labelled_lines().unwrap();
        assert_eq!(lines.len(), 22_695 + 4_032);
        assert_eq!(lines[0], "temperature,device=press-7 value=73.96732207 1386018900");
    }

    #[test]
    fn there_are_six_windows() {
        let windows = windows().unwrap();
        assert_eq!(windows.len(), 6);
        assert!(windows.iter().all(|window| window.range_us.0 < window.range_us.1));
    }
}
