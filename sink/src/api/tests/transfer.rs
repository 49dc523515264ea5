//! How answers come over: compressed for who asks, not again for who has them, page by page.

use std::io::Read;

use super::*;

const SERIES: &str =
    "/v1/readings?site=hall&device=press&metric=temp&from=0&to=1970-01-02T00:00:00Z";

fn many() -> Batch {
    let readings =
        (0..2_000).map(|i| reading(i * 1_000_000, i.unsigned_abs(), 20.0 + (i % 7) as f64, None));
    Batch { readings: readings.collect(), ..rows() }
}

fn header<'a>(response: &'a ureq::http::Response<Vec<u8>>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn an_answer_is_compressed_for_who_asks() {
    let server = Server::start(many());
    let ask =
        |path: &str, encoding: &str| server.raw("GET", path, &[("accept-encoding", encoding)], "");
    for path in [SERIES, "/app/main.js", "/v1/openapi.json"] {
        let plain = ask(path, "identity");
        assert_eq!(header(&plain, "content-encoding"), None, "{path}");
        let gzip = ask(path, "gzip");
        assert_eq!(header(&gzip, "content-encoding"), Some("gzip"), "{path}");
        assert!(header(&gzip, "vary").unwrap().to_lowercase().contains("accept-encoding"));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&gzip.body()[..]).read_to_end(&mut text).unwrap();
        assert!(&text == plain.body() && gzip.body().len() < text.len() / 2, "{path}");
        let zstd = ask(path, "br, zstd;q=0.9, gzip;q=0.1");
        assert_eq!(header(&zstd, "content-encoding"), Some("zstd"), "{path}");
        assert_eq!(&zstd::decode_all(&zstd.body()[..]).unwrap(), plain.body());
    }
    assert_eq!(header(&ask("/v1/sites", "gzip"), "content-encoding"), None, "too small");
    assert_eq!(header(&ask("/v1/readings", "gzip, zstd"), "content-encoding"), None);
}

#[test]
fn a_live_stream_is_not_held_back_by_compression() {
    let server = Server::start(Batch::default());
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let response = agent.get(server.url("/v1/live")).header("accept-encoding", "gzip, zstd").call();
    let response = response.unwrap();
    assert_eq!(response.headers().get("content-encoding"), None);
    let mut first = [0; 11];
    response.into_body().into_reader().read_exact(&mut first).unwrap();
    assert_eq!(&first, b": connected");
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let server = Server::start(rows());
    let ask = |path: &str, tag: &str| server.raw("GET", path, &[("if-none-match", tag)], "");
    for path in
        ["/v1/sites", "/v1/series?site=hall", SERIES, "/v1/openapi.json", "/app/plot.js", "/"]
    {
        let first = ask(path, "\"other\"");
        let tag = header(&first, "etag").unwrap();
        assert_eq!((first.status().as_u16(), first.body().is_empty()), (200, false), "{path}");
        let again = ask(path, tag);
        assert_eq!((again.status().as_u16(), again.body().len()), (304, 0), "{path}");
        assert_eq!(header(&again, "etag"), Some(tag), "{path}");
        let known = [("if-none-match", tag), ("accept-encoding", "gzip")];
        assert_eq!(server.raw("GET", path, &known, "").status().as_u16(), 304, "{path}");
    }
    let before = ask("/v1/series?site=hall", "");
    server
        .store
        .rows
        .lock()
        .unwrap()
        .readings
        .push(ReadingRow { key: key("saw", "temp"), ..reading(1, 9, 1., None) });
    let after = ask("/v1/series?site=hall", header(&before, "etag").unwrap());
    assert_eq!(after.status().as_u16(), 200);
    // Neither an error nor a stream has one, and the API's answers stay out of caches.
    assert_eq!(header(&ask("/v1/readings", ""), "etag"), None);
    assert_eq!(header(&after, "cache-control"), Some("no-store"));
    assert_eq!(server.raw("HEAD", "/v1/sites", &[], "").status().as_u16(), 200);
}

/// All pages of a list; between them `more` comes.
#[track_caller]
fn pages(server: &Server, path: &str, field: &str, mut more: impl FnMut()) -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = server.get(&format!("{path}&limit=2{cursor}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let json = answer.json();
        let items = json["items"].as_array().unwrap();
        found.push(items.iter().map(|item| item.pointer(field).unwrap().clone()).collect());
        assert_eq!(json["truncated"], json["next"].is_string());
        let Some(next) = json["next"].as_str() else {
            return found;
        };
        cursor = format!("&cursor={next}");
        more();
        assert!(found.len() < 20);
    }
}

