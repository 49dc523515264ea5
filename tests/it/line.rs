//! The whole line on a real Kafka and a real Cassandra: what goes in comes out once, whatever is
//! killed or stopped on the way.
#![allow(clippy::print_stderr, reason = "figures and seed are for the reader of the output")]

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use weir_tests::archive::objects;
use weir_tests::line::{Line, SITE};
use weir_tests::services::{self, Private};
use weir_tests::{http, wait_for, wait_until};

use arrived::Arrived;
use input::{Input, send_http, send_tcp, send_udp};
use random::Random;
use steady::Steady;

mod api;
pub(crate) mod arrived;
mod input;
mod overtaking;
pub(crate) mod random;
pub(crate) mod steady;

const SOON: Duration = Duration::from_secs(30);
/// For everything to arrive.
const ARRIVE: Duration = Duration::from_secs(90);
/// How long a service is away.
const AWAY: Duration = Duration::from_secs(10);

#[test]
fn everything_arrives_once() {
    let mut line = Line::start("once", services::kafka(), services::cassandra());
    let input = Input::read();
    let begun = Instant::now();
    // What is known of the machine is said half-way.
    let (before, after) = input.temperatures.split_at(input.temperatures.len() / 2);
    send_http(&line, "/v1/write?precision=s", before);
    describe_machine(&line);
    send_http(&line, "/v1/write?precision=s", after);
    std::thread::scope(|scope| {
        scope.spawn(|| send_tcp(&line, &input.tcp));
        scope.spawn(|| send_udp(&line, &input.udp));
        scope.spawn(|| send_http(&line, "/v1/events", &input.boards));
    });
    // TCP and UDP acknowledge nothing: what Kafka has tells when all of it is in.
    let topics = [line.topic("readings"), line.topic("logs")];
    let published = || topics.iter().map(|topic| line.kafka.count(topic)).sum::<i64>();
    wait_for("events in Kafka", input.len() as i64, ARRIVE, published);
    line.settle(ARRIVE);
    report("everything_arrives_once", &format!("{} events", input.len()), begun);

    let arrived = Arrived::read(&line);
    arrived.check();
    input.check(arrived.events());
    check_machine(&line, &arrived, after);
    api::check(&line, &arrived);
}

/// Tells the line of `press-7` and waits until store and agent know.
#[track_caller]
fn describe_machine(line: &Line) {
    let url = line.api(&format!("/v1/devices/{SITE}/press-7"));
    let body = json!({"meta": {"hall": "2"}, "units": {"temperature": "F"}});
    assert_eq!(http::put_json(&url, &body).status, 202);
    let select = format!("SELECT site, device, meta, units FROM {}.devices", line.name);
    let stored =
        json!([{"site": SITE, "device": "press-7", "meta": body["meta"], "units": body["units"]}]);
    wait_for("the device in Cassandra", stored, SOON, || json!(line.cassandra.cql(&select)));
    wait_for("the device in the agent's cache", json!(1), SOON, || {
        http::get_json(&line.api("/v1/agents"))["items"][0]["devices"].clone()
    });
}

/// The events sent after the description carry it, the ones before do not; the machine's labelled
/// anomalies have made an alert.
#[track_caller]
fn check_machine(line: &Line, arrived: &Arrived, after: &[String]) {
    let machine = arrived.readings.iter().filter(|row| row["device"] == "press-7");
    for row in machine {
        let raw = row["raw"].as_str().unwrap();
        let expected = if after.iter().any(|line| line == raw) {
            json!(["hit", {"hall": "2"}, "F"])
        } else {
            json!(["miss", {}, null])
        };
        let seen = json!([row["meta_state"], row["meta"], row["values"][0]["unit"]]);
        assert_eq!(seen, expected, "{row:?}");
    }
    let latest = http::get_json(&line.api(&format!("/v1/latest?site={SITE}")));
    let latest = latest["items"].as_array().unwrap();
    let machine = latest.iter().find(|item| item["device"] == "press-7").unwrap();
    assert_eq!(machine["unit"], "F");

    let window = input::utc_us("2013-12-15 17:50:00")..=input::utc_us("2013-12-17 17:00:00");
    let hit = |row: &&weir_tests::cassandra::Row| {
        row["device"] == "press-7" && window.contains(&row["ts_us"].as_i64().unwrap())
    };
    assert!(arrived.stored_alerts.iter().any(|row| hit(&row)), "{:?}", arrived.stored_alerts);
}

