//! The whole line on three Kafka brokers and three Cassandra nodes, three copies of everything, while one after the other of
//! them is killed, frozen, or two of them are stopped: `cargo dev test --long` alone, for it takes eight Java processes.
//! With one node of each away the line goes on; with two it waits and says so; nothing is lost, nothing is double.
#![allow(clippy::print_stderr, reason = "figures are for the reader of the output")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_tests::line::{Line, metric};
use weir_tests::services::Private;
use weir_tests::{Launch, http, long, wait_until};

use crate::line::arrived::Arrived;
use crate::line::steady::Steady;
use crate::prove::Commands;

const SOON: Duration = Duration::from_secs(120);
/// What has to go on while a node is away, in rows.
const MORE: f64 = 1_000.0;
/// Longer than an answer may take.
const FROZEN: Duration = Duration::from_secs(20);

#[test]
fn nodes_of_kafka_and_cassandra_fail_and_nothing_is_lost() {
    if !long() {
        eprintln!("clusters: only with --long");
        return;
    }
    let begun = Instant::now();
    let kafka = Private::kafka(&["--nodes", "3", "--heap", "256m"]);
    let cassandra = Private::cassandra(&["--nodes", "3", "--heap", "1g"]);
    let sink = |config: &str| {
        let config = config.replace("dc1 = 1", "dc1 = 3");
        let config = config.replace("partitions = 3", "partitions = 3\nreplication = 3");
        Launch::ours("weir-sink").file("sink.toml", config)
    };
    let (to, from) = (kafka.as_kafka(), cassandra.as_cassandra());
    let mut line = Line::start_by("clusters", &to, &from, sink);
    let load = Steady::start(&line, 2);
    let said = |what: &str| {
        eprintln!("clusters: {what} after {:.1} s", begun.elapsed().as_secs_f64());
    };
    said("up");

    for (service, name) in [(&cassandra, "Cassandra"), (&kafka, "Kafka")] {
        service.node(2, "kill");
        wait_stored(&mut line);
        service.node(2, "start");
        said(&format!("a node of {name} was killed"));
        service.node(3, "pause");
        sleep(FROZEN);
        wait_stored(&mut line);
        service.node(3, "resume");
        said(&format!("a node of {name} was frozen"));
    }
    for node in [2, 3] {
        cassandra.node(node, "stop");
    }
    wait_until("the sink to say that the store is too small", SOON, || {
        let answer = http::get(&line.api("/readyz"));
        let text = answer.text();
        if answer.status == 503 && text.contains("store") { Ok(()) } else { Err(text) }
    });
    // Whoever sends to the agent notices nothing.
    load.wait_more(1_000);
    for node in [2, 3] {
        cassandra.node(node, "start");
    }
    line.wait_ready(SOON);
    said("two nodes of Cassandra were stopped");

    wait_stored(&mut line);
    let sent = load.stop();
    line.settle(SOON);
    let arrived = Arrived::read(&line);
    arrived.check();
    assert_eq!((sent.check(arrived.events()), sent.repeated), (0, 0), "there twice, or refused");
    Commands::of(line.sink.dir()).audit_is_clean();
    said(&format!("{} lines, each there once", sent.lines.len()));
}

/// Waits until the store has more than it has now.
#[track_caller]
fn wait_stored(line: &mut Line) {
    let url = line.api("/metrics");
    let stored = || metric(&url, "weir_sink_stored_rows_total");
    let until = stored().unwrap() + MORE;
    line.sink.wait("rows to be stored", SOON, |_| match stored() {
        Ok(now) if now >= until => Ok(()),
        seen => Err(format!("{seen:?}, expected {until}")),
    });
}
