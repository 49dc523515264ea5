//! Who reads alerts: the consumers in `examples/alerts`, one in each language, as a user copies them.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::consumers::{self, Words};
use weir_tests::kafka::Message;
use weir_tests::{Launch, Program, free_port, http, services, unique};

const SOON: Duration = Duration::from_secs(30);
/// A consumer that died without leaving its group is away for 45 s: that is too long here.
const RUN: Duration = Duration::from_secs(40);

/// A topic that every consumer reads in a group of its own.
struct Input {
    topic: String,
    /// What is to be printed, in order.
    lines: [String; 3],
    /// Offsets of what is no alert.
    poison: Vec<i64>,
}

/// What is no alert, in many ways.
fn poison(alert: &Value) -> Vec<Option<Vec<u8>>> {
    let with = |pointer: &str, value: Value| {
        let mut alert = alert.clone();
        *alert.pointer_mut(pointer).unwrap() = value;
        Some(alert.to_string().into_bytes())
    };
    let text = |text: &str| Some(text.as_bytes().to_vec());
    vec![
        None,
        text(""),
        text("not JSON"),
        Some(b"\xff\xfe\xfd".to_vec()),
        text("[]"),
        text("{}"),
        text("{\"data\": []}"),
        Some(vec![b'['; 100_000]),
        text(&format!("{alert} {alert}")),
        with("/id", json!(7)),
        with("/id", Value::Null),
        with("/data/score", json!("high")),
        with("/data/state", json!("asleep")),
    ]
}

/// The alert records, as soon as there are so many.
#[track_caller]
fn records(agent: &mut Program, topic: &str, count: usize) -> Vec<Message> {
    agent.wait(&format!("{count} alerts"), SOON, |_| {
        let alerts = services::kafka().read(topic);
        if alerts.len() >= count { Ok(alerts) } else { Err(format!("{}", alerts.len())) }
    })
}

/// What fires and is resolved is of a real agent; what nobody should send is in between.
fn input() -> &'static Input {
    static INPUT: OnceLock<Input> = OnceLock::new();
    INPUT.get_or_init(|| {
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
        let fired = records(&mut agent, &topic, 1).remove(0);
        let alert = fired.json();
        let mut newer = alert.clone();
        newer["id"] = json!("0123/firing");
        newer["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        newer["data"]["why"] = json!("zu heiß: 95,5 °C");
        newer["data"]["colour"] = json!({ "of": ["the", "oven", 7] });
        let newer_bytes = newer.to_string().into_bytes();
        // Nothing forbids a record from coming twice.
        let mut between = vec![fired.payload.clone()];
        between.extend(poison(&alert));
        between.extend([Some(newer_bytes), fired.payload.clone()]);
        let key = fired.key_text();
        let messages: Vec<_> =
            between.iter().map(|value| (key.as_bytes(), value.as_deref())).collect();
        kafka.produce(&topic, &messages);
        let calm: Vec<(u64, f64)> = (3..40).map(|n| (1_700_000_000 + 10 * n, 70.0)).collect();
        send(&calm);
        let all = records(&mut agent, &topic, messages.len() + 2);
        let resolved = all.last().unwrap().json();
        assert_eq!(
            (all.len(), &resolved["data"]["state"]),
            (messages.len() + 2, &json!("resolved"))
        );
        let is_alert = |message: &&Message| message.payload == fired.payload;
        assert_eq!(all.iter().filter(is_alert).count(), 3);
        Input {
            topic,
            lines: [&alert, &newer, &resolved].map(line),
            poison: (2..2 + poison(&alert).len() as i64).collect(),
        }
    })
}

/// What a consumer prints of an alert.
fn line(alert: &Value) -> String {
    let data = &alert["data"];
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let (state, subject) = (word(&data["state"]), word(&alert["subject"]));
    format!("{state} {subject} score {:.2} {}", data["score"].as_f64().unwrap(), word(&data["why"]))
}

/// Its promises: what could not be handled comes again, what was handled does not, a record that comes
/// twice is one alert, what is no alert is told and stops nothing.
#[track_caller]
fn check(words: &Words) {
    let Input { topic, lines, poison } = input();
    let kafka = services::kafka();
    let group = unique("printer");
    let start = |shell: &str, count: &str| {
        let launch = Launch::tool("sh").args(["-c", shell, "sh"]).args(words);
        let launch = launch.args(["--brokers", &kafka.bootstrap, "--topic", topic]);
        launch.args(["--group", &group, "--count", count]).run(RUN)
    };
    let left = || kafka.uncommitted(&group, std::slice::from_ref(topic));
    let total = kafka.count(topic);

    // Nothing can be written: the first alert is not handled.
    let full = start("exec \"$@\" > /dev/full", "1");
    assert!(!full.status.success(), "{full:?}");
    assert_eq!(left(), total, "{full:?}");

    let first = start("exec \"$@\"", "2");
    assert!(first.status.success(), "{first:?}");
    assert_eq!(first.stdout.lines().collect::<Vec<_>>(), lines[..2], "{}", first.stderr);
    let skipped: Vec<&str> = first.stderr.lines().filter(|l| l.starts_with("skipped ")).collect();
    assert_eq!(skipped.len(), poison.len(), "{}", first.stderr);
    for (line, offset) in skipped.iter().zip(poison) {
        assert!(line.starts_with(&format!("skipped {topic} [0] at offset {offset}: ")), "{line}");
    }
    // The one that comes twice again, and the last.
    assert_eq!(left(), 2, "{}", first.stderr);

    let second = start("exec \"$@\"", "2");
    assert!(second.status.success(), "{second:?}");
    // It is another process: the one that comes twice is new to it.
    assert_eq!(second.stdout.lines().collect::<Vec<_>>(), [&lines[0], &lines[2]]);
    assert_eq!(left(), 0, "{}", second.stderr);
}

#[test]
fn the_consumer_in_python_handles_each_alert_once() {
    check(&consumers::python());
}

#[test]
fn the_consumer_in_java_handles_each_alert_once() {
    check(&consumers::java());
}

#[test]
fn the_consumer_in_go_handles_each_alert_once() {
    check(&consumers::go());
}

#[test]
fn the_consumer_in_rust_handles_each_alert_once() {
    check(&consumers::rust());
}

/// Versions that the examples pin are the ones that they were run with.
#[test]
fn the_examples_pin_what_they_are_run_with() {
    let read = |path: &str| std::fs::read_to_string(weir_tests::root().join(path)).unwrap();
    let ours = read("tests/services/requirements.txt");
    for package in read("examples/alerts/python/requirements.txt").lines() {
        assert!(ours.lines().any(|line| line == package), "the tests do not run with {package}");
    }
    let pom = read("examples/alerts/java/pom.xml");
    let jars = consumers::kafka_jars();
    for artifact in ["kafka-clients", "jackson-databind"] {
        let (_, after) = pom.split_once(&format!("<artifactId>{artifact}</artifactId>")).unwrap();
        let (_, after) = after.split_once("<version>").unwrap();
        let (version, _) = after.split_once("</version>").unwrap();
        let jar = jars.join(format!("{artifact}-{version}.jar"));
        assert!(jar.is_file(), "the tests do not run with {}", jar.display());
    }
}