#[test]
fn killed_half_way() {
    const KILLS: u64 = 3;
    let mut line = Line::start("killed", services::kafka(), services::cassandra());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("killed_half_way: seed {seed}");
    let mut random = Random::new(seed);
    let begun = Instant::now();
    let load = Steady::start(&line, 4);
    for _ in 0..KILLS {
        load.wait_more(random.below(1_500));
        sleep(Duration::from_millis(random.below(200)));
        line.agent.kill9();
        line.agent.restart();
        line.wait_ready(SOON);
        // The sink is at work when its archive grows, and commits about once a second.
        let grown = objects(&line.archive()).len() + 1;
        wait_until("the archive to grow", SOON, || {
            let now = objects(&line.archive()).len();
            if now >= grown { Ok(()) } else { Err(format!("{now} objects, expected {grown}")) }
        });
        sleep(Duration::from_millis(random.below(1_500)));
        line.sink.kill9();
        line.sink.restart();
        line.wait_ready(SOON);
    }
    load.wait_more(1_000);
    let sent = load.stop();
    line.settle(ARRIVE);

    let arrived = Arrived::read(&line);
    arrived.check();
    let repeated = sent.check(arrived.events());
    let lines = sent.lines.len();
    let what = format!(
        "{lines} lines acknowledged, {} requests repeated, {repeated} events of repeated lines, \
         agent and sink killed {KILLS} times each",
        sent.repeated,
    );
    report("killed_half_way", &what, begun);
}

#[test]
fn kafka_away() {
    let kafka = Private::kafka(&[]);
    let mut line = Line::start("kafka_away", &kafka.as_kafka(), services::cassandra());
    let begun = Instant::now();
    let load = Steady::start(&line, 2);
    load.wait_more(1_000);
    kafka.node(1, "kill");
    let gone = Instant::now();
    for url in [line.agent_status("/readyz"), line.api("/readyz")] {
        wait_unready(&url, "brokers");
    }
    // The agent takes input all the time.
    let before = load.acknowledged();
    load.wait_more(1_000);
    wait_out(gone);
    let meanwhile = load.acknowledged() - before;
    kafka.node(1, "start");
    line.wait_ready(SOON);
    load.wait_more(1_000);
    check_after(
        &mut line,
        load,
        "kafka_away",
        &format!("{meanwhile} lines taken meanwhile"),
        begun,
    );
}

#[test]
fn cassandra_away() {
    let cassandra = Private::cassandra(&[]);
    let mut line = Line::start("cassandra_away", services::kafka(), &cassandra.as_cassandra());
    let begun = Instant::now();
    let load = Steady::start(&line, 2);
    load.wait_more(1_000);
    cassandra.node(1, "stop");
    let gone = Instant::now();
    wait_unready(&line.api("/readyz"), "store.cassandra");
    // The agent does not mind.
    assert_eq!(http::get(&line.agent_status("/readyz")).status, 200);
    let before = load.acknowledged();
    load.wait_more(1_000);
    wait_out(gone);
    let meanwhile = load.acknowledged() - before;
    cassandra.node(1, "start");
    line.wait_ready(ARRIVE);
    load.wait_more(1_000);
    let what = format!("{meanwhile} lines taken meanwhile");
    check_after(&mut line, load, "cassandra_away", &what, begun);
}

/// Waits until a program says that it is not ready, and which setting to look at. The reason may be another one while
/// the service goes down.
#[track_caller]
fn wait_unready(url: &str, setting: &str) {
    wait_until("the program not to be ready, and to say what to look at", SOON, || {
        let answer = http::get(url);
        let text = answer.text();
        if answer.status == 503 && text.contains(setting) { Ok(()) } else { Err(text) }
    });
}

/// A service stays away as long as the test is about.
fn wait_out(gone: Instant) {
    sleep(AWAY.saturating_sub(gone.elapsed()));
}

/// Ends the load; everything has to be there, and nothing that was sent once may be there twice.
#[track_caller]
fn check_after(line: &mut Line, load: Steady, test: &str, what: &str, begun: Instant) {
    let sent = load.stop();
    assert_eq!(sent.repeated, 0, "the agent has refused input");
    line.settle(ARRIVE);
    let arrived = Arrived::read(line);
    arrived.check();
    assert_eq!(sent.check(arrived.events()), 0, "events there twice");
    report(test, &format!("{} lines acknowledged, {what}", sent.lines.len()), begun);
}

/// For the reader of the output of `--nocapture`.
fn report(test: &str, what: &str, begun: Instant) {
    eprintln!("{test}: {what}, {:.1} s", begun.elapsed().as_secs_f64());
}
