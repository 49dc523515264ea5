//! Counted lines, the archive, one gateway.

use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use weir_models::event::Body;
use weir_models::ident::TemplateId;
use weir_models::topic::Topic;

use super::super::Limits;
use super::*;
use crate::archive::Archive;
use crate::store::Audit;
use crate::survey::{Ends, Offsets, Survey};

const MINUTE_US: i64 = 60_000_000;

fn of_template(ts_us: i64, seq: u64, severity: u8, template: Option<u64>) -> Arc<Event> {
    let mut event = Arc::unwrap_or_clone(line(ts_us, seq, severity, &format!("message {seq}")));
    if let Body::Log(log) = &mut event.body {
        log.template = template.map(TemplateId);
    }
    Arc::new(event)
}

fn lines() -> Batch {
    // Every minute a line of `a`, every tenth minute an error of `b`, in the last minute one of `c`, and one without.
    let mut logs: Vec<_> =
        (0..60).map(|n| of_template(n * MINUTE_US, n as u64, 6, Some(0xa))).collect();
    logs.extend((0..6).map(|n| of_template(n * 10 * MINUTE_US + 1, 100 + n as u64, 3, Some(0xb))));
    logs.push(of_template(59 * MINUTE_US + 2, 200, 4, Some(0xc)));
    logs.push(of_template(5 * MINUTE_US, 300, 6, None));
    Batch { logs, ..Batch::default() }
}

#[test]
fn lines_are_counted_by_time_and_by_template() {
    let server = Server::start(lines());
    let all = "/v1/logs/summary?site=hall&from=0&to=3600000000";
    let told = server.get(all).json();
    assert_eq!(
        (&told["n"], &told["truncated"], &told["templates_n"], &told["bin_us"]),
        (&json!(68), &json!(false), &json!(4), &json!(MINUTE_US))
    );
    assert_eq!((&told["from_us"], &told["to_us"]), (&json!(0), &json!(3_600_000_000_i64)));
    let bins = told["bins"].as_array().unwrap();
    assert_eq!(bins.len(), 60);
    assert_eq!(bins[0], json!({"ts_us": 0, "n": 2, "errors": 1}));
    assert_eq!(bins[5], json!({"ts_us": 5 * MINUTE_US, "n": 2, "errors": 0}));
    let templates = told["templates"].as_array().unwrap();
    let told: Vec<_> =
        templates.iter().map(|one| (&one["template"], &one["n"], &one["first_us"])).collect();
    let c_us = 59 * MINUTE_US + 2;
    let expected = [(0xau64, 60, 0), (0xb, 6, 1), (0xc, 1, c_us)];
    for (told, (template, n, first_us)) in told.iter().zip(&expected) {
        let template = json!(format!("{template:016x}"));
        assert_eq!(*told, (&template, &json!(n), &json!(first_us)));
    }
    assert_eq!(templates[1]["severity"], 3);
    assert_eq!(templates[0]["message"], "message 59");
    // The same conditions as for lines.
    let errors = server.get(&format!("{all}&severity=3")).json();
    assert_eq!((&errors["n"], &errors["templates_n"]), (&json!(6), &json!(1)));
    server.get(&format!("{all}&severity=9")).is_problem(400, "bad-parameter");
}

#[test]
fn counts_of_the_newest_lines_say_how_far_back_they_go() {
    let server = Server::start(lines());
    let told = server.get("/v1/logs/summary?site=hall&from=0&to=3600000000&limit=10").json();
    assert_eq!((&told["n"], &told["truncated"]), (&json!(10), &json!(true)));
    assert!(told["from_us"].as_i64().unwrap() > 50 * MINUTE_US, "{told}");
    // Of all of time the part that has lines is told, and some around it.
    let told = server.get("/v1/logs/summary?site=hall&from=0&to=4102444800000000").json();
    assert_eq!((&told["n"], &told["bin_us"]), (&json!(68), &json!(MINUTE_US)));
    let none = server.get("/v1/logs/summary?site=nowhere").json();
    assert_eq!((&none["n"], &none["bins"]), (&json!(0), &json!([])));
}

#[test]
fn many_lines_are_counted_step_by_step_and_none_twice() {
    // Ten lines of a stamp, so that a step ends among them.
    let logs: Vec<_> = (0..9_003).map(|n| of_template(n as i64 / 10, n, 6, Some(n % 2))).collect();
    let server = Server::start(Batch { logs, ..Batch::default() });
    let told = server.get("/v1/logs/summary?site=hall&from=0&to=3600000000").json();
    assert_eq!((&told["n"], &told["truncated"]), (&json!(9_003), &json!(false)));
    let told = server.get("/v1/logs/summary?site=hall&from=0&to=3600000000&limit=8001").json();
    assert_eq!((&told["n"], &told["truncated"]), (&json!(8_001), &json!(true)));
    let before = "before=500,0000000000000000,0";
    let told = server.get(&format!("/v1/logs/summary?site=hall&from=0&to=3600000000&{before}"));
    let told = told.json();
    assert_eq!((&told["n"], &told["to_us"]), (&json!(5_000), &json!(501)));
}

#[test]
fn a_long_message_is_told_in_part() {
    let logs = vec![line(1, 1, 6, &"é".repeat(1_000))];
    let server = Server::start(Batch { logs, ..Batch::default() });
    let told = server.get("/v1/logs/summary?site=hall&from=0&to=3600000000").json();
    assert_eq!(told["templates"][0]["message"], "é".repeat(300));
}

#[test]
fn counts_of_nothing_are_no_counts() {
    let limits = Limits { timeout: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start_with(lines(), |api| api.limits(limits));
    *server.store.hangs.lock().unwrap() = true;
    server.get("/v1/logs/summary?site=hall&from=0&to=3600000000").is_problem(504, "timeout");
}

struct Away;

#[async_trait]
impl Offsets for Away {
    async fn ends(&self, _: Topic) -> Result<Ends, String> {
        Err("nobody answers".into())
    }
}

#[test]
fn the_archive_is_told_with_its_audits() {
    let audits = (1..=30).map(|n| Audit { ended_us: n, faults: 2, ..Audit::default() }).collect();
    let rows = Batch { audits, ..rows() };
    let archive = Archive::new(Arc::new(InMemory::new()));
    let server = Server::start_with(rows, |api| api.survey(Survey::new(archive, Arc::new(Away))));
    let told = server.get("/v1/archive").json();
    assert_eq!((&told["days"], &told["kafka_problem"]), (&json!([]), &json!("nobody answers")));
    let audits = told["audits"].as_array().unwrap();
    assert_eq!(
        (audits.len(), &audits[0]["ended_us"], &audits[0]["faults"]),
        (20, &json!(30), &json!(2))
    );
    Server::start(Batch::default()).get("/v1/archive").is_problem(404, "not-found");
}

#[test]
fn one_gateway_can_be_asked_for() {
    let server = Server::start(rows());
    let names = |path: &str| -> Vec<Value> {
        let told = server.get(path).json();
        told["items"].as_array().unwrap().iter().map(|agent| agent["agent"].clone()).collect()
    };
    assert_eq!(names("/v1/agents"), ["awake", "silent"]);
    assert_eq!(names("/v1/agents?agent=silent"), ["silent"]);
    assert_eq!(names("/v1/agents?agent=none"), [""; 0]);
    server.get("/v1/agents?agent=").is_problem(400, "bad-parameter");
}
