//! Sealing on the whole line: readings of a day that is over are sealed by the running sink; what the API
//! answers is the same before, after, and once the hot rows are gone; also when the sink is killed while it
//! seals.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_tests::cassandra::Row;
use weir_tests::line::{Line, SITE, metric};
use weir_tests::{http, services, wait_until};

const SOON: Duration = Duration::from_secs(60);
const DAY_S: u64 = 86_400;

/// Short times. The last is still long enough for a sink that is busy.
const SEAL: &str = "[store.seal]\nafter_s = 1\nadopt_after_s = 12\n";

/// Noon of yesterday, seconds.
fn yesterday_s() -> u64 {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (now_s / DAY_S - 1) * DAY_S + DAY_S / 2
}

/// Sends `count` readings of two metrics for each device, a second apart.
fn send(line: &Line, devices: std::ops::Range<u64>, from_s: u64, count: u64) {
    for device in devices {
        let reading = |n: u64| {
            let (a, b) = (20.0 + (n % 17) as f64 / 10.0, n * 3);
            format!("press,device=press-{device} temperature={a},count={b} {}", from_s + n)
        };
        let lines: Vec<String> = (0..count).map(reading).collect();
        for chunk in lines.chunks(500) {
            let path = line.input("/v1/write?precision=s");
            let answer = http::post(&path, "text/plain", chunk.join("\n").as_bytes());
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }
}

/// Every answer about the series of the site, as text.
fn answers(line: &Line) -> Vec<String> {
    let series = http::get_json(&line.api(&format!("/v1/series?site={SITE}")));
    let (from, to) = ((yesterday_s() - DAY_S) * 1_000_000, (yesterday_s() + DAY_S) * 1_000_000);
    let mut answers = Vec::new();
    for item in series["items"].as_array().unwrap() {
        let of = |name: &str| item[name].as_str().unwrap().to_owned();
        let name = format!("site={SITE}&device={}&metric={}", of("device"), of("metric"));
        for query in [
            format!("/v1/readings?{name}&from={from}&to={to}&limit=100000"),
            format!("/v1/readings?{name}&from={from}&to={to}&max_points=50"),
            format!("/v1/rollups?{name}&from={from}&to={to}&step=1m"),
            format!("/v1/rollups?{name}&from={from}&to={to}&step=1d"),
        ] {
            let answer = http::get(&line.api(&query));
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            answers.push(format!("{query}\n{}", answer.text()));
        }
    }
    answers
}

fn seals(line: &Line) -> Vec<Row> {
    line.cassandra.cql(&format!("SELECT device, version, marks FROM {}.seals", line.name))
}

pub(crate) fn is_marked(row: &Row) -> bool {
    row["marks"].as_array().is_some_and(|marks| !marks.is_empty())
}

/// Waits until there are so many seals, each with parts and no marks.
#[track_caller]
pub(crate) fn wait_sealed(line: &Line, seals: fn(&Line) -> Vec<Row>, count: usize) {
    wait_until("all to be sealed", SOON, || {
        let seals = seals(line);
        let open = |row: &&Row| row["version"].is_null() || is_marked(row);
        match seals.iter().filter(open).count() {
            0 if seals.len() == count => Ok(()),
            left => Err(format!("{left} of {} are not", seals.len())),
        }
    });
}

/// As time does after `hot_days`.
fn drop_hot(line: &Line) {
    line.cassandra.cql(&format!("TRUNCATE {}.readings", line.name));
}

#[test]
fn sealed_days_answer_as_before() {
    let mut line = Line::start_with("sealing", services::kafka(), services::cassandra(), SEAL);
    send(&line, 0..3, yesterday_s(), 600);
    line.settle(SOON);
    let hot = answers(&line);
    assert_eq!(hot.len(), 3 * 2 * 4);
    assert!(hot[0].contains("\"n\":600"), "{}", hot[0]);
    wait_sealed(&line, seals, 3);
    assert_eq!(answers(&line), hot);
    drop_hot(&line);
    assert_eq!(answers(&line), hot);

    // Late ones, again and again until the sink is killed with some of them sealed and some not. What it
    // left is taken over.
    let (metrics, mut late) = (line.api("/metrics"), 0);
    loop {
        send(&line, 0..40, yesterday_s() + 300 + late, 100);
        late += 100;
        assert!(late < 20_000, "nothing is sealed while more comes");
        let parts = metric(&metrics, "weir_sink_sealed_parts_total").unwrap_or_default();
        if parts >= 4.0 && seals(&line).iter().any(is_marked) {
            break;
        }
    }
    line.sink.kill9();
    assert!(seals(&line).iter().any(is_marked), "it was killed too late");
    line.sink.restart();
    line.wait_ready(SOON);
    line.settle(SOON);
    let all = answers(&line);
    for (device, n) in [(0, 600 + late), (39, late)] {
        let of_it = |query: &str| {
            query.contains(&format!("device=press-{device}&")) && query.contains("limit=")
        };
        let answers: Vec<&String> = all.iter().filter(|text| of_it(text)).collect();
        assert_eq!(answers.len(), 2, "both metrics of press-{device}");
        for answer in answers {
            let start: String = answer.chars().take(200).collect();
            assert!(answer.contains(&format!("\"n\":{n},")), "{n} readings: {start}");
        }
    }
    wait_sealed(&line, seals, 40);
    assert_eq!(answers(&line), all);
    drop_hot(&line);
    assert_eq!(answers(&line), all);
}
