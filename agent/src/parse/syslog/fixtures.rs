//! The real lines of `fixtures/syslog`, with what we read in them written down beside them.
//! After a change that is meant, `UPDATE_EXPECT=1 cargo test -p weir-agent fixtures` writes the
//! expected files anew; read the difference before you keep it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/syslog")
}

/// One line of an expected file.
#[derive(serde::Serialize)]
struct Shown<'a> {
    ts: Option<String>,
    ts_rule: &'static str,
    host: Option<&'a str>,
    app: Option<&'a str>,
    procid: Option<&'a str>,
    message: &'a str,
    dialect: &'static str,
    state: ParseState,
    reason: Option<&'a str>,
}

#[track_caller]
fn check(name: &str) {
    let input = std::fs::read(folder().join("mixed").join(format!("{name}.log"))).unwrap();
    let received_us = "2026-06-15T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let mut actual = String::new();
    for line in input.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let out = parse_bytes(line, received_us, &Zone::UTC, &Limits::default());
        let shown = Shown {
            ts: out
                .ts_us
                .map(|ts_us| jiff::Timestamp::from_microsecond(ts_us).unwrap().to_string()),
            ts_rule: out.ts_rule.as_str(),
            host: out.host,
            app: out.app,
            procid: out.procid,
            message: out.message,
            dialect: out.dialect.as_str(),
            state: out.state,
            reason: out.reason,
        };
        writeln!(actual, "{}", serde_json::to_string(&shown).unwrap()).unwrap();
    }
    let path = folder().join("expected").join(format!("{name}.ndjson"));
    expect_test::expect_file![path].assert_eq(&actual);
}

#[test]
fn mixed_senders() {
    for name in [
        "bind9-syslog",
        "dovecot-logs",
        "endlessh-syslogs",
        "iptables-scan-multi-port",
        "mikrotik-scan-multi_ports",
        "pf-scan-multi-port",
        "postfix-logs",
        "proxmox-logs",
        "pureftpd-logs",
        "ssh-time-based-bf",
        "sshd-logs",
        "synology-dsm-logs",
    ] {
        check(name);
    }
}

/// One host's auth.log: every line is understood whole, in the order it was written.
#[test]
fn auth_log_of_a_host() {
    let input = std::fs::read(folder().join("auth.rfc3164.log")).unwrap();
    let received_us = "2017-04-10T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let mut apps = std::collections::BTreeMap::<&str, usize>::new();
    let mut last_us = 0;
    for line in input.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let out = parse_bytes(line, received_us, &Zone::UTC, &Limits::default());
        let shown = String::from_utf8_lossy(line);
        assert_eq!(
            (out.state, out.dialect, out.host),
            (ParseState::Ok, Dialect::Rfc3164File, Some("ip-10-77-20-248")),
            "{shown}"
        );
        assert!(out.ts_us.unwrap() >= last_us, "{shown}");
        last_us = out.ts_us.unwrap();
        *apps.entry(out.app.unwrap()).or_default() += 1;
    }
    let expected = [
        ("CRON", 374),
        ("chpasswd", 417),
        ("groupadd", 3),
        ("sshd", 2565),
        ("su", 35),
        ("sudo", 399),
        ("systemd", 232),
        ("systemd-logind", 425),
        ("useradd", 50),
    ];
    assert_eq!(apps.into_iter().collect::<Vec<_>>(), expected);
}
