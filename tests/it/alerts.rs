//! Who reads alerts: the consumer in `docs/alerts.md`, as the page shows it.

use std::time::Duration;

use weir_tests::kafka::Message;
use weir_tests::python::{code_blocks, python};
use weir_tests::{Program, free_port, http, root, services, unique};

const SOON: Duration = Duration::from_secs(30);

/// The alert records, as soon as there are so many.
#[track_caller]
fn alerts(agent: &mut Program, topic: &str, count: usize) -> Vec<Message> {
    agent.wait(&format!("{count} alerts"), SOON, |_| {
        let alerts = services::kafka().read(topic);
        if alerts.len() >= count { Ok(alerts) } else { Err(format!("{}", alerts.len())) }
    })
}

#[test]
fn the_python_consumer_prints_what_fires_and_what_is_resolved() {
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("alerts"));
    let topic = format!("{prefix}alerts");
    kafka.create_topic(&topic, 1);
    let port = free_port();
    let mut agent = Program::agent(&format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\", heartbeat_s = 3600 }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
         status = {{ listen = \"127.0.0.1:0\" }}\n\
         [[source.http]]\nlisten = \"127.0.0.1:{port}\"\nline = {{ device = \"device\" }}\n\
         [score.life]\ncalm_readings = 3\ncalm_s = 1\n\
         [[score.rules]]\nmetric = \"temperature\"\n\
         rule = {{ kind = \"range\", name = \"too hot\", max = 90.0 }}\n",
        kafka.bootstrap
    ));
    agent.wait_line("agent is running", SOON);
    let send = |values: &[(u64, f64)]| {
        let line = |(s, v): &(u64, f64)| format!("temperature,device=oven-1 value={v} {s}\n");
        let body: String = values.iter().map(line).collect();
        let url = format!("http://127.0.0.1:{port}/v1/write?precision=s");
        assert_eq!(http::post(&url, "text/plain", body.as_bytes()).status, 204);
    };
    send(&[(1_700_000_000, 70.0), (1_700_000_010, 71.0), (1_700_000_020, 95.5)]);
    let fired = alerts(&mut agent, &topic, 1);
    // Nothing forbids a record from coming twice; the consumer is to see it once.
    kafka.send(&topic, &[(fired[0].key_text(), fired[0].payload.clone().unwrap())]);
    let calm: Vec<(u64, f64)> = (3..40).map(|n| (1_700_000_000 + 10 * n, 70.0)).collect();
    send(&calm);
    let records = alerts(&mut agent, &topic, 3);

    let script = code_blocks(&root().join("docs/alerts.md"), "python").remove(0);
    let group = unique("printer");
    let options = ["--brokers", &kafka.bootstrap, "--topic", &topic, "--group", &group];
    let run = python(&script, &[&options[..], &["--count", "2"]].concat());
    let printed = run.run(Duration::from_secs(60)).ok();

    let lines: Vec<&str> = printed.lines().collect();
    let expected = |message: &Message| {
        let alert = message.json();
        let data = &alert["data"];
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let score = data["score"].as_f64().unwrap();
        let (state, subject) = (word(&data["state"]), word(&alert["subject"]));
        format!("{state} {subject} score {score:.2} {}", word(&data["why"]))
    };
    assert_eq!(lines, [expected(&records[0]), expected(&records[2])]);
    assert!(lines[0].starts_with("firing plant/oven-1/temperature score "), "{printed}");
    assert!(lines[0].contains("too hot"), "{printed}");
    assert!(lines[1].starts_with("resolved plant/oven-1/temperature score "), "{printed}");
    assert_eq!(records.len(), 3);
}