#[test]
fn a_list_goes_on_where_it_ended_whatever_comes_meanwhile() {
    let device = |name: &str| ReadingRow { key: key(name, "temp"), ..reading(1, 9, 1., None) };
    for path in ["/v1/series?site=hall", "/v1/latest?site=hall"] {
        let readings = ["b", "d", "f", "h", "j"].map(device).to_vec();
        let server = Server::start(Batch { readings, ..Batch::default() });
        let more =
            || server.store.rows.lock().unwrap().readings.extend(["a", "c", "z"].map(device));
        let expected = json!([["b", "d"], ["f", "h"], ["j", "z"]]);
        assert_eq!(json!(pages(&server, path, "/device", more)), expected, "{path}");
    }
    let server = Server::start(rows());
    let heartbeats = ["c", "a", "b"].map(|agent| heartbeat(agent, 5));
    server.store.rows.lock().unwrap().agents = heartbeats.to_vec();
    let agents = pages(&server, "/v1/agents?", "/agent", || {});
    assert_eq!(json!(agents), json!([["a", "b"], ["c"]]));
    let devices = pages(&server, "/v1/devices?site=hall", "/device", || {});
    assert_eq!(json!(devices), json!([["press"]]));
    assert_eq!(json!(pages(&server, "/v1/sites?", "", || {})), json!([["hall"]]));
}

#[test]
fn alerts_of_one_moment_come_once_each_over_pages() {
    // Five of one moment, and one before and after it; new ones fire meanwhile.
    let fired = [("a", 9), ("b", 5), ("c", 5), ("d", 5), ("e", 5), ("f", 5), ("g", 1)];
    let alerts = fired.map(|(id, us)| alert(id, us, None)).to_vec();
    let server = Server::start(Batch { alerts, ..Batch::default() });
    let more = || server.store.rows.lock().unwrap().alerts.push(alert("new", 20, None));
    let pages = pages(&server, "/v1/alerts?site=hall&from=0&to=100", "/data/alert_id", more);
    assert_eq!(json!(pages), json!([["a", "f"], ["e", "d"], ["c", "b"], ["g"]]));
}

#[test]
fn losses_are_told_with_gateway_lane_and_range() {
    let server = Server::start(rows());
    let all = "/v1/losses?site=hall&from=0&to=10000000";
    let told = server.get(all).json();
    assert_eq!(
        told["items"][1],
        json!({
            "site": "hall", "agent": "awake", "ts_us": 1_000_000, "stream": "0000000000000007", "seq": 1,
            "source": "spool", "count": 3, "range": ["0000000000000007", 3, 5],
            "reason": "spool_full", "lane": "rest",
        })
    );
    let agents = |path: &str| -> Vec<Value> {
        let told = server.get(path).json();
        told["items"].as_array().unwrap().iter().map(|item| item["agent"].clone()).collect()
    };
    assert_eq!(agents(all), ["silent", "awake"]);
    assert_eq!(agents(&format!("{all}&agent=awake")), ["awake"]);
    assert_eq!(agents("/v1/losses?site=hall&from=0&to=2000000"), ["awake"]);
    assert_eq!(agents("/v1/losses?site=yard&from=0"), [""; 0]);
    // Over pages, while new ones come.
    let more = || server.store.rows.lock().unwrap().losses.push(loss("new", 9_000_000, 9));
    server.store.rows.lock().unwrap().losses.extend((3..7).map(|seq| loss("burst", 5, seq)));
    let pages = pages(&server, all, "/seq", more);
    assert_eq!(json!(pages), json!([[2, 1], [6, 5], [4, 3]]));
}

#[test]
fn thousands_of_alerts_of_one_moment_are_read_to_their_end() {
    let id = |i: usize| format!("01890a5d-ac96-774b-bcce-b302{i:08}");
    let alerts = (0..2_000).map(|i| alert(&id(i), 5, None)).collect();
    let server = Server::start(Batch { alerts, ..Batch::default() });
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..4 {
        let path = format!("/v1/alerts?site=hall&from=0&to=100&limit=500{cursor}");
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let page = answer.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["data"]["alert_id"].as_str().unwrap().to_owned()));
        cursor = format!("&cursor={}", page["next"].as_str().unwrap_or("none"));
    }
    assert_eq!(cursor, "&cursor=none");
    assert_eq!(seen, (0..2_000).rev().map(id).collect::<Vec<_>>());
}

#[test]
fn a_cursor_of_something_else_is_refused() {
    let server = Server::start(many());
    let other = super::super::cursor::write("latest", ["press", "temp"]);
    for path in [
        format!("/v1/series?site=hall&cursor={other}"),
        format!("/v1/alerts?site=hall&cursor={other}"),
        format!("/v1/losses?site=hall&cursor={other}"),
        format!(
            "/v1/losses?site=hall&cursor={}",
            super::super::cursor::write("losses", ["1", "2"])
        ),
        "/v1/sites?cursor=x".into(),
        format!("/v1/alerts?site=hall&cursor={}", super::super::cursor::write("alerts", ["soon"])),
        format!("/v1/alerts?site=hall&cursor={}", super::super::cursor::write("alerts", ["5"])),
    ] {
        let answer = server.get(&path);
        answer.is_problem(400, "bad-parameter");
        assert!(answer.text.contains("cursor"), "{path}");
    }
    server.get("/v1/sites?limit=0").is_problem(400, "bad-parameter");
    server.get("/v1/series?site=hall&limit=50001").is_problem(400, "bad-parameter");
}
