//! Grafana's Prometheus data source against a running site: the calls it makes, in their form, and every query
//! and command of `docs/grafana.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_tests::python::code_blocks;
use weir_tests::{Launch, Program, free_port, http, root, wait_until};

const SOON: Duration = Duration::from_secs(60);
const FORM: &str = "application/x-www-form-urlencoded";
/// Readings of each series: ten minutes, one every 10 s.
const READINGS: u64 = 61;

/// A site with two presses that count parts and measure their oil.
struct Hall {
    _site: Program,
    page: String,
    /// Time of the last reading, seconds.
    end_s: u64,
}

impl Hall {
    fn start() -> Self {
        let (page, input) = (free_port(), free_port());
        let config = format!(
            "[site]\nname = \"hall\"\ndata_dir = \"data\"\n\
             [[source.http]]\nlisten = \"127.0.0.1:{input}\"\n\
             [http]\nlisten = \"127.0.0.1:{page}\"\n"
        );
        let launch = Launch::ours("weir").file("weir.toml", config);
        let mut site = launch.args(["up", "-c", "weir.toml"]).start();
        site.wait_line("site is up", SOON);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let end_s = now_s / 60 * 60;
        let hall = Self { _site: site, page: format!("http://127.0.0.1:{page}"), end_s };
        let lines: Vec<String> = (0..READINGS).flat_map(|n| hall.lines(n)).collect();
        let url = format!("http://127.0.0.1:{input}/v1/write?precision=s");
        let answer = http::post(&url, "text/plain", lines.join("\n").as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.text());
        wait_until("all readings to be there", SOON, || {
            // The last of them comes last.
            let counts = hall.query("sum(count_over_time(oil_temp{device=\"press-2\"}[1h]))");
            let counts = counts[0]["value"][1].clone();
            if counts == json!(READINGS.to_string()) { Ok(()) } else { Err(counts) }
        });
        hall
    }

    /// Two parts every 10 s at press 1, four at press 2.
    fn lines(&self, n: u64) -> [String; 4] {
        let at_s = self.end_s - (READINGS - 1 - n) * 10;
        let line = |metric: &str, device: u64, value: u64| {
            format!("{metric},device=press-{device} value={value} {at_s}")
        };
        [
            line("parts", 1, 1_000 + n * 2),
            line("parts", 2, 1_000 + n * 4),
            line("oil.temp", 1, 40 + n % 5),
            line("oil.temp", 2, 60),
        ]
    }

    /// The `data` of an answer to a POST of a form, as Grafana sends it.
    #[track_caller]
    fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let answer = http::post(&format!("{}{path}", self.page), FORM, form(pairs).as_bytes());
        assert_eq!(answer.status, 200, "{path} {pairs:?}: {}", answer.text());
        assert_eq!(answer.content_type, "application/json");
        let json = answer.json();
        assert_eq!(json["status"], "success", "{json}");
        json["data"].clone()
    }

    #[track_caller]
    fn get(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let json = http::get_json(&format!("{}{path}?{}", self.page, form(pairs)));
        assert_eq!(json["status"], "success", "{json}");
        json["data"].clone()
    }

    #[track_caller]
    fn query(&self, query: &str) -> Value {
        let time = self.end_s.to_string();
        self.post("/api/v1/query", &[("query", query), ("time", &time)])["result"].clone()
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                (byte as char).to_string()
            }
            b' ' => "+".into(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[test]
fn grafana_finds_what_it_asks_for() {
    let hall = Hall::start();
    let (start, end) = ((hall.end_s - 300).to_string(), hall.end_s.to_string());
    let span = [("start", start.as_str()), ("end", end.as_str())];

    // Save & test.
    assert_eq!(hall.query("1+1"), json!([hall.end_s, "2"]));
    assert_eq!(hall.get("/api/v1/status/buildinfo", &[])["application"], "weir");

    // The query builder and variables.
    let names = hall.get("/api/v1/label/__name__/values", &span);
    assert_eq!(names, json!(["oil_temp", "parts"]));
    assert_eq!(hall.post("/api/v1/labels", &span), json!(["__name__", "device", "metric", "site"]));
    let of_parts = [&span[..], &[("match[]", "parts")]].concat();
    assert_eq!(hall.post("/api/v1/labels", &of_parts), json!(["__name__", "device", "site"]));
    let devices = hall.get("/api/v1/label/device/values", &of_parts);
    assert_eq!(devices, json!(["press-1", "press-2"]));
    let series = hall.post("/api/v1/series", &of_parts);
    assert_eq!(series[1], json!({"__name__": "parts", "device": "press-2", "site": "hall"}));
    assert_eq!(hall.get("/api/v1/metadata", &[])["parts"][0]["type"], "unknown");

    // A panel: the range comes as seconds with three digits, the step in seconds.
    let (start, end) = (format!("{start}.000"), format!("{end}.000"));
    let query = "sum by (device) (rate(parts{site=\"hall\"}[1m0s]))";
    let pairs = [("query", query), ("start", &start), ("end", &end), ("step", "15")];
    let panel = hall.post("/api/v1/query_range", &pairs);
    assert_eq!(panel["resultType"], "matrix");
    for (row, rate) in panel["result"].as_array().unwrap().iter().zip([0.2, 0.4]) {
        let values = row["values"].as_array().unwrap();
        assert_eq!(values.len(), 21, "{row}");
        for value in values {
            let seen: f64 = value[1].as_str().unwrap().parse().unwrap();
            assert!((seen - rate).abs() < 1e-9, "{row}");
        }
    }
    assert_eq!(panel["result"][1]["metric"], json!({"device": "press-2"}));

    // What is wrong shows in the panel.
    let pairs = [("query", "histogram_quantile(0.9, parts)"), ("time", &end)];
    let answer = http::post(&format!("{}/api/v1/query", hall.page), FORM, form(&pairs).as_bytes());
    assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")));
    assert!(answer.text().contains("`histogram_quantile` is not supported"), "{}", answer.text());

    check_page(&hall);
}

/// The queries and the commands that the document shows.
fn check_page(hall: &Hall) {
    let page = root().join("docs/grafana.md");
    let queries = code_blocks(&page, "promql");
    assert!(queries.len() >= 6, "{} queries", queries.len());
    for query in queries {
        let rows = hall.query(query.trim());
        assert!(rows.as_array().is_some_and(|rows| !rows.is_empty()), "{query}: {rows}");
    }
    let commands = code_blocks(&page, "sh");
    assert!(!commands.is_empty());
    for command in commands {
        let here = command.replace("http://localhost:8080", &hall.page);
        assert_ne!(here, command);
        let said = Launch::at("sh", "/bin/sh".into()).args(["-e", "-c", &here]).run(SOON).ok();
        assert!(said.contains("\"success\""), "{command}{said}");
    }
}
