//! A cluster of three brokers under an agent that publishes all the time: one broker is killed and
//! comes back, one is frozen for longer than an answer may take, two are stopped. Topics have three
//! copies, of which two have to be there. What was acknowledged is in the topics once, in the order of
//! its numbers: the agent is never killed here, so it knows what it has sent, and leaders that take
//! over know it from their copies. Not even the sink has anything to drop.
#![allow(clippy::print_stderr, reason = "figures are for the reader of the output")]

use std::time::{Duration, Instant};

use weir_tests::kafka::{Kafka, Placed};
use weir_tests::line::{metric, wait_empty_spool};
use weir_tests::services::Private;
use weir_tests::{Program, free_port, http, unique, wait_until};

use crate::line::steady::{Steady, agent_config};
use crate::numbers::{after_the_rule, check_numbers};

const SOON: Duration = Duration::from_secs(60);
/// Partitions of each topic: two for each broker to lead.
const PARTITIONS: i32 = 6;
/// What has to go on while a broker is away, in events.
const MORE: u64 = 1_000;

#[test]
fn brokers_fail_and_nothing_is_lost_or_double() {
    let begun = Instant::now();
    // Three on a machine for one: each is content with a small heap.
    let service = Private::kafka(&["--nodes", "3", "--heap", "256m"]);
    let mut scene = Scene::start(&service);
    let load = Steady::to(&[scene.input("/v1/write?precision=s"), scene.input("/v1/events")], 4);
    load.wait_more(MORE);
    scene.said("the cluster is up", begun);

    scene.one_is_killed_and_comes_back();
    scene.said("one was killed", begun);
    scene.one_is_frozen_for_longer_than_an_answer_may_take();
    scene.said("one was frozen", begun);
    scene.two_are_stopped(&load);
    scene.said("two were stopped", begun);

    load.wait_more(MORE);
    let sent = load.stop();
    wait_empty_spool(&mut scene.agent, scene.status, SOON);
    let messages = scene.kafka.read(&format!("{}.", scene.prefix));
    let (kept, dropped) = after_the_rule(&messages);
    check_numbers(&kept);
    let repeated = sent.check(kept.iter().filter(|event| event.contains_key("raw")));
    assert_eq!((dropped, repeated, sent.repeated), (0, 0, 0), "there twice, or sent twice to us");
    scene.said(&format!("{} lines, each there once", sent.lines.len()), begun);
}

/// The agent, and the cluster behind it.
struct Scene<'a> {
    service: &'a Private,
    kafka: Kafka,
    agent: Program,
    prefix: String,
    http: u16,
    status: u16,
}

impl<'a> Scene<'a> {
    #[track_caller]
    fn start(service: &'a Private) -> Self {
        let (kafka, prefix) = (service.as_kafka(), unique("cluster"));
        for topic in ["readings", "logs", "alerts"] {
            kafka.create_topic(&format!("{prefix}.{topic}"), PARTITIONS);
        }
        let (http, status) = (free_port(), free_port());
        let agent = Program::agent(&agent_config(&kafka, &prefix, http, status));
        let mut scene = Self { service, kafka, agent, prefix, http, status };
        scene.wait_ready();
        scene.wait_placed("three copies in step", |p| p.in_sync.len() == 3);
        scene
    }

    /// A leader is killed; the others take over and go on without it.
    #[track_caller]
    fn one_is_killed_and_comes_back(&mut self) {
        let killed = self.leader();
        self.service.node(killed as u32, "kill");
        self.wait_placed("other leaders", |p| p.leader >= 0 && p.leader != killed);
        self.wait_published();
        self.service.node(killed as u32, "start");
        self.wait_placed("three copies in step", |p| p.in_sync.len() == 3);
    }

    /// A leader says nothing, and closes nothing: what was sent to it waits for its answer until that
    /// is given up. Then it wakes up, and believes to lead for a moment.
    #[track_caller]
    fn one_is_frozen_for_longer_than_an_answer_may_take(&mut self) {
        let frozen = self.leader();
        self.service.node(frozen as u32, "pause");
        self.wait_placed("other leaders", |p| p.leader >= 0 && p.leader != frozen);
        self.agent.wait_line("gave no answer within", SOON);
        self.wait_published();
        self.service.node(frozen as u32, "resume");
        self.wait_placed("three copies in step", |p| p.in_sync.len() == 3);
        self.wait_ready();
    }

    /// One copy of each partition is too few: it is told, and everything waits in the spool.
    #[track_caller]
    fn two_are_stopped(&mut self, load: &Steady) {
        // Stopped and not killed: the last one then knows that it is alone, and refuses at once.
        for node in [1, 2] {
            self.service.node(node, "stop");
        }
        let url = self.of_status("/readyz");
        self.agent.wait("/readyz to say what is wrong", SOON, |_| {
            let answer = http::try_get(&url).map_err(|error| error.to_string())?;
            let text = answer.text();
            let parts =
                ["NOT_ENOUGH_REPLICAS", "min.insync.replicas", "bring the missing ones back"];
            let is_told = answer.status == 503 && parts.iter().all(|part| text.contains(part));
            if is_told { Ok(()) } else { Err(format!("{} {text}", answer.status)) }
        });
        // Whoever sends to the agent notices nothing.
        load.wait_more(MORE);
        assert!(self.waiting().unwrap() >= MORE as f64, "{:?} events wait", self.waiting());
        std::thread::scope(|scope| {
            for node in [1, 2] {
                let service = self.service;
                scope.spawn(move || service.node(node, "start"));
            }
        });
        self.wait_ready();
    }

    /// Who leads the first partition of the readings.
    #[track_caller]
    fn leader(&self) -> i32 {
        let placed = self.kafka.placed(&format!("{}.readings", self.prefix)).unwrap();
        placed.iter().find(|p| p.partition == 0).unwrap().leader
    }

    /// Waits until all partitions are so.
    #[track_caller]
    fn wait_placed(&self, what: &str, is_so: impl Fn(&Placed) -> bool) {
        wait_until(what, SOON, || {
            let placed = self.kafka.placed(&format!("{}.", self.prefix));
            let placed = placed.map_err(|error| error.to_string())?;
            match placed.iter().find(|p| !is_so(p)) {
                None => Ok(()),
                Some(other) => Err(format!("{other:?}")),
            }
        });
    }

    /// Waits until Kafka has taken more than it has now.
    #[track_caller]
    fn wait_published(&mut self) {
        let url = self.of_status("/metrics");
        let published = || metric(&url, "weir_agent_published_events_total");
        let until = published().unwrap() + MORE as f64;
        self.agent.wait("events to be published", SOON, |_| match published() {
            Ok(now) if now >= until => Ok(()),
            seen => Err(format!("{seen:?}, expected {until}")),
        });
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        let url = self.of_status("/readyz");
        self.agent.wait_http(&url, SOON);
    }

    fn waiting(&self) -> Result<f64, String> {
        metric(&self.of_status("/metrics"), "weir_agent_spool_waiting_events")
    }

    fn input(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    fn of_status(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.status)
    }

    fn said(&self, what: &str, begun: Instant) {
        let errors = metric(&self.of_status("/metrics"), "weir_agent_publish_errors_total");
        let after_s = begun.elapsed().as_secs_f64();
        eprintln!("cluster: {what} after {after_s:.1} s, failed tries {}", errors.unwrap_or(0.0));
    }
}
