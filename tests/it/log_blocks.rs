//! Sealing of log lines on the whole line: lines of hours that are over are sealed by the running sink; what the API
//! finds is the same before, after, and once the hot rows are gone; also when lines come late and the sink is killed
//! while it seals.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_models::time::rfc3339;
use weir_tests::cassandra::Row;
use weir_tests::line::{Line, SITE, metric};
use weir_tests::{http, services};

use crate::sealing::{is_marked, wait_sealed};

const SOON: Duration = Duration::from_secs(60);
const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;

/// Short times. The last is still long enough for a sink that is busy.
const SEAL: &str = "[store.seal]\nafter_s = 1\nadopt_after_s = 12\n";

/// Begin of yesterday, seconds.
fn yesterday_s() -> u64 {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (now_s / DAY_S - 1) * DAY_S
}

/// Sends `count` lines of three hosts, three a second, by TCP.
fn send(line: &Line, from_s: u64, count: u64, word: &str) {
    let mut stream = TcpStream::connect(line.tcp()).unwrap();
    for n in 0..count {
        let stamp = rfc3339((from_s + n / 3) as i64 * 1_000_000 + (n % 3) as i64);
        let (host, app) =
            (["gw-1", "gw-2", "plc"][n as usize % 3], ["sshd", "kernel"][n as usize % 2]);
        let message = match n % 50 {
            7 => format!("Störung {word}: disk /dev/sd{} FULL", n % 5),
            _ => format!("request {n} of {word} took {} us", n * 37 % 1_000),
        };
        let priority = 8 + n % 8;
        writeln!(stream, "<{priority}>1 {stamp} {host} {app} {} - - {message}", n % 900).unwrap();
    }
    stream.flush().unwrap();
}

fn range() -> String {
    let (from, to) = (yesterday_s() * 1_000_000, (yesterday_s() + DAY_S) * 1_000_000);
    format!("from={from}&to={to}")
}

/// All lines of yesterday, page by page, newest first.
fn all(line: &Line) -> Vec<Value> {
    let (mut lines, mut before) = (Vec::<Value>::new(), String::new());
    loop {
        let query = format!("/v1/logs?site={SITE}&{}&limit=1000{before}", range());
        let page = http::get_json(&line.api(&query));
        let items = page["items"].as_array().unwrap();
        let Some(last) = items.last() else {
            return lines;
        };
        let of = |name: &str| last[name].to_string().replace('"', "");
        before = format!("&before={},{},{}", of("ts_us"), of("stream"), of("seq"));
        lines.extend(items.iter().cloned());
    }
}

/// What all kinds of searches find, as text.
fn answers(line: &Line) -> Vec<String> {
    let searches = [
        "",
        "&words=st%C3%B6rung",
        "&words=full+disk",
        "&words=ful",
        "&words=first+7",
        "&q=isk+/dev/sd3+fu",
        "&q=7+of+",
        "&host=gw-2&limit=50",
        "&app=kernel&severity=2",
        "&words=absent",
        "&words=late",
        "&host=plc&app=sshd&severity=4&words=request&q=us",
    ];
    let mut answers = Vec::new();
    for search in searches {
        let query = format!("/v1/logs?site={SITE}&{}&limit=2000{search}", range());
        let query = query.replacen("limit=2000&", "", usize::from(search.contains("limit=")));
        let answer = http::get(&line.api(&query));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answers.push(format!("{query}\n{}", answer.text()));
    }
    answers.extend(all(line).iter().map(Value::to_string));
    answers
}

fn seals(line: &Line) -> Vec<Row> {
    let seals = format!("SELECT site, device, span, version, marks FROM {}.seals", line.name);
    let rows = line.cassandra.cql(&seals).into_iter();
    rows.filter(|row| row["site"] == "" && row["device"] == SITE).collect()
}

/// As time does after `hot_days`.
fn drop_hot(line: &Line) {
    line.cassandra.cql(&format!("TRUNCATE {}.logs", line.name));
}

#[test]
fn sealed_lines_are_found_as_before() {
    let mut line = Line::start_with("logblocks", services::kafka(), services::cassandra(), SEAL);
    for hour in [3, 4, 11] {
        send(&line, yesterday_s() + hour * HOUR_S, 900, "first");
    }
    // Hot ones are looked at before the hour is quiet for a second.
    line.settle(SOON);
    let hot = answers(&line);
    let found = |word: &str| hot.iter().filter(|answer| answer.contains(word)).count();
    assert!(found("Störung first: disk /dev/sd") > 50, "{}", hot[1]);
    assert_eq!(all(&line).len(), 2_700);
    wait_sealed(&line, seals, 3);
    same(&answers(&line), &hot);
    drop_hot(&line);
    same(&answers(&line), &hot);

    // Late ones, again and again until the sink is killed with some of them sealed and some not. What it left is
    // taken over.
    let (metrics, mut rounds) = (line.api("/metrics"), 0);
    let parts = || metric(&metrics, "weir_sink_sealed_parts_total").unwrap_or_default();
    let before = parts();
    loop {
        for hour in [3, 5 + rounds % 6] {
            send(&line, yesterday_s() + hour * HOUR_S + 60 + rounds, 150, "late");
        }
        rounds += 1;
        assert!(rounds < 60, "nothing is sealed while more comes");
        line.settle(SOON);
        if rounds >= 6 && parts() >= before + 3.0 && seals(&line).iter().any(is_marked) {
            break;
        }
    }
    line.sink.kill9();
    assert!(seals(&line).iter().any(is_marked), "it was killed too late");
    line.sink.restart();
    line.wait_ready(SOON);
    line.settle(SOON);
    let after = answers(&line);
    assert_eq!(all(&line).len() as u64, 2_700 + rounds * 300);
    wait_sealed(&line, seals, 9);
    same(&answers(&line), &after);
    drop_hot(&line);
    same(&answers(&line), &after);

    // As they are found: the same lines.
    let query = format!("/v1/logs?site={SITE}&{}&words=late&limit=10000", range());
    let listed = http::get_json(&line.api(&query));
    let agent = ureq::get(line.api(&query)).header("Accept", "application/x-ndjson");
    let text = agent.call().unwrap().body_mut().read_to_string().unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found, *listed["items"].as_array().unwrap());
}

/// Fails at the first answer that differs.
#[track_caller]
fn same(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        let start = |text: &str| text.chars().take(600).collect::<String>();
        assert!(found == expected, "{}\nis not\n{}", start(found), start(expected));
    }
    assert_eq!(found.len(), expected.len());
}
