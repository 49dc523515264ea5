//! An agent that is gone is told, once, by whatever sink looks; and so is that it is back.

use std::time::Duration;

use serde_json::Value;
use weir_tests::line::{Line, SITE};
use weir_tests::{http, services, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// The agent's heartbeats come every second.
const IMPATIENT: &str = "[silence]\nheartbeats = 3\nat_least_s = 3\nlook_s = 1\n";

/// State and id of each alert of silence that the API knows.
fn alerts(line: &Line) -> Vec<(String, String)> {
    let answer = http::get_json(&line.api(&format!("/v1/alerts?site={SITE}")));
    let of = |alert: &Value| {
        let data = &alert["data"];
        let of = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        (of("kind") == "silence").then(|| {
            assert_eq!((of("device"), of("metric")), ("gateway".into(), "heartbeat".into()));
            (of("state"), of("alert_id"))
        })
    };
    answer["items"].as_array().unwrap().iter().filter_map(of).collect()
}

/// Waits until the API knows one alert, in this state; its id.
fn one(line: &Line, state: &str) -> String {
    let mut id = String::new();
    wait_until(&format!("one alert that is {state}"), SOON, || match alerts(line).as_slice() {
        [(found, alert)] if found == state => {
            id.clone_from(alert);
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
    id
}

#[test]
fn an_agent_that_is_gone_is_told_once_and_so_is_its_return() {
    let (kafka, cassandra) = (services::kafka(), services::cassandra());
    let mut line = Line::start_with("silence", kafka, cassandra, IMPATIENT);
    let heard = || {
        let agents = http::get_json(&line.api("/v1/agents"));
        let items = agents["items"].as_array().unwrap().len();
        if items == 1 { Ok(()) } else { Err(format!("{items} agents")) }
    };
    wait_until("the agent to be known", SOON, heard);
    assert_eq!(alerts(&line), [], "it speaks");
    line.agent.kill9();
    let id = one(&line, "firing");
    // Another sink in its place finds the alert there.
    line.sink.kill9();
    line.sink.restart();
    let ready = line.api("/readyz");
    line.sink.wait_http(&ready, SOON);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(one(&line, "firing"), id);
    line.agent.restart();
    assert_eq!(one(&line, "resolved"), id);
    let told: Vec<String> = (kafka.read(&line.topic("alerts")).iter())
        .map(|message| message.json()["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    let distinct: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(distinct.len(), 2, "one record fires, one ends it: {told:?}");
}
