//! Datagrams that the kernel drops, and the limits of peers, at the real program.
//!
//! Each test runs an agent on the shared Kafka under a prefix of its own, and reads the topics.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::{free_port, http, wait_until};

use crate::senders::Gateway;

const SOON: Duration = Duration::from_secs(30);

/// The sum of a metric over the rows that have all of `labels`.
fn metric(status: &str, name: &str, labels: &[&str]) -> u64 {
    let text = http::get(&format!("http://{status}/metrics")).text();
    let rows = text.lines().filter(|row| row.starts_with(name));
    let rows = rows.filter(|row| labels.iter().all(|label| row.contains(label)));
    let values = rows.map(|row| row.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.sum::<f64>() as u64
}

/// Events that are log lines, and how many were lost by the markers among them.
fn lines_and_lost(events: &[Value]) -> (Vec<&Value>, u64) {
    let (markers, lines): (Vec<&Value>, Vec<&Value>) =
        events.iter().partition(|event| event["lost"].is_object());
    for marker in &markers {
        assert_eq!(marker["lost"]["reason"], "receive_buffer", "{marker}");
    }
    let lost = markers.iter().map(|marker| marker["lost"]["count"].as_u64().unwrap()).sum();
    (lines, lost)
}

#[test]
fn datagrams_that_the_kernel_drops_are_told_to_the_last_one() {
    let port = free_port();
    let mut gateway = Gateway::start(
        "drops",
        &format!(
            "[[source.syslog]]\nname = \"u\"\nlisten = \"udp://127.0.0.1:{port}\"\nsockets = 2\nreceive_buffer_bytes = 16384\n"
        ),
    );
    let status = gateway.status();
    gateway.agent.wait_line("receive buffer", SOON);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let mut sent = 0_u64;
    let mut send = |count: u64| {
        for n in sent..sent + count {
            let text =
                format!("<13>Nov 21 10:00:00 host app[1]: message {n:06} {}", "x".repeat(250));
            socket.send(text.as_bytes()).unwrap();
        }
        sent += count;
    };
    send(5);
    gateway.wait_count(5);
    // Nobody reads: the buffer has room for a few of them.
    gateway.agent.pause();
    send(3_000);
    gateway.agent.resume();
    let dropped = wait_until("the drops", SOON, || {
        let dropped = metric(&status, "weir_agent_dropped_datagrams_total", &["source=\"u\""]);
        let received = metric(&status, "weir_agent_received_events_total", &["source=\"u\""]);
        if dropped + received == 3_005 { Ok(dropped) } else { Err(format!("{dropped} {received}")) }
    });
    assert!(dropped > 2_000, "{dropped}");
    // A second time, so that it is the difference that counts.
    gateway.agent.pause();
    send(1_000);
    gateway.agent.resume();
    wait_until("the drops", SOON, || {
        let dropped = metric(&status, "weir_agent_dropped_datagrams_total", &["source=\"u\""]);
        let received = metric(&status, "weir_agent_received_events_total", &["source=\"u\""]);
        let lost = metric(&status, "weir_agent_lost_events_total", &["receive_buffer"]);
        let is_all = dropped + received == 4_005 && lost == dropped;
        if is_all { Ok(()) } else { Err(format!("{dropped} {received} {lost}")) }
    });
    let received = metric(&status, "weir_agent_received_events_total", &["source=\"u\""]);
    let events = gateway.finish(usize::try_from(received).unwrap() + 2);
    let (lines, lost) = lines_and_lost(&events);
    assert_eq!(lines.len() as u64 + lost, 4_005, "{} lines, {lost} lost", lines.len());
    // What came is what was sent, each once.
    let mut numbers: Vec<&str> =
        lines.iter().map(|line| &line["message"].as_str().unwrap()[8..14]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), lines.len());
}

fn line(n: usize) -> String {
    format!("<13>Nov 21 10:00:00 host app[1]: message {n:06}\n")
}

#[test]
fn a_peer_over_tcp_has_its_share_of_connections_and_of_events() {
    let port = free_port();
    let mut gateway = Gateway::start(
        "share",
        &format!(
            "[[source.syslog]]\nname = \"t\"\nlisten = \"tcp://127.0.0.1:{port}\"\n\
             peer_connections_max = 2\npeer_events_per_s_max = 500\nidle_s = 2\n"
        ),
    );
    let status = gateway.status();
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut first, mut second) = (connect(), connect());
    // In: the agent has taken both.
    first.write_all(line(0).as_bytes()).unwrap();
    second.write_all(line(1).as_bytes()).unwrap();
    gateway.wait_count(2);
    let mut third = connect();
    third.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(third.read(&mut [0; 8]).unwrap_or(0), 0, "the third connection is closed");
    let refused = |limit| metric(&status, "weir_agent_refused_connections_total", &[limit]);
    assert_eq!(refused("limit=\"peer_connections_max\""), 1);
    assert_eq!(refused("limit=\"connections_max\""), 0);

    let begun = Instant::now();
    let text: String = (2..3_000).map(line).collect();
    first.write_all(text.as_bytes()).unwrap();
    gateway.wait_count(3_000);
    // 500 at once, and what the last read took is not paid for yet: the others had to wait.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(metric(&status, "weir_agent_held_reads_total", &["source=\"t\""]) > 0);

    // Both say nothing any more and are closed.
    for stream in [&mut first, &mut second] {
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(1), 0);
    }
    wait_until("the count", SOON, || match refused("limit=\"idle_s\"") {
        2 => Ok(()),
        other => Err(other),
    });
    let events = gateway.finish(3_000);
    assert_eq!(events.len(), 3_000);
}

#[test]
fn a_peer_over_http_waits_and_an_idle_one_is_closed() {
    let port = free_port();
    let mut gateway = Gateway::start(
        "httpshare",
        &format!(
            "[[source.http]]\nname = \"h\"\nlisten = \"127.0.0.1:{port}\"\n\
             peer_events_per_s_max = 200\nidle_s = 1\n"
        ),
    );
    let status = gateway.status();
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.write_all(b"POST /v1/wri").unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = Vec::new();
    // The answer may be 408 or none; the end is what counts.
    let _ = silent.read_to_end(&mut answer);
    wait_until("the count", SOON, || {
        match metric(&status, "weir_agent_refused_connections_total", &["limit=\"idle_s\""]) {
            1 => Ok(()),
            other => Err(other),
        }
    });
    let url = format!("http://127.0.0.1:{port}/v1/write");
    let body: String = (0..400).map(|n| format!("m,host=h v={n} {n}\n")).collect();
    let begun = Instant::now();
    for _ in 0..3 {
        let answer = http::post(&url, "text/plain", body.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    // The first is answered at once, the third after the first two are paid for.
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(metric(&status, "weir_agent_held_reads_total", &["source=\"h\""]) > 0);
    assert_eq!(gateway.finish(1_200).len(), 1_200);
}
