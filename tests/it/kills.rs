//! The agent under load, killed with SIGKILL again and again at random moments, also while it starts,
//! with Kafka coming and going and live data overtaking what waits: what was acknowledged is in Kafka,
//! each stream numbered without a gap, and after the sink's rule nothing is there twice. Ten kills; a hundred with `cargo dev test --long`.
#![allow(clippy::print_stderr, reason = "figures and seed are for the reader of the output")]

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_tests::line::wait_empty_spool;
use weir_tests::services::Private;
use weir_tests::{Program, free_port, unique};

use crate::line::random::Random;
use crate::line::steady::{Steady, agent_config};
use crate::numbers::{after_the_rule, check_numbers};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn killed_again_and_again() {
    let long = std::env::var_os("WEIR_TEST_LONG").is_some();
    let kills: u64 = if long { 100 } else { 10 };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("killed_again_and_again: seed {seed}, {kills} kills");
    let mut random = Random::new(seed);
    let service = Private::kafka(&[]);
    let kafka = service.as_kafka();
    let prefix = unique("kills");
    for topic in ["readings", "logs", "alerts"] {
        kafka.create_topic(&format!("{prefix}.{topic}"), 3);
    }
    let (http, status) = (free_port(), free_port());
    // So that live data overtakes in every outage.
    let config = agent_config(&kafka, &prefix, http, status) + "[spool]\novertake_s = 1\n";
    let mut agent = Program::agent(&config);
    let ready = format!("http://127.0.0.1:{status}/readyz");
    agent.wait_http(&ready, SOON);
    let input = |path: &str| format!("http://127.0.0.1:{http}{path}");
    let begun = Instant::now();
    let load = Steady::to(&[input("/v1/write?precision=s"), input("/v1/events")], 4);

    let mut kafka_is_there = true;
    for kill in 1..=kills {
        // Kafka comes and goes at moments of its own.
        if random.below(4) == 0 {
            service.node(1, if kafka_is_there { "kill" } else { "start" });
            kafka_is_there = !kafka_is_there;
        }
        // From in the middle of the start to well at work.
        sleep(Duration::from_millis(random.below(if kill.is_multiple_of(3) {
            200
        } else {
            2_000
        })));
        agent.kill9();
        agent.restart();
    }
    if !kafka_is_there {
        service.node(1, "start");
    }
    agent.wait_http(&ready, SOON);
    load.wait_more(1_000);
    let sent = load.stop();
    wait_empty_spool(&mut agent, status, SOON);

    let messages = kafka.read(&format!("{prefix}."));
    let (kept, dropped) = after_the_rule(&messages);
    check_numbers(&kept);
    let events = kept.iter().filter(|event| event.contains_key("raw"));
    let repeated = sent.check(events);
    assert!(repeated as u64 <= sent.repeated * 50, "events there twice that were sent once");
    eprintln!(
        "killed_again_and_again: {} lines acknowledged, {} requests repeated, {repeated} events of \
         repeated lines, {dropped} records that the sink drops, {:.1} s",
        sent.lines.len(),
        sent.repeated,
        begun.elapsed().as_secs_f64()
    );
}
