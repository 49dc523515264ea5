//! What people say of alerts, from the API over Kafka to a signed model, and back to the agent that raised them.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::kafka::Kafka;
use weir_tests::line::metric;
use weir_tests::{Launch, Program, free_port, http, services, unique, wait_until};

const SOON: Duration = Duration::from_secs(60);
const FIRST_S: i64 = 1_750_000_000;
/// Readings of a device before something happens to it.
const CALM: i64 = 400;
const DEVICES: i64 = 60;
const KEY: &str = "rerank/plant/*/*";

/// A sink, an agent that pins the key of its models, and the commands.
struct Scene {
    kafka: Kafka,
    prefix: String,
    command: Launch,
    sink: Program,
    agent: Program,
    agent_config: String,
    http: u16,
    input: u16,
    status: u16,
}

impl Scene {
    fn set() -> Self {
        let kafka = services::kafka();
        let prefix = format!("{}.", unique("feedback"));
        let (http, input, status) = (free_port(), free_port(), free_port());
        let broker = &kafka.bootstrap;
        let command = Launch::ours("weir-sink");
        let public = command.clone().args(["keys", "new", "key.pem"]).run(SOON).ok();
        let public = public.trim();
        let command = command.file(
            "sink.toml",
            format!(
                "kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{prefix}\" }}\n\
                 consume = {{ group = \"{prefix}sink\" }}\n\
                 store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
                 archive = {{ path = \"archive\", close_after_s = 1 }}\n\
                 http = {{ listen = \"127.0.0.1:{http}\" }}\n\
                 models = {{ keys = [\"{public}\"] }}\n"
            ),
        );
        command.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let mut sink = command.clone().args(["run", "-c", "sink.toml"]).start();
        sink.wait_http(&format!("http://127.0.0.1:{http}/readyz"), SOON);
        let agent_config = format!(
            "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
             kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{prefix}\" }}\n\
             status = {{ listen = \"127.0.0.1:{status}\" }}\n\
             models = {{ keys = [\"{public}\"] }}\n\
             [[source.http]]\nlisten = \"127.0.0.1:{input}\"\nline = {{ device = \"device\" }}\n",
        );
        let mut agent = Program::agent(&agent_config);
        agent.wait_line("agent is running", SOON);
        Self {
            kafka: kafka.clone(),
            prefix,
            command,
            sink,
            agent,
            agent_config,
            http,
            input,
            status,
        }
    }

    fn run(&self, args: &[&str]) -> String {
        self.command.clone().args(args).run(SOON).ok()
    }

    fn models(&self, args: &[&str]) -> String {
        self.run(&[&["models", "-c", "sink.toml"], args].concat())
    }

    /// Trains into a folder; gives what was said and the file.
    fn train(&self, kind: &str, folder: &str, more: &[&str]) -> (String, String) {
        let what =
            ["train", "-c", "sink.toml", "--kind", kind, "--key", "key.pem", "--out", folder];
        let told = self.run(&[&what[..], more].concat());
        let mut files = std::fs::read_dir(self.command.dir().join(folder)).unwrap();
        (told, files.next().unwrap().unwrap().path().to_str().unwrap().into())
    }

    /// A device that is calm, jumps by `jump` and is calm again.
    fn feed(&self, device: &str, jump: f64) {
        let line = |n: i64| {
            let calm = 20.0 + (n * 7_919 % 101) as f64 / 100.0;
            let value = if (CALM..CALM + 3).contains(&n) { calm + jump } else { calm };
            format!("temp,device={device} value={value} {}\n", FIRST_S + n * 300)
        };
        let body: String = (0..CALM + 120).map(line).collect();
        let url = format!("http://127.0.0.1:{}/v1/write?precision=s", self.input);
        assert_eq!(http::post(&url, "text/plain", body.as_bytes()).status, 204);
    }

    /// Alerts that the store has, of a device where it is named.
    fn alerts(&self, device: Option<&str>) -> Vec<Value> {
        let series = device.map(|device| format!("&device={device}&metric=temp"));
        let query = format!("site=plant&from=0&limit=5000{}", series.unwrap_or_default());
        let url = format!("http://127.0.0.1:{}/v1/alerts?{query}", self.http);
        http::get_json(&url)["items"].as_array().unwrap().clone()
    }

    /// The alert of a device's jump, as soon as it is over and stored.
    #[track_caller]
    fn jump_of(&self, device: &str) -> Value {
        wait_until(&format!("the alert of {device}"), SOON, || {
            let mut alerts = self.alerts(Some(device));
            alerts
                .retain(|alert| is_of_jump(&alert["data"]) && alert["data"]["state"] == "resolved");
            alerts.pop().ok_or("none")
        })
    }

    #[track_caller]
    fn wait_agent(&mut self, name: &str, wanted: f64) {
        let url = format!("http://127.0.0.1:{}/metrics", self.status);
        self.agent.wait(&format!("{name} {wanted}"), SOON, |_| match metric(&url, name)? {
            seen if seen == wanted => Ok(()),
            seen => Err(format!("{seen}")),
        });
    }

    #[track_caller]
    fn wait_version(&mut self, version: f64) {
        self.wait_agent(
            &format!("weir_agent_model_version_seconds{{model=\"{KEY}\",state=\"in_force\""),
            version,
        );
    }

    /// Says of each alert whether it was a large jump, as a person would who wants to know of those.
    fn judge(&self) -> usize {
        let alerts = self.alerts(None);
        for alert in &alerts {
            let data = &alert["data"];
            let number: i64 = data["device"].as_str().unwrap()[5..].parse().unwrap();
            let verdict = if number % 2 == 0 && is_of_jump(data) { "true" } else { "false" };
            let answer = self.say(data, &json!({ "verdict": verdict, "by": "eva" }));
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        alerts.len()
    }

    fn say(&self, data: &Value, body: &Value) -> http::Answer {
        let (id, fired_us) = (data["alert_id"].as_str().unwrap(), &data["fired_us"]);
        let path = format!("/v1/alerts/{id}/feedback?site=plant&fired_us={fired_us}");
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        http::post(&url, "application/json", body.to_string().as_bytes())
    }

    /// What was altered, or is put under a key by who has none, is refused; ranks stay.
    fn refuse_what_is_altered(&mut self, file: &str) {
        let topic = format!("{}models", self.prefix);
        let mut altered = std::fs::read(file).unwrap();
        *altered.last_mut().unwrap() ^= 1;
        self.kafka.send(&topic, &[(KEY, altered)]);
        self.wait_agent("weir_agent_models_refused_total{reason=\"changed\"", 1.0);
        let forged = std::fs::read(file).unwrap();
        self.kafka.send(&topic, &[("rerank/*/*/*", forged)]);
        self.wait_agent("weir_agent_models_refused_total{reason=\"scope\"", 1.0);
        self.wait_version(version(file));
    }

    /// Alerts are held back where the configuration says so, also after a start without a word from the centre.
    fn hold_back_small_ones(&mut self) {
        let config = format!("{}[score]\nsuppress_below = 0.5\n", self.agent_config);
        std::fs::write(self.agent.dir().join("agent.toml"), config).unwrap();
        self.agent.kill9();
        self.agent.restart();
        self.agent.wait_line("central model of before", SOON);
        self.feed("small-2", 2.0);
        self.feed("large-2", 60.0);
        assert!(rank(&self.jump_of("large-2")) > 0.7);
        wait_until("an alert to be held back", SOON, || {
            let url = format!("http://127.0.0.1:{}/metrics", self.status);
            let held = metric(&url, "weir_agent_held_back_alerts_total")?;
            if held >= 1.0 { Ok(()) } else { Err(format!("{held}")) }
        });
        let told = self.alerts(Some("small-2"));
        assert!(!told.iter().any(|alert| is_of_jump(&alert["data"])), "{told:?}");
    }
}

/// Whether an alert fired within an hour of the jump.
fn is_of_jump(data: &Value) -> bool {
    let jump_us = (FIRST_S + CALM * 300) * 1_000_000;
    (jump_us..jump_us + 3_600_000_000).contains(&data["fired_us"].as_i64().unwrap())
}

/// The version in the name of a file.
fn version(file: &str) -> f64 {
    file.trim_end_matches(".model").rsplit('-').next().unwrap().parse().unwrap()
}

fn rank(alert: &Value) -> f64 {
    alert["data"]["rank"].as_f64().unwrap_or_else(|| panic!("no rank: {alert}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_say_of_alerts_comes_back_as_their_rank() {
    let mut scene = Scene::set();
    let too_few = ["train", "-c", "sink.toml", "--kind", "rerank", "--key", "key.pem"];
    let refused = scene.command.clone().args(too_few).run(SOON);
    assert!(refused.stdout.contains("0 verdicts (0 true, 0 not) are too few"), "{refused:?}");

    for n in 0..DEVICES {
        scene.feed(&format!("pump-{n}"), if n % 2 == 0 { 60.0 } else { 2.0 });
    }
    let large = scene.jump_of(&format!("pump-{}", DEVICES - 2));
    assert_eq!(large["data"].get("rank"), None, "{large}");
    assert!(large["data"]["recent"].is_u64(), "{large}");
    wait_until("nearly all jumps", SOON, || {
        let alerts = scene.alerts(None);
        let found = alerts.iter().filter(|alert| is_of_jump(&alert["data"])).count();
        let wanted = DEVICES as usize * 9 / 10;
        if found >= wanted { Ok(()) } else { Err(format!("{found} of {wanted}")) }
    });
    let judged = scene.judge();
    // Who changes their mind says it again; and once more as it was.
    for verdict in ["expected", "true"] {
        let body = json!({ "verdict": verdict, "note": "I looked again" });
        assert_eq!(scene.say(&large["data"], &body).status, 202);
    }
    let id = large["data"]["alert_id"].as_str().unwrap();
    wait_until("all feedback in the store", SOON, || {
        let alerts = scene.alerts(None);
        let said = alerts.iter().filter(|alert| alert.get("feedback").is_some()).count();
        let mine = alerts.iter().find(|alert| alert["data"]["alert_id"] == id).unwrap();
        let is_last =
            mine["feedback"]["note"] == "I looked again" && mine["feedback"]["verdict"] == "true";
        if said >= judged && is_last { Ok(()) } else { Err(format!("{said} of {judged}: {mine}")) }
    });
    let records = scene.kafka.read(&format!("{}feedback", scene.prefix));
    let of_it: Vec<_> = records.iter().filter(|record| record.key_text() == id).collect();
    assert_eq!(of_it.len(), 3);

    let (told, file) = scene.train("rerank", "first", &["--site", "plant"]);
    assert!(
        told.contains("logistic regression on")
            && told.contains(KEY.strip_prefix("rerank/").unwrap()),
        "{told}"
    );
    assert!(scene.models(&["show", &file]).contains("how far from what was expected"));
    scene.models(&["promote", &file]);
    scene.wait_version(version(&file));
    scene.feed("large-1", 60.0);
    scene.feed("small-1", 2.0);
    let (large, small) = (rank(&scene.jump_of("large-1")), rank(&scene.jump_of("small-1")));
    assert!(large > 0.7 && small < 0.3, "{large} {small}");

    scene.refuse_what_is_altered(&file);
    scene.hold_back_small_ones();
    let told = scene.models(&["rollback", &file, "--key", "key.pem"]);
    let back: f64 = told.trim().rsplit(' ').next().unwrap().parse().unwrap();
    scene.wait_version(back);
    scene.models(&["rollback", &file, "--withdraw"]);
    scene.wait_version(0.0);
    scene.feed("large-3", 60.0);
    assert_eq!(scene.jump_of("large-3")["data"].get("rank"), None);
    scene.sink.term(SOON);
}
