//! The Prometheus API: what Grafana asks, in its form, and errors in Prometheus' own.

use std::sync::atomic::Ordering::Relaxed;

use weir_models::config::Secret;

use super::super::Limits;
use super::*;
use crate::access::Access;
use crate::store::StoreError;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Two devices with a counter each, a value every 15 s from 0 to 600 s, and one metric with a name that
/// Prometheus does not take.
fn counters() -> Batch {
    let row = |device: &str, metric: &str, unit: Option<&str>, i: u64, value: f64| ReadingRow {
        key: key(device, metric),
        ts_us: i.cast_signed() * 15_000_000,
        id: EventId { stream: Stream(7), seq: i + 1 },
        value,
        score: None,
        unit: unit.map(Into::into),
    };
    let readings = (0..=40).flat_map(|i| {
        let n = i as f64;
        [
            row("press", "parts", None, i, n * 3.),
            row("saw", "parts", None, i, n * 6.),
            row("press", "oil.temp", Some("°C"), i, 20. + n),
        ]
    });
    Batch { readings: readings.collect(), ..Batch::default() }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn post(server: &Server, path: &str, pairs: &[(&str, &str)]) -> Answer {
    server.request("POST", path, &[FORM], &encoded(pairs))
}

/// The `data` of a query that is a success, the same by GET and by POST.
#[track_caller]
fn data(server: &Server, path: &str, pairs: &[(&str, &str)]) -> Value {
    let answer = post(server, path, pairs);
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{}", answer.text);
    assert_eq!(server.get(&format!("{path}?{}", encoded(pairs))).text, answer.text);
    let mut json = answer.json();
    assert_eq!(json["status"], "success");
    json["data"].take()
}

#[track_caller]
fn is_fault(answer: &Answer, status: u16, kind: &str, word: &str) {
    assert_eq!(
        (answer.status, answer.kind.as_str()),
        (status, "application/json"),
        "{}",
        answer.text
    );
    let json = answer.json();
    assert_eq!((&json["status"], &json["errorType"]), (&json!("error"), &json!(kind)));
    assert!(json["error"].as_str().unwrap().contains(word), "{}", answer.text);
    assert_eq!(json.as_object().unwrap().len(), 3);
}

#[test]
fn an_instant_query_answers_in_the_form_of_its_kind() {
    let server = Server::start(counters());
    let ask = |query: &str| data(&server, "/api/v1/query", &[("query", query), ("time", "600.5")]);
    assert_eq!(ask("1+1"), json!({"resultType": "scalar", "result": [600.5, "2"]}));
    let parts = |device: &str, value: &str| json!({"metric": {"__name__": "parts", "site": "hall", "device": device}, "value": [600.5, value]});
    assert_eq!(
        ask("parts"),
        json!({"resultType": "vector", "result": [parts("press", "120"), parts("saw", "240")]})
    );
    assert_eq!(
        ask("oil_temp[30s]"),
        json!({"resultType": "matrix", "result": [{
            "metric": {"__name__": "oil_temp", "metric": "oil.temp", "site": "hall", "device": "press", "unit": "°C"},
            "values": [[585, "59"], [600, "60"]],
        }]})
    );
    assert_eq!(ask("topk(1, parts)")["result"], json!([parts("saw", "240")]));
    assert_eq!(ask("sort(-parts)")["result"][0]["value"][1], "-240");
    assert_eq!(ask("parts{device=~\"x.*\"}")["result"], json!([]));
    // Five minutes after the last value it is no longer seen.
    let late = data(&server, "/api/v1/query", &[("query", "parts"), ("time", "900")]);
    assert_eq!(late["result"], json!([]));
    let longer = [("query", "parts"), ("time", "900"), ("lookback_delta", "10m")];
    assert_eq!(data(&server, "/api/v1/query", &longer)["result"].as_array().unwrap().len(), 2);
    let now = server.get("/api/v1/query?query=time()").json();
    let seconds = now["data"]["result"][0].as_f64().unwrap();
    assert!((seconds * 1e6 - now_us() as f64).abs() < 60e6, "{seconds}");
}

#[test]
fn a_range_query_is_evaluated_at_start_and_every_step() {
    let server = Server::start(counters());
    let ask = |query: &str, start: &str, end: &str, step: &str| {
        let pairs = [("query", query), ("start", start), ("end", end), ("step", step)];
        let answer = data(&server, "/api/v1/query_range", &pairs);
        assert_eq!(answer["resultType"], "matrix");
        answer["result"].clone()
    };
    // 3 parts each 15 s, to both borders of the window.
    assert_eq!(
        ask("rate(parts{device=\"press\"}[1m])", "300", "421", "60"),
        json!([{
            "metric": {"site": "hall", "device": "press"},
            "values": [[300, "0.2"], [360, "0.2"], [420, "0.2"]],
        }])
    );
    assert_eq!(
        ask("sum by (site) (increase(parts[5m])) / 2", "300", "300", "1m")[0]["values"],
        json!([[300, "90"]])
    );
    // Not moved to whole steps: times are start, start and a step, and so on.
    assert_eq!(
        ask("oil_temp", "7.5", "1970-01-01T00:00:38Z", "15")[0]["values"],
        json!([[7.5, "20"], [22.5, "21"], [37.5, "22"]])
    );
    assert_eq!(ask("oil_temp offset 30s", "0", "30", "15")[0]["values"], json!([[30, "20"]]));
    assert_eq!(
        ask("avg_over_time(oil_temp[30s])", "60", "60", "15")[0]["values"],
        json!([[60, "23.5"]])
    );
    assert_eq!(ask("2", "0", "1", "1"), json!([{"metric": {}, "values": [[0, "2"], [1, "2"]]}]));
    let both = ask("parts / on (site, device) oil_temp", "600", "600", "1");
    assert_eq!(
        both,
        json!([{"metric": {"site": "hall", "device": "press"}, "values": [[600, "2"]]}])
    );
}

#[test]
fn a_long_range_is_made_of_rollups_and_a_long_window_of_both() {
    // Ten days, a value each 10 minutes, half a minute after the full ones.
    let at = |i: i64| reading(i * 600_000_000 + 30_000_000, i.unsigned_abs(), i as f64, None);
    let rows = Batch { readings: (0..1_440).map(at).collect(), ..Batch::default() };
    let limits = Limits { scan_rows_max: 100, ..Limits::default() };
    let server = Server::start_with(rows, |api| api.limits(limits));
    let range = [("start", "0"), ("end", "864000"), ("step", "6h")];
    let ask = |query: &str| {
        let pairs = [&range[..], &[("query", query)]].concat();
        data(&server, "/api/v1/query_range", &pairs)["result"][0]["values"].clone()
    };
    // Raw values would be 1440, more than may be read.
    assert_eq!(ask("count_over_time(temp[6h])").as_array().unwrap().len(), 40);
    assert_eq!(ask("count_over_time(temp[6h])")[0], json!([21_600, "36"]));
    assert_eq!(ask("max_over_time(temp[6h])")[39], json!([864_000, "1439"]));
    assert_eq!(ask("temp"), Value::Null, "the newest is nine and a half minutes old");
    let long = [("query", "avg_over_time(temp[9d])"), ("time", "864000.25")];
    let seen = data(&server, "/api/v1/query", &long)["result"][0]["value"][1].clone();
    assert_eq!(
        seen,
        json!(((1_440 - 9 * 144..1_440).sum::<i32>() as f64 / (9. * 144.)).to_string())
    );
    // Of days that are not sealed there are no rollups: what they are made of counts.
    server.store.hot.store(true, Relaxed);
    for query in ["count_over_time(temp[6h])", "temp", "avg_over_time(temp[2d])"] {
        let pairs = [&range[..], &[("query", query)]].concat();
        is_fault(
            &post(&server, "/api/v1/query_range", &pairs),
            422,
            "execution",
            "100 stored values",
        );
    }
    is_fault(&post(&server, "/api/v1/query", &long), 422, "execution", "100 stored values");
    // No rollup knows a rate, and none begins within a minute.
    for (query, start) in [("rate(temp[6h])", "0"), ("temp", "1")] {
        let pairs = [("query", query), ("start", start), ("end", "864000"), ("step", "6h")];
        let answer = post(&server, "/api/v1/query_range", &pairs);
        is_fault(&answer, 422, "execution", "whole minutes");
    }
}

#[test]
fn what_is_too_much_says_what_to_change() {
    let mut rows = counters();
    // 20,000 values, each in each of 10,000 windows.
    rows.readings.extend((0..20_000).map(|i| reading(i * 1_000, i.unsigned_abs(), 1., None)));
    let server = Server::start(rows);
    let ask = |query: &str, end: &str| {
        let pairs = [("query", query), ("start", "20"), ("end", end), ("step", "1")];
        post(&server, "/api/v1/query_range", &pairs)
    };
    assert_eq!(ask("stddev_over_time(temp[5h])", "120").status, 200);
    is_fault(&ask("stddev_over_time(temp[5h])", "10019"), 422, "execution", "50000000 values");
    let many = |device: u64| ReadingRow {
        key: key(&format!("d{device}"), "x"),
        ..reading(20_000_000, device, 1., None)
    };
    // 2,000,000 numbers each, once for every call.
    server.store.rows.lock().unwrap().readings = (0..200).map(many).collect();
    let nested = |n: usize| format!("{}x{}", "topk(200,".repeat(n), ")".repeat(n));
    assert_eq!(ask(&nested(120), "120").status, 200);
    is_fault(&ask(&nested(30), "10019"), 422, "execution", "fewer operators");
    server.store.rows.lock().unwrap().readings = (0..201).map(many).collect();
    is_fault(&ask("x", "10019"), 422, "execution", "2000000 points");
    server.store.rows.lock().unwrap().readings = (0..5_001).map(many).collect();
    is_fault(&ask("x", "21"), 422, "execution", "5001 series");
}

#[test]
fn a_request_has_no_more_patterns_and_bytes_than_a_query() {
    let server = Server::start(counters());
    let patterns = vec!["a=~`b.{12}`"; 600].join(",");
    let query = format!("{{site!=\"\",{patterns}}}");
    is_fault(&post(&server, "/api/v1/query", &[("query", &query)]), 400, "bad_data", "parts");
    let wide = [("query", "{site=~`\\w{100}`}")];
    is_fault(&post(&server, "/api/v1/query", &wide), 400, "bad_data", "regular expression");
    let many = encoded(&[("match[]", "{a=~\"b.\"}"); 100]);
    let lists = |body: &str| server.request("POST", "/api/v1/labels", &[FORM], body);
    is_fault(&lists(&many), 400, "bad_data", "all selectors together");
    is_fault(&lists(&"match[]=a&".repeat(30_000)), 413, "bad_data", "body");
    // The series of the one site are asked for once, not once a selector.
    server.store.lists.store(0, Relaxed);
    assert_eq!(lists(&"match[]=parts&".repeat(100)).json()["data"].as_array().unwrap().len(), 3);
    assert_eq!(server.store.lists.load(Relaxed), 1);
}

#[test]
fn a_few_queries_compute_at_once() {
    let mut places = None;
    let limits = Limits { timeout: std::time::Duration::from_millis(500), ..Limits::default() };
    let server = Server::start_with(counters(), |api| {
        let api = api.limits(limits);
        places = api.computing.clone().try_acquire_many_owned(2).ok();
        api
    });
    assert!(places.is_some());
    for path in ["/api/v1/query?query=1", "/api/v1/labels?match[]=parts"] {
        is_fault(&server.get(path), 503, "timeout", "shorter range");
    }
    drop(places);
    assert_eq!(server.get("/api/v1/query?query=1").status, 200);
}

#[test]
fn a_query_has_at_most_so_many_rows() {
    let server = Server::start(counters());
    let ask = |limit: &str, query: &str, path: &str| {
        let range = [("start", "600"), ("end", "600"), ("step", "1"), ("time", "600")];
        let pairs = [&range[..], &[("query", query), ("limit", limit)]].concat();
        let answer = post(&server, path, &pairs).json();
        let rows = answer["data"]["result"].as_array().unwrap().len();
        (rows, answer["warnings"][0].as_str() == Some("results truncated due to limit"))
    };
    for path in ["/api/v1/query", "/api/v1/query_range"] {
        for (limit, expected) in [("1", (1, true)), ("2", (2, false)), ("0", (2, false))] {
            assert_eq!(ask(limit, "parts", path), expected, "{path} {limit}");
        }
        assert_eq!(ask("-1", "parts", path), (2, false));
        let bad = post(
            &server,
            path,
            &[("query", "1"), ("limit", "x"), ("start", "1"), ("end", "1"), ("step", "1")],
        );
        is_fault(&bad, 400, "bad_data", "limit");
    }
    assert_eq!(ask("1", "parts[1m]", "/api/v1/query"), (1, true));
    assert_eq!(
        server.get("/api/v1/metadata?limit=-1").json()["data"].as_object().unwrap().len(),
        2
    );
}

#[test]
fn values_of_one_millisecond_are_one() {
    let rows = [(600_000_000, 1.), (600_000_400, 2.), (600_001_000, 3.)];
    let rows = rows.iter().zip(1..).map(|((us, value), seq)| reading(*us, seq, *value, None));
    let server = Server::start(Batch { readings: rows.collect(), ..Batch::default() });
    let seen = data(&server, "/api/v1/query", &[("query", "temp[1m]"), ("time", "601")]);
    assert_eq!(seen["result"][0]["values"], json!([[600, "2"], [600.001, "3"]]));
}

#[test]
fn names_labels_and_series_are_listed() {
    let server = Server::start(counters());
    let list = |path: &str, pairs: &[(&str, &str)]| {
        server.get(&format!("{path}?{}", encoded(pairs))).json()["data"].clone()
    };
    assert_eq!(
        list("/api/v1/labels", &[]),
        json!(["__name__", "device", "metric", "site", "unit"])
    );
    assert_eq!(
        list("/api/v1/labels", &[("match[]", "parts")]),
        json!(["__name__", "device", "site"])
    );
    let values =
        |label: &str, pairs: &[(&str, &str)]| list(&format!("/api/v1/label/{label}/values"), pairs);
    assert_eq!(values("__name__", &[]), json!(["oil_temp", "parts"]));
    assert_eq!(values("device", &[]), json!(["press", "saw"]));
    assert_eq!(values("device", &[("match[]", "{unit=\"°C\"}")]), json!(["press"]));
    assert_eq!(values("other", &[]), json!([]));
    let both = [("match[]", "oil_temp"), ("match[]", "parts{device=\"saw\"}")];
    assert_eq!(values("device", &both), json!(["press", "saw"]));
    // A series ends, to the day, where its last value is.
    assert_eq!(values("device", &[("start", "86400")]), json!([]));
    assert_eq!(values("device", &[("start", "500"), ("end", "501")]), json!(["press", "saw"]));
    assert_eq!(
        data(&server, "/api/v1/series", &[("match[]", "parts{device=\"saw\"}")]),
        json!([{"__name__": "parts", "device": "saw", "site": "hall"}])
    );
    let cut = server.get("/api/v1/label/device/values?limit=1").json();
    assert_eq!(
        (&cut["data"], &cut["warnings"][0]),
        (&json!(["press"]), &json!("results truncated due to limit"))
    );
    assert_eq!(
        list("/api/v1/metadata", &[("metric", "oil_temp")]),
        json!({"oil_temp": [{"type": "unknown", "help": "The readings `oil.temp`.", "unit": "°C"}]})
    );
    assert_eq!(list("/api/v1/metadata", &[]).as_object().unwrap().len(), 2);
    assert_eq!(list("/api/v1/status/buildinfo", &[])["application"], "weir");
}

#[test]
fn what_cannot_be_answered_is_told_as_prometheus_does() {
    let server = Server::start(counters());
    let range = |query: &str, start: &str, end: &str, step: &str| {
        let pairs = [("query", query), ("start", start), ("end", end), ("step", step)];
        post(&server, "/api/v1/query_range", &pairs)
    };
    let two = [(285, 1), (300, 2)].map(|(s, seq)| ReadingRow {
        key: key("press", "waste"),
        ..reading(s * 1_000_000, seq, 1., None)
    });
    let two = two.map(|row| ReadingRow { unit: None, ..row });
    server.store.rows.lock().unwrap().readings.extend(two);
    is_fault(&server.get("/api/v1/query"), 400, "bad_data", "\"query\"");
    for time in ["x", "1e308", "-1e308", "9e18", "-9e18", "NaN"] {
        let path = format!("/api/v1/query?query=1&time={time}");
        is_fault(&server.get(&path), 400, "bad_data", "\"time\"");
    }
    is_fault(&range("sum(", "0", "1", "1"), 400, "bad_data", "1:5: parse error");
    is_fault(
        &range("histogram_quantile(1, a)", "0", "1", "1"),
        400,
        "bad_data",
        "histogram_quantile",
    );
    is_fault(&range("parts[5m]", "0", "1", "1"), 400, "bad_data", "range vector");
    is_fault(&range("1", "2", "1", "1"), 400, "bad_data", "before start");
    is_fault(&range("1", "0", "1", "0"), 400, "bad_data", "zero or negative");
    is_fault(&range("1", "0", "1", "x"), 400, "bad_data", "\"step\"");
    is_fault(&range("1", "", "1", "1"), 400, "bad_data", "\"start\"");
    is_fault(&range("1", "0", "11001", "1"), 400, "bad_data", "11,000 points");
    is_fault(
        &range("rate({device=\"press\"}[5m])", "300", "300", "1"),
        422,
        "execution",
        "same labelset",
    );
    is_fault(&server.get("/api/v1/series"), 400, "bad_data", "match[]");
    is_fault(&server.get("/api/v1/series?match[]=rate(a[5m])"), 400, "bad_data", "match[]");
    is_fault(&server.get("/api/v1/label/a-b/values"), 400, "bad_data", "a-b");
    is_fault(&server.get("/api/v1/rules"), 404, "not_found", "does not have");
    let json = [("content-type", "application/json")];
    is_fault(&server.request("POST", "/api/v1/query", &json, "{}"), 400, "bad_data", "form");
    is_fault(&server.request("DELETE", "/api/v1/query", &[], ""), 405, "bad_data", "method");
    is_fault(
        &server.request("POST", "/api/v1/query", &[FORM], &"x".repeat(300_000)),
        413,
        "bad_data",
        "body",
    );
    *server.store.fails.lock().unwrap() = Some(|| StoreError::Retry("10.1.1.1 refused".into()));
    let away = server.get("/api/v1/query?query=parts");
    is_fault(&away, 503, "unavailable", "try again");
    assert!(!away.text.contains("10.1.1.1"));
    *server.store.fails.lock().unwrap() = Some(|| StoreError::Fatal("schema".into()));
    is_fault(&server.get("/api/v1/labels"), 500, "internal", "person");
}

#[test]
fn queries_are_guarded_as_reads() {
    let start = |open_reads| {
        Server::start_with(counters(), move |api| {
            api.access(Access::new(Some(&Secret::new("s3cret")), &[], open_reads))
        })
    };
    let pairs = [("query", "1")];
    let server = start(false);
    is_fault(&post(&server, "/api/v1/query", &pairs), 401, "unauthorized", "Bearer");
    is_fault(&server.get("/api/v1/status/buildinfo"), 401, "unauthorized", "token");
    let headers = [FORM, ("authorization", "Bearer s3cret")];
    assert_eq!(server.request("POST", "/api/v1/query", &headers, &encoded(&pairs)).status, 200);
    assert_eq!(post(&start(true), "/api/v1/query", &pairs).status, 200);

    let limits = Limits { timeout: std::time::Duration::from_millis(50), ..Limits::default() };
    let server = Server::start_with(counters(), |api| api.limits(limits));
    *server.store.hangs.lock().unwrap() = true;
    is_fault(&server.get("/api/v1/labels"), 503, "timeout", "shorter range");
    let none = Limits { requests_max: 0, ..Limits::default() };
    let server = Server::start_with(counters(), |api| api.limits(none));
    is_fault(&server.get("/api/v1/labels"), 503, "unavailable", "at once");
}
