//! Live records arrive, filtered; who is too slow learns it; the end of the sink ends the stream.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use weir_models::event::{Body, Event, Log, MetaState, ParseState};

use super::*;

fn event(site: &str, device: &str, seq: u64, body: Body) -> Live {
    Live::Event(Arc::new(Event {
        agent: "gw".into(),
        id: EventId { stream: Stream(1), seq },
        site: site.into(),
        device: device.into(),
        ts_us: 1,
        received_us: 2,
        clock: Clock::Synced,
        source: "udp".into(),
        dialect: Cow::Borrowed("rfc5424"),
        parse: ParseState::Ok,
        parse_reason: None,
        meta: Arc::default(),
        meta_state: MetaState::Miss,
        meta_age_s: None,
        raw: None,
        body,
    }))
}

fn log(site: &str, host: &str, seq: u64, message: String) -> Live {
    let log = Log { host: host.into(), message, ..Log::default() };
    event(site, host, seq, Body::Log(log))
}

/// A client of the stream that is connected: it has read the head and the first comment.
fn watch(server: &Server, query: &str) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(socket, "GET /v1/live?{query} HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.contains(": connected\n\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "closed after: {head}");
    }
    assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    reader
}

/// The next message: its event name and data.
fn next(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut name, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some(text) = line.strip_prefix("event: ") {
            name = text.trim().into();
        } else if let Some(text) = line.strip_prefix("data: ") {
            return Some((name, serde_json::from_str(text).unwrap()));
        }
        line.clear();
    }
    None
}

#[test]
fn records_arrive_by_kind_site_device_and_host() {
    let server = Server::start(Batch::default());
    let mut all = watch(&server, "");
    let mut lines = watch(&server, "kind=log&site=hall&host=a");
    let mut press = watch(&server, "kind=reading,alert&device=press");
    let send = |live| server.live.send(live).unwrap();
    send(event("hall", "press", 1, Body::Reading(BTreeMap::new())));
    send(log("hall", "b", 2, "no".into()));
    send(log("yard", "a", 3, "no".into()));
    send(log("hall", "a", 4, "yes".into()));
    send(Live::Alert(Arc::new(alert("a1", 5, None))));

    let names: Vec<_> = (0..5).map(|_| next(&mut all).unwrap().0).collect();
    assert_eq!(names, ["reading", "log", "log", "log", "alert"]);
    let (name, data) = next(&mut lines).unwrap();
    assert_eq!((name.as_str(), &data["seq"], &data["message"]), ("log", &json!(4), &json!("yes")));
    assert_eq!(next(&mut press).unwrap().1["seq"], 1);
    let (name, data) = next(&mut press).unwrap();
    assert_eq!((name.as_str(), &data["data"]["alert_id"]), ("alert", &json!("a1")));
}

#[test]
fn a_slow_client_holds_up_nobody_and_learns_how_many_it_missed() {
    let server = Server::start(Batch::default());
    let mut slow = watch(&server, "");
    // More than the buffers of both sockets hold, while nothing is read.
    let (total, size) = (400u64, 200_000);
    for seq in 1..=total {
        server.live.send(log("hall", "a", seq, "x".repeat(size))).unwrap();
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < total {
        match next(&mut slow).unwrap() {
            (name, data) if name == "missed" => missed += data["missed"].as_u64().unwrap(),
            (_, data) => {
                seen += 1;
                // What was missed lies before what comes after it.
                assert_eq!(data["seq"], seen + missed);
            }
        }
    }
    assert!(missed > 0 && seen > 0, "{seen} seen, {missed} missed");
}

#[test]
fn the_stream_ends_when_the_sink_stops() {
    let server = Server::start(Batch::default());
    let mut stream = watch(&server, "");
    server.stop.send(true).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let _ = &server.runtime;
}
